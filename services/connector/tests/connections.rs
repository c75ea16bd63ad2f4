//! Connections as people see them, and what stages are given besides tokens.
#![allow(clippy::unwrap_used)]
#![allow(dead_code)] // the bench serves several test programs

mod bench;

use std::time::Duration;

use bench::{Bench, Replica, SECRET};
use futures::future::join_all;
use syncline_batch::SealingKey;
use syncline_domain::ErrorCode;
use syncline_domain::describe::ObjectDescribe;
use syncline_domain::retry::RetryPolicy;
use syncline_wire::access::{
    DescribeRequest, GetAccessRequest, GetRunKeysRequest, LeaseQuotaRequest, LeaseQuotaResponse, ReportUsageRequest,
};
use syncline_wire::caller;
use syncline_wire::connection::{Connection, DeleteConnectionRequest, GetConnectionRequest, ListConnectionsRequest, TestConnectionRequest};
use syncline_wire::status::code_of;
use tonic::{Code, Request, Status};

const SOON: Duration = Duration::from_secs(20);

async fn test(replica: &Replica) -> Connection {
    let request = TestConnectionRequest {
        name: "production".to_owned(),
    };
    let answer = replica.connections.clone().test_connection(request).await.unwrap();
    answer.into_inner().connection.unwrap()
}

async fn lease(replica: &Replica, calls: u32) -> Result<LeaseQuotaResponse, Status> {
    let request = LeaseQuotaRequest {
        connection: "production".to_owned(),
        calls,
        served: false,
    };
    replica.access.clone().lease_quota(request).await.map(tonic::Response::into_inner)
}

async fn describe(replica: &Replica, objects: &[&str]) -> Result<Vec<String>, Status> {
    let request = DescribeRequest {
        connection: "production".to_owned(),
        objects: objects.iter().map(|o| (*o).to_owned()).collect(),
    };
    replica
        .access
        .clone()
        .describe(request)
        .await
        .map(|r| r.into_inner().describes_json)
}

#[tokio::test]
async fn applying_twice_changes_nothing_and_shows_the_connection() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    let first = replica
        .connections
        .clone()
        .apply_connection(bench.document())
        .await
        .unwrap()
        .into_inner();
    assert!(first.changed);
    let shown = first.connection.unwrap();
    assert_eq!(
        (
            shown.name.as_str(),
            shown.r#type.as_str(),
            shown.api_version.as_str(),
            shown.url.as_str()
        ),
        ("production", "salesforce", "65.0", bench.org.url().as_str())
    );
    assert_eq!(
        (shown.health.as_str(), shown.org_type.as_str()),
        ("", ""),
        "nobody has asked the org yet"
    );
    let second = replica
        .connections
        .clone()
        .apply_connection(bench.document())
        .await
        .unwrap()
        .into_inner();
    assert!(!second.changed);
    let mut changed = bench.document();
    changed.yaml.push_str("  requests_per_second: 7\n");
    assert!(
        replica
            .connections
            .clone()
            .apply_connection(changed)
            .await
            .unwrap()
            .into_inner()
            .changed
    );
}

/// A request as the gateway passes it on.
fn from<T>(subject: &str, role: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(caller::SUBJECT_KEY, subject.parse().unwrap());
    request.metadata_mut().insert(caller::ROLE_KEY, role.parse().unwrap());
    request
}

#[tokio::test]
async fn a_connection_is_changed_by_its_owner_or_an_administrator_and_by_nobody_else() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    let mut connections = replica.connections.clone();
    let changed = |n: u32| {
        let mut document = bench.document();
        document.yaml.push_str(&format!("  requests_per_second: {n}\n"));
        document
    };
    let made = connections
        .apply_connection(from("ann", "operator", bench.document()))
        .await
        .unwrap();
    assert_eq!(made.metadata().get(caller::CONNECTIONS_KEY).unwrap(), "production");
    assert_eq!(made.into_inner().connection.unwrap().owner, "ann");
    let name = || DeleteConnectionRequest {
        name: "production".to_owned(),
    };
    let status = connections.apply_connection(from("bob", "operator", changed(7))).await.unwrap_err();
    assert_eq!((status.code(), code_of(&status)), (Code::PermissionDenied, Some(ErrorCode::Role)));
    assert!(status.message().contains("`ann`"), "{status}");
    let status = connections.delete_connection(from("bob", "operator", name())).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(
        connections
            .apply_connection(from("ann", "operator", changed(8)))
            .await
            .unwrap()
            .into_inner()
            .changed
    );
    let by_admin = connections
        .apply_connection(from("root", "admin", changed(9)))
        .await
        .unwrap()
        .into_inner();
    assert!(by_admin.changed);
    assert_eq!(by_admin.connection.unwrap().owner, "ann", "the first owner stays");
    connections.delete_connection(from("ann", "operator", name())).await.unwrap();

    // One of an earlier release, which knew no owners.
    connections.apply_connection(bench.document()).await.unwrap();
    let status = connections.delete_connection(from("ann", "operator", name())).await.unwrap_err();
    assert!(status.message().contains("administrators"), "{status}");
    connections.delete_connection(from("root", "admin", name())).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_applied_is_named_and_stores_nothing() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    let good = bench.document();
    let mut missing = good.clone();
    missing.secrets.clear();
    let mut surplus = good.clone();
    surplus.secrets.insert("private_key".to_owned(), "x".to_owned());
    let mut misspelt = good.clone();
    misspelt.yaml = misspelt.yaml.replace("url:", "ulr:");
    let mut plain = good.clone();
    plain.yaml = plain.yaml.replace("{env: PROD_SECRET}", SECRET);
    let mut disguised = good.clone();
    disguised.yaml = disguised.yaml.replace(&bench.org.url(), "http://localhost:x@evil.example");
    for (request, says) in [
        (missing, "`client_secret`"),
        (surplus, "`private_key`"),
        (misspelt, "line 6"),
        (plain, "line"),
        (disguised, "url"),
    ] {
        let status = replica.connections.clone().apply_connection(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(says), "{status}");
        assert!(!status.message().contains(SECRET), "{status}");
    }
    let stored: i64 = sqlx::query_scalar("select count(*) from connection")
        .fetch_one(&bench.db)
        .await
        .unwrap();
    assert_eq!(stored, 0);
}

#[tokio::test]
async fn a_retry_policy_is_stored_shown_and_handed_to_stages_from_the_next_access_on() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    let defaults = syncline_wire::retry::to_proto(&RetryPolicy::default());
    let applied = replica.connections.clone().apply_connection(bench.document()).await.unwrap();
    assert_eq!(applied.into_inner().connection.unwrap().retry, Some(defaults.clone()));
    let access = async || {
        let request = GetAccessRequest {
            connection: "production".to_owned(),
            stale: String::new(),
        };
        replica.access.clone().get_access(request).await.unwrap().into_inner()
    };
    assert_eq!(access().await.retry, Some(defaults));
    let mut changed = bench.document();
    changed
        .yaml
        .push_str("  retry: {attempts: 2, initial_delay: 20ms, statuses: [503], request_timeout: 2m}\n");
    assert!(
        replica
            .connections
            .clone()
            .apply_connection(changed.clone())
            .await
            .unwrap()
            .into_inner()
            .changed
    );
    let expected = RetryPolicy {
        attempts_max: 2,
        delay_min: Duration::from_millis(20),
        statuses: [503].into(),
        request_timeout: Duration::from_secs(120),
        ..RetryPolicy::default()
    };
    let policy = access().await.retry.as_ref().map(syncline_wire::retry::from_proto);
    assert_eq!(policy, Some(expected.clone()));
    let shown = GetConnectionRequest {
        name: "production".to_owned(),
    };
    let shown = replica.connections.clone().get_connection(shown).await.unwrap().into_inner();
    assert_eq!(shown.connection.unwrap().retry, Some(syncline_wire::retry::to_proto(&expected)));
    // Applied again, it is the same.
    assert!(
        !replica
            .connections
            .clone()
            .apply_connection(changed.clone())
            .await
            .unwrap()
            .into_inner()
            .changed
    );
    changed.yaml = changed.yaml.replace("request_timeout: 2m", "request_timeout: 0s");
    let refused = replica.connections.clone().apply_connection(changed).await.unwrap_err();
    assert!(
        refused.message().contains("line 8") && refused.message().contains("100ms to 30m"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_test_shows_who_the_org_is() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    replica.connections.clone().apply_connection(bench.document()).await.unwrap();
    let production = test(&replica).await;
    assert_eq!(production.health, "Connected", "{production:?}");
    assert_eq!(
        (
            production.org_type.as_str(),
            production.org_id.as_str(),
            production.org_name.as_str()
        ),
        ("Production", "00Dxx0000001gEREAY", "Acme")
    );
    assert_eq!((production.api_calls_used, production.api_calls_max), (18, 15_000));
    assert!(production.last_connected_at.is_some());
    bench.org.script(|s| s.sandbox = true);
    assert_eq!(test(&replica).await.org_type, "Sandbox");
    assert_eq!(bench.org.token_requests(), 2, "each test signs in");
}

#[tokio::test]
async fn wrong_credentials_are_a_health_and_not_a_failure_of_the_test() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    let mut wrong = bench.document();
    wrong.secrets.insert("client_secret".to_owned(), "guessed".to_owned());
    replica.connections.clone().apply_connection(wrong).await.unwrap();
    let shown = test(&replica).await;
    assert_eq!(
        (shown.health.as_str(), shown.health_code.as_str()),
        ("Error", "AUTH_CREDENTIALS_001")
    );
    assert!(!shown.health_message.is_empty() && !shown.health_message.contains("guessed"));
    replica.connections.clone().apply_connection(bench.document()).await.unwrap();
    let mended = test(&replica).await;
    assert_eq!((mended.health.as_str(), mended.health_code.as_str()), ("Connected", ""));
}

#[tokio::test]
async fn a_refresh_token_that_is_over_makes_the_connection_expired() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    replica.connections.clone().apply_connection(bench.rotating()).await.unwrap();
    assert_eq!(test(&replica).await.health, "Connected");
    bench.org.script(|s| s.rotating = Some("somebody consented anew".to_owned()));
    assert_eq!(test(&replica).await.health, "Expired");
}

#[tokio::test]
async fn unknown_connections_are_not_found_everywhere() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    for name in ["production", "Not A Name"] {
        let name = name.to_owned();
        let get = replica
            .connections
            .clone()
            .get_connection(GetConnectionRequest { name: name.clone() })
            .await
            .unwrap_err();
        let test = replica
            .connections
            .clone()
            .test_connection(TestConnectionRequest { name: name.clone() })
            .await
            .unwrap_err();
        let report = ReportUsageRequest {
            connection: name.clone(),
            used: 1,
            max: 2,
        };
        let report = replica.access.clone().report_usage(report).await.unwrap_err();
        for status in [
            get,
            test,
            report,
            lease(&replica, 1).await.unwrap_err(),
            describe(&replica, &["Account"]).await.unwrap_err(),
        ] {
            assert_eq!(
                (status.code(), code_of(&status)),
                (Code::NotFound, Some(ErrorCode::UnknownConnection)),
                "{status}"
            );
        }
    }
}

#[tokio::test]
async fn connections_are_listed_in_pages() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    for name in ["c", "a", "b-2", "b-1", "d"] {
        let mut request = bench.document();
        request.yaml = request.yaml.replace("production", name);
        replica.connections.clone().apply_connection(request).await.unwrap();
    }
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListConnectionsRequest { page_size: 2, page_token };
        let page = replica.connections.clone().list_connections(request).await.unwrap().into_inner();
        assert!(page.connections.len() <= 2);
        names.extend(page.connections.into_iter().map(|c| c.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["a", "b-1", "b-2", "c", "d"]);
    let bad = ListConnectionsRequest {
        page_size: 2,
        page_token: "'; drop".to_owned(),
    };
    assert_eq!(
        replica.connections.clone().list_connections(bad).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn describes_cost_the_org_one_request_for_all_replicas_and_callers() {
    let bench = Bench::start().await;
    let (one, two) = (bench.replica().await, bench.replica().await);
    one.connections.clone().apply_connection(bench.document()).await.unwrap();
    for answers in join_all((0..10).map(|_| describe(&one, &["Contact", "Nothing__c", "Account"]))).await {
        let answers = answers.unwrap();
        let [contact, nothing, account] = answers.as_slice() else {
            panic!("{} answers", answers.len())
        };
        assert_eq!(serde_json::from_str::<ObjectDescribe>(contact).unwrap().name.as_str(), "Contact");
        assert_eq!(nothing, "");
        assert_eq!(serde_json::from_str::<ObjectDescribe>(account).unwrap().name.as_str(), "Account");
    }
    describe(&two, &["Account", "Contact"]).await.unwrap();
    let asked = bench.org.script(|s| s.describe_requests.clone());
    for object in ["Account", "Contact"] {
        assert_eq!(asked.iter().filter(|o| *o == object).count(), 1, "{asked:?}");
    }
    // Older than a minute: asked again.
    sqlx::query("update describe set read_at = read_at - interval '61 s'")
        .execute(&bench.db)
        .await
        .unwrap();
    describe(&bench.replica().await, &["Account"]).await.unwrap();
    assert_eq!(
        bench.org.script(|s| s.describe_requests.iter().filter(|o| *o == "Account").count()),
        2
    );
    // Applied anew: what was learnt through the old document is not believed.
    let mut changed = bench.document();
    changed.yaml.push_str("  requests_per_second: 60\n");
    one.connections.clone().apply_connection(changed).await.unwrap();
    describe(&two, &["Account"]).await.unwrap();
    assert_eq!(
        bench.org.script(|s| s.describe_requests.iter().filter(|o| *o == "Account").count()),
        3
    );
}

#[tokio::test]
async fn describing_survives_a_token_that_was_revoked_meanwhile() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    replica.connections.clone().apply_connection(bench.document()).await.unwrap();
    describe(&replica, &["Account"]).await.unwrap();
    bench.org.script(|s| s.valid.clear());
    describe(&replica, &["Contact"]).await.unwrap();
    assert_eq!(bench.org.token_requests(), 2);
    let bad = describe(&replica, &["Account; drop"]).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn the_quota_is_one_for_all_replicas() {
    let bench = Bench::start().await;
    let (one, two) = (bench.replica().await, bench.replica().await);
    let mut request = bench.document();
    request.yaml.push_str("  requests_per_second: 10\n");
    one.connections.clone().apply_connection(request).await.unwrap();
    // The burst is two seconds' worth, and no block is larger.
    let first = lease(&one, 1_000).await.unwrap();
    assert_eq!((first.granted, first.wait_ms), (20, 0));
    // The other replica's own limiter is fresh, the row is not: it must wait for its calls' turn.
    let second = lease(&two, 10).await.unwrap();
    assert_eq!(second.granted, 10);
    assert!((500..=1_000).contains(&second.wait_ms), "{}", second.wait_ms);
    let third = lease(&two, 10).await.unwrap();
    assert!((1_200..=2_000).contains(&third.wait_ms), "{}", third.wait_ms);
    assert_eq!(lease(&two, 0).await.unwrap().granted, 1, "at least one");
}

#[tokio::test]
async fn stages_are_refused_when_the_daily_allocation_runs_out_until_the_report_is_old() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    replica.connections.clone().apply_connection(bench.document()).await.unwrap();
    let report = |used| ReportUsageRequest {
        connection: "production".to_owned(),
        used,
        max: 15_000,
    };
    replica.access.clone().report_usage(report(14_900)).await.unwrap();
    let status = lease(&replica, 1).await.unwrap_err();
    assert_eq!(
        (status.code(), code_of(&status)),
        (Code::ResourceExhausted, Some(ErrorCode::DailyApiLimit))
    );
    assert_eq!(test(&replica).await.health, "Connected", "people still can");
    replica.access.clone().report_usage(report(14_900)).await.unwrap();
    sqlx::query("update quota set reported_at = reported_at - interval '6 min'")
        .execute(&bench.db)
        .await
        .unwrap();
    lease(&replica, 1).await.unwrap();
    replica.access.clone().report_usage(report(100)).await.unwrap();
    lease(&replica, 1).await.unwrap();
}

#[tokio::test]
async fn a_run_has_the_same_keys_for_everybody_and_each_audience_its_own() {
    let bench = Bench::start().await;
    let (one, two) = (bench.replica().await, bench.replica().await);
    let ask = |replica: &Replica, run: &str| {
        let mut access = replica.access.clone();
        let request = GetRunKeysRequest { run: run.to_owned() };
        async move { access.get_run_keys(request).await.map(tonic::Response::into_inner) }
    };
    let answers = join_all((0..20).map(|i| ask(if i % 2 == 0 { &one } else { &two }, "r-1"))).await;
    let first = answers.first().unwrap().as_ref().unwrap().clone();
    for answer in answers {
        assert_eq!(answer.unwrap(), first);
    }
    assert_ne!(ask(&one, "r-2").await.unwrap(), first);
    let (kek_raw, kek_clean) = (SealingKey::new([2; 32]), SealingKey::new([3; 32]));
    let raw = kek_raw.unwrap(&first.raw_wrapped, b"r-1/raw").unwrap();
    let clean = kek_clean.unwrap(&first.clean_wrapped, b"r-1/clean").unwrap();
    assert!(
        clean.open(b"", &raw.seal(b"", b"x")).is_err(),
        "the loader's key must not open what is raw"
    );
    assert!(kek_clean.unwrap(&first.raw_wrapped, b"r-1/raw").is_err());
    assert_eq!(ask(&one, "../etc").await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_database_that_is_away_is_an_answer_and_not_a_hang() {
    let bench = Bench::start().await;
    let (proxy, replica) = bench.replica_behind_proxy().await;
    replica.connections.clone().apply_connection(bench.document()).await.unwrap();
    proxy.refuse();
    let answer = tokio::time::timeout(SOON, lease(&replica, 1)).await.unwrap().unwrap_err();
    assert_eq!(code_of(&answer), Some(ErrorCode::DatabaseUnavailable), "{answer}");
    proxy.forward();
    syncline_testkit::eventually(SOON, || async { lease(&replica, 1).await }).await;
}

#[tokio::test]
async fn a_rotation_rewraps_what_is_stored_and_nothing_stops() {
    use std::sync::Arc;

    use syncline_connector::rewrap::{Rewrapped, rewrap};
    use syncline_runtime::keys::provider::Kek;

    let bench = Bench::start().await;
    let mut old = bench.replica().await;
    old.connections.apply_connection(bench.document()).await.unwrap();
    let request = GetRunKeysRequest { run: "r-1".to_owned() };
    let before = old.access.get_run_keys(request.clone()).await.unwrap().into_inner();
    let [credentials, raw] = [7, 8].map(|n| SealingKey::new([n; 32]));
    let rotated = bench::keks()
        .with(Kek::Credentials, credentials.clone(), Some(SealingKey::new([1; 32])))
        .with(Kek::Raw, raw.clone(), Some(SealingKey::new([2; 32])));
    // With both keys, everything still opens.
    let mut during = bench.replica_of(rotated.clone(), bench.database.url()).await;
    let same = during.connections.apply_connection(bench.document()).await.unwrap().into_inner();
    assert!(!same.changed, "the stored credentials open");
    let done = rewrap(&bench.db, &rotated).await.unwrap();
    let all = Rewrapped {
        connections: 1,
        connections_changed: 1,
        runs: 1,
        runs_changed: 1,
    };
    assert_eq!(done, all);
    let again = rewrap(&bench.db, &rotated).await.unwrap();
    assert_eq!((again.connections_changed, again.runs_changed), (0, 0));

    // The old keys are gone.
    let after = bench::keks()
        .with(Kek::Credentials, credentials, None)
        .with(Kek::Raw, raw.clone(), None);
    let mut new = bench.replica_of(after, bench.database.url()).await;
    assert!(
        !new.connections
            .apply_connection(bench.document())
            .await
            .unwrap()
            .into_inner()
            .changed
    );
    let keys = new.access.get_run_keys(request).await.unwrap().into_inner();
    assert_eq!(keys.clean_wrapped, before.clean_wrapped, "its key was not rotated");
    let data_key = SealingKey::new([2; 32]).unwrap(&before.raw_wrapped, b"r-1/raw").unwrap();
    assert_eq!(raw.unwrap(&keys.raw_wrapped, b"r-1/raw").unwrap().expose(), data_key.expose());

    // A key that nothing fits changes nothing and names what it was.
    let lost = Arc::new(bench::keks().with(Kek::Credentials, SealingKey::new([9; 32]), None));
    let error = rewrap(&bench.db, lost.as_ref()).await.unwrap_err().to_string();
    assert!(error.contains("`production`"), "{error}");
}
