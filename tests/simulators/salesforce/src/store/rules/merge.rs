//! Merging records into one, as the SOAP call and the user interface do: what pointed at
//! the losers points at the master, and the losers go to the recycle bin with the name of
//! their master.

use std::collections::HashSet;
use std::sync::Arc;

use crate::store::db::Db;
use crate::store::id::Id;
use crate::store::row::Draft;
use crate::store::rules::delete::bury;
use crate::store::rules::{WriteContext, person};
use crate::store::value::RowError;

/// Losers of one merge ("merge()", SOAP API Developer Guide).
const LOSERS_MAX: usize = 2;
/// The field that tells a loser's master; only objects that have it can be merged.
const MASTER: &str = "MasterRecordId";
/// Links that tell what a record is, and stay.
const KEPT: [&str; 2] = [MASTER, "PersonContactId"];

/// Merges `losers` into `master`; the ids of the records that changed their links.
pub fn merge(db: &mut Db, context: &WriteContext, master: &Id, losers: &[Id]) -> Result<Vec<Id>, RowError> {
    let (object, rows) = check(db, master, losers)?;
    let shadows = match &Arc::clone(&db.schema).person {
        Some(person) => person::shadows(db, person, object, master, &rows)?,
        None => None,
    };
    let mut moved = Vec::new();
    if let Some((contacts, master, rows)) = shadows {
        moved = fuse(db, context, contacts, &master, rows);
    }
    moved.extend(fuse(db, context, object, master, rows));
    touch(db, context, master);
    Ok(moved)
}

/// Moves the links of the losers' rows to the master and buries them.
fn fuse(db: &mut Db, context: &WriteContext, object: usize, master: &Id, rows: Vec<u32>) -> Vec<Id> {
    let gone: HashSet<Id> = rows.iter().map(|i| db.tables[object].id(*i)).collect();
    let moved = relink(db, context, object, master, &gone);
    let schema = Arc::clone(&db.schema);
    let meta = &schema.objects[object];
    let mut draft = Draft::default();
    for index in rows {
        bury(db, context, object, index, false, &mut draft);
        draft.load(db.tables[object].row(index), meta.fields.len());
        if let Some(field) = meta.field(MASTER) {
            draft.set(field, &master.long());
        }
        db.tables[object].replace_buried(index, draft.finish());
    }
    moved
}

/// The object and the losers' positions.
fn check(db: &Db, master: &Id, losers: &[Id]) -> Result<(usize, Vec<u32>), RowError> {
    if losers.is_empty() || losers.len() > LOSERS_MAX {
        let message = format!("A merge takes one to {LOSERS_MAX} records to merge");
        return Err(RowError::new("INVALID_NUMBER_OF_RECORDS_TO_MERGE", message, &[]));
    }
    let live = |id: &Id| -> Result<(usize, u32), RowError> {
        let unknown = || RowError::new("INVALID_CROSS_REFERENCE_KEY", format!("invalid cross reference id {id}"), &[]);
        let (object, index) = db.locate(id).ok_or_else(unknown)?;
        match db.tables[object].find_live(id) {
            Some(_) => Ok((object, index)),
            None => Err(RowError::new("ENTITY_IS_DELETED", "entity is deleted", &[])),
        }
    };
    let (object, _) = live(master)?;
    let meta = &db.schema.objects[object];
    if meta.field(MASTER).is_none() {
        let message = format!("{} records can't be merged", meta.name);
        return Err(RowError::new("INVALID_TYPE_FOR_OPERATION", message, &[]));
    }
    let mut seen = HashSet::from([*master]);
    let mut rows = Vec::new();
    for loser in losers {
        let (other, index) = live(loser)?;
        if other != object || !seen.insert(*loser) {
            let message = format!("{loser} can't be merged into {master}");
            return Err(RowError::new("INVALID_ID_FIELD", message, &[]));
        }
        rows.push(index);
    }
    Ok((object, rows))
}

/// Points every link to a loser at the master; a link of the master itself is cleared.
fn relink(db: &mut Db, context: &WriteContext, object: usize, master: &Id, gone: &HashSet<Id>) -> Vec<Id> {
    let schema = Arc::clone(&db.schema);
    let mut draft = Draft::default();
    let mut moved = Vec::new();
    for (child, meta) in schema.objects.iter().enumerate() {
        let links: Vec<usize> = (0..meta.fields.len())
            .filter(|f| meta.fields[*f].targets.contains(&object) && !KEPT.contains(&meta.fields[*f].name.as_str()))
            .collect();
        if links.is_empty() || db.tables[child].live == 0 {
            continue;
        }
        let rows: Vec<u32> = db.tables[child].scan(false).collect();
        for index in rows {
            let row = db.tables[child].row(index).clone();
            let points = |field: &usize| row.get(*field).and_then(|t| Id::parse(t).ok()).is_some_and(|id| gone.contains(&id));
            let hit: Vec<usize> = links.iter().copied().filter(points).collect();
            let id = db.tables[child].id(index);
            if hit.is_empty() || gone.contains(&id) {
                continue;
            }
            draft.load(&row, meta.fields.len());
            for field in hit {
                if id == *master {
                    draft.clear(field);
                } else {
                    draft.set(field, &master.long());
                }
            }
            if let Some(stamp) = meta.field("SystemModstamp") {
                draft.set(stamp, &context.now);
            }
            db.tables[child].replace(index, draft.finish());
            if id != *master {
                moved.push(id);
            }
        }
    }
    moved
}

fn touch(db: &mut Db, context: &WriteContext, id: &Id) {
    let Some((object, index)) = db.locate(id) else { return };
    let schema = Arc::clone(&db.schema);
    let meta = &schema.objects[object];
    let mut draft = Draft::default();
    draft.load(db.tables[object].row(index), meta.fields.len());
    for (name, value) in [
        ("LastModifiedDate", &context.now[..]),
        ("LastModifiedById", &context.user[..]),
        ("SystemModstamp", &context.now[..]),
    ] {
        if let Some(field) = meta.field(name) {
            draft.set(field, value);
        }
    }
    db.tables[object].replace(index, draft.finish());
}
