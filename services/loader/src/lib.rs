//! Loader: clean batches to the target, exactly once.
//!
//! Consumes: invitations to `clear`, `load_pass_1`, `load_pass_2`, `orphans`, `load_pass_3`, `verify` and `settle`; CLEAN.
//! Publishes: totals and findings to EVENTS, DEAD. Owns: schema `loader` (links, ledger, claims, journal, refusals).
//! Idempotency keys: the batch's name for deliveries, (link, source key) for records, the journal entry for jobs.
//!
//! The order that makes a crash harmless at any point ([`journal`]): claim and journal entry with the digest of every row
//! are committed, then the job is created, its id stored, the rows uploaded, the job closed, its results settled, the
//! claim closed, the message acknowledged. Whoever comes later settles first and then loads only rows without an outcome.
//! It cannot read raw data.

mod claims;
mod context;
mod hashing;
mod journal;
mod parked;
mod recent;
mod references;
pub mod refusals;
mod results;
pub mod retention;
mod steps;
mod store;
pub mod sweep;
mod telling;
mod unknown;
mod window;

use std::sync::Arc;

use syncline_domain::RunId;
use syncline_runtime::keys::provider::Kek;
use syncline_runtime::progress::{Books, Progress};
use syncline_runtime::{Config, Platform, metrics, rpc, worker};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub use steps::Loading;

/// The loader's schema.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Tasks that one process works on at a time; each holds at most one job's rows in memory.
const TASKS_MAX: usize = 2;

const CLAIMS_COUNTED_EVERY: std::time::Duration = std::time::Duration::from_secs(10);

struct Claims(Platform);

#[tonic::async_trait]
impl Books for Claims {
    async fn unsettled(&self, run: &RunId) -> Result<u32, sqlx::Error> {
        store::journal::open_count(&self.0.db, run).await
    }

    async fn received(&self, run: &RunId) -> Result<Vec<String>, sqlx::Error> {
        store::batches::received(&self.0.db, run).await
    }
}

/// Runs the loader until shutdown.
///
/// # Errors
/// When it cannot start or its server fails.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let platform = Platform::start(config, Some(&MIGRATIONS), shutdown).await?;
    platform.keys.provider().check(Kek::Clean).await?;
    let stage = Arc::new(Loading::new(&platform)?);
    let tasks = platform.clone();
    platform.spawn("tasks", async move {
        if let Err(error) = worker::run(&tasks, stage, TASKS_MAX).await {
            tracing::error!(%error, "invitations can no longer be read");
            tasks.shutdown.cancel();
        }
    });
    let claims = platform.clone();
    platform.spawn("presence", unknown::be_present(platform.clone()));
    platform.spawn("retention", retention::enforce(platform.clone()));
    platform.spawn("unsettled claims", async move {
        loop {
            if let Ok(open) = store::journal::open_count_all(&claims.db).await {
                metrics::set(metrics::CLAIMS_UNSETTLED, f64::from(open), &[]);
            }
            tokio::time::sleep(CLAIMS_COUNTED_EVERY).await;
        }
    });
    let progress = Progress::service(&platform, Claims(platform.clone()), None);
    let refusals = refusals::Refusals::service(platform.db.clone());
    rpc::serve(&platform, Routes::new(progress).add_service(refusals)).await?;
    Ok(())
}
