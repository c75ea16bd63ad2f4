//! The coordinator's gRPC services.

pub mod control;
pub mod runs;
pub mod syncs;

use syncline_domain::ErrorCode;
use syncline_wire::status::status;
use tonic::Status;

use crate::shell::ApplyError;

/// Entries of a list page when the caller names no size, and the most it may name.
const PAGE_DEFAULT: u32 = 50;
const PAGE_MAX: u32 = 500;

fn page_size(asked: u32) -> i64 {
    i64::from(if asked == 0 { PAGE_DEFAULT } else { asked.min(PAGE_MAX) })
}

fn database(error: &sqlx::Error) -> Status {
    tracing::warn!(%error, "the database did not answer a call");
    status(ErrorCode::DatabaseUnavailable, "the coordinator's database cannot be reached")
}

fn apply_error(error: ApplyError) -> Status {
    match error {
        ApplyError::Unknown(_) => status(ErrorCode::SyncUnknown, error.to_string()),
        ApplyError::Illegal(_) => status(ErrorCode::RunState, error.to_string()),
        ApplyError::Database(error) => database(&error),
        ApplyError::Names => status(ErrorCode::Internal, error.to_string()),
    }
}
