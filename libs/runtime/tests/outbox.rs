//! Messages that belong to a transaction, on real servers.
#![allow(clippy::unwrap_used)]
#![allow(dead_code)] // the bench serves several test programs

mod bench;

use bench::{Bench, SOON, service};
use sqlx::postgres::PgListener;
use syncline_runtime::{Platform, outbox};
use syncline_testkit::{FaultProxy, eventually, servers};

async fn write(bench: &Bench, runs: impl IntoIterator<Item = u32>, commit: bool) {
    let mut tx = bench.platform.db.begin().await.unwrap();
    for run in runs {
        outbox::event(&mut tx, &bench.event(run)).await.unwrap();
    }
    if commit {
        tx.commit().await.unwrap();
    }
}

async fn rows(platform: &Platform) -> i64 {
    sqlx::query_scalar("select count(*) from outbox")
        .fetch_one(&platform.db)
        .await
        .unwrap()
}

async fn relayed(platform: &Platform) {
    eventually(SOON, || async {
        match rows(platform).await {
            0 => Ok(()),
            n => Err(n),
        }
    })
    .await;
}

async fn runs(bench: &Bench) -> Vec<u32> {
    let number = |e: syncline_wire::event::RunEvent| e.run.strip_prefix("r-").unwrap().parse().unwrap();
    bench.events().await.into_iter().map(number).collect()
}

#[tokio::test]
async fn a_message_is_sent_if_and_only_if_its_transaction_commits() {
    let bench = Bench::start().await;
    let mut listener = PgListener::connect_with(&bench.platform.db).await.unwrap();
    listener.listen(&format!("outbox_{}", bench.platform.config.service)).await.unwrap();
    write(&bench, [1], false).await;
    write(&bench, [2, 3], true).await;
    tokio::time::timeout(SOON, listener.recv())
        .await
        .expect("a commit notifies")
        .unwrap();
    relayed(&bench.platform).await;
    assert_eq!(runs(&bench).await, [2, 3]);
}

#[tokio::test]
async fn what_a_killed_process_left_is_relayed_by_the_next_one() {
    let bench = Bench::start().await;
    bench.platform.shutdown.cancel();
    // Without a relay, it stays; the notification is lost.
    eventually(SOON, || async {
        write(&bench, [1], true).await;
        tokio::task::yield_now().await;
        if rows(&bench.platform).await > 0 { Ok(()) } else { Err("relayed") }
    })
    .await;
    let next = bench.replica().await;
    relayed(&next).await;
    assert!(runs(&bench).await.contains(&1));
    next.shutdown.cancel();
}

#[tokio::test]
async fn two_relays_send_everything_once() {
    const COUNT: u32 = 250;
    let bench = Bench::start().await;
    let other = bench.replica().await;
    for chunk in 0..10 {
        write(&bench, (0..COUNT).filter(|n| n % 10 == chunk), true).await;
    }
    relayed(&bench.platform).await;
    let mut sent = runs(&bench).await;
    sent.sort_unstable();
    assert_eq!(sent, (0..COUNT).collect::<Vec<_>>());
    other.shutdown.cancel();
}

#[tokio::test]
async fn messages_of_one_relay_keep_their_order_over_a_lost_connection() {
    let (proxy, url) = FaultProxy::before(&servers().nats_url, 4222).await.unwrap();
    let bench = Bench::with(|config| config.nats_url.clone_from(&url)).await;
    write(&bench, 0..5, true).await;
    relayed(&bench.platform).await;
    proxy.cut();
    write(&bench, 5..10, true).await;
    relayed(&bench.platform).await;
    assert_eq!(runs(&bench).await, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_new_database_is_not_taken_for_a_repetition_of_the_old_one() {
    let schema = service();
    for _ in 0..2 {
        // The same schema and so the same row ids, as after a restore.
        let bench = Bench::with(|config| config.service = schema).await;
        write(&bench, [1], true).await;
        relayed(&bench.platform).await;
        assert_eq!(runs(&bench).await, [1], "it was relayed, and the server dropped it");
    }
}

#[tokio::test]
async fn a_message_that_no_retry_can_send_does_not_hold_up_the_others() {
    let bench = Bench::start().await;
    let mut tx = bench.platform.db.begin().await.unwrap();
    sqlx::query("insert into outbox (subject, payload) values ('event.x.y.z', $1)")
        .bind(vec![0_u8; 1024 * 1024])
        .execute(&mut *tx)
        .await
        .unwrap();
    outbox::event(&mut tx, &bench.event(1)).await.unwrap();
    tx.commit().await.unwrap();
    relayed(&bench.platform).await;
    assert_eq!(runs(&bench).await, [1]);
}
