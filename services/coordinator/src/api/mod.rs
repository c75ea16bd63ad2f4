//! The coordinator's gRPC services.

pub mod control;
pub mod reopening;
pub mod runs;
pub mod syncs;

use syncline_domain::ErrorCode;
use syncline_wire::page::List;
use syncline_wire::status::{code_of, status};
use tonic::Status;

use crate::reopening::ReopenError;
use crate::shell::ApplyError;

fn list<'a>(name: &'a str, filter: &'a str) -> List<'a> {
    List {
        name,
        filter,
        size_default: 50,
        size_max: 500,
    }
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

fn reopen_error(error: ReopenError) -> Status {
    let text = error.to_string();
    let code = match error {
        ReopenError::NotEnded { .. } | ReopenError::NotCleared(_) => ErrorCode::RunState,
        ReopenError::OtherActive(_) => ErrorCode::RunActive,
        ReopenError::Loader(status) => code_of(&status).unwrap_or(ErrorCode::Unreachable),
        ReopenError::Apply(error) => return apply_error(error),
    };
    status(code, text)
}
