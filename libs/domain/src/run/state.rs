//! The state of a run and how each event changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::step::Step;
use super::{Effect, Illegal, REINVITE_MS_MAX, REINVITE_MS_MIN, SETTLE_MS, TASKS_PER_STAGE_MAX, WAIT_MS_MAX};
use crate::catalogue::ErrorCode;
use crate::{ObjectName, catalogue};

/// A reason to wait is cut to this length.
const REASON_CHARS_MAX: usize = 300;

/// The public name of where a run stands: the earliest unfinished stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Pending,
    Compatibility,
    AwaitingApproval,
    Extracting,
    Transforming,
    Loading,
    Verifying,
    Completed,
    CompletedWithErrors,
    Failed,
    Cancelling,
    Cancelled,
    Pausing,
    Paused,
}

impl Status {
    pub const ALL: [Self; 14] = [
        Self::Pending,
        Self::Compatibility,
        Self::AwaitingApproval,
        Self::Extracting,
        Self::Transforming,
        Self::Loading,
        Self::Verifying,
        Self::Completed,
        Self::CompletedWithErrors,
        Self::Failed,
        Self::Cancelling,
        Self::Cancelled,
        Self::Pausing,
        Self::Paused,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Compatibility => "compatibility",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Extracting => "extracting",
            Self::Transforming => "transforming",
            Self::Loading => "loading",
            Self::Verifying => "verifying",
            Self::Completed => "completed",
            Self::CompletedWithErrors => "completed_with_errors",
            Self::Failed => "failed",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
        }
    }

    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::CompletedWithErrors | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Status {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a status"))
    }
}

/// Why a run stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: catalogue::ErrorCode,
    pub message: String,
}

/// The phase of a run's life; what happens within `Running` stands in the objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "life", rename_all = "snake_case")]
pub enum Life {
    Pending,
    /// An analyzer was invited at `invited_ms`, `attempts` times.
    Compatibility {
        invited_ms: u64,
        attempts: u32,
    },
    AwaitingApproval,
    Running,
    Pausing,
    Paused,
    /// Stopping because of a failure; ends as `Failed` once everything is quiet.
    Failing {
        failure: Failure,
    },
    Cancelling,
    Completed,
    CompletedWithErrors,
    Failed {
        failure: Failure,
    },
    Cancelled,
}

impl Life {
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::Completed | Self::CompletedWithErrors | Self::Failed { .. } | Self::Cancelled
        )
    }

    /// Workers of this run shall give their leases back.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        matches!(self, Self::Pausing | Self::Paused | Self::Failing { .. } | Self::Cancelling) || self.is_terminal()
    }
}

/// What the state machine needs to know of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    pub objects: Vec<ObjectOutline>,
    /// A person has to approve the plan.
    pub review: bool,
}

/// One object of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectOutline {
    pub name: ObjectName,
    pub parents: Vec<ObjectName>,
    pub deferred_parents: Vec<ObjectName>,
    pub has_deferred: bool,
    pub clear: bool,
    pub orphans: bool,
}

/// How far a step has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum StepProgress {
    Open,
    /// Invited `attempts` times, last at `at_ms`; `yielded` when the worker gave the lease back.
    Invited {
        at_ms: u64,
        attempts: u32,
        yielded: bool,
        /// When it was invited first; 0 in states of earlier releases.
        #[serde(default)]
        since_ms: u64,
        /// What it last gave the lease back for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// What it waits for takes at least this long, counted from the invitation.
        #[serde(default, skip_serializing_if = "is_zero")]
        wait_ms: u64,
    },
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectState {
    pub name: ObjectName,
    pub parents: Vec<ObjectName>,
    pub deferred_parents: Vec<ObjectName>,
    pub steps: BTreeMap<Step, StepProgress>,
    /// Steps that are done and had errors.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub errors: BTreeSet<Step>,
}

impl ObjectState {
    #[must_use]
    pub fn done(&self, step: Step) -> bool {
        self.steps.get(&step).is_none_or(|p| *p == StepProgress::Done)
    }

    #[must_use]
    pub fn finished(&self) -> bool {
        self.steps.values().all(|p| *p == StepProgress::Done)
    }

    /// The object's own phase: its earliest unfinished step.
    #[must_use]
    pub fn phase(&self) -> Option<Step> {
        self.steps.iter().find(|(_, p)| **p != StepProgress::Done).map(|(s, _)| *s)
    }
}

/// The whole state; stored as JSON under compare-and-swap of `version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// Rises with every change; every message about the run carries it.
    pub version: u64,
    pub life: Life,
    pub objects: Vec<ObjectState>,
    /// Some step had errors.
    pub with_errors: bool,
    /// Which ones is known of all of them; not so in states that an earlier release began.
    #[serde(default)]
    pub errors_by_step: bool,
    /// How often the run was reopened.
    #[serde(default)]
    pub round: u32,
    /// While it stops: when the loader was last asked to settle.
    #[serde(default)]
    pub settle_ms: u64,
}

impl Default for RunState {
    fn default() -> Self {
        Self::new()
    }
}

impl RunState {
    #[must_use]
    pub fn new() -> Self {
        Self {
            version: 0,
            life: Life::Pending,
            objects: Vec::new(),
            with_errors: false,
            errors_by_step: true,
            round: 0,
            settle_ms: 0,
        }
    }

    #[must_use]
    pub fn status(&self) -> Status {
        match &self.life {
            Life::Pending => Status::Pending,
            Life::Compatibility { .. } => Status::Compatibility,
            Life::AwaitingApproval => Status::AwaitingApproval,
            Life::Running | Life::Failing { .. } => self
                .objects
                .iter()
                .filter_map(ObjectState::phase)
                .min()
                .map_or(Status::Verifying, Step::status),
            Life::Pausing => Status::Pausing,
            Life::Paused => Status::Paused,
            Life::Cancelling => Status::Cancelling,
            Life::Completed => Status::Completed,
            Life::CompletedWithErrors => Status::CompletedWithErrors,
            Life::Failed { .. } => Status::Failed,
            Life::Cancelled => Status::Cancelled,
        }
    }

    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match &self.life {
            Life::Failing { failure } | Life::Failed { failure } => Some(failure),
            _ => None,
        }
    }

    fn illegal(&self, event: &'static str) -> Illegal {
        Illegal {
            status: self.status(),
            event,
        }
    }

    pub(super) fn plan_built(&mut self, outline: &Outline, fatal: Option<&Failure>) -> Result<bool, Illegal> {
        match self.life {
            Life::Pending | Life::Compatibility { .. } => {}
            // A second analyzer's answer, or one that comes after a cancel.
            _ => return Ok(false),
        }
        if let Some(failure) = fatal {
            self.life = Life::Failed { failure: failure.clone() };
            return Ok(true);
        }
        self.objects = outline.objects.iter().map(object_state).collect();
        self.life = if outline.review { Life::AwaitingApproval } else { Life::Running };
        Ok(true)
    }

    pub(super) fn approved(&mut self) -> Result<bool, Illegal> {
        match self.life {
            Life::AwaitingApproval => {
                self.life = Life::Running;
                Ok(true)
            }
            Life::Running => Ok(false),
            _ => Err(self.illegal("approved")),
        }
    }

    pub(super) fn step_done(&mut self, object: &ObjectName, step: Step, with_errors: bool, round: u32) -> Result<bool, Illegal> {
        match self.life {
            _ if round < self.round => return Ok(false),
            Life::Running | Life::Pausing | Life::Paused | Life::Failing { .. } | Life::Cancelling => {}
            Life::Completed | Life::CompletedWithErrors | Life::Failed { .. } | Life::Cancelled => return Ok(false),
            Life::Pending | Life::Compatibility { .. } | Life::AwaitingApproval => return Err(self.illegal("step_done")),
        }
        let object = self.objects.iter_mut().find(|o| o.name == *object);
        let Some(object) = object.filter(|o| o.steps.contains_key(&step)) else {
            return Err(self.illegal("step_done of an object or step that is not in the plan"));
        };
        if object.steps.insert(step, StepProgress::Done) == Some(StepProgress::Done) {
            return Ok(false);
        }
        if with_errors {
            object.errors.insert(step);
            self.with_errors = true;
        }
        if matches!(self.life, Life::Running) && self.objects.iter().all(ObjectState::finished) {
            self.life = self.completed();
        }
        Ok(true)
    }

    fn completed(&self) -> Life {
        if self.with_errors {
            Life::CompletedWithErrors
        } else {
            Life::Completed
        }
    }

    pub(super) fn reopen(&mut self, objects: &[(ObjectName, Step)]) -> Result<bool, Illegal> {
        let mut steps = Vec::new();
        for (name, from) in objects {
            let place = self.objects.iter().position(|o| o.name == *name);
            let Some(place) = place.filter(|_| from.can_be_reopened()) else {
                return Err(self.illegal("reopened for an object or from a step that cannot be done again"));
            };
            let again = |step: &Step| *step >= *from && step.can_be_reopened();
            let found = self.objects.get(place).into_iter().flat_map(|o| o.steps.keys());
            steps.extend(found.filter(|s| again(s)).map(|step| (place, *step)));
        }
        let unfinished = |(place, step): &(usize, Step)| self.objects.get(*place).is_some_and(|o| !o.done(*step));
        match self.life {
            Life::CompletedWithErrors if !steps.is_empty() => {}
            // Asked twice.
            Life::Running if steps.iter().all(unfinished) => return Ok(false),
            _ => return Err(self.illegal("reopened")),
        }
        for (place, step) in steps {
            let Some(object) = self.objects.get_mut(place) else { continue };
            object.steps.insert(step, StepProgress::Open);
            object.errors.remove(&step);
        }
        if self.errors_by_step {
            self.with_errors = self.objects.iter().any(|o| !o.errors.is_empty());
        }
        self.round += 1;
        self.life = Life::Running;
        Ok(true)
    }

    pub(super) fn step_yielded(&mut self, object: &ObjectName, step: Step, why: &str, wait: u64) -> bool {
        let progress = self
            .objects
            .iter_mut()
            .find(|o| o.name == *object)
            .and_then(|o| o.steps.get_mut(&step));
        match progress {
            Some(StepProgress::Invited {
                attempts,
                yielded,
                reason,
                wait_ms,
                ..
            }) if !*yielded => {
                *yielded = true;
                *attempts = 0;
                *wait_ms = wait.min(WAIT_MS_MAX);
                *reason = Some(why.chars().take(REASON_CHARS_MAX).collect());
                true
            }
            _ => false,
        }
    }

    pub(super) fn batches_lost(&mut self, object: &ObjectName) -> Result<bool, Illegal> {
        match self.life {
            Life::Running | Life::Pausing | Life::Paused => {}
            // Nobody will load them any more.
            Life::Failing { .. }
            | Life::Cancelling
            | Life::Completed
            | Life::CompletedWithErrors
            | Life::Failed { .. }
            | Life::Cancelled => return Ok(false),
            Life::Pending | Life::Compatibility { .. } | Life::AwaitingApproval => return Err(self.illegal("batches_lost")),
        }
        let Some(object) = self.objects.iter_mut().find(|o| o.name == *object) else {
            return Err(self.illegal("batches_lost of an object that is not in the plan"));
        };
        let again = object
            .steps
            .iter_mut()
            .filter(|(step, _)| matches!(step, Step::Extract | Step::Transform));
        let mut changed = false;
        for (_, progress) in again.filter(|(_, progress)| **progress == StepProgress::Done) {
            *progress = StepProgress::Open;
            changed = true;
        }
        Ok(changed)
    }

    pub(super) fn step_failed(&mut self, failure: &Failure) -> Result<bool, Illegal> {
        match self.life {
            Life::Running | Life::Pausing | Life::Paused => {
                self.life = Life::Failing { failure: failure.clone() };
                Ok(true)
            }
            Life::Pending | Life::Compatibility { .. } | Life::AwaitingApproval => {
                self.life = Life::Failed { failure: failure.clone() };
                Ok(true)
            }
            Life::Failing { .. }
            | Life::Cancelling
            | Life::Completed
            | Life::CompletedWithErrors
            | Life::Failed { .. }
            | Life::Cancelled => Ok(false),
        }
    }

    pub(super) fn pause(&mut self) -> Result<bool, Illegal> {
        match self.life {
            Life::Running => {
                self.life = Life::Pausing;
                Ok(true)
            }
            Life::Pausing | Life::Paused => Ok(false),
            _ => Err(self.illegal("pause_requested")),
        }
    }

    pub(super) fn resume(&mut self) -> Result<bool, Illegal> {
        match self.life {
            Life::Paused | Life::Pausing => {
                self.life = if self.objects.iter().all(ObjectState::finished) {
                    self.completed()
                } else {
                    Life::Running
                };
                for progress in self.objects.iter_mut().flat_map(|o| o.steps.values_mut()) {
                    if matches!(progress, StepProgress::Invited { .. }) {
                        *progress = StepProgress::Open;
                    }
                }
                Ok(true)
            }
            Life::Running => Ok(false),
            _ => Err(self.illegal("resume_requested")),
        }
    }

    pub(super) fn cancel(&mut self) -> Result<bool, Illegal> {
        match self.life {
            Life::Pending | Life::AwaitingApproval => {
                self.life = Life::Cancelled;
                Ok(true)
            }
            Life::Compatibility { .. } | Life::Running | Life::Pausing | Life::Paused | Life::Failing { .. } => {
                self.life = Life::Cancelling;
                Ok(true)
            }
            Life::Cancelling | Life::Cancelled => Ok(false),
            Life::Completed | Life::CompletedWithErrors | Life::Failed { .. } => Err(self.illegal("cancel_requested")),
        }
    }

    pub(super) fn quiesced(&mut self, effects: &mut Vec<Effect>) -> Result<bool, Illegal> {
        match &self.life {
            Life::Pausing => self.life = Life::Paused,
            Life::Cancelling => {
                self.life = Life::Cancelled;
                effects.push(Effect::PurgeBus);
            }
            Life::Failing { failure } => {
                self.life = Life::Failed { failure: failure.clone() };
                effects.push(Effect::PurgeBus);
            }
            Life::Paused | Life::Failed { .. } | Life::Cancelled => return Ok(false),
            _ => return Err(self.illegal("quiesced")),
        }
        Ok(true)
    }

    pub(super) fn tick(&mut self, now_ms: u64, effects: &mut Vec<Effect>) -> bool {
        match &mut self.life {
            Life::Pending => {
                self.life = Life::Compatibility {
                    invited_ms: now_ms,
                    attempts: 1,
                };
                effects.push(Effect::InviteAnalyzer);
                true
            }
            Life::Compatibility { invited_ms, attempts } => {
                if !due(now_ms, *invited_ms, *attempts, 0) {
                    return false;
                }
                *invited_ms = now_ms;
                *attempts += 1;
                effects.push(Effect::InviteAnalyzer);
                true
            }
            Life::Running => self.invite_ready(now_ms, effects),
            Life::Failing { .. } | Life::Cancelling | Life::Pausing => {
                let due = now_ms >= self.settle_ms.saturating_add(SETTLE_MS);
                if due {
                    self.settle_ms = now_ms;
                    effects.push(Effect::InviteSettle);
                }
                due
            }
            _ => false,
        }
    }

    fn invite_ready(&mut self, now_ms: u64, effects: &mut Vec<Effect>) -> bool {
        let mut changed = false;
        for stage in ["extractor", "masker", "loader"] {
            let mut out = self.count_out(stage, now_ms);
            for (index, step) in self.candidates(stage, now_ms) {
                if out >= TASKS_PER_STAGE_MAX {
                    break;
                }
                let Some(object) = self.objects.get_mut(index) else { continue };
                let (attempts, since_ms, reason) = match object.steps.remove(&step) {
                    Some(StepProgress::Invited {
                        attempts,
                        since_ms,
                        reason,
                        ..
                    }) => (attempts + 1, since_ms, reason),
                    _ => (1, now_ms, None),
                };
                object.steps.insert(
                    step,
                    StepProgress::Invited {
                        at_ms: now_ms,
                        attempts,
                        yielded: false,
                        since_ms,
                        reason,
                        wait_ms: 0,
                    },
                );
                effects.push(Effect::Invite {
                    object: object.name.clone(),
                    step,
                });
                out += 1;
                changed = true;
            }
        }
        changed
    }

    /// Tasks of a stage that are out and not yet due for another invitation.
    fn count_out(&self, stage: &str, now_ms: u64) -> usize {
        let steps = self.objects.iter().flat_map(|o| o.steps.iter());
        steps
            .filter(|(step, progress)| {
                step.stage() == stage
                    && matches!(progress, StepProgress::Invited { at_ms, attempts, yielded: false, wait_ms, .. } if !due(now_ms, *at_ms, *attempts, *wait_ms))
            })
            .count()
    }

    /// Steps that are ready, unfinished and due; those that were invited longest ago (or never) first, parents first.
    fn candidates(&self, stage: &str, now_ms: u64) -> Vec<(usize, Step)> {
        let mut found = Vec::new();
        for (index, object) in self.objects.iter().enumerate() {
            for (step, progress) in &object.steps {
                let last_ms = match progress {
                    StepProgress::Done => continue,
                    StepProgress::Open => 0,
                    StepProgress::Invited {
                        at_ms, attempts, wait_ms, ..
                    } if due(now_ms, *at_ms, *attempts, *wait_ms) => *at_ms,
                    StepProgress::Invited { .. } => continue,
                };
                if step.stage() == stage && self.ready(object, *step) {
                    found.push((last_ms, index, *step));
                }
            }
        }
        found.sort();
        found.into_iter().map(|(_, index, step)| (index, step)).collect()
    }

    fn ready(&self, object: &ObjectState, step: Step) -> bool {
        self.blockers(object, step).next().is_none()
    }

    /// Steps that have to be done before this one may begin.
    pub(super) fn blockers<'a>(&'a self, object: &'a ObjectState, step: Step) -> Box<dyn Iterator<Item = (&'a ObjectName, Step)> + 'a> {
        let everyone = |step: Step| self.objects.iter().filter(move |o| !o.done(step)).map(move |o| (&o.name, step));
        let among = |names: &'a [ObjectName], step: Step| everyone(step).filter(move |(name, _)| names.contains(name));
        let children = |step: Step| {
            let of_this = move |o: &&ObjectState| o.parents.contains(&object.name) && !o.done(step);
            self.objects.iter().filter(of_this).map(move |o| (&o.name, step))
        };
        let own = |step: Step| (!object.done(step)).then_some((&object.name, step)).into_iter();
        match step {
            Step::Extract | Step::Transform => Box::new(std::iter::empty()),
            Step::Clear => Box::new(children(Step::Clear)),
            Step::LoadPass1 => Box::new(everyone(Step::Clear).chain(among(&object.parents, Step::LoadPass1))),
            Step::LoadPass2 => Box::new(own(Step::LoadPass1).chain(among(&object.deferred_parents, Step::LoadPass1))),
            Step::Orphans => Box::new(
                everyone(Step::LoadPass1)
                    .chain(everyone(Step::LoadPass2))
                    .chain(children(Step::Orphans)),
            ),
            Step::LoadPass3 => Box::new(own(Step::LoadPass1).chain(own(Step::LoadPass2)).chain(own(Step::Orphans))),
            Step::Verify => Box::new(own(Step::LoadPass3)),
        }
    }
}

fn object_state(outline: &ObjectOutline) -> ObjectState {
    let wanted = |step: &Step| match step {
        Step::Clear => outline.clear,
        Step::LoadPass2 => outline.has_deferred,
        Step::Orphans => outline.orphans,
        Step::Extract | Step::Transform | Step::LoadPass1 | Step::LoadPass3 | Step::Verify => true,
    };
    ObjectState {
        name: outline.name.clone(),
        parents: outline.parents.clone(),
        deferred_parents: outline.deferred_parents.clone(),
        steps: Step::ALL.into_iter().filter(wanted).map(|s| (s, StepProgress::Open)).collect(),
        errors: BTreeSet::new(),
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Has the pause after the last invitation passed? 1 s, 2 s, 4 s … 30 s, or longer where waiting less is in vain.
fn due(now_ms: u64, invited_ms: u64, attempts: u32, wait_ms: u64) -> bool {
    let pause = REINVITE_MS_MIN
        .saturating_mul(1 << attempts.saturating_sub(1).min(10))
        .min(REINVITE_MS_MAX)
        .max(wait_ms);
    now_ms >= invited_ms.saturating_add(pause)
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        Self {
            code,
            message: code.entry().title.to_owned(),
        }
    }
}
