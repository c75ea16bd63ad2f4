//! PostgreSQL restored, to its last commit and to an older moment, with an empty bus: as docs/backup.md has it done.

use syncline_e2e::sync;
use syncline_e2e::{RUN_WAIT, World, assert_balanced};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_to_its_last_commit_a_run_goes_on_and_writes_nothing_twice() {
    let mut world = World::start(2_000).await;
    let run = world.submit(&sync::refresh()).await;
    world.first_writes(&run.id).await;
    world.stack.stop().await;
    let restored = world.stack.back_up().await;
    world.stack.nats.lose_everything().await;
    world.stack.start_on(Some(restored)).await;
    let report = world.end(&run.id, "completed").await;
    assert_balanced(&report);
    world.assert_same().await;
    assert_eq!(world.target.open_jobs().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_to_an_older_moment_the_links_stop_until_they_are_reconciled() {
    let mut world = World::start(1_000).await;
    world.stack.stop().await;
    let backup = world.stack.back_up().await;
    world.stack.start_on(None).await;
    assert_balanced(&world.run_to(&sync::refresh(), "completed").await);

    world.stack.stop().await;
    world.stack.nats.lose_everything().await;
    backup_was_made_an_hour_ago(backup.url()).await;
    world.stack.start_on(Some(backup)).await;
    let written = world.target.writes().await;
    let run = world.submit(&sync::refresh()).await;
    let run = world.stack.door.reach(&run.id, &["failed"], RUN_WAIT).await;
    assert_eq!(run.failure_code, "SYSTEM_UNKNOWN_001", "{}", run.failure_message);
    assert_eq!(world.target.writes().await, written, "nothing is written");
    assert!(run.failure_message.contains("that no ledger has"), "{}", run.failure_message);
    world.assert_same().await;

    let replace = sync::with(&sync::refresh(), "existing: update", "existing: replace");
    assert_balanced(&world.run_to(&replace, "completed").await);
    world.assert_same().await;
    assert_balanced(&world.run_to(&sync::refresh(), "completed").await);
    world.assert_same().await;
}

/// The test does not wait for it.
async fn backup_was_made_an_hour_ago(url: &str) {
    let pool = sqlx::PgPool::connect(url).await.unwrap();
    let moved = sqlx::query("update loader.presence set seen_at = seen_at - interval '1 hour'")
        .execute(&pool)
        .await;
    assert_eq!(moved.unwrap().rows_affected(), 1, "a loader was at work");
    pool.close().await;
}
