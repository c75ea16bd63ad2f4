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

    /// How far it came, for the message when the body breaks off.
    fn place(&self) -> String;
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
                Some(Ok(chunk)) => decoder.push(&chunk, &mut ready)?,
                Some(Err(mut error)) => {
                    error.message = format!("{} ({})", error.message, decoder.place());
                    return Err(error);
                }
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
    batch_rows_max: usize,
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
            batch_rows_max: query.batch_rows_max,
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
        loop {
            let record = match self.records.next(&mut chunk) {
                Ok(Some(record)) => record,
                Ok(None) => return Ok(()),
                Err(broken) => return Err(broken.at(&place(&self.header, self.rows))),
            };
            if let Header::Expected { first_page } = self.header {
                let (order, is_header) = read_header(&self.schema, record, first_page)?;
                self.header = Header::Known(order);
                if is_header {
                    continue;
                }
            }
            let Header::Known(order) = &self.header else { continue };
            if record.len() != order.len() {
                let cells = record.len();
                let message = format!(
                    "row {} of the page, before byte {} of the body: {cells} cells instead of {}",
                    self.rows + 1,
                    self.records.offset(),
                    order.len()
                );
                return Err(ConnectError::new(ErrorCode::BadAnswer, message));
            }
            let is_full = self.batch_rows >= self.batch_rows_max || self.batch_bytes + record.raw_bytes > self.batch_bytes_max;
            if self.batch_rows > 0 && is_full {
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
    }

    /// The body has ended: the last batch, if there is one.
    ///
    /// # Errors
    /// When the body was cut short, or held more or fewer rows than were announced.
    pub fn finish(&mut self, out: &mut VecDeque<RecordBatch>) -> Result<(), ConnectError> {
        self.records.finish().map_err(|broken| broken.at(&place(&self.header, self.rows)))?;
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

    fn place(&self) -> String {
        format!(
            "in {} of {}, byte {} of the body",
            place(&self.header, self.rows),
            self.rows_expected,
            self.records.offset()
        )
    }
}

/// What is being read after so many rows.
fn place(header: &Header, rows: u64) -> String {
    match header {
        Header::Expected { .. } => "the first line of the page".to_owned(),
        Header::Known(_) => format!("row {} of the page", rows + 1),
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
        if first_page && sorted.len() < order.len() {
            return Err(ConnectError::new(ErrorCode::BadAnswer, "the CSV header names a column twice"));
        }
    }
    if first_page {
        let message = format!(
            "the CSV header is not the one that was asked for ({} columns instead of {})",
            line.len(),
            schema.fields().len()
        );
        return Err(ConnectError::new(ErrorCode::BadAnswer, message));
    }
    Ok(((0..schema.fields().len()).collect(), false))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Date32Type, Decimal128Type, Int32Type, Int64Type, Time32MillisecondType, TimestampMillisecondType};
    use proptest::prelude::*;
    use syncline_domain::describe::FieldType;
    use syncline_domain::plan::{FieldPlan, FieldRole};
    use syncline_domain::{FieldName, ObjectName};

    use super::*;

    fn query(fields: &[(&str, FieldType, u32)], batch_bytes_max: usize) -> Query {
        let fields = fields.iter().map(|(name, field_type, scale)| FieldPlan {
            name: FieldName::new(*name).unwrap(),
            target: FieldName::new(*name).unwrap(),
            field_type: *field_type,
            length: 0,
            precision: 0,
            scale: *scale,
            nillable: true,
            unique: false,
            updateable: true,
            role: FieldRole::Value,
            mask: None,
        });
        Query {
            object: ObjectName::new("Thing__c").unwrap(),
            fields: fields.collect(),
            filter: None,
            created_before: None,
            order_by: None,
            batch_bytes_max,
            batch_rows_max: 1_000,
            page_records: 1000,
        }
    }

    fn decode(query: &Query, first: bool, rows: u64, body: &[u8], chunk: usize) -> Result<Vec<RecordBatch>, ConnectError> {
        let mut decoder = PageDecoder::new(query, first, rows);
        let mut out = VecDeque::new();
        for chunk in body.chunks(chunk) {
            decoder.push(chunk, &mut out)?;
        }
        decoder.finish(&mut out)?;
        Ok(out.into())
    }

    const TYPED: &[(&str, FieldType, u32)] = &[
        ("Id", FieldType::Id, 0),
        ("Amount", FieldType::Number, 2),
        ("Count", FieldType::Int, 0),
        ("Big", FieldType::Long, 0),
        ("On", FieldType::Date, 0),
        ("At", FieldType::DateTime, 0),
        ("Clock", FieldType::Time, 0),
        ("Yes", FieldType::Boolean, 0),
        ("Text", FieldType::TextArea, 0),
    ];

    #[test]
    fn cells_become_typed_values_in_plan_order() {
        let body = concat!(
            "\"Text\",\"Id\",\"Amount\",\"Count\",\"Big\",\"On\",\"At\",\"Clock\",\"Yes\"\n",
            "\" a \"\"q\"\"\n,b \",\"a01\",\"1.0E7\",\"7\",\"9007199254740993\",\"1969-12-31\",\"1969-12-31T23:59:59.000Z\",\"09:30:00.000Z\",\"true\"\n",
            "\"\",\"a02\",\"-0.125\",\"\",\"\",\"\",\"\",\"\",\"\"\n",
        );
        let query = query(TYPED, 1 << 20);
        for chunk in [1, 5, usize::MAX] {
            let batches = decode(&query, true, 2, body.as_bytes(), chunk).unwrap();
            let [batch] = batches.as_slice() else {
                panic!("one batch, not {}", batches.len())
            };
            assert_eq!(batch.schema(), batch_schema(&query.fields));
            let column = |name: &str| batch.column_by_name(name).unwrap();
            assert_eq!(column("Id").as_string::<i32>().value(1), "a02");
            assert_eq!(column("Amount").as_primitive::<Decimal128Type>().values(), &[1_000_000_000, -13]);
            assert_eq!(column("Count").as_primitive::<Int32Type>().value(0), 7);
            assert_eq!(column("Big").as_primitive::<Int64Type>().value(0), 9_007_199_254_740_993);
            assert_eq!(column("On").as_primitive::<Date32Type>().value(0), -1);
            assert_eq!(column("At").as_primitive::<TimestampMillisecondType>().value(0), -1000);
            assert_eq!(column("Clock").as_primitive::<Time32MillisecondType>().value(0), 34_200_000);
            assert!(column("Yes").as_boolean().value(0));
            assert_eq!(column("Text").as_string::<i32>().value(0), " a \"q\"\n,b ");
            for name in ["Count", "Big", "On", "At", "Clock", "Yes", "Text"] {
                assert!(column(name).is_null(1), "{name}");
            }
        }
    }

    #[test]
    fn narrow_rows_are_cut_by_their_number() {
        let query = Query {
            batch_rows_max: 2,
            ..query(&[("Id", FieldType::Id, 0)], 1 << 20)
        };
        let body = "\"Id\"\n\"a1\"\n\"a2\"\n\"a3\"\n\"a4\"\n\"a5\"\n";
        let batches = decode(&query, true, 5, body.as_bytes(), 7).unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [2, 2, 1]);
    }

    #[test]
    fn batches_are_cut_before_the_row_that_would_not_fit() {
        // Every row takes five bytes, its line end included.
        let query = query(&[("Id", FieldType::Id, 0)], 12);
        let body = "\"Id\"\n\"a1\"\n\"a2\"\n\"a3\"\n\"a4\"\n\"a5\"\n\"much longer than a batch\"\n\"a6\"\n";
        for chunk in [1, 7, usize::MAX] {
            let batches = decode(&query, true, 7, body.as_bytes(), chunk).unwrap();
            assert_eq!(
                batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(),
                [2, 2, 1, 1, 1],
                "{chunk}"
            );
        }
    }

    #[test]
    fn a_header_is_dropped_from_a_later_page_only_if_it_is_there() {
        let query = query(&[("Id", FieldType::Id, 0), ("Name", FieldType::String, 0)], 1 << 20);
        let ids = |body: &str, first, rows| -> Result<Vec<String>, ErrorCode> {
            let batches = decode(&query, first, rows, body.as_bytes(), 3).map_err(|e| e.code)?;
            let ids = batches.iter().flat_map(|b| {
                b.column(0)
                    .as_string::<i32>()
                    .iter()
                    .flatten()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            });
            Ok(ids.collect())
        };
        assert_eq!(ids("\"Name\",\"Id\"\n\"x\",\"a1\"\n", false, 1), Ok(vec!["a1".to_owned()]));
        assert_eq!(
            ids("\"a1\",\"x\"\n\"a2\",\"y\"\n", false, 2),
            Ok(vec!["a1".to_owned(), "a2".to_owned()])
        );
        assert_eq!(ids("\"a1\",\"x\"\n", true, 1), Err(ErrorCode::BadAnswer));
        assert_eq!(ids("\"Id\",\"Id\"\n", true, 0), Err(ErrorCode::BadAnswer));
        assert_eq!(ids("\"Id\",\"Name\"\n", true, 0), Ok(vec![]));
    }

    #[test]
    fn a_page_that_is_not_whole_is_an_error() {
        let query = query(&[("Id", FieldType::Id, 0), ("Name", FieldType::String, 0)], 1 << 20);
        for (rows, body) in [
            (2, "\"Id\",\"Name\"\n\"a1\",\"x\"\n"),
            (0, "\"Id\",\"Name\"\n\"a1\",\"x\"\n"),
            (1, "\"Id\",\"Name\"\n\"a1\",\"x\""),
            (1, "\"Id\",\"Name\"\n\"a1\",\"x"),
            (1, "\"Id\",\"Name\"\n\"a1\"\n"),
            (1, "\"Id\",\"Name\"\n\"a1\",\"x\",\"y\"\n"),
            (1, ""),
            (1, "<html>\n"),
        ] {
            let code = decode(&query, true, rows, body.as_bytes(), 4).map(|b| b.len()).map_err(|e| e.code);
            assert_eq!(code, Err(ErrorCode::BadAnswer), "{body}");
        }
    }

    #[test]
    fn a_value_that_does_not_fit_is_named_by_place_and_never_shown() {
        let query = query(TYPED, 1 << 20);
        let names: Vec<&str> = TYPED.iter().map(|(name, ..)| *name).collect();
        for name in ["Amount", "Count", "Big", "On", "At", "Clock", "Yes"] {
            let row: Vec<String> = names
                .iter()
                .map(|n| if *n == name { "\"s3cret\"".to_owned() } else { "\"\"".to_owned() })
                .collect();
            let good = names.iter().map(|_| "\"\"").collect::<Vec<_>>().join(",");
            let body = format!("{}\n{good}\n{}\n", names.join(","), row.join(","));
            let error = decode(&query, true, 2, body.as_bytes(), 64).unwrap_err();
            assert_eq!(error.code, ErrorCode::DataFormat);
            assert_eq!(
                error.message,
                format!("row 2 of the page, column {name}: the value does not fit the described type")
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_through_any_chunks(
            texts in prop::collection::vec(prop_oneof![any::<String>(), "[\",\r\nüa]{0,9}"], 1..20),
            chunk in 1_usize..40,
            batch_bytes_max in 1_usize..200,
        ) {
            let query = query(&[("Id", FieldType::Id, 0), ("Text", FieldType::TextArea, 0)], batch_bytes_max);
            let mut writer = csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).from_writer(Vec::new());
            writer.write_record(["Id", "Text"]).unwrap();
            for text in &texts {
                writer.write_record(["a01", text]).unwrap();
            }
            let body = writer.into_inner().unwrap();
            let rows = texts.len() as u64;
            let batches = decode(&query, true, rows, &body, chunk).unwrap();
            let read: Vec<Option<String>> = batches
                .iter()
                .flat_map(|b| b.column(1).as_string::<i32>().iter().map(|t| t.map(str::to_owned)).collect::<Vec<_>>())
                .collect();
            let expected: Vec<Option<String>> = texts.iter().map(|t| Some(t.clone()).filter(|t| !t.is_empty())).collect();
            prop_assert_eq!(read, expected);
            prop_assert_eq!(batches, decode(&query, true, rows, &body, usize::MAX).unwrap());
        }
    }
}
