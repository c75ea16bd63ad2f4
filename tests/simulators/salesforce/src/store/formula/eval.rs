//! What a bound formula says about a row.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::{Comparison, Expr, Formula, Function, Kind};
use crate::schema::Object;
use crate::store::row::{Draft, Row};
use crate::store::value::STAMP;

/// The row a formula looks at.
pub struct Scope<'a> {
    pub meta: &'a Object,
    pub draft: &'a Draft,
    /// The stored record; `None` on insert.
    pub before: Option<&'a Row>,
    pub now: &'a [u8; STAMP],
}

enum Value<'a> {
    Null,
    Bool(bool),
    Number(f64),
    Text(Cow<'a, str>),
}

impl Formula {
    /// Whether the condition holds; null counts as no.
    pub fn holds(&self, scope: &Scope<'_>) -> bool {
        truth(&self.root, scope)
    }
}

fn truth(expr: &Expr, scope: &Scope<'_>) -> bool {
    matches!(value(expr, scope), Value::Bool(true))
}

fn cell<'a>(scope: &Scope<'a>, field: usize, raw: Option<&'a [u8]>) -> Value<'a> {
    let kind = Kind::of(scope.meta.fields[field].kind);
    match (kind, raw) {
        (Kind::Bool, raw) => Value::Bool(raw == Some(b"true")),
        (_, None) => Value::Null,
        (Kind::Number, Some(raw)) => std::str::from_utf8(raw)
            .ok()
            .and_then(|t| t.parse().ok())
            .map_or(Value::Null, Value::Number),
        (_, Some(raw)) => Value::Text(String::from_utf8_lossy(raw)),
    }
}

fn value<'a>(expr: &'a Expr, scope: &Scope<'a>) -> Value<'a> {
    match expr {
        Expr::Null => Value::Null,
        Expr::Bool(b) => Value::Bool(*b),
        Expr::Number(n) => Value::Number(*n),
        Expr::Text(text) if text.is_empty() => Value::Null,
        Expr::Text(text) => Value::Text(Cow::Borrowed(text)),
        Expr::Field { index, .. } => cell(scope, *index, scope.draft.get(*index)),
        Expr::Not(inner) => Value::Bool(!truth(inner, scope)),
        Expr::All(list) => Value::Bool(list.iter().all(|e| truth(e, scope))),
        Expr::Any(list) => Value::Bool(list.iter().any(|e| truth(e, scope))),
        Expr::Compare { how, sides, .. } => Value::Bool(compare(*how, &value(&sides.0, scope), &value(&sides.1, scope))),
        Expr::Call { function, arguments, .. } => call(*function, arguments, scope),
    }
}

/// A blank text equals no text and differs from every other; a blank number compares with nothing.
fn compare(how: Comparison, left: &Value<'_>, right: &Value<'_>) -> bool {
    let order = match (left, right) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Null, Value::Text(_)) | (Value::Text(_), Value::Null) => return how == Comparison::NotEqual,
        (Value::Null, other) | (other, Value::Null) => return how == Comparison::NotEqual && !matches!(other, Value::Number(_)),
        (Value::Number(a), Value::Number(b)) => a.partial_cmp(b),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        _ => None,
    };
    order.is_some_and(|order| match how {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    })
}

fn text<'a>(expr: Option<&'a Expr>, scope: &Scope<'a>) -> Cow<'a, str> {
    match expr.map(|e| value(e, scope)) {
        Some(Value::Text(text)) => text,
        _ => Cow::Borrowed(""),
    }
}

fn call<'a>(function: Function, arguments: &'a [Expr], scope: &Scope<'a>) -> Value<'a> {
    let first = arguments.first();
    let field = match first {
        Some(Expr::Field { index, .. }) => Some(*index),
        _ => None,
    };
    let before = field.and_then(|f| scope.before.and_then(|row| row.get(f)));
    match function {
        Function::IsNew => Value::Bool(scope.before.is_none()),
        Function::IsBlank => Value::Bool(first.is_none_or(|e| matches!(value(e, scope), Value::Null))),
        Function::IsChanged => {
            let now = field.and_then(|f| scope.draft.get(f));
            Value::Bool(scope.before.is_some() && before != now)
        }
        Function::PriorValue => match field {
            // Without a stored record the prior value is the current one.
            Some(field) if scope.before.is_some() => cell(scope, field, before),
            Some(field) => cell(scope, field, scope.draft.get(field)),
            None => Value::Null,
        },
        Function::IsPickVal => Value::Bool(text(first, scope) == text(arguments.get(1), scope)),
        Function::Includes => {
            let wanted = text(arguments.get(1), scope);
            Value::Bool(text(first, scope).split(';').any(|v| v == wanted))
        }
        Function::Len => Value::Number(text(first, scope).chars().count() as f64),
        Function::Begins => Value::Bool(text(first, scope).starts_with(&*text(arguments.get(1), scope))),
        Function::Contains => Value::Bool(text(first, scope).contains(&*text(arguments.get(1), scope))),
        Function::Today => Value::Text(String::from_utf8_lossy(&scope.now[..10])),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::schema::Schema;

    fn judge(formula: &str, before: Option<&[(&str, &str)]>, cells: &[(&str, &str)]) -> Result<bool, String> {
        let schema = Schema::builtin(&[]).unwrap();
        let meta = &schema.objects[schema.object("Opportunity").unwrap()];
        let fill = |cells: &[(&str, &str)]| {
            let mut draft = Draft::default();
            draft.reset(meta.fields.len());
            for (name, text) in cells {
                draft.set(meta.field(name).unwrap(), text.as_bytes());
            }
            draft
        };
        let mut formula = Formula::parse(formula).map_err(|e| e.to_string())?;
        formula.bind(meta).map_err(|e| e.to_string())?;
        let before = before.map(|b| fill(b).finish());
        let draft = fill(cells);
        Ok(formula.holds(&Scope {
            meta,
            draft: &draft,
            before: before.as_ref(),
            now: b"2025-11-20T10:00:00.000Z",
        }))
    }

    #[test]
    fn conditions_judge_rows() {
        let row: &[(&str, &str)] = &[
            ("Name", "Deal"),
            ("StageName", "Closed Won"),
            ("Amount", "-5.0"),
            ("CloseDate", "2025-01-31"),
        ];
        for (formula, expected) in [
            ("Amount < 0", true),
            ("Amount >= 0", false),
            ("Amount = -5", true),
            ("Probability < 50", false),
            ("NextStep = null && Name != NULL", true),
            ("AND(ISPICKVAL(StageName, 'Closed Won'), NOT(ISBLANK(Amount)), LEN(Name) = 4)", true),
            ("OR(ISBLANK(Name), BEGINS(Name, \"De\") && CONTAINS(Name, 'al'))", true),
            ("!(Name = 'Deal') || HasOpportunityLineItem", false),
            ("CloseDate < TODAY()", true),
            ("NextStep <> 'x'", true),
            ("ISNEW()", true),
            ("ISCHANGED(Amount)", false),
        ] {
            assert_eq!(judge(formula, None, row), Ok(expected), "{formula}");
        }
        let before: &[(&str, &str)] = &[("Name", "Deal"), ("Amount", "7.0")];
        for (formula, expected) in [
            ("ISCHANGED(Amount) && PRIORVALUE(Amount) > Amount", true),
            ("ISCHANGED(Name)", false),
            ("ISNEW()", false),
        ] {
            assert_eq!(judge(formula, Some(before), row), Ok(expected), "{formula}");
        }
    }

    #[test]
    fn errors_name_the_place() {
        let deep = format!("{}ISNEW(){}", "NOT(".repeat(5000 / 8), ")".repeat(5000 / 8));
        let deeper = format!("{}1", "(".repeat(3000));
        for (formula, part) in [
            ("Amont < 0", "column 1: Opportunity has no field Amont"),
            ("Amount <", "column 9: the formula ends"),
            ("Amount < 'x'", "column 8: a number is compared with text"),
            ("AND(Amount < 0, Name)", "column 17: a condition is expected"),
            ("ISBLANK(Name, Amount)", "column 1: ISBLANK takes 1 argument, not 2"),
            ("NOPE(Name)", "column 1: unknown function NOPE"),
            ("Name = 'open", "column 8: the text is not closed"),
            ("Name = 'a' 'b'", "column 12: unexpected 'b'"),
            ("Name # 1", "column 6: unexpected `#`"),
            ("LEN(Name)", "not a condition"),
            ("ISPICKVAL('x', 'y')", "must be a field"),
            ("1.2.3 > 0", "column 1: 1.2.3 is not a number"),
            ("", "column 1: the formula ends"),
            (deep.as_str(), "nested deeper than 40"),
            (deeper.as_str(), "nested deeper than 40"),
        ] {
            let error = judge(formula, None, &[]).unwrap_err();
            assert!(error.contains(part), "{formula}: {error}");
        }
    }
}
