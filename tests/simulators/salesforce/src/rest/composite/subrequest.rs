//! One request inside another.

use std::sync::Arc;

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};

use crate::web::http::{Call, data};
use crate::web::reply::ApiError;
use crate::web::target::Target;

/// What became of a subrequest.
pub struct Answer {
    pub status: u16,
    pub headers: Map<String, Value>,
    /// `null` without a body.
    pub body: Value,
    /// A collection inside was all-or-none and failed.
    pub undone: bool,
}

/// Headers that belong to the call itself and not to its parts.
const OWN: [HeaderName; 6] = [
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
];
/// Headers a subrequest can't set.
const FIXED: [&str; 3] = ["accept", "authorization", "content-type"];
/// Headers of the answer that are passed on, as they are spelled inside a composite answer.
const SHOWN: [(HeaderName, &str); 3] = [
    (header::LOCATION, "Location"),
    (header::ETAG, "ETag"),
    (header::LAST_MODIFIED, "Last-Modified"),
];

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status) || self.status == 304
    }

    pub fn refused(error: &ApiError) -> Self {
        Self::of(error.reply())
    }

    /// The answer of a subrequest whose siblings' transaction was rolled back.
    pub fn halted() -> Self {
        Self::refused(&ApiError::bad(
            "PROCESSING_HALTED",
            "The transaction was rolled back since another operation in the same transaction failed.",
        ))
    }

    fn of(reply: Response) -> Self {
        let (parts, body) = reply.into_parts();
        let headers = SHOWN
            .iter()
            .filter_map(|(name, shown)| Some(((*shown).to_owned(), parts.headers.get(name)?.to_str().ok()?.into())))
            .collect();
        // Ready-made bodies never wait.
        let bytes = futures::executor::block_on(body.collect())
            .map(|b| b.to_bytes())
            .unwrap_or_default();
        Self {
            status: parts.status.as_u16(),
            headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            undone: false,
        }
    }

    /// The body, or the first error as one of the outer call.
    pub fn into_body(self) -> Result<Value, ApiError> {
        if self.is_success() {
            return Ok(self.body);
        }
        let text = |key: &str| self.body[0][key].as_str().unwrap_or_default();
        Err(ApiError::new(self.status, text("errorCode"), text("message")))
    }

    /// As an entry of `compositeResponse`.
    pub fn entry(self, reference: &str) -> Value {
        json!({"body": self.body, "httpHeaders": self.headers, "httpStatusCode": self.status, "referenceId": reference})
    }
}

/// Runs one subrequest of `outer`.
pub fn run(outer: &Call, method: &str, url: &str, headers: &Value, body: Option<&Value>) -> Answer {
    let reply = prepare(outer, method, url, headers, body).and_then(|call| {
        let undoable = body.is_some_and(|b| b["allOrNone"] == true) || call.query.get("allOrNone").is_some_and(|v| v == "true");
        let collection = undoable && call.segments.starts_with(&["composite".into(), "sobjects".into()]);
        data(&call).map(|reply| (reply, collection))
    });
    match reply {
        Ok((reply, collection)) => {
            let mut answer = Answer::of(reply);
            let failed = |list: &Vec<Value>| list.iter().any(|result| result["success"] == false);
            answer.undone = collection && answer.body.as_array().is_some_and(failed);
            answer
        }
        Err(error) => Answer::refused(&error),
    }
}

fn prepare(outer: &Call, method: &str, url: &str, headers: &Value, body: Option<&Value>) -> Result<Call, ApiError> {
    let method: Method = method
        .parse()
        .ok()
        .filter(|m| [Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE, Method::HEAD].contains(m))
        .ok_or_else(|| ApiError::new(405, "METHOD_NOT_ALLOWED", format!("HTTP Method '{method}' not allowed")))?;
    let target = Target::parse(url).ok_or_else(ApiError::not_found)?;
    // Calls that carry other calls or bytes are for themselves only.
    let first: Vec<&str> = target.segments.iter().map(String::as_str).collect();
    let nested = matches!(first.as_slice(), ["composite", kind, ..] if *kind != "sobjects") || first == ["composite"];
    if nested || first.first() == Some(&"jobs") {
        let message = format!("The requested resource can't be part of a composite request: {url}");
        return Err(ApiError::bad("INVALID_INPUT", message));
    }
    Ok(Call {
        org: Arc::clone(&outer.org),
        caller: outer.caller.clone(),
        method,
        version: target.version,
        segments: target.segments,
        query: target.query,
        headers: own_headers(outer, headers)?,
        body: body.map(|b| b.to_string().into()).unwrap_or_default(),
        is_crowded: false,
    })
}

fn own_headers(outer: &Call, wanted: &Value) -> Result<HeaderMap, ApiError> {
    let mut out = outer.headers.clone();
    for name in OWN {
        out.remove(name);
    }
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in wanted.as_object().into_iter().flatten() {
        let bad = || ApiError::bad("INVALID_INPUT", format!("The header {name} can't be set on a subrequest"));
        if FIXED.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(bad());
        }
        let name: HeaderName = name.parse().map_err(|_| bad())?;
        let value = value.as_str().and_then(|v| HeaderValue::from_str(v).ok()).ok_or_else(bad)?;
        out.insert(name, value);
    }
    Ok(out)
}
