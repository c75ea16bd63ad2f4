//! One HTTP exchange with an org, done properly.
//!
//! Guarantees: a permit is taken before every request that goes out; an expired token is renewed once and the request
//! replayed once; what the policy and the catalogue say may pass is tried again, but only where repeating cannot do
//! something twice; every answer's `Sforce-Limit-Info` is reported, and what an attempt told of the org itself. No error or log line holds a token, a query or a body.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use http::{HeaderMap, Method, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use syncline_connect::retry::RetryPolicy;
use syncline_connect::{Access, AccessToken, ConnectError, Sign, Usage};
use syncline_domain::ErrorCode;
use syncline_domain::breaker::Failure as Away;
use tokio::time::Instant;

use crate::describe_cache::DescribeCache;
use crate::options::Options;
use crate::{compress, error};

/// No JSON answer that we ask for comes near this; a server that sends more is not answering the question.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// No wait is longer than the day over which allocations are counted (REST API, API request limits): what asks for more
/// is not to be taken at its word.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// Uploads get the request timeout and the time that their bytes take on a line this slow.
const UPLOAD_BYTES_PER_SECOND_MIN: u64 = 256 << 10;

/// What a request carries.
#[derive(Clone)]
pub(crate) enum Body {
    Empty,
    Json(Bytes),
    Csv(Vec<Bytes>),
}

impl Body {
    fn bytes(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Json(json) => json.len() as u64,
            Self::Csv(chunks) => chunks.iter().map(|c| c.len() as u64).sum(),
        }
    }
}

/// A request, kept so that it can be sent again.
pub(crate) struct Request {
    method: Method,
    /// Below `/services/data/vXX.0/`, or from the host's root when it begins with `/`.
    path: String,
    query: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
    body: Body,
    accept: &'static str,
    /// An unchanged answer (304) is an answer.
    conditional: bool,
    /// Sending it twice does no more than sending it once.
    repeatable: bool,
}

impl Request {
    fn new(method: Method, path: impl Into<String>, body: Body, repeatable: bool) -> Self {
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            headers: Vec::new(),
            conditional: false,
            body,
            accept: "application/json",
            repeatable,
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, Body::Empty, true)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path, Body::Empty, true)
    }

    /// Sets a state, hence repeatable.
    pub(crate) fn patch(path: impl Into<String>, body: &serde_json::Value) -> Self {
        Self::new(Method::PATCH, path, json_body(body), true)
    }

    /// Creates something: never repeated after it may have arrived.
    pub(crate) fn create(path: impl Into<String>, body: &serde_json::Value) -> Self {
        Self::new(Method::POST, path, json_body(body), false)
    }

    /// A question that is asked by POST.
    pub(crate) fn ask(path: impl Into<String>, body: &serde_json::Value) -> Self {
        Self::new(Method::POST, path, json_body(body), true)
    }

    /// The one upload of a job: never repeated after it may have arrived.
    pub(crate) fn upload(path: impl Into<String>, chunks: Vec<Bytes>) -> Self {
        Self::new(Method::PUT, path, Body::Csv(chunks), false)
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Asks for an answer only if it is another one than the one that had `validators`.
    pub(crate) fn unless(mut self, validators: &Validators) -> Self {
        self.conditional = true;
        if let Some(etag) = &validators.etag {
            self = self.header("If-None-Match", etag);
        }
        if let Some(modified) = &validators.last_modified {
            self = self.header("If-Modified-Since", modified);
        }
        self
    }

    /// Any bytes: a file.
    pub(crate) fn accept_any(mut self) -> Self {
        self.accept = "*/*";
        self
    }

    pub(crate) fn accept_csv(mut self) -> Self {
        self.accept = "text/csv";
        self
    }

    /// For messages: method and path, without the query, which may hold a filter.
    fn what(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{} {path}", self.method)
    }
}

fn json_body(body: &serde_json::Value) -> Body {
    Body::Json(Bytes::from(body.to_string()))
}

/// How an answer can be recognised later (RFC 9110, section 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct Validators {
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

impl Validators {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let text = |name: header::HeaderName| Some(headers.get(name)?.to_str().ok()?.to_owned());
        Self {
            etag: text(header::ETAG),
            last_modified: text(header::LAST_MODIFIED),
        }
    }

    /// Whether there is anything to ask by.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

/// An answer that was read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An answer that has begun, and by when it has to be whole.
struct Sent {
    response: reqwest::Response,
    until: Instant,
}

impl Sent {
    /// Reads it to its end.
    async fn read(self, what: &str) -> Result<Bytes, ConnectError> {
        tokio::time::timeout_at(self.until, read(self.response, what))
            .await
            .map_err(|_| timed_out(what))?
    }
}

/// An answer whose body is still to come.
pub(crate) struct Streaming {
    pub(crate) headers: HeaderMap,
    pub(crate) body: BoxStream<'static, Result<Bytes, ConnectError>>,
}

/// An attempt that failed, whether another may be made, and what it told of the org.
struct Failure {
    error: ConnectError,
    again: bool,
    /// Nothing, where it did not get so far or the answer is nobody's.
    sign: Option<Sign>,
}

impl Failure {
    /// It never got to the org.
    fn last(error: ConnectError) -> Self {
        Self {
            error,
            again: false,
            sign: None,
        }
    }

    /// It may have arrived: again only if the catalogue and the request allow it, and asking again can help.
    fn of(request: &Request, error: ConnectError) -> Self {
        let again = request.repeatable && error.can_retry() && !error::is_for_the_stage(error.code);
        Self { error, again, sign: None }
    }

    /// No answer, or not all of it.
    fn unanswered(request: &Request, error: ConnectError) -> Self {
        Self {
            sign: Some(Sign::Away(Away::NoAnswer)),
            ..Self::of(request, error)
        }
    }

    /// The system answered with this status of failure: again only if the policy allows that, too.
    fn answered(request: &Request, status: StatusCode, error: ConnectError, policy: &RetryPolicy) -> Self {
        let again = request.repeatable && error::may_pass(&error, status.as_u16(), &policy.statuses);
        Self {
            sign: Some(sign_of(status, &error, policy)),
            error,
            again,
        }
    }
}

/// What an answer of failure tells of the org. With 500 and a code of its own it speaks of the request; a wait that is longer
/// than ours is everybody's to keep.
fn sign_of(status: StatusCode, error: &ConnectError, policy: &RetryPolicy) -> Sign {
    match error.retry_after {
        Some(wait) if wait > policy.delay_max => Sign::Wait(wait),
        _ if status == StatusCode::INTERNAL_SERVER_ERROR && error.native.is_some() => Sign::Answered,
        _ if status.is_server_error() => Sign::Away(Away::ServerError),
        _ => Sign::Answered,
    }
}

/// HTTP under one connection's access.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    access: Arc<dyn Access>,
    policy: RetryPolicy,
    options: Arc<Options>,
    describes: DescribeCache,
    calls: Arc<AtomicU64>,
}

/// A pool of connections as this connector needs it: no redirects, so a token stays with the host it was made for.
///
/// # Errors
/// When the TLS roots cannot be loaded. It needs the process's crypto provider to be installed.
pub fn http_client(policy: &RetryPolicy) -> Result<reqwest::Client, ConnectError> {
    reqwest::Client::builder()
        .connect_timeout(policy.connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|_| ConnectError::new(ErrorCode::Internal, "the HTTP client could not be set up"))
}

impl Client {
    pub(crate) fn new(http: reqwest::Client, access: Arc<dyn Access>, policy: RetryPolicy, options: Options) -> Self {
        Self {
            http,
            access,
            policy,
            options: Arc::new(options),
            describes: DescribeCache::default(),
            calls: Arc::new(AtomicU64::new(0)),
        }
    }

    pub(crate) fn describes(&self) -> &DescribeCache {
        &self.describes
    }

    pub(crate) fn with_describes(mut self, describes: DescribeCache) -> Self {
        self.describes = describes;
        self
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn with_options(mut self, options: Options) -> Self {
        self.options = Arc::new(options);
        self
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Sends and reads the whole answer.
    pub(crate) async fn fetch(&self, request: &Request) -> Result<Answer, ConnectError> {
        self.again(|| self.fetch_once(request)).await
    }

    /// Sends and reads a JSON answer.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: &Request) -> Result<T, ConnectError> {
        let answer = self.fetch(request).await?;
        parse(&request.what(), &answer.body)
    }

    /// Sends; the body is left to the caller. A break in the body is the caller's to handle.
    pub(crate) async fn stream(&self, request: &Request) -> Result<Streaming, ConnectError> {
        self.streaming(request, true).await
    }

    /// The same where the body may be anything, a page of HTML included.
    pub(crate) async fn stream_any(&self, request: &Request) -> Result<Streaming, ConnectError> {
        self.streaming(request, false).await
    }

    async fn streaming(&self, request: &Request, is_data: bool) -> Result<Streaming, ConnectError> {
        let response = self
            .again(|| async {
                let what = request.what();
                let response = self.exchange(request).await?.response;
                let html = response
                    .headers()
                    .get(header::CONTENT_TYPE)
                    .is_some_and(|v| v.as_bytes().starts_with(b"text/html"));
                if html && is_data {
                    let error = ConnectError::new(ErrorCode::BadAnswer, format!("{what}: a page instead of data"));
                    return Err(Failure::of(request, error));
                }
                Ok(response)
            })
            .await?;
        let headers = response.headers().clone();
        let what = request.what();
        let idle = self.policy.request_timeout;
        // The clock runs only while a read is waited for, so a slow reader is not mistaken for a silent server.
        let body = futures::stream::try_unfold((Box::pin(response.bytes_stream()), what), move |(mut bytes, what)| async move {
            match tokio::time::timeout(idle, bytes.next()).await {
                Err(_) => Err(timed_out(&what)),
                Ok(None) => Ok(None),
                Ok(Some(Ok(chunk))) => Ok(Some((chunk, (bytes, what)))),
                Ok(Some(Err(_))) => Err(ConnectError::new(
                    ErrorCode::NetworkTimeout,
                    format!("{what}: the answer broke off"),
                )),
            }
        });
        Ok(Streaming {
            headers,
            body: body.boxed(),
        })
    }

    /// Sends a body that can be read once: one attempt, under the token at hand.
    pub(crate) async fn send_stream(
        &self,
        request: &Request,
        content_type: &str,
        bytes: u64,
        body: BoxStream<'static, Result<Bytes, ConnectError>>,
    ) -> Result<Bytes, ConnectError> {
        let token = self.access.token().await?;
        let limit = self.policy.request_timeout + upload_time(bytes);
        let builder = self
            .request(request, &token)
            .header(header::CONTENT_TYPE, content_type)
            .header(header::CONTENT_LENGTH, bytes)
            .body(reqwest::Body::wrap_stream(body));
        let sent = match self.dispatch(request, builder, limit).await {
            Ok(sent) => sent,
            Err(failure) => {
                if let Some(sign) = failure.sign {
                    self.access.note(sign).await;
                }
                return Err(failure.error);
            }
        };
        let status = sent.response.status();
        let what = request.what();
        if status == StatusCode::UNAUTHORIZED {
            // The next call begins under a token that is good.
            self.access.refresh(&token).await?;
            return Err(ConnectError::new(ErrorCode::TokenExpired, format!("{what}: the token was refused")));
        }
        let wait = retry_after(sent.response.headers());
        let body = sent.read(&what).await?;
        if status.is_success() {
            Ok(body)
        } else {
            Err(error::from_answer(&what, status.as_u16(), &body, wait))
        }
    }

    async fn again<T, F: Future<Output = Result<T, Failure>>>(&self, mut attempt: impl FnMut() -> F) -> Result<T, ConnectError> {
        let longest = self.policy.delay_max;
        let access = &self.access;
        let noted = || {
            let tried = attempt();
            async move {
                let tried = tried.await;
                let sign = tried.as_ref().map_or_else(|f| f.sign, |_| Some(Sign::Answered));
                if let Some(sign) = sign {
                    access.note(sign).await;
                }
                tried
            }
        };
        noted
            .retry(delays(&self.policy))
            .when(|f: &Failure| f.again)
            // A wait that the server asks for is kept; one longer than we ever wait is the stage's to wait for.
            .adjust(|f: &Failure, delay| match f.error.retry_after {
                Some(asked) if asked > longest => None,
                asked => delay.map(|d| d.min(longest).max(asked.unwrap_or_default())),
            })
            .notify(|f: &Failure, delay| {
                tracing::warn!(code = %f.error.code, message = %f.error.message, delay_ms = delay.as_millis(), "request is tried again");
            })
            .await
            .map_err(|f| f.error)
    }

    async fn fetch_once(&self, request: &Request) -> Result<Answer, Failure> {
        let sent = self.exchange(request).await?;
        let (status, headers) = (sent.response.status(), sent.response.headers().clone());
        let body = sent.read(&request.what()).await.map_err(|e| Failure::unanswered(request, e))?;
        if error::is_html(&body) {
            let error = ConnectError::new(ErrorCode::BadAnswer, format!("{}: a page instead of data", request.what()));
            return Err(Failure::of(request, error));
        }
        Ok(Answer { status, headers, body })
    }

    /// One request, replayed once under a new token if the old one was refused. Only success comes back.
    async fn exchange(&self, request: &Request) -> Result<Sent, Failure> {
        let token = self.access.token().await.map_err(Failure::last)?;
        let mut sent = self.send(request, &token).await?;
        if refuses_token(request, sent.response.status()) {
            let token = self.access.refresh(&token).await.map_err(Failure::last)?;
            sent = self.send(request, &token).await?;
            if sent.response.status() == StatusCode::UNAUTHORIZED {
                let message = format!("{}: a fresh token was refused as well", request.what());
                return Err(Failure {
                    sign: Some(Sign::Answered),
                    ..Failure::last(ConnectError::new(ErrorCode::Credentials, message))
                });
            }
        }
        let status = sent.response.status();
        if status.is_success() || (request.conditional && status == StatusCode::NOT_MODIFIED) {
            return Ok(sent);
        }
        let wait = retry_after(sent.response.headers());
        let what = request.what();
        let body = sent.read(&what).await.unwrap_or_default();
        let mut error = error::from_answer(&what, status.as_u16(), &body, wait);
        error.gone = status == StatusCode::NOT_FOUND;
        Err(Failure::answered(request, status, error, &self.policy))
    }

    async fn send(&self, request: &Request, token: &AccessToken) -> Result<Sent, Failure> {
        let mut builder = self.request(request, token);
        let zip = self.options.compression.applies(&token.instance_url, request.body.bytes());
        let body = match &request.body {
            Body::Empty => None,
            Body::Json(json) => Some(("application/json; charset=UTF-8", vec![json.clone()])),
            Body::Csv(chunks) => Some(("text/csv", chunks.clone())),
        };
        if let Some((content_type, chunks)) = body {
            builder = compress::attach(builder.header(header::CONTENT_TYPE, content_type), chunks, zip)
                .await
                .map_err(Failure::last)?;
        }
        let limit = self.policy.request_timeout + upload_time(request.body.bytes());
        self.dispatch(request, builder, limit).await
    }

    /// The request without its body.
    fn request(&self, request: &Request, token: &AccessToken) -> reqwest::RequestBuilder {
        let url = if request.path.starts_with('/') {
            format!("{}{}", token.instance_url, request.path)
        } else {
            let version = token.api_version.trim_start_matches('v');
            format!("{}/services/data/v{version}/{}", token.instance_url, request.path)
        };
        let mut builder = self
            .http
            .request(request.method.clone(), url)
            .bearer_auth(token.expose())
            .header("Sforce-Call-Options", self.options.call_options())
            .header(header::ACCEPT, request.accept);
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        if request.query.is_empty() {
            builder
        } else {
            builder.query(&request.query)
        }
    }

    /// Takes a permit, sends, counts, and notes what the org says of its allocation. The clock runs from the permit on: the
    /// wait for one is our own.
    async fn dispatch(&self, request: &Request, builder: reqwest::RequestBuilder, limit: Duration) -> Result<Sent, Failure> {
        self.access.permit(1).await.map_err(Failure::last)?;
        self.calls.fetch_add(1, Ordering::Relaxed);
        let until = Instant::now() + limit;
        let answered = tokio::time::timeout_at(until, builder.send()).await;
        let answered = answered.map_err(|_| Failure::unanswered(request, timed_out(&request.what())))?;
        let response = answered.map_err(|e| {
            let what = request.what();
            if e.is_connect() {
                // Nothing has been sent, so even a request that creates something may be tried again.
                Failure {
                    error: ConnectError::new(ErrorCode::Unreachable, format!("{what}: no connection")),
                    again: true,
                    sign: Some(Sign::Away(Away::NoConnection)),
                }
            } else {
                Failure::unanswered(request, ConnectError::new(ErrorCode::NetworkTimeout, format!("{what}: no answer")))
            }
        })?;
        tracing::debug!(method = %request.method, path = %request.what(), status = response.status().as_u16(), "answered");
        if let Some(usage) = usage(response.headers()) {
            self.access.observe(usage);
        }
        Ok(Sent { response, until })
    }
}

/// The pauses between tries, which are bounded by the policy's longest only once they are adjusted.
pub(crate) fn delays(policy: &RetryPolicy) -> ExponentialBuilder {
    let delays = ExponentialBuilder::new()
        .with_min_delay(policy.delay_min)
        .with_max_delay(policy.delay_max)
        .with_factor(policy.factor)
        .with_max_times(policy.attempts_max.saturating_sub(1));
    if policy.jitter { delays.with_jitter() } else { delays }
}

/// Reads JSON; what could not be read is named by place, never quoted.
pub(crate) fn parse<'a, T: Deserialize<'a>>(what: &str, body: &'a [u8]) -> Result<T, ConnectError> {
    serde_json::from_slice(body).map_err(|e| {
        let message = format!(
            "{what}: the answer has not the expected form (line {}, column {})",
            e.line(),
            e.column()
        );
        ConnectError::new(ErrorCode::BadAnswer, message)
    })
}

/// The API refuses a token with 401; the endpoints that tell whose it is do with 403 and a text, `Bad_OAuth_Token`.
fn refuses_token(request: &Request, status: StatusCode) -> bool {
    let tells_whose = request.path.starts_with("/services/oauth2/");
    status == StatusCode::UNAUTHORIZED || (tells_whose && status == StatusCode::FORBIDDEN)
}

fn timed_out(what: &str) -> ConnectError {
    ConnectError::new(ErrorCode::NetworkTimeout, format!("{what}: no answer in time"))
}

fn upload_time(bytes: u64) -> Duration {
    Duration::from_secs(bytes / UPLOAD_BYTES_PER_SECOND_MIN)
}

async fn read(mut response: reqwest::Response, what: &str) -> Result<Bytes, ConnectError> {
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > ANSWER_BYTES_MAX => {
                return Err(ConnectError::new(ErrorCode::BadAnswer, format!("{what}: the answer does not end")));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body.freeze()),
            Err(_) => {
                return Err(ConnectError::new(
                    ErrorCode::NetworkTimeout,
                    format!("{what}: the answer broke off"),
                ));
            }
        }
    }
}

/// `api-usage=18/15000; per-app-api-usage=17/250(appName=demo)`: the org's own figures. Where the app has a cap of its
/// own, the one that is closer counts.
fn usage(headers: &HeaderMap) -> Option<Usage> {
    let text = headers.get("Sforce-Limit-Info")?.to_str().ok()?;
    let of = |name: &str| {
        let (used, max) = text
            .split([';', ','])
            .find_map(|part| part.trim().strip_prefix(name))?
            .split_once('/')?;
        let max = max.split('(').next().unwrap_or_default();
        Some(Usage {
            used: used.trim().parse().ok()?,
            max: max.trim().parse().ok()?,
        })
    };
    let left = |u: &Usage| u.max.saturating_sub(u.used);
    [of("api-usage="), of("per-app-api-usage=")].into_iter().flatten().min_by_key(left)
}

/// Seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a number has are a wait without end.
        let seconds = text.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    }
    let at = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    let wait = at.to_utc().signed_duration_since(chrono::Utc::now()).to_std().ok()?;
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_and_waits_are_read_from_headers_that_may_be_odd() {
        let with = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a header"));
            headers
        };
        let read = |v| usage(&with("sforce-limit-info", v)).map(|u| (u.used, u.max));
        assert_eq!(read("api-usage=18/15000"), Some((18, 15000)));
        assert_eq!(read("per-app-api-usage=17/250(appName=x); api-usage=1/2"), Some((1, 2)));
        assert_eq!(
            read("api-usage=18/15000; per-app-api-usage=247/250(appName=demo-app)"),
            Some((247, 250))
        );
        assert_eq!(read("api-usage=x/y"), None);
        assert_eq!(read(""), None);
        assert_eq!(retry_after(&with("retry-after", "7")), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&with("retry-after", "Thu, 03 Sep 2020 21:35:07 GMT")), None);
        assert_eq!(retry_after(&with("retry-after", "soon")), None);
        assert!(retry_after(&with("retry-after", "Thu, 03 Sep 2099 21:35:07 GMT")).is_some());
    }
}
