//! Short-lived access to a system. Credentials stay with the connector service; stages get tokens.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use syncline_domain::breaker::Failure;

use crate::ConnectError;
use crate::retry::RetryPolicy;

/// A bearer token, where it is valid, and how patiently. Prints nothing of the token.
#[derive(Clone, PartialEq)]
pub struct AccessToken {
    /// Base address of every data call, without a trailing slash.
    pub instance_url: String,
    pub api_version: String,
    /// How requests under it are tried again.
    pub retry: RetryPolicy,
    token: String,
}

impl AccessToken {
    #[must_use]
    pub fn new(instance_url: String, api_version: String, token: String) -> Self {
        Self {
            instance_url,
            api_version,
            retry: RetryPolicy::default(),
            token,
        }
    }

    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// The token itself, for the `Authorization` header and nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.token
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("instance_url", &self.instance_url)
            .finish_non_exhaustive()
    }
}

/// Names a token without showing it: the first 16 hex characters of its BLAKE3 hash.
#[must_use]
pub fn fingerprint(token: &str) -> String {
    blake3::hash(token.as_bytes()).to_hex().chars().take(16).collect()
}

/// What a system said of its daily allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub used: u64,
    pub max: u64,
}

/// What a request told of the system itself, apart from what it was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It is there: it answered, with whatever.
    Answered,
    /// It is away.
    Away(Failure),
    /// It asks to be left alone for longer than a request waits.
    Wait(Duration),
}

/// Provides tokens and quota for one connection.
#[async_trait]
pub trait Access: Send + Sync + fmt::Debug {
    /// A token that is believed to be valid.
    async fn token(&self) -> Result<AccessToken, ConnectError>;

    /// The system refused `stale`: another one. Callers that refuse the same token at once share one refresh.
    async fn refresh(&self, stale: &AccessToken) -> Result<AccessToken, ConnectError>;

    /// Waits until `calls` requests may be made under the connection's quota, which all replicas share.
    ///
    /// While the system is away it answers [`ErrorCode::HeldBack`](syncline_domain::ErrorCode::HeldBack) instead of waiting.
    async fn permit(&self, calls: u32) -> Result<(), ConnectError>;

    /// Notes what a request that had its permit told of the system. An access without a circuit breaker has no use for it.
    async fn note(&self, _sign: Sign) {}

    /// Notes what the system said of its use.
    fn observe(&self, usage: Usage);
}
