//! The monitor: progress, history, errors, reports and dead letters.
//!
//! - Consumes: EVENTS (durable, every tenant's facts) and DEAD.
//! - Publishes: nothing.
//! - Owns: the schema `monitor`: the history of facts, totals per run, object and stage, dead letters.
//! - Idempotency key: the digest of a fact's bytes; for dead letters (run, stage, batch, payload digest).
//!
//! Guarantees: facts may come twice, late and in any order, the books are the same (larger totals win; a status stands
//! by its version). A run's cursor only rises, so a watcher resumes behind the last one it saw. A dead letter is
//! acknowledged only once it is kept, sealed as it came. It never holds a record's value: facts carry names, codes,
//! counts and record ids only. Nothing depends on it but the replay of a dead letter: a run goes on while the monitor is away,
//! and is booked later.
//!
//! Start with [`facts`], which books one fact, and [`report`], which reads the books.

pub mod api;
pub mod books;
pub mod error;
pub mod facts;
pub mod handler;
pub mod letters;
pub mod progress;
pub mod report;
pub mod resource;
pub mod store;
mod watch;

use std::sync::Arc;

use anyhow::Context as _;
use syncline_runtime::config::Config;
use syncline_runtime::{Platform, rpc};
use syncline_wire::monitor::letter_service_server::LetterServiceServer;
use syncline_wire::monitor::monitor_service_server::MonitorServiceServer;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// The monitor's tables.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Runs until shutdown.
///
/// # Errors
/// When the platform is not there at the start, or the address cannot be listened on.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let platform = Platform::start(config, Some(&MIGRATIONS), shutdown).await?;
    let news = Arc::new(Notify::new());
    let handler = handler::Handler::new(platform.db.clone(), Arc::clone(&news));
    let tenant = platform.config.tenant.clone();
    let letters = letters::Letters::new(platform.db.clone(), tenant.clone(), platform.peers.coordinator.clone());
    let api = api::Api::new(
        platform.db.clone(),
        tenant,
        letters.clone(),
        Arc::clone(&news),
        platform.shutdown.clone(),
    );
    let events = async {
        platform
            .bus
            .run_events("monitor", platform.shutdown.clone(), |event| handler.event(event))
            .await
            .context("booking facts")
    };
    let dead = async {
        platform
            .bus
            .run_dead("monitor", platform.shutdown.clone(), |letter| handler.dead(letter))
            .await
            .context("keeping dead letters")
    };
    let chores = async {
        tokio::join!(
            books::close_when_quiet(platform.db.clone(), &news, platform.shutdown.clone()),
            books::expire(platform.db.clone(), platform.config.retention, platform.shutdown.clone()),
        );
        Ok(())
    };
    let serve = async {
        let routes = Routes::new(MonitorServiceServer::new(api)).add_service(LetterServiceServer::new(letters));
        rpc::serve(&platform, routes).await.context("serving")
    };
    tokio::try_join!(events, dead, chores, serve)?;
    Ok(())
}
