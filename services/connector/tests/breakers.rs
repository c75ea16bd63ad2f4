//! Circuit breakers: decided once for all replicas, shown to people, probed by one.
#![allow(clippy::unwrap_used)]
#![allow(dead_code)] // the bench serves several test programs

mod bench;

use std::time::Duration;

use bench::{Bench, Replica};
use futures::future::join_all;
use syncline_domain::ErrorCode;
use syncline_domain::breaker::{FAILURES_TO_OPEN, PAUSE_MS_MIN};
use syncline_wire::access::{DescribeRequest, GetAccessRequest, LeaseQuotaRequest, LeaseQuotaResponse, ReportOutcomeRequest};
use syncline_wire::connection::breaker_service_server::BreakerService;
use syncline_wire::connection::{Breaker, GetConnectionRequest, ListBreakersRequest, TestConnectionRequest};
use syncline_wire::status::{code_of, wait_of};
use tonic::{Code, Request, Status};

const PRODUCTION: &str = "production";

async fn bench() -> (Bench, Replica, Replica) {
    let bench = Bench::start().await;
    let (one, two) = (bench.replica().await, bench.replica().await);
    one.connections.clone().apply_connection(bench.document()).await.unwrap();
    (bench, one, two)
}

async fn lease(replica: &Replica, served: bool) -> Result<LeaseQuotaResponse, Status> {
    let request = LeaseQuotaRequest {
        connection: PRODUCTION.to_owned(),
        calls: 20,
        served,
    };
    replica.access.clone().lease_quota(request).await.map(tonic::Response::into_inner)
}

/// What became of a request: a failure, or an answer when empty.
async fn report(replica: &Replica, failure: &str, wait_ms: u64) {
    let request = ReportOutcomeRequest {
        connection: PRODUCTION.to_owned(),
        failure: failure.to_owned(),
        wait_ms,
    };
    replica.access.clone().report_outcome(request).await.unwrap();
}

async fn open(replicas: [&Replica; 2]) {
    for n in 0..FAILURES_TO_OPEN {
        report(replicas[n as usize % 2], "no_answer", 0).await;
    }
}

async fn shown(replica: &Replica) -> Option<Breaker> {
    let request = GetConnectionRequest {
        name: PRODUCTION.to_owned(),
    };
    let answer = replica.connections.clone().get_connection(request).await.unwrap();
    answer.into_inner().connection.unwrap().breaker
}

async fn listed(replica: &Replica) -> Vec<Breaker> {
    let request = ListBreakersRequest {
        connections: vec!["elsewhere".to_owned(), PRODUCTION.to_owned()],
    };
    replica
        .connector
        .list_breakers(Request::new(request))
        .await
        .unwrap()
        .into_inner()
        .breakers
}

/// The pause is over, as after some time.
async fn pass_time(bench: &Bench) {
    let over = "update quota set breaker = jsonb_set(breaker::jsonb, '{until_ms}', '0')::text";
    sqlx::query(over).execute(&bench.db).await.unwrap();
}

fn is_held_back(refused: &Status) -> bool {
    code_of(refused) == Some(ErrorCode::HeldBack)
}

#[tokio::test]
async fn failures_that_anybody_reports_open_it_for_everybody_and_say_so() {
    let (_bench, one, two) = bench().await;
    for n in 0..FAILURES_TO_OPEN {
        assert_eq!(lease(&two, false).await.unwrap().granted, 20, "after {n} failures");
        assert_eq!(shown(&two).await, None);
        report(if n % 2 == 0 { &one } else { &two }, "no_answer", 0).await;
    }
    for replica in [&one, &two] {
        let refused = lease(replica, true).await.unwrap_err();
        assert_eq!((code_of(&refused), refused.code()), (Some(ErrorCode::HeldBack), Code::Unavailable));
        let wait = wait_of(&refused).unwrap();
        assert!(wait <= Duration::from_millis(PAUSE_MS_MIN) && !wait.is_zero(), "{wait:?}");
        assert!(
            refused
                .message()
                .contains("nothing is sent to `production`: 5 requests in a row failed"),
            "{refused}"
        );
        let breaker = shown(replica).await.unwrap();
        assert_eq!(
            (breaker.state.as_str(), breaker.failures, breaker.failure.as_str()),
            ("open", 5, "no_answer")
        );
        assert!(breaker.until.unwrap().seconds >= breaker.since.unwrap().seconds);
        assert_eq!(listed(replica).await, [breaker]);
    }
}

#[tokio::test]
async fn answers_in_between_begin_the_count_anew_and_leave_nothing_to_read() {
    let (bench, one, two) = bench().await;
    for _ in 0..3 {
        for _ in 1..FAILURES_TO_OPEN {
            report(&one, "server_error", 0).await;
        }
        // Somebody else's block was answered, which comes with the next lease.
        assert_eq!(lease(&two, true).await.unwrap().granted, 20);
    }
    report(&one, "server_error", 0).await;
    report(&one, "", 0).await;
    let left: Option<String> = sqlx::query_scalar("select breaker from quota").fetch_one(&bench.db).await.unwrap();
    assert_eq!(left, None);
}

#[tokio::test]
async fn one_of_many_is_given_the_probe_and_its_outcome_decides_for_all() {
    let (bench, one, two) = bench().await;
    open([&one, &two]).await;
    let all_ask = async || {
        let answers = join_all((0..20).map(|n| lease(if n % 2 == 0 { &one } else { &two }, false))).await;
        let (granted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert!(refused.into_iter().all(|r| is_held_back(&r.unwrap_err())));
        granted.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    assert!(all_ask().await.is_empty());
    pass_time(&bench).await;
    let probes = all_ask().await;
    assert_eq!(probes.iter().map(|p| (p.granted, p.probe)).collect::<Vec<_>>(), [(1, true)]);
    assert_eq!(shown(&one).await.unwrap().state, "half_open");

    report(&two, "no_connection", 0).await;
    let refused = lease(&one, false).await.unwrap_err();
    let wait = wait_of(&refused).unwrap();
    assert!(wait > Duration::from_millis(PAUSE_MS_MIN), "the pause grows: {wait:?}");
    assert_eq!(shown(&one).await.unwrap().failures, 6);

    pass_time(&bench).await;
    assert_eq!(all_ask().await.len(), 1);
    report(&one, "", 0).await;
    assert_eq!(shown(&two).await, None);
    assert!(listed(&two).await.is_empty());
    let granted = all_ask().await;
    assert!(
        granted.len() == 20 && granted.iter().all(|g| g.granted == 20 && !g.probe),
        "{granted:?}"
    );
}

#[tokio::test]
async fn sign_ins_of_an_org_that_is_away_open_it_and_are_then_held_back_while_a_good_token_is_given() {
    let (bench, one, _) = bench().await;
    let access = async |replica: &Replica| {
        let request = GetAccessRequest {
            connection: PRODUCTION.to_owned(),
            stale: String::new(),
        };
        replica.access.clone().get_access(request).await
    };
    bench.org.script(|s| s.down = true);
    for _ in 0..FAILURES_TO_OPEN {
        // One that does not remember the failure before.
        let refused = access(&bench.replica().await).await.unwrap_err();
        assert_eq!(code_of(&refused), Some(ErrorCode::Unreachable), "{refused}");
    }
    let tried = bench.org.token_requests();
    assert_eq!(tried, FAILURES_TO_OPEN as usize);
    assert!(is_held_back(&access(&bench.replica().await).await.unwrap_err()));
    assert_eq!(bench.org.token_requests(), tried, "nobody asked the org");
    assert_eq!(shown(&one).await.unwrap().failure, "sign_in");

    // When it is due a sign-in is tried again, and one that fails was the probe.
    pass_time(&bench).await;
    assert_eq!(
        code_of(&access(&bench.replica().await).await.unwrap_err()),
        Some(ErrorCode::Unreachable)
    );
    assert!(is_held_back(&access(&bench.replica().await).await.unwrap_err()));
    assert_eq!(bench.org.token_requests(), tried + 1);

    bench.org.script(|s| s.down = false);
    pass_time(&bench).await;
    access(&bench.replica().await).await.unwrap();
    report(&one, "", 0).await;
    open([&one, &one]).await;
    assert!(
        access(&bench.replica().await).await.is_ok(),
        "a token that is good costs the org nothing"
    );
}

#[tokio::test]
async fn the_connector_s_own_questions_are_held_back_but_not_a_person_s_test_which_closes_it() {
    let (bench, one, two) = bench().await;
    open([&one, &two]).await;
    let request = DescribeRequest {
        connection: PRODUCTION.to_owned(),
        objects: vec!["Account".to_owned()],
    };
    let refused = one.access.clone().describe(request.clone()).await.unwrap_err();
    assert!(is_held_back(&refused), "{refused}");
    assert_eq!(bench.org.script(|s| s.describe_requests.len()), 0);

    let test = TestConnectionRequest {
        name: PRODUCTION.to_owned(),
    };
    bench.org.script(|s| s.data_down = true);
    let tested = two.connections.clone().test_connection(test.clone()).await.unwrap().into_inner();
    assert_eq!(tested.connection.unwrap().health, "Error");
    assert!(shown(&one).await.is_some(), "it is still away");
    bench.org.script(|s| s.data_down = false);
    let tested = two.connections.clone().test_connection(test).await.unwrap().into_inner();
    let tested = tested.connection.unwrap();
    assert_eq!((tested.health.as_str(), tested.breaker), ("Connected", None));
    one.access.clone().describe(request).await.unwrap();
    assert_eq!(lease(&one, false).await.unwrap().granted, 20);
}

#[tokio::test]
async fn the_connector_s_own_questions_are_probes_too() {
    let (bench, one, two) = bench().await;
    open([&one, &two]).await;
    pass_time(&bench).await;
    let request = DescribeRequest {
        connection: PRODUCTION.to_owned(),
        objects: vec!["Account".to_owned()],
    };
    one.access.clone().describe(request).await.unwrap();
    assert_eq!(shown(&two).await, None);
}

#[tokio::test]
async fn a_wait_that_the_org_asked_for_is_everybody_s_and_passes_by_itself() {
    let (bench, one, two) = bench().await;
    report(&one, "", 90_000).await;
    let refused = lease(&two, false).await.unwrap_err();
    assert!(
        is_held_back(&refused) && refused.message().contains("asked to be left alone until"),
        "{refused}"
    );
    assert!(wait_of(&refused).unwrap() > Duration::from_secs(80));
    report(&one, "", 0).await;
    assert_eq!(
        shown(&two).await.unwrap().state,
        "held",
        "an answer that was under way changes nothing"
    );
    pass_time(&bench).await;
    assert_eq!(shown(&two).await, None);
    let granted = lease(&two, false).await.unwrap();
    assert_eq!((granted.granted, granted.probe), (20, false));
}

#[tokio::test]
async fn a_connection_that_is_applied_anew_is_a_new_chance_and_nonsense_is_refused() {
    let (bench, one, two) = bench().await;
    open([&one, &two]).await;
    let mut moved = bench.document();
    moved.yaml.push_str("  retry: {attempts: 2}\n");
    two.connections.clone().apply_connection(moved).await.unwrap();
    assert_eq!(lease(&one, false).await.unwrap().granted, 20);
    for (connection, failure, code) in [
        ("nobody", "no_answer", Code::NotFound),
        (PRODUCTION, "bored", Code::InvalidArgument),
    ] {
        let request = ReportOutcomeRequest {
            connection: connection.to_owned(),
            failure: failure.to_owned(),
            wait_ms: 0,
        };
        assert_eq!(one.access.clone().report_outcome(request).await.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn a_breaker_of_another_release_is_closed() {
    let (bench, one, _) = bench().await;
    sqlx::query(r#"update quota set breaker = '{"state": "ajar"}'"#)
        .execute(&bench.db)
        .await
        .unwrap();
    assert_eq!(lease(&one, false).await.unwrap().granted, 20);
    assert_eq!(shown(&one).await, None);
}
