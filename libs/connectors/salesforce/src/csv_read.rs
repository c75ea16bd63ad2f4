//! A page of Bulk query results as typed Arrow batches.
//!
//! Guarantees: the same bytes give the same batches however they are chunked; a page gives exactly the number of rows
//! that its header announced, or an error; a cell that does not fit its field is an error that names row and column,
//! never the value.

use std::collections::VecDeque;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::StreamExt;
use futures::stream::BoxStream;
use syncline_connect::schema::batch_schema;
use syncline_connect::{ConnectError, Query};
use syncline_domain::ErrorCode;

use crate::column::ColumnBuilder;
use crate::records::{Record, Records};

/// Turns chunks into items; used with [`decoded`].
pub(crate) trait Decode: Send + 'static {
    type Item: Send + 'static;

    fn push(&mut self, chunk: &[u8], out: &mut VecDeque<Self::Item>) -> Result<(), ConnectError>;

    /// The body has ended.
    fn finish(&mut self, out: &mut VecDeque<Self::Item>) -> Result<(), ConnectError>;
}

type Body = BoxStream<'static, Result<bytes::Bytes, ConnectError>>;

/// What a decoder makes of a body. Nothing is read ahead of the reader but one chunk.
pub(crate) fn decoded<D: Decode>(body: Body, decoder: D) -> BoxStream<'static, Result<D::Item, ConnectError>> {
    let state = (Some(body), decoder, VecDeque::new());
    futures::stream::try_unfold(state, |(mut body, mut decoder, mut ready)| async move {
        loop {
            if let Some(item) = ready.pop_front() {
                return Ok(Some((item, (body, decoder, ready))));
            }
            let Some(stream) = &mut body else { return Ok(None) };
            match stream.next().await {
                Some(chunk) => decoder.push(&chunk?, &mut ready)?,
                None => {
                    decoder.finish(&mut ready)?;
                    body = None;
                }
            }
        }
    })
    .boxed()
}

/// Where the columns stand in the page.
enum Header {
    /// The first line has not been read. On a later page it may be missing.
    Expected { first_page: bool },
    /// For each cell of a row, the field that it belongs to.
    Known(Vec<usize>),
}

/// Decodes one page.
pub struct PageDecoder {
    schema: SchemaRef,
    header: Header,
    records: Records,
    columns: Vec<ColumnBuilder>,
    batch_bytes_max: usize,
    batch_bytes: usize,
    batch_rows: usize,
    rows: u64,
    rows_expected: u64,
}

impl PageDecoder {
    /// `rows_expected` is what `Sforce-NumberOfRecords` said.
    #[must_use]
    pub fn new(query: &Query, first_page: bool, rows_expected: u64) -> Self {
        Self {
            schema: batch_schema(&query.fields),
            header: Header::Expected { first_page },
            records: Records::new(),
            columns: query.fields.iter().map(|f| ColumnBuilder::new(f.field_type, f.scale)).collect(),
            batch_bytes_max: query.batch_bytes_max,
            batch_bytes: 0,
            batch_rows: 0,
            rows: 0,
            rows_expected,
        }
    }

    /// Takes a chunk of the body; batches that became full are appended to `out`.
    ///
    /// # Errors
    /// On anything that is not the page of this query.
    pub fn push(&mut self, mut chunk: &[u8], out: &mut VecDeque<RecordBatch>) -> Result<(), ConnectError> {
        while let Some(record) = self.records.next(&mut chunk)? {
            if let Header::Expected { first_page } = self.header {
                let (order, is_header) = read_header(&self.schema, record, first_page)?;
                self.header = Header::Known(order);
                if is_header {
                    continue;
                }
            }
            let Header::Known(order) = &self.header else { continue };
            if record.len() != order.len() {
                let message = format!("row {}: {} cells instead of {}", self.rows + 1, record.len(), order.len());
                return Err(ConnectError::new(ErrorCode::BadAnswer, message));
            }
            if self.batch_rows > 0 && self.batch_bytes + record.raw_bytes > self.batch_bytes_max {
                out.push_back(take(&self.schema, &mut self.columns)?);
                (self.batch_rows, self.batch_bytes) = (0, 0);
            }
            for (cell, at) in record.cells().zip(order) {
                let column = self.columns.get_mut(*at).expect("the header's order only holds places of columns");
                if column.append(cell).is_err() {
                    let name = self.schema.field(*at).name();
                    let message = format!(
                        "row {} of the page, column {name}: the value does not fit the described type",
                        self.rows + 1
                    );
                    return Err(ConnectError::new(ErrorCode::DataFormat, message));
                }
            }
            self.batch_bytes += record.raw_bytes;
            self.batch_rows += 1;
            self.rows += 1;
        }
        Ok(())
    }

    /// The body has ended: the last batch, if there is one.
    ///
    /// # Errors
    /// When the body was cut short, or held more or fewer rows than were announced.
    pub fn finish(&mut self, out: &mut VecDeque<RecordBatch>) -> Result<(), ConnectError> {
        self.records.finish()?;
        if self.rows != self.rows_expected {
            let message = format!("the page has {} rows instead of {}", self.rows, self.rows_expected);
            return Err(ConnectError::new(ErrorCode::BadAnswer, message));
        }
        if self.batch_rows > 0 {
            out.push_back(take(&self.schema, &mut self.columns)?);
            self.batch_rows = 0;
        }
        Ok(())
    }
}

impl Decode for PageDecoder {
    type Item = RecordBatch;

    fn push(&mut self, chunk: &[u8], out: &mut VecDeque<RecordBatch>) -> Result<(), ConnectError> {
        PageDecoder::push(self, chunk, out)
    }

    fn finish(&mut self, out: &mut VecDeque<RecordBatch>) -> Result<(), ConnectError> {
        PageDecoder::finish(self, out)
    }
}

/// The batch of what the builders hold.
pub(crate) fn take(schema: &SchemaRef, columns: &mut [ColumnBuilder]) -> Result<RecordBatch, ConnectError> {
    let columns = columns.iter_mut().map(ColumnBuilder::take).collect();
    RecordBatch::try_new(schema.clone(), columns).map_err(|_| ConnectError::new(ErrorCode::Internal, "columns do not make a batch"))
}

/// The order of the columns, and whether the first line was a header at all. A later page without one has the columns
/// in the order of the SELECT (Bulk API 2.0, since version 50).
fn read_header(schema: &SchemaRef, line: Record<'_>, first_page: bool) -> Result<(Vec<usize>, bool), ConnectError> {
    let order: Option<Vec<usize>> = line
        .cells()
        .map(|name| schema.fields().iter().position(|f| f.name().eq_ignore_ascii_case(name)))
        .collect();
    if let Some(order) = order {
        let mut sorted = order.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if order.len() == schema.fields().len() && sorted.len() == order.len() {
            return Ok((order, true));
        }
    }
    if first_page {
        return Err(ConnectError::new(
            ErrorCode::BadAnswer,
            "the CSV header is not the one that was asked for",
        ));
    }
    Ok(((0..schema.fields().len()).collect(), false))
}
