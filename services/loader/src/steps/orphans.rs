//! `orphans: delete`: target records of this sync whose source record is gone, after a complete reading.

use std::collections::HashSet;

use syncline_domain::ErrorCode;
use syncline_runtime::{Outcome, StageError};

use crate::context::Context;
use crate::steps::clear::delete;
use crate::store;
use crate::store::counts::ObjectCount;

const ROWS_MAX: i64 = 20_000;

/// Deletes orphans until none are left that can be deleted.
pub async fn run(context: &Context) -> Result<Outcome, StageError> {
    // A reading that is not complete would make orphans of what it has not read yet.
    let reading = store::batches::complete_reading(&context.platform.db, context.work.run(), context.name()).await?;
    let reading = reading.ok_or_else(|| StageError::new(ErrorCode::Internal, "orphans cannot be told before the reading is complete"))?;
    if reading.dead > 0 {
        // Records that were given up on the way look like orphans and are none.
        tracing::warn!(object = %context.name(), dead = reading.dead, "orphans are kept, because some records did not arrive");
        return Ok(Outcome::Done { with_errors: true });
    }
    loop {
        if context.work.stop.is_cancelled() {
            return Ok(Outcome::Stopped);
        }
        let orphans = store::ledger::orphans(&context.platform.db, context.link, context.sync(), context.run_number, ROWS_MAX).await?;
        if orphans.is_empty() {
            return Ok(Outcome::Done { with_errors: false });
        }
        let ids: Vec<String> = orphans.iter().map(|(_, target)| target.clone()).collect();
        let outcome = delete(context, &ids).await?;
        let gone: HashSet<String> = outcome.ids.into_iter().collect();
        let keys: Vec<String> = orphans
            .into_iter()
            .filter(|(_, target)| gone.contains(target))
            .map(|(key, _)| key)
            .collect();
        let deleted = i64::try_from(keys.len()).unwrap_or(0);
        let mut tx = context.platform.db.begin().await?;
        context.work.lease.guard(&mut tx).await?;
        store::ledger::forget(&mut tx, context.link, &keys).await?;
        store::counts::add(
            &mut tx,
            context.work.run(),
            context.name(),
            &ObjectCount {
                deleted,
                jobs: outcome.jobs,
                ..ObjectCount::default()
            },
        )
        .await?;
        tx.commit().await?;
        if deleted == 0 {
            tracing::warn!(object = %context.name(), left = ids.len(), "orphans could not be deleted");
            return Ok(Outcome::Done { with_errors: true });
        }
    }
}
