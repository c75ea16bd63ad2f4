//! Documents of Bulk API 1.0 in XML or JSON, refusals among them.

use axum::response::Response;
use serde_json::{Map, Value};

use crate::soql::SoqlError;
use crate::web::markup::{DECLARATION, leaf};
use crate::web::reply::{ApiError, json_reply, raw_reply};

/// The namespace of every XML answer.
pub const NAMESPACE: &str = "http://www.force.com/2009/06/asyncapi/dataload";

/// Names and values in the order they are shown.
pub type Fields = Vec<(&'static str, Value)>;

/// A refused request.
#[derive(Debug)]
pub struct Refusal {
    status: u16,
    code: String,
    message: String,
}

impl Refusal {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            code: code.into(),
            message: message.into(),
        }
    }

    pub fn reply(&self, json: bool) -> Response {
        let fields: Fields = vec![
            ("exceptionCode", self.code.as_str().into()),
            ("exceptionMessage", self.message.as_str().into()),
        ];
        document(self.status, json, "error", &fields)
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        let code = match error.code.as_str() {
            "INVALID_SESSION_ID" | "INVALID_AUTH_HEADER" => "InvalidSessionId",
            "REQUEST_LIMIT_EXCEEDED" => "ExceededQuota",
            "INVALIDENTITY" => "InvalidEntity",
            _ => "ClientInputError",
        };
        Self::new(code, error.message)
    }
}

/// How a failed query is told in a batch's `stateMessage`.
pub fn query_failure(error: &SoqlError) -> String {
    let code = if error.code == "FeatureNotEnabled" {
        "FeatureNotEnabled"
    } else {
        "InvalidBatch"
    };
    format!("{code} : Failed to process query: {}: {}", error.code, error.message)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn leaves(out: &mut String, fields: &Fields) {
    fields.iter().for_each(|(name, value)| leaf(out, name, &text(value)));
}

fn object(fields: &Fields) -> Value {
    Value::Object(fields.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect::<Map<_, _>>())
}

/// One element with leaves, or one object.
pub fn document(status: u16, json: bool, root: &str, fields: &Fields) -> Response {
    if json {
        return json_reply(status, &object(fields));
    }
    let mut out = format!("{DECLARATION}<{root} xmlns=\"{NAMESPACE}\">");
    leaves(&mut out, fields);
    xml(status, out, root)
}

/// All of a job's batches.
pub fn batches(json: bool, list: &[Fields]) -> Response {
    if json {
        let list: Vec<Value> = list.iter().map(object).collect();
        return json_reply(200, &serde_json::json!({"batchInfo": list}));
    }
    let mut out = format!("{DECLARATION}<batchInfoList xmlns=\"{NAMESPACE}\">");
    for fields in list {
        out.push_str("<batchInfo>");
        leaves(&mut out, fields);
        out.push_str("</batchInfo>");
    }
    xml(200, out, "batchInfoList")
}

/// Ends a document and answers with it.
pub fn xml(status: u16, mut out: String, root: &str) -> Response {
    out.push_str(&format!("</{root}>"));
    raw_reply(status, "application/xml", out)
}
