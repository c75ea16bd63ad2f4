//! `GET /jobs/query` and `GET /jobs/ingest`: the jobs of both Bulk APIs, page by page.

use axum::response::Response;
use serde_json::{Value, json};

use crate::store::id::Id;
use crate::web::http::{Call, ok};
use crate::web::reply::ApiError;

/// A job as lists show it.
pub struct Listed {
    pub id: Id,
    pub info: Value,
    /// The server cuts it by primary key.
    pub is_chunked: bool,
}

/// Answers with the jobs that pass the request's filters; `kind` is the path's last segment.
pub fn answer(call: &Call, kind: &str, mut jobs: Vec<Listed>) -> Result<Response, ApiError> {
    let from = match call.query.get("queryLocator") {
        None => 0,
        Some(locator) => locator
            .rsplit_once('-')
            .and_then(|(_, offset)| offset.parse::<usize>().ok())
            .ok_or_else(|| ApiError::bad("INVALID_QUERY_LOCATOR", "invalid query locator"))?,
    };
    let is_asked = |filter: &str, value: &str| call.query.get(filter).is_none_or(|asked| asked.eq_ignore_ascii_case(value));
    let text = |job: &Listed, key: &str| job.info[key].as_str().unwrap_or_default().to_owned();
    jobs.retain(|job| {
        is_asked("jobType", &text(job, "jobType"))
            && is_asked("concurrencyMode", &text(job, "concurrencyMode"))
            && is_asked("isPkChunkingEnabled", if job.is_chunked { "true" } else { "false" })
    });
    jobs.sort_by_key(|job| job.id);
    let step = call.org.bulk_paging.list_rows();
    let count = jobs.len();
    let records: Vec<Value> = jobs.into_iter().skip(from).take(step).map(|job| job.info).collect();
    let end = from + records.len();
    let filters = ["jobType", "concurrencyMode", "isPkChunkingEnabled"];
    let next = (end < count).then(|| {
        let mut tail = url::form_urlencoded::Serializer::new(format!("jobs/{kind}?"));
        for (name, value) in filters.iter().filter_map(|f| Some((f, call.query.get(*f)?))) {
            tail.append_pair(name, value);
        }
        tail.append_pair("queryLocator", &format!("01gWy0000000001AAA-{end}"));
        call.path(&tail.finish())
    });
    ok(json!({"done": next.is_none(), "records": records, "nextRecordsUrl": next}))
}
