//! Opening deliveries: which batches are new, which are known, which cannot be opened.

use arrow_array::RecordBatch;
use serde::Deserialize;
use std::collections::BTreeMap;
use syncline_batch::{Body, open};
use syncline_bus::{Delivery, Handled};
use syncline_domain::{BatchName, ErrorCode};
use syncline_runtime::{StageError, failpoint, metrics};

use crate::context::Context;
use crate::store;

/// Deliveries of one batch before it is set aside.
const ATTEMPTS_MAX: i32 = 6;

/// The masker's note, by its JSON form.
#[derive(Debug, Default, Deserialize)]
pub struct Note {
    #[serde(default)]
    pub dead: u64,
    /// Source keys of records that fit no message.
    #[serde(default)]
    pub too_large: Vec<String>,
    #[serde(default)]
    pub sample: BTreeMap<String, BTreeMap<String, String>>,
}

/// A batch whose rows are in hand.
pub struct Opened {
    pub name: BatchName,
    pub rows: RecordBatch,
    pub note: Note,
    /// It was delivered before: its rows may have outcomes.
    pub again: bool,
}

/// What a delivery turned out to be.
pub enum Arrival {
    /// Nothing left to do for it.
    Settled(Handled),
    /// To be loaded. Boxed: a batch is large beside a verdict.
    Rows(Box<Opened>),
}

/// Counts the attempt, then opens the batch.
pub async fn arrive(context: &Context, delivery: Delivery) -> Result<Arrival, StageError> {
    let Some(name) = delivery.name.clone() else {
        tracing::error!("a message without a batch name was dropped from CLEAN");
        return Ok(Arrival::Settled(Handled::Dead));
    };
    if delivery.redelivered {
        metrics::count(metrics::REDELIVERIES, 1, &[("stage", "loader")]);
    }
    let claim = store::batches::claim_attempt(&context.platform.db, &name).await?;
    failpoint::pass(&failpoint::LOADER_BATCH_COUNTED).await?;
    if claim.done {
        return Ok(Arrival::Settled(Handled::Done));
    }
    if delivery.plan != context.pinned.hash {
        return Err(StageError::new(
            ErrorCode::DescribeChanged,
            format!("batch {name} was made under another plan"),
        ));
    }
    if claim.attempts > ATTEMPTS_MAX && claim.entries.is_empty() {
        return set_aside(context, &name, &delivery, claim.attempts).await;
    }
    match open(&context.clean, &name, &delivery.sealed) {
        Ok(Body::End { batches, records }) => {
            let mut tx = context.platform.db.begin().await?;
            context.work.lease.guard(&mut tx).await?;
            store::batches::end_record(&mut tx, &name, batches, records).await?;
            store::batches::claim_done(&mut tx, &name, 0).await?;
            tx.commit().await?;
            failpoint::pass(&failpoint::LOADER_END_BOOKED).await?;
            Ok(Arrival::Settled(Handled::Done))
        }
        Ok(Body::Data { rows, note }) => match serde_json::from_slice(&note) {
            Ok(note) => Ok(Arrival::Rows(Box::new(Opened {
                name,
                rows,
                note,
                again: claim.attempts > 1,
            }))),
            Err(error) => unreadable(context, &name, &delivery, claim.attempts, &error).await,
        },
        Err(error) => unreadable(context, &name, &delivery, claim.attempts, &error).await,
    }
}

/// A batch that cannot be read: it comes again until it has come often enough.
async fn unreadable(
    context: &Context,
    name: &BatchName,
    delivery: &Delivery,
    attempts: i32,
    error: &(dyn std::fmt::Display + Sync),
) -> Result<Arrival, StageError> {
    tracing::error!(batch = %name, %error, "a batch cannot be read");
    if attempts >= ATTEMPTS_MAX {
        return set_aside(context, name, delivery, attempts).await;
    }
    Ok(Arrival::Settled(Handled::Retry {
        after: std::time::Duration::from_secs(1),
    }))
}

/// Makes a dead letter of a batch that no attempt can save, and books its records as dead. Nothing can stand in for the end of
/// a partition, which has none: without it the object would never be complete, so the run stops.
async fn set_aside(context: &Context, name: &BatchName, delivery: &Delivery, attempts: i32) -> Result<Arrival, StageError> {
    let cause = format!("not loaded in {ATTEMPTS_MAX} attempts");
    let tenant = &context.work.tenant;
    let sealed = delivery.sealed.clone();
    context
        .platform
        .bus
        .publish_dead(
            "loader",
            tenant,
            name,
            ErrorCode::DeadLetter,
            &cause,
            attempts.unsigned_abs(),
            delivery.records,
            context.work.lease.round,
            sealed,
        )
        .await?;
    if delivery.records == 0 {
        return Err(StageError::new(
            ErrorCode::DeadLetter,
            format!("the end of {}, or a batch without records, cannot be read", name.object),
        ));
    }
    let mut tx = context.platform.db.begin().await?;
    context.work.lease.guard(&mut tx).await?;
    store::batches::claim_done(&mut tx, name, i64::try_from(delivery.records).unwrap_or(0)).await?;
    tx.commit().await?;
    metrics::count(metrics::DEAD_LETTERS, 1, &[("stage", "loader")]);
    tracing::error!(batch = %name, "a batch was set aside as a dead letter");
    Ok(Arrival::Settled(Handled::Dead))
}
