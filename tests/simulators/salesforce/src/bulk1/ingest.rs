//! Rows of a batch on their way in, and what became of them on the way out. Whatever a job's content type, rows become CSV
//! and go the way of Bulk API 2.0.

use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::bulk1::wire::{self, NAMESPACE, Refusal};
use crate::bulk1::{Batch, Content};
use crate::bulk2::ingest::{CREATED, IngestJob};
use crate::bulk2::query::quoted;
use crate::org::OrgState;
use crate::web::markup::{self, DECLARATION, Element, leaf};
use crate::web::reply::{json_reply, raw_reply};

/// Rows one batch may hold.
pub const BATCH_ROWS_MAX: usize = 10_000;
/// Empties a field, in CSV.
const NULL: &str = "#N/A";

type Cells = Vec<(String, String)>;

/// A batch's rows as CSV.
pub fn csv(content: Content, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let rows = match content {
        Content::Csv => return Ok(body.to_vec()),
        Content::Json => json_rows(body)?,
        Content::Xml => xml_rows(body)?,
    };
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flatten() {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut out = Vec::new();
    line(&mut out, names.iter().copied());
    for row in &rows {
        let cell = |name: &&str| row.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
        line(&mut out, names.iter().map(cell));
    }
    Ok(out)
}

fn line<'a>(out: &mut Vec<u8>, cells: impl Iterator<Item = &'a str>) {
    for (i, cell) in cells.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        quoted(out, cell.as_bytes());
    }
    out.push(b'\n');
}

fn json_rows(body: &[u8]) -> Result<Vec<Cells>, Refusal> {
    let bad = |why: String| Refusal::new("InvalidBatch", format!("Failed to parse JSON: {why}"));
    let rows: Vec<Map<String, Value>> = serde_json::from_slice(body).map_err(|e| bad(e.to_string()))?;
    let mut out = Vec::with_capacity(rows.len());
    for row in rows {
        let mut cells = Cells::new();
        for (name, value) in row.into_iter().filter(|(n, _)| n != "attributes") {
            match value {
                Value::Null => cells.push((name, NULL.into())),
                Value::String(text) => cells.push((name, text)),
                Value::Object(parent) => {
                    for (key, value) in parent.iter().filter(|(n, _)| *n != "attributes") {
                        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                        cells.push((format!("{name}.{key}"), text));
                    }
                }
                Value::Array(_) => return Err(bad(format!("{name} is a list"))),
                other => cells.push((name, other.to_string())),
            }
        }
        out.push(cells);
    }
    Ok(out)
}

fn xml_rows(body: &[u8]) -> Result<Vec<Cells>, Refusal> {
    let root = markup::parse(body).map_err(|e| Refusal::new("InvalidBatch", format!("Failed to parse XML: {e}")))?;
    if root.name != "sObjects" {
        return Err(Refusal::new("InvalidBatch", "The batch has no sObjects element"));
    }
    Ok(root.children.iter().filter(|c| c.name == "sObject").map(xml_row).collect())
}

fn xml_row(row: &Element) -> Cells {
    let mut cells = Cells::new();
    for field in row.children.iter().filter(|c| c.name != "type") {
        if field.nil {
            cells.push((field.name.clone(), NULL.into()));
        } else if field.children.is_empty() {
            cells.push((field.name.clone(), field.text.clone()));
        }
        let keys = field.children.iter().filter(|c| c.name == "sObject").flat_map(|c| &c.children);
        for key in keys.filter(|k| k.name != "type") {
            cells.push((format!("{}.{}", field.name, key.name), key.text.clone()));
        }
    }
    cells
}

struct Outcome {
    id: String,
    created: bool,
    /// `CODE:message:fields --`
    error: Option<String>,
}

impl Outcome {
    /// Code, message and fields of a failure.
    fn parts(error: &str) -> (&str, &str, Vec<&str>) {
        let (code, rest) = error.split_once(':').unwrap_or((error, ""));
        let rest = rest.strip_suffix(" --").unwrap_or(rest);
        let (message, fields) = rest.rsplit_once(':').unwrap_or((rest, ""));
        (code, message, fields.split(',').filter(|f| !f.is_empty()).collect())
    }
}

fn outcomes(org: &OrgState, rows: &IngestJob) -> Vec<Outcome> {
    let progress = rows.progress();
    let db = org.db();
    let table = &db.tables[rows.object];
    let one = |outcome: &crate::bulk2::ingest::Outcome| {
        if outcome.good {
            return Outcome {
                id: table.id(outcome.value & !CREATED).text(),
                created: outcome.value & CREATED != 0,
                error: None,
            };
        }
        // Kept as the two leading cells of Bulk API 2.0's failed results.
        let cells = progress.errors[outcome.value as usize].as_bytes();
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(cells);
        let record = reader.records().next().and_then(Result::ok).unwrap_or_default();
        Outcome {
            id: record.get(0).unwrap_or_default().to_owned(),
            created: false,
            error: Some(record.get(1).unwrap_or_default().to_owned()),
        }
    };
    progress.outcomes.iter().map(one).collect()
}

/// A completed batch's results, row by row in the order they came.
pub fn results(org: &OrgState, content: Content, batch: &Batch, rows: &IngestJob) -> Response {
    tracing::debug!(batch = %batch.id, "batch results");
    let list = outcomes(org, rows);
    match content {
        Content::Csv => csv_results(&list),
        Content::Json => json_reply(200, &list.iter().map(json_result).collect()),
        Content::Xml => xml_results(&list),
    }
}

fn csv_results(list: &[Outcome]) -> Response {
    let mut out = Vec::new();
    line(&mut out, ["Id", "Success", "Created", "Error"].into_iter());
    for outcome in list {
        let success = if outcome.error.is_none() { "true" } else { "false" };
        let created = if outcome.created { "true" } else { "false" };
        let error = outcome.error.as_deref().unwrap_or_default();
        line(&mut out, [outcome.id.as_str(), success, created, error].into_iter());
    }
    raw_reply(200, "text/csv", out)
}

fn json_result(outcome: &Outcome) -> Value {
    let errors: Vec<Value> = outcome
        .error
        .iter()
        .map(|error| {
            let (code, message, fields) = Outcome::parts(error);
            json!({"statusCode": code, "message": message, "fields": fields, "extendedErrorDetails": null})
        })
        .collect();
    let id = Some(&outcome.id).filter(|id| !id.is_empty());
    json!({"success": errors.is_empty(), "created": outcome.created, "id": id, "errors": errors})
}

fn xml_results(list: &[Outcome]) -> Response {
    let mut out = format!("{DECLARATION}<results xmlns=\"{NAMESPACE}\">");
    for outcome in list {
        out.push_str("<result>");
        if let Some(error) = &outcome.error {
            let (code, message, fields) = Outcome::parts(error);
            out.push_str("<errors>");
            fields.iter().for_each(|field| leaf(&mut out, "fields", field));
            leaf(&mut out, "message", message);
            leaf(&mut out, "statusCode", code);
            out.push_str("</errors>");
        }
        if !outcome.id.is_empty() {
            leaf(&mut out, "id", &outcome.id);
        }
        leaf(&mut out, "success", if outcome.error.is_none() { "true" } else { "false" });
        leaf(&mut out, "created", if outcome.created { "true" } else { "false" });
        out.push_str("</result>");
    }
    wire::xml(200, out, "results")
}
