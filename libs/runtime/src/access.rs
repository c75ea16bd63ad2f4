//! Access to systems through the connector service: tokens, quota and describes, never credentials.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use syncline_connect::access::fingerprint;
use syncline_connect::retry::RetryPolicy;
use syncline_connect::{Access, AccessToken, ConnectError, Usage};
use syncline_domain::describe::ObjectDescribe;
use syncline_domain::{ConnectionName, ErrorCode, ObjectName};
use syncline_wire::access::access_service_client::AccessServiceClient;
use syncline_wire::access::{DescribeRequest, GetAccessRequest, LeaseQuotaRequest, ReportUsageRequest};
use syncline_wire::status::code_of;
use tonic::Status;

use crate::rpc::{MESSAGE_BYTES_MAX, Traced, with_trace};

/// Requests that are leased at once, so that most need no round trip.
const QUOTA_BLOCK: u32 = 20;

/// Pause after a lease of nothing.
const EMPTY_GRANT_PAUSE: Duration = Duration::from_millis(100);

/// [`Access`] of one connection, by asking the connector service.
pub struct ServiceAccess {
    connection: ConnectionName,
    client: AccessServiceClient<Traced>,
    token: Mutex<Option<AccessToken>>,
    /// Requests left of the leased block.
    block: AtomicU32,
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
            };
            let answer = self.client.clone().lease_quota(request).await.map_err(|s| error(&s))?.into_inner();
            let mut wait = Duration::from_millis(answer.wait_ms);
            if answer.granted == 0 {
                // Against the contract; asking again at once would only add load.
                wait = wait.max(EMPTY_GRANT_PAUSE);
            }
            tokio::time::sleep(wait).await;
            self.block.fetch_add(answer.granted, Ordering::AcqRel);
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
    ConnectError::new(code, format!("connector service: {}", status.message()))
}
