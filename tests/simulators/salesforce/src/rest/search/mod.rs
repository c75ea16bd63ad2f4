//! `/search` (SOSL) and `/parameterizedSearch`: records whose texts hold the wanted words.
//!
//! The words pick the records; fields, conditions and order of a RETURNING entry are SOQL
//! and run as such. A real org answers from an index that lags; this one reads the rows.

mod sosl;
mod words;

use axum::response::Response;
use http::Method;
use serde_json::{Value, json};

use crate::rest::composite;
use crate::schema::{Field, FieldType, Object};
use crate::web::http::{Call, ok};
use crate::web::reply::ApiError;
use sosl::{Group, Returning, Search};

/// Records per answer, and per object.
const ROWS_MAX: usize = 2000;

/// Answers both endpoints.
pub fn handle(call: &Call, sosl: bool) -> Result<Response, ApiError> {
    let search = match (&call.method, sosl) {
        (&Method::GET, true) => {
            let text = call.query.get("q").map(String::as_str).unwrap_or_default();
            sosl::parse(text)?
        }
        (&Method::GET, false) => sosl::from_parameters(&parameters(call))?,
        (&Method::POST, false) => sosl::from_parameters(&call.json()?)?,
        _ => return Err(ApiError::method_not_allowed()),
    };
    ok(json!({"searchRecords": run(call, &search)?}))
}

/// `?q=…&sobject=Account&Account.fields=Id,Name&Account.limit=10` as the body form.
fn parameters(call: &Call) -> Value {
    let get = |key: &str| call.query.get(key).cloned();
    let list = |text: String| -> Vec<String> { text.split(',').map(|s| s.trim().to_owned()).collect() };
    let number = |text: String| text.parse::<u64>().ok();
    let objects = get("sobject").map(list).unwrap_or_default().into_iter().map(|name| {
        let own = |key: &str| get(&format!("{name}.{key}"));
        json!({"name": name, "fields": own("fields").map(list), "where": own("where"),
            "limit": own("limit").and_then(number), "orderBy": own("orderBy")})
    });
    json!({"q": get("q"), "in": get("in"), "fields": get("fields").map(list),
        "overallLimit": get("overallLimit").and_then(number), "sobjects": objects.collect::<Vec<_>>()})
}

fn run(call: &Call, search: &Search) -> Result<Vec<Value>, ApiError> {
    let schema = &call.org.schema;
    let everything = || {
        let searchable = |o: &&Object| !o.setup && o.describe.get("searchable") == Some(&Value::Bool(true));
        schema
            .objects
            .iter()
            .filter(searchable)
            .map(|o| Returning::plain(&o.name))
            .collect()
    };
    let returning = if search.returning.is_empty() {
        everything()
    } else {
        search.returning.clone()
    };
    let mut out = Vec::new();
    for entry in &returning {
        let object = schema.object(&entry.object).ok_or_else(|| {
            let message = format!("sObject type '{}' is not supported.", entry.object);
            ApiError::bad("INVALID_TYPE", message)
        })?;
        let ids = matching(call, object, search);
        if ids.is_empty() {
            continue;
        }
        let answer = composite::query(call, &entry.soql(&ids))?;
        out.extend(answer["records"].as_array().into_iter().flatten().cloned());
    }
    out.truncate(search.limit.unwrap_or(ROWS_MAX).min(ROWS_MAX));
    Ok(out)
}

fn is_searched(field: &Field, group: Group) -> bool {
    let name_field = field.describe.get("nameField") == Some(&Value::Bool(true));
    match group {
        Group::All => matches!(
            field.kind,
            FieldType::Text | FieldType::LongText | FieldType::Email | FieldType::Phone | FieldType::Url
        ),
        Group::Name => name_field || ["FirstName", "LastName", "Name"].contains(&field.name.as_str()),
        Group::Email => field.kind == FieldType::Email,
        Group::Phone => field.kind == FieldType::Phone,
    }
}

/// Ids of live records that satisfy the words.
fn matching(call: &Call, object: usize, search: &Search) -> Vec<String> {
    let db = call.org.db();
    let meta = &db.schema.objects[object];
    let fields: Vec<usize> = (0..meta.fields.len())
        .filter(|f| is_searched(&meta.fields[*f], search.group))
        .collect();
    let table = &db.tables[object];
    let hits = table.scan(false).filter(|index| {
        let row = table.row(*index);
        let texts = fields.iter().filter_map(|f| row.get(*f));
        let words: Vec<Vec<String>> = texts.map(|t| words::split(&String::from_utf8_lossy(t))).collect();
        search.words.matches(&words)
    });
    hits.take(ROWS_MAX).map(|index| table.id(index).text()).collect()
}
