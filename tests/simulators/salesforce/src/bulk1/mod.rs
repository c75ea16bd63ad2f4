//! Bulk API 1.0: jobs whose batches hold rows or a query each, in XML, JSON or CSV.

pub mod ingest;
pub mod job;
pub mod query;
pub mod wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::response::Response;
use http::{HeaderValue, Method, header};

use self::job::Work;
pub use self::job::{Batch, Content, Job};
use self::wire::{Refusal, batches, document};
use crate::bulk2::list::Listed;
use crate::org::OrgState;
use crate::store::id::Id;
use crate::web::http::{Call, admit};
use crate::web::negotiate::media_type;
use crate::web::reply::raw_reply;
use crate::web::target::{Standing, standing};

/// Bytes one batch may hold.
const BATCH_BYTES_MAX: usize = 10_000_000;

/// An org's jobs.
#[derive(Default)]
pub struct Jobs(Mutex<HashMap<Id, Arc<Job>>>);

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Arc<Job>>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The jobs that query, or those that write, as Bulk API 2.0 lists them.
    pub fn listed(&self, org: &OrgState, queries: bool) -> Vec<Listed> {
        let jobs: Vec<Arc<Job>> = self.lock().values().cloned().collect();
        let all = jobs.iter().map(|job| job.listed(org));
        all.filter(|(is_query, _)| *is_query == queries).map(|(_, job)| job).collect()
    }

    /// Lets held batches go on.
    pub fn release(&self) {
        let jobs: Vec<Arc<Job>> = self.lock().values().cloned().collect();
        for batch in jobs.iter().flat_map(|job| job.batches()) {
            if let Work::Rows(rows) = &batch.work {
                rows.hold.release();
            }
        }
    }
}

/// `/services/async/60.0/job…`
pub async fn handle(mut call: Call) -> Response {
    let json = wants_json(&call);
    let done = tokio::task::spawn_blocking(move || enter(&mut call)).await;
    match done {
        Ok(Ok(reply)) => reply,
        Ok(Err(refusal)) => refusal.reply(json),
        Err(_) => Refusal::new("Unknown", "An unexpected error occurred").reply(json),
    }
}

/// Answers take the request's form.
fn wants_json(call: &Call) -> bool {
    let accept = call.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    media_type(&call.headers) == "application/json" || accept.starts_with("application/json")
}

fn enter(call: &mut Call) -> Result<Response, Refusal> {
    if let Some(session) = call.headers.get("x-sfdc-session").and_then(|v| v.to_str().ok())
        && let Ok(value) = HeaderValue::from_str(&format!("Bearer {session}"))
    {
        call.headers.insert(header::AUTHORIZATION, value);
    }
    admit(call)?;
    let number = call.segments.get(2).cloned().unwrap_or_default();
    call.version = format!("v{number}");
    if standing(&call.version) != Standing::Served {
        return Err(Refusal::new("InvalidVersion", format!("Invalid API version: {number}")));
    }
    if call.headers.get(header::CONTENT_ENCODING).is_some_and(|v| v == "gzip") {
        let mut plain = Vec::new();
        let limit = BATCH_BYTES_MAX as u64 + 1;
        let mut reader = std::io::Read::take(flate2::read::MultiGzDecoder::new(&call.body[..]), limit);
        std::io::Read::read_to_end(&mut reader, &mut plain).map_err(|e| Refusal::new("ClientInputError", e.to_string()))?;
        call.body = plain.into();
    }
    route(call)
}

fn route(call: &Call) -> Result<Response, Refusal> {
    let rest: Vec<&str> = call.segments.iter().skip(3).map(String::as_str).collect();
    match (&call.method, rest.as_slice()) {
        (&Method::POST, ["job"]) => {
            let job = Arc::new(Job::create(call)?);
            call.org.bulk1.lock().insert(job.id, Arc::clone(&job));
            Ok(show(call, 201, &job))
        }
        (&Method::GET, ["job", id]) => {
            let job = find(call, id)?;
            Ok(show(call, 200, &job))
        }
        (&Method::POST, ["job", id]) => {
            let job = find(call, id)?;
            job.change(call)?;
            Ok(show(call, 200, &job))
        }
        (&Method::POST, ["job", id, "batch"]) => {
            let job = find(call, id)?;
            if call.body.len() > BATCH_BYTES_MAX {
                return Err(Refusal::new("InvalidBatch", "The batch exceeds the maximum of 10000000 bytes"));
            }
            let batch = job.add(call)?;
            Ok(document(201, in_json(call, &job), "batchInfo", &batch.info(&job, &call.org)))
        }
        (&Method::GET, ["job", id, "batch"]) => {
            let job = find(call, id)?;
            let all: Vec<_> = job.batches().iter().map(|b| b.info(&job, &call.org)).collect();
            Ok(batches(in_json(call, &job), &all))
        }
        (&Method::GET, ["job", id, "batch", batch, tail @ ..]) => {
            let job = find(call, id)?;
            let batch = job.batch(batch)?;
            batch_part(call, &job, &batch, tail)
        }
        _ => Err(Refusal::new("InvalidUrl", "The requested resource does not exist")),
    }
}

fn batch_part(call: &Call, job: &Job, batch: &Batch, tail: &[&str]) -> Result<Response, Refusal> {
    let json = in_json(call, job);
    if tail.is_empty() {
        batch.looked();
        return Ok(document(200, json, "batchInfo", &batch.info(job, &call.org)));
    }
    if tail == ["request"] {
        return Ok(raw_reply(200, job.content.media(), batch.request.clone()));
    }
    if tail.len() > 2 || tail[0] != "result" {
        return Err(Refusal::new("InvalidUrl", "The requested resource does not exist"));
    }
    match (&batch.work, tail) {
        _ if batch.state(&call.org) != "Completed" => Err(Refusal::new("InvalidBatch", "Batch not completed")),
        (Work::Rows(rows), [_]) => Ok(ingest::results(&call.org, job.content, batch, rows)),
        (Work::Query(Ok(found)), [_]) => Ok(query::list(json, found)),
        (Work::Query(Ok(found)), [_, id]) if Id::parse(id.as_bytes()).is_ok_and(|id| id == found.result) => {
            Ok(query::result(&call.org, job, found, call.accepts_gzip()))
        }
        _ => Err(Refusal::new("InvalidBatch", "Unable to find result")),
    }
}

fn in_json(call: &Call, job: &Job) -> bool {
    job.content == Content::Json || wants_json(call)
}

fn show(call: &Call, status: u16, job: &Job) -> Response {
    let json = wants_json(call) || call.method == Method::GET && job.content == Content::Json;
    document(status, json, "jobInfo", &job.info(&call.org))
}

fn find(call: &Call, id: &str) -> Result<Arc<Job>, Refusal> {
    let missing = || Refusal::new("InvalidJob", format!("Unable to find job: {id}"));
    let key = Id::parse(id.as_bytes()).map_err(|_| Refusal::new("InvalidJob", format!("Invalid job id: {id}")))?;
    let mut jobs = call.org.bulk1.lock();
    let job = jobs.get(&key).cloned().ok_or_else(missing)?;
    if job.is_past(call.org.clock.now()) {
        jobs.remove(&key);
        return Err(missing());
    }
    Ok(job)
}

impl Job {
    fn batch(&self, id: &str) -> Result<Arc<Batch>, Refusal> {
        let missing = || Refusal::new("InvalidBatch", format!("Unable to find batch: {id}"));
        let key = Id::parse(id.as_bytes()).map_err(|_| missing())?;
        self.batches().into_iter().find(|b| b.id == key).ok_or_else(missing)
    }

    fn batches(&self) -> Vec<Arc<Batch>> {
        self.progress().batches.clone()
    }
}
