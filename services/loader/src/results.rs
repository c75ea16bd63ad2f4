//! What came of a job's rows, matched to the journal by digest.
//!
//! Results come in any order. Only a row that the target lists as written, refused or unprocessed has an outcome; one that
//! it does not list at all may still be written, so nothing is concluded from that.

use std::collections::HashMap;

use futures::StreamExt;
use syncline_connect::digest::{ROW_DIGEST_BYTES, RowDigest};
use syncline_connect::target::ResultRow;
use syncline_connect::{ResultKind, Target};
use syncline_domain::ErrorCode;
use syncline_runtime::StageError;

use crate::context::Context;
use crate::hashing::HASH_BYTES;
use crate::journal::Passing;
use crate::store::journal::EntryRow;
use crate::store::ledger::Written;
use crate::store::outcomes::Refused;

/// Outcomes by row of an entry.
#[derive(Default)]
pub struct Outcomes {
    pub written: Written,
    pub refused: Refused,
    /// To be loaded again.
    pub unprocessed: usize,
}

impl Outcomes {
    /// The job never began.
    pub fn nothing_written(row: &EntryRow) -> Self {
        Self {
            unprocessed: row.source_keys.len(),
            ..Self::default()
        }
    }

    /// A row is a record of the target.
    pub fn write(&mut self, row: &EntryRow, index: usize, digest: RowDigest, id: String, created: bool) {
        self.written
            .source_keys
            .push(row.source_keys.get(index).cloned().unwrap_or_default());
        self.written.target_keys.push(id);
        self.written.created.push(created);
        self.written.sent.push(digest.to_vec());
        self.written.hashes.push(piece(&row.hashes, index));
        self.written.refs.push(piece(&row.refs, index));
    }

    fn add(&mut self, row: &EntryRow, index: usize, result: ResultRow, passing: Passing) {
        match result.refusal {
            Some(refusal) if passing == Passing::LoadAgain && refusal.code.entry().can_retry => self.unprocessed += 1,
            Some(refusal) => self.refused.push(row.source_keys.get(index).cloned().unwrap_or_default(), &refusal),
            None => self.write(row, index, result.digest, result.id, result.created),
        }
    }
}

/// Rows of an entry without an outcome. Rows that are equal in all columns share a digest and are interchangeable.
struct Waiting<'a> {
    by_digest: HashMap<&'a [u8], Vec<usize>>,
    count: usize,
}

impl<'a> Waiting<'a> {
    fn new(row: &'a EntryRow) -> Self {
        let mut by_digest: HashMap<&[u8], Vec<usize>> = HashMap::with_capacity(row.source_keys.len());
        for (index, digest) in row.digests.chunks_exact(ROW_DIGEST_BYTES).enumerate() {
            by_digest.entry(digest).or_default().push(index);
        }
        Self {
            count: by_digest.values().map(Vec::len).sum(),
            by_digest,
        }
    }

    fn take(&mut self, digest: &[u8]) -> Option<usize> {
        let index = self.by_digest.get_mut(digest).and_then(Vec::pop)?;
        self.count -= 1;
        Some(index)
    }
}

/// Fetches a terminal job's results.
pub async fn outcomes(context: &Context, row: &EntryRow, job: &str, passing: Passing) -> Result<Outcomes, StageError> {
    let mut waiting = Waiting::new(row);
    let mut out = Outcomes::default();
    for kind in [ResultKind::Successful, ResultKind::Failed, ResultKind::Unprocessed] {
        if waiting.count == 0 {
            break;
        }
        let mut results = context.target.results(job, kind, &row.columns, &context.digester).await?;
        while let Some(chunk) = results.next().await {
            for result in chunk? {
                let index = waiting.take(&result.digest).ok_or_else(|| {
                    StageError::new(
                        ErrorCode::Mismatch,
                        format!("job {job} answers for a row of {} that was not sent", context.name()),
                    )
                })?;
                match kind {
                    ResultKind::Unprocessed => out.unprocessed += 1,
                    ResultKind::Successful | ResultKind::Failed => out.add(row, index, result, passing),
                }
            }
        }
    }
    if waiting.count > 0 {
        // Not now or never: after some tries the run stops and says so.
        return Err(StageError::new(
            ErrorCode::Internal,
            format!(
                "job {job} of {} has ended and says nothing of {} rows",
                context.name(),
                waiting.count
            ),
        ));
    }
    out.written.sort();
    Ok(out)
}

fn piece(packed: &[u8], index: usize) -> Vec<u8> {
    packed
        .get(index * HASH_BYTES..(index + 1) * HASH_BYTES)
        .unwrap_or_default()
        .to_vec()
}
