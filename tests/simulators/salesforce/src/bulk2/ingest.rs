//! Bulk API 2.0 ingest jobs: one upload per job, processed asynchronously in batches, with
//! result files that echo the input rows byte for byte.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::Method;
use serde_json::{Value, json};

use crate::bulk2::hold::Hold;
use crate::bulk2::list::{self, Listed};
use crate::bulk2::paging::{self, Readable};
use crate::bulk2::query::{dialect, quoted, version_number, wire_time};
use crate::bulk2::rows;
use crate::org::OrgState;
use crate::pubsub::origin;
use crate::store::id::Id;
use crate::web::faults::{Direction, JobFaultKind};
use crate::web::http::{Call, ok};
use crate::web::reply::{ApiError, PIECE_BYTES, csv_stream, empty};

/// Largest upload: 150 MB once the server has it in base64 ("Bulk API 2.0 Limits").
pub const UPLOAD_BYTES_MAX: usize = 157_286_400 / 4 * 3;
/// Largest content of a job made in one request.
const CONTENT_CHARS_MAX: usize = 100_000;
/// How long a job waits for its upload.
const OPEN_HOURS_MAX: i64 = 24;
/// Marks an outcome's row as inserted.
pub(crate) const CREATED: u32 = 1 << 31;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Insert,
    Update,
    Upsert,
    Delete,
    HardDelete,
}

/// What became of one input row; positions point into the upload.
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// A row position, with [`CREATED`]; or an index into the errors.
    pub(crate) value: u32,
    pub(crate) good: bool,
}

#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) state: State,
    pub(crate) upload: Bytes,
    pub(crate) header: (usize, usize),
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) errors: Vec<Box<str>>,
    /// Offset from which rows were never looked at.
    pub(crate) unprocessed_from: usize,
    pub(crate) good: Vec<u32>,
    pub(crate) bad: Vec<u32>,
    pub(crate) message: Option<String>,
    pub(crate) modified: Option<DateTime<Utc>>,
    pub(crate) took_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum State {
    #[default]
    Open,
    UploadComplete,
    InProgress,
    JobComplete,
    Failed,
    Aborted,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::UploadComplete => "UploadComplete",
            Self::InProgress => "InProgress",
            Self::JobComplete => "JobComplete",
            Self::Failed => "Failed",
            Self::Aborted => "Aborted",
        }
    }

    fn is_final(self) -> bool {
        matches!(self, Self::JobComplete | Self::Failed | Self::Aborted)
    }
}

/// One ingest job.
pub struct IngestJob {
    pub(crate) id: Id,
    pub(crate) version: String,
    pub(crate) object: usize,
    pub(crate) operation: Operation,
    pub(crate) operation_name: String,
    pub(crate) external_id: Option<(usize, String)>,
    pub(crate) assignment_rule: Option<String>,
    /// What change events name as their origin.
    pub(crate) origin: String,
    pub(crate) delimiter: u8,
    pub(crate) delimiter_name: String,
    pub(crate) crlf: bool,
    pub(crate) created: DateTime<Utc>,
    pub(crate) aborting: AtomicBool,
    pub(crate) processed: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) retries: AtomicU64,
    /// Its batches count as the server cuts them; those of Bulk API 1.0 have been counted as they came.
    pub(crate) counts_batches: bool,
    pub(crate) hold: Hold,
    pub(crate) readable: Readable,
    pub(crate) progress: Mutex<Progress>,
}

impl IngestJob {
    pub(crate) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether the job, ended or not, is kept no longer.
    fn is_past(&self, now: DateTime<Utc>) -> bool {
        let mut progress = self.progress();
        if progress.state == State::Open && now - self.created >= chrono::Duration::hours(OPEN_HOURS_MAX) {
            progress.state = State::Failed;
            progress.message = Some(format!("Timeout : The job was open for more than {OPEN_HOURS_MAX} hours"));
            progress.modified = Some(self.created + chrono::Duration::hours(OPEN_HOURS_MAX));
        }
        progress.state.is_final() && paging::is_past(progress.modified.unwrap_or(self.created), now)
    }

    fn info(&self, org: &OrgState, full: bool) -> Value {
        let progress = self.progress();
        let id = self.id.text();
        let modified = progress.modified.unwrap_or(self.created);
        let mut out = json!({"id": id, "operation": self.operation_name, "object": org.schema.objects[self.object].name,
            "createdById": org.user_id.text(), "createdDate": wire_time(self.created), "systemModstamp": wire_time(modified),
            "state": progress.state.name(), "concurrencyMode": "Parallel", "contentType": "CSV",
            "apiVersion": version_number(&self.version), "jobType": "V2Ingest",
            "lineEnding": if self.crlf { "CRLF" } else { "LF" }, "columnDelimiter": self.delimiter_name});
        if progress.state == State::Open {
            out["contentUrl"] = format!("services/data/{}/jobs/ingest/{id}/batches", self.version).into();
        }
        if let Some((_, name)) = &self.external_id {
            out["externalIdFieldName"] = name.as_str().into();
        }
        if let Some(rule) = &self.assignment_rule {
            out["assignmentRuleId"] = rule.as_str().into();
        }
        if full {
            out["numberRecordsProcessed"] = self.processed.load(Ordering::Relaxed).into();
            out["numberRecordsFailed"] = self.failed.load(Ordering::Relaxed).into();
            out["retries"] = self.retries.load(Ordering::Relaxed).into();
            out["totalProcessingTime"] = progress.took_ms.into();
            out["apiActiveProcessingTime"] = progress.took_ms.into();
            out["apexProcessingTime"] = 0.into();
            if let Some(message) = &progress.message {
                out["errorMessage"] = message.as_str().into();
            }
        }
        out
    }
}

/// `/jobs/ingest…`
pub fn handle(call: &Call, rest: &[&str]) -> Result<Response, ApiError> {
    match (&call.method, rest) {
        (&Method::POST, []) => create(call),
        (&Method::GET, []) => list(call),
        (&Method::GET, [id]) => {
            let job = find(call, id)?;
            job.hold.looked();
            ok(job.info(&call.org, true))
        }
        (&Method::PUT, [id, "batches"]) => upload(call, &find(call, id)?),
        (&Method::PATCH, [id]) => change(call, &find(call, id)?),
        (&Method::DELETE, [id]) => {
            let job = find(call, id)?;
            let state = job.progress().state;
            if state == State::Open || state == State::InProgress {
                return Err(refused("Deleting a job", state));
            }
            job.aborting.store(true, Ordering::SeqCst);
            call.org.ingest_jobs().remove(&job.id);
            Ok(empty(204))
        }
        (&Method::GET, [id, file]) => results(call, &find(call, id)?, &file.to_ascii_lowercase()),
        _ => Err(ApiError::not_found()),
    }
}

fn find(call: &Call, id: &str) -> Result<Arc<IngestJob>, ApiError> {
    let id = Id::parse(id.as_bytes()).map_err(|_| ApiError::not_found())?;
    let mut jobs = call.org.ingest_jobs();
    let job = jobs.get(&id).cloned().ok_or_else(ApiError::not_found)?;
    if job.is_past(call.org.clock.now()) {
        jobs.remove(&id);
        return Err(ApiError::not_found());
    }
    Ok(job)
}

fn refused(what: &str, state: State) -> ApiError {
    ApiError::bad("INVALIDJOBSTATE", format!("{what} in state {} is not allowed", state.name()))
}

fn create(call: &Call) -> Result<Response, ApiError> {
    let multipart = call
        .headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .filter(|v| v.starts_with("multipart/form-data"))
        .and_then(|v| v.split("boundary=").nth(1));
    let (body, content) = match multipart {
        Some(boundary) => {
            let (job, content) = parts(&call.body, boundary.trim_matches('"'))
                .ok_or_else(|| ApiError::bad("INVALIDMULTIPART", "job and content parts are required"))?;
            let body = serde_json::from_slice(&job).map_err(|e| ApiError::bad("JSON_PARSER_ERROR", e.to_string()))?;
            (body, Some(content))
        }
        None => (call.json()?, None),
    };
    let name = body["object"].as_str().unwrap_or_default();
    let object = call.org.schema.object(name).ok_or_else(|| {
        ApiError::bad(
            "INVALIDENTITY",
            format!("The specified object {name} is not supported by the Bulk API"),
        )
    })?;
    let meta = &call.org.schema.objects[object];
    let operation_name = body["operation"].as_str().unwrap_or_default().to_owned();
    let operation = match operation_name.as_str() {
        "insert" => Operation::Insert,
        "update" => Operation::Update,
        "upsert" => Operation::Upsert,
        "delete" => Operation::Delete,
        "hardDelete" => Operation::HardDelete,
        _ => return Err(ApiError::bad("INVALIDOPERATION", "operation is missing or not supported")),
    };
    let external_id = if operation == Operation::Upsert {
        let wanted = body["externalIdFieldName"].as_str().unwrap_or_default();
        let key = meta.visible(wanted).filter(|f| *f == 0 || meta.fields[*f].is_key()).ok_or_else(|| {
            ApiError::bad(
                "INVALIDJOB",
                format!(
                    "InvalidBatch : Field name provided, {wanted} does not match an External ID, Salesforce Id, or indexed field for {}",
                    meta.name
                ),
            )
        })?;
        Some((key, meta.fields[key].name.clone()))
    } else {
        None
    };
    let (delimiter, delimiter_name, crlf) = dialect(&body)?;
    if content.as_ref().is_some_and(|c| c.len() > CONTENT_CHARS_MAX) {
        let message = format!("The content of a multipart job exceeds {CONTENT_CHARS_MAX} characters");
        return Err(ApiError::bad("INVALIDMULTIPART", message));
    }
    let vanishes = call.org.faults.job_fault(&meta.name, Direction::Ingest, JobFaultKind::Vanish, 0);
    let job = Arc::new(IngestJob {
        id: call.org.next_serial(*b"750"),
        version: call.version.clone(),
        object,
        operation,
        operation_name,
        external_id,
        assignment_rule: body["assignmentRuleId"].as_str().map(str::to_owned),
        origin: origin::of_request("bulkapi", &call.version, &call.headers),
        delimiter,
        delimiter_name,
        crlf,
        created: call.org.clock.now(),
        aborting: AtomicBool::new(false),
        processed: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        retries: AtomicU64::new(0),
        counts_batches: true,
        hold: Hold::default(),
        readable: Readable::new(vanishes.map(|fault| fault.reads)),
        progress: Mutex::default(),
    });
    call.org.ingest_jobs().insert(job.id, Arc::clone(&job));
    if let Some(content) = content {
        job.progress().upload = content;
        job.progress().state = State::UploadComplete;
        let reply = ok(job.info(&call.org, false));
        start(&call.org, &job);
        return reply;
    }
    ok(job.info(&call.org, false))
}

fn parts(body: &Bytes, boundary: &str) -> Option<(Bytes, Bytes)> {
    let (mut job, mut content) = (None, None);
    let mark = format!("--{boundary}");
    let starts: Vec<usize> = memchr::memmem::find_iter(body, mark.as_bytes()).collect();
    for pair in starts.windows(2) {
        let part = body.slice(pair[0] + mark.len()..pair[1]);
        let split = memchr::memmem::find(&part, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&part[..split]).into_owned();
        let inner = part.slice(split + 4..part.len().saturating_sub(2).max(split + 4));
        if head.contains("name=\"job\"") {
            job = Some(inner);
        } else if head.contains("name=\"content\"") {
            content = Some(inner);
        }
    }
    Some((job?, content?))
}

fn list(call: &Call) -> Result<Response, ApiError> {
    let now = call.org.clock.now();
    let mut jobs = call.org.ingest_jobs();
    jobs.retain(|_, job| !job.is_past(now));
    let listed = |job: &Arc<IngestJob>| Listed {
        id: job.id,
        info: job.info(&call.org, false),
        is_chunked: false,
    };
    let mut all: Vec<Listed> = jobs.values().map(listed).collect();
    drop(jobs);
    all.extend(call.org.bulk1.listed(&call.org, false));
    list::answer(call, "ingest", all)
}

fn upload(call: &Call, job: &Arc<IngestJob>) -> Result<Response, ApiError> {
    let content_type = call
        .headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    if !content_type.starts_with("text/csv") {
        return Err(ApiError::new(415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type must be text/csv"));
    }
    let bytes_max = call.org.config.upload_bytes_max;
    let mut body = call.body.clone();
    if call.headers.get(http::header::CONTENT_ENCODING).is_some_and(|v| v == "gzip") {
        let mut plain = Vec::new();
        let mut reader = flate2::read::GzDecoder::new(&body[..]).take(bytes_max as u64 + 1);
        reader
            .read_to_end(&mut plain)
            .map_err(|e| ApiError::bad("CLIENTINPUTERROR", e.to_string()))?;
        body = plain.into();
    }
    if body.len() > bytes_max {
        return Err(ApiError::new(413, "EXCEEDED_MAX_SIZE_REQUEST", "Request entity is too large"));
    }
    let mut progress = job.progress();
    if progress.state != State::Open {
        return Err(refused("Uploading to a job", progress.state));
    }
    if !progress.upload.is_empty() {
        return Err(ApiError::bad("INVALIDJOBSTATE", "The job already has an upload"));
    }
    progress.upload = body;
    Ok(empty(201))
}

fn change(call: &Call, job: &Arc<IngestJob>) -> Result<Response, ApiError> {
    let body = call.json()?;
    // Of two requests at once only one finds the job as it was.
    let mut progress = job.progress();
    let state = progress.state;
    match body["state"].as_str() {
        Some("UploadComplete") if state == State::Open => {
            progress.state = State::UploadComplete;
            drop(progress);
            let reply = ok(job.info(&call.org, false));
            start(&call.org, job);
            reply
        }
        Some("Aborted") if !state.is_final() => {
            job.aborting.store(true, Ordering::SeqCst);
            if state == State::Open {
                progress.state = State::Aborted;
                progress.modified = Some(call.org.clock.now());
            }
            drop(progress);
            let mut info = job.info(&call.org, false);
            info["state"] = "Aborted".into();
            ok(info)
        }
        Some("UploadComplete" | "Aborted") => Err(refused("Changing the state of a job", state)),
        _ => Err(ApiError::bad("INVALIDJOBSTATE", "state must be UploadComplete or Aborted")),
    }
}

pub(crate) fn start(org: &Arc<OrgState>, job: &Arc<IngestJob>) {
    let (org, job) = (Arc::clone(org), Arc::clone(job));
    let slots = Arc::clone(&org.ingest_slots);
    tokio::spawn(async move {
        let latency = org.config.job_latency_ms;
        tokio::time::sleep(Duration::from_millis(latency / 2)).await;
        let Ok(_slot) = slots.acquire_owned().await else { return };
        job.progress().state = State::InProgress;
        tokio::time::sleep(Duration::from_millis(latency - latency / 2)).await;
        let worker = Arc::clone(&job);
        // A panic in row processing must end the job, not leave it in progress for ever.
        if tokio::task::spawn_blocking(move || rows::process(&org, &worker)).await.is_err() {
            let mut progress = job.progress();
            progress.state = State::Failed;
            progress.message = Some("Unknown : An unexpected error occurred".into());
        }
    });
}

fn results(call: &Call, job: &Arc<IngestJob>, file: &str) -> Result<Response, ApiError> {
    if !["successfulresults", "failedresults", "unprocessedrecords"].contains(&file) {
        return Err(ApiError::not_found());
    }
    let progress = job.progress();
    if !progress.state.is_final() {
        return Err(refused("Reading the results of a job", progress.state));
    }
    if job.readable.is_expired() {
        return Err(ApiError::not_found());
    }
    if !job.readable.read() {
        drop(progress);
        call.org.ingest_jobs().remove(&job.id);
        return Err(ApiError::not_found());
    }
    let header = progress.upload.slice(progress.header.0..progress.header.1.max(progress.header.0));
    let list = match file {
        "successfulresults" => progress.good.clone(),
        "failedresults" => progress.bad.clone(),
        _ => Vec::new(),
    };
    let upload = progress.upload.clone();
    let unprocessed = progress.unprocessed_from.min(upload.len());
    drop(progress);
    let (held, org) = (Arc::clone(job), Arc::clone(&call.org));
    let is_good = file == "successfulresults";
    let is_rest = file == "unprocessedrecords";
    let (mut at, mut first) = (0, true);
    Ok(csv_stream(call.accepts_gzip(), move |out| {
        let end_line: &[u8] = if held.crlf { b"\r\n" } else { b"\n" };
        let delimiter = held.delimiter;
        if first {
            first = false;
            if !is_rest {
                let lead: [&[u8]; 2] = if is_good {
                    [b"sf__Id", b"sf__Created"]
                } else {
                    [b"sf__Id", b"sf__Error"]
                };
                for name in lead {
                    quoted(out, name);
                    out.push(delimiter);
                }
            }
            out.extend_from_slice(&header);
            out.extend_from_slice(end_line);
            if is_rest {
                out.extend_from_slice(&upload[unprocessed..]);
                return false;
            }
        }
        let progress = held.progress();
        let db = org.db();
        let table = &db.tables[held.object];
        while at < list.len() && out.len() < PIECE_BYTES {
            let outcome = progress.outcomes[list[at] as usize];
            if is_good {
                quoted(out, table.row(outcome.value & !CREATED).get(0).unwrap_or_default());
                out.push(delimiter);
                quoted(out, if outcome.value & CREATED != 0 { b"true" } else { b"false" });
            } else {
                out.extend_from_slice(progress.errors[outcome.value as usize].as_bytes());
            }
            out.push(delimiter);
            out.extend_from_slice(&upload[outcome.start as usize..outcome.end as usize]);
            out.extend_from_slice(end_line);
            at += 1;
        }
        at < list.len()
    }))
}
