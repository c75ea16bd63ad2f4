//! `/sobjects/X/updated` and `/sobjects/X/deleted`: which records changed in a window.

use axum::response::Response;
use chrono::{DateTime, Duration, SubsecRound, Timelike, Utc};
use serde_json::{Value, json};

use crate::store::db::Life;
use crate::web::http::{Call, ok};
use crate::web::reply::ApiError;

/// Ids per answer.
const IDS_MAX: usize = 600_000;
/// How far back updates are known.
const UPDATED_DAYS: i64 = 30;
/// How long deleted records stay known.
const DELETED_DAYS: i64 = 15;

/// A window as stored texts, both ends at whole minutes.
struct Window {
    from: String,
    until: String,
    covered: DateTime<Utc>,
}

fn moment(call: &Call, key: &str) -> Result<DateTime<Utc>, ApiError> {
    let text = call
        .query
        .get(key)
        .ok_or_else(|| ApiError::bad("MISSING_ARGUMENT", format!("The parameter {key} is missing")))?;
    // An unencoded plus sign arrives as a blank.
    let text = text.trim().replace(' ', "+");
    let parsed = DateTime::parse_from_rfc3339(&text).or_else(|_| DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f%z"));
    let at = parsed.map_err(|_| {
        ApiError::bad(
            "INVALID_REPLICATION_DATE",
            format!("{key} is not an ISO 8601 date and time: {text}"),
        )
    })?;
    Ok(whole_minute(at.with_timezone(&Utc)))
}

fn whole_minute(at: DateTime<Utc>) -> DateTime<Utc> {
    at.with_second(0).unwrap_or(at).trunc_subsecs(0)
}

fn stamp(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn shown(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string()
}

fn window(call: &Call, days: i64) -> Result<Window, ApiError> {
    let bad = |message: String| Err(ApiError::bad("INVALID_REPLICATION_DATE", message));
    let (start, end) = (moment(call, "start")?, moment(call, "end")?);
    let now = call.org.clock.now();
    if start >= end {
        return bad("endDate must be after startDate by at least one minute".into());
    }
    if start < now - Duration::days(days) {
        return bad(format!("startDate cannot be more than {days} days ago"));
    }
    let covered = end.min(whole_minute(now));
    Ok(Window {
        from: stamp(start),
        until: stamp(end),
        covered,
    })
}

/// Answers for one object.
pub fn handle(call: &Call, object: usize, deleted: bool) -> Result<Response, ApiError> {
    let meta = &call.org.schema.objects[object];
    if meta.describe.get("replicateable") != Some(&Value::Bool(true)) {
        let message = format!("Entity type {} is not replicatable", meta.name);
        return Err(ApiError::bad("INVALID_TYPE_FOR_OPERATION", message));
    }
    let window = window(call, if deleted { DELETED_DAYS } else { UPDATED_DAYS })?;
    let wanted = if deleted { Life::Deleted } else { Life::Live };
    let db = call.org.db();
    let table = &db.tables[object];
    let stamp_field = meta.field("SystemModstamp");
    let mut found = Vec::new();
    for index in table.scan(deleted).filter(|i| table.life(*i) == wanted) {
        let at = stamp_field.and_then(|f| table.row(index).get(f)).unwrap_or_default();
        if at >= window.from.as_bytes() && at < window.until.as_bytes() {
            found.push((index, String::from_utf8_lossy(at).replace('Z', "+0000")));
        }
    }
    if found.len() > IDS_MAX {
        return Err(ApiError::bad("EXCEEDED_ID_LIMIT", format!("The result exceeds {IDS_MAX} ids")));
    }
    let covered = shown(window.covered);
    if !deleted {
        let ids: Vec<String> = found.iter().map(|(i, _)| table.id(*i).text()).collect();
        return ok(json!({"ids": ids, "latestDateCovered": covered}));
    }
    let records: Vec<Value> = found
        .iter()
        .map(|(i, at)| json!({"id": table.id(*i).text(), "deletedDate": at}))
        .collect();
    let earliest = shown(whole_minute(call.org.clock.now()) - Duration::days(DELETED_DAYS));
    ok(json!({"deletedRecords": records, "earliestDateAvailable": earliest, "latestDateCovered": covered}))
}
