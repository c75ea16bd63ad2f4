//! Rounds of the reconciler: what was lost is repeated, what is unknown is waited for, what is over is removed.
#![allow(clippy::unwrap_used)]

mod desk;

use bytes::Bytes;
use desk::{Desk, STEPS, done, failed, quiet, yaml, yielded};
use syncline_bus::Audience;
use syncline_coordinator::reconciler::one_round;
use syncline_domain::{BatchName, ObjectName, RunId};
use syncline_wire::run::run_service_server::RunService;
use syncline_wire::run::{CancelRunRequest, PauseRunRequest};
use syncline_wire::stage::GetProgressResponse;
use tonic::Request;

async fn round(desk: &Desk, compare: bool) {
    one_round(&desk.bench.platform, compare).await.unwrap();
}

async fn cancel(desk: &Desk, id: &str) {
    let request = CancelRunRequest { id: id.to_owned() };
    desk.runs.cancel_run(Request::new(request)).await.unwrap();
}

fn extracts(invitations: &[(String, String, String)]) -> usize {
    invitations.iter().filter(|(_, _, step)| step == "extract").count()
}

#[tokio::test]
async fn an_invitation_is_repeated_when_it_is_due_and_not_before() {
    let desk = Desk::start().await;
    let id = desk.running().await;
    round(&desk, false).await;
    assert_eq!(extracts(&desk.invitations().await), 2);
    desk.pass_time().await;
    round(&desk, false).await;
    assert_eq!(extracts(&desk.invitations().await), 4, "both objects were invited again");
    desk.tell(&id, done("Account", "extract")).await;
    desk.pass_time().await;
    round(&desk, false).await;
    assert_eq!(extracts(&desk.invitations().await), 5, "what is done is not");
}

#[tokio::test]
async fn a_lost_invitation_of_the_analyzer_is_repeated() {
    let desk = Desk::start().await;
    desk.apply(&yaml("a", "uat")).await.unwrap();
    desk.submit("a", "").await.unwrap();
    desk.pass_time().await;
    round(&desk, false).await;
    let analyze = desk.invitations().await.iter().filter(|(stage, ..)| stage == "analyzer").count();
    assert_eq!(analyze, 2);
}

#[tokio::test]
async fn a_step_that_yielded_is_invited_soon() {
    let desk = Desk::start().await;
    let id = desk.running().await;
    for _ in 0..2 {
        desk.tell(&id, yielded("Account", "extract", "no room")).await;
    }
    desk.pass_time().await;
    round(&desk, false).await;
    assert_eq!(extracts(&desk.invitations().await), 4);
}

#[tokio::test]
async fn a_stopping_run_is_over_only_when_every_stage_says_so() {
    let desk = Desk::start().await;
    let id = desk.running().await;
    cancel(&desk, &id).await;
    let status = async || desk.run(&id).await.status;
    // Nobody answers: unknown.
    round(&desk, false).await;
    assert_eq!(status().await, "cancelling");
    // One stage does not answer.
    desk.all_stages_say(Some(&quiet()));
    desk.stages[1].script(|s| s.progress = None);
    round(&desk, false).await;
    assert_eq!(status().await, "cancelling");
    // One still works, one has an open claim.
    desk.all_stages_say(Some(&quiet()));
    for busy in [
        GetProgressResponse { live_leases: 1, ..quiet() },
        GetProgressResponse {
            unsettled_claims: 1,
            ..quiet()
        },
    ] {
        desk.stages[2].script(|s| s.progress = Some(busy));
        round(&desk, false).await;
        assert_eq!(status().await, "cancelling");
    }
    assert!(desk.submit("prod-to-uat", "").await.is_err(), "the link is taken until then");
    let settle = desk.invitations().await.iter().filter(|(_, _, step)| step == "settle").count();
    assert!(settle > 0, "the loader is asked to settle");
    desk.all_stages_say(Some(&quiet()));
    round(&desk, false).await;
    assert_eq!(status().await, "cancelled");
    desk.submit("prod-to-uat", "").await.unwrap();
}

#[tokio::test]
async fn a_pausing_run_becomes_paused_and_a_failing_one_failed() {
    let desk = Desk::start().await;
    let id = desk.running().await;
    desk.all_stages_say(Some(&quiet()));
    desk.runs.pause_run(Request::new(PauseRunRequest { id: id.clone() })).await.unwrap();
    round(&desk, false).await;
    assert_eq!(desk.run(&id).await.status, "paused");
    let invited = desk.invitations().await.len();
    desk.pass_time().await;
    round(&desk, true).await;
    assert_eq!(desk.invitations().await.len(), invited, "nobody is invited to a paused run");
    desk.tell(&id, failed("Account", "extract", "DATA_TOO_LARGE_001")).await;
    round(&desk, false).await;
    let run = desk.run(&id).await;
    assert_eq!((run.status.as_str(), run.failure_code.as_str()), ("failed", "DATA_TOO_LARGE_001"));
}

#[tokio::test]
async fn steps_whose_reports_were_lost_are_caught_up_from_the_stages() {
    let desk = Desk::start().await;
    let id = desk.running().await;
    let of = |stage: &str| -> Vec<String> {
        let steps = STEPS
            .iter()
            .filter(|(_, s)| s.parse::<syncline_domain::run::Step>().unwrap().stage() == stage);
        steps.map(|(o, s)| format!("{o}/{s}")).collect()
    };
    let mut loaded = of("loader");
    loaded.extend([
        "nonsense".to_owned(),
        "Account/dance".to_owned(),
        "Lead/verify".to_owned(),
        String::new(),
    ]);
    if let Some(first) = loaded.first_mut() {
        first.push_str("/errors");
    }
    // The extractor is away; what the others know is taken all the same.
    desk.stages[1].script(|s| {
        s.progress = Some(GetProgressResponse {
            done: of("masker"),
            ..quiet()
        })
    });
    desk.stages[2].script(|s| s.progress = Some(GetProgressResponse { done: loaded, ..quiet() }));
    round(&desk, false).await;
    assert_eq!(desk.stages[1].script(|s| s.progress_asked), 0, "only rounds that compare ask");
    round(&desk, true).await;
    assert_eq!(desk.run(&id).await.status, "extracting");
    desk.stages[0].script(|s| {
        s.progress = Some(GetProgressResponse {
            done: of("extractor"),
            ..quiet()
        })
    });
    round(&desk, true).await;
    assert_eq!(desk.run(&id).await.status, "completed_with_errors");
}

#[tokio::test]
async fn what_a_finished_run_left_on_the_bus_is_removed_once() {
    let desk = Desk::start().await;
    let id = desk.running().await;
    let bus = &desk.bench.platform.bus;
    let name = BatchName::whole(RunId::new(id.as_str()).unwrap(), ObjectName::new("Account").unwrap(), 0, 0, 0);
    for audience in [Audience::Raw, Audience::Clean] {
        bus.publish_batch(audience, &desk.bench.tenant, &name, "p", 1, Bytes::from_static(b"x"))
            .await
            .unwrap();
    }
    let left = async |audience| bus.waiting(audience, &desk.bench.tenant, &name.run, &name.object).await.unwrap();
    round(&desk, false).await;
    assert_eq!(
        (left(Audience::Raw).await, left(Audience::Clean).await),
        (1, 1),
        "not while it runs"
    );
    desk.all_stages_say(Some(&quiet()));
    cancel(&desk, &id).await;
    round(&desk, false).await;
    assert_eq!((left(Audience::Raw).await, left(Audience::Clean).await), (0, 0));
    assert_eq!(desk.bench.number("select count(*) from run where purged").await, 1);
}
