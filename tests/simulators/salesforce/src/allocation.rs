//! Events delivered in a rolling day, or published in a rolling hour, all clients summed.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

const MINUTE_MS: i64 = 60_000;
/// Window of deliveries.
pub const DAY_MINUTES: i64 = 24 * 60;
/// Window of publishes.
pub const HOUR_MINUTES: i64 = 60;

/// One of the org's allocations.
pub struct Allocation {
    window_minutes: i64,
    used: Mutex<(VecDeque<(i64, u64)>, u64)>,
}

impl Allocation {
    /// Nothing used, `max` in a window allowed.
    #[must_use]
    pub fn new(max: u64, window_minutes: i64) -> Self {
        Self {
            window_minutes,
            used: Mutex::new((VecDeque::new(), max)),
        }
    }

    /// Takes up to `wanted` events; fewer, or none, when the window's are used.
    pub fn take(&self, now_ms: i64, wanted: u64) -> u64 {
        let mut guard = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let (minutes, max) = &mut *guard;
        let minute = now_ms / MINUTE_MS;
        while minutes.front().is_some_and(|(at, _)| *at + self.window_minutes <= minute) {
            minutes.pop_front();
        }
        let used: u64 = minutes.iter().map(|(_, n)| n).sum();
        let granted = wanted.min(max.saturating_sub(used));
        match minutes.back_mut() {
            Some((at, n)) if *at == minute => *n += granted,
            _ if granted > 0 => minutes.push_back((minute, granted)),
            _ => {}
        }
        granted
    }

    /// Allowed in a window, and left now.
    pub fn figures(&self, now_ms: i64) -> (u64, u64) {
        self.take(now_ms, 0);
        let guard = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let used: u64 = guard.0.iter().map(|(_, n)| n).sum();
        (guard.1, guard.1.saturating_sub(used))
    }

    /// Another allowance; what was used stays counted.
    pub fn set_max(&self, max: u64) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).1 = max;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_come_back_a_day_later() {
        let allocation = Allocation::new(10, DAY_MINUTES);
        assert_eq!(allocation.take(0, 7), 7);
        assert_eq!(allocation.take(MINUTE_MS, 7), 3);
        assert_eq!(allocation.take(MINUTE_MS, 1), 0);
        assert_eq!(allocation.figures(MINUTE_MS), (10, 0));
        assert_eq!(allocation.figures(DAY_MINUTES * MINUTE_MS), (10, 7));
        assert_eq!(allocation.take(DAY_MINUTES * MINUTE_MS, 9), 7);
    }
}
