//! Conditional requests: dates and tags on describes and single rows.

use axum::response::Response;
use chrono::{DateTime, Utc};
use http::{HeaderName, Method, header};
use serde_json::Value;

use crate::store::db::Db;
use crate::web::http::Call;
use crate::web::reply::{ApiError, empty, json_reply, set_header};

/// The one object whose rows carry entity tags.
const TAGGED: &str = "Account";

fn date(call: &Call, name: HeaderName) -> Option<i64> {
    let text = call.headers.get(name)?.to_str().ok()?;
    Some(DateTime::parse_from_rfc2822(text).ok()?.timestamp())
}

/// Whether a header lists this tag, or `*`; `None` without the header.
fn lists(call: &Call, name: HeaderName, tag: &str) -> Option<bool> {
    let text = call.headers.get(name)?.to_str().ok()?;
    // A tag may come back marked weak or as one of a gzipped answer.
    let bare = |t: &str| {
        t.trim()
            .trim_start_matches("W/")
            .trim_matches('"')
            .trim_end_matches("--gzip")
            .to_owned()
    };
    let own = bare(tag);
    Some(text.split(',').any(|t| t.trim() == "*" || bare(t) == own))
}

fn http_date(at: i64) -> String {
    let at = DateTime::<Utc>::from_timestamp(at, 0).unwrap_or_default();
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// An answer about the org's metadata, which changes when the org is set up anew.
pub fn cached(call: &Call, body: impl FnOnce() -> Value) -> Result<Response, ApiError> {
    let modified = call.org.metadata_modified().timestamp();
    let tag = format!("\"{modified:08x}\"");
    // A tag is the more exact of the two.
    let fresh = lists(call, header::IF_NONE_MATCH, &tag)
        .unwrap_or_else(|| date(call, header::IF_MODIFIED_SINCE).is_some_and(|since| since >= modified));
    if date(call, header::IF_UNMODIFIED_SINCE).is_some_and(|since| since < modified) {
        return Err(failed());
    }
    let mut reply = if fresh { empty(304) } else { json_reply(200, &body()) };
    set_header(&mut reply, "last-modified", &http_date(modified));
    set_header(&mut reply, "etag", &tag);
    Ok(reply)
}

fn failed() -> ApiError {
    ApiError::new(
        412,
        "PRECONDITION_FAILED",
        "The record has changed, or does not match the condition of the request",
    )
}

fn modified(db: &Db, object: usize, index: u32) -> Option<i64> {
    let field = db.schema.objects[object].field("LastModifiedDate")?;
    let text = std::str::from_utf8(db.tables[object].row(index).get(field)?).ok()?;
    Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp())
}

fn tag(db: &Db, object: usize, index: u32) -> Option<String> {
    (db.schema.objects[object].name == TAGGED).then(|| format!("\"{:016x}\"", db.tables[object].row(index).digest()))
}

/// Judges the conditions a request puts on a row: `Some` is the whole answer (304).
pub fn row(call: &Call, db: &Db, object: usize, index: u32) -> Result<Option<Response>, ApiError> {
    let reading = call.method == Method::GET || call.method == Method::HEAD;
    let tag = tag(db, object, index);
    let (listed, barred) = match &tag {
        Some(tag) => (lists(call, header::IF_MATCH, tag), lists(call, header::IF_NONE_MATCH, tag)),
        None => (None, None),
    };
    let modified = modified(db, object, index).unwrap_or_default();
    let moved = date(call, header::IF_UNMODIFIED_SINCE).is_some_and(|since| since < modified);
    if listed == Some(false) || moved || (barred == Some(true) && !reading) {
        return Err(failed());
    }
    let fresh = barred.unwrap_or_else(|| date(call, header::IF_MODIFIED_SINCE).is_some_and(|since| since >= modified));
    Ok((reading && fresh).then(|| mark(empty(304), db, object, index)))
}

/// Puts the row's date and tag on an answer.
pub fn mark(mut reply: Response, db: &Db, object: usize, index: u32) -> Response {
    if let Some(at) = modified(db, object, index) {
        set_header(&mut reply, "last-modified", &http_date(at));
    }
    if let Some(tag) = tag(db, object, index) {
        set_header(&mut reply, "etag", &tag);
    }
    reply
}
