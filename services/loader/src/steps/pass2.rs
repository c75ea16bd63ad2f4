//! Pass 2: references that pointed into the object itself or into a cycle, now that everybody is there.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, StringArray};
use bytes::Bytes;
use syncline_connect::{Nulls, Operation, Target};
use syncline_domain::ErrorCode;
use syncline_domain::plan::FieldPlan;
use syncline_domain::run::Step;
use syncline_runtime::{Outcome, StageError};

use crate::context::Context;
use crate::hashing;
use crate::journal::{self, Job, Passing};
use crate::references::References;
use crate::steps::building::{by_parents, job_batch};
use crate::store;
use crate::store::counts::ObjectCount;
use crate::store::ledger::Written;
use crate::store::outcomes::DeferredRow;
use crate::telling;

/// Rows per job.
const ROWS_MAX: i64 = 20_000;
/// Jobs that may leave rows unprocessed before the step gives its lease back.
const JOBS_MAX: usize = 4;
/// Pause before rows are written again.
const AGAIN_PAUSE: Duration = Duration::from_secs(1);

/// Writes deferred references until none are left.
pub async fn run(context: &Context) -> Result<Outcome, StageError> {
    journal::settle_left_behind(context).await?;
    let db = &context.platform.db;
    let mut references = References::default();
    let mut fruitless = 0;
    loop {
        if context.work.stop.is_cancelled() {
            return Ok(Outcome::Stopped);
        }
        let rows = store::outcomes::deferred_next(db, context.run_number, context.link, context.sync(), ROWS_MAX).await?;
        if rows.is_empty() {
            let with_errors = store::outcomes::any(db, context.run_number, context.link).await?;
            return Ok(Outcome::Done { with_errors });
        }
        let (rows, lost): (Vec<_>, Vec<_>) = rows.into_iter().partition(|r| r.target_key.is_some());
        let resolved = resolve(context, &mut references, rows).await?;
        let (standing, mut missing): (Vec<_>, Vec<_>) = resolved.into_iter().partition(Resolved::stands);
        conclude(context, &lost, &standing).await?;
        if missing.is_empty() {
            continue;
        }
        missing.sort_by(|a, b| by_parents(a.parents(), b.parents()));
        let job = job(context, &missing)?;
        let mut tx = db.begin().await?;
        context.work.lease.guard(&mut tx).await?;
        let entry = journal::intend(context, &mut tx, Step::LoadPass2, &job).await?;
        let entry = entry.ok_or_else(|| StageError::new(ErrorCode::Internal, "an update reserves no keys"))?;
        tx.commit().await?;
        let passing = if fruitless + 1 < JOBS_MAX {
            Passing::LoadAgain
        } else {
            Passing::Refuse
        };
        let settled = journal::carry_out(context, entry, job, passing).await?;
        if settled.written + settled.refused == 0 {
            fruitless += 1;
            if fruitless >= JOBS_MAX {
                return Ok(Outcome::Yielded {
                    reason: "the target leaves rows unprocessed".to_owned(),
                });
            }
            tokio::time::sleep(AGAIN_PAUSE).await;
        }
        telling::tell(context).await?;
    }
}

/// A row with the target keys of its references.
struct Resolved {
    row: DeferredRow,
    targets: Vec<Option<String>>,
    /// References that had to stay null.
    nulled: usize,
    digest: [u8; hashing::HASH_BYTES],
}

impl Resolved {
    /// The target holds these references already.
    fn stands(&self) -> bool {
        self.row.standing.as_deref() == Some(self.digest.as_slice())
    }

    fn parents(&self) -> impl Iterator<Item = Option<&str>> {
        self.targets.iter().map(Option::as_deref)
    }

    /// What the ledger keeps: the hash of the source keys, or a mark that makes the next run look again.
    fn hash(&self) -> Vec<u8> {
        match self.nulled {
            0 => self.row.hash.clone(),
            n => hashing::unresolved(n).to_vec(),
        }
    }
}

async fn resolve(context: &Context, references: &mut References, rows: Vec<DeferredRow>) -> Result<Vec<Resolved>, StageError> {
    let fields: Vec<&FieldPlan> = context.object.deferred_fields().collect();
    let mut targets: Vec<Vec<Option<String>>> = vec![Vec::with_capacity(fields.len()); rows.len()];
    let mut nulled = vec![0; rows.len()];
    for (place, field) in fields.iter().enumerate() {
        let key = |row: &DeferredRow| row.targets.get(place).filter(|k| !k.is_empty()).cloned();
        let keys: Vec<Option<String>> = rows.iter().map(key).collect();
        references
            .load_keys(context, field, keys.iter().flatten().map(String::as_str))
            .await?;
        for ((key, targets), nulled) in keys.iter().zip(&mut targets).zip(&mut nulled) {
            let target = key.as_deref().and_then(|k| references.get(context, k)).map(str::to_owned);
            *nulled += usize::from(key.is_some() && target.is_none());
            targets.push(target);
        }
    }
    let resolved = |((row, targets), nulled): ((DeferredRow, Vec<Option<String>>), usize)| Resolved {
        digest: context.hash_keys.references(targets.iter().map(Option::as_deref)),
        row,
        targets,
        nulled,
    };
    Ok(rows.into_iter().zip(targets).zip(nulled).map(resolved).collect())
}

/// Closes rows that need no job: their own record was refused, or the target holds their references already.
async fn conclude(context: &Context, lost: &[DeferredRow], standing: &[Resolved]) -> Result<(), StageError> {
    if lost.is_empty() && standing.is_empty() {
        return Ok(());
    }
    let written = Written {
        source_keys: standing.iter().map(|r| r.row.source_key.clone()).collect(),
        hashes: standing.iter().map(Resolved::hash).collect(),
        refs: standing.iter().map(|r| r.digest.to_vec()).collect(),
        ..Written::default()
    };
    let lost: Vec<String> = lost.iter().map(|r| r.source_key.clone()).collect();
    let count = ObjectCount {
        references_nulled: standing.iter().map(|r| i64::try_from(r.nulled).unwrap_or(0)).sum(),
        ..ObjectCount::default()
    };
    let mut tx = context.platform.db.begin().await?;
    context.work.lease.guard(&mut tx).await?;
    store::outcomes::deferred_written(&mut tx, context.link, context.sync(), &written).await?;
    store::outcomes::deferred_drop(&mut tx, context.run_number, context.link, &lost).await?;
    store::outcomes::deferred_drop(&mut tx, context.run_number, context.link, &written.source_keys).await?;
    let step = Step::LoadPass2.as_str();
    store::kept::resolve(&mut tx, context.run_number, context.link, step, &written.source_keys).await?;
    store::counts::add(&mut tx, context.work.run(), context.name(), &count).await?;
    tx.commit().await?;
    Ok(())
}

/// An update of `Id` and the deferred references.
fn job(context: &Context, rows: &[Resolved]) -> Result<Job, StageError> {
    let ids = rows.iter().map(|r| r.row.target_key.as_deref());
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(ids.collect::<StringArray>())];
    for place in 0..context.object.deferred_fields().count() {
        let column = rows.iter().map(|r| r.targets.get(place).and_then(Option::as_deref));
        arrays.push(Arc::new(column.collect::<StringArray>()));
    }
    let columns = context.deferred_columns();
    let batch = job_batch(&columns, arrays)?;
    let mut out = Vec::new();
    let mut digests = Vec::with_capacity(rows.len());
    context.target.encode_header(&columns, &mut out);
    context.target.encode(
        context.target_object(),
        &columns,
        &batch,
        Nulls::Clear,
        &context.digester,
        &mut out,
        &mut digests,
    );
    Ok(Job {
        operation: Operation::Update,
        columns,
        source_keys: rows.iter().map(|r| r.row.source_key.clone()).collect(),
        digests: digests.concat(),
        hashes: rows.iter().flat_map(Resolved::hash).collect(),
        refs: rows.iter().flat_map(|r| r.digest).collect(),
        chunks: vec![Bytes::from(out)],
    })
}
