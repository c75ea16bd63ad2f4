//! Values that may occur once per object.

use crate::schema::Object;
use crate::store::db::Db;
use crate::store::row::Draft;
use crate::store::value::RowError;

/// Refuses a value that another live record of the object has already.
pub(super) fn unique(db: &Db, object: usize, meta: &Object, existing: Option<u32>, draft: &Draft, given: &[bool]) -> Result<(), RowError> {
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
            .find(|o| Some(*o) != existing && (!field.case_sensitive || table.row(*o).get(i) == Some(value)));
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
