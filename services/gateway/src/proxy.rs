//! Forwards a call to its peer, frame by frame. Knows no method: new ones need no change here.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use syncline_domain::ErrorCode;
use syncline_runtime::rpc;
use syncline_wire::status::status;
use tonic::Status;
use tonic::transport::Channel;
use tower::ServiceExt;

use crate::Gateway;
use crate::body::ResponseBody;
use crate::door::is_grpc;
use crate::route::{Home, Peer, Route, Service, route};

/// A peer that has not begun to answer after this long is given up. Long, because testing a connection or checking a
/// sync waits for foreign systems.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(300);

/// Headers that belong to one hop (RFC 9110, section 7.6.1), and `host`, which names the other one.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authorization"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HOST,
];

/// The handler of everything that the gateway does not answer itself.
pub async fn forward(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    match try_forward(&gateway, request).await {
        Ok(response) => response,
        Err(Refused::NotGrpc) => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            response
        }
        Err(Refused::Status(status)) => status.into_http(),
    }
}

enum Refused {
    /// The gRPC specification asks for HTTP 415 here, so that other clients do not take the answer for a success.
    NotGrpc,
    Status(Box<Status>),
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

async fn try_forward(gateway: &Gateway, request: Request) -> Result<Response, Refused> {
    if request.method() != Method::POST || !is_grpc(request.headers()) {
        return Err(Refused::NotGrpc);
    }
    let Route::Method(
        Service {
            home: Home::Peer(peer), ..
        },
        _,
    ) = route(request.uri().path())
    else {
        return Err(status(ErrorCode::MethodUnknown, "the gateway has no such service or method").into());
    };
    let peer = *peer;
    let answer = call(gateway.channel(peer), outbound(request));
    let response = match tokio::time::timeout(ANSWER_WAIT_MAX, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) if timed_out(&error) => return Err(too_slow(peer).into()),
        Ok(Err(error)) => {
            tracing::warn!(%peer, error = %root_cause(&error), "peer unreachable");
            return Err(unreachable(peer).into());
        }
        Err(_) => return Err(too_slow(peer).into()),
    };
    let (mut parts, body) = response.into_parts();
    strip_hop_by_hop(&mut parts.headers);
    let body = ResponseBody::new(body, peer, gateway.leaving().cancelled_owned());
    Ok(Response::from_parts(parts, axum::body::Body::new(body)))
}

async fn call(
    channel: Channel,
    request: http::Request<tonic::body::Body>,
) -> Result<http::Response<tonic::body::Body>, tonic::transport::Error> {
    channel.oneshot(request).await
}

/// The request as the peer shall see it: same path and metadata, without what was meant for the gateway, in the trace of this
/// request.
fn outbound(request: Request) -> http::Request<tonic::body::Body> {
    let (mut parts, body) = request.into_parts();
    strip_hop_by_hop(&mut parts.headers);
    // The token opens this door and no other.
    parts.headers.remove(AUTHORIZATION);
    // Required of gRPC requests; it was taken off as a header of the last hop.
    parts.headers.insert(TE, HeaderValue::from_static("trailers"));
    let mut forwarded = http::Request::new(tonic::body::Body::new(body));
    *forwarded.method_mut() = parts.method;
    *forwarded.uri_mut() = parts.uri;
    *forwarded.version_mut() = Version::HTTP_2;
    *forwarded.headers_mut() = parts.headers;
    rpc::inject(forwarded.headers_mut());
    forwarded
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Headers that `connection` names are hop-by-hop as well.
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

fn unreachable(peer: Peer) -> Status {
    status(
        ErrorCode::Unreachable,
        format!("the {peer} service cannot be reached; see whether it runs"),
    )
}

fn too_slow(peer: Peer) -> Status {
    status(ErrorCode::NetworkTimeout, format!("the {peer} service did not answer in time"))
}

/// Whether the channel's own timeout or the caller's `grpc-timeout` struck.
fn timed_out(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |e| e.source()).any(|e| e.is::<tonic::TimeoutExpired>())
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_headers_are_taken_off_and_others_stay() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "5"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("traceparent", "00-a-b-01"),
            ("grpc-timeout", "5S"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["grpc-timeout", "traceparent"]);
    }
}
