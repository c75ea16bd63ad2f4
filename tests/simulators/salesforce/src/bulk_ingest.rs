//! Bulk API 2.0 ingest jobs: one upload per job, processed asynchronously in batches, with
//! result files that echo the input rows byte for byte.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::response::Response;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use csv::ByteRecord;
use http::Method;
use serde_json::{Value, json};

use crate::bulk_query::{dialect, quoted, version_number, wire_time};
use crate::db::Db;
use crate::http::{Call, ok};
use crate::id::Id;
use crate::org::OrgState;
use crate::reply::{ApiError, PIECE_BYTES, csv_stream, empty};
use crate::rules::{self, Column, Input, Scratch};
use crate::value::RowError;

/// Rows between two looks at the abort flag, and per hold of the write lock: the size of a
/// trigger chunk.
const CHUNK_ROWS: usize = 200;
/// Rows per server-side batch; between batches the worker yields.
const BATCH_ROWS: usize = 10_000;
/// Jobs per list answer.
const LIST_MAX: usize = 1000;
const CREATED: u32 = 1 << 31;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Insert,
    Update,
    Upsert,
    Delete,
    HardDelete,
}

/// What became of one input row; positions point into the upload.
#[derive(Clone, Copy)]
struct Outcome {
    start: u32,
    end: u32,
    /// A row position, with [`CREATED`]; or an index into the errors.
    value: u32,
    good: bool,
}

#[derive(Default)]
struct Progress {
    state: State,
    upload: Bytes,
    header: (usize, usize),
    outcomes: Vec<Outcome>,
    errors: Vec<Box<str>>,
    /// Offset from which rows were never looked at.
    unprocessed_from: usize,
    good: Vec<u32>,
    bad: Vec<u32>,
    message: Option<String>,
    modified: Option<DateTime<Utc>>,
    took_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum State {
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
    id: Id,
    version: String,
    object: usize,
    operation: Operation,
    operation_name: String,
    external_id: Option<(usize, String)>,
    assignment_rule: Option<String>,
    delimiter: u8,
    delimiter_name: String,
    crlf: bool,
    created: DateTime<Utc>,
    aborting: AtomicBool,
    processed: AtomicU64,
    failed: AtomicU64,
    progress: Mutex<Progress>,
}

impl IngestJob {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
            out["retries"] = 0.into();
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
        (&Method::GET, [id]) => ok(find(call, id)?.info(&call.org, true)),
        (&Method::PUT, [id, "batches"]) => upload(call, &find(call, id)?),
        (&Method::PATCH, [id]) => change(call, &find(call, id)?),
        (&Method::DELETE, [id]) => {
            let job = find(call, id)?;
            let state = job.progress().state;
            if state == State::Open || state == State::InProgress {
                return Err(ApiError::bad(
                    "INVALIDJOBSTATE",
                    format!("Deleting a job in state {} is not allowed", state.name()),
                ));
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
    call.org.ingest_jobs().get(&id).cloned().ok_or_else(ApiError::not_found)
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
        let key = meta.field(wanted).filter(|f| *f == 0 || meta.fields[*f].is_key()).ok_or_else(|| {
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
    let job = Arc::new(IngestJob {
        id: call.org.next_serial(*b"750"),
        version: call.version.clone(),
        object,
        operation,
        operation_name,
        external_id,
        assignment_rule: body["assignmentRuleId"].as_str().map(str::to_owned),
        delimiter,
        delimiter_name,
        crlf,
        created: Utc::now(),
        aborting: AtomicBool::new(false),
        processed: AtomicU64::new(0),
        failed: AtomicU64::new(0),
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
    let mut jobs: Vec<Arc<IngestJob>> = call.org.ingest_jobs().values().cloned().collect();
    jobs.sort_by_key(|j| j.id);
    let records: Vec<Value> = jobs.iter().take(LIST_MAX).map(|j| j.info(&call.org, false)).collect();
    ok(json!({"done": true, "records": records, "nextRecordsUrl": null}))
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
    let mut body = call.body.clone();
    if call.headers.get(http::header::CONTENT_ENCODING).is_some_and(|v| v == "gzip") {
        let mut plain = Vec::new();
        let mut reader = flate2::read::GzDecoder::new(&body[..]);
        std::io::Read::read_to_end(&mut reader, &mut plain).map_err(|e| ApiError::bad("CLIENTINPUTERROR", e.to_string()))?;
        body = plain.into();
    }
    let mut progress = job.progress();
    if progress.state != State::Open {
        return Err(ApiError::bad(
            "INVALIDJOBSTATE",
            format!("Uploading to a job in state {} is not allowed", progress.state.name()),
        ));
    }
    if !progress.upload.is_empty() {
        return Err(ApiError::bad("INVALIDJOBSTATE", "The job already has an upload"));
    }
    progress.upload = body;
    Ok(empty(201))
}

fn change(call: &Call, job: &Arc<IngestJob>) -> Result<Response, ApiError> {
    let body = call.json()?;
    let state = job.progress().state;
    match body["state"].as_str() {
        Some("UploadComplete") if state == State::Open => {
            job.progress().state = State::UploadComplete;
            let reply = ok(job.info(&call.org, false));
            start(&call.org, job);
            reply
        }
        Some("Aborted") if !state.is_final() => {
            job.aborting.store(true, Ordering::SeqCst);
            let mut progress = job.progress();
            if progress.state == State::Open {
                progress.state = State::Aborted;
                progress.modified = Some(Utc::now());
            }
            drop(progress);
            let mut info = job.info(&call.org, false);
            info["state"] = "Aborted".into();
            ok(info)
        }
        Some("UploadComplete" | "Aborted") => Err(ApiError::bad(
            "INVALIDJOBSTATE",
            format!("Changing the state of a job in state {} is not allowed", state.name()),
        )),
        _ => Err(ApiError::bad("INVALIDJOBSTATE", "state must be UploadComplete or Aborted")),
    }
}

fn start(org: &Arc<OrgState>, job: &Arc<IngestJob>) {
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
        if tokio::task::spawn_blocking(move || process(&org, &worker)).await.is_err() {
            let mut progress = job.progress();
            progress.state = State::Failed;
            progress.message = Some("Unknown : An unexpected error occurred".into());
        }
    });
}

struct Work<'a> {
    org: &'a OrgState,
    job: &'a IngestJob,
    text: &'a [u8],
    columns: Vec<Column>,
    key: Option<usize>,
    id: Option<usize>,
}

fn process(org: &OrgState, job: &IngestJob) {
    let started = Instant::now();
    let upload = job.progress().upload.clone();
    let mut outcomes = Vec::new();
    let mut errors = Vec::new();
    let mut header = (0, 0);
    let mut rest = 0;
    let result = run(org, job, &upload, &mut outcomes, &mut errors, &mut header, &mut rest);
    if matches!(job.operation, Operation::Delete | Operation::HardDelete) {
        let mut db = org.db_mut();
        let table = &db.tables[job.object];
        let gone = outcomes.iter().filter(|o| o.good).map(|o| table.id(o.value & !CREATED)).collect();
        rules::sweep(&mut db, &org.write_context(), job.object, &gone);
    }
    let mut good: Vec<u32> = Vec::new();
    let mut bad: Vec<u32> = Vec::new();
    for (i, outcome) in outcomes.iter().enumerate() {
        if outcome.good { good.push(i as u32) } else { bad.push(i as u32) }
    }
    if org.config.shuffle_results {
        let seed = job.id.serial() ^ org.config.seed;
        shuffle(&mut good, seed);
        shuffle(&mut bad, seed.rotate_left(17));
    }
    let mut progress = job.progress();
    progress.outcomes = outcomes;
    progress.errors = errors;
    progress.header = header;
    progress.unprocessed_from = rest;
    progress.good = good;
    progress.bad = bad;
    progress.took_ms = started.elapsed().as_millis() as u64;
    progress.modified = Some(Utc::now());
    match result {
        Ok(true) => progress.state = State::JobComplete,
        Ok(false) => progress.state = State::Aborted,
        Err(message) => {
            progress.message = Some(message);
            progress.state = State::Failed;
        }
    }
}

fn shuffle(list: &mut [u32], seed: u64) {
    let mut random = crate::generate::SplitMix::new(seed);
    for i in (1..list.len()).rev() {
        list.swap(i, random.below(i as u64 + 1) as usize);
    }
}

/// The end of the first line, quotes respected, and whether it ended in CRLF.
fn first_line(text: &[u8]) -> (usize, Option<bool>) {
    let mut inside = false;
    for (i, c) in text.iter().enumerate() {
        match c {
            b'"' => inside = !inside,
            b'\n' if !inside => return (i, Some(i > 0 && text[i - 1] == b'\r')),
            _ => {}
        }
    }
    (text.len(), None)
}

fn run(
    org: &OrgState,
    job: &IngestJob,
    upload: &[u8],
    outcomes: &mut Vec<Outcome>,
    errors: &mut Vec<Box<str>>,
    header_at: &mut (usize, usize),
    rest: &mut usize,
) -> Result<bool, String> {
    let skip = if upload.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    let text = &upload[skip..];
    let (header_end, ending) = first_line(text);
    let bare_end = header_end - usize::from(ending == Some(true));
    *header_at = (skip, skip + bare_end);
    *rest = (skip + header_end + 1).min(upload.len());
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err("InvalidBatch : Failed to parse CSV header.".into());
    }
    if std::str::from_utf8(text).is_err() {
        return Err("ClientInputError : Failed to read query. Exception: input is not valid UTF-8".into());
    }
    if ending.is_some_and(|crlf| crlf != job.crlf) {
        let declared = if job.crlf { "CRLF" } else { "LF" };
        return Err(format!(
            "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {declared}"
        ));
    }
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(job.delimiter)
        .flexible(true)
        .has_headers(false)
        .buffer_capacity(1 << 20)
        .from_reader(text);
    let mut names = ByteRecord::new();
    reader.read_byte_record(&mut names).map_err(|e| format!("InvalidBatch : {e}"))?;
    let work = resolve(org, job, text, &names)?;
    let mut chunk: Vec<ByteRecord> = vec![ByteRecord::new(); CHUNK_ROWS];
    let mut spans: Vec<(usize, usize)> = Vec::with_capacity(CHUNK_ROWS);
    let mut scratch = Scratch::default();
    let mut since_yield = 0;
    loop {
        if job.aborting.load(Ordering::SeqCst) || org.stopping.load(Ordering::SeqCst) {
            return Ok(false);
        }
        spans.clear();
        let mut broken = None;
        while spans.len() < CHUNK_ROWS {
            let start = reader.position().byte() as usize;
            let record = &mut chunk[spans.len()];
            match reader.read_byte_record(record) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    broken = Some(format!("InvalidBatch : {error}"));
                    break;
                }
            }
            if record.len() != names.len() {
                broken = Some(format!(
                    "InvalidBatch : Row {} has {} fields, the header has {}",
                    outcomes.len() + spans.len() + 1,
                    record.len(),
                    names.len()
                ));
                break;
            }
            spans.push((start, reader.position().byte() as usize));
        }
        if spans.is_empty() && broken.is_none() {
            *rest = upload.len();
            return Ok(true);
        }
        if let Some(message) = org.faults.job_fault(&org.schema.objects[job.object].name, outcomes.len()) {
            return Err(message);
        }
        let rows = &chunk[..spans.len()];
        work.chunk(rows, &spans, skip, outcomes, errors, &mut scratch);
        if let Some((_, end)) = spans.last() {
            *rest = skip + end;
        }
        if let Some(message) = broken {
            return Err(message);
        }
        since_yield += spans.len();
        if since_yield >= BATCH_ROWS {
            since_yield = 0;
            std::thread::yield_now();
        }
    }
}

fn resolve<'a>(org: &'a OrgState, job: &'a IngestJob, text: &'a [u8], names: &ByteRecord) -> Result<Work<'a>, String> {
    let meta = &org.schema.objects[job.object];
    let mut columns = Vec::with_capacity(names.len());
    let (mut id, mut key) = (None, None);
    for (i, raw) in names.iter().enumerate() {
        let name = String::from_utf8_lossy(raw);
        let column =
            Column::resolve(&org.schema, job.object, &name).ok_or_else(|| format!("InvalidBatch : Field name not found : {name}"))?;
        if columns.iter().any(|c| same_column(c, &column)) {
            return Err(format!("InvalidBatch : Field name is duplicated : {name}"));
        }
        if matches!(column, Column::Id) {
            id = Some(i);
        }
        if let (Some((wanted, _)), Column::Field(field)) = (&job.external_id, &column)
            && field == wanted
        {
            key = Some(i);
        }
        columns.push(column);
    }
    match job.operation {
        Operation::Delete | Operation::HardDelete if id.is_none() || columns.len() != 1 => {
            return Err(format!("InvalidBatch : The '{}' batch must contain only ids", job.operation_name));
        }
        Operation::Update if id.is_none() => return Err("InvalidBatch : Field name not found : Id".into()),
        Operation::Upsert => match &job.external_id {
            Some((0, _)) if id.is_some() => key = id,
            Some((_, name)) if key.is_none() => {
                return Err(format!("InvalidBatch : Field name not found : {name} in {}", meta.name));
            }
            _ => {}
        },
        _ => {}
    }
    Ok(Work {
        org,
        job,
        text,
        columns,
        key,
        id,
    })
}

fn same_column(a: &Column, b: &Column) -> bool {
    match (a, b) {
        (Column::Id, Column::Id) => true,
        (Column::Field(a) | Column::Parent { field: a, .. }, Column::Field(b) | Column::Parent { field: b, .. }) => a == b,
        _ => false,
    }
}

impl Work<'_> {
    fn chunk(
        &self,
        rows: &[ByteRecord],
        spans: &[(usize, usize)],
        skip: usize,
        outcomes: &mut Vec<Outcome>,
        errors: &mut Vec<Box<str>>,
        scratch: &mut Scratch,
    ) {
        let context = self.org.write_context();
        let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
        if let (Operation::Upsert, Some(key)) = (self.job.operation, self.key) {
            for row in rows {
                let value = row.get(key).unwrap_or_default();
                if !value.is_empty() {
                    *seen.entry(value.to_ascii_lowercase()).or_default() += 1;
                }
            }
            seen.retain(|_, n| *n > 1);
        }
        let mut db = self.org.db_mut();
        let mut failed = 0;
        for (row, (start, end)) in rows.iter().zip(spans) {
            let result = self.row(&mut db, &context, row, &seen, scratch);
            let (start, end) = trim(self.text, *start, *end);
            let (value, good) = match result {
                Ok((index, created)) => (index | if created { CREATED } else { 0 }, true),
                Err(error) => {
                    failed += 1;
                    errors.push(self.failure(row, &error).into());
                    (errors.len() as u32 - 1, false)
                }
            };
            outcomes.push(Outcome {
                start: (start + skip) as u32,
                end: (end + skip) as u32,
                value,
                good,
            });
        }
        drop(db);
        self.org.faults.wrote((rows.len() - failed) as u64);
        self.job.processed.fetch_add(rows.len() as u64, Ordering::Relaxed);
        self.job.failed.fetch_add(failed as u64, Ordering::Relaxed);
    }

    /// The two leading cells of a failed row, ready to print.
    fn failure(&self, row: &ByteRecord, error: &RowError) -> String {
        let id = self.id.and_then(|i| row.get(i)).unwrap_or_default();
        let mut out = Vec::new();
        quoted(&mut out, id);
        out.push(self.job.delimiter);
        quoted(&mut out, error.bulk_text().as_bytes());
        String::from_utf8_lossy(&out).into_owned()
    }

    fn row(
        &self,
        db: &mut Db,
        context: &rules::WriteContext,
        row: &ByteRecord,
        repeated: &HashMap<Vec<u8>, usize>,
        scratch: &mut Scratch,
    ) -> Result<(u32, bool), RowError> {
        let object = self.job.object;
        if let Some(error) = self.org.faults.row_fault(&self.org.schema.objects[object].name) {
            return Err(error);
        }
        let id_text = self.id.and_then(|i| row.get(i)).unwrap_or_default();
        if matches!(self.job.operation, Operation::Delete | Operation::HardDelete) {
            let purge = self.job.operation == Operation::HardDelete;
            let index = rules::delete(db, context, object, id_text, purge, &mut scratch.draft)?;
            return Ok((index, false));
        }
        let existing = match self.job.operation {
            Operation::Update => Some(self.by_id(db, id_text)?),
            Operation::Insert if !id_text.is_empty() => {
                return Err(RowError::new(
                    "INVALID_FIELD_FOR_INSERT_UPDATE",
                    "cannot specify Id in an insert call",
                    &["Id"],
                ));
            }
            Operation::Upsert => self.upsert_target(db, row, id_text, repeated)?,
            _ => None,
        };
        let cells: Vec<(Column, Input<'_>)> = self
            .columns
            .iter()
            .zip(row.iter())
            .map(|(column, raw)| {
                let input = match raw {
                    b"" => Input::Skip,
                    b"#N/A" => Input::Null,
                    raw => Input::Text(raw),
                };
                (column.clone(), input)
            })
            .collect();
        let index = rules::write(db, context, object, existing, &cells, scratch)?;
        Ok((index, existing.is_none()))
    }

    fn by_id(&self, db: &Db, text: &[u8]) -> Result<u32, RowError> {
        if text.is_empty() {
            return Err(RowError::new("MISSING_ARGUMENT", "Id not specified in an update call", &[]));
        }
        let shown = String::from_utf8_lossy(text).into_owned();
        let id = Id::parse(text).map_err(|_| RowError::new("MALFORMED_ID", format!("malformed id {shown}"), &["Id"]))?;
        if id.prefix() != db.schema.objects[self.job.object].prefix {
            return Err(RowError::new(
                "MALFORMED_ID",
                format!("Id: id value of incorrect type: {shown}"),
                &["Id"],
            ));
        }
        let table = &db.tables[self.job.object];
        let index = table
            .find(&id)
            .ok_or_else(|| RowError::new("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", &[]))?;
        if table.life(index) != crate::db::Life::Live {
            return Err(RowError::new("ENTITY_IS_DELETED", "entity is deleted", &[]));
        }
        Ok(index)
    }

    fn upsert_target(
        &self,
        db: &Db,
        row: &ByteRecord,
        id_text: &[u8],
        repeated: &HashMap<Vec<u8>, usize>,
    ) -> Result<Option<u32>, RowError> {
        let Some((key, name)) = &self.job.external_id else {
            return Ok(None);
        };
        if *key == 0 {
            return if id_text.is_empty() {
                Ok(None)
            } else {
                self.by_id(db, id_text).map(Some)
            };
        }
        let value = self.key.and_then(|i| row.get(i)).unwrap_or_default();
        if value.is_empty() || value == b"#N/A" {
            return Err(RowError::new("MISSING_ARGUMENT", format!("{name} not specified"), &[]));
        }
        let shown = String::from_utf8_lossy(value);
        if repeated.contains_key(&value.to_ascii_lowercase()) {
            return Err(RowError::new(
                "DUPLICATE_VALUE",
                format!("Duplicate external id specified: {shown}"),
                &[name],
            ));
        }
        let found = crate::records::rows_by_key(db, self.job.object, *key, &shown);
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            _ => Err(RowError::new(
                "DUPLICATE_EXTERNAL_ID",
                format!("{name}: more than one record found for external id field"),
                &[name],
            )),
        }
    }
}

/// Cuts line ends off a record's span (and blank lines before it).
fn trim(text: &[u8], mut start: usize, mut end: usize) -> (usize, usize) {
    let is_end = |i: usize| matches!(text.get(i), Some(b'\r' | b'\n'));
    while start < end && is_end(start) {
        start += 1;
    }
    while end > start && is_end(end - 1) {
        end -= 1;
    }
    (start, end)
}

fn results(call: &Call, job: &Arc<IngestJob>, file: &str) -> Result<Response, ApiError> {
    if !["successfulresults", "failedresults", "unprocessedrecords"].contains(&file) {
        return Err(ApiError::not_found());
    }
    let progress = job.progress();
    if !progress.state.is_final() {
        return Err(ApiError::bad(
            "INVALIDJOBSTATE",
            format!("Results of a job in state {} can not be read", progress.state.name()),
        ));
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
