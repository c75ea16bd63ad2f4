//! The Salesforce connector: reading by Bulk API 2.0 query jobs or pages of REST queries, writing by ingest jobs or
//! sObject Collections (which of them, says [`choice`]), the rest by REST.
//!
//! [`Salesforce`] implements [`Source`] and [`Target`] and promises what those say. It holds no credentials: tokens and
//! quota come from an [`Access`]. Polling is the caller's. A process that builds one must have installed a TLS crypto
//! provider.
//!
//! Start with [`Salesforce`]; the wire is in `client`, the two formats in [`csv_read`] and [`csv_write`], the meaning of
//! Salesforce's errors in [`error`]. [`oauth`] is for the service that keeps credentials.

mod bulk_ingest;
mod bulk_query;
pub mod change_event;
pub mod choice;
mod client;
pub mod collections;
mod column;
pub mod composite_key;
mod compress;
pub mod csv_read;
pub mod csv_write;
mod decimal;
pub mod describe;
mod describe_cache;
pub mod error;
pub mod files;
mod generation;
mod job;
mod moment;
pub mod names;
pub mod oauth;
mod options;
mod parallel;
pub mod person;
pub mod pubsub;
mod records;
pub mod reference;
mod rest;
mod rest_query;
pub mod results;
pub mod soql;
pub mod split;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::stream::BoxStream;
use syncline_connect::digest::RowDigest;
use syncline_connect::retry::RetryPolicy;
use syncline_connect::target::{Created, JobListing, NewJob, ResultRow};
use syncline_connect::{
    Access, Column, ConnectError, Generation, GenerationState, Hints, JobStatus, Nulls, Operation, OrgInfo, Page, Query, ResultKind,
    RowDigester, Source, Target,
};
use syncline_domain::describe::ObjectDescribe;
use syncline_domain::{ErrorCode, FieldName, ObjectName};
use tokio::sync::OnceCell;

use crate::collections::{How, Record, Saved};
use crate::files::{FileKind, NewFile};
use crate::person::BothKinds;

type Batches = BoxStream<'static, Result<RecordBatch, ConnectError>>;

pub use client::{Validators, http_client};
pub use describe_cache::DescribeCache;
pub use options::{Assignment, Compression, DuplicateRules, Options};
pub use rest::{Described, Limit};

/// One org under one connection. Clones share the pool of connections and the count of calls.
#[derive(Debug, Clone)]
pub struct Salesforce {
    client: client::Client,
    user: Arc<OnceCell<String>>,
}

impl Salesforce {
    /// A handle with a pool of its own.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(access: Arc<dyn Access>, policy: RetryPolicy) -> Result<Self, ConnectError> {
        Ok(Self::with_http(http_client(&policy)?, access, policy))
    }

    /// A handle on a pool that others use too; make the pool with [`http_client`].
    #[must_use]
    pub fn with_http(http: reqwest::Client, access: Arc<dyn Access>, policy: RetryPolicy) -> Self {
        Self {
            client: client::Client::new(http, access, policy, Options::default()),
            user: Arc::default(),
        }
    }

    /// The same handle with other options.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.client = self.client.with_options(options);
        self
    }

    /// The same handle with describes that other handles of the same user know, too.
    #[must_use]
    pub fn with_describes(mut self, describes: DescribeCache) -> Self {
        self.client = self.client.with_describes(describes);
        self
    }

    /// The org's allocations by name, such as `DailyApiRequests`.
    ///
    /// # Errors
    /// As every request.
    pub async fn limits(&self) -> Result<BTreeMap<String, Limit>, ConnectError> {
        rest::limits(&self.client).await
    }

    /// Describes one object, unless it is still the one that `known` came with.
    ///
    /// # Errors
    /// As every request.
    pub async fn describe_again(&self, object: &ObjectName, known: &Validators) -> Result<Described, ConnectError> {
        rest::describe_again(&self.client, object, known).await
    }

    /// Inserts records, of several objects if need be; an outcome for each, in order. Not repeated after it may have
    /// arrived, and what became of it cannot be asked.
    ///
    /// # Errors
    /// As every request. Records of calls before the one that failed are written.
    pub async fn insert(&self, records: &[Record]) -> Result<Vec<Saved>, ConnectError> {
        collections::write(&self.client, How::Insert, records).await
    }

    /// Updates records that carry `Id`; a null clears, a field that is not there stays as it is.
    ///
    /// # Errors
    /// As [`Salesforce::insert`]; may be repeated.
    pub async fn update(&self, records: &[Record]) -> Result<Vec<Saved>, ConnectError> {
        collections::write(&self.client, How::Update, records).await
    }

    /// Upserts records of one object by a key that they carry.
    ///
    /// # Errors
    /// As [`Salesforce::insert`]; may be repeated where the key is unique.
    pub async fn upsert(&self, key: &FieldName, records: &[Record]) -> Result<Vec<Saved>, ConnectError> {
        collections::write(&self.client, How::Upsert(key), records).await
    }

    /// Deletes records by id, into the recycle bin.
    ///
    /// # Errors
    /// As [`Salesforce::insert`]; may be repeated.
    pub async fn delete(&self, ids: &[String]) -> Result<Vec<Saved>, ConnectError> {
        collections::delete(&self.client, ids).await
    }

    /// All batches of a generation that is ready, in the order of its pages, `at_once` of which are fetched beside each
    /// other. An error ends it; to go on from a place, read page by page.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub async fn read_all(
        &self,
        generation: &Generation,
        query: &Query,
        at_once: usize,
    ) -> Result<BoxStream<'static, Result<RecordBatch, ConnectError>>, ConnectError> {
        Ok(own_cells(query, parallel::read(&self.client, generation, query, at_once).await?))
    }

    /// The bytes of a file, as they come.
    ///
    /// # Errors
    /// As every request.
    pub async fn download(&self, kind: FileKind, id: &str) -> Result<BoxStream<'static, Result<Bytes, ConnectError>>, ConnectError> {
        files::download(&self.client, kind, id).await
    }

    /// Writes a file; its record's id. One attempt: the content can be read once.
    ///
    /// # Errors
    /// `AUTH_TOKEN_EXPIRED` when the token was refused and has been renewed: begin again. Otherwise as every request.
    pub async fn upload_file(&self, file: NewFile) -> Result<String, ConnectError> {
        files::upload(&self.client, file).await
    }

    /// Whether this connection works as that user.
    ///
    /// # Errors
    /// As every request.
    pub async fn works_as(&self, user: &str) -> Result<bool, ConnectError> {
        Ok(bulk_ingest::same_id(self.user().await?, user))
    }

    /// The id of the user under whom this connection works.
    ///
    /// # Errors
    /// As every request.
    pub async fn user(&self) -> Result<&str, ConnectError> {
        let user = self.user.get_or_try_init(|| rest::user_id(&self.client)).await?;
        Ok(user.as_str())
    }
}

/// Rows without the cells that are not of their kind, where there are several kinds.
fn own_cells(query: &Query, batches: Batches) -> Batches {
    match BothKinds::of_query(query) {
        Some(kinds) => batches.map(move |batch| kinds.apart(&batch?).map_err(unexpected)).boxed(),
        None => batches,
    }
}

fn unexpected(error: ArrowError) -> ConnectError {
    ConnectError::new(ErrorCode::Internal, error.to_string())
}

#[async_trait]
impl Source for Salesforce {
    async fn org(&self) -> Result<OrgInfo, ConnectError> {
        rest::org(&self.client).await
    }

    async fn describe(&self, objects: &[ObjectName]) -> Result<Vec<Option<ObjectDescribe>>, ConnectError> {
        rest::describe(&self.client, objects).await
    }

    async fn count(&self, query: &Query) -> Result<u64, ConnectError> {
        rest::count(&self.client, query).await
    }

    async fn open_with(&self, query: &Query, hints: &Hints) -> Result<Generation, ConnectError> {
        bulk_query::open(&self.client, query, hints).await
    }

    fn parts(&self, generation: &Generation) -> u32 {
        bulk_query::parts(generation)
    }

    async fn state(&self, generation: &Generation) -> Result<GenerationState, ConnectError> {
        bulk_query::state(&self.client, generation).await
    }

    async fn read(&self, generation: &Generation, query: &Query, cursor: Option<&str>) -> Result<Page, ConnectError> {
        let mut page = bulk_query::read(&self.client, generation, query, cursor).await?;
        page.batches = own_cells(query, page.batches);
        Ok(page)
    }

    async fn close(&self, generation: &Generation) -> Result<(), ConnectError> {
        bulk_query::close(&self.client, generation).await
    }

    async fn lookup(&self, object: &ObjectName, fields: &[&str], filter: Option<&str>) -> Result<Vec<Vec<Option<String>>>, ConnectError> {
        rest::lookup(&self.client, object, fields, filter).await
    }

    async fn retrieve(&self, object: &ObjectName, ids: &[String], columns: &[Column]) -> Result<RecordBatch, ConnectError> {
        let batch = rest::retrieve(&self.client, object, ids, columns).await?;
        let names: Vec<&str> = batch.schema_ref().fields().iter().map(|f| f.name().as_str()).collect();
        match BothKinds::of(object, names.into_iter()) {
            Some(kinds) => kinds.apart(&batch).map_err(unexpected),
            None => Ok(batch),
        }
    }

    fn retrieve_schema(&self, columns: &[Column]) -> SchemaRef {
        rest::retrieve_schema(columns)
    }

    fn calls(&self) -> u64 {
        self.client.calls()
    }
}

#[async_trait]
impl Target for Salesforce {
    async fn create_job(&self, object: &ObjectName, operation: &Operation) -> Result<NewJob, ConnectError> {
        bulk_ingest::create(&self.client, object, operation).await
    }

    fn encode_header(&self, columns: &[Column], out: &mut Vec<u8>) {
        csv_write::write_header(columns, out);
    }

    fn encode(
        &self,
        object: &ObjectName,
        columns: &[Column],
        batch: &RecordBatch,
        nulls: Nulls,
        digester: &RowDigester,
        out: &mut Vec<u8>,
        digests: &mut Vec<RowDigest>,
    ) {
        csv_write::write_rows(object, columns, batch, nulls, digester, out, digests);
    }

    async fn upload(&self, job: &str, chunks: Vec<Bytes>) -> Result<(), ConnectError> {
        bulk_ingest::upload(&self.client, job, chunks).await
    }

    async fn close_job(&self, job: &str) -> Result<(), ConnectError> {
        bulk_ingest::close(&self.client, job).await
    }

    async fn abort_job(&self, job: &str) -> Result<(), ConnectError> {
        bulk_ingest::abort(&self.client, job).await
    }

    async fn job_status(&self, job: &str) -> Result<JobStatus, ConnectError> {
        bulk_ingest::status(&self.client, job).await
    }

    async fn results(
        &self,
        job: &str,
        kind: ResultKind,
        columns: &[Column],
        digester: &RowDigester,
    ) -> Result<BoxStream<'static, Result<Vec<ResultRow>, ConnectError>>, ConnectError> {
        bulk_ingest::results(&self.client, job, kind, columns, digester).await
    }

    async fn delete_job(&self, job: &str) -> Result<(), ConnectError> {
        bulk_ingest::delete(&self.client, job).await
    }

    async fn created(&self, object: &ObjectName, since: DateTime<Utc>, until: Option<DateTime<Utc>>) -> Result<Vec<Created>, ConnectError> {
        let user = self.user().await?;
        rest::created(&self.client, object, user, since, until).await
    }

    async fn list_jobs(&self, since: DateTime<Utc>) -> Result<Vec<JobListing>, ConnectError> {
        let user = self.user().await?;
        bulk_ingest::list(&self.client, user, since).await
    }
}
