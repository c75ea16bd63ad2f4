//! A database that was restored to an older backup: the target holds what it does not know, and nothing is written twice. And
//! everything that looks like it and is not.
#![allow(clippy::unwrap_used)]

mod bench;

use bench::*;
use bytes::Bytes;
use chrono::Utc;
use reqwest::Method;
use serde_json::json;
use syncline_connect::{Operation, Target};
use syncline_domain::ErrorCode;
use syncline_domain::spec::Existing;
use syncline_salesforce::collections::Record;
use syncline_testkit::eventually;

const BEFORE: usize = 100;
const ALL: usize = 150;
/// Longer than a loader may be silent.
const AGE_SECS: i32 = 60;

async fn load(bench: &Bench, count: usize) {
    bench.publish_all("Account", &some_accounts(0, count)).await;
    assert!(!bench.done("Account", "load_pass_1").await, "the books balance");
}

/// One run, a backup, another run that writes 50 records more; then the backup is restored, and a third run begins.
async fn restored() -> Bench {
    let mut bench = Bench::start(vec![accounts()]).await;
    load(&bench, BEFORE).await;
    bench.back_up().await;
    bench.next_run();
    load(&bench, ALL).await;
    assert_eq!(bench.org.count("Account"), ALL);
    bench.restore(AGE_SECS).await;
    assert_eq!(bench.number("select count(*) from ledger").await, BEFORE as i64);
    bench.next_run();
    bench.publish_all("Account", &some_accounts(0, ALL)).await;
    bench
}

/// The step stops, however often it is tried, and writes nothing.
async fn stops(bench: &Bench, step: &str, what: &str) -> String {
    bench.forget_requests();
    let count = bench.org.count("Account");
    let mut message = String::new();
    for _ in 0..2 {
        let error = bench.step("Account", step).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::UnknownWrites, "{error}");
        assert!(!error.code().entry().can_retry, "the run stops and says so");
        message = error.to_string();
        assert!(message.contains(what), "{message}");
    }
    assert_eq!((bench.org.count("Account"), bench.writes()), (count, (0, 0)));
    message
}

/// The run goes on, and so does the next one; the org has each record once.
async fn goes_on(bench: &mut Bench) {
    assert!(!bench.done("Account", "load_pass_1").await, "the books balance");
    let names: Vec<String> = bench.values("Account", "Name");
    let mut expected: Vec<String> = (0..ALL).map(|i| format!("Account {i}")).collect();
    expected.sort();
    assert_eq!(names, expected);
    bench.next_run();
    bench.plan.existing = Existing::Update;
    bench.plan.reviewed_until = None;
    bench.pin();
    bench.forget_requests();
    load(bench, ALL).await;
    assert_eq!(bench.writes(), (0, 0), "everything is known");
}

#[tokio::test]
async fn an_older_backup_stops_the_link_before_anything_is_written() {
    let bench = restored().await;
    let message = stops(&bench, "load_pass_1", "50 records that no ledger has").await;
    assert!(message.contains("Account") && message.contains("and 45 more"), "{message}");
    assert!(!message.contains("Account 1"), "no value stands in it: {message}");
}

#[tokio::test]
async fn records_that_the_operator_removes_are_written_again() {
    let mut bench = restored().await;
    let known: Vec<String> = sqlx::query_scalar("select target_key from ledger")
        .fetch_all(&bench.platform.db)
        .await
        .unwrap();
    let unknown: Vec<String> = bench.records("Account", &[]).into_keys().filter(|id| !known.contains(id)).collect();
    stops(&bench, "load_pass_1", "50 records").await;
    bench.target().delete(&unknown).await.unwrap();
    goes_on(&mut bench).await;
}

#[tokio::test]
async fn replacing_the_object_reconciles_it() {
    let mut bench = restored().await;
    stops(&bench, "load_pass_1", "50 records").await;
    bench.next_run();
    bench.plan.existing = Existing::Replace;
    bench.pin();
    bench.done("Account", "clear").await;
    bench.publish_all("Account", &some_accounts(0, ALL)).await;
    goes_on(&mut bench).await;
}

#[tokio::test]
async fn what_was_looked_at_does_not_stop_it_and_what_is_to_come_was_not() {
    let contact = keyed(object("Contact", vec![text("LastName"), text("Ext_Id__c")]), "Ext_Id__c");
    let rows = |count: usize| -> Vec<_> {
        (0..count)
            .map(|i| row(&[&key("Contact", i), &format!("C{i}"), &format!("k{i}")]))
            .collect()
    };
    let mut bench = Bench::start(vec![contact]).await;
    bench.publish_all("Contact", &rows(BEFORE)).await;
    bench.done("Contact", "load_pass_1").await;
    bench.back_up().await;
    bench.next_run();
    bench.publish_all("Contact", &rows(ALL)).await;
    bench.done("Contact", "load_pass_1").await;
    bench.restore(AGE_SECS).await;
    let tomorrow = Utc::now() + chrono::TimeDelta::days(1);
    for (reviewed_until, stops) in [(None, true), (Some(tomorrow), true), (Some(Utc::now()), false), (None, false)] {
        bench.next_run();
        bench.plan.reviewed_until = reviewed_until;
        bench.pin();
        bench.publish_all("Contact", &rows(ALL)).await;
        match bench.step("Contact", "load_pass_1").await {
            Err(error) => assert!(stops && error.code() == ErrorCode::UnknownWrites, "{reviewed_until:?}: {error}"),
            Ok(_) => assert!(!stops, "{reviewed_until:?}"),
        }
        assert_eq!(bench.org.count("Contact"), ALL, "they are found by their key");
    }
}

#[tokio::test]
async fn a_run_that_was_under_way_in_the_backup_writes_nothing_twice() {
    let mut bench = Bench::start(vec![accounts()]).await;
    bench.publish("Account", 0, &some_accounts(0, ALL)).await;
    // Something was done before the backup.
    bench.kill_at("Account", "load_pass_1", "POST", "/jobs/ingest").await;
    bench.back_up().await;
    bench.end("Account", 1, ALL as u64).await;
    assert!(!bench.done("Account", "load_pass_1").await);
    bench.restore(AGE_SECS).await;
    bench.publish_all("Account", &some_accounts(0, ALL)).await;
    bench.expire_leases().await;
    stops(&bench, "load_pass_1", "150 records").await;
    // Its later steps do not get past it, either.
    stops(&bench, "load_pass_2", "150 records").await;
    stops(&bench, "load_pass_3", "150 records").await;
}

/// A job that nobody knows, made as a loader makes one.
async fn unknown_job(bench: &Bench) -> String {
    let target = bench.target();
    let job = target.create_job(&name("Account"), &Operation::Insert).await.unwrap().id;
    target.upload(&job, vec![Bytes::from("Name\nSomebody\n")]).await.unwrap();
    target.close_job(&job).await.unwrap();
    job
}

#[tokio::test]
async fn a_job_that_is_under_way_stops_even_a_replacement() {
    let mut bench = Bench::start(vec![accounts()]).await;
    bench.plan.existing = Existing::Replace;
    bench.pin();
    // Somebody is present.
    assert!(!bench.done("Account", "clear").await);
    bench.absent(AGE_SECS).await;
    let stuck = json!({"object": "Account", "kind": "stuck"});
    bench.org.state.faults.add_job_fault(serde_json::from_value(stuck).unwrap());
    let job = unknown_job(&bench).await;
    bench.reopen("clear").await;
    stops(&bench, "clear", &format!("{job}, not finished")).await;
}

#[tokio::test]
async fn a_job_that_wrote_something_is_named() {
    let mut bench = Bench::start(vec![accounts()]).await;
    load(&bench, BEFORE).await;
    bench.absent(AGE_SECS).await;
    let job = unknown_job(&bench).await;
    eventually(DEADLINE, || async {
        match bench.org.count("Account") {
            n if n > BEFORE => Ok(()),
            n => Err(n),
        }
    })
    .await;
    bench.next_run();
    bench.publish_all("Account", &some_accounts(0, ALL)).await;
    let message = stops(&bench, "load_pass_1", &format!("1 jobs that no journal has ({job}, which wrote 1)")).await;
    assert!(message.contains("1 records that no ledger has"), "{message}");
}

#[tokio::test]
async fn a_loader_that_dies_anywhere_and_is_away_for_long_leaves_nothing_unknown() {
    for (method, path) in [
        ("POST", "/jobs/ingest"),
        ("PUT", "/batches"),
        ("PATCH", "/jobs/ingest/750"),
        ("GET", "/jobs/ingest/750"),
        ("GET", "successfulResults"),
        ("DELETE", "/jobs/ingest/750"),
    ] {
        let mut bench = Bench::start(vec![accounts()]).await;
        bench.publish_all("Account", &some_accounts(0, ALL)).await;
        bench.kill_at("Account", "load_pass_1", method, path).await;
        bench.absent(AGE_SECS).await;
        goes_on(&mut bench).await;
    }
}

#[tokio::test]
async fn a_job_whose_id_was_never_stored_is_not_unknown() {
    let mut bench = Bench::start(vec![accounts()]).await;
    bench.publish_all("Account", &some_accounts(0, ALL)).await;
    bench.fault("POST", "/jobs/ingest", json!({"kind": "cut_after"}));
    assert!(bench.step("Account", "load_pass_1").await.is_err());
    bench.absent(AGE_SECS).await;
    goes_on(&mut bench).await;
}

#[tokio::test]
async fn a_job_that_was_settled_and_could_not_be_deleted_is_known() {
    let mut bench = Bench::start(vec![accounts()]).await;
    bench.fault("DELETE", "/jobs/ingest", json!({"kind": "status", "status": 400}));
    load(&bench, ALL).await;
    assert_eq!(bench.org.state.ingest_jobs().len(), 1);
    bench.absent(AGE_SECS).await;
    bench.next_run();
    bench.publish_all("Account", &some_accounts(0, ALL)).await;
    goes_on(&mut bench).await;
}

/// A record that another tool makes as our user.
async fn foreign(bench: &Bench) {
    let values = json!({"Name": "Somebody else's"});
    let record = Record {
        object: name("Account"),
        values: values.as_object().unwrap().clone(),
    };
    bench.target().insert(&[record]).await.unwrap();
}

#[tokio::test]
async fn another_tool_under_the_same_user_does_no_harm_while_a_loader_is_at_work() {
    let mut bench = Bench::start(vec![accounts()]).await;
    load(&bench, BEFORE).await;
    let job = unknown_job(&bench).await;
    foreign(&bench).await;
    eventually(DEADLINE, || async {
        match bench.target().job_status(&job).await.unwrap() {
            status if status.state.is_terminal() => Ok(()),
            status => Err(format!("{status:?}")),
        }
    })
    .await;
    for gap in [
        "select 1",
        // Hours ago nobody was there, and nothing was made.
        "insert into gap values (clock_timestamp() - interval '3 hours', clock_timestamp() - interval '2 hours')",
    ] {
        sqlx::query(gap).execute(&bench.platform.db).await.unwrap();
        bench.next_run();
        load(&bench, ALL).await;
    }
    assert_eq!(bench.org.count("Account"), ALL + 2);
}

#[tokio::test]
async fn another_sync_on_the_org_and_another_connection_to_it_are_known() {
    let mut bench = Bench::start(vec![accounts()]).await;
    load(&bench, BEFORE).await;
    let first = bench.plan.clone();
    bench.next_run();
    bench.plan.source.identity = "00DOther".to_owned();
    bench.plan.target.connection = syncline_domain::ConnectionName::new("uat-2").unwrap();
    bench.pin();
    bench.publish_all("Account", &some_accounts(1_000, 50)).await;
    // It dies with a job that is not settled.
    bench.kill_at("Account", "load_pass_1", "GET", "successfulResults").await;
    bench.absent(AGE_SECS).await;
    let other = std::mem::replace(&mut bench.plan, first);
    bench.next_run();
    bench.publish_all("Account", &some_accounts(0, BEFORE)).await;
    let waits = bench.step("Account", "load_pass_1").await.unwrap_err();
    assert_eq!(waits.code(), ErrorCode::RunActive, "{waits}");
    assert!(waits.code().entry().can_retry, "it waits for the other one");
    let first = std::mem::replace(&mut bench.plan, other);
    assert!(!bench.done("Account", "load_pass_1").await);
    bench.plan = first;
    assert!(!bench.done("Account", "load_pass_1").await);
    assert_eq!(bench.org.count("Account"), BEFORE + 50);
}

#[tokio::test]
async fn clocks_that_are_hours_apart_make_no_difference() {
    let mut bench = Bench::start(vec![accounts()]).await;
    bench.corrupt(Method::POST, "clock", json!({"forward_secs": 7_200})).await;
    load(&bench, BEFORE).await;
    bench.back_up().await;
    bench.next_run();
    load(&bench, ALL).await;
    bench.restore(AGE_SECS).await;
    bench.next_run();
    bench.publish_all("Account", &some_accounts(0, ALL)).await;
    stops(&bench, "load_pass_1", "50 records").await;
}
