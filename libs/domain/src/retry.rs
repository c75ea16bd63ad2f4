//! How requests to a system are tried again: the policy as data, its defaults, and what a connection's document may set.
//!
//! Whether an error is worth a retry stands in the catalogue; how often and when stands here.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// HTTP statuses that may pass by themselves.
const STATUSES: [u16; 6] = [408, 429, 500, 502, 503, 504];

/// How single requests are tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Tries in all, the first included.
    pub attempts_max: usize,
    pub delay_min: Duration,
    /// No pause is longer, jitter included; a wait that the system asks for and that is longer is not sat out.
    pub delay_max: Duration,
    pub factor: f32,
    /// Each pause is up to twice as long, so that those who failed together do not come back together.
    pub jitter: bool,
    /// Answers that are tried again, unless the system's own code says that it will not help.
    pub statuses: BTreeSet<u16>,
    pub connect_timeout: Duration,
    /// From sending to the end of the answer; for one that is streamed to its beginning, then between any two pieces.
    pub request_timeout: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            delay_min: Duration::from_secs(1),
            delay_max: Duration::from_secs(60),
            factor: 2.0,
            jitter: true,
            statuses: STATUSES.into(),
            connect_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// At most as patient as this: for somebody who waits at a screen.
    #[must_use]
    pub fn at_most(self, attempts_max: usize, delay_min: Duration, delay_max: Duration, request_timeout: Duration) -> Self {
        Self {
            attempts_max: self.attempts_max.min(attempts_max),
            delay_min: self.delay_min.min(delay_min),
            delay_max: self.delay_max.min(delay_max),
            request_timeout: self.request_timeout.min(request_timeout),
            ..self
        }
    }
}

/// A length of time as people write it: `500ms`, `30s`, `5m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let ms = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, ms)| *ms);
        let whole = number.parse::<u64>().ok().zip(ms).and_then(|(n, ms)| n.checked_mul(ms));
        whole.map(|ms| Self(Duration::from_millis(ms))).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            format!("`{shown}` is no duration; expected a whole number and its unit, such as 500ms, 30s, 5m or 1h")
        })
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

/// The largest unit that gives a whole number.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.as_millis();
        let (name, ms) = UNITS
            .iter()
            .rev()
            .find(|(_, ms)| whole > 0 && whole.is_multiple_of(u128::from(*ms)))
            .unwrap_or(&UNITS[0]);
        write!(f, "{}{name}", whole / u128::from(*ms))
    }
}

/// What a connection sets of its policy; the rest is the default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrySpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_delay: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_delay: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statuses: Option<BTreeSet<u16>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<Span>,
}

const ATTEMPTS: std::ops::RangeInclusive<u32> = 1..=20;
const FACTOR: std::ops::RangeInclusive<f32> = 1.0..=10.0;
const DELAY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(3_600));
const CONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(300));
const REQUEST: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1_800));

impl RetrySpec {
    #[must_use]
    pub fn policy(&self) -> RetryPolicy {
        let default = RetryPolicy::default();
        let span = |set: Option<Span>, default: Duration| set.map_or(default, |s| s.0);
        RetryPolicy {
            attempts_max: self
                .attempts
                .map_or(default.attempts_max, |n| usize::try_from(n).unwrap_or(usize::MAX)),
            delay_min: span(self.initial_delay, default.delay_min),
            delay_max: span(self.max_delay, default.delay_max),
            factor: self.factor.unwrap_or(default.factor),
            jitter: self.jitter.unwrap_or(default.jitter),
            statuses: self.statuses.clone().unwrap_or(default.statuses),
            connect_timeout: span(self.connect_timeout, default.connect_timeout),
            request_timeout: span(self.request_timeout, default.request_timeout),
        }
    }

    /// The first value that makes no sense: its key, and what is wrong with it.
    ///
    /// # Errors
    /// Key and message.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if let Some(n) = self.attempts.filter(|n| !ATTEMPTS.contains(n)) {
            return Err((
                "attempts",
                format!(
                    "is {n}; expected {} to {}, the first try included",
                    ATTEMPTS.start(),
                    ATTEMPTS.end()
                ),
            ));
        }
        if let Some(factor) = self.factor.filter(|f| !FACTOR.contains(f)) {
            return Err(("factor", format!("is {factor}; expected {} to {}", FACTOR.start(), FACTOR.end())));
        }
        for (key, set, (least, most)) in [
            ("initial_delay", self.initial_delay, DELAY),
            ("max_delay", self.max_delay, DELAY),
            ("connect_timeout", self.connect_timeout, CONNECT),
            ("request_timeout", self.request_timeout, REQUEST),
        ] {
            if let Some(span) = set.filter(|s| !(least..=most).contains(&s.0)) {
                return Err((key, format!("is {span}; expected {} to {}", Span(least), Span(most))));
            }
        }
        let policy = self.policy();
        if policy.delay_min > policy.delay_max {
            let key = if self.initial_delay.is_some() {
                "initial_delay"
            } else {
                "max_delay"
            };
            let (first, longest) = (Span(policy.delay_min), Span(policy.delay_max));
            return Err((
                key,
                format!("does not fit: the first delay is {first}, and none may be longer than {longest}"),
            ));
        }
        if let Some(status) = policy.statuses.iter().find(|s| !(400..=599).contains(*s)) {
            return Err(("statuses", format!("holds {status}; expected HTTP statuses of failure, 400 to 599")));
        }
        // 401 is answered by a new token, once, whatever stands here.
        if policy.statuses.contains(&401) {
            return Err((
                "statuses",
                "holds 401, which is answered by a new token and tried again once in any case".to_owned(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_published_ones() {
        let policy = RetrySpec::default().policy();
        assert_eq!(policy, RetryPolicy::default());
        let seconds = |d: Duration| d.as_secs();
        assert_eq!((policy.attempts_max, seconds(policy.delay_min), policy.factor), (5, 1, 2.0));
        assert_eq!((seconds(policy.delay_max), policy.jitter), (60, true));
        assert_eq!(policy.statuses.into_iter().collect::<Vec<_>>(), [408, 429, 500, 502, 503, 504]);
        assert_eq!((seconds(policy.connect_timeout), seconds(policy.request_timeout)), (30, 60));
    }

    #[test]
    fn durations_are_read_and_shown_by_their_largest_unit() {
        for (text, ms, shown) in [
            ("500ms", 500, "500ms"),
            ("30s", 30_000, "30s"),
            ("90s", 90_000, "90s"),
            ("120s", 120_000, "2m"),
            ("1h", 3_600_000, "1h"),
            ("0s", 0, "0ms"),
        ] {
            let span: Span = text.parse().unwrap_or_else(|e| panic!("{e}"));
            assert_eq!((span.0.as_millis(), span.to_string().as_str()), (ms, shown), "{text}");
        }
        for bad in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "1d",
            "30 s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            let error = bad.parse::<Span>().expect_err(bad);
            assert!(error.contains("500ms"), "{error}");
        }
    }
}
