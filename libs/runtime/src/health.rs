//! Health by the gRPC Health Checking Protocol: *ready* (the service `readiness`, and the empty name) says that the servers
//! it needs are there; *alive* (`liveness`) says that the process works. A service that lost NATS or PostgreSQL is not
//! ready and not dead: it comes back by itself, and a restart would not bring its servers back.

use std::time::Duration;

use sqlx::PgPool;
use syncline_bus::Bus;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

pub const READINESS: &str = "readiness";
pub const LIVENESS: &str = "liveness";

const EVERY: Duration = Duration::from_secs(1);
/// A database that takes longer for `select 1` is not there.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Watches what a service needs until shutdown. To be run beside the server.
pub async fn watch(health: HealthReporter, service: &'static str, db: PgPool, bus: Option<Bus>, shutdown: CancellationToken) {
    set(&health, true).await;
    health.set_service_status(LIVENESS, ServingStatus::Serving).await;
    let mut missing: Option<&'static str> = None;
    while !shutdown.is_cancelled() {
        let now = missing_server(&db, bus.as_ref()).await;
        if now != missing {
            match now {
                Some(server) => tracing::warn!(service, server, "not ready: a server that is needed does not answer"),
                None => tracing::info!(service, "ready again"),
            }
            set(&health, now.is_none()).await;
            missing = now;
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    set(&health, false).await;
}

async fn set(health: &HealthReporter, ready: bool) {
    let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    health.set_service_status("", status).await;
    health.set_service_status(READINESS, status).await;
}

async fn missing_server(db: &PgPool, bus: Option<&Bus>) -> Option<&'static str> {
    if bus.is_some_and(|bus| !bus.is_connected()) {
        return Some("NATS");
    }
    let asked = tokio::time::timeout(ANSWER_MAX, sqlx::query("select 1").execute(db)).await;
    (!matches!(asked, Ok(Ok(_)))).then_some("PostgreSQL")
}
