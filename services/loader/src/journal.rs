//! One target job under a journal entry: intent, create, upload, close, settle.
//!
//! The invariant: whatever a job may have written, the journal knows its rows before the job is closed, and every entry is
//! settled before its rows are considered again. Hence nothing is inserted twice, and nothing that was written is
//! forgotten, whichever of these steps is the last that a process lives to see.

use std::collections::HashMap;

use bytes::Bytes;
use futures::StreamExt;
use sqlx::PgConnection;
use syncline_connect::digest::ROW_DIGEST_BYTES;
use syncline_connect::{Column, JobState, Operation, ResultKind, Target};
use syncline_domain::run::Step;
use syncline_domain::{ErrorCode, ObjectName};
use syncline_runtime::StageError;

use crate::context::{Context, POLL_MAX, POLL_MIN};
use crate::hashing::HASH_BYTES;
use crate::store;
use crate::store::counts::ObjectCount;
use crate::store::journal::{EntryRow, NewEntry};
use crate::store::ledger::{ContentOf, Written};
use crate::store::outcomes::Refused;

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
pub async fn carry_out(context: &Context, entry: i64, job: Job) -> Result<Settled, StageError> {
    let target = &context.target;
    let id = target.create_job(context.target_object(), &job.operation).await?;
    if !store::journal::created(&context.platform.db, entry, &id).await? {
        // Somebody settled the entry meanwhile: our job is empty and must not be filled.
        target.abort_job(&id).await?;
        return Err(StageError::new(
            ErrorCode::Internal,
            "a journal entry was settled before its job was made",
        ));
    }
    target.upload(&id, job.chunks).await?;
    target.close_job(&id).await?;
    settle(context, entry).await
}

/// Settles every open entry of the object (of any step): what an earlier worker left behind.
pub async fn settle_left_behind(context: &Context) -> Result<(), StageError> {
    for entry in store::journal::open(&context.platform.db, context.work.run(), Some(context.name())).await? {
        settle(context, entry).await?;
    }
    Ok(())
}

/// Learns from the target what became of an entry and records it. Idempotent.
pub async fn settle(context: &Context, entry: i64) -> Result<Settled, StageError> {
    let Some(row) = store::journal::get(&context.platform.db, entry).await? else {
        return Ok(Settled::default());
    };
    if row.state == "settled" {
        return Ok(Settled::default());
    }
    let outcome = match &row.job {
        // The job's id was never stored: if it exists, it is open and empty, and the sweep will abort it.
        None => Outcomes::default(),
        Some(job) => {
            finish(context, job).await?;
            outcomes(context, &row, job).await?
        }
    };
    commit(context, &row, outcome).await
}

/// Waits for a terminal state. A job that is still open is aborted, which may lose its race; so is a stopping run's.
async fn finish(context: &Context, job: &str) -> Result<(), StageError> {
    let mut pause = POLL_MIN;
    let mut aborted = false;
    loop {
        let status = context.target.job_status(job).await.map_err(|error| match error.gone {
            true => StageError::new(
                ErrorCode::ResultsGone,
                format!("job {job} of {} is no longer known to the target", context.name()),
            ),
            false => error.into(),
        })?;
        match status.state {
            JobState::Complete | JobState::Failed | JobState::Aborted => {
                if let (JobState::Failed, Some(error)) = (status.state, &status.error) {
                    tracing::warn!(job, %error, "a job failed as a whole; its rows are looked at one by one");
                }
                return Ok(());
            }
            JobState::Open if !aborted => {
                context.target.abort_job(job).await?;
                aborted = true;
            }
            _ if context.work.stop.is_cancelled() && !aborted => {
                // Results of what was processed are still given.
                if let Err(error) = context.target.abort_job(job).await {
                    tracing::warn!(job, %error, "a job could not be aborted; waiting for its end");
                }
                aborted = true;
            }
            _ => tokio::time::sleep(pause).await,
        }
        pause = (pause * 3 / 2).min(POLL_MAX);
    }
}

/// Outcomes by row of the entry.
#[derive(Default)]
struct Outcomes {
    written: Written,
    inserted: i64,
    updated: i64,
    refused: Refused,
    unprocessed: usize,
}

/// Fetches a terminal job's results and matches them with the entry's rows by digest.
async fn outcomes(context: &Context, row: &EntryRow, job: &str) -> Result<Outcomes, StageError> {
    // Rows that are equal in all columns share a digest and are interchangeable.
    let mut open: HashMap<&[u8], Vec<usize>> = HashMap::with_capacity(row.source_keys.len());
    for (index, digest) in row.digests.chunks_exact(ROW_DIGEST_BYTES).enumerate() {
        open.entry(digest).or_default().push(index);
    }
    let mut out = Outcomes::default();
    for kind in [ResultKind::Successful, ResultKind::Failed] {
        let mut results = context.target.results(job, kind, &row.columns, &context.digester).await?;
        while let Some(chunk) = results.next().await {
            for result in chunk? {
                let Some(index) = open.get_mut(result.digest.as_slice()).and_then(Vec::pop) else {
                    return Err(StageError::new(
                        ErrorCode::Mismatch,
                        format!("job {job} answers for a row of {} that was not sent", context.name()),
                    ));
                };
                let key = row.source_keys.get(index).cloned().unwrap_or_default();
                if let Some(refusal) = &result.refusal {
                    out.refused.push(key, refusal);
                    continue;
                }
                if result.created {
                    out.inserted += 1;
                } else {
                    out.updated += 1;
                }
                out.written.source_keys.push(key);
                out.written.target_keys.push(result.id);
                out.written.sent.push(result.digest.to_vec());
                out.written.hashes.push(piece(&row.hashes, index));
                out.written.refs.push(piece(&row.refs, index));
            }
        }
    }
    out.unprocessed = open.values().map(Vec::len).sum();
    Ok(out)
}

fn piece(packed: &[u8], index: usize) -> Vec<u8> {
    packed
        .get(index * HASH_BYTES..(index + 1) * HASH_BYTES)
        .unwrap_or_default()
        .to_vec()
}

/// Records the outcomes and closes the entry in one transaction.
async fn commit(context: &Context, row: &EntryRow, outcomes: Outcomes) -> Result<Settled, StageError> {
    let object = ObjectName::new(row.object.as_str()).map_err(|e| StageError::new(ErrorCode::Internal, e.to_string()))?;
    let settled = Settled {
        written: outcomes.written.source_keys.len(),
        refused: outcomes.refused.source_keys.len(),
        unprocessed: outcomes.unprocessed,
    };
    let mut tx = context.platform.db.begin().await?;
    context.work.lease.guard(&mut tx).await?;
    if !store::journal::settled(&mut tx, row.entry).await? {
        return Ok(Settled::default());
    }
    let mut count = ObjectCount {
        jobs: i64::from(row.job.is_some()),
        ..ObjectCount::default()
    };
    match row.step.parse::<Step>() {
        Ok(Step::LoadPass1) => {
            let update = matches!(row.operation, Operation::Update);
            if !update {
                store::ledger::assign(&mut tx, row.link, &outcomes.written).await?;
            }
            let none = context.hash_keys.references(context.object.deferred_fields().map(|_| None));
            let of = ContentOf {
                link: row.link,
                sync: context.sync(),
                run_number: context.run_number,
                sent_update: update,
                no_deferred_refs: &none,
            };
            store::ledger::content_written(&mut tx, &of, &outcomes.written).await?;
            count.inserted = outcomes.inserted;
            count.updated = outcomes.updated;
        }
        Ok(Step::LoadPass2) => {
            store::outcomes::deferred_written(&mut tx, row.link, context.sync(), &outcomes.written).await?;
            store::outcomes::deferred_drop(&mut tx, context.run_number, row.link, &outcomes.written.source_keys).await?;
            store::outcomes::deferred_drop(&mut tx, context.run_number, row.link, &outcomes.refused.source_keys).await?;
        }
        _ => {
            return Err(StageError::new(
                ErrorCode::Internal,
                format!("the journal has an entry of step {}", row.step),
            ));
        }
    }
    store::outcomes::refused(&mut tx, context.run_number, row.link, &row.step, "refused", &outcomes.refused).await?;
    if matches!(row.operation, Operation::Insert | Operation::Upsert { .. }) {
        // Refused and unprocessed rows hold no target record: their keys are free again.
        store::ledger::unreserve(&mut tx, row.link, row.entry, &row.source_keys).await?;
    }
    store::counts::add(&mut tx, context.work.run(), &object, &count).await?;
    tx.commit().await?;
    if let Some(job) = &row.job
        && let Err(error) = context.target.delete_job(job).await
    {
        tracing::debug!(job, %error, "a finished job could not be deleted; it expires by itself");
    }
    Ok(settled)
}
