//! From clean batches to jobs: what is new, what changed, what did not, what has to wait.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{DataType, Field, Schema};
use arrow_select::take::take;
use bytes::Bytes;
use syncline_connect::target::Refusal;
use syncline_connect::{Column, Nulls, Operation, Target};
use syncline_domain::ErrorCode;
use syncline_domain::plan::{FieldPlan, FieldRole};
use syncline_runtime::StageError;

use crate::claims::Opened;
use crate::context::Context;
use crate::journal::Job;
use crate::references::References;
use crate::store;
use crate::store::counts::ObjectCount;
use crate::store::ledger::Known;
use crate::store::outcomes::{Deferred, Refused};

/// What a group of batches comes to.
#[derive(Default)]
pub struct Prepared {
    pub insert: Option<Job>,
    pub update: Option<Job>,
    /// In the target already and equal.
    pub same: Vec<String>,
    /// A required parent is missing.
    pub parked: Refused,
    /// References for pass 2.
    pub deferred: Deferred,
    /// References of all rows, for the books.
    pub references: ObjectCount,
}

/// Looks at every row of a group. `fresh`: the link is empty, so there is nothing to look up.
pub async fn prepare(context: &Context, references: &mut References, group: &[&Opened], fresh: bool) -> Result<Prepared, StageError> {
    let direct = context.direct_references();
    let known = if fresh { HashMap::new() } else { look_up(context, group).await? };
    let mut prepared = Prepared::default();
    let mut seen = HashSet::new();
    let mut inserts = Building::new(context, insert_operation(context), context.insert_columns(), Nulls::Omit);
    let mut updates = Building::new(context, Operation::Update, context.update_columns(), Nulls::Clear);
    // Of a record that comes twice, the later generation's reading counts.
    let mut latest_first = group.to_vec();
    latest_first.sort_by_key(|o| std::cmp::Reverse(o.name.generation));
    for opened in latest_first {
        references.load(context, &opened.rows, &direct).await?;
        let rows = Rows::new(context, &opened.rows, &direct)?;
        let mut insert = Vec::new();
        let mut update = Vec::new();
        for row in 0..opened.rows.num_rows() {
            let Some(key) = rows.key(row) else {
                return Err(StageError::new(
                    ErrorCode::Internal,
                    format!("batch {} has a row without a key", opened.name),
                ));
            };
            if !seen.insert(key.to_owned()) {
                continue;
            }
            let known = known.get(key);
            // A later generation brings most records again; their references are in the books already.
            let counted = opened.name.generation > 0 && known.is_some_and(|k| k.seen);
            match known.and_then(|k| k.refusal.as_deref()) {
                Some("refused") => {
                    rows.count(context, references, row, &mut prepared.references);
                    continue;
                }
                Some(_) => continue,
                None => {}
            }
            let target = known.and_then(|k| k.target_key.as_deref());
            let same = known.is_some_and(|k| rows.stands(context, references, row, k));
            if !same && let Some(field) = rows.missing_parent(context, references, row) {
                let refusal = Refusal {
                    code: ErrorCode::Reference,
                    native: String::new(),
                    fields: vec![field.target.to_string()],
                };
                prepared.parked.push(key.to_owned(), &refusal);
                continue;
            }
            if !counted {
                rows.count(context, references, row, &mut prepared.references);
            }
            rows.defer(context, row, key, known, &mut prepared.deferred);
            let index = u32::try_from(row).map_err(|_| StageError::new(ErrorCode::Internal, "a batch has too many rows"))?;
            match target {
                Some(_) if same || updates.columns.len() == 1 => prepared.same.push(key.to_owned()),
                Some(target) => update.push((index, target.to_owned())),
                None => insert.push((index, String::new())),
            }
        }
        inserts.add(&rows, references, &insert)?;
        updates.add(&rows, references, &update)?;
    }
    prepared.insert = inserts.finish();
    prepared.update = updates.finish();
    Ok(prepared)
}

async fn look_up(context: &Context, group: &[&Opened]) -> Result<HashMap<String, Known>, StageError> {
    let mut keys = Vec::new();
    for opened in group {
        if let Some(column) = opened.rows.column_by_name("Id").and_then(|c| c.as_string_opt::<i32>()) {
            keys.extend(column.iter().flatten().map(str::to_owned));
        }
    }
    Ok(store::ledger::known(&context.platform.db, context.link, context.sync(), context.run_number, &keys).await?)
}

fn insert_operation(context: &Context) -> Operation {
    let key = context.object.key.as_ref().and_then(|k| context.object.field(k.as_str()));
    key.map_or(Operation::Insert, |field| Operation::Upsert { key: field.target.clone() })
}

/// One batch's columns, looked at by role.
struct Rows<'a> {
    batch: &'a RecordBatch,
    keys: &'a StringArray,
    direct: Vec<(&'a FieldPlan, &'a StringArray)>,
    deferred: Vec<&'a StringArray>,
    hashes: Vec<[u8; 16]>,
    no_deferred: [u8; 16],
}

impl<'a> Rows<'a> {
    fn new(context: &'a Context, batch: &'a RecordBatch, direct: &[&'a FieldPlan]) -> Result<Self, StageError> {
        let text = |name: &str| {
            let column = batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
            column.ok_or_else(|| StageError::new(ErrorCode::DescribeChanged, format!("column {name} is not as planned")))
        };
        let columns: Vec<&str> = context.object.pass1_fields().map(|f| f.target.as_str()).collect();
        Ok(Self {
            batch,
            keys: text("Id")?,
            direct: direct
                .iter()
                .map(|f| Ok((*f, text(f.target.as_str())?)))
                .collect::<Result<_, StageError>>()?,
            deferred: context
                .object
                .deferred_fields()
                .map(|f| text(f.target.as_str()))
                .collect::<Result<_, _>>()?,
            hashes: context.hash_keys.rows(batch, &columns)?,
            no_deferred: context.hash_keys.references(context.object.deferred_fields().map(|_| None)),
        })
    }

    fn key(&self, row: usize) -> Option<&'a str> {
        self.keys.is_valid(row).then(|| self.keys.value(row))
    }

    /// The record is in the target with these values, and its references with these target keys: a parent that was
    /// missing last time makes a difference.
    fn stands(&self, context: &Context, references: &References, row: usize, known: &Known) -> bool {
        let resolved = || {
            let target = |(field, column): &(&FieldPlan, &'a StringArray)| {
                let column = *column;
                column
                    .is_valid(row)
                    .then(|| references.written(context, field, column.value(row)))
                    .flatten()
            };
            context.hash_keys.references(self.direct.iter().map(target))
        };
        known.target_key.is_some()
            && known.hash.as_deref() == self.hashes.get(row).map(<[u8; 16]>::as_slice)
            && known.refs.as_deref() == Some(resolved().as_slice())
    }

    /// The first required reference that cannot be resolved.
    fn missing_parent(&self, context: &Context, references: &References, row: usize) -> Option<&'a FieldPlan> {
        let missing = |(field, column): &&(&'a FieldPlan, &StringArray)| {
            let required = matches!(&field.role, FieldRole::Reference(r) if r.required);
            required && column.is_valid(row) && references.get(context, column.value(row)).is_none()
        };
        self.direct.iter().find(missing).map(|(field, _)| *field)
    }

    fn count(&self, context: &Context, references: &References, row: usize, count: &mut ObjectCount) {
        for (_, column) in self.direct.iter().filter(|(_, c)| c.is_valid(row)) {
            match references.get(context, column.value(row)) {
                Some(_) => count.references_resolved += 1,
                None => count.references_nulled += 1,
            }
        }
        count.references_deferred += i64::try_from(self.deferred.iter().filter(|c| c.is_valid(row)).count()).unwrap_or(0);
    }

    /// Notes the row for pass 2 unless its deferred references stand in the target already.
    fn defer(&self, context: &Context, row: usize, key: &str, known: Option<&Known>, out: &mut Deferred) {
        if self.deferred.is_empty() {
            return;
        }
        let targets: Vec<&str> = self
            .deferred
            .iter()
            .map(|c| if c.is_valid(row) { c.value(row) } else { "" })
            .collect();
        let hash = context.hash_keys.references(targets.iter().map(|t| Some(*t)));
        let stored = known
            .filter(|k| k.target_key.is_some())
            .and_then(|k| k.deferred_hash.as_deref())
            .unwrap_or(&self.no_deferred);
        if stored != hash.as_slice() {
            out.source_keys.push(key.to_owned());
            out.hashes.push(hash.to_vec());
            out.targets.push(targets.join(" "));
        }
    }
}

/// A job being filled.
struct Building<'a> {
    context: &'a Context,
    columns: Vec<Column>,
    nulls: Nulls,
    job: Job,
}

impl<'a> Building<'a> {
    fn new(context: &'a Context, operation: Operation, columns: Vec<Column>, nulls: Nulls) -> Self {
        let job = Job {
            operation,
            columns: columns.clone(),
            source_keys: Vec::new(),
            digests: Vec::new(),
            hashes: Vec::new(),
            refs: Vec::new(),
            chunks: Vec::new(),
        };
        Self {
            context,
            columns,
            nulls,
            job,
        }
    }

    /// Adds rows by index; for updates with the target's id of each.
    fn add(&mut self, rows: &Rows<'_>, references: &References, picked: &[(u32, String)]) -> Result<(), StageError> {
        if picked.is_empty() {
            return Ok(());
        }
        let internal = |e: arrow_schema::ArrowError| StageError::new(ErrorCode::Internal, e.to_string());
        let indices = UInt32Array::from_iter_values(picked.iter().map(|(i, _)| *i));
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        let mut resolved: HashMap<&str, Arc<StringArray>> = HashMap::new();
        for (field, column) in &rows.direct {
            let taken = take(column, &indices, None).map_err(internal)?;
            resolved.insert(
                field.target.as_str(),
                Arc::new(references.column(self.context, field, taken.as_string::<i32>())),
            );
        }
        for column in &self.columns {
            let name = column.name.as_str();
            arrays.push(match resolved.get(name) {
                Some(array) => Arc::clone(array) as ArrayRef,
                None if name == "Id" => Arc::new(StringArray::from_iter_values(picked.iter().map(|(_, t)| t.as_str()))),
                None => {
                    let array = rows.batch.column_by_name(name);
                    let array = array.ok_or_else(|| StageError::new(ErrorCode::DescribeChanged, format!("column {name} is missing")))?;
                    take(array, &indices, None).map_err(internal)?
                }
            });
        }
        let batch = job_batch(&self.columns, arrays)?;
        let mut out = Vec::with_capacity(batch.get_array_memory_size());
        if self.job.chunks.is_empty() {
            self.context.target.encode_header(&self.columns, &mut out);
        }
        let mut digests = Vec::with_capacity(picked.len());
        self.context
            .target
            .encode(&self.columns, &batch, self.nulls, &self.context.digester, &mut out, &mut digests);
        self.job.chunks.push(Bytes::from(out));
        for digest in &digests {
            self.job.digests.extend_from_slice(digest);
        }
        for (place, (index, _)) in picked.iter().enumerate() {
            let row = usize::try_from(*index).unwrap_or(usize::MAX);
            self.job.source_keys.push(rows.key(row).unwrap_or_default().to_owned());
            self.job
                .hashes
                .extend_from_slice(rows.hashes.get(row).map(<[u8; 16]>::as_slice).unwrap_or_default());
            let refs = rows.direct.iter().map(|(field, _)| {
                let column = resolved.get(field.target.as_str())?;
                column.is_valid(place).then(|| column.value(place))
            });
            self.job.refs.extend_from_slice(&self.context.hash_keys.references(refs));
        }
        Ok(())
    }

    fn finish(self) -> Option<Job> {
        (self.job.rows() > 0).then_some(self.job)
    }
}

/// A batch with a job's columns.
pub fn job_batch(columns: &[Column], arrays: Vec<ArrayRef>) -> Result<RecordBatch, StageError> {
    let fields: Vec<Field> = columns
        .iter()
        .zip(&arrays)
        .map(|(c, a)| {
            Field::new(
                c.name.as_str(),
                if a.data_type() == &DataType::Null {
                    DataType::Utf8
                } else {
                    a.data_type().clone()
                },
                true,
            )
        })
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|e| StageError::new(ErrorCode::Internal, e.to_string()))
}
