//! What can keep the analyzer from making a plan. What is wrong with a sync is not an error but an issue of its plan.

use syncline_connect::ConnectError;
use syncline_domain::spec::SpecError;
use syncline_domain::{ConnectionName, ErrorCode};
use syncline_runtime::StageError;
use syncline_runtime::plans::peer_error;
use syncline_wire::status::status;
use thiserror::Error;
use tonic::Status;

#[derive(Debug, Error)]
pub enum Error {
    /// One end cannot be asked.
    #[error("connection `{connection}`: {}", cause.message)]
    System {
        connection: ConnectionName,
        #[source]
        cause: ConnectError,
    },
    /// The coordinator refused or did not answer.
    #[error("{0}")]
    Peer(StageError),
    /// The coordinator's answer makes no sense.
    #[error("the coordinator's answer {0}")]
    Answer(&'static str),
    #[error("the sync's definition: {0}")]
    Definition(#[from] SpecError),
    #[error("there is no plan for {what}")]
    NoPlan { what: String },
    #[error("no object is left to propose: {0}")]
    NothingToPropose(String),
    #[error("a stored plan does not parse")]
    Stored(#[source] serde_json::Error),
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}

impl Error {
    #[must_use]
    pub fn coordinator(status: &Status) -> Self {
        Self::Peer(peer_error("coordinator", status))
    }

    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::System { cause, .. } => cause.code,
            Self::Peer(error) => error.code(),
            Self::Answer(_) | Self::Stored(_) => ErrorCode::Internal,
            Self::Definition(_) => ErrorCode::SyncInvalid,
            Self::NoPlan { .. } => ErrorCode::SyncUnknown,
            Self::NothingToPropose(_) => ErrorCode::ObjectMissing,
            Self::Database(_) => ErrorCode::DatabaseUnavailable,
        }
    }
}

impl From<Error> for StageError {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) => Self::Database(error),
            Error::Peer(error) => error,
            other => Self::new(other.code(), other.to_string()),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        status(error.code(), error.to_string())
    }
}
