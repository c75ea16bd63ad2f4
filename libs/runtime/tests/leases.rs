//! Who may commit for a task, on a real database.
#![allow(clippy::unwrap_used)]
#![allow(dead_code)] // the bench serves several test programs

mod bench;

use bench::Bench;
use futures::future::join_all;
use syncline_runtime::Lease;
use syncline_runtime::lease::{self, LEASE_TTL, LeaseError, Take};

fn lost(result: Result<(), LeaseError>) -> bool {
    matches!(result, Err(LeaseError::Lost { .. }))
}

async fn commit(bench: &Bench, lease: &Lease) -> Result<(), LeaseError> {
    let mut tx = bench.platform.db.begin().await?;
    sqlx::query("insert into written values (1)").execute(&mut *tx).await?;
    lease.guard(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

async fn written(bench: &Bench) -> i64 {
    sqlx::query_scalar("select count(*) from written")
        .fetch_one(&bench.platform.db)
        .await
        .unwrap()
}

#[tokio::test]
async fn of_twenty_who_ask_at_once_one_gets_the_lease() {
    let bench = Bench::start().await;
    for round in 1..=2 {
        let taken = join_all((0..20).map(|_| bench.take("extract"))).await;
        let epochs: Vec<i64> = taken
            .iter()
            .filter_map(|t| match t {
                Take::Taken(lease) => Some(lease.epoch),
                _ => None,
            })
            .collect();
        assert_eq!(epochs, [round]);
        assert_eq!(taken.iter().filter(|t| matches!(t, Take::Held)).count(), 19);
        assert_eq!(bench.live().await, 1);
        bench.expire().await;
        assert_eq!(bench.live().await, 0);
    }
}

#[tokio::test]
async fn a_worker_whose_lease_was_taken_commits_nothing() {
    let bench = Bench::start().await;
    bench.sql("create table written (n int)").await;
    let first = bench.taken("extract").await;
    commit(&bench, &first).await.unwrap();
    bench.expire().await;
    assert!(lost(commit(&bench, &first).await), "it expired, though nobody has taken it yet");
    let second = bench.taken("extract").await;
    assert!(second.epoch > first.epoch);
    assert!(lost(commit(&bench, &first).await));
    assert!(lost(first.renew(&bench.platform.db).await));
    assert!(lost(first.release(&bench.platform.db, true).await.map(drop)));
    let mut tx = bench.platform.db.begin().await.unwrap();
    assert!(lost(first.finish(&mut tx, false).await));
    drop(tx);
    assert_eq!(written(&bench).await, 1);
    commit(&bench, &second).await.unwrap();
    assert_eq!((written(&bench).await, bench.failures().await), (2, 0));
}

#[tokio::test]
async fn a_guarded_transaction_holds_off_whoever_would_take_the_lease() {
    let bench = Bench::start().await;
    let lease = bench.taken("extract").await;
    let mut tx = bench.platform.db.begin().await.unwrap();
    lease.guard(&mut tx).await.unwrap();
    let mut thief = bench.platform.db.begin().await.unwrap();
    sqlx::raw_sql("set local lock_timeout = '100ms'")
        .execute(&mut *thief)
        .await
        .unwrap();
    let error = sqlx::raw_sql("update task set epoch = epoch + 1")
        .execute(&mut *thief)
        .await
        .unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "55P03", "{error}");
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn renewing_moves_the_expiry_by_the_databases_clock() {
    let bench = Bench::start().await;
    let lease = bench.taken("extract").await;
    let left = async || -> f64 {
        sqlx::query_scalar("select extract(epoch from expires_at - clock_timestamp())::float8 from task")
            .fetch_one(&bench.platform.db)
            .await
            .unwrap()
    };
    let ttl = LEASE_TTL.as_secs_f64();
    let first = left().await;
    assert!(first > ttl - 5.0 && first <= ttl, "{first}");
    bench.sql("update task set expires_at = clock_timestamp() + interval '2 s'").await;
    lease.renew(&bench.platform.db).await.unwrap();
    let renewed = left().await;
    assert!(renewed > ttl - 5.0 && renewed <= ttl, "{renewed}");
}

#[tokio::test]
async fn a_finished_task_stays_finished_and_says_how() {
    let bench = Bench::start().await;
    for (step, with_errors) in [("extract", false), ("verify", true)] {
        let lease = bench.taken(step).await;
        let mut tx = bench.platform.db.begin().await.unwrap();
        lease.finish(&mut tx, with_errors).await.unwrap();
        drop(tx); // rolled back: nothing is finished
        assert!(matches!(bench.take(step).await, Take::Held));
        let mut tx = bench.platform.db.begin().await.unwrap();
        lease.finish(&mut tx, with_errors).await.unwrap();
        tx.commit().await.unwrap();
        assert!(lost(lease.release(&bench.platform.db, true).await.map(drop)), "it was finished");
        let again = bench.take(step).await;
        assert!(
            matches!(again, Take::Finished { with_errors: said, round: 0 } if said == with_errors),
            "{again:?}"
        );
    }
    let mut finished = lease::finished(&bench.platform.db, &bench.run).await.unwrap();
    finished.sort();
    let expected = [("Account", "extract", false), ("Account", "verify", true)];
    let finished: Vec<_> = finished
        .iter()
        .map(|f| (f.object.as_str(), f.step.as_str(), f.with_errors))
        .collect();
    assert_eq!(finished, expected);
    assert_eq!(bench.live().await, 0);
}

#[tokio::test]
async fn a_later_round_begins_a_finished_task_anew_and_an_earlier_one_does_not() {
    let bench = Bench::start().await;
    let take = async |round| {
        Lease::take_in_round(&bench.platform.db, bench.task("verify"), round, "test")
            .await
            .unwrap()
    };
    let lease = bench.taken("verify").await;
    assert_eq!(lease.release(&bench.platform.db, true).await.unwrap(), 1);
    let lease = bench.taken("verify").await;
    let mut tx = bench.platform.db.begin().await.unwrap();
    lease.finish(&mut tx, true).await.unwrap();
    tx.commit().await.unwrap();
    let Take::Taken(again) = take(1).await else {
        panic!("the run was reopened")
    };
    assert_eq!((again.round, bench.failures().await), (1, 0));
    assert!(lease::finished(&bench.platform.db, &bench.run).await.unwrap().is_empty());
    assert!(matches!(take(2).await, Take::Held), "somebody works on it");
    again.release(&bench.platform.db, false).await.unwrap();
    assert!(matches!(take(0).await, Take::Held), "an invitation of the round before is too late");
    let Take::Taken(again) = take(1).await else {
        panic!("it was given back")
    };
    let mut tx = bench.platform.db.begin().await.unwrap();
    again.finish(&mut tx, false).await.unwrap();
    tx.commit().await.unwrap();
    for round in [0, 1] {
        let found = take(round).await;
        let is_finished = matches!(
            found,
            Take::Finished {
                with_errors: false,
                round: 1
            }
        );
        assert!(is_finished, "{found:?}");
    }
}

#[tokio::test]
async fn failures_are_counted_in_a_row() {
    let bench = Bench::start().await;
    for (failed, expected) in [(true, 1), (true, 2), (false, 0), (true, 1)] {
        let lease = bench.taken("extract").await;
        assert_eq!(lease.release(&bench.platform.db, failed).await.unwrap(), expected);
        assert_eq!(bench.live().await, 0);
    }
}
