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
    echoed: Vec<(usize, FieldType)>,
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
}

impl Decode for ResultDecoder {
    type Item = Vec<ResultRow>;

    fn push(&mut self, mut chunk: &[u8], out: &mut VecDeque<Vec<ResultRow>>) -> Result<(), ConnectError> {
        while let Some(record) = self.records.next(&mut chunk)? {
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
            for (at, field_type) in &header.echoed {
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
        Ok(())
    }

    fn finish(&mut self, out: &mut VecDeque<Vec<ResultRow>>) -> Result<(), ConnectError> {
        self.records.finish()?;
        if !self.rows.is_empty() {
            out.push_back(std::mem::take(&mut self.rows));
        }
        Ok(())
    }
}

fn read_header(kind: ResultKind, columns: &[Column], line: Record<'_>) -> Result<Header, ConnectError> {
    let place = |name: &str| line.cells().position(|c| c.eq_ignore_ascii_case(name));
    let needed =
        |name: &str| place(name).ok_or_else(|| ConnectError::new(ErrorCode::BadAnswer, format!("the results have no column `{name}`")));
    Ok(Header {
        cells: line.len(),
        id: match kind {
            ResultKind::Successful => Some(needed("sf__Id")?),
            ResultKind::Failed => place("sf__Id"),
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
        echoed: columns
            .iter()
            .map(|c| Ok((needed(c.name.as_str())?, c.field_type)))
            .collect::<Result<_, ConnectError>>()?,
    })
}
