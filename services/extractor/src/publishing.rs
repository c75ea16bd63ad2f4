//! One batch onto the bus: seal, record, publish, confirm.

use std::time::Duration;

use arrow_array::{Array, RecordBatch, StringArray};
use bytes::Bytes;
use syncline_batch::{BATCH_BYTES_MAX, SealingKey, seal_data, seal_data_with_digest, seal_end};
use syncline_bus::{Audience, BusError};
use syncline_domain::{BatchName, ErrorCode};
use syncline_runtime::worker::Work;
use syncline_runtime::{Platform, StageError, failpoint, metrics};

use crate::store::{self, NewBatch};

const ROOM_PAUSE: Duration = Duration::from_millis(40);

/// What came of publishing.
pub enum Published {
    Yes,
    /// The partition's room is used up; the batch is recorded and will be published after the next reading.
    NoRoom,
    /// The run is stopping.
    Stopped,
}

/// Publishes the batches of one generation of one object.
pub struct Publishing<'a> {
    pub platform: &'a Platform,
    pub work: &'a Work,
    pub key: SealingKey,
    pub digest_key: [u8; 32],
    pub plan_hash: String,
    pub generation: i32,
    pub room_wait: Duration,
}

/// A sealed batch and what identifies its content.
pub struct Sealed {
    pub rows: usize,
    pub bytes: Vec<u8>,
    pub digest: [u8; 32],
}

impl Publishing<'_> {
    pub fn name(&self, seq: i32) -> Result<BatchName, StageError> {
        let number = |n: i32| u32::try_from(n).map_err(|_| StageError::new(ErrorCode::Internal, "a stored number is negative"));
        Ok(BatchName::whole(
            self.work.run().clone(),
            self.work.object()?.clone(),
            number(store::PARTITION)?,
            number(self.generation)?,
            number(seq)?,
        ))
    }

    /// Seals rows; `None` when they do not fit one message and there is more than one row to split. A single row that does
    /// not fit is refused before anything is recorded of it.
    pub fn seal(&self, seq: i32, rows: &RecordBatch) -> Result<Option<Sealed>, StageError> {
        let (bytes, digest) = seal_data_with_digest(&self.key, &self.name(seq)?, rows, &self.digest_key)
            .map_err(|e| StageError::new(ErrorCode::Internal, e.to_string()))?;
        if bytes.len() > BATCH_BYTES_MAX {
            if rows.num_rows() > 1 {
                return Ok(None);
            }
            return Ok(Some(self.too_large(seq, rows, digest, bytes.len())?));
        }
        Ok(Some(Sealed {
            rows: rows.num_rows(),
            bytes,
            digest,
        }))
    }

    /// The batch of a record that fits no message: no row, and a note that names the record, so that it is counted and
    /// listed as refused at the end of the pipeline.
    fn too_large(&self, seq: i32, rows: &RecordBatch, digest: [u8; 32], bytes: usize) -> Result<Sealed, StageError> {
        let internal = |e: &dyn std::fmt::Display| StageError::new(ErrorCode::Internal, e.to_string());
        let id = key(rows).ok_or_else(|| internal(&"a record without an id is too large"))?;
        tracing::warn!(object = %self.work.object()?, record = id, bytes, limit = BATCH_BYTES_MAX, "a record is too large and is refused");
        let note = serde_json::to_vec(&serde_json::json!({ "too_large": [id] })).map_err(|e| internal(&e))?;
        let bytes = seal_data(&self.key, &self.name(seq)?, &rows.slice(0, 0), &note).map_err(|e| internal(&e))?;
        Ok(Sealed { rows: 1, bytes, digest })
    }

    /// Records the batch under the lease, before it is published.
    pub async fn record(&self, seq: i32, cursor: Option<&str>, place: i32, sealed: &Sealed) -> Result<(), StageError> {
        let batch = NewBatch {
            seq,
            cursor,
            place,
            records: i32::try_from(sealed.rows).unwrap_or(i32::MAX),
            bytes: i32::try_from(sealed.bytes.len()).unwrap_or(i32::MAX),
            digest: &sealed.digest,
        };
        let mut tx = self.platform.db.begin().await?;
        self.work.lease.guard(&mut tx).await?;
        store::batch_record(&mut tx, self.work.run(), self.work.object()?, self.generation, &batch).await?;
        tx.commit().await?;
        failpoint::pass(&failpoint::EXTRACTOR_BATCH_RECORDED).await?;
        Ok(())
    }

    /// Publishes a recorded batch and confirms it.
    pub async fn publish(&self, seq: i32, records: usize, bytes: Vec<u8>) -> Result<Published, StageError> {
        let name = self.name(seq)?;
        let bytes = Bytes::from(bytes);
        let deadline = tokio::time::Instant::now() + self.room_wait;
        loop {
            let sent = self
                .platform
                .bus
                .publish_batch(
                    Audience::Raw,
                    &self.work.tenant,
                    &name,
                    &self.plan_hash,
                    records as u64,
                    bytes.clone(),
                )
                .await;
            match sent {
                Ok(()) => break,
                Err(BusError::Full { .. }) if self.work.stop.is_cancelled() => return Ok(Published::Stopped),
                Err(BusError::Full { .. }) if tokio::time::Instant::now() >= deadline => return Ok(Published::NoRoom),
                Err(BusError::Full { .. }) => tokio::time::sleep(ROOM_PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
        failpoint::pass(&failpoint::EXTRACTOR_BATCH_PUBLISHED).await?;
        store::batch_published(&self.platform.db, self.work.run(), self.work.object()?, self.generation, seq).await?;
        failpoint::pass(&failpoint::EXTRACTOR_BATCH_MARKED).await?;
        metrics::count(metrics::STAGE_RECORDS, records as u64, &[("stage", "extractor")]);
        metrics::count(metrics::STAGE_SIZE, bytes.len() as u64, &[("stage", "extractor")]);
        Ok(Published::Yes)
    }

    /// The end marker, which is a batch like any other.
    pub fn seal_end(&self, seq: i32, records: u64) -> Result<Sealed, StageError> {
        let batches = u32::try_from(seq).unwrap_or(0);
        Ok(Sealed {
            rows: 0,
            bytes: seal_end(&self.key, &self.name(seq)?, batches, records),
            digest: [0; 32],
        })
    }
}

/// The first row's record id, which may be told, unlike any other value.
fn key(rows: &RecordBatch) -> Option<&str> {
    let ids = rows.column_by_name("Id")?.as_any().downcast_ref::<StringArray>()?;
    ids.iter().next().flatten()
}
