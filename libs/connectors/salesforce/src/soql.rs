//! Queries as text. Names are validated types, so only the sync's own condition is free text, and it cannot leave its
//! parentheses.

use std::fmt::Write;

use chrono::SecondsFormat;
use syncline_connect::{ConnectError, Query};
use syncline_domain::{ErrorCode, ObjectName};

use crate::split::IdRange;

/// The query of a reading.
pub fn select(query: &Query) -> Result<String, ConnectError> {
    select_range(query, &IdRange::default())
}

/// The query of a reading whose records come in a certain order.
pub fn select_ordered(query: &Query) -> Result<String, ConnectError> {
    let soql = select(query)?;
    Ok(if query.order_by.is_some() { soql } else { soql + " ORDER BY Id" })
}

/// The query of the part of a reading that lies in a range.
pub fn select_range(query: &Query, range: &IdRange) -> Result<String, ConnectError> {
    let fields: Vec<&str> = query.fields.iter().map(|f| f.name.as_str()).collect();
    if fields.is_empty() {
        return Err(ConnectError::new(ErrorCode::Query, "a query without fields"));
    }
    let mut soql = format!("SELECT {} FROM {}", fields.join(", "), query.object);
    push_where(&mut soql, query, range.condition())?;
    if let Some(order) = &query.order_by {
        checked(order)?;
        let _ = write!(soql, " ORDER BY {order}");
    }
    Ok(soql)
}

/// How many records the reading would have.
pub fn count(query: &Query) -> Result<String, ConnectError> {
    let mut soql = format!("SELECT COUNT() FROM {}", query.object);
    push_where(&mut soql, query, None)?;
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

fn push_where(soql: &mut String, query: &Query, range: Option<String>) -> Result<(), ConnectError> {
    let mut join = " WHERE ";
    if let Some(filter) = query.filter.as_deref().map(str::trim).filter(|f| !f.is_empty()) {
        checked(filter)?;
        let _ = write!(soql, "{join}({filter})");
        join = " AND ";
    }
    if let Some(before) = query.created_before {
        let _ = write!(soql, "{join}CreatedDate < {}", before.to_rfc3339_opts(SecondsFormat::Secs, true));
        join = " AND ";
    }
    if let Some(range) = range {
        let _ = write!(soql, "{join}{range}");
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use syncline_domain::FieldName;
    use syncline_domain::describe::FieldType;
    use syncline_domain::plan::{FieldPlan, FieldRole};

    use super::*;

    fn query(filter: Option<&str>, before: Option<&str>, order: Option<&str>) -> Query {
        let field = |name: &str| FieldPlan {
            name: FieldName::new(name).unwrap(),
            target: FieldName::new(name).unwrap(),
            field_type: FieldType::String,
            length: 0,
            precision: 0,
            scale: 0,
            nillable: true,
            unique: false,
            updateable: true,
            role: FieldRole::Value,
            mask: None,
        };
        Query {
            object: ObjectName::new("Account").unwrap(),
            fields: vec![field("Id"), field("Name")],
            filter: filter.map(str::to_owned),
            created_before: before.map(|b| b.parse().unwrap()),
            order_by: order.map(str::to_owned),
            batch_bytes_max: 1,
            batch_rows_max: 1,
            page_records: 1,
        }
    }

    #[test]
    fn conditions_are_joined_and_kept_apart() {
        let t0 = Some("2025-11-20T11:28:31.789Z");
        for (filter, before, order, soql) in [
            (None, None, None, "SELECT Id, Name FROM Account"),
            (
                Some("A = 1 OR B = 2"),
                t0,
                Some("Name ASC"),
                "SELECT Id, Name FROM Account WHERE (A = 1 OR B = 2) AND CreatedDate < 2025-11-20T11:28:31Z ORDER BY Name ASC",
            ),
            (
                None,
                t0,
                None,
                "SELECT Id, Name FROM Account WHERE CreatedDate < 2025-11-20T11:28:31Z",
            ),
            (Some("  "), None, None, "SELECT Id, Name FROM Account"),
            (
                Some(r"Name = ') \' ('"),
                None,
                None,
                r"SELECT Id, Name FROM Account WHERE (Name = ') \' (')",
            ),
        ] {
            assert_eq!(select(&query(filter, before, order)).as_deref(), Ok(soql));
        }
        assert_eq!(
            count(&query(Some("A = 1"), t0, Some("Name"))).as_deref(),
            Ok("SELECT COUNT() FROM Account WHERE (A = 1) AND CreatedDate < 2025-11-20T11:28:31Z")
        );
    }

    #[test]
    fn a_condition_cannot_leave_its_parentheses() {
        for bad in ["A = 1) OR (A != 1", "(A = 1", "A = 'x", r"A = 'x\'", "A = 1)"] {
            assert_eq!(
                select(&query(Some(bad), None, None)).map_err(|e| e.code),
                Err(ErrorCode::Query),
                "{bad}"
            );
        }
    }

    #[test]
    fn look_ups_take_paths_and_nothing_else() {
        let object = ObjectName::new("PricebookEntry").unwrap();
        assert_eq!(
            lookup(&object, &["Id", "Pricebook2.IsStandard"], Some("IsActive = true")).as_deref(),
            Ok("SELECT Id, Pricebook2.IsStandard FROM PricebookEntry WHERE IsActive = true")
        );
        for bad in [&["Id FROM User"][..], &["a..b"], &[""], &["COUNT()"], &[]] {
            assert!(lookup(&object, bad, None).is_err(), "{bad:?}");
        }
    }
}
