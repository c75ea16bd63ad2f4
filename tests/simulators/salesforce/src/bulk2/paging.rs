//! How results are cut into pages, and how long what a job leaves behind can be read.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use chrono::{DateTime, Duration, Utc};
use serde::Deserialize;

/// Jobs and their results are kept so long after their end.
const KEPT_DAYS: i64 = 7;
/// Jobs per list answer.
const LIST_MAX: usize = 1000;

/// Settings of all jobs of an org. The defaults are what the documentation shows.
pub struct Paging {
    rows: AtomicUsize,
    ragged: AtomicBool,
    header_once: AtomicBool,
    shuffled: AtomicBool,
    list_rows: AtomicUsize,
}

/// What a test changes of them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PagingChange {
    pub rows: Option<usize>,
    pub ragged: Option<bool>,
    pub header_once: Option<bool>,
    pub shuffled: Option<bool>,
    pub list_rows: Option<usize>,
}

impl Paging {
    pub fn new(rows: usize) -> Self {
        Self {
            rows: AtomicUsize::new(rows.max(1)),
            ragged: AtomicBool::new(false),
            header_once: AtomicBool::new(false),
            shuffled: AtomicBool::new(false),
            list_rows: AtomicUsize::new(LIST_MAX),
        }
    }

    pub fn change(&self, to: &PagingChange) {
        if let Some(rows) = to.rows {
            self.rows.store(rows.max(1), Ordering::Relaxed);
        }
        if let Some(rows) = to.list_rows {
            self.list_rows.store(rows.clamp(1, LIST_MAX), Ordering::Relaxed);
        }
        let flags = [
            (&self.ragged, to.ragged),
            (&self.header_once, to.header_once),
            (&self.shuffled, to.shuffled),
        ];
        for (flag, value) in flags {
            if let Some(value) = value {
                flag.store(value, Ordering::Relaxed);
            }
        }
    }

    /// Rows of the page that begins at `offset` of the job with this serial; `asked` is what the client asks for at most. Ragged
    /// pages of one job are always cut alike, those of another job otherwise.
    pub fn page_rows(&self, asked: Option<usize>, job: u64, offset: usize) -> usize {
        let page = asked.unwrap_or_else(|| self.rows.load(Ordering::Relaxed));
        if !self.ragged.load(Ordering::Relaxed) {
            return page;
        }
        let mixed = (offset as u64 + 1).wrapping_mul(job | 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
        1 + (mixed as usize) % page
    }

    /// Whether only the first page has the header line.
    pub fn is_header_once(&self) -> bool {
        self.header_once.load(Ordering::Relaxed)
    }

    /// Whether rows come in another order for each job, as chunked ones may.
    pub fn is_shuffled(&self) -> bool {
        self.shuffled.load(Ordering::Relaxed)
    }

    /// Jobs per list answer.
    pub fn list_rows(&self) -> usize {
        self.list_rows.load(Ordering::Relaxed)
    }
}

/// Whether what ended at `end` is gone by now.
pub fn is_past(end: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    now - end >= Duration::days(KEPT_DAYS)
}

/// What can be read of a job's results, and how often still.
pub struct Readable {
    results_gone: AtomicBool,
    /// Reads until the job vanishes.
    reads: AtomicU64,
}

impl Readable {
    /// Results that stay, or that take so many reads and then vanish with their job.
    pub fn new(reads: Option<u64>) -> Self {
        Self {
            results_gone: AtomicBool::new(false),
            reads: AtomicU64::new(reads.unwrap_or(u64::MAX)),
        }
    }

    /// The results expire; the job stays.
    pub fn expire(&self) {
        self.results_gone.store(true, Ordering::SeqCst);
    }

    pub fn is_expired(&self) -> bool {
        self.results_gone.load(Ordering::SeqCst)
    }

    /// Counts a read; false when the job has vanished.
    pub fn read(&self) -> bool {
        let left = |left: u64| match left {
            0 => None,
            u64::MAX => Some(u64::MAX),
            more => Some(more - 1),
        };
        self.reads.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok()
    }
}
