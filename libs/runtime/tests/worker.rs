//! From invitation to lease to work to report, with everything that can go wrong in between.
#![allow(clippy::unwrap_used)]
#![allow(dead_code)] // the bench serves several test programs

mod bench;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use bench::{Bench, SOON, serve};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use syncline_connect::ConnectError;
use syncline_domain::ErrorCode;
use syncline_runtime::lease::{self, Take};
use syncline_runtime::worker::{self, Stage, Work};
use syncline_runtime::{Lease, Outcome, Platform, StageError, TaskId};
use syncline_wire::event::run_event::Fact;
use syncline_wire::event::{StepDone, StepFailed, StepYielded};
use syncline_wire::run::run_control_service_server::{RunControlService, RunControlServiceServer};
use syncline_wire::run::{GetIntentRequest, GetIntentResponse, Intent};
use syncline_wire::stage::Invitation;
use tokio::sync::Notify;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

type Worked = Result<Outcome, StageError>;

/// A stage that does what the test says.
struct Script {
    work: Box<dyn Fn(Work) -> BoxFuture<'static, Worked> + Send + Sync>,
    finishing: fn() -> Result<(), StageError>,
    calls: AtomicU32,
}

impl Script {
    fn new<F>(work: impl Fn(Work) -> F + Send + Sync + 'static) -> Arc<Self>
    where
        F: Future<Output = Worked> + Send + 'static,
    {
        Arc::new(Self {
            work: Box::new(move |w| Box::pin(work(w))),
            finishing: || Ok(()),
            calls: AtomicU32::new(0),
        })
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Stage for Script {
    async fn work(&self, work: &Work) -> Worked {
        self.calls.fetch_add(1, Ordering::SeqCst);
        (self.work)(work.clone()).await
    }

    async fn finishing(&self, _work: &Work, _tx: &mut PgConnection) -> Result<(), StageError> {
        (self.finishing)()
    }
}

/// One slot: whoever does not free it blocks the test.
fn run(platform: &Platform, stage: &Arc<Script>) {
    let (platform, stage) = (platform.clone(), Arc::clone(stage));
    tokio::spawn(async move { worker::run(&platform, stage, 1).await.unwrap() });
}

async fn until<T>(mut reached: impl AsyncFnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + SOON;
    loop {
        if let Some(value) = reached().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < end, "not in time");
        tokio::time::timeout(Duration::from_millis(10), std::future::pending::<()>())
            .await
            .unwrap_err();
    }
}

fn failed() -> Worked {
    Err(StageError::new(ErrorCode::Internal, "broken"))
}

async fn for_ever() -> Worked {
    std::future::pending().await
}

#[tokio::test]
async fn done_work_is_reported_once_and_an_invitation_to_it_repeats_the_report() {
    let bench = Bench::start().await;
    let stage = Script::new(async |_| Ok(Outcome::Done { with_errors: true }));
    run(&bench.platform, &stage);
    let done = Fact::StepDone(StepDone {
        object: "Account".to_owned(),
        step: "extract".to_owned(),
        with_errors: true,
        round: 0,
    });
    bench.invite("extract").await;
    assert_eq!(bench.facts(1).await, std::slice::from_ref(&done));
    bench.invite("extract").await;
    assert_eq!(bench.facts(2).await, [done.clone(), done]);
    assert_eq!(stage.calls(), 1);
    let finished = lease::finished(&bench.platform.db, &bench.run).await.unwrap();
    let finished: Vec<_> = finished.into_iter().map(|f| (f.object, f.step, f.with_errors, f.round)).collect();
    assert_eq!(finished, [("Account".to_owned(), "extract".to_owned(), true, 0)]);
}

#[tokio::test]
async fn an_invitation_that_comes_twice_is_worked_on_once() {
    let bench = Bench::start().await;
    let go = Arc::new(Notify::new());
    let held = Arc::clone(&go);
    let stage = Script::new(move |_| {
        let held = Arc::clone(&held);
        async move {
            held.notified().await;
            Ok(Outcome::Done { with_errors: false })
        }
    });
    let other = bench.replica().await;
    run(&bench.platform, &stage);
    run(&other, &stage);
    bench.invite("extract").await;
    until(async || (stage.calls() == 1).then_some(())).await;
    bench.invite("extract").await; // goes to the idle replica, which finds the task held
    bench.invite("verify").await; // and is idle again
    until(async || (stage.calls() == 2).then_some(())).await;
    go.notify_waiters();
    bench.facts(2).await;
    assert_eq!(stage.calls(), 2);
    other.shutdown.cancel();
}

#[tokio::test]
async fn who_yields_says_why_and_can_be_invited_again() {
    let bench = Bench::start().await;
    let stage = Script::new(async |_| {
        Ok(Outcome::Yielded {
            reason: "no room".to_owned(),
        })
    });
    run(&bench.platform, &stage);
    for count in 1..=2 {
        bench.invite("extract").await;
        let facts = bench.facts(count).await;
        let yielded = StepYielded {
            object: "Account".to_owned(),
            step: "extract".to_owned(),
            reason: "no room".to_owned(),
            wait_ms: 0,
        };
        assert_eq!(facts.last(), Some(&Fact::StepYielded(yielded)));
    }
    assert_eq!((bench.live().await, bench.failures().await), (0, 0));
}

#[tokio::test]
async fn who_meets_an_open_breaker_waits_instead_of_failing_and_says_for_how_long() {
    let bench = Bench::start().await;
    let stage = Script::new(async |_| {
        let held = ConnectError::new(ErrorCode::HeldBack, "nothing is sent to `uat`");
        Err(held.retry_after(Some(Duration::from_secs(20))).into())
    });
    run(&bench.platform, &stage);
    for count in 1..=7 {
        bench.invite("extract").await;
        let facts = bench.facts(count).await;
        let yielded = StepYielded {
            object: "Account".to_owned(),
            step: "extract".to_owned(),
            reason: "NETWORK_BREAKER_001: nothing is sent to `uat`".to_owned(),
            wait_ms: 20_000,
        };
        assert_eq!(facts.last(), Some(&Fact::StepYielded(yielded)));
    }
    assert_eq!((bench.live().await, bench.failures().await), (0, 0), "no attempt is burnt");
}

#[tokio::test]
async fn many_runs_that_are_stuck_do_not_keep_one_that_could_run_from_running() {
    let bench = Bench::start().await;
    let could = bench.run.clone();
    let stage = Script::new(move |work| {
        let is_stuck = *work.run() != could;
        async move {
            match is_stuck {
                true => Ok(Outcome::Yielded {
                    reason: "no room".to_owned(),
                }),
                false => Ok(Outcome::Done { with_errors: false }),
            }
        }
    });
    run(&bench.platform, &stage);
    let invitation = |run: String| Invitation {
        tenant: bench.platform.config.tenant.to_string(),
        run,
        object: "Account".to_owned(),
        step: "extract".to_owned(),
        ..Invitation::default()
    };
    // They are invited again and again before the one is, by one slot.
    for number in 0..60 {
        bench.invite_as(&invitation(format!("r-stuck{}", number % 20))).await;
    }
    bench.invite("extract").await;
    let done = until(async || {
        let finished = lease::finished(&bench.platform.db, &bench.run).await.unwrap();
        finished.into_iter().next().map(|f| f.object)
    });
    assert_eq!(done.await, "Account");
}

#[tokio::test]
async fn who_is_stopped_gives_the_lease_back_without_a_word() {
    let bench = Bench::start().await;
    let stage = Script::new(async |_| Ok(Outcome::Stopped));
    run(&bench.platform, &stage);
    bench.invite("extract").await;
    until(async || (stage.calls() == 1 && bench.live().await == 0).then_some(())).await;
    assert!(matches!(bench.take("extract").await, Take::Taken(_)));
    assert!(bench.events().await.is_empty());
}

#[tokio::test]
async fn an_error_that_may_pass_is_tried_again_and_one_that_cannot_stops_the_run() {
    let bench = Bench::start().await;
    let stage = Script::new(async |work| {
        let code = if work.lease.task.step == "extract" {
            ErrorCode::BusUnavailable
        } else {
            ErrorCode::MaskKey
        };
        Err(StageError::new(code, "why"))
    });
    run(&bench.platform, &stage);
    for count in 1..=6 {
        bench.invite("extract").await;
        let facts = bench.facts(count).await;
        assert!(
            matches!(facts.last(), Some(Fact::StepYielded(y)) if y.reason == format!("{}: why", ErrorCode::BusUnavailable)),
            "{facts:?}"
        );
    }
    bench.invite("transform").await;
    let failed = StepFailed {
        object: "Account".to_owned(),
        step: "transform".to_owned(),
        code: ErrorCode::MaskKey.to_string(),
        message: "why".to_owned(),
    };
    assert_eq!(bench.facts(7).await.last(), Some(&Fact::StepFailed(failed)));
}

/// Every kind of unexpected failure: four are tried again, the fifth stops the run.
async fn fails_five_times(stage: Arc<Script>) {
    let bench = Bench::start().await;
    run(&bench.platform, &stage);
    for count in 1..=5 {
        bench.invite("extract").await;
        let facts = bench.facts(count).await;
        match facts.last() {
            Some(Fact::StepYielded(y)) if count < 5 => assert!(y.reason.starts_with("SYSTEM_INTERNAL_ERROR"), "{y:?}"),
            Some(Fact::StepFailed(f)) if count == 5 => assert_eq!(f.code, "SYSTEM_INTERNAL_ERROR"),
            other => panic!("failure {count}: {other:?}"),
        }
    }
    assert_eq!(bench.failures().await, 5);
    assert!(lease::finished(&bench.platform.db, &bench.run).await.unwrap().is_empty());
}

#[tokio::test]
async fn unexpected_failures_stop_the_run_in_the_end() {
    fails_five_times(Script::new(async |_| failed())).await;
}

#[tokio::test]
async fn a_panic_frees_slot_and_lease_at_once_and_is_counted() {
    fails_five_times(Script::new(async |_| panic!("as scripted"))).await;
}

#[tokio::test]
async fn a_failure_while_finishing_finishes_nothing_and_is_counted() {
    let stage = Script {
        work: Box::new(|_| Box::pin(async { Ok(Outcome::Done { with_errors: false }) })),
        finishing: || failed().map(drop),
        calls: AtomicU32::new(0),
    };
    fails_five_times(Arc::new(stage)).await;
}

#[tokio::test]
async fn an_invitation_with_invalid_names_is_dropped_and_the_next_one_works() {
    let bench = Bench::start().await;
    let stage = Script::new(async |_| Ok(Outcome::Done { with_errors: false }));
    run(&bench.platform, &stage);
    let good = Invitation {
        tenant: "t".to_owned(),
        run: "r-1".to_owned(),
        object: "Account".to_owned(),
        step: "extract".to_owned(),
        ..Invitation::default()
    };
    let bad: [fn(&mut Invitation); 4] = [
        |i| i.tenant = "a.b".to_owned(),
        |i| i.run = String::new(),
        |i| i.object = "a'b".to_owned(),
        |i| *i = Invitation::default(),
    ];
    for damage in bad {
        let mut invitation = good.clone();
        damage(&mut invitation);
        bench.invite_as(&invitation).await;
    }
    bench.invite("extract").await;
    bench.facts(1).await;
    assert_eq!(stage.calls(), 1);
}

#[tokio::test]
async fn a_worker_killed_at_work_is_followed_by_another_one() {
    let bench = Bench::start().await;
    let _held = bench.taken("extract").await; // by a process that is no more
    let stage = Script::new(async |_| Ok(Outcome::Done { with_errors: false }));
    run(&bench.platform, &stage);
    bench.invite("extract").await;
    bench.invite("verify").await;
    bench.facts(1).await;
    assert_eq!(stage.calls(), 1, "its lease has not expired");
    bench.expire().await;
    // Without another invitation nobody would take it, so it is said that there is need for one.
    let gone = StepYielded {
        object: "Account".to_owned(),
        step: "extract".to_owned(),
        reason: "whoever worked on it is gone".to_owned(),
        wait_ms: 0,
    };
    assert_eq!(bench.facts(2).await.last(), Some(&Fact::StepYielded(gone)));
    assert_eq!(stage.calls(), 1);
    bench.invite("extract").await;
    bench.facts(3).await;
    assert_eq!(stage.calls(), 2);
}

#[tokio::test]
async fn work_on_a_run_itself_goes_on_when_its_worker_is_gone() {
    let bench = Bench::start().await;
    let task = TaskId {
        object: None,
        ..bench.task("analyze")
    };
    let taken = Lease::take(&bench.platform.db, task, "test").await.unwrap(); // by a process that is no more
    assert!(matches!(taken, Take::Taken(_)));
    let stage = Script::new(async |_| Ok(Outcome::Done { with_errors: false }));
    run(&bench.platform, &stage);
    bench.expire().await;
    until(async || (stage.calls() == 1).then_some(())).await;
}

#[tokio::test]
async fn a_lease_that_ran_out_is_told_of_by_one_of_all_replicas() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    let _held = bench.taken("extract").await;
    let stage = Script::new(async |_| Ok(Outcome::Done { with_errors: false }));
    run(&bench.platform, &stage);
    run(&replica, &stage);
    bench.expire().await;
    bench.facts(1).await;
    let _held = bench.taken("verify").await;
    bench.expire().await;
    // Whatever the second replica would have had to say of the first lease came before this.
    let facts = bench.facts(2).await;
    assert_eq!(facts.len(), 2, "{facts:?}");
    replica.shutdown.cancel();
}

fn often(config: &mut syncline_runtime::Config) {
    config.lease_renewal = Duration::from_millis(50);
}

/// When the lease expires, in microseconds.
async fn expiry(bench: &Bench) -> Option<i64> {
    sqlx::query_scalar("select (extract(epoch from expires_at) * 1000000)::bigint from task")
        .fetch_optional(&bench.platform.db)
        .await
        .unwrap()
        .flatten()
}

async fn renewals(bench: &Bench, count: u32) {
    let mut last = until(async || expiry(bench).await).await;
    for _ in 0..count {
        last = until(async || expiry(bench).await.filter(|at| *at > last)).await;
    }
}

#[tokio::test]
async fn whoever_loses_the_lease_stops_without_a_trace() {
    let bench = Bench::with(often).await;
    let stage = Script::new(async |work| {
        if work.lease.epoch == 1 {
            for_ever().await
        } else {
            Ok(Outcome::Done { with_errors: false })
        }
    });
    run(&bench.platform, &stage);
    bench.invite("extract").await;
    until(async || expiry(&bench).await).await;
    bench.sql("update task set epoch = 7, holder = 'thief', failures = 2").await;
    // The only slot is free again, though the work would have gone on for ever.
    bench.invite("verify").await;
    until(async || (stage.calls() == 2).then_some(())).await;
    let (holder, failures): (String, i32) = sqlx::query_as("select holder, failures from task where step = 'extract'")
        .fetch_one(&bench.platform.db)
        .await
        .unwrap();
    assert_eq!((holder.as_str(), failures), ("thief", 2));
    assert!(
        bench
            .events()
            .await
            .iter()
            .all(|e| !matches!(&e.fact, Some(Fact::StepYielded(_) | Fact::StepFailed(_))))
    );
}

#[tokio::test]
async fn a_coordinator_that_never_answers_does_not_cost_the_lease() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let bench = Bench::beside(&url, often).await;
    let stage = Script::new(async |_| for_ever().await);
    run(&bench.platform, &stage);
    bench.invite("extract").await;
    renewals(&bench, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn work_that_computes_for_long_keeps_its_lease() {
    let bench = Bench::with(often).await;
    let (finish, finished) = mpsc::channel::<()>();
    let finished = Arc::new(std::sync::Mutex::new(finished));
    let stage = Script::new(move |_| {
        let finished = Arc::clone(&finished);
        async move {
            finished.lock().unwrap().recv_timeout(SOON).unwrap(); // blocks its thread
            Ok(Outcome::Done { with_errors: false })
        }
    });
    run(&bench.platform, &stage);
    bench.invite("extract").await;
    renewals(&bench, 3).await;
    finish.send(()).unwrap();
    bench.facts(1).await;
}

/// Says the same of every run and counts how often it was asked.
struct Coordinator {
    intent: Intent,
    asked: Arc<AtomicU32>,
}

#[tonic::async_trait]
impl RunControlService for Coordinator {
    async fn get_intent(&self, _: Request<GetIntentRequest>) -> Result<Response<GetIntentResponse>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(GetIntentResponse {
            intent: self.intent.into(),
            ..GetIntentResponse::default()
        }))
    }
}

async fn asked(intent: Intent) -> (Bench, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let coordinator = Coordinator {
        intent,
        asked: Arc::clone(&asked),
    };
    let url = serve(Routes::new(RunControlServiceServer::new(coordinator))).await;
    (Bench::beside(&url, often).await, asked)
}

#[tokio::test]
async fn a_run_that_shall_stop_stops_its_work_but_not_its_settling() {
    for (intent, step, stops) in [
        (Intent::Stop, "extract", true),
        (Intent::Stop, "settle", false),
        (Intent::Work, "extract", false),
        (Intent::Unspecified, "extract", false),
    ] {
        let (bench, asked) = asked(intent).await;
        let stopped = Arc::new(AtomicU32::new(0));
        let noted = Arc::clone(&stopped);
        let stage = Script::new(move |work| {
            let noted = Arc::clone(&noted);
            async move {
                work.stop.cancelled().await;
                noted.fetch_add(1, Ordering::SeqCst);
                Ok(Outcome::Stopped)
            }
        });
        run(&bench.platform, &stage);
        bench.invite(step).await;
        if stops {
            until(async || (stopped.load(Ordering::SeqCst) == 1).then_some(())).await;
            until(async || (bench.live().await == 0).then_some(())).await;
        } else {
            until(async || (asked.load(Ordering::SeqCst) > 3).then_some(())).await;
            assert_eq!(stopped.load(Ordering::SeqCst), 0, "{intent:?} {step}");
            // The end of the process stops it all the same.
            bench.platform.shutdown.cancel();
            until(async || (stopped.load(Ordering::SeqCst) == 1).then_some(())).await;
        }
    }
}
