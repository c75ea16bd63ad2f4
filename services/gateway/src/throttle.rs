//! How many requests a caller may send, and how often an address may fail to say who it is.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Failures per second that an address may have, and the number of them at once. More are refused unheard.
const FAILURES_PER_SECOND: NonZeroU32 = NonZeroU32::new(5).expect("not zero");
const FAILURES_AT_ONCE: NonZeroU32 = NonZeroU32::new(20).expect("not zero");
/// Callers and addresses that are remembered before those that have been quiet are forgotten.
const KEYS_MAX: usize = 4_096;
/// A caller that is refused is told of in the log once in this time.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// A refusal: when to try again, and whether this is the one to be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    pub wait: Duration,
    pub tell: bool,
}

pub struct Throttle {
    callers: DefaultKeyedRateLimiter<String>,
    failures: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    told: Mutex<std::collections::HashMap<String, Instant>>,
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Throttle")
    }
}

impl Throttle {
    #[must_use]
    pub fn new(requests_per_second: NonZeroU32) -> Self {
        let burst = requests_per_second.saturating_add(requests_per_second.get());
        Self {
            callers: RateLimiter::keyed(Quota::per_second(requests_per_second).allow_burst(burst)),
            failures: RateLimiter::keyed(Quota::per_second(FAILURES_PER_SECOND).allow_burst(FAILURES_AT_ONCE)),
            clock: DefaultClock::default(),
            told: Mutex::default(),
        }
    }

    /// Counts a request of a caller.
    ///
    /// # Errors
    /// [`Wait`] when it sent too many.
    pub fn request(&self, subject: &str) -> Result<(), Wait> {
        if self.callers.len() > KEYS_MAX {
            self.callers.retain_recent();
        }
        let checked = self.callers.check_key(&subject.to_owned());
        checked.map_err(|not_until| self.wait(subject, not_until.wait_time_from(self.clock.now())))
    }

    /// Counts a request from somebody who did not say who they are.
    ///
    /// # Errors
    /// [`Wait`] when there were too many from this address.
    pub fn failure(&self, address: IpAddr) -> Result<(), Wait> {
        if self.failures.len() > KEYS_MAX {
            self.failures.retain_recent();
        }
        let checked = self.failures.check_key(&address);
        checked.map_err(|not_until| self.wait(&address.to_string(), not_until.wait_time_from(self.clock.now())))
    }

    fn wait(&self, who: &str, wait: Duration) -> Wait {
        let mut told = self.told.lock().expect("no holder of this lock panics");
        if told.len() > KEYS_MAX {
            told.retain(|_, at| at.elapsed() < TOLD_EVERY);
        }
        let tell = told.get(who).is_none_or(|at| at.elapsed() >= TOLD_EVERY);
        if tell {
            told.insert(who.to_owned(), Instant::now());
        }
        Wait { wait, tell }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_a_burst_and_others_do_not_feel_it() {
        let throttle = Throttle::new(NonZeroU32::new(1).expect("not zero"));
        let passed = (0..1_000).filter(|_| throttle.request("ann").is_ok()).count();
        assert!((2..=4).contains(&passed), "{passed}");
        assert_eq!(throttle.request("bob"), Ok(()));
        let refused: Vec<Wait> = (0..100).filter_map(|_| throttle.request("ann").err()).collect();
        assert!(refused.iter().all(|w| w.wait <= Duration::from_secs(1)));
        assert!(refused.iter().all(|w| !w.tell), "it was told of before");
    }

    #[test]
    fn an_address_that_keeps_failing_is_told_of_once() {
        let throttle = Throttle::new(NonZeroU32::new(1).expect("not zero"));
        let refused: Vec<Wait> = (0..200).filter_map(|_| throttle.failure([127, 0, 0, 1].into()).err()).collect();
        assert!(refused.len() > 150);
        assert_eq!(refused.iter().filter(|w| w.tell).count(), 1);
        assert_eq!(throttle.failure([127, 0, 0, 2].into()), Ok(()));
    }
}
