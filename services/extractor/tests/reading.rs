//! The stage against real NATS and PostgreSQL and a simulated org: every row once, whatever happens on the way.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use arrow_array::{Array, StringArray};
use bytes::Bytes;
use rand::distr::{Alphanumeric, SampleString};
use serde_json::{Value, json};
use syncline_batch::{BATCH_BYTES_MAX, Body};
use syncline_bus::Audience;
use syncline_bus::streams::MESSAGES_PER_PARTITION_MAX;
use syncline_domain::describe::FieldType;
use syncline_domain::plan::ObjectPlan;
use syncline_domain::{BatchName, ErrorCode, ObjectName};
use syncline_extractor::MIGRATIONS;
use syncline_extractor::reading::{GENERATIONS_MAX, Limits, Reading};
use syncline_runtime::worker::Stage;
use syncline_runtime::{Outcome, StageError};
use syncline_salesforce_simulator::{Org, OrgConfig, RunningOrg};
use syncline_test_support::{Bench, field, masked, object, plan};

const DONE: Outcome = Outcome::Done { with_errors: false };
/// Calls of the stage within which everything must be done that can be done.
const CALLS_MAX: usize = 200;

/// Small pages and batches, so that a small org has several of both.
const LIMITS: Limits = Limits {
    batch_wire_bytes_max: 1_000,
    page_records: 25,
    job_wait: Duration::from_millis(200),
    room_wait: Duration::from_millis(60),
    small_readings: false,
};

struct Desk {
    bench: Bench,
    org: RunningOrg,
    stage: Reading,
    contact: ObjectName,
}

impl Desk {
    async fn start() -> Self {
        Self::with(LIMITS, OrgConfig::default(), |_| {}).await
    }

    async fn with(limits: Limits, config: OrgConfig, change: impl Fn(&mut ObjectPlan)) -> Self {
        let org = Org::start(OrgConfig {
            scale: Some(600),
            ..config
        })
        .unwrap();
        let bench = Bench::start("extractor", &MIGRATIONS).await;
        let fields = vec![
            masked("LastName", FieldType::String, "hash"),
            field("Email", FieldType::Email),
            field("Description", FieldType::TextArea),
        ];
        let mut contact = object("Contact", org.count("Contact") as u64, fields);
        change(&mut contact);
        let name = contact.name.clone();
        bench.pin(plan(&bench.run, vec![contact]));
        bench.peers.script(|s| s.org = Some((org.url.clone(), org.token.clone())));
        Self {
            stage: Reading::new(&bench.platform, limits).unwrap(),
            bench,
            org,
            contact: name,
        }
    }

    async fn work(&self) -> Result<Outcome, StageError> {
        let work = self.bench.take(&self.contact, "extract").await;
        let outcome = self.stage.work(&work).await;
        work.lease.release(&self.bench.platform.db, outcome.is_err()).await.unwrap();
        outcome
    }

    async fn until_done(&self) {
        for _ in 0..CALLS_MAX {
            match self.work().await.unwrap() {
                Outcome::Done { .. } => return,
                Outcome::Yielded { .. } => {}
                Outcome::Stopped => panic!("nobody stopped it"),
            }
        }
        panic!("not done in {CALLS_MAX} calls");
    }

    fn ids(&self) -> BTreeSet<String> {
        let db = self.org.state.db();
        let table = db.table("Contact");
        table.scan(false).map(|i| table.id(i).text()).collect()
    }

    async fn raw(&self) -> Vec<(BatchName, Body)> {
        self.bench.opened(Audience::Raw, &self.contact).await
    }

    /// Nothing fits the partition any more.
    async fn fill(&self) {
        let have = self.bench.batches(Audience::Raw, &self.contact).await.len();
        for _ in have..usize::try_from(MESSAGES_PER_PARTITION_MAX).unwrap() {
            // New names every time: the server would take known ones for repetitions.
            let name = BatchName::whole(self.bench.run.clone(), self.contact.clone(), 0, 99, rand::random());
            let bus = &self.bench.platform.bus;
            bus.publish_batch(Audience::Raw, &self.bench.tenant, &name, "p", 0, Bytes::from_static(b"x"))
                .await
                .unwrap();
        }
    }

    /// A reading of which the first batch is recorded and not published.
    async fn recorded_but_not_published(&self) {
        self.fill().await;
        assert!(matches!(self.work().await.unwrap(), Outcome::Yielded { .. }));
        self.bench.purge().await;
        let recorded = self.bench.number("select count(*) from batch where not published").await;
        let published = self.bench.number("select count(*) from batch where published").await;
        assert_eq!((recorded, published), (1, 0));
    }

    async fn http(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let request = reqwest::Client::new()
            .request(method, format!("{}{path}", self.org.url))
            .header("content-type", "application/json")
            .bearer_auth(&self.org.token)
            .body(body.to_string());
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    async fn generations(&self) -> Vec<(i32, String)> {
        sqlx::query_as("select generation, state from generation order by generation")
            .fetch_all(&self.bench.platform.db)
            .await
            .unwrap()
    }
}

/// Ids of a generation's rows in order; panics if a batch is there twice or out of place.
fn ids(raw: &[(BatchName, Body)], generation: u32) -> Vec<String> {
    let mut found = Vec::new();
    for (next, (name, body)) in (0..).zip(raw.iter().filter(|(n, _)| n.generation == generation)) {
        assert_eq!(name.seq, next, "batches have no gaps and no doubles");
        if let Body::Data { rows, .. } = body {
            let column = rows.column(0).as_any().downcast_ref::<StringArray>().unwrap();
            found.extend(column.iter().flatten().map(str::to_owned));
        }
    }
    found
}

/// What the generation's end marker says, and that it is the last.
fn end(raw: &[(BatchName, Body)], generation: u32) -> (u32, u64) {
    let of: Vec<_> = raw.iter().filter(|(n, _)| n.generation == generation).collect();
    let ends = of.iter().filter(|(_, b)| matches!(b, Body::End { .. })).count();
    assert_eq!(ends, 1, "one end marker");
    match of.last() {
        Some((name, Body::End { batches, records })) => {
            assert_eq!(name.seq, *batches);
            (*batches, *records)
        }
        _ => panic!("the end marker is not the last"),
    }
}

fn assert_complete(desk: &Desk, raw: &[(BatchName, Body)], generation: u32) {
    let read = ids(raw, generation);
    let unique: BTreeSet<String> = read.iter().cloned().collect();
    assert_eq!(unique.len(), read.len(), "a record is there twice");
    assert_eq!(unique, desk.ids(), "every record of the source");
    assert_eq!(end(raw, generation).1, read.len() as u64);
}

#[tokio::test]
async fn the_connection_s_retry_policy_is_in_force_here() {
    let desk = Desk::start().await;
    let busy = json!({"kind": "status", "status": 503, "method": "POST", "path": "/jobs/query", "times": 1});
    let gone = json!({"kind": "status", "status": 503, "method": "GET", "path": "/jobs/query", "times": 1});
    let impatient = syncline_domain::retry::RetryPolicy {
        attempts_max: 1,
        ..Default::default()
    };
    desk.bench
        .peers
        .script(|s| s.retry = Some(syncline_wire::retry::to_proto(&impatient)));
    for fault in [busy, gone.clone()] {
        desk.org.state.faults.add(serde_json::from_value(fault).unwrap());
        assert_eq!(
            desk.work().await.unwrap_err().code(),
            ErrorCode::Unreachable,
            "one try, and no more"
        );
    }
    let patient = syncline_domain::retry::RetryPolicy {
        delay_min: Duration::from_millis(1),
        ..Default::default()
    };
    desk.bench
        .peers
        .script(|s| s.retry = Some(syncline_wire::retry::to_proto(&patient)));
    desk.org.state.faults.add(serde_json::from_value(gone).unwrap());
    desk.until_done().await;
}

#[tokio::test]
async fn a_full_reading_publishes_exactly_the_rows_of_the_source() {
    let desk = Desk::start().await;
    assert_eq!(desk.work().await.unwrap(), DONE);
    let raw = desk.raw().await;
    assert_complete(&desk, &raw, 0);
    let (batches, _) = end(&raw, 0);
    assert!(batches > 4, "the test has too few batches: {batches}");
    let pages = desk
        .bench
        .number("select count(distinct coalesce(cursor, '')) from batch where place >= 0")
        .await;
    assert!(pages > 2, "the test has too few pages: {pages}");
    assert_eq!(desk.generations().await, [(0, "done".to_owned())]);
    assert!(desk.org.state.query_jobs().is_empty(), "the query job is deleted afterwards");
    assert_eq!(desk.bench.number("select count(*) from batch where not published").await, 0);
    let stored = desk.bench.batches(Audience::Raw, &desk.contact).await;
    assert!(stored.iter().all(|s| !s.plan.is_empty() && s.records.is_some()));
    desk.bench.purge().await;
}

#[tokio::test]
async fn an_object_without_records_gives_only_an_end_marker() {
    let desk = Desk::with(LIMITS, OrgConfig::default(), |contact| {
        contact.filter = Some("LastName = 'Nobody at all'".to_owned())
    })
    .await;
    assert_eq!(desk.work().await.unwrap(), DONE);
    let raw = desk.raw().await;
    assert_eq!((raw.len(), end(&raw, 0)), (1, (0, 0)));
    desk.bench.purge().await;
}

#[tokio::test]
async fn what_was_created_after_t0_is_not_read() {
    let desk = Desk::start().await;
    desk.bench.peers.script(|s| {
        let plan = s.plan.as_mut().unwrap();
        plan.t0 = chrono::DateTime::from_timestamp(0, 0).unwrap();
    });
    assert_eq!(desk.work().await.unwrap(), DONE);
    assert_eq!(desk.raw().await.len(), 1);
    desk.bench.purge().await;
}

#[tokio::test]
async fn a_batch_that_was_recorded_and_not_published_is_published_under_its_name() {
    let desk = Desk::start().await;
    desk.recorded_but_not_published().await;
    let digest: Vec<u8> = sqlx::query_scalar("select digest from batch where seq = 0")
        .fetch_one(&desk.bench.platform.db)
        .await
        .unwrap();
    desk.until_done().await;
    let again: Vec<u8> = sqlx::query_scalar("select digest from batch where seq = 0")
        .fetch_one(&desk.bench.platform.db)
        .await
        .unwrap();
    assert_eq!(digest, again, "the same content");
    assert_complete(&desk, &desk.raw().await, 0);
    assert_eq!(desk.generations().await.len(), 1);
    desk.bench.purge().await;
}

#[tokio::test]
async fn a_batch_that_was_published_and_not_confirmed_is_there_once() {
    let desk = Desk::start().await;
    desk.recorded_but_not_published().await;
    let jobs = desk.org.state.query_jobs().clone();
    desk.until_done().await;
    let before: Vec<u64> = desk
        .bench
        .batches(Audience::Raw, &desk.contact)
        .await
        .iter()
        .map(|s| s.sequence)
        .collect();
    // As after a kill between publishing and confirming, on the last page; the source still has the reading.
    *desk.org.state.query_jobs() = jobs;
    desk.bench.execute("update generation set state = 'open'").await;
    desk.bench
        .execute("update batch set published = false where place < 0 or cursor = (select cursor from generation)")
        .await;
    desk.until_done().await;
    assert_eq!(
        desk.bench.number("select count(*) from batch where not published").await,
        0,
        "confirmed in the end"
    );
    assert_complete(&desk, &desk.raw().await, 0);
    let after: Vec<u64> = desk
        .bench
        .batches(Audience::Raw, &desk.contact)
        .await
        .iter()
        .map(|s| s.sequence)
        .collect();
    assert_eq!(before, after, "the bus recognised the names");
    assert_eq!(desk.generations().await.len(), 1);
    desk.bench.purge().await;
}

/// Long lives add nothing to where deaths fall, and no life may outlive its lease, which nobody renews here.
const LIFE_MS_MAX: u64 = 3_000;

#[tokio::test]
async fn however_often_it_is_killed_every_batch_is_there_once() {
    let desk = Desk::start().await;
    let mut kills = 0;
    let mut life_ms = 0_u64;
    while life_ms < LIFE_MS_MAX {
        let work = desk.bench.take(&desk.contact, "extract").await;
        // Each life is a little longer than the one before, so that deaths fall everywhere; on a busy machine soon by more,
        // so that one of them is long enough.
        life_ms += 3 + life_ms.saturating_sub(100) / 10;
        match tokio::time::timeout(Duration::from_millis(life_ms), desk.stage.work(&work)).await {
            Err(_) => kills += 1,
            // Nobody renews it here, so a life on a busy machine may outlive its lease: another death.
            Ok(Err(StageError::Lease(_))) => kills += 1,
            Ok(Ok(Outcome::Done { .. })) => break,
            Ok(other) => panic!("{other:?}"),
        }
        desk.bench.expire().await;
    }
    // On a machine so busy that no such life was long enough, the last one has no end set.
    desk.bench.expire().await;
    desk.until_done().await;
    assert!(kills > 3, "killed only {kills} times");
    // A kill right after opening leaves a job behind, never a generation without one.
    assert_eq!(desk.generations().await, [(0, "done".to_owned())]);
    assert_complete(&desk, &desk.raw().await, 0);
    desk.bench.purge().await;
}

#[tokio::test]
async fn a_reading_that_is_complete_is_not_begun_again_although_its_job_is_gone() {
    let desk = Desk::start().await;
    assert_eq!(desk.work().await.unwrap(), DONE);
    assert!(desk.org.state.query_jobs().is_empty());
    // As after a kill between deleting the job and finishing the task.
    assert_eq!(desk.work().await.unwrap(), DONE);
    assert_eq!(desk.generations().await, [(0, "done".to_owned())]);
    assert_complete(&desk, &desk.raw().await, 0);
    desk.bench.purge().await;
}

#[tokio::test]
async fn without_room_it_yields_and_goes_on_from_its_checkpoint() {
    let desk = Desk::start().await;
    desk.fill().await;
    match desk.work().await.unwrap() {
        Outcome::Yielded { reason } => assert!(reason.contains("room"), "{reason}"),
        other => panic!("{other:?} without room"),
    }
    assert_eq!(
        desk.bench.number("select count(*) from batch").await,
        1,
        "recorded before it is published, no further"
    );
    let work = desk.bench.take(&desk.contact, "extract").await;
    work.stop.cancel();
    assert_eq!(desk.stage.work(&work).await.unwrap(), Outcome::Stopped);
    work.lease.release(&desk.bench.platform.db, false).await.unwrap();
    desk.bench.purge().await;
    desk.until_done().await;
    assert_complete(&desk, &desk.raw().await, 0);
    desk.bench.purge().await;
}

#[tokio::test]
async fn a_reading_that_vanished_begins_again_as_another_generation() {
    let desk = Desk::start().await;
    desk.recorded_but_not_published().await;
    desk.org.state.query_jobs().clear();
    match desk.work().await.unwrap() {
        Outcome::Yielded { reason } => assert!(reason.contains("begins again"), "{reason}"),
        other => panic!("{other:?} without a query job"),
    }
    desk.until_done().await;
    assert_complete(&desk, &desk.raw().await, 1);
    assert_eq!(desk.generations().await, [(0, "lost".to_owned()), (1, "done".to_owned())]);
    desk.bench.purge().await;
}

#[tokio::test]
async fn content_that_differs_from_what_was_recorded_begins_another_generation() {
    for published in [false, true] {
        let desk = Desk::start().await;
        desk.recorded_but_not_published().await;
        if published {
            desk.bench.execute("update batch set published = true").await;
        }
        desk.bench.execute("update batch set digest = '\\x00'").await;
        assert!(
            matches!(desk.work().await.unwrap(), Outcome::Yielded { .. }),
            "published: {published}"
        );
        desk.until_done().await;
        assert_complete(&desk, &desk.raw().await, 1);
        assert_eq!(desk.generations().await, [(0, "lost".to_owned()), (1, "done".to_owned())]);
        desk.bench.purge().await;
    }
}

#[tokio::test]
async fn a_reading_that_takes_too_long_is_read_in_parts() {
    let desk = Desk::start().await;
    let message = "QUERY_TIMEOUT : Your query request was running for too long.";
    let failed = json!({"id": "750000000000001AAA", "state": "Failed", "errorMessage": message});
    let fault = json!({"kind": "status", "method": "GET", "path": "/jobs/query/750", "status": 200, "body": failed, "times": 1});
    desk.org.state.faults.add(serde_json::from_value(fault).unwrap());
    match desk.work().await.unwrap() {
        Outcome::Yielded { reason } => assert!(reason.contains("begins again"), "{reason}"),
        other => panic!("{other:?} after a timeout"),
    }
    desk.until_done().await;
    assert_complete(&desk, &desk.raw().await, 1);
    assert_eq!(desk.generations().await, [(0, "too_much".to_owned()), (1, "done".to_owned())]);
    let jobs = "select count(*) from generation where generation = 1 and handle like '%+%+%+%'";
    assert_eq!(desk.bench.number(jobs).await, 1, "four jobs");
    desk.bench.purge().await;
}

#[tokio::test]
async fn an_object_of_few_records_is_read_without_a_job() {
    let limits = Limits {
        small_readings: true,
        ..LIMITS
    };
    let desk = Desk::with(limits, OrgConfig::default(), |_| {}).await;
    desk.until_done().await;
    assert_complete(&desk, &desk.raw().await, 0);
    assert_eq!(desk.org.state.query_jobs().len(), 0);
    let handle: String = sqlx::query_scalar("select handle from generation")
        .fetch_one(&desk.bench.platform.db)
        .await
        .unwrap();
    assert_eq!(handle, format!("query:{}", desk.ids().len()));
    desk.bench.purge().await;
}

#[tokio::test]
async fn a_job_that_takes_long_gives_the_lease_back_and_one_that_was_aborted_is_replaced() {
    let slow = OrgConfig {
        job_latency_ms: 600_000,
        ..OrgConfig::default()
    };
    let desk = Desk::with(LIMITS, slow, |_| {}).await;
    match desk.work().await.unwrap() {
        Outcome::Yielded { reason } => assert!(reason.contains("still running"), "{reason}"),
        other => panic!("{other:?} while the query runs"),
    }
    let handle: String = sqlx::query_scalar("select handle from generation")
        .fetch_one(&desk.bench.platform.db)
        .await
        .unwrap();
    let path = format!("/services/data/v65.0/jobs/query/{handle}");
    desk.http(reqwest::Method::PATCH, &path, json!({"state": "Aborted"})).await;
    assert!(
        matches!(desk.work().await.unwrap(), Outcome::Yielded { .. }),
        "a dead job is not asked again and again"
    );
    desk.work().await.unwrap();
    assert_eq!(desk.generations().await, [(0, "lost".to_owned()), (1, "open".to_owned())]);
}

#[tokio::test]
async fn a_source_that_loses_every_reading_stops_the_run_in_the_end() {
    let desk = Desk::start().await;
    for call in 0..=2 * GENERATIONS_MAX {
        desk.fill().await;
        let outcome = desk.work().await;
        desk.bench.purge().await;
        desk.org.state.query_jobs().clear();
        if let Err(error) = outcome {
            assert_eq!(error.code(), ErrorCode::Internal);
            assert!(error.to_string().contains("Contact"), "{error}");
            assert!(call >= GENERATIONS_MAX);
            return;
        }
    }
    panic!("it is still trying");
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_records_and_publishes_nothing() {
    let desk = Desk::start().await;
    let work = desk.bench.take(&desk.contact, "extract").await;
    desk.bench.expire().await;
    assert!(matches!(desk.stage.work(&work).await, Err(StageError::Lease(_))));
    assert_eq!(desk.bench.number("select count(*) from batch").await, 0);
    assert!(desk.bench.batches(Audience::Raw, &desk.contact).await.is_empty());
}

/// Makes some contacts huge past every rule of the org; answers their ids.
async fn huge(desk: &Desk, how_many: usize, bytes: usize) -> Vec<String> {
    let ids: Vec<String> = desk.ids().into_iter().take(how_many).collect();
    for id in &ids {
        let text = Alphanumeric.sample_string(&mut rand::rng(), bytes);
        let path = format!("/__sim/records/{id}");
        let body = json!({"LastName": "Huge", "Description": text});
        desk.http(reqwest::Method::PATCH, &path, body).await;
    }
    ids
}

fn huge_only(contact: &mut ObjectPlan) {
    contact.filter = Some("LastName = 'Huge'".to_owned());
}

#[tokio::test]
async fn rows_that_do_not_fit_one_message_together_travel_in_more() {
    let limits = Limits {
        batch_wire_bytes_max: 16 * 1024 * 1024,
        ..LIMITS
    };
    let desk = Desk::with(limits, OrgConfig::default(), huge_only).await;
    let wanted = huge(&desk, 5, 500_000).await;
    desk.until_done().await;
    let raw = desk.raw().await;
    assert_eq!(ids(&raw, 0).into_iter().collect::<BTreeSet<_>>(), wanted.into_iter().collect());
    assert!(end(&raw, 0).0 > 2);
    let stored = desk.bench.batches(Audience::Raw, &desk.contact).await;
    assert!(stored.iter().all(|s| s.payload.len() <= BATCH_BYTES_MAX));
    desk.bench.purge().await;
}

#[tokio::test]
async fn a_record_that_fits_no_message_is_named_in_a_batch_without_rows() {
    // Below and above what the bus itself would refuse.
    for bytes in [1_300_000, 1_393_500, 3_000_000] {
        let desk = Desk::with(LIMITS, OrgConfig::default(), huge_only).await;
        let wanted = huge(&desk, 1, bytes).await;
        desk.until_done().await;
        let raw = desk.raw().await;
        assert!(ids(&raw, 0).is_empty(), "its values do not travel");
        assert_eq!(end(&raw, 0), (1, 1), "it is read all the same");
        let stored = desk.bench.batches(Audience::Raw, &desk.contact).await;
        assert!(stored.iter().all(|s| s.payload.len() < 100_000));
        let note = |(_, body): &(BatchName, Body)| match body {
            Body::Data { note, .. } => Some(String::from_utf8(note.clone()).unwrap()),
            Body::End { .. } => None,
        };
        let notes: Vec<String> = raw.iter().filter_map(note).collect();
        assert_eq!(notes, [format!("{{\"too_large\":[\"{}\"]}}", wanted[0])]);
        desk.bench.purge().await;
    }
}
