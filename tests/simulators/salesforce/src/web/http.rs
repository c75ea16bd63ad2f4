//! Every request's way in: faults, authentication, limits, then the endpoint.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use http_body_util::{BodyExt, Limited};
use serde_json::json;

use crate::auth::caller::Caller;
use crate::auth::{identity, oauth};
use crate::bulk1;
use crate::bulk2;
use crate::org::OrgState;
use crate::pubsub::origin;
use crate::rest::{composite, discovery, query, recent, search, sobjects, tooling};
use crate::soap;
use crate::store::id::Id;
use crate::store::locks;
use crate::store::rules::WriteContext;
use crate::store::rules::assignment::AutoAssign;
use crate::web::admin;
use crate::web::distort;
use crate::web::faults::FaultKind;
use crate::web::listener::Peer;
use crate::web::negotiate;
use crate::web::reply::{ApiError, accepts_gzip, empty, gzip_whole, json_reply, raw_reply, set_header};
use crate::web::target::{Standing, decode, parameters, standing};
use crate::web::xml;

/// Bodies above this are compressed only as streams.
const GZIP_WHOLE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A request as endpoints see it.
pub struct Call {
    pub org: Arc<OrgState>,
    pub caller: Caller,
    pub method: Method,
    /// `v65.0`, as sent.
    pub version: String,
    /// Path segments behind the version, decoded, without empty ones.
    pub segments: Vec<String>,
    pub query: HashMap<String, String>,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Too many other calls run for long.
    pub is_crowded: bool,
}

impl Call {
    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value, ApiError> {
        serde_json::from_slice(&self.body).map_err(|e| ApiError::bad("JSON_PARSER_ERROR", e.to_string()))
    }

    /// The same call with another body, in JSON.
    pub fn carrying(&self, body: impl Into<Bytes>) -> Self {
        let mut headers = self.headers.clone();
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        Self {
            org: Arc::clone(&self.org),
            caller: self.caller.clone(),
            method: self.method.clone(),
            version: self.version.clone(),
            segments: self.segments.clone(),
            query: self.query.clone(),
            headers,
            body: body.into(),
            is_crowded: self.is_crowded,
        }
    }

    /// The token in the request's header or parameters.
    pub fn token(&self) -> Option<&str> {
        let sent = self.headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        match sent.and_then(|text| text.split_once(' ')) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("oauth") => Some(token.trim()),
            Some(_) => None,
            None => self.query.get("oauth_token").map(String::as_str),
        }
    }

    /// Whose session the request shows.
    pub fn user(&self) -> Option<Id> {
        let user = self.org.auth.user_of(self.token()?)?;
        Id::parse(user.as_bytes()).ok()
    }

    /// A path below the versioned root.
    pub fn path(&self, tail: &str) -> String {
        format!("/services/data/{}/{tail}", self.version)
    }

    /// Who writes now, and what the request's headers say about duplicates and assignment.
    pub fn write_context(&self) -> WriteContext {
        let text = |name: &str| self.headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
        let mut context = self.org.write_context();
        let duplicates = text("sforce-duplicate-rule-header").unwrap_or_default();
        context.allow_duplicates = duplicates
            .split([',', ';'])
            .filter_map(|part| part.split_once('='))
            .any(|(key, value)| key.trim().eq_ignore_ascii_case("allowSave") && value.trim().eq_ignore_ascii_case("true"));
        context.auto_assign = match text("sforce-auto-assign") {
            Some(no) if no.eq_ignore_ascii_case("false") => AutoAssign::Never,
            Some(id) if !id.is_empty() && !id.eq_ignore_ascii_case("true") => AutoAssign::Rule(id.to_owned()),
            _ => AutoAssign::Active,
        };
        context
    }

    pub fn accepts_gzip(&self) -> bool {
        self.org.config.gzip && accepts_gzip(&self.headers)
    }
}

/// The single handler behind the server. Every answer tells the org's time.
pub async fn dispatch(State(org): State<Arc<OrgState>>, ConnectInfo(peer): ConnectInfo<Peer>, request: axum::extract::Request) -> Response {
    let clock = org.clock.clone();
    let mut reply = answer(org, peer, request).await;
    let now = clock.now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let (false, Ok(now)) = (reply.headers().contains_key(header::DATE), now.parse()) {
        reply.headers_mut().insert(header::DATE, now);
    }
    reply
}

async fn answer(org: Arc<OrgState>, peer: Peer, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let raw: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let is_admin = raw.first() == Some(&"__sim");
    let is_counted = matches!(raw.as_slice(), ["services", "data" | "async" | "Soap", _, ..]);
    let (_running, is_crowded) = is_counted.then(|| org.limits.long_calls.enter()).unzip();
    let mut fault = None;
    if !is_admin {
        org.faults.count(parts.method.as_str(), &raw);
        let latency = org.faults.latency_ms();
        if latency > 0 {
            tokio::time::sleep(Duration::from_millis(latency)).await;
        }
        fault = org.faults.take(parts.method.as_str(), &path);
    }
    match &fault {
        Some(FaultKind::Status {
            status,
            body,
            retry_after_secs,
        }) => {
            let mut reply = json_reply(*status, body);
            if let Some(secs) = retry_after_secs {
                set_header(&mut reply, "retry-after", &secs.to_string());
            }
            return reply;
        }
        Some(FaultKind::Html503) => {
            let page = "<html><head><title>Maintenance</title></head><body><h1>We are down for maintenance.</h1></body></html>";
            return raw_reply(503, "text/html; charset=UTF-8", page);
        }
        Some(FaultKind::Hang { hang_ms }) => {
            tokio::time::sleep(Duration::from_millis(*hang_ms)).await;
            peer.cutter.cut();
            return empty(503);
        }
        Some(FaultKind::Cut) => {
            peer.cutter.cut();
            return empty(503);
        }
        Some(FaultKind::Delay { delay_ms }) => tokio::time::sleep(Duration::from_millis(*delay_ms)).await,
        _ => {}
    }
    if let Err(error) = negotiate::check_head(&parts) {
        return error.reply();
    }
    let max = negotiate::body_bytes_max(&path, &parts.headers);
    let body = match Limited::new(body, max).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => return negotiate::too_large(max).reply(),
    };
    let query = parameters(parts.uri.query().unwrap_or_default());
    let mut segments: Vec<String> = raw.iter().map(|s| decode(s)).collect();
    let mut method = parts.method.clone();
    if method == Method::POST
        && let Some(real) = query.get("_HttpMethod").and_then(|m| m.parse().ok())
    {
        method = real;
    }
    let has_version = segments.len() >= 3 && segments[0] == "services" && segments[1] == "data";
    let version = if has_version { segments[2].clone() } else { String::new() };
    let standing = standing(&version);
    let is_identity = raw.first() == Some(&"id") && raw.get(1) != Some(&"keys");
    if has_version {
        segments.drain(..3);
    }
    let mut call = Call {
        caller: Caller::new(&peer, &parts.headers, org.url()),
        org: Arc::clone(&org),
        method,
        version,
        segments,
        query,
        headers: parts.headers,
        body,
        is_crowded: is_crowded.unwrap_or(false),
    };
    let gzip = call.accepts_gzip();
    let mut reply = if is_admin {
        admin::handle(&call)
    } else if call.segments.len() > 1 && call.segments[1] == "Soap" {
        soap::handle(&call)
    } else if call.segments.len() > 1 && call.segments[0] == "services" && call.segments[1] == "async" {
        bulk1::handle(call).await
    } else if is_identity {
        identity::identity(&call)
    } else if !has_version {
        oauth::handle(&call)
    } else if let Err(error) = admit(&call) {
        let mut reply = error.reply();
        if reply.status() == http::StatusCode::UNAUTHORIZED {
            set_header(&mut reply, "www-authenticate", "Token");
        }
        reply
    } else if standing == Standing::Retired {
        ApiError::new(410, "GONE", "This REST API version has been retired").reply()
    } else if standing == Standing::Unknown {
        ApiError::not_found().reply()
    } else {
        let worker = Arc::clone(&call.org);
        let form = negotiate::form(&mut call);
        let root = xml::root(&call.segments);
        // Scans and bulk row work would hold up the reactor.
        let done = tokio::task::spawn_blocking(move || {
            let _origin = call.org.pubsub.as_ref().map(|_| origin::enter(origin::of_call(&call)));
            negotiate::receive(&mut call)?;
            data(&call)
        })
        .await;
        let mut reply = match done {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => error.reply(),
            Err(_) => ApiError::new(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred").reply(),
        };
        let usage = format!(
            "api-usage={}/{}",
            worker.requests.load(Ordering::Relaxed),
            worker.requests_max.load(Ordering::Relaxed)
        );
        set_header(&mut reply, "sforce-limit-info", &usage);
        form.apply(reply, &root).await
    };
    if gzip && !reply.headers().contains_key(header::CONTENT_ENCODING) {
        reply = compress(reply).await;
    }
    match fault {
        Some(FaultKind::CutAfter) => peer.cutter.cut(),
        Some(FaultKind::Truncate) => reply = truncate(reply).await,
        Some(FaultKind::Trickle) => reply = distort::trickle(reply),
        Some(FaultKind::ContentType { content_type }) => set_header(&mut reply, "content-type", &content_type),
        _ => {}
    }
    reply
}

pub fn admit(call: &Call) -> Result<(), ApiError> {
    let bad = || ApiError::new(401, "INVALID_SESSION_ID", "Session expired or invalid");
    let token = match call.token() {
        Some(token) => token,
        None if call.headers.contains_key(header::AUTHORIZATION) => {
            return Err(ApiError::new(401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE"));
        }
        None => return Err(bad()),
    };
    if !call.org.auth.is_valid(token) {
        return Err(bad());
    }
    if !call.org.config.login.api_enabled && !call.version.is_empty() {
        let text = "The REST API is not enabled for this Organization.";
        return Err(ApiError::new(403, "API_DISABLED_FOR_ORG", text));
    }
    let max = call.org.requests_max.load(Ordering::Relaxed);
    let used = call.org.requests.load(Ordering::Relaxed);
    if used >= max {
        return Err(ApiError::new(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."));
    }
    if call.is_crowded {
        return Err(ApiError::new(
            403,
            "REQUEST_LIMIT_EXCEEDED",
            "ConcurrentPerOrgLongTxn Limit exceeded.",
        ));
    }
    call.org.requests.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Answers a request below the versioned root, on the calling thread.
pub fn data(call: &Call) -> Result<Response, ApiError> {
    match &call.org.locks {
        Some(locks) if call.method != Method::GET && call.segments.first().is_some_and(|s| s != "jobs") => {
            locks.within(|| named_records(call), || route(call))
        }
        _ => route(call),
    }
}

/// The records a request's path, parameters and body name.
fn named_records(call: &Call) -> Vec<Id> {
    let db = call.org.db();
    let mut out = Vec::new();
    let texts = call.segments.iter().chain(call.query.values());
    texts.for_each(|text| locks::named(&db, text, &mut out));
    locks::named(&db, &String::from_utf8_lossy(&call.body), &mut out);
    out
}

fn route(call: &Call) -> Result<Response, ApiError> {
    let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        [] => Ok(discovery::resources(call)),
        ["limits"] => Ok(discovery::limits(call)),
        ["limits", "recordCount"] => Ok(discovery::record_count(call)),
        ["query" | "queryAll", rest @ ..] => query::handle(call, segments[0] == "queryAll", rest),
        ["composite", rest @ ..] => composite::handle(call, rest),
        ["sobjects", rest @ ..] => sobjects::handle(call, rest),
        ["recent"] => recent::handle(call),
        ["search" | "parameterizedSearch"] => search::handle(call, segments[0] == "search"),
        ["tooling", rest @ ..] => tooling::handle(call, rest),
        ["jobs", "query", rest @ ..] => bulk2::query::handle(call, rest),
        ["jobs", "ingest", rest @ ..] => bulk2::ingest::handle(call, rest),
        _ => Err(ApiError::not_found()),
    }
}

async fn compress(reply: Response) -> Response {
    let (mut parts, body) = reply.into_parts();
    // Streams have no known size and have chosen their encoding already.
    let size = http_body::Body::size_hint(&body).exact();
    if size.is_none_or(|s| s as usize > GZIP_WHOLE_BYTES_MAX) {
        return Response::from_parts(parts, body);
    }
    let Ok(collected) = body.collect().await else {
        return empty(500);
    };
    let bytes = collected.to_bytes();
    match gzip_whole(&bytes) {
        Some(packed) => {
            parts
                .headers
                .insert(header::CONTENT_ENCODING, http::HeaderValue::from_static("gzip"));
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, Body::from(packed))
        }
        None => Response::from_parts(parts, Body::from(bytes)),
    }
}

async fn truncate(reply: Response) -> Response {
    let (parts, body) = reply.into_parts();
    let Ok(collected) = body.collect().await else {
        return empty(500);
    };
    let bytes = collected.to_bytes();
    let half = bytes.slice(..bytes.len() / 2);
    let pieces = [Ok(half), Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))];
    Response::from_parts(parts, Body::from_stream(futures::stream::iter(pieces)))
}

/// A JSON object answer.
pub fn ok(body: serde_json::Value) -> Result<Response, ApiError> {
    Ok(json_reply(200, &body))
}

/// `{"id","success","errors"}`
pub fn saved(id: &str, created: Option<bool>) -> serde_json::Value {
    let mut out = json!({"id": id, "success": true, "errors": []});
    if let Some(created) = created {
        out["created"] = created.into();
    }
    out
}
