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
