//! Keys made of several fields, for objects without an external id: which records have them, asked in few queries.
//!
//! SOQL has no tuples, so the most telling field is asked for with IN and the others are compared here, as the platform
//! compares texts: without letter case, without outer blanks. A key that several records have identifies none.

use std::collections::{BTreeMap, HashMap};

use syncline_connect::{ConnectError, Source};
use syncline_domain::describe::{FieldDescribe, FieldType};
use syncline_domain::{ErrorCode, FieldName, ObjectName};

use crate::Salesforce;

/// A condition has at most 4,000 characters (SOQL, "WHERE"), a request's address at most 16,384 bytes.
const CONDITION_CHARACTERS_MAX: usize = 3_600;
/// Keys per query besides.
const KEYS_MAX: usize = 200;

/// A key's values, in the order of its fields; `None` is null.
pub type Key = Vec<Option<String>>;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Keys and the id of the one record that has it.
    pub ids: HashMap<Key, String>,
    /// Keys that several records have, and how many.
    pub ambiguous: BTreeMap<Key, usize>,
}

/// Finds the records that have `keys`. Keys that are neither found nor ambiguous are missing.
///
/// # Errors
/// When a field cannot stand in a condition, and as every request.
pub async fn find(org: &Salesforce, object: &ObjectName, fields: &[FieldDescribe], keys: &[Key]) -> Result<Found, ConnectError> {
    check(object, fields, keys)?;
    let wanted: HashMap<Key, &Key> = keys.iter().map(|k| (normal(k), k)).collect();
    let mut ids: HashMap<Key, Vec<String>> = HashMap::new();
    let selected: Vec<&str> = std::iter::once("Id").chain(fields.iter().map(|f| f.name.as_str())).collect();
    let leading = leading(keys, fields.len());
    let Some(field) = fields.get(leading) else {
        return Ok(Found::default());
    };
    for condition in conditions(&field.name, literals(field.field_type, keys, leading)) {
        for row in org.lookup(object, &selected, Some(&condition)).await? {
            let Some((Some(id), values)) = row.split_first().map(|(id, values)| (id.clone(), values)) else {
                continue;
            };
            if let Some(key) = wanted.get(&normal(values)) {
                ids.entry((*key).clone()).or_default().push(id);
            }
        }
    }
    let mut found = Found::default();
    for (key, mut ids) in ids {
        ids.sort_unstable();
        ids.dedup();
        match ids.as_slice() {
            [_] => found.ids.extend(ids.pop().map(|id| (key, id))),
            several => {
                found.ambiguous.insert(key, several.len());
            }
        }
    }
    Ok(found)
}

fn check(object: &ObjectName, fields: &[FieldDescribe], keys: &[Key]) -> Result<(), ConnectError> {
    let refuse = |why: String| Err(ConnectError::new(ErrorCode::SyncInvalid, why));
    for field in fields {
        let asks = field.filterable
            && matches!(
                field.field_type,
                FieldType::Id
                    | FieldType::Reference
                    | FieldType::String
                    | FieldType::Email
                    | FieldType::Phone
                    | FieldType::Url
                    | FieldType::Picklist
                    | FieldType::ComboBox
                    | FieldType::Boolean
                    | FieldType::Int
                    | FieldType::Long
                    | FieldType::Date
            );
        if !asks {
            return refuse(format!("{object}.{} cannot be part of a key", field.name));
        }
    }
    if keys.iter().any(|k| k.len() != fields.len()) {
        return refuse(format!("a key of {object} has another number of values than fields"));
    }
    Ok(())
}

/// The field that tells most keys apart, so that queries bring few rows too many.
fn leading(keys: &[Key], fields: usize) -> usize {
    let distinct = |at: usize| {
        let mut values: Vec<&Option<String>> = keys.iter().filter_map(|k| k.get(at)).collect();
        values.sort_unstable();
        values.dedup();
        values.len()
    };
    // Of equals the first: a key's author names the most telling one first.
    (0..fields).rev().max_by_key(|at| distinct(*at)).unwrap_or(0)
}

fn literals(field_type: FieldType, keys: &[Key], at: usize) -> Vec<String> {
    let bare = matches!(field_type, FieldType::Boolean | FieldType::Int | FieldType::Long | FieldType::Date);
    let safe = |v: &str| !v.is_empty() && v.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    let mut literals: Vec<String> = keys
        .iter()
        .filter_map(|k| k.get(at))
        .filter_map(|v| match v.as_deref().map(str::trim).filter(|v| !v.is_empty()) {
            None => Some("null".to_owned()),
            // What is no number cannot be the value of one, so no record has it.
            Some(v) if bare => safe(v).then(|| v.to_owned()),
            Some(v) => Some(format!("'{}'", escaped(v))),
        })
        .collect();
    literals.sort_unstable();
    literals.dedup();
    literals
}

fn conditions(field: &FieldName, literals: Vec<String>) -> Vec<String> {
    let mut conditions = Vec::new();
    let (mut list, mut count) = (String::new(), 0);
    for literal in literals {
        if count == KEYS_MAX || (count > 0 && list.len() + literal.len() > CONDITION_CHARACTERS_MAX) {
            conditions.push(format!("{field} IN ({list})"));
            (list, count) = (String::new(), 0);
        }
        if count > 0 {
            list.push(',');
        }
        list.push_str(&literal);
        count += 1;
    }
    if count > 0 {
        conditions.push(format!("{field} IN ({list})"));
    }
    conditions
}

/// A text literal's content (SOQL, "Quoted String Escape Sequences").
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out
}

fn normal(key: &[Option<String>]) -> Key {
    key.iter()
        .map(|v| v.as_deref().map(str::trim).filter(|v| !v.is_empty()).map(str::to_lowercase))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(values: &[&str]) -> Key {
        values.iter().map(|v| (!v.is_empty()).then(|| (*v).to_owned())).collect()
    }

    #[test]
    fn the_field_that_tells_most_apart_is_asked_for() {
        assert_eq!(leading(&[key(&["a", "1"]), key(&["a", "2"])], 2), 1);
        assert_eq!(leading(&[key(&["a", "1"]), key(&["b", "2"])], 2), 0);
        assert_eq!(leading(&[], 2), 0);
    }

    #[test]
    fn values_cannot_leave_their_quotes_and_conditions_stay_short() {
        let keys = [key(&[r"O'Brien\"]), key(&["x') OR (Name != 'y"]), key(&[""])];
        assert_eq!(
            literals(FieldType::String, &keys, 0),
            [r"'O\'Brien\\'", r"'x\') OR (Name != \'y'", "null"]
        );
        assert_eq!(literals(FieldType::Int, &[key(&["7"]), key(&["7 OR 1=1"])], 0), ["7"]);
        let Ok(field) = FieldName::new("Name") else { return };
        let many: Vec<String> = (0..1_000).map(|n| format!("'{n:030}'")).collect();
        let conditions = conditions(&field, many);
        assert!(conditions.iter().all(|c| c.len() < 4_000), "{}", conditions.len());
        assert_eq!(conditions.iter().map(|c| c.matches(',').count() + 1).sum::<usize>(), 1_000);
    }

    #[test]
    fn keys_are_compared_as_the_platform_compares() {
        assert_eq!(normal(&key(&[" ÄB ", "", "x"])), normal(&key(&["äb", "", "X"])));
        assert_ne!(normal(&key(&["a", "b"])), normal(&key(&["b", "a"])));
    }
}
