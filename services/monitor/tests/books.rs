//! The books against real PostgreSQL: facts twice, late and in any order.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use sqlx::{Connection, PgConnection, PgPool};
use syncline_bus::{DeadLetter, Handled};
use syncline_domain::TenantId;
use syncline_monitor::MIGRATIONS;
use syncline_monitor::api::Api;
use syncline_monitor::facts::{Recorded, record};
use syncline_monitor::handler::Handler;
use syncline_monitor::letters::Letters;
use syncline_monitor::store::{self, Key};
use syncline_monitor::{progress, report};
use syncline_testkit::{TestDatabase, eventually};
use syncline_wire::event::run_event::Fact;
use syncline_wire::event::{
    LoadTotals, MaskTotals, PlanBuilt, RefusedRecords, ResourceUse, RunEvent, StageTotals, StatusChanged, StepDone, StepFailed,
    StepYielded, VerifyTotals,
};
use syncline_wire::monitor::monitor_service_server::MonitorService;
use syncline_wire::monitor::{GetReportRequest, ListDeadLettersRequest, ListErrorsRequest, Report, WatchRunRequest};
use syncline_wire::status::code_of;
use syncline_wire::time::to_proto;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::Request;

const TENANT: &str = "default";
const DEADLINE: Duration = Duration::from_secs(10);

async fn database() -> (TestDatabase, PgPool) {
    let database = TestDatabase::create().await;
    let pool = PgPool::connect(database.url()).await.unwrap();
    MIGRATIONS.run(&pool).await.unwrap();
    (database, pool)
}

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn fact(run: &str, after_s: i64, fact: Fact) -> RunEvent {
    RunEvent {
        tenant: TENANT.into(),
        run: run.into(),
        at: Some(to_proto(start() + TimeDelta::seconds(after_s))),
        fact: Some(fact),
    }
}

fn status(version: u64, status: &str) -> Fact {
    Fact::StatusChanged(StatusChanged {
        status: status.into(),
        version,
        sync: "prod-to-uat".into(),
        sync_version: 2,
        ..Default::default()
    })
}

fn stage(stage: &str, records: u64) -> Fact {
    Fact::StageTotals(StageTotals {
        stage: stage.into(),
        object: "Account".into(),
        batches: records / 10,
        records,
        bytes: records * 100,
        api_calls: 3,
        expected: 100,
    })
}

fn load(read: u64, inserted: u64, refused: u64, parked: u64) -> Fact {
    Fact::LoadTotals(LoadTotals {
        object: "Account".into(),
        read,
        inserted,
        refused,
        parked,
        references_resolved: inserted,
        jobs: 1,
        api_calls: 7,
        ..Default::default()
    })
}

fn refused(kind: &str, count: u64) -> Fact {
    Fact::Refused(RefusedRecords {
        object: "Account".into(),
        code: "DATA_VALIDATION_RULE_001".into(),
        native: "FIELD_CUSTOM_VALIDATION_EXCEPTION".into(),
        fields: "Phone".into(),
        count,
        sample_ids: (0..count).map(|n| format!("001A{n:011}")).collect(),
        kind: kind.into(),
        ..Default::default()
    })
}

fn masked(masked: u64) -> Fact {
    Fact::MaskTotals(MaskTotals {
        object: "Account".into(),
        field: "Phone".into(),
        strategy: "fake(phone)".into(),
        masked,
        null: 1,
        unchanged: 0,
    })
}

fn verified(values_compared: u64) -> Fact {
    Fact::VerifyTotals(VerifyTotals {
        object: "Account".into(),
        references_verified: 40,
        values_compared,
        target_count: 97,
        api_calls: 2,
        ..Default::default()
    })
}

fn plan() -> Fact {
    Fact::PlanBuilt(PlanBuilt {
        outline_json: r#"{"objects":[{"name":"Zebra__c","parents":[]},{"name":"Account","parents":[]}],"review":false}"#.into(),
        records: 100,
        ..Default::default()
    })
}

/// A whole run, in the order in which it happened. Parked records are written later, so `parked` falls again.
fn history(run: &str) -> Vec<RunEvent> {
    [
        (0, status(1, "pending")),
        (1, status(2, "compatibility")),
        (2, plan()),
        (2, status(3, "extracting")),
        (3, stage("extractor", 50)),
        (4, stage("extractor", 100)),
        (4, stage("masker", 100)),
        (4, masked(99)),
        (5, load(60, 40, 0, 20)),
        (6, load(100, 70, 3, 27)),
        (6, refused("parked", 27)),
        (7, load(100, 97, 3, 0)),
        (7, refused("refused", 3)),
        (
            8,
            Fact::StepDone(StepDone {
                object: "Account".into(),
                step: "load_pass_1".into(),
                with_errors: true,
                round: 0,
            }),
        ),
        (8, verified(500)),
        (9, verified(1000)),
        (
            9,
            Fact::ResourceUse(ResourceUse {
                process: "a".into(),
                cpu_seconds: 1.5,
                peak_memory_bytes: 100,
            }),
        ),
        (
            9,
            Fact::ResourceUse(ResourceUse {
                process: "b".into(),
                cpu_seconds: 2.0,
                peak_memory_bytes: 50,
            }),
        ),
        (10, status(9, "completed_with_errors")),
    ]
    .into_iter()
    .map(|(after_s, f)| fact(run, after_s, f))
    .collect()
}

async fn report_of(pool: &PgPool, run: &str) -> Report {
    let key = Key { tenant: TENANT, run };
    report::report(run, &store::books_read(pool, key).await.unwrap().expect("the run is known"))
}

async fn record_all(pool: &PgPool, events: &[RunEvent]) {
    let mut db = pool.acquire().await.unwrap();
    for event in events {
        record(&mut db, event).await.unwrap();
    }
}

/// What the report of one order must be for all orders; runs differ by name only.
fn nameless(mut report: Report) -> Report {
    report.run.clear();
    report
}

/// Deterministic shuffling, so that a failure can be repeated from its seed.
fn shuffle(events: &mut [RunEvent], seed: u64) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for i in (1..events.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        events.swap(i, usize::try_from(state % (i as u64 + 1)).unwrap());
    }
}

/// Heap's algorithm.
fn permutations(items: Vec<Fact>) -> Vec<Vec<Fact>> {
    fn walk(items: &mut Vec<Fact>, k: usize, out: &mut Vec<Vec<Fact>>) {
        if k <= 1 {
            out.push(items.clone());
            return;
        }
        for i in 0..k {
            walk(items, k - 1, out);
            items.swap(if k.is_multiple_of(2) { i } else { 0 }, k - 1);
        }
    }
    let mut out = Vec::new();
    let mut items = items;
    let k = items.len();
    walk(&mut items, k, &mut out);
    out
}

#[tokio::test]
async fn the_report_accounts_for_every_record() {
    let (_database, pool) = database().await;
    record_all(&pool, &history("r-1")).await;
    let report = report_of(&pool, "r-1").await;
    assert_eq!((report.sync.as_str(), report.sync_version), ("prod-to-uat", 2));
    assert_eq!(report.status, "completed_with_errors");
    assert_eq!(
        (report.wall_seconds, report.cpu_seconds, report.peak_memory_bytes),
        (10.0, 3.5, 150)
    );
    assert_eq!((report.source_calls, report.target_calls, report.jobs), (6, 9, 1));
    let read: u64 = report.objects.iter().map(|o| o.read).sum();
    assert_eq!(report.calls_per_million_records, (15_000_000 + read / 2) / read);
    assert_eq!((report.projected_records, report.records_per_second), (100, 10));
    let names: Vec<&str> = report.objects.iter().map(|o| o.object.as_str()).collect();
    assert_eq!(names, ["Zebra__c", "Account"], "in the plan's load order");
    let account = &report.objects[1];
    assert_eq!((account.read, account.inserted, account.refused, account.parked), (100, 97, 3, 0));
    assert!(account.balanced);
    assert_eq!((account.references_verified, account.values_compared), (40, 1000));
    assert_eq!(account.fields[0].masked, 99);
    assert_eq!(report.errors.len(), 1, "what was parked and then written is no error");
    assert_eq!(
        (report.errors[0].count, report.errors[0].title.as_str()),
        (3, "Refused by a validation rule")
    );
    assert!(report.errors[0].remedy.contains("validation") || report.errors[0].remedy.contains("rule"));
}

#[tokio::test]
async fn any_order_of_duplicated_facts_gives_the_same_report() {
    let (_database, pool) = database().await;
    record_all(&pool, &history("r-0")).await;
    let expected = nameless(report_of(&pool, "r-0").await);
    for seed in 1..=40 {
        let run = format!("r-{seed}");
        let mut events = history(&run);
        events.extend(history(&run));
        shuffle(&mut events, seed);
        record_all(&pool, &events).await;
        assert_eq!(nameless(report_of(&pool, &run).await), expected, "seed {seed}");
    }
}

#[tokio::test]
async fn every_permutation_of_competing_totals_gives_the_same_report() {
    let (_database, pool) = database().await;
    // The facts that compete for the same rows.
    let facts = vec![
        status(3, "loading"),
        status(4, "completed"),
        load(60, 40, 0, 20),
        load(100, 70, 3, 27),
        load(100, 97, 3, 0),
    ];
    let mut db = PgConnection::connect(_database.url()).await.unwrap();
    sqlx::query("set synchronous_commit = off").execute(&mut db).await.unwrap();
    let mut expected = None;
    for (n, order) in permutations(facts).into_iter().enumerate() {
        let run = format!("r-{n}");
        for (place, f) in order.iter().enumerate() {
            // The time of a fact is its own, not of its arrival.
            let after_s = match f {
                Fact::StatusChanged(s) => i64::try_from(s.version).unwrap(),
                _ => 1,
            };
            assert_ne!(
                record(&mut db, &fact(&run, after_s, f.clone())).await.unwrap(),
                Recorded::Already,
                "{place}"
            );
        }
        let report = nameless(report_of(&pool, &run).await);
        assert_eq!(report.objects[0].inserted, 97);
        assert_eq!((report.status.as_str(), report.wall_seconds), ("completed", 1.0));
        assert_eq!(&report, expected.get_or_insert_with(|| report.clone()), "order {n}: {order:?}");
    }
}

#[tokio::test]
async fn a_fact_that_comes_again_does_not_move_the_cursor() {
    let (_database, pool) = database().await;
    let mut db = pool.acquire().await.unwrap();
    let event = fact("r-1", 0, stage("extractor", 10));
    assert_eq!(record(&mut db, &event).await.unwrap(), Recorded::New);
    assert_eq!(record(&mut db, &event).await.unwrap(), Recorded::Already);
    let key = Key {
        tenant: TENANT,
        run: "r-1",
    };
    assert_eq!(store::run_row(&mut *db, key).await.unwrap().unwrap().cursor, 1);
    record(&mut db, &fact("r-1", 1, stage("extractor", 5))).await.unwrap();
    assert_eq!(store::run_row(&mut *db, key).await.unwrap().unwrap().cursor, 2);
}

#[tokio::test]
async fn records_that_never_reached_the_loader_unbalance_the_books() {
    let (_database, pool) = database().await;
    record_all(
        &pool,
        &[fact("r-1", 0, stage("extractor", 100)), fact("r-1", 1, load(90, 90, 0, 0))],
    )
    .await;
    let report = report_of(&pool, "r-1").await;
    assert_eq!(report.objects[0].read, 100);
    assert!(!report.objects[0].balanced);
}

#[tokio::test]
async fn facts_that_say_nothing_are_refused() {
    let (_database, pool) = database().await;
    let mut db = pool.acquire().await.unwrap();
    let good = fact("r-1", 0, stage("extractor", 1));
    for bad in [
        RunEvent {
            fact: None,
            ..good.clone()
        },
        RunEvent {
            run: String::new(),
            ..good.clone()
        },
        RunEvent { at: None, ..good.clone() },
    ] {
        assert!(record(&mut db, &bad).await.is_err());
    }
    // An outline that cannot be read costs the order of objects, not the fact.
    let plan = Fact::PlanBuilt(PlanBuilt {
        outline_json: "{".into(),
        records: 7,
        ..Default::default()
    });
    record(&mut db, &fact("r-1", 0, plan)).await.unwrap();
    assert_eq!(report_of(&pool, "r-1").await.projected_records, 7);
}

#[tokio::test]
async fn a_run_says_what_it_waits_for_until_work_goes_on() {
    let (_database, pool) = database().await;
    let yielded = StepYielded {
        object: "Account".into(),
        step: "load_pass_1".into(),
        reason: "quota of uat".into(),
        wait_ms: 0,
    };
    let waiting = |run: &'static str| {
        let pool = pool.clone();
        async move {
            let books = store::books_read(&pool, Key { tenant: TENANT, run }).await.unwrap().unwrap();
            progress::snapshot(run, &books).waiting_for
        }
    };
    record_all(
        &pool,
        &[fact("r-1", 1, status(3, "loading")), fact("r-1", 5, Fact::StepYielded(yielded))],
    )
    .await;
    assert_eq!(waiting("r-1").await, "Account: quota of uat");
    record_all(&pool, &[fact("r-1", 6, load(10, 10, 0, 0))]).await;
    assert_eq!(waiting("r-1").await, "");
}

#[tokio::test]
async fn a_failed_run_gives_its_first_failure() {
    let (_database, pool) = database().await;
    let failed = |after_s, code: &str| {
        fact(
            "r-1",
            after_s,
            Fact::StepFailed(StepFailed {
                object: "Account".into(),
                step: "extract".into(),
                code: code.into(),
                message: format!("because of {code}"),
            }),
        )
    };
    record_all(
        &pool,
        &[
            failed(5, "NETWORK_TIMEOUT"),
            failed(3, "SCHEMA_QUERY_001"),
            fact("r-1", 6, status(5, "failed")),
        ],
    )
    .await;
    let report = report_of(&pool, "r-1").await;
    assert_eq!(
        (report.failure_code.as_str(), report.failure_message.as_str()),
        ("SCHEMA_QUERY_001", "because of SCHEMA_QUERY_001")
    );
}

struct Bench {
    handler: Handler,
    api: Arc<Api>,
    pool: PgPool,
    _database: TestDatabase,
}

/// Their coordinator is not there.
fn letters(pool: &PgPool, tenant: TenantId) -> Letters {
    let nobody = tonic::transport::Endpoint::from_static("http://127.0.0.1:9").connect_lazy();
    Letters::new(pool.clone(), tenant, nobody)
}

async fn bench() -> Bench {
    let (database, pool) = database().await;
    let news = Arc::new(Notify::new());
    let tenant = TenantId::single();
    Bench {
        handler: Handler::new(pool.clone(), Arc::clone(&news)),
        api: Arc::new(Api::new(
            pool.clone(),
            tenant.clone(),
            letters(&pool, tenant),
            news,
            CancellationToken::new(),
        )),
        pool,
        _database: database,
    }
}

async fn close(pool: &PgPool) {
    eventually(DEADLINE, || async {
        let mut db = pool.acquire().await.unwrap();
        match store::runs_close(&mut db, 10).await.unwrap() {
            closed if closed.is_empty() => Err("still open"),
            _ => Ok(()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_watcher_sees_the_run_end_and_resumes_behind_its_cursor() {
    let bench = bench().await;
    for event in history("r-1") {
        assert_eq!(bench.handler.event(event).await, Handled::Done);
    }
    let watch = |after| {
        let api = Arc::clone(&bench.api);
        async move {
            api.watch_run(Request::new(WatchRunRequest { run: "r-1".into(), after }))
                .await
                .unwrap()
                .into_inner()
        }
    };
    let mut early = watch(0).await;
    let first = early.next().await.unwrap().unwrap().snapshot.unwrap();
    assert_eq!(first.status, "completed_with_errors");
    assert_eq!(
        (first.objects[1].loaded, first.objects[1].refused, first.objects[1].phase.as_str()),
        (100, 3, "load_pass_1")
    );
    close(&bench.pool).await;
    let last = early.next().await.unwrap().unwrap().snapshot.unwrap();
    assert!(last.cursor > first.cursor, "closing the books is news");
    assert!(early.next().await.is_none(), "the stream ends with the run");

    let mut late = watch(last.cursor).await;
    assert!(late.next().await.is_none(), "nothing comes behind the last snapshot");
}

#[tokio::test]
async fn the_process_that_books_a_run_accounts_for_itself() {
    let bench = bench().await;
    bench.handler.event(fact("r-1", 0, status(1, "pending"))).await;
    bench.handler.event(fact("r-1", 1, status(2, "completed"))).await;
    let answer = bench
        .api
        .get_report(Request::new(GetReportRequest { run: "r-1".into() }))
        .await
        .unwrap();
    assert!(answer.into_inner().report.unwrap().peak_memory_bytes > 0);
}

#[tokio::test]
async fn an_unknown_run_is_not_found() {
    let bench = bench().await;
    let run = "r-none".to_owned();
    let report = bench
        .api
        .get_report(Request::new(GetReportRequest { run: run.clone() }))
        .await
        .unwrap_err();
    let errors = bench
        .api
        .list_errors(Request::new(ListErrorsRequest {
            run: run.clone(),
            ..Default::default()
        }))
        .await
        .unwrap_err();
    let watch = bench
        .api
        .watch_run(Request::new(WatchRunRequest { run, after: 0 }))
        .await
        .err()
        .unwrap();
    for status in [report, errors, watch] {
        assert_eq!(status.code(), tonic::Code::NotFound);
        assert_eq!(code_of(&status).unwrap().as_str(), "SCHEMA_SYNC_002");
    }
}

fn letter(batch: &str, payload: &'static [u8]) -> DeadLetter {
    DeadLetter {
        subject: "dead.loader.default.r-1".into(),
        batch: batch.into(),
        object: "Account".into(),
        code: "SYSTEM_DEAD_LETTER_001".into(),
        cause: "the seal does not open".into(),
        attempts: 5,
        records: 7,
        round: 0,
        payload: payload.into(),
        sequence: 1,
    }
}

#[tokio::test]
async fn a_dead_letter_is_kept_once_and_sealed_as_it_came() {
    let bench = bench().await;
    let sealed: &[u8] = &[0, 159, 146, 150, 255];
    for _ in 0..2 {
        assert_eq!(bench.handler.dead(letter("r-1/Account/0/0/1/0/1", sealed)).await, Handled::Done);
    }
    assert_eq!(bench.handler.dead(letter("r-1/Account/0/0/2/0/1", b"x")).await, Handled::Done);
    let nonsense = DeadLetter {
        subject: "dead.letter".into(),
        ..letter("b", b"y")
    };
    assert_eq!(bench.handler.dead(nonsense).await, Handled::Done);

    let list = |page_size, page_token: String| {
        let api = Arc::clone(&bench.api);
        async move {
            let request = ListDeadLettersRequest {
                page_size,
                page_token,
                ..Default::default()
            };
            api.list_dead_letters(Request::new(request)).await.map(tonic::Response::into_inner)
        }
    };
    let first = list(1, String::new()).await.unwrap();
    assert_eq!((first.total, first.dead_letters.len()), (2, 1));
    assert_eq!(first.dead_letters[0].batch, "r-1/Account/0/0/2/0/1", "newest first");
    let second = list(1, first.next_page_token.clone()).await.unwrap();
    assert_eq!(
        (second.dead_letters[0].stage.as_str(), second.dead_letters[0].attempts),
        ("loader", 5)
    );
    assert!(second.next_page_token.is_empty(), "no empty page follows");
    let refused = list(1, "; drop table".into()).await.unwrap_err();
    assert_eq!(code_of(&refused).unwrap().as_str(), "REQUEST_INVALID_001");
    let of_a_run = ListDeadLettersRequest {
        run: "r-1".into(),
        page_token: first.next_page_token,
        ..Default::default()
    };
    bench.handler.event(fact("r-1", 0, status(1, "pending"))).await;
    assert!(
        bench.api.list_dead_letters(Request::new(of_a_run)).await.is_err(),
        "a token belongs to its filter"
    );

    let kept: Vec<u8> = sqlx::query_scalar("select payload from dead_letter where batch = $1")
        .bind("r-1/Account/0/0/1/0/1")
        .fetch_one(&bench.pool)
        .await
        .unwrap();
    assert_eq!(kept, sealed);
}

#[tokio::test]
async fn a_lost_database_is_worth_a_retry_and_nonsense_is_not() {
    let bench = bench().await;
    bench.pool.close().await;
    assert!(matches!(
        bench.handler.event(fact("r-1", 0, stage("masker", 1))).await,
        Handled::Retry { .. }
    ));
    assert!(matches!(bench.handler.dead(letter("b", b"x")).await, Handled::Retry { .. }));
}

#[tokio::test]
async fn what_was_kept_long_enough_is_forgotten_and_nothing_else() {
    use syncline_monitor::books::{Forgotten, forget};
    use syncline_runtime::config::Retention;

    let bench = bench().await;
    for run in ["r-old", "r-new"] {
        for event in history(run) {
            assert_eq!(bench.handler.event(event).await, Handled::Done);
        }
    }
    bench.handler.dead(letter("r-old/Account/0/0/1/0/1", b"x")).await;
    close(&bench.pool).await;
    let keep = Retention {
        events_days: 30,
        dead_letters_days: 90,
        reports_days: 400,
        ..Retention::default()
    };
    let nothing = Forgotten {
        facts: 0,
        dead_letters: 0,
        runs: 0,
    };
    assert_eq!(forget(&bench.pool, keep).await.unwrap(), nothing);
    let execute = async |sql: &'static str| sqlx::query(sql).execute(&bench.pool).await.unwrap().rows_affected();
    let facts = execute("update fact set stored_at = stored_at - interval '31 days' where run = 'r-old'").await;
    execute("update dead_letter set at = at - interval '91 days'").await;
    let forgotten = forget(&bench.pool, keep).await.unwrap();
    assert_eq!((forgotten.facts, forgotten.dead_letters, forgotten.runs), (facts, 1, 0));
    let report = async |run: &str| {
        let request = GetReportRequest { run: run.to_owned() };
        bench
            .api
            .get_report(Request::new(request))
            .await
            .map(|a| a.into_inner().report.unwrap().objects.len())
    };
    assert!(report("r-old").await.unwrap() > 0, "the report stays when its events are gone");

    execute("update run set finished_at = now() - interval '401 days' where run = 'r-old'").await;
    assert_eq!(forget(&bench.pool, keep).await.unwrap().runs, 1);
    assert_eq!(report("r-old").await.unwrap_err().code(), tonic::Code::NotFound);
    assert!(report("r-new").await.unwrap() > 0);
    // No table keeps anything of it.
    let tables: Vec<String> = sqlx::query_scalar(
        "select table_name::text from information_schema.columns where table_schema = current_schema() and column_name = 'run'
         and table_name <> 'task'",
    )
    .fetch_all(&bench.pool)
    .await
    .unwrap();
    assert!(tables.len() > 9, "{tables:?}");
    for table in tables {
        let sql = format!("select count(*) from {table} where run = 'r-old'");
        let left: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&bench.pool).await.unwrap();
        assert_eq!(left, 0, "{table}");
    }
}

#[tokio::test]
async fn a_later_round_is_booked_anew_in_whatever_order_it_is_heard() {
    let load = |round: u32, inserted: u64, refused: u64, parked: u64, dead: u64| {
        Fact::LoadTotals(LoadTotals {
            object: "Account".into(),
            read: 100,
            inserted,
            refused,
            parked,
            dead,
            round,
            ..Default::default()
        })
    };
    let group = |code: &str, count, resolved, round| {
        Fact::Refused(RefusedRecords {
            object: "Account".into(),
            code: code.into(),
            count,
            resolved,
            kind: "refused".into(),
            round,
            ..Default::default()
        })
    };
    let verified = |different, round| {
        Fact::VerifyTotals(VerifyTotals {
            object: "Account".into(),
            values_different: different,
            round,
            ..Default::default()
        })
    };
    // Round 1: ten dead records came to be parked; of three refused ones two were written, and one now has another cause.
    let facts = [
        load(0, 87, 3, 0, 10),
        group("A", 3, 0, 0),
        verified(4, 0),
        load(1, 89, 1, 10, 0),
        group("B", 1, 0, 1),
        group("C", 0, 2, 1),
        verified(0, 1),
    ];
    for backwards in [false, true] {
        let (_database, pool) = database().await;
        let mut order: Vec<_> = facts.iter().cloned().enumerate().collect();
        if backwards {
            order.reverse();
        }
        let mut db = pool.acquire().await.unwrap();
        for (at, told) in order {
            record(&mut db, &fact("r-1", i64::try_from(at).unwrap(), told)).await.unwrap();
        }
        let report = report_of(&pool, "r-1").await;
        let account = &report.objects[0];
        assert_eq!((account.inserted, account.refused, account.parked, account.dead), (89, 1, 10, 0));
        assert_eq!(account.values_different, 0, "everything was looked at again");
        let mut errors: Vec<_> = report
            .errors
            .iter()
            .map(|e| (e.code.as_str(), e.count, e.resolved, e.state.as_str()))
            .collect();
        errors.sort_unstable();
        assert_eq!(errors, [("B", 1, 0, "open"), ("C", 0, 2, "resolved by retry")]);
    }
}

#[tokio::test]
async fn the_books_of_a_reopened_run_are_open_until_it_ends_again() {
    let bench = bench().await;
    let tell = async |at, version, name: &str| bench.handler.event(fact("r-1", at, status(version, name))).await;
    tell(0, 1, "pending").await;
    tell(1, 2, "completed_with_errors").await;
    close(&bench.pool).await;
    tell(2, 3, "loading").await;
    let open = async || {
        let key = store::Key {
            tenant: TENANT,
            run: "r-1",
        };
        let row = store::run_row(&bench.pool, key).await.unwrap().unwrap();
        (!row.closed, row.finished_at.is_none())
    };
    assert_eq!(open().await, (true, true));
    tell(3, 4, "completed").await;
    close(&bench.pool).await;
    assert_eq!(open().await, (false, false));
    assert_eq!(report_of(&bench.pool, "r-1").await.status, "completed");
}
