//! Query batches: rows are found when the batch arrives and rendered when a result is read.

use std::sync::Arc;

use axum::response::Response;
use chrono::{DateTime, NaiveDate};
use serde_json::Value;

use crate::bulk1::wire::{self, NAMESPACE, query_failure};
use crate::bulk1::{Content, Job};
use crate::bulk2::query::{header, line};
use crate::org::OrgState;
use crate::rest::query::{Tree, record};
use crate::schema::FieldType;
use crate::soql::plan::{Plan, Surface, Viewer, bind};
use crate::soql::{SoqlError, parser, run};
use crate::store::id::Id;
use crate::store::row::Row;
use crate::web::markup::{DECLARATION, leaf};
use crate::web::reply::{PIECE_BYTES, csv_stream, json_reply, raw_reply};

/// What a query batch found.
pub struct Found {
    /// Names the only result.
    pub result: Id,
    plan: Plan,
    pub rows: Vec<Row>,
}

/// Runs a batch's statement; the error is its `stateMessage`.
pub fn find(org: &OrgState, job: &Job, body: &[u8]) -> Result<Found, String> {
    let text = std::str::from_utf8(body).map_err(|_| "InvalidBatch : The query is not valid UTF-8".to_owned())?;
    let told = |error: SoqlError| query_failure(&error);
    let statement = parser::parse(text.trim()).map_err(told)?;
    if !statement.from.text.eq_ignore_ascii_case(&job.object_name) {
        return Err(format!(
            "InvalidBatch : Failed to process query: the query is on {}, the job on {}",
            statement.from.text, job.object_name
        ));
    }
    let db = org.db();
    let viewer = Viewer::of(&db, org.user_id, &job.version);
    let plan = bind(&db, text.trim(), &statement, Surface::Bulk, &viewer).map_err(told)?;
    let table = &db.tables[plan.object];
    let found = run::rows(&db, &plan, job.operation == "queryAll");
    let rows = found.into_iter().map(|i| table.row(i).clone()).collect();
    Ok(Found {
        result: org.next_serial(*b"752"),
        plan,
        rows,
    })
}

/// The list of a batch's results.
pub fn list(json: bool, found: &Found) -> Response {
    let id = found.result.text();
    if json {
        return json_reply(200, &serde_json::json!([id]));
    }
    let mut out = format!("{DECLARATION}<result-list xmlns=\"{NAMESPACE}\">");
    leaf(&mut out, "result", &id);
    wire::xml(200, out, "result-list")
}

/// One result.
pub fn result(org: &Arc<OrgState>, job: &Job, found: &Arc<Found>, gzip: bool) -> Response {
    match job.content {
        Content::Csv if found.rows.is_empty() => raw_reply(200, "text/csv", "Records not found for this query"),
        Content::Csv => csv_result(Arc::clone(org), Arc::clone(found), gzip),
        Content::Json => json_reply(200, &Value::Array(records(org, job, found))),
        Content::Xml => {
            let mut out = format!(
                "{DECLARATION}<queryResult xmlns=\"{NAMESPACE}\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"QueryResult\">"
            );
            for one in records(org, job, found) {
                xml_record(&mut out, "records", &one);
            }
            wire::xml(200, out, "queryResult")
        }
    }
}

fn csv_result(org: Arc<OrgState>, found: Arc<Found>, gzip: bool) -> Response {
    let mut at = 0;
    csv_stream(gzip, move |out| {
        if at == 0 {
            header(out, &found.plan.columns, b',', false);
        }
        let db = org.db();
        while at < found.rows.len() && out.len() < PIECE_BYTES {
            line(out, Some(&db), &found.plan, &found.rows[at], b',', false);
            at += 1;
        }
        at < found.rows.len()
    })
}

/// Rows as JSON objects; JSON results tell dates in milliseconds since 1970.
fn records(org: &OrgState, job: &Job, found: &Found) -> Vec<Value> {
    let db = org.db();
    let tree = Tree::of(&db, &found.plan.columns);
    let dates: Vec<Vec<&str>> = found
        .plan
        .columns
        .iter()
        .filter(|c| job.content == Content::Json && matches!(c.kind(), FieldType::Date | FieldType::DateTime))
        .map(|c| c.name.split('.').collect())
        .collect();
    let mut out = Vec::with_capacity(found.rows.len());
    let mut buffer = Vec::new();
    for row in &found.rows {
        buffer.clear();
        record(&mut buffer, &db, &job.version, found.plan.object, row, &tree, &mut |_| {});
        let mut value: Value = serde_json::from_slice(&buffer).unwrap_or_default();
        dates.iter().for_each(|path| to_millis(&mut value, path));
        out.push(value);
    }
    out
}

fn to_millis(value: &mut Value, path: &[&str]) {
    let Some(cell) = path.iter().try_fold(value, |at, name| at.get_mut(*name)) else {
        return;
    };
    let Some(text) = cell.as_str() else { return };
    let date = || {
        NaiveDate::parse_from_str(text, "%Y-%m-%d")
            .ok()?
            .and_hms_opt(0, 0, 0)
            .map(|d| d.and_utc())
    };
    let time = || DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z").ok().map(|d| d.to_utc());
    if let Some(at) = time().or_else(date) {
        *cell = at.timestamp_millis().into();
    }
}

fn xml_record(out: &mut String, name: &str, record: &Value) {
    out.push_str(&format!("<{name} xsi:type=\"sObject\">"));
    leaf(out, "type", record["attributes"]["type"].as_str().unwrap_or_default());
    for (key, value) in record.as_object().into_iter().flatten().filter(|(k, _)| *k != "attributes") {
        match value {
            Value::Null => out.push_str(&format!("<{key} xsi:nil=\"true\"/>")),
            Value::Object(_) => xml_record(out, key, value),
            Value::String(text) => leaf(out, key, text),
            other => leaf(out, key, &other.to_string()),
        }
    }
    out.push_str(&format!("</{name}>"));
}
