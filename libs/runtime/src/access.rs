//! Access to systems through the connector service: tokens, quota and describes, never credentials.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use syncline_connect::access::fingerprint;
use syncline_connect::retry::RetryPolicy;
use syncline_connect::{Access, AccessToken, ConnectError, Sign, Usage};
use syncline_domain::describe::ObjectDescribe;
use syncline_domain::{ConnectionName, ErrorCode, ObjectName};
use syncline_wire::access::access_service_client::AccessServiceClient;
use syncline_wire::access::{DescribeRequest, GetAccessRequest, LeaseQuotaRequest, ReportOutcomeRequest, ReportUsageRequest};
use syncline_wire::status::{code_of, wait_of};
use tonic::Status;

use crate::rpc::{MESSAGE_BYTES_MAX, Traced, with_trace};

/// Requests that are leased at once, so that most need no round trip.
const QUOTA_BLOCK: u32 = 20;

/// A report of what became of a request is worth no longer wait.
const REPORT_WAIT: Duration = Duration::from_secs(2);

/// Pause after a lease of nothing.
const EMPTY_GRANT_PAUSE: Duration = Duration::from_millis(100);

/// [`Access`] of one connection, by asking the connector service.
pub struct ServiceAccess {
    connection: ConnectionName,
    client: AccessServiceClient<Traced>,
    token: Mutex<Option<AccessToken>>,
    /// Requests left of the leased block.
    block: AtomicU32,
    /// Something was answered since the last lease.
    served: AtomicBool,
    /// The connector waits for word of the next answer: a request failed, or this is the probe.
    awaited: AtomicBool,
}

impl fmt::Debug for ServiceAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccess")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

impl ServiceAccess {
    #[must_use]
    pub fn new(connection: ConnectionName, connector: tonic::transport::Channel) -> Self {
        let client = AccessServiceClient::new(with_trace(connector)).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Self {
            connection,
            client,
            token: Mutex::new(None),
            block: AtomicU32::new(0),
            served: AtomicBool::new(false),
            awaited: AtomicBool::new(false),
        }
    }

    async fn fetch(&self, stale: String) -> Result<AccessToken, ConnectError> {
        let request = GetAccessRequest {
            connection: self.connection.to_string(),
            stale,
        };
        let answer = self.client.clone().get_access(request).await.map_err(|s| error(&s))?.into_inner();
        let retry = answer.retry.as_ref().map(syncline_wire::retry::from_proto).unwrap_or_default();
        let token = AccessToken::new(answer.instance_url, answer.api_version, answer.access_token).with_retry(retry);
        *self.token.lock().expect("no holder of this lock panics") = Some(token.clone());
        Ok(token)
    }

    /// The policy that holds for the connection now; it comes with the token.
    ///
    /// # Errors
    /// [`ConnectError`] as the connector answered.
    pub async fn retry_policy(&self) -> Result<RetryPolicy, ConnectError> {
        Ok(self.token().await?.retry)
    }

    /// Describes from the connector's cache; `None` where the object does not exist or cannot be seen.
    ///
    /// # Errors
    /// [`ConnectError`] as the connector answered.
    pub async fn describe(&self, objects: &[ObjectName]) -> Result<Vec<Option<ObjectDescribe>>, ConnectError> {
        let request = DescribeRequest {
            connection: self.connection.to_string(),
            objects: objects.iter().map(ToString::to_string).collect(),
        };
        let answer = self.client.clone().describe(request).await.map_err(|s| error(&s))?.into_inner();
        if answer.describes_json.len() != objects.len() {
            return Err(ConnectError::new(
                ErrorCode::Internal,
                "the connector service answered with another number of describes than it was asked for",
            ));
        }
        answer
            .describes_json
            .iter()
            .map(|json| {
                if json.is_empty() {
                    Ok(None)
                } else {
                    serde_json::from_str(json).map(Some)
                }
            })
            .collect::<Result<_, _>>()
            .map_err(|_| {
                ConnectError::new(
                    ErrorCode::Internal,
                    "the connector service answered with a describe that does not parse",
                )
            })
    }
}

#[async_trait]
impl Access for ServiceAccess {
    async fn token(&self) -> Result<AccessToken, ConnectError> {
        let cached = self.token.lock().expect("no holder of this lock panics").clone();
        match cached {
            Some(token) => Ok(token),
            None => self.fetch(String::new()).await,
        }
    }

    async fn refresh(&self, stale: &AccessToken) -> Result<AccessToken, ConnectError> {
        let cached = self.token.lock().expect("no holder of this lock panics").clone();
        match cached {
            // Somebody in this process has refreshed it already.
            Some(token) if token != *stale => Ok(token),
            _ => self.fetch(fingerprint(stale.expose())).await,
        }
    }

    async fn permit(&self, calls: u32) -> Result<(), ConnectError> {
        loop {
            if self
                .block
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(calls))
                .is_ok()
            {
                return Ok(());
            }
            let request = LeaseQuotaRequest {
                connection: self.connection.to_string(),
                calls: calls.max(QUOTA_BLOCK),
                served: self.served.swap(false, Ordering::AcqRel),
            };
            let answer = self.client.clone().lease_quota(request).await.map_err(|s| error(&s))?.into_inner();
            if answer.probe {
                self.awaited.store(true, Ordering::Release);
            }
            let mut wait = Duration::from_millis(answer.wait_ms);
            if answer.granted == 0 {
                // Against the contract; asking again at once would only add load.
                wait = wait.max(EMPTY_GRANT_PAUSE);
            }
            tokio::time::sleep(wait).await;
            self.block.fetch_add(answer.granted, Ordering::AcqRel);
        }
    }

    /// Costs a call only on failure, and for the first answer after one.
    async fn note(&self, sign: Sign) {
        let mut request = ReportOutcomeRequest {
            connection: self.connection.to_string(),
            ..ReportOutcomeRequest::default()
        };
        match sign {
            Sign::Answered => {
                self.served.store(true, Ordering::Release);
                if !self.awaited.swap(false, Ordering::AcqRel) {
                    return;
                }
            }
            Sign::Away(failure) => failure.as_str().clone_into(&mut request.failure),
            Sign::Wait(wait) => request.wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        }
        if sign != Sign::Answered {
            self.served.store(false, Ordering::Release);
            self.awaited.store(true, Ordering::Release);
            // What is left of the block was leased from a system that was there.
            self.block.store(0, Ordering::Release);
        }
        let mut client = self.client.clone();
        let told = tokio::time::timeout(REPORT_WAIT, client.report_outcome(request)).await;
        if !matches!(told, Ok(Ok(_))) {
            tracing::debug!(connection = %self.connection, ?sign, "the connector could not be told what became of a request");
        }
    }

    fn observe(&self, usage: Usage) {
        let mut client = self.client.clone();
        let request = ReportUsageRequest {
            connection: self.connection.to_string(),
            used: usage.used,
            max: usage.max,
        };
        // Every 64th is enough for a figure that the org itself updates late.
        if usage.used.is_multiple_of(64) {
            tokio::spawn(async move {
                let _ = client.report_usage(request).await;
            });
        }
    }
}

fn error(status: &Status) -> ConnectError {
    let code = code_of(status).unwrap_or(ErrorCode::Unreachable);
    ConnectError::new(code, format!("connector service: {}", status.message())).retry_after(wait_of(status))
}
