//! Jobs, their batches, and the states of both.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::ingest::{self, BATCH_ROWS_MAX};
use super::query::{self, Found};
use super::wire::{Fields, Refusal};
use crate::bulk2::hold::Hold;
use crate::bulk2::ingest::{IngestJob, Operation, State, start};
use crate::bulk2::list::Listed;
use crate::bulk2::paging::{self, Readable};
use crate::bulk2::query::version_number;
use crate::bulk2::rows::first_line;
use crate::org::OrgState;
use crate::pubsub::origin;
use crate::store::id::Id;
use crate::web::http::Call;
use crate::web::markup::{self, Element};
use crate::web::negotiate::media_type;

/// The form of a job's rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Csv,
    Json,
    Xml,
}

impl Content {
    fn name(self) -> &'static str {
        match self {
            Self::Csv => "CSV",
            Self::Json => "JSON",
            Self::Xml => "XML",
        }
    }

    pub fn media(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Json => "application/json",
            Self::Xml => "application/xml",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum JobState {
    #[default]
    Open,
    Closed,
    Aborted,
}

impl JobState {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::Closed => "Closed",
            Self::Aborted => "Aborted",
        }
    }
}

#[derive(Default)]
pub(super) struct Progress {
    pub(super) state: JobState,
    pub(super) batches: Vec<Arc<Batch>>,
}

/// One job.
pub struct Job {
    pub id: Id,
    pub version: String,
    pub object_name: String,
    object: usize,
    pub operation: String,
    /// What rows are for; none in a query.
    write: Option<Operation>,
    external_id: Option<(usize, String)>,
    assignment_rule: Option<String>,
    pub content: Content,
    concurrency: &'static str,
    created: DateTime<Utc>,
    progress: Mutex<Progress>,
}

/// What a batch is for.
pub(super) enum Work {
    Rows(Arc<IngestJob>),
    Query(Result<Arc<Found>, String>),
}

/// One batch.
pub struct Batch {
    pub id: Id,
    pub request: Bytes,
    created: DateTime<Utc>,
    born: Instant,
    aborted: AtomicBool,
    pub(super) work: Work,
}

/// A description of a job in either form.
enum Description {
    Xml(Element),
    Json(Value),
}

impl Description {
    fn read(call: &Call) -> Result<Self, Refusal> {
        if media_type(&call.headers) == "application/json" {
            let value: Value =
                serde_json::from_slice(&call.body).map_err(|e| Refusal::new("InvalidJob", format!("Unable to parse Job: {e}")))?;
            return Ok(Self::Json(value));
        }
        let root = markup::parse(&call.body).map_err(|e| Refusal::new("InvalidJob", format!("Unable to parse Job: {e}")))?;
        if root.name != "jobInfo" {
            return Err(Refusal::new("InvalidJob", "Unable to parse Job: no jobInfo element"));
        }
        Ok(Self::Xml(root))
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self {
            Self::Xml(root) => root.value(name),
            Self::Json(value) => value[name].as_str(),
        }
        .filter(|text| !text.is_empty())
    }
}

fn operation(name: &str) -> Option<Option<Operation>> {
    Some(match name {
        "query" | "queryAll" => None,
        "insert" => Some(Operation::Insert),
        "update" => Some(Operation::Update),
        "upsert" => Some(Operation::Upsert),
        "delete" => Some(Operation::Delete),
        "hardDelete" => Some(Operation::HardDelete),
        _ => return None,
    })
}

impl Job {
    /// A job as a request describes it.
    pub(super) fn create(call: &Call) -> Result<Self, Refusal> {
        let bad = |message: String| Refusal::new("InvalidJob", message);
        let given = Description::read(call)?;
        let name = given.text("object").ok_or_else(|| bad("object is missing".into()))?;
        let schema = &call.org.schema;
        let object = schema
            .object(name)
            .ok_or_else(|| bad(format!("InvalidEntity : Entity '{name}' is not supported by the Bulk API.")))?;
        let meta = &schema.objects[object];
        let verb = given.text("operation").unwrap_or_default();
        let write = operation(verb).ok_or_else(|| bad(format!("Unable to parse Job: operation '{verb}' is not valid")))?;
        let content = match given.text("contentType").unwrap_or("XML") {
            "CSV" => Content::Csv,
            "JSON" => Content::Json,
            "XML" => Content::Xml,
            other => return Err(Refusal::new("FeatureNotEnabled", format!("contentType {other} is not supported"))),
        };
        let concurrency = match given.text("concurrencyMode").unwrap_or("Parallel") {
            "Serial" => "Serial",
            "Parallel" => "Parallel",
            other => return Err(bad(format!("concurrencyMode '{other}' is not valid"))),
        };
        let chunking = call.headers.get("sforce-enable-pkchunking").and_then(|v| v.to_str().ok());
        if chunking.is_some_and(|v| !v.trim().eq_ignore_ascii_case("false")) {
            return Err(Refusal::new("FeatureNotEnabled", "PK chunking is not available in this org"));
        }
        let external_id = if write == Some(Operation::Upsert) {
            let wanted = given
                .text("externalIdFieldName")
                .ok_or_else(|| bad("External ID was blank. An External ID must be specified for upsert.".into()))?;
            let key = meta.visible(wanted).filter(|f| *f == 0 || meta.fields[*f].is_key());
            let key = key.ok_or_else(|| {
                bad(format!(
                    "Field name provided, {wanted} does not match an External ID, Salesforce Id, or indexed field for {}",
                    meta.name
                ))
            })?;
            Some((key, meta.fields[key].name.clone()))
        } else {
            None
        };
        Ok(Self {
            id: call.org.next_serial(*b"750"),
            version: call.version.clone(),
            object_name: meta.name.clone(),
            object,
            operation: verb.to_owned(),
            write,
            external_id,
            assignment_rule: given.text("assignmentRuleId").map(str::to_owned),
            content,
            concurrency,
            created: call.org.clock.now(),
            progress: Mutex::default(),
        })
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Closes or aborts.
    pub(super) fn change(&self, call: &Call) -> Result<(), Refusal> {
        let given = Description::read(call)?;
        let mut progress = self.progress();
        let state = match given.text("state") {
            Some("Closed") => JobState::Closed,
            Some("Aborted") => JobState::Aborted,
            other => {
                return Err(Refusal::new(
                    "InvalidJob",
                    format!("state {} is not valid", other.unwrap_or("null")),
                ));
            }
        };
        // A closed job can still be aborted while batches wait.
        if progress.state == JobState::Aborted || progress.state == state {
            let message = format!("The job is {} already", progress.state.name());
            return Err(Refusal::new("InvalidJobState", message));
        }
        progress.state = state;
        if state == JobState::Aborted {
            progress.batches.iter().for_each(|batch| batch.abort(&call.org));
        }
        Ok(())
    }

    /// Takes a batch and starts it.
    pub(super) fn add(&self, call: &Call) -> Result<Arc<Batch>, Refusal> {
        self.check_open(&self.progress())?;
        let sent = media_type(&call.headers);
        let fits = match self.content {
            // A statement is a text, whatever the form of its result.
            _ if self.write.is_none() => true,
            Content::Xml => sent == "application/xml" || sent == "text/xml",
            content => sent == content.media(),
        };
        if !fits {
            let message = format!("Content-Type {sent} does not match the job's content type {}", self.content.name());
            return Err(Refusal::new("InvalidBatch", message));
        }
        let id = call.org.next_serial(*b"751");
        let work = match self.write {
            None => Work::Query(query::find(&call.org, self, &call.body).map(Arc::new)),
            Some(operation) => Work::Rows(self.rows(call, id, operation)?),
        };
        let batch = Arc::new(Batch {
            id,
            request: call.body.clone(),
            created: call.org.clock.now(),
            born: Instant::now(),
            aborted: AtomicBool::new(false),
            work,
        });
        // Meanwhile somebody may have closed the job: whoever comes first decides, and a closed job gets no more.
        let mut progress = self.progress();
        self.check_open(&progress)?;
        if call.org.limits.bulk_batches.take(call.org.clock.now_ms(), 1) == 0 {
            return Err(Refusal::new("ExceededQuota", "ApiBatchItems Limit exceeded."));
        }
        progress.batches.push(Arc::clone(&batch));
        drop(progress);
        if let Work::Rows(rows) = &batch.work
            && rows.progress().state != State::Failed
        {
            start(&call.org, rows);
        }
        Ok(batch)
    }

    fn check_open(&self, progress: &Progress) -> Result<(), Refusal> {
        if progress.state == JobState::Open {
            return Ok(());
        }
        let message = format!("Batches can't be added to a job that is {}", progress.state.name());
        Err(Refusal::new("InvalidJobState", message))
    }

    /// Whether the job is kept no longer.
    pub(super) fn is_past(&self, now: DateTime<Utc>) -> bool {
        paging::is_past(self.created, now)
    }

    /// The job as Bulk API 2.0 lists it, and whether it is a query.
    pub(super) fn listed(&self, org: &OrgState) -> (bool, Listed) {
        let mut info: Map<String, Value> = self.info(org).into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        info.insert("jobType".into(), "Classic".into());
        info.insert("apiVersion".into(), version_number(&self.version));
        let listed = Listed {
            id: self.id,
            info: info.into(),
            is_chunked: false,
        };
        (self.write.is_none(), listed)
    }

    fn rows(&self, call: &Call, id: Id, operation: Operation) -> Result<Arc<IngestJob>, Refusal> {
        let upload: Bytes = match self.content {
            Content::Csv => call.body.clone(),
            other => ingest::csv(other, &call.body)?.into(),
        };
        let count = csv::ReaderBuilder::new()
            .flexible(true)
            .from_reader(&upload[..])
            .byte_records()
            .take(BATCH_ROWS_MAX + 1)
            .count();
        let rows = IngestJob {
            id,
            version: self.version.clone(),
            object: self.object,
            operation,
            operation_name: self.operation.clone(),
            external_id: self.external_id.clone(),
            assignment_rule: self.assignment_rule.clone(),
            origin: origin::of_request("bulkapi", &self.version, &call.headers),
            delimiter: b',',
            delimiter_name: "COMMA".into(),
            crlf: first_line(&upload).1 == Some(true),
            created: call.org.clock.now(),
            aborting: AtomicBool::new(false),
            processed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            counts_batches: false,
            hold: Hold::default(),
            readable: Readable::new(None),
            progress: Mutex::default(),
        };
        let mut progress = rows.progress();
        progress.state = State::UploadComplete;
        progress.upload = upload;
        if count > BATCH_ROWS_MAX {
            progress.state = State::Failed;
            progress.message = Some(format!(
                "InvalidBatch : Records not processed: more than {BATCH_ROWS_MAX} in the batch"
            ));
        }
        drop(progress);
        Ok(Arc::new(rows))
    }

    /// `jobInfo`
    pub(super) fn info(&self, org: &OrgState) -> Fields {
        let (state, batches) = {
            let progress = self.progress();
            (progress.state, progress.batches.clone())
        };
        let states: Vec<&str> = batches.iter().map(|b| b.state(org)).collect();
        let count = |state: &str| Value::from(states.iter().filter(|s| **s == state).count());
        let sum = |figure: fn(&Figures) -> u64| Value::from(batches.iter().map(|b| figure(&b.figures(org))).sum::<u64>());
        let mut out: Fields = vec![
            ("id", self.id.text().into()),
            ("operation", self.operation.as_str().into()),
            ("object", self.object_name.as_str().into()),
            ("createdById", org.user_id.text().into()),
            ("createdDate", stamp(self.created)),
            ("systemModstamp", stamp(self.created)),
            ("state", state.name().into()),
        ];
        if let Some((_, name)) = &self.external_id {
            out.push(("externalIdFieldName", name.as_str().into()));
        }
        out.extend([
            ("concurrencyMode", self.concurrency.into()),
            ("contentType", self.content.name().into()),
            ("numberBatchesQueued", count("Queued")),
            ("numberBatchesInProgress", count("InProgress")),
            ("numberBatchesCompleted", count("Completed")),
            ("numberBatchesFailed", count("Failed")),
            ("numberBatchesTotal", batches.len().into()),
            ("numberRecordsProcessed", sum(|f| f.processed)),
            ("numberRetries", sum(|f| f.retries)),
            ("apiVersion", self.version.trim_start_matches('v').into()),
        ]);
        if let Some(rule) = &self.assignment_rule {
            out.push(("assignmentRuleId", rule.as_str().into()));
        }
        out.extend([
            ("numberRecordsFailed", sum(|f| f.failed)),
            ("totalProcessingTime", sum(|f| f.took_ms)),
            ("apiActiveProcessingTime", sum(|f| f.took_ms)),
            ("apexProcessingTime", 0.into()),
        ]);
        out
    }
}

fn stamp(at: DateTime<Utc>) -> Value {
    at.format("%Y-%m-%dT%H:%M:%S.000Z").to_string().into()
}

#[derive(Default)]
struct Figures {
    processed: u64,
    failed: u64,
    retries: u64,
    took_ms: u64,
}

impl Batch {
    /// Somebody looks at the batch's state.
    pub(super) fn looked(&self) {
        if let Work::Rows(rows) = &self.work {
            rows.hold.looked();
        }
    }

    fn abort(&self, org: &OrgState) {
        if ["Queued", "InProgress"].contains(&self.state(org)) {
            self.aborted.store(true, Ordering::SeqCst);
        }
        if let Work::Rows(rows) = &self.work {
            rows.aborting.store(true, Ordering::SeqCst);
        }
    }

    /// The state's name.
    pub fn state(&self, org: &OrgState) -> &'static str {
        if self.aborted.load(Ordering::SeqCst) {
            return "NotProcessed";
        }
        match &self.work {
            Work::Rows(rows) => match rows.progress().state {
                State::Open | State::UploadComplete => "Queued",
                State::InProgress => "InProgress",
                State::JobComplete => "Completed",
                State::Failed => "Failed",
                State::Aborted => "NotProcessed",
            },
            Work::Query(found) => {
                let latency = Duration::from_millis(org.config.job_latency_ms);
                match (self.born.elapsed(), found) {
                    (elapsed, _) if elapsed < latency / 2 => "Queued",
                    (elapsed, _) if elapsed < latency => "InProgress",
                    (_, Ok(_)) => "Completed",
                    (_, Err(_)) => "Failed",
                }
            }
        }
    }

    fn figures(&self, org: &OrgState) -> Figures {
        match &self.work {
            Work::Rows(rows) => Figures {
                processed: rows.processed.load(Ordering::Relaxed),
                failed: rows.failed.load(Ordering::Relaxed),
                retries: rows.retries.load(Ordering::Relaxed),
                took_ms: rows.progress().took_ms,
            },
            Work::Query(Ok(found)) if self.state(org) == "Completed" => Figures {
                processed: found.rows.len() as u64,
                ..Figures::default()
            },
            Work::Query(_) => Figures::default(),
        }
    }

    fn message(&self) -> Option<String> {
        match &self.work {
            Work::Rows(rows) => rows.progress().message.clone(),
            Work::Query(Err(message)) => Some(message.clone()),
            Work::Query(Ok(_)) => None,
        }
    }

    /// `batchInfo`
    pub(super) fn info(&self, job: &Job, org: &OrgState) -> Fields {
        let state = self.state(org);
        let figures = self.figures(org);
        let mut out: Fields = vec![
            ("id", self.id.text().into()),
            ("jobId", job.id.text().into()),
            ("state", state.into()),
        ];
        if let Some(message) = self.message().filter(|_| state == "Failed") {
            out.push(("stateMessage", message.into()));
        }
        out.extend([
            ("createdDate", stamp(self.created)),
            ("systemModstamp", stamp(self.created)),
            ("numberRecordsProcessed", figures.processed.into()),
            ("numberRecordsFailed", figures.failed.into()),
            ("totalProcessingTime", figures.took_ms.into()),
            ("apiActiveProcessingTime", figures.took_ms.into()),
            ("apexProcessingTime", 0.into()),
        ]);
        out
    }
}
