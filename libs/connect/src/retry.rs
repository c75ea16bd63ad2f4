//! Retry policy as data. Whether an error is worth a retry stands in the catalogue; how often and when stands here.

use std::time::Duration;

/// How single requests are tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Tries in all, the first included.
    pub attempts_max: usize,
    pub delay_min: Duration,
    pub delay_max: Duration,
    pub factor: f32,
    pub connect_timeout: Duration,
    pub request_timeout: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            delay_min: Duration::from_secs(1),
            delay_max: Duration::from_secs(60),
            factor: 2.0,
            connect_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// HTTP statuses that may pass by themselves.
    #[must_use]
    pub fn is_retryable_status(status: u16) -> bool {
        matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
    }
}
