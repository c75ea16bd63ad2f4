//! Catalogue codes across gRPC: as `google.rpc.ErrorInfo` in the status' details (reason = code), and in the trailer
//! `syncline-code` for whoever does not read details. The text is for people.

use std::collections::HashMap;
use std::time::Duration;

use syncline_domain::ErrorCode;
use syncline_domain::catalogue::Blame;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The metadata key that carries the catalogue's code.
pub const CODE_KEY: &str = "syncline-code";
/// The domain of every `ErrorInfo` of Syncline.
pub const DOMAIN: &str = "syncline.dev";

/// A status for a code of the catalogue.
#[must_use]
pub fn status(code: ErrorCode, message: impl Into<String>) -> Status {
    with_details(code, message, ErrorDetails::new())
}

/// A status that says which field of the request is at fault, and why.
#[must_use]
pub fn invalid_field(code: ErrorCode, field: &str, description: impl Into<String>) -> Status {
    let description = description.into();
    let details = ErrorDetails::with_bad_request_violation(field, description.clone());
    with_details(code, format!("`{field}`: {description}"), details)
}

/// A status that says when to try again.
#[must_use]
pub fn retry_after(code: ErrorCode, message: impl Into<String>, wait: Duration) -> Status {
    with_details(code, message, ErrorDetails::with_retry_info(Some(wait)))
}

fn with_details(code: ErrorCode, message: impl Into<String>, mut details: ErrorDetails) -> Status {
    let entry = code.entry();
    let about = HashMap::from([
        ("title".to_owned(), entry.title.to_owned()),
        ("remedy".to_owned(), entry.remedy.to_owned()),
        ("can_retry".to_owned(), entry.can_retry.to_string()),
    ]);
    details.set_error_info(code.as_str(), DOMAIN, about);
    let mut status = Status::with_error_details(grpc_code(code), message, details);
    if let Ok(value) = MetadataValue::try_from(code.as_str()) {
        status.metadata_mut().insert(CODE_KEY, value);
    }
    status
}

/// The catalogue's code of a status, if it carries one.
#[must_use]
pub fn code_of(status: &Status) -> Option<ErrorCode> {
    let trailer = status.metadata().get(CODE_KEY).and_then(|v| v.to_str().ok()?.parse().ok());
    trailer.or_else(|| status.get_details_error_info()?.reason.parse().ok())
}

/// When to try again, if a status says so.
#[must_use]
pub fn wait_of(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

fn grpc_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::SyncUnknown | ErrorCode::UnknownConnection => Code::NotFound,
        ErrorCode::SyncInvalid | ErrorCode::RequestInvalid => Code::InvalidArgument,
        ErrorCode::Credentials | ErrorCode::ApiToken => Code::Unauthenticated,
        ErrorCode::Permission | ErrorCode::Role => Code::PermissionDenied,
        ErrorCode::KeyReused => Code::AlreadyExists,
        ErrorCode::MethodUnknown => Code::Unimplemented,
        ErrorCode::RunActive | ErrorCode::RunState | ErrorCode::ProductionTarget => Code::FailedPrecondition,
        ErrorCode::DailyApiLimit
        | ErrorCode::BulkLimit
        | ErrorCode::RateLimited
        | ErrorCode::Throttled
        | ErrorCode::RequestTooLarge
        | ErrorCode::TooMuch => Code::ResourceExhausted,
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
    fn every_code_survives_the_crossing_with_and_without_its_trailer() {
        for code in ErrorCode::ALL {
            let mut status = status(*code, "x");
            assert_eq!(code_of(&status), Some(*code));
            status.metadata_mut().remove(CODE_KEY);
            assert_eq!(code_of(&status), Some(*code));
        }
    }

    #[test]
    fn details_name_the_field_and_the_pause() {
        let status = invalid_field(ErrorCode::RequestInvalid, "page_size", "is larger than 500");
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let violation = details
            .bad_request()
            .and_then(|b| b.field_violations.first())
            .expect("one violation");
        assert_eq!(
            (violation.field.as_str(), violation.description.as_str()),
            ("page_size", "is larger than 500")
        );
        let info = details.error_info().expect("always there");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("REQUEST_INVALID_001", DOMAIN));
        assert!(info.metadata.get("remedy").is_some_and(|r| !r.is_empty()));
        let status = retry_after(ErrorCode::Throttled, "x", Duration::from_millis(250));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(wait_of(&status), Some(Duration::from_millis(250)));
    }
}
