//! Deleting records, and what that does to the records that point at them.

use std::collections::HashSet;
use std::sync::Arc;

use crate::store::db::{Db, Life};
use crate::store::id::Id;
use crate::store::row::Draft;
use crate::store::rules::WriteContext;
use crate::store::value::RowError;

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
