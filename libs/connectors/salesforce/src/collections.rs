//! Records written by sObject Collections: up to 200 a call, an outcome per record in the answer.
//!
//! For few records, or of several objects at once. An answer that is lost is lost: a call that inserts is not repeated,
//! and nothing can tell later what it did. So whoever must account for every record after a crash inserts by jobs.

use std::ops::Range;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use syncline_connect::ConnectError;
use syncline_connect::target::Refusal;
use syncline_domain::{ErrorCode, FieldName, ObjectName};

use crate::choice::COLLECTION_RECORDS_MAX;
use crate::client::{Client, Request};
use crate::error;

/// Runs of one object in a call (sObject Collections: records are processed in chunks of one type, ten at most).
const CHUNKS_MAX: usize = 10;

/// A record to be written. Prints no values.
#[derive(Clone)]
pub struct Record {
    pub object: ObjectName,
    /// By field, or by relationship for a reference through a key of the parent: see [`crate::reference`].
    pub values: Map<String, Value>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("object", &self.object).finish_non_exhaustive()
    }
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Empty where there is none.
    pub id: String,
    pub created: bool,
    pub refusal: Option<Refusal>,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    id: Option<String>,
    success: bool,
    #[serde(default)]
    created: Option<bool>,
    #[serde(default)]
    errors: Vec<RecordError>,
}

#[derive(Deserialize)]
struct RecordError {
    #[serde(rename = "statusCode")]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    fields: Vec<String>,
}

impl Outcome {
    fn saved(self, inserts: bool) -> Saved {
        let refusal = (!self.success).then(|| match self.errors.into_iter().next() {
            Some(e) => error::record_refusal(&e.code, &e.message, e.fields),
            None => error::refusal(""),
        });
        Saved {
            created: self.success && self.created.unwrap_or(inserts),
            id: self.id.unwrap_or_default(),
            refusal,
        }
    }
}

/// Calls for records of these objects, in order: at most 200 records and ten runs of one object each.
#[must_use]
pub fn calls(objects: &[&ObjectName]) -> Vec<Range<usize>> {
    let (mut calls, mut from, mut chunks) = (Vec::new(), 0, 0);
    for (at, object) in objects.iter().enumerate() {
        let begins_chunk = at == from || at.checked_sub(1).and_then(|b| objects.get(b)) != Some(object);
        if at - from == COLLECTION_RECORDS_MAX || (begins_chunk && chunks == CHUNKS_MAX) {
            calls.push(from..at);
            (from, chunks) = (at, 1);
        } else if begins_chunk {
            chunks += 1;
        }
    }
    if from < objects.len() {
        calls.push(from..objects.len());
    }
    calls
}

/// How records are written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum How<'a> {
    Insert,
    /// Records carry `Id`.
    Update,
    /// Records of one object carry the key.
    Upsert(&'a FieldName),
}

pub(crate) async fn write(client: &Client, how: How<'_>, records: &[Record]) -> Result<Vec<Saved>, ConnectError> {
    let objects: Vec<&ObjectName> = records.iter().map(|r| &r.object).collect();
    let mut saved = Vec::with_capacity(records.len());
    for call in calls(&objects) {
        let records = records.get(call).unwrap_or_default();
        let Some(first) = records.first() else { continue };
        let body = json!({ "allOrNone": false, "records": records.iter().map(body).collect::<Vec<_>>() });
        let mut request = match how {
            How::Insert => Request::create("composite/sobjects", &body),
            How::Update => Request::patch("composite/sobjects", &body),
            How::Upsert(key) => {
                if records.iter().any(|r| r.object != first.object) {
                    return Err(ConnectError::new(ErrorCode::Internal, "an upsert of several objects in one call"));
                }
                Request::patch(format!("composite/sobjects/{}/{key}", first.object), &body)
            }
        };
        for (name, value) in client.options().write_headers() {
            request = request.header(name, value);
        }
        saved.extend(outcomes(client, &request, records.len(), matches!(how, How::Insert)).await?);
    }
    Ok(saved)
}

/// Deletes by id; ids of several objects are cut by their prefixes as records are by their objects.
pub(crate) async fn delete(client: &Client, ids: &[String]) -> Result<Vec<Saved>, ConnectError> {
    let good = |id: &String| matches!(id.len(), 15 | 18) && id.bytes().all(|b| b.is_ascii_alphanumeric());
    if !ids.iter().all(good) {
        return Err(ConnectError::new(ErrorCode::Internal, "what should be a record's id is not one"));
    }
    let prefixes: Vec<ObjectName> = ids
        .iter()
        .map(|id| ObjectName::new(format!("P{}", id.get(..3).unwrap_or_default())))
        .collect::<Result<_, _>>()
        .map_err(|_| ConnectError::new(ErrorCode::Internal, "what should be a record's id is not one"))?;
    let mut saved = Vec::with_capacity(ids.len());
    for call in calls(&prefixes.iter().collect::<Vec<_>>()) {
        let ids = ids.get(call).unwrap_or_default();
        let request = Request::delete("composite/sobjects")
            .with("ids", ids.join(","))
            .with("allOrNone", "false");
        saved.extend(outcomes(client, &request, ids.len(), false).await?);
    }
    Ok(saved)
}

fn body(record: &Record) -> Value {
    let mut body = Map::new();
    body.insert("attributes".to_owned(), json!({ "type": record.object.as_str() }));
    body.extend(record.values.clone());
    Value::Object(body)
}

async fn outcomes(client: &Client, request: &Request, expected: usize, inserts: bool) -> Result<Vec<Saved>, ConnectError> {
    let outcomes: Vec<Outcome> = client.json(request).await?;
    if outcomes.len() != expected {
        let message = format!("{} outcomes for {expected} records", outcomes.len());
        return Err(ConnectError::new(ErrorCode::BadAnswer, message));
    }
    Ok(outcomes.into_iter().map(|o| o.saved(inserts)).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn calls_hold_two_hundred_records_and_ten_runs() {
        let name = |n: usize| ObjectName::new(format!("O{n}")).unwrap();
        let lengths =
            |objects: &[ObjectName]| -> Vec<usize> { calls(&objects.iter().collect::<Vec<_>>()).iter().map(Range::len).collect() };
        assert!(lengths(&[]).is_empty());
        assert_eq!(lengths(&vec![name(1); 450]), [200, 200, 50]);
        // Alternating objects: every record begins a run.
        let alternating: Vec<_> = (0..25).map(|n| name(n % 2)).collect();
        assert_eq!(lengths(&alternating), [10, 10, 5]);
        // Twelve objects of five records each, in runs.
        let runs: Vec<_> = (0..60).map(|n| name(n / 5)).collect();
        assert_eq!(lengths(&runs), [50, 10]);
        let runs: Vec<_> = (0..250).map(|n| name(n / 100)).collect();
        assert_eq!(lengths(&runs), [200, 50]);
    }
}
