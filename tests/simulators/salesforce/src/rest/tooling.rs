//! The little of the Tooling API that data clients ask for: queries over the objects that
//! describe objects, and their list.

use axum::response::Response;
use http::Method;
use serde_json::{Value, json};

use crate::rest::conditional::cached;
use crate::rest::{global, query, records};
use crate::web::http::Call;
use crate::web::reply::ApiError;

/// Objects that exist in both APIs.
const OBJECTS: [&str; 5] = ["EntityDefinition", "Organization", "RecordType", "User", "Profile"];

/// `/tooling…`
pub fn handle(call: &Call, rest: &[&str]) -> Result<Response, ApiError> {
    let schema = &call.org.schema;
    let object = |name: &str| {
        let known = OBJECTS.iter().any(|o| o.eq_ignore_ascii_case(name));
        schema.object(name).filter(|_| known).ok_or_else(ApiError::not_found)
    };
    match (&call.method, rest) {
        (&Method::GET, []) => {
            let list = ["query", "sobjects"].map(|n| (n.to_owned(), call.path(&format!("tooling/{n}")).into()));
            crate::web::http::ok(Value::Object(list.into_iter().collect()))
        }
        (&Method::GET, ["query" | "queryAll", tail @ ..]) => query::handle(call, rest[0] == "queryAll", tail),
        (&Method::GET, ["sobjects"]) => cached(call, || {
            let list: Vec<Value> = OBJECTS
                .iter()
                .filter_map(|name| Some(global::entry(schema, schema.object(name)?, &call.version)))
                .collect();
            json!({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": list})
        }),
        (&Method::GET, ["sobjects", name, "describe"]) => {
            let index = object(name)?;
            cached(call, || records::describe(call, index))
        }
        (&Method::GET, ["sobjects", name, _]) => {
            object(name)?;
            records::handle(call, &rest[1..])
        }
        _ => Err(ApiError::not_found()),
    }
}
