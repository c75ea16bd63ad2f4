//! Arrow rows as an ingest upload, with the digest of exactly what was written.
//!
//! Cells are quoted only when they must be. Numbers are plain and short, moments are UTC with milliseconds and `Z`.
//! Leading and trailing blanks of texts are kept: the target decides about them, the digest does not depend on them.

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Int32Type, Int64Type, Time32MillisecondType, TimestampMillisecondType};
use arrow_array::{Array, BooleanArray, Date32Array, Decimal128Array, Int32Array, Int64Array, LargeStringArray, RecordBatch};
use arrow_array::{StringArray, Time32MillisecondArray, TimestampMillisecondArray};
use arrow_schema::{DataType, TimeUnit};
use syncline_connect::digest::RowDigest;
use syncline_connect::{Column, Nulls, RowDigester};
use syncline_domain::ObjectName;

use crate::decimal::write_decimal;
use crate::moment::{write_date, write_datetime, write_time};
use crate::person::BothKinds;

/// Sets a field to null (Bulk API 2.0, "Valid CSV record rows"); an empty cell leaves it alone.
const NULL: &[u8] = b"#N/A";

/// Room for one cell that is not text: 39 digits, a sign, a point.
const SCRATCH_BYTES: usize = 64;

enum Cells<'a> {
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    Boolean(&'a BooleanArray),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Decimal(&'a Decimal128Array, i8),
    Date(&'a Date32Array),
    Moment(&'a TimestampMillisecondArray),
    Time(&'a Time32MillisecondArray),
}

impl<'a> Cells<'a> {
    fn of(array: &'a dyn Array) -> Self {
        match array.data_type() {
            DataType::Utf8 => Self::Text(array.as_string()),
            DataType::LargeUtf8 => Self::LargeText(array.as_string()),
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Int32 => Self::Int32(array.as_primitive::<Int32Type>()),
            DataType::Int64 => Self::Int64(array.as_primitive::<Int64Type>()),
            DataType::Decimal128(_, scale) => Self::Decimal(array.as_primitive::<Decimal128Type>(), *scale),
            DataType::Date32 => Self::Date(array.as_primitive::<Date32Type>()),
            DataType::Timestamp(TimeUnit::Millisecond, _) => Self::Moment(array.as_primitive::<TimestampMillisecondType>()),
            DataType::Time32(TimeUnit::Millisecond) => Self::Time(array.as_primitive::<Time32MillisecondType>()),
            other => panic!("{other} is no type of connect::schema; a batch of another schema cannot be written"),
        }
    }

    /// The cell's text, `None` for null. What is not text is written to `scratch`.
    #[inline]
    fn text<'s>(&self, row: usize, scratch: &'s mut Vec<u8>) -> Option<&'s str>
    where
        'a: 's,
    {
        scratch.clear();
        match self {
            Self::Text(a) => return a.is_valid(row).then(|| a.value(row)),
            Self::LargeText(a) => return a.is_valid(row).then(|| a.value(row)),
            Self::Boolean(a) => return a.is_valid(row).then(|| if a.value(row) { "true" } else { "false" }),
            Self::Int32(a) if a.is_valid(row) => scratch.extend_from_slice(itoa::Buffer::new().format(a.value(row)).as_bytes()),
            Self::Int64(a) if a.is_valid(row) => scratch.extend_from_slice(itoa::Buffer::new().format(a.value(row)).as_bytes()),
            Self::Decimal(a, scale) if a.is_valid(row) => write_decimal(scratch, a.value(row), *scale),
            Self::Date(a) if a.is_valid(row) => write_date(scratch, a.value(row)),
            Self::Moment(a) if a.is_valid(row) => write_datetime(scratch, a.value(row)),
            Self::Time(a) if a.is_valid(row) => write_time(scratch, a.value(row)),
            Self::Int32(_) | Self::Int64(_) | Self::Decimal(..) | Self::Date(_) | Self::Moment(_) | Self::Time(_) => return None,
        }
        Some(std::str::from_utf8(scratch).expect("digits and punctuation"))
    }

    fn is_text(&self) -> bool {
        matches!(self, Self::Text(_) | Self::LargeText(_))
    }
}

/// The header line.
pub fn write_header(columns: &[Column], out: &mut Vec<u8>) {
    for (at, column) in columns.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(column.name.as_str().as_bytes());
    }
    out.push(b'\n');
}

/// Appends a batch's rows and their digests. Where an object has rows of two kinds, a null that is not of a row's kind
/// leaves the target alone.
///
/// # Panics
/// When the batch's columns are not those of `columns` in number, or of a type that `connect::schema` does not use.
pub fn write_rows(
    object: &ObjectName,
    columns: &[Column],
    batch: &RecordBatch,
    nulls: Nulls,
    digester: &RowDigester,
    out: &mut Vec<u8>,
    digests: &mut Vec<RowDigest>,
) {
    assert_eq!(columns.len(), batch.num_columns(), "one column of the batch per column of the job");
    let cells: Vec<_> = columns
        .iter()
        .zip(batch.columns())
        .map(|(column, array)| (column.field_type, Cells::of(array.as_ref())))
        .collect();
    let null = match nulls {
        Nulls::Omit => b"",
        Nulls::Clear => NULL,
    };
    let kinds = BothKinds::of_columns(object, columns).map(|kinds| (kinds.persons(batch), kinds));
    let mut hasher = digester.hasher();
    let mut scratch = Vec::with_capacity(SCRATCH_BYTES);
    digests.reserve(batch.num_rows());
    for row in 0..batch.num_rows() {
        let begin = out.len();
        for (at, (field_type, cells)) in cells.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            match cells.text(row, &mut scratch).filter(|t| !t.is_empty()) {
                None => {
                    hasher.cell(*field_type, None);
                    let carries = |(persons, kinds): &(BooleanArray, BothKinds)| kinds.carries(persons.value(row), at);
                    if kinds.as_ref().is_none_or(carries) {
                        out.extend_from_slice(null);
                    }
                }
                Some(text) => {
                    hasher.cell(*field_type, Some(text));
                    if cells.is_text() {
                        write_text(out, text.as_bytes());
                    } else {
                        out.extend_from_slice(text.as_bytes());
                    }
                }
            }
        }
        if out.len() == begin {
            // A line without a character is no record to any reader.
            out.extend_from_slice(b"\"\"");
        }
        out.push(b'\n');
        digests.push(hasher.finish_and_reset());
    }
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    // Without an early exit this is vectorised; cells that need quotes are rare.
    let special = text.iter().fold(false, |found, b| found | matches!(b, b',' | b'"' | b'\n' | b'\r'));
    let blank = |b: Option<&u8>| b.is_some_and(u8::is_ascii_whitespace);
    if !special && !blank(text.first()) && !blank(text.last()) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'"', rest) {
        let (before, after) = rest.split_at(at + 1);
        out.extend_from_slice(before);
        out.push(b'"');
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
