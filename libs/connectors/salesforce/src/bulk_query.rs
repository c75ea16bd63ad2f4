//! Generations are query jobs (Bulk API 2.0): immutable, readable page by page from a locator, kept for seven days.

use http::HeaderMap;
use serde_json::json;
use syncline_connect::{ConnectError, Generation, GenerationState, Hints, JobState, Page, Query};
use syncline_domain::ErrorCode;

use crate::client::{Client, Request};
use crate::csv_read::{PageDecoder, decoded};
use crate::generation::Handle;
use crate::job::{JobInfo, checked_id, is_state_conflict};
use crate::split::IdRange;
use crate::{choice, error, generation, rest, rest_query, soql, split};

/// Opens a reading by the API that suits it, in as many parts as are asked for.
pub(crate) async fn open(client: &Client, query: &Query, hints: &Hints) -> Result<Generation, ConnectError> {
    if hints.parts <= 1 && choice::read(hints.records, &query.fields) == choice::Read::Query {
        // What was planned is a hint; what there is now decides.
        let records = rest::count(client, query).await?;
        if choice::read(Some(records), &query.fields) == choice::Read::Query {
            return Ok(Handle::Query { records }.write());
        }
    }
    // An order over all records cannot be had from parts.
    let ranges = if hints.parts > 1 && query.order_by.is_none() {
        split::ranges(client, &query.object, hints.parts).await?
    } else {
        vec![IdRange::default()]
    };
    let mut jobs = Vec::new();
    for range in ranges {
        match create(client, query, &range).await {
            Ok(job) => jobs.push(job),
            Err(error) => {
                for job in &jobs {
                    // Left behind it expires by itself.
                    delete(client, job).await.ok();
                }
                return Err(error);
            }
        }
    }
    Ok(Handle::Jobs(jobs).write())
}

async fn create(client: &Client, query: &Query, range: &IdRange) -> Result<String, ConnectError> {
    let body = json!({
        "operation": "query",
        "query": soql::select_range(query, range)?,
        "contentType": "CSV",
        "columnDelimiter": "COMMA",
        "lineEnding": "LF",
    });
    let job: JobInfo = client.json(&Request::create("jobs/query", &body)).await?;
    Ok(checked_id(&job.id)?.to_owned())
}

/// In how many parts a generation lies.
pub(crate) fn parts(generation: &Generation) -> u32 {
    match Handle::read(generation) {
        Ok(Handle::Jobs(jobs)) => u32::try_from(jobs.len()).unwrap_or(u32::MAX),
        Ok(Handle::Query { .. }) | Err(_) => 1,
    }
}

/// Ready when every part is; failed when one is.
pub(crate) async fn state(client: &Client, generation: &Generation) -> Result<GenerationState, ConnectError> {
    let jobs = match Handle::read(generation)? {
        Handle::Query { records } => return Ok(GenerationState::Ready { records }),
        Handle::Jobs(jobs) => jobs,
    };
    let mut total = 0;
    for job in &jobs {
        match job_state(client, job).await? {
            GenerationState::Ready { records } => total += records,
            other => return Ok(other),
        }
    }
    Ok(GenerationState::Ready { records: total })
}

async fn job_state(client: &Client, job: &str) -> Result<GenerationState, ConnectError> {
    let job: JobInfo = client.json(&Request::get(path(job))).await.map_err(lost)?;
    Ok(match job.state()? {
        JobState::Open | JobState::Uploaded | JobState::InProgress => GenerationState::Running,
        JobState::Complete => GenerationState::Ready {
            records: job.number_records_processed.unwrap_or(0),
        },
        JobState::Failed => GenerationState::Failed(error::query_job_error(job.error_message.as_deref().unwrap_or_default())),
        JobState::Aborted => GenerationState::Failed(ConnectError::new(ErrorCode::JobFailed, "the query job was aborted")),
    })
}

pub(crate) async fn read(client: &Client, generation: &Generation, query: &Query, cursor: Option<&str>) -> Result<Page, ConnectError> {
    let jobs = match Handle::read(generation)? {
        Handle::Query { .. } => return rest_query::read(client, query, cursor).await,
        Handle::Jobs(jobs) => jobs,
    };
    let (part, locator) = generation::place(&jobs, cursor)?;
    let job = jobs
        .get(part)
        .ok_or_else(|| ConnectError::new(ErrorCode::Internal, "a place behind the last part"))?;
    let span = Span {
        locator,
        first: locator.is_none(),
        records: Some(query.page_records),
    };
    let mut page = results(client, job, query, span).await?;
    page.next = generation::next(&jobs, part, page.next);
    Ok(page)
}

/// Where a page of one job begins and how long it is.
pub(crate) struct Span<'a> {
    pub(crate) locator: Option<&'a str>,
    /// It has a header for certain.
    pub(crate) first: bool,
    /// `None`: as the server cut it when it named its pages.
    pub(crate) records: Option<u32>,
}

/// A page of one job.
pub(crate) async fn results(client: &Client, job: &str, query: &Query, span: Span<'_>) -> Result<Page, ConnectError> {
    let Span { locator, first, records } = span;
    let mut request = Request::get(format!("{}/results", path(job))).accept_csv();
    if let Some(records) = records {
        request = request.with("maxRecords", records.to_string());
    }
    if let Some(locator) = locator {
        request = request.with("locator", locator);
    }
    let answer = client.stream(&request).await.map_err(lost)?;
    let rows = header(&answer.headers, "Sforce-NumberOfRecords")?
        .parse()
        .map_err(|_| ConnectError::new(ErrorCode::BadAnswer, "results: Sforce-NumberOfRecords is not a number"))?;
    // The last page says `null` in letters. No header at all is not the last page but a broken answer.
    let next = Some(header(&answer.headers, "Sforce-Locator")?)
        .filter(|l| *l != "null" && !l.is_empty())
        .map(str::to_owned);
    if next.is_some() && next.as_deref() == locator {
        return Err(ConnectError::new(
            ErrorCode::BadAnswer,
            "results: the locator of the next page is that of this one",
        ));
    }
    let decoder = PageDecoder::new(query, first, rows);
    Ok(Page {
        next,
        batches: decoded(answer.body, decoder),
    })
}

/// A job under way cannot be deleted: it is aborted first.
pub(crate) async fn close(client: &Client, generation: &Generation) -> Result<(), ConnectError> {
    let Handle::Jobs(jobs) = Handle::read(generation)? else {
        return Ok(());
    };
    let mut outcome = Ok(());
    for job in &jobs {
        // One that cannot be deleted must not keep the others.
        outcome = outcome.and(delete(client, job).await);
    }
    outcome
}

async fn delete(client: &Client, job: &str) -> Result<(), ConnectError> {
    let path = path(job);
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

/// Ids were checked when the generation was read.
fn path(job: &str) -> String {
    format!("jobs/query/{job}")
}

/// A job that is not found and a locator that is not known both mean that the reading is lost.
pub(crate) fn lost(mut error: ConnectError) -> ConnectError {
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
