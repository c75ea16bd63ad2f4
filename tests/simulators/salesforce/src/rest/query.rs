//! REST queries: pages of JSON records, cursors for the rest.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;

use axum::response::Response;
use serde_json::{Value, json};

use crate::schema::FieldType;
use crate::soql::plan::{Bound, Leaf, Plan, Surface, bind};
use crate::soql::{parser, run};
use crate::store::db::Db;
use crate::store::id::Id;
use crate::store::row::Row;
use crate::web::http::{Call, ok};
use crate::web::reply::{ApiError, raw_reply};

/// Cursors one org keeps; the oldest make room.
const CURSORS_MAX: usize = 10_000;

/// The rows of an unfinished query, as they were when it ran.
pub struct Cursor {
    plan: Plan,
    rows: Vec<Row>,
    page: usize,
}

/// `/query` and `/queryAll`.
pub fn handle(call: &Call, all: bool, rest: &[&str]) -> Result<Response, ApiError> {
    match rest {
        [] => {
            if call.query.contains_key("explain") {
                return ok(
                    json!({"plans": [{"cardinality": 1, "fields": [], "leadingOperationType": "TableScan",
                    "notes": [], "relativeCost": 1.0, "sobjectCardinality": 1, "sobjectType": ""}]}),
                );
            }
            let soql = call
                .query
                .get("q")
                .ok_or_else(|| ApiError::bad("MALFORMED_QUERY", "No SOQL query was supplied"))?;
            run_query(call, soql, all)
        }
        [locator] => more(call, locator),
        _ => Err(ApiError::not_found()),
    }
}

fn page_rows(call: &Call) -> usize {
    let options = call.headers.get("sforce-query-options").and_then(|v| v.to_str().ok());
    let asked = options.into_iter().flat_map(|v| v.split([',', ';'])).find_map(|option| {
        let (name, value) = option.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("batchSize")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let configured = call.org.config.query_page_rows.max(1);
    asked.map_or(configured, |n| n.clamp(200, 2000).min(configured))
}

fn run_query(call: &Call, soql: &str, all: bool) -> Result<Response, ApiError> {
    let statement = parser::parse(soql)?;
    let db = call.org.db();
    let plan = bind(&db, soql, &statement, Surface::Rest)?;
    let found = run::rows(&db, &plan, all);
    if plan.count_all {
        return ok(json!({"totalSize": found.len(), "done": true, "records": []}));
    }
    if !plan.aggregates.is_empty() || !plan.group.is_empty() {
        return ok(aggregate(&db, &plan, &found));
    }
    let table = &db.tables[plan.object];
    let rows: Vec<Row> = found.iter().map(|i| table.row(*i).clone()).collect();
    drop(db);
    let cursor = Cursor {
        plan,
        rows,
        page: page_rows(call),
    };
    let locator = call.org.next_serial(*b"01g").text();
    let reply = page(call, &cursor, &locator, 0);
    if cursor.rows.len() > cursor.page {
        let mut cursors = call.org.cursors();
        if cursors.len() >= CURSORS_MAX
            && let Some(oldest) = cursors.keys().min().cloned()
        {
            cursors.remove(&oldest);
        }
        cursors.insert(locator, Arc::new(cursor));
    }
    Ok(reply)
}

fn more(call: &Call, text: &str) -> Result<Response, ApiError> {
    let bad = || ApiError::bad("INVALID_QUERY_LOCATOR", "invalid query locator");
    let (locator, offset) = text.rsplit_once('-').ok_or_else(bad)?;
    let offset: usize = offset.parse().map_err(|_| bad())?;
    let cursor = call.org.cursors().get(locator).cloned().ok_or_else(bad)?;
    if offset >= cursor.rows.len() {
        return Err(bad());
    }
    Ok(page(call, &cursor, locator, offset))
}

fn page(call: &Call, cursor: &Cursor, locator: &str, offset: usize) -> Response {
    let end = (offset + cursor.page).min(cursor.rows.len());
    let db = call.org.db();
    let tree = Tree::new(&db, &cursor.plan.columns);
    let mut out = Vec::with_capacity(256 + (end - offset) * 400);
    let done = end == cursor.rows.len();
    let _ = write!(out, "{{\"totalSize\":{},\"done\":{done}", cursor.rows.len());
    if !done {
        let _ = write!(out, ",\"nextRecordsUrl\":\"{}\"", call.path(&format!("query/{locator}-{end}")));
    }
    if call.query.get("columns").map(String::as_str) == Some("true") {
        let columns: Vec<Value> = cursor
            .plan
            .columns
            .iter()
            .map(|c| {
                json!({"aggregate": false, "apexType": "String",
            "booleanType": c.kind == FieldType::Boolean, "columnName": c.name, "custom": c.name.ends_with("__c"),
            "displayName": c.name, "foreignKeyName": null, "insertable": true, "joinColumns": [], "numberType": false,
            "textType": true, "updatable": true})
            })
            .collect();
        let _ = write!(out, ",\"columnMetadata\":{}", Value::from(columns));
    }
    out.extend_from_slice(b",\"records\":[");
    let children = child_rows(&db, &cursor.plan, &cursor.rows[offset..end]);
    for (i, row) in cursor.rows[offset..end].iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        record(
            &mut out,
            &db,
            &call.version,
            cursor.plan.object,
            row,
            &tree,
            &mut |out: &mut Vec<u8>| {
                for (child, by_parent) in cursor.plan.children.iter().zip(&children) {
                    let _ = write!(out, ",\"{}\":", child.relationship);
                    let parent = row.get(0).unwrap_or_default();
                    let Some(rows) = by_parent.get(parent) else {
                        out.extend_from_slice(b"null");
                        continue;
                    };
                    let tree = Tree::new(&db, &child.plan.columns);
                    let _ = write!(out, "{{\"totalSize\":{},\"done\":true,\"records\":[", rows.len());
                    for (i, row) in rows.iter().enumerate() {
                        if i > 0 {
                            out.push(b',');
                        }
                        record(out, &db, &call.version, child.plan.object, row, &tree, &mut |_| {});
                    }
                    out.extend_from_slice(b"]}");
                }
            },
        );
    }
    out.extend_from_slice(b"]}");
    raw_reply(200, "application/json;charset=UTF-8", out)
}

type ByParent = HashMap<Vec<u8>, Vec<Row>>;

/// The children of a page's rows: one scan per subquery, grouped by parent.
fn child_rows(db: &Db, plan: &Plan, parents: &[Row]) -> Vec<ByParent> {
    plan.children
        .iter()
        .map(|child| {
            let table = &db.tables[child.plan.object];
            let wanted: std::collections::HashSet<&[u8]> = parents.iter().filter_map(|p| p.get(0)).collect();
            let unlimited = run::rows_without_limit(db, &child.plan);
            let mut out: ByParent = HashMap::new();
            for index in unlimited {
                let row = table.row(index);
                let Some(parent) = row.get(child.field).filter(|p| wanted.contains(p)) else {
                    continue;
                };
                let list = out.entry(parent.to_vec()).or_default();
                if child.plan.limit.is_none_or(|l| (list.len() as u64) < l) {
                    list.push(row.clone());
                }
            }
            out
        })
        .collect()
}

fn number(text: &[u8]) -> f64 {
    std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).unwrap_or(0.0)
}

fn cell_json(kind: FieldType, value: Option<&[u8]>) -> Value {
    let mut out = Vec::new();
    cell(&mut out, kind, value);
    serde_json::from_slice(&out).unwrap_or(Value::Null)
}

fn aggregate(db: &Db, plan: &Plan, found: &[u32]) -> Value {
    let table = &db.tables[plan.object];
    let mut groups: BTreeMap<Vec<Option<Vec<u8>>>, Vec<u32>> = BTreeMap::new();
    if plan.group.is_empty() {
        groups.insert(Vec::new(), found.to_vec());
    } else {
        for index in found {
            let key = plan
                .group
                .iter()
                .map(|g| g.value(db, table.row(*index)).map(<[u8]>::to_vec))
                .collect();
            groups.entry(key).or_default().push(*index);
        }
    }
    let mut records = Vec::new();
    for (key, members) in groups {
        let mut record = json!({"attributes": {"type": "AggregateResult"}});
        for column in &plan.columns {
            let at = plan.group.iter().position(|g| g.name == column.name).unwrap_or(0);
            let name = column.name.rsplit('.').next().unwrap_or(&column.name);
            record[name] = cell_json(column.kind, key[at].as_deref());
        }
        for aggregate in &plan.aggregates {
            let kind = aggregate.path.kind;
            let values: Vec<&[u8]> = members.iter().filter_map(|i| aggregate.path.value(db, table.row(*i))).collect();
            record[&aggregate.name] = match aggregate.function.as_str() {
                "COUNT" => values.len().into(),
                "COUNT_DISTINCT" => {
                    let distinct: std::collections::HashSet<&[u8]> = values.into_iter().collect();
                    distinct.len().into()
                }
                "SUM" => json!(values.iter().map(|v| number(v)).sum::<f64>()),
                "AVG" if values.is_empty() => Value::Null,
                "AVG" => json!(values.iter().map(|v| number(v)).sum::<f64>() / values.len() as f64),
                "MIN" => cell_json(kind, values.into_iter().min_by(|a, b| run::compare(kind, a, b))),
                _ => cell_json(kind, values.into_iter().max_by(|a, b| run::compare(kind, a, b))),
            };
        }
        records.push(record);
    }
    json!({"totalSize": records.len(), "done": true, "records": records})
}

/// The select list as nested objects.
pub struct Tree {
    cells: Vec<(String, Leafy)>,
}

enum Leafy {
    Cell(Bound),
    Address(Vec<(&'static str, Option<usize>)>),
    Parent { hop: usize, tree: Tree },
}

impl Tree {
    pub fn new(db: &Db, columns: &[Bound]) -> Self {
        let list: Vec<(Vec<&str>, &Bound)> = columns.iter().map(|c| (c.name.split('.').collect(), c)).collect();
        Self::build(db, &list, 0)
    }

    fn build(db: &Db, list: &[(Vec<&str>, &Bound)], depth: usize) -> Self {
        let mut cells: Vec<(String, Leafy)> = Vec::new();
        for (parts, bound) in list {
            if parts.len() == depth + 1 {
                let leaf = match (&bound.leaf, bound.kind) {
                    (Leaf::Field { object, field }, FieldType::Address) => {
                        let parts = address_parts(db, *object, *field);
                        Leafy::Address(parts)
                    }
                    _ => Leafy::Cell((*bound).clone()),
                };
                cells.push((parts[depth].to_owned(), leaf));
            } else if !cells.iter().any(|(n, _)| n == parts[depth]) {
                let below: Vec<(Vec<&str>, &Bound)> = list
                    .iter()
                    .filter(|(p, _)| p.len() > depth + 1 && p[depth] == parts[depth])
                    .map(|(p, b)| (p.clone(), *b))
                    .collect();
                let tree = Self::build(db, &below, depth + 1);
                cells.push((
                    parts[depth].to_owned(),
                    Leafy::Parent {
                        hop: bound.hops[depth],
                        tree,
                    },
                ));
            }
        }
        Self { cells }
    }
}

fn address_parts(db: &Db, object: usize, field: usize) -> Vec<(&'static str, Option<usize>)> {
    let meta = &db.schema.objects[object];
    let name = &meta.fields[field].name;
    let stem = name.strip_suffix("Address").unwrap_or(name);
    [
        ("city", "City"),
        ("country", "Country"),
        ("geocodeAccuracy", "GeocodeAccuracy"),
        ("latitude", "Latitude"),
        ("longitude", "Longitude"),
        ("postalCode", "PostalCode"),
        ("state", "State"),
        ("street", "Street"),
    ]
    .into_iter()
    .map(|(key, part)| (key, meta.field(&format!("{stem}{part}"))))
    .collect()
}

/// Appends one record with its attributes.
pub fn record(out: &mut Vec<u8>, db: &Db, version: &str, object: usize, row: &Row, tree: &Tree, more: &mut dyn FnMut(&mut Vec<u8>)) {
    let name = &db.schema.objects[object].name;
    let id = String::from_utf8_lossy(row.get(0).unwrap_or_default());
    let _ = write!(
        out,
        "{{\"attributes\":{{\"type\":\"{name}\",\"url\":\"/services/data/{version}/sobjects/{name}/{id}\"}}"
    );
    for (name, leaf) in &tree.cells {
        let _ = write!(out, ",\"{name}\":");
        match leaf {
            Leafy::Cell(bound) => {
                let value = match &bound.leaf {
                    Leaf::Field { field, .. } => row.get(*field),
                    Leaf::Poly(list) => list.iter().find(|(o, _)| *o == object).and_then(|(_, f)| row.get(*f)),
                    Leaf::Type => Some(db.schema.objects[object].name.as_bytes()),
                };
                cell(out, bound.kind, value);
            }
            Leafy::Address(parts) => address(out, row, parts),
            Leafy::Parent { hop, tree } => {
                let parent = row.get(*hop).and_then(|id| Id::parse(id).ok()).and_then(|id| db.locate(&id));
                match parent {
                    Some((object, index)) => record(out, db, version, object, db.tables[object].row(index), tree, &mut |_| {}),
                    None => out.extend_from_slice(b"null"),
                }
            }
        }
    }
    more(out);
    out.push(b'}');
}

fn address(out: &mut Vec<u8>, row: &Row, parts: &[(&'static str, Option<usize>)]) {
    if !parts.iter().any(|(_, f)| f.is_some_and(|f| row.get(f).is_some())) {
        out.extend_from_slice(b"null");
        return;
    }
    for (i, (key, field)) in parts.iter().enumerate() {
        let _ = write!(out, "{}\"{key}\":", if i == 0 { '{' } else { ',' });
        let kind = if key.ends_with("itude") {
            FieldType::Decimal
        } else {
            FieldType::Text
        };
        cell(out, kind, field.and_then(|f| row.get(f)));
    }
    out.push(b'}');
}

/// Appends one value as JSON.
pub fn cell(out: &mut Vec<u8>, kind: FieldType, value: Option<&[u8]>) {
    match (kind, value) {
        (FieldType::Boolean, value) => out.extend_from_slice(if value == Some(b"true") { b"true" } else { b"false" }),
        (_, None) => out.extend_from_slice(b"null"),
        (kind, Some(text)) if kind.is_bare_json() => out.extend_from_slice(text),
        (FieldType::DateTime, Some(text)) => {
            out.push(b'"');
            out.extend_from_slice(text.strip_suffix(b"Z").unwrap_or(text));
            out.extend_from_slice(b"+0000\"");
        }
        (_, Some(text)) => {
            let text = String::from_utf8_lossy(text);
            if serde_json::to_writer(&mut *out, text.as_ref()).is_err() {
                out.extend_from_slice(b"null");
            }
        }
    }
}
