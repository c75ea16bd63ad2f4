//! Writing one record: every rule the service applies to a row, the server-derived
//! fields, and the commit. A row is either written whole or not at all.

use std::collections::HashSet;
use std::sync::Arc;

use crate::schema::{FieldType, Object, Schema};
use crate::store::db::{Db, Life};
use crate::store::derive;
use crate::store::id::Id;
use crate::store::row::Draft;
use crate::store::value::{self, RowError, STAMP};

/// A configured validation rule: the row is refused when the comparison holds.
#[derive(Debug, Clone)]
pub struct ValidationRule {
    pub object: String,
    pub field: String,
    pub operator: String,
    pub operand: String,
    pub message: String,
}

impl ValidationRule {
    /// Parses `Object: Field < value` with an optional `=> message`.
    pub fn parse(text: &str) -> Option<Self> {
        let (body, message) = match text.split_once("=>") {
            Some((body, message)) => (body, Some(message.trim().to_owned())),
            None => (text, None),
        };
        let (object, rest) = body.split_once(':')?;
        let mut words = rest.trim().splitn(3, ' ');
        let (field, operator) = (words.next()?, words.next()?);
        let operand = words.next().unwrap_or_default().trim().trim_matches('\'');
        if !["<", "<=", ">", ">=", "=", "!="].contains(&operator) {
            return None;
        }
        Some(Self {
            object: object.trim().into(),
            field: field.into(),
            operator: operator.into(),
            operand: operand.into(),
            message: message.unwrap_or_else(|| format!("{field} must not be {operator} {operand}")),
        })
    }

    fn holds(&self, value: Option<&[u8]>) -> bool {
        let text = value.map(String::from_utf8_lossy).unwrap_or_default();
        if self.operand.is_empty() || self.operand == "null" {
            return text.is_empty() == (self.operator == "=");
        }
        if text.is_empty() {
            return false;
        }
        let order = match (text.parse::<f64>(), self.operand.parse::<f64>()) {
            (Ok(a), Ok(b)) => a.partial_cmp(&b),
            _ => Some(text.as_ref().cmp(self.operand.as_str())),
        };
        order.is_some_and(|order| match self.operator.as_str() {
            "<" => order.is_lt(),
            "<=" => order.is_le(),
            ">" => order.is_gt(),
            ">=" => order.is_ge(),
            "=" => order.is_eq(),
            _ => order.is_ne(),
        })
    }
}

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
    references(db, meta, draft, &scratch.given)?;
    derive::before_write(db, object, meta, draft, &scratch.given, insert, context)?;
    for rule in context.rules.iter().filter(|r| r.object.eq_ignore_ascii_case(&meta.name)) {
        if let Some(field) = meta.field(&rule.field)
            && rule.holds(draft.get(field))
        {
            let name = meta.fields[field].name.as_str();
            return Err(RowError::new("FIELD_CUSTOM_VALIDATION_EXCEPTION", &rule.message, &[name]));
        }
    }
    unique(db, object, meta, existing, draft, &scratch.given)?;
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
            let id = parent_by_key(db, meta, field, parent, key, raw)?;
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

fn parent_by_key(db: &Db, meta: &Object, field: usize, parent: usize, key: usize, raw: &[u8]) -> Result<Id, RowError> {
    let table = &db.tables[parent];
    let spec = &db.schema.objects[parent];
    let found = match key {
        0 => Id::parse(raw).ok().and_then(|id| table.find_live(&id)).into_iter().collect(),
        _ => table.by_key(key, raw).unwrap_or_else(|| {
            table
                .scan(false)
                .filter(|i| table.row(*i).get(key).is_some_and(|v| crate::store::db::same_text(v, raw)))
                .collect()
        }),
    };
    let shown = String::from_utf8_lossy(raw);
    let name = spec.fields[key].name.as_str();
    match found.as_slice() {
        [one] => Ok(table.id(*one)),
        [] => Err(RowError::new(
            "INVALID_FIELD",
            format!(
                "Foreign key external ID: {shown} not found for field {name} in entity {}",
                spec.name
            ),
            &[],
        )),
        _ => Err(RowError::new(
            "DUPLICATE_EXTERNAL_ID",
            format!("{name}: more than one record found for external id field: {shown}"),
            &[&meta.fields[field].name],
        )),
    }
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

fn references(db: &Db, meta: &Object, draft: &Draft, given: &[bool]) -> Result<(), RowError> {
    for (i, field) in meta.fields.iter().enumerate() {
        if !given[i] || field.kind != FieldType::Reference {
            continue;
        }
        let Some(raw) = draft.get(i) else { continue };
        let id = Id::parse(raw).map_err(|_| RowError::new("MALFORMED_ID", "id value of incorrect type", &[&field.name]))?;
        let bad = |message: String| RowError::new("INVALID_CROSS_REFERENCE_KEY", message, &[&field.name]);
        let object = db.schema.by_prefix(id.prefix());
        if object.is_some_and(|o| !field.targets.contains(&o)) {
            return Err(RowError::new(
                "INVALID_CROSS_REFERENCE_KEY",
                format!("{}: id value of incorrect type: {id}", field.label),
                &[&field.name],
            ));
        }
        let found = object.and_then(|o| Some((o, db.tables[o].find(&id)?)));
        let Some((object, index)) = found else {
            return Err(bad("invalid cross reference id".into()));
        };
        if db.tables[object].life(index) != Life::Live {
            return Err(RowError::new("ENTITY_IS_DELETED", "entity is deleted", &[&field.name]));
        }
        let row = db.tables[object].row(index);
        let target = &db.schema.objects[object];
        let flag = |name: &str| target.field(name).and_then(|f| row.get(f)) == Some(b"true");
        let text = |name: &str| target.field(name).and_then(|f| row.get(f)).unwrap_or_default();
        match (field.name.as_str(), target.name.as_str()) {
            ("RecordTypeId", "RecordType") if text("SobjectType") != meta.name.as_bytes() || !flag("IsActive") => {
                return Err(bad("Record Type ID: this ID value isn't valid for the user".into()));
            }
            ("OwnerId", "User") if !flag("IsActive") => {
                return Err(RowError::new(
                    "INACTIVE_OWNER_OR_USER",
                    "operation performed with inactive user as owner of record",
                    &["OwnerId"],
                ));
            }
            ("OwnerId", "Group") if text("Type") != b"Queue" => {
                return Err(bad("Owner ID: owner cannot be blank".into()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn unique(db: &Db, object: usize, meta: &Object, existing: Option<u32>, draft: &Draft, given: &[bool]) -> Result<(), RowError> {
    for (i, field) in meta.fields.iter().enumerate() {
        if !field.unique || !given[i] {
            continue;
        }
        let Some(value) = draft.get(i) else { continue };
        let table = &db.tables[object];
        let other = table
            .by_key(i, value)
            .unwrap_or_default()
            .into_iter()
            .find(|o| Some(*o) != existing);
        if let Some(other) = other {
            return Err(RowError::new(
                "DUPLICATE_VALUE",
                format!(
                    "duplicate value found: {} duplicates value on record with id: {}",
                    field.name,
                    table.id(other)
                ),
                &[&field.name],
            ));
        }
    }
    Ok(())
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

/// Deletes one record; `purge` skips the recycle bin.
pub fn delete(db: &mut Db, context: &WriteContext, object: usize, raw: &[u8], purge: bool, draft: &mut Draft) -> Result<u32, RowError> {
    let id = Id::parse(raw).map_err(|_| {
        let shown = String::from_utf8_lossy(raw);
        RowError::new("MALFORMED_ID", format!("malformed id {shown}"), &["Id"])
    })?;
    let schema = Arc::clone(&db.schema);
    let meta = &schema.objects[object];
    let table = &mut db.tables[object];
    let index = (id.prefix() == meta.prefix)
        .then(|| table.find(&id))
        .flatten()
        .ok_or_else(|| RowError::new("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", &[]))?;
    if table.life(index) != Life::Live && !purge {
        return Err(RowError::new("ENTITY_IS_DELETED", "entity is deleted", &[]));
    }
    draft.load(table.row(index), meta.fields.len());
    if let Some(field) = table.is_deleted {
        draft.set(field, b"true");
    }
    for (name, value) in [
        ("LastModifiedDate", &context.now[..]),
        ("LastModifiedById", &context.user[..]),
        ("SystemModstamp", &context.now[..]),
    ] {
        if let Some(field) = meta.field(name) {
            draft.set(field, value);
        }
    }
    table.bury(index, if purge { Life::Purged } else { Life::Deleted });
    table.replace_buried(index, draft.finish());
    Ok(index)
}

/// What deleting parents does to their children: cascading links delete the child too,
/// others are cleared. One pass over each child table, however many parents went.
pub fn sweep(db: &mut Db, context: &WriteContext, object: usize, gone: &HashSet<Id>) {
    if gone.is_empty() {
        return;
    }
    let schema = Arc::clone(&db.schema);
    let mut draft = Draft::default();
    for (child, meta) in schema.objects.iter().enumerate() {
        for (field, spec) in meta.fields.iter().enumerate() {
            if !spec.targets.contains(&object) || db.tables[child].live == 0 {
                continue;
            }
            let table = &db.tables[child];
            let hit = |i: &u32| {
                let id = table.row(*i).get(field).and_then(|t| Id::parse(t).ok());
                id.is_some_and(|id| gone.contains(&id))
            };
            let rows: Vec<u32> = table.scan(false).filter(hit).collect();
            let cascades = spec.cascade || !spec.nillable || schema.cascades(object, &meta.name, &spec.name);
            let mut next = HashSet::new();
            for index in rows {
                if cascades {
                    let id = db.tables[child].id(index);
                    if delete(db, context, child, &id.long(), false, &mut draft).is_ok() {
                        next.insert(id);
                    }
                    continue;
                }
                draft.load(db.tables[child].row(index), meta.fields.len());
                draft.clear(field);
                if let Some(stamp) = meta.field("SystemModstamp") {
                    draft.set(stamp, &context.now);
                }
                db.tables[child].replace(index, draft.finish());
            }
            sweep(db, context, child, &next);
        }
    }
}
