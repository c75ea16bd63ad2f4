//! Picklist values that depend on the row: on its record type, or on a controlling field.

use crate::schema::{Field, Object};
use crate::store::db::Db;
use crate::store::row::Draft;
use crate::store::setup::ObjectSetup;
use crate::store::value::RowError;

fn bad_value(field: &Field, value: &[u8]) -> RowError {
    RowError::new(
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        format!(
            "{}: bad value for restricted picklist field: {}",
            field.label,
            String::from_utf8_lossy(value)
        ),
        &[&field.name],
    )
}

/// The developer name of a row's record type; `Master` when it has none.
pub fn record_type_name(db: &Db, meta: &Object, draft: &Draft) -> String {
    let name = || -> Option<String> {
        let (object, index) = db.locate_text(draft.get(meta.field("RecordTypeId")?)?)?;
        let field = db.schema.objects[object].field("DeveloperName")?;
        Some(String::from_utf8_lossy(db.tables[object].row(index).get(field)?).into_owned())
    };
    name().unwrap_or_else(|| "Master".into())
}

/// Gives a new row the object's default record type, and the type's own default values.
pub(super) fn defaults(setup: &ObjectSetup, db: &Db, meta: &Object, draft: &mut Draft, given: &[bool]) {
    if let (Some(wanted), Some(field)) = (&setup.default_record_type, meta.field("RecordTypeId"))
        && !given[field]
        && let Some(id) = record_type_id(db, meta, wanted)
    {
        draft.set(field, id.as_bytes());
    }
    if setup.record_type_values.is_empty() {
        return;
    }
    let own = record_type_name(db, meta, draft);
    for entry in setup.record_type_values.iter().filter(|e| e.record_type == own) {
        if !given[entry.field]
            && let Some(default) = &entry.default
        {
            draft.set(entry.field, default.as_bytes());
        }
    }
}

fn record_type_id(db: &Db, meta: &Object, developer: &str) -> Option<String> {
    let types = &db.schema.objects[db.schema.object("RecordType")?];
    let (name, of) = (types.field("DeveloperName")?, types.field("SobjectType")?);
    let table = db.table("RecordType");
    let index = table.scan(false).find(|i| {
        let row = table.row(*i);
        row.get(name) == Some(developer.as_bytes()) && row.get(of) == Some(meta.name.as_bytes())
    })?;
    Some(table.id(index).text())
}

/// Refuses values outside the row's record type. A changed record type puts every value to the test.
pub(super) fn by_record_type(setup: &ObjectSetup, db: &Db, meta: &Object, draft: &Draft, given: &[bool]) -> Result<(), RowError> {
    if setup.record_type_values.is_empty() {
        return Ok(());
    }
    let own = record_type_name(db, meta, draft);
    let moved = meta.field("RecordTypeId").is_some_and(|f| given[f]);
    for entry in setup.record_type_values.iter().filter(|e| e.record_type == own) {
        let Some(value) = draft.get(entry.field).filter(|_| moved || given[entry.field]) else {
            continue;
        };
        for part in value.split(|c| *c == b';') {
            if !entry.values.iter().any(|v| v.as_bytes() == part) {
                return Err(bad_value(&meta.fields[entry.field], part));
            }
        }
    }
    Ok(())
}

/// Refuses values the controlling field's value does not allow, in restricted dependent picklists.
pub(super) fn by_controller(meta: &Object, draft: &Draft, given: &[bool]) -> Result<(), RowError> {
    for index in &meta.dependents {
        let field = &meta.fields[*index];
        let Some(dependency) = &field.dependency else { continue };
        if !field.restricted || !(given[*index] || given[dependency.controller]) {
            continue;
        }
        let Some(value) = draft.get(*index) else { continue };
        let controller = draft.get(dependency.controller);
        for part in value.split(|c| *c == b';') {
            if !dependency.allows(controller, part) {
                return Err(bad_value(field, part));
            }
        }
    }
    Ok(())
}
