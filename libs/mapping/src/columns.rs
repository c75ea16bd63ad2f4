//! Renaming the columns of batches from the source's names to the target's.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use syncline_domain::plan::FieldPlan;

use crate::MappingError;

/// Source column -> target column, for one object of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnNames {
    names: HashMap<String, String>,
}

impl ColumnNames {
    /// The renaming that a plan's fields stand for.
    #[must_use]
    pub fn new(fields: &[FieldPlan]) -> Self {
        let names = fields
            .iter()
            .map(|f| (f.name.as_str().to_owned(), f.target.as_str().to_owned()))
            .collect();
        Self { names }
    }

    /// No column changes its name.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.names.iter().all(|(from, to)| from == to)
    }

    /// The schema under the target's names; types and metadata stay.
    ///
    /// # Errors
    /// [`MappingError::Unplanned`] for a column that the plan does not have.
    pub fn schema(&self, schema: &Schema) -> Result<SchemaRef, MappingError> {
        let fields = schema
            .fields()
            .iter()
            .map(|field| match self.names.get(field.name()) {
                Some(name) if name == field.name() => Ok(Arc::clone(field)),
                Some(name) => Ok(Arc::new(field.as_ref().clone().with_name(name))),
                None => Err(MappingError::Unplanned {
                    column: field.name().clone(),
                }),
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
    }

    /// The batch under the target's names; its columns are shared, not copied.
    ///
    /// # Errors
    /// As [`ColumnNames::schema`].
    pub fn rename(&self, batch: &RecordBatch) -> Result<RecordBatch, MappingError> {
        RecordBatch::try_new(self.schema(batch.schema_ref())?, batch.columns().to_vec()).map_err(|_| MappingError::Batch)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashMap;

    use arrow_array::{ArrayRef, StringArray};
    use arrow_schema::{DataType, Field};
    use syncline_domain::FieldName;
    use syncline_domain::describe::FieldType;
    use syncline_domain::plan::FieldRole;

    use super::*;

    fn field(name: &str, target: &str) -> FieldPlan {
        FieldPlan {
            name: FieldName::new(name).unwrap(),
            target: FieldName::new(target).unwrap(),
            field_type: FieldType::String,
            length: 80,
            precision: 0,
            scale: 0,
            nillable: true,
            unique: false,
            updateable: true,
            role: FieldRole::Value,
            mask: None,
        }
    }

    fn batch(columns: &[&str]) -> RecordBatch {
        let fields: Vec<Field> = columns
            .iter()
            .map(|c| Field::new(*c, DataType::Utf8, true).with_metadata(HashMap::from([("kept".to_owned(), "yes".to_owned())])))
            .collect();
        let values = columns
            .iter()
            .map(|_| Arc::new(StringArray::from(vec![Some("a"), None])) as ArrayRef)
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), values).unwrap()
    }

    #[test]
    fn columns_change_their_name_and_nothing_else() {
        let names = ColumnNames::new(&[field("Id", "Id"), field("Email", "Mail__c")]);
        let before = batch(&["Id", "Email"]);
        let after = names.rename(&before).unwrap();
        let schema = after.schema();
        let found: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(found, ["Id", "Mail__c"]);
        assert!(schema.fields().iter().all(|f| f.metadata().contains_key("kept")));
        assert!(Arc::ptr_eq(before.column(1), after.column(1)));
        assert!(!names.is_identity() && ColumnNames::new(&[field("Id", "Id")]).is_identity());
    }

    #[test]
    fn a_column_that_is_not_planned_is_an_error() {
        let names = ColumnNames::new(&[field("Id", "Id")]);
        let error = names.rename(&batch(&["Id", "Stray__c"])).unwrap_err();
        assert_eq!(
            error,
            MappingError::Unplanned {
                column: "Stray__c".to_owned()
            }
        );
    }
}
