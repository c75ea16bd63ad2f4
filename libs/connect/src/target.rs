//! Writing: a job is created, filled, closed and polled; then each row's outcome is fetched.
//!
//! The steps are separate because the loader records its intent before each of them. Nothing here decides what to do
//! about a failure in between: the journal does (ARCHITECTURE.md, "Why a crash is harmless").

use arrow_array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use syncline_domain::describe::FieldType;
use syncline_domain::{ErrorCode, FieldName, ObjectName};

use crate::digest::RowDigest;
use crate::{ConnectError, RowDigester};

/// A column of a job: a target field and its type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: FieldName,
    pub field_type: FieldType,
    pub scale: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Insert,
    /// Rows carry `Id`.
    Update,
    /// By a unique external id.
    Upsert {
        key: FieldName,
    },
    /// Rows are `Id` alone.
    Delete,
    /// As `Delete`, past the recycle bin.
    HardDelete,
}

/// How a null cell is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// Leave the target's value alone (an insert gets null).
    Omit,
    /// Set the target's value to null.
    Clear,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Open,
    Uploaded,
    InProgress,
    Complete,
    Failed,
    Aborted,
}

impl JobState {
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Complete | Self::Failed | Self::Aborted)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStatus {
    pub state: JobState,
    pub processed: u64,
    pub failed: u64,
    /// The job's own message, when it failed.
    pub error: Option<ConnectError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultKind {
    Successful,
    Failed,
    Unprocessed,
}

/// The outcome of one row, recognised by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultRow {
    pub digest: RowDigest,
    /// The record's id; empty where the target gives none.
    pub id: String,
    pub created: bool,
    pub refusal: Option<Refusal>,
}

/// Why the target refused a row: code and fields. The rest of its text may quote values and is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: ErrorCode,
    /// The target's own code, verbatim.
    pub native: String,
    pub fields: Vec<String>,
}

/// A job that was just created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    pub id: String,
    /// By the target's own clock, where its answer tells: nothing that the job writes is older.
    pub created: Option<DateTime<Utc>>,
    /// The user who made it, where its answer tells, and who will have created what it writes.
    pub creator: Option<String>,
}

/// A job of ours as the target lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobListing {
    pub id: String,
    pub object: String,
    pub state: JobState,
    pub created: DateTime<Utc>,
    /// Its rows are deletions.
    pub deletes: bool,
}

/// A record that this connection's user created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    pub id: String,
    /// It is in the recycle bin.
    pub deleted: bool,
}

/// A system that records can be written to.
#[async_trait]
pub trait Target: Send + Sync {
    /// Creates a job for rows of `object`.
    async fn create_job(&self, object: &ObjectName, operation: &Operation) -> Result<NewJob, ConnectError>;

    /// The header of an upload with these columns.
    fn encode_header(&self, columns: &[Column], out: &mut Vec<u8>);

    /// Appends rows of `object` (the batch's columns in the order of `columns`) in the upload's form, and one digest per
    /// row, taken in the same order of columns. Nulls that a row of its kind cannot have at all are left alone.
    #[allow(clippy::too_many_arguments)] // rows, their form, and the two places where they go
    fn encode(
        &self,
        object: &ObjectName,
        columns: &[Column],
        batch: &RecordBatch,
        nulls: Nulls,
        digester: &RowDigester,
        out: &mut Vec<u8>,
        digests: &mut Vec<RowDigest>,
    );

    /// Uploads the content of an open job: header and rows. One upload per job.
    async fn upload(&self, job: &str, chunks: Vec<Bytes>) -> Result<(), ConnectError>;

    /// Tells the target that the upload is complete. Answered twice is fine.
    async fn close_job(&self, job: &str) -> Result<(), ConnectError>;

    /// Asks the target to stop. It may have finished by then: poll afterwards.
    async fn abort_job(&self, job: &str) -> Result<(), ConnectError>;

    /// Where the job stands; an error with `gone` set when the target does not know it.
    async fn job_status(&self, job: &str) -> Result<JobStatus, ConnectError>;

    /// Outcomes in any order, in chunks. Digests are taken over `columns` in the given order.
    async fn results(
        &self,
        job: &str,
        kind: ResultKind,
        columns: &[Column],
        digester: &RowDigester,
    ) -> Result<BoxStream<'static, Result<Vec<ResultRow>, ConnectError>>, ConnectError>;

    /// Forgets a finished job.
    async fn delete_job(&self, job: &str) -> Result<(), ConnectError>;

    /// All records of `object` that this connection's user created between two moments (until now, where there is no second one)
    /// of the target's clock, whose resolution may be a second; those in the recycle bin included.
    async fn created(&self, object: &ObjectName, since: DateTime<Utc>, until: Option<DateTime<Utc>>) -> Result<Vec<Created>, ConnectError>;

    /// Ingest jobs that this connection's user created since `since` (for sweeping open ones that no journal knows).
    async fn list_jobs(&self, since: DateTime<Utc>) -> Result<Vec<JobListing>, ConnectError>;
}
