//! What an org may use up besides its daily requests: Bulk batches, query jobs, and calls that run for long at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::allocation::{Allocation, DAY_MINUTES};

/// The org's allowances. Days and hours are rolling ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitConfig {
    /// Bulk batches a day, both APIs together.
    pub bulk_batches: u64,
    /// Bulk API 2.0 query jobs a day.
    pub query_jobs: u64,
    /// Calls that may run for long at once.
    pub long_calls: u64,
    /// From when on a call runs for long.
    pub long_call_ms: u64,
}

impl Default for LimitConfig {
    /// "API Request Limits and Allocations" and "Bulk API 2.0 Limits": those of a production org.
    fn default() -> Self {
        Self {
            bulk_batches: 15_000,
            query_jobs: 10_000,
            long_calls: 25,
            long_call_ms: 20_000,
        }
    }
}

/// What is used of the allowances.
pub struct Limits {
    pub bulk_batches: Allocation,
    pub query_jobs: Allocation,
    pub long_calls: Arc<LongCalls>,
}

impl Limits {
    pub fn new(config: LimitConfig) -> Self {
        Self {
            bulk_batches: Allocation::new(config.bulk_batches, DAY_MINUTES),
            query_jobs: Allocation::new(config.query_jobs, DAY_MINUTES),
            long_calls: Arc::new(LongCalls {
                running: Mutex::default(),
                serial: AtomicU64::new(0),
                max: AtomicU64::new(config.long_calls),
                after_ms: AtomicU64::new(config.long_call_ms),
            }),
        }
    }
}

/// The calls that run now.
pub struct LongCalls {
    running: Mutex<HashMap<u64, Instant>>,
    serial: AtomicU64,
    max: AtomicU64,
    after_ms: AtomicU64,
}

impl LongCalls {
    fn running(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call until the guard is dropped; whether too many others run for long already.
    pub fn enter(self: &Arc<Self>) -> (Running, bool) {
        let is_crowded = self.count() >= self.max.load(Ordering::Relaxed);
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        self.running().insert(serial, Instant::now());
        let calls = Arc::clone(self);
        (Running { calls, serial }, is_crowded)
    }

    /// Calls that run for long.
    pub fn count(&self) -> u64 {
        let after = Duration::from_millis(self.after_ms.load(Ordering::Relaxed));
        self.running().values().filter(|since| since.elapsed() >= after).count() as u64
    }

    /// Another allowance, or another idea of long.
    pub fn set(&self, max: Option<u64>, after_ms: Option<u64>) {
        if let Some(max) = max {
            self.max.store(max, Ordering::Relaxed);
        }
        if let Some(ms) = after_ms {
            self.after_ms.store(ms, Ordering::Relaxed);
        }
    }
}

/// A call under way.
pub struct Running {
    calls: Arc<LongCalls>,
    serial: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.calls.running().remove(&self.serial);
    }
}
