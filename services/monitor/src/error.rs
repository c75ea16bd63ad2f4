//! What can go wrong in the monitor, one variant per operation.

use syncline_domain::ErrorCode;
use thiserror::Error;
use tonic::Status;

#[derive(Debug, Error)]
pub enum MonitorError {
    #[error("the monitor's tables could not be read or written")]
    Store(#[source] sqlx::Error),
    #[error("run `{0}` is not known")]
    UnknownRun(String),
    #[error("there is no dead letter {0}")]
    UnknownLetter(u64),
    /// A fact that no retry makes readable.
    #[error("a fact about a run is not usable: {0}")]
    BadFact(&'static str),
}

impl MonitorError {
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Store(_) => ErrorCode::DatabaseUnavailable,
            Self::UnknownRun(_) | Self::UnknownLetter(_) => ErrorCode::SyncUnknown,
            Self::BadFact(_) => ErrorCode::Internal,
        }
    }
}

impl From<sqlx::Error> for MonitorError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error)
    }
}

impl From<MonitorError> for Status {
    fn from(error: MonitorError) -> Self {
        if let MonitorError::Store(cause) = &error {
            // The client learns the code only; what the database said is for whoever runs it.
            tracing::warn!(error = cause as &dyn std::error::Error, "answering a request failed");
        }
        syncline_wire::status::status(error.code(), error.to_string())
    }
}
