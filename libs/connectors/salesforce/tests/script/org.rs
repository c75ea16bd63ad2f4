//! The connector on a scripted org, and what it is asked to read.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use futures::TryStreamExt;
use syncline_connect::retry::RetryPolicy;
use syncline_connect::{Column, ConnectError, Generation, Query, Source};
use syncline_domain::describe::FieldType;
use syncline_domain::plan::{FieldPlan, FieldRole};
use syncline_domain::{FieldName, ObjectName};
use syncline_salesforce::Salesforce;

use super::{Reply, Script, TestAccess};

/// Three tries without waits.
pub fn policy() -> RetryPolicy {
    RetryPolicy {
        attempts_max: 3,
        delay_min: Duration::from_millis(1),
        delay_max: Duration::from_millis(50),
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(20),
        ..RetryPolicy::default()
    }
}

pub fn connect(url: String) -> Salesforce {
    with_access(TestAccess::new(url))
}

pub fn connect_as(url: String, token: &str) -> Salesforce {
    with_access(TestAccess::with_token(url, token))
}

fn with_access(access: TestAccess) -> Salesforce {
    // A second installation in the same process is refused, which is fine: there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Salesforce::new(Arc::new(access), policy()).unwrap()
}

pub async fn org(replies: Vec<Reply>) -> (Script, Salesforce) {
    let script = Script::start(replies).await;
    let salesforce = connect(script.url());
    (script, salesforce)
}

pub fn object(name: &str) -> ObjectName {
    ObjectName::new(name).unwrap()
}

pub fn column(name: &str, field_type: FieldType) -> Column {
    Column {
        name: FieldName::new(name).unwrap(),
        field_type,
        scale: 2,
    }
}

pub fn query(fields: &[(&str, FieldType)]) -> Query {
    let fields = fields.iter().map(|(name, field_type)| FieldPlan {
        name: FieldName::new(*name).unwrap(),
        target: FieldName::new(*name).unwrap(),
        field_type: *field_type,
        length: 0,
        precision: 0,
        scale: 2,
        nillable: true,
        unique: false,
        updateable: true,
        role: FieldRole::Value,
        mask: None,
    });
    Query {
        object: object("Account"),
        fields: fields.collect(),
        filter: None,
        created_before: None,
        order_by: None,
        batch_bytes_max: 1 << 20,
        batch_rows_max: 5_000,
        page_records: 100,
    }
}

pub fn generation() -> Generation {
    Generation("750A".into())
}

/// A page of results as the API sends it.
pub fn page(rows: usize, locator: &str, body: &str) -> Reply {
    Reply::csv(200, body)
        .header("sforce-numberofrecords", &rows.to_string())
        .header("sforce-locator", locator)
}

/// One page to its end.
pub async fn read(org: &Salesforce, query: &Query, cursor: Option<&str>) -> Result<(Option<String>, Vec<RecordBatch>), ConnectError> {
    let page = org.read(&generation(), query, cursor).await?;
    Ok((page.next, page.batches.try_collect().await?))
}

/// All pages, as a stage reads them: a page that broke off is read again from its cursor.
pub async fn read_all(org: &Salesforce, query: &Query) -> Result<Vec<RecordBatch>, ConnectError> {
    let (mut cursor, mut all, mut tries) = (None::<String>, Vec::new(), 0);
    loop {
        match read(org, query, cursor.as_deref()).await {
            Ok((next, batches)) => {
                all.extend(batches);
                let Some(next) = next else { return Ok(all) };
                cursor = Some(next);
            }
            Err(e) if e.can_retry() && !e.gone && tries < 3 => tries += 1,
            Err(e) => return Err(e),
        }
    }
}
