//! One target job under a journal entry: intent, create, upload, close, settle.
//!
//! The invariant: whatever a job may have written, the journal knows its rows before the job is closed, and every entry is
//! settled before its rows are considered again. Hence nothing is inserted twice, and nothing that was written is
//! forgotten, whichever of these steps is the last that a process lives to see.
//!
//! A job writes nothing before it is closed, and it is closed only after the entry says so. Thus an entry that does not
//! say so is abandoned, by compare-and-swap, and one that does is carried on: its upload is complete. What came of it is
//! in [`crate::results`], or, where these are gone, found by [`crate::window`].

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use sqlx::PgConnection;
use syncline_connect::target::Refusal;
use syncline_connect::{Column, JobState, JobStatus, Operation, Target};
use syncline_domain::run::Step;
use syncline_domain::{ErrorCode, ObjectName, RunId};
use syncline_runtime::{StageError, failpoint, metrics};

use crate::context::{Context, POLL_MAX, POLL_MIN};
use crate::hashing;
use crate::results::{Outcomes, outcomes};
use crate::store;
use crate::store::counts::ObjectCount;
use crate::store::journal::{EntryRow, NewEntry};
use crate::store::ledger::ContentOf;
use crate::window;

/// A job that has processed nothing for this long is aborted; its rows are loaded by another.
const STILL_MAX: Duration = Duration::from_secs(1800);

/// Rows of one job, encoded, with what the ledger keeps of each.
pub struct Job {
    pub operation: Operation,
    pub columns: Vec<Column>,
    pub source_keys: Vec<String>,
    /// 16 bytes per row each.
    pub digests: Vec<u8>,
    pub hashes: Vec<u8>,
    pub refs: Vec<u8>,
    /// The upload, header included.
    pub chunks: Vec<Bytes>,
}

impl Job {
    pub fn rows(&self) -> usize {
        self.source_keys.len()
    }
}

/// What came of a job, for the step to report.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    pub written: usize,
    pub refused: usize,
    /// Neither written nor refused: to be loaded again.
    pub unprocessed: usize,
}

/// What becomes of rows that were refused for something that passes by itself, such as a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    /// They count as unprocessed.
    LoadAgain,
    /// That was tried often enough.
    Refuse,
}

/// Commits the intent inside a transaction: the entry, and for new records the reservation of their keys.
///
/// Answers `None` when another entry holds some of the keys: roll back, settle that one, and look at the rows again.
pub async fn intend(context: &Context, tx: &mut PgConnection, step: Step, job: &Job) -> Result<Option<i64>, StageError> {
    let entry = store::journal::insert(
        &mut *tx,
        &NewEntry {
            run: context.work.run(),
            object: context.name(),
            step: step.as_str(),
            link: context.link,
            sync: context.sync(),
            operation: &job.operation,
            columns: &job.columns,
            digests: &job.digests,
            source_keys: &job.source_keys,
            hashes: &job.hashes,
            refs: &job.refs,
        },
    )
    .await?;
    if matches!(job.operation, Operation::Insert | Operation::Upsert { .. }) {
        let reserved = store::ledger::reserve(tx, context.link, context.run_number, entry, &job.source_keys).await?;
        if reserved < job.rows() as u64 {
            return Ok(None);
        }
    }
    Ok(Some(entry))
}

/// Takes a committed entry through its job and settles it.
pub async fn carry_out(context: &Context, entry: i64, job: Job, passing: Passing) -> Result<Settled, StageError> {
    let (target, db) = (&context.target, &context.platform.db);
    failpoint::pass(&failpoint::LOADER_INTENT_STORED).await?;
    let made = target.create_job(context.target_object(), &job.operation).await?;
    failpoint::pass(&failpoint::LOADER_JOB_CREATED).await?;
    let stored = store::journal::created(db, entry, &made).await?;
    let id = made.id;
    if !stored {
        // Somebody settled the entry meanwhile: our job is empty and must not be filled.
        target.abort_job(&id).await?;
        return Err(overtaken());
    }
    failpoint::pass(&failpoint::LOADER_JOB_STORED).await?;
    // The journal has the rest of the job, and settling reads it from there: the memory is free for that.
    let chunks = job.chunks;
    drop((job.source_keys, job.digests, job.hashes, job.refs));
    target.upload(&id, chunks).await?;
    failpoint::pass(&failpoint::LOADER_UPLOADED).await?;
    if !store::journal::closing(db, entry).await? {
        return Err(overtaken());
    }
    failpoint::pass(&failpoint::LOADER_CLOSING_STORED).await?;
    target.close_job(&id).await?;
    failpoint::pass(&failpoint::LOADER_JOB_CLOSED).await?;
    // Settled by somebody else, its outcomes are in the ledger and not in our hands: the rows are looked at again, or a row
    // that was left unprocessed would pass for written.
    settle(context, entry, passing).await?.ok_or_else(overtaken)
}

fn overtaken() -> StageError {
    StageError::new(
        ErrorCode::Internal,
        "a journal entry was settled by somebody else while its job was made",
    )
}

/// Settles every open entry of the link, of any step and any run: what an earlier worker left behind.
pub async fn settle_left_behind(context: &Context) -> Result<(), StageError> {
    for entry in store::journal::open_of_link(&context.platform.db, context.link).await? {
        settle(context, entry, Passing::LoadAgain).await?;
    }
    Ok(())
}

/// Learns from the target what became of an entry and records it. Idempotent; `None` when somebody else has done it.
pub async fn settle(context: &Context, entry: i64, passing: Passing) -> Result<Option<Settled>, StageError> {
    let db = &context.platform.db;
    let Some(row) = store::journal::get(db, entry).await? else {
        return Ok(None);
    };
    if row.state == "settled" {
        return Ok(None);
    }
    let outcome = match &row.job {
        // The job's id was never stored: if it exists, it is open and empty, and the sweep will abort it.
        None => Outcomes::nothing_written(&row),
        Some(job) if store::journal::abandon(db, entry).await? => {
            match context.target.abort_job(job).await {
                Err(error) if !error.gone => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
            Outcomes::nothing_written(&row)
        }
        Some(job) => match ended(context, &row, job, passing).await {
            Err(StageError::Connect(error)) if error.gone => {
                // Whoever settled the entry meanwhile (the worker of a run that is stopping) has deleted the job.
                if store::journal::get(db, entry).await?.is_none_or(|now| now.state == "settled") {
                    return Ok(None);
                }
                gone(context, &row, job).await?
            }
            other => other?,
        },
    };
    commit(context, &row, outcome).await
}

async fn ended(context: &Context, row: &EntryRow, job: &str, passing: Passing) -> Result<Outcomes, StageError> {
    finish(context, job).await?;
    failpoint::pass(&failpoint::LOADER_JOB_ENDED).await?;
    let outcomes = outcomes(context, row, job, passing).await?;
    failpoint::pass(&failpoint::LOADER_RESULTS_READ).await?;
    Ok(outcomes)
}

/// The target no longer knows what came of a job, which has ended, for it forgets no other.
async fn gone(context: &Context, row: &EntryRow, job: &str) -> Result<Outcomes, StageError> {
    match row.operation {
        // By a record's id or by a unique key, writing a row twice leaves what writing it once does: the same record with
        // the same values. Deleting one twice leaves none.
        Operation::Update | Operation::Upsert { .. } | Operation::Delete | Operation::HardDelete => Ok(Outcomes::nothing_written(row)),
        // Whatever it inserted is deleted by the very step that asks.
        Operation::Insert if context.work.lease.task.step() == Some(Step::Clear) => Ok(Outcomes::nothing_written(row)),
        // A second insert is a second record: its rows are looked for.
        Operation::Insert => window::outcomes(context, row, job).await,
    }
}

/// Waits for a terminal state, even after an abort, which may lose its race.
async fn finish(context: &Context, job: &str) -> Result<JobStatus, StageError> {
    let target = &context.target;
    let mut pause = POLL_MIN;
    let mut aborted = false;
    let mut moved = (0, tokio::time::Instant::now());
    loop {
        let status = target.job_status(job).await?;
        if status.processed > moved.0 {
            moved = (status.processed, tokio::time::Instant::now());
        }
        let is_stuck = moved.1.elapsed() > STILL_MAX;
        match status.state {
            JobState::Complete | JobState::Failed | JobState::Aborted => {
                if let (JobState::Failed, Some(error)) = (status.state, &status.error) {
                    tracing::warn!(job, %error, "a job failed as a whole; its rows are looked at one by one");
                }
                return Ok(status);
            }
            // Its upload is complete: whoever was about to close it did not live to do so.
            JobState::Open => target.close_job(job).await?,
            JobState::Uploaded | JobState::InProgress if !aborted && (is_stuck || context.work.stop.is_cancelled()) => {
                // Results of what was processed are still given.
                if let Err(error) = target.abort_job(job).await {
                    tracing::warn!(job, %error, "a job could not be aborted; waiting for its end");
                }
                aborted = true;
            }
            JobState::Uploaded | JobState::InProgress => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(POLL_MAX);
    }
}

/// Records the outcomes and closes the entry in one transaction, in the books of the run that made it.
async fn commit(context: &Context, row: &EntryRow, mut outcomes: Outcomes) -> Result<Option<Settled>, StageError> {
    let internal = |e: String| StageError::new(ErrorCode::Internal, e);
    let object = ObjectName::new(row.object.as_str()).map_err(|e| internal(e.to_string()))?;
    let run = RunId::new(row.run.as_str()).map_err(|e| internal(e.to_string()))?;
    let run_number = store::run_number(&context.platform.db, &run).await?;
    let step: Step = row.step.parse().map_err(internal)?;
    let is_new = matches!(row.operation, Operation::Insert | Operation::Upsert { .. });
    let mut tx = context.platform.db.begin().await?;
    context.work.lease.guard(&mut tx).await?;
    if !store::journal::settled(&mut tx, row.entry).await? {
        return Ok(None);
    }
    let mut count = ObjectCount {
        jobs: i64::from(row.job.is_some()),
        ..ObjectCount::default()
    };
    match step {
        Step::LoadPass1 => {
            if is_new {
                refuse_owned(&mut tx, row, &mut outcomes).await?;
                store::ledger::assign(&mut tx, row.link, &outcomes.written).await?;
            }
            let written = &outcomes.written;
            let before = store::ledger::seen_before(&mut tx, row.link, &row.sync, run_number, &written.source_keys).await?;
            let none = context.hash_keys.references(context.object.deferred_fields().map(|_| None));
            let of = ContentOf {
                link: row.link,
                sync: &row.sync,
                run_number,
                sent_update: !is_new,
                no_deferred_refs: &none,
            };
            store::ledger::content_written(&mut tx, &of, written).await?;
            let inserted = written.created.iter().filter(|c| **c).count();
            count.inserted = i64::try_from(inserted).unwrap_or(0);
            count.updated = i64::try_from(written.created.len() - inserted)
                .unwrap_or(0)
                .saturating_sub(before)
                .max(0);
        }
        Step::LoadPass2 => {
            store::outcomes::deferred_written(&mut tx, row.link, &row.sync, &outcomes.written).await?;
            store::outcomes::deferred_drop(&mut tx, run_number, row.link, &outcomes.written.source_keys).await?;
            count.references_nulled = outcomes.written.hashes.iter().map(|h| i64::from(hashing::nulled(h))).sum();
        }
        other => return Err(internal(format!("the journal has an entry of step {other}"))),
    }
    store::kept::resolve(&mut tx, run_number, row.link, &row.step, &outcomes.written.source_keys).await?;
    store::outcomes::refused(&mut tx, run_number, row.link, &row.step, "refused", &outcomes.refused).await?;
    let refused = &outcomes.refused.source_keys;
    if step == Step::LoadPass2 {
        store::outcomes::deferred_refuse(&mut tx, run_number, row.link, refused).await?;
    } else {
        // What a refused record points to does not matter any more; if it is retried, its row says it again.
        store::outcomes::deferred_drop(&mut tx, run_number, row.link, refused).await?;
    }
    if is_new {
        // Refused and unprocessed rows hold no target record: their keys are free again.
        let written: HashSet<&String> = outcomes.written.source_keys.iter().collect();
        let rest: Vec<&String> = row.source_keys.iter().filter(|key| !written.contains(key)).collect();
        store::ledger::unreserve(&mut tx, row.link, row.entry, &rest).await?;
    }
    store::counts::add(&mut tx, &run, &object, &count).await?;
    failpoint::pass(&failpoint::LOADER_RESULTS_DECIDED).await?;
    tx.commit().await?;
    failpoint::pass(&failpoint::LOADER_RESULTS_COMMITTED).await?;
    if step == Step::LoadPass1 {
        metrics::count(
            metrics::STAGE_RECORDS,
            outcomes.written.source_keys.len() as u64,
            &[("stage", "loader")],
        );
    }
    for (code, count) in outcomes.refused.by_code() {
        metrics::count(metrics::RECORDS_REFUSED, count, &[("code", &code)]);
    }
    if is_new && step == Step::LoadPass1 {
        context
            .recent
            .add(&run, &outcomes.written.source_keys, &outcomes.written.target_keys);
    }
    if let Some(job) = &row.job
        && let Err(error) = context.target.delete_job(job).await
    {
        tracing::debug!(job, %error, "a finished job could not be deleted; it expires by itself");
    }
    failpoint::pass(&failpoint::LOADER_JOB_DELETED).await?;
    Ok(Some(Settled {
        written: outcomes.written.source_keys.len(),
        refused: outcomes.refused.source_keys.len(),
        unprocessed: outcomes.unprocessed,
    }))
}

/// A record that belongs to another source key is refused: two source records must not become one in silence.
async fn refuse_owned(tx: &mut PgConnection, row: &EntryRow, outcomes: &mut Outcomes) -> Result<(), StageError> {
    let owned = store::ledger::owned_by_others(tx, row.link, &outcomes.written).await?;
    if owned.is_empty() {
        return Ok(());
    }
    let refusal = Refusal {
        code: ErrorCode::Duplicate,
        native: String::new(),
        fields: match &row.operation {
            Operation::Upsert { key } => vec![key.to_string()],
            Operation::Insert | Operation::Update | Operation::Delete | Operation::HardDelete => Vec::new(),
        },
    };
    tracing::warn!(
        object = row.object,
        count = owned.len(),
        "records of other source keys were met by key"
    );
    outcomes.written.remove(&owned);
    for key in owned {
        outcomes.refused.push(key, &refusal);
    }
    Ok(())
}
