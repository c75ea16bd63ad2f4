//! A job's result file: one outcome per row, recognised by the digest of the columns that it echoes.
//!
//! Columns are found by name, so their order does not matter, and columns that nobody asked for are skipped.

use std::collections::VecDeque;

use syncline_connect::digest::RowHasher;
use syncline_connect::target::{ResultKind, ResultRow};
use syncline_connect::{Column, ConnectError, RowDigester};
use syncline_domain::ErrorCode;
use syncline_domain::describe::FieldType;

use crate::csv_read::Decode;
use crate::error;
use crate::records::{Record, Records};

/// Rows per chunk that is handed out.
const ROWS_PER_CHUNK: usize = 2_000;

struct Header {
    cells: usize,
    id: Option<usize>,
    created: Option<usize>,
    error: Option<usize>,
    /// A job that never began echoes no columns, and has no rows to miss them.
    echoed: Result<Vec<(usize, FieldType)>, ConnectError>,
}

/// Decodes `successfulResults`, `failedResults` or `unprocessedrecords`.
pub struct ResultDecoder {
    kind: ResultKind,
    columns: Vec<Column>,
    records: Records,
    header: Option<Header>,
    hasher: RowHasher,
    rows: Vec<ResultRow>,
    seen: u64,
}

impl ResultDecoder {
    #[must_use]
    pub fn new(kind: ResultKind, columns: &[Column], digester: &RowDigester) -> Self {
        Self {
            kind,
            columns: columns.to_vec(),
            records: Records::new(),
            header: None,
            hasher: digester.hasher(),
            rows: Vec::new(),
            seen: 0,
        }
    }

    /// A whole file that is in memory.
    ///
    /// # Errors
    /// On anything that is not a result file of these columns.
    pub fn read<'a>(&mut self, chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<ResultRow>, ConnectError> {
        let mut out = VecDeque::new();
        for chunk in chunks {
            self.push(chunk, &mut out)?;
        }
        self.finish(&mut out)?;
        Ok(out.into_iter().flatten().collect())
    }
}

impl Decode for ResultDecoder {
    type Item = Vec<ResultRow>;

    fn push(&mut self, mut chunk: &[u8], out: &mut VecDeque<Vec<ResultRow>>) -> Result<(), ConnectError> {
        loop {
            let record = match self.records.next(&mut chunk) {
                Ok(Some(record)) => record,
                Ok(None) => return Ok(()),
                Err(broken) => return Err(broken.at(&place(self.header.as_ref(), self.seen))),
            };
            let Some(header) = &self.header else {
                self.header = Some(read_header(self.kind, &self.columns, record)?);
                continue;
            };
            self.seen += 1;
            if record.len() != header.cells {
                let message = format!(
                    "row {} of the results: {} cells instead of {}",
                    self.seen,
                    record.len(),
                    header.cells
                );
                return Err(ConnectError::new(ErrorCode::BadAnswer, message));
            }
            let cell = |at: Option<usize>| at.and_then(|at| record.cell(at)).unwrap_or_default();
            for (at, field_type) in header.echoed.as_ref().map_err(Clone::clone)? {
                self.hasher.cell(*field_type, record.cell(*at));
            }
            self.rows.push(ResultRow {
                digest: self.hasher.finish_and_reset(),
                id: cell(header.id).to_owned(),
                created: cell(header.created).eq_ignore_ascii_case("true"),
                refusal: header.error.is_some().then(|| error::refusal(cell(header.error))),
            });
            if self.rows.len() >= ROWS_PER_CHUNK {
                out.push_back(std::mem::take(&mut self.rows));
            }
        }
    }

    fn finish(&mut self, out: &mut VecDeque<Vec<ResultRow>>) -> Result<(), ConnectError> {
        self.records
            .finish()
            .map_err(|broken| broken.at(&place(self.header.as_ref(), self.seen)))?;
        if !self.rows.is_empty() {
            out.push_back(std::mem::take(&mut self.rows));
        }
        Ok(())
    }

    fn place(&self) -> String {
        let place = place(self.header.as_ref(), self.seen);
        format!("in {place}, byte {} of the body", self.records.offset())
    }
}

/// What is being read after so many rows.
fn place(header: Option<&Header>, rows: u64) -> String {
    match header {
        None => "the first line of the results".to_owned(),
        Some(_) => format!("row {} of the results", rows + 1),
    }
}

fn read_header(kind: ResultKind, columns: &[Column], line: Record<'_>) -> Result<Header, ConnectError> {
    let place = |name: &str| -> Result<Option<usize>, ConnectError> {
        let mut places = line
            .cells()
            .enumerate()
            .filter(|(_, c)| c.eq_ignore_ascii_case(name))
            .map(|(at, _)| at);
        match (places.next(), places.next()) {
            (at, None) => Ok(at),
            // Which of the two was written cannot be told.
            (_, Some(_)) => Err(ConnectError::new(
                ErrorCode::BadAnswer,
                format!("the results have two columns `{name}`"),
            )),
        }
    };
    let needed =
        |name: &str| place(name)?.ok_or_else(|| ConnectError::new(ErrorCode::BadAnswer, format!("the results have no column `{name}`")));
    Ok(Header {
        cells: line.len(),
        id: match kind {
            ResultKind::Successful => Some(needed("sf__Id")?),
            ResultKind::Failed => place("sf__Id")?,
            ResultKind::Unprocessed => None,
        },
        created: match kind {
            ResultKind::Successful => Some(needed("sf__Created")?),
            ResultKind::Failed | ResultKind::Unprocessed => None,
        },
        error: match kind {
            ResultKind::Failed => Some(needed("sf__Error")?),
            ResultKind::Successful | ResultKind::Unprocessed => None,
        },
        echoed: columns.iter().map(|c| Ok((needed(c.name.as_str())?, c.field_type))).collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use arrow_array::{ArrayRef, BooleanArray, Decimal128Array, RecordBatch, StringArray, TimestampMillisecondArray};
    use proptest::prelude::*;
    use syncline_connect::Nulls;
    use syncline_connect::digest::RowDigest;
    use syncline_domain::{FieldName, ObjectName};

    use super::*;
    use crate::csv_write::{write_header, write_rows};

    fn column(name: &str, field_type: FieldType, scale: u32) -> Column {
        Column {
            name: FieldName::new(name).unwrap(),
            field_type,
            scale,
        }
    }

    fn decode(kind: ResultKind, columns: &[Column], body: &[u8], chunk: usize) -> Result<Vec<ResultRow>, ConnectError> {
        ResultDecoder::new(kind, columns, &RowDigester::new([7; 32])).read(body.chunks(chunk))
    }

    /// The upload and the digests of what was written.
    fn upload(columns: &[Column], arrays: Vec<ArrayRef>, nulls: Nulls) -> (Vec<u8>, Vec<RowDigest>) {
        let fields: Vec<_> = columns
            .iter()
            .map(|c| arrow_schema::Field::new(c.name.as_str(), syncline_connect::schema::data_type(c.field_type, c.scale), true))
            .collect();
        let batch = RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), arrays).unwrap();
        let (mut out, mut digests) = (Vec::new(), Vec::new());
        write_header(columns, &mut out);
        write_rows(
            &ObjectName::new("Thing__c").unwrap(),
            columns,
            &batch,
            nulls,
            &RowDigester::new([7; 32]),
            &mut out,
            &mut digests,
        );
        (out, digests)
    }

    /// What an org makes of an upload: everything quoted, the columns in reverse, its own columns at the end. The csv
    /// crate stands in for the org, so our writer is read by somebody else's reader.
    fn echo(upload: &[u8], own: &[(&str, &str)]) -> Vec<u8> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(upload);
        let mut writer = csv::WriterBuilder::new()
            .quote_style(csv::QuoteStyle::Always)
            .from_writer(Vec::new());
        for (at, record) in reader.records().enumerate() {
            let record = record.unwrap();
            let own = own.iter().map(|(name, value)| if at == 0 { *name } else { *value });
            writer.write_record(record.iter().rev().chain(own)).unwrap();
        }
        writer.into_inner().unwrap()
    }

    #[test]
    fn outcomes_are_found_whatever_the_order_and_quoting_of_columns() {
        let columns = [column("Name", FieldType::String, 0), column("Fax", FieldType::Phone, 0)];
        let digester = RowDigester::new([7; 32]);
        let digest = digester.digest([(FieldType::String, Some("a \"b\"")), (FieldType::Phone, None)].into_iter());
        for body in [
            "\"sf__Id\",\"sf__Created\",Name,Fax\n\"003A\",\"true\",\"a \"\"b\"\"\",\"\"\n",
            "\"Fax\",\"sf__Created\",\"More\",\"Name\",\"sf__Id\"\r\n\"#N/A\",\"true\",\"x\",\"a \"\"b\"\" \",\"003A\"\r\n",
        ] {
            let rows = decode(ResultKind::Successful, &columns, body.as_bytes(), 3).unwrap();
            let expected = ResultRow {
                digest,
                id: "003A".into(),
                created: true,
                refusal: None,
            };
            assert_eq!(rows, [expected], "{body}");
        }
    }

    #[test]
    fn result_files_that_cannot_be_matched_are_errors() {
        let columns = [column("Name", FieldType::String, 0)];
        for (kind, body) in [
            (ResultKind::Successful, "\"sf__Id\",\"Name\"\n"),
            (ResultKind::Successful, "\"sf__Id\",\"sf__Created\"\n\"003A\",\"true\"\n"),
            (ResultKind::Failed, "\"sf__Id\",\"Name\"\n"),
            (ResultKind::Unprocessed, "\"Other\"\n\"a\"\n"),
            (ResultKind::Unprocessed, "\"Name\"\n\"a\",\"b\"\n"),
            (ResultKind::Unprocessed, "\"Name\"\n\"a"),
        ] {
            assert_eq!(
                decode(kind, &columns, body.as_bytes(), 64).map_err(|e| e.code),
                Err(ErrorCode::BadAnswer),
                "{body}"
            );
        }
        assert_eq!(decode(ResultKind::Unprocessed, &columns, b"", 1), Ok(vec![]));
    }

    #[test]
    fn refused_rows_carry_code_and_fields() {
        let columns = [column("Name", FieldType::String, 0)];
        let body = "\"sf__Id\",\"sf__Error\",Name\n\"\",\"STRING_TOO_LONG:Name: data value too large: secret (max length=80):Name --\",\"secret\"\n";
        let rows = decode(ResultKind::Failed, &columns, body.as_bytes(), 1).unwrap();
        let refusal = rows.first().and_then(|r| r.refusal.clone()).unwrap();
        assert_eq!((refusal.code, refusal.fields), (ErrorCode::DataFormat, vec!["Name".to_owned()]));
    }

    #[test]
    fn results_of_a_job_that_never_began_are_empty() {
        let columns = [column("Name", FieldType::String, 0)];
        for header in ["\"sf__Id\",\"sf__Created\"\n", "\"sf__Id\",\"sf__Created\",\n"] {
            assert_eq!(decode(ResultKind::Successful, &columns, header.as_bytes(), 1), Ok(Vec::new()));
        }
    }

    #[test]
    fn a_row_of_nothing_is_still_a_row() {
        let columns = [column("Name", FieldType::String, 0)];
        let (body, digests) = upload(&columns, vec![Arc::new(StringArray::from(vec![None, Some("")]))], Nulls::Omit);
        assert_eq!(String::from_utf8_lossy(&body), "Name\n\"\"\n\"\"\n");
        let rows = decode(ResultKind::Unprocessed, &columns, &body, 1).unwrap();
        assert_eq!(rows.iter().map(|r| r.digest).collect::<Vec<_>>(), digests);
    }

    #[test]
    fn nulls_are_left_out_or_cleared_as_asked() {
        let columns = [column("Name", FieldType::String, 0), column("Amount", FieldType::Number, 2)];
        let arrays = || -> Vec<ArrayRef> {
            vec![
                Arc::new(StringArray::from(vec![Some(" a"), None])),
                Arc::new(
                    Decimal128Array::from(vec![None, Some(1050)])
                        .with_precision_and_scale(38, 2)
                        .unwrap(),
                ),
            ]
        };
        let text = |nulls| String::from_utf8(upload(&columns, arrays(), nulls).0).unwrap();
        assert_eq!(text(Nulls::Omit), "Name,Amount\n\" a\",\n,10.5\n");
        assert_eq!(text(Nulls::Clear), "Name,Amount\n\" a\",#N/A\n#N/A,10.5\n");
        assert_eq!(
            upload(&columns, arrays(), Nulls::Omit).1,
            upload(&columns, arrays(), Nulls::Clear).1
        );
    }

    type Row = (Option<String>, Option<String>, Option<i128>, Option<bool>, Option<i64>);

    fn any_row() -> impl Strategy<Value = Row> {
        let text = || prop::option::of(prop_oneof![any::<String>(), "[ \t\",\r\n'#N/Aü😀]{0,12}", "[a-z ]{0,40}"]);
        let number = prop::option::of(-(10_i128.pow(38) - 1)..10_i128.pow(38));
        let moment = prop::option::of(-8_520_336_000_000_i64..64_092_211_200_000);
        (text(), text(), number, any::<Option<bool>>(), moment)
    }

    proptest! {
        #[test]
        fn an_echo_of_what_was_written_has_its_digest(
            rows in prop::collection::vec(any_row(), 1..12),
            clear in any::<bool>(),
            chunk in 1_usize..50,
        ) {
            let columns = [
                column("Name", FieldType::String, 0),
                column("Notes__c", FieldType::TextArea, 0),
                column("Amount__c", FieldType::Number, 9),
                column("Active__c", FieldType::Boolean, 0),
                column("When__c", FieldType::DateTime, 0),
            ];
            let arrays: Vec<ArrayRef> = vec![
                Arc::new(rows.iter().map(|r| r.0.clone()).collect::<StringArray>()),
                Arc::new(rows.iter().map(|r| r.1.clone()).collect::<StringArray>()),
                Arc::new(rows.iter().map(|r| r.2).collect::<Decimal128Array>().with_precision_and_scale(38, 9).unwrap()),
                Arc::new(rows.iter().map(|r| r.3).collect::<BooleanArray>()),
                Arc::new(rows.iter().map(|r| r.4).collect::<TimestampMillisecondArray>().with_timezone("UTC")),
            ];
            let nulls = if clear { Nulls::Clear } else { Nulls::Omit };
            let (body, digests) = upload(&columns, arrays, nulls);
            let echoed = echo(&body, &[("sf__Created", "false"), ("sf__Id", "003A")]);
            let results = decode(ResultKind::Successful, &columns, &echoed, chunk).unwrap();
            prop_assert_eq!(results.iter().map(|r| r.digest).collect::<Vec<_>>(), digests);
        }
    }
}
