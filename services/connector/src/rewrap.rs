//! Data keys under the newest key-encryption keys, after a rotation or a move to another provider.
//!
//! What data keys seal is not touched, so nothing has to stop meanwhile: as long as the old key is still there to unwrap,
//! both forms serve. A row at a time, each in a transaction of its own: a failure leaves every row in one form or the other,
//! and going on is running it again.

use sqlx::PgPool;

use syncline_runtime::keys::provider::{Kek, KeyProvider};

use crate::error::Error;
use crate::store;

/// How many rows there are, and how many of them were wrapped anew.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Rewrapped {
    pub connections: u64,
    pub connections_changed: u64,
    pub runs: u64,
    pub runs_changed: u64,
}

/// # Errors
/// The first row that cannot be wrapped anew, and why; those before it are done.
pub async fn rewrap(db: &PgPool, provider: &dyn KeyProvider) -> Result<Rewrapped, Error> {
    let mut done = Rewrapped::default();
    for (tenant, name) in store::credential_names(db).await? {
        let mut tx = db.begin().await?;
        let Some(wrapped) = store::credential_key_lock(&mut tx, &tenant, &name).await? else {
            continue;
        };
        done.connections += 1;
        let place = format!("{tenant}/{name}");
        let rewrapped = provider.rewrap(Kek::Credentials, &wrapped, &place).await;
        let rewrapped = rewrapped.map_err(|source| Error::Rewrap {
            what: format!("the credentials of `{name}`"),
            source,
        })?;
        if let Some(wrapped) = rewrapped {
            store::credential_key_put(&mut tx, &tenant, &name, &wrapped).await?;
            done.connections_changed += 1;
        }
        tx.commit().await?;
    }
    for (tenant, run) in store::run_key_names(db).await? {
        let mut tx = db.begin().await?;
        let Some(keys) = store::run_key_lock(&mut tx, &tenant, &run).await? else {
            continue;
        };
        done.runs += 1;
        let failed = |source| Error::Rewrap {
            what: format!("the keys of run `{run}`"),
            source,
        };
        let raw = provider
            .rewrap(Kek::Raw, &keys.raw_wrapped, &format!("{run}/raw"))
            .await
            .map_err(failed)?;
        let clean = provider
            .rewrap(Kek::Clean, &keys.clean_wrapped, &format!("{run}/clean"))
            .await
            .map_err(failed)?;
        if raw.is_some() || clean.is_some() {
            let keys = store::RunKeyRow {
                raw_wrapped: raw.unwrap_or(keys.raw_wrapped),
                clean_wrapped: clean.unwrap_or(keys.clean_wrapped),
            };
            store::run_key_put(&mut tx, &tenant, &run, &keys).await?;
            done.runs_changed += 1;
        }
        tx.commit().await?;
    }
    Ok(done)
}
