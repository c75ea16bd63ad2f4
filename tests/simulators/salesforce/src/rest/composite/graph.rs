//! `/composite/graph`: many composite requests, each one transaction.

use std::collections::{HashMap, HashSet};

use axum::response::Response;
use serde_json::{Value, json};

use super::reference;
use super::requests;
use crate::web::http::{Call, ok};
use crate::web::reply::ApiError;
use crate::web::target::Target;

// "Composite Graph Limits", REST API Developer Guide.
const GRAPHS_MAX: usize = 75;
const NODES_MAX: usize = 500;
const DEPTH_MAX: usize = 15;
const KINDS_MAX: usize = 15;
const FAILURES_MAX: usize = 14;
const GRAPH_ID_CHARS_MAX: usize = 40;

pub fn handle(call: &Call) -> Result<Response, ApiError> {
    let body = call.json()?;
    let graphs = body["graphs"]
        .as_array()
        .filter(|l| !l.is_empty())
        .ok_or_else(|| ApiError::bad("JSON_PARSER_ERROR", "graphs is missing or not an array"))?;
    check(graphs)?;
    let mut failures = 0;
    let mut out = Vec::with_capacity(graphs.len());
    for graph in graphs {
        let list = requests::entries(graph)?;
        let result = if failures > FAILURES_MAX {
            Err(requests::halted(list))
        } else {
            requests::together(call, list)
        };
        let good = result.is_ok();
        failures += usize::from(!good);
        let answers = result.unwrap_or_else(|failed| failed);
        out.push(json!({"graphId": graph["graphId"], "graphResponse": {"compositeResponse": answers}, "isSuccessful": good}));
    }
    ok(json!({"graphs": out}))
}

fn check(graphs: &[Value]) -> Result<(), ApiError> {
    let limit = |what: &str, max: usize| {
        ApiError::bad(
            "LIMIT_EXCEEDED",
            format!("Limit of {max} {what} reached for a composite graph request"),
        )
    };
    let bad = |message: String| ApiError::bad("INVALID_INPUT", message);
    if graphs.len() > GRAPHS_MAX {
        return Err(limit("graphs", GRAPHS_MAX));
    }
    let mut ids = HashSet::new();
    let mut kinds = HashSet::new();
    let mut nodes = 0;
    for graph in graphs {
        let id = graph["graphId"].as_str().unwrap_or_default();
        let starts_well = id.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !starts_well || id.chars().count() > GRAPH_ID_CHARS_MAX || id.contains('.') {
            return Err(bad(format!("Invalid graphId: '{id}'")));
        }
        if !ids.insert(id) {
            return Err(bad(format!("Duplicate graphId: {id}")));
        }
        let list = requests::entries(graph)?;
        nodes += list.len();
        for entry in list {
            kinds.insert(kind(entry)?);
        }
        if depth(list) > DEPTH_MAX {
            return Err(limit("levels", DEPTH_MAX));
        }
    }
    if nodes > NODES_MAX {
        return Err(limit("nodes", NODES_MAX));
    }
    if kinds.len() > KINDS_MAX {
        return Err(limit("different nodes", KINDS_MAX));
    }
    Ok(())
}

/// Version, method and object: what makes nodes different. Graphs take record requests only.
fn kind(entry: &Value) -> Result<(String, String, String), ApiError> {
    let url = entry["url"].as_str().unwrap_or_default();
    let method = entry["method"].as_str().unwrap_or_default().to_ascii_uppercase();
    let target = Target::parse(url).ok_or_else(ApiError::not_found)?;
    let segments: Vec<&str> = target.segments.iter().map(String::as_str).collect();
    let object = match (method.as_str(), segments.as_slice()) {
        ("POST", ["sobjects", object]) => object,
        ("GET" | "PATCH" | "DELETE", ["sobjects", object, _]) => object,
        ("GET" | "PATCH" | "DELETE" | "POST", ["sobjects", object, _, _]) => object,
        _ => {
            let message = format!("{method} {url} is not supported in a composite graph");
            return Err(ApiError::bad("INVALID_INPUT", message));
        }
    };
    let object = object.to_ascii_lowercase();
    Ok((target.version, method, object))
}

/// Nodes on the longest chain of references.
fn depth(list: &[Value]) -> usize {
    let mut depths: HashMap<&str, usize> = HashMap::new();
    for entry in list {
        let mut used = Vec::new();
        reference::mentioned(entry, &mut used);
        let below = used.iter().filter_map(|id| depths.get(id.as_str())).max().copied().unwrap_or(0);
        depths.insert(entry["referenceId"].as_str().unwrap_or_default(), below + 1);
    }
    depths.values().max().copied().unwrap_or(0)
}
