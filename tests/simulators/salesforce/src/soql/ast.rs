//! The syntax tree: what was written and where, before the schema has its say.

/// A dotted path and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    pub text: String,
    pub at: usize,
}

/// A value expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Term {
    Path(Path),
    /// `NAME(arguments)`; the name is in upper case.
    Call {
        name: String,
        at: usize,
        arguments: Vec<Term>,
    },
    /// Only inside `DISTANCE` and `GEOLOCATION`.
    Number(String, usize),
    Text(String, usize),
}

impl Term {
    /// Where it was written.
    pub fn at(&self) -> usize {
        match self {
            Self::Path(path) => path.at,
            Self::Call { at, .. } | Self::Number(_, at) | Self::Text(_, at) => *at,
        }
    }

    /// The first path inside, for error texts.
    pub fn first_path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Call { arguments, .. } => arguments.iter().find_map(Self::first_path),
            _ => None,
        }
    }
}

/// `TYPEOF What WHEN Account THEN Phone ELSE Name END`
#[derive(Debug, Clone, PartialEq)]
pub struct TypeOf {
    pub path: Path,
    pub arms: Vec<(Path, Vec<Path>)>,
    pub otherwise: Option<Vec<Path>>,
}

/// One entry of the select list.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A path or function, with its alias.
    Value(Term, Option<Path>),
    /// `COUNT()`
    CountAll,
    /// `FIELDS(ALL|STANDARD|CUSTOM)`
    Fields(String, usize),
    /// `(SELECT … FROM Children)`
    Children(Box<Statement>),
    TypeOf(TypeOf),
}

/// The right side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    Text {
        value: String,
        pattern: String,
    },
    Literal(String),
    /// `null`, `true`, `TODAY`, `LAST_N_DAYS:3`, `USD5000`
    Word(String, Option<u32>),
}

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Not(Box<Condition>),
    Compare { term: Term, operator: String, operand: Operand },
    In { term: Term, negated: bool, list: Vec<Operand> },
    SemiJoin { term: Term, negated: bool, inner: Box<Statement> },
    Includes { term: Term, negated: bool, list: Vec<String> },
}

/// One sort key.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    pub term: Term,
    pub descending: bool,
    pub nulls_first: Option<bool>,
}

/// Which combinations of the group keys are summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Grouping {
    #[default]
    Plain,
    Rollup,
    Cube,
}

/// What follows `WITH`.
#[derive(Debug, Clone, PartialEq)]
pub enum With {
    /// `SECURITY_ENFORCED`, `USER_MODE`, `SYSTEM_MODE`, `RecordVisibilityContext(…)`
    Access,
    /// `DATA CATEGORY …`
    Category(usize),
}

/// A parsed query.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    pub items: Vec<Item>,
    pub from: Path,
    pub alias: Option<String>,
    /// `FROM Contact c, c.Account a`: path and alias.
    pub relations: Vec<(Path, String)>,
    pub scope: Option<Path>,
    pub condition: Option<Condition>,
    pub with: Option<With>,
    pub group: Vec<Term>,
    pub grouping: Grouping,
    pub having: Option<Condition>,
    pub order: Vec<Order>,
    pub limit: Option<u64>,
    pub offset: Option<u64>,
    /// `FOR UPDATE` and where.
    pub lock: Option<usize>,
}
