//! The state machine of a run: `next(state, event) -> (state, effects)`.
//!
//! Everything the coordinator decides is decided here, without IO, from the state and one event. The shell applies an
//! event in one transaction: compare-and-swap of the state, effects into the outbox. Hence:
//!
//! - an event that is already applied is a named case ([`Applied::Already`]) and changes nothing;
//! - an event that the state does not admit is an error and changes nothing;
//! - lost messages only delay: [`Event::Tick`] invites again whatever is ready and unfinished;
//! - a run that ended stays as it ended, but for one way back: [`Event::Reopened`] takes a run that is
//!   `completed_with_errors` to `running`, in a round of its own. Its status is again the earliest unfinished stage; what
//!   is not reopened stays done, with the errors that it had; reports of an earlier round are ignored; nothing is ever
//!   cleared again. It ends `completed` if the reopened steps were all that had errors, and these now have none.
//!
//! Only loading is gated, per object, by its parents; extraction and transformation never wait for another object.

pub mod explain;
mod state;
mod step;

#[cfg(test)]
mod tests;

use thiserror::Error;

pub use state::{Failure, Life, ObjectOutline, ObjectState, Outline, RunState, Status, StepProgress};
pub use step::Step;

use crate::ObjectName;
use crate::catalogue::ErrorCode;

/// Tasks of one run that may be out per stage at once; more only queue up before the same workers.
pub const TASKS_PER_STAGE_MAX: usize = 4;
/// An invitation is repeated after this long at first …
pub const REINVITE_MS_MIN: u64 = 1_000;
/// … and doubles up to this.
pub const REINVITE_MS_MAX: u64 = 30_000;

/// What a worker has to wait for may end sooner than it knew, so it is invited again after this long at most.
pub const WAIT_MS_MAX: u64 = 60_000;

/// While a run stops, the loader is asked this often to learn what became of open claims.
pub const SETTLE_MS: u64 = 2_000;

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The analyzer built a plan. `fatal` names the first fatal issue, if there is one.
    PlanBuilt {
        outline: Outline,
        fatal: Option<Failure>,
    },
    Approved,
    /// A step of an object is finished. `with_errors`: records were refused, parked, given up, or differ.
    StepDone {
        object: ObjectName,
        step: Step,
        with_errors: bool,
        /// The round in which it was done; one of an earlier round says nothing of this one.
        round: u32,
    },
    /// A worker gave its lease back because it had to wait; invite again soon.
    StepYielded {
        object: ObjectName,
        step: Step,
        /// What it waited for.
        reason: String,
        /// Inviting again within this long is in vain.
        wait_ms: u64,
    },
    /// Batches of an object are gone from the bus: it is read and transformed once more.
    BatchesLost {
        object: ObjectName,
    },
    /// Something that no retry can save; stops the run.
    StepFailed {
        object: Option<ObjectName>,
        failure: Failure,
    },
    /// What a run that ended with errors left undone shall be done after all: records that were refused or parked, or
    /// batches that were given up. Names each object with the first step that is done again.
    Reopened {
        objects: Vec<(ObjectName, Step)>,
    },
    PauseRequested,
    ResumeRequested,
    CancelRequested,
    /// Every lease has expired and every claim is settled.
    Quiesced,
    /// Time passes; `now_ms` is the coordinator's clock, which only spaces out invitations.
    Tick {
        now_ms: u64,
    },
}

/// Something to do, written to the outbox in the same transaction as the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    InviteAnalyzer,
    Invite {
        object: ObjectName,
        step: Step,
    },
    /// Learn from the target what became of every open claim of this run (while stopping).
    InviteSettle,
    /// The public status changed.
    Announce(Status),
    /// Remove what the run left on the bus.
    PurgeBus,
}

/// What an event did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// The state to store and what to do.
    Changed(Box<RunState>, Vec<Effect>),
    /// The event had been applied before, or came too late to matter.
    Already,
}

/// The state does not admit the event.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a run that is {status} does not admit {event}")]
pub struct Illegal {
    pub status: Status,
    pub event: &'static str,
}

/// Applies one event.
///
/// # Errors
/// [`Illegal`] when the event contradicts the state; the state is unchanged.
pub fn next(state: &RunState, event: &Event) -> Result<Applied, Illegal> {
    let before = state.status();
    let mut new = state.clone();
    let mut effects = Vec::new();
    let changed = match event {
        Event::PlanBuilt { outline, fatal } => new.plan_built(outline, fatal.as_ref())?,
        Event::Approved => new.approved()?,
        Event::StepDone {
            object,
            step,
            with_errors,
            round,
        } => new.step_done(object, *step, *with_errors, *round)?,
        Event::StepYielded {
            object,
            step,
            reason,
            wait_ms,
        } => new.step_yielded(object, *step, reason, *wait_ms),
        Event::BatchesLost { object } => new.batches_lost(object)?,
        Event::StepFailed { failure, .. } => new.step_failed(failure)?,
        Event::Reopened { objects } => new.reopen(objects)?,
        Event::PauseRequested => new.pause()?,
        Event::ResumeRequested => new.resume()?,
        Event::CancelRequested => new.cancel()?,
        Event::Quiesced => new.quiesced(&mut effects)?,
        Event::Tick { now_ms } => new.tick(*now_ms, &mut effects),
    };
    if !changed {
        return Ok(Applied::Already);
    }
    new.version += 1;
    if new.status() != before {
        if new.life.is_terminal() && !effects.contains(&Effect::PurgeBus) {
            effects.push(Effect::PurgeBus);
        }
        effects.push(Effect::Announce(new.status()));
    }
    Ok(Applied::Changed(Box::new(new), effects))
}

impl Event {
    /// The event's name for messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PlanBuilt { .. } => "plan_built",
            Self::Approved => "approved",
            Self::StepDone { .. } => "step_done",
            Self::StepYielded { .. } => "step_yielded",
            Self::BatchesLost { .. } => "batches_lost",
            Self::StepFailed { .. } => "step_failed",
            Self::Reopened { .. } => "reopened",
            Self::PauseRequested => "pause_requested",
            Self::ResumeRequested => "resume_requested",
            Self::CancelRequested => "cancel_requested",
            Self::Quiesced => "quiesced",
            Self::Tick { .. } => "tick",
        }
    }
}

impl Failure {
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}
