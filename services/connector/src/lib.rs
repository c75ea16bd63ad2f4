//! Connections: who the systems are, the credentials for them, and for everybody else short-lived tokens, quota,
//! describes and the keys of runs.
//!
//! Guarantees: credentials lie sealed in this service's schema and nowhere else, and leave it only towards the system
//! they are for; one sign-in at a time per connection over all replicas, and a rotated refresh token is committed before
//! the access token that came with it is used; one quota and one
//! circuit breaker per connection. No secret or token is printed, logged or
//! part of an error. It must never read or write a record of a system.
//!
//! Consumes and publishes nothing on the bus. Owns `connection`, `credential`, `quota`, `describe` and `run_key`.
//! Idempotency keys: a connection's name (applying the same document and secrets again changes nothing), a run's id
//! (its keys are made once).
//!
//! Start with [`broker`], then [`api`].

pub mod api;
pub mod breakers;
pub mod broker;
pub mod describes;
pub mod document;
pub mod error;
pub mod quota;
pub mod rewrap;
pub mod run_keys;
pub mod secrets;
mod signin;
pub mod store;
pub mod systems;

use std::sync::Arc;

use anyhow::Context;
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use syncline_domain::spec::{ConnectionDocument, ConnectionSpec};
use syncline_domain::{ConnectionName, TenantId};
use syncline_runtime::keys::provider::{Kek, KeyProvider};
use syncline_runtime::{Config, Platform, rpc};
use syncline_wire::access::access_service_server::AccessServiceServer;
use syncline_wire::connection::breaker_service_server::BreakerServiceServer;
use syncline_wire::connection::connection_service_server::ConnectionServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::breakers::Breakers;
use crate::broker::Broker;
use crate::describes::Describes;
use crate::error::Error;
use crate::quota::Quotas;
use crate::run_keys::RunKeys;
use crate::systems::{Gate, System};

/// The schema of this service.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The gRPC services. Clones share everything.
#[derive(Debug, Clone)]
pub struct Connector {
    db: PgPool,
    tenant: TenantId,
    http: reqwest::Client,
    broker: Arc<Broker>,
    breakers: Breakers,
    quotas: Arc<Quotas>,
    describes: Arc<Describes>,
    run_keys: Arc<RunKeys>,
}

impl Connector {
    #[must_use]
    pub fn new(db: PgPool, tenant: TenantId, provider: Arc<dyn KeyProvider>, http: reqwest::Client) -> Self {
        let breakers = Breakers::new(db.clone(), tenant.clone());
        let broker = Broker::new(db.clone(), tenant.clone(), Arc::clone(&provider), http.clone(), breakers.clone());
        Self {
            broker: Arc::new(broker),
            quotas: Arc::new(Quotas::new(db.clone(), tenant.clone(), breakers.clone())),
            breakers,
            describes: Arc::new(Describes::new(db.clone(), tenant.clone())),
            run_keys: Arc::new(RunKeys::new(db.clone(), tenant.clone(), provider)),
            http,
            tenant,
            db,
        }
    }

    /// All services, ready to be served.
    #[must_use]
    pub fn routes(&self) -> Routes {
        Routes::new(ConnectionServiceServer::new(self.clone()))
            .add_service(AccessServiceServer::new(self.clone()))
            .add_service(BreakerServiceServer::new(self.clone()))
    }

    /// Waits for sign-ins under way, whose answers must not be lost.
    pub async fn stop(&self) {
        self.broker.stop().await;
    }

    /// Whether no sign-in is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.broker.is_idle()
    }

    async fn connection(&self, name: &ConnectionName) -> Result<(i64, ConnectionDocument), Error> {
        let row = store::connection_get(&self.db, &self.tenant, name).await?;
        let row = row.ok_or_else(|| Error::UnknownConnection(name.to_string()))?;
        Ok((row.version, broker::stored_document(name, &row.document)?))
    }

    fn system(&self, name: &ConnectionName, spec: &ConnectionSpec, gate: Gate) -> System {
        System::open(&self.broker, &self.quotas, &self.breakers, &self.http, name, spec, gate)
    }

    fn forget(&self, name: &ConnectionName) {
        self.broker.forget(name);
        self.quotas.forget(name);
        self.describes.forget(name);
    }
}

/// Runs the connector until `shutdown`.
///
/// # Errors
/// When NATS, PostgreSQL or a key is missing, or the address is taken.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let platform = Platform::start(config, Some(&MIGRATIONS), shutdown).await?;
    let provider = platform.keys.provider();
    for kek in Kek::ALL {
        provider.check(kek).await?;
    }
    let http = systems::http_client().context("the connector's HTTP client")?;
    let connector = Connector::new(platform.db.clone(), platform.config.tenant.clone(), provider, http);
    platform.spawn("circuit breakers' gauge", connector.breakers.clone().measure());
    let served = rpc::serve(&platform, connector.routes()).await;
    connector.stop().await;
    Ok(served?)
}
