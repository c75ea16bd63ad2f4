//! What results look like, as text and as JSON. Pure: no clock, no terminal.

pub mod audit;
pub mod connection;
pub mod dead_letter;
pub mod explanation;
pub mod plan;
pub mod progress;
pub mod report;
pub mod retry;
pub mod run;
pub mod token;

use prost_types::Timestamp;
use serde_json::Value;

/// A moment as RFC 3339, or null.
fn moment_json(at: Option<&Timestamp>) -> Value {
    at.and_then(syncline_wire::time::from_proto).map_or(Value::Null, |at| {
        Value::String(at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
    })
}

/// Null for what proto can't leave out.
fn text_json(text: &str) -> Value {
    if text.is_empty() {
        Value::Null
    } else {
        Value::String(text.to_owned())
    }
}

fn dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}
