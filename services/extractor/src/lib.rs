//! Extractor: source to raw batches.
//!
//! Consumes: invitations to `extract`. Publishes: RAW, and totals to EVENTS. Owns: schema `extractor` (generations and
//! batches: the checkpoint at the source). Idempotency key: the batch's name.
//!
//! A batch is recorded, then published, then marked as published ([`reading`]). After a crash exactly the page that was
//! being read is read again; batches that were published are skipped, and one whose content no longer has the recorded
//! digest starts a new generation. So does a reading whose batches were lost on the bus ([`Books::reopen`]).

mod publishing;
pub mod reading;
mod store;

use std::sync::Arc;

use sqlx::PgConnection;
use syncline_domain::run::Step;
use syncline_domain::{ObjectName, RunId};
use syncline_runtime::progress::{Books, Progress};
use syncline_runtime::{Config, Platform, rpc, worker};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// The schema `extractor`.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Objects that one process reads at a time; each holds one page's stream and a few batches in memory.
const OBJECTS_MAX: usize = 2;

struct Readings;

#[tonic::async_trait]
impl Books for Readings {
    async fn reopen(&self, tx: &mut PgConnection, run: &RunId, object: &ObjectName) -> Result<(), sqlx::Error> {
        store::generation_give_up(tx, run, object).await
    }
}

/// Runs the extractor until shutdown.
///
/// # Errors
/// When it cannot start or its server fails.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let platform = Platform::start(config, Some(&MIGRATIONS), shutdown).await?;
    let stage = Arc::new(reading::Reading::new(&platform, reading::Limits::default())?);
    let tasks = platform.clone();
    platform.spawn("tasks", async move {
        if let Err(error) = worker::run(&tasks, stage, OBJECTS_MAX).await {
            tracing::error!(%error, "invitations can no longer be read");
            tasks.shutdown.cancel();
        }
    });
    rpc::serve(&platform, Routes::new(Progress::service(&platform, Readings, Some(Step::Extract)))).await?;
    Ok(())
}
