//! Health by the gRPC Health Checking Protocol: *ready* (the service `readiness`, and the empty name) says that the servers
//! it needs are there; *alive* (`liveness`) says that the process works. A service that lost NATS or PostgreSQL is not
//! ready and not dead: it comes back by itself, and a restart would not bring its servers back.

use std::time::Duration;

use sqlx::PgPool;
use syncline_bus::Bus;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::metrics;
use crate::usage::ProcessUsage;

pub const READINESS: &str = "readiness";
pub const LIVENESS: &str = "liveness";

const EVERY: Duration = Duration::from_secs(1);
/// Rounds between two looks at what changes slowly.
const MEASURED_EVERY: u64 = 10;
/// A database that takes longer for `select 1` is not there.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Watches what a service needs until shutdown. To be run beside the server.
pub async fn watch(health: HealthReporter, service: &'static str, db: PgPool, bus: Option<Bus>, shutdown: CancellationToken) {
    set(&health, true).await;
    health.set_service_status(LIVENESS, ServingStatus::Serving).await;
    let mut missing: Option<&'static str> = None;
    let mut lost: Option<String> = None;
    for round in 0_u64.. {
        if shutdown.is_cancelled() {
            break;
        }
        if round.is_multiple_of(MEASURED_EVERY) {
            measure(service, &db).await;
            if let Some(bus) = &bus
                && lost.is_none()
                && bus.is_connected()
            {
                lost = tokio::time::timeout(ANSWER_MAX, bus.lost_stream()).await.unwrap_or_default();
                if let Some(stream) = &lost {
                    tracing::error!(
                        service,
                        stream,
                        "a stream of NATS is gone, so its store was lost: `syncline migrate` makes it again, then this service has to be started anew"
                    );
                    health.set_service_status(LIVENESS, ServingStatus::NotServing).await;
                }
            }
        }
        let now = match &lost {
            Some(_) => Some("a stream of NATS"),
            None => missing_server(&db, bus.as_ref()).await,
        };
        if now != missing {
            match now {
                Some(server) => tracing::warn!(service, server, "not ready: a server that is needed does not answer"),
                None => tracing::info!(service, "ready again"),
            }
            set(&health, now.is_none()).await;
            missing = now;
        }
        metrics::set(
            metrics::SERVICE_READY,
            if now.is_none() { 1.0 } else { 0.0 },
            &[("service", service)],
        );
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    set(&health, false).await;
}

/// What a service's own servers and process look like.
async fn measure(service: &'static str, db: &PgPool) {
    let label = [("service", service)];
    let used = f64::from(db.size()) - db.num_idle() as f64;
    metrics::set(metrics::DATABASE_CONNECTIONS, used.max(0.0), &label);
    let usage = ProcessUsage::now();
    metrics::set(metrics::PROCESS_MEMORY, usage.peak_memory_bytes as f64, &label);
    metrics::set(metrics::PROCESS_CPU, usage.cpu_seconds, &label);
    let oldest = sqlx::query_scalar("select coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8 from outbox");
    if let Ok(Ok(age)) = tokio::time::timeout(ANSWER_MAX, oldest.fetch_one(db)).await {
        metrics::set(metrics::OUTBOX_AGE, age, &label);
    }
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
