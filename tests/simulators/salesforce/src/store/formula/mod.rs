//! The small formula language of validation rules, trigger conditions and assignment entries.
//!
//! `AND OR NOT` (also `&& || !`), comparisons, fields, numbers, quoted text, `TRUE FALSE NULL`, and
//! `ISBLANK ISPICKVAL INCLUDES ISCHANGED ISNEW PRIORVALUE LEN BEGINS CONTAINS TODAY`. A formula is
//! parsed once, bound to an object once, and then judges rows without allocating names.

mod eval;
mod parse;

use crate::schema::{FieldType, Object};

pub use eval::Scope;

/// A formula that can't be used, with the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {reason}, in \"{text}\"")]
pub struct FormulaError {
    pub text: String,
    /// 1-based, in characters.
    pub column: usize,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    IsBlank,
    IsPickVal,
    Includes,
    IsChanged,
    IsNew,
    PriorValue,
    Len,
    Begins,
    Contains,
    Today,
}

impl Function {
    fn parse(name: &str) -> Option<(Self, usize)> {
        Some(match name.to_ascii_uppercase().as_str() {
            "ISBLANK" | "ISNULL" => (Self::IsBlank, 1),
            "ISPICKVAL" => (Self::IsPickVal, 2),
            "INCLUDES" => (Self::Includes, 2),
            "ISCHANGED" => (Self::IsChanged, 1),
            "ISNEW" => (Self::IsNew, 0),
            "PRIORVALUE" => (Self::PriorValue, 1),
            "LEN" => (Self::Len, 1),
            "BEGINS" => (Self::Begins, 2),
            "CONTAINS" => (Self::Contains, 2),
            "TODAY" => (Self::Today, 0),
            _ => return None,
        })
    }

    /// The first argument must be a field.
    fn takes_field(self) -> bool {
        matches!(self, Self::IsPickVal | Self::Includes | Self::IsChanged | Self::PriorValue)
    }
}

#[derive(Debug, Clone)]
enum Expr {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    Field {
        name: String,
        at: usize,
        index: usize,
    },
    Not(Box<Expr>),
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Compare {
        how: Comparison,
        at: usize,
        sides: Box<(Expr, Expr)>,
    },
    Call {
        function: Function,
        at: usize,
        arguments: Vec<Expr>,
    },
}

/// What a part of a formula is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    Bool,
    Number,
    Text,
}

impl Kind {
    fn of(field: FieldType) -> Self {
        match field {
            FieldType::Boolean => Self::Bool,
            FieldType::Int | FieldType::Decimal => Self::Number,
            _ => Self::Text,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Any => "anything",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::Text => "text",
        }
    }

    fn fits(self, other: Self) -> bool {
        self == other || self == Self::Any || other == Self::Any
    }
}

/// A parsed formula; [`Formula::bind`] it to its object before use.
#[derive(Debug, Clone)]
pub struct Formula {
    text: String,
    root: Expr,
}

impl Formula {
    /// Parses; fields are not looked up yet.
    pub fn parse(text: &str) -> Result<Self, FormulaError> {
        let root = parse::parse(text)?;
        Ok(Self { text: text.into(), root })
    }

    /// Resolves the fields against `object` and checks the types.
    pub fn bind(&mut self, object: &Object) -> Result<(), FormulaError> {
        let text = self.text.clone();
        let fail = |at: usize, reason: String| FormulaError {
            text: text.clone(),
            column: at + 1,
            reason,
        };
        let kind = bind(&mut self.root, object, &fail)?;
        if kind.fits(Kind::Bool) {
            Ok(())
        } else {
            Err(fail(0, format!("the formula is {}, not a condition", kind.name())))
        }
    }

    /// The fields the formula looks at, as indexes of the bound object.
    pub fn fields(&self) -> Vec<usize> {
        let mut out = Vec::new();
        collect(&self.root, &mut out);
        out
    }
}

fn collect(expr: &Expr, out: &mut Vec<usize>) {
    match expr {
        Expr::Field { index, .. } if !out.contains(index) => out.push(*index),
        Expr::Null | Expr::Bool(_) | Expr::Number(_) | Expr::Text(_) | Expr::Field { .. } => {}
        Expr::Not(inner) => collect(inner, out),
        Expr::Compare { sides, .. } => {
            collect(&sides.0, out);
            collect(&sides.1, out);
        }
        Expr::All(list) | Expr::Any(list) | Expr::Call { arguments: list, .. } => list.iter().for_each(|e| collect(e, out)),
    }
}

fn bind(expr: &mut Expr, object: &Object, fail: &impl Fn(usize, String) -> FormulaError) -> Result<Kind, FormulaError> {
    match expr {
        Expr::Null => Ok(Kind::Any),
        Expr::Bool(_) => Ok(Kind::Bool),
        Expr::Number(_) => Ok(Kind::Number),
        Expr::Text(_) => Ok(Kind::Text),
        Expr::Field { name, at, index } => {
            *index = object
                .field(name)
                .ok_or_else(|| fail(*at, format!("{} has no field {name}", object.name)))?;
            Ok(Kind::of(object.fields[*index].kind))
        }
        Expr::Not(inner) => condition(inner, object, fail),
        Expr::All(list) | Expr::Any(list) => {
            for part in list {
                condition(part, object, fail)?;
            }
            Ok(Kind::Bool)
        }
        Expr::Compare { how, at, sides } => {
            let left = bind(&mut sides.0, object, fail)?;
            let right = bind(&mut sides.1, object, fail)?;
            if !left.fits(right) {
                return Err(fail(*at, format!("{} is compared with {}", left.name(), right.name())));
            }
            let ordered = !matches!(how, Comparison::Equal | Comparison::NotEqual);
            if ordered && (left == Kind::Bool || right == Kind::Bool) {
                return Err(fail(*at, "booleans have no order".into()));
            }
            Ok(Kind::Bool)
        }
        Expr::Call { function, at, arguments } => call(*function, *at, arguments, object, fail),
    }
}

fn condition(expr: &mut Expr, object: &Object, fail: &impl Fn(usize, String) -> FormulaError) -> Result<Kind, FormulaError> {
    let at = place(expr);
    let kind = bind(expr, object, fail)?;
    if kind.fits(Kind::Bool) {
        Ok(Kind::Bool)
    } else {
        Err(fail(at, format!("a condition is expected, this is {}", kind.name())))
    }
}

fn place(expr: &Expr) -> usize {
    match expr {
        Expr::Field { at, .. } | Expr::Call { at, .. } | Expr::Compare { at, .. } => *at,
        Expr::Not(inner) => place(inner),
        Expr::All(list) | Expr::Any(list) => list.first().map_or(0, place),
        Expr::Null | Expr::Bool(_) | Expr::Number(_) | Expr::Text(_) => 0,
    }
}

fn call(
    function: Function,
    at: usize,
    arguments: &mut [Expr],
    object: &Object,
    fail: &impl Fn(usize, String) -> FormulaError,
) -> Result<Kind, FormulaError> {
    if function.takes_field() && !matches!(arguments.first(), Some(Expr::Field { .. })) {
        return Err(fail(at, "the first argument must be a field".into()));
    }
    let mut first = Kind::Any;
    for (i, argument) in arguments.iter_mut().enumerate() {
        let kind = bind(argument, object, fail)?;
        if i == 0 {
            first = kind;
        }
        let wants_text = i == 1 || matches!(function, Function::Len | Function::Begins | Function::Contains);
        if wants_text && !kind.fits(Kind::Text) {
            return Err(fail(at, format!("text is expected, this is {}", kind.name())));
        }
    }
    Ok(match function {
        Function::Len => Kind::Number,
        Function::Today => Kind::Text,
        Function::PriorValue => first,
        Function::IsBlank
        | Function::IsPickVal
        | Function::Includes
        | Function::IsChanged
        | Function::IsNew
        | Function::Begins
        | Function::Contains => Kind::Bool,
    })
}
