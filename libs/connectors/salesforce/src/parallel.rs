//! Several pages of a reading at once, handed out in their order.
//!
//! `resultPages` names the pages before they are read (Bulk API 2.0, since version 58), so they can be fetched beside each
//! other. Memory is bounded by the pages under way and the batches that each may be ahead. A break ends the reading: who
//! needs to go on from a place reads page by page.

use std::collections::VecDeque;

use arrow_array::RecordBatch;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::Deserialize;
use syncline_connect::{ConnectError, Generation, Query};
use syncline_domain::ErrorCode;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::bulk_ingest::absolute;
use crate::bulk_query::{Span, lost, results};
use crate::client::{Client, Request};
use crate::generation::Handle;
use crate::rest_query;

/// Batches that a page may be ahead of its reader.
const BATCHES_AHEAD: usize = 2;
/// Five pages an answer: beyond this the list does not end.
const LISTS_MAX: usize = 100_000;

type Item = Result<RecordBatch, ConnectError>;

/// One page: its job and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    job: String,
    locator: Option<String>,
    first: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    #[serde(default)]
    result_pages: Vec<Listing>,
    // The guide writes it both ways.
    #[serde(default, alias = "nextRecordUrl")]
    next_records_url: Option<String>,
    #[serde(default)]
    done: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    result_url: String,
}

/// All batches of a generation that is ready, `at_once` pages under way.
pub(crate) async fn read(
    client: &Client,
    generation: &Generation,
    query: &Query,
    at_once: usize,
) -> Result<BoxStream<'static, Item>, ConnectError> {
    let jobs = match Handle::read(generation)? {
        Handle::Query { .. } => return Ok(rest_query::read_all(client, query)),
        Handle::Jobs(jobs) => jobs,
    };
    let mut places = VecDeque::new();
    for job in jobs {
        places.extend(list(client, &job).await?);
    }
    let state = Reading {
        client: client.clone(),
        query: query.clone(),
        at_once: at_once.max(1),
        places,
        pages: VecDeque::new(),
        tasks: JoinSet::new(),
    };
    Ok(futures::stream::try_unfold(state, |mut reading| async move {
        Ok(reading.next().await?.map(|batch| (batch, reading)))
    })
    .boxed())
}

struct Reading {
    client: Client,
    query: Query,
    at_once: usize,
    places: VecDeque<Place>,
    pages: VecDeque<mpsc::Receiver<Item>>,
    /// Aborted when the reading is dropped.
    tasks: JoinSet<()>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<RecordBatch>, ConnectError> {
        loop {
            while self.pages.len() < self.at_once
                && let Some(place) = self.places.pop_front()
            {
                self.begin(place);
            }
            let Some(page) = self.pages.front_mut() else { return Ok(None) };
            match page.recv().await {
                Some(batch) => return batch.map(Some),
                None => self.pages.pop_front(),
            };
        }
    }

    fn begin(&mut self, place: Place) {
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let (client, query) = (self.client.clone(), self.query.clone());
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(async move {
            let span = Span {
                locator: place.locator.as_deref(),
                first: place.first,
                records: None,
            };
            match results(&client, &place.job, &query, span).await {
                Ok(mut page) => {
                    while let Some(batch) = page.batches.next().await {
                        if sender.send(batch).await.is_err() {
                            return;
                        }
                    }
                }
                // Nobody listening any more is no loss.
                Err(error) => drop(sender.send(Err(error)).await),
            }
        });
        self.pages.push_back(receiver);
    }
}

/// The pages of a job.
async fn list(client: &Client, job: &str) -> Result<Vec<Place>, ConnectError> {
    let mut request = Request::get(format!("jobs/query/{job}/resultPages"));
    let mut places: Vec<Place> = Vec::new();
    for _ in 0..LISTS_MAX {
        let listed: Listed = client.json(&request).await.map_err(lost)?;
        for page in listed.result_pages {
            places.push(Place {
                job: job.to_owned(),
                locator: locator(&page.result_url),
                first: places.is_empty(),
            });
        }
        match listed.next_records_url {
            Some(next) if !listed.done => request = Request::get(absolute(next)?),
            Some(_) | None => return Ok(places),
        }
    }
    Err(ConnectError::new(ErrorCode::BadAnswer, "the list of result pages does not end"))
}

/// Only the locator is taken from a page's address, so a token stays with its host.
fn locator(url: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, value)| name == "locator" && !value.is_empty())
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pages_address_gives_its_locator_and_nothing_else() {
        for (url, expected) in [
            ("/services/data/v65.0/jobs/query/750A/results?locator=aBc", Some("aBc")),
            (
                "services/data/v65.0/jobs/query/750A/results?maxRecords=5&locator=a%3D%3D",
                Some("a=="),
            ),
            ("https://evil.example/x?locator=aBc", Some("aBc")),
            ("/services/data/v65.0/jobs/query/750A/results", None),
            ("/services/data/v65.0/jobs/query/750A/results?locator=", None),
        ] {
            assert_eq!(locator(url).as_deref(), expected, "{url}");
        }
    }
}
