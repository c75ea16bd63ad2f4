//! The stage against real NATS and PostgreSQL: what becomes of raw batches, good and bad, once and again.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Array, ArrayRef, Date32Array, RecordBatch, StringArray};
use async_nats::HeaderMap;
use bytes::Bytes;
use prost::Message as _;
use serde_json::Value;
use syncline_batch::{BATCH_BYTES_MAX, Body, SealingKey, open, seal_data, seal_end};
use syncline_bus::streams::MESSAGES_PER_PARTITION_MAX;
use syncline_bus::{Audience, subjects};
use syncline_connect::schema::batch_schema;
use syncline_domain::describe::FieldType;
use syncline_domain::plan::FieldPlan;
use syncline_domain::{BatchName, ErrorCode, FieldName, ObjectName};
use syncline_masker::MIGRATIONS;
use syncline_masker::transforming::{Limits, Transforming};
use syncline_runtime::worker::Stage;
use syncline_runtime::{Outcome, StageError};
use syncline_test_support::{Bench, field, masked, object, plan};
use syncline_wire::event::RunEvent;
use syncline_wire::event::run_event::Fact;
use syncline_wire::monitor::Letter;

/// Calls of the stage within which everything must be done that can be done.
const CALLS_MAX: usize = 60;

struct Desk {
    bench: Bench,
    /// How often the run was reopened.
    round: u32,
    stage: Transforming,
    contact: ObjectName,
    fields: Vec<FieldPlan>,
    hash: String,
}

fn contact_fields() -> Vec<FieldPlan> {
    vec![
        masked("LastName", FieldType::String, "hash"),
        masked("Email", FieldType::Email, "fake(email)"),
        masked("Birthdate", FieldType::Date, "redact"),
        field("Department", FieldType::String),
    ]
}

impl Desk {
    async fn start() -> Self {
        Self::with(contact_fields(), 100).await
    }

    async fn with(fields: Vec<FieldPlan>, records: u64) -> Self {
        let bench = Bench::start("masker", &MIGRATIONS).await;
        let contact = object("Contact", records, fields);
        let (name, fields) = (contact.name.clone(), contact.fields.clone());
        let hash = bench.pin(plan(&bench.run, vec![contact]));
        let limits = Limits {
            idle_max: Duration::from_millis(100),
            room_wait: Duration::from_millis(60),
            retry_min: Duration::from_millis(20),
        };
        Self {
            stage: Transforming::new(&bench.platform, limits).unwrap(),
            bench,
            round: 0,
            contact: name,
            fields,
            hash,
        }
    }

    fn name(&self, seq: u32) -> BatchName {
        BatchName::whole(self.bench.run.clone(), self.contact.clone(), 0, 0, seq)
    }

    /// Rows `from..to` of the fields that [`contact_fields`] plans.
    fn rows(&self, from: u32, to: u32) -> RecordBatch {
        let text = |make: &dyn Fn(u32) -> Option<String>| Arc::new((from..to).map(make).collect::<StringArray>()) as ArrayRef;
        let columns = vec![
            text(&|n| Some(key(n))),
            text(&|n| Some(format!("Lovelace{n}"))),
            text(&|n| (n % 2 == 0).then(|| format!("ada{n}@analytical.example"))),
            Arc::new(
                (from..to)
                    .map(|n| (n % 5 != 0).then_some(i32::try_from(n).unwrap()))
                    .collect::<Date32Array>(),
            ),
            text(&|n| Some(format!("Dept {}", n % 3))),
        ];
        RecordBatch::try_new(batch_schema(&self.fields), columns).unwrap()
    }

    /// Puts a message on RAW as the extractor does.
    async fn raw(&self, seq: u32, records: u64, sealed: Vec<u8>) {
        let bus = &self.bench.platform.bus;
        bus.publish_batch(
            Audience::Raw,
            &self.bench.tenant,
            &self.name(seq),
            &self.hash,
            records,
            sealed.into(),
        )
        .await
        .unwrap();
    }

    async fn data(&self, seq: u32, rows: &RecordBatch) {
        let sealed = seal_data(&self.bench.raw, &self.name(seq), rows, &[]).unwrap();
        self.raw(seq, rows.num_rows() as u64, sealed).await;
    }

    async fn end(&self, batches: u32, records: u64) {
        let sealed = seal_end(&self.bench.raw, &self.name(batches), batches, records);
        self.raw(batches, 0, sealed).await;
    }

    /// As the server does when an acknowledgement was lost: the same message once more, whatever it remembers of ids.
    async fn again(&self, seq: u32, rows: &RecordBatch) {
        let sealed = seal_data(&self.bench.raw, &self.name(seq), rows, &[]).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(subjects::header::BATCH, self.name(seq).to_string().as_str());
        headers.insert(subjects::header::PLAN, self.hash.as_str());
        headers.insert(subjects::header::RECORDS, rows.num_rows().to_string().as_str());
        self.bare(headers, sealed.into()).await;
    }

    async fn bare(&self, headers: HeaderMap, payload: Bytes) {
        let subject = subjects::batch(Audience::Raw, &self.bench.tenant, &self.name(0));
        let jetstream = self.bench.jetstream().await;
        jetstream
            .publish_with_headers(subject, headers, payload)
            .await
            .unwrap()
            .await
            .unwrap();
    }

    /// One call of the stage under a lease of its own.
    async fn work(&self) -> Result<Outcome, StageError> {
        let work = self.bench.take_in_round(&self.contact, "transform", self.round).await;
        let outcome = self.stage.work(&work).await;
        work.lease.release(&self.bench.platform.db, outcome.is_err()).await.unwrap();
        outcome
    }

    /// As the coordinator does: invites again until the object is done. No call may fail.
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

    async fn clean(&self) -> Vec<(BatchName, Body)> {
        self.bench.opened(Audience::Clean, &self.contact).await
    }
}

fn key(n: u32) -> String {
    format!("003A{n:011}AAA")
}

fn note(body: &Body) -> Value {
    match body {
        Body::Data { note, .. } => serde_json::from_slice(note).unwrap(),
        Body::End { .. } => panic!("an end marker has no note"),
    }
}

fn rows(body: &Body) -> &RecordBatch {
    match body {
        Body::Data { rows, .. } => rows,
        Body::End { .. } => panic!("an end marker has no rows"),
    }
}

fn texts(rows: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let column = rows.column_by_name(column).unwrap();
    let column = column.as_any().downcast_ref::<StringArray>().unwrap();
    column.iter().map(|v| v.map(str::to_owned)).collect()
}

fn code<T: std::fmt::Debug>(result: Result<T, StageError>) -> ErrorCode {
    result.unwrap_err().code()
}

#[tokio::test]
async fn every_raw_batch_yields_one_clean_batch_without_an_original() {
    let desk = Desk::start().await;
    desk.data(0, &desk.rows(0, 40)).await;
    desk.data(1, &desk.rows(40, 70)).await;
    desk.data(2, &desk.rows(70, 100)).await;
    desk.end(3, 100).await;
    assert_eq!(desk.work().await.unwrap(), Outcome::Done { with_errors: false });

    let clean = desk.clean().await;
    assert_eq!(clean.len(), 4);
    let mut keys = Vec::new();
    for (name, body) in clean.iter().take(3) {
        assert_eq!((name.part, name.parts), (0, 1));
        let rows = rows(body);
        assert_eq!(
            rows.column_by_name("Birthdate").unwrap().null_count(),
            rows.num_rows(),
            "a redacted date is null"
        );
        let all = format!("{rows:?}{}", note(body));
        assert!(!all.contains("Lovelace") && !all.contains("analytical"), "an original passed");
        assert_eq!(
            texts(rows, "Email").iter().filter(|e| e.is_some()).count(),
            rows.num_rows() / 2,
            "null stays null"
        );
        assert!(all.contains("Dept 1"), "what is not classified passes as it is");
        keys.extend(texts(rows, "Id").into_iter().flatten());
    }
    assert_eq!(keys, (0..100).map(key).collect::<Vec<_>>());
    assert!(matches!(clean.last(), Some((name, Body::End { batches: 3, records: 100 })) if name.seq == 3));
    assert!(desk.bench.batches(Audience::Raw, &desk.contact).await.is_empty(), "RAW is drained");
    desk.bench.purge().await;
}

#[tokio::test]
async fn the_note_counts_the_records_and_holds_fingerprints_of_what_was_masked() {
    let desk = Desk::start().await;
    desk.data(0, &desk.rows(0, 40)).await;
    desk.end(1, 40).await;
    desk.until_done().await;
    let clean = desk.clean().await;
    let note = note(&clean[0].1);
    assert_eq!((note["read"].as_u64(), note["dead"].as_u64()), (Some(40), Some(0)));
    let sample = note["sample"].as_object().unwrap();
    assert_eq!(sample.len(), 40, "a small object is sampled whole");
    let one = sample[&key(2)].as_object().unwrap();
    assert_eq!(one.keys().collect::<Vec<_>>(), ["Email", "LastName"], "only masked text");
    for print in one.values() {
        let print = print.as_str().unwrap();
        assert!(print.len() == 16 && print.bytes().all(|b| b.is_ascii_hexdigit()), "{print}");
    }
    assert_eq!(sample[&key(3)].as_object().unwrap().len(), 1, "null has no fingerprint");
    desk.bench.purge().await;
}

#[tokio::test]
async fn counts_per_field_are_added_exactly_once_however_often_a_batch_comes() {
    let desk = Desk::start().await;
    let first = desk.rows(0, 40);
    desk.data(0, &first).await;
    assert!(matches!(desk.work().await.unwrap(), Outcome::Yielded { .. }));
    // The loader has taken the clean batch meanwhile; a second one would be a second load.
    desk.bench.purge().await;
    desk.again(0, &first).await;
    desk.again(0, &first).await;
    desk.data(1, &desk.rows(40, 50)).await;
    desk.end(2, 50).await;
    desk.until_done().await;
    let names: Vec<u32> = desk.clean().await.iter().map(|(n, _)| n.seq).collect();
    assert_eq!(names, [1, 2], "what was done is not published again");
    assert_eq!(
        desk.bench.number("select masked from field_count where field = 'LastName'").await,
        50
    );
    assert_eq!(desk.bench.number("select masked from field_count where field = 'Email'").await, 25);
    assert_eq!(
        desk.bench.number("select empty from field_count where field = 'Birthdate'").await,
        10
    );
    assert_eq!(desk.bench.number("select sum(records)::bigint from batch").await, 50);
    desk.bench.purge().await;
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_commits_nothing() {
    let desk = Desk::start().await;
    desk.data(0, &desk.rows(0, 40)).await;
    desk.end(1, 40).await;
    let work = desk.bench.take(&desk.contact, "transform").await;
    desk.bench.expire().await;
    assert!(matches!(desk.stage.work(&work).await, Err(StageError::Lease(_))));
    assert_eq!(desk.bench.number("select count(*) from batch where done").await, 0);
    assert_eq!(desk.bench.number("select count(*) from field_count").await, 0);
    // Whoever takes over does it all, and once.
    desk.until_done().await;
    assert_eq!(
        desk.bench.number("select masked from field_count where field = 'LastName'").await,
        40
    );
    assert_eq!(desk.clean().await.len(), 2);
    desk.bench.purge().await;
}

#[tokio::test]
async fn a_batch_that_cannot_be_opened_becomes_a_dead_letter_and_the_rest_goes_on() {
    let desk = Desk::start().await;
    let good = desk.rows(0, 10);
    desk.data(0, &good).await;
    desk.raw(1, 7, b"garbage".to_vec()).await;
    let stranger = seal_data(&SealingKey::generate(), &desk.name(2), &good, &[]).unwrap();
    desk.raw(2, 5, stranger).await;
    let moved = seal_data(&desk.bench.raw, &desk.name(0), &good, &[]).unwrap();
    desk.raw(3, 3, moved).await;
    desk.data(4, &desk.rows(10, 20)).await;
    desk.end(5, 35).await;
    desk.until_done().await;

    let clean = desk.clean().await;
    let mut seqs: Vec<u32> = clean.iter().map(|(n, _)| n.seq).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, [0, 1, 2, 3, 4, 5], "every raw batch has a clean one");
    for (name, body) in &clean {
        let dead = match name.seq {
            1 => 7,
            2 => 5,
            3 => 3,
            _ => continue,
        };
        assert_eq!(rows(body).num_rows(), 0);
        assert_eq!(note(body)["dead"], dead, "it stands for its records");
        assert_eq!(note(body)["read"], dead);
        assert!(
            rows(body).schema().column_with_name("LastName").is_some(),
            "with the columns of the target"
        );
    }
    let dead = desk.bench.dead("masker").await;
    let named: BTreeSet<u32> = dead.iter().map(|d| d.batch.as_ref().unwrap().seq).collect();
    assert_eq!((dead.len(), named), (3, BTreeSet::from([1, 2, 3])));
    assert!(
        dead.iter()
            .all(|d| d.code == ErrorCode::DeadLetter.as_str() && d.cause.contains("attempts"))
    );
    assert_eq!(dead[0].payload, Bytes::from_static(b"garbage"), "kept as it came");
    assert_eq!(desk.bench.number("select max(attempts)::bigint from batch").await, 6);
    desk.bench.purge().await;
}

#[tokio::test]
async fn the_stand_in_of_a_lost_batch_has_the_names_of_the_target() {
    let mut name = masked("LastName", FieldType::String, "hash");
    name.target = FieldName::new("Surname__c").unwrap();
    let desk = Desk::with(vec![name], 100).await;
    desk.raw(0, 7, b"garbage".to_vec()).await;
    desk.end(1, 7).await;
    desk.until_done().await;
    let clean = desk.clean().await;
    let (_, lost) = clean.iter().find(|(n, _)| n.seq == 0).unwrap();
    let schema = rows(lost).schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["Id", "Surname__c"]);
    desk.bench.purge().await;
}

#[tokio::test]
async fn the_end_of_an_object_that_cannot_be_read_stops_the_run_instead_of_keeping_it_waiting() {
    let desk = Desk::start().await;
    desk.data(0, &desk.rows(0, 10)).await;
    desk.raw(1, 0, b"garbage".to_vec()).await;
    let mut last = None;
    for _ in 0..CALLS_MAX {
        match desk.work().await {
            Ok(Outcome::Yielded { .. }) => {}
            other => {
                last = Some(other);
                break;
            }
        }
    }
    assert_eq!(code(last.unwrap()), ErrorCode::DeadLetter);
    assert_eq!(desk.bench.dead("masker").await.len(), 1);
    desk.bench.purge().await;
}

#[tokio::test]
async fn a_message_without_a_name_holds_up_nobody() {
    let desk = Desk::start().await;
    desk.bare(HeaderMap::new(), Bytes::from_static(b"who am I")).await;
    desk.data(0, &desk.rows(0, 10)).await;
    desk.end(1, 10).await;
    desk.until_done().await;
    assert_eq!(desk.clean().await.len(), 2);
    assert!(desk.bench.batches(Audience::Raw, &desk.contact).await.is_empty());
    desk.bench.purge().await;
}

#[tokio::test]
async fn waiting_for_room_is_not_an_attempt() {
    let desk = Desk::start().await;
    let bus = &desk.bench.platform.bus;
    for seq in 0..MESSAGES_PER_PARTITION_MAX {
        let name = desk.name(1_000 + u32::try_from(seq).unwrap());
        bus.publish_batch(Audience::Clean, &desk.bench.tenant, &name, "p", 0, Bytes::from_static(b"x"))
            .await
            .unwrap();
    }
    desk.data(0, &desk.rows(0, 10)).await;
    desk.data(1, &desk.rows(10, 20)).await;
    desk.end(2, 20).await;
    for _ in 0..10 {
        match desk.work().await.unwrap() {
            Outcome::Yielded { reason } => assert!(reason.contains("room"), "{reason}"),
            other => panic!("{other:?} without room"),
        }
    }
    let jetstream = desk.bench.jetstream().await;
    let clean = jetstream.get_stream(Audience::Clean.stream()).await.unwrap();
    let filter = subjects::run_batches(Audience::Clean, &desk.bench.tenant, &desk.bench.run);
    clean.purge().filter(filter).await.unwrap();
    desk.until_done().await;
    assert!(desk.bench.dead("masker").await.is_empty(), "an innocent batch was given up");
    let clean = desk.clean().await;
    let data = clean.iter().filter(|(_, b)| matches!(b, Body::Data { .. }));
    let sizes: Vec<usize> = data.map(|(_, b)| rows(b).num_rows()).collect();
    assert_eq!(sizes, [10, 10]);
    desk.bench.purge().await;
}

#[tokio::test]
async fn a_batch_of_another_plan_is_refused() {
    let desk = Desk::start().await;
    let rows = desk.rows(0, 10);
    let sealed = seal_data(&desk.bench.raw, &desk.name(0), &rows, &[]).unwrap();
    let bus = &desk.bench.platform.bus;
    bus.publish_batch(Audience::Raw, &desk.bench.tenant, &desk.name(0), "another plan", 10, sealed.into())
        .await
        .unwrap();
    assert_eq!(code(desk.work().await), ErrorCode::DescribeChanged);
    assert!(desk.clean().await.is_empty());
    assert_eq!(desk.bench.number("select count(*) from batch where done").await, 0);
    desk.bench.purge().await;
}

#[tokio::test]
async fn a_column_that_is_not_planned_never_passes() {
    let desk = Desk::start().await;
    let rows = desk.rows(0, 10);
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        columns.push((field.name().clone(), Arc::clone(column)));
    }
    columns.push(("SSN__c".to_owned(), Arc::clone(rows.column(1))));
    desk.data(0, &RecordBatch::try_from_iter(columns).unwrap()).await;
    assert_eq!(code(desk.work().await), ErrorCode::DescribeChanged);
    assert!(desk.clean().await.is_empty());
    desk.bench.purge().await;
}

#[tokio::test]
async fn a_clean_batch_that_outgrows_a_message_travels_in_parts() {
    // Counting up compresses to next to nothing; a hash of each does not.
    const ROWS: u32 = 40_000;
    let desk = Desk::with(vec![masked("LastName", FieldType::String, "hash(64)")], u64::from(ROWS)).await;
    let keys: ArrayRef = Arc::new((0..ROWS).map(|n| Some(key(n))).collect::<StringArray>());
    let names: ArrayRef = Arc::new((0..ROWS).map(|n| Some(format!("n{n}"))).collect::<StringArray>());
    let raw = RecordBatch::try_new(batch_schema(&desk.fields), vec![keys, names]).unwrap();
    desk.data(0, &raw).await;
    desk.end(1, u64::from(ROWS)).await;
    desk.until_done().await;

    let stored = desk.bench.batches(Audience::Clean, &desk.contact).await;
    let parts: Vec<_> = stored.iter().filter(|s| s.batch.as_ref().unwrap().seq == 0).collect();
    assert!(parts.len() > 1, "it fits one message: the test is too small");
    let (mut keys, mut read) = (Vec::new(), 0);
    for (index, part) in parts.iter().enumerate() {
        let name = part.batch.clone().unwrap();
        assert_eq!((usize::from(name.part), usize::from(name.parts)), (index, parts.len()));
        assert!(part.payload.len() <= BATCH_BYTES_MAX);
        let body = open(&desk.bench.clean, &name, &part.payload).unwrap();
        keys.extend(texts(rows(&body), "Id").into_iter().flatten());
        read += note(&body)["read"].as_u64().unwrap();
    }
    assert_eq!(keys, (0..ROWS).map(key).collect::<Vec<_>>(), "no row is lost or doubled");
    assert_eq!(read, u64::from(ROWS), "counted once");
    assert_eq!(desk.bench.number("select count(*) from batch where done").await, 2);
    desk.bench.purge().await;
}

#[tokio::test]
async fn fingerprints_of_many_masked_fields_are_divided_among_the_parts() {
    const ROWS: u32 = 2_000;
    const FIELDS: usize = 40;
    let fields = (0..FIELDS).map(|n| masked(&format!("Private_Detail_{n}__c"), FieldType::String, "hash(8)"));
    let desk = Desk::with(fields.collect(), u64::from(ROWS)).await;
    let mut columns: Vec<ArrayRef> = vec![Arc::new((0..ROWS).map(|n| Some(key(n))).collect::<StringArray>())];
    for column in 0..FIELDS {
        columns.push(Arc::new((0..ROWS).map(|n| Some(format!("{column}-{n}"))).collect::<StringArray>()));
    }
    desk.data(0, &RecordBatch::try_new(batch_schema(&desk.fields), columns).unwrap())
        .await;
    desk.end(1, u64::from(ROWS)).await;
    desk.until_done().await;
    let mut sampled = BTreeSet::new();
    for (name, body) in desk.clean().await.iter().filter(|(n, _)| n.seq == 0) {
        let here: BTreeSet<String> = texts(rows(body), "Id").into_iter().flatten().collect();
        let note = note(body);
        for key in note["sample"].as_object().unwrap().keys() {
            assert!(
                here.contains(key),
                "part {} has the fingerprints of another part's record",
                name.part
            );
            assert!(sampled.insert(key.clone()), "twice");
        }
    }
    assert_eq!(sampled.len(), ROWS as usize);
    desk.bench.purge().await;
}

#[tokio::test]
async fn without_batches_the_lease_is_given_back_and_a_stop_is_heeded() {
    let desk = Desk::start().await;
    match desk.work().await.unwrap() {
        Outcome::Yielded { reason } => assert!(reason.contains("extracted"), "{reason}"),
        other => panic!("{other:?} without batches"),
    }
    desk.data(0, &desk.rows(0, 10)).await;
    let work = desk.bench.take(&desk.contact, "transform").await;
    work.stop.cancel();
    assert_eq!(desk.stage.work(&work).await.unwrap(), Outcome::Stopped);
    assert_eq!(
        desk.bench.batches(Audience::Raw, &desk.contact).await.len(),
        1,
        "it stays for whoever goes on"
    );
    desk.bench.purge().await;
}

#[tokio::test]
async fn a_decision_that_cannot_be_carried_out_stops_before_anything_is_read() {
    let desk = Desk::with(vec![masked("Birthdate", FieldType::Date, "hash")], 10).await;
    assert_eq!(code(desk.work().await), ErrorCode::MaskStrategy);
}

#[tokio::test]
async fn a_run_whose_keys_are_wrapped_under_another_key_stops() {
    let desk = Desk::start().await;
    desk.bench.peers.script(|s| {
        let (one, two) = (SealingKey::generate(), SealingKey::generate());
        s.keys = Some([(one.clone(), one), (two.clone(), two)]);
    });
    assert_eq!(code(desk.work().await), ErrorCode::MaskKey);
}

impl Desk {
    /// The run is reopened, and the monitor hands this letter out for batch `seq`.
    fn replay(&mut self, seq: u32, sealed: Vec<u8>) {
        self.round += 1;
        let letter = Letter {
            id: 7,
            batch: self.name(seq).to_string(),
            records: 0,
            payload: sealed,
        };
        self.bench.peers.script(|s| s.letters = Some(vec![("masker".to_owned(), letter)]));
    }

    /// Letters that were told to be replayed: batch and round.
    async fn told(&self) -> Vec<(String, u32)> {
        let stored: Vec<Vec<u8>> = sqlx::query_scalar("select payload from outbox order by id")
            .fetch_all(&self.bench.platform.db)
            .await
            .unwrap();
        let facts = stored.iter().filter_map(|b| RunEvent::decode(b.as_slice()).unwrap().fact);
        let replayed = facts.filter_map(|fact| match fact {
            Fact::LetterReplayed(l) => Some((l.batch, l.round)),
            _ => None,
        });
        replayed.collect()
    }

    async fn masked_max(&self) -> i64 {
        self.bench.number("select coalesce(max(masked), 0)::bigint from field_count").await
    }

    /// Rows and given-up records of each clean batch `seq`, in the order in which they were published.
    async fn clean_of(&self, seq: u32) -> Vec<(usize, u64)> {
        let clean = self.clean().await.into_iter().filter(|(name, _)| name.seq == seq);
        let shown = clean.filter_map(|(_, body)| match body {
            Body::Data { rows, note } => {
                let note: Value = serde_json::from_slice(&note).unwrap();
                Some((rows.num_rows(), note["dead"].as_u64().unwrap_or(0)))
            }
            Body::End { .. } => None,
        });
        shown.collect()
    }
}

#[tokio::test]
async fn a_batch_that_was_given_up_is_transformed_when_it_is_replayed_and_its_clean_batch_is_new() {
    let mut desk = Desk::start().await;
    desk.raw(0, 4, b"sealed under a key that nobody has".to_vec()).await;
    desk.data(1, &desk.rows(4, 6)).await;
    desk.end(2, 6).await;
    desk.until_done().await;
    assert_eq!(desk.clean_of(0).await, [(0, 4)], "a stand-in");
    let before = desk.masked_max().await;

    let sealed = seal_data(&desk.bench.raw, &desk.name(0), &desk.rows(0, 4), &[]).unwrap();
    desk.replay(0, sealed);
    desk.until_done().await;
    assert_eq!(
        desk.clean_of(0).await,
        [(0, 4), (4, 0)],
        "the server has not taken it for the stand-in"
    );
    assert_eq!(desk.told().await, [(desk.name(0).to_string(), 1)]);
    assert_eq!(desk.masked_max().await, before + 4);
    assert_eq!(desk.bench.number("select sum(records)::bigint from batch").await, 6);
    // Another worker of the same round finds it done and tells so once more.
    desk.until_done().await;
    assert_eq!((desk.clean_of(0).await.len(), desk.masked_max().await), (2, before + 4));
}

#[tokio::test]
async fn a_batch_that_is_replayed_in_vain_is_given_up_again_for_as_many_records() {
    let mut desk = Desk::start().await;
    let bad = b"sealed under a key that nobody has".to_vec();
    desk.raw(0, 4, bad.clone()).await;
    desk.end(1, 4).await;
    desk.until_done().await;
    desk.replay(0, bad);
    desk.until_done().await;
    assert_eq!(desk.clean_of(0).await, [(0, 4), (0, 4)]);
    assert!(desk.told().await.is_empty());
}

#[tokio::test]
async fn a_replay_waits_for_the_monitor_and_says_so() {
    let mut desk = Desk::start().await;
    desk.raw(0, 4, b"sealed under a key that nobody has".to_vec()).await;
    desk.end(1, 4).await;
    desk.until_done().await;
    desk.round = 1;
    let error = desk.work().await.unwrap_err();
    assert!(error.code().entry().can_retry, "{error}");
}

/// As a process does that is killed while it opens a batch: the attempt is counted and nothing else is left.
#[tokio::test]
async fn a_batch_that_kills_its_worker_every_time_is_set_aside_and_the_rest_goes_on() {
    let desk = Desk::start().await;
    desk.data(0, &desk.rows(0, 2)).await;
    desk.data(1, &desk.rows(2, 4)).await;
    desk.end(2, 4).await;
    sqlx::query("insert into batch (run, object, partition, generation, seq, attempts) values ($1, 'Contact', 0, 0, 0, 5)")
        .bind(desk.bench.run.as_str())
        .execute(&desk.bench.platform.db)
        .await
        .unwrap();
    desk.until_done().await;
    assert_eq!(desk.clean_of(0).await, [(0, 2)]);
    assert_eq!(desk.clean_of(1).await, [(2, 0)]);
}
