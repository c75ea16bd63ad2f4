//! Bulk API 2.0 query jobs. The result is a list of shared rows taken when the job is
//! created; pages are rendered from it on demand, so locators stay good and nothing is
//! materialised.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chrono::{DateTime, Utc};
use http::Method;
use serde_json::{Value, json};

use crate::bulk2::hold::Hold;
use crate::bulk2::list::{self, Listed};
use crate::bulk2::paging::{self, Readable};
use crate::bulk2::rows::shuffle;
use crate::schema::FieldType;
use crate::soql::expr::RowCells;
use crate::soql::plan::{Bound, Column, Expr, Plan, Surface, Viewer, bind};
use crate::soql::{parser, run};
use crate::store::db::Db;
use crate::store::id::Id;
use crate::store::row::Row;
use crate::web::faults::{Direction, JobFaultKind};
use crate::web::http::{Call, ok};
use crate::web::reply::{ApiError, PIECE_BYTES, csv_stream, empty, set_header};

/// Largest page a client may ask for.
const PAGE_ROWS_MAX: usize = 250_000;
/// Page URLs per `resultPages` answer.
const RESULT_PAGES: usize = 5;

/// One query job.
pub struct QueryJob {
    id: Id,
    version: String,
    operation: String,
    query: String,
    object: String,
    delimiter: u8,
    delimiter_name: String,
    crlf: bool,
    created: DateTime<Utc>,
    born: Instant,
    latency: Duration,
    took: Duration,
    aborted: AtomicBool,
    error: Option<String>,
    plan: Option<Plan>,
    rows: Vec<Row>,
    hold: Hold,
    readable: Readable,
    /// Grows when the locators handed out so far expire.
    era: AtomicU64,
}

/// The byte behind a delimiter's name.
pub fn delimiter(name: &str) -> Option<u8> {
    Some(match name {
        "COMMA" => b',',
        "TAB" => b'\t',
        "SEMICOLON" => b';',
        "PIPE" => b'|',
        "CARET" => b'^',
        "BACKQUOTE" => b'`',
        _ => return None,
    })
}

/// Delimiter and line ending named in a job request.
pub fn dialect(body: &Value) -> Result<(u8, String, bool), ApiError> {
    let name = body["columnDelimiter"].as_str().unwrap_or("COMMA").to_owned();
    let byte = delimiter(&name).ok_or_else(|| ApiError::bad("INVALID_FIELD", "columnDelimiter is not valid"))?;
    let crlf = match body["lineEnding"].as_str().unwrap_or("LF") {
        "LF" => false,
        "CRLF" => true,
        _ => return Err(ApiError::bad("INVALID_FIELD", "lineEnding is not valid")),
    };
    if body["contentType"].as_str().unwrap_or("CSV") != "CSV" {
        return Err(ApiError::bad("INVALID_FIELD", "contentType is not valid"));
    }
    Ok((byte, name, crlf))
}

/// The API's timestamp form.
pub fn wire_time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S.000+0000").to_string()
}

/// `65.0` as a JSON number.
pub fn version_number(version: &str) -> Value {
    json!(version.trim_start_matches('v').parse::<f64>().unwrap_or(0.0))
}

impl QueryJob {
    fn state(&self) -> &'static str {
        if self.aborted.load(Ordering::SeqCst) {
            return "Aborted";
        }
        let elapsed = self.born.elapsed();
        if elapsed < self.latency / 2 {
            "UploadComplete"
        } else if elapsed < self.latency || self.hold.is_held() {
            "InProgress"
        } else if self.error.is_some() {
            "Failed"
        } else {
            "JobComplete"
        }
    }

    /// Whether the job is kept no longer.
    fn is_past(&self, now: DateTime<Utc>) -> bool {
        !matches!(self.state(), "UploadComplete" | "InProgress") && paging::is_past(self.created, now)
    }

    /// Without an order or a limit, the server cuts a query by primary key.
    fn is_chunked(&self) -> bool {
        self.plan.as_ref().is_some_and(|p| p.order.is_empty() && p.limit.is_none())
    }

    /// The results expire; the job stays.
    pub fn expire_results(&self) {
        self.readable.expire();
    }

    /// No locator handed out so far is good any longer.
    pub fn expire_locators(&self) {
        self.era.fetch_add(1, Ordering::SeqCst);
    }

    /// Lets a held job go on.
    pub fn release(&self) {
        self.hold.release();
    }

    fn locator(&self, offset: usize) -> String {
        match self.era.load(Ordering::SeqCst) {
            0 => STANDARD_NO_PAD.encode(offset.to_string()),
            era => STANDARD_NO_PAD.encode(format!("{offset}.{era}")),
        }
    }

    fn info(&self, org_user: &str, state: &str, full: bool) -> Value {
        let mut out = json!({"id": self.id.text(), "operation": self.operation, "object": self.object,
            "createdById": org_user, "createdDate": wire_time(self.created), "systemModstamp": wire_time(self.created),
            "state": state, "concurrencyMode": "Parallel", "contentType": "CSV", "apiVersion": version_number(&self.version),
            "lineEnding": if self.crlf { "CRLF" } else { "LF" }, "columnDelimiter": self.delimiter_name});
        if full {
            let done = state == "JobComplete";
            out["jobType"] = "V2Query".into();
            out["numberRecordsProcessed"] = if done { self.rows.len() } else { 0 }.into();
            out["retries"] = 0.into();
            out["totalProcessingTime"] = (self.took.as_millis() as u64).into();
            out["isPkChunkingSupported"] = true.into();
            if state == "Failed" {
                out["errorMessage"] = json!(self.error);
            }
        }
        out
    }
}

/// `/jobs/query…`
pub fn handle(call: &Call, rest: &[&str]) -> Result<Response, ApiError> {
    match (&call.method, rest) {
        (&Method::POST, []) => create(call),
        (&Method::GET, []) => list(call),
        (&Method::GET, [id]) => {
            let job = find(call, id)?;
            job.hold.looked();
            ok(job.info(&call.org.user_id.text(), job.state(), true))
        }
        (&Method::PATCH, [id]) => {
            let job = find(call, id)?;
            if call.json()?["state"] != "Aborted" {
                return Err(ApiError::bad("INVALIDJOBSTATE", "A query job can only be set to Aborted"));
            }
            if matches!(job.state(), "JobComplete" | "Failed" | "Aborted") {
                return Err(ApiError::bad(
                    "INVALIDJOBSTATE",
                    format!("Aborting a job in state {} is not allowed", job.state()),
                ));
            }
            job.aborted.store(true, Ordering::SeqCst);
            ok(job.info(&call.org.user_id.text(), "Aborted", true))
        }
        (&Method::DELETE, [id]) => {
            let job = find(call, id)?;
            if matches!(job.state(), "UploadComplete" | "InProgress") {
                return Err(ApiError::bad("INVALIDJOBSTATE", "Only a finished job can be deleted"));
            }
            call.org.query_jobs().remove(&job.id);
            Ok(empty(204))
        }
        (&Method::GET, [id, "results"]) => results(call, &find(call, id)?),
        (&Method::GET, [id, pages]) if pages.eq_ignore_ascii_case("resultPages") => {
            let job = find(call, id)?;
            result_pages(call, &job)
        }
        _ => Err(ApiError::not_found()),
    }
}

fn find(call: &Call, id: &str) -> Result<Arc<QueryJob>, ApiError> {
    let id = Id::parse(id.as_bytes()).map_err(|_| ApiError::not_found())?;
    let mut jobs = call.org.query_jobs();
    let job = jobs.get(&id).cloned().ok_or_else(ApiError::not_found)?;
    if job.is_past(call.org.clock.now()) {
        jobs.remove(&id);
        return Err(ApiError::not_found());
    }
    Ok(job)
}

fn create(call: &Call) -> Result<Response, ApiError> {
    let body = call.json()?;
    let operation = body["operation"].as_str().unwrap_or_default().to_owned();
    if operation != "query" && operation != "queryAll" {
        return Err(ApiError::bad("INVALIDOPERATION", "operation must be query or queryAll"));
    }
    let query = body["query"].as_str().unwrap_or_default().to_owned();
    let (byte, delimiter_name, crlf) = dialect(&body)?;
    let statement = parser::parse(&query)?;
    let started = Instant::now();
    let db = call.org.db();
    let (plan, rows, error) = match bind(
        &db,
        &query,
        &statement,
        Surface::Bulk,
        &Viewer::of(&db, call.org.user_id, &call.version),
    ) {
        Ok(plan) => {
            let table = &db.tables[plan.object];
            let found = run::rows(&db, &plan, operation == "queryAll");
            let rows = found.into_iter().map(|i| table.row(i).clone()).collect();
            (Some(plan), rows, None)
        }
        Err(error) if error.code == "FeatureNotEnabled" => (None, Vec::new(), Some(format!("FeatureNotEnabled : {}", error.message))),
        Err(error) => return Err(error.into()),
    };
    drop(db);
    let object = call
        .org
        .schema
        .object(&statement.from.text)
        .map_or(statement.from.text.as_str(), |o| &call.org.schema.objects[o].name);
    if call.org.limits.query_jobs.take(call.org.clock.now_ms(), 1) == 0 {
        return Err(ApiError::bad("LIMIT_EXCEEDED", "The limit of query jobs in 24 hours is exceeded"));
    }
    let id = call.org.next_serial(*b"750");
    let (mut rows, mut error) = (rows, error);
    if call.org.bulk_paging.is_shuffled() && plan.as_ref().is_some_and(|p| p.order.is_empty()) {
        shuffle(&mut rows, id.serial());
    }
    let scripted = |kind| call.org.faults.job_fault(object, Direction::Query, kind, 0);
    if let Some(fault) = scripted(JobFaultKind::Fail) {
        error = Some(fault.message);
    }
    let hold = Hold::default();
    if let Some(fault) = scripted(JobFaultKind::Stuck) {
        hold.set(fault.looks);
    }
    let job = QueryJob {
        id,
        version: call.version.clone(),
        operation,
        object: object.to_owned(),
        query,
        delimiter: byte,
        delimiter_name,
        crlf,
        created: call.org.clock.now(),
        born: Instant::now(),
        latency: Duration::from_millis(call.org.config.job_latency_ms),
        took: started.elapsed(),
        aborted: AtomicBool::new(false),
        error,
        plan,
        rows,
        hold,
        readable: Readable::new(scripted(JobFaultKind::Vanish).map(|fault| fault.reads)),
        era: AtomicU64::new(0),
    };
    let reply = ok(job.info(&call.org.user_id.text(), "UploadComplete", false));
    tracing::debug!(job = %job.id, rows = job.rows.len(), statement_bytes = job.query.len(), "query job created");
    call.org.query_jobs().insert(job.id, Arc::new(job));
    reply
}

fn list(call: &Call) -> Result<Response, ApiError> {
    let (user, now) = (call.org.user_id.text(), call.org.clock.now());
    let mut jobs = call.org.query_jobs();
    jobs.retain(|_, job| !job.is_past(now));
    let listed = |job: &Arc<QueryJob>| Listed {
        id: job.id,
        info: job.info(&user, job.state(), true),
        is_chunked: job.is_chunked(),
    };
    let mut all: Vec<Listed> = jobs.values().map(listed).collect();
    drop(jobs);
    all.extend(call.org.bulk1.listed(&call.org, true));
    list::answer(call, "query", all)
}

fn readable<'a>(call: &Call, job: &'a QueryJob) -> Result<&'a Plan, ApiError> {
    if job.version != call.version {
        return Err(ApiError::new(
            409,
            "INVALID_VERSION",
            format!("The job was created with API version {} and must be read with it", job.version),
        ));
    }
    let plan = match (&job.plan, job.state()) {
        (Some(plan), "JobComplete") => plan,
        (_, state) => {
            let message = format!("Results of a job in state {state} can not be read");
            return Err(ApiError::bad("INVALIDJOBSTATE", message));
        }
    };
    if job.readable.is_expired() {
        return Err(ApiError::not_found());
    }
    if !job.readable.read() {
        call.org.query_jobs().remove(&job.id);
        return Err(ApiError::not_found());
    }
    Ok(plan)
}

fn locate(job: &QueryJob, locator: Option<&String>) -> Result<usize, ApiError> {
    let Some(locator) = locator else { return Ok(0) };
    let bad = |message: &str| ApiError::bad("INVALID_QUERY_LOCATOR", message);
    let text = STANDARD_NO_PAD
        .decode(locator.trim_end_matches('='))
        .ok()
        .and_then(|raw| String::from_utf8(raw).ok())
        .unwrap_or_default();
    let (offset, era) = text.split_once('.').unwrap_or((&text, "0"));
    match (offset.parse::<usize>(), era.parse::<u64>()) {
        (Ok(_), Ok(era)) if era < job.era.load(Ordering::SeqCst) => Err(bad("invalid query locator: QUERY_LOCATOR_EXPIRED")),
        (Ok(at), Ok(_)) if at < job.rows.len().max(1) => Ok(at),
        _ => Err(bad("invalid query locator")),
    }
}

fn asked_rows(call: &Call) -> Result<Option<usize>, ApiError> {
    match call.query.get("maxRecords") {
        None => Ok(None),
        Some(text) => match text.parse::<usize>() {
            Ok(n) if n > 0 => Ok(Some(n.min(PAGE_ROWS_MAX))),
            _ => Err(ApiError::bad("INVALID_FIELD", "maxRecords must be a positive number")),
        },
    }
}

fn result_pages(call: &Call, job: &QueryJob) -> Result<Response, ApiError> {
    readable(call, job)?;
    let mut at = locate(job, call.query.get("locator"))?;
    let id = job.id.text();
    let mut pages = Vec::new();
    while pages.len() < RESULT_PAGES && (at < job.rows.len() || (at == 0 && pages.is_empty())) {
        let tail = if at == 0 {
            String::new()
        } else {
            format!("?locator={}", job.locator(at))
        };
        pages.push(json!({"resultUrl": call.path(&format!("jobs/query/{id}/results{tail}"))}));
        at += call.org.bulk_paging.page_rows(None, job.id.serial(), at);
    }
    let done = at >= job.rows.len();
    let next = if done {
        Value::Null
    } else {
        json!(call.path(&format!("jobs/query/{id}/resultPages?locator={}", job.locator(at))))
    };
    ok(json!({"resultPages": pages, "nextRecordsUrl": next, "done": done}))
}

fn results(call: &Call, job: &Arc<QueryJob>) -> Result<Response, ApiError> {
    readable(call, job)?;
    let start = locate(job, call.query.get("locator"))?;
    let page = call.org.bulk_paging.page_rows(asked_rows(call)?, job.id.serial(), start);
    let end = (start + page).min(job.rows.len());
    let org = Arc::clone(&call.org);
    let held = Arc::clone(job);
    let mut at = start;
    let mut first = start == 0 || !org.bulk_paging.is_header_once();
    let mut reply = csv_stream(call.accepts_gzip(), move |out| {
        let Some(plan) = &held.plan else { return false };
        if first {
            header(out, &plan.columns, held.delimiter, held.crlf);
            first = false;
        }
        let follows = plan.columns.iter().any(|c| c.root_field().is_none());
        let db = follows.then(|| org.db());
        while at < end && out.len() < PIECE_BYTES {
            line(out, db.as_deref(), plan, &held.rows[at], held.delimiter, held.crlf);
            at += 1;
        }
        at < end
    });
    let locator = if end < job.rows.len() { job.locator(end) } else { "null".into() };
    set_header(&mut reply, "sforce-locator", &locator);
    set_header(&mut reply, "sforce-numberofrecords", &(end - start).to_string());
    Ok(reply)
}

fn end_line(out: &mut Vec<u8>, crlf: bool) {
    out.extend_from_slice(if crlf { b"\r\n" } else { b"\n" });
}

pub(crate) fn header(out: &mut Vec<u8>, columns: &[Column], delimiter: u8, crlf: bool) {
    for (i, column) in columns.iter().enumerate() {
        if i > 0 {
            out.push(delimiter);
        }
        quoted(out, column.name.as_bytes());
    }
    end_line(out, crlf);
}

/// Appends a quoted CSV cell.
pub fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'"', rest) {
        out.extend_from_slice(&rest[..=at]);
        out.push(b'"');
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

pub(crate) fn line(out: &mut Vec<u8>, db: Option<&Db>, plan: &Plan, row: &Row, delimiter: u8, crlf: bool) {
    for (i, column) in plan.columns.iter().enumerate() {
        if i > 0 {
            out.push(delimiter);
        }
        let Some(expr) = column.expr() else { continue };
        match (expr.root_field(), db) {
            (Some(field), _) => cell(out, expr.kind(), row.get(field)),
            (None, Some(db)) => {
                let object = plan.object;
                let cells = RowCells { db, object, row };
                match expr {
                    Expr::Path(path) if path.kind == FieldType::Boolean && lacks_parent(db, row, path) => {
                        out.extend_from_slice(b"\"\"");
                    }
                    _ => cell(out, expr.kind(), expr.value(&cells).as_deref()),
                }
            }
            (None, None) => out.extend_from_slice(b"\"\""),
        }
    }
    end_line(out, crlf);
}

fn cell(out: &mut Vec<u8>, kind: FieldType, value: Option<&[u8]>) {
    match (kind, value) {
        (FieldType::Boolean, Some(b"true")) => out.extend_from_slice(b"\"true\""),
        (FieldType::Boolean, _) => out.extend_from_slice(b"\"false\""),
        (_, None) => out.extend_from_slice(b"\"\""),
        (
            FieldType::Text
            | FieldType::LongText
            | FieldType::Picklist
            | FieldType::MultiPicklist
            | FieldType::Url
            | FieldType::Phone
            | FieldType::Email
            | FieldType::Other,
            Some(text),
        ) => quoted(out, text),
        (_, Some(text)) => {
            out.push(b'"');
            out.extend_from_slice(text);
            out.push(b'"');
        }
    }
}

/// A checkbox of a parent that is not there is empty, not false.
fn lacks_parent(db: &Db, row: &Row, path: &Bound) -> bool {
    path.hops
        .first()
        .and_then(|hop| row.get(hop.field))
        .and_then(|id| Id::parse(id).ok())
        .and_then(|id| db.locate(&id))
        .is_none()
}
