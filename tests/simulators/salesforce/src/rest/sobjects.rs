//! `/sobjects…`: what describes objects and what lists their changes; records themselves
//! are in `records`.

use axum::response::Response;
use http::Method;
use serde_json::{Value, json};

use crate::rest::conditional::cached;
use crate::rest::{files, global, listviews, recent, records, replication};
use crate::web::http::Call;
use crate::web::reply::ApiError;

pub fn handle(call: &Call, rest: &[&str]) -> Result<Response, ApiError> {
    if let Some(reply) = files::download(call, rest) {
        return reply;
    }
    if let Some(joined) = files::joined(call, rest)? {
        return records::handle(&joined, rest);
    }
    let schema = &call.org.schema;
    let object = |name: &str| schema.object(name).ok_or_else(ApiError::not_found);
    match (&call.method, rest) {
        (&Method::GET | &Method::HEAD, []) => cached(call, || {
            let list: Vec<Value> = (0..schema.objects.len()).map(|i| global::entry(schema, i, &call.version)).collect();
            json!({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": list})
        }),
        (&Method::GET | &Method::HEAD, [name]) => {
            let index = object(name)?;
            cached(
                call,
                || json!({"objectDescribe": global::entry(schema, index, &call.version), "recentItems": recent::items(call, Some(index))}),
            )
        }
        (&Method::GET | &Method::HEAD, [name, "describe"]) => {
            let index = object(name)?;
            cached(call, || {
                let mut describe = records::describe(call, index);
                if let Value::Object(map) = &mut describe {
                    global::characterise(&schema.objects[index], map);
                }
                describe
            })
        }
        (&Method::GET, [name, kind @ ("updated" | "deleted")]) => replication::handle(call, object(name)?, *kind == "deleted"),
        (_, [name, "listviews", rest @ ..]) => listviews::handle(call, object(name)?, rest),
        (_, [_, "describe" | "updated" | "deleted"]) => Err(ApiError::method_not_allowed()),
        _ => records::handle(call, rest),
    }
}
