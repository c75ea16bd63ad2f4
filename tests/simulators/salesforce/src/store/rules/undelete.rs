//! Taking records back out of the recycle bin, with what their deletion took along.

use std::sync::Arc;

use crate::schema::{FieldType, Object};
use crate::store::db::{Db, Life};
use crate::store::id::Id;
use crate::store::row::{Draft, Row};
use crate::store::rules::{WriteContext, person};
use crate::store::value::RowError;

/// Restores one record and the children that went by cascade in the same deletion. Links
/// the deletion cleared stay cleared; a merged loser comes back without its former links.
pub fn undelete(db: &mut Db, context: &WriteContext, id: &Id) -> Result<(), RowError> {
    let absent = || RowError::new("UNDELETE_FAILED", "Entity is not in the recycle bin", &[]);
    let (object, index) = db.locate(id).ok_or_else(absent)?;
    if db.tables[object].life(index) != Life::Deleted {
        return Err(absent());
    }
    if let Some(person) = &Arc::clone(&db.schema).person {
        person::untouchable(db, person, object, index)?;
    }
    let savepoint = db.begin();
    match restore(db, context, object, index) {
        Ok(()) => {
            db.commit(savepoint);
            Ok(())
        }
        Err(error) => {
            db.roll_back(savepoint);
            Err(error)
        }
    }
}

fn restore(db: &mut Db, context: &WriteContext, object: usize, index: u32) -> Result<(), RowError> {
    let schema = Arc::clone(&db.schema);
    let meta = &schema.objects[object];
    let old = db.tables[object].row(index).clone();
    unique(db, object, meta, &old)?;
    let mut draft = Draft::default();
    draft.load(&old, meta.fields.len());
    for name in ["IsDeleted", "MasterRecordId"] {
        if let Some(field) = meta.field(name) {
            draft.clear(field);
        }
    }
    parents(db, meta, &mut draft)?;
    for (name, value) in [
        ("LastModifiedDate", &context.now[..]),
        ("LastModifiedById", &context.user[..]),
        ("SystemModstamp", &context.now[..]),
    ] {
        if let Some(field) = meta.field(name) {
            draft.set(field, value);
        }
    }
    db.tables[object].revive(index, draft.finish());
    let deleted_at = meta.field("SystemModstamp").and_then(|f| old.get(f)).map(<[u8]>::to_vec);
    let id = db.tables[object].id(index);
    children(db, context, object, &id, deleted_at.as_deref())?;
    // A Bulk job takes the shadow along at its end, under a stamp of its own.
    let shadow = schema.person.as_ref().and_then(|p| person::shadow(db, p, object, index));
    if let (Some(person), Some(at)) = (&schema.person, shadow)
        && db.tables[person.contact].life(at) == Life::Deleted
    {
        return restore(db, context, person.contact, at);
    }
    Ok(())
}

/// Another record may have taken a unique value meanwhile.
fn unique(db: &Db, object: usize, meta: &Object, row: &Row) -> Result<(), RowError> {
    for (field, spec) in meta.fields.iter().enumerate().filter(|(_, f)| f.unique) {
        let taken = row.get(field).and_then(|value| db.tables[object].by_key(field, value));
        if let Some(other) = taken.unwrap_or_default().first() {
            let message = format!(
                "duplicate value found: {} duplicates value on record with id: {}",
                spec.name,
                db.tables[object].id(*other)
            );
            return Err(RowError::new("DUPLICATE_VALUE", message, &[&spec.name]));
        }
    }
    Ok(())
}

/// Links to records that are not there any more are cleared, or hold the record back.
fn parents(db: &Db, meta: &Object, draft: &mut Draft) -> Result<(), RowError> {
    for (field, spec) in meta.fields.iter().enumerate().filter(|(_, f)| f.kind == FieldType::Reference) {
        // A person's shadow comes back right after the account.
        if meta.name == "Account" && spec.name == "PersonContactId" {
            continue;
        }
        let lost = draft.get(field).is_some_and(|id| db.locate_text(id).is_none());
        if lost && !spec.nillable {
            let message = format!("{}: the record it belongs to is deleted", spec.label);
            return Err(RowError::new("UNDELETE_FAILED", message, &[&spec.name]));
        }
        if lost {
            draft.clear(field);
        }
    }
    Ok(())
}

fn children(db: &mut Db, context: &WriteContext, parent: usize, id: &Id, deleted_at: Option<&[u8]>) -> Result<(), RowError> {
    let schema = Arc::clone(&db.schema);
    for (child, meta) in schema.objects.iter().enumerate() {
        let Some(stamp) = meta.field("SystemModstamp") else { continue };
        for (field, spec) in meta.fields.iter().enumerate() {
            let cascades = spec.cascade || !spec.nillable || schema.cascades(parent, &meta.name, &spec.name);
            if !cascades || !spec.targets.contains(&parent) {
                continue;
            }
            let table = &db.tables[child];
            let went_along = |i: &u32| {
                let row = table.row(*i);
                table.life(*i) == Life::Deleted && row.get(field) == Some(&id.long()[..]) && row.get(stamp) == deleted_at
            };
            let rows: Vec<u32> = table.scan(true).filter(went_along).collect();
            for index in rows {
                restore(db, context, child, index)?;
            }
        }
    }
    Ok(())
}
