//! Writing one record: every rule the service applies to a row, the server-derived
//! fields, and the commit. A row is either written whole or not at all.

pub mod assignment;
mod currency;
mod delete;
pub mod duplicates;
pub mod merge;
mod person;
pub mod picklists;
pub mod places;
mod references;
mod relations;
pub mod triggers;
pub mod undelete;
mod unique;
mod validation;

use std::collections::HashSet;
use std::sync::Arc;

use crate::schema::{Access, FieldType, Object, Schema};
use crate::store::db::Db;
use crate::store::derive;
use crate::store::formula::Scope;
use crate::store::id::Id;
use crate::store::locks;
use crate::store::row::{Draft, Row};
use crate::store::setup::{ObjectSetup, PermissionDoc, Setup};
use crate::store::value::{self, RowError, STAMP};

use assignment::AutoAssign;
use triggers::Event;

pub use delete::{delete, sweep};
pub use validation::ValidationRule;

/// Who writes, when, and under which org settings.
#[derive(Clone)]
pub struct WriteContext {
    pub user: [u8; 18],
    pub now: [u8; STAMP],
    pub setup: Arc<Setup>,
    pub storage_bytes_max: u64,
    /// Org setting "Set Audit Fields upon Record Creation" is on for the writer.
    pub audit_fields: bool,
    /// The caller insists on rows a duplicate rule merely warns of.
    pub allow_duplicates: bool,
    pub auto_assign: AutoAssign,
    /// Records another transaction holds.
    pub denied: Option<Arc<HashSet<Id>>>,
    /// How many triggers led here.
    pub depth: u8,
}

impl WriteContext {
    /// The context of what a trigger writes.
    pub(super) fn nested(&self) -> Self {
        Self {
            depth: self.depth + 1,
            auto_assign: AutoAssign::Never,
            allow_duplicates: true,
            ..self.clone()
        }
    }
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
        if let Some(field) = target.visible(name) {
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
        let key = schema.objects[parent].visible(key)?;
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
    let setup = context.setup.object(object);
    if let Some(setup) = setup {
        permitted(setup, if insert { PermissionDoc::Create } else { PermissionDoc::Edit })?;
    }
    match existing {
        None => scratch.draft.reset(meta.fields.len()),
        Some(index) => scratch.draft.load(db.tables[object].row(index), meta.fields.len()),
    }
    scratch.given.clear();
    scratch.given.resize(meta.fields.len(), false);
    apply_cells(db, context, meta, insert, cells, scratch)?;
    let keeps = setup.is_some() || schema.multi_currency || schema.person.is_some();
    let stored = existing.filter(|_| keeps).map(|index| db.tables[object].row(index).clone());
    let (draft, given) = (&mut scratch.draft, &mut scratch.given);
    if insert {
        defaults(meta, context, draft, given);
    }
    if let Some(setup) = setup {
        prepare(setup, db, context, meta, stored.as_ref(), draft, given)?;
    }
    if !meta.places.is_empty() {
        places::before_write(meta, draft, given)?;
    }
    required(meta, insert, draft, given)?;
    references::references(db, meta, draft, given)?;
    if let Some(denied) = &context.denied {
        let links = meta
            .fields
            .iter()
            .enumerate()
            .filter(|(i, f)| given[*i] && f.kind == FieldType::Reference);
        let own = (!insert).then(|| draft.get(0)).flatten();
        locks::check(denied, own.into_iter().chain(links.filter_map(|(i, _)| draft.get(i))))?;
    }
    let twin = match &schema.person {
        Some(person) => person::before_write(db, person, object, stored.as_ref(), draft, given)?,
        None => None,
    };
    if !meta.dependents.is_empty() {
        picklists::by_controller(meta, draft, given)?;
    }
    if schema.multi_currency {
        currency::before_write(db, meta, stored.as_ref(), draft, given)?;
    }
    derive::before_write(db, object, meta, draft, given, insert, context)?;
    if let Some(setup) = setup {
        picklists::by_record_type(setup, db, meta, draft, given)?;
        let scope = Scope {
            meta,
            draft,
            before: stored.as_ref(),
            now: &context.now,
        };
        for rule in &setup.validation {
            rule.check(&scope)?;
        }
    }
    unique::unique(db, object, meta, existing, draft, given)?;
    if schema.contact_relations {
        relations::before_write(db, object, existing, draft)?;
    }
    let warned = |rule: &&duplicates::DuplicateRule| rule.blocks || !context.allow_duplicates;
    for rule in setup.into_iter().flat_map(|s| &s.duplicates).filter(warned) {
        rule.check(db, object, meta, existing, draft, given)?;
    }
    let footprint = meta.storage_bytes + twin.as_ref().map_or(0, |t| t.storage_bytes(&schema));
    if insert && footprint > 0 && db.storage_bytes() + footprint > context.storage_bytes_max {
        return Err(RowError::new("STORAGE_LIMIT_EXCEEDED", "storage limit exceeded", &[]));
    }
    let event = if insert { Event::AfterInsert } else { Event::AfterUpdate };
    let setup = setup.filter(|s| triggers::listens(s, event));
    if setup.is_none() && twin.is_none() {
        return Ok(commit(db, context, object, meta, existing, draft, given));
    }
    let savepoint = db.begin();
    let index = commit(db, context, object, meta, existing, draft, given);
    let followed = twin
        .map_or(Ok(()), |twin| person::after_write(db, context, twin, object, index))
        .and_then(|()| {
            setup.map_or(Ok(()), |setup| {
                triggers::after(setup, event, db, context, object, index, stored.as_ref())
            })
        });
    match followed {
        Ok(()) => {
            db.commit(savepoint);
            Ok(index)
        }
        Err(error) => {
            db.roll_back(savepoint);
            Err(error)
        }
    }
}

fn permitted(setup: &ObjectSetup, wanted: PermissionDoc) -> Result<(), RowError> {
    if setup.permits(wanted) {
        return Ok(());
    }
    Err(RowError::new(
        "INSUFFICIENT_ACCESS_OR_READONLY",
        "insufficient access rights on object id",
        &[],
    ))
}

/// What happens to a row before the rules judge it: record type defaults, before triggers,
/// assignment.
fn prepare(
    setup: &ObjectSetup,
    db: &Db,
    context: &WriteContext,
    meta: &Object,
    stored: Option<&Row>,
    draft: &mut Draft,
    given: &mut [bool],
) -> Result<(), RowError> {
    let event = if stored.is_none() {
        Event::BeforeInsert
    } else {
        Event::BeforeUpdate
    };
    if stored.is_none() {
        picklists::defaults(setup, db, meta, draft, given);
    }
    triggers::before(setup, event, context, meta, stored, draft, given)?;
    if setup.assignment.is_empty() || context.auto_assign == AutoAssign::Never {
        return Ok(());
    }
    let scope = Scope {
        meta,
        draft,
        before: stored,
        now: &context.now,
    };
    let owner = assignment::owner(setup, &context.auto_assign, db, &scope)?;
    if let (Some(owner), Some(field)) = (owner, meta.field("OwnerId")) {
        draft.set(field, &owner.long());
        given[field] = true;
    }
    Ok(())
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
        let writable = if spec.access() != Access::Full {
            false
        } else if insert {
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
    let before = existing.map(|index| db.tables[object].row(index).clone());
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
    derive::after_write(db, context, object, index, before.as_ref());
    if db.schema.contact_relations {
        relations::after_write(db, context, object, index, before.as_ref());
    }
    index
}
