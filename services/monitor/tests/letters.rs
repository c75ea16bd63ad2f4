//! Dead letters: listed, replayed, discarded; what stages get, and what comes of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use chrono::Utc;
use sqlx::PgPool;
use syncline_bus::{DeadLetter as Dead, Handled};
use syncline_domain::TenantId;
use syncline_monitor::MIGRATIONS;
use syncline_monitor::api::Api;
use syncline_monitor::handler::Handler;
use syncline_monitor::letters::Letters;
use syncline_test_support::Peers;
use syncline_testkit::TestDatabase;
use syncline_wire::caller::{ROLE_KEY, SUBJECT_KEY};
use syncline_wire::event::run_event::Fact;
use syncline_wire::event::{LetterReplayed, RunEvent, StatusChanged};
use syncline_wire::monitor::letter_service_server::LetterService as _;
use syncline_wire::monitor::monitor_service_server::MonitorService as _;
use syncline_wire::monitor::{
    CountLettersRequest, DeadLetter, DiscardDeadLettersRequest, FetchLettersRequest, FetchLettersResponse, GetDeadLetterRequest,
    ListDeadLettersRequest, ReplayDeadLettersRequest, ReplayDeadLettersResponse,
};
use syncline_wire::time::to_proto;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};

struct Desk {
    handler: Handler,
    api: Api,
    letters: Letters,
    coordinator: Peers,
    _database: TestDatabase,
}

/// Two letters of Account and one of Contact from the masker, one of Contact from the loader.
async fn desk() -> Desk {
    let database = TestDatabase::create().await;
    let pool = PgPool::connect(database.url()).await.unwrap();
    MIGRATIONS.run(&pool).await.unwrap();
    let coordinator = Peers::start().await;
    coordinator.script(|s| s.reopening = Some(Ok(1)));
    let channel = tonic::transport::Endpoint::from_shared(coordinator.url()).unwrap().connect_lazy();
    let letters = Letters::new(pool.clone(), TenantId::single(), channel);
    let news = Arc::new(Notify::new());
    let desk = Desk {
        handler: Handler::new(pool.clone(), Arc::clone(&news)),
        api: Api::new(pool.clone(), TenantId::single(), letters.clone(), news, CancellationToken::new()),
        letters,
        coordinator,
        _database: database,
    };
    for (stage, object, seq) in [
        ("masker", "Account", 0),
        ("masker", "Account", 1),
        ("masker", "Contact", 0),
        ("loader", "Contact", 1),
    ] {
        assert_eq!(desk.handler.dead(dead(stage, object, seq, 0)).await, Handled::Done);
    }
    desk
}

fn dead(stage: &str, object: &str, seq: u32, round: u32) -> Dead {
    Dead {
        subject: format!("dead.{stage}.default.r-1"),
        batch: format!("r-1/{object}/0/0/{seq}/0/1"),
        object: object.into(),
        code: "SYSTEM_DEAD_LETTER_001".into(),
        cause: "not opened".into(),
        attempts: 5,
        records: 100,
        round,
        payload: format!("{stage}{object}{seq}").into(),
        sequence: 1,
    }
}

impl Desk {
    async fn list(&self, wanted: ListDeadLettersRequest) -> Vec<DeadLetter> {
        self.api
            .list_dead_letters(Request::new(wanted))
            .await
            .unwrap()
            .into_inner()
            .dead_letters
    }

    async fn get(&self, id: u64) -> DeadLetter {
        let answer = self.api.get_dead_letter(Request::new(GetDeadLetterRequest { id })).await.unwrap();
        answer.into_inner().dead_letter.unwrap()
    }

    async fn replay(&self, wanted: ReplayDeadLettersRequest) -> Result<ReplayDeadLettersResponse, Status> {
        self.api
            .replay_dead_letters(by("ann", wanted))
            .await
            .map(tonic::Response::into_inner)
    }

    async fn fetch(&self, object: &str, stage: &str, after: u64) -> FetchLettersResponse {
        let request = FetchLettersRequest {
            run: "r-1".into(),
            object: object.into(),
            stage: stage.into(),
            after,
            without_payload: false,
        };
        self.letters.fetch_letters(Request::new(request)).await.unwrap().into_inner()
    }

    async fn states(&self) -> Vec<String> {
        let mut letters = self.list(ListDeadLettersRequest::default()).await;
        letters.sort_by_key(|l| l.id);
        letters.into_iter().map(|l| l.state).collect()
    }

    async fn tell(&self, fact: Fact) {
        let event = RunEvent {
            tenant: "default".into(),
            run: "r-1".into(),
            at: Some(to_proto(Utc::now())),
            fact: Some(fact),
        };
        assert_eq!(self.handler.event(event).await, Handled::Done);
    }
}

fn by<T>(subject: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(SUBJECT_KEY, subject.parse().unwrap());
    request.metadata_mut().insert(ROLE_KEY, "operator".parse().unwrap());
    request
}

fn of_run() -> ReplayDeadLettersRequest {
    ReplayDeadLettersRequest {
        run: "r-1".into(),
        ..Default::default()
    }
}

fn replayed(stage: &str, object: &str, seq: u32) -> Fact {
    Fact::LetterReplayed(LetterReplayed {
        stage: stage.into(),
        object: object.into(),
        batch: format!("r-1/{object}/0/0/{seq}/0/1"),
        round: 1,
    })
}

#[tokio::test]
async fn letters_are_found_by_object_stage_code_and_state() {
    let desk = desk().await;
    let empty = ListDeadLettersRequest::default;
    for (wanted, count) in [
        (empty(), 4),
        (
            ListDeadLettersRequest {
                object: "Contact".into(),
                ..empty()
            },
            2,
        ),
        (
            ListDeadLettersRequest {
                object: "Contact".into(),
                stage: "loader".into(),
                ..empty()
            },
            1,
        ),
        (
            ListDeadLettersRequest {
                code: "OTHER".into(),
                ..empty()
            },
            0,
        ),
        (
            ListDeadLettersRequest {
                state: "kept".into(),
                ..empty()
            },
            4,
        ),
        (
            ListDeadLettersRequest {
                state: "discarded".into(),
                ..empty()
            },
            0,
        ),
    ] {
        assert_eq!(desk.list(wanted.clone()).await.len(), count, "{wanted:?}");
    }
    let one = desk.list(empty()).await.pop().unwrap();
    assert_eq!((one.records, one.attempts, one.state.as_str()), (100, 5, "kept"));
    assert_eq!(desk.get(one.id).await, one);
    let none = desk
        .api
        .get_dead_letter(Request::new(GetDeadLetterRequest { id: 99 }))
        .await
        .unwrap_err();
    assert_eq!(none.code(), Code::NotFound);
}

#[tokio::test]
async fn a_replay_reopens_the_run_from_the_step_that_gave_up_and_hands_the_letters_to_their_stages() {
    let desk = desk().await;
    let looked = desk.replay(ReplayDeadLettersRequest { dry_run: true, ..of_run() }).await.unwrap();
    assert_eq!((looked.count, looked.records, looked.run.as_str()), (4, 400, "r-1"));
    assert!(desk.coordinator.script(|s| s.reopened_runs.is_empty()), "a look changes nothing");
    assert!(desk.fetch("Account", "masker", 0).await.letters.is_empty());
    desk.replay(of_run()).await.unwrap();
    let asked = desk.coordinator.script(|s| s.reopened_runs.clone());
    let objects: Vec<_> = asked[0].objects.iter().map(|o| (o.object.as_str(), o.from_step.as_str())).collect();
    assert_eq!(objects, [("Account", "transform"), ("Contact", "transform")]);

    let mut payloads = Vec::new();
    let mut after = 0;
    loop {
        let answer = desk.fetch("Account", "masker", after).await;
        let Some(last) = answer.letters.last() else { break };
        after = last.id;
        payloads.extend(answer.letters.into_iter().map(|l| l.payload));
    }
    assert_eq!(
        payloads,
        [b"maskerAccount0".to_vec(), b"maskerAccount1".to_vec()],
        "sealed as they came, oldest first"
    );
    assert_eq!(desk.fetch("Contact", "loader", 0).await.letters.len(), 1);
    let one = desk.get(1).await;
    assert_eq!((one.state.as_str(), one.replays, one.decided_by.as_str()), ("replaying", 1, "ann"));
}

#[tokio::test]
async fn a_letter_of_the_loader_alone_is_only_loaded_again() {
    let desk = desk().await;
    desk.replay(ReplayDeadLettersRequest {
        stage: "loader".into(),
        ..of_run()
    })
    .await
    .unwrap();
    let asked = desk.coordinator.script(|s| s.reopened_runs.clone());
    let objects: Vec<_> = asked[0].objects.iter().map(|o| (o.object.as_str(), o.from_step.as_str())).collect();
    assert_eq!(objects, [("Contact", "load_pass_1")]);
    assert_eq!(desk.states().await, ["kept", "kept", "kept", "replaying"]);
}

#[tokio::test]
async fn a_run_that_is_not_reopened_leaves_its_letters_kept() {
    let desk = desk().await;
    desk.coordinator
        .script(|s| s.reopening = Some(Err(Status::failed_precondition("run r-1 is loading"))));
    let refused = desk.replay(of_run()).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::FailedPrecondition, "run r-1 is loading")
    );
    assert_eq!(desk.states().await, ["kept"; 4]);
    assert_eq!(desk.get(1).await.replays, 0);
    let unnamed = desk.replay(ReplayDeadLettersRequest::default()).await.unwrap_err();
    assert_eq!(unnamed.code(), Code::InvalidArgument);
    let other = ReplayDeadLettersRequest {
        id: 1,
        run: "r-2".into(),
        ..Default::default()
    };
    assert_eq!(desk.replay(other).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_letter_is_replayed_unless_it_is_given_up_again_in_whatever_order_that_is_heard() {
    for backwards in [false, true] {
        let desk = desk().await;
        desk.replay(of_run()).await.unwrap();
        desk.tell(replayed("masker", "Account", 0)).await;
        // Given up again, and told as replayed by a worker that found it done.
        if backwards {
            desk.tell(replayed("masker", "Account", 1)).await;
        }
        assert_eq!(desk.handler.dead(dead("masker", "Account", 1, 1)).await, Handled::Done);
        desk.tell(replayed("masker", "Account", 1)).await;
        let again = desk.get(2).await;
        assert_eq!((again.state.as_str(), again.attempts), ("kept", 10), "backwards: {backwards}");
        assert!(again.last_at.unwrap().seconds >= again.at.unwrap().seconds);
        // The message of round 0 comes once more.
        desk.handler.dead(dead("masker", "Account", 0, 0)).await;
        assert_eq!(desk.states().await, ["replayed", "kept", "replaying", "replaying"]);
        // The run ends without the others.
        let ended = StatusChanged {
            status: "cancelled".into(),
            version: 9,
            ..Default::default()
        };
        desk.tell(Fact::StatusChanged(ended)).await;
        assert_eq!(desk.states().await, ["replayed", "kept", "kept", "kept"]);
        desk.tell(replayed("masker", "Contact", 0)).await;
        assert_eq!(desk.states().await, ["replayed", "kept", "replayed", "kept"], "the news came late");
    }
}

#[tokio::test]
async fn a_discarded_letter_says_who_and_why_and_is_no_longer_waited_for() {
    let desk = desk().await;
    let discard = async |reason: &str| {
        let request = DiscardDeadLettersRequest {
            run: "r-1".into(),
            object: "Account".into(),
            reason: reason.into(),
            ..Default::default()
        };
        desk.api
            .discard_dead_letters(by("ann", request))
            .await
            .map(tonic::Response::into_inner)
    };
    assert_eq!(discard(" ").await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(discard("test data").await.unwrap().count, 2);
    let one = desk.get(1).await;
    assert_eq!(
        (one.state.as_str(), one.decided_by.as_str(), one.reason.as_str()),
        ("discarded", "ann", "test data")
    );
    assert!(one.decided_at.is_some());
    let count = desk
        .letters
        .count_letters(Request::new(CountLettersRequest { run: "r-1".into() }))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((count.kept, count.discarded, count.records), (2, 2, 200));
    assert_eq!(desk.replay(of_run()).await.unwrap().count, 2, "what was discarded is not replayed");
}
