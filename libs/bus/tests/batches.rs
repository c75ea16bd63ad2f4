//! Batches on the way from one stage to the next, on a real server.
#![allow(clippy::unwrap_used)]
#![allow(dead_code)] // the bench serves several test programs

mod bench;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::message::PublishMessage;
use bench::{Bench, PLAN, SOON, bus, group, object, run};
use syncline_bus::subjects::{self, header};
use syncline_bus::{Audience, BusError, Handled, RunOnce, streams};
use syncline_domain::{BatchName, ErrorCode, ObjectName};
use syncline_testkit::{FaultProxy, eventually, servers};

#[tokio::test]
async fn a_batch_arrives_as_it_was_sent_and_goes_once_it_is_handled() {
    let bench = Bench::start().await;
    bench.publish(3, 1, "sealed").await.unwrap();
    let consumer = bench.consumer().await;
    let ran = consumer
        .run_once(group(8), async |batches| {
            assert_eq!(bench.waiting().await, 1, "acknowledged before the handler has returned");
            let [batch] = batches.as_slice() else {
                panic!("{} batches", batches.len())
            };
            assert_eq!(batch.name, Some(bench.name(3, 1)));
            assert_eq!((batch.plan.as_str(), batch.records, &batch.sealed[..]), (PLAN, 7, &b"sealed"[..]));
            assert!(!batch.redelivered);
            vec![Handled::Done]
        })
        .await
        .unwrap();
    assert_eq!(ran, RunOnce::Handled(1));
    gone(&bench).await;
    bench.clean().await;
}

#[tokio::test]
async fn a_full_partition_refuses_until_there_is_room_and_others_do_not_notice() {
    let bench = Bench::start().await;
    let room = u32::try_from(streams::MESSAGES_PER_PARTITION_MAX).unwrap();
    for seq in 0..room {
        bench.publish(0, seq, "x").await.unwrap();
    }
    let refused = bench.publish(0, room, "x").await.unwrap_err();
    assert!(
        matches!(&refused, BusError::Full { subject } if subject.ends_with(".Account.0")),
        "{refused}"
    );
    assert_eq!(refused.code(), ErrorCode::BusUnavailable);
    bench.publish(1, 0, "x").await.unwrap();
    let name = BatchName::whole(bench.run.clone(), ObjectName::new("Contact").unwrap(), 0, 1, 0);
    bench
        .bus
        .publish_batch(Audience::Raw, &bench.tenant, &name, PLAN, 1, "x".into())
        .await
        .unwrap();
    bench
        .bus
        .publish_batch(Audience::Clean, &bench.tenant, &bench.name(0, 0), PLAN, 1, "x".into())
        .await
        .unwrap();
    let consumer = bench.consumer().await;
    consumer.run_once(group(1), async |_| vec![Handled::Done]).await.unwrap();
    eventually(SOON, || bench.publish(0, room, "x")).await;
    let again = bench.publish(0, room + 1, "x").await.unwrap_err();
    assert!(
        matches!(again, BusError::Full { .. }),
        "one acknowledgement makes room for one: {again}"
    );
    bench.clean().await;
}

#[tokio::test]
async fn a_repeated_publish_is_stored_once() {
    let bench = Bench::start().await;
    for _ in 0..3 {
        bench.publish(0, 1, "x").await.unwrap();
    }
    assert_eq!(bench.waiting().await, 1);
    // The same name for the other audience is another message.
    let name = bench.name(0, 1);
    bench
        .bus
        .publish_batch(Audience::Clean, &bench.tenant, &name, PLAN, 1, "x".into())
        .await
        .unwrap();
    let clean = bench.bus.waiting(Audience::Clean, &bench.tenant, &bench.run, &object()).await;
    assert_eq!(clean.unwrap(), 1);
    bench.clean().await;
}

#[tokio::test]
async fn a_retried_batch_comes_back_as_redelivered_and_a_dead_one_never() {
    let bench = Bench::start().await;
    bench.publish(0, 1, "retry").await.unwrap();
    bench.publish(0, 2, "dead").await.unwrap();
    let consumer = bench.consumer().await;
    let retry = Handled::Retry {
        after: Duration::from_millis(50),
    };
    consumer
        .run_once(group(8), async |batches| {
            assert_eq!(batches.len(), 2);
            vec![retry.clone(), Handled::Dead]
        })
        .await
        .unwrap();
    let mut seen = Vec::new();
    eventually(SOON, || bench_left(&bench, 1)).await; // the dead one is gone from the stream
    consumer
        .run_once(group(8), async |batches| {
            seen.extend(batches.into_iter().map(|b| (b.sealed, b.redelivered)));
            vec![Handled::Done]
        })
        .await
        .unwrap();
    assert_eq!(seen, [("retry".into(), true)]);
    gone(&bench).await;
    bench.clean().await;
}

#[tokio::test]
async fn batches_that_are_to_come_again_later_keep_no_other_from_coming() {
    let bench = Bench::start().await;
    let all = u32::try_from(streams::MESSAGES_PER_PARTITION_MAX).unwrap();
    for seq in 1..all {
        bench.publish(0, seq, "later").await.unwrap();
    }
    let consumer = bench.consumer().await;
    let mut put_off = 0;
    while put_off + 1 < all as usize {
        consumer
            .run_once(group(64), async |batches| {
                put_off += batches.len();
                let after = Duration::from_secs(3600);
                vec![Handled::Retry { after }; batches.len()]
            })
            .await
            .unwrap();
    }
    bench.publish(0, all, "now").await.unwrap();
    let mut seen = Vec::new();
    consumer
        .run_once(group(64), async |batches| {
            seen.extend(batches.into_iter().map(|b| b.sealed));
            vec![Handled::Done]
        })
        .await
        .unwrap();
    assert_eq!(seen, ["now"]);
    bench.clean().await;
}

#[tokio::test]
async fn answers_that_are_missing_leave_their_batches_unacknowledged() {
    let bench = Bench::start().await;
    for seq in 0..3 {
        bench.publish(0, seq, "x").await.unwrap();
    }
    let consumer = bench.consumer().await;
    let ran = consumer.run_once(group(8), async |_| vec![Handled::Done]).await.unwrap();
    assert_eq!(ran, RunOnce::Handled(3));
    eventually(SOON, || bench_left(&bench, 2)).await;
    bench.clean().await;
}

#[tokio::test]
async fn an_empty_object_is_idle_after_the_wait() {
    let bench = Bench::start().await;
    let consumer = bench.consumer().await;
    let mut limits = group(8);
    for wait in [Duration::ZERO, Duration::from_millis(50)] {
        limits.wait = wait;
        let ran = consumer.run_once(limits, async |_| panic!("nothing was sent")).await.unwrap();
        assert_eq!(ran, RunOnce::Idle);
    }
    bench.clean().await;
}

#[tokio::test]
async fn batches_that_exceed_one_pull_come_in_several() {
    const COUNT: u32 = 24; // 21 MiB: more than one pull may bring
    let bench = Bench::start().await;
    for seq in 0..COUNT {
        bench.publish(0, seq, vec![5; 900 * 1024]).await.unwrap();
    }
    let consumer = bench.consumer().await;
    let mut seen = BTreeSet::new();
    while seen.len() < COUNT as usize {
        let ran = consumer
            .run_once(group(64), async |batches| {
                let done = vec![Handled::Done; batches.len()];
                for batch in batches {
                    assert!(!batch.redelivered, "a pull that ran into its bound lost what it had");
                    assert!(seen.insert(batch.name.unwrap().seq));
                }
                done
            })
            .await
            .unwrap();
        assert_ne!(ran, RunOnce::Idle, "{} of {COUNT}", seen.len());
    }
    bench.clean().await;
}

#[tokio::test]
async fn replicas_of_a_stage_share_an_objects_batches() {
    const COUNT: u32 = 40;
    let bench = Bench::start().await;
    for seq in 0..COUNT {
        bench.publish(seq % 4, seq, "x").await.unwrap();
    }
    let other = bus(&servers().nats_url).await;
    let first = bench.consumer().await;
    let second = other
        .batches(&bench.stage, Audience::Raw, &bench.tenant, &bench.run, &object())
        .await
        .unwrap();
    let seen = Mutex::new(Vec::new());
    let drain = async |consumer: &syncline_bus::BatchConsumer| {
        while seen.lock().unwrap().len() < COUNT as usize {
            let mut limits = group(3);
            limits.wait = Duration::from_millis(50);
            consumer
                .run_once(limits, async |batches| {
                    let done = vec![Handled::Done; batches.len()];
                    seen.lock().unwrap().extend(batches.into_iter().map(|b| b.name.unwrap().seq));
                    done
                })
                .await
                .unwrap();
        }
    };
    tokio::join!(drain(&first), drain(&second));
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, (0..COUNT).collect::<Vec<_>>());
    bench.clean().await;
}

#[tokio::test]
async fn a_message_without_a_readable_name_arrives_nameless() {
    let bench = Bench::start().await;
    let subject = subjects::batch(Audience::Raw, &bench.tenant, &bench.name(0, 0));
    let good = bench.name(0, 9).to_string();
    let damaged = [
        "",
        "Account",
        "r-1/Account/0/0",
        "a b/Account/0/0/0/0/1",
        &good[1..good.len() - 1],
        "\u{1F4A9}",
    ];
    for name in damaged {
        let mut headers = HeaderMap::new();
        headers.insert(header::BATCH, name);
        headers.insert(header::RECORDS, "many");
        publish_raw(&bench, &subject, headers).await;
    }
    publish_raw(&bench, &subject, HeaderMap::new()).await;
    let consumer = bench.consumer().await;
    let mut count = 0;
    consumer
        .run_once(group(16), async |batches| {
            count = batches.len();
            for batch in &batches {
                assert_eq!((&batch.name, batch.records, batch.plan.as_str()), (&None, 0, ""));
            }
            vec![Handled::Done; count]
        })
        .await
        .unwrap();
    assert_eq!(count, damaged.len() + 1);
    bench.clean().await;
}

async fn publish_raw(bench: &Bench, subject: &str, headers: HeaderMap) {
    let message = PublishMessage::build().payload("x".into()).headers(headers);
    bench.server.send_publish(subject.to_owned(), message).await.unwrap().await.unwrap();
}

#[tokio::test]
async fn a_message_over_the_bound_is_refused_before_it_is_sent() {
    let bench = Bench::start().await;
    let bound = usize::try_from(streams::MESSAGE_BYTES_MAX).unwrap();
    // The server counts headers too, so what fits without them may not fit with them.
    for bytes in [bound + 1, bound, bound - 20] {
        let refused = bench.publish(0, 0, vec![5; bytes]).await.unwrap_err();
        assert!(matches!(refused, BusError::TooLarge { .. }), "{bytes}: {refused:?}");
        assert_eq!(refused.code(), ErrorCode::RecordTooLarge);
    }
    assert_eq!(bench.waiting().await, 0);
    bench.publish(0, 1, vec![5; bound - 1024]).await.unwrap();
    bench.clean().await;
}

#[tokio::test]
async fn purging_a_run_removes_its_batches_and_consumers_and_no_others() {
    let bench = Bench::start().await;
    let other = run();
    // An object of another run that carries this run's id in its name.
    let confusing = ObjectName::new(format!("A_{}_b", bench.run)).unwrap();
    let kept = [object(), confusing];
    for (seq, audience) in [(0, Audience::Raw), (1, Audience::Clean)] {
        let gone = bench.name(0, seq);
        bench
            .bus
            .publish_batch(audience, &bench.tenant, &gone, PLAN, 1, "x".into())
            .await
            .unwrap();
        bench
            .bus
            .batches(&bench.stage, audience, &bench.tenant, &bench.run, &object())
            .await
            .unwrap();
        for object in &kept {
            let name = BatchName::whole(other.clone(), object.clone(), 0, 1, seq);
            bench
                .bus
                .publish_batch(audience, &bench.tenant, &name, PLAN, 1, "x".into())
                .await
                .unwrap();
            bench
                .bus
                .batches(&bench.stage, audience, &bench.tenant, &other, object)
                .await
                .unwrap();
        }
    }
    bench.bus.purge_run(&bench.tenant, &bench.run).await.unwrap();
    for audience in [Audience::Raw, Audience::Clean] {
        let waiting = bench.bus.waiting(audience, &bench.tenant, &bench.run, &object()).await;
        assert_eq!(waiting.unwrap(), 0);
        let stream = bench.server.get_stream(audience.stream()).await.unwrap();
        let consumer = subjects::batch_consumer(&bench.stage, &bench.run, &object());
        assert!(stream.consumer_info(&consumer).await.is_err(), "{consumer} is still there");
        for object in &kept {
            assert_eq!(bench.bus.waiting(audience, &bench.tenant, &other, object).await.unwrap(), 1);
            let consumer = subjects::batch_consumer(&bench.stage, &other, object);
            assert!(stream.consumer_info(&consumer).await.is_ok(), "{consumer} of another run is gone");
        }
    }
    bench.bus.purge_run(&bench.tenant, &bench.run).await.unwrap();
    bench.bus.purge_run(&bench.tenant, &other).await.unwrap();
}

#[tokio::test]
async fn forgetting_an_object_twice_is_fine_and_its_unacknowledged_batches_stay() {
    let bench = Bench::start().await;
    bench.publish(0, 0, "x").await.unwrap();
    let consumer = bench.consumer().await;
    for _ in 0..2 {
        bench
            .bus
            .forget_batches(&bench.stage, Audience::Raw, &bench.run, &object())
            .await
            .unwrap();
    }
    let error = consumer.run_once(group(1), async |_| vec![]).await.unwrap_err();
    assert!(matches!(error, BusError::Pull { .. }), "{error}");
    let again = bench.consumer().await;
    let ran = again.run_once(group(1), async |_| vec![Handled::Done]).await.unwrap();
    assert_eq!(ran, RunOnce::Handled(1));
    bench.clean().await;
}

#[tokio::test]
async fn a_pull_whose_answer_was_lost_ends_and_the_next_one_finds_the_batch() {
    let bench = Bench::start().await;
    let (proxy, url) = FaultProxy::before(&servers().nats_url, 4222).await.unwrap();
    let behind = bus(&url).await;
    let consumer = behind
        .batches(&bench.stage, Audience::Raw, &bench.tenant, &bench.run, &object())
        .await
        .unwrap();
    let mut limits = group(1);
    limits.wait = Duration::from_secs(60);
    // The first pull asks without waiting, the second one waits: the line is cut under each of them.
    for (seq, hold) in [(0, true), (1, false)] {
        if hold {
            proxy.hold();
        }
        let pull = consumer.run_once(limits, async |_| vec![Handled::Done]);
        let cut = async {
            // Time for the request to leave; if it has not, the test is only easier.
            tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>())
                .await
                .unwrap_err();
            proxy.cut();
            proxy.forward();
        };
        let (_, ()) = tokio::time::timeout(SOON, async { tokio::join!(pull, cut) })
            .await
            .expect("a pull waits for an answer that never comes");
        bench.publish(0, seq, "x").await.unwrap();
        // Should the message have gone to the pull that was lost, it comes again after the ack wait.
        eventually(Duration::from_secs(90), || async {
            match consumer.run_once(limits, async |_| vec![Handled::Done]).await {
                Ok(RunOnce::Handled(1)) => Ok(()),
                other => Err(other),
            }
        })
        .await;
        gone(&bench).await;
    }
    bench.clean().await;
}

async fn bench_left(bench: &Bench, count: u64) -> Result<(), u64> {
    match bench.waiting().await {
        n if n == count => Ok(()),
        n => Err(n),
    }
}

async fn gone(bench: &Bench) {
    eventually(SOON, || bench_left(bench, 0)).await;
}
