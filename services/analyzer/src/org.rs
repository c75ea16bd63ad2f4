//! What the analyzer asks of one end.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use syncline_connect::{ConnectError, OrgInfo, Query, Source};
use syncline_domain::ObjectName;
use syncline_domain::describe::ObjectDescribe;
use syncline_runtime::access::ServiceAccess;
use syncline_salesforce::Salesforce;

/// The allocation that runs are measured against (REST API, limits).
const DAILY_REQUESTS: &str = "DailyApiRequests";

/// Questions about one end, none of which changes it.
#[async_trait]
pub trait Org: Send + Sync {
    async fn info(&self) -> Result<OrgInfo, ConnectError>;

    /// In the order of the request; `None` for what does not exist or cannot be seen.
    async fn describe(&self, objects: &[ObjectName]) -> Result<Vec<Option<ObjectDescribe>>, ConnectError>;

    async fn count(&self, query: &Query) -> Result<u64, ConnectError>;

    /// Rows of a small look-up table, cells in the order of `fields`.
    async fn lookup(&self, object: &ObjectName, fields: &[&str], filter: Option<&str>) -> Result<Vec<Vec<Option<String>>>, ConnectError>;

    /// API requests left today; `None` when the system does not say.
    async fn calls_left(&self) -> Option<u64>;

    /// Id of the user under whom the connection works.
    async fn user(&self) -> Result<String, ConnectError>;
}

/// An org under one connection. Describes come from the connector service, which caches them.
pub struct Connected {
    access: Arc<ServiceAccess>,
    system: Salesforce,
}

impl Connected {
    #[must_use]
    pub fn new(access: Arc<ServiceAccess>, system: Salesforce) -> Self {
        Self { access, system }
    }
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected").field("access", &self.access).finish_non_exhaustive()
    }
}

#[async_trait]
impl Org for Connected {
    async fn info(&self) -> Result<OrgInfo, ConnectError> {
        self.system.org().await
    }

    async fn describe(&self, objects: &[ObjectName]) -> Result<Vec<Option<ObjectDescribe>>, ConnectError> {
        self.access.describe(objects).await
    }

    async fn count(&self, query: &Query) -> Result<u64, ConnectError> {
        self.system.count(query).await
    }

    async fn lookup(&self, object: &ObjectName, fields: &[&str], filter: Option<&str>) -> Result<Vec<Vec<Option<String>>>, ConnectError> {
        self.system.lookup(object, fields, filter).await
    }

    async fn user(&self) -> Result<String, ConnectError> {
        self.system.user().await.map(str::to_owned)
    }

    async fn calls_left(&self) -> Option<u64> {
        // Some users may not see limits; a plan is possible without.
        let limits = self.system.limits().await.ok()?;
        limits.get(DAILY_REQUESTS).and_then(|l| u64::try_from(l.remaining).ok())
    }
}
