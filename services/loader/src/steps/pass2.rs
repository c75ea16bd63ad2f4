//! Pass 2: references that pointed into the object itself or into a cycle, now that everybody is there.

use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use bytes::Bytes;
use syncline_connect::{Nulls, Operation, Target};
use syncline_domain::ErrorCode;
use syncline_domain::plan::FieldPlan;
use syncline_domain::run::Step;
use syncline_runtime::{Outcome, StageError};

use crate::context::Context;
use crate::journal::{self, Job};
use crate::references::References;
use crate::steps::prepare::job_batch;
use crate::store;
use crate::store::counts::ObjectCount;
use crate::store::outcomes::DeferredRow;
use crate::telling;

/// Rows per job.
const ROWS_MAX: i64 = 20_000;
/// Jobs that may leave rows unprocessed before the step gives its lease back.
const JOBS_MAX: usize = 4;

/// Writes deferred references until none are left.
pub async fn run(context: &Context) -> Result<Outcome, StageError> {
    journal::settle_left_behind(context).await?;
    let mut references = References::default();
    let mut fruitless = 0;
    loop {
        if context.work.stop.is_cancelled() {
            return Ok(Outcome::Stopped);
        }
        let rows = store::outcomes::deferred_next(&context.platform.db, context.run_number, context.link, ROWS_MAX).await?;
        if rows.is_empty() {
            let with_errors = store::outcomes::any(&context.platform.db, context.run_number, context.link).await?;
            return Ok(Outcome::Done { with_errors });
        }
        let (rows, lost): (Vec<_>, Vec<_>) = rows.into_iter().partition(|r| r.target_key.is_some());
        if !lost.is_empty() {
            // Their own records were refused; what they point to does not matter.
            drop_rows(context, &lost).await?;
        }
        if rows.is_empty() {
            continue;
        }
        let (job, nulled) = job(context, &mut references, &rows).await?;
        let mut tx = context.platform.db.begin().await?;
        context.work.lease.guard(&mut tx).await?;
        let entry = journal::intend(context, &mut tx, Step::LoadPass2, &job).await?;
        let entry = entry.ok_or_else(|| StageError::new(ErrorCode::Internal, "an update reserves no keys"))?;
        tx.commit().await?;
        let settled = journal::carry_out(context, entry, job).await?;
        let mut tx = context.platform.db.begin().await?;
        let count = ObjectCount {
            references_nulled: nulled,
            ..ObjectCount::default()
        };
        store::counts::add(&mut tx, context.work.run(), context.name(), &count).await?;
        tx.commit().await?;
        if settled.written + settled.refused == 0 {
            fruitless += 1;
            if fruitless >= JOBS_MAX {
                return Ok(Outcome::Yielded {
                    reason: "the target leaves rows unprocessed".to_owned(),
                });
            }
        }
        telling::tell(context).await?;
    }
}

async fn drop_rows(context: &Context, rows: &[DeferredRow]) -> Result<(), StageError> {
    let keys: Vec<String> = rows.iter().map(|r| r.source_key.clone()).collect();
    let mut tx = context.platform.db.begin().await?;
    context.work.lease.guard(&mut tx).await?;
    store::outcomes::deferred_drop(&mut tx, context.run_number, context.link, &keys).await?;
    tx.commit().await?;
    Ok(())
}

/// An update of `Id` and the deferred references; also how many had to stay null.
async fn job(context: &Context, references: &mut References, rows: &[DeferredRow]) -> Result<(Job, i64), StageError> {
    let fields: Vec<&FieldPlan> = context.object.deferred_fields().collect();
    let ids: Vec<&str> = rows.iter().filter_map(|r| r.target_key.as_deref()).collect();
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(StringArray::from(ids))];
    let mut nulled = 0;
    let mut resolved: Vec<Vec<Option<String>>> = Vec::with_capacity(fields.len());
    for (place, field) in fields.iter().enumerate() {
        let key = |row: &DeferredRow| row.targets.get(place).filter(|k| !k.is_empty()).cloned();
        let keys: Vec<Option<String>> = rows.iter().map(key).collect();
        references
            .load_keys(context, field, keys.iter().flatten().map(String::as_str))
            .await?;
        let targets: Vec<Option<String>> = keys
            .iter()
            .map(|k| references.get(context, k.as_deref()?).map(str::to_owned))
            .collect();
        nulled += keys.iter().zip(&targets).filter(|(k, t)| k.is_some() && t.is_none()).count();
        arrays.push(Arc::new(StringArray::from(targets.clone())));
        resolved.push(targets);
    }
    let columns = context.deferred_columns();
    let batch = job_batch(&columns, arrays)?;
    let mut out = Vec::new();
    let mut digests = Vec::with_capacity(rows.len());
    context.target.encode_header(&columns, &mut out);
    context
        .target
        .encode(&columns, &batch, Nulls::Clear, &context.digester, &mut out, &mut digests);
    let refs = |row: usize| {
        context
            .hash_keys
            .references(resolved.iter().map(move |column| column.get(row).and_then(Option::as_deref)))
    };
    let job = Job {
        operation: Operation::Update,
        columns,
        source_keys: rows.iter().map(|r| r.source_key.clone()).collect(),
        digests: digests.concat(),
        hashes: rows.iter().flat_map(|r| r.hash.clone()).collect(),
        refs: (0..rows.len()).flat_map(refs).collect(),
        chunks: vec![Bytes::from(out)],
    };
    Ok((job, i64::try_from(nulled).unwrap_or(0)))
}
