//! `/composite`: up to 25 requests in order, each able to use the answers of earlier ones.

use std::collections::HashSet;

use axum::response::Response;
use serde_json::{Value, json};

use super::reference::{self, Known};
use super::subrequest::{self, Answer};
use crate::rest::mixed;
use crate::web::http::{Call, ok};
use crate::web::reply::ApiError;

/// Subrequests per call.
const REQUESTS_MAX: usize = 25;
/// Of them, queries and collections.
const HEAVY_MAX: usize = 5;

pub fn handle(call: &Call) -> Result<Response, ApiError> {
    let body = call.json()?;
    let list = entries(&body)?;
    if list.len() > REQUESTS_MAX {
        return Err(ApiError::bad(
            "LIMIT_EXCEEDED",
            format!("Limit of {REQUESTS_MAX} subrequests reached for a composite request"),
        ));
    }
    let heavy = list.iter().filter(|e| is_heavy(e["url"].as_str().unwrap_or_default())).count();
    if heavy > HEAVY_MAX {
        return Err(ApiError::bad(
            "LIMIT_EXCEEDED",
            format!("Limit of {HEAVY_MAX} query and sObject Collections subrequests reached for a composite request"),
        ));
    }
    let all_or_none = body["allOrNone"].as_bool().unwrap_or(false);
    let answers = if all_or_none {
        together(call, list).unwrap_or_else(|failed| failed)
    } else {
        separately(call, list)
    };
    ok(json!({"compositeResponse": answers}))
}

/// The checked list of subrequests, of a composite call or of a graph.
pub fn entries(body: &Value) -> Result<&Vec<Value>, ApiError> {
    let list = body["compositeRequest"]
        .as_array()
        .filter(|l| !l.is_empty())
        .ok_or_else(|| ApiError::bad("JSON_PARSER_ERROR", "compositeRequest is missing or not an array of subrequests"))?;
    let mut seen = HashSet::new();
    for entry in list {
        let bad = |message: String| ApiError::bad("INVALID_INPUT", message);
        let id = entry["referenceId"].as_str().unwrap_or_default();
        if !reference::is_id(id) {
            return Err(bad(format!(
                "Provided referenceId ('{id}') must have letters, numbers and underscores only"
            )));
        }
        if !seen.insert(id) {
            return Err(bad(format!("Duplicate referenceId: {id}")));
        }
        for key in ["method", "url"] {
            if entry[key].as_str().is_none_or(str::is_empty) {
                return Err(bad(format!("The subrequest {id} has no {key}")));
            }
        }
    }
    Ok(list)
}

fn is_heavy(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let mut parts = path.split('/').filter(|s| !s.is_empty()).skip(3);
    matches!(
        (parts.next(), parts.next()),
        (Some("query" | "queryAll"), _) | (Some("composite"), Some("sobjects"))
    )
}

fn one(call: &Call, entry: &Value, known: &mut Known) -> Answer {
    let answer = resolved(call, entry, known).unwrap_or_else(|error| Answer::refused(&error));
    if answer.is_success()
        && let Some(id) = entry["referenceId"].as_str()
    {
        known.insert(id.to_owned(), answer.body.clone());
    }
    answer
}

fn resolved(call: &Call, entry: &Value, known: &Known) -> Result<Answer, ApiError> {
    let url = reference::resolve_text(entry["url"].as_str().unwrap_or_default(), known)?;
    let headers = reference::resolve(&entry["httpHeaders"], known)?;
    let body = entry.get("body").map(|b| reference::resolve(b, known)).transpose()?;
    let method = entry["method"].as_str().unwrap_or_default();
    Ok(subrequest::run(call, method, &url, &headers, body.as_ref()))
}

fn named(entry: &Value, answer: Answer) -> Value {
    answer.entry(entry["referenceId"].as_str().unwrap_or_default())
}

fn separately(call: &Call, list: &[Value]) -> Vec<Value> {
    let mut known = Known::new();
    list.iter().map(|entry| named(entry, one(call, entry, &mut known))).collect()
}

/// Runs all subrequests as one transaction. After a failure, the failed one alone tells why.
pub fn together(call: &Call, list: &[Value]) -> Result<Vec<Value>, Vec<Value>> {
    let run = || {
        let mut known = Known::new();
        let mut done = Vec::with_capacity(list.len());
        for (at, entry) in list.iter().enumerate() {
            let answer = one(call, entry, &mut known);
            if !answer.is_success() || answer.undone {
                return Err((at, answer));
            }
            done.push(named(entry, answer));
        }
        Ok(done)
    };
    let failure = call.org.records.transaction(|| mixed::transaction(run));
    let (failed, answer) = match failure {
        Ok(done) => return Ok(done),
        Err(failure) => failure,
    };
    let mut answer = Some(answer);
    let shown = list.iter().enumerate().map(|(at, entry)| {
        let own = answer.take_if(|_| at == failed);
        named(entry, own.unwrap_or_else(Answer::halted))
    });
    Err(shown.collect())
}

/// What every subrequest answers when nothing of its graph ran.
pub fn halted(list: &[Value]) -> Vec<Value> {
    list.iter().map(|entry| named(entry, Answer::halted())).collect()
}
