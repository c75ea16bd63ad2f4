//! From clean batches to jobs: what is new, what changed, what did not, what has to wait.

use std::collections::{HashMap, HashSet};

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch, StringArray};
use syncline_connect::target::Refusal;
use syncline_connect::{Nulls, Operation};
use syncline_domain::ErrorCode;
use syncline_domain::plan::{FieldPlan, FieldRole};
use syncline_runtime::StageError;

use crate::claims::Opened;
use crate::context::Context;
use crate::journal::Job;
use crate::references::References;
use crate::steps::building::{Picked, Piece, job};
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
    /// A later run has seen them: what this one read is out of date.
    pub overtaken: Vec<String>,
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
    let mut pieces = Vec::with_capacity(group.len());
    let (mut insert, mut update) = (Vec::new(), Vec::new());
    let update_columns = context.update_columns();
    // Of a record that comes twice, the later generation's reading counts.
    let mut latest_first = group.to_vec();
    latest_first.sort_by_key(|o| std::cmp::Reverse(o.name.generation));
    for opened in latest_first {
        references.load(context, &opened.rows, &direct).await?;
        let rows = Rows::new(context, &opened.rows, &direct)?;
        let before = insert.len() + update.len();
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
            if known.is_some_and(|k| k.overtaken) {
                prepared.overtaken.push(key.to_owned());
                continue;
            }
            // A later generation brings most records again, and a retry brings refused ones; their references are in the books
            // already.
            let counted = known.is_some_and(|k| k.again || (opened.name.generation > 0 && k.seen));
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
            if !same && let Some((field, parent)) = rows.missing_parent(context, references, row) {
                let refusal = Refusal {
                    code: ErrorCode::Reference,
                    native: String::new(),
                    fields: vec![field.target.to_string()],
                };
                prepared.parked.push_waiting(key.to_owned(), &refusal, parent.to_owned());
                continue;
            }
            if !counted {
                rows.count(context, references, row, &mut prepared.references);
            }
            rows.defer(context, row, key, known, &mut prepared.deferred);
            match target {
                Some(_) if same || update_columns.len() == 1 => prepared.same.push(key.to_owned()),
                Some(target) => update.push(Picked::update(pieces.len(), row, target)),
                None => insert.push(Picked::insert(pieces.len(), row)),
            }
        }
        let used = insert.len() + update.len() > before;
        pieces.push(Piece::new(context, references, rows, used));
    }
    let operation = insert_operation(context);
    prepared.insert = job(context, operation, context.insert_columns(), Nulls::Omit, &pieces, insert)?;
    prepared.update = job(context, Operation::Update, update_columns, Nulls::Clear, &pieces, update)?;
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
pub struct Rows<'a> {
    pub batch: &'a RecordBatch,
    keys: &'a StringArray,
    /// References of pass 1, as source keys.
    pub direct: Vec<(&'a FieldPlan, &'a StringArray)>,
    deferred: Vec<&'a StringArray>,
    pub hashes: Vec<[u8; 16]>,
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

    pub fn key(&self, row: usize) -> Option<&'a str> {
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

    /// The first required reference that cannot be resolved, and the key of the parent that it needs.
    fn missing_parent(&self, context: &Context, references: &References, row: usize) -> Option<(&'a FieldPlan, &'a str)> {
        self.direct.iter().find_map(|(field, column)| {
            let column = *column;
            let required = matches!(&field.role, FieldRole::Reference(r) if r.required);
            let missing = required && column.is_valid(row) && references.get(context, column.value(row)).is_none();
            missing.then(|| (*field, column.value(row)))
        })
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
