//! Tokens: one sign-in at a time, shared, renewed, never in the clear.
#![allow(clippy::unwrap_used)]
#![allow(dead_code)] // the bench serves several test programs

mod bench;

use std::time::Duration;

use bench::{Bench, REFRESH, Replica, SECRET};
use futures::future::join_all;
use syncline_connect::access::fingerprint;
use syncline_domain::ErrorCode;
use syncline_testkit::eventually;
use syncline_wire::access::{GetAccessRequest, GetAccessResponse};
use syncline_wire::connection::{DeleteConnectionRequest, GetConnectionRequest, TestConnectionRequest};
use syncline_wire::status::code_of;
use tonic::Status;

const SOON: Duration = Duration::from_secs(10);

async fn access(replica: &Replica, stale: &str) -> Result<GetAccessResponse, Status> {
    let request = GetAccessRequest {
        connection: "production".to_owned(),
        stale: stale.to_owned(),
    };
    replica.access.clone().get_access(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn fifty_callers_at_two_replicas_make_one_token_request() {
    let bench = Bench::start().await;
    let (one, two) = (bench.replica().await, bench.replica().await);
    one.connections.clone().apply_connection(bench.document()).await.unwrap();
    bench.org.script(|s| s.slow = Duration::from_millis(50));
    let answers = join_all((0..50).map(|i| access(if i % 2 == 0 { &one } else { &two }, ""))).await;
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!(answer.access_token, "00Dxx!access-token-number-1");
        assert_eq!((answer.instance_url, answer.api_version), (bench.org.url(), "65.0".to_owned()));
    }
    assert_eq!(bench.org.token_requests(), 1);
}

#[tokio::test]
async fn fifty_callers_that_refuse_one_token_share_one_new_one() {
    let bench = Bench::start().await;
    let (one, two) = (bench.replica().await, bench.replica().await);
    one.connections.clone().apply_connection(bench.document()).await.unwrap();
    let first = access(&one, "").await.unwrap().access_token;
    access(&two, "").await.unwrap();
    let stale = fingerprint(&first);
    let answers = join_all((0..50).map(|i| access(if i % 2 == 0 { &one } else { &two }, &stale))).await;
    for answer in answers {
        assert_eq!(answer.unwrap().access_token, "00Dxx!access-token-number-2");
    }
    assert_eq!(bench.org.token_requests(), 2);
    // Who refuses a token that has been replaced already gets the replacement, and no sign-in happens.
    assert_eq!(access(&two, &stale).await.unwrap().access_token, "00Dxx!access-token-number-2");
    assert_eq!(bench.org.token_requests(), 2);
}

#[tokio::test]
async fn a_token_is_renewed_ahead_of_its_end_and_serves_on_if_that_fails() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    replica.connections.clone().apply_connection(bench.document()).await.unwrap();
    access(&replica, "").await.unwrap();
    let nearly_over = "update credential set token_expires_at = clock_timestamp() + interval '30 s'";
    sqlx::query(nearly_over).execute(&bench.db).await.unwrap();
    bench.org.script(|s| s.down = true);
    let other = bench.replica().await;
    assert_eq!(access(&other, "").await.unwrap().access_token, "00Dxx!access-token-number-1");
    assert_eq!(bench.org.token_requests(), 2, "it was tried");
    bench.org.script(|s| s.down = false);
    let other = bench.replica().await;
    assert_eq!(access(&other, "").await.unwrap().access_token, "00Dxx!access-token-number-3");
}

#[tokio::test]
async fn a_rotated_refresh_token_is_stored_before_its_access_token_is_given_out() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    replica.connections.clone().apply_connection(bench.rotating()).await.unwrap();
    for turn in 1..=3 {
        let stale = match turn {
            1 => String::new(),
            _ => fingerprint(&format!("00Dxx!access-token-number-{}", turn - 1)),
        };
        // A replica that remembers nothing: it has the refresh token from the table or not at all.
        let replica = bench.replica().await;
        let token = access(&replica, &stale).await.unwrap().access_token;
        assert_eq!(token, format!("00Dxx!access-token-number-{turn}"));
    }
    let sent: Vec<String> = bench
        .org
        .script(|s| s.token_requests.iter().map(|r| r["refresh_token"].clone()).collect());
    assert_eq!(sent, [REFRESH, "5Aep-rotated-refresh-token-1", "5Aep-rotated-refresh-token-2"]);
    // Applying the original again must not bring back the token that is dead.
    let mut request = bench.rotating();
    bench.org.script(|s| s.rotating = Some("5Aep-rotated-refresh-token-3".to_owned()));
    let again = replica
        .connections
        .clone()
        .apply_connection(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(!again.changed);
    access(&bench.replica().await, &fingerprint("00Dxx!access-token-number-3"))
        .await
        .unwrap();
    request.secrets.insert("refresh_token".to_owned(), "5Aep-another".to_owned());
    assert!(
        replica
            .connections
            .clone()
            .apply_connection(request)
            .await
            .unwrap()
            .into_inner()
            .changed
    );
}

#[tokio::test]
async fn a_renewal_goes_on_when_its_caller_goes_away() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    replica.connections.clone().apply_connection(bench.rotating()).await.unwrap();
    bench.org.script(|s| s.slow = Duration::from_millis(200));
    let hasty = tokio::time::timeout(Duration::from_millis(50), access(&replica, "")).await;
    assert!(hasty.is_err(), "it left before the org answered");
    eventually(SOON, || async {
        let stored: bool = sqlx::query_scalar("select token is not null from credential")
            .fetch_one(&bench.db)
            .await
            .unwrap();
        stored.then_some(()).ok_or("no token stored")
    })
    .await;
    assert_eq!(access(&replica, "").await.unwrap().access_token, "00Dxx!access-token-number-1");
    assert_eq!(bench.org.token_requests(), 1);
}

#[tokio::test]
async fn stopping_waits_for_a_renewal_and_refuses_new_ones() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    replica.connections.clone().apply_connection(bench.rotating()).await.unwrap();
    bench.org.script(|s| s.slow = Duration::from_millis(100));
    let asking = access(&replica, "");
    let stopping = async {
        eventually(SOON, || async {
            (!replica.connector.is_idle()).then_some(()).ok_or("nothing under way")
        })
        .await;
        replica.connector.stop().await;
        let stored: bool = sqlx::query_scalar("select token is not null from credential")
            .fetch_one(&bench.db)
            .await
            .unwrap();
        assert!(stored, "stopped before the rotated token was stored");
    };
    let (asked, ()) = tokio::join!(asking, stopping);
    asked.unwrap();
    let refused = access(&replica, &fingerprint("00Dxx!access-token-number-1")).await.unwrap_err();
    assert!(refused.message().contains("stopping"), "{refused}");
}

#[tokio::test]
async fn refused_credentials_are_not_tried_again_by_every_caller() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    replica.connections.clone().apply_connection(bench.document()).await.unwrap();
    bench.org.script(|s| s.refuse = true);
    for answer in join_all((0..20).map(|_| access(&replica, ""))).await {
        let status = answer.unwrap_err();
        assert_eq!(code_of(&status), Some(ErrorCode::Credentials), "{status}");
        assert!(!status.message().contains(SECRET));
    }
    assert_eq!(bench.org.token_requests(), 1);
    let shown = GetConnectionRequest {
        name: "production".to_owned(),
    };
    let shown = replica
        .connections
        .clone()
        .get_connection(shown)
        .await
        .unwrap()
        .into_inner()
        .connection
        .unwrap();
    assert_eq!(
        (shown.health.as_str(), shown.health_code.as_str()),
        ("Error", "AUTH_CREDENTIALS_001")
    );
    // Applying mended credentials is believed at once.
    bench.org.script(|s| s.refuse = false);
    let mut request = bench.document();
    request.yaml = request.yaml.replace("client_id: app", "client_id: app2");
    assert!(
        replica
            .connections
            .clone()
            .apply_connection(request)
            .await
            .unwrap()
            .into_inner()
            .changed
    );
    access(&replica, "").await.unwrap();
}

#[tokio::test]
async fn an_org_that_is_down_is_told_from_one_that_refuses() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    replica.connections.clone().apply_connection(bench.document()).await.unwrap();
    bench.org.script(|s| s.down = true);
    let status = access(&replica, "").await.unwrap_err();
    assert!(code_of(&status).unwrap().entry().can_retry, "{status}");
    bench.org.script(|s| s.down = false);
    eventually(SOON, || async { access(&replica, "").await }).await;
}

#[tokio::test]
async fn a_token_for_a_strange_address_is_not_used() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    replica.connections.clone().apply_connection(bench.document()).await.unwrap();
    bench.org.script(|s| s.instance_url = Some("http://evil.example".to_owned()));
    let status = access(&replica, "").await.unwrap_err();
    assert_eq!(code_of(&status), Some(ErrorCode::BadAnswer), "{status}");
}

#[tokio::test]
async fn no_column_of_any_table_holds_a_secret_or_a_token() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    let mut request = bench.rotating();
    request.yaml = format!("# the token is {REFRESH}\n{}", request.yaml);
    replica.connections.clone().apply_connection(request).await.unwrap();
    let token = access(&replica, "").await.unwrap().access_token;
    let test = TestConnectionRequest {
        name: "production".to_owned(),
    };
    replica.connections.clone().test_connection(test).await.unwrap();

    let tables: Vec<String> = sqlx::query_scalar("select table_name::text from information_schema.tables where table_schema = 'public'")
        .fetch_all(&bench.db)
        .await
        .unwrap();
    assert!(tables.len() >= 5, "{tables:?}");
    let mut looked_at = 0;
    for table in tables {
        let sql = format!("select t::text from {table} t");
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&bench.db).await.unwrap();
        for row in rows {
            looked_at += 1;
            for secret in [REFRESH, "5Aep-rotated-refresh-token", token.as_str()] {
                // Bytes stand in a row's text as hexadecimal digits.
                let hex: String = secret.bytes().map(|b| format!("{b:02x}")).collect();
                assert!(!row.contains(secret) && !row.contains(&hex), "{table} holds {secret}");
            }
        }
    }
    assert!(looked_at >= 3, "only {looked_at} rows were there");
}

#[tokio::test]
async fn credentials_sealed_under_another_key_say_so_and_are_mended_by_applying_again() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    replica.connections.clone().apply_connection(bench.document()).await.unwrap();
    let stranger = bench.replica_with_other_key().await;
    let status = access(&stranger, "").await.unwrap_err();
    assert!(status.message().contains("credentials"), "{status}");
    assert_eq!(bench.org.token_requests(), 0);
    assert!(
        stranger
            .connections
            .clone()
            .apply_connection(bench.document())
            .await
            .unwrap()
            .into_inner()
            .changed
    );
    access(&stranger, "").await.unwrap();
}

#[tokio::test]
async fn a_deleted_connection_gives_no_more_tokens() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    replica.connections.clone().apply_connection(bench.document()).await.unwrap();
    access(&replica, "").await.unwrap();
    let name = "production".to_owned();
    replica
        .connections
        .clone()
        .delete_connection(DeleteConnectionRequest { name: name.clone() })
        .await
        .unwrap();
    let status = access(&replica, "").await.unwrap_err();
    assert_eq!(code_of(&status), Some(ErrorCode::UnknownConnection));
    let again = replica
        .connections
        .clone()
        .delete_connection(DeleteConnectionRequest { name })
        .await
        .unwrap_err();
    assert_eq!(code_of(&again), Some(ErrorCode::UnknownConnection));
    let left: i64 = sqlx::query_scalar("select count(*) from credential")
        .fetch_one(&bench.db)
        .await
        .unwrap();
    assert_eq!(left, 0);
}
