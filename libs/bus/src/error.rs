//! Errors of the bus and how NATS' own are understood; the one place that knows JetStream's error codes.

use async_nats::jetstream::ErrorCode as JetStreamCode;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind, PublishError, PublishErrorKind};
use syncline_domain::ErrorCode;
use thiserror::Error;

/// "maximum messages per subject exceeded" and its like (nats-server, errors.json: JSStreamStoreFailedF).
const STREAM_STORE_FAILED: u64 = 10_077;
/// "insufficient storage resources available" (JSInsufficientResourcesErr) and "no resources" (JSStorageResourcesExceededErr).
const RESOURCES_EXCEEDED: [u64; 2] = [10_023, 10_047];

#[derive(Debug, Error)]
pub enum BusError {
    #[error("cannot connect to NATS at {address}")]
    Connect {
        address: String,
        #[source]
        source: async_nats::ConnectError,
    },
    #[error("NATS {found} is too old; 2.10 or newer with JetStream is needed")]
    TooOld { found: String },
    #[error("the stream {stream} is not as this release needs it ({reason}): run `syncline migrate`, then start again")]
    NotMigrated { stream: String, reason: String },
    #[error("cannot set up {what}")]
    Setup {
        what: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The subject or the stream is at its bound: wait, then try again.
    #[error("no room on {subject}")]
    Full { subject: String },
    #[error("cannot publish to {subject}")]
    Publish {
        subject: String,
        #[source]
        source: PublishError,
    },
    #[error("cannot pull from {consumer}: {reason}")]
    Pull { consumer: String, reason: String },
    #[error("a message of {bytes} bytes exceeds the bus's bound")]
    TooLarge { bytes: usize },
}

impl BusError {
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge { .. } => ErrorCode::RecordTooLarge,
            Self::Connect { .. }
            | Self::TooOld { .. }
            | Self::NotMigrated { .. }
            | Self::Setup { .. }
            | Self::Full { .. }
            | Self::Publish { .. }
            | Self::Pull { .. } => ErrorCode::BusUnavailable,
        }
    }

    pub(crate) fn publish(subject: &str, source: PublishError) -> Self {
        if source.kind() == PublishErrorKind::Other && is_full(&source) {
            Self::Full {
                subject: subject.to_owned(),
            }
        } else {
            Self::Publish {
                subject: subject.to_owned(),
                source,
            }
        }
    }

    pub(crate) fn setup(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Setup {
            what: what.into(),
            source: source.into(),
        }
    }
}

/// Whether the server says for certain that there is no such stream, rather than nothing or something else.
pub(crate) fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(cause) if cause.error_code() == JetStreamCode::STREAM_NOT_FOUND)
}

fn is_full(error: &PublishError) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<async_nats::jetstream::Error>() {
            let code = error.error_code().0;
            return code == STREAM_STORE_FAILED || RESOURCES_EXCEEDED.contains(&code);
        }
        source = error.source();
    }
    false
}
