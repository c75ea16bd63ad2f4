//! What the process says when it ends. The numbers are a contract: scripts branch on them.

use syncline_domain::ErrorCode;
use syncline_domain::catalogue::Blame;
use syncline_domain::run::Status as RunStatus;
use tonic::{Code, Status};

/// Shown by `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
    0  done; for a watched run: completed
    1  something unexpected failed
    2  usage, a definition that is not valid, or a fatal issue
    3  the run completed with errors
    4  the run failed
    5  the run was cancelled
    6  not found
    7  not authenticated or not permitted
    8  the gateway cannot be reached
  130  interrupted";

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    Unexpected = 1,
    Invalid = 2,
    CompletedWithErrors = 3,
    RunFailed = 4,
    Cancelled = 5,
    NotFound = 6,
    Unauthenticated = 7,
    Unreachable = 8,
    Interrupted = 130,
}

impl Exit {
    /// How a watched run ended; a run that has not ended is no failure.
    #[must_use]
    pub fn of_run(status: &str) -> Self {
        match status.parse() {
            Ok(RunStatus::CompletedWithErrors) => Self::CompletedWithErrors,
            Ok(RunStatus::Failed) => Self::RunFailed,
            Ok(RunStatus::Cancelled) => Self::Cancelled,
            _ => Self::Ok,
        }
    }

    /// What a refused request means. The code of gRPC decides; the catalogue's code refines what it leaves open.
    #[must_use]
    pub fn of_status(status: &Status, code: Option<ErrorCode>) -> Self {
        match (status.code(), code) {
            (Code::NotFound, _) => Self::NotFound,
            (Code::Unauthenticated | Code::PermissionDenied, _) => Self::Unauthenticated,
            (Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange | Code::AlreadyExists, _) => Self::Invalid,
            (Code::Unavailable, None) => Self::Unreachable,
            (_, Some(code)) => Self::of_code(code),
            _ => Self::Unexpected,
        }
    }

    /// What a code of the catalogue means when it stands alone.
    #[must_use]
    pub fn of_code(code: ErrorCode) -> Self {
        match code {
            ErrorCode::SyncUnknown | ErrorCode::UnknownConnection => Self::NotFound,
            other if other.entry().blame == Blame::Operator => Self::Invalid,
            _ => Self::Unexpected,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_a_run_has_its_number() {
        for (status, number) in [
            ("completed", 0),
            ("completed_with_errors", 3),
            ("failed", 4),
            ("cancelled", 5),
            ("loading", 0),
            ("nonsense", 0),
        ] {
            assert_eq!(Exit::of_run(status) as u8, number, "{status}");
        }
    }

    #[test]
    fn every_refusal_has_its_number() {
        for (code, number) in [
            (ErrorCode::SyncUnknown, 6),
            (ErrorCode::UnknownConnection, 6),
            (ErrorCode::SyncInvalid, 2),
            (ErrorCode::ProductionTarget, 2),
            (ErrorCode::RunActive, 2),
            (ErrorCode::MaskUndecided, 2),
            (ErrorCode::Credentials, 7),
            (ErrorCode::Permission, 7),
            (ErrorCode::Internal, 1),
            (ErrorCode::DatabaseUnavailable, 1),
            (ErrorCode::BusUnavailable, 1),
        ] {
            let status = syncline_wire::status::status(code, "x");
            assert_eq!(Exit::of_status(&status, Some(code)) as u8, number, "{code}");
        }
        for (code, number) in [
            (Code::Unavailable, 8),
            (Code::Unauthenticated, 7),
            (Code::NotFound, 6),
            (Code::Internal, 1),
            (Code::DeadlineExceeded, 1),
            (Code::Unimplemented, 1),
        ] {
            assert_eq!(Exit::of_status(&Status::new(code, "x"), None) as u8, number, "{code:?}");
        }
    }

    #[test]
    fn the_help_names_every_number() {
        for exit in [
            Exit::Ok,
            Exit::Unexpected,
            Exit::Invalid,
            Exit::CompletedWithErrors,
            Exit::RunFailed,
            Exit::Cancelled,
            Exit::NotFound,
            Exit::Unauthenticated,
            Exit::Unreachable,
            Exit::Interrupted,
        ] {
            let number = format!("{:>5}  ", exit as u8);
            assert!(EXIT_CODES.contains(&number), "{exit:?}");
        }
    }
}
