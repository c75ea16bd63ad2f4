//! Several requests in one call: composite, batch, graph and tree.
//!
//! Every subrequest runs through the handlers of single requests, so it answers and fails
//! as they do. All-or-none is a transaction of the records, see `store::shared`.

mod batch;
mod graph;
mod reference;
mod requests;
mod subrequest;
mod tree;

use axum::response::Response;
use http::Method;

use crate::rest::collections;
use crate::web::http::Call;
use crate::web::reply::ApiError;

/// `/composite…`
pub fn handle(call: &Call, rest: &[&str]) -> Result<Response, ApiError> {
    match (&call.method, rest) {
        (_, ["sobjects", rest @ ..]) => collections::handle(call, rest),
        (&Method::POST, []) => requests::handle(call),
        (&Method::POST, ["batch"]) => batch::handle(call),
        (&Method::POST, ["graph"]) => graph::handle(call),
        (&Method::POST, ["tree", object]) => tree::handle(call, object),
        (&Method::GET, []) => resources(call),
        (_, [] | ["batch" | "graph"] | ["tree", _]) => Err(ApiError::method_not_allowed()),
        _ => Err(ApiError::not_found()),
    }
}

fn resources(call: &Call) -> Result<Response, ApiError> {
    let list = ["batch", "graph", "sobjects", "tree"].map(|name| (name.to_owned(), call.path(&format!("composite/{name}")).into()));
    crate::web::http::ok(serde_json::Value::Object(list.into_iter().collect()))
}

/// Runs a SOQL statement inside `call`, all its pages.
pub fn query(call: &Call, soql: &str) -> Result<serde_json::Value, ApiError> {
    let q: String = url::form_urlencoded::byte_serialize(soql.as_bytes()).collect();
    let run = |url: &str| subrequest::run(call, "GET", url, &serde_json::Value::Null, None).into_body();
    let mut answer = run(&call.path(&format!("query?q={q}")))?;
    while let Some(url) = answer["nextRecordsUrl"].as_str().map(str::to_owned) {
        let mut page = run(&url)?;
        let rows = page["records"].as_array_mut().map(std::mem::take).unwrap_or_default();
        if let Some(records) = answer["records"].as_array_mut() {
            records.extend(rows);
        }
        answer["nextRecordsUrl"] = page["nextRecordsUrl"].take();
    }
    Ok(answer)
}
