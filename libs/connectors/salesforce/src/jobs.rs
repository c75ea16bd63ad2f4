//! Rows cut into ingest jobs of the best size, the children of one parent together. Pure.
//!
//! A parent's row is locked while its children are written. Children of one parent in two jobs, or far apart in one, make
//! batches wait for each other and fail (Bulk API 2.0, "Lock Contention"); side by side they are written by one batch.

use std::ops::Range;

/// Uploads are at most 150 MB in base64, hence 100 MB of CSV (Bulk API 2.0, limits).
pub const JOB_BYTES_MAX: u64 = 100_000_000;
/// The server cuts uploads into batches of 10,000 rows, of which an org has 15,000 a day.
pub const BATCH_ROWS: u64 = 10_000;

/// A row, as far as the cut goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<P> {
    /// What is locked while the row is written; rows of the same parent stay together.
    pub parent: P,
    /// In the upload's form.
    pub bytes: u64,
}

/// The order in which rows are uploaded: by parent, rows of one parent in their own order.
#[must_use]
pub fn order<P: Ord + Copy>(rows: &[Row<P>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|at| rows.get(*at).map(|r| r.parent));
    order
}

/// Cuts rows that are in that order into jobs. A cut falls between two parents; only a parent whose children fit no job
/// is cut itself. Jobs are as few as they can be, because each costs eight calls, and about equally large, so that the
/// last one does not hold up the others.
#[must_use]
pub fn jobs<P: Eq + Copy>(rows: &[Row<P>], bytes_max: u64) -> Vec<Range<usize>> {
    let bytes_max = bytes_max.max(1);
    let total: u64 = rows.iter().map(|r| r.bytes).sum();
    let fair = total.div_ceil(total.div_ceil(bytes_max).max(1));
    let mut jobs = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for family in families(rows) {
        let size: u64 = rows.get(family.clone()).unwrap_or_default().iter().map(|r| r.bytes).sum();
        if family.start > from && (bytes + size > bytes_max || bytes >= fair) {
            jobs.push(from..family.start);
            (from, bytes) = (family.start, 0);
        }
        if bytes + size <= bytes_max {
            bytes += size;
            continue;
        }
        // Larger than a job: it is cut where it has to be.
        for at in family {
            let row = rows.get(at).map_or(0, |r| r.bytes);
            if at > from && bytes + row > bytes_max {
                jobs.push(from..at);
                (from, bytes) = (at, 0);
            }
            bytes += row;
        }
    }
    if from < rows.len() {
        jobs.push(from..rows.len());
    }
    jobs
}

/// Runs of one parent.
fn families<P: Eq + Copy>(rows: &[Row<P>]) -> Vec<Range<usize>> {
    let mut families = Vec::new();
    let mut from = 0;
    for (at, pair) in rows.windows(2).enumerate() {
        if let [a, b] = pair
            && a.parent != b.parent
        {
            families.push(from..at + 1);
            from = at + 1;
        }
    }
    if from < rows.len() {
        families.push(from..rows.len());
    }
    families
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn rows(parents: &[u32], bytes: u64) -> Vec<Row<u32>> {
        parents.iter().map(|parent| Row { parent: *parent, bytes }).collect()
    }

    #[test]
    fn children_of_one_parent_come_together_in_their_own_order() {
        assert_eq!(order(&rows(&[2, 1, 2, 1, 3], 1)), [1, 3, 0, 2, 4]);
    }

    #[test]
    fn cuts_fall_between_parents_and_jobs_are_about_equal() {
        assert_eq!(jobs(&rows(&[1, 1, 2, 2, 2, 3], 10), 30), [0..2, 2..5, 5..6]);
        assert_eq!(jobs(&rows(&[1, 1, 2, 2, 3, 3], 10), 40), [0..4, 4..6]);
        // Two jobs are needed, so neither is left nearly empty.
        assert_eq!(jobs(&rows(&[1, 2, 3, 4, 5, 6], 10), 50), [0..3, 3..6]);
        // A parent that fits no job is cut, and what follows begins anew.
        assert_eq!(jobs(&rows(&[1, 1, 1, 1, 2], 10), 30), [0..3, 3..5]);
        assert!(jobs(&rows(&[], 10), 30).is_empty());
        assert_eq!(jobs(&rows(&[1, 2], 100), 30), [0..1, 1..2]);
    }

    proptest! {
        #[test]
        fn no_row_is_lost_no_job_too_large_no_family_torn_without_need(
            parents in prop::collection::vec((0_u32..12, 1_u64..20), 0..80),
            bytes_max in 20_u64..200,
        ) {
            let mut rows: Vec<Row<u32>> = parents.iter().map(|(parent, bytes)| Row { parent: *parent, bytes: *bytes }).collect();
            rows.sort_by_key(|r| r.parent);
            let jobs = jobs(&rows, bytes_max);
            let mut next = 0;
            for job in &jobs {
                prop_assert_eq!(job.start, next);
                prop_assert!(!job.is_empty());
                prop_assert!(rows[job.clone()].iter().map(|r| r.bytes).sum::<u64>() <= bytes_max);
                next = job.end;
                if let Some(after) = rows.get(job.end) {
                    let parent = rows[job.end - 1].parent;
                    let family: u64 = rows.iter().filter(|r| r.parent == parent).map(|r| r.bytes).sum();
                    prop_assert!(after.parent != parent || family > bytes_max, "a family that fits was torn");
                }
            }
            prop_assert_eq!(next, rows.len());
        }
    }
}
