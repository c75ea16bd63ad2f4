//! REST queries: pages of JSON records, cursors for the rest.

use std::io::Write;
use std::sync::Arc;

use axum::response::Response;
use serde_json::{Value, json};

use super::cursor::{Cursor, PageWriter, Snapshot};
use super::render::cells_of;
pub use super::render::{Tree, record};
use crate::schema::FieldType;
use crate::soql::plan::{Plan, Surface, Viewer, bind};
use crate::soql::{group, parser, run, virtuals};
use crate::store::db::Db;
use crate::web::http::{Call, ok};
use crate::web::reply::{ApiError, raw_reply};

/// Groups one answer may hold: there is no second page of them.
const GROUPS_MAX: usize = 2000;
/// Sizes a client may ask for with `Sforce-Query-Options`.
const BATCH_ROWS: std::ops::RangeInclusive<usize> = 200..=2000;
/// Largest page of rows with two or more custom long texts.
const WIDE_PAGE_ROWS: usize = 200;

/// `/query` and `/queryAll`.
pub fn handle(call: &Call, all: bool, rest: &[&str]) -> Result<Response, ApiError> {
    match rest {
        [] => {
            if let Some(soql) = call.query.get("explain") {
                return explain(call, soql);
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

fn page_rows(call: &Call, db: &Db, plan: &Plan) -> usize {
    let options = call.headers.get("sforce-query-options").and_then(|v| v.to_str().ok());
    let asked = options.into_iter().flat_map(|v| v.split([',', ';'])).find_map(|option| {
        let (name, value) = option.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("batchSize")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let configured = call.org.cursors.page_rows();
    let rows = asked.map_or(configured, |n| n.clamp(*BATCH_ROWS.start(), *BATCH_ROWS.end()).min(configured));
    let wide = plan.columns.iter().filter_map(|c| c.root_field()).filter(|field| {
        let spec = &db.schema.objects[plan.object].fields[*field];
        spec.name.ends_with("__c") && spec.kind == FieldType::LongText && spec.length > 255
    });
    if wide.count() > 1 { rows.min(WIDE_PAGE_ROWS) } else { rows }
}

fn run_query(call: &Call, soql: &str, all: bool) -> Result<Response, ApiError> {
    let statement = parser::parse(soql)?;
    let db = call.org.db();
    let viewer = Viewer::of(&db, call.org.user_id, &call.version);
    let source = virtuals::open(&db, &statement, &viewer)?;
    let own = source.as_deref().unwrap_or(&db);
    let plan = bind(own, soql, &statement, Surface::Rest, &viewer)?;
    let found = run::rows(own, &plan, all);
    if plan.count_all {
        return ok(json!({"totalSize": found.len(), "done": true, "records": []}));
    }
    if plan.groups.is_some() {
        return aggregate(own, &plan, &found);
    }
    let page = page_rows(call, own, &plan);
    let table = &own.tables[plan.object];
    let rows = found.iter().map(|i| table.row(*i).clone()).collect();
    drop(db);
    let snapshot = Snapshot {
        source,
        plan: Arc::new(plan),
        rows,
        with_deleted: all,
        page,
    };
    Ok(first_page(call, snapshot))
}

fn first_page(call: &Call, snapshot: Snapshot) -> Response {
    let cursor = Arc::new(Cursor::new(call.user().unwrap_or(call.org.user_id), call.org.clock.now(), snapshot));
    page(call, &cursor, None, 0)
}

fn more(call: &Call, text: &str) -> Result<Response, ApiError> {
    let (cursor, locator, offset) = call
        .org
        .cursors
        .find(text, call.user().unwrap_or(call.org.user_id), call.org.clock.now())?;
    Ok(page(call, &cursor, Some(locator), offset))
}

fn page(call: &Call, cursor: &Arc<Cursor>, locator: Option<String>, offset: usize) -> Response {
    let db = call.org.db();
    let mut out = Vec::with_capacity(16 * 1024);
    out.push(b'{');
    if call.query.get("columns").map(String::as_str) == Some("true") {
        let _ = write!(out, "\"columnMetadata\":{},", column_metadata(&cursor.snapshot.plan));
    }
    let db = cursor.snapshot.source.as_deref().unwrap_or(&db);
    PageWriter::new(call, db).page(&mut out, cursor, locator, offset);
    raw_reply(200, "application/json;charset=UTF-8", out)
}

fn column_metadata(plan: &Plan) -> Value {
    let one = |c: &crate::soql::plan::Column| {
        json!({"aggregate": false, "apexType": "String",
        "booleanType": c.kind() == FieldType::Boolean, "columnName": c.name, "custom": c.name.ends_with("__c"),
        "displayName": c.name, "foreignKeyName": null, "insertable": true, "joinColumns": [], "numberType": false,
        "textType": true, "updatable": true})
    };
    plan.columns.iter().map(one).collect()
}

fn aggregate(db: &Db, plan: &Plan, found: &[u32]) -> Result<Response, ApiError> {
    let Some(groups) = &plan.groups else {
        return Err(ApiError::not_found());
    };
    let rows = group::rows(db, plan, groups, found);
    if rows.len() > GROUPS_MAX {
        return Err(ApiError::bad(
            "EXCEEDED_ID_LIMIT",
            "Aggregate query does not support queryMore(), use LIMIT to restrict the results to a single batch",
        ));
    }
    let mut out = Vec::new();
    let _ = write!(out, "{{\"totalSize\":{},\"done\":true,\"records\":[", rows.len());
    for (i, row) in rows.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"attributes\":{\"type\":\"AggregateResult\"}");
        cells_of(&mut out, row, &plan.columns);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Ok(raw_reply(200, "application/json;charset=UTF-8", out))
}

/// The query plan tool's answer.
fn explain(call: &Call, soql: &str) -> Result<Response, ApiError> {
    let statement = parser::parse(soql)?;
    let db = call.org.db();
    let viewer = Viewer::of(&db, call.org.user_id, &call.version);
    let source = virtuals::open(&db, &statement, &viewer)?;
    let db = source.as_deref().unwrap_or(&db);
    let plan = bind(db, soql, &statement, Surface::Rest, &viewer)?;
    let meta = &db.schema.objects[plan.object];
    let total = db.tables[plan.object].live;
    let found = run::rows(db, &plan, false).len();
    let scan = json!({"cardinality": found, "fields": [], "leadingOperationType": "TableScan", "notes": [],
        "relativeCost": 1.0, "sobjectCardinality": total, "sobjectType": meta.name});
    let mut plans = Vec::new();
    if let Some((field, keys)) = &plan.seek {
        plans.push(
            json!({"cardinality": keys.len(), "fields": [meta.fields[*field].name], "leadingOperationType": "Index",
            "notes": [], "relativeCost": keys.len() as f64 / total.max(1) as f64, "sobjectCardinality": total, "sobjectType": meta.name}),
        );
    }
    plans.push(scan);
    ok(json!({"plans": plans, "sourceQuery": soql}))
}
