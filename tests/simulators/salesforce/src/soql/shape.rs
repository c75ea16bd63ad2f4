//! What a bound query is made of: typed conditions, columns, groups, the plan itself.

use std::collections::HashSet;
use std::sync::Arc;

use super::expr::{Expr, Hop};
use crate::schema::FieldType;

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

/// Texts of an IN list, folded as the field compares.
pub type TextSet = HashSet<Vec<u8>, ahash::RandomState>;

/// A typed condition. `exact` marks fields that compare with case.
pub enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Null {
        expr: Expr,
        negated: bool,
    },
    Text {
        expr: Expr,
        operator: Operator,
        value: String,
        exact: bool,
    },
    Number {
        expr: Expr,
        operator: Operator,
        value: f64,
    },
    Flag {
        expr: Expr,
        wanted: bool,
    },
    /// Text order of dates: from inclusive, until exclusive.
    Span {
        expr: Expr,
        operator: Operator,
        from: Vec<u8>,
        until: Vec<u8>,
    },
    Like {
        expr: Expr,
        pattern: Vec<char>,
    },
    In {
        expr: Expr,
        negated: bool,
        null: bool,
        set: TextSet,
        exact: bool,
    },
    Includes {
        expr: Expr,
        negated: bool,
        groups: Vec<Vec<Vec<u8>>>,
    },
    /// `=` on a multi-select picklist: the same values in any order.
    SameSet {
        expr: Expr,
        negated: bool,
        values: Vec<Vec<u8>>,
    },
}

/// A stand-in for an escaped `%` or `_` in a LIKE pattern, from the private-use area.
const ESCAPED: [(char, char); 2] = [('\u{f8f0}', '%'), ('\u{f8f1}', '_')];

/// One column of the answer.
#[derive(Clone)]
pub struct Column {
    /// Dotted as the API spells it, or the alias.
    pub name: String,
    pub shown: Shown,
}

/// What a column shows.
#[derive(Clone)]
pub enum Shown {
    Value(Expr),
    /// Fields that depend on the referenced object.
    TypeOf {
        hops: Vec<Hop>,
        arms: Vec<(usize, Vec<Column>)>,
        otherwise: Option<Vec<Column>>,
    },
}

impl Column {
    /// The expression; TYPEOF has none.
    pub fn expr(&self) -> Option<&Expr> {
        match &self.shown {
            Shown::Value(expr) => Some(expr),
            Shown::TypeOf { .. } => None,
        }
    }

    pub fn kind(&self) -> FieldType {
        self.expr().map_or(FieldType::Other, Expr::kind)
    }

    /// The field itself, where it is one of the root record.
    pub fn root_field(&self) -> Option<usize> {
        self.expr().and_then(Expr::root_field)
    }
}

/// What an aggregate computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    Count,
    CountDistinct,
    Sum,
    Avg,
    Min,
    Max,
}

/// One aggregate of the query.
pub struct Aggregate {
    pub function: Function,
    pub expr: Expr,
    /// Decimal places of the values.
    pub scale: u32,
    pub(super) canonical: String,
}

/// Groups and what is computed over them.
#[derive(Default)]
pub struct Groups {
    pub keys: Vec<Expr>,
    /// Which keys each set of groups keeps; subtotals drop some.
    pub sets: Vec<Vec<bool>>,
    pub aggregates: Vec<Aggregate>,
    pub having: Option<Filter>,
}

/// A child subquery.
pub struct Child {
    pub relationship: String,
    pub field: usize,
    pub plan: Arc<Plan>,
}

/// One sort key.
pub struct Sort {
    pub expr: Expr,
    pub descending: bool,
    pub nulls_first: bool,
}

/// A bound query.
pub struct Plan {
    pub object: usize,
    pub columns: Vec<Column>,
    pub count_all: bool,
    pub groups: Option<Groups>,
    pub children: Vec<Child>,
    pub filter: Option<Filter>,
    pub order: Vec<Sort>,
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
            match stand_in {
                Some((mark, _)) => out.push(*mark),
                None => out.extend(next.to_lowercase()),
            }
        } else {
            out.extend(c.to_lowercase());
        }
    }
    out
}

/// LIKE with `%` and `_`; the pattern is in lower case, the text need not be.
pub fn like(pattern: &[char], text: &[u8]) -> bool {
    if text.is_ascii() {
        return wild(pattern, text.len(), |i| text[i].to_ascii_lowercase() as char);
    }
    let lower: Vec<char> = String::from_utf8_lossy(text).chars().flat_map(char::to_lowercase).collect();
    wild(pattern, lower.len(), |i| lower[i])
}

fn wild(pattern: &[char], length: usize, at: impl Fn(usize) -> char) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < length {
        let symbol = pattern.get(p).copied();
        let plain = symbol.map(|c| ESCAPED.iter().find(|(m, _)| *m == c).map_or(c, |(_, x)| *x));
        if symbol == Some('%') {
            retry = Some((p, t));
            p += 1;
        } else if symbol == Some('_') || (symbol.is_some() && plain == Some(at(t))) {
            p += 1;
            t += 1;
        } else if let Some((back, from)) = retry {
            p = back + 1;
            t = from + 1;
            retry = Some((back, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_knows_wildcards_and_their_escapes() {
        for (pattern, text, wanted) in [
            ("a%", "Abc", true),
            ("a_c", "aBC", true),
            ("a_c", "abbc", false),
            ("%b%b%", "abcabc", true),
            ("50\\%", "50%", true),
            ("50\\%", "500", false),
            ("x\\_y", "x_y", true),
            ("x\\_y", "xay", false),
            ("mü%", "MÜLLER", true),
            ("", "", true),
            ("", "a", false),
            ("%", "", true),
        ] {
            assert_eq!(like(&like_pattern(pattern), text.as_bytes()), wanted, "{pattern} {text}");
        }
    }
}
