//! `/__sim`: control of the simulator itself. Not part of the org's API; needs no session.

use std::sync::atomic::Ordering;

use axum::response::Response;
use http::Method;
use serde_json::{Value, json};

use crate::store::id::Id;
use crate::store::locks::LockTable;
use crate::store::row::Draft;
use crate::store::setup::SetupDoc;
use crate::web::faults::Fault;
use crate::web::http::Call;
use crate::web::jobs;
use crate::web::recycle;
use crate::web::reply::{ApiError, json_reply};

const DAY_SECS: i64 = 86_400;

/// Answers a control request.
pub fn handle(call: &Call) -> Response {
    match route(call) {
        Ok(body) => json_reply(200, &body),
        Err(error) => error.reply(),
    }
}

fn route(call: &Call) -> Result<Value, ApiError> {
    let org = &call.org;
    let segments: Vec<&str> = call.segments.iter().skip(1).map(String::as_str).collect();
    match (&call.method, segments.as_slice()) {
        (&Method::POST, ["expire-tokens"]) => {
            let and_static = call.query.get("static").map(String::as_str) == Some("true");
            Ok(json!({"expired": org.auth.expire_all(and_static)}))
        }
        (&Method::POST, ["expire-locators"]) => Ok(json!({"expired": org.cursors.expire_all()})),
        (&Method::POST, ["clock"]) => {
            let secs = small(&call.json()?, "forward_secs")?;
            org.clock.forward(secs);
            if i64::from(secs) >= DAY_SECS {
                org.requests.store(0, Ordering::Relaxed);
            }
            Ok(json!({"now": org.clock.now().to_rfc3339()}))
        }
        (_, ["jobs", what]) => jobs::handle(call, what),
        (&Method::POST, ["query-pages"]) => {
            let body = call.json()?;
            let rows = body["rows"].as_u64().map(|n| n as usize);
            org.cursors
                .set_paging(rows, body["ragged"].as_bool(), body["locator_secs"].as_u64());
            Ok(json!({"ok": true}))
        }
        (&Method::POST, ["faults"]) => {
            let list = match call.json()? {
                Value::Array(list) => list,
                one => vec![one],
            };
            for entry in list {
                let fault: Fault = serde_json::from_value(entry).map_err(|e| ApiError::bad("BAD_FAULT", e.to_string()))?;
                org.faults.add(fault);
            }
            Ok(json!({"ok": true}))
        }
        (&Method::POST, ["row-faults"]) => {
            let fault = serde_json::from_value(call.json()?).map_err(|e| ApiError::bad("BAD_FAULT", e.to_string()))?;
            match org.faults.add_row_fault(fault) {
                true => Ok(json!({"ok": true})),
                false => Err(ApiError::bad("BAD_FAULT", "this code can't be injected")),
            }
        }
        (&Method::POST, ["job-faults"]) => {
            let fault = serde_json::from_value(call.json()?).map_err(|e| ApiError::bad("BAD_FAULT", e.to_string()))?;
            org.faults.add_job_fault(fault);
            Ok(json!({"ok": true}))
        }
        (&Method::GET, ["faults"]) => Ok(json!({"left": org.faults.left()})),
        (&Method::DELETE, ["faults"]) => {
            org.faults.clear();
            jobs::release(org);
            Ok(json!({"ok": true}))
        }
        (&Method::POST, ["latency"]) => {
            org.faults.set_latency_ms(number(&call.json()?, "ms")?);
            Ok(json!({"ok": true}))
        }
        (&Method::GET, ["requests"]) => Ok(org.faults.report()),
        (&Method::DELETE, ["requests"]) => {
            org.faults.reset_report();
            Ok(json!({"ok": true}))
        }
        (&Method::POST, ["limits"]) => {
            let body = call.json()?;
            if body.get("max").is_some() {
                org.requests_max.store(number(&body, "max")?, Ordering::Relaxed);
            }
            if body.get("used").is_some() {
                org.requests.store(number(&body, "used")?, Ordering::Relaxed);
            }
            for (key, allocation) in [("bulk_batches", &org.limits.bulk_batches), ("query_jobs", &org.limits.query_jobs)] {
                if body.get(key).is_some() {
                    allocation.set_max(number(&body, key)?);
                }
            }
            org.limits
                .long_calls
                .set(body["long_calls"].as_u64(), body["long_call_ms"].as_u64());
            Ok(json!({"ok": true}))
        }
        (&Method::GET, ["limits"]) => Ok(json!({"long_calls": org.limits.long_calls.count()})),
        (&Method::POST, ["storage"]) => {
            org.storage_mb.store(number(&call.json()?, "mb")?, Ordering::Relaxed);
            Ok(json!({"ok": true}))
        }
        (&Method::POST, ["validation-rules"]) => {
            let rules = serde_json::from_value(call.json()?).map_err(|e| ApiError::bad("BAD_RULE", e.to_string()))?;
            let mut document = org.setup().document.clone();
            document.validation_rules = rules;
            set_up(call, document)
        }
        (&Method::POST, ["late-commits"]) => {
            let body = call.json()?;
            org.commit_late(small(&body, "secs")?, small(&body, "times")?);
            Ok(json!({"ok": true}))
        }
        (&Method::GET, ["locks"]) => {
            let (waits, held) = locks(call)?.report();
            let held: Vec<String> = held.iter().map(Id::text).collect();
            Ok(json!({"waits": waits, "held": held}))
        }
        (&Method::POST, ["locks"]) => {
            let mut ids = Vec::new();
            crate::store::locks::named(&org.db(), &String::from_utf8_lossy(&call.body), &mut ids);
            locks(call)?.hold(&ids);
            Ok(json!({"held": ids.len()}))
        }
        (&Method::DELETE, ["locks"]) => {
            locks(call)?.let_go();
            Ok(json!({"ok": true}))
        }
        (&Method::GET, ["setup"]) => Ok(json!(org.setup().document)),
        (&Method::POST, ["setup"]) => {
            let document = serde_json::from_slice(&call.body).map_err(|e| ApiError::bad("BAD_SETUP", e.to_string()))?;
            set_up(call, document)
        }
        (&Method::GET, ["counts"]) => {
            let db = org.db();
            let counts: serde_json::Map<String, Value> = db
                .tables
                .iter()
                .zip(&db.schema.objects)
                .map(|(t, o)| (o.name.clone(), t.live.into()))
                .collect();
            Ok(counts.into())
        }
        (&Method::POST, ["merge"]) => recycle::merge_records(call),
        (&Method::POST, ["undelete"]) => recycle::undelete_records(call),
        (&Method::PATCH, ["records", id]) => edit(call, id),
        (&Method::DELETE, ["records", id]) => {
            let mut db = org.db_mut();
            let (object, index) = located(&db, id)?;
            db.tables[object].bury(index, crate::store::db::Life::Purged);
            Ok(json!({"ok": true}))
        }
        (&Method::POST, ["records", id, "swap", field, other]) => swap(call, id, field, other),
        (_, ["pubsub", rest @ ..]) => crate::pubsub::control::handle(call, rest),
        _ => Err(ApiError::not_found()),
    }
}

fn locks(call: &Call) -> Result<&LockTable, ApiError> {
    let table = call.org.locks.as_ref();
    table.ok_or_else(|| ApiError::bad("NO_LOCKS", "the org was started without lock contention"))
}

fn set_up(call: &Call, document: SetupDoc) -> Result<Value, ApiError> {
    call.org.set_up(document).map_err(|e| ApiError::bad("BAD_SETUP", e.to_string()))?;
    Ok(json!({"ok": true}))
}

fn small(body: &Value, key: &str) -> Result<u32, ApiError> {
    u32::try_from(number(body, key)?).map_err(|_| ApiError::bad("BAD_NUMBER", format!("{key} is too large")))
}

fn number(body: &Value, key: &str) -> Result<u64, ApiError> {
    body[key]
        .as_u64()
        .ok_or_else(|| ApiError::bad("BAD_NUMBER", format!("{key} must be a whole number")))
}

fn located(db: &crate::store::db::Db, id: &str) -> Result<(usize, u32), ApiError> {
    let id = Id::parse(id.as_bytes()).map_err(|e| ApiError::bad("MALFORMED_ID", e.to_string()))?;
    db.locate(&id).ok_or_else(ApiError::not_found)
}

/// Sets raw cells past every rule and without touching SystemModstamp.
fn edit(call: &Call, id: &str) -> Result<Value, ApiError> {
    let body = call.json()?;
    let mut db = call.org.db_mut();
    let (object, index) = located(&db, id)?;
    let meta = &call.org.schema.objects[object];
    let mut draft = Draft::default();
    draft.load(db.tables[object].row(index), meta.fields.len());
    for (name, value) in body.as_object().into_iter().flatten() {
        let field = meta.field(name).ok_or_else(|| ApiError::bad("INVALID_FIELD", name.as_str()))?;
        match value {
            Value::Null => draft.clear(field),
            Value::String(text) => draft.set(field, text.as_bytes()),
            other => draft.set(field, other.to_string().as_bytes()),
        }
    }
    db.tables[object].replace(index, draft.finish());
    Ok(json!({"ok": true}))
}

/// Exchanges one cell between two records of the same object.
fn swap(call: &Call, a: &str, field: &str, b: &str) -> Result<Value, ApiError> {
    let mut db = call.org.db_mut();
    let (object, first) = located(&db, a)?;
    let (other, second) = located(&db, b)?;
    let meta = &call.org.schema.objects[object];
    let field = meta.field(field).ok_or_else(|| ApiError::bad("INVALID_FIELD", field))?;
    if object != other {
        return Err(ApiError::bad("INVALID_TYPE", "both records must be of one object"));
    }
    let value = |db: &crate::store::db::Db, i: u32| db.tables[object].row(i).get(field).unwrap_or_default().to_vec();
    let (x, y) = (value(&db, first), value(&db, second));
    for (index, text) in [(first, y), (second, x)] {
        let mut draft = Draft::default();
        draft.load(db.tables[object].row(index), meta.fields.len());
        draft.set(field, &text);
        db.tables[object].replace(index, draft.finish());
    }
    Ok(json!({"ok": true}))
}
