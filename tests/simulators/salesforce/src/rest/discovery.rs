//! The resource list, limits and record counts.

use std::sync::atomic::Ordering;

use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::allocation::Allocation;
use crate::pubsub::PubSub;
use crate::pubsub::bus::now_ms;
use crate::rest::allocations;
use crate::store::files;
use crate::web::http::Call;
use crate::web::reply::json_reply;

/// `GET /services/data/vXX.0`
pub fn resources(call: &Call) -> Response {
    let mut out = Map::new();
    for name in [
        "composite",
        "jobs",
        "limits",
        "parameterizedSearch",
        "query",
        "queryAll",
        "recent",
        "search",
        "sobjects",
        "tooling",
    ] {
        out.insert(name.into(), call.path(name).into());
    }
    let identity = format!(
        "{}/id/{}/{}",
        call.caller.base,
        call.org.org_id,
        call.user().unwrap_or(call.org.user_id)
    );
    out.insert("identity".into(), identity.into());
    json_reply(200, &Value::Object(out))
}

/// `GET /limits`
pub fn limits(call: &Call) -> Response {
    let org = &call.org;
    let pair = |max: u64, used: u64| json!({"Max": max, "Remaining": max.saturating_sub(used)});
    let storage_mb = org.storage_mb.load(Ordering::Relaxed);
    let db = org.db();
    let used_mb = db.storage_bytes() / (1024 * 1024);
    let files_mb = files::bytes_used(&db) / (1024 * 1024);
    drop(db);
    let rolling = |allocation: &Allocation| {
        let (max, left) = allocation.figures(org.clock.now_ms());
        json!({"Max": max, "Remaining": left})
    };
    let events = |of: fn(&PubSub) -> &Allocation| {
        let figures = org.pubsub.as_ref().map(|bus| of(bus).figures(now_ms()));
        let (max, left) = figures.unwrap_or((50_000, 50_000));
        json!({"Max": max, "Remaining": left})
    };
    let counted = json!({
        "DailyApiRequests": pair(org.requests_max.load(Ordering::Relaxed), org.requests.load(Ordering::Relaxed)),
        "DailyBulkApiBatches": rolling(&org.limits.bulk_batches),
        "DailyBulkV2QueryJobs": rolling(&org.limits.query_jobs),
        "DailyBulkV2QueryFileStorageMB": pair(976_562, 0),
        "DataStorageMB": pair(storage_mb, used_mb),
        "FileStorageMB": pair(storage_mb, files_mb),
        "HourlyPublishedPlatformEvents": events(|bus| &bus.publishes),
        "DailyDeliveredPlatformEvents": events(|bus| &bus.allocation),
        "DailyAsyncApexExecutions": pair(250_000, 0),
        "SingleEmail": pair(5_000, 0),
    });
    let mut all = counted.as_object().cloned().unwrap_or_default();
    allocations::add(&mut all);
    json_reply(200, &Value::Object(all))
}

/// `GET /limits/recordCount[?sObjects=A,B]`
pub fn record_count(call: &Call) -> Response {
    let wanted: Option<Vec<&str>> = call.query.get("sObjects").map(|s| s.split(',').map(str::trim).collect());
    let db = call.org.db();
    let list: Vec<Value> = db
        .tables
        .iter()
        .zip(&db.schema.objects)
        .filter(|(table, object)| {
            table.live > 0
                && wanted
                    .as_ref()
                    .is_none_or(|w| w.iter().any(|n| n.eq_ignore_ascii_case(&object.name)))
        })
        .map(|(table, object)| json!({"count": table.live, "name": object.name}))
        .collect();
    json_reply(200, &json!({"sObjects": list}))
}
