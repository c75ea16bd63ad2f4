//! What surrounds a body on the wire: sizes, encodings, media types, and the form of the
//! answer a client asked for.

use std::io::Read;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::BodyExt;

use crate::web::http::Call;
use crate::web::reply::{ApiError, empty};
use crate::web::xml;

/// Longest URI, and longest URI and headers together ("Request Limits", REST API Developer Guide).
const HEAD_BYTES_MAX: usize = 16_384;
/// Largest body of a REST call.
const REST_BYTES_MAX: usize = 50 * 1024 * 1024;
/// Largest body of a call that carries file bytes in a part of their own.
const FILE_BYTES_MAX: usize = 500 * 1024 * 1024;
/// Largest Bulk upload.
const BULK_BYTES_MAX: usize = 157_286_400;

/// Refuses heads that are too long.
pub fn check_head(parts: &Parts) -> Result<(), ApiError> {
    let uri = parts.uri.path_and_query().map_or(0, |p| p.as_str().len());
    if uri > HEAD_BYTES_MAX {
        return Err(ApiError::new(414, "URI_TOO_LONG", "The URI exceeds 16384 bytes"));
    }
    let headers: usize = parts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if uri + headers > HEAD_BYTES_MAX {
        let message = "The URI and headers exceed 16384 bytes";
        return Err(ApiError::new(431, "REQUEST_HEADER_FIELDS_TOO_LARGE", message));
    }
    Ok(())
}

/// How many body bytes a request may have. Only record calls below the data root differ
/// from the Bulk limit.
pub fn body_bytes_max(path: &str, headers: &HeaderMap) -> usize {
    let below = path.strip_prefix("/services/data/").and_then(|rest| rest.split_once('/'));
    match below {
        Some((_, tail)) if tail.starts_with("jobs/") => BULK_BYTES_MAX,
        Some(_) if media_type(headers) == "multipart/form-data" => FILE_BYTES_MAX,
        Some(_) => REST_BYTES_MAX,
        None => BULK_BYTES_MAX,
    }
}

/// The refusal of a body beyond `max`.
pub fn too_large(max: usize) -> ApiError {
    let message = format!("Request size exceeded {max} bytes");
    match max {
        BULK_BYTES_MAX => ApiError::new(413, "EXCEEDED_MAX_SIZE_REQUEST", "Request entity is too large"),
        _ => ApiError::bad("EXCEEDED_MAX_SIZE_REQUEST", message),
    }
}

/// The media type without parameters, in lower case.
pub fn media_type(headers: &HeaderMap) -> String {
    let text = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Decodes the body of a record call and refuses media types it can't be in.
pub fn receive(call: &mut Call) -> Result<(), ApiError> {
    if call.body.is_empty() || call.segments.first().is_some_and(|s| s == "jobs") {
        return Ok(());
    }
    let encoding = call.headers.get(header::CONTENT_ENCODING).and_then(|v| v.to_str().ok());
    match encoding.map(str::trim).map(str::to_ascii_lowercase).as_deref() {
        None | Some("identity") => {}
        Some("gzip") => call.body = gunzip(&call.body)?,
        Some(other) => {
            let message = format!("Content-Encoding {other} is not supported");
            return Err(ApiError::new(415, "UNSUPPORTED_MEDIA_TYPE", message));
        }
    }
    let reads_body = [Method::POST, Method::PATCH, Method::PUT].contains(&call.method);
    match media_type(&call.headers).as_str() {
        _ if !reads_body => Ok(()),
        "" | "application/json" | "multipart/form-data" => Ok(()),
        other => {
            let message = format!("Content type '{other}' is not supported");
            Err(ApiError::new(415, "UNSUPPORTED_MEDIA_TYPE", message))
        }
    }
}

fn gunzip(packed: &[u8]) -> Result<Bytes, ApiError> {
    let mut out = Vec::new();
    // One byte more than allowed tells an exact fit from an overflow.
    let mut reader = flate2::read::MultiGzDecoder::new(packed).take(REST_BYTES_MAX as u64 + 1);
    let result = reader.read_to_end(&mut out);
    result.map_err(|e| ApiError::bad("JSON_PARSER_ERROR", format!("The body is not valid gzip: {e}")))?;
    if out.len() > REST_BYTES_MAX {
        return Err(too_large(REST_BYTES_MAX));
    }
    Ok(out.into())
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    xml: bool,
    pretty: bool,
}

/// The form a client asked for, by suffix (taken off the path), then by header.
pub fn form(call: &mut Call) -> Form {
    let suffix = take_suffix(&mut call.segments);
    let accept = call.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let mut named = accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
    let first = named.find(|t| ["application/json", "application/xml", "*/*", "application/*"].contains(t));
    let pretty = call.headers.get("x-prettyprint").and_then(|v| v.to_str().ok());
    Form {
        xml: suffix.unwrap_or(first == Some("application/xml")),
        pretty: pretty.is_some_and(|v| v == "1" || v.eq_ignore_ascii_case("true")),
    }
}

/// Takes `.json` or `.xml` off the last segment; whether it was XML. The value of an
/// external id may end so by itself and is left alone.
fn take_suffix(segments: &mut [String]) -> Option<bool> {
    let words = ["describe", "listviews", "quickActions"];
    let value = segments.len() == 4 && segments[0] == "sobjects" && !words.contains(&segments[2].as_str());
    if value || segments.first().is_some_and(|s| s == "jobs") {
        return None;
    }
    let last = segments.last_mut()?;
    let (stem, xml) = match (last.strip_suffix(".json"), last.strip_suffix(".xml")) {
        (Some(stem), _) => (stem.to_owned(), false),
        (_, Some(stem)) => (stem.to_owned(), true),
        _ => return None,
    };
    *last = stem;
    Some(xml)
}

impl Form {
    /// Brings a JSON answer into this form; `root` names the element around an XML one.
    pub async fn apply(self, reply: Response, root: &str) -> Response {
        let json = HeaderValue::from_static("application/json;charset=UTF-8");
        if !(self.xml || self.pretty) || reply.headers().get(header::CONTENT_TYPE) != Some(&json) {
            return reply;
        }
        let (mut parts, body) = reply.into_parts();
        let Ok(collected) = body.collect().await else {
            return empty(500);
        };
        let bytes = collected.to_bytes();
        parts.headers.remove(header::CONTENT_LENGTH);
        let body = if self.xml {
            let xml_type = HeaderValue::from_static("application/xml;charset=UTF-8");
            parts.headers.insert(header::CONTENT_TYPE, xml_type);
            let root = if parts.status.is_success() { root } else { xml::ERRORS };
            xml::from_json(&bytes, root)
        } else {
            indent(&bytes)
        };
        Response::from_parts(parts, Body::from(body))
    }
}

/// Indents JSON without touching its values or their order.
fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + depth * 2, b' ');
    };
    let mut rest = json.iter().copied().peekable();
    while let Some(c) = rest.next() {
        if in_text {
            out.push(c);
            in_text = escaped || c != b'"';
            escaped = !escaped && c == b'\\';
            continue;
        }
        match c {
            b'{' | b'[' => {
                out.push(c);
                if matches!(rest.peek(), Some(b'}' | b']')) {
                    out.extend(rest.next());
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            b',' => {
                out.push(c);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b" : "),
            c if c.is_ascii_whitespace() => {}
            c => {
                in_text = c == b'"';
                out.push(c);
            }
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn indenting_changes_no_value() {
        let value = json!({"a": [1, {"b": "x,{\"y\\\":[ "}, [], {}], "z": null, "t": "\\"});
        let text = indent(value.to_string().as_bytes());
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), value);
        assert!(String::from_utf8(text).unwrap().starts_with("{\n  \"a\" : [\n    1,\n    {\n"));
    }

    #[test]
    fn a_suffix_is_taken_off_paths_but_not_off_external_ids() {
        let take = |path: &str| {
            let mut segments: Vec<String> = path.split('/').map(str::to_owned).collect();
            let kind = take_suffix(&mut segments);
            (segments.join("/"), kind)
        };
        for (path, left, kind) in [
            ("sobjects/Account.json", "sobjects/Account", Some(false)),
            ("sobjects/Account/001/describe.xml", "sobjects/Account/001/describe.xml", None),
            ("sobjects/Account/describe.xml", "sobjects/Account/describe", Some(true)),
            (
                "sobjects/Account/describe/layouts.json",
                "sobjects/Account/describe/layouts",
                Some(false),
            ),
            ("sobjects/Account/Ext_Id__c/a.json", "sobjects/Account/Ext_Id__c/a.json", None),
            ("query", "query", None),
        ] {
            assert_eq!(take(path), (left.to_owned(), kind), "{path}");
        }
    }
}
