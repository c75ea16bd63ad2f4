//! Deleting records, and what that does to the records that point at them.

use std::collections::HashSet;
use std::sync::Arc;

use crate::schema::Object;
use crate::store::db::{Db, Life};
use crate::store::derive;
use crate::store::id::Id;
use crate::store::locks;
use crate::store::row::Draft;
use crate::store::rules::triggers::{self, Event};
use crate::store::rules::{WriteContext, permitted};
use crate::store::rules::{person, relations};
use crate::store::setup::PermissionDoc;
use crate::store::value::RowError;

/// Records a refused deletion lists.
const HOLDERS_SHOWN_MAX: usize = 5;

/// Deletes one record; `purge` skips the recycle bin.
pub fn delete(db: &mut Db, context: &WriteContext, object: usize, raw: &[u8], purge: bool, draft: &mut Draft) -> Result<u32, RowError> {
    let id = Id::parse(raw).map_err(|_| {
        let shown = String::from_utf8_lossy(raw);
        RowError::new("MALFORMED_ID", format!("malformed id {shown}"), &["Id"])
    })?;
    let schema = Arc::clone(&db.schema);
    let meta = &schema.objects[object];
    let table = &db.tables[object];
    let index = (id.prefix() == meta.prefix)
        .then(|| table.find(&id))
        .flatten()
        .ok_or_else(|| RowError::new("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", &[]))?;
    if table.life(index) != Life::Live {
        if !purge {
            return Err(RowError::new("ENTITY_IS_DELETED", "entity is deleted", &[]));
        }
        bury(db, context, object, index, purge, draft);
        return Ok(index);
    }
    if schema.contact_relations {
        relations::before_delete(db, object, index)?;
    }
    if let Some(person) = &schema.person {
        person::untouchable(db, person, object, index)?;
    }
    if let Some(denied) = &context.denied {
        locks::check(denied, std::iter::once(&id.long()[..]))?;
    }
    let Some(setup) = context.setup.object(object) else {
        restricted(db, object, meta, index)?;
        bury(db, context, object, index, purge, draft);
        return Ok(index);
    };
    permitted(setup, PermissionDoc::Delete)?;
    draft.load(db.tables[object].row(index), meta.fields.len());
    let before = db.tables[object].row(index).clone();
    triggers::before(setup, Event::BeforeDelete, context, meta, Some(&before), draft, &mut [])?;
    restricted(db, object, meta, index)?;
    let savepoint = db.begin();
    bury(db, context, object, index, purge, draft);
    match triggers::after(setup, Event::AfterDelete, db, context, object, index, Some(&before)) {
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

/// Refuses to delete a record that others hold on to.
fn restricted(db: &mut Db, object: usize, meta: &Object, index: u32) -> Result<(), RowError> {
    if meta.restricting.is_empty() {
        return Ok(());
    }
    let id = db.tables[object].id(index).long();
    for (child, field) in &meta.restricting {
        db.tables[*child].ensure_index(*field);
        let table = &db.tables[*child];
        let holders = table.by_key(*field, &id).unwrap_or_default();
        // The index ignores case, ids do not.
        let holds = |i: &&u32| table.row(**i).get(*field) == Some(&id[..]);
        let shown: Vec<String> = holders
            .iter()
            .filter(holds)
            .take(HOLDERS_SHOWN_MAX)
            .map(|i| table.id(*i).text())
            .collect();
        if !shown.is_empty() {
            let name = meta.field("Name").and_then(|f| db.tables[object].row(index).get(f));
            let name = name.map_or_else(|| meta.label.clone(), |n| String::from_utf8_lossy(n).into_owned());
            let plural = db.schema.objects[*child]
                .describe
                .get("labelPlural")
                .and_then(serde_json::Value::as_str);
            return Err(RowError::new(
                "DELETE_FAILED",
                format!(
                    "Your attempt to delete {name} could not be completed because it is associated with the following {}.: {}",
                    plural.unwrap_or("records").to_lowercase(),
                    shown.join(", ")
                ),
                &[],
            ));
        }
    }
    Ok(())
}

pub(super) fn bury(db: &mut Db, context: &WriteContext, object: usize, index: u32, purge: bool, draft: &mut Draft) {
    let schema = Arc::clone(&db.schema);
    let meta = &schema.objects[object];
    derive::before_delete(db, context, object, index);
    let table = &mut db.tables[object];
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
                    next.insert(db.tables[child].id(index));
                    bury(db, context, child, index, false, &mut draft);
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
