//! A reading by pages of a REST query: for few records, where a job would cost more requests and minutes of waiting.

use std::collections::{HashMap, VecDeque};

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::value::RawValue;
use syncline_connect::schema::batch_schema;
use syncline_connect::{ConnectError, Page, Query};
use syncline_domain::ErrorCode;

use crate::bulk_ingest::absolute;
use crate::client::{Client, Request, parse};
use crate::column::ColumnBuilder;
use crate::csv_read::take;
use crate::rest::append_json;
use crate::soql;

/// Records per page that may be asked for (REST API, header `Sforce-Query-Options`).
const PAGE_RECORDS_MIN: u32 = 200;
const PAGE_RECORDS_MAX: u32 = 2_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    records: Vec<HashMap<&'a str, &'a RawValue>>,
    #[serde(default)]
    next_records_url: Option<String>,
}

/// One page. Records come in the order of their ids unless the query says otherwise, so the same records give the same
/// batches.
pub(crate) async fn read(client: &Client, query: &Query, cursor: Option<&str>) -> Result<Page, ConnectError> {
    let request = match cursor {
        None => Request::get("query").with("q", soql::select_ordered(query)?),
        Some(next) => Request::get(absolute(next.to_owned())?),
    };
    let size = query.page_records.clamp(PAGE_RECORDS_MIN, PAGE_RECORDS_MAX);
    let request = request.header("Sforce-Query-Options", format!("batchSize={size}"));
    let answer = client.fetch(&request).await.map_err(lost)?;
    let page: Answer<'_> = parse("GET query", &answer.body)?;
    let batches = batches(query, &page.records)?;
    Ok(Page {
        next: page.next_records_url,
        batches: stream::iter(batches.into_iter().map(Ok)).boxed(),
    })
}

/// All pages, one after the other: each names the next.
pub(crate) fn read_all(client: &Client, query: &Query) -> BoxStream<'static, Result<arrow_array::RecordBatch, ConnectError>> {
    enum At {
        Page(Option<String>),
        End,
    }
    let pages = stream::try_unfold((client.clone(), query.clone(), At::Page(None)), |(client, query, at)| async move {
        let At::Page(cursor) = at else { return Ok(None) };
        let page = read(&client, &query, cursor.as_deref()).await?;
        let at = page.next.map_or(At::End, |next| At::Page(Some(next)));
        Ok::<_, ConnectError>(Some((page.batches, (client, query, at))))
    });
    pages.try_flatten().boxed()
}

fn batches(query: &Query, records: &[HashMap<&str, &RawValue>]) -> Result<VecDeque<arrow_array::RecordBatch>, ConnectError> {
    let schema = batch_schema(&query.fields);
    let mut columns: Vec<ColumnBuilder> = query.fields.iter().map(|f| ColumnBuilder::new(f.field_type, f.scale)).collect();
    let (mut out, mut rows, mut bytes) = (VecDeque::new(), 0, 0);
    for (at, record) in records.iter().enumerate() {
        let cell = |name: &str| record.get(name).map_or("null", |v| v.get());
        let size: usize = query.fields.iter().map(|f| cell(f.name.as_str()).len() + 1).sum();
        if rows > 0 && (rows >= query.batch_rows_max || bytes + size > query.batch_bytes_max) {
            out.push_back(take(&schema, &mut columns)?);
            (rows, bytes) = (0, 0);
        }
        for (field, column) in query.fields.iter().zip(&mut columns) {
            let name = field.name.as_str();
            append_json(column, cell(name)).ok_or_else(|| {
                let message = format!(
                    "row {} of the page, column {name}: the value does not fit the described type",
                    at + 1
                );
                ConnectError::new(ErrorCode::DataFormat, message)
            })?;
        }
        rows += 1;
        bytes += size;
    }
    if rows > 0 {
        out.push_back(take(&schema, &mut columns)?);
    }
    Ok(out)
}

/// A locator that is no longer known: the reading is lost.
fn lost(mut error: ConnectError) -> ConnectError {
    if error
        .native
        .as_deref()
        .is_some_and(|n| n.eq_ignore_ascii_case("INVALID_QUERY_LOCATOR"))
    {
        error.gone = true;
        error.code = ErrorCode::JobFailed;
    }
    error
}
