//! List views: every object has the one that shows all of its records.

use axum::response::Response;
use chrono::DateTime;
use http::Method;
use serde_json::{Value, json};

use crate::rest::composite;
use crate::store::id::Id;
use crate::web::http::{Call, ok};
use crate::web::reply::ApiError;

/// Rows per page of results, and the most a client may ask for.
const PAGE_ROWS: u64 = 25;
const PAGE_ROWS_MAX: u64 = 2000;
/// Columns of a view.
const COLUMNS_MAX: usize = 6;

fn id_of(call: &Call, object: usize) -> Id {
    Id::new(*b"00B", call.org.config.flavour.pod(), 15_018_570 + object as u64)
}

/// `/sobjects/X/listviews…`
pub fn handle(call: &Call, object: usize, rest: &[&str]) -> Result<Response, ApiError> {
    if call.method != Method::GET {
        return Err(ApiError::method_not_allowed());
    }
    let own = id_of(call, object);
    let is_own = |text: &str| Id::parse(text.as_bytes()).is_ok_and(|id| id == own);
    match rest {
        [] | ["recent"] => {
            let list = [view(call, object)];
            let name = &call.org.schema.objects[object].name;
            ok(json!({"done": true, "listviews": list, "nextRecordsUrl": null, "size": 1, "sobjectType": name}))
        }
        [id] if is_own(id) => ok(view(call, object)),
        [id, "describe"] if is_own(id) => ok(describe(call, object)),
        [id, "results"] if is_own(id) => results(call, object),
        _ => Err(ApiError::not_found()),
    }
}

fn view(call: &Call, object: usize) -> Value {
    let meta = &call.org.schema.objects[object];
    let id = id_of(call, object);
    let base = call.path(&format!("sobjects/{}/listviews/{id}", meta.name));
    json!({"id": id.text(), "developerName": developer_name(call, object), "label": label(call, object),
        "soqlCompatible": true, "url": base, "describeUrl": format!("{base}/describe"), "resultsUrl": format!("{base}/results")})
}

fn label(call: &Call, object: usize) -> String {
    let meta = &call.org.schema.objects[object];
    let plural = meta.describe.get("labelPlural").and_then(Value::as_str).unwrap_or(&meta.label);
    format!("All {plural}")
}

fn developer_name(call: &Call, object: usize) -> String {
    label(call, object).split_whitespace().collect()
}

/// What Account's own views show (recorded).
const ACCOUNT_COLUMNS: [&str; 6] = ["Name", "Site", "BillingState", "Phone", "Type", "Owner.Alias"];

/// The fields shown: the name first, then what is short and plain.
fn shown(call: &Call, object: usize) -> Vec<String> {
    let meta = &call.org.schema.objects[object];
    if meta.name == "Account" {
        return ACCOUNT_COLUMNS.into_iter().map(str::to_owned).collect();
    }
    let flag = |i: usize, key: &str| meta.fields[i].describe.get(key) == Some(&Value::Bool(true));
    let plain = ["string", "phone", "email", "picklist", "date", "currency", "int"];
    let is_plain = |i: usize| {
        meta.fields[i]
            .describe
            .get("type")
            .and_then(Value::as_str)
            .is_some_and(|t| plain.contains(&t))
    };
    let mut out: Vec<usize> = (0..meta.fields.len()).filter(|i| flag(*i, "nameField")).take(1).collect();
    let rest = (0..meta.fields.len()).filter(|i| is_plain(*i) && flag(*i, "sortable") && !out.contains(i));
    let rest: Vec<usize> = rest.take(COLUMNS_MAX - out.len()).collect();
    out.extend(rest);
    out.into_iter().map(|i| meta.fields[i].name.clone()).collect()
}

/// The field at the end of a path, and the object that has it.
fn at_path(call: &Call, object: usize, path: &str) -> Option<(usize, usize)> {
    let schema = &call.org.schema;
    let Some((parent, rest)) = path.split_once('.') else {
        return Some((object, schema.objects[object].field(path)?));
    };
    let through = schema.objects[object].fields.iter().find(|f| {
        let relation = f.describe.get("relationshipName").and_then(Value::as_str);
        relation.is_some_and(|r| r.eq_ignore_ascii_case(parent))
    })?;
    let to = through.describe.get("referenceTo")?.as_array()?.last()?.as_str()?;
    at_path(call, schema.object(to)?, rest)
}

fn columns(call: &Call, object: usize) -> Vec<Value> {
    let shown = shown(call, object);
    let first = shown.first().cloned();
    let one = |(path, hidden): (String, bool)| {
        let (owner, field) = at_path(call, object, &path)?;
        let spec = &call.org.schema.objects[owner].fields[field];
        let kind = spec.describe.get("type").and_then(Value::as_str).unwrap_or_default();
        let (up, down) = match kind {
            "picklist" | "currency" | "int" => ("Low to High", "High to Low"),
            "phone" => ("9-0", "0-9"),
            _ => ("Z-A", "A-Z"),
        };
        let sorted = first.as_ref() == Some(&path);
        let item = if kind == "picklist" {
            format!("toLabel({path})")
        } else {
            path.clone()
        };
        // What is hidden cannot be sorted by, and has no words for it.
        Some(
            json!({"ascendingLabel": (!hidden).then_some(up), "descendingLabel": (!hidden).then_some(down), "fieldNameOrPath": path,
            "hidden": hidden, "label": spec.label, "selectListItem": item, "sortDirection": sorted.then_some("ascending"),
            "sortIndex": sorted.then_some(0), "sortable": spec.sortable && !hidden, "type": kind}),
        )
    };
    let visible = shown.into_iter().map(|path| (path, false));
    let system = ["Id", "CreatedDate", "LastModifiedDate", "SystemModstamp"];
    visible
        .chain(system.into_iter().map(|name| (name.to_owned(), true)))
        .filter_map(one)
        .collect()
}

/// Values are display texts here; moments are written as Java prints them (recorded).
fn display(row: &Value, path: &str, kind: &str) -> Value {
    let value = path.split('.').fold(row, |at, name| &at[name]);
    match value {
        Value::Null => Value::Null,
        Value::String(text) if kind == "datetime" => match DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.3f%z") {
            Ok(moment) => json!(moment.to_utc().format("%a %b %d %H:%M:%S GMT %Y").to_string()),
            Err(_) => json!(text),
        },
        Value::String(text) => json!(text),
        other => json!(other.to_string()),
    }
}

fn soql(call: &Call, object: usize) -> String {
    let names: Vec<String> = columns(call, object)
        .iter()
        .filter_map(|c| c["fieldNameOrPath"].as_str().map(str::to_owned))
        .collect();
    let order = names.first().map_or("Id", String::as_str);
    let name = &call.org.schema.objects[object].name;
    format!(
        "SELECT {} FROM {name} ORDER BY {order} ASC NULLS FIRST, Id ASC NULLS FIRST",
        names.join(", ")
    )
}

fn describe(call: &Call, object: usize) -> Value {
    let order = columns(call, object).first().map(|c| c["fieldNameOrPath"].clone());
    let order: Vec<Value> = order
        .into_iter()
        .chain([json!("Id")])
        .map(|field| json!({"fieldNameOrPath": field, "nullsPosition": "first", "sortDirection": "ascending"}))
        .collect();
    json!({"columns": columns(call, object), "id": id_of(call, object).text(), "orderBy": order,
        "query": soql(call, object), "scope": null, "sobjectType": call.org.schema.objects[object].name, "whereCondition": null})
}

fn results(call: &Call, object: usize) -> Result<Response, ApiError> {
    let number = |key: &str, default: u64, max: u64| match call.query.get(key) {
        None => Ok(default),
        Some(text) => text
            .parse::<u64>()
            .ok()
            .filter(|n| *n <= max)
            .ok_or_else(|| ApiError::bad("INVALID_QUERY_VALUE", format!("{key} must be a number up to {max}"))),
    };
    let limit = number("limit", PAGE_ROWS, PAGE_ROWS_MAX)?.max(1);
    let offset = number("offset", 0, PAGE_ROWS_MAX)?;
    // One row more tells whether there is a next page.
    let found = composite::query(call, &format!("{} LIMIT {} OFFSET {offset}", soql(call, object), limit + 1))?;
    let rows = found["records"].as_array().cloned().unwrap_or_default();
    let columns = columns(call, object);
    let records: Vec<Value> = rows
        .iter()
        .take(limit as usize)
        .map(|row| {
            let cells = columns.iter().filter_map(|c| {
                let (path, kind) = (c["fieldNameOrPath"].as_str()?, c["type"].as_str()?);
                Some(json!({"fieldNameOrPath": path, "value": display(row, path, kind)}))
            });
            json!({"columns": cells.collect::<Vec<_>>()})
        })
        .collect();
    ok(
        json!({"columns": columns, "developerName": developer_name(call, object), "done": rows.len() as u64 <= limit,
        "id": id_of(call, object).text(), "label": label(call, object), "size": records.len(), "records": records}),
    )
}
