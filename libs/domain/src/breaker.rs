//! The circuit breaker of a connection: a system that is away is left alone, by everybody, and asked again by one.
//!
//! Closed, it lets everything pass. After [`FAILURES_TO_OPEN`] failures in a row that speak for the system being away (no
//! connection, no answer, a server's own failure; never what it says of a request) it opens: nothing is sent until a pause
//! has passed. Then one request goes, the probe. Its answer closes the breaker, its failure opens it for a longer pause.
//! A system that asks to be left alone for longer than a request waits is held back until then.
//!
//! Pure: the time is passed in, and whoever keeps the state does so in one place for all processes.

use std::fmt;
use std::str::FromStr;

use chrono::DateTime;
use serde::{Deserialize, Serialize};

/// As many as one request is tried by default: a single blip is ridden out by its own retries.
pub const FAILURES_TO_OPEN: u32 = 5;
/// The first pause before a probe; each further one is twice as long …
pub const PAUSE_MS_MIN: u64 = 5_000;
/// … up to this: what a run loses after a system is back.
pub const PAUSE_MS_MAX: u64 = 60_000;
/// Failures further apart are not one outage: in between things went well, or nobody asked.
const TOGETHER_MS: u64 = 300_000;
/// A probe that nobody has heard of for so long was given to somebody who died.
const PROBE_MS: u64 = 60_000;
/// While a probe is under way, others look again after this long.
const PROBE_LOOK_MS: u64 = 2_000;
/// A system that asks for more is asked again all the same: limits may have been raised.
const HOLD_MS_MAX: u64 = 3_600_000;

/// What speaks for a system being away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    NoConnection,
    NoAnswer,
    ServerError,
    SignIn,
}

impl Failure {
    pub const ALL: [Self; 4] = [Self::NoConnection, Self::NoAnswer, Self::ServerError, Self::SignIn];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoConnection => "no_connection",
            Self::NoAnswer => "no_answer",
            Self::ServerError => "server_error",
            Self::SignIn => "sign_in",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoConnection => "no connection could be made",
            Self::NoAnswer => "no answer came",
            Self::ServerError => "its servers failed (HTTP 5xx)",
            Self::SignIn => "signing in was not answered",
        })
    }
}

impl FromStr for Failure {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|f| f.as_str() == text).ok_or(())
    }
}

/// Since when a system is away, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// When the breaker opened.
    pub since_ms: u64,
    /// Requests that failed in a row.
    pub failures: u32,
    pub last: Failure,
    /// Probes that failed.
    pub probes: u32,
}

/// Milliseconds since 1970, by the clock of whoever keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Breaker {
    Closed {
        failures: u32,
        last_ms: u64,
    },
    Open {
        outage: Outage,
        until_ms: u64,
    },
    /// A probe is under way; when it is not heard of, another may go.
    HalfOpen {
        outage: Outage,
        until_ms: u64,
    },
    /// The system asked to be left alone.
    Held {
        since_ms: u64,
        until_ms: u64,
    },
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0, last_ms: 0 }
    }
}

/// Whether requests may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    Granted,
    /// One, and its outcome decides.
    Probe,
    Refused {
        wait_ms: u64,
    },
}

impl Breaker {
    /// Somebody wants to send.
    #[must_use]
    pub fn ask(self, now_ms: u64) -> (Self, Permit) {
        match self {
            Self::Closed { .. } => (self, Permit::Granted),
            Self::Held { until_ms, .. } if now_ms >= until_ms => (Self::default(), Permit::Granted),
            Self::Open { outage, until_ms } | Self::HalfOpen { outage, until_ms } if now_ms >= until_ms => {
                let until_ms = now_ms + PROBE_MS;
                (Self::HalfOpen { outage, until_ms }, Permit::Probe)
            }
            Self::Open { until_ms, .. } | Self::Held { until_ms, .. } => (
                self,
                Permit::Refused {
                    wait_ms: until_ms - now_ms,
                },
            ),
            Self::HalfOpen { until_ms, .. } => (
                self,
                Permit::Refused {
                    wait_ms: PROBE_LOOK_MS.min(until_ms - now_ms),
                },
            ),
        }
    }

    /// A request was answered just now, with whatever. What a system asked for stays asked for.
    #[must_use]
    pub fn answered(self) -> Self {
        match self {
            Self::Held { .. } => self,
            _ => Self::default(),
        }
    }

    /// Requests have been answered at some time since somebody last asked: no failures in a row, but no news of an outage.
    #[must_use]
    pub fn used(self) -> Self {
        match self {
            Self::Closed { .. } => Self::default(),
            _ => self,
        }
    }

    /// A request failed in a way that speaks for the system being away.
    #[must_use]
    pub fn failed(self, last: Failure, now_ms: u64) -> Self {
        match self {
            Self::Closed { failures, last_ms } => {
                let failures = if now_ms.saturating_sub(last_ms) > TOGETHER_MS {
                    1
                } else {
                    failures + 1
                };
                if failures < FAILURES_TO_OPEN {
                    return Self::Closed { failures, last_ms: now_ms };
                }
                let outage = Outage {
                    since_ms: now_ms,
                    failures,
                    last,
                    probes: 0,
                };
                opened(outage, now_ms)
            }
            // It had been sent before the breaker opened.
            Self::Open { outage, until_ms } if now_ms < until_ms => Self::Open {
                outage: more(outage, last),
                until_ms,
            },
            Self::Open { outage, .. } | Self::HalfOpen { outage, .. } => {
                let outage = Outage {
                    probes: outage.probes.saturating_add(1),
                    ..more(outage, last)
                };
                opened(outage, now_ms)
            }
            Self::Held { .. } => self,
        }
    }

    /// The system asked to be left alone for longer than a request waits.
    #[must_use]
    pub fn asked_to_wait(self, wait_ms: u64, now_ms: u64) -> Self {
        let wanted_ms = now_ms + wait_ms.min(HOLD_MS_MAX);
        match self {
            Self::Held { since_ms, until_ms } => Self::Held {
                since_ms,
                until_ms: until_ms.max(wanted_ms),
            },
            _ => Self::Held {
                since_ms: now_ms,
                until_ms: wanted_ms,
            },
        }
    }

    /// `closed`, `open`, `half_open`, `held`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
            Self::Held { .. } => "held",
        }
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// Why nothing is sent, and until when; nothing, when it is closed.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        match self {
            Self::Closed { .. } => None,
            Self::Open { outage, until_ms } => Some(format!(
                "{outage}; its circuit breaker is open, the next probe is at {}",
                clock(*until_ms)
            )),
            Self::HalfOpen { outage, .. } => Some(format!("{outage}; its circuit breaker is half-open, a probe is under way")),
            Self::Held { until_ms, .. } => Some(format!("it asked to be left alone until {} (Retry-After)", clock(*until_ms))),
        }
    }

    /// Since when it is not closed.
    #[must_use]
    pub fn since_ms(&self) -> Option<u64> {
        match self {
            Self::Closed { .. } => None,
            Self::Open { outage, .. } | Self::HalfOpen { outage, .. } => Some(outage.since_ms),
            Self::Held { since_ms, .. } => Some(*since_ms),
        }
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests in a row failed, the last because {}", self.failures, self.last)
    }
}

fn opened(outage: Outage, now_ms: u64) -> Breaker {
    let pause = PAUSE_MS_MIN.saturating_mul(1 << outage.probes.min(16)).min(PAUSE_MS_MAX);
    Breaker::Open {
        outage,
        until_ms: now_ms + pause,
    }
}

fn more(outage: Outage, last: Failure) -> Outage {
    Outage {
        failures: outage.failures.saturating_add(1),
        last,
        ..outage
    }
}

/// `10:15:03 UTC`
fn clock(ms: u64) -> String {
    DateTime::from_timestamp_millis(ms.cast_signed()).map_or_else(|| "-".to_owned(), |at| at.format("%H:%M:%S UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_000_000_000;

    fn failed(mut breaker: Breaker, times: u32, now_ms: u64) -> Breaker {
        for _ in 0..times {
            breaker = breaker.failed(Failure::NoConnection, now_ms);
        }
        breaker
    }

    fn open() -> Breaker {
        failed(Breaker::default(), FAILURES_TO_OPEN, T)
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_an_answer_between_begins_the_count_anew() {
        let almost = failed(Breaker::default(), FAILURES_TO_OPEN - 1, T);
        assert!(almost.is_closed());
        assert_eq!(almost.ask(T), (almost, Permit::Granted));
        assert_eq!(almost.answered(), Breaker::default());
        assert_eq!(almost.used(), Breaker::default());
        let open = almost.failed(Failure::ServerError, T + 7);
        let Breaker::Open { outage, until_ms } = open else {
            panic!("{open:?}")
        };
        assert_eq!(
            (outage.since_ms, outage.failures, outage.last),
            (T + 7, FAILURES_TO_OPEN, Failure::ServerError)
        );
        assert_eq!(until_ms, T + 7 + PAUSE_MS_MIN);
    }

    #[test]
    fn failures_far_apart_are_not_one_outage() {
        let mut breaker = Breaker::default();
        for n in 0..3 * u64::from(FAILURES_TO_OPEN) {
            breaker = breaker.failed(Failure::NoAnswer, T + n * (TOGETHER_MS + 1));
        }
        assert!(breaker.is_closed(), "{breaker:?}");
    }

    #[test]
    fn while_it_is_open_nobody_sends_and_late_failures_change_nothing_but_the_count() {
        let open = open();
        assert_eq!(
            open.ask(T + 1_000),
            (
                open,
                Permit::Refused {
                    wait_ms: PAUSE_MS_MIN - 1_000
                }
            )
        );
        assert_eq!(open.used(), open, "what went well before says nothing of now");
        let later = open.failed(Failure::NoAnswer, T + 1_000);
        let (Breaker::Open { outage: a, until_ms: x }, Breaker::Open { outage: b, until_ms: y }) = (open, later) else {
            panic!("{later:?}")
        };
        assert_eq!((b.failures, b.probes, y), (a.failures + 1, 0, x));
    }

    #[test]
    fn one_probe_goes_and_its_answer_closes_the_breaker() {
        let due = T + PAUSE_MS_MIN;
        let (half, permit) = open().ask(due);
        assert_eq!((half.state(), permit), ("half_open", Permit::Probe));
        assert_eq!(half.ask(due + 1), (half, Permit::Refused { wait_ms: PROBE_LOOK_MS }), "only one");
        assert_eq!(half.answered(), Breaker::default());
    }

    #[test]
    fn probes_that_fail_are_further_and_further_apart_up_to_a_bound() {
        let (mut breaker, mut now, mut pauses) = (open(), T, Vec::new());
        for _ in 0..7 {
            let Breaker::Open { until_ms, .. } = breaker else {
                panic!("{breaker:?}")
            };
            pauses.push((until_ms - now) / 1_000);
            now = until_ms;
            let (half, permit) = breaker.ask(now);
            assert_eq!(permit, Permit::Probe);
            breaker = half.failed(Failure::NoAnswer, now);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60, 60]);
        assert_eq!(breaker.since_ms(), Some(T), "it is one outage");
    }

    #[test]
    fn a_sign_in_that_fails_when_a_probe_is_due_was_the_probe() {
        let due = T + PAUSE_MS_MIN;
        let Breaker::Open { outage, until_ms } = open().failed(Failure::SignIn, due) else {
            panic!("open")
        };
        assert_eq!((outage.probes, until_ms), (1, due + 2 * PAUSE_MS_MIN));
    }

    #[test]
    fn a_probe_that_is_not_heard_of_is_made_up_for_by_another() {
        let due = T + PAUSE_MS_MIN;
        let (half, _) = open().ask(due);
        assert_eq!(half.ask(due + PROBE_MS - 1).1, Permit::Refused { wait_ms: 1 });
        assert_eq!(half.ask(due + PROBE_MS).1, Permit::Probe);
    }

    #[test]
    fn what_a_system_asks_for_is_kept_within_a_bound_and_then_all_is_well() {
        for before in [Breaker::default(), open(), open().ask(T + PAUSE_MS_MIN).0] {
            let held = before.asked_to_wait(120_000, T);
            assert_eq!(held.ask(T + 20_000), (held, Permit::Refused { wait_ms: 100_000 }));
            assert_eq!(
                (held.answered(), held.used(), held.failed(Failure::NoAnswer, T)),
                (held, held, held)
            );
            assert_eq!(held.asked_to_wait(1_000, T), held, "the longer one counts");
            assert_eq!(held.ask(T + 120_000), (Breaker::default(), Permit::Granted));
            let for_ever = before.asked_to_wait(u64::MAX, T);
            assert_eq!(for_ever.ask(T + HOLD_MS_MAX).1, Permit::Granted);
        }
    }

    /// Every state × everything that can happen: nothing sends while it is refused, and no state is a dead end.
    #[test]
    fn no_state_is_a_dead_end() {
        let states = [
            Breaker::default(),
            failed(Breaker::default(), 2, T),
            open(),
            open().ask(T + PAUSE_MS_MIN).0,
            Breaker::default().asked_to_wait(90_000, T),
        ];
        for state in states {
            let next = [
                state.answered(),
                state.used(),
                state.failed(Failure::ServerError, T),
                state.asked_to_wait(5_000, T),
                state.ask(T).0,
            ];
            for breaker in next {
                let much_later = T + 2 * HOLD_MS_MAX;
                assert_ne!(
                    std::mem::discriminant(&breaker.ask(much_later).1),
                    std::mem::discriminant(&Permit::Refused { wait_ms: 0 })
                );
                let (asked, _) = breaker.ask(much_later);
                assert!(asked.answered().is_closed(), "{state:?} -> {breaker:?}");
            }
            let stored = serde_json::to_string(&state).expect("JSON");
            assert_eq!(serde_json::from_str::<Breaker>(&stored).expect("as it was stored"), state);
        }
    }

    #[test]
    fn it_says_in_words_why_nothing_is_sent() {
        let words = open().words().expect("open");
        assert!(
            words.starts_with("5 requests in a row failed, the last because no connection could be made;"),
            "{words}"
        );
        assert!(words.ends_with("the next probe is at 13:46:45 UTC"), "{words}");
        assert!(Breaker::default().words().is_none());
        let held = Breaker::default().asked_to_wait(90_000, T).words().expect("held");
        assert!(held.contains("left alone until 13:48:10 UTC"), "{held}");
    }
}
