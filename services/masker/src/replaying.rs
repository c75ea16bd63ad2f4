//! Raw batches that had been given up and are transformed after all.
//!
//! They come from the monitor, sealed as they were given up, and go the way of every delivery: attempts counted before they are
//! opened, a clean batch of the same name published and booked. The clean batch carries the round in its message id, or the
//! server would take it for the stand-in that was published for it.

use std::sync::Arc;

use syncline_bus::{Delivery, Handled};
use syncline_runtime::{Outcome, StageError, letters};
use tracing::Span;

use crate::store;
use crate::transforming::{Context, Step, one};

const STAGE: &str = "masker";

/// Transforms every letter of the object; the outcome, when it could not go on.
pub async fn run(context: &Arc<Context>) -> Result<Option<Outcome>, StageError> {
    let mut after = 0;
    loop {
        let found = letters::fetch(&context.platform, &context.work, STAGE, after, false).await?;
        let Some(last) = found.last() else { return Ok(None) };
        after = last.id;
        for letter in found {
            if let Some(outcome) = transform(context, letter).await? {
                return Ok(Some(outcome));
            }
        }
    }
}

async fn transform(context: &Arc<Context>, letter: letters::Replayed) -> Result<Option<Outcome>, StageError> {
    let db = &context.platform.db;
    let booked = u64::try_from(store::batch_records(db, &letter.name).await?).unwrap_or(0);
    let mut tx = db.begin().await?;
    context.work.lease.guard(&mut tx).await?;
    store::batch_reopen(&mut tx, &letter.name, context.work.lease.round).await?;
    tx.commit().await?;
    loop {
        if context.work.stop.is_cancelled() {
            return Ok(Some(Outcome::Stopped));
        }
        let delivery = Delivery {
            name: Some(letter.name.clone()),
            plan: context.pinned.hash.clone(),
            // Letters of earlier releases do not say.
            records: letter.records.max(booked),
            sealed: letter.sealed.clone(),
            span: Span::none(),
            redelivered: true,
        };
        match one(context, delivery).await? {
            Step::Out(outcome) => return Ok(Some(outcome)),
            Step::Handled(Handled::Retry { after }) => tokio::time::sleep(after).await,
            Step::Handled(Handled::Dead) => return Ok(None),
            Step::Handled(Handled::Done) => {
                let mut tx = db.begin().await?;
                context.work.lease.guard(&mut tx).await?;
                letters::tell(&mut tx, &context.work, STAGE, &letter.name).await?;
                tx.commit().await?;
                return Ok(None);
            }
        }
    }
}
