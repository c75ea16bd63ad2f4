//! `@{id.path}`: values of earlier answers in later subrequests.

use std::collections::HashMap;

use serde_json::Value;

use crate::web::reply::ApiError;

/// Bodies of the subrequests that ran, by reference id.
pub type Known = HashMap<String, Value>;

/// Whether a text can be a reference id.
pub fn is_id(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Start, end and inner path of each reference in a text.
fn places(text: &str) -> Vec<(usize, usize, &str)> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find("@{").map(|i| at + i) {
        let Some(end) = text[start..].find('}').map(|i| start + i + 1) else {
            break;
        };
        out.push((start, end, &text[start + 2..end - 1]));
        at = end;
    }
    out
}

/// Reference ids that a value mentions.
pub fn mentioned(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            for (_, _, path) in places(text) {
                out.push(path.split(['.', '[']).next().unwrap_or_default().to_owned());
            }
        }
        Value::Array(list) => list.iter().for_each(|v| mentioned(v, out)),
        Value::Object(map) => map.values().for_each(|v| mentioned(v, out)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The value with every reference replaced. A text that is one reference and nothing else
/// takes the value's own type.
pub fn resolve(value: &Value, known: &Known) -> Result<Value, ApiError> {
    Ok(match value {
        Value::String(text) => match places(text).as_slice() {
            [] => value.clone(),
            [(0, end, path)] if *end == text.len() => lookup(path, known)?,
            _ => Value::String(resolve_text(text, known)?),
        },
        Value::Array(list) => list.iter().map(|v| resolve(v, known)).collect::<Result<Vec<_>, _>>()?.into(),
        Value::Object(map) => {
            let pairs = map.iter().map(|(k, v)| Ok((k.clone(), resolve(v, known)?)));
            Value::Object(pairs.collect::<Result<_, ApiError>>()?)
        }
        other => other.clone(),
    })
}

/// A text with every reference replaced by its value's text.
pub fn resolve_text(text: &str, known: &Known) -> Result<String, ApiError> {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (start, end, path) in places(text) {
        out.push_str(&text[at..start]);
        match lookup(path, known)? {
            Value::String(value) => out.push_str(&value),
            other => out.push_str(&other.to_string()),
        }
        at = end;
    }
    out.push_str(&text[at..]);
    Ok(out)
}

fn lookup(path: &str, known: &Known) -> Result<Value, ApiError> {
    let halted = |message: String| ApiError::bad("PROCESSING_HALTED", format!("Invalid reference specified. {message}"));
    let id = path.split(['.', '[']).next().unwrap_or_default();
    let root = known
        .get(id)
        .ok_or_else(|| halted(format!("No value for {path} found, {id} is no successful earlier request")))?;
    let mut value = root;
    for step in steps(&path[id.len()..]) {
        let next = match step {
            Some(Step::Key(key)) => value.get(key),
            Some(Step::Item(index)) => value.get(index),
            None => None,
        };
        value = next.ok_or_else(|| halted(format!("No value for {path} found in {id}")))?;
    }
    if value.is_object() || value.is_array() || value.is_null() {
        return Err(halted(format!("The value of {path} is no scalar")));
    }
    Ok(value.clone())
}

enum Step<'a> {
    Key(&'a str),
    Item(usize),
}

/// The steps of `.a[0].b`; `None` for a malformed one.
fn steps(path: &str) -> Vec<Option<Step<'_>>> {
    let mut out = Vec::new();
    for part in path.split('.').skip(usize::from(path.starts_with('.'))) {
        let (key, rest) = part.find('[').map_or((part, ""), |at| part.split_at(at));
        if !key.is_empty() {
            out.push(Some(Step::Key(key)));
        }
        for index in rest.split_terminator(']') {
            out.push(index.strip_prefix('[').and_then(|i| i.parse().ok()).map(Step::Item));
        }
        if key.is_empty() && rest.is_empty() && !path.is_empty() {
            out.push(None);
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn known() -> Known {
        [
            ("a".to_owned(), json!({"id": "001", "success": true, "n": 5})),
            ("q".to_owned(), json!({"records": [{"Id": "x"}, {"Id": "y", "Tags": [[1], [2]]}]})),
            ("l".to_owned(), json!([{"id": "first"}])),
        ]
        .into()
    }

    #[test]
    fn references_take_values_by_key_and_position() {
        for (text, value) in [
            ("@{a.id}", json!("001")),
            ("@{a.success}", json!(true)),
            ("@{a.n}", json!(5)),
            ("n=@{a.n}, @{a.id}!", json!("n=5, 001!")),
            ("@{q.records[1].Id}", json!("y")),
            ("@{q.records[1].Tags[1][0]}", json!(2)),
            ("@{l[0].id}", json!("first")),
            ("plain @ {a}", json!("plain @ {a}")),
            ("open @{a.id", json!("open @{a.id")),
        ] {
            assert_eq!(resolve(&json!(text), &known()).unwrap(), value, "{text}");
        }
        let nested = json!({"x": ["@{a.id}", {"y": "@{a.n}"}], "z": null});
        assert_eq!(resolve(&nested, &known()).unwrap(), json!({"x": ["001", {"y": 5}], "z": null}));
    }

    #[test]
    fn a_reference_without_a_value_halts() {
        for text in [
            "@{b.id}",
            "@{a.nope}",
            "@{q.records[2].Id}",
            "@{q.records}",
            "@{a}",
            "@{}",
            "@{a..id}",
            "@{a[}",
            "@{a.id[x]}",
            "@{A.id}",
        ] {
            assert_eq!(resolve(&json!(text), &known()).unwrap_err().code, "PROCESSING_HALTED", "{text}");
        }
    }
}
