//! Records that are kept are loaded again: refused ones that an operator chose, parked ones whose parent has come.
//!
//! Invariants:
//! - A kept record is loaded as any other: looked up in the ledger, claimed by its journal entry, its key reserved. So one
//!   that was written meanwhile is not written twice, and one that a later run has seen is left as that run wrote it.
//! - It is resolved in the transaction that books it as written or finds it standing; until then it counts as refused or parked.
//!   So the books balance at every moment.
//! - A look comes after the last record was parked, and pass 3 begins with one: a parent that was committed while its child
//!   was being parked, or after pass 1 had looked, is found by the next look.
//! - A look that resolves nothing is the last one: records that are parked again wait for another parent.

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use syncline_batch::{Body, open};
use syncline_domain::{BatchName, ErrorCode};
use syncline_runtime::StageError;

use crate::claims::{Note, Opened};
use crate::context::Context;
use crate::steps::pass1::Pass1;
use crate::store;

/// Kept records that are loaded together, and the bytes of their sealed form.
const ROWS_MAX: i64 = 2_000;
const BYTES_MAX: i64 = 8 * 1024 * 1024;

/// What a look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// So many records were loaded; nothing more can be.
    Loaded(u64),
    Stopped,
}

/// Loads whatever is chosen or has become loadable, until a look finds nothing.
pub async fn load(context: &Context) -> Result<Looked, StageError> {
    let mut all = 0;
    loop {
        wake(context).await?;
        let Looked::Loaded(loaded) = load_chosen(context).await? else {
            return Ok(Looked::Stopped);
        };
        all += loaded;
        if loaded == 0 {
            return Ok(Looked::Loaded(all));
        }
    }
}

async fn wake(context: &Context) -> Result<(), StageError> {
    let links: Vec<i64> = context.links.values().copied().collect();
    let mut tx = context.platform.db.begin().await?;
    context.work.lease.guard(&mut tx).await?;
    let woken = store::kept::wake(&mut tx, context.run_number, context.link, &links).await?;
    tx.commit().await?;
    if woken > 0 {
        tracing::info!(object = %context.name(), woken, "parked records are loaded: their parents have come");
    }
    Ok(())
}

/// One look over all that is chosen.
async fn load_chosen(context: &Context) -> Result<Looked, StageError> {
    let db = &context.platform.db;
    let mut loading = Pass1::of_kept(context);
    let (mut after, mut loaded) = (String::new(), 0);
    loop {
        if context.work.stop.is_cancelled() {
            return Ok(Looked::Stopped);
        }
        let page = store::kept::chosen_next(db, context.run_number, context.link, &after, ROWS_MAX, BYTES_MAX).await?;
        let Some((last, _)) = page.last() else {
            return Ok(Looked::Loaded(loaded));
        };
        after.clone_from(last);
        let before = standing(context).await?;
        loading.load(&[&opened(context, &page)?]).await?;
        loaded += before.saturating_sub(standing(context).await?);
    }
}

/// How many records stand refused or parked.
async fn standing(context: &Context) -> Result<u64, StageError> {
    let (refused, parked) = store::outcomes::totals(&context.platform.db, context.run_number, context.link).await?;
    Ok(u64::try_from(refused + parked).unwrap_or(0))
}

/// Kept records as a batch: each was sealed by itself under the same name.
fn opened(context: &Context, page: &[(String, Vec<u8>)]) -> Result<Opened, StageError> {
    let internal = |e: &dyn std::fmt::Display| StageError::new(ErrorCode::Internal, format!("a kept record of {}: {e}", context.name()));
    let name = sealed_name(&BatchName::whole(context.work.run().clone(), context.name().clone(), 0, 0, 0));
    let mut rows: Vec<RecordBatch> = Vec::with_capacity(page.len());
    for (_, sealed) in page {
        match open(&context.clean, &name, sealed) {
            Ok(Body::Data { rows: one, .. }) => rows.push(one),
            Ok(Body::End { .. }) => return Err(internal(&"it holds no record")),
            Err(error) => return Err(internal(&error)),
        }
    }
    let schema = rows.first().map(RecordBatch::schema).ok_or_else(|| internal(&"there is none"))?;
    Ok(Opened {
        name,
        rows: concat_batches(&schema, &rows).map_err(|e| internal(&e))?,
        note: Note::default(),
        again: true,
    })
}

/// Kept records are sealed under a name that no batch has and that follows from run and object, so that they can be
/// opened without their batch.
pub fn sealed_name(batch: &BatchName) -> BatchName {
    BatchName::whole(batch.run.clone(), batch.object.clone(), 0, 0, u32::MAX)
}
