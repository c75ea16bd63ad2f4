//! `/composite/batch`: up to 25 requests, each for itself.

use std::sync::atomic::Ordering;

use axum::response::Response;
use serde_json::{Value, json};

use super::subrequest;
use crate::web::http::{Call, ok};
use crate::web::reply::ApiError;

/// Subrequests per call.
const REQUESTS_MAX: usize = 25;

pub fn handle(call: &Call) -> Result<Response, ApiError> {
    let body = call.json()?;
    let list = body["batchRequests"]
        .as_array()
        .filter(|l| !l.is_empty())
        .ok_or_else(|| ApiError::bad("JSON_PARSER_ERROR", "batchRequests is missing or not an array of subrequests"))?;
    if list.len() > REQUESTS_MAX {
        return Err(ApiError::bad(
            "LIMIT_EXCEEDED",
            format!("Limit of {REQUESTS_MAX} subrequests reached for a batch request"),
        ));
    }
    // The call itself is counted already; unlike a composite call's, each part counts.
    call.org.requests.fetch_add(list.len() as u64 - 1, Ordering::Relaxed);
    let halt = body["haltOnError"].as_bool().unwrap_or(false);
    let mut failed = false;
    let mut results = Vec::with_capacity(list.len());
    for entry in list {
        if failed && halt {
            let error = json!([{"errorCode": "BATCH_PROCESSING_HALTED", "message": "Batch processing halted per request"}]);
            results.push(json!({"statusCode": 412, "result": error}));
            continue;
        }
        let text = |key: &str| entry[key].as_str().unwrap_or_default();
        let answer = subrequest::run(call, text("method"), text("url"), &Value::Null, entry.get("richInput"));
        failed |= !answer.is_success();
        results.push(json!({"statusCode": answer.status, "result": answer.body}));
    }
    ok(json!({"hasErrors": failed, "results": results}))
}
