//! Links to other records: naming a parent by a key, and what a link may point at.

use crate::schema::{FieldType, Object};
use crate::store::db::{Db, Life};
use crate::store::id::Id;
use crate::store::row::Draft;
use crate::store::value::RowError;

/// The one live record of `parent` whose `key` field has this value.
pub(super) fn parent_by_key(db: &Db, meta: &Object, field: usize, parent: usize, key: usize, raw: &[u8]) -> Result<Id, RowError> {
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

/// Refuses links to records that are missing, deleted, or not allowed there.
pub(super) fn references(db: &Db, meta: &Object, draft: &Draft, given: &[bool]) -> Result<(), RowError> {
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
