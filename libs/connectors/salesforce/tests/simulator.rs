//! The connector against an org: whole readings and whole jobs, with faults in between.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use serde_json::json;
use syncline_connect::digest::RowDigest;
use syncline_connect::retry::RetryPolicy;
use syncline_connect::target::ResultRow;
use syncline_connect::{
    Access, AccessToken, Column, ConnectError, Generation, GenerationState, Hints, JobState, Nulls, Operation, OrgKind, Query, ResultKind,
    RowDigester, Source, Target, Usage,
};
use syncline_domain::describe::FieldType;
use syncline_domain::plan::{FieldPlan, FieldRole};
use syncline_domain::{ErrorCode, FieldName, ObjectName};
use syncline_salesforce::collections::Record;
use syncline_salesforce::oauth::{Grant, authenticate, session};
use syncline_salesforce::{Salesforce, composite_key, names};
use syncline_salesforce_simulator::store::rules::ValidationRule;
use syncline_salesforce_simulator::{Flavour, Org, OrgConfig, RunningOrg};

use secrecy::ExposeSecret;

/// How long a job of the simulator may take before a test gives up.
const DEADLINE: Duration = Duration::from_secs(30);

/// Tokens from the org's own token endpoint.
struct OrgAccess {
    http: reqwest::Client,
    url: String,
    grant: Grant,
    token: tokio::sync::Mutex<Option<AccessToken>>,
    used: Mutex<Vec<Usage>>,
}

impl std::fmt::Debug for OrgAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OrgAccess")
    }
}

impl OrgAccess {
    async fn sign_in(&self) -> Result<AccessToken, ConnectError> {
        let token = authenticate(&self.http, &self.url, &self.grant).await?;
        Ok(AccessToken::new(
            token.instance_url,
            "65.0".into(),
            token.access_token.expose_secret().to_owned(),
        ))
    }
}

#[async_trait]
impl Access for OrgAccess {
    async fn token(&self) -> Result<AccessToken, ConnectError> {
        let mut held = self.token.lock().await;
        if held.is_none() {
            *held = Some(self.sign_in().await?);
        }
        Ok(held.clone().unwrap())
    }

    async fn refresh(&self, stale: &AccessToken) -> Result<AccessToken, ConnectError> {
        let mut held = self.token.lock().await;
        if held.as_ref() == Some(stale) {
            *held = Some(self.sign_in().await?);
        }
        Ok(held.clone().unwrap())
    }

    async fn permit(&self, _: u32) -> Result<(), ConnectError> {
        Ok(())
    }

    fn observe(&self, usage: Usage) {
        self.used.lock().unwrap().push(usage);
    }
}

fn connect(org: &RunningOrg) -> (Salesforce, Arc<OrgAccess>) {
    // A second installation in the same process is refused, which is fine: there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let policy = RetryPolicy {
        attempts_max: 6,
        delay_min: Duration::from_millis(1),
        delay_max: Duration::from_millis(50),
        ..RetryPolicy::default()
    };
    let access = Arc::new(OrgAccess {
        http: syncline_salesforce::http_client(&policy).unwrap(),
        url: org.url.clone(),
        grant: Grant::ClientCredentials {
            client_id: org.client_id.clone(),
            client_secret: org.client_secret.clone().into(),
        },
        token: tokio::sync::Mutex::default(),
        used: Mutex::default(),
    });
    (Salesforce::new(access.clone(), policy).unwrap(), access)
}

fn production() -> RunningOrg {
    Org::start(OrgConfig {
        scale: Some(3_000),
        ..OrgConfig::default()
    })
    .unwrap()
}

fn sandbox(rules: &[&str]) -> RunningOrg {
    Org::start(OrgConfig {
        flavour: Flavour::Sandbox,
        validation_rules: rules.iter().map(|r| ValidationRule::parse(r).unwrap()).collect(),
        ..OrgConfig::default()
    })
    .unwrap()
}

fn fault(org: &RunningOrg, fault: serde_json::Value) {
    org.state.faults.add(serde_json::from_value(fault).unwrap());
}

fn object(name: &str) -> ObjectName {
    ObjectName::new(name).unwrap()
}

/// `Id` and all values that an insert could carry, as the org describes them; references are left to the loader.
async fn plan(org: &Salesforce, name: &str) -> Query {
    let describe = org.describe(&[object(name)]).await.unwrap().remove(0).unwrap();
    let fields = describe
        .fields
        .iter()
        .filter(|f| f.field_type == FieldType::Id || (f.createable && f.field_type.is_movable() && f.field_type != FieldType::Reference))
        .map(|f| FieldPlan {
            name: f.name.clone(),
            target: f.name.clone(),
            field_type: f.field_type,
            length: f.length,
            precision: f.precision,
            scale: f.scale,
            nillable: f.nillable,
            unique: f.unique,
            updateable: f.updateable,
            role: FieldRole::Value,
            mask: None,
        });
    Query {
        object: object(name),
        fields: fields.collect(),
        filter: None,
        created_before: None,
        order_by: None,
        batch_bytes_max: 32 << 10,
        batch_rows_max: 5_000,
        page_records: 300,
    }
}

async fn ready(org: &Salesforce, generation: &Generation) -> u64 {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match org.state(generation).await.unwrap() {
            GenerationState::Ready { records } => return records,
            GenerationState::Failed(e) => panic!("{e}"),
            GenerationState::Running => assert!(Instant::now() < deadline, "the query job does not end"),
        }
    }
}

/// Every page in turn; a page that breaks is read again from its own cursor.
async fn read(org: &Salesforce, generation: &Generation, query: &Query) -> (Vec<RecordBatch>, usize) {
    let (mut all, mut cursor, mut broken) = (Vec::new(), None, 0);
    loop {
        let page = org.read(generation, query, cursor.as_deref()).await.unwrap();
        match page.batches.try_collect::<Vec<_>>().await {
            Ok(batches) => {
                all.extend(batches);
                cursor = page.next;
                if cursor.is_none() {
                    return (all, broken);
                }
            }
            Err(e) => {
                assert!(e.can_retry() && broken < 5, "{e}");
                broken += 1;
            }
        }
    }
}

fn ids(batches: &[RecordBatch]) -> HashSet<String> {
    batches
        .iter()
        .flat_map(|b| {
            b.column_by_name("Id")
                .unwrap()
                .as_string::<i32>()
                .iter()
                .flatten()
                .map(str::to_owned)
        })
        .collect()
}

fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

fn columns(query: &Query) -> Vec<Column> {
    query
        .fields
        .iter()
        .filter(|f| f.field_type != FieldType::Id)
        .map(|f| Column {
            name: f.name.clone(),
            field_type: f.field_type,
            scale: f.scale,
        })
        .collect()
}

fn column(name: &str, field_type: FieldType) -> Column {
    Column {
        name: FieldName::new(name).unwrap(),
        field_type,
        scale: 0,
    }
}

fn without_id(batch: &RecordBatch) -> RecordBatch {
    let keep: Vec<usize> = (0..batch.num_columns())
        .filter(|i| batch.schema().field(*i).name() != "Id")
        .collect();
    batch.project(&keep).unwrap()
}

struct Job {
    id: String,
    digests: Vec<RowDigest>,
    state: JobState,
}

/// One job, from its creation to its end.
async fn run(
    org: &Salesforce,
    name: &str,
    operation: &Operation,
    columns: &[Column],
    batches: &[RecordBatch],
    nulls: Nulls,
    digester: &RowDigester,
) -> Job {
    let id = org.create_job(&object(name), operation).await.unwrap();
    let (mut header, mut digests) = (Vec::new(), Vec::new());
    org.encode_header(columns, &mut header);
    let mut chunks = vec![Bytes::from(header)];
    for batch in batches {
        let mut chunk = Vec::new();
        org.encode(&object(name), columns, batch, nulls, digester, &mut chunk, &mut digests);
        chunks.push(chunk.into());
    }
    org.upload(&id, chunks).await.unwrap();
    org.close_job(&id).await.unwrap();
    org.close_job(&id).await.unwrap();
    let state = finished(org, &id).await;
    Job { id, digests, state }
}

async fn finished(org: &Salesforce, job: &str) -> JobState {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let status = org.job_status(job).await.unwrap();
        if status.state.is_terminal() {
            return status.state;
        }
        assert!(Instant::now() < deadline, "the job does not end: {status:?}");
    }
}

async fn outcomes(org: &Salesforce, job: &str, kind: ResultKind, columns: &[Column], digester: &RowDigester) -> Vec<ResultRow> {
    org.results(job, kind, columns, digester).await.unwrap().try_concat().await.unwrap()
}

#[tokio::test]
async fn an_org_tells_who_it_is_what_it_has_and_what_is_left() {
    let (prod, uat) = (production(), sandbox(&[]));
    let ((source, access), (target, _)) = (connect(&prod), connect(&uat));
    let info = source.org().await.unwrap();
    assert_eq!((info.id, info.kind), (prod.org_id.clone(), OrgKind::Production));
    assert_eq!(target.org().await.unwrap().kind, OrgKind::Sandbox);
    let mut query = plan(&source, "Contact").await;
    assert_eq!(source.count(&query).await, Ok(prod.count("Contact") as u64));
    query.created_before = Some("2000-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(source.count(&query).await, Ok(0));
    let described = source
        .describe(&[object("Ghost__c"), object("Opportunity"), object("User")])
        .await
        .unwrap();
    assert!(described[0].is_none());
    let opportunity = described[1].as_ref().unwrap();
    assert_eq!(opportunity.field("Amount").map(|f| f.field_type), Some(FieldType::Number));
    assert!(opportunity.field("Name").unwrap().required());
    let again = source.describe(&[object("Opportunity")]).await.unwrap();
    assert_eq!(again[0].as_ref().map(|o| &o.hash), Some(&opportunity.hash));
    let users = source
        .lookup(&object("User"), &["Id", "Username", "Profile.Name"], Some("IsActive = true"))
        .await
        .unwrap();
    assert!(
        users
            .iter()
            .any(|u| u[0].as_deref() == Some(&prod.user_id) && u[1].as_deref() == Some(&prod.username))
    );
    assert!(users.iter().any(|u| u[2].is_some()));
    assert!(source.limits().await.unwrap().contains_key("DailyApiRequests"));
    assert!(!access.used.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_reading_survives_expired_tokens_maintenance_and_cut_pages() {
    let prod = production();
    let (source, _) = connect(&prod);
    let query = plan(&source, "Contact").await;
    let generation = source.open(&query).await.unwrap();
    assert_eq!(ready(&source, &generation).await, prod.count("Contact") as u64);
    let (calm, broken) = read(&source, &generation, &query).await;
    assert_eq!(
        (rows(&calm), ids(&calm).len(), broken),
        (prod.count("Contact"), prod.count("Contact"), 0)
    );
    assert!(calm.len() > 1, "more than one batch, or cuts are not seen");

    prod.state.auth.expire_all(false);
    // The rules are used up in this order; the request after the first meets the expired token.
    for (skip, kind) in [(0, "html503"), (1, "truncate"), (0, "cut"), (0, "cut_after"), (1, "truncate")] {
        fault(&prod, json!({"method": "GET", "path": "/results", "skip": skip, "kind": kind}));
    }
    let (stormy, _) = read(&source, &generation, &query).await;
    assert_eq!(stormy, calm, "the same cursors give the same batches");
    assert_eq!(prod.state.faults.take("GET", "/results"), None, "every fault was met");

    source.close(&generation).await.unwrap();
    source.close(&generation).await.unwrap();
    let Err(lost) = source.read(&generation, &query, None).await else {
        panic!("a closed reading can be read")
    };
    assert!(lost.gone, "{lost}");
}

#[tokio::test]
async fn a_filter_is_applied_and_a_wrong_one_is_the_operator_s() {
    let prod = production();
    let (source, _) = connect(&prod);
    let mut query = plan(&source, "Contact").await;
    query.filter = Some("DoNotCall = true OR DoNotCall = false".into());
    query.created_before = Some(source.org().await.unwrap().now + chrono::Duration::days(1));
    let generation = source.open(&query).await.unwrap();
    assert_eq!(ready(&source, &generation).await, prod.count("Contact") as u64);
    query.filter = Some("Nmae = 'x'".into());
    let begun = Instant::now();
    let code = match source.open(&query).await {
        Err(e) => e.code,
        Ok(generation) => loop {
            assert!(begun.elapsed() < DEADLINE, "the query job does not end");
            match source.state(&generation).await.unwrap() {
                GenerationState::Failed(e) => break e.code,
                GenerationState::Ready { .. } => panic!("a field that is not there was found"),
                GenerationState::Running => {}
            }
        },
    };
    assert_eq!(code, ErrorCode::FieldMissing);
    assert_eq!(source.count(&query).await.unwrap_err().code, ErrorCode::FieldMissing);
}

#[tokio::test]
async fn what_was_written_is_recognised_by_digest_and_reads_back_the_same() {
    let prod = production();
    let uat = sandbox(&["Contact: HasOptedOutOfEmail = true => no calls: value"]);
    let ((source, _), (target, _)) = (connect(&prod), connect(&uat));
    let query = plan(&source, "Contact").await;
    let generation = source.open(&query).await.unwrap();
    ready(&source, &generation).await;
    let (batches, _) = read(&source, &generation, &query).await;
    let batches: Vec<RecordBatch> = batches.iter().map(without_id).collect();
    let columns = columns(&query);
    let digester = RowDigester::new([9; 32]);
    fault(&uat, json!({"method": "PATCH", "path": "/jobs/ingest", "kind": "cut_after"}));
    fault(&uat, json!({"method": "GET", "path": "/jobs/ingest", "kind": "html503"}));
    let job = run(&target, "Contact", &Operation::Insert, &columns, &batches, Nulls::Omit, &digester).await;
    assert_eq!(job.state, JobState::Complete);

    uat.state.auth.expire_all(false);
    let written = outcomes(&target, &job.id, ResultKind::Successful, &columns, &digester).await;
    let refused = outcomes(&target, &job.id, ResultKind::Failed, &columns, &digester).await;
    let unprocessed = outcomes(&target, &job.id, ResultKind::Unprocessed, &columns, &digester).await;
    assert_eq!(written.len() + refused.len(), job.digests.len());
    let found = (written.len(), refused.len(), unprocessed.len());
    assert!(found.0 > 0 && found.1 > 0 && found.2 == 0, "{found:?} {:?}", refused.first());
    assert_eq!(written.len(), uat.count("Contact"));
    for row in &refused {
        let refusal = row.refusal.as_ref().unwrap();
        assert_eq!(
            (refusal.code, refusal.native.as_str()),
            (ErrorCode::ValidationRule, "FIELD_CUSTOM_VALIDATION_EXCEPTION")
        );
    }
    // Every digest that was sent comes back exactly as often.
    let mut balance: HashMap<RowDigest, i64> = HashMap::new();
    for digest in &job.digests {
        *balance.entry(*digest).or_default() += 1;
    }
    for row in written.iter().chain(&refused) {
        *balance.entry(row.digest).or_default() -= 1;
    }
    assert!(
        balance.values().all(|n| *n == 0),
        "{} rows are not recognised",
        balance.values().filter(|n| **n != 0).count()
    );

    let by_id: HashMap<&str, RowDigest> = written.iter().map(|r| (r.id.as_str(), r.digest)).collect();
    let wanted: Vec<String> = by_id.keys().map(|id| (*id).to_owned()).collect();
    let back = target.retrieve(&object("Contact"), &wanted, &columns).await.unwrap();
    assert_eq!(back.num_rows(), wanted.len());
    let (mut text, mut digests) = (Vec::new(), Vec::new());
    target.encode(&object("Contact"), &columns, &without_id(&back), Nulls::Omit, &digester, &mut text, &mut digests);
    for (id, digest) in back.column(0).as_string::<i32>().iter().zip(digests) {
        assert_eq!(by_id.get(id.unwrap()), Some(&digest), "{id:?} reads back as something else");
    }
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn batch(columns: &[Column], arrays: Vec<ArrayRef>) -> RecordBatch {
    let fields: Vec<_> = columns
        .iter()
        .zip(&arrays)
        .map(|(c, a)| arrow_schema::Field::new(c.name.as_str(), a.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), arrays).unwrap()
}

#[tokio::test]
async fn records_are_upserted_updated_cleared_and_deleted() {
    let uat = sandbox(&[]);
    let (target, _) = connect(&uat);
    let digester = RowDigester::new([9; 32]);
    let upsert = Operation::Upsert {
        key: FieldName::new("Ext_Id__c").unwrap(),
    };
    let fields = [
        column("Ext_Id__c", FieldType::String),
        column("LastName", FieldType::String),
        column("Notes__c", FieldType::TextArea),
        column("DoNotCall", FieldType::Boolean),
    ];
    let awkward = "line one\nline \"two\", ü 😀";
    let rows = batch(
        &fields,
        vec![
            texts(&[Some("k1"), Some("k2")]),
            texts(&[Some("One"), Some("Two, Jr.")]),
            texts(&[Some(awkward), None]),
            Arc::new(BooleanArray::from(vec![true, false])),
        ],
    );
    for created in [true, false] {
        let job = run(
            &target,
            "Contact",
            &upsert,
            &fields,
            std::slice::from_ref(&rows),
            Nulls::Omit,
            &digester,
        )
        .await;
        let written = outcomes(&target, &job.id, ResultKind::Successful, &fields, &digester).await;
        assert_eq!(written.iter().map(|r| r.created).collect::<Vec<_>>(), [created, created]);
        assert_eq!(
            written.iter().map(|r| r.digest).collect::<HashSet<_>>(),
            job.digests.iter().copied().collect::<HashSet<_>>()
        );
    }
    assert_eq!(uat.count("Contact"), 2);
    let found = target
        .lookup(&object("Contact"), &["Id", "Notes__c"], Some("Ext_Id__c = 'k1'"))
        .await
        .unwrap();
    assert_eq!(found[0][1].as_deref(), Some(awkward));
    let id = found[0][0].clone().unwrap();

    let update = [column("Id", FieldType::Id), column("Notes__c", FieldType::TextArea)];
    let nothing = batch(&update, vec![texts(&[Some(&id)]), texts(&[None])]);
    for (nulls, left) in [(Nulls::Omit, Some(awkward.to_owned())), (Nulls::Clear, None)] {
        let job = run(
            &target,
            "Contact",
            &Operation::Update,
            &update,
            std::slice::from_ref(&nothing),
            nulls,
            &digester,
        )
        .await;
        let written = outcomes(&target, &job.id, ResultKind::Successful, &update, &digester).await;
        assert_eq!(written.iter().map(|r| r.digest).collect::<Vec<_>>(), job.digests);
        let found = target
            .lookup(&object("Contact"), &["Notes__c"], Some("Ext_Id__c = 'k1'"))
            .await
            .unwrap();
        assert_eq!(found[0][0], left);
    }

    let delete = [column("Id", FieldType::Id)];
    let gone = batch(&delete, vec![texts(&[Some(&id)])]);
    let job = run(&target, "Contact", &Operation::Delete, &delete, &[gone], Nulls::Omit, &digester).await;
    assert_eq!(
        outcomes(&target, &job.id, ResultKind::Successful, &delete, &digester).await.len(),
        1
    );
    assert_eq!(uat.count("Contact"), 1);
    target.delete_job(&job.id).await.unwrap();
    let error = target.job_status(&job.id).await.unwrap_err();
    assert!(error.gone && error.code == ErrorCode::ResultsGone, "{error}");
}

#[tokio::test]
async fn a_creation_that_was_not_answered_is_left_for_the_sweep() {
    let uat = sandbox(&[]);
    let (target, _) = connect(&uat);
    let since = target.org().await.unwrap().now;
    fault(&uat, json!({"method": "POST", "path": "/jobs/ingest", "kind": "cut_after"}));
    let error = target.create_job(&object("Contact"), &Operation::Insert).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NetworkTimeout);
    let left = target.list_jobs(since).await.unwrap();
    assert_eq!(
        left.iter().map(|j| (j.object.as_str(), j.state)).collect::<Vec<_>>(),
        [("Contact", JobState::Open)]
    );
    target.abort_job(&left[0].id).await.unwrap();
    target.abort_job(&left[0].id).await.unwrap();
    assert_eq!(target.job_status(&left[0].id).await.unwrap().state, JobState::Aborted);
    assert!(target.list_jobs(since + chrono::Duration::days(1)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_job_with_a_column_that_is_not_there_fails_as_a_whole() {
    let uat = sandbox(&[]);
    let (target, _) = connect(&uat);
    let digester = RowDigester::new([9; 32]);
    let fields = [column("LastName", FieldType::String), column("Nmae__c", FieldType::String)];
    let rows = batch(&fields, vec![texts(&[Some("One")]), texts(&[Some("x")])]);
    let job = run(&target, "Contact", &Operation::Insert, &fields, &[rows], Nulls::Omit, &digester).await;
    assert_eq!(job.state, JobState::Failed);
    let status = target.job_status(&job.id).await.unwrap();
    assert_eq!(status.error.map(|e| e.code), Some(ErrorCode::FieldMissing));
    let unprocessed = outcomes(&target, &job.id, ResultKind::Unprocessed, &fields, &digester).await;
    assert_eq!(unprocessed.iter().map(|r| r.digest).collect::<Vec<_>>(), job.digests);
}

#[tokio::test]
async fn few_records_are_read_without_a_job_and_give_the_same_values() {
    let org = production();
    let (source, _) = connect(&org);
    let query = plan(&source, "Account").await;
    let records = source.count(&query).await.unwrap();
    let hints = Hints {
        records: Some(records),
        parts: 1,
    };
    let before = source.calls();
    let small = source.open_with(&query, &hints).await.unwrap();
    let by_query = read_all(&source, &small, &query).await;
    source.close(&small).await.unwrap();
    assert!(source.calls() - before <= 2 + records.div_ceil(200), "{}", source.calls() - before);
    assert_eq!(rows_of(&by_query), records);
    let job = source.open(&query).await.unwrap();
    let by_job = read_all(&source, &job, &query).await;
    assert_eq!(sorted_rows(&by_query), sorted_rows(&by_job));
}

#[tokio::test]
async fn a_reading_in_parts_has_every_record_once() {
    let org = production();
    let (source, _) = connect(&org);
    let query = plan(&source, "Contact").await;
    let whole = source.open(&query).await.unwrap();
    let whole = read_all(&source, &whole, &query).await;
    for parts in [2, 5, 64] {
        let generation = source.open_with(&query, &Hints { records: None, parts }).await.unwrap();
        assert_eq!(source.parts(&generation), parts);
        let read = read_all(&source, &generation, &query).await;
        assert_eq!(sorted_rows(&read), sorted_rows(&whole), "{parts} parts");
        source.close(&generation).await.unwrap();
    }
    // What cannot be cut is read in one piece.
    let ordered = Query {
        order_by: Some("Name".into()),
        ..query
    };
    let generation = source.open_with(&ordered, &Hints { records: None, parts: 4 }).await.unwrap();
    assert_eq!(source.parts(&generation), 1);
}

#[tokio::test]
async fn pages_beside_each_other_give_what_pages_in_a_row_give() {
    let org = Org::start(OrgConfig {
        scale: Some(3_000),
        bulk_page_rows: 100,
        ..OrgConfig::default()
    })
    .unwrap();
    let (source, _) = connect(&org);
    let query = plan(&source, "Contact").await;
    for hints in [Hints::default(), Hints { records: None, parts: 3 }] {
        let generation = source.open_with(&query, &hints).await.unwrap();
        let in_a_row = read_all(&source, &generation, &query).await;
        for at_once in [1, 4] {
            let batches: Vec<RecordBatch> = source
                .read_all(&generation, &query, at_once)
                .await
                .unwrap()
                .try_collect()
                .await
                .unwrap();
            let rows = |batches: &[RecordBatch]| arrow_select::concat::concat_batches(&batches[0].schema(), batches).unwrap();
            assert!(rows_of(&batches) > 300, "several pages");
            assert_eq!(rows(&batches), rows(&in_a_row), "{hints:?}, {at_once} at once");
        }
    }
    // A page that breaks off however often it is asked for ends the reading with an error, wherever it stands.
    let generation = source.open(&query).await.unwrap();
    read_all(&source, &generation, &query).await;
    fault(
        &org,
        json!({"kind": "truncate", "method": "GET", "path": "/results", "skip": 1, "times": 100}),
    );
    let broken: Result<Vec<RecordBatch>, ConnectError> = source.read_all(&generation, &query, 4).await.unwrap().try_collect().await;
    let error = broken.map(|batches| rows_of(&batches)).unwrap_err();
    assert_eq!(error.code, ErrorCode::NetworkTimeout);
}

/// Waits for a reading and reads it to its end.
async fn read_all(source: &Salesforce, generation: &Generation, query: &Query) -> Vec<RecordBatch> {
    let begun = Instant::now();
    let expected = loop {
        match source.state(generation).await.unwrap() {
            GenerationState::Ready { records } => break records,
            GenerationState::Running => tokio::time::sleep(Duration::from_millis(10)).await,
            GenerationState::Failed(error) => panic!("{error}"),
        }
        assert!(begun.elapsed() < DEADLINE, "the reading is not ready");
    };
    let (mut out, mut cursor) = (Vec::new(), None);
    loop {
        let page = source.read(generation, query, cursor.as_deref()).await.unwrap();
        out.extend(page.batches.try_collect::<Vec<_>>().await.unwrap());
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(rows_of(&out), expected);
    out
}

fn rows_of(batches: &[RecordBatch]) -> u64 {
    batches.iter().map(|b| b.num_rows() as u64).sum()
}

/// Rows in the upload's form, sorted: what two readings can be compared by.
fn sorted_rows(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<Column> = (0..batch.num_columns())
            .map(|at| Column {
                name: FieldName::new(format!("c{at}")).unwrap(),
                field_type: FieldType::String,
                scale: 0,
            })
            .collect();
        for at in 0..batch.num_rows() {
            let mut text = Vec::new();
            let row = batch.slice(at, 1);
            syncline_salesforce::csv_write::write_rows(&object("Account"), &columns, &row, Nulls::Omit, &RowDigester::new([0; 32]), &mut text, &mut Vec::new());
            rows.push(String::from_utf8(text).unwrap());
        }
    }
    rows.sort_unstable();
    rows
}

#[tokio::test]
async fn records_are_written_and_deleted_without_a_job() {
    let org = sandbox(&["Account: NumberOfEmployees < 0 => no"]);
    let (target, _) = connect(&org);
    let record = |values: serde_json::Value| Record {
        object: object("Account"),
        values: values.as_object().unwrap().clone(),
    };
    let many: Vec<Record> = (0..250)
        .map(|n| record(json!({"Name": format!("A{n}"), "NumberOfEmployees": if n == 7 { -1 } else { n }})))
        .collect();
    let before = target.calls();
    let saved = target.insert(&many).await.unwrap();
    assert_eq!(target.calls() - before, 2, "200 records a call");
    let refused: Vec<usize> = (0..250).filter(|n| saved[*n].refusal.is_some()).collect();
    assert_eq!(refused, [7]);
    assert_eq!(saved[7].refusal.as_ref().unwrap().code, ErrorCode::ValidationRule);
    assert_eq!(org.count("Account"), 249);
    let ids: Vec<String> = saved.iter().filter(|s| s.created).map(|s| s.id.clone()).collect();
    let changed: Vec<Record> = ids
        .iter()
        .map(|id| record(json!({"Id": id, "Site": "x", "NumberOfEmployees": null})))
        .collect();
    assert!(
        target
            .update(&changed)
            .await
            .unwrap()
            .iter()
            .all(|s| s.refusal.is_none() && !s.created)
    );
    let site = target
        .lookup(&object("Account"), &["Site", "NumberOfEmployees"], None)
        .await
        .unwrap();
    assert!(site.iter().all(|row| *row == [Some("x".to_owned()), None]), "a null clears");
    assert!(target.delete(&ids).await.unwrap().iter().all(|s| s.refusal.is_none()));
    assert_eq!(org.count("Account"), 0);
}

#[tokio::test]
async fn keys_of_several_fields_find_one_record_several_or_none() {
    let org = sandbox(&[]);
    let (target, _) = connect(&org);
    let names = [
        ("O'Brien", "Berlin"),
        ("o'brien", "Paris"),
        ("Twin", "Rome"),
        ("Twin", "Rome"),
        ("Alone", ""),
    ];
    let records: Vec<Record> = names
        .iter()
        .map(|(name, city)| Record {
            object: object("Account"),
            values: json!({"Name": name, "BillingCity": city}).as_object().unwrap().clone(),
        })
        .collect();
    let saved = target.insert(&records).await.unwrap();
    let describe = target.describe(&[object("Account")]).await.unwrap().remove(0).unwrap();
    let fields = ["Name", "BillingCity"].map(|f| describe.field(f).unwrap().clone());
    let key = |name: &str, city: &str| -> composite_key::Key { vec![Some(name.to_owned()), (!city.is_empty()).then(|| city.to_owned())] };
    let keys = [
        key("O'BRIEN", "berlin "),
        key("Twin", "Rome"),
        key("Alone", ""),
        key("Nobody", "Rome"),
    ];
    let found = composite_key::find(&target, &object("Account"), &fields, &keys).await.unwrap();
    assert_eq!(found.ids.get(&keys[0]), Some(&saved[0].id));
    assert_eq!(found.ids.get(&keys[2]), Some(&saved[4].id));
    assert_eq!(found.ids.len(), 2);
    assert_eq!(found.ambiguous.get(&keys[1]), Some(&2));
    let notes = describe
        .fields
        .iter()
        .find(|f| f.field_type == FieldType::TextArea && !f.filterable);
    if let Some(notes) = notes {
        let code = composite_key::find(&target, &object("Account"), std::slice::from_ref(notes), &[vec![None]]).await;
        assert_eq!(code.map_err(|e| e.code), Err(ErrorCode::SyncInvalid));
    }
}

#[tokio::test]
async fn names_are_matched_between_a_production_org_and_its_sandbox() {
    let (from, to) = (production(), sandbox(&[]));
    let ((source, _), (target, _)) = (connect(&from), connect(&to));
    let ask = async |org: &Salesforce, name: &str, fields: &[&str], filter: Option<&str>| {
        org.lookup(&object(name), fields, filter).await.unwrap()
    };
    let (a, b) = (
        ask(&source, "RecordType", names::RECORD_TYPE_FIELDS, None).await,
        ask(&target, "RecordType", names::RECORD_TYPE_FIELDS, None).await,
    );
    let matched = names::matched(&names::record_types(&a), &names::record_types(&b));
    assert!(
        !matched.ids.is_empty() && matched.ids.iter().all(|(from, to)| from != to),
        "{matched:?}"
    );
    let (a, b) = (
        ask(&source, "Pricebook2", names::PRICE_BOOK_FIELDS, Some("IsStandard = true")).await,
        ask(&target, "Pricebook2", names::PRICE_BOOK_FIELDS, Some("IsStandard = true")).await,
    );
    assert_eq!(names::matched(&names::price_books(&a), &names::price_books(&b)).ids.len(), 1);
    let (a, b) = (
        ask(&source, "User", names::USER_FIELDS, None).await,
        ask(&target, "User", names::USER_FIELDS, None).await,
    );
    let matched = names::matched(&names::users(&a), &names::successors(&b));
    assert!(
        matched.ids.len() * 2 > a.len(),
        "most users are known by the name before the suffix: {:?}",
        matched.unmatched
    );
}

#[tokio::test]
async fn the_org_knows_a_token_until_it_is_ended() {
    let org = production();
    let (_, access) = connect(&org);
    let token: secrecy::SecretString = access.token().await.unwrap().expose().to_owned().into();
    let secret = org.client_secret.clone().into();
    let ask = async || {
        session::introspect(
            &access.http,
            &org.url,
            &org.client_id,
            Some(&secret),
            &token,
            session::TokenKind::Access,
        )
        .await
        .unwrap()
    };
    let known = ask().await;
    assert!(known.active && known.scopes.iter().any(|s| s == "api"), "{known:?}");
    session::revoke(&access.http, &org.url, &token).await.unwrap();
    assert!(!ask().await.active);
}
