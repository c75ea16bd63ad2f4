//! Batches that no attempt could save: they are set aside while the rest goes on, and loaded when they are replayed.
#![allow(clippy::unwrap_used)]

mod bench;

use bench::*;
use syncline_batch::{seal_data, seal_end};
use syncline_domain::ErrorCode;
use syncline_runtime::Outcome;
use syncline_wire::event::run_event::Fact;

const BAD: &[u8] = b"not sealed under any key of ours";

fn sealed(bench: &Bench, name: &syncline_domain::BatchName, rows: &[Vec<Option<String>>]) -> Vec<u8> {
    seal_data(&bench.clean, name, &bench.record_batch(name.object.as_str(), rows), b"{}").unwrap()
}

/// Works until the object is done; answers whether there were errors.
async fn until_done(bench: &Bench, object: &str) -> bool {
    for _ in 0..10 {
        match bench.step(object, "load_pass_1").await.unwrap() {
            Outcome::Done { with_errors } => return with_errors,
            Outcome::Yielded { .. } => {}
            Outcome::Stopped => panic!("nobody stopped it"),
        }
    }
    panic!("not done in ten calls");
}

/// Batches of letters that were told to be replayed.
async fn told(bench: &Bench) -> Vec<String> {
    let facts = bench.facts().await.into_iter();
    let replayed = facts.filter_map(|fact| match fact {
        Fact::LetterReplayed(l) => Some(l.batch),
        _ => None,
    });
    replayed.collect()
}

async fn dead(bench: &Bench) -> i64 {
    bench.number("select coalesce(sum(dead), 0)::bigint from claim").await
}

#[tokio::test]
async fn a_batch_that_was_given_up_is_loaded_when_it_is_replayed_and_is_no_longer_dead() {
    let bench = Bench::start(vec![accounts()]).await;
    bench.publish("Account", 0, &some_accounts(0, 3)).await;
    let name = bench.batch("Account", 0, 1);
    bench.deliver(&name, 4, BAD.to_vec()).await;
    bench.end("Account", 2, 7).await;
    assert!(until_done(&bench, "Account").await);
    assert_eq!((dead(&bench).await, bench.org.count("Account")), (4, 3));

    bench.replay("loader", &name, 4, sealed(&bench, &name, &some_accounts(3, 4)));
    assert!(!until_done(&bench, "Account").await, "nothing is missing");
    let books = bench.books("Account").await;
    assert_eq!((books.inserted, books.explained(), dead(&bench).await), (7, 7, 0), "{books:?}");
    assert_eq!(told(&bench).await, [name.to_string()]);
    for step in ["load_pass_2", "orphans", "load_pass_3", "verify"] {
        assert!(!bench.done("Account", step).await, "{step}");
    }
    assert_eq!(bench.org.count("Account"), 7);
}

#[tokio::test]
async fn a_replay_that_dies_is_finished_by_the_next_loader_and_writes_nothing_twice() {
    let mut bench = Bench::start(vec![accounts()]).await;
    let name = bench.batch("Account", 0, 0);
    bench.deliver(&name, 4, BAD.to_vec()).await;
    bench.end("Account", 1, 4).await;
    assert!(until_done(&bench, "Account").await);
    bench.replay("loader", &name, 4, sealed(&bench, &name, &some_accounts(0, 4)));
    bench.kill_at("Account", "load_pass_1", "GET", "/successfulResults").await;
    assert!(!until_done(&bench, "Account").await);
    assert_eq!((bench.books("Account").await.inserted, bench.org.count("Account")), (4, 4));
}

#[tokio::test]
async fn a_letter_of_the_masker_is_waited_for_in_as_many_parts_as_it_comes() {
    let bench = Bench::start(vec![accounts()]).await;
    let name = bench.batch("Account", 0, 0);
    let stand_in = serde_json::json!({"read": 4, "dead": 4});
    bench.publish_as(&name, &[], &stand_in).await;
    bench.publish("Account", 1, &some_accounts(4, 1)).await;
    bench.end("Account", 2, 5).await;
    assert!(until_done(&bench, "Account").await);
    assert_eq!(dead(&bench).await, 4);

    bench.replay("masker", &name, 4, Vec::new());
    let early = bench.step("Account", "load_pass_1").await.unwrap();
    assert!(matches!(early, Outcome::Yielded { .. }), "the masker is not done yet: {early:?}");
    for part in 0..2 {
        let rows = some_accounts(usize::from(part) * 2, 2);
        bench.publish_as(&name.with_part(part, 2), &rows, &serde_json::json!({})).await;
    }
    assert!(!until_done(&bench, "Account").await);
    let books = bench.books("Account").await;
    assert_eq!((books.inserted, books.explained(), dead(&bench).await), (5, 5, 0), "{books:?}");
    assert!(told(&bench).await.is_empty(), "that is the masker's to tell");
}

#[tokio::test]
async fn a_batch_that_is_replayed_in_vain_is_dead_once_and_given_up_again() {
    let bench = Bench::start(vec![accounts()]).await;
    let name = bench.batch("Account", 0, 0);
    bench.deliver(&name, 4, BAD.to_vec()).await;
    bench.end("Account", 1, 4).await;
    assert!(until_done(&bench, "Account").await);
    bench.replay("loader", &name, 4, BAD.to_vec());
    assert!(until_done(&bench, "Account").await);
    assert_eq!(dead(&bench).await, 4);
    assert!(told(&bench).await.is_empty());
}

#[tokio::test]
async fn a_replay_brings_children_along_that_were_parked_for_it() {
    let milestones = object("Milestone__c", vec![text("Name"), required("Project__c", "Project__c")]);
    let bench = Bench::start(vec![object("Project__c", vec![text("Name")]), milestones]).await;
    let name = bench.batch("Project__c", 0, 0);
    bench.deliver(&name, 1, BAD.to_vec()).await;
    bench.end("Project__c", 1, 1).await;
    assert!(until_done(&bench, "Project__c").await);
    let child = row(&[&key("Milestone__c", 1), "M", &key("Project__c", 1)]);
    bench.publish_all("Milestone__c", &[child]).await;
    assert!(until_done(&bench, "Milestone__c").await);
    let parent = row(&[&key("Project__c", 1), "P"]);
    bench.replay("loader", &name, 1, sealed(&bench, &name, &[parent]));
    assert!(!until_done(&bench, "Project__c").await);
    assert!(!until_done(&bench, "Milestone__c").await);
    assert_eq!(bench.org.count("Milestone__c"), 1);
}

/// A row without a key is the batch's own fault, and is found only when its rows are looked at.
#[tokio::test]
async fn a_batch_that_cannot_be_prepared_is_set_aside_and_those_beside_it_are_loaded() {
    let bench = Bench::start(vec![accounts()]).await;
    bench.publish("Account", 0, &some_accounts(0, 3)).await;
    bench
        .publish(
            "Account",
            1,
            &[row(&["", "Nobody", "Berlin", ""]), row(&[&key("Account", 9), "N", "Berlin", ""])],
        )
        .await;
    bench.publish("Account", 2, &some_accounts(3, 2)).await;
    bench.end("Account", 3, 7).await;
    assert!(until_done(&bench, "Account").await);
    let books = bench.books("Account").await;
    assert_eq!((books.inserted, books.explained(), dead(&bench).await), (5, 5, 2), "{books:?}");
    assert_eq!(
        bench.number("select max(attempts)::bigint from claim").await,
        7,
        "its attempts are bounded"
    );
    assert!(
        bench.number("select max(attempts)::bigint from claim where seq <> 1").await <= 2,
        "it is tried alone"
    );
}

/// As a process does that is killed before it has opened a batch: the attempt is counted and nothing else is left.
#[tokio::test]
async fn a_batch_that_kills_its_worker_every_time_is_set_aside_before_it_is_opened() {
    let bench = Bench::start(vec![accounts()]).await;
    sqlx::query(
        "insert into claim (run, object, partition, generation, seq, part, parts, attempts) values ($1, 'Account', 0, 0, 0, 0, 1, 6)",
    )
    .bind(bench.run().as_str())
    .execute(&bench.platform.db)
    .await
    .unwrap();
    bench.publish("Account", 0, &some_accounts(0, 3)).await;
    bench.publish("Account", 1, &some_accounts(3, 2)).await;
    bench.end("Account", 2, 5).await;
    assert!(until_done(&bench, "Account").await);
    assert_eq!((dead(&bench).await, bench.org.count("Account")), (3, 2));
}

#[tokio::test]
async fn the_end_of_an_object_that_cannot_be_read_stops_the_run_instead_of_keeping_it_waiting() {
    let bench = Bench::start(vec![accounts()]).await;
    bench.publish("Account", 0, &some_accounts(0, 1)).await;
    let end = bench.batch("Account", 0, 1);
    bench
        .deliver(&end, 0, seal_end(&syncline_batch::SealingKey::generate(), &end, 1, 1))
        .await;
    let mut outcome = bench.step("Account", "load_pass_1").await;
    for _ in 0..6 {
        if matches!(outcome, Ok(Outcome::Yielded { .. })) {
            outcome = bench.step("Account", "load_pass_1").await;
        }
    }
    assert_eq!(outcome.unwrap_err().code(), ErrorCode::DeadLetter);
}
