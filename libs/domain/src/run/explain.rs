//! What a run waits for, since when, and what would help. Pure: from the state, the time and what stages answered.

use std::fmt::Write as _;

use super::state::{Life, ObjectState, RunState, StepProgress};
use super::{Step, TASKS_PER_STAGE_MAX};
use crate::ObjectName;
use crate::breaker::Breaker;
use crate::catalogue::ErrorCode;

/// An invitation that was repeated this often found nobody; by then more than ten seconds have passed.
const UNHEARD_ATTEMPTS: u32 = 4;
/// Steps that are named of those that something waits for.
const NAMED_MAX: usize = 3;

/// Who or what has to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    /// Somebody has to decide.
    Person,
    /// A service that does not take its work, or does not answer.
    Service,
    /// A system, room on the bus, quota: what a worker gave its lease back for.
    Condition,
    /// Nothing is wrong: a worker is at it.
    Work,
    /// Other steps of the run, or its own turn.
    Step,
}

impl On {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Service => "service",
            Self::Condition => "condition",
            Self::Work => "work",
            Self::Step => "step",
        }
    }
}

/// One thing that a run waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    pub on: On,
    /// Neither object nor step: the run as a whole.
    pub object: Option<ObjectName>,
    pub step: Option<Step>,
    pub what: String,
    pub remedy: String,
    /// Milliseconds since 1970; none where it is not known.
    pub since_ms: Option<u64>,
}

/// What a stage's own tables say of the run.
#[derive(Debug, Clone, Copy)]
pub struct StageAnswer {
    pub stage: &'static str,
    /// Live leases and unsettled claims; none: the stage did not answer.
    pub counts: Option<(u32, u32)>,
}

/// What most needs somebody comes first. Nothing, for a run that has ended; see [`left_undone`] for what it left.
#[must_use]
pub fn explain(state: &RunState, id: &str, stages: &[StageAnswer]) -> Vec<Wait> {
    let whole = |on, what: &str, remedy: String, since_ms| Wait {
        on,
        object: None,
        step: None,
        what: what.to_owned(),
        remedy,
        since_ms,
    };
    let mut waits = match &state.life {
        Life::Pending => vec![whole(On::Service, "the coordinator, to begin", see("coordinator"), None)],
        Life::Compatibility { invited_ms, attempts } if *attempts >= UNHEARD_ATTEMPTS => vec![whole(
            On::Service,
            &format!("an analyzer; it was invited {attempts} times and has not answered"),
            see("analyzer"),
            Some(*invited_ms),
        )],
        Life::Compatibility { invited_ms, .. } => vec![whole(
            On::Work,
            "an analyzer, which describes both orgs and plans",
            "Nothing to do.".to_owned(),
            Some(*invited_ms),
        )],
        Life::AwaitingApproval => vec![whole(
            On::Person,
            "somebody's approval of the plan",
            format!("Look at it with `syncline runs show {id}`, then `syncline runs approve {id}` or `syncline runs cancel {id}`."),
            None,
        )],
        Life::Paused => vec![whole(
            On::Person,
            "somebody who lets it go on",
            format!("`syncline runs resume {id}`"),
            None,
        )],
        Life::Running => running(state, stages),
        Life::Pausing | Life::Failing { .. } | Life::Cancelling => stages.iter().filter_map(stopping).collect(),
        Life::Completed | Life::CompletedWithErrors | Life::Failed { .. } | Life::Cancelled => Vec::new(),
    };
    waits.sort_by_key(|wait| wait.on);
    waits
}

/// The connections of the run over which nothing is sent for now, as far as it needs them.
#[must_use]
pub fn held_back(state: &RunState, source: &str, target: &str, breakers: &[(String, Breaker)]) -> Vec<Wait> {
    let reads = match state.life {
        Life::Compatibility { .. } => true,
        Life::Running => state
            .objects
            .iter()
            .any(|o| o.steps.iter().any(|(s, p)| *s == Step::Extract && *p != StepProgress::Done)),
        _ => false,
    };
    // While it stops, the target's word on open jobs is waited for.
    let writes = reads || matches!(state.life, Life::Running | Life::Pausing | Life::Failing { .. } | Life::Cancelling);
    let needed = |name: &str| (name == source && reads) || (name == target && writes);
    let wait = |(name, breaker): &(String, Breaker)| {
        let words = breaker.words().filter(|_| needed(name))?;
        Some(Wait {
            on: On::Condition,
            object: None,
            step: None,
            what: format!("connection `{name}`: {words}"),
            remedy: format!(
                "Nothing is lost: the run goes on by itself once `{name}` answers. `syncline connection test {name}` asks it at once, and an answer \
                 closes the breaker; `syncline connection show {name}` has its address."
            ),
            since_ms: breaker.since_ms(),
        })
    };
    breakers.iter().filter_map(wait).collect()
}

fn see(service: &str) -> String {
    format!("See whether the {service} runs and is ready, as `syncline doctor` says; its log says what it misses.")
}

/// What a stopping run still has out in a stage.
fn stopping(answer: &StageAnswer) -> Option<Wait> {
    let stage = answer.stage;
    let (on, what, remedy) = match answer.counts {
        None => (
            On::Service,
            format!("the {stage}, which does not say whether it still works on the run"),
            see(stage),
        ),
        Some((0, 0)) => return None,
        Some((leases, 0)) => (
            On::Work,
            format!("{leases} tasks of the {stage} to reach a safe point"),
            "Nothing to do; a lease whose holder is gone ends by itself within seconds.".to_owned(),
        ),
        Some((_, claims)) => (
            On::Condition,
            format!("the target's word on {claims} jobs of the {stage}"),
            "It is asked again by itself. See whether the target answers: `syncline connection test NAME`.".to_owned(),
        ),
    };
    Some(Wait {
        on,
        object: None,
        step: None,
        what,
        remedy,
        since_ms: None,
    })
}

fn running(state: &RunState, stages: &[StageAnswer]) -> Vec<Wait> {
    let mut waits = Vec::new();
    for object in &state.objects {
        // The earliest unfinished step of each stage; those behind it wait for it.
        let mut seen = Vec::new();
        for (step, progress) in object.steps.iter().filter(|(_, p)| **p != StepProgress::Done) {
            if seen.contains(&step.stage()) {
                continue;
            }
            seen.push(step.stage());
            waits.push(step_wait(state, object, *step, progress, stages));
        }
    }
    waits
}

fn step_wait(state: &RunState, object: &ObjectState, step: Step, progress: &StepProgress, stages: &[StageAnswer]) -> Wait {
    let stage = step.stage();
    let answer = stages.iter().find(|a| a.stage == stage).map(|a| a.counts);
    let blockers: Vec<_> = state.blockers(object, step).collect();
    let nothing = || "Nothing to do.".to_owned();
    let (on, what, remedy, since_ms) = match progress {
        _ if !blockers.is_empty() => (
            On::Step,
            named(&blockers),
            "What it waits for stands in this list.".to_owned(),
            None,
        ),
        StepProgress::Open | StepProgress::Done => (
            On::Step,
            format!("its turn: {TASKS_PER_STAGE_MAX} tasks of the run are with the {stage} at once"),
            nothing(),
            None,
        ),
        StepProgress::Invited {
            reason: Some(reason),
            yielded: true,
            since_ms,
            ..
        } => (On::Condition, reason.clone(), remedy_of(reason), since(*since_ms)),
        StepProgress::Invited { since_ms, .. } if answer == Some(None) => (
            On::Service,
            format!("the {stage}, which does not answer"),
            see(stage),
            since(*since_ms),
        ),
        StepProgress::Invited { attempts, since_ms, .. } if *attempts >= UNHEARD_ATTEMPTS && matches!(answer, Some(Some((0, _)))) => {
            let what = format!("a {stage}; it was invited {attempts} times and nobody took the task");
            let remedy = format!("{} If it is busy with other runs, start more of them.", see(stage));
            (On::Service, what, remedy, since(*since_ms))
        }
        StepProgress::Invited { since_ms, .. } => (On::Work, format!("a {stage}, which is at it"), nothing(), since(*since_ms)),
    };
    Wait {
        on,
        object: Some(object.name.clone()),
        step: Some(step),
        what,
        remedy,
        since_ms,
    }
}

/// States of earlier releases do not say.
fn since(ms: u64) -> Option<u64> {
    (ms > 0).then_some(ms)
}

/// `load_pass_1 of Account, Contact and 2 more`
fn named(blockers: &[(&ObjectName, Step)]) -> String {
    let Some((_, step)) = blockers.first() else { return String::new() };
    let same: Vec<&str> = blockers.iter().filter(|(_, s)| s == step).map(|(name, _)| name.as_str()).collect();
    let mut text = format!("{step} of {}", same.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", "));
    let more = blockers.len().saturating_sub(same.len().min(NAMED_MAX));
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}

/// What a run left undone that ended with errors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// Dead letters that nobody has decided about, and their records; none: the monitor did not answer.
    pub letters: Option<(u64, u64)>,
    /// Refused and parked records by cause; none: the loader did not answer.
    pub records: Option<Vec<LeftRecords>>,
}

/// Records of one object that could not be written for one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftRecords {
    pub object: String,
    pub is_parked: bool,
    pub code: String,
    pub fields: String,
    pub count: u64,
}

/// What is left, and the command that would help with each.
#[must_use]
pub fn left_undone(left: &Left, id: &str) -> Vec<Wait> {
    let whole = |on, what: String, remedy: String| Wait {
        on,
        object: None,
        step: None,
        what,
        remedy,
        since_ms: None,
    };
    let mut waits = Vec::new();
    match left.letters {
        None => waits.push(whole(
            On::Service,
            "the monitor, which keeps dead letters and does not answer".to_owned(),
            see("monitor"),
        )),
        Some((0, _)) => {}
        Some((letters, records)) => waits.push(whole(
            On::Person,
            format!("a decision about {letters} dead letters with {records} records"),
            format!(
                "`syncline dead-letters list --run {id}` names the causes; `syncline dead-letters replay --run {id}` works on them again, \
                 `syncline dead-letters discard --run {id} --reason TEXT` gives them up."
            ),
        )),
    }
    match &left.records {
        None => waits.push(whole(
            On::Service,
            "the loader, which keeps refused records and does not answer".to_owned(),
            see("loader"),
        )),
        Some(records) => waits.extend(records.iter().map(|r| left_records(r, id))),
    }
    waits
}

fn left_records(left: &LeftRecords, id: &str) -> Wait {
    let LeftRecords {
        object,
        code,
        fields,
        count,
        ..
    } = left;
    let of = if fields.is_empty() { String::new() } else { format!(" ({fields})") };
    let (what, remedy) = if left.is_parked {
        (
            format!("the parents of {count} parked records{of}"),
            format!(
                "Once these are there: `syncline runs retry-failed {id} --object {object}`. A retry of refused parents takes their children along."
            ),
        )
    } else {
        let known = code.parse::<ErrorCode>().map(|c| c.entry().remedy).unwrap_or_default();
        (
            format!("somebody who mends why {count} records are refused with {code}{of}"),
            format!("{known} Then: `syncline runs retry-failed {id} --object {object} --code {code}`.")
                .trim_start()
                .to_owned(),
        )
    };
    Wait {
        on: On::Person,
        object: ObjectName::new(object.as_str()).ok(),
        step: None,
        what,
        remedy,
        since_ms: None,
    }
}

/// A reason that begins with a code of the catalogue has its remedy there.
fn remedy_of(reason: &str) -> String {
    match reason.split(':').next().unwrap_or_default().parse::<ErrorCode>() {
        Ok(code) => code.entry().remedy.to_owned(),
        Err(_) => "It is tried again by itself.".to_owned(),
    }
}
