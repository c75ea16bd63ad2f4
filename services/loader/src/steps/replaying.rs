//! Batches that had been given up and are loaded after all.
//!
//! Before anything else the claims of all that is replayed are opened anew, those of the loader's own letters and those of the
//! masker's: so the reading is not complete before each of them has come, from the monitor or from the bus.

use syncline_bus::{Delivery, Handled};
use syncline_runtime::{Outcome, StageError, letters};
use tracing::Span;

use crate::context::Context;
use crate::steps::pass1::Pass1;
use crate::store;

const STAGE: &str = "loader";
const MASKER: &str = "masker";

/// Opens the claims, then loads the loader's own letters; the outcome, when it could not go on.
pub async fn run(context: &Context) -> Result<Option<Outcome>, StageError> {
    if context.work.lease.round == 0 {
        return Ok(None);
    }
    for stage in [MASKER, STAGE] {
        let names = letters::names(&context.platform, &context.work, stage).await?;
        let mut tx = context.platform.db.begin().await?;
        context.work.lease.guard(&mut tx).await?;
        for name in &names {
            store::batches::claim_reopen(&mut tx, name, context.work.lease.round, stage == MASKER).await?;
        }
        tx.commit().await?;
    }
    let mut loading = Pass1::of_kept(context);
    let mut after = 0;
    loop {
        let found = letters::fetch(&context.platform, &context.work, STAGE, after, false).await?;
        let Some(last) = found.last() else { return Ok(None) };
        after = last.id;
        for letter in found {
            if let Some(outcome) = load(context, &mut loading, letter).await? {
                return Ok(Some(outcome));
            }
        }
    }
}

async fn load(context: &Context, loading: &mut Pass1<'_>, letter: letters::Replayed) -> Result<Option<Outcome>, StageError> {
    loop {
        if context.work.stop.is_cancelled() {
            return Ok(Some(Outcome::Stopped));
        }
        let delivery = Delivery {
            name: Some(letter.name.clone()),
            plan: context.pinned.hash.clone(),
            records: letter.records,
            sealed: letter.sealed.clone(),
            span: Span::none(),
            redelivered: true,
        };
        let mut failure = None;
        let handled = loading.handle(vec![delivery], &mut failure).await;
        if let Some(error) = failure {
            return Err(error);
        }
        match handled.into_iter().next() {
            Some(Handled::Retry { after }) => tokio::time::sleep(after).await,
            Some(Handled::Dead) | None => return Ok(None),
            Some(Handled::Done) => {
                let mut tx = context.platform.db.begin().await?;
                context.work.lease.guard(&mut tx).await?;
                letters::tell(&mut tx, &context.work, STAGE, &letter.name).await?;
                tx.commit().await?;
                return Ok(None);
            }
        }
    }
}
