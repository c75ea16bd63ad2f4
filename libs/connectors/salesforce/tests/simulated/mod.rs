//! An org to test against, and what the tests do with one.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use secrecy::ExposeSecret;
use syncline_connect::digest::RowDigest;
use syncline_connect::retry::RetryPolicy;
use syncline_connect::target::ResultRow;
use syncline_connect::{
    Access, AccessToken, Column, ConnectError, Generation, GenerationState, JobState, Nulls, Operation, Query, ResultKind, RowDigester,
    Source, Target, Usage,
};
use syncline_domain::describe::FieldType;
use syncline_domain::plan::{FieldPlan, FieldRole};
use syncline_domain::{FieldName, ObjectName};
use syncline_salesforce::Salesforce;
use syncline_salesforce::oauth::{Grant, authenticate};
use syncline_salesforce_simulator::store::rules::ValidationRule;
use syncline_salesforce_simulator::{Flavour, Org, OrgConfig, RunningOrg};

/// How long a job of the simulator may take before a test gives up.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Tokens from the org's own token endpoint.
pub struct OrgAccess {
    pub http: reqwest::Client,
    pub url: String,
    grant: Grant,
    token: tokio::sync::Mutex<Option<AccessToken>>,
    pub used: Mutex<Vec<Usage>>,
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

pub fn connect(org: &RunningOrg) -> (Salesforce, Arc<OrgAccess>) {
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

pub fn production() -> RunningOrg {
    Org::start(OrgConfig {
        scale: Some(3_000),
        ..OrgConfig::default()
    })
    .unwrap()
}

pub fn sandbox(rules: &[&str]) -> RunningOrg {
    Org::start(OrgConfig {
        flavour: Flavour::Sandbox,
        validation_rules: rules.iter().map(|r| ValidationRule::parse(r).unwrap()).collect(),
        ..OrgConfig::default()
    })
    .unwrap()
}

pub fn fault(org: &RunningOrg, fault: serde_json::Value) {
    org.state.faults.add(serde_json::from_value(fault).unwrap());
}

pub fn object(name: &str) -> ObjectName {
    ObjectName::new(name).unwrap()
}

/// `Id` and all values that an insert could carry, as the org describes them; references are left to the loader.
pub async fn plan(org: &Salesforce, name: &str) -> Query {
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

pub async fn ready(org: &Salesforce, generation: &Generation) -> u64 {
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
pub async fn read(org: &Salesforce, generation: &Generation, query: &Query) -> (Vec<RecordBatch>, usize) {
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

pub fn ids(batches: &[RecordBatch]) -> HashSet<String> {
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

pub fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

pub fn columns(query: &Query) -> Vec<Column> {
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

pub fn column(name: &str, field_type: FieldType) -> Column {
    Column {
        name: FieldName::new(name).unwrap(),
        field_type,
        scale: 0,
    }
}

pub fn without_id(batch: &RecordBatch) -> RecordBatch {
    let keep: Vec<usize> = (0..batch.num_columns())
        .filter(|i| batch.schema().field(*i).name() != "Id")
        .collect();
    batch.project(&keep).unwrap()
}

pub struct Job {
    pub id: String,
    pub digests: Vec<RowDigest>,
    pub state: JobState,
}

/// One job, from its creation to its end.
pub async fn run(
    org: &Salesforce,
    name: &str,
    operation: &Operation,
    columns: &[Column],
    batches: &[RecordBatch],
    nulls: Nulls,
    digester: &RowDigester,
) -> Job {
    let id = org.create_job(&object(name), operation).await.unwrap().id;
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

pub async fn finished(org: &Salesforce, job: &str) -> JobState {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let status = org.job_status(job).await.unwrap();
        if status.state.is_terminal() {
            return status.state;
        }
        assert!(Instant::now() < deadline, "the job does not end: {status:?}");
    }
}

pub async fn outcomes(org: &Salesforce, job: &str, kind: ResultKind, columns: &[Column], digester: &RowDigester) -> Vec<ResultRow> {
    org.results(job, kind, columns, digester).await.unwrap().try_concat().await.unwrap()
}

pub fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

pub fn batch(columns: &[Column], arrays: Vec<ArrayRef>) -> RecordBatch {
    let fields: Vec<_> = columns
        .iter()
        .zip(&arrays)
        .map(|(c, a)| arrow_schema::Field::new(c.name.as_str(), a.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), arrays).unwrap()
}

/// Waits for a reading and reads it to its end.
pub async fn read_all(source: &Salesforce, generation: &Generation, query: &Query) -> Vec<RecordBatch> {
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

pub fn rows_of(batches: &[RecordBatch]) -> u64 {
    batches.iter().map(|b| b.num_rows() as u64).sum()
}

/// Rows in the upload's form, sorted: what two readings can be compared by.
pub fn sorted_rows(batches: &[RecordBatch]) -> Vec<String> {
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
            syncline_salesforce::csv_write::write_rows(
                &object("Account"),
                &columns,
                &row,
                Nulls::Omit,
                &RowDigester::new([0; 32]),
                &mut text,
                &mut Vec::new(),
            );
            rows.push(String::from_utf8(text).unwrap());
        }
    }
    rows.sort_unstable();
    rows
}
