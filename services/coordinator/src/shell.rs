//! Applies one event to one run in one transaction: state by compare-and-swap, effects into the outbox.

use std::time::Duration;

use chrono::Utc;
use sqlx::PgConnection;
use syncline_bus::{Handled, subjects, trace};
use syncline_domain::run::{Applied, Effect, Event, Failure, Illegal, Outline, RunState, Step, next};
use syncline_domain::{ErrorCode, ObjectName, RunId, TenantId};
use syncline_runtime::{Platform, failpoint, outbox, worker};
use syncline_wire::event::run_event::Fact;
use syncline_wire::event::{RunEvent, StatusChanged};
use syncline_wire::stage::Invitation;
use thiserror::Error;
use tracing::{Instrument as _, Span};

use crate::store::{self, RunRow};

/// Pause before an event is delivered again that could not be applied.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, Error)]
pub enum ApplyError {
    #[error("there is no run `{0}`")]
    Unknown(String),
    #[error(transparent)]
    Illegal(#[from] Illegal),
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the stored names of the run are not valid")]
    Names,
}

/// Applies an event, then lets time pass once, so that what became ready is invited at once.
///
/// # Errors
/// [`ApplyError::Illegal`] when the state machine refuses the event; nothing is changed then.
pub async fn apply(platform: &Platform, run: &str, event: &Event) -> Result<RunRow, ApplyError> {
    let mut tx = platform.db.begin().await?;
    let row = store::run_lock(&mut tx, run)
        .await?
        .ok_or_else(|| ApplyError::Unknown(run.to_owned()))?;
    let before = row.state.version;
    let row = apply_locked(&mut tx, row, event).await?;
    let changed = row.state.version != before;
    if changed {
        failpoint::pass(&failpoint::COORDINATOR_EVENT_DECIDED).await?;
    }
    tx.commit().await?;
    if changed {
        failpoint::pass(&failpoint::COORDINATOR_EVENT_APPLIED).await?;
    }
    Ok(row)
}

/// As [`apply`], to a run that is locked in a transaction of the caller's.
///
/// # Errors
/// As [`apply`]; roll back then.
pub async fn apply_locked(tx: &mut PgConnection, mut row: RunRow, event: &Event) -> Result<RunRow, ApplyError> {
    let tick = Event::Tick {
        now_ms: u64::try_from(Utc::now().timestamp_millis()).unwrap_or(0),
    };
    let events = if matches!(event, Event::Tick { .. }) {
        vec![event]
    } else {
        vec![event, &tick]
    };
    for event in events {
        if let Applied::Changed(state, effects) = next(&row.state, event)? {
            if !store::run_swap(&mut *tx, &row.id, row.state.version, &state).await? {
                // The row is locked, so only a bug can get here; rolling back loses nothing.
                return Err(ApplyError::Database(sqlx::Error::RowNotFound));
            }
            row.state = *state;
            if !row.state.life.is_terminal() {
                row.finished_at = None;
                row.purged = false;
            }
            let span = control_span(&row, event);
            for effect in effects {
                emit(&mut *tx, &row, effect).instrument(span.clone()).await?;
            }
        }
    }
    Ok(row)
}

/// A step of the run's control flow, which is one trace from submit on; linked to whatever brought the event.
fn control_span(row: &RunRow, event: &Event) -> Span {
    let span = tracing::info_span!("control", run = %row.id, event = event.name(), status = %row.state.status());
    trace::go_on(&span, row.trace.as_deref());
    span.follows_from(Span::current());
    span
}

async fn emit(tx: &mut PgConnection, row: &RunRow, effect: Effect) -> Result<(), ApplyError> {
    let tenant = TenantId::new(row.tenant.as_str()).map_err(|_| ApplyError::Names)?;
    let run = RunId::new(row.id.as_str()).map_err(|_| ApplyError::Names)?;
    let invitation = |object: &str, step: &str| Invitation {
        tenant: row.tenant.clone(),
        run: row.id.clone(),
        run_version: row.state.version,
        object: object.to_owned(),
        step: step.to_owned(),
        round: row.state.round,
    };
    match effect {
        Effect::InviteAnalyzer => outbox::invitation(tx, &subjects::task("analyzer", &tenant, &run), &invitation("", "analyze")).await?,
        Effect::Invite { object, step } => {
            outbox::invitation(
                tx,
                &subjects::task(step.stage(), &tenant, &run),
                &invitation(object.as_str(), step.as_str()),
            )
            .await?;
        }
        Effect::InviteSettle => outbox::invitation(tx, &subjects::task("loader", &tenant, &run), &invitation("", "settle")).await?,
        Effect::Announce(_) => outbox::event(tx, &worker::event(&tenant, &run, Fact::StatusChanged(announcement(row)))).await?,
        // The reconciler purges every finished run until it has succeeded.
        Effect::PurgeBus => {}
    }
    Ok(())
}

fn announcement(row: &RunRow) -> StatusChanged {
    let failure = row.state.failure();
    StatusChanged {
        status: row.state.status().to_string(),
        version: row.state.version,
        sync: row.sync.clone(),
        sync_version: u32::try_from(row.sync_version).unwrap_or(0),
        failure_code: failure.map(|f| f.code.to_string()).unwrap_or_default(),
        failure_message: failure.map(|f| f.message.clone()).unwrap_or_default(),
    }
}

/// The first announcement of a run.
pub async fn announce(
    tx: &mut PgConnection,
    tenant: &TenantId,
    run: &RunId,
    sync: &store::SyncRow,
    state: &RunState,
) -> Result<(), sqlx::Error> {
    let fact = StatusChanged {
        status: state.status().to_string(),
        version: state.version,
        sync: sync.name.clone(),
        sync_version: u32::try_from(sync.version).unwrap_or(0),
        failure_code: String::new(),
        failure_message: String::new(),
    };
    outbox::event(tx, &worker::event(tenant, run, Fact::StatusChanged(fact))).await
}

/// Handles a fact from the bus.
pub async fn handle(platform: Platform, event: RunEvent) -> Handled {
    let Some(change) = event.fact.and_then(read) else {
        return Handled::Done;
    };
    match apply(&platform, &event.run, &change).await {
        Ok(_) => Handled::Done,
        Err(ApplyError::Illegal(error)) => {
            tracing::warn!(run = %event.run, %error, "a fact came that does not fit the run; ignored");
            Handled::Done
        }
        Err(error @ (ApplyError::Unknown(_) | ApplyError::Names)) => {
            tracing::warn!(%error, "a fact about no run of ours; ignored");
            Handled::Done
        }
        Err(ApplyError::Database(error)) => {
            tracing::warn!(run = %event.run, %error, "a fact could not be applied; trying again");
            Handled::Retry { after: RETRY }
        }
    }
}

/// A fact as an event of the state machine; facts that change no state are none.
fn read(fact: Fact) -> Option<Event> {
    match fact {
        Fact::PlanBuilt(plan) => {
            let outline = serde_json::from_str::<Outline>(&plan.outline_json).ok()?;
            let fatal = (!plan.fatal_code.is_empty()).then(|| failure(&plan.fatal_code, plan.fatal_message));
            Some(Event::PlanBuilt { outline, fatal })
        }
        Fact::StepDone(done) => Some(Event::StepDone {
            object: ObjectName::new(done.object).ok()?,
            step: done.step.parse().ok()?,
            with_errors: done.with_errors,
            round: done.round,
        }),
        Fact::StepYielded(yielded) => Some(Event::StepYielded {
            object: ObjectName::new(yielded.object).ok()?,
            step: yielded.step.parse::<Step>().ok()?,
            reason: yielded.reason,
            wait_ms: yielded.wait_ms,
        }),
        Fact::StepFailed(failed) => {
            let failure = failure(
                &failed.code,
                format!("{} {}: {}", failed.object, failed.step, failed.message).trim().to_owned(),
            );
            Some(Event::StepFailed {
                object: ObjectName::new(failed.object).ok(),
                failure,
            })
        }
        Fact::StatusChanged(_)
        | Fact::StageTotals(_)
        | Fact::LoadTotals(_)
        | Fact::Refused(_)
        | Fact::MaskTotals(_)
        | Fact::VerifyTotals(_)
        | Fact::LetterReplayed(_)
        | Fact::ResourceUse(_) => None,
    }
}

fn failure(code: &str, message: String) -> Failure {
    Failure {
        code: code.parse().unwrap_or(ErrorCode::Internal),
        message,
    }
}
