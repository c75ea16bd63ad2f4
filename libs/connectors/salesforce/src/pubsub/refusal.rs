//! What an end of a call means, and what to do about it: one table over the `error-code` trailer, one over the status.

use syncline_connect::{AccessToken, ConnectError};
use syncline_domain::ErrorCode;
use tonic::{Code, Status};

const PREFIX: &str = "sfdc.platform.eventbus.grpc.";

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Get another token, then open again.
    Renew,
    /// Open again after a pause.
    Again,
    /// Nothing that this side could do.
    GiveUp,
}

/// A failed attempt.
pub(super) struct Refusal {
    pub error: Box<ConnectError>,
    pub act: Act,
    /// The token that was refused.
    pub token: Option<Box<AccessToken>>,
}

/// Codes behind [`PREFIX`], from the service's documentation and recorded streams.
#[rustfmt::skip]
static CODES: &[(&str, ErrorCode, Act)] = &[
    ("service.auth.error", ErrorCode::Credentials, Act::Renew),
    ("service.auth.refresh.invalid", ErrorCode::Credentials, Act::Renew),
    ("service.unavailable", ErrorCode::Unreachable, Act::Again),
    ("subscription.fetch.replayid.corrupted", ErrorCode::ResultsGone, Act::GiveUp),
    ("subscription.fetch.replayid.validation.failed", ErrorCode::ResultsGone, Act::GiveUp),
    ("subscription.limit.exceeded", ErrorCode::DailyApiLimit, Act::GiveUp),
    ("topic.notfound", ErrorCode::ObjectMissing, Act::GiveUp),
];

fn by_status(code: Code) -> (ErrorCode, Act) {
    match code {
        Code::Unauthenticated => (ErrorCode::Credentials, Act::Renew),
        Code::PermissionDenied => (ErrorCode::Permission, Act::GiveUp),
        Code::NotFound => (ErrorCode::ObjectMissing, Act::GiveUp),
        Code::ResourceExhausted => (ErrorCode::RateLimited, Act::Again),
        Code::DeadlineExceeded => (ErrorCode::NetworkTimeout, Act::Again),
        Code::Unavailable | Code::Internal | Code::Unknown | Code::Aborted | Code::Cancelled | Code::DataLoss => {
            (ErrorCode::Unreachable, Act::Again)
        }
        Code::Ok | Code::InvalidArgument | Code::AlreadyExists | Code::FailedPrecondition | Code::OutOfRange | Code::Unimplemented => {
            (ErrorCode::BadAnswer, Act::GiveUp)
        }
    }
}

impl Refusal {
    /// What a status means. Its message may quote what was sent, so only codes are kept.
    pub(super) fn of(rpc: &str, status: &Status, token: Option<&AccessToken>) -> Self {
        let trailer = status.metadata().get("error-code").and_then(|v| v.to_str().ok());
        let short = trailer.map(|t| t.strip_prefix(PREFIX).unwrap_or(t));
        let known = CODES.iter().find(|(code, ..)| short.is_some_and(|s| s.eq_ignore_ascii_case(code)));
        let (code, act) = known.map_or_else(|| by_status(status.code()), |(_, code, act)| (*code, *act));
        let mut error = ConnectError::new(code, format!("{rpc}: {:?}", status.code()));
        if let Some(trailer) = trailer {
            error = error.native(trailer);
        }
        if code == ErrorCode::ResultsGone {
            error = error.gone();
        }
        Self {
            error: Box::new(error),
            act,
            token: token.cloned().map(Box::new),
        }
    }

    /// An error that trying again does not mend.
    pub(super) fn last(error: ConnectError) -> Self {
        Self {
            error: Box::new(error),
            act: Act::GiveUp,
            token: None,
        }
    }

    /// The stream ended without an error: nothing was asked for in time, or the service restarts.
    pub(super) fn ended() -> Self {
        Self {
            error: Box::new(ConnectError::new(ErrorCode::Unreachable, "Subscribe: the stream ended")),
            act: Act::Again,
            token: None,
        }
    }

    /// Nothing came for too long.
    pub(super) fn silent(rpc: &str) -> Self {
        Self {
            error: Box::new(ConnectError::new(ErrorCode::NetworkTimeout, format!("{rpc}: no answer in time"))),
            act: Act::Again,
            token: None,
        }
    }

    /// A credential that no header can carry.
    pub(super) fn unusable(key: &str) -> Self {
        Self::last(ConnectError::new(
            ErrorCode::Credentials,
            format!("{key} has characters that cannot be sent"),
        ))
    }
}
