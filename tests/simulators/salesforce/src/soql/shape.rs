//! What a bound query is made of: resolved paths, typed conditions, the plan itself.

use std::collections::HashSet;

use crate::schema::FieldType;
use crate::store::db::Db;
use crate::store::id::Id;
use crate::store::row::Row;

/// What a path ends in.
#[derive(Debug, Clone)]
pub enum Leaf {
    Field {
        object: usize,
        field: usize,
    },
    /// A field of the `Name` pseudo-object: one field per possible target.
    Poly(Vec<(usize, usize)>),
    /// `Who.Type`
    Type,
}

/// A resolved path.
#[derive(Debug, Clone)]
pub struct Bound {
    /// As the API spells it, e.g. `Account.Owner.Name`.
    pub name: String,
    /// Reference fields to follow, from the root.
    pub hops: Vec<usize>,
    pub leaf: Leaf,
    pub kind: FieldType,
}

impl Bound {
    /// The cell this path leads to from `row`.
    pub fn value<'a>(&self, db: &'a Db, row: &'a Row) -> Option<&'a [u8]> {
        let mut row = row;
        let mut object = None;
        let last = self.hops.len().wrapping_sub(1);
        for (i, hop) in self.hops.iter().enumerate() {
            let id = row.get(*hop)?;
            let (next, index) = db.locate(&Id::parse(id).ok()?)?;
            if i == last && matches!(self.leaf, Leaf::Type) {
                return Some(db.schema.objects[next].name.as_bytes());
            }
            object = Some(next);
            row = db.tables[next].row(index);
        }
        match &self.leaf {
            Leaf::Field { field, .. } => row.get(*field),
            Leaf::Poly(list) => {
                let (_, field) = list.iter().find(|(o, _)| Some(*o) == object)?;
                row.get(*field)
            }
            Leaf::Type => None,
        }
    }
}

/// Comparison operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Operator {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "=" => Self::Eq,
            "!=" => Self::Ne,
            "<" => Self::Lt,
            "<=" => Self::Le,
            ">" => Self::Gt,
            ">=" => Self::Ge,
            _ => return None,
        })
    }

    /// Whether an ordering satisfies the operator.
    pub fn accepts(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Eq => order.is_eq(),
            Self::Ne => order.is_ne(),
            Self::Lt => order.is_lt(),
            Self::Le => order.is_le(),
            Self::Gt => order.is_gt(),
            Self::Ge => order.is_ge(),
        }
    }
}

/// A typed condition.
pub enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Null {
        path: Bound,
        negated: bool,
    },
    Text {
        path: Bound,
        operator: Operator,
        value: String,
    },
    Number {
        path: Bound,
        operator: Operator,
        value: f64,
    },
    Flag {
        path: Bound,
        wanted: bool,
    },
    /// Text order of dates: from inclusive, until exclusive.
    Span {
        path: Bound,
        operator: Operator,
        from: Vec<u8>,
        until: Vec<u8>,
    },
    Like {
        path: Bound,
        pattern: Vec<char>,
    },
    In {
        path: Bound,
        negated: bool,
        null: bool,
        set: HashSet<Vec<u8>, ahash::RandomState>,
    },
    Includes {
        path: Bound,
        negated: bool,
        groups: Vec<Vec<Vec<u8>>>,
    },
}

/// A stand-in for an escaped `%` or `_` in a LIKE pattern, from the private-use area.
const ESCAPED: [(char, char); 2] = [('\u{f8f0}', '%'), ('\u{f8f1}', '_')];

/// One aggregate of the select list.
pub struct Aggregate {
    pub function: String,
    pub path: Bound,
    pub name: String,
}

/// A child subquery.
pub struct Child {
    pub relationship: String,
    pub field: usize,
    pub plan: Plan,
}

/// A bound query.
pub struct Plan {
    pub object: usize,
    pub columns: Vec<Bound>,
    pub aggregates: Vec<Aggregate>,
    pub count_all: bool,
    pub group: Vec<Bound>,
    pub children: Vec<Child>,
    pub filter: Option<Filter>,
    pub order: Vec<(Bound, bool, bool)>,
    pub limit: Option<u64>,
    pub offset: u64,
    /// A key the rows can be sought by: field and wanted texts.
    pub seek: Option<(usize, Vec<Vec<u8>>)>,
}

/// A LIKE pattern in lower case, its escaped wildcards replaced by stand-ins.
pub(super) fn like_pattern(pattern: &str) -> Vec<char> {
    let mut out = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            let next = chars.next().unwrap_or('\\');
            let stand_in = ESCAPED.iter().find(|(_, plain)| *plain == next);
            out.push(stand_in.map_or(next, |(mark, _)| *mark));
        } else {
            out.extend(c.to_lowercase());
        }
    }
    out
}

/// LIKE with `%` and `_`, both sides in lower case.
pub fn like(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        let symbol = pattern.get(p).copied();
        let plain = symbol.map(|c| ESCAPED.iter().find(|(m, _)| *m == c).map_or(c, |(_, x)| *x));
        if symbol == Some('%') {
            retry = Some((p, t));
            p += 1;
        } else if symbol == Some('_') || (symbol.is_some() && plain == Some(text[t])) {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = retry {
            p = at + 1;
            t = from + 1;
            retry = Some((at, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '%')
}
