//! Runs as users see them: submitted once, one at a time per link, steered.
#![allow(clippy::unwrap_used)]

mod desk;

use desk::{Desk, done, planned, yaml, yielded};
use syncline_domain::ErrorCode;
use syncline_domain::breaker::{Breaker, FAILURES_TO_OPEN, Failure};
use syncline_wire::breaker::to_proto;
use syncline_wire::run::run_control_service_server::RunControlService;
use syncline_wire::run::run_service_server::RunService;
use syncline_wire::run::{
    ApproveRunRequest, CancelRunRequest, ExplainRunRequest, GetIntentRequest, GetRunRequest, Intent, ListRunsRequest, PauseRunRequest,
    ResumeRunRequest,
};
use syncline_wire::status::code_of;
use tonic::{Code, Request};

async fn intent(desk: &Desk, run: &str) -> Intent {
    let request = GetIntentRequest { run: run.to_owned() };
    desk.control.get_intent(Request::new(request)).await.unwrap().into_inner().intent()
}

async fn cancel(desk: &Desk, id: &str) -> String {
    let request = CancelRunRequest { id: id.to_owned() };
    let answer = desk.runs.cancel_run(Request::new(request)).await.unwrap();
    answer.into_inner().run.unwrap().status
}

#[tokio::test]
async fn one_key_is_one_run_however_often_and_at_once() {
    let desk = Desk::start().await;
    desk.apply(&yaml("a", "uat")).await.unwrap();
    desk.apply(&yaml("b", "dev")).await.unwrap();
    let answers = futures::future::join_all((0..6).map(|_| desk.submit("a", "key-1"))).await;
    let ids: std::collections::BTreeSet<String> = answers.into_iter().map(|r| r.unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(desk.bench.number("select count(*) from run").await, 1);

    let other = desk.submit("b", "key-1").await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
    assert!(other.message().contains("`a`"), "{}", other.message());
    // The key outlives the run.
    let id = ids.into_iter().next().unwrap();
    desk.all_stages_say(Some(&desk::quiet()));
    cancel(&desk, &id).await;
    syncline_coordinator::reconciler::one_round(&desk.bench.platform, false)
        .await
        .unwrap();
    assert_eq!(desk.submit("a", "key-1").await.unwrap().status, "cancelled");
    assert_eq!(desk.submit("a", &"k".repeat(201)).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(code_of(&desk.submit("c", "").await.unwrap_err()), Some(ErrorCode::SyncUnknown));
}

#[tokio::test]
async fn a_link_has_one_run_at_a_time() {
    let desk = Desk::start().await;
    desk.apply(&yaml("a", "uat")).await.unwrap();
    desk.apply(&yaml("same-link", "uat")).await.unwrap();
    desk.apply(&yaml("other-link", "dev")).await.unwrap();
    let first = desk.submit("a", "").await.unwrap();
    for sync in ["a", "same-link"] {
        let error = desk.submit(sync, "").await.unwrap_err();
        assert_eq!(
            (error.code(), code_of(&error)),
            (Code::FailedPrecondition, Some(ErrorCode::RunActive))
        );
        assert!(error.message().contains(&first.id), "it names the run: {}", error.message());
    }
    desk.submit("other-link", "").await.unwrap();
    // A refused submission leaves nothing behind, not even an announcement.
    assert_eq!(desk.bench.number("select count(*) from run").await, 2);
    assert_eq!(desk.announced().await, ["pending", "compatibility", "pending", "compatibility"]);
}

#[tokio::test]
async fn a_submitted_run_invites_an_analyzer_in_the_same_breath() {
    let desk = Desk::start().await;
    desk.apply(&yaml("a", "uat")).await.unwrap();
    let run = desk.submit("a", "").await.unwrap();
    assert_eq!((run.status.as_str(), run.sync_version), ("compatibility", 1));
    assert_eq!(
        desk.invitations().await,
        [("analyzer".to_owned(), String::new(), "analyze".to_owned())]
    );
    // It executes the version that was newest when it was submitted.
    desk.apply(&yaml("a", "dev")).await.unwrap();
    assert_eq!(desk.run(&run.id).await.sync_version, 1);
}

#[tokio::test]
async fn a_run_that_asks_for_review_waits_for_approval() {
    let desk = Desk::start().await;
    desk.apply(&yaml("a", "uat")).await.unwrap();
    let id = desk.submit("a", "").await.unwrap().id;
    desk.tell(&id, planned(true)).await;
    assert_eq!(desk.run(&id).await.status, "awaiting_approval");
    assert_eq!(desk.invitations().await.len(), 1, "only the analyzer's");
    let approve = || desk.runs.approve_run(Request::new(ApproveRunRequest { id: id.clone() }));
    assert_eq!(approve().await.unwrap().into_inner().run.unwrap().status, "extracting");
    let invited = desk.invitations().await;
    approve().await.unwrap();
    assert_eq!(desk.invitations().await, invited, "approving twice is approving once");
}

#[tokio::test]
async fn workers_are_told_to_stop_as_soon_as_a_run_pauses_or_is_cancelled() {
    let desk = Desk::start().await;
    let id = desk.running().await;
    assert_eq!(intent(&desk, &id).await, Intent::Work);
    let paused = desk.runs.pause_run(Request::new(PauseRunRequest { id: id.clone() })).await.unwrap();
    assert_eq!(paused.into_inner().run.unwrap().status, "pausing");
    assert_eq!(intent(&desk, &id).await, Intent::Stop);
    let resumed = desk
        .runs
        .resume_run(Request::new(ResumeRunRequest { id: id.clone() }))
        .await
        .unwrap();
    assert_eq!(resumed.into_inner().run.unwrap().status, "extracting");
    assert_eq!(intent(&desk, &id).await, Intent::Work);
    assert_eq!(cancel(&desk, &id).await, "cancelling");
    assert_eq!(cancel(&desk, &id).await, "cancelling");
    assert_eq!(intent(&desk, &id).await, Intent::Stop);

    let resume = desk.runs.resume_run(Request::new(ResumeRunRequest { id })).await.unwrap_err();
    assert_eq!(resume.code(), Code::FailedPrecondition);
    assert!(resume.message().contains("cancelling"), "{}", resume.message());
    let unknown = GetIntentRequest { run: "r-none".to_owned() };
    assert_eq!(
        desk.control.get_intent(Request::new(unknown)).await.unwrap_err().code(),
        Code::NotFound
    );
    let unknown = GetRunRequest { id: "r-none".to_owned() };
    assert_eq!(desk.runs.get_run(Request::new(unknown)).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn objects_show_their_own_phases() {
    let desk = Desk::start().await;
    let id = desk.running().await;
    desk.tell(&id, done("Account", "extract")).await;
    let run = desk.run(&id).await;
    let phases: Vec<(String, String)> = run.objects.into_iter().map(|o| (o.object, o.phase)).collect();
    assert_eq!(
        phases,
        [
            ("Account".to_owned(), "transform".to_owned()),
            ("Contact".to_owned(), "extract".to_owned())
        ]
    );
}

#[tokio::test]
async fn lists_are_paged_newest_first_and_filtered_by_sync() {
    let desk = Desk::start().await;
    let mut submitted = Vec::new();
    for n in 0..5 {
        let sync = format!("sync-{n}");
        desk.apply(&yaml(&sync, &format!("uat-{n}"))).await.unwrap();
        submitted.push(desk.submit(&sync, "").await.unwrap().id);
    }
    submitted.reverse();
    let list = |sync: &str, page_size, page_token: String| {
        let request = ListRunsRequest {
            sync: sync.to_owned(),
            page_size,
            page_token,
        };
        desk.runs.list_runs(Request::new(request))
    };
    let (mut found, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = list("", 2, token).await.unwrap().into_inner();
        pages += 1;
        assert!(page.runs.len() <= 2 && pages < 10);
        found.extend(page.runs.into_iter().map(|r| r.id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(found, submitted);
    let one = list("sync-3", 0, String::new()).await.unwrap().into_inner();
    assert_eq!(
        (one.runs.len(), one.runs[0].sync.as_str(), one.next_page_token.as_str()),
        (1, "sync-3", "")
    );
    assert!(list("sync-9", 0, String::new()).await.unwrap().into_inner().runs.is_empty());

    // What comes in while somebody walks stands before the first page and moves nothing.
    let first = list("", 2, String::new()).await.unwrap().into_inner();
    desk.apply(&yaml("sync-5", "uat-5")).await.unwrap();
    desk.submit("sync-5", "").await.unwrap();
    let second = list("", 2, first.next_page_token.clone()).await.unwrap().into_inner();
    assert_eq!(
        second.runs.iter().map(|r| &r.id).collect::<Vec<_>>(),
        submitted[2..4].iter().collect::<Vec<_>>()
    );
    for (sync, token) in [("sync-3", first.next_page_token.as_str()), ("", &first.runs[1].id), ("", "\0")] {
        let status = list(sync, 2, token.to_owned()).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{token}");
    }
}

#[tokio::test]
async fn an_explanation_says_what_a_run_waits_for_and_what_would_help() {
    let desk = Desk::start().await;
    let id = desk.running().await;
    let explain = async || {
        let request = ExplainRunRequest { id: id.clone() };
        desk.runs.explain_run(Request::new(request)).await.unwrap().into_inner()
    };
    // No stage runs here: each is named, before what waits for its turn.
    let answer = explain().await;
    assert_eq!((answer.status.as_str(), answer.waits[0].on.as_str()), ("extracting", "service"));
    assert!(answer.waits[0].what.contains("does not answer") && answer.waits[0].since.is_some());
    desk.tell(&id, yielded("Account", "extract", "LIMITS_API_DAILY_001: no calls are left"))
        .await;
    let answer = explain().await;
    let limited = answer.waits.iter().find(|w| w.on == "condition").unwrap();
    assert_eq!((limited.object.as_str(), limited.step.as_str()), ("Account", "extract"));
    assert_eq!(limited.remedy, ErrorCode::DailyApiLimit.entry().remedy);

    // The connector plays beside the extractor here.
    let mut breaker = Breaker::default();
    for _ in 0..FAILURES_TO_OPEN {
        breaker = breaker.failed(Failure::NoAnswer, 1_000_000_000);
    }
    let breakers = ["uat", "elsewhere"].map(|name| to_proto(name, &breaker).unwrap());
    desk.stages[0].script(|s| s.breakers = Some(breakers.to_vec()));
    let answer = explain().await;
    let held: Vec<_> = answer.waits.iter().filter(|w| w.what.contains("circuit breaker")).collect();
    assert_eq!(held.len(), 1, "only of the run's own connections: {held:?}");
    assert!(held[0].what.starts_with("connection `uat`: 5 requests in a row failed"), "{held:?}");
    assert_eq!(
        (held[0].on.as_str(), held[0].since.map(|s| s.seconds)),
        ("condition", Some(1_000_000))
    );
    let first = answer.waits.iter().find(|w| w.on == "condition");
    assert_eq!(first, Some(held[0]), "the cause stands before what it makes wait");

    cancel(&desk, &id).await;
    assert!(explain().await.waits.iter().all(|w| w.object.is_empty()));
    let unknown = ExplainRunRequest { id: "r-none".into() };
    let status = desk.runs.explain_run(Request::new(unknown)).await.unwrap_err();
    assert_eq!(code_of(&status), Some(ErrorCode::SyncUnknown));
}
