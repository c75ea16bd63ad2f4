//! Events, tasks and dead letters through their runners, on a real server.
#![allow(clippy::unwrap_used)]
#![allow(dead_code)] // the bench serves several test programs

mod bench;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use bench::{Bench, SOON, bus};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use syncline_bus::subjects;
use syncline_bus::{Audience, Bus, BusError, DeadLetter, Handled};
use syncline_domain::ErrorCode;
use syncline_testkit::{FaultProxy, PrivateNats, eventually, prefix, servers};
use syncline_wire::event::RunEvent;
use syncline_wire::event::run_event::Fact;
use syncline_wire::stage::Invitation;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

type Seen<T> = Arc<Mutex<Vec<T>>>;

/// A durable consumer that sees only this test's tenant: the stream holds everybody's events.
async fn durable(bench: &Bench) -> String {
    let name = prefix();
    let config = pull::Config {
        durable_name: Some(format!("events-{name}")),
        filter_subject: format!("event.{}.>", bench.tenant),
        deliver_policy: DeliverPolicy::New,
        ..pull::Config::default()
    };
    let stream = bench.server.get_stream("EVENTS").await.unwrap();
    stream.create_consumer(config).await.unwrap();
    name
}

async fn forget(bench: &Bench, stream: &str, consumer: &str) {
    let stream = bench.server.get_stream(stream).await.unwrap();
    stream.delete_consumer(consumer).await.unwrap();
}

fn event(bench: &Bench, run: u32) -> RunEvent {
    RunEvent {
        tenant: bench.tenant.to_string(),
        run: format!("r-{run}"),
        ..RunEvent::default()
    }
}

/// Notes every run it hears of; the first `refusals` deliveries are answered with a retry.
fn hear(bus: Bus, durable: &str, seen: &Seen<String>, stop: &CancellationToken, refusals: u32) -> JoinHandle<Result<(), BusError>> {
    let (durable, seen, stop) = (durable.to_owned(), Arc::clone(seen), stop.clone());
    let left = Arc::new(Mutex::new(refusals));
    tokio::spawn(async move {
        bus.run_events(&durable, stop, |event| {
            let (seen, left) = (Arc::clone(&seen), Arc::clone(&left));
            async move {
                seen.lock().unwrap().push(event.run);
                let mut left = left.lock().unwrap();
                match left.checked_sub(1) {
                    Some(fewer) => {
                        *left = fewer;
                        Handled::Retry {
                            after: Duration::from_millis(20),
                        }
                    }
                    None => Handled::Done,
                }
            }
        })
        .await
    })
}

async fn heard(seen: &Seen<String>, count: usize) -> Vec<String> {
    eventually(SOON, || async {
        let mut seen = seen.lock().unwrap().clone();
        seen.sort();
        if seen.len() < count { Err(seen) } else { Ok(seen) }
    })
    .await
}

async fn unacknowledged(bench: &Bench, durable: &str) -> u64 {
    let stream = bench.server.get_stream("EVENTS").await.unwrap();
    let info = stream.consumer_info(format!("events-{durable}")).await.unwrap();
    info.num_pending + info.num_ack_pending as u64
}

async fn drained(bench: &Bench, durable: &str) {
    eventually(SOON, || async {
        match unacknowledged(bench, durable).await {
            0 => Ok(()),
            n => Err(n),
        }
    })
    .await;
}

#[tokio::test]
async fn an_event_goes_to_one_of_a_durables_runners_and_to_every_durable() {
    const COUNT: u32 = 30;
    let bench = Bench::start().await;
    let (shared, alone) = (durable(&bench).await, durable(&bench).await);
    let stop = CancellationToken::new();
    let (by_two, by_one) = (Seen::default(), Seen::default());
    let runners = [
        hear(bench.bus.clone(), &shared, &by_two, &stop, 0),
        hear(bus(&servers().nats_url).await, &shared, &by_two, &stop, 0),
        hear(bench.bus.clone(), &alone, &by_one, &stop, 0),
    ];
    for run in 0..COUNT {
        bench.bus.publish_event(&event(&bench, run)).await.unwrap();
    }
    let mut all: Vec<String> = (0..COUNT).map(|run| format!("r-{run}")).collect();
    all.sort();
    assert_eq!(heard(&by_two, all.len()).await, all);
    assert_eq!(heard(&by_one, all.len()).await, all);
    for name in [&shared, &alone] {
        drained(&bench, name).await;
    }
    stop.cancel();
    for runner in runners {
        tokio::time::timeout(SOON, runner)
            .await
            .expect("shutdown ends it")
            .unwrap()
            .unwrap();
    }
    assert_eq!(heard(&by_two, all.len()).await.len(), all.len());
    for name in [shared, alone] {
        forget(&bench, "EVENTS", &format!("events-{name}")).await;
    }
}

#[tokio::test]
async fn an_event_that_was_refused_comes_again_and_one_that_does_not_decode_is_dropped() {
    let bench = Bench::start().await;
    let name = durable(&bench).await;
    let (stop, seen) = (CancellationToken::new(), Seen::default());
    let runner = hear(bench.bus.clone(), &name, &seen, &stop, 2);
    let subject = subjects::event(bench.tenant.as_str(), "r-0", "step_done");
    bench.server.publish(subject, vec![0xff; 9].into()).await.unwrap().await.unwrap();
    bench.bus.publish_event(&event(&bench, 1)).await.unwrap();
    assert_eq!(heard(&seen, 3).await, ["r-1", "r-1", "r-1"]);
    drained(&bench, &name).await;
    stop.cancel();
    runner.await.unwrap().unwrap();
    forget(&bench, "EVENTS", &format!("events-{name}")).await;
}

#[tokio::test]
async fn a_runner_outlives_its_connection() {
    let bench = Bench::start().await;
    let name = durable(&bench).await;
    let (proxy, url) = FaultProxy::before(&servers().nats_url, 4222).await.unwrap();
    let (stop, seen) = (CancellationToken::new(), Seen::default());
    let runner = hear(bus(&url).await, &name, &seen, &stop, 0);
    bench.bus.publish_event(&event(&bench, 0)).await.unwrap();
    heard(&seen, 1).await;
    proxy.cut();
    bench.bus.publish_event(&event(&bench, 1)).await.unwrap();
    heard(&seen, 2).await;
    proxy.refuse();
    bench.bus.publish_event(&event(&bench, 2)).await.unwrap();
    proxy.forward();
    assert_eq!(heard(&seen, 3).await, ["r-0", "r-1", "r-2"]);
    stop.cancel();
    tokio::time::timeout(SOON, runner)
        .await
        .expect("shutdown ends it")
        .unwrap()
        .unwrap();
    forget(&bench, "EVENTS", &format!("events-{name}")).await;
}

#[tokio::test]
async fn shutdown_ends_a_runner_whose_server_is_away() {
    let bench = Bench::start().await;
    let name = durable(&bench).await;
    let (proxy, url) = FaultProxy::before(&servers().nats_url, 4222).await.unwrap();
    let stop = CancellationToken::new();
    let runner = hear(bus(&url).await, &name, &Seen::default(), &stop, 0);
    proxy.hold();
    stop.cancel();
    tokio::time::timeout(SOON, runner)
        .await
        .expect("shutdown ends it")
        .unwrap()
        .unwrap();
    forget(&bench, "EVENTS", &format!("events-{name}")).await;
}

fn invitation(bench: &Bench, step: &str) -> Invitation {
    Invitation {
        tenant: bench.tenant.to_string(),
        run: bench.run.to_string(),
        run_version: 3,
        object: "Account".to_owned(),
        step: step.to_owned(),
        round: 0,
    }
}

#[tokio::test]
async fn a_busy_worker_leaves_invitations_to_others() {
    let bench = Bench::start().await;
    let stop = CancellationToken::new();
    let (busy_seen, other_seen): (Seen<Invitation>, Seen<Invitation>) = Default::default();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let work = |seen: &Seen<Invitation>, bus: Bus, slots: usize| {
        let (seen, kept, stop, stage) = (Arc::clone(seen), Arc::clone(&kept), stop.clone(), bench.stage.clone());
        tokio::spawn(async move {
            bus.run_tasks(&stage, Arc::new(Semaphore::new(slots)), stop, |invitation, slot| {
                seen.lock().unwrap().push(invitation);
                kept.lock().unwrap().push(slot); // works for ever
                std::future::ready(Handled::Done)
            })
            .await
        })
    };
    let busy = work(&busy_seen, bench.bus.clone(), 1);
    let invite = async |step| {
        let invitation = invitation(&bench, step);
        bench
            .bus
            .invite(&bench.stage, &bench.tenant, &bench.run, &invitation)
            .await
            .unwrap();
    };
    let count = |seen: &Seen<Invitation>| seen.lock().unwrap().len();
    invite("extract").await;
    eventually(SOON, || async { if count(&busy_seen) == 1 { Ok(()) } else { Err("not invited") } }).await;
    invite("transform").await;
    invite("verify").await;
    let other = work(&other_seen, bus(&servers().nats_url).await, 2);
    eventually(SOON, || async {
        if count(&other_seen) == 2 { Ok(()) } else { Err(count(&other_seen)) }
    })
    .await;
    assert_eq!(busy_seen.lock().unwrap().as_slice(), [invitation(&bench, "extract")]);
    let steps: Vec<String> = other_seen.lock().unwrap().iter().map(|i| i.step.clone()).collect();
    assert_eq!(steps, ["transform", "verify"]);
    stop.cancel();
    for worker in [busy, other] {
        tokio::time::timeout(SOON, worker)
            .await
            .expect("shutdown ends it")
            .unwrap()
            .unwrap();
    }
    forget(&bench, "TASKS", &format!("tasks-{}", bench.stage)).await;
}

#[tokio::test]
async fn an_invitation_that_does_not_decode_frees_its_slot_and_a_refused_one_comes_again() {
    let bench = Bench::start().await;
    let subject = subjects::task(&bench.stage, &bench.tenant, &bench.run);
    bench.server.publish(subject, vec![0xff; 9].into()).await.unwrap().await.unwrap();
    let expected = invitation(&bench, "extract");
    bench.bus.invite(&bench.stage, &bench.tenant, &bench.run, &expected).await.unwrap();
    let (stop, deliveries) = (CancellationToken::new(), Mutex::new(0));
    let slots = Arc::new(Semaphore::new(1));
    let running = bench
        .bus
        .run_tasks(&bench.stage, Arc::clone(&slots), stop.clone(), |invitation, _slot| {
            assert_eq!(invitation, expected);
            let mut deliveries = deliveries.lock().unwrap();
            *deliveries += 1;
            std::future::ready(if *deliveries < 3 {
                Handled::Retry {
                    after: Duration::from_millis(20),
                }
            } else {
                stop.cancel();
                Handled::Done
            })
        });
    tokio::time::timeout(SOON, running).await.unwrap().unwrap();
    assert_eq!((deliveries.into_inner().unwrap(), slots.available_permits()), (3, 1));
    forget(&bench, "TASKS", &format!("tasks-{}", bench.stage)).await;
}

#[tokio::test]
async fn invitations_come_again_when_their_consumer_was_deleted() {
    let bench = Bench::start().await;
    let stop = CancellationToken::new();
    let seen: Seen<Invitation> = Seen::default();
    let running = {
        let (bus, stage, stop, seen) = (bench.bus.clone(), bench.stage.clone(), stop.clone(), Arc::clone(&seen));
        tokio::spawn(async move {
            bus.run_tasks(&stage, Arc::new(Semaphore::new(1)), stop, |invitation, _slot| {
                seen.lock().unwrap().push(invitation);
                std::future::ready(Handled::Done)
            })
            .await
        })
    };
    for (count, step) in [(1, "extract"), (2, "verify")] {
        let invitation = invitation(&bench, step);
        bench
            .bus
            .invite(&bench.stage, &bench.tenant, &bench.run, &invitation)
            .await
            .unwrap();
        eventually(SOON, || async {
            let seen = seen.lock().unwrap().len();
            if seen == count { Ok(()) } else { Err(seen) }
        })
        .await;
        forget(&bench, "TASKS", &format!("tasks-{}", bench.stage)).await;
    }
    stop.cancel();
    running.await.unwrap().unwrap();
    let stream = bench.server.get_stream("TASKS").await.unwrap();
    let _ = stream.delete_consumer(&format!("tasks-{}", bench.stage)).await;
}

#[tokio::test]
async fn a_dead_letter_says_what_it_was_and_why_it_died() {
    // The stream gives every letter to one consumer, which on a shared server is somebody else's.
    let nats = PrivateNats::start();
    let bench = Bench::at(nats.url()).await;
    let name = bench.name(4, 2);
    let cause = format!("no key\r\nNats-Msg-Id: forged {}", "é".repeat(5000));
    for _ in 0..2 {
        let stored = bench
            .bus
            .publish_dead("masker", &bench.tenant, &name, ErrorCode::MaskKey, &cause, 5, 7, 0, "sealed".into());
        stored.await.unwrap();
    }
    let stop = CancellationToken::new();
    let letters = Mutex::new(Vec::new());
    let running = bench.bus.run_dead("monitor", stop.clone(), |letter: DeadLetter| {
        let mut letters = letters.lock().unwrap();
        letters.push(letter);
        std::future::ready(if letters.len() == 1 {
            Handled::Retry { after: Duration::ZERO }
        } else {
            stop.cancel();
            Handled::Done
        })
    });
    tokio::time::timeout(SOON, running).await.unwrap().unwrap();
    let letters = letters.into_inner().unwrap();
    assert_eq!(letters.len(), 2, "stored once, delivered twice");
    for letter in letters {
        let about = subjects::parse_dead(&letter.subject).unwrap();
        assert_eq!(about, ("masker", bench.tenant.clone(), bench.run.clone()));
        assert_eq!(letter.batch, name.to_string());
        assert_eq!(
            (letter.object.as_str(), letter.code.as_str()),
            ("Account", ErrorCode::MaskKey.as_str())
        );
        assert_eq!((letter.attempts, letter.sequence, &letter.payload[..]), (5, 1, &b"sealed"[..]));
        assert!(letter.cause.starts_with("no key  Nats-Msg-Id: forged é"), "{}", letter.cause);
        assert!(
            letter.cause.len() < 2000,
            "a cause of {} bytes may not fit beside its batch",
            letter.cause.len()
        );
    }
    eventually(SOON, || async {
        let stream = bench.server.get_stream("DEAD").await.unwrap();
        match stream.cached_info().state.messages {
            0 => Ok(()),
            n => Err(n),
        }
    })
    .await;
}

#[tokio::test]
async fn a_trace_goes_on_behind_the_bus() {
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let bench = Bench::start().await;
    let name = durable(&bench).await;

    let span = tracing::info_span!("a run begins");
    let trace = span.context().span().span_context().trace_id();
    let fact = RunEvent {
        fact: Some(Fact::StepDone(Default::default())),
        ..event(&bench, 0)
    };
    async {
        bench.bus.publish_event(&fact).await.unwrap();
        bench
            .bus
            .publish_batch(Audience::Raw, &bench.tenant, &bench.name(0, 0), "p", 1, "x".into())
            .await
            .unwrap();
    }
    .instrument(span)
    .await;

    let stream = bench.server.get_stream("RAW_0").await.unwrap();
    let subject = subjects::batch(Audience::Raw, &bench.tenant, &bench.name(0, 0));
    let stored = stream.get_last_raw_message_by_subject(&subject).await.unwrap();
    let parent = stored.headers.get("traceparent").unwrap().as_str().to_owned();
    assert!(parent.contains(&trace.to_string()), "{parent}");

    let stop = CancellationToken::new();
    let adopted = Mutex::new(None);
    let running = bench.bus.run_events(&name, stop.clone(), |_| {
        let (adopted, stop) = (&adopted, &stop);
        async move {
            *adopted.lock().unwrap() = Some(tracing::Span::current().context().span().span_context().trace_id());
            stop.cancel();
            Handled::Done
        }
    });
    tokio::time::timeout(SOON, running).await.unwrap().unwrap();
    assert_eq!(adopted.into_inner().unwrap(), Some(trace));
    forget(&bench, "EVENTS", &format!("events-{name}")).await;
    bench.clean().await;
}
