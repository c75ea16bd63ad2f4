//! The body of a batch message.
//!
//! Plain form: one byte of kind; for data the length of a small side note, the note, then the compressed IPC stream;
//! for the end of a partition the totals. All of it is sealed with the batch's name as associated data.

use std::fmt;
use std::io::Cursor;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use syncline_domain::BatchName;
use thiserror::Error;

use crate::seal::{SealError, SealingKey};

/// A sealed batch is at most this large, so that with headers it stays below the bus's 1 MiB.
pub const BATCH_BYTES_MAX: usize = 900 * 1024;

/// Level 1 compresses 3.7:1 at 360 MB/s; higher levels cost more than they save (measured).
const ZSTD_LEVEL: i32 = 1;
/// No body may unfold to more than this: a guard against a damaged or hostile length.
const PLAIN_BYTES_MAX: usize = 64 * 1024 * 1024;

const KIND_DATA: u8 = 0;
const KIND_END: u8 = 1;

/// A body could not be made or read.
#[derive(Debug, Error)]
pub enum BodyError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("the batch is not a readable Arrow stream")]
    Arrow(#[source] arrow_schema::ArrowError),
    #[error("the batch does not decompress")]
    Compression,
    #[error("the batch has a form that this version does not know")]
    Form,
}

/// What a message holds once opened.
pub enum Body {
    /// Rows, and a side note from the stage before (opaque here).
    Data { rows: RecordBatch, note: Vec<u8> },
    /// The partition has ended: this many batches and records came before.
    End { batches: u32, records: u64 },
}

/// Without values: those stand in no log and no message.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data { rows, note } => write!(f, "Data({} rows, a note of {} bytes)", rows.num_rows(), note.len()),
            Self::End { batches, records } => write!(f, "End({batches} batches, {records} records)"),
        }
    }
}

/// Encodes, compresses and seals rows.
///
/// # Errors
/// [`BodyError::Arrow`] when the batch cannot be encoded.
pub fn seal_data(key: &SealingKey, name: &BatchName, rows: &RecordBatch, note: &[u8]) -> Result<Vec<u8>, BodyError> {
    let ipc = encode(rows)?;
    seal_encoded(key, name, &ipc, note)
}

/// As [`seal_data`], and a keyed digest of the content, by which a reading done again is recognised as the same.
///
/// # Errors
/// As [`seal_data`].
pub fn seal_data_with_digest(
    key: &SealingKey,
    name: &BatchName,
    rows: &RecordBatch,
    digest_key: &[u8; 32],
) -> Result<(Vec<u8>, [u8; 32]), BodyError> {
    let ipc = encode(rows)?;
    let digest = blake3::keyed_hash(digest_key, &ipc);
    Ok((seal_encoded(key, name, &ipc, &[])?, *digest.as_bytes()))
}

fn encode(rows: &RecordBatch) -> Result<Vec<u8>, BodyError> {
    let mut ipc = Vec::with_capacity(rows.get_array_memory_size() + 4096);
    let mut writer = StreamWriter::try_new(&mut ipc, &rows.schema()).map_err(BodyError::Arrow)?;
    writer.write(rows).map_err(BodyError::Arrow)?;
    writer.finish().map_err(BodyError::Arrow)?;
    drop(writer);
    Ok(ipc)
}

fn seal_encoded(key: &SealingKey, name: &BatchName, ipc: &[u8], note: &[u8]) -> Result<Vec<u8>, BodyError> {
    let packed = zstd::bulk::compress(ipc, ZSTD_LEVEL).map_err(|_| BodyError::Compression)?;
    let mut plain = Vec::with_capacity(packed.len() + note.len() + 9);
    plain.push(KIND_DATA);
    plain.extend_from_slice(&u32::try_from(note.len()).map_err(|_| BodyError::Form)?.to_le_bytes());
    plain.extend_from_slice(note);
    plain.extend_from_slice(&u32::try_from(ipc.len()).map_err(|_| BodyError::Form)?.to_le_bytes());
    plain.extend_from_slice(&packed);
    Ok(key.seal(name.to_string().as_bytes(), &plain))
}

/// Seals the end of a partition.
#[must_use]
pub fn seal_end(key: &SealingKey, name: &BatchName, batches: u32, records: u64) -> Vec<u8> {
    let mut plain = vec![KIND_END];
    plain.extend_from_slice(&batches.to_le_bytes());
    plain.extend_from_slice(&records.to_le_bytes());
    key.seal(name.to_string().as_bytes(), &plain)
}

/// Opens a sealed body under its name.
///
/// # Errors
/// [`BodyError`] when it was not sealed under this name and key, or its form is not known.
pub fn open(key: &SealingKey, name: &BatchName, sealed: &[u8]) -> Result<Body, BodyError> {
    let plain = key.open(name.to_string().as_bytes(), sealed)?;
    let (kind, rest) = plain.split_first().ok_or(BodyError::Form)?;
    match *kind {
        KIND_DATA => {
            let (note_length, rest) = take_u32(rest)?;
            let (note, rest) = rest.split_at_checked(note_length).ok_or(BodyError::Form)?;
            let (ipc_length, packed) = take_u32(rest)?;
            if ipc_length > PLAIN_BYTES_MAX {
                return Err(BodyError::Form);
            }
            let ipc = zstd::bulk::decompress(packed, ipc_length).map_err(|_| BodyError::Compression)?;
            let mut reader = StreamReader::try_new(Cursor::new(ipc), None).map_err(BodyError::Arrow)?;
            let schema = reader.schema();
            let rows = match reader.next() {
                Some(rows) => rows.map_err(BodyError::Arrow)?,
                None => RecordBatch::new_empty(Arc::clone(&schema)),
            };
            Ok(Body::Data { rows, note: note.to_vec() })
        }
        KIND_END => {
            let (batches, rest) = rest.split_first_chunk::<4>().ok_or(BodyError::Form)?;
            let (records, _) = rest.split_first_chunk::<8>().ok_or(BodyError::Form)?;
            Ok(Body::End {
                batches: u32::from_le_bytes(*batches),
                records: u64::from_le_bytes(*records),
            })
        }
        _ => Err(BodyError::Form),
    }
}

fn take_u32(bytes: &[u8]) -> Result<(usize, &[u8]), BodyError> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or(BodyError::Form)?;
    Ok((usize::try_from(u32::from_le_bytes(*head)).map_err(|_| BodyError::Form)?, rest))
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, BooleanArray, StringArray};
    use proptest::prelude::*;
    use syncline_domain::{ObjectName, RunId};

    use super::*;

    fn name(seq: u32) -> BatchName {
        BatchName::whole(
            RunId::new("r-1").expect("valid"),
            ObjectName::new("Contact").expect("valid"),
            0,
            0,
            seq,
        )
    }

    proptest! {
        #[test]
        fn rows_and_note_come_back_as_they_went(
            texts in proptest::collection::vec(proptest::option::of(".{0,40}"), 0..60),
            note in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let key = SealingKey::generate();
            let flags = BooleanArray::from(texts.iter().map(|t| t.as_ref().map(|t| t.len() > 3)).collect::<Vec<_>>());
            let column = StringArray::from(texts);
            let rows = RecordBatch::try_from_iter([("A", Arc::new(column) as ArrayRef), ("B", Arc::new(flags) as ArrayRef)]).expect("columns fit");
            let sealed = seal_data(&key, &name(3), &rows, &note).expect("seals");
            match open(&key, &name(3), &sealed).expect("opens") {
                Body::Data { rows: back, note: back_note } => {
                    prop_assert_eq!(back, rows);
                    prop_assert_eq!(back_note, note);
                }
                Body::End { .. } => prop_assert!(false, "kind changed"),
            }
            prop_assert!(open(&key, &name(4), &sealed).is_err());
        }
    }

    #[test]
    fn a_body_that_is_printed_shows_no_value() {
        let names: ArrayRef = Arc::new(StringArray::from(vec!["Ottilie"]));
        let rows = RecordBatch::try_from_iter([("LastName", names)]).expect("one column");
        let body = Body::Data {
            rows,
            note: b"Ahornweg".to_vec(),
        };
        assert_eq!(format!("{body:?}"), "Data(1 rows, a note of 8 bytes)");
    }

    #[test]
    fn the_end_of_a_partition_carries_its_totals() {
        let key = SealingKey::generate();
        let sealed = seal_end(&key, &name(7), 7, 12_345);
        assert!(matches!(
            open(&key, &name(7), &sealed),
            Ok(Body::End {
                batches: 7,
                records: 12_345
            })
        ));
    }
}
