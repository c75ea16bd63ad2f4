//! Generations are query jobs (Bulk API 2.0): immutable, readable page by page from a locator, kept for seven days.

use http::HeaderMap;
use serde_json::json;
use syncline_connect::{ConnectError, Generation, GenerationState, JobState, Page, Query};
use syncline_domain::ErrorCode;

use crate::client::{Client, Request};
use crate::csv_read::{PageDecoder, decoded};
use crate::job::{JobInfo, checked_id, is_state_conflict};
use crate::{error, soql};

pub(crate) async fn open(client: &Client, query: &Query) -> Result<Generation, ConnectError> {
    let body = json!({
        "operation": "query",
        "query": soql::select(query)?,
        "contentType": "CSV",
        "columnDelimiter": "COMMA",
        "lineEnding": "LF",
    });
    let job: JobInfo = client.json(&Request::create("jobs/query", &body)).await?;
    Ok(Generation(checked_id(&job.id)?.to_owned()))
}

pub(crate) async fn state(client: &Client, generation: &Generation) -> Result<GenerationState, ConnectError> {
    let job: JobInfo = client.json(&Request::get(path(generation)?)).await.map_err(lost)?;
    Ok(match job.state()? {
        JobState::Open | JobState::Uploaded | JobState::InProgress => GenerationState::Running,
        JobState::Complete => GenerationState::Ready {
            records: job.number_records_processed.unwrap_or(0),
        },
        JobState::Failed => GenerationState::Failed(error::job_error("the query job", job.error_message.as_deref().unwrap_or_default())),
        JobState::Aborted => GenerationState::Failed(ConnectError::new(ErrorCode::JobFailed, "the query job was aborted")),
    })
}

pub(crate) async fn read(client: &Client, generation: &Generation, query: &Query, cursor: Option<&str>) -> Result<Page, ConnectError> {
    let mut request = Request::get(format!("{}/results", path(generation)?))
        .accept_csv()
        .with("maxRecords", query.page_records.to_string());
    if let Some(cursor) = cursor {
        request = request.with("locator", cursor);
    }
    let answer = client.stream(&request).await.map_err(lost)?;
    let rows = header(&answer.headers, "Sforce-NumberOfRecords")?
        .parse()
        .map_err(|_| ConnectError::new(ErrorCode::BadAnswer, "results: Sforce-NumberOfRecords is not a number"))?;
    // The last page says `null` in letters. No header at all is not the last page but a broken answer.
    let next = Some(header(&answer.headers, "Sforce-Locator")?)
        .filter(|l| *l != "null" && !l.is_empty())
        .map(str::to_owned);
    if next.is_some() && next.as_deref() == cursor {
        return Err(ConnectError::new(
            ErrorCode::BadAnswer,
            "results: the locator of the next page is that of this one",
        ));
    }
    let decoder = PageDecoder::new(query, cursor.is_none(), rows);
    Ok(Page {
        next,
        batches: decoded(answer.body, decoder),
    })
}

/// A job under way cannot be deleted: it is aborted first.
pub(crate) async fn close(client: &Client, generation: &Generation) -> Result<(), ConnectError> {
    let path = path(generation)?;
    match client.fetch(&Request::delete(&path)).await {
        Err(e) if is_state_conflict(&e) => {
            match client.fetch(&Request::patch(&path, &json!({ "state": "Aborted" }))).await {
                Err(e) if !e.gone && !is_state_conflict(&e) => return Err(e),
                Ok(_) | Err(_) => {}
            }
            gone_is_fine(client.fetch(&Request::delete(&path)).await.map(drop))
        }
        other => gone_is_fine(other.map(drop)),
    }
}

fn gone_is_fine(outcome: Result<(), ConnectError>) -> Result<(), ConnectError> {
    match outcome {
        Err(e) if e.gone => Ok(()),
        other => other,
    }
}

fn path(generation: &Generation) -> Result<String, ConnectError> {
    Ok(format!("jobs/query/{}", checked_id(&generation.0)?))
}

/// A job that is not found and a locator that is not known both mean that the reading is lost.
fn lost(mut error: ConnectError) -> ConnectError {
    error.gone |= error
        .native
        .as_deref()
        .is_some_and(|n| n.eq_ignore_ascii_case("INVALID_QUERY_LOCATOR"));
    if error.gone {
        error.code = ErrorCode::JobFailed;
    }
    error
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, ConnectError> {
    headers
        .get(name)
        .and_then(|v| v.to_str().ok())
        .ok_or_else(|| ConnectError::new(ErrorCode::BadAnswer, format!("results: no header {name}")))
}
