//! A job is closed, its loader dies, and when the next one asks, the org knows its results no more: what was written is found by
//! creator and time, what was not is written once, and where that cannot be told nothing is written at all.
#![allow(clippy::unwrap_used)]

mod bench;

use bench::*;
use reqwest::Method;
use serde_json::json;
use syncline_domain::ErrorCode;
use syncline_domain::spec::Existing;
use syncline_salesforce::collections::Record;

const ROWS: usize = 300;
/// Rows that a job writes before it fails.
const PART: usize = 200;
const DAYS_8: u32 = 8 * 24 * 3600;

/// A loader that died when its job had ended; the org wrote so many of the rows.
async fn killed(rows: &[Vec<Option<String>>], written: usize) -> Bench {
    let mut bench = Bench::start(vec![accounts()]).await;
    bench.publish_all("Account", rows).await;
    if written < rows.len() {
        bench.job_fault("Account", written);
    }
    bench.kill_at("Account", "load_pass_1", "GET", "successfulResults").await;
    assert_eq!(bench.org.count("Account"), written);
    bench
}

fn forget_jobs(bench: &Bench) {
    bench.org.state.ingest_jobs().clear();
}

/// The next loader finishes: every row is there once, and only so many were sent.
async fn finishes(bench: &Bench, rows: &[Vec<Option<String>>], sent: usize) {
    bench.forget_requests();
    assert!(!bench.done("Account", "load_pass_1").await, "the books balance");
    let mut names: Vec<String> = rows.iter().map(|r| r[1].clone().unwrap()).collect();
    names.sort();
    assert_eq!(bench.values("Account", "Name"), names);
    assert_eq!(bench.writes().0, sent as u64);
    let books = bench.books("Account").await;
    let count = rows.len() as i64;
    assert_eq!((books.inserted, books.explained()), (count, count), "{books:?}");
    assert_eq!(bench.number("select count(distinct target_key) from ledger").await, count);
    assert_eq!(bench.number("select count(*) from journal where state <> 'settled'").await, 0);
    let open = "select count(*) from claim where state <> 'done' and run = (select run from run_number order by number desc limit 1)";
    assert_eq!(bench.number(open).await, 0);
    let records = bench.records("Account", &["Name"]);
    for row in rows.iter().filter(|r| rows.iter().filter(|other| other[1] == r[1]).count() == 1) {
        let record = bench.target_key("Account", row[0].as_deref().unwrap()).await.unwrap();
        assert_eq!(
            row[1].as_deref(),
            Some(records[&record][0].as_str()),
            "every key has its own record"
        );
    }
}

/// The next loader stops and says so, however often it tries, and the org stays as it is.
async fn stops(bench: &Bench, why: &str) {
    let count = bench.org.count("Account");
    bench.forget_requests();
    for _ in 0..2 {
        let error = bench.step("Account", "load_pass_1").await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::ResultsGone, "{error}");
        assert!(!error.code().entry().can_retry, "the run stops and says so");
        assert!(error.to_string().contains(why), "{error}");
    }
    assert_eq!((bench.org.count("Account"), bench.writes()), (count, (0, 0)));
}

/// A record of the connection's own user that no sync knows.
async fn stranger(bench: &Bench, name: &str) -> String {
    let values = json!({"Name": name, "BillingCity": "Berlin"});
    let record = Record {
        object: bench::name("Account"),
        values: values.as_object().unwrap().clone(),
    };
    bench.target().insert(&[record]).await.unwrap().remove(0).id
}

#[tokio::test]
async fn all_rows_were_written_and_none_is_sent_again() {
    let rows = some_accounts(0, ROWS);
    let bench = killed(&rows, ROWS).await;
    forget_jobs(&bench);
    finishes(&bench, &rows, 0).await;
}

#[tokio::test]
async fn results_expired_while_their_job_is_still_known() {
    let rows = some_accounts(0, ROWS);
    let bench = killed(&rows, ROWS).await;
    let job = bench.text("select job from journal").await;
    bench.corrupt(Method::POST, "jobs/expire-results", json!([job])).await;
    finishes(&bench, &rows, 0).await;
}

#[tokio::test]
async fn after_more_than_seven_days_what_was_not_written_is_written() {
    let rows = some_accounts(0, ROWS);
    let bench = killed(&rows, PART).await;
    bench.corrupt(Method::POST, "clock", json!({"forward_secs": DAYS_8})).await;
    finishes(&bench, &rows, ROWS - PART).await;
}

#[tokio::test]
async fn no_row_was_written_and_all_are() {
    let rows = some_accounts(0, ROWS);
    let mut bench = Bench::start(vec![accounts()]).await;
    bench.publish_all("Account", &rows).await;
    bench.kill_at("Account", "load_pass_1", "PATCH", "/jobs/ingest/750").await;
    forget_jobs(&bench);
    finishes(&bench, &rows, ROWS).await;
}

#[tokio::test]
async fn of_equal_rows_as_many_are_written_as_are_missing() {
    let rows: Vec<_> = (0..ROWS).map(|i| row(&[&key("Account", i), "Twin", "Berlin", ""])).collect();
    let bench = killed(&rows, PART).await;
    forget_jobs(&bench);
    finishes(&bench, &rows, ROWS - PART).await;
}

#[tokio::test]
async fn a_row_beside_a_record_that_nothing_explains_stops_the_object_until_that_is_cleared_up() {
    let rows = some_accounts(0, ROWS);
    let bench = killed(&rows, ROWS).await;
    let id = bench.records("Account", &["Name"]).into_keys().next().unwrap();
    let name = bench.records("Account", &["Name"])[&id][0].clone();
    let path = format!("records/{id}");
    // A flow, say: it is one of ours, and nothing shows that it is.
    bench.corrupt(Method::PATCH, &path, json!({"Name": "Changed on write"})).await;
    forget_jobs(&bench);
    stops(&bench, "1 of its rows").await;
    bench.corrupt(Method::PATCH, &path, json!({"Name": name})).await;
    finishes(&bench, &rows, 0).await;
}

#[tokio::test]
async fn replacing_the_object_needs_no_results() {
    let rows = some_accounts(0, ROWS);
    let mut bench = killed(&rows, PART).await;
    stranger(&bench, "Somebody").await;
    forget_jobs(&bench);
    stops(&bench, "100 of its rows").await;
    bench.next_run();
    bench.plan.existing = Existing::Replace;
    bench.pin();
    bench.done("Account", "clear").await;
    bench.publish_all("Account", &rows).await;
    finishes(&bench, &rows, ROWS).await;
}

#[tokio::test]
async fn once_every_row_has_its_record_others_do_not_matter() {
    let rows = some_accounts(0, ROWS);
    let bench = killed(&rows, ROWS).await;
    let id = stranger(&bench, "Somebody").await;
    forget_jobs(&bench);
    assert!(!bench.done("Account", "load_pass_1").await);
    assert_eq!(bench.org.count("Account"), ROWS + 1);
    assert_eq!(bench.number("select count(distinct target_key) from ledger").await, ROWS as i64);
    let taken: Vec<String> = sqlx::query_scalar("select target_key from ledger")
        .fetch_all(&bench.platform.db)
        .await
        .unwrap();
    assert!(!taken.contains(&id));
}

#[tokio::test]
async fn a_record_like_a_row_beyond_their_number_is_nobodys() {
    let rows = some_accounts(0, ROWS);
    let bench = killed(&rows, ROWS).await;
    stranger(&bench, "Account 7").await;
    forget_jobs(&bench);
    stops(&bench, "1 records").await;
}

#[tokio::test]
async fn a_deleted_record_may_have_been_one_of_the_rows() {
    let rows = some_accounts(0, ROWS);
    let bench = killed(&rows, ROWS).await;
    let id = bench.records("Account", &["Name"]).into_keys().next().unwrap();
    bench.target().delete(&[id]).await.unwrap();
    forget_jobs(&bench);
    stops(&bench, "1 of its rows").await;
}

#[tokio::test]
async fn records_of_another_user_explain_nothing_and_hinder_nothing() {
    let rows = some_accounts(0, ROWS);
    let bench = killed(&rows, PART).await;
    // Like a row that was not written.
    let taken = bench.values("Account", "Name");
    let missing = rows.iter().filter_map(|r| r[1].clone()).find(|n| !taken.contains(n)).unwrap();
    let id = stranger(&bench, &missing).await;
    bench
        .corrupt(
            Method::PATCH,
            &format!("records/{id}"),
            json!({"CreatedById": "005000000000777AAA"}),
        )
        .await;
    forget_jobs(&bench);
    bench.forget_requests();
    assert!(!bench.done("Account", "load_pass_1").await);
    assert_eq!((bench.org.count("Account"), bench.writes().0), (ROWS + 1, (ROWS - PART) as u64));
}

/// Another sync, from another source into the same object, runs while the first one's entry is open.
async fn beside(rows: &[Vec<Option<String>>], dies: bool) -> Bench {
    let mut bench = killed(&some_accounts(0, ROWS), PART).await;
    let first = bench.plan.clone();
    bench.next_run();
    bench.plan.source.identity = "00DOther".to_owned();
    bench.pin();
    bench.publish_all("Account", rows).await;
    if dies {
        bench.kill_at("Account", "load_pass_1", "GET", "successfulResults").await;
    } else {
        assert!(!bench.done("Account", "load_pass_1").await);
    }
    forget_jobs(&bench);
    bench.plan = first;
    bench
}

#[tokio::test]
async fn records_of_another_sync_are_its_own_whether_settled_or_not() {
    for dies in [false, true] {
        let bench = beside(&some_accounts(1_000, 50), dies).await;
        bench.forget_requests();
        assert!(!bench.done("Account", "load_pass_1").await, "{dies}: the books balance");
        assert_eq!(bench.org.count("Account"), ROWS + 50);
        assert_eq!(bench.writes().0, (ROWS - PART) as u64);
        let books = bench.books("Account").await;
        assert_eq!((books.inserted, books.explained()), (ROWS as i64, ROWS as i64), "{dies}: {books:?}");
    }
}

#[tokio::test]
async fn a_record_that_may_be_either_syncs_is_taken_by_none() {
    // The same rows, and nobody can say whose record is whose.
    let bench = beside(&some_accounts(0, 50), true).await;
    stops(&bench, "records that its user created").await;
}

#[tokio::test]
async fn without_creator_and_time_nothing_is_concluded() {
    for (change, why) in [
        ("update journal set job_created = null", "when and as whom"),
        ("update journal set job_creator = '005000000000777AAA'", "another user"),
    ] {
        let bench = killed(&some_accounts(0, ROWS), ROWS).await;
        sqlx::query(change).execute(&bench.platform.db).await.unwrap();
        forget_jobs(&bench);
        stops(&bench, why).await;
    }
}
