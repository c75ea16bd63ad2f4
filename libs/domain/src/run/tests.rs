#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

fn name(s: &str) -> ObjectName {
    ObjectName::new(s).unwrap()
}

fn outline() -> Outline {
    let object = |n: &str, parents: &[&str], deferred: bool| ObjectOutline {
        name: name(n),
        parents: parents.iter().map(|p| name(p)).collect(),
        deferred_parents: if deferred { vec![name(n)] } else { vec![] },
        has_deferred: deferred,
        clear: false,
        orphans: true,
    };
    Outline {
        objects: vec![
            object("Account", &[], true),
            object("Contact", &["Account"], true),
            object("Case", &["Account", "Contact"], false),
        ],
        review: false,
    }
}

fn apply(state: &RunState, event: &Event) -> (RunState, Vec<Effect>) {
    match next(state, event).unwrap() {
        Applied::Changed(s, e) => (*s, e),
        Applied::Already => (state.clone(), vec![]),
    }
}

fn failure() -> Failure {
    Failure::new(ErrorCode::Query, "x")
}

fn every_life() -> Vec<RunState> {
    let (running, _) = apply(
        &RunState::new(),
        &Event::PlanBuilt {
            outline: outline(),
            fatal: None,
        },
    );
    [
        Life::Pending,
        Life::Compatibility {
            invited_ms: 0,
            attempts: 1,
        },
        Life::AwaitingApproval,
        Life::Running,
        Life::Pausing,
        Life::Paused,
        Life::Failing { failure: failure() },
        Life::Cancelling,
        Life::Completed,
        Life::CompletedWithErrors,
        Life::Failed { failure: failure() },
        Life::Cancelled,
    ]
    .into_iter()
    .map(|life| {
        let early = matches!(life, Life::Pending | Life::Compatibility { .. });
        RunState {
            objects: if early { vec![] } else { running.objects.clone() },
            life,
            ..RunState::new()
        }
    })
    .collect()
}

fn every_event() -> Vec<Event> {
    vec![
        Event::PlanBuilt {
            outline: outline(),
            fatal: None,
        },
        Event::PlanBuilt {
            outline: Outline { review: true, ..outline() },
            fatal: None,
        },
        Event::PlanBuilt {
            outline: outline(),
            fatal: Some(failure()),
        },
        Event::Approved,
        Event::StepDone {
            object: name("Account"),
            step: Step::Extract,
            with_errors: false,
            round: 0,
        },
        Event::StepDone {
            object: name("Nobody"),
            step: Step::Extract,
            with_errors: false,
            round: 0,
        },
        Event::StepYielded {
            object: name("Account"),
            step: Step::Extract,
            reason: "LIMITS_API_DAILY_001: no calls left".into(),
            wait_ms: 0,
        },
        Event::BatchesLost { object: name("Account") },
        Event::StepFailed {
            object: None,
            failure: failure(),
        },
        Event::Reopened {
            objects: vec![(name("Account"), Step::LoadPass1)],
        },
        Event::Reopened {
            objects: vec![(name("Nobody"), Step::LoadPass1)],
        },
        Event::PauseRequested,
        Event::ResumeRequested,
        Event::CancelRequested,
        Event::Quiesced,
        Event::Tick { now_ms: 100_000 },
    ]
}

/// Walks every state × event: applied twice an event changes nothing more, terminal states stay (but for the one that is reopened), versions rise.
#[test]
fn every_event_in_every_state_is_applied_once_ignored_or_refused() {
    for state in every_life() {
        for event in every_event() {
            match next(&state, &event) {
                Ok(Applied::Changed(new, effects)) => {
                    let is_reopened = matches!((&state.life, &event), (Life::CompletedWithErrors, Event::Reopened { .. }));
                    assert!(
                        !state.life.is_terminal() || is_reopened,
                        "{:?} changed by {}",
                        state.life,
                        event.name()
                    );
                    assert_eq!(new.version, state.version + 1);
                    if new.status() != state.status() {
                        assert!(effects.contains(&Effect::Announce(new.status())), "{} announces", event.name());
                    }
                    if new.life.is_terminal() {
                        assert!(effects.contains(&Effect::PurgeBus), "{:?} leaves something on the bus", new.life);
                    }
                    if !matches!(event, Event::Tick { .. }) {
                        // Delivered again, nothing more happens: it is known, or no longer fits, but never applied twice.
                        match next(&new, &event) {
                            Ok(Applied::Already) | Err(_) => {}
                            Ok(Applied::Changed(again, _)) => panic!("{} applied twice: {:?}", event.name(), again.life),
                        }
                    }
                }
                Ok(Applied::Already) => {}
                Err(illegal) => assert_eq!(illegal.status, state.status()),
            }
        }
    }
}

#[test]
fn children_are_loaded_after_their_parents_while_extraction_waits_for_nobody() {
    let (mut state, _) = apply(
        &RunState::new(),
        &Event::PlanBuilt {
            outline: outline(),
            fatal: None,
        },
    );
    let (s, effects) = apply(&state, &Event::Tick { now_ms: 1 });
    state = s;
    let invited = |object: &str, step| Effect::Invite {
        object: name(object),
        step,
    };
    for object in ["Account", "Contact", "Case"] {
        assert!(effects.contains(&invited(object, Step::Extract)), "{object}");
    }
    assert!(effects.contains(&invited("Account", Step::LoadPass1)));
    assert!(!effects.contains(&invited("Contact", Step::LoadPass1)));
    state = apply(
        &state,
        &Event::StepDone {
            object: name("Account"),
            step: Step::LoadPass1,
            with_errors: false,
            round: 0,
        },
    )
    .0;
    let (_, effects) = apply(&state, &Event::Tick { now_ms: 2 });
    assert!(effects.contains(&invited("Contact", Step::LoadPass1)));
    assert!(effects.contains(&invited("Account", Step::LoadPass2)));
    assert!(!effects.contains(&invited("Case", Step::LoadPass1)));
}

#[test]
fn a_lost_invitation_is_repeated_with_growing_pauses() {
    let (mut state, _) = apply(
        &RunState::new(),
        &Event::PlanBuilt {
            outline: outline(),
            fatal: None,
        },
    );
    let extract = Effect::Invite {
        object: name("Account"),
        step: Step::Extract,
    };
    let mut times = Vec::new();
    for second in 0..100 {
        let (s, effects) = apply(&state, &Event::Tick { now_ms: second * 1000 });
        state = s;
        if effects.contains(&extract) {
            times.push(second);
        }
    }
    assert_eq!(times, [0, 1, 3, 7, 15, 31, 61, 91]);
}

#[test]
fn a_worker_that_had_to_wait_is_invited_again_soon() {
    let (mut state, _) = apply(
        &RunState::new(),
        &Event::PlanBuilt {
            outline: outline(),
            fatal: None,
        },
    );
    for second in 0..10 {
        state = apply(&state, &Event::Tick { now_ms: second * 1000 }).0;
    }
    state = apply(
        &state,
        &Event::StepYielded {
            object: name("Account"),
            step: Step::Extract,
            reason: "LIMITS_API_DAILY_001: no calls left".into(),
            wait_ms: 0,
        },
    )
    .0;
    let (_, effects) = apply(&state, &Event::Tick { now_ms: 10_000 });
    assert!(effects.contains(&Effect::Invite {
        object: name("Account"),
        step: Step::Extract
    }));
}

#[test]
fn a_worker_that_knows_how_long_it_has_to_wait_is_not_invited_before_but_within_a_bound() {
    for (wait_ms, invited_s) in [(20_000, 20), (u64::MAX, WAIT_MS_MAX / 1_000)] {
        let planned = Event::PlanBuilt {
            outline: outline(),
            fatal: None,
        };
        let (mut state, _) = apply(&RunState::new(), &planned);
        state = apply(&state, &Event::Tick { now_ms: 0 }).0;
        let yielded = Event::StepYielded {
            object: name("Account"),
            step: Step::Extract,
            reason: "NETWORK_BREAKER_001: held back".into(),
            wait_ms,
        };
        state = apply(&state, &yielded).0;
        let extract = Effect::Invite {
            object: name("Account"),
            step: Step::Extract,
        };
        let mut invited = Vec::new();
        for second in 1..=WAIT_MS_MAX / 1_000 {
            let (s, effects) = apply(&state, &Event::Tick { now_ms: second * 1_000 });
            state = s;
            if effects.contains(&extract) {
                invited.push(second);
            }
        }
        // Then it is an invitation like any other.
        assert_eq!(invited.first(), Some(&invited_s), "{invited:?}");
        if invited_s == 20 {
            assert_eq!(invited, [20, 21, 23, 27, 35, 51]);
        }
    }
}

#[test]
fn refused_records_end_the_run_with_errors() {
    let (mut state, _) = apply(
        &RunState::new(),
        &Event::PlanBuilt {
            outline: outline(),
            fatal: None,
        },
    );
    for object in ["Account", "Contact", "Case"] {
        let steps: Vec<Step> = state
            .objects
            .iter()
            .find(|o| o.name.as_str() == object)
            .unwrap()
            .steps
            .keys()
            .copied()
            .collect();
        for step in steps {
            let with_errors = object == "Contact" && step == Step::LoadPass1;
            state = apply(
                &state,
                &Event::StepDone {
                    object: name(object),
                    step,
                    with_errors,
                    round: 0,
                },
            )
            .0;
        }
    }
    assert_eq!(state.status(), Status::CompletedWithErrors);
}

/// A run that did all its steps; those named ended with errors.
fn ended(errors: &[(&str, Step)]) -> RunState {
    let planned = Event::PlanBuilt {
        outline: outline(),
        fatal: None,
    };
    let (state, _) = apply(&RunState::new(), &planned);
    finish(state, 0, errors)
}

/// Reports every unfinished step as done in `round`.
fn finish(mut state: RunState, round: u32, errors: &[(&str, Step)]) -> RunState {
    let left: Vec<(ObjectName, Step)> = state
        .objects
        .iter()
        .flat_map(|o| {
            o.steps
                .iter()
                .filter(|(_, p)| **p != StepProgress::Done)
                .map(|(s, _)| (o.name.clone(), *s))
        })
        .collect();
    for (object, step) in left {
        let with_errors = errors.contains(&(object.as_str(), step));
        let event = Event::StepDone {
            object,
            step,
            with_errors,
            round,
        };
        state = apply(&state, &event).0;
    }
    state
}

fn reopened(objects: &[(&str, Step)]) -> Event {
    Event::Reopened {
        objects: objects.iter().map(|(o, s)| (name(o), *s)).collect(),
    }
}

fn open(state: &RunState) -> Vec<(&str, Step)> {
    let of = |o: &ObjectState| {
        o.steps
            .iter()
            .filter(|(_, p)| **p != StepProgress::Done)
            .map(|(s, _)| *s)
            .collect::<Vec<_>>()
    };
    state
        .objects
        .iter()
        .flat_map(|o| of(o).into_iter().map(|s| (o.name.as_str(), s)))
        .collect()
}

#[test]
fn a_reopened_run_loads_again_what_was_asked_for_and_ends_clean_once_nothing_is_left() {
    let state = ended(&[("Contact", Step::LoadPass1), ("Contact", Step::LoadPass2)]);
    assert_eq!(state.status(), Status::CompletedWithErrors);
    let (state, effects) = apply(&state, &reopened(&[("Contact", Step::LoadPass1)]));
    assert_eq!((state.status(), state.round), (Status::Loading, 1));
    assert!(effects.contains(&Effect::Announce(Status::Loading)));
    let steps = [Step::LoadPass1, Step::LoadPass2, Step::Orphans, Step::LoadPass3, Step::Verify];
    assert_eq!(open(&state), steps.map(|s| ("Contact", s)));
    let (state, effects) = apply(&state, &Event::Tick { now_ms: 5 });
    let invited = |object: &str, step| Effect::Invite {
        object: name(object),
        step,
    };
    assert_eq!(effects, [invited("Contact", Step::LoadPass1)]);
    assert_eq!(finish(state, 1, &[]).status(), Status::Completed);
}

#[test]
fn errors_of_what_was_not_reopened_and_of_earlier_releases_stay() {
    let state = ended(&[("Contact", Step::LoadPass1), ("Case", Step::Verify)]);
    let (state, _) = apply(&state, &reopened(&[("Contact", Step::LoadPass1)]));
    assert_eq!(finish(state, 1, &[]).status(), Status::CompletedWithErrors);
    // Not known which step it was.
    let old = RunState {
        with_errors: true,
        errors_by_step: false,
        life: Life::CompletedWithErrors,
        ..ended(&[])
    };
    let (state, _) = apply(&old, &reopened(&[("Contact", Step::LoadPass1)]));
    assert_eq!(finish(state, 1, &[]).status(), Status::CompletedWithErrors);
}

#[test]
fn a_dead_letter_of_the_masker_is_transformed_again_and_nothing_is_cleared_or_read_again() {
    let mut outline = outline();
    outline.objects[0].clear = true;
    let planned = Event::PlanBuilt { outline, fatal: None };
    let state = finish(apply(&RunState::new(), &planned).0, 0, &[("Account", Step::LoadPass1)]);
    let (reopened_state, _) = apply(&state, &reopened(&[("Account", Step::Transform)]));
    assert_eq!(reopened_state.status(), Status::Transforming);
    assert!(!open(&reopened_state).iter().any(|(_, s)| matches!(s, Step::Clear | Step::Extract)));
    for step in [Step::Extract, Step::Clear] {
        assert!(next(&state, &reopened(&[("Account", step)])).is_err(), "{step}");
    }
}

#[test]
fn children_that_are_reopened_with_their_parents_wait_for_them() {
    let state = ended(&[("Account", Step::LoadPass1), ("Contact", Step::LoadPass1)]);
    let (state, _) = apply(&state, &reopened(&[("Account", Step::LoadPass1), ("Contact", Step::LoadPass1)]));
    let (_, effects) = apply(&state, &Event::Tick { now_ms: 5 });
    let loads: Vec<_> = effects
        .iter()
        .filter(|e| matches!(e, Effect::Invite { step: Step::LoadPass1, .. }))
        .collect();
    assert_eq!(loads.len(), 1, "{loads:?}");
    assert!(matches!(loads[0], Effect::Invite { object, .. } if object.as_str() == "Account"));
}

#[test]
fn a_report_of_an_earlier_round_says_nothing_of_this_one() {
    let (state, _) = apply(&ended(&[("Contact", Step::LoadPass1)]), &reopened(&[("Contact", Step::LoadPass1)]));
    let done = |round| Event::StepDone {
        object: name("Contact"),
        step: Step::LoadPass1,
        with_errors: false,
        round,
    };
    assert_eq!(next(&state, &done(0)), Ok(Applied::Already));
    assert!(matches!(next(&state, &done(1)), Ok(Applied::Changed(..))));
}

#[test]
fn only_a_run_that_ended_with_errors_is_reopened() {
    let wanted = reopened(&[("Contact", Step::LoadPass1)]);
    assert!(next(&ended(&[]), &wanted).is_err(), "nothing is left to be done");
    assert!(
        next(&ended(&[("Case", Step::Verify)]), &reopened(&[])).is_err(),
        "nothing was asked for"
    );
    let (running, _) = apply(&ended(&[("Contact", Step::LoadPass1)]), &wanted);
    assert_eq!(next(&running, &wanted), Ok(Applied::Already), "asked twice");
    assert!(
        next(&running, &reopened(&[("Case", Step::LoadPass1)])).is_err(),
        "another wish has to wait"
    );
}

#[test]
fn a_fatal_issue_stops_the_run_before_anything_is_invited() {
    let (state, effects) = apply(
        &RunState::new(),
        &Event::PlanBuilt {
            outline: outline(),
            fatal: Some(failure()),
        },
    );
    assert_eq!(state.status(), Status::Failed);
    assert!(!effects.iter().any(|e| matches!(e, Effect::Invite { .. })));
}

proptest! {
    /// Whatever is lost, repeated or reordered between workers and coordinator: with ticks the run ends.
    #[test]
    fn lost_repeated_and_reordered_messages_only_delay(choices in proptest::collection::vec((0u8..4, any::<u16>()), 0..400)) {
        let (mut state, _) = apply(&RunState::new(), &Event::PlanBuilt { outline: outline(), fatal: None });
        let mut inbox: Vec<Event> = Vec::new();
        let mut now_ms = 0;
        let mut choices = choices.into_iter();
        for _ in 0..3_000 {
            if state.life.is_terminal() { break; }
            now_ms += 1_000;
            let (s, effects) = apply(&state, &Event::Tick { now_ms });
            state = s;
            for effect in effects {
                if let Effect::Invite { object, step } = effect {
                    match choices.next() {
                        // The invitation, the work or its report is lost.
                        Some((0, _)) => {}
                        Some((1, _)) => {
                            let done = Event::StepDone { object, step, with_errors: false, round: 0 };
                            inbox.extend([done.clone(), done]);
                        }
                        Some((2, at)) => {
                            let at = usize::from(at) % (inbox.len() + 1);
                            inbox.insert(at, Event::StepDone { object: object.clone(), step, with_errors: false, round: 0 });
                            inbox.push(Event::StepYielded {
                                object,
                                step,
                                reason: "room".into(),
                                wait_ms: 0,
                            });
                        }
                        _ => inbox.push(Event::StepDone { object, step, with_errors: false, round: 0 }),
                    }
                }
            }
            if let Some(event) = inbox.pop() {
                state = apply(&state, &event).0;
            }
        }
        prop_assert_eq!(state.status(), Status::Completed);
    }
}

#[test]
fn every_life_that_waits_says_for_what_and_what_would_help() {
    use super::explain::{StageAnswer, explain};
    let answers = ["extractor", "masker", "loader"].map(|stage| StageAnswer {
        stage,
        counts: Some((1, 0)),
    });
    for state in every_life() {
        let waits = explain(&state, "r-1", &answers);
        assert_eq!(waits.is_empty(), state.life.is_terminal(), "{:?}", state.life);
        for wait in waits {
            assert!(!wait.what.is_empty() && !wait.remedy.is_empty(), "{wait:?}");
        }
    }
}

#[test]
fn an_explanation_tells_who_works_who_waits_and_for_whom() {
    use super::explain::{On, StageAnswer, explain};
    let answers = |extractor| {
        [("extractor", extractor), ("masker", Some((1, 0))), ("loader", Some((0, 0)))].map(|(stage, counts)| StageAnswer { stage, counts })
    };
    let (planned, _) = apply(
        &RunState::new(),
        &Event::PlanBuilt {
            outline: outline(),
            fatal: None,
        },
    );
    let (mut state, _) = apply(&planned, &Event::Tick { now_ms: 5_000 });
    let of = |waits: &[super::explain::Wait], object: &str, step: Step| {
        let found = waits.iter().find(|w| w.object == Some(name(object)) && w.step == Some(step));
        found.unwrap_or_else(|| panic!("nothing about {object} {step}: {waits:?}")).clone()
    };
    let waits = explain(&state, "r-1", &answers(Some((1, 0))));
    let extract = of(&waits, "Account", Step::Extract);
    assert_eq!((extract.on, extract.since_ms), (On::Work, Some(5_000)));
    let case = of(&waits, "Case", Step::LoadPass1);
    assert_eq!(case.on, On::Step);
    assert_eq!(case.what, "load_pass_1 of Account, Contact");

    // A stage that is away is named before anything else.
    let waits = explain(&state, "r-1", &answers(None));
    assert_eq!(waits[0].on, On::Service);
    assert!(of(&waits, "Account", Step::Extract).what.contains("extractor"));

    // Nobody takes the task: after some invitations that is said, with the time of the first one.
    for second in 5..60 {
        state = apply(&state, &Event::Tick { now_ms: second * 1_000 }).0;
    }
    let unheard = of(&explain(&state, "r-1", &answers(Some((0, 0)))), "Account", Step::Extract);
    assert_eq!((unheard.on, unheard.since_ms), (On::Service, Some(5_000)));
    assert!(unheard.what.contains("nobody took the task"), "{}", unheard.what);

    // A reason to wait stands first with the catalogue's remedy.
    state = apply(
        &state,
        &Event::StepYielded {
            object: name("Account"),
            step: Step::Extract,
            reason: format!("LIMITS_API_DAILY_001: {}", "x".repeat(1_000)),
            wait_ms: 0,
        },
    )
    .0;
    let waits = explain(&state, "r-1", &answers(Some((0, 0))));
    let limited = of(&waits, "Account", Step::Extract);
    assert_eq!(limited.on, On::Condition);
    assert_eq!(limited.remedy, ErrorCode::DailyApiLimit.entry().remedy);
    assert!(limited.what.len() <= 300, "a reason is cut");
}

#[test]
fn what_a_run_left_undone_names_the_command_that_helps() {
    use super::explain::{Left, LeftRecords, On, left_undone};
    let record = |is_parked| LeftRecords {
        object: "Contact".into(),
        is_parked,
        code: ErrorCode::ValidationRule.to_string(),
        fields: "Email".into(),
        count: 3,
    };
    let left = Left {
        letters: Some((2, 700)),
        records: Some(vec![record(false), record(true)]),
    };
    let waits = left_undone(&left, "r-1");
    let commands = [
        "syncline dead-letters replay --run r-1",
        "syncline runs retry-failed r-1 --object Contact --code",
        "syncline runs retry-failed r-1 --object Contact`",
    ];
    for (wait, command) in waits.iter().zip(commands) {
        assert!(wait.on == On::Person && wait.remedy.contains(command), "{wait:?}");
    }
    assert_eq!(waits.len(), 3);
    assert!(waits[1].remedy.starts_with(ErrorCode::ValidationRule.entry().remedy));
    let silent = left_undone(&Left::default(), "r-1");
    assert!(
        silent.len() == 2 && silent.iter().all(|w| w.on == On::Service),
        "nothing is concluded from silence"
    );
    let none = Left {
        letters: Some((0, 0)),
        records: Some(Vec::new()),
    };
    assert!(left_undone(&none, "r-1").is_empty());
}

#[test]
fn a_state_of_the_release_before_reads() {
    let old = r#"{"version": 7, "life": {"life": "running"}, "with_errors": false, "objects": [{"name": "Account", "parents": [],
        "deferred_parents": [], "steps": {"extract": {"at": "invited", "at_ms": 5, "attempts": 2, "yielded": true}}}]}"#;
    let state: RunState = serde_json::from_str(old).unwrap();
    let waits = super::explain::explain(&state, "r-1", &[]);
    assert_eq!((waits.len(), waits[0].since_ms), (1, None));
}

#[test]
fn an_open_breaker_is_explained_to_the_runs_that_need_the_connection() {
    use super::explain::{On, held_back};
    use crate::breaker::{Breaker, FAILURES_TO_OPEN, Failure as Away};

    let mut open = Breaker::default();
    for _ in 0..FAILURES_TO_OPEN {
        open = open.failed(Away::NoConnection, 1_000_000_000);
    }
    let breakers = [
        ("production".to_owned(), open),
        ("uat".to_owned(), open),
        ("other".to_owned(), open),
    ];
    let named = |state: &RunState| -> Vec<String> {
        let waits = held_back(state, "production", "uat", &breakers);
        waits
            .iter()
            .map(|w| w.what.split('`').nth(1).unwrap_or_default().to_owned())
            .collect()
    };
    let planned = Event::PlanBuilt {
        outline: outline(),
        fatal: None,
    };
    let (mut state, _) = apply(&RunState::new(), &planned);
    assert_eq!(named(&state), ["production", "uat"]);
    let waits = held_back(&state, "production", "uat", &breakers);
    let first = waits.first().expect("a wait");
    assert_eq!((first.on, first.since_ms), (On::Condition, Some(1_000_000_000)));
    for part in [
        "5 requests in a row failed",
        "no connection could be made",
        "the next probe is at 13:46:45 UTC",
    ] {
        assert!(first.what.contains(part), "{}", first.what);
    }
    assert!(first.remedy.contains("`syncline connection test production`"), "{}", first.remedy);
    for object in ["Account", "Contact", "Case"] {
        let read = Event::StepDone {
            object: name(object),
            step: Step::Extract,
            with_errors: false,
            round: 0,
        };
        state = apply(&state, &read).0;
    }
    assert_eq!(named(&state), ["uat"], "nothing is read any more");
    state = apply(&state, &Event::CancelRequested).0;
    assert_eq!(named(&state), ["uat"], "its word on open jobs is waited for");
    assert_eq!(named(&finish(apply(&RunState::new(), &planned).0, 0, &[])), Vec::<String>::new());
}
