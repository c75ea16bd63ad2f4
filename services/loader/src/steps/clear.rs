//! `existing: replace`: the target's records of this object are deleted before anything is loaded.
//!
//! Deleting is idempotent, so it needs no journal: whatever is left is read and deleted again, until nothing is left.

use arrow_array::cast::AsArray;
use bytes::Bytes;
use futures::StreamExt;
use std::sync::Arc;
use syncline_connect::target::Refusal;
use syncline_connect::{GenerationState, JobState, Nulls, Operation, Query, ResultKind, Source, Target};
use syncline_domain::ErrorCode;
use syncline_domain::plan::FieldRole;
use syncline_runtime::{Outcome, StageError, failpoint};
use syncline_salesforce::choice::{self, Write};

use crate::context::{Context, POLL_MAX, POLL_MIN, id_column};
use crate::journal;
use crate::steps::building::job_batch;
use crate::store;
use crate::store::counts::ObjectCount;

/// Records per delete job.
const ROWS_MAX: usize = 20_000;
const PAGE_RECORDS: u32 = 50_000;
/// Readings of the object before the step says that something keeps coming back or cannot be deleted.
const ROUNDS_MAX: usize = 3;

/// Empties the object, then forgets the link.
pub async fn run(context: &Context) -> Result<Outcome, StageError> {
    // A job that an earlier run left would fill the object again.
    journal::settle_left_behind(context).await?;
    for _ in 0..ROUNDS_MAX {
        let ids = existing(context).await?;
        if ids.is_empty() {
            let mut tx = context.platform.db.begin().await?;
            context.work.lease.guard(&mut tx).await?;
            store::ledger::forget_link(&mut tx, context.link).await?;
            store::gaps::emptied(&mut tx, context.link).await?;
            tx.commit().await?;
            return Ok(Outcome::Done { with_errors: false });
        }
        for chunk in ids.chunks(ROWS_MAX) {
            if context.work.stop.is_cancelled() {
                return Ok(Outcome::Stopped);
            }
            let deleted = delete(context, chunk).await?;
            let mut tx = context.platform.db.begin().await?;
            context.work.lease.guard(&mut tx).await?;
            let count = ObjectCount {
                deleted: i64::try_from(deleted.ids.len()).unwrap_or(0),
                jobs: deleted.jobs,
                ..ObjectCount::default()
            };
            store::counts::add(&mut tx, context.work.run(), context.name(), &count).await?;
            tx.commit().await?;
        }
    }
    Err(StageError::new(
        ErrorCode::TargetRefused,
        format!(
            "records of {} cannot be deleted; see the org's delete rules",
            context.target_object()
        ),
    ))
}

async fn existing(context: &Context) -> Result<Vec<String>, StageError> {
    let fields = context
        .object
        .fields
        .iter()
        .filter(|f| f.role == FieldRole::SourceKey)
        .cloned()
        .collect();
    let query = Query {
        object: context.target_object().clone(),
        fields,
        filter: context.object.deletable.clone(),
        created_before: None,
        order_by: None,
        batch_bytes_max: 512 * 1024,
        batch_rows_max: 5_000,
        page_records: PAGE_RECORDS,
    };
    let generation = context.target.open(&query).await?;
    let mut pause = POLL_MIN;
    loop {
        match context.target.state(&generation).await? {
            GenerationState::Ready { .. } => break,
            GenerationState::Failed(error) => return Err(error.into()),
            GenerationState::Running => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(POLL_MAX);
    }
    let mut ids = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut page = context.target.read(&generation, &query, cursor.as_deref()).await?;
        while let Some(rows) = page.batches.next().await {
            let rows = rows?;
            if let Some(column) = rows.column_by_name("Id").and_then(|c| c.as_string_opt::<i32>()) {
                ids.extend(column.iter().flatten().map(str::to_owned));
            }
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    if let Err(error) = context.target.close(&generation).await {
        tracing::debug!(%error, "a finished query job could not be deleted");
    }
    Ok(ids)
}

/// What came of deleting records.
pub struct Deleted {
    /// Those that are gone. A record that somebody else deleted is gone, too.
    pub ids: Vec<String>,
    pub jobs: i64,
}

/// Deletes records by id: few of them at once, many by a job.
pub async fn delete(context: &Context, ids: &[String]) -> Result<Deleted, StageError> {
    // Nothing has to be settled: what a lost answer leaves open is read and deleted again.
    if choice::write(ids.len() as u64, &Operation::Delete, true) == Write::Collections {
        let saved = context.target.delete(ids).await?;
        failpoint::pass(&failpoint::LOADER_DELETIONS_SENT).await?;
        let gone = ids.iter().zip(saved).filter(|(_, saved)| is_gone(saved.refusal.as_ref()));
        return Ok(Deleted {
            ids: gone.map(|(id, _)| id.clone()).collect(),
            jobs: 0,
        });
    }
    delete_by_job(context, ids).await
}

fn is_gone(refusal: Option<&Refusal>) -> bool {
    refusal.is_none_or(|r| matches!(r.native.as_str(), "ENTITY_IS_DELETED" | "INVALID_CROSS_REFERENCE_KEY"))
}

async fn delete_by_job(context: &Context, ids: &[String]) -> Result<Deleted, StageError> {
    let target = &context.target;
    let columns = [id_column()];
    let keys: Vec<&str> = ids.iter().map(String::as_str).collect();
    let batch = job_batch(&columns, vec![Arc::new(arrow_array::StringArray::from(keys))])?;
    let (mut text, mut digests) = (Vec::new(), Vec::with_capacity(ids.len()));
    target.encode_header(&columns, &mut text);
    target.encode(
        context.target_object(),
        &columns,
        &batch,
        Nulls::Omit,
        &context.digester,
        &mut text,
        &mut digests,
    );
    let by_digest: std::collections::HashMap<_, _> = digests.into_iter().zip(ids).collect();
    let job = target.create_job(context.target_object(), &Operation::Delete).await?.id;
    target.upload(&job, vec![Bytes::from(text)]).await?;
    target.close_job(&job).await?;
    let mut pause = POLL_MIN;
    loop {
        let status = target.job_status(&job).await?;
        if status.state.is_terminal() {
            if status.state == JobState::Failed {
                tracing::warn!(job, "a delete job failed as a whole; what is left is deleted again");
            }
            break;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(POLL_MAX);
    }
    failpoint::pass(&failpoint::LOADER_DELETIONS_SENT).await?;
    let mut gone = Vec::new();
    for kind in [ResultKind::Successful, ResultKind::Failed] {
        let mut results = target.results(&job, kind, &columns, &context.digester).await?;
        while let Some(chunk) = results.next().await {
            for row in chunk? {
                if is_gone(row.refusal.as_ref())
                    && let Some(id) = by_digest.get(&row.digest)
                {
                    gone.push((*id).clone());
                }
            }
        }
    }
    Ok(Deleted { ids: gone, jobs: 1 })
}
