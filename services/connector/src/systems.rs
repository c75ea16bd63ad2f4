//! The systems behind connections, for what the connector asks of them itself: who they are, and what they hold.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use syncline_connect::access::fingerprint;
use syncline_connect::retry::RetryPolicy;
use syncline_connect::{Access, AccessToken, ConnectError, Sign, Usage};
use syncline_domain::ConnectionName;
use syncline_domain::spec::{ConnectionSpec, SystemKind};
use syncline_salesforce::Salesforce;

use crate::breakers::Breakers;
use crate::broker::{Broker, Want};
use crate::error::Error;
use crate::quota::{CALLS_PER_SECOND_DEFAULT, Quotas};

// Somebody waits for the connector's own questions, so giving up early is kinder than trying for minutes.
const ATTEMPTS_MAX: usize = 3;
const DELAY_MIN: Duration = Duration::from_millis(500);
const DELAY_MAX: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The pool that all connections share.
///
/// # Errors
/// When TLS cannot be set up.
pub fn http_client() -> Result<reqwest::Client, ConnectError> {
    syncline_salesforce::http_client(&RetryPolicy {
        connect_timeout: CONNECT_TIMEOUT,
        ..RetryPolicy::default()
    })
}

/// Whether an open circuit breaker keeps the connector from asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Kept,
    /// A person wants to know now.
    Ignored,
}

/// A system and the way to it.
pub struct System {
    pub salesforce: Salesforce,
    access: Arc<LocalAccess>,
}

impl System {
    #[must_use]
    pub fn open(
        broker: &Arc<Broker>,
        quotas: &Arc<Quotas>,
        breakers: &Breakers,
        http: &reqwest::Client,
        name: &ConnectionName,
        spec: &ConnectionSpec,
        gate: Gate,
    ) -> Self {
        let access = Arc::new(LocalAccess {
            broker: Arc::clone(broker),
            quotas: Arc::clone(quotas),
            breakers: breakers.clone(),
            gate,
            // Whoever ignores the breaker has to say what it learnt.
            awaited: AtomicBool::new(gate == Gate::Ignored),
            name: name.clone(),
            per_second: calls_per_second(spec),
            usage: Mutex::default(),
        });
        let policy = spec.retry_policy().at_most(ATTEMPTS_MAX, DELAY_MIN, DELAY_MAX, REQUEST_TIMEOUT);
        let salesforce = match spec.kind {
            SystemKind::Salesforce => Salesforce::with_http(http.clone(), Arc::clone(&access) as Arc<dyn Access>, policy),
        };
        Self { salesforce, access }
    }

    /// Stores what the system said of its daily allocation while it was used.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn report_usage(&self) -> Result<(), Error> {
        let usage = self.access.usage.lock().unwrap_or_else(PoisonError::into_inner).take();
        match usage {
            Some(usage) => self.access.quotas.report(&self.access.name, usage.used, usage.max).await,
            None => Ok(()),
        }
    }
}

#[must_use]
pub fn calls_per_second(spec: &ConnectionSpec) -> NonZeroU32 {
    spec.requests_per_second
        .and_then(NonZeroU32::new)
        .unwrap_or(CALLS_PER_SECOND_DEFAULT)
}

/// [`Access`] inside this process.
#[derive(Debug)]
struct LocalAccess {
    broker: Arc<Broker>,
    quotas: Arc<Quotas>,
    breakers: Breakers,
    gate: Gate,
    /// The next answer is news: a request failed before it, or it is the probe.
    awaited: AtomicBool,
    name: ConnectionName,
    per_second: NonZeroU32,
    usage: Mutex<Option<Usage>>,
}

fn plain(error: Error) -> ConnectError {
    match error {
        Error::System { source, .. } => source,
        other => ConnectError::new(other.code(), other.message()),
    }
}

#[async_trait]
impl Access for LocalAccess {
    async fn token(&self) -> Result<AccessToken, ConnectError> {
        self.broker.token(&self.name, Want::Valid).await.map_err(plain)
    }

    async fn refresh(&self, stale: &AccessToken) -> Result<AccessToken, ConnectError> {
        let stale = fingerprint(stale.expose());
        self.broker.token(&self.name, Want::Not(stale)).await.map_err(plain)
    }

    async fn permit(&self, calls: u32) -> Result<(), ConnectError> {
        if self.gate == Gate::Kept && self.breakers.ask(&self.name).await.map_err(plain)? {
            self.awaited.store(true, Ordering::Release);
        }
        let mut left = calls;
        while left > 0 {
            let block = self.quotas.take(&self.name, self.per_second, left).await.map_err(plain)?;
            tokio::time::sleep(block.wait).await;
            left = left.saturating_sub(block.granted);
        }
        Ok(())
    }

    async fn note(&self, sign: Sign) {
        let noted = match sign {
            Sign::Answered if !self.awaited.swap(false, Ordering::AcqRel) => return,
            Sign::Answered => self.breakers.answered(&self.name).await,
            Sign::Away(failure) => self.breakers.failed(&self.name, failure).await,
            Sign::Wait(wait) => {
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                self.breakers.asked_to_wait(&self.name, wait_ms).await
            }
        };
        if sign != Sign::Answered {
            self.awaited.store(true, Ordering::Release);
        }
        if let Err(error) = noted {
            tracing::debug!(connection = %self.name, %error, "what became of a request could not be noted");
        }
    }

    fn observe(&self, usage: Usage) {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = Some(usage);
    }
}
