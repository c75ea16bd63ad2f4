//! Writing is done by ingest jobs (Bulk API 2.0): create, upload, close, poll, fetch the outcomes.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use serde_json::json;
use syncline_connect::target::{JobListing, NewJob, ResultRow};
use syncline_connect::{Column, ConnectError, JobState, JobStatus, Operation, ResultKind, RowDigester};
use syncline_domain::{ErrorCode, ObjectName};

use crate::client::{Client, Request};
use crate::csv_read::decoded;
use crate::error;
use crate::job::{JobInfo, JobPage, checked_id, is_state_conflict};
use crate::options::Assignment;
use crate::results::ResultDecoder;

/// A page lists up to 1,000 jobs; an org that has more pages than this is not swept in one go.
const LIST_PAGES_MAX: usize = 200;

pub(crate) async fn create(client: &Client, object: &ObjectName, operation: &Operation) -> Result<NewJob, ConnectError> {
    let (word, key) = match operation {
        Operation::Insert => ("insert", None),
        Operation::Update => ("update", None),
        Operation::Upsert { key } => ("upsert", Some(key)),
        Operation::Delete => ("delete", None),
        Operation::HardDelete => ("hardDelete", None),
    };
    let mut body = json!({
        "object": object.as_str(),
        "operation": word,
        "contentType": "CSV",
        "columnDelimiter": "COMMA",
        "lineEnding": "LF",
    });
    if let (Some(key), Some(body)) = (key, body.as_object_mut()) {
        body.insert("externalIdFieldName".to_owned(), key.as_str().into());
    }
    if let (Assignment::Rule(id), Some(body)) = (&client.options().assignment, body.as_object_mut()) {
        body.insert("assignmentRuleId".to_owned(), id.as_str().into());
    }
    let job: JobInfo = client.json(&Request::create("jobs/ingest", &body)).await?;
    Ok(NewJob {
        created: job.created(),
        creator: job.created_by_id,
        id: checked_id(&job.id)?.to_owned(),
    })
}

pub(crate) async fn upload(client: &Client, job: &str, chunks: Vec<Bytes>) -> Result<(), ConnectError> {
    let path = format!("{}/batches", path(job)?);
    client.fetch(&Request::upload(path, chunks)).await.map(drop).map_err(lost)
}

/// A job that is already past `Open` has been closed before, which is what was wanted.
pub(crate) async fn close(client: &Client, job: &str) -> Result<(), ConnectError> {
    let request = Request::patch(path(job)?, &json!({ "state": "UploadComplete" }));
    match client.fetch(&request).await.map_err(lost) {
        Ok(_) => Ok(()),
        Err(e) if !e.gone && (is_state_conflict(&e) || !e.can_retry()) => match status(client, job).await?.state {
            JobState::Uploaded | JobState::InProgress | JobState::Complete | JobState::Failed => Ok(()),
            JobState::Open | JobState::Aborted => Err(e),
        },
        Err(e) => Err(e),
    }
}

/// A job that has finished by now is left as it is.
pub(crate) async fn abort(client: &Client, job: &str) -> Result<(), ConnectError> {
    let request = Request::patch(path(job)?, &json!({ "state": "Aborted" }));
    match client.fetch(&request).await.map_err(lost) {
        Ok(_) => Ok(()),
        Err(e) if !e.gone && (is_state_conflict(&e) || !e.can_retry()) => {
            if status(client, job).await?.state.is_terminal() {
                Ok(())
            } else {
                Err(e)
            }
        }
        Err(e) => Err(e),
    }
}

pub(crate) async fn status(client: &Client, job: &str) -> Result<JobStatus, ConnectError> {
    let info: JobInfo = client.json(&Request::get(path(job)?)).await.map_err(lost)?;
    let state = info.state()?;
    Ok(JobStatus {
        state,
        processed: info.number_records_processed.unwrap_or(0),
        failed: info.number_records_failed.unwrap_or(0),
        error: match state {
            JobState::Failed => Some(error::job_error("the job", info.error_message.as_deref().unwrap_or_default())),
            JobState::Aborted => Some(ConnectError::new(ErrorCode::JobFailed, "the job was aborted")),
            JobState::Open | JobState::Uploaded | JobState::InProgress | JobState::Complete => None,
        },
    })
}

pub(crate) async fn results(
    client: &Client,
    job: &str,
    kind: ResultKind,
    columns: &[Column],
    digester: &RowDigester,
) -> Result<BoxStream<'static, Result<Vec<ResultRow>, ConnectError>>, ConnectError> {
    let file = match kind {
        ResultKind::Successful => "successfulResults/",
        ResultKind::Failed => "failedResults/",
        ResultKind::Unprocessed => "unprocessedrecords/",
    };
    let request = Request::get(format!("{}/{file}", path(job)?)).accept_csv();
    let answer = client.stream(&request).await.map_err(lost)?;
    Ok(decoded(answer.body, ResultDecoder::new(kind, columns, digester)))
}

pub(crate) async fn delete(client: &Client, job: &str) -> Result<(), ConnectError> {
    match client.fetch(&Request::delete(path(job)?)).await {
        Err(e) if e.gone => Ok(()),
        other => other.map(drop),
    }
}

/// Jobs of `user`, since `since`.
pub(crate) async fn list(client: &Client, user: &str, since: DateTime<Utc>) -> Result<Vec<JobListing>, ConnectError> {
    let mut request = Request::get("jobs/ingest").with("jobType", "V2Ingest");
    let mut jobs = Vec::new();
    for _ in 0..LIST_PAGES_MAX {
        let page: JobPage = client.json(&request).await?;
        for info in page.records {
            // 15 and 18 characters of one id differ only in the suffix.
            let ours = info.created_by_id.as_deref().is_some_and(|id| same_id(id, user));
            if let (true, Some(created)) = (ours, info.created().filter(|c| *c >= since)) {
                jobs.push(JobListing {
                    state: info.state()?,
                    object: info.object.unwrap_or_default(),
                    deletes: matches!(info.operation.as_deref(), Some("delete" | "hardDelete")),
                    id: info.id,
                    created,
                });
            }
        }
        match page.next_records_url {
            Some(next) => request = Request::get(absolute(next)?),
            None if page.done == Some(false) => {
                return Err(ConnectError::new(
                    ErrorCode::BadAnswer,
                    "the list of jobs goes on, but it does not say where",
                ));
            }
            None => return Ok(jobs),
        }
    }
    Err(ConnectError::new(ErrorCode::BadAnswer, "the list of jobs does not end"))
}

/// Whether two ids name one record, whichever of their two forms they have.
pub(crate) fn same_id(a: &str, b: &str) -> bool {
    matches!((a.get(..15), b.get(..15)), (Some(a), Some(b)) if a == b)
}

/// The org's own path to a next page; anything else is not followed with a token in hand.
pub(crate) fn absolute(next: String) -> Result<String, ConnectError> {
    if next.starts_with("/services/data/") {
        Ok(next)
    } else {
        Err(ConnectError::new(ErrorCode::BadAnswer, "the next page is not on this API"))
    }
}

fn path(job: &str) -> Result<String, ConnectError> {
    Ok(format!("jobs/ingest/{}", checked_id(job)?))
}

/// A job that is not found: what it wrote cannot be learnt from it any more.
fn lost(mut error: ConnectError) -> ConnectError {
    if error.gone {
        error.code = ErrorCode::ResultsGone;
    }
    error
}
