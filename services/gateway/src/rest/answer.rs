//! From a gRPC answer to the HTTP answer that it stands for.

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Limited};
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Value, json};
use syncline_domain::ErrorCode;
use syncline_wire::status::status;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::Refused;
use super::table::Endpoint;

const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Flag and length before a message.
const PREFIX_BYTES: usize = 5;

/// The HTTP code of a gRPC code (`google/rpc/code.proto`).
#[must_use]
pub fn http_code(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        // nginx's word for a caller that went away.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Internal | Code::Unknown | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// An answer of JSON.
pub fn json(code: StatusCode, text: Bytes) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub fn refused(refused: Refused) -> Response {
    let (code, status, allow) = refused.parts();
    let mut response = error(code, &status);
    if let Some(allow) = allow {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

fn error(code: StatusCode, status: &Status) -> Response {
    let mut response = json(code, error_json(code, status).to_string().into());
    let headers = response.headers_mut();
    if let Some(wait) = status
        .metadata()
        .get("retry-after")
        .and_then(|v| HeaderValue::from_bytes(v.as_bytes()).ok())
    {
        headers.insert(RETRY_AFTER, wait);
    }
    if code == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// `google.rpc.Status` in JSON, with the details that callers act on.
fn error_json(code: StatusCode, status: &Status) -> Value {
    let details = status.get_error_details();
    let mut list = Vec::new();
    if let Some(info) = details.error_info() {
        list.push(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": info.reason, "domain": info.domain, "metadata": info.metadata,
        }));
    }
    if let Some(request) = details.bad_request() {
        let violations = request.field_violations.iter();
        let violations: Vec<Value> = violations
            .map(|v| json!({"field": v.field, "description": v.description}))
            .collect();
        list.push(json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}));
    }
    if let Some(delay) = details.retry_info().and_then(|r| r.retry_delay) {
        list.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}.{:09}s", delay.as_secs(), delay.subsec_nanos()),
        }));
    }
    json!({"error": {
        "code": code.as_u16(),
        "status": crate::door::code_name(status.code()),
        "message": status.message(),
        "details": list,
    }})
}

/// The answer to a call.
pub async fn translated(endpoint: &Endpoint, response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let request_id = parts.headers.get("syncline-request-id").cloned();
    let mut answer = match Status::from_header_map(&parts.headers) {
        Some(status) if status.code() != Code::Ok => error(http_code(status.code()), &status),
        _ if endpoint.stream => events(endpoint, body),
        _ => whole(endpoint, &parts.headers, body).await,
    };
    if let Some(id) = request_id {
        answer.headers_mut().insert("syncline-request-id", id);
    }
    answer
}

async fn whole(endpoint: &Endpoint, headers: &HeaderMap, body: Body) -> Response {
    let broken = || {
        let status = status(
            ErrorCode::Unreachable,
            "the answer broke off; look whether it was done before asking again",
        );
        error(http_code(status.code()), &status)
    };
    let Ok(gathered) = Limited::new(body, ANSWER_BYTES_MAX).collect().await else {
        return broken();
    };
    let trailers = gathered.trailers().cloned();
    let status = trailers
        .as_ref()
        .and_then(Status::from_header_map)
        .or_else(|| Status::from_header_map(headers));
    match status {
        Some(status) if status.code() != Code::Ok => error(http_code(status.code()), &status),
        Some(_) => {
            let body = gathered.to_bytes();
            let message = body.get(PREFIX_BYTES..).unwrap_or_default();
            match to_json(endpoint.descriptor().output(), message) {
                Some(text) => json(StatusCode::OK, text.into()),
                None => broken(),
            }
        }
        None => broken(),
    }
}

/// A message in proto3's JSON, every field of it: an empty one is no other answer than a missing one.
fn to_json(descriptor: MessageDescriptor, message: &[u8]) -> Option<Vec<u8>> {
    let message = DynamicMessage::decode(descriptor, message).ok()?;
    let options = SerializeOptions::new().skip_default_fields(false);
    let mut writer = serde_json::Serializer::new(Vec::new());
    message.serialize_with_options(&mut writer, &options).ok()?;
    Some(writer.into_inner())
}

/// A stream as server-sent events (HTML Living Standard, section 9.2). An event's id is the snapshot's cursor: sent
/// back as `Last-Event-ID` it goes on behind it. The end of the stream is an event `end` or `error`.
fn events(endpoint: &Endpoint, body: Body) -> Response {
    struct Reading {
        body: Body,
        buffer: BytesMut,
        descriptor: MessageDescriptor,
        ended: bool,
    }
    let reading = Reading {
        body,
        buffer: BytesMut::new(),
        descriptor: endpoint.descriptor().output(),
        ended: false,
    };
    let stream = futures::stream::unfold(reading, |mut reading| async move {
        if reading.ended {
            return None;
        }
        loop {
            if let Some(message) = unframed(&mut reading.buffer) {
                let event = event(&reading.descriptor, &message);
                return Some((event, reading));
            }
            let last = match reading.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        reading.buffer.extend_from_slice(&data);
                        continue;
                    }
                    Err(frame) => frame.trailers_ref().and_then(Status::from_header_map),
                },
                Some(Err(_)) => Some(status(ErrorCode::Unreachable, "the stream broke off; go on behind the last event")),
                None => None,
            };
            reading.ended = true;
            return Some((end(last), reading));
        }
    });
    let mut response = Response::new(Body::from_stream(stream.map(Ok::<_, std::convert::Infallible>)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The next message, if all of it has arrived.
fn unframed(buffer: &mut BytesMut) -> Option<Bytes> {
    let length = u32::from_be_bytes(buffer.get(1..PREFIX_BYTES)?.try_into().ok()?) as usize;
    if buffer.len() < PREFIX_BYTES + length {
        return None;
    }
    let frame = buffer.split_to(PREFIX_BYTES + length).freeze();
    Some(frame.slice(PREFIX_BYTES..))
}

fn event(descriptor: &MessageDescriptor, message: &[u8]) -> String {
    let Some(text) = to_json(descriptor.clone(), message).and_then(|t| String::from_utf8(t).ok()) else {
        return String::new();
    };
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let cursor = value.pointer("/snapshot/cursor").and_then(|c| c.as_str().map(str::to_owned));
    let id = cursor.map(|c| format!("id: {c}\n")).unwrap_or_default();
    format!("{id}data: {text}\n\n")
}

fn end(last: Option<Status>) -> String {
    match last {
        Some(status) if status.code() != Code::Ok => {
            format!("event: error\ndata: {}\n\n", error_json(http_code(status.code()), &status))
        }
        _ => "event: end\ndata: {}\n\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grpc_code_has_its_http_code() {
        for (code, http) in [
            (Code::Ok, 200),
            (Code::InvalidArgument, 400),
            (Code::FailedPrecondition, 400),
            (Code::OutOfRange, 400),
            (Code::Unauthenticated, 401),
            (Code::PermissionDenied, 403),
            (Code::NotFound, 404),
            (Code::AlreadyExists, 409),
            (Code::Aborted, 409),
            (Code::ResourceExhausted, 429),
            (Code::Cancelled, 499),
            (Code::Internal, 500),
            (Code::Unknown, 500),
            (Code::DataLoss, 500),
            (Code::Unimplemented, 501),
            (Code::Unavailable, 503),
            (Code::DeadlineExceeded, 504),
        ] {
            assert_eq!(http_code(code).as_u16(), http, "{code:?}");
        }
    }

    #[test]
    fn messages_come_out_of_the_stream_whole_and_one_by_one() {
        let mut buffer = BytesMut::from(&b"\0\0\0\0\x03abc\0\0\0\0\x02d"[..]);
        assert_eq!(unframed(&mut buffer).as_deref(), Some(&b"abc"[..]));
        assert_eq!(unframed(&mut buffer), None, "a part is no message");
        buffer.extend_from_slice(b"e");
        assert_eq!(unframed(&mut buffer).as_deref(), Some(&b"de"[..]));
        assert_eq!(unframed(&mut buffer), None);
    }
}
