//! Processing one ingest job: the header, then chunk after chunk under the write lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use csv::ByteRecord;

use crate::bulk2::ingest::{CREATED, IngestJob, Operation, Outcome, State};
use crate::bulk2::query::quoted;
use crate::bulk2::quoting::{self, Quotes};
use crate::org::OrgState;
use crate::pubsub::origin;
use crate::schema::FieldType;
use crate::store::db::Db;
use crate::store::id::Id;
use crate::store::locks::{LockTable, Locks};
use crate::store::rules::assignment::AutoAssign;
use crate::store::rules::{self, Column, Input, Scratch};
use crate::store::value::RowError;
use crate::web::faults::{Direction, JobFaultKind};

/// Rows between two looks at the abort flag, and per hold of the write lock: the size of a
/// trigger chunk.
const CHUNK_ROWS: usize = 200;
/// Rows per server-side batch; between batches the worker yields.
const BATCH_ROWS: usize = 10_000;
/// Chunks in a row that get no lock at all before the job is given up.
const LOCKED_OUT_CHUNKS_MAX: usize = 3;

/// Where an input row stands in the upload.
struct Span {
    start: usize,
    end: usize,
    /// A blank keeps a quoted cell apart from its delimiter.
    is_apart: bool,
}

struct Work<'a> {
    org: &'a OrgState,
    job: &'a IngestJob,
    text: &'a [u8],
    columns: Vec<Column>,
    key: Option<usize>,
    id: Option<usize>,
}

/// Runs a job to its final state.
pub(crate) fn process(org: &OrgState, job: &IngestJob) {
    let started = Instant::now();
    let _origin = org.pubsub.as_ref().map(|_| origin::enter(job.origin.clone()));
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
    progress.modified = Some(org.clock.now());
    match result {
        Ok(true) => progress.state = State::JobComplete,
        Ok(false) => progress.state = State::Aborted,
        Err(message) => {
            progress.message = Some(message);
            progress.state = State::Failed;
        }
    }
}

/// Mixes a list up, the same way for the same seed.
pub(crate) fn shuffle<T>(list: &mut [T], seed: u64) {
    let mut random = crate::seed::generate::SplitMix::new(seed);
    for i in (1..list.len()).rev() {
        list.swap(i, random.below(i as u64 + 1) as usize);
    }
}

/// The end of the first line, quotes respected, and whether it ended in CRLF.
pub(crate) fn first_line(text: &[u8]) -> (usize, Option<bool>) {
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
    if header_end > quoting::HEADER_CHARS_MAX && String::from_utf8_lossy(&text[..header_end]).chars().count() > quoting::HEADER_CHARS_MAX {
        let max = quoting::HEADER_CHARS_MAX;
        return Err(format!("InvalidBatch : The header exceeds {max} characters"));
    }
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
    if names.len() > quoting::FIELDS_MAX {
        return Err(format!("InvalidBatch : The header has more than {} fields", quoting::FIELDS_MAX));
    }
    let work = resolve(org, job, text, &names)?;
    let mut chunk: Vec<ByteRecord> = vec![ByteRecord::new(); CHUNK_ROWS];
    let mut spans: Vec<Span> = Vec::with_capacity(CHUNK_ROWS);
    let mut scratch = Scratch::default();
    let mut since_yield = 0;
    let mut locked_out_chunks = 0;
    let scripted = |kind, rows| {
        let object = &org.schema.objects[job.object].name;
        org.faults.job_fault(object, Direction::Ingest, kind, rows)
    };
    loop {
        if let Some(fault) = scripted(JobFaultKind::Stuck, outcomes.len()) {
            stand_still(org, job, fault.looks);
        }
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
            let end = reader.position().byte() as usize;
            let row = outcomes.len() + spans.len() + 1;
            let quotes = quoting::look(&text[start..end], job.delimiter);
            if let Quotes::Broken(at, why) = quotes {
                let byte = skip + start + at;
                broken = Some(format!("InvalidBatch : Failed to parse CSV: row {row}, byte {byte}: {why}"));
                break;
            }
            if record.len() != names.len() {
                let (has, header) = (record.len(), names.len());
                broken = Some(format!("InvalidBatch : Row {row} has {has} fields, the header has {header}"));
                break;
            }
            if let Some(why) = quoting::beyond(&text[start..end], record) {
                broken = Some(format!("InvalidBatch : Row {row} {why}"));
                break;
            }
            spans.push(Span {
                start,
                end,
                is_apart: quotes == Quotes::Apart,
            });
        }
        if spans.is_empty() && broken.is_none() {
            *rest = upload.len();
            return Ok(true);
        }
        if let Some(fault) = scripted(JobFaultKind::Fail, outcomes.len()) {
            return Err(fault.message);
        }
        if job.counts_batches && outcomes.len().is_multiple_of(BATCH_ROWS) && org.limits.bulk_batches.take(org.clock.now_ms(), 1) == 0 {
            return Err("ExceededQuota : ApiBatchItems Limit exceeded.".into());
        }
        let rows = &chunk[..spans.len()];
        let locked_out = work.chunk(rows, &spans, skip, outcomes, errors, &mut scratch);
        locked_out_chunks = if locked_out { locked_out_chunks + 1 } else { 0 };
        if let Some(last) = spans.last() {
            *rest = skip + last.end;
        }
        if let Some(message) = broken {
            return Err(message);
        }
        if locked_out_chunks >= LOCKED_OUT_CHUNKS_MAX {
            return Err("TooManyLockFailure : Too many lock failures while processing the current batch".into());
        }
        since_yield += spans.len();
        if since_yield >= BATCH_ROWS {
            since_yield = 0;
            std::thread::yield_now();
        }
    }
}

/// Holds a job up. Others run meanwhile: a worker that waits is none.
fn stand_still(org: &OrgState, job: &IngestJob, looks: Option<u64>) {
    job.hold.set(looks);
    org.ingest_slots.add_permits(1);
    job.hold
        .wait(|| job.aborting.load(Ordering::SeqCst) || org.stopping.load(Ordering::SeqCst));
    if let Ok(slot) = futures::executor::block_on(org.ingest_slots.acquire()) {
        slot.forget();
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
        spans: &[Span],
        skip: usize,
        outcomes: &mut Vec<Outcome>,
        errors: &mut Vec<Box<str>>,
        scratch: &mut Scratch,
    ) -> bool {
        let mut context = self.org.write_context();
        let locks = self.org.locks.as_ref().map(|table| self.lock(table, rows));
        context.denied = locks.as_ref().map(|l| Arc::clone(&l.denied)).filter(|d| !d.is_empty());
        if let Some(rule) = &self.job.assignment_rule {
            context.auto_assign = AutoAssign::Rule(rule.clone());
        }
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
        let mut locked_out = 0;
        for (row, span) in rows.iter().zip(spans) {
            let result = if span.is_apart {
                Err(RowError::new("INVALID_FIELD", "A blank stands beside a quoted value", &[]))
            } else {
                self.row(&mut db, &context, row, &seen, scratch)
            };
            let (start, end) = trim(self.text, span.start, span.end);
            let (value, good) = match result {
                Ok((index, created)) => (index | if created { CREATED } else { 0 }, true),
                Err(error) => {
                    failed += 1;
                    locked_out += usize::from(error.code == "UNABLE_TO_LOCK_ROW" && context.denied.is_some());
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
        if let Some(locks) = &locks {
            locks.linger();
        }
        self.org.faults.wrote((rows.len() - failed) as u64);
        self.job.processed.fetch_add(rows.len() as u64, Ordering::Relaxed);
        self.job.failed.fetch_add(failed as u64, Ordering::Relaxed);
        locked_out == rows.len() && locked_out > 0
    }

    /// Locks what the chunk's rows name, trying again as the service does.
    fn lock<'t>(&self, table: &'t LockTable, rows: &[ByteRecord]) -> Locks<'t> {
        let ids = self.named(rows);
        let mut locks = table.acquire(&ids);
        for _ in 0..table.config.retries {
            if locks.denied.is_empty() {
                break;
            }
            // Trying again means starting anew: what was held is free meanwhile.
            drop(locks);
            self.job.retries.fetch_add(1, Ordering::Relaxed);
            locks = table.acquire(&ids);
        }
        locks
    }

    /// The records the rows are or point at.
    fn named(&self, rows: &[ByteRecord]) -> Vec<Id> {
        let db = self.org.db();
        let mut ids = Vec::new();
        let mut take = |object: Option<usize>, id: Id| {
            if object.is_some_and(|o| !db.schema.objects[o].setup) && !ids.contains(&id) {
                ids.push(id);
            }
        };
        for row in rows {
            let own = self.id.and_then(|i| row.get(i)).and_then(|raw| Id::parse(raw).ok());
            own.into_iter().for_each(|id| take(Some(self.job.object), id));
            if let (Some((key, _)), Some(raw)) = (&self.job.external_id, self.key.and_then(|i| row.get(i)))
                && *key != 0
            {
                let found = crate::rest::records::rows_by_key(&db, self.job.object, *key, &String::from_utf8_lossy(raw));
                found
                    .into_iter()
                    .for_each(|i| take(Some(self.job.object), db.tables[self.job.object].id(i)));
            }
            for (column, raw) in self.columns.iter().zip(row.iter()) {
                match column {
                    Column::Field(field) if db.schema.objects[self.job.object].fields[*field].kind == FieldType::Reference => {
                        if let Ok(id) = Id::parse(raw) {
                            take(db.schema.by_prefix(id.prefix()), id);
                        }
                    }
                    Column::Parent { object, key, .. } => {
                        let found = crate::rest::records::rows_by_key(&db, *object, *key, &String::from_utf8_lossy(raw));
                        found.into_iter().for_each(|i| take(Some(*object), db.tables[*object].id(i)));
                    }
                    Column::Field(_) | Column::Id => {}
                }
            }
        }
        ids
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
        if table.life(index) != crate::store::db::Life::Live {
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
        let found = crate::rest::records::rows_by_key(db, self.job.object, *key, &shown);
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
