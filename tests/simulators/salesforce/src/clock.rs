//! The org's time: the machine's, and what `/__sim/clock` has moved it on by.
//!
//! Whatever ends by time (sessions, codes, locators, jobs, allocations) and whatever is stamped with the time asks here. The
//! assertions that clients sign and the event bus keep the machine's time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Duration, Utc};

/// A clock; clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        Utc::now() + Duration::milliseconds(self.0.load(Ordering::SeqCst))
    }

    /// Epoch milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.now().timestamp_millis()
    }

    /// Moves the time on; it never goes back.
    pub fn forward(&self, secs: u32) {
        self.0.fetch_add(i64::from(secs) * 1000, Ordering::SeqCst);
    }
}
