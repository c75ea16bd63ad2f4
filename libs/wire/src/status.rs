//! Catalogue codes across gRPC: the code travels in the trailer `syncline-code`, the text is for people.

use syncline_domain::ErrorCode;
use syncline_domain::catalogue::Blame;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// The metadata key that carries the catalogue's code.
pub const CODE_KEY: &str = "syncline-code";

/// A status for a code of the catalogue.
#[must_use]
pub fn status(code: ErrorCode, message: impl Into<String>) -> Status {
    let mut status = Status::new(grpc_code(code), message);
    if let Ok(value) = MetadataValue::try_from(code.as_str()) {
        status.metadata_mut().insert(CODE_KEY, value);
    }
    status
}

/// The catalogue's code of a status, if it carries one.
#[must_use]
pub fn code_of(status: &Status) -> Option<ErrorCode> {
    status.metadata().get(CODE_KEY)?.to_str().ok()?.parse().ok()
}

fn grpc_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::SyncUnknown | ErrorCode::UnknownConnection => Code::NotFound,
        ErrorCode::SyncInvalid => Code::InvalidArgument,
        ErrorCode::Credentials => Code::Unauthenticated,
        ErrorCode::Permission => Code::PermissionDenied,
        ErrorCode::RunActive | ErrorCode::ProductionTarget => Code::FailedPrecondition,
        ErrorCode::DailyApiLimit | ErrorCode::BulkLimit | ErrorCode::RateLimited => Code::ResourceExhausted,
        ErrorCode::Internal => Code::Internal,
        other if other.entry().can_retry => Code::Unavailable,
        other if other.entry().blame == Blame::Operator => Code::FailedPrecondition,
        _ => Code::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_crossing() {
        for code in ErrorCode::ALL {
            assert_eq!(code_of(&status(*code, "x")), Some(*code));
        }
    }
}
