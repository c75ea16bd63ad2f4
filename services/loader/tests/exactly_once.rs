//! Whatever a loader does last before it dies: no record twice, none lost, the books balance.
#![allow(clippy::unwrap_used)]

mod bench;

use bench::*;
use serde_json::json;
use syncline_runtime::worker::Work;
use syncline_runtime::{Outcome, StageError};

const ROWS: usize = 300;

/// Two batches of accounts and the end.
async fn published() -> (Bench, Vec<String>) {
    let bench = Bench::start(vec![accounts()]).await;
    let rows = some_accounts(0, ROWS);
    let (first, second) = rows.split_at(ROWS / 2);
    bench.publish("Account", 0, first).await;
    bench.publish("Account", 1, second).await;
    bench.end("Account", 2, ROWS as u64).await;
    let mut names: Vec<String> = (0..ROWS).map(|i| format!("Account {i}")).collect();
    names.sort();
    (bench, names)
}

/// The next loader finishes, and everything is there once.
async fn finishes(bench: &Bench, names: &[String]) {
    assert!(!bench.done("Account", "load_pass_1").await, "the books balance");
    assert_eq!(bench.values("Account", "Name"), names);
    let books = bench.books("Account").await;
    assert_eq!((books.inserted, books.explained()), (ROWS as i64, ROWS as i64), "{books:?}");
    assert_eq!(
        bench.number("select count(*) from ledger where target_key is not null").await,
        ROWS as i64
    );
    assert_eq!(bench.number("select count(distinct target_key) from ledger").await, ROWS as i64);
    assert_eq!(bench.number("select count(*) from journal where state <> 'settled'").await, 0);
    assert_eq!(bench.number("select count(*) from claim where state <> 'done'").await, 0);
}

#[tokio::test]
async fn every_row_is_inserted_once_although_results_come_shuffled() {
    let (bench, names) = published().await;
    finishes(&bench, &names).await;
    assert_eq!(bench.writes(), (ROWS as u64, 1), "many batches make one job");
}

#[tokio::test]
async fn killed_before_the_job_is_created() {
    let (mut bench, names) = published().await;
    bench.kill_at("Account", "load_pass_1", "POST", "/jobs/ingest").await;
    assert_eq!(bench.number("select count(*) from journal where state = 'intent'").await, 1);
    finishes(&bench, &names).await;
}

#[tokio::test]
async fn the_answer_to_creating_the_job_is_lost() {
    let (bench, names) = published().await;
    bench.fault("POST", "/jobs/ingest", json!({"kind": "cut_after"}));
    assert!(bench.step("Account", "load_pass_1").await.is_err());
    finishes(&bench, &names).await;
}

#[tokio::test]
async fn killed_before_the_upload() {
    let (mut bench, names) = published().await;
    bench.kill_at("Account", "load_pass_1", "PUT", "/batches").await;
    assert_eq!(bench.org.count("Account"), 0);
    finishes(&bench, &names).await;
}

#[tokio::test]
async fn the_answer_to_the_upload_is_lost() {
    let (bench, names) = published().await;
    bench.fault("PUT", "/batches", json!({"kind": "cut_after"}));
    assert!(bench.step("Account", "load_pass_1").await.is_err());
    finishes(&bench, &names).await;
}

#[tokio::test]
async fn killed_before_the_job_is_closed() {
    let (mut bench, names) = published().await;
    bench.kill_at("Account", "load_pass_1", "PATCH", "/jobs/ingest/750").await;
    assert_eq!(bench.org.count("Account"), 0);
    finishes(&bench, &names).await;
}

#[tokio::test]
async fn killed_after_the_job_was_closed() {
    let (mut bench, names) = published().await;
    bench.kill_at("Account", "load_pass_1", "GET", "/jobs/ingest/750").await;
    finishes(&bench, &names).await;
    assert_eq!(bench.writes().0, ROWS as u64, "nothing was sent twice");
}

#[tokio::test]
async fn killed_while_the_results_are_fetched() {
    let (mut bench, names) = published().await;
    bench.kill_at("Account", "load_pass_1", "GET", "successfulResults").await;
    finishes(&bench, &names).await;
    assert_eq!(bench.writes().0, ROWS as u64, "nothing was sent twice");
}

#[tokio::test]
async fn killed_after_settling_and_before_the_claims_are_closed() {
    let (mut bench, names) = published().await;
    bench.kill_at("Account", "load_pass_1", "DELETE", "/jobs/ingest/750").await;
    assert_eq!(bench.number("select count(*) from claim where state = 'done' and seq < 2").await, 0);
    finishes(&bench, &names).await;
    assert_eq!(bench.writes(), (ROWS as u64, 1), "nothing was sent twice");
}

#[tokio::test]
async fn results_that_break_off_are_fetched_again() {
    let (bench, names) = published().await;
    bench.fault("GET", "successfulResults", json!({"kind": "truncate"}));
    finishes(&bench, &names).await;
    assert_eq!(bench.requests("GET", "successfulResults"), 2);
    assert_eq!(bench.writes().0, ROWS as u64, "nothing was sent twice");
}

#[tokio::test]
async fn a_batch_delivered_again_after_the_commit_writes_nothing() {
    let bench = Bench::start(vec![accounts()]).await;
    let rows = some_accounts(0, 20);
    bench.publish("Account", 0, &rows).await;
    bench.publish("Account", 0, &rows).await;
    // The same records in another batch too: a generation that was begun anew.
    bench.publish_as(&bench.batch("Account", 1, 0), &rows, &json!({})).await;
    bench.end("Account", 1, 20).await;
    assert!(!bench.done("Account", "load_pass_1").await);
    assert_eq!(bench.writes(), (20, 1));
    let books = bench.books("Account").await;
    assert_eq!((books.inserted, books.explained()), (20, 20), "{books:?}");
}

#[tokio::test]
async fn a_record_that_changed_between_two_generations_counts_once_and_ends_as_read_last() {
    let bench = Bench::start(vec![accounts()]).await;
    bench.publish("Account", 0, &some_accounts(0, 3)).await;
    let mut changed = some_accounts(0, 3);
    changed[1][1] = Some("Renamed".to_owned());
    bench.publish_as(&bench.batch("Account", 1, 0), &changed, &json!({})).await;
    bench.end("Account", 1, 3).await;
    assert!(!bench.done("Account", "load_pass_1").await, "the books balance");
    assert_eq!(bench.values("Account", "Name"), ["Account 0", "Account 2", "Renamed"]);
    assert_eq!(bench.books("Account").await.explained(), 3);
}

#[tokio::test]
async fn rows_that_are_equal_in_all_columns_are_all_there() {
    let bench = Bench::start(vec![accounts()]).await;
    let rows: Vec<_> = (0..50).map(|i| row(&[&key("Account", i), "Twin", "Berlin", ""])).collect();
    bench.publish_all("Account", &rows).await;
    assert!(!bench.done("Account", "load_pass_1").await);
    assert_eq!(bench.org.count("Account"), 50);
    assert_eq!(bench.number("select count(distinct target_key) from ledger").await, 50);
}

#[tokio::test]
async fn rows_that_a_failed_job_left_are_loaded_by_another() {
    let (bench, names) = published().await;
    bench.job_fault("Account", 200);
    finishes(&bench, &names).await;
    assert_eq!(bench.writes(), (ROWS as u64, 2), "only what was left was sent again");
}

#[tokio::test]
async fn a_lease_that_was_taken_commits_nothing_and_its_holder_ends() {
    let (bench, names) = published().await;
    let zombie: Work = bench.lease("Account", "load_pass_1").await;
    bench.expire_leases().await;
    let taken = bench.lease("Account", "load_pass_1").await;
    let result = bench.work(&zombie).await;
    assert!(matches!(result, Err(StageError::Lease(_))), "{result:?}");
    assert_eq!(bench.org.count("Account"), 0);
    assert_eq!(bench.number("select count(*) from journal").await, 0);
    assert_eq!(bench.number("select count(*) from object_count").await, 0);
    taken.lease.release(&bench.platform.db, false).await.unwrap();
    finishes(&bench, &names).await;
}

#[tokio::test]
async fn a_loader_that_wakes_after_its_entry_was_settled_fills_no_job() {
    let (mut bench, names) = published().await;
    // It sleeps before its job exists; another loader finishes meanwhile; then the org executes its request.
    bench.fault("POST", "/jobs/ingest", json!({"kind": "delay", "delay_ms": 3_000}));
    let work = bench.lease("Account", "load_pass_1").await;
    let sleeper = std::sync::Arc::new(syncline_loader::Loading::new(&bench.platform).unwrap());
    let asleep = tokio::spawn(async move {
        use syncline_runtime::worker::Stage;
        sleeper.work(&work).await.map(|o| format!("{o:?}"))
    });
    syncline_testkit::eventually(DEADLINE, || async {
        match bench.requests("POST", "/jobs/ingest") {
            1 => Ok(()),
            n => Err(n),
        }
    })
    .await;
    bench.expire_leases().await;
    bench.replace_process();
    bench.redeliver("Account").await;
    finishes(&bench, &names).await;
    assert!(asleep.await.unwrap().is_err());
    assert_eq!(bench.writes().0, ROWS as u64, "nothing was sent twice");
}

#[tokio::test]
async fn a_stopping_run_settles_what_is_open_and_goes_on_later() {
    let (mut bench, names) = published().await;
    bench.kill_at("Account", "load_pass_1", "PATCH", "/jobs/ingest/750").await;
    assert!(matches!(bench.step("", "settle").await, Ok(Outcome::Stopped)));
    assert_eq!(bench.number("select count(*) from journal where state <> 'settled'").await, 0);
    finishes(&bench, &names).await;
}

#[tokio::test]
async fn an_entry_that_an_earlier_run_left_is_settled_in_that_runs_books() {
    let (mut bench, _) = published().await;
    bench.kill_at("Account", "load_pass_1", "GET", "/jobs/ingest/750").await;
    let earlier = bench.run().clone();
    bench.next_run();
    bench.publish_all("Account", &some_accounts(0, ROWS)).await;
    assert!(!bench.done("Account", "load_pass_1").await, "the books balance");
    assert_eq!(bench.org.count("Account"), ROWS);
    let books = bench.books("Account").await;
    assert_eq!((books.inserted, books.unchanged), (0, ROWS as i64), "{books:?}");
    let inserted: i64 = sqlx::query_scalar("select inserted from object_count where run = $1")
        .bind(earlier.as_str())
        .fetch_one(&bench.platform.db)
        .await
        .unwrap();
    assert_eq!(inserted, ROWS as i64);
}

#[tokio::test]
async fn a_job_that_an_administrator_aborted_before_it_began_is_made_again() {
    let (mut bench, names) = published().await;
    bench.kill_at("Account", "load_pass_1", "PATCH", "/jobs/ingest/750").await;
    let job = bench.text("select job from journal").await;
    syncline_connect::Target::abort_job(&bench.target(), &job).await.unwrap();
    finishes(&bench, &names).await;
}

#[tokio::test]
async fn a_stopping_run_aborts_the_job_that_is_under_way() {
    let mut bench = Bench::with_org(
        vec![accounts()],
        syncline_salesforce_simulator::OrgConfig {
            job_latency_ms: 3_000,
            ..Default::default()
        },
    )
    .await;
    bench.publish_all("Account", &some_accounts(0, 10)).await;
    bench.kill_at("Account", "load_pass_1", "GET", "/jobs/ingest/750").await;
    assert!(matches!(bench.step("", "settle").await, Ok(Outcome::Stopped)));
    assert_eq!(bench.org.count("Account"), 0, "it was aborted in time");
    assert_eq!(bench.number("select count(*) from journal where state <> 'settled'").await, 0);
    assert!(!bench.done("Account", "load_pass_1").await);
    assert_eq!(bench.org.count("Account"), 10);
}

/// A second run that changes half of the records, killed at a request; whether the org then forgets its jobs.
async fn update_killed(method: &str, path: &str, forget_jobs: bool) {
    let mut bench = Bench::start(vec![accounts()]).await;
    bench.publish_all("Account", &some_accounts(0, 20)).await;
    assert!(!bench.done("Account", "load_pass_1").await);
    bench.next_run();
    let mut rows = some_accounts(0, 20);
    rows.iter_mut().take(10).for_each(|r| r[2] = Some("Paris".to_owned()));
    bench.publish_all("Account", &rows).await;
    bench.kill_at("Account", "load_pass_1", method, path).await;
    if forget_jobs {
        bench.org.state.ingest_jobs().clear();
    }
    assert!(!bench.done("Account", "load_pass_1").await, "{method} {path}: the books balance");
    let books = bench.books("Account").await;
    assert_eq!(
        (books.inserted, books.updated, books.unchanged),
        (0, 10, 10),
        "{method} {path}: {books:?}"
    );
    assert_eq!(bench.values("Account", "BillingCity").iter().filter(|c| *c == "Paris").count(), 10);
    assert_eq!(bench.org.count("Account"), 20);
}

#[tokio::test]
async fn an_update_that_dies_anywhere_is_finished_by_the_next_loader() {
    for (method, path) in [
        ("POST", "/jobs/ingest"),
        ("PATCH", "/jobs/ingest/750"),
        ("GET", "/jobs/ingest/750"),
        ("DELETE", "/jobs/ingest/750"),
    ] {
        update_killed(method, path, false).await;
    }
}

#[tokio::test]
async fn an_update_whose_results_are_gone_is_written_again() {
    update_killed("GET", "successfulResults", true).await;
}
