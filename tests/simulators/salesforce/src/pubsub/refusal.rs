//! Errors as the service words them: a gRPC status whose trailers carry `error-code`, `rpc-id` and `type`.
//!
//! Codes and texts marked as recorded are from public clients and threads (fact sheet, 4.2); `type`'s value and the
//! remaining texts are plausible.

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

const PREFIX: &str = "sfdc.platform.eventbus.grpc.";

/// A status of the service. An `error` without dots in front of it is put behind the service's prefix.
#[must_use]
pub fn status(code: Code, error: &str, message: &str) -> Status {
    let rpc_id = uuid::Uuid::new_v4().to_string();
    let full = if error.starts_with("sfdc.") {
        error.to_owned()
    } else {
        format!("{PREFIX}{error}")
    };
    let mut trailers = MetadataMap::new();
    for (name, value) in [("error-code", full.as_str()), ("rpc-id", &rpc_id), ("type", "grpc.service.error")] {
        if let Ok(value) = MetadataValue::try_from(value) {
            trailers.insert(name, value);
        }
    }
    Status::with_metadata(code, format!("{message} rpcId: {rpc_id}"), trailers)
}

#[must_use]
pub fn auth() -> Status {
    let text = "Authentication exception occurred. Ensure that the authentication headers are valid.";
    status(Code::Unauthenticated, "service.auth.error", text)
}

/// A session that ended while a stream was open.
#[must_use]
pub fn session_ended() -> Status {
    let text = "The session of this stream has ended.";
    status(Code::Unauthenticated, "service.auth.refresh.invalid", text)
}

#[must_use]
pub fn no_topic(org: &str, topic: &str) -> Status {
    let text = format!(
        "The topic information for org {org} and topic {topic} not found. Ensure the topic name is correct and that the topic exists."
    );
    status(Code::NotFound, "topic.notfound", &text)
}

#[must_use]
pub fn no_schema(id: &str) -> Status {
    let text = format!("The schema information for schema ID {id} not found.");
    status(Code::NotFound, "schema.notfound", &text)
}

#[must_use]
pub fn replay_id_corrupted() -> Status {
    let text = "The Replay ID validation failed. Ensure that the Replay ID is valid and within the retention window.";
    status(Code::InvalidArgument, "subscription.fetch.replayid.corrupted", text)
}

#[must_use]
pub fn replay_id_missing() -> Status {
    let text = "A Replay ID is required with the CUSTOM replay preset.";
    status(Code::InvalidArgument, "subscription.fetch.replayid.validation.failed", text)
}

#[must_use]
pub fn requested(number: i32) -> Status {
    let text = format!("The number of requested events must be greater than zero, and is {number}.");
    status(Code::InvalidArgument, "subscription.fetch.requested.events.invalid", &text)
}

#[must_use]
pub fn topic_changed(first: &str, now: &str) -> Status {
    let text = format!("The topic name can't change within a stream: {first} before, {now} now.");
    status(Code::InvalidArgument, "subscription.fetch.topic.invalid", &text)
}

#[must_use]
pub fn delivery_limit() -> Status {
    let text = "You have exceeded the event delivery limit for your org.";
    status(Code::ResourceExhausted, "subscription.limit.exceeded", text)
}

#[must_use]
pub fn request_too_large() -> Status {
    let text = "gRPC message exceeds maximum size 4194304.";
    status(Code::ResourceExhausted, "publish.request.size.exceeded", text)
}

#[must_use]
pub fn not_publishable(topic: &str) -> Status {
    let text = format!("Events can't be published to {topic}.");
    status(Code::PermissionDenied, "publish.topic.invalid", &text)
}

#[must_use]
pub fn no_subscription(name: &str) -> Status {
    let text = format!("The managed event subscription {name} not found.");
    status(Code::NotFound, "subscription.notfound", &text)
}
