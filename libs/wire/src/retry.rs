//! The retry policy of a connection between proto and domain.

use std::time::Duration;

use syncline_domain::retry::RetryPolicy;

use crate::connection::RetryPolicy as Wire;

#[must_use]
pub fn to_proto(policy: &RetryPolicy) -> Wire {
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    Wire {
        attempts: u32::try_from(policy.attempts_max).unwrap_or(u32::MAX),
        initial_delay_ms: ms(policy.delay_min),
        factor: policy.factor,
        max_delay_ms: ms(policy.delay_max),
        jitter: policy.jitter,
        statuses: policy.statuses.iter().copied().map(u32::from).collect(),
        connect_timeout_ms: ms(policy.connect_timeout),
        request_timeout_ms: ms(policy.request_timeout),
    }
}

#[must_use]
pub fn from_proto(policy: &Wire) -> RetryPolicy {
    RetryPolicy {
        attempts_max: usize::try_from(policy.attempts).unwrap_or(usize::MAX),
        delay_min: Duration::from_millis(policy.initial_delay_ms),
        delay_max: Duration::from_millis(policy.max_delay_ms),
        factor: policy.factor,
        jitter: policy.jitter,
        statuses: policy.statuses.iter().filter_map(|s| u16::try_from(*s).ok()).collect(),
        connect_timeout: Duration::from_millis(policy.connect_timeout_ms),
        request_timeout: Duration::from_millis(policy.request_timeout_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_survives_the_crossing() {
        let policy = RetryPolicy {
            attempts_max: 7,
            factor: 1.5,
            jitter: false,
            statuses: [503, 520].into(),
            request_timeout: Duration::from_millis(1_234),
            ..RetryPolicy::default()
        };
        assert_eq!(from_proto(&to_proto(&policy)), policy);
        assert_eq!(from_proto(&to_proto(&RetryPolicy::default())), RetryPolicy::default());
    }
}
