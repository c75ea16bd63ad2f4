//! A server that gives prepared answers in order and remembers what it was asked, and an access without a bus.
#![allow(dead_code, reason = "every test file uses its own part")]

pub mod org;
pub mod raw;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use syncline_connect::{Access, AccessToken, ConnectError, Sign, Usage};
use tokio::net::TcpListener;

#[derive(Clone)]
pub enum Reply {
    Answer {
        status: u16,
        content_type: &'static str,
        headers: Vec<(&'static str, String)>,
        body: String,
        pace: Pace,
    },
    /// The connection breaks before an answer.
    Hang,
}

#[derive(Clone, Copy)]
pub enum Pace {
    Whole,
    Bytewise,
    /// Half of it, then the connection breaks.
    Broken,
}

impl Reply {
    fn new(status: u16, content_type: &'static str, body: &str) -> Self {
        Self::Answer {
            status,
            content_type,
            headers: Vec::new(),
            body: body.to_owned(),
            pace: Pace::Whole,
        }
    }

    pub fn json(status: u16, body: &str) -> Self {
        Self::new(status, "application/json;charset=UTF-8", body)
    }

    pub fn csv(status: u16, body: &str) -> Self {
        Self::new(status, "text/csv; charset=UTF-8", body)
    }

    pub fn typed(status: u16, content_type: &'static str, body: &str) -> Self {
        Self::new(status, content_type, body)
    }

    pub fn html(status: u16, body: &str) -> Self {
        Self::new(status, "text/html", body)
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }

    pub fn bytewise(mut self) -> Self {
        if let Self::Answer { pace, .. } = &mut self {
            *pace = Pace::Bytewise;
        }
        self
    }

    pub fn broken(mut self) -> Self {
        if let Self::Answer { pace, .. } = &mut self {
            *pace = Pace::Broken;
        }
        self
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query_text: String,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Seen {
    /// Empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    pub fn query(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query_text.as_bytes())
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.into_owned())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Clone, Default)]
struct Shared {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

pub struct Script {
    url: String,
    shared: Shared,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Script {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Script {
    pub async fn start(replies: Vec<Reply>) -> Self {
        let shared = Shared::default();
        shared.replies.lock().unwrap().extend(replies);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(answer).with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, shared, server }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }
}

/// An address on which nobody listens.
pub async fn closed_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    shared.seen.lock().unwrap().push(Seen {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query_text: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: body.to_vec(),
    });
    let reply = shared.replies.lock().unwrap().pop_front();
    let Some(Reply::Answer {
        status,
        content_type,
        headers,
        body,
        pace,
    }) = reply
    else {
        // The server closes a connection whose handler panics; the client sees no answer.
        std::panic::resume_unwind(Box::new("the script has no answer here"));
    };
    let mut response = Response::builder().status(status).header("content-type", content_type);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    let body = match pace {
        Pace::Whole => Body::from(body),
        Pace::Bytewise => Body::from_stream(futures::stream::iter(
            body.into_bytes().into_iter().map(|b| Ok::<_, std::io::Error>(Bytes::from(vec![b]))),
        )),
        Pace::Broken => {
            let half = Bytes::from(body.as_bytes()[..body.len() / 2].to_vec());
            let broken = futures::stream::once(async { Err(std::io::Error::other("broken on purpose")) });
            Body::from_stream(futures::stream::iter([Ok(half)]).chain(broken))
        }
    };
    response.body(body).unwrap()
}

/// Tokens `token-0`, `token-1`, ... and unlimited permits.
#[derive(Debug)]
pub struct TestAccess {
    url: String,
    token: AtomicU64,
    permits: AtomicU64,
    fixed: Option<String>,
    permit_wait: Duration,
    signs: Mutex<Vec<Sign>>,
    observed: Mutex<Option<Usage>>,
}

impl TestAccess {
    pub fn new(url: String) -> Self {
        Self {
            url,
            token: AtomicU64::new(0),
            permits: AtomicU64::new(0),
            fixed: None,
            permit_wait: Duration::ZERO,
            signs: Mutex::default(),
            observed: Mutex::new(None),
        }
    }

    /// One token for ever.
    pub fn with_token(url: String, token: &str) -> Self {
        Self {
            fixed: Some(token.to_owned()),
            ..Self::new(url)
        }
    }

    /// Each permit takes this long to come.
    pub fn permits_after(mut self, wait: Duration) -> Self {
        self.permit_wait = wait;
        self
    }

    /// What attempts told of the org.
    pub fn signs(&self) -> Vec<Sign> {
        self.signs.lock().unwrap().clone()
    }

    pub fn permits(&self) -> u64 {
        self.permits.load(Ordering::SeqCst)
    }

    pub fn observed(&self) -> Option<Usage> {
        *self.observed.lock().unwrap()
    }

    fn current(&self) -> AccessToken {
        let counted = || format!("token-{}", self.token.load(Ordering::SeqCst));
        let token = self.fixed.clone().unwrap_or_else(counted);
        AccessToken::new(self.url.clone(), "65.0".into(), token)
    }
}

#[async_trait]
impl Access for TestAccess {
    async fn token(&self) -> Result<AccessToken, ConnectError> {
        Ok(self.current())
    }

    async fn refresh(&self, _: &AccessToken) -> Result<AccessToken, ConnectError> {
        self.token.fetch_add(1, Ordering::SeqCst);
        Ok(self.current())
    }

    async fn permit(&self, calls: u32) -> Result<(), ConnectError> {
        tokio::time::sleep(self.permit_wait).await;
        self.permits.fetch_add(u64::from(calls), Ordering::SeqCst);
        Ok(())
    }

    async fn note(&self, sign: Sign) {
        self.signs.lock().unwrap().push(sign);
    }

    fn observe(&self, usage: Usage) {
        *self.observed.lock().unwrap() = Some(usage);
    }
}
