//! The worker of a stage: from invitation to lease to work to report.
//!
//! An invitation is acknowledged once its task is leased, held by somebody else, or finished. The lease is renewed while
//! the work goes on; with each renewal the coordinator is asked whether the run shall go on. Finishing and reporting are
//! one transaction. A run that ended may be reopened: then an invitation names a later round, in which a task that was
//! finished before is worked on again.
//!
//! A worker that dies says nothing, and invitations to a task that is held are spaced out ever wider. So every worker looks
//! for leases that have run out and says so in the dead one's place ([`lose_no_time`]): the next invitation comes at once.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use futures::FutureExt;
use sqlx::PgConnection;
use syncline_bus::{BusError, Handled};
use syncline_connect::ConnectError;
use syncline_domain::{ErrorCode, ObjectName, RunId, TenantId};
use syncline_wire::event::run_event::Fact;
use syncline_wire::event::{RunEvent, StepDone, StepFailed, StepYielded};
use syncline_wire::run::run_control_service_client::RunControlServiceClient;
use syncline_wire::run::{GetIntentRequest, Intent};
use syncline_wire::stage::Invitation;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::failpoint;
use crate::lease::{self, LEASE_RENEWAL, Lease, LeaseError, Take, TaskId};
use crate::metrics;
use crate::outbox;
use crate::platform::Platform;
use crate::rpc::with_trace;

/// Unexpected failures of one task in a row after which the run is stopped instead of tried again.
const FAILURES_MAX: i32 = 5;

/// How often leases are looked for that have run out.
const RECLAIM_EVERY: Duration = Duration::from_secs(1);

/// How a piece of work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done {
        with_errors: bool,
    },
    /// It had to wait for `reason`; the checkpoint keeps the place.
    Yielded {
        reason: String,
    },
    /// The run is stopping; the checkpoint keeps the place.
    Stopped,
}

/// Why a piece of work could not go on. The code decides whether it is tried again.
#[derive(Debug, Error)]
pub enum StageError {
    #[error("{message}")]
    Failed { code: ErrorCode, message: String },
    /// Somebody else holds the task now: stop without a trace.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl StageError {
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Failed {
            code,
            message: message.into(),
        }
    }

    /// How long trying again would be in vain, if that is known.
    fn wait(&self) -> Duration {
        match self {
            Self::Connect(error) => error.retry_after.unwrap_or_default(),
            Self::Failed { .. } | Self::Lease(_) | Self::Database(_) | Self::Bus(_) => Duration::ZERO,
        }
    }

    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Failed { code, .. } => *code,
            Self::Lease(_) | Self::Database(_) => ErrorCode::DatabaseUnavailable,
            Self::Bus(error) => error.code(),
            Self::Connect(error) => error.code,
        }
    }
}

/// What a task is given.
#[derive(Clone)]
pub struct Work {
    pub tenant: TenantId,
    pub lease: Lease,
    /// Cancelled when the run stops, the lease is lost or the process shuts down: finish at the next safe point.
    pub stop: CancellationToken,
}

impl Work {
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.lease.task.run
    }

    /// # Errors
    /// [`StageError`] when the task is not about an object, which only a wrong invitation can cause.
    pub fn object(&self) -> Result<&ObjectName, StageError> {
        self.lease
            .task
            .object
            .as_ref()
            .ok_or_else(|| StageError::new(ErrorCode::Internal, "the task names no object"))
    }

    /// An event about this run.
    #[must_use]
    pub fn event(&self, fact: Fact) -> RunEvent {
        event(&self.tenant, self.run(), fact)
    }
}

/// An event, dated now.
#[must_use]
pub fn event(tenant: &TenantId, run: &RunId, fact: Fact) -> RunEvent {
    RunEvent {
        tenant: tenant.to_string(),
        run: run.to_string(),
        at: Some(syncline_wire::time::to_proto(Utc::now())),
        fact: Some(fact),
    }
}

/// What a stage does with a task.
#[async_trait]
pub trait Stage: Send + Sync + 'static {
    /// Works until done, until it has to wait, or until `work.stop`.
    async fn work(&self, work: &Work) -> Result<Outcome, StageError>;

    /// Called inside the transaction that finishes a task, for facts that belong to it.
    async fn finishing(&self, _work: &Work, _tx: &mut PgConnection) -> Result<(), StageError> {
        Ok(())
    }
}

/// Takes invitations until shutdown, at most `slots` tasks at a time.
///
/// # Errors
/// [`BusError`] when the stage's consumer cannot be made.
pub async fn run(platform: &Platform, stage: Arc<dyn Stage>, slots: usize) -> Result<(), BusError> {
    let slots = Arc::new(Semaphore::new(slots));
    platform.spawn("lost leases", lose_no_time(platform.clone(), Arc::clone(&stage)));
    let service = platform.config.service;
    platform
        .bus
        .run_tasks(service, slots, platform.shutdown.clone(), |invitation, slot| {
            let platform = platform.clone();
            let stage = Arc::clone(&stage);
            async move {
                let Some((tenant, task)) = read(&invitation) else {
                    tracing::error!("an invitation with invalid names was dropped");
                    return Handled::Done;
                };
                begin(platform, stage, tenant, task, invitation.round, slot).await
            }
        })
        .await
}

/// Takes a task's lease, if it can be had, and has the work go on beside; the slot is kept for as long.
async fn begin(
    platform: Platform,
    stage: Arc<dyn Stage>,
    tenant: TenantId,
    task: TaskId,
    round: u32,
    slot: OwnedSemaphorePermit,
) -> Handled {
    match Lease::take_in_round(&platform.db, task.clone(), round, &platform.instance).await {
        Ok(Take::Taken(lease)) => {
            if failpoint::pass(&failpoint::WORKER_LEASE_TAKEN).await.is_err() {
                return Handled::Retry { after: LEASE_RENEWAL };
            }
            let span = tracing::info_span!(parent: None, "work", run = %task.run, %task, epoch = lease.epoch);
            span.follows_from(tracing::Span::current());
            let work = Work {
                tenant,
                lease,
                stop: platform.shutdown.child_token(),
            };
            let attended = async move {
                attend(&platform, std::time::Instant::now(), stage, work).await;
                drop(slot);
            };
            tokio::spawn(attended.instrument(span));
        }
        Ok(Take::Held) => {}
        Ok(Take::Finished { with_errors, round }) => {
            // The coordinator does not know yet: say it again.
            if let Some(fact) = done(&task, with_errors, round)
                && let Err(error) = platform.bus.publish_event(&event(&tenant, &task.run, fact)).await
            {
                tracing::warn!(%error, "could not repeat that a task is done");
            }
        }
        Err(error) => {
            tracing::warn!(%error, "a lease could not be taken; the invitation will come again");
            return Handled::Retry { after: LEASE_RENEWAL };
        }
    }
    Handled::Done
}

fn read(invitation: &Invitation) -> Option<(TenantId, TaskId)> {
    let tenant = TenantId::new(invitation.tenant.as_str()).ok()?;
    let run = RunId::new(invitation.run.as_str()).ok()?;
    let object = if invitation.object.is_empty() {
        None
    } else {
        Some(ObjectName::new(invitation.object.as_str()).ok()?)
    };
    Some((
        tenant,
        TaskId {
            run,
            object,
            step: invitation.step.clone(),
        },
    ))
}

fn done(task: &TaskId, with_errors: bool, round: u32) -> Option<Fact> {
    let object = task.object.as_ref()?.to_string();
    Some(Fact::StepDone(StepDone {
        object,
        step: task.step.clone(),
        with_errors,
        round,
    }))
}

/// Works under the lease, keeps it, and reports how it ended.
async fn attend(platform: &Platform, began: std::time::Instant, stage: Arc<dyn Stage>, work: Work) {
    // A task of its own: work that computes for long without waiting must not cost the lease.
    let keeper = AbortOnDropHandle::new(tokio::spawn(keep(platform.clone(), work.clone()).in_current_span()));
    // It stands in this thread's own queue, where nobody could fetch it once the work computes: let it start first.
    tokio::task::yield_now().await;
    let result = tokio::select! {
        // The message of a panic may hold anything; where it happened has been logged (`panics`).
        result = AssertUnwindSafe(stage.work(&work)).catch_unwind() => result.unwrap_or_else(|_| {
            Err(StageError::new(ErrorCode::Internal, "the worker panicked"))
        }),
        lost = keeper => Err(match lost {
            Ok(lost) => lost.into(),
            Err(_) => StageError::new(ErrorCode::Internal, "the lease is no longer kept"),
        }),
    };
    work.stop.cancel();
    let result = match failpoint::pass(&failpoint::WORKER_WORK_DONE).await {
        Ok(()) => result,
        Err(error) => Err(error.into()),
    };
    let finished = matches!(result, Ok(Outcome::Done { .. }));
    if finished {
        let seconds = began.elapsed().as_secs_f64();
        metrics::record(metrics::STEP_DURATION, seconds, &[("step", work.lease.task.step.as_str())]);
    }
    match conclude(platform, stage.as_ref(), &work, result).await {
        // What fails while finishing has failed like the work itself, and is counted like it.
        Err(error) if finished && !matches!(error, StageError::Lease(_)) => {
            if let Err(error) = conclude(platform, stage.as_ref(), &work, Err(error)).await {
                tracing::warn!(%error, "a task could not be concluded; it will be invited again");
            }
        }
        Err(error) => tracing::warn!(%error, "a task could not be concluded; it will be invited again"),
        Ok(()) => {}
    }
}

/// Sees to leases that have run out, until it is dropped.
async fn lose_no_time(platform: Platform, stage: Arc<dyn Stage>) {
    // Beside the slots, which wait for invitations even when nobody works.
    let spare = Arc::new(Semaphore::new(1));
    loop {
        tokio::time::sleep(RECLAIM_EVERY).await;
        match reclaim(&platform).await {
            Ok(unfinished) => {
                for task in unfinished {
                    // Who is busy leaves it to the invitation that comes anyhow.
                    if let Ok(slot) = Arc::clone(&spare).try_acquire_owned() {
                        begin(platform.clone(), Arc::clone(&stage), platform.config.tenant.clone(), task, 0, slot).await;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "leases that have run out could not be looked for; trying again"),
        }
    }
}

/// Says of lost work on objects that it has to be invited again, because whether it goes on is the coordinator's to decide.
/// Answers lost work on runs themselves, which leaves nothing behind that a stopped run would have to be cleaned of.
async fn reclaim(platform: &Platform) -> Result<Vec<TaskId>, sqlx::Error> {
    let mut unfinished = Vec::new();
    let mut tx = platform.db.begin().await?;
    for task in lease::reclaim(&mut tx).await? {
        tracing::warn!(%task, "whoever worked on a task is gone");
        let Some(object) = &task.object else {
            unfinished.push(task);
            continue;
        };
        let yielded = StepYielded {
            object: object.to_string(),
            step: task.step.clone(),
            reason: "whoever worked on it is gone".to_owned(),
            wait_ms: 0,
        };
        let fact = Fact::StepYielded(yielded);
        outbox::event(&mut tx, &event(&platform.config.tenant, &task.run, fact)).await?;
    }
    tx.commit().await?;
    Ok(unfinished)
}

/// Renews the lease and asks for the run's intent until the lease is lost.
async fn keep(platform: Platform, work: Work) -> LeaseError {
    let mut coordinator = RunControlServiceClient::new(with_trace(platform.peers.coordinator.clone()));
    let every = platform.config.lease_renewal;
    loop {
        tokio::time::sleep(every).await;
        match work.lease.renew(&platform.db).await {
            Ok(()) => {}
            Err(lost @ LeaseError::Lost { .. }) => return lost,
            Err(LeaseError::Database(error)) => tracing::warn!(%error, "a lease could not be renewed; trying again"),
        }
        // No answer means nothing: the work goes on. And it must come in time for the next renewal.
        let asked = coordinator.get_intent(GetIntentRequest {
            run: work.run().to_string(),
        });
        if let Ok(Ok(answer)) = tokio::time::timeout(every, asked).await
            && answer.into_inner().intent() == Intent::Stop
            && work.lease.task.step != "settle"
        {
            work.stop.cancel();
        }
    }
}

/// Code first, so that whoever explains it finds its remedy.
fn reason(error: &StageError) -> String {
    let (code, text) = (error.code().as_str(), error.to_string());
    if text.starts_with(code) { text } else { format!("{code}: {text}") }
}

fn yielded(object: String, step: String, reason: String, wait: Duration) -> Fact {
    Fact::StepYielded(StepYielded {
        object,
        step,
        reason,
        wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
    })
}

async fn conclude(platform: &Platform, stage: &dyn Stage, work: &Work, result: Result<Outcome, StageError>) -> Result<(), StageError> {
    let task = &work.lease.task;
    let object = task.object.as_ref().map(ToString::to_string).unwrap_or_default();
    let step = task.step.clone();
    let mut tx = platform.db.begin().await?;
    match result {
        Ok(Outcome::Done { with_errors }) => {
            work.lease.finish(&mut tx, with_errors).await?;
            stage.finishing(work, &mut tx).await?;
            if let Some(fact) = done(task, with_errors, work.lease.round) {
                outbox::event(&mut tx, &work.event(fact)).await?;
            }
        }
        Ok(Outcome::Yielded { reason }) => {
            work.lease.release(&mut *tx, false).await?;
            outbox::event(&mut tx, &work.event(yielded(object, step, reason, Duration::ZERO))).await?;
        }
        // Nothing was sent, so nothing has failed: it waits, like a task without room.
        Err(error) if error.code() == ErrorCode::HeldBack => {
            work.lease.release(&mut *tx, false).await?;
            tracing::info!(%error, "a connection is held back; the task is given back");
            let reason = reason(&error);
            outbox::event(&mut tx, &work.event(yielded(object, step, reason, error.wait()))).await?;
        }
        Ok(Outcome::Stopped) => {
            work.lease.release(&mut *tx, false).await?;
        }
        Err(StageError::Lease(error)) => {
            metrics::count(metrics::LEASES_LOST, 1, &[("stage", platform.config.service)]);
            tracing::warn!(%error, "stopped: somebody else has the task");
            return Ok(());
        }
        Err(error) => {
            let code = error.code();
            let failures = work.lease.release(&mut *tx, true).await?;
            if code.entry().can_retry && !(code == ErrorCode::Internal && failures >= FAILURES_MAX) {
                metrics::count(metrics::RETRIES, 1, &[("stage", platform.config.service), ("code", code.as_str())]);
                tracing::warn!(%code, %error, failures, "a task failed and will be tried again");
                let reason = reason(&error);
                outbox::event(&mut tx, &work.event(yielded(object, step, reason, error.wait()))).await?;
            } else {
                tracing::error!(%code, %error, "a task failed; the run stops");
                let fact = StepFailed {
                    object,
                    step,
                    code: code.to_string(),
                    message: error.to_string(),
                };
                outbox::event(&mut tx, &work.event(Fact::StepFailed(fact))).await?;
            }
        }
    }
    tx.commit().await?;
    failpoint::pass(&failpoint::WORKER_TASK_FINISHED).await?;
    Ok(())
}
