//! The data keys of runs: made on first use, kept wrapped, never unwrapped here again.

use std::sync::Arc;

use sqlx::PgPool;
use syncline_batch::SealingKey;
use syncline_domain::{RunId, TenantId};
use syncline_runtime::failpoint;
use syncline_runtime::keys::provider::{Kek, KeyProvider};

use crate::error::Error;
use crate::store;
use crate::store::RunKeyRow;

/// Makes and remembers the keys of runs. The key-encryption keys are one per audience, so that the masker's key opens
/// both and the loader's only what is clean.
#[derive(Debug)]
pub struct RunKeys {
    db: PgPool,
    tenant: TenantId,
    provider: Arc<dyn KeyProvider>,
}

impl RunKeys {
    #[must_use]
    pub fn new(db: PgPool, tenant: TenantId, provider: Arc<dyn KeyProvider>) -> Self {
        Self { db, tenant, provider }
    }

    /// The wrapped keys: the same for everybody who asks, ever.
    ///
    /// # Errors
    /// Those of the database and of the key provider.
    pub async fn get(&self, run: &RunId) -> Result<RunKeyRow, Error> {
        if let Some(keys) = store::run_key_get(&self.db, &self.tenant, run).await? {
            return Ok(keys);
        }
        let offered = RunKeyRow {
            raw_wrapped: self.make(run, Kek::Raw, "raw").await?,
            clean_wrapped: self.make(run, Kek::Clean, "clean").await?,
        };
        store::run_key_offer(&self.db, &self.tenant, run, &offered).await?;
        failpoint::pass(&failpoint::CONNECTOR_RUN_KEY_STORED).await?;
        // Read back: somebody else's keys may have been first.
        let keys = store::run_key_get(&self.db, &self.tenant, run).await?;
        Ok(keys.unwrap_or(offered))
    }

    async fn make(&self, run: &RunId, kek: Kek, audience: &str) -> Result<Vec<u8>, Error> {
        let place = format!("{run}/{audience}");
        Ok(self.provider.wrap(kek, &SealingKey::generate(), &place).await?)
    }
}
