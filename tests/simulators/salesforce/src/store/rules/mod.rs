//! Writing one record: every rule the service applies to a row, the server-derived
//! fields, and the commit. A row is either written whole or not at all.

mod delete;
mod references;
mod unique;
mod validation;

use std::sync::Arc;

use crate::schema::{FieldType, Object, Schema};
use crate::store::db::Db;
use crate::store::derive;
use crate::store::row::Draft;
use crate::store::value::{self, RowError, STAMP};

pub use delete::{delete, sweep};
pub use validation::ValidationRule;

/// Who writes, when, and under which org settings.
pub struct WriteContext {
    pub user: [u8; 18],
    pub now: [u8; STAMP],
    pub rules: Arc<Vec<ValidationRule>>,
    pub storage_bytes_max: u64,
    /// Org setting "Set Audit Fields upon Record Creation" is on for the writer.
    pub audit_fields: bool,
}

/// Where an input column goes.
#[derive(Clone, Debug)]
pub enum Column {
    Field(usize),
    /// A parent named by a key field: the reference field, the parent object, its key field.
    Parent {
        field: usize,
        object: usize,
        key: usize,
    },
    /// The record's own id; the caller has used it already.
    Id,
}

/// A value sent for a column.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// Leave as is (an empty Bulk cell).
    Skip,
    Null,
    Text(&'a [u8]),
}

impl Column {
    /// Resolves a column name of an input file or JSON body; `None` when unknown.
    pub fn resolve(schema: &Schema, object: usize, name: &str) -> Option<Self> {
        let target = &schema.objects[object];
        if let Some(field) = target.field(name) {
            return Some(if field == 0 { Self::Id } else { Self::Field(field) });
        }
        // `Rel.Key`, or `Type:Rel.Key` which is mandatory on polymorphic references only.
        let (kind, path) = match name.split_once(':') {
            Some((kind, path)) => (Some(kind), path),
            None => (None, name),
        };
        let (relationship, key) = path.split_once('.')?;
        let field = target.relationship(relationship)?;
        let targets = &target.fields[field].targets;
        let parent = match kind {
            Some(kind) if target.fields[field].reference_to.len() > 1 => {
                let wanted = schema.object(kind)?;
                targets.contains(&wanted).then_some(wanted)?
            }
            None if target.fields[field].reference_to.len() == 1 => *targets.first()?,
            _ => return None,
        };
        let key = schema.objects[parent].field(key)?;
        (schema.objects[parent].fields[key].is_key() || key == 0).then_some(Self::Parent {
            field,
            object: parent,
            key,
        })
    }
}

const AUDIT: [&str; 4] = ["CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById"];

/// Reused between rows.
#[derive(Default)]
pub struct Scratch {
    pub draft: Draft,
    given: Vec<bool>,
    text: Vec<u8>,
}

/// Inserts (`existing` is `None`) or updates one record.
pub fn write(
    db: &mut Db,
    context: &WriteContext,
    object: usize,
    existing: Option<u32>,
    cells: &[(Column, Input<'_>)],
    scratch: &mut Scratch,
) -> Result<u32, RowError> {
    let schema = Arc::clone(&db.schema);
    let meta = &schema.objects[object];
    let insert = existing.is_none();
    match existing {
        None => scratch.draft.reset(meta.fields.len()),
        Some(index) => scratch.draft.load(db.tables[object].row(index), meta.fields.len()),
    }
    scratch.given.clear();
    scratch.given.resize(meta.fields.len(), false);
    apply_cells(db, context, meta, insert, cells, scratch)?;
    let draft = &mut scratch.draft;
    if insert {
        defaults(meta, context, draft, &scratch.given);
    }
    required(meta, insert, draft, &scratch.given)?;
    references::references(db, meta, draft, &scratch.given)?;
    derive::before_write(db, object, meta, draft, &scratch.given, insert, context)?;
    for rule in context.rules.iter().filter(|r| r.object.eq_ignore_ascii_case(&meta.name)) {
        if let Some(field) = meta.field(&rule.field)
            && rule.holds(draft.get(field))
        {
            let name = meta.fields[field].name.as_str();
            return Err(RowError::new("FIELD_CUSTOM_VALIDATION_EXCEPTION", &rule.message, &[name]));
        }
    }
    unique::unique(db, object, meta, existing, draft, &scratch.given)?;
    if insert && !meta.setup && db.storage_bytes() + 2048 > context.storage_bytes_max {
        return Err(RowError::new("STORAGE_LIMIT_EXCEEDED", "storage limit exceeded", &[]));
    }
    Ok(commit(db, context, object, meta, existing, draft, &scratch.given))
}

fn apply_cells(
    db: &Db,
    context: &WriteContext,
    meta: &Object,
    insert: bool,
    cells: &[(Column, Input<'_>)],
    scratch: &mut Scratch,
) -> Result<(), RowError> {
    let mut refused: Vec<&str> = Vec::new();
    for (column, input) in cells {
        let (field, parent) = match column {
            Column::Id => continue,
            Column::Field(field) => (*field, None),
            Column::Parent { field, object, key } => (*field, Some((*object, *key))),
        };
        let raw = match input {
            Input::Skip => continue,
            Input::Null => None,
            Input::Text([]) => None,
            Input::Text(raw) => Some(*raw),
        };
        let spec = &meta.fields[field];
        let writable = if insert {
            spec.createable || (context.audit_fields && !meta.setup && AUDIT.contains(&spec.name.as_str()))
        } else {
            spec.updateable
        };
        if !writable {
            refused.push(&spec.name);
            continue;
        }
        scratch.given[field] = true;
        let Some(raw) = raw else {
            scratch.draft.clear(field);
            continue;
        };
        if let Some((parent, key)) = parent {
            let id = references::parent_by_key(db, meta, field, parent, key, raw)?;
            scratch.draft.set(field, &id.long());
            continue;
        }
        value::normalise(spec, raw, &mut scratch.text)?;
        scratch.draft.set(field, &scratch.text);
    }
    if refused.is_empty() {
        return Ok(());
    }
    Err(RowError::new(
        "INVALID_FIELD_FOR_INSERT_UPDATE",
        format!(
            "Unable to create/update fields: {}. Please check the security settings of this field and verify that it is read/write for your profile or permission set.",
            refused.join(", ")
        ),
        &refused,
    ))
}

fn defaults(meta: &Object, context: &WriteContext, draft: &mut Draft, given: &[bool]) {
    for (i, field) in meta.fields.iter().enumerate() {
        if given[i] && (field.kind == FieldType::Boolean || draft.get(i).is_some()) {
            continue;
        }
        if let Some(default) = &field.default {
            draft.set(i, default.as_bytes());
        } else if field.name == "OwnerId" {
            draft.set(i, &context.user);
        }
    }
}

fn required(meta: &Object, insert: bool, draft: &Draft, given: &[bool]) -> Result<(), RowError> {
    let missing: Vec<&str> = meta
        .fields
        .iter()
        .enumerate()
        .filter(|(i, f)| {
            let demanded = if insert {
                f.is_required()
            } else {
                given[*i] && !f.nillable && f.kind != FieldType::Boolean
            };
            demanded && draft.get(*i).is_none()
        })
        .map(|(_, f)| f.name.as_str())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(RowError::new(
        "REQUIRED_FIELD_MISSING",
        format!("Required fields are missing: [{}]", missing.join(", ")),
        &missing,
    ))
}

fn commit(
    db: &mut Db,
    context: &WriteContext,
    object: usize,
    meta: &Object,
    existing: Option<u32>,
    draft: &mut Draft,
    given: &[bool],
) -> u32 {
    let mut put = |name: &str, value: &[u8], keep: bool| {
        if let Some(field) = meta.field(name)
            && !(keep && given[field] && draft.get(field).is_some())
        {
            draft.set(field, value);
        }
    };
    if existing.is_none() {
        put("CreatedDate", &context.now, true);
        put("CreatedById", &context.user, true);
    }
    put("LastModifiedDate", &context.now, existing.is_none());
    put("LastModifiedById", &context.user, existing.is_none());
    put("SystemModstamp", &context.now, false);
    let index = match existing {
        Some(index) => {
            let row = draft.finish();
            db.tables[object].replace(index, row);
            index
        }
        None => {
            let table = &mut db.tables[object];
            for (i, field) in meta.fields.iter().enumerate() {
                if field.auto_number {
                    table.auto_serial += 1;
                    draft.set(i, format!("{:08}", table.auto_serial).as_bytes());
                }
            }
            let id = table.next_id();
            draft.set(0, &id.long());
            table.push(id, draft.finish())
        }
    };
    derive::after_write(db, context, object, index, existing.is_none());
    index
}
