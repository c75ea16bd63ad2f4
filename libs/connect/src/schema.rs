//! From planned fields to Arrow: the types of a batch, with what Arrow cannot say as metadata per field.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use syncline_domain::describe::FieldType;
use syncline_domain::plan::{FieldPlan, FieldRole};

/// Decimals are carried with all the room there is: a described precision is a display width, not a promise.
pub const DECIMAL_PRECISION: u8 = 38;
/// The largest scale that a describe can name (numbers have a scale of up to 17, coordinates 15).
pub const DECIMAL_SCALE_MAX: u32 = 18;

/// The Arrow type that a field travels as.
#[must_use]
pub fn data_type(field_type: FieldType, scale: u32) -> DataType {
    match field_type {
        FieldType::Boolean => DataType::Boolean,
        FieldType::Int => DataType::Int32,
        FieldType::Long => DataType::Int64,
        FieldType::Number => DataType::Decimal128(DECIMAL_PRECISION, i8::try_from(scale.min(DECIMAL_SCALE_MAX)).unwrap_or(0)),
        FieldType::Date => DataType::Date32,
        FieldType::DateTime => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        FieldType::Time => DataType::Time32(TimeUnit::Millisecond),
        FieldType::Id
        | FieldType::Reference
        | FieldType::String
        | FieldType::TextArea
        | FieldType::Email
        | FieldType::Phone
        | FieldType::Url
        | FieldType::EncryptedString
        | FieldType::Picklist
        | FieldType::MultiPicklist
        | FieldType::ComboBox
        | FieldType::Base64
        | FieldType::Other => DataType::Utf8,
    }
}

/// The schema of an object's batches: one column per planned field, in plan order, under the source's names.
#[must_use]
pub fn batch_schema(fields: &[FieldPlan]) -> SchemaRef {
    let fields: Vec<Field> = fields
        .iter()
        .map(|f| {
            let mut metadata = HashMap::new();
            if let FieldRole::Reference(reference) = &f.role {
                let to: Vec<&str> = reference.to.iter().map(|o| o.as_str()).collect();
                metadata.insert("syncline.reference_to".to_owned(), to.join(","));
            }
            if let Some(mask) = &f.mask {
                metadata.insert("syncline.classified".to_owned(), mask.why.clone());
            }
            Field::new(f.name.as_str(), data_type(f.field_type, f.scale), true).with_metadata(metadata)
        })
        .collect();
    Arc::new(Schema::new(fields))
}
