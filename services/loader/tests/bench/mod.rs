//! A loader driven step by step, as its worker drives it: real bus, real database, an org of its own as the target, and
//! peers that say what the test wants them to say.
#![allow(clippy::unwrap_used, dead_code)] // a bench should break where it stands; every test file uses a part of it

mod objects;
mod peers;
mod target;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::pull;
use futures::StreamExt as _;
use prost::Message as _;
use sqlx::Row;
use syncline_batch::{SealingKey, seal_data, seal_end};
use syncline_bus::subjects::header;
use syncline_bus::{Audience, subjects};
use syncline_domain::plan::{ObjectPlan, Plan};
use syncline_domain::{BatchName, ObjectName, RunId, TenantId};
use syncline_loader::refusals::Refusals;
use syncline_loader::{Loading, MIGRATIONS};
use syncline_runtime::lease::{LEASE_RENEWAL, Lease, Take, TaskId};
use syncline_runtime::worker::{Stage, Work};
use syncline_runtime::{Config, Outcome, Platform, StageError};
use syncline_salesforce_simulator::{Flavour, Org, OrgConfig, RunningOrg};
use syncline_testkit::{TestDatabase, eventually, prefix, servers};
use syncline_wire::event::RunEvent;
use syncline_wire::event::run_event::Fact;
use syncline_wire::monitor::Letter;
use syncline_wire::stage::ChooseRefusalsRequest;
use syncline_wire::stage::refusal_service_server::RefusalService as _;
use tokio_util::sync::CancellationToken;

pub use objects::*;
pub use target::*;

pub const DEADLINE: Duration = Duration::from_secs(20);
const DIGEST_KEY: [u8; 32] = *b"0123456789abcdef0123456789ABCDEF";

pub struct Bench {
    pub org: RunningOrg,
    pub platform: Platform,
    pub plan: Plan,
    pub clean: SealingKey,
    peers: peers::Peers,
    stage: Arc<Loading>,
    sequence: AtomicU64,
    /// How often the run was reopened.
    round: AtomicU32,
    keys: PathBuf,
    // Dropped last: the platform's connections go with it.
    _database: TestDatabase,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.platform.shutdown.cancel();
        std::fs::remove_dir_all(&self.keys).ok();
    }
}

impl Bench {
    /// A first run of these objects into an empty sandbox.
    pub async fn start(objects: Vec<ObjectPlan>) -> Self {
        Self::with_org(objects, OrgConfig::default()).await
    }

    pub async fn with_org(objects: Vec<ObjectPlan>, config: OrgConfig) -> Self {
        syncline_runtime::entry::install_crypto();
        let org = Org::start(OrgConfig {
            flavour: Flavour::Sandbox,
            ..config
        })
        .unwrap();
        let database = TestDatabase::create().await;
        let keys = std::env::temp_dir().join(format!("syncline-loader-{}", prefix()));
        std::fs::create_dir_all(&keys).unwrap();
        std::fs::write(keys.join("kek-clean"), hex_of(&[9; 32])).unwrap();
        std::fs::write(keys.join("digest"), hex_of(&DIGEST_KEY)).unwrap();
        let clean = SealingKey::generate();
        let peers = peers::Peers::start(&org, clean.clone(), SealingKey::new([9; 32])).await;
        let url = peers.url();
        let table = [
            ("SYNCLINE_NATS_URL", servers().nats_url.clone()),
            ("SYNCLINE_DATABASE_URL", database.url().to_owned()),
            ("SYNCLINE_KEYS_DIR", keys.display().to_string()),
            ("SYNCLINE_TENANT", prefix()),
            ("SYNCLINE_CONNECTOR_URL", url.clone()),
            ("SYNCLINE_ANALYZER_URL", url.clone()),
            ("SYNCLINE_MONITOR_URL", url.clone()),
            ("SYNCLINE_COORDINATOR_URL", url),
        ];
        let config = Config::from_lookup("loader", &|name| table.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone())).unwrap();
        let platform = Platform::start(config, Some(&MIGRATIONS), CancellationToken::new()).await.unwrap();
        let plan = plan(&org.org_id, objects);
        peers.pin(&plan);
        let stage = Arc::new(Loading::new(&platform).unwrap());
        Self {
            org,
            platform,
            plan,
            clean,
            peers,
            stage,
            sequence: AtomicU64::new(0),
            round: AtomicU32::new(0),
            keys,
            _database: database,
        }
    }

    /// The same sync once more. The plan may be changed before.
    pub fn next_run(&mut self) {
        self.plan.run = new_run();
        self.round.store(0, Ordering::Relaxed);
        self.peers.pin(&self.plan);
    }

    /// The run is reopened, as the coordinator does it: refused records of this object (of all, when empty) and with this
    /// code are chosen, and every step can be done once more. Answers how many were chosen.
    pub async fn retry(&self, object: &str, code: &str) -> u64 {
        let request = ChooseRefusalsRequest {
            run: self.run().to_string(),
            object: object.to_owned(),
            code: code.to_owned(),
        };
        let chosen = Refusals::new(self.platform.db.clone())
            .choose_refusals(tonic::Request::new(request))
            .await;
        self.round.fetch_add(1, Ordering::Relaxed);
        chosen.unwrap().into_inner().groups.iter().map(|g| g.chosen).sum()
    }

    /// The run is reopened for a letter that this stage had given up.
    pub fn replay(&self, stage: &'static str, name: &BatchName, records: u64, sealed: Vec<u8>) {
        self.round.fetch_add(1, Ordering::Relaxed);
        let mut letters = self.peers.letters.lock().unwrap();
        let letter = Letter {
            id: letters.len() as u64 + 1,
            batch: name.to_string(),
            records,
            payload: sealed,
        };
        letters.push((stage, letter));
    }

    /// Another process of the same service: nothing in memory is shared.
    pub fn replace_process(&mut self) {
        self.stage = Arc::new(Loading::new(&self.platform).unwrap());
    }

    /// The plan as it stands is that of its run.
    pub fn pin(&self) {
        self.peers.pin(&self.plan);
    }

    pub fn stage(&self) -> Arc<Loading> {
        Arc::clone(&self.stage)
    }

    pub fn tenant(&self) -> &TenantId {
        &self.platform.config.tenant
    }

    pub fn run(&self) -> &RunId {
        &self.plan.run
    }

    pub fn task(&self, object: &str, step: &str) -> TaskId {
        TaskId {
            run: self.run().clone(),
            object: (!object.is_empty()).then(|| name(object)),
            step: step.to_owned(),
        }
    }

    /// Takes the lease as soon as it is free.
    pub async fn lease(&self, object: &str, step: &str) -> Work {
        let task = self.task(object, step);
        let lease = eventually(DEADLINE, || async {
            let round = self.round.load(Ordering::Relaxed);
            match Lease::take_in_round(&self.platform.db, task.clone(), round, "bench").await.unwrap() {
                Take::Taken(lease) => Ok(lease),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        Work {
            tenant: self.tenant().clone(),
            lease,
            stop: CancellationToken::new(),
        }
    }

    /// The holder is gone and its lease has run out.
    pub async fn expire_leases(&self) {
        sqlx::query("update task set expires_at = clock_timestamp() - interval '1 second' where expires_at is not null")
            .execute(&self.platform.db)
            .await
            .unwrap();
    }

    /// A backup of everything that the loader has stored.
    pub async fn back_up(&self) {
        self.each_table("create table backup.%1$I as table %1$I", "create schema backup")
            .await;
    }

    /// The database is what it was then; the backup was so many seconds old when it was restored.
    pub async fn restore(&mut self, age_secs: i32) {
        let fill = "truncate %1$I; insert into %1$I select * from backup.%1$I";
        self.each_table(fill, "select 1").await;
        self.absent(age_secs).await;
        self.replace_process();
    }

    /// No loader has been at work for so many seconds.
    pub async fn absent(&self, secs: i32) {
        let moved = sqlx::query("update presence set seen_at = seen_at - $1 * interval '1 second'")
            .bind(f64::from(secs))
            .execute(&self.platform.db)
            .await
            .unwrap();
        assert_eq!(moved.rows_affected(), 1, "somebody was at work before");
    }

    async fn each_table(&self, statement: &str, first: &str) {
        let block = format!(
            "{first}; do $$ declare name text; begin
               for name in select tablename from pg_tables where schemaname = current_schema() and tablename not like '\\_sqlx%' loop
                 execute format('{statement}', name);
               end loop;
             end $$"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(block)).execute(&self.platform.db).await.unwrap();
    }

    /// Lets a step that is done be done once more.
    pub async fn reopen(&self, step: &str) {
        sqlx::query("update task set state = 'open' where step = $1")
            .bind(step)
            .execute(&self.platform.db)
            .await
            .unwrap();
    }

    /// One step under a lease, concluded as the worker concludes it.
    pub async fn step(&self, object: &str, step: &str) -> Result<Outcome, StageError> {
        let work = self.lease(object, step).await;
        let (lease, db) = (work.lease.clone(), self.platform.db.clone());
        let keeper = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LEASE_RENEWAL).await;
                lease.renew(&db).await.ok();
            }
        });
        let result = self.stage.work(&work).await;
        keeper.abort();
        self.conclude(&work, &result).await;
        result
    }

    pub async fn work(&self, work: &Work) -> Result<Outcome, StageError> {
        self.stage.work(work).await
    }

    async fn conclude(&self, work: &Work, result: &Result<Outcome, StageError>) {
        let mut tx = self.platform.db.begin().await.unwrap();
        match result {
            Ok(Outcome::Done { with_errors }) => {
                work.lease.finish(&mut tx, *with_errors).await.unwrap();
                self.stage.finishing(work, &mut tx).await.unwrap();
            }
            Ok(_) | Err(_) => {
                work.lease.release(&mut *tx, result.is_err()).await.ok();
            }
        }
        tx.commit().await.unwrap();
    }

    /// A step that has to succeed; answers whether it reported errors.
    pub async fn done(&self, object: &str, step: &str) -> bool {
        match self.step(object, step).await {
            Ok(Outcome::Done { with_errors }) => with_errors,
            other => panic!("{object} {step}: {other:?}"),
        }
    }

    /// Works until `reached`, then is dropped where it stands: what `kill -9` leaves behind.
    pub async fn kill_when<F: Future<Output = bool>>(&mut self, object: &str, step: &str, reached: impl Fn() -> F) {
        let work = self.lease(object, step).await;
        let stage = Arc::clone(&self.stage);
        let worker = tokio::spawn(async move { stage.work(&work).await.map(|o| format!("{o:?}")) });
        eventually(DEADLINE, || async {
            assert!(!worker.is_finished(), "the step ended before it could be killed");
            if reached().await { Ok(()) } else { Err("not there yet") }
        })
        .await;
        worker.abort();
        assert!(worker.await.is_err(), "the worker was killed");
        self.expire_leases().await;
        self.redeliver(object).await;
        self.replace_process();
    }

    /// What was handed out and not acknowledged is delivered again now instead of after the acknowledgement wait.
    pub async fn redeliver(&self, object: &str) {
        let bus = &self.platform.bus;
        bus.forget_batches("loader", Audience::Clean, self.run(), &name(object))
            .await
            .unwrap();
    }

    /// Kills the worker while the org holds the next request that matches, which is never executed.
    pub async fn kill_at(&mut self, object: &str, step: &str, method: &str, path: &str) {
        let before = self.requests(method, path);
        self.fault(method, path, serde_json::json!({"kind": "hang", "hang_ms": 60_000}));
        let state = Arc::clone(&self.org.state);
        let (method, path) = (method.to_owned(), path.to_owned());
        self.kill_when(object, step, || {
            let reached = requests(&state, &method, &path) > before;
            async move { reached }
        })
        .await;
        self.org.state.faults.clear();
    }

    pub fn requests(&self, method: &str, path: &str) -> u64 {
        requests(&self.org.state, method, path)
    }

    /// Scripts the next request that matches.
    pub fn fault(&self, method: &str, path: &str, kind: serde_json::Value) {
        let mut fault = serde_json::json!({"method": method, "path": path});
        fault.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
        self.org.state.faults.add(serde_json::from_value(fault).unwrap());
    }

    pub fn row_fault(&self, object: &str, code: &str, times: u64) {
        let fault = serde_json::json!({"object": object, "code": code, "message": "secret text of the org", "times": times});
        assert!(self.org.state.faults.add_row_fault(serde_json::from_value(fault).unwrap()));
    }

    pub fn job_fault(&self, object: &str, after_rows: usize) {
        let fault = serde_json::json!({"object": object, "after_rows": after_rows, "message": "InternalServerError : later"});
        self.org.state.faults.add_job_fault(serde_json::from_value(fault).unwrap());
    }

    pub fn batch(&self, object: &str, generation: u32, seq: u32) -> BatchName {
        BatchName::whole(self.run().clone(), name(object), 0, generation, seq)
    }

    /// Publishes rows (source key first, then one cell per field of the plan) as batch `seq`.
    pub async fn publish(&self, object: &str, seq: u32, rows: &[Vec<Option<String>>]) {
        self.publish_as(&self.batch(object, 0, seq), rows, &serde_json::json!({})).await;
    }

    pub async fn publish_as(&self, name: &BatchName, rows: &[Vec<Option<String>>], note: &serde_json::Value) {
        let rows = self.record_batch(name.object.as_str(), rows);
        let sealed = seal_data(&self.clean, name, &rows, note.to_string().as_bytes()).unwrap();
        self.deliver(name, rows.num_rows() as u64, sealed).await;
    }

    pub async fn end(&self, object: &str, batches: u32, records: u64) {
        let name = self.batch(object, 0, batches);
        self.deliver(&name, 0, seal_end(&self.clean, &name, batches, records)).await;
    }

    /// Everything in one batch, and the end.
    pub async fn publish_all(&self, object: &str, rows: &[Vec<Option<String>>]) {
        self.publish(object, 0, rows).await;
        self.end(object, 1, rows.len() as u64).await;
    }

    /// Puts a message on the bus as often as it is called: a message id of its own defeats the server's memory.
    pub async fn deliver(&self, name: &BatchName, records: u64, sealed: Vec<u8>) {
        let mut headers = HeaderMap::new();
        let id = self.sequence.fetch_add(1, Ordering::Relaxed);
        headers.insert(header::MESSAGE_ID, format!("{name}/{id}").as_str());
        headers.insert(header::BATCH, name.to_string().as_str());
        headers.insert(header::PLAN, self.peers.hash(self.run()).as_str());
        headers.insert(header::RECORDS, records.to_string().as_str());
        let context = async_nats::jetstream::new(servers().nats().await);
        let subject = subjects::batch(Audience::Clean, self.tenant(), name);
        context
            .publish_with_headers(subject, headers, sealed.into())
            .await
            .unwrap()
            .await
            .unwrap();
    }

    pub fn record_batch(&self, object: &str, rows: &[Vec<Option<String>>]) -> RecordBatch {
        let object = self.plan.object(object).unwrap();
        let columns = object.fields.iter().enumerate().map(|(place, field)| {
            let cells: StringArray = rows.iter().map(|row| row.get(place).cloned().flatten()).collect();
            (field.target.as_str(), Arc::new(cells) as ArrayRef)
        });
        RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
    }

    /// The books as they stand in the loader's tables.
    pub async fn books(&self, object: &str) -> Books {
        let count = sqlx::query("select inserted, updated, unchanged, deleted, references_resolved, references_deferred, references_nulled, jobs from object_count where run = $1 and object = $2")
            .bind(self.run().as_str())
            .bind(object)
            .fetch_optional(&self.platform.db)
            .await
            .unwrap();
        let at = |i: usize| count.as_ref().map_or(0, |r| r.get::<i64, _>(i));
        let refusals = sqlx::query(
            "select count(*) filter (where kind = 'refused'), count(*) filter (where kind = 'parked') from refusal r
             join run_number n on n.number = r.run_number join link l on l.id = r.link
             where n.run = $1 and l.source_object = $2 and step = 'load_pass_1' and state <> 'resolved'",
        )
        .bind(self.run().as_str())
        .bind(object)
        .fetch_one(&self.platform.db)
        .await
        .unwrap();
        Books {
            inserted: at(0),
            updated: at(1),
            unchanged: at(2),
            refused: refusals.get(0),
            parked: refusals.get(1),
            deleted: at(3),
            resolved: at(4),
            deferred: at(5),
            nulled: at(6),
            jobs: at(7),
        }
    }

    /// What was told of the run, in order, once the outbox is relayed.
    pub async fn facts(&self) -> Vec<Fact> {
        eventually(DEADLINE, || async {
            match self.number("select count(*) from outbox").await {
                0 => Ok(()),
                left => Err(format!("{left} messages are not relayed")),
            }
        })
        .await;
        let server = async_nats::jetstream::new(servers().nats().await);
        let stream = server.get_stream("EVENTS").await.unwrap();
        let config = pull::Config {
            filter_subject: format!("event.{}.{}.>", self.tenant(), self.run()),
            inactive_threshold: Duration::from_secs(5),
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.unwrap();
        let messages = consumer.fetch().max_messages(10_000).messages().await.unwrap();
        messages
            .map(|message| RunEvent::decode(message.unwrap().payload.as_ref()).unwrap().fact.unwrap())
            .collect()
            .await
    }

    /// A number out of the loader's schema.
    pub async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.platform.db).await.unwrap()
    }

    /// A text out of the loader's schema.
    pub async fn text(&self, sql: &'static str) -> String {
        sqlx::query_scalar(sql).fetch_one(&self.platform.db).await.unwrap()
    }

    /// Target key of a source key.
    pub async fn target_key(&self, object: &str, key: &str) -> Option<String> {
        sqlx::query_scalar("select target_key from ledger join link on link.id = ledger.link where source_object = $1 and source_key = $2")
            .bind(object)
            .bind(key)
            .fetch_optional(&self.platform.db)
            .await
            .unwrap()
            .flatten()
    }
}

/// The books of an object in a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Books {
    pub inserted: i64,
    pub updated: i64,
    pub unchanged: i64,
    pub refused: i64,
    pub parked: i64,
    pub deleted: i64,
    pub resolved: i64,
    pub deferred: i64,
    pub nulled: i64,
    pub jobs: i64,
}

impl Books {
    pub fn explained(&self) -> i64 {
        self.inserted + self.updated + self.unchanged + self.refused + self.parked
    }
}

pub fn new_run() -> RunId {
    RunId::new(format!("r-{}", prefix())).unwrap()
}

pub fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The keyed fingerprint of an original, as the masker notes it.
pub fn fingerprint(original: &str) -> String {
    let key = syncline_mask::MaskKey::from_bytes(&DIGEST_KEY).unwrap();
    let print = syncline_mask::Fingerprinter::new(&key).fingerprint_u64(original).unwrap();
    format!("{print:016x}")
}
