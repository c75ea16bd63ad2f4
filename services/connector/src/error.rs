//! What can go wrong here, and the catalogue's code for it. No variant can hold a secret.

use std::sync::Arc;
use std::time::Duration;

use syncline_batch::SealError;
use syncline_connect::ConnectError;
use syncline_domain::spec::SpecError;
use syncline_domain::{ConnectionName, ErrorCode};
use syncline_runtime::keys::provider::ProviderError;
use syncline_wire::status::{invalid_field, retry_after, status};
use thiserror::Error;
use tonic::Status;

#[derive(Debug, Clone, Error)]
pub enum Error {
    #[error("there is no connection `{0}`; list them with `syncline connection list`")]
    UnknownConnection(String),
    #[error("{0}")]
    Document(#[from] SpecError),
    /// A request that contradicts itself or its document.
    #[error("{0}")]
    Invalid(String),
    #[error("nobody has signed in for `{name}` yet: `syncline connection add` opens a browser for it")]
    ConsentMissing { name: ConnectionName },
    #[error("`{name}` belongs to {}: ask them or an administrator to change it", owned_by(owner))]
    NotTheOwner { name: ConnectionName, owner: String },
    #[error("the stored document of `{0}` cannot be read")]
    StoredDocument(ConnectionName),
    #[error("the stored credentials of `{name}` do not open; is the key `credentials` the one they were sealed with?")]
    Seal {
        name: ConnectionName,
        #[source]
        source: SealError,
    },
    #[error("the system of `{name}` sent a token for an address that is neither https nor loopback")]
    InstanceUrl { name: ConnectionName },
    #[error("`{name}` was changed or deleted while its token was renewed; ask again")]
    Changed { name: ConnectionName },
    #[error("`{name}` has {left} of {max} daily API requests left, fewer than the {reserve} that are kept for people")]
    DailyReserve {
        name: ConnectionName,
        left: u64,
        max: u64,
        reserve: u64,
    },
    #[error("nothing is sent to `{name}`: {words}")]
    HeldBack {
        name: ConnectionName,
        words: String,
        wait: Duration,
    },
    #[error("connection `{name}`: {source}")]
    System { name: ConnectionName, source: ConnectError },
    #[error(transparent)]
    Keys(#[from] ProviderError),
    #[error("{what} could not be wrapped anew: {source}")]
    Rewrap {
        what: String,
        #[source]
        source: ProviderError,
    },
    #[error("the connector's database does not answer")]
    DatabaseAway(#[source] Arc<sqlx::Error>),
    #[error("the connector's database refused a statement")]
    DatabaseRefused(#[source] Arc<sqlx::Error>),
    #[error("the connector is stopping")]
    Stopping,
}

fn owned_by(owner: &str) -> String {
    if owner.is_empty() {
        "administrators".to_owned()
    } else {
        format!("`{owner}`")
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_away(&error) {
            Self::DatabaseAway(Arc::new(error))
        } else {
            Self::DatabaseRefused(Arc::new(error))
        }
    }
}

/// Whether waiting may help: connections that failed or were ended, resources that ran out, deadlocks (PostgreSQL,
/// appendix A: classes 08, 40, 53, 57; 25P03 ends a transaction that idled).
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| ["08", "40", "53", "57"].iter().any(|class| code.starts_with(class)) || code == "25P03"),
        _ => false,
    }
}

impl Error {
    /// The catalogue's code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownConnection(_) => ErrorCode::UnknownConnection,
            Self::Keys(error) | Self::Rewrap { source: error, .. } => error.code(),
            Self::Document(_) | Self::Invalid(_) => ErrorCode::SyncInvalid,
            Self::ConsentMissing { .. } => ErrorCode::Credentials,
            Self::NotTheOwner { .. } => ErrorCode::Role,
            Self::StoredDocument(_) | Self::Seal { .. } | Self::DatabaseRefused(_) => ErrorCode::Internal,
            Self::InstanceUrl { .. } => ErrorCode::BadAnswer,
            Self::Changed { .. } | Self::Stopping => ErrorCode::Unreachable,
            Self::DailyReserve { .. } => ErrorCode::DailyApiLimit,
            Self::HeldBack { .. } => ErrorCode::HeldBack,
            Self::System { source, .. } => source.code,
            Self::DatabaseAway(_) => ErrorCode::DatabaseUnavailable,
        }
    }

    /// What people read: without the code, which travels beside it.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::System { name, source } => format!("connection `{name}`: {}", source.message),
            other => other.to_string(),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match &error {
            // Consumed here: the caller learns only that the database is away.
            Error::DatabaseAway(source) | Error::DatabaseRefused(source) => tracing::error!(%source, "database"),
            Error::Seal { name, source } => tracing::error!(%name, %source, "credentials do not open"),
            _ => {}
        }
        match &error {
            Error::HeldBack { wait, .. } => retry_after(error.code(), error.message(), *wait),
            Error::Document(_) => invalid_field(error.code(), "yaml", error.message()),
            _ => status(error.code(), error.message()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_away_is_told_from_a_mistake_of_ours() {
        assert_eq!(Error::from(sqlx::Error::PoolTimedOut).code(), ErrorCode::DatabaseUnavailable);
        assert_eq!(Error::from(sqlx::Error::RowNotFound).code(), ErrorCode::Internal);
    }
}
