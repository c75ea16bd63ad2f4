//! Every request passes here: who is it, may they, is it recorded, what came of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use syncline_domain::ErrorCode;
use syncline_domain::audit::Entry;
use syncline_runtime::{failpoint, metrics, rpc};
use syncline_wire::caller::{CONNECTIONS_KEY, Caller, ROLE_KEY, SUBJECT_KEY};
use syncline_wire::status::{CODE_KEY, retry_after, status};
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Code, Status};
use tracing::{Instrument as _, Span};

use crate::Gateway;
use crate::audit::{Later, Unrecorded};
use crate::request;
use crate::route::{Effect, Method, Route, Service, route};
use crate::throttle::Wait;

/// A request is cut off beyond this many bytes; tonic's own limit for a message is the same.
pub const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A request must have arrived by then.
pub const ARRIVAL_WAIT_MAX: Duration = Duration::from_secs(60);
/// An answer that is gathered before it is passed on: those of changes are small.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// On every answer; the audit log and the logs name it too.
const REQUEST_ID: HeaderName = HeaderName::from_static("syncline-request-id");

/// What is recorded of a request, apart from its result.
#[derive(Clone)]
struct About {
    request: String,
    address: SocketAddr,
    caller: Option<Caller>,
    method: String,
    resource: String,
}

impl About {
    fn entry(&self, result: &str, code: &str, connections: String) -> Entry {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let caller = self.caller.as_ref();
        Entry {
            seq: 0,
            at_us: i64::try_from(at.as_micros()).unwrap_or(i64::MAX),
            request: self.request.clone(),
            subject: caller.map(|c| c.subject.clone()).unwrap_or_default(),
            role: caller.map(|c| c.role.to_string()).unwrap_or_default(),
            address: self.address.to_string(),
            method: self.method.clone(),
            resource: self.resource.clone(),
            connections,
            result: result.to_owned(),
            code: code.to_owned(),
        }
    }

    fn refused(&self, status: &Status) -> Entry {
        let code = syncline_wire::status::code_of(status).map(|c| c.to_string()).unwrap_or_default();
        self.entry(code_name(status.code()), &code, String::new())
    }
}

/// Lets nobody pass who may not, and nothing unrecorded.
pub async fn pass(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let id = uuid::Uuid::now_v7().simple().to_string();
    // Only what stands in the table is worth a span, and its path is bounded.
    let span = match route(request.uri().path()) {
        Route::Method(service, method) => {
            let span = tracing::info_span!("request", method = format!("{}/{}", service.name, method.name), request = id);
            rpc::adopt(&span, request.headers());
            span
        }
        _ => Span::none(),
    };
    decide(gateway, id, request, next).instrument(span).await
}

async fn decide(gateway: Arc<Gateway>, id: String, mut request: Request, next: Next) -> Response {
    let mut about = About {
        request: id.clone(),
        address: address(&request),
        caller: None,
        // A path that somebody made up may be long or odd; what stands in the table is neither.
        method: request.uri().path().chars().filter(|c| !c.is_control()).take(200).collect(),
        resource: String::new(),
    };
    // Only the gateway says who a caller is.
    for key in [SUBJECT_KEY, ROLE_KEY] {
        request.headers_mut().remove(key);
    }
    let mut response = match admit(&gateway, &mut about, request).await {
        Ok(Admitted::Open(request)) => next.run(request).await,
        Ok(Admitted::Method(service, method, request)) => match carry_out(&gateway, &about, (service, method), request, next).await {
            Ok(response) => response,
            Err(unrecorded) => unrecordable(unrecorded).into_http(),
        },
        Err(refused) => refused.into_http(),
    };
    // Of an answer that is still going on, its beginning counts.
    let (result, _) = outcome(response.headers(), None, true);
    metrics::count(metrics::GATEWAY_REQUESTS, 1, &[("result", result)]);
    if let Ok(value) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

enum Admitted {
    /// Health, or reflection for somebody known.
    Open(Request),
    Method(&'static Service, &'static Method, Request),
}

/// Decides whether a request may pass; refusals are recorded here.
async fn admit(gateway: &Gateway, about: &mut About, mut request: Request) -> Result<Admitted, Status> {
    let route = route(request.uri().path());
    if matches!(route, Route::Health) {
        return Ok(Admitted::Open(request));
    }
    let caller = match gateway.identities.identify(request.headers()).await {
        Ok(caller) => caller,
        Err(refusal) => {
            metrics::count(metrics::GATEWAY_AUTH_FAILURES, 1, &[]);
            gateway
                .throttle
                .failure(about.address.ip())
                .map_err(|wait| throttled(&about.address.ip().to_string(), wait))?;
            let refused = Status::from(&refusal);
            tracing::info!(address = %about.address, request = about.request, why = %refusal, "a caller was not recognised");
            gateway.auditor.note(about.refused(&refused)).await.map_err(unrecordable)?;
            return Err(refused);
        }
    };
    gateway
        .throttle
        .request(&caller.subject)
        .map_err(|wait| throttled(&caller.subject, wait))?;
    about.caller = Some(caller.clone());
    let refused = match route {
        Route::Health | Route::Reflection => {
            request.extensions_mut().insert(caller);
            return Ok(Admitted::Open(request));
        }
        // The handler answers as the gRPC specification asks.
        Route::Unknown if !is_grpc(request.headers()) => return Ok(Admitted::Open(request)),
        Route::Unknown => status(ErrorCode::MethodUnknown, "the gateway has no such service or method"),
        Route::Method(_, method) if caller.role < method.role => {
            tracing::info!(subject = caller.subject, role = %caller.role, method = method.name, request = about.request, "a caller's role is too low");
            let needed = method.role;
            status(
                ErrorCode::Role,
                format!("{} needs the role {needed}; `{}` is {}", method.name, caller.subject, caller.role),
            )
        }
        Route::Method(service, method) => match arrive(about, service, method, request).await {
            Ok(mut request) => {
                let headers = request.headers_mut();
                if let (Ok(subject), Ok(role)) = (
                    HeaderValue::try_from(caller.subject.as_str()),
                    HeaderValue::try_from(caller.role.as_str()),
                ) {
                    headers.insert(HeaderName::from_static(SUBJECT_KEY), subject);
                    headers.insert(HeaderName::from_static(ROLE_KEY), role);
                }
                request.extensions_mut().insert(caller);
                return Ok(Admitted::Method(service, method, request));
            }
            Err(refused) => refused,
        },
    };
    gateway.auditor.note(about.refused(&refused)).await.map_err(unrecordable)?;
    Err(refused)
}

/// Gathers a request's one message and reads what it names.
async fn arrive(about: &mut About, service: &Service, method: &Method, request: Request) -> Result<Request, Status> {
    let (parts, body) = request.into_parts();
    if !is_grpc(&parts.headers) {
        // Left to the handler, which answers as the gRPC specification asks.
        return Ok(Request::from_parts(parts, axum::body::Body::empty()));
    }
    let too_large = || {
        status(
            ErrorCode::RequestTooLarge,
            format!("the request is larger than {REQUEST_BYTES_MAX} bytes"),
        )
    };
    let declared = parts
        .headers
        .get(http::header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|bytes| bytes > REQUEST_BYTES_MAX) {
        return Err(too_large());
    }
    let gathered = tokio::time::timeout(ARRIVAL_WAIT_MAX, Limited::new(body, REQUEST_BYTES_MAX).collect()).await;
    let body = match gathered {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => return Err(status(ErrorCode::RequestInvalid, "the request broke off")),
        Err(_) => return Err(status(ErrorCode::NetworkTimeout, "the request did not arrive in time")),
    };
    about.resource = request::resource(service, method, &body)?;
    Ok(Request::from_parts(parts, axum::body::Body::from(body)))
}

/// Passes an admitted request on and records what came of it.
async fn carry_out(
    gateway: &Gateway,
    about: &About,
    (_, method): (&Service, &Method),
    request: Request,
    next: Next,
) -> Result<Response, Unrecorded> {
    match method.effect {
        Effect::Reads => {
            let place = gateway.auditor.reserve().await?;
            let response = next.run(request).await;
            Ok(recorded_at_its_end(about.clone(), place, response))
        }
        Effect::Changes => {
            gateway.auditor.record(about.entry("begun", "", String::new())).await?;
            if failpoint::pass(&failpoint::GATEWAY_AUDITED).await.is_err() {
                return Ok(status(ErrorCode::Unreachable, "it was not passed on; ask again").into_http());
            }
            let (mut parts, body) = next.run(request).await.into_parts();
            let connections = take_connections(&mut parts.headers);
            let gathered = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let told = failpoint::pass(&failpoint::GATEWAY_ANSWERED).await;
            let trailers = gathered.as_ref().ok().and_then(|g| g.trailers());
            let (result, code) = outcome(&parts.headers, trailers, gathered.is_ok());
            // It is done, and its beginning is recorded; a caller must not take it for not done.
            if gateway.auditor.record(about.entry(result, &code, connections)).await.is_err() {
                tracing::error!(
                    request = about.request,
                    method = about.method,
                    result,
                    "the result of a change could not be recorded"
                );
            }
            let body = match gathered {
                Ok(gathered) if told.is_ok() => regathered(gathered),
                Ok(_) | Err(_) => {
                    let broken = status(
                        ErrorCode::Unreachable,
                        "the answer broke off; look whether it was done before asking again",
                    );
                    return Ok(broken.into_http());
                }
            };
            Ok(Response::from_parts(parts, body))
        }
    }
}

/// A gathered body as it came. One of nothing must end with its headers: an empty frame after a status that stands in the
/// headers is a broken stream to gRPC's C core, and so to Python, Ruby and PHP.
fn regathered(gathered: http_body_util::Collected<Bytes>) -> axum::body::Body {
    let trailers = gathered.trailers().cloned();
    let bytes = gathered.to_bytes();
    match trailers {
        None if bytes.is_empty() => axum::body::Body::empty(),
        None => axum::body::Body::from(bytes),
        Some(trailers) => {
            let whole = http_body_util::Full::new(bytes).with_trailers(std::future::ready(Some(Ok(trailers))));
            axum::body::Body::new(whole)
        }
    }
}

fn take_connections(headers: &mut HeaderMap) -> String {
    let taken = headers.remove(CONNECTIONS_KEY);
    taken.and_then(|v| v.to_str().ok().map(str::to_owned)).unwrap_or_default()
}

/// The gRPC code and the catalogue's, from wherever they stand.
fn outcome(headers: &HeaderMap, trailers: Option<&HeaderMap>, whole: bool) -> (&'static str, String) {
    let find = |key: &str| {
        let found = trailers.and_then(|t| t.get(key)).or_else(|| headers.get(key))?;
        found.to_str().ok().map(str::to_owned)
    };
    let result = match find("grpc-status").and_then(|s| s.parse::<i32>().ok()) {
        Some(code) => code_name(Code::from_i32(code)),
        None if whole => "OK",
        None => code_name(Code::Unavailable),
    };
    (result, find(CODE_KEY).unwrap_or_default())
}

/// An answer whose end is recorded, whichever way it ends.
fn recorded_at_its_end(about: About, place: Later, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let connections = take_connections(&mut parts.headers);
    let ending = Ending {
        about,
        connections,
        headers: parts.headers.clone(),
        place: Some(place),
    };
    Response::from_parts(parts, axum::body::Body::new(RecordedBody { inner: body, ending }))
}

struct Ending {
    about: About,
    connections: String,
    headers: HeaderMap,
    place: Option<Later>,
}

impl Ending {
    fn note(&mut self, trailers: Option<&HeaderMap>, whole: bool) {
        if let Some(place) = self.place.take() {
            let (result, code) = outcome(&self.headers, trailers, whole);
            place.note(self.about.entry(result, &code, std::mem::take(&mut self.connections)));
        }
    }
}

impl Drop for Ending {
    /// The caller went away before the end.
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let status = self.headers.contains_key("grpc-status");
            let (result, code) = outcome(&self.headers, None, status);
            let result = if status { result } else { code_name(Code::Cancelled) };
            place.note(self.about.entry(result, &code, std::mem::take(&mut self.connections)));
        }
    }
}

struct RecordedBody {
    inner: axum::body::Body,
    ending: Ending,
}

impl Body for RecordedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    let trailers = trailers.clone();
                    self.ending.note(Some(&trailers), true);
                }
            }
            Some(Err(_)) => self.ending.note(None, false),
            None => self.ending.note(None, true),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn throttled(who: &str, wait: Wait) -> Status {
    metrics::count(metrics::GATEWAY_THROTTLED, 1, &[]);
    if wait.tell {
        tracing::warn!(who, wait_ms = wait.wait.as_millis(), "too many requests are refused");
    }
    let message = format!("too many requests; try again in {} ms", wait.wait.as_millis().max(1));
    let mut refused = retry_after(ErrorCode::Throttled, message, wait.wait);
    // The same for whoever does not read details: whole seconds (RFC 9110, section 10.2.3).
    let seconds = wait.wait.as_secs_f64().ceil().max(1.0);
    if let Ok(value) = format!("{seconds:.0}").parse() {
        refused.metadata_mut().insert("retry-after", value);
    }
    refused
}

fn unrecordable(unrecorded: Unrecorded) -> Status {
    status(ErrorCode::AuditUnavailable, unrecorded.to_string())
}

#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(http::header::CONTENT_TYPE) else {
        return false;
    };
    value
        .as_bytes()
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+") || rest.starts_with(b";"))
}

fn address(request: &Request) -> SocketAddr {
    let extensions = request.extensions();
    let plain = extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    let tls = || extensions.get::<TlsConnectInfo<TcpConnectInfo>>()?.get_ref().remote_addr();
    plain.or_else(tls).unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0))
}

/// The names of `google.rpc.Code`.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_content_types_pass() {
        for (content_type, passes) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            assert_eq!(is_grpc(&headers), passes, "{content_type}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn a_gathered_body_ends_as_it_came() {
        let gather = async |body: axum::body::Body| body.collect().await.expect("it is in memory");
        let nothing = regathered(gather(axum::body::Body::empty()).await);
        assert!(nothing.is_end_stream(), "it would end with an empty frame");
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let whole = http_body_util::Full::new(Bytes::from_static(b"abc"))
            .with_trailers(std::future::ready(Some(Ok::<_, std::convert::Infallible>(trailers))));
        let again = gather(regathered(gather(axum::body::Body::new(whole)).await)).await;
        assert_eq!(
            again.trailers().and_then(|t| t.get("grpc-status")),
            Some(&HeaderValue::from_static("0"))
        );
        assert_eq!(again.to_bytes(), Bytes::from_static(b"abc"));
    }

    #[test]
    fn an_outcome_is_found_in_trailers_or_headers() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in pairs {
                map.insert(*name, HeaderValue::from_static(value));
            }
            map
        };
        let none = HeaderMap::new();
        let ok = headers(&[("grpc-status", "0")]);
        let bad = headers(&[("grpc-status", "5"), (CODE_KEY, "SCHEMA_SYNC_002")]);
        assert_eq!(outcome(&none, Some(&ok), true), ("OK", String::new()));
        assert_eq!(outcome(&none, Some(&bad), true), ("NOT_FOUND", "SCHEMA_SYNC_002".to_owned()));
        assert_eq!(outcome(&bad, None, true).0, "NOT_FOUND");
        assert_eq!(outcome(&none, None, false).0, "UNAVAILABLE");
    }
}
