//! Coordinator: syncs, runs, and the state machine that drives them.
//!
//! Consumes: EVENTS (durable `events-coordinator`). Publishes: invitations to TASKS and status changes to EVENTS, through
//! its outbox. Owns: schema `coordinator` (syncs, runs). Idempotency: a run by its key; an event by the state machine
//! (`domain::run`), which knows what it has applied.
//!
//! It decides nothing itself: every decision is `domain::run::next`. [`shell`] applies one event in one transaction;
//! [`reconciler`] makes time pass, asks stages what they know, and so makes up for lost messages; [`losses`] for lost batches;
//! [`reopening`] takes a run that ended with errors back to work.

pub mod api;
mod held_back;
mod left;
mod losses;
pub mod reconciler;
pub mod reopening;
pub mod shell;
pub mod store;

use syncline_runtime::{Config, Platform, rpc};
use syncline_wire::run::reopen_service_server::ReopenServiceServer;
use syncline_wire::run::run_control_service_server::RunControlServiceServer;
use syncline_wire::run::run_service_server::RunServiceServer;
use syncline_wire::sync::sync_service_server::SyncServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// The schema `coordinator`.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Runs the coordinator until shutdown.
///
/// # Errors
/// When it cannot start or its server fails.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let platform = Platform::start(config, Some(&MIGRATIONS), shutdown).await?;
    platform.spawn("reconciler", reconciler::run(platform.clone()));
    let events = platform.clone();
    platform.spawn("events", async move {
        let handle = |event| shell::handle(events.clone(), event);
        if let Err(error) = events.bus.run_events("coordinator", events.shutdown.clone(), handle).await {
            tracing::error!(%error, "events can no longer be read");
            events.shutdown.cancel();
        }
    });
    let syncs = SyncServiceServer::new(api::syncs::Syncs::new(&platform));
    let runs = RunServiceServer::new(api::runs::Runs::new(&platform));
    let control = RunControlServiceServer::new(api::control::Control::new(&platform));
    let reopening = ReopenServiceServer::new(api::reopening::Reopening::new(&platform));
    let routes = Routes::new(syncs).add_service(runs).add_service(control).add_service(reopening);
    rpc::serve(&platform, routes).await?;
    Ok(())
}
