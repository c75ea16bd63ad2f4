//! sObject collections: up to 200 records per call, each with its own result.

use std::collections::{HashMap, HashSet};

use axum::response::Response;
use http::Method;
use serde_json::{Map, Value, json};

use crate::rest::files;
use crate::rest::mixed::{self, Mixture};
use crate::rest::query::{Tree, record};
use crate::rest::records::{columns, list, rows_by_key, write};
use crate::store::db::Db;
use crate::store::id::Id;
use crate::store::journal::Savepoint;
use crate::store::rules::{self, Scratch};
use crate::store::value::RowError;
use crate::web::http::{Call, saved};
use crate::web::reply::{ApiError, json_reply, raw_reply};

/// Records per write call.
const RECORDS_MAX: usize = 200;
/// Runs of equal types per write call.
const CHUNKS_MAX: usize = 10;
/// Ids per retrieve call.
const RETRIEVE_MAX: usize = 2000;

/// `/composite/sobjects…`
pub fn handle(call: &Call, rest: &[&str]) -> Result<Response, ApiError> {
    if let Some(joined) = files::joined_collection(call)? {
        return handle(&joined, rest);
    }
    match (&call.method, rest) {
        (&Method::POST, []) => save(call, None),
        (&Method::PATCH, []) => save(call, Some((None, "Id"))),
        (&Method::PATCH, [object, field]) => save(call, Some((Some(*object), *field))),
        (&Method::DELETE, []) => delete(call),
        (&Method::GET, [object]) => {
            let split = |key: &str| -> Vec<String> {
                let text = call.query.get(key).map(String::as_str).unwrap_or_default();
                text.split(',').filter(|s| !s.is_empty()).map(str::to_owned).collect()
            };
            retrieve(call, object, &split("ids"), &split("fields"))
        }
        (&Method::POST, [object]) => {
            let body = call.json()?;
            let strings = |key: &str| -> Vec<String> {
                let list = body[key].as_array();
                list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
            };
            retrieve(call, object, &strings("ids"), &strings("fields"))
        }
        _ => Err(ApiError::not_found()),
    }
}

fn failed(error: &RowError) -> Value {
    json!({"success": false, "errors": [{"statusCode": error.code, "message": error.message, "fields": error.fields}]})
}

fn rolled_back() -> Value {
    failed(&RowError::new(
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "Record rolled back because not all records were valid and the request was using AllOrNone header",
        &[],
    ))
}

fn save(call: &Call, target: Option<(Option<&str>, &str)>) -> Result<Response, ApiError> {
    let body = call.json()?;
    let all_or_none = body["allOrNone"].as_bool().unwrap_or(false);
    let records = body["records"]
        .as_array()
        .ok_or_else(|| ApiError::bad("JSON_PARSER_ERROR", "records is missing or not an array"))?;
    if let Some(odd) = records.iter().find(|r| !r.is_object()) {
        // The one error that is no array (recorded).
        let message = format!(
            "Json Deserialization failed on token '{odd}' and has left off in the middle of parsing a row. \
             Will go to end of row to begin parsing the next row"
        );
        return Ok(json_reply(400, &json!({"message": message, "errorCode": "INVALID_FIELD"})));
    }
    if records.len() > RECORDS_MAX {
        return Err(ApiError::bad(
            "EXCEEDED_ID_LIMIT",
            "record limit reached. cannot submit more than 200 records in this request",
        ));
    }
    let mut last = None;
    let mut chunks = 0;
    for record in records {
        let kind = record["attributes"]["type"].as_str();
        if last != Some(kind) {
            chunks += 1;
            last = Some(kind);
        }
    }
    if chunks > CHUNKS_MAX {
        return Err(ApiError::bad(
            "LIMIT_EXCEEDED",
            "Your request exceeded the maximum of 10 chunks per operation",
        ));
    }
    let mut db = call.org.db_mut();
    let mut scratch = Scratch::default();
    let mut results = Vec::with_capacity(records.len());
    let savepoint = all_or_none.then(|| db.begin());
    let mut failures = 0;
    let mut mixture = Mixture::default();
    for record in records {
        match save_one(call, &mut db, &mut scratch, &mut mixture, target, record) {
            Ok(result) => results.push((true, result)),
            Err(error) => {
                failures += 1;
                results.push((false, failed(&error)));
            }
        }
    }
    finish(&mut db, savepoint, failures, &mut results);
    list(results.into_iter().map(|(_, r)| r).collect())
}

/// Ends an all-or-none call: one failure undoes everything and taints the good results.
fn finish(db: &mut Db, savepoint: Option<Savepoint>, failures: usize, results: &mut [(bool, Value)]) {
    let Some(savepoint) = savepoint else { return };
    if failures == 0 {
        db.commit(savepoint);
        return;
    }
    db.roll_back(savepoint);
    for (_, result) in results.iter_mut().filter(|(good, _)| *good) {
        *result = rolled_back();
    }
}

fn save_one<'a>(
    call: &'a Call,
    db: &mut Db,
    scratch: &mut Scratch,
    mixture: &mut Mixture<'a>,
    target: Option<(Option<&str>, &str)>,
    record: &Value,
) -> Result<Value, RowError> {
    let empty = Map::new();
    let map = record.as_object().unwrap_or(&empty);
    let kind = match target {
        Some((Some(object), _)) => Some(object),
        _ => map.get("attributes").and_then(|a| a["type"].as_str()),
    };
    let object = kind
        .and_then(|k| call.org.schema.object(k))
        .ok_or_else(|| RowError::new("INVALID_TYPE", "sObject type is missing or not supported", &[]))?;
    let meta = &call.org.schema.objects[object];
    let harmless = mixed::is_harmless(meta, matches!(target, Some((None, _))), map);
    if !harmless {
        mixture.check(meta)?;
    }
    let Some((upsert, key_name)) = target else {
        let index = write(call, db, scratch, object, None, map)?;
        mixture.wrote(meta);
        return Ok(saved(&db.tables[object].id(index).text(), None));
    };
    let key = meta
        .visible(key_name)
        .filter(|f| *f == 0 || meta.fields[*f].is_key())
        .ok_or_else(|| RowError::new("INVALID_FIELD", format!("{key_name} is not an external id of {}", meta.name), &[]))?;
    let value = map.iter().find(|(k, _)| k.eq_ignore_ascii_case(key_name)).map(|(_, v)| v);
    let text = match value {
        Some(Value::String(s)) => s.clone(),
        Some(Value::Number(n)) => n.to_string(),
        _ => String::new(),
    };
    let found = rows_by_key(db, object, key, &text);
    let existing = match (found.as_slice(), upsert) {
        ([one], _) => Some(*one),
        ([], Some(_)) if key == 0 && text.is_empty() => None,
        ([], Some(_)) if key != 0 && !text.is_empty() => None,
        ([], Some(_)) if key != 0 => {
            return Err(RowError::new("MISSING_ARGUMENT", format!("{key_name} not specified"), &[key_name]));
        }
        ([], _) if Id::parse(text.as_bytes()).is_err() => {
            return Err(RowError::new("MALFORMED_ID", format!("malformed id {text}"), &["Id"]));
        }
        ([], _) => return Err(RowError::new("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", &[])),
        _ => {
            return Err(RowError::new(
                "DUPLICATE_EXTERNAL_ID",
                format!("{key_name}: more than one record found"),
                &[key_name],
            ));
        }
    };
    let index = write(call, db, scratch, object, existing, map)?;
    if !harmless {
        mixture.wrote(meta);
    }
    let created = upsert.map(|_| existing.is_none());
    Ok(saved(&db.tables[object].id(index).text(), created))
}

fn delete(call: &Call) -> Result<Response, ApiError> {
    let ids: Vec<&str> = call
        .query
        .get("ids")
        .map(|s| s.split(',').filter(|s| !s.is_empty()).collect())
        .unwrap_or_default();
    if ids.is_empty() {
        return Err(ApiError::bad("REQUIRED_FIELD_MISSING", "At least 1 Id is required."));
    }
    if ids.len() > RECORDS_MAX {
        return Err(ApiError::bad(
            "EXCEEDED_ID_LIMIT",
            "record limit reached. cannot submit more than 200 records in this request",
        ));
    }
    let mut db = call.org.db_mut();
    let context = call.org.write_context();
    let mut scratch = Scratch::default();
    let mut results = Vec::new();
    let objects: Vec<Option<usize>> = ids
        .iter()
        .map(|id| Id::parse(id.as_bytes()).ok().and_then(|id| db.schema.by_prefix(id.prefix())))
        .collect();
    let all_or_none = call.query.get("allOrNone").map(String::as_str) == Some("true");
    let savepoint = all_or_none.then(|| db.begin());
    let mut gone: HashMap<usize, HashSet<Id>> = HashMap::new();
    let mut failures = 0;
    let mut mixture = Mixture::default();
    for (id, object) in ids.iter().zip(&objects) {
        let result = match object {
            Some(object) => mixture
                .check(&call.org.schema.objects[*object])
                .and_then(|()| mixed::check(&call.org.schema, *object))
                .and_then(|()| rules::delete(&mut db, &context, *object, id.as_bytes(), false, &mut scratch.draft)),
            None => Err(RowError::new("MALFORMED_ID", format!("malformed id {id}"), &[])),
        };
        match result {
            Ok(index) => {
                call.org.faults.wrote(1);
                if let Some(object) = object {
                    mixture.wrote(&call.org.schema.objects[*object]);
                    mixed::wrote(*object);
                    gone.entry(*object).or_default().insert(db.tables[*object].id(index));
                }
                results.push((true, saved(id, None)));
            }
            Err(error) => {
                failures += 1;
                results.push((false, failed(&error)));
            }
        }
    }
    for (object, ids) in gone {
        rules::sweep(&mut db, &context, object, &ids);
    }
    finish(&mut db, savepoint, failures, &mut results);
    list(results.into_iter().map(|(_, r)| r).collect())
}

fn retrieve(call: &Call, name: &str, ids: &[String], fields: &[String]) -> Result<Response, ApiError> {
    let object = call.org.schema.object(name).ok_or_else(ApiError::not_found)?;
    if ids.len() > RETRIEVE_MAX {
        return Err(ApiError::bad(
            "EXCEEDED_ID_LIMIT",
            "record limit reached. cannot submit more than 2000 records into this call",
        ));
    }
    let db = call.org.db();
    let columns = columns(&db, object, Some(fields))?;
    let tree = Tree::new(&db, &columns);
    let mut out = vec![b'['];
    for (i, id) in ids.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let found = Id::parse(id.as_bytes()).ok().and_then(|id| db.tables[object].find_live(&id));
        match found {
            Some(index) => record(
                &mut out,
                &db,
                &call.version,
                object,
                db.tables[object].row(index),
                &tree,
                &mut |_| {},
            ),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b']');
    Ok(raw_reply(200, "application/json;charset=UTF-8", out))
}
