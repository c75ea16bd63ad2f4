//! Runs that ended with errors and are taken back to work.
#![allow(clippy::unwrap_used)]

mod desk;

use desk::{Desk, STEPS, done_in, quiet};
use prost::Message as _;
use syncline_coordinator::reconciler::one_round;
use syncline_coordinator::reopening;
use syncline_domain::ObjectName;
use syncline_domain::run::Step;
use syncline_wire::monitor::CountLettersResponse;
use syncline_wire::run::run_service_server::RunService;
use syncline_wire::run::{ExplainRunRequest, ExplainRunResponse, RetryFailedRequest, RetryFailedResponse};
use syncline_wire::stage::{FinishedStep, GetProgressResponse, Invitation, RefusalGroup};
use tonic::{Code, Request, Status};

fn group(object: &str, kind: &str, kept: u64) -> RefusalGroup {
    RefusalGroup {
        object: object.to_owned(),
        kind: kind.to_owned(),
        code: "DATA_VALIDATION_RULE_001".to_owned(),
        count: kept,
        kept,
        ..RefusalGroup::default()
    }
}

async fn retry(desk: &Desk, id: &str, object: &str, dry_run: bool) -> Result<RetryFailedResponse, Status> {
    let request = RetryFailedRequest {
        id: id.to_owned(),
        object: object.to_owned(),
        dry_run,
        ..RetryFailedRequest::default()
    };
    desk.runs.retry_failed(Request::new(request)).await.map(tonic::Response::into_inner)
}

async fn explain(desk: &Desk, id: &str) -> ExplainRunResponse {
    let request = ExplainRunRequest { id: id.to_owned() };
    desk.runs.explain_run(Request::new(request)).await.unwrap().into_inner()
}

/// An account was refused and its contact parked; what the run left on the bus is removed.
async fn refused() -> (Desk, String) {
    let desk = Desk::start().await;
    let id = desk.ended(&[("Account", "load_pass_1"), ("Contact", "load_pass_1")]).await;
    assert_eq!(desk.run(&id).await.status, "completed_with_errors");
    let groups = vec![group("Account", "refused", 2), group("Contact", "parked", 3)];
    desk.stages[2].script(|s| s.refusals = Some(groups));
    one_round(&desk.bench.platform, false).await.unwrap();
    (desk, id)
}

#[tokio::test]
async fn a_retry_loads_the_refused_and_their_parked_children_in_a_round_of_its_own_and_ends_clean() {
    let (desk, id) = refused().await;
    let answer = retry(&desk, &id, "Account", false).await.unwrap();
    assert_eq!((answer.chosen, answer.parked), (2, 3));
    let run = answer.run.unwrap();
    assert_eq!((run.status.as_str(), run.finished_at), ("loading", None));
    assert_eq!(
        desk.stages[2].script(|s| s.choices.clone()),
        [("Account".to_owned(), String::new())]
    );
    let (_, last) = desk.outbox().await.into_iter().rfind(|(s, _)| s.starts_with("task.")).unwrap();
    let invitation = Invitation::decode(last.as_slice()).unwrap();
    assert_eq!(
        (invitation.object.as_str(), invitation.step.as_str(), invitation.round),
        ("Account", "load_pass_1", 1)
    );
    // What the stages still say of the round before is nothing new; what they say of this one is.
    let finished = |round| {
        let of_the_loader = STEPS.iter().filter(|(_, s)| s.parse::<Step>().unwrap().stage() == "loader");
        let finished = of_the_loader.map(|(object, step)| FinishedStep {
            object: (*object).to_owned(),
            step: (*step).to_owned(),
            with_errors: false,
            round,
        });
        GetProgressResponse {
            finished: finished.collect(),
            ..quiet()
        }
    };
    for (round, status) in [(0, "loading"), (1, "completed")] {
        desk.stages[2].script(|s| s.progress = Some(finished(round)));
        one_round(&desk.bench.platform, true).await.unwrap();
        assert_eq!(desk.run(&id).await.status, status, "round {round}");
    }
    one_round(&desk.bench.platform, false).await.unwrap();
    assert_eq!(
        desk.bench.number("select count(*) from run where purged").await,
        1,
        "it is cleared away again"
    );
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_loaded_and_changes_nothing() {
    let (desk, id) = refused().await;
    let before = desk.run(&id).await;
    let answer = retry(&desk, &id, "", true).await.unwrap();
    assert_eq!((answer.chosen, answer.parked, answer.failed.len()), (2, 3, 2));
    assert!(!answer.failed.iter().any(|f| f.remedy.is_empty()));
    assert_eq!(desk.run(&id).await, before);
    assert!(desk.stages[2].script(|s| s.choices.is_empty()));
}

#[tokio::test]
async fn a_run_of_which_nothing_fits_stays_as_it_ended() {
    let (desk, id) = refused().await;
    let before = desk.run(&id).await;
    let answer = retry(&desk, &id, "Case", false).await.unwrap();
    assert_eq!((answer.chosen, answer.parked), (0, 0));
    assert_eq!(desk.run(&id).await, before);
}

#[tokio::test]
async fn only_the_last_run_of_a_link_that_ended_with_errors_is_reopened() {
    let (desk, id) = refused().await;
    let other = desk.submit("prod-to-uat", "").await.unwrap().id;
    let refused = retry(&desk, &id, "", false).await.unwrap_err();
    assert!(refused.message().contains(&other), "{refused:?}");
    let running = retry(&desk, &other, "", false).await.unwrap_err();
    assert_eq!(running.code(), Code::FailedPrecondition, "{running:?}");
    assert_eq!(retry(&desk, "r-unknown", "", false).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_reopened_run_takes_its_link() {
    let (desk, id) = refused().await;
    retry(&desk, &id, "", false).await.unwrap();
    assert!(desk.submit("prod-to-uat", "").await.is_err());
}

#[tokio::test]
async fn without_the_loaders_word_nothing_is_reopened() {
    let (desk, id) = refused().await;
    desk.stages[2].script(|s| s.refusals = None);
    assert!(retry(&desk, &id, "", false).await.is_err());
    assert_eq!(desk.run(&id).await.status, "completed_with_errors");
}

#[tokio::test]
async fn dead_letters_are_transformed_again_and_parked_children_come_along() {
    let (desk, id) = refused().await;
    let account = ObjectName::new("Account").unwrap();
    let row = reopening::replay(&desk.bench.platform, &id, vec![(account, Step::Transform)])
        .await
        .unwrap();
    assert_eq!((row.state.status().as_str(), row.state.round), ("transforming", 1));
    for (object, step) in STEPS
        .iter()
        .filter(|(o, s)| *s != "extract" && (*o != "Contact" || *s != "transform"))
    {
        assert_eq!(desk.run(&id).await.finished_at, None);
        desk.tell(&id, done_in(1, object, step, false)).await;
    }
    assert_eq!(desk.run(&id).await.status, "completed");
}

#[tokio::test]
async fn an_explanation_says_what_a_run_left_and_which_command_helps() {
    let (desk, id) = refused().await;
    desk.stages[0].script(|s| {
        s.letter_counts = Some(CountLettersResponse {
            kept: 2,
            discarded: 1,
            records: 900,
        })
    });
    let answer = explain(&desk, &id).await;
    assert_eq!((answer.status.as_str(), answer.waits.len()), ("completed_with_errors", 3));
    for (wait, command) in answer.waits.iter().zip(["dead-letters replay", "retry-failed", "retry-failed"]) {
        assert!(
            wait.on == "person" && wait.remedy.contains(command) && wait.remedy.contains(&id),
            "{wait:?}"
        );
    }
    desk.stages[2].script(|s| s.refusals = None);
    let answer = explain(&desk, &id).await;
    assert!(
        answer.waits.iter().any(|w| w.on == "service" && w.what.contains("loader")),
        "{answer:?}"
    );
}
