//! Reading: describe, open a generation, read it page by page from a cursor.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use syncline_domain::describe::ObjectDescribe;
use syncline_domain::plan::FieldPlan;
use syncline_domain::{FieldName, ObjectName};

use crate::{Column, ConnectError};

/// What kind of org it is, as read from the org itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrgKind {
    Production,
    Sandbox,
    Scratch,
    Developer,
}

/// Who a system is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrgInfo {
    /// The 18-character org id.
    pub id: String,
    pub name: String,
    pub kind: OrgKind,
    /// The system's own clock at the time of the answer (its `Date` header).
    pub now: DateTime<Utc>,
}

/// A reading that can be opened: one object, as of one moment.
#[derive(Debug, Clone)]
pub struct Query {
    pub object: ObjectName,
    /// In plan order; the batches have these columns.
    pub fields: Vec<FieldPlan>,
    /// The sync's own condition, without WHERE.
    pub filter: Option<String>,
    /// Only records created before this moment, by `CreatedDate`.
    pub created_before: Option<DateTime<Utc>>,
    pub order_by: Option<String>,
    /// A batch is cut before the row with which its wire form would exceed this many bytes.
    pub batch_bytes_max: usize,
    /// Rows per batch at most: each costs whoever writes it some hundred bytes of keys and digests, however narrow it is.
    pub batch_rows_max: usize,
    /// Records per page that are asked for; the server may answer with fewer.
    pub page_records: u32,
}

/// What is known of a reading before it is opened. Wrong hints cost time, never records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hints {
    /// Records that were counted; a source may have a quicker way for few.
    pub records: Option<u64>,
    /// Parts to cut the reading into, because in fewer it took too long (`LIMITS_SIZE_001`). Parts are read one after
    /// the other under one cursor; a source that cannot cut opens one.
    pub parts: u32,
}

impl Default for Hints {
    fn default() -> Self {
        Self { records: None, parts: 1 }
    }
}

/// One immutable reading, under a name that its source understands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation(pub String);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GenerationState {
    Running,
    Ready {
        records: u64,
    },
    /// It will never become ready. `LIMITS_SIZE_001`: in more parts it may.
    Failed(ConnectError),
}

/// A page being read. The same cursor of the same generation gives the same rows in the same batches.
pub struct Page {
    /// Where the next page begins; `None` on the last.
    pub next: Option<String>,
    pub batches: BoxStream<'static, Result<RecordBatch, ConnectError>>,
}

/// A system that records can be read from.
#[async_trait]
pub trait Source: Send + Sync {
    async fn org(&self) -> Result<OrgInfo, ConnectError>;

    /// Describes objects; the result is in the order of the request. An object that does not exist or cannot be seen is
    /// `None`.
    async fn describe(&self, objects: &[ObjectName]) -> Result<Vec<Option<ObjectDescribe>>, ConnectError>;

    /// Exactly how many records a reading would have.
    async fn count(&self, query: &Query) -> Result<u64, ConnectError>;

    /// Starts a generation. Not idempotent: an unanswered call may have left one that is swept later.
    async fn open_with(&self, query: &Query, hints: &Hints) -> Result<Generation, ConnectError>;

    /// The same, nothing being known.
    async fn open(&self, query: &Query) -> Result<Generation, ConnectError> {
        self.open_with(query, &Hints::default()).await
    }

    /// In how many parts a generation was opened.
    fn parts(&self, generation: &Generation) -> u32;

    async fn state(&self, generation: &Generation) -> Result<GenerationState, ConnectError>;

    /// Reads one page from a cursor (`None`: the first). An error with `gone` set: the generation is lost.
    async fn read(&self, generation: &Generation, query: &Query, cursor: Option<&str>) -> Result<Page, ConnectError>;

    /// Lets go of a generation; one that is gone already is fine.
    async fn close(&self, generation: &Generation) -> Result<(), ConnectError>;

    /// Rows of a small look-up table: `fields` (paths such as `Pricebook2.IsStandard` allowed) of all records that meet
    /// `filter`, as text; null is `None`.
    async fn lookup(&self, object: &ObjectName, fields: &[&str], filter: Option<&str>) -> Result<Vec<Vec<Option<String>>>, ConnectError>;

    /// Records by id, as a batch with an `Id` column and one column per field, in any order; missing ones are left out.
    async fn retrieve(&self, object: &ObjectName, ids: &[String], columns: &[Column]) -> Result<RecordBatch, ConnectError>;

    /// The schema that [`Source::retrieve`] answers with.
    fn retrieve_schema(&self, columns: &[Column]) -> SchemaRef;

    /// Requests made through this handle so far.
    fn calls(&self) -> u64;
}

/// The key field of every Salesforce record.
#[must_use]
pub fn id_field() -> FieldName {
    FieldName::new("Id").expect("a literal that is a valid name")
}
