//! Field mapping: which target field a source field becomes, and the same renaming applied to Arrow columns.
//!
//! Guarantees: pure; a mapping that would write one target field twice is refused before anything is planned; columns
//! change their name and nothing else, so a renamed batch shares its buffers with the original.
//! It must never look at a value.
//!
//! Start with [`ObjectMapping`] (what the sync says) and [`ColumnNames`] (what the plan says, applied to batches).

mod columns;
mod object;

use syncline_domain::FieldName;
use thiserror::Error;

pub use columns::ColumnNames;
pub use object::ObjectMapping;

/// Why a mapping can't be followed. Holds names only.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MappingError {
    #[error("`{first}` and `{second}` are both mapped to `{target}`")]
    Collision {
        target: FieldName,
        first: FieldName,
        second: FieldName,
    },
    #[error("column `{column}` is not in the plan")]
    Unplanned { column: String },
    #[error("the renamed columns do not make a batch")]
    Batch,
}
