//! The data keys of runs: made on first use, kept wrapped, never unwrapped here again.

use sqlx::PgPool;
use syncline_batch::SealingKey;
use syncline_domain::{RunId, TenantId};

use crate::error::Error;
use crate::store;
use crate::store::RunKeyRow;

/// Makes and remembers the keys of runs. The key-encryption keys are one per audience, so that the masker's key opens
/// both and the loader's only what is clean.
#[derive(Debug)]
pub struct RunKeys {
    db: PgPool,
    tenant: TenantId,
    kek_raw: SealingKey,
    kek_clean: SealingKey,
}

impl RunKeys {
    #[must_use]
    pub fn new(db: PgPool, tenant: TenantId, kek_raw: SealingKey, kek_clean: SealingKey) -> Self {
        Self {
            db,
            tenant,
            kek_raw,
            kek_clean,
        }
    }

    /// The wrapped keys: the same for everybody who asks, ever.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get(&self, run: &RunId) -> Result<RunKeyRow, Error> {
        if let Some(keys) = store::run_key_get(&self.db, &self.tenant, run).await? {
            return Ok(keys);
        }
        let wrap = |kek: &SealingKey, audience: &str| kek.wrap(&SealingKey::generate(), format!("{run}/{audience}").as_bytes());
        let offered = RunKeyRow {
            raw_wrapped: wrap(&self.kek_raw, "raw"),
            clean_wrapped: wrap(&self.kek_clean, "clean"),
        };
        store::run_key_offer(&self.db, &self.tenant, run, &offered).await?;
        // Read back: somebody else's keys may have been first.
        let keys = store::run_key_get(&self.db, &self.tenant, run).await?;
        Ok(keys.unwrap_or(offered))
    }
}
