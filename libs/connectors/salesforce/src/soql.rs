//! Queries as text. Names are validated types, so only the sync's own condition is free text, and it cannot leave its
//! parentheses.

use std::fmt::Write;

use chrono::SecondsFormat;
use syncline_connect::{ConnectError, Query};
use syncline_domain::{ErrorCode, ObjectName};

/// The query of a reading.
pub fn select(query: &Query) -> Result<String, ConnectError> {
    let fields: Vec<&str> = query.fields.iter().map(|f| f.name.as_str()).collect();
    if fields.is_empty() {
        return Err(ConnectError::new(ErrorCode::Query, "a query without fields"));
    }
    let mut soql = format!("SELECT {} FROM {}", fields.join(", "), query.object);
    push_where(&mut soql, query)?;
    if let Some(order) = &query.order_by {
        checked(order)?;
        let _ = write!(soql, " ORDER BY {order}");
    }
    Ok(soql)
}

/// How many records the reading would have.
pub fn count(query: &Query) -> Result<String, ConnectError> {
    let mut soql = format!("SELECT COUNT() FROM {}", query.object);
    push_where(&mut soql, query)?;
    Ok(soql)
}

/// A look-up of paths.
pub fn lookup(object: &ObjectName, fields: &[&str], filter: Option<&str>) -> Result<String, ConnectError> {
    let is_path = |f: &&str| {
        f.split('.')
            .all(|part| part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
    };
    if fields.is_empty() || !fields.iter().all(is_path) {
        return Err(ConnectError::new(ErrorCode::Query, "a look-up of something that is not a field"));
    }
    let mut soql = format!("SELECT {} FROM {object}", fields.join(", "));
    if let Some(filter) = filter {
        checked(filter)?;
        let _ = write!(soql, " WHERE {filter}");
    }
    Ok(soql)
}

fn push_where(soql: &mut String, query: &Query) -> Result<(), ConnectError> {
    let mut join = " WHERE ";
    if let Some(filter) = query.filter.as_deref().map(str::trim).filter(|f| !f.is_empty()) {
        checked(filter)?;
        let _ = write!(soql, "{join}({filter})");
        join = " AND ";
    }
    if let Some(before) = query.created_before {
        let _ = write!(soql, "{join}CreatedDate < {}", before.to_rfc3339_opts(SecondsFormat::Secs, true));
    }
    Ok(())
}

/// Parentheses and quotes must close within the condition, or it could undo the conditions beside it.
fn checked(condition: &str) -> Result<(), ConnectError> {
    let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
    for c in condition.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => {
                    return Err(ConnectError::new(
                        ErrorCode::Query,
                        "a condition closes a parenthesis that it did not open",
                    ));
                }
            },
            _ => {}
        }
    }
    if depth > 0 || quoted {
        return Err(ConnectError::new(
            ErrorCode::Query,
            "a condition does not close a parenthesis or a quote",
        ));
    }
    Ok(())
}
