//! Jobs out of the rows that were picked from a group of batches, the children of one parent together.
//!
//! A parent is locked while its children are written. Side by side they are written by one batch of the target; scattered,
//! they make its batches, and other objects' jobs, wait for each other and fail. All jobs sort parents alike, so two of them
//! meet at few parents and in the same order. Results are matched by digest, so order means nothing to the journal.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{Field, Schema};
use arrow_select::interleave::interleave;
use bytes::Bytes;
use syncline_connect::digest::RowDigest;
use syncline_connect::{Column, Nulls, Operation, Target};
use syncline_domain::ErrorCode;
use syncline_domain::plan::{FieldPlan, FieldRole};
use syncline_runtime::StageError;

use crate::context::Context;
use crate::journal::Job;
use crate::references::References;
use crate::steps::prepare::Rows;

/// Rows that are put together and encoded at a time, beside the batches that they come from.
const CHUNK_ROWS: usize = 5_000;

/// One batch of a group, with its references as they are written.
pub struct Piece<'a> {
    rows: Rows<'a>,
    /// In the order of `rows.direct`.
    written: Vec<Arc<StringArray>>,
}

impl<'a> Piece<'a> {
    /// `used`: some of its rows go into a job.
    pub fn new(context: &Context, references: &References, rows: Rows<'a>, used: bool) -> Self {
        let written = rows.direct.iter().filter(|_| used);
        let written = written.map(|(field, column)| Arc::new(references.column(context, field, column)));
        Self {
            written: written.collect(),
            rows,
        }
    }

    fn column(&self, name: &str) -> Option<ArrayRef> {
        let reference = self.rows.direct.iter().position(|(field, _)| field.target.as_str() == name);
        match reference.and_then(|place| self.written.get(place)) {
            Some(written) => Some(Arc::clone(written) as ArrayRef),
            None => self.rows.batch.column_by_name(name).cloned(),
        }
    }
}

/// A row that goes into a job.
pub struct Picked {
    piece: usize,
    row: usize,
    /// The target's id, for an update.
    target: Option<String>,
}

impl Picked {
    pub fn insert(piece: usize, row: usize) -> Self {
        Self { piece, row, target: None }
    }

    pub fn update(piece: usize, row: usize, target: &str) -> Self {
        Self {
            piece,
            row,
            target: Some(target.to_owned()),
        }
    }
}

/// A job of the picked rows; none of none.
pub fn job(
    context: &Context,
    operation: Operation,
    columns: Vec<Column>,
    nulls: Nulls,
    pieces: &[Piece<'_>],
    mut picked: Vec<Picked>,
) -> Result<Option<Job>, StageError> {
    if picked.is_empty() {
        return Ok(None);
    }
    // An order that the platform imposes goes before.
    if context.object.order_by.is_none() {
        let parents = parents(&context.direct_references());
        let key = |Picked { piece, row, .. }: &Picked| {
            let (written, row) = (pieces.get(*piece).map(|p| p.written.as_slice()).unwrap_or_default(), *row);
            parents.iter().map(move |place| cell(written, *place, row))
        };
        picked.sort_by(|a, b| by_parents(key(a), key(b)));
    }
    let mut job = Job {
        operation,
        columns,
        source_keys: Vec::with_capacity(picked.len()),
        digests: Vec::new(),
        hashes: Vec::new(),
        refs: Vec::new(),
        chunks: Vec::new(),
    };
    for rows in picked.chunks(CHUNK_ROWS) {
        add(context, &mut job, nulls, pieces, rows)?;
    }
    Ok(Some(job))
}

/// Which references lead to a parent that is locked: those to records that are loaded. Required ones, such as a
/// master's, come first.
fn parents(direct: &[&FieldPlan]) -> Vec<usize> {
    let locks = |(place, field): (usize, &&FieldPlan)| match &field.role {
        FieldRole::Reference(reference) if !reference.to.is_empty() => Some((!reference.required, place)),
        FieldRole::Reference(_) | FieldRole::SourceKey | FieldRole::Value => None,
    };
    let mut places: Vec<(bool, usize)> = direct.iter().enumerate().filter_map(locks).collect();
    places.sort_unstable();
    places.into_iter().map(|(_, place)| place).collect()
}

fn cell(columns: &[Arc<StringArray>], place: usize, row: usize) -> Option<&str> {
    let column = columns.get(place).filter(|c| row < c.len() && c.is_valid(row))?;
    Some(column.value(row))
}

/// By the first parent, then the next; what has none comes before what has one.
pub fn by_parents<'a>(a: impl Iterator<Item = Option<&'a str>>, b: impl Iterator<Item = Option<&'a str>>) -> Ordering {
    a.cmp(b)
}

/// Encodes rows and notes what the journal and the ledger keep of them.
fn add(context: &Context, job: &mut Job, nulls: Nulls, pieces: &[Piece<'_>], picked: &[Picked]) -> Result<(), StageError> {
    let places: Vec<(usize, usize)> = picked.iter().map(|p| (p.piece, p.row)).collect();
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(job.columns.len());
    for column in &job.columns {
        let name = column.name.as_str();
        if name == "Id" {
            let targets = picked.iter().map(|p| p.target.as_deref().unwrap_or_default());
            arrays.push(Arc::new(StringArray::from_iter_values(targets)));
            continue;
        }
        let missing = || StageError::new(ErrorCode::DescribeChanged, format!("column {name} is missing"));
        let columns: Vec<ArrayRef> = pieces
            .iter()
            .map(|p| p.column(name).ok_or_else(missing))
            .collect::<Result<_, _>>()?;
        let columns: Vec<&dyn Array> = columns.iter().map(AsRef::as_ref).collect();
        arrays.push(interleave(&columns, &places).map_err(|e| StageError::new(ErrorCode::Internal, e.to_string()))?);
    }
    let batch = job_batch(&job.columns, arrays)?;
    let mut out = Vec::with_capacity(batch.get_array_memory_size());
    if job.chunks.is_empty() {
        context.target.encode_header(&job.columns, &mut out);
    }
    let mut digests = Vec::with_capacity(picked.len());
    context.target.encode(
        context.target_object(),
        &job.columns,
        &batch,
        nulls,
        &context.digester,
        &mut out,
        &mut digests,
    );
    job.chunks.push(Bytes::from(out));
    job.digests.extend(digests.iter().flatten());
    for Picked { piece, row, .. } in picked {
        let Some(piece) = pieces.get(*piece) else { continue };
        job.source_keys.push(piece.rows.key(*row).unwrap_or_default().to_owned());
        job.hashes.extend(piece.rows.hashes.get(*row).into_iter().flatten());
        let refs = (0..piece.written.len()).map(|place| cell(&piece.written, place, *row));
        job.refs.extend(context.hash_keys.references(refs));
    }
    Ok(())
}

/// A batch with a job's columns.
pub fn job_batch(columns: &[Column], arrays: Vec<ArrayRef>) -> Result<RecordBatch, StageError> {
    let field = |(column, array): (&Column, &ArrayRef)| Field::new(column.name.as_str(), array.data_type().clone(), true);
    let fields: Vec<Field> = columns.iter().zip(&arrays).map(field).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|e| StageError::new(ErrorCode::Internal, e.to_string()))
}

/// Digests of what was read back, over columns that were sent.
pub fn read_digests(context: &Context, columns: &[Column], rows: &RecordBatch) -> Result<Vec<RowDigest>, StageError> {
    let arrays = columns
        .iter()
        .map(|c| {
            let column = rows.column_by_name(c.name.as_str()).cloned();
            column.ok_or_else(|| StageError::new(ErrorCode::Internal, format!("column {} was not retrieved", c.name)))
        })
        .collect::<Result<_, _>>()?;
    let batch = job_batch(columns, arrays)?;
    let (mut text, mut digests) = (Vec::new(), Vec::with_capacity(batch.num_rows()));
    context.target.encode(
        context.target_object(),
        columns,
        &batch,
        Nulls::Omit,
        &context.digester,
        &mut text,
        &mut digests,
    );
    Ok(digests)
}
