//! Keyed hashes of rows as they arrived: what tells a changed record from an unchanged one.
//!
//! Taken over the typed columns, references as source keys, so it does not depend on the target. 16 bytes.

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Int32Type, Int64Type, Time32MillisecondType, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use syncline_domain::ErrorCode;
use syncline_runtime::StageError;

/// Length of a content hash.
pub const HASH_BYTES: usize = 16;

/// Keys of the loader's hashes, each for one purpose.
#[derive(Clone)]
pub struct HashKeys {
    content: [u8; 32],
    references: [u8; 32],
}

impl HashKeys {
    pub fn new(digest_key: &[u8; 32]) -> Self {
        Self {
            content: blake3::derive_key("syncline 2026 content hash", digest_key),
            references: blake3::derive_key("syncline 2026 reference hash", digest_key),
        }
    }

    /// One hash per row over the named columns, in the order given.
    pub fn rows(&self, batch: &RecordBatch, columns: &[&str]) -> Result<Vec<[u8; HASH_BYTES]>, StageError> {
        let arrays: Vec<_> = columns
            .iter()
            .map(|name| {
                batch
                    .column_by_name(name)
                    .ok_or_else(|| StageError::new(ErrorCode::DescribeChanged, format!("column {name} is missing")))
            })
            .collect::<Result<_, _>>()?;
        let mut text = Vec::with_capacity(512);
        (0..batch.num_rows())
            .map(|row| {
                text.clear();
                for array in &arrays {
                    append(&mut text, array.as_ref(), row)?;
                }
                Ok(short(&self.content, &text))
            })
            .collect()
    }

    /// The hash of a row's references, `None` for null, in the order of its fields.
    pub fn references<'a>(&self, keys: impl Iterator<Item = Option<&'a str>>) -> [u8; HASH_BYTES] {
        let mut text = Vec::with_capacity(96);
        for key in keys {
            text_cell(&mut text, key.filter(|k| !k.is_empty()));
        }
        short(&self.references, &text)
    }
}

/// What stands for the hash of deferred references of which `nulled` could not be resolved: no reading has it, so the next
/// run looks at them again.
pub fn unresolved(nulled: usize) -> [u8; HASH_BYTES] {
    let mut mark = [0; HASH_BYTES];
    if let Some(last) = mark.last_mut() {
        *last = u8::try_from(nulled).unwrap_or(u8::MAX);
    }
    mark
}

/// How many references a hash says could not be resolved.
pub fn nulled(hash: &[u8]) -> u8 {
    match hash.split_last() {
        Some((last, zeros)) if zeros.iter().all(|b| *b == 0) => *last,
        _ => 0,
    }
}

fn short(key: &[u8; 32], text: &[u8]) -> [u8; HASH_BYTES] {
    let hash = blake3::keyed_hash(key, text);
    let mut out = [0; HASH_BYTES];
    out.copy_from_slice(hash.as_bytes().split_at(HASH_BYTES).0);
    out
}

fn text_cell(text: &mut Vec<u8>, cell: Option<&str>) {
    match cell {
        None => text.extend_from_slice(&u32::MAX.to_le_bytes()),
        Some(cell) => {
            text.extend_from_slice(&u32::try_from(cell.len()).unwrap_or(u32::MAX - 1).to_le_bytes());
            text.extend_from_slice(cell.as_bytes());
        }
    }
}

fn append(text: &mut Vec<u8>, array: &dyn Array, row: usize) -> Result<(), StageError> {
    if array.is_null(row) {
        text_cell(text, None);
        return Ok(());
    }
    match array.data_type() {
        DataType::Utf8 => text_cell(text, Some(array.as_string::<i32>().value(row))),
        DataType::Boolean => text.push(u8::from(array.as_boolean().value(row))),
        DataType::Int32 => text.extend_from_slice(&array.as_primitive::<Int32Type>().value(row).to_le_bytes()),
        DataType::Int64 => text.extend_from_slice(&array.as_primitive::<Int64Type>().value(row).to_le_bytes()),
        DataType::Date32 => text.extend_from_slice(&array.as_primitive::<Date32Type>().value(row).to_le_bytes()),
        DataType::Time32(TimeUnit::Millisecond) => {
            text.extend_from_slice(&array.as_primitive::<Time32MillisecondType>().value(row).to_le_bytes())
        }
        DataType::Decimal128(_, _) => text.extend_from_slice(&array.as_primitive::<Decimal128Type>().value(row).to_le_bytes()),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            text.extend_from_slice(&array.as_primitive::<TimestampMillisecondType>().value(row).to_le_bytes());
        }
        other => {
            return Err(StageError::new(
                ErrorCode::Internal,
                format!("a column of type {other} cannot be hashed"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BooleanArray, StringArray};

    use super::*;

    #[test]
    fn equal_rows_hash_alike_and_null_differs_from_empty() {
        let keys = HashKeys::new(&[1; 32]);
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("a"), None, Some("")]));
        let flag: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), Some(true), Some(true), Some(true)]));
        let batch = RecordBatch::try_from_iter([("A", text), ("B", flag)]).expect("columns fit");
        let hashes = keys.rows(&batch, &["A", "B"]).expect("hashes");
        assert_eq!(hashes.first(), hashes.get(1));
        assert_ne!(hashes.first(), hashes.get(2));
        assert_ne!(hashes.get(2), hashes.get(3));
        assert!(keys.rows(&batch, &["C"]).is_err());
        assert_ne!(
            HashKeys::new(&[2; 32]).rows(&batch, &["A", "B"]).expect("hashes"),
            hashes,
            "another key"
        );
    }

    #[test]
    fn a_mark_tells_how_many_references_are_missing_and_no_hash_is_one() {
        assert_eq!(nulled(&unresolved(3)), 3);
        assert_eq!(nulled(&unresolved(4_000)), 255);
        assert_eq!(nulled(&HashKeys::new(&[1; 32]).references([Some("a")].into_iter())), 0);
        assert_eq!(nulled(&[]), 0);
    }

    #[test]
    fn references_do_not_run_into_each_other() {
        let keys = HashKeys::new(&[1; 32]);
        assert_ne!(
            keys.references([Some("ab"), Some("c")].into_iter()),
            keys.references([Some("a"), Some("bc")].into_iter())
        );
        assert_eq!(
            keys.references([None, Some("")].into_iter()),
            keys.references([None, None].into_iter()),
            "an empty key is null"
        );
    }
}
