//! Answers: JSON bodies, the error array, CSV streams, optional gzip.

use std::io::Write;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::soql::SoqlError;
use crate::store::value::RowError;

/// Answers below this size are not worth compressing.
const GZIP_BYTES_MIN: usize = 1024;

/// A refused request: an array with one error, as every data endpoint answers.
#[derive(Debug, Clone)]
pub struct ApiError {
    pub status: StatusCode,
    pub code: String,
    pub message: String,
    pub fields: Option<Vec<String>>,
    pub duplicate_result: Option<Box<Value>>,
}

impl ApiError {
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
            code: code.into(),
            message: message.into(),
            fields: None,
            duplicate_result: None,
        }
    }

    pub fn not_found() -> Self {
        Self::new(404, "NOT_FOUND", "The requested resource does not exist")
    }

    pub fn method_not_allowed() -> Self {
        Self::new(405, "METHOD_NOT_ALLOWED", "HTTP Method not allowed.")
    }

    pub fn bad(code: &str, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    /// The answer.
    pub fn reply(&self) -> Response {
        let mut error = json!({"message": self.message, "errorCode": self.code});
        if let Some(fields) = &self.fields {
            error["fields"] = json!(fields);
        }
        if let Some(result) = &self.duplicate_result {
            error["duplicateResult"] = (**result).clone();
        }
        json_reply(self.status.as_u16(), &json!([error]))
    }
}

impl From<SoqlError> for ApiError {
    fn from(error: SoqlError) -> Self {
        Self::bad(error.code, error.message)
    }
}

impl From<RowError> for ApiError {
    fn from(error: RowError) -> Self {
        let status = match error.code {
            "ENTITY_IS_DELETED" | "NOT_FOUND" => 404,
            "INSUFFICIENT_ACCESS_OR_READONLY" => 403,
            _ => 400,
        };
        Self {
            // A column that does not exist is no field of the record (recorded answers have no key `fields` there).
            fields: Some(error.fields).filter(|_| error.code != "INVALID_FIELD"),
            duplicate_result: error.detail,
            ..Self::new(status, error.code, error.message)
        }
    }
}

/// A JSON answer.
pub fn json_reply(status: u16, body: &Value) -> Response {
    raw_reply(status, "application/json;charset=UTF-8", body.to_string())
}

/// An answer with a ready body.
pub fn raw_reply(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let body: Bytes = body.into();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer without a body.
pub fn empty(status: u16) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::NO_CONTENT);
    response
}

/// Sets a header whose value comes from the simulator itself.
pub fn set_header(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Whether the client takes gzip.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.split(',').any(|e| e.trim().split(';').next() == Some("gzip")))
}

/// Compresses a finished body when it pays.
pub fn gzip_whole(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() < GZIP_BYTES_MIN {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

/// A CSV answer produced piece by piece; `next` appends to the buffer and returns whether
/// more follows.
pub fn csv_stream<F>(gzip: bool, next: F) -> Response
where
    F: FnMut(&mut Vec<u8>) -> bool + Send + 'static,
{
    struct State<F> {
        next: F,
        encoder: Option<GzEncoder<Vec<u8>>>,
        done: bool,
    }
    let state = State {
        next,
        encoder: gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast())),
        done: false,
    };
    let stream = futures::stream::unfold(state, |mut state| async move {
        if state.done {
            return None;
        }
        let mut buffer = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 4);
        state.done = !(state.next)(&mut buffer);
        if let Some(encoder) = &mut state.encoder {
            if encoder.write_all(&buffer).is_err() {
                return None;
            }
            buffer = std::mem::take(encoder.get_mut());
            if state.done {
                let last = state.encoder.take().and_then(|e| e.finish().ok());
                buffer.extend_from_slice(&last.unwrap_or_default());
            }
        }
        Some((Ok::<Bytes, std::io::Error>(Bytes::from(buffer)), state))
    });
    let mut response = Response::new(Body::from_stream(stream));
    set_header(&mut response, "content-type", "text/csv; charset=UTF-8");
    if gzip {
        set_header(&mut response, "content-encoding", "gzip");
    }
    response
}

/// Size of one streamed piece.
pub const PIECE_BYTES: usize = 256 * 1024;
