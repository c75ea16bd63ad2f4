//! A column being built from text cells, under the types of `connect::schema`.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Int32Builder, Int64Builder, StringBuilder, Time32MillisecondBuilder,
    TimestampMillisecondBuilder,
};
use arrow_schema::DataType;
use syncline_connect::schema::{DECIMAL_SCALE_MAX, data_type};
use syncline_domain::describe::FieldType;

use crate::decimal::{parse_decimal, parse_integer};
use crate::moment::{parse_date, parse_datetime, parse_time};

/// The text does not fit the column's type.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unfit;

/// Collects the cells of one column.
pub(crate) enum ColumnBuilder {
    Boolean(BooleanBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Decimal(Decimal128Builder, DataType, u32),
    Date(Date32Builder),
    Moment(TimestampMillisecondBuilder, DataType),
    Time(Time32MillisecondBuilder),
    Text(StringBuilder),
}

impl ColumnBuilder {
    pub(crate) fn new(field_type: FieldType, scale: u32) -> Self {
        let to = data_type(field_type, scale);
        match field_type {
            FieldType::Boolean => Self::Boolean(BooleanBuilder::new()),
            FieldType::Int => Self::Int32(Int32Builder::new()),
            FieldType::Long => Self::Int64(Int64Builder::new()),
            FieldType::Number => Self::Decimal(
                Decimal128Builder::new().with_data_type(to.clone()),
                to,
                scale.min(DECIMAL_SCALE_MAX),
            ),
            FieldType::Date => Self::Date(Date32Builder::new()),
            FieldType::DateTime => Self::Moment(TimestampMillisecondBuilder::new().with_data_type(to.clone()), to),
            FieldType::Time => Self::Time(Time32MillisecondBuilder::new()),
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
            | FieldType::Other => Self::Text(StringBuilder::new()),
        }
    }

    /// Adds a cell; empty is null, because the platform stores an empty text as null.
    #[inline]
    pub(crate) fn append(&mut self, cell: &str) -> Result<(), Unfit> {
        if cell.is_empty() {
            self.append_null();
            return Ok(());
        }
        let bytes = cell.as_bytes();
        match self {
            Self::Text(b) => b.append_value(cell),
            Self::Boolean(b) => b.append_value(match cell {
                "true" | "TRUE" | "True" | "1" => true,
                "false" | "FALSE" | "False" | "0" => false,
                _ => return Err(Unfit),
            }),
            Self::Int32(b) => b.append_value(parse_integer(bytes).and_then(|v| i32::try_from(v).ok()).ok_or(Unfit)?),
            Self::Int64(b) => b.append_value(parse_integer(bytes).ok_or(Unfit)?),
            Self::Decimal(b, _, scale) => b.append_value(parse_decimal(bytes, *scale).ok_or(Unfit)?),
            Self::Date(b) => b.append_value(parse_date(bytes).ok_or(Unfit)?),
            Self::Moment(b, _) => b.append_value(parse_datetime(bytes).ok_or(Unfit)?),
            Self::Time(b) => b.append_value(parse_time(bytes).ok_or(Unfit)?),
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn append_null(&mut self) {
        match self {
            Self::Text(b) => b.append_null(),
            Self::Boolean(b) => b.append_null(),
            Self::Int32(b) => b.append_null(),
            Self::Int64(b) => b.append_null(),
            Self::Decimal(b, ..) => b.append_null(),
            Self::Date(b) => b.append_null(),
            Self::Moment(b, _) => b.append_null(),
            Self::Time(b) => b.append_null(),
        }
    }

    /// The column so far, and an empty builder with about the room that this one needed.
    pub(crate) fn take(&mut self) -> ArrayRef {
        match self {
            Self::Text(b) => {
                let (rows, bytes) = (b.len(), b.values_slice().len());
                let taken = b.finish();
                *b = StringBuilder::with_capacity(rows, bytes);
                Arc::new(taken)
            }
            Self::Boolean(b) => Arc::new(b.finish()),
            Self::Int32(b) => Arc::new(b.finish()),
            Self::Int64(b) => Arc::new(b.finish()),
            Self::Decimal(b, to, _) => {
                let (rows, taken) = (b.len(), b.finish());
                *b = Decimal128Builder::with_capacity(rows).with_data_type(to.clone());
                Arc::new(taken)
            }
            Self::Date(b) => Arc::new(b.finish()),
            Self::Moment(b, to) => {
                let (rows, taken) = (b.len(), b.finish());
                *b = TimestampMillisecondBuilder::with_capacity(rows).with_data_type(to.clone());
                Arc::new(taken)
            }
            Self::Time(b) => Arc::new(b.finish()),
        }
    }
}
