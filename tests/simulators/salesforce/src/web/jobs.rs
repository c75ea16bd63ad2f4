//! `/__sim/jobs`: what a test does to the Bulk jobs there are.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use crate::bulk2::ingest::IngestJob;
use crate::bulk2::query::QueryJob;
use crate::org::OrgState;
use crate::store::id::Id;
use crate::web::http::Call;
use crate::web::reply::ApiError;

/// Answers a control request. Without a list of ids in the body, all jobs are meant.
pub fn handle(call: &Call, what: &str) -> Result<Value, ApiError> {
    if call.method != Method::POST {
        return Err(ApiError::method_not_allowed());
    }
    if what == "pages" {
        let change = serde_json::from_value(call.json()?).map_err(|e| ApiError::bad("BAD_PAGES", e.to_string()))?;
        call.org.bulk_paging.change(&change);
        return Ok(json!({"ok": true}));
    }
    let ids = meant(call)?;
    let is_meant = |id: &Id| ids.as_ref().is_none_or(|ids| ids.contains(id));
    let ingest: Vec<(Id, Arc<IngestJob>)> = chosen(&call.org.ingest_jobs(), is_meant);
    let query: Vec<(Id, Arc<QueryJob>)> = chosen(&call.org.query_jobs(), is_meant);
    match what {
        "forget" => {
            ingest.iter().for_each(|(id, _)| drop(call.org.ingest_jobs().remove(id)));
            query.iter().for_each(|(id, _)| drop(call.org.query_jobs().remove(id)));
        }
        "expire-results" => {
            ingest.iter().for_each(|(_, job)| job.readable.expire());
            query.iter().for_each(|(_, job)| job.expire_results());
        }
        "expire-locators" => query.iter().for_each(|(_, job)| job.expire_locators()),
        _ => return Err(ApiError::not_found()),
    }
    Ok(json!({"jobs": ingest.len() + query.len()}))
}

fn chosen<T>(jobs: &std::collections::HashMap<Id, Arc<T>>, is_meant: impl Fn(&Id) -> bool) -> Vec<(Id, Arc<T>)> {
    let meant = jobs.iter().filter(|(id, _)| is_meant(id));
    meant.map(|(id, job)| (*id, Arc::clone(job))).collect()
}

fn meant(call: &Call) -> Result<Option<Vec<Id>>, ApiError> {
    if call.body.is_empty() {
        return Ok(None);
    }
    let bad = |text: String| ApiError::bad("MALFORMED_ID", text);
    let texts: Vec<String> = serde_json::from_value(call.json()?).map_err(|e| bad(e.to_string()))?;
    let parse = |text: &String| Id::parse(text.as_bytes()).map_err(|e| bad(e.to_string()));
    texts.iter().map(parse).collect::<Result<Vec<Id>, ApiError>>().map(Some)
}

/// Lets every held job go on.
pub fn release(org: &OrgState) {
    org.ingest_jobs().values().for_each(|job| job.hold.release());
    org.query_jobs().values().for_each(|job| job.release());
    org.bulk1.release();
}
