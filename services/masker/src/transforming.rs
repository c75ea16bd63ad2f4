//! Draining an object's raw batches: open, mask, seal, publish, count, acknowledge.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use sqlx::PgConnection;
use syncline_batch::{BATCH_BYTES_MAX, Body, SealingKey, open, seal_data, seal_end};
use syncline_bus::{Audience, BusError, Delivery, GroupLimits, Handled, RunOnce};
use syncline_domain::{BatchName, ErrorCode};
use syncline_runtime::plans::{PinnedPlan, Plans};
use syncline_runtime::worker::{Stage, Work};
use syncline_runtime::{Outcome, Platform, StageError, failpoint, metrics, outbox};
use syncline_wire::event::run_event::Fact;
use syncline_wire::event::{MaskTotals, StageTotals};
use tracing::Instrument as _;

use crate::masking::{FieldCount, Masking};
use crate::note::{Note, RawNote};
use crate::replaying;
use crate::store;

/// Deliveries of one batch before it is set aside.
const ATTEMPTS_MAX: i32 = 5;
/// Batches of one object that are worked on together. A batch that was delivered before comes alone.
const GROUP_MAX: usize = 4;
const IDLE_WAIT: Duration = Duration::from_millis(300);
const IDLE_MAX: Duration = Duration::from_secs(5);
const ROOM_WAIT: Duration = Duration::from_secs(4);
const ROOM_PAUSE: Duration = Duration::from_millis(40);
const RETRY_MIN: Duration = Duration::from_millis(250);
const TOTALS_EVERY: Duration = Duration::from_millis(400);

/// How long is waited.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Without a batch for this long the lease is given back.
    pub idle_max: Duration,
    /// So is it without room for a clean batch for this long.
    pub room_wait: Duration,
    /// Pause before a batch is tried again that could not be opened; it doubles with every attempt.
    pub retry_min: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle_max: IDLE_MAX,
            room_wait: ROOM_WAIT,
            retry_min: RETRY_MIN,
        }
    }
}

/// The stage.
pub struct Transforming {
    platform: Platform,
    limits: Limits,
    plans: Plans,
    mask_key: [u8; 32],
    digest_key: [u8; 32],
}

/// Everything that one object's batches need.
pub(crate) struct Context {
    pub(crate) platform: Platform,
    room_wait: Duration,
    retry_min: Duration,
    pub(crate) work: Work,
    pub(crate) pinned: Arc<PinnedPlan>,
    masking: Arc<Masking>,
    raw: SealingKey,
    clean: SealingKey,
}

/// A clean batch, ready to be published, and what it adds to the books.
struct Clean {
    messages: Vec<(BatchName, u64, Bytes)>,
    records: u64,
    counts: Vec<FieldCount>,
    end: Option<(u32, u64)>,
}

impl Transforming {
    /// # Errors
    /// When the masking key or the key of digests is missing.
    pub fn new(platform: &Platform, limits: Limits) -> anyhow::Result<Self> {
        Ok(Self {
            limits,
            platform: platform.clone(),
            plans: Plans::new(platform),
            mask_key: platform.keys.mask()?,
            digest_key: platform.keys.digest()?,
        })
    }

    async fn tell(&self, work: &Work) -> Result<(), StageError> {
        let object = work.object()?;
        let (batches, records, bytes) = store::totals(&self.platform.db, work.run(), object).await?;
        let number = |n: i64| u64::try_from(n).unwrap_or(0);
        let totals = StageTotals {
            stage: "masker".to_owned(),
            object: object.to_string(),
            batches: number(batches),
            records: number(records),
            bytes: number(bytes),
            api_calls: 0,
            expected: 0,
        };
        if let Err(error) = self.platform.bus.publish_event(&work.event(Fact::StageTotals(totals))).await {
            tracing::warn!(%error, "totals could not be told; the next ones will be");
        }
        Ok(())
    }
}

#[async_trait]
impl Stage for Transforming {
    async fn work(&self, work: &Work) -> Result<Outcome, StageError> {
        let pinned = self.plans.get(work.run()).await?;
        let name = work.object()?.clone();
        let object = pinned.plan.object(name.as_str());
        let object = object.ok_or_else(|| StageError::new(ErrorCode::Internal, format!("{name} is not in the plan")))?;
        let context = Arc::new(Context {
            platform: self.platform.clone(),
            room_wait: self.limits.room_wait,
            retry_min: self.limits.retry_min,
            work: work.clone(),
            masking: Arc::new(Masking::new(object, &self.mask_key, &self.digest_key)?),
            raw: self.plans.raw_key(work.run()).await?,
            clean: self.plans.clean_key(work.run()).await?,
            pinned: Arc::clone(&pinned),
        });
        if work.lease.round > 0
            && let Some(outcome) = replaying::run(&context).await?
        {
            self.tell(work).await?;
            return Ok(outcome);
        }
        let consumer = self
            .platform
            .bus
            .batches("masker", Audience::Raw, &work.tenant, work.run(), &name)
            .await?;
        let mut last_work = Instant::now();
        let mut told = Instant::now();
        loop {
            if work.stop.is_cancelled() {
                return Ok(Outcome::Stopped);
            }
            let mut failure = None;
            let limits = GroupLimits {
                messages_max: GROUP_MAX,
                wait: IDLE_WAIT,
            };
            let ran = consumer.run_once(limits, |group| handle(&context, group, &mut failure)).await?;
            if let Some(outcome) = failure {
                self.tell(work).await?;
                return outcome;
            }
            // Asked after every group, so that the end is not found only by waiting in vain.
            if store::is_complete(&self.platform.db, work.run(), &name).await? {
                self.platform.bus.forget_batches("masker", Audience::Raw, work.run(), &name).await?;
                failpoint::pass(&failpoint::MASKER_CONSUMER_FORGOTTEN).await?;
                self.tell(work).await?;
                return Ok(Outcome::Done { with_errors: false });
            }
            match ran {
                RunOnce::Handled(_) => last_work = Instant::now(),
                RunOnce::Idle if last_work.elapsed() > self.limits.idle_max => {
                    return Ok(Outcome::Yielded {
                        reason: "nothing extracted yet".to_owned(),
                    });
                }
                RunOnce::Idle => {}
            }
            if told.elapsed() > TOTALS_EVERY {
                self.tell(work).await?;
                told = Instant::now();
            }
        }
    }

    async fn finishing(&self, work: &Work, tx: &mut PgConnection) -> Result<(), StageError> {
        let object = work.object()?;
        for count in store::counts_get(&mut *tx, work.run(), object).await? {
            let number = |n: i64| u64::try_from(n).unwrap_or(0);
            let fact = MaskTotals {
                object: object.to_string(),
                field: count.field,
                strategy: count.strategy,
                masked: number(count.masked),
                null: number(count.empty),
                unchanged: number(count.unchanged),
            };
            outbox::event(&mut *tx, &work.event(Fact::MaskTotals(fact))).await?;
        }
        Ok(())
    }
}

/// Handles a group one by one; the first that cannot go on ends the group, and the rest is delivered again at once.
async fn handle(context: &Arc<Context>, group: Vec<Delivery>, failure: &mut Option<Result<Outcome, StageError>>) -> Vec<Handled> {
    let count = group.len();
    let mut handled = Vec::with_capacity(count);
    for delivery in group {
        let span = delivery.span.clone();
        match one(context, delivery).instrument(span).await {
            Ok(Step::Handled(outcome)) => handled.push(outcome),
            Ok(Step::Out(outcome)) => {
                *failure = Some(Ok(outcome));
                handled.push(Handled::Retry { after: Duration::ZERO });
                break;
            }
            Err(error) => {
                *failure = Some(Err(error));
                handled.push(Handled::Retry {
                    after: Duration::from_secs(1),
                });
                break;
            }
        }
    }
    handled.resize(count, Handled::Retry { after: Duration::ZERO });
    handled
}

pub(crate) enum Step {
    Handled(Handled),
    Out(Outcome),
}

pub(crate) async fn one(context: &Arc<Context>, delivery: Delivery) -> Result<Step, StageError> {
    let Some(name) = delivery.name.clone() else {
        tracing::error!("a message without a batch name was dropped from RAW");
        return Ok(Step::Handled(Handled::Dead));
    };
    if delivery.redelivered {
        metrics::count(metrics::REDELIVERIES, 1, &[("stage", "masker")]);
    }
    let (attempts, done) = store::batch_attempt(&context.platform.db, &name).await?;
    failpoint::pass(&failpoint::MASKER_BATCH_COUNTED).await?;
    if done {
        return Ok(Step::Handled(Handled::Done));
    }
    if delivery.plan != context.pinned.hash {
        return Err(StageError::new(
            ErrorCode::DescribeChanged,
            format!("batch {name} was made under another plan"),
        ));
    }
    let (clean, answer) = if attempts > ATTEMPTS_MAX {
        (context.given_up(&name, delivery.records)?, Handled::Dead)
    } else {
        let cleaned = {
            let context = Arc::clone(context);
            let (name, sealed) = (name.clone(), delivery.sealed.clone());
            tokio::task::spawn_blocking(move || context.clean(&name, &sealed)).await
        };
        match cleaned.unwrap_or_else(|_| Err(StageError::new(ErrorCode::Internal, "masking a batch panicked"))) {
            Ok(clean) => (clean, Handled::Done),
            // The batch itself is at fault, so far as can be seen; the others go on.
            Err(error) if error.code() == ErrorCode::Internal => {
                tracing::warn!(batch = %name, %error, attempts, "a batch could not be transformed; it will be tried again");
                return Ok(Step::Handled(Handled::Retry {
                    after: context.retry_min * 2_u32.pow(attempts.unsigned_abs().saturating_sub(1).min(10)),
                }));
            }
            Err(error) => return Err(error),
        }
    };
    let step = async {
        let waited = context.publish_all(&clean).await?;
        if let Some(outcome) = waited {
            return Ok(Step::Out(outcome));
        }
        if answer == Handled::Dead {
            context.set_aside(&name, &delivery, attempts).await?;
        }
        failpoint::pass(&failpoint::MASKER_CLEAN_PUBLISHED).await?;
        context.commit(&name, &clean).await?;
        failpoint::pass(&failpoint::MASKER_BATCH_RECORDED).await?;
        Ok(Step::Handled(answer))
    };
    let step = step.await;
    if !matches!(step, Ok(Step::Handled(_))) {
        // Waiting for room, the bus or the database is not the batch's fault, and must not make a dead letter of it.
        store::batch_attempt_undo(&context.platform.db, &name).await?;
    }
    step
}

impl Context {
    /// Opens, masks and seals. CPU only.
    fn clean(&self, name: &BatchName, sealed: &[u8]) -> Result<Clean, StageError> {
        let internal = |e: syncline_batch::BodyError| StageError::new(ErrorCode::Internal, format!("batch {name}: {e}"));
        match open(&self.raw, name, sealed).map_err(internal)? {
            Body::End { batches, records } => Ok(Clean {
                messages: vec![(name.clone(), 0, seal_end(&self.clean, name, batches, records).into())],
                records: 0,
                counts: Vec::new(),
                end: Some((batches, records)),
            }),
            Body::Data { rows, note } => {
                let mut masked = self.masking.mask(&rows)?;
                if !note.is_empty() {
                    let raw: RawNote = serde_json::from_slice(&note)
                        .map_err(|e| StageError::new(ErrorCode::Internal, format!("batch {name}: note: {e}")))?;
                    masked.note.read += raw.too_large.len() as u64;
                    masked.note.too_large = raw.too_large;
                }
                let records = masked.note.read;
                Ok(Clean {
                    messages: self.seal(name, &masked.rows, &masked.note)?,
                    records,
                    counts: masked.counts,
                    end: None,
                })
            }
        }
    }

    /// Publishes a clean batch; the outcome when there is no room.
    async fn publish_all(&self, clean: &Clean) -> Result<Option<Outcome>, StageError> {
        for (name, records, sealed) in &clean.messages {
            let waited = self.publish(name, *records, sealed.clone()).await?;
            if waited.is_some() {
                return Ok(waited);
            }
        }
        Ok(None)
    }

    /// Keeps what no attempt could transform. Nothing can stand in for the end of a partition, which only has no
    /// records: without it the object would never be complete, so the run stops.
    async fn set_aside(&self, name: &BatchName, delivery: &Delivery, attempts: i32) -> Result<(), StageError> {
        metrics::count(metrics::DEAD_LETTERS, 1, &[("stage", "masker")]);
        tracing::error!(batch = %name, "a batch is set aside");
        let cause = format!("not transformed in {ATTEMPTS_MAX} attempts");
        let (code, attempts, sealed) = (ErrorCode::DeadLetter, attempts.unsigned_abs(), delivery.sealed.clone());
        let bus = &self.platform.bus;
        let (records, round) = (delivery.records, self.work.lease.round);
        bus.publish_dead("masker", &self.work.tenant, name, code, &cause, attempts, records, round, sealed)
            .await?;
        if delivery.records == 0 {
            return Err(StageError::new(code, format!("the end of {} cannot be read", name.object)));
        }
        Ok(())
    }

    /// Books a batch whose clean form is stored.
    async fn commit(&self, name: &BatchName, clean: &Clean) -> Result<(), StageError> {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let bytes: u64 = clean.messages.iter().map(|(_, _, sealed)| sealed.len() as u64).sum();
        let mut tx = self.platform.db.begin().await?;
        self.work.lease.guard(&mut tx).await?;
        if store::batch_done(&mut tx, name, number(clean.records), number(bytes)).await? {
            store::counts_add(&mut tx, name, &clean.counts).await?;
            if let Some((batches, records)) = clean.end {
                store::end_record(&mut tx, name, batches, records).await?;
            }
        }
        tx.commit().await?;
        for count in clean.counts.iter().filter(|c| c.masked > 0) {
            // What stands in its brackets is the policy's own text.
            let strategy = count.strategy.split('(').next().unwrap_or_default();
            metrics::count(metrics::MASKED_VALUES, count.masked.unsigned_abs(), &[("strategy", strategy)]);
        }
        metrics::count(metrics::STAGE_RECORDS, clean.records, &[("stage", "masker")]);
        metrics::count(metrics::STAGE_SIZE, bytes, &[("stage", "masker")]);
        Ok(())
    }

    /// Seals masked rows in as many parts as they need to fit the bus.
    fn seal(&self, name: &BatchName, rows: &RecordBatch, note: &Note) -> Result<Vec<(BatchName, u64, Bytes)>, StageError> {
        let internal = |e: &dyn std::fmt::Display| StageError::new(ErrorCode::Internal, format!("batch {name}: {e}"));
        for parts in [1_u16, 2, 4, 8, 16] {
            let per_part = rows.num_rows().div_ceil(usize::from(parts)).max(1);
            let mut messages = Vec::with_capacity(usize::from(parts));
            for part in 0..parts {
                let start = (usize::from(part) * per_part).min(rows.num_rows());
                let slice = rows.slice(start, per_part.min(rows.num_rows() - start));
                // Counts go with the first part, so that they count once; fingerprints with their rows, as there can be
                // more of them than fit a message.
                let (read, dead) = if part == 0 { (note.read, note.dead) } else { (0, 0) };
                let too_large = if part == 0 { note.too_large.clone() } else { Vec::new() };
                let sample = self.masking.sample_of(&slice, &note.sample);
                let note = Note {
                    read,
                    dead,
                    too_large,
                    sample,
                };
                let note = serde_json::to_vec(&note).map_err(|e| internal(&e))?;
                let name = name.with_part(part, parts);
                let sealed = Bytes::from(seal_data(&self.clean, &name, &slice, &note).map_err(|e| internal(&e))?);
                messages.push((name, slice.num_rows() as u64, sealed));
            }
            if messages.iter().all(|(_, _, sealed)| sealed.len() <= BATCH_BYTES_MAX) {
                return Ok(messages);
            }
        }
        Err(StageError::new(
            ErrorCode::RecordTooLarge,
            format!("batch {name} does not fit the bus in sixteen parts"),
        ))
    }

    /// The clean batch of one that was given up: empty, but it stands for its records.
    fn given_up(&self, name: &BatchName, records: u64) -> Result<Clean, StageError> {
        let note = Note {
            read: records,
            dead: records,
            ..Note::default()
        };
        Ok(Clean {
            messages: self.seal(name, &self.masking.empty(), &note)?,
            records,
            counts: Vec::new(),
            end: None,
        })
    }

    async fn publish(&self, name: &BatchName, records: u64, sealed: Bytes) -> Result<Option<Outcome>, StageError> {
        let deadline = Instant::now() + self.room_wait;
        let (bus, tenant, plan, round) = (&self.platform.bus, &self.work.tenant, &self.pinned.hash, self.work.lease.round);
        loop {
            let sent = bus.publish_batch_in_round(Audience::Clean, tenant, name, plan, records, sealed.clone(), round);
            match sent.await {
                Ok(()) => return Ok(None),
                Err(BusError::Full { .. }) if self.work.stop.is_cancelled() => return Ok(Some(Outcome::Stopped)),
                Err(BusError::Full { .. }) if Instant::now() >= deadline => {
                    return Ok(Some(Outcome::Yielded {
                        reason: "no room on the bus: the loader has not taken this object's batches yet".to_owned(),
                    }));
                }
                Err(BusError::Full { .. }) => tokio::time::sleep(ROOM_PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
    }
}
