//! The one error of connectors: a catalogue code, the system's own code, and words without values.

use std::time::Duration;

use syncline_domain::ErrorCode;
use thiserror::Error;

/// Something went wrong at or on the way to a system.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{code}: {message}")]
pub struct ConnectError {
    pub code: ErrorCode,
    /// The system's own code, verbatim, such as `INVALID_FIELD`.
    pub native: Option<String>,
    /// Where and what, never a record's value.
    pub message: String,
    /// The system asked to wait this long.
    pub retry_after: Option<Duration>,
    /// The thing that was asked for does not exist (a job that is gone).
    pub gone: bool,
}

impl ConnectError {
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            native: None,
            message: message.into(),
            retry_after: None,
            gone: false,
        }
    }

    #[must_use]
    pub fn native(mut self, native: impl Into<String>) -> Self {
        self.native = Some(native.into());
        self
    }

    #[must_use]
    pub fn gone(mut self) -> Self {
        self.gone = true;
        self
    }

    #[must_use]
    pub fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// Whether the same request may succeed later, read from the catalogue.
    #[must_use]
    pub fn can_retry(&self) -> bool {
        self.code.entry().can_retry
    }
}
