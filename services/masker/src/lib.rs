//! Masker: raw batches to clean ones.
//!
//! Consumes: invitations to `transform`, RAW. Publishes: CLEAN, DEAD, totals to EVENTS. Owns: schema `masker` (batches
//! seen, ends of partitions, counts per field). Idempotency key: the batch's name.
//!
//! A raw batch is acknowledged after its clean one is stored and counted. Every raw batch yields a clean one, even an
//! empty one: one that no attempt can open is set aside as a dead letter and stands for its records in the books, until the
//! letter is replayed. This is the only service that can read raw data and the only one that holds the masking key; it never sees the target.

mod masking;
mod note;
mod replaying;
mod store;
pub mod transforming;

use std::sync::Arc;

use sqlx::PgConnection;
use syncline_domain::run::Step;
use syncline_domain::{ObjectName, RunId};
use syncline_runtime::progress::{Books, Progress};
use syncline_runtime::{Config, Platform, rpc, worker};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// The schema `masker`.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Objects that one process transforms at a time; each holds a few batches in memory.
const OBJECTS_MAX: usize = 2;

struct Arrivals(Platform);

#[tonic::async_trait]
impl Books for Arrivals {
    async fn received(&self, run: &RunId) -> Result<Vec<String>, sqlx::Error> {
        store::received(&self.0.db, run).await
    }

    async fn reopen(&self, tx: &mut PgConnection, run: &RunId, object: &ObjectName) -> Result<(), sqlx::Error> {
        store::ends_forget(tx, run, object).await
    }
}

/// Runs the masker until shutdown.
///
/// # Errors
/// When it cannot start or its server fails.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let platform = Platform::start(config, Some(&MIGRATIONS), shutdown).await?;
    let stage = Arc::new(transforming::Transforming::new(&platform, transforming::Limits::default())?);
    let tasks = platform.clone();
    platform.spawn("tasks", async move {
        if let Err(error) = worker::run(&tasks, stage, OBJECTS_MAX).await {
            tracing::error!(%error, "invitations can no longer be read");
            tasks.shutdown.cancel();
        }
    });
    rpc::serve(
        &platform,
        Routes::new(Progress::service(&platform, Arrivals(platform.clone()), Some(Step::Transform))),
    )
    .await?;
    Ok(())
}
