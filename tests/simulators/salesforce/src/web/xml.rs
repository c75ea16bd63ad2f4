//! JSON answers as XML: members become elements, `attributes` become attributes, lists
//! repeat their element.

use serde_json::{Map, Value};

/// The element around a refused request's errors.
pub const ERRORS: &str = "Errors";

/// Converts a whole answer.
pub fn from_json(json: &[u8], root: &str) -> Vec<u8> {
    let value: Value = serde_json::from_slice(json).unwrap_or(Value::Null);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    match &value {
        Value::Array(list) => {
            // `Errors` around `Error`, `Results` around `Result`.
            let (outer, inner) = match root.strip_suffix('s') {
                Some(one) => (root.to_owned(), one.to_owned()),
                None => (format!("{root}s"), root.to_owned()),
            };
            out.push_str(&format!("<{outer}>"));
            list.iter().for_each(|item| element(&mut out, &inner, item));
            out.push_str(&format!("</{outer}>"));
        }
        value => element(&mut out, root, value),
    }
    out.into_bytes()
}

/// The name of the element around the answer of a path, from the resource it names.
pub fn root(segments: &[String]) -> String {
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let name = match parts.as_slice() {
        ["query" | "queryAll", ..] => "QueryResult",
        ["sobjects"] => "DescribeGlobal",
        ["sobjects", _, "describe"] => "DescribeSObject",
        ["sobjects", _, "updated" | "deleted"] => "GetResult",
        ["sobjects", object, _] | ["sobjects", object, _, _] if is_name(object) => object,
        ["limits"] => "LimitsSnapshot",
        [] => "urls",
        _ => "Result",
    };
    name.to_owned()
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // Most control characters can't stand in XML 1.0, not even escaped.
            c if c < ' ' && !matches!(c, '\t' | '\n' | '\r') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

fn scalar(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => escape(out, text),
        other => out.push_str(&other.to_string()),
    }
}

fn element(out: &mut String, name: &str, value: &Value) {
    // A key that is no element name (`expr0` is one) goes into an attribute.
    let (open, close) = if is_name(name) {
        (name.to_owned(), name)
    } else {
        let mut open = String::from("entry name=\"");
        escape(&mut open, name);
        open.push('"');
        (open, "entry")
    };
    match value {
        Value::Null => out.push_str(&format!(
            "<{open} xsi:nil=\"true\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"/>"
        )),
        Value::Array(list) => list.iter().for_each(|item| element(out, name, item)),
        Value::Object(map) => {
            out.push_str(&format!("<{open}"));
            attributes(out, map);
            out.push('>');
            for (key, value) in map.iter().filter(|(key, _)| *key != "attributes") {
                element(out, key, value);
            }
            out.push_str(&format!("</{close}>"));
        }
        value => {
            out.push_str(&format!("<{open}>"));
            scalar(out, value);
            out.push_str(&format!("</{close}>"));
        }
    }
}

fn attributes(out: &mut String, map: &Map<String, Value>) {
    for (key, value) in map.get("attributes").and_then(Value::as_object).into_iter().flatten() {
        if is_name(key) && !value.is_object() && !value.is_array() {
            out.push_str(&format!(" {key}=\""));
            scalar(out, value);
            out.push('"');
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn members_lists_and_attributes_find_their_place() {
        let json = br#"{"totalSize":2,"done":true,"records":[{"attributes":{"type":"A","url":"/x"},"Id":"1","N":"a<b&\"c"},{"attributes":{"type":"A","url":"/y"},"Id":"2","N":null}]}"#;
        let xml = String::from_utf8(from_json(json, "QueryResult")).unwrap();
        for piece in [
            "<QueryResult><done>true</done>",
            "<records type=\"A\" url=\"/x\"><Id>1</Id><N>a&lt;b&amp;&quot;c</N></records>",
            "<Id>2</Id><N xsi:nil=\"true\"",
            "<totalSize>2</totalSize></QueryResult>",
        ] {
            assert!(xml.contains(piece), "{piece} in {xml}");
        }
        let errors = String::from_utf8(from_json(br#"[{"errorCode":"X","message":"m"}]"#, ERRORS)).unwrap();
        assert!(errors.ends_with("<Errors><Error><errorCode>X</errorCode><message>m</message></Error></Errors>"));
    }
}
