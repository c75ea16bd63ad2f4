//! REST: requests of a table become gRPC calls that pass the same door, and their answers become JSON.
//!
//! Guarantees: what holds for a gRPC call (who may, throttling, the audit log) holds for its REST form, because it *is*
//! that call; unknown paths, fields, parameters and content types are refused by name; an answer is the message in
//! proto3's JSON, an error is `google.rpc.Status` as JSON under the HTTP code of its gRPC code. No method has code here:
//! messages are read and written by their descriptors.
//!
//! Start with [`table`], then [`request`] and [`answer`]. [`openapi`] describes the same table.

mod answer;
pub mod openapi;
mod request;
pub mod table;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderValue, Method, StatusCode};
use syncline_domain::ErrorCode;
use syncline_wire::status::status;
use tonic::Status;

use crate::door::is_grpc;

/// The middleware in front of the door.
pub async fn translate(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if is_grpc(request.headers()) || !(path.starts_with("/v1/") || path == openapi::PATH) {
        return next.run(request).await;
    }
    if path == openapi::PATH {
        return match *request.method() {
            Method::GET => answer::json(StatusCode::OK, openapi::text().into()),
            _ => answer::refused(Refused::Method(vec![Method::GET])),
        };
    }
    let (endpoint, parameters) = match table::find(request.method(), path) {
        Ok(found) => found,
        Err(refused) => return answer::refused(refused),
    };
    let call = match request::call(endpoint, &parameters, request).await {
        Ok(call) => call,
        Err(refused) => return answer::refused(refused),
    };
    answer::translated(endpoint, next.run(call).await).await
}

/// Why a request does not become a call.
#[derive(Debug)]
pub enum Refused {
    /// Nothing has this path.
    Path,
    /// The path has these methods and not the one that was used.
    Method(Vec<Method>),
    /// The body is of a kind that is not read here.
    ContentType,
    TooLarge,
    Status(Status),
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl Refused {
    fn parts(self) -> (StatusCode, Status, Option<HeaderValue>) {
        match self {
            Self::Path => {
                let status = status(
                    ErrorCode::MethodUnknown,
                    format!("there is no such path; {} lists all", openapi::PATH),
                );
                (StatusCode::NOT_FOUND, status, None)
            }
            Self::Method(allowed) => {
                let allowed = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
                let status = status(ErrorCode::MethodUnknown, format!("this path has {allowed}"));
                (StatusCode::METHOD_NOT_ALLOWED, status, HeaderValue::try_from(allowed).ok())
            }
            Self::ContentType => {
                let message = "the body is application/json, or application/yaml where a document is applied";
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, status(ErrorCode::RequestInvalid, message), None)
            }
            Self::TooLarge => {
                let message = format!("the body is larger than {} bytes", crate::door::REQUEST_BYTES_MAX);
                (StatusCode::PAYLOAD_TOO_LARGE, status(ErrorCode::RequestTooLarge, message), None)
            }
            Self::Status(status) => (answer::http_code(status.code()), status, None),
        }
    }
}
