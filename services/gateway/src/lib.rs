//! The only public door: recognises a caller, sees what they may, records it, and passes the call to the service that has
//! it, by its path alone.
//!
//! Guarantees: nothing but health is answered without a token; only the methods of [`route::SERVICES`] can be called, each
//! from its least role on; no change is passed on that is not in the audit log; a caller who sends too much is refused
//! and nobody else feels it; messages pass in both directions as they come, trailers and statuses unchanged; a peer that
//! is down or dies in the middle is a gRPC status that names it. It must never look into a message beyond the name of
//! what it is about, and does not need the bus.
//!
//! Consumes and publishes nothing on the bus. Owns schema `gateway` (tokens, audit log). Idempotency: a call that is sent
//! twice reaches the peer twice; a token's and an entry's id.
//!
//! Start with [`route`], then [`door`] and [`proxy`].

pub mod api;
pub mod audit;
pub mod body;
pub mod config;
pub mod door;
pub mod identify;
pub mod oidc;
pub mod proxy;
mod request;
pub mod rest;
pub mod route;
pub mod store;
pub mod throttle;
mod tls;
pub mod token;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use secrecy::SecretString;
use sqlx::PgPool;
use syncline_runtime::tls::{Tls, TlsError};
use syncline_runtime::{Config, StartError, rpc};
use syncline_wire::identity::audit_service_server::AuditServiceServer;
use syncline_wire::identity::token_service_server::TokenServiceServer;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::transport::server::TcpIncoming;

use crate::audit::Auditor;
use crate::config::GatewayConfig;
use crate::identify::Identities;
use crate::oidc::Oidc;
use crate::route::{Peer, SERVICES};
use crate::throttle::Throttle;
use crate::token::BootstrapToken;

/// The schema `gateway`.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Calls that one client connection may have open at once; more wait at the client.
const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// All headers of a request together.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_WAIT: Duration = Duration::from_secs(20);
/// When stopping: calls may go on this long, then streams are ended with a status ...
const STREAM_GRACE: Duration = Duration::from_secs(2);
/// ... and whatever is still open this much later is dropped.
const CLOSE_GRACE: Duration = Duration::from_secs(3);
/// How long entries of the audit log are still written after the last call.
const AUDIT_GRACE: Duration = Duration::from_secs(5);

/// Why the gateway does not start or stopped.
#[derive(Debug, Error)]
pub enum Error {
    #[error(
        "SYNCLINE_GATEWAY_TOKEN is not set, empty, or holds a character that no header can carry: the gateway does not start without an API token; generate one with `openssl rand -hex 32`"
    )]
    NoToken,
    #[error("the gateway cannot listen on {address}")]
    Listen {
        address: std::net::SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "{0} is not a loopback address and the gateway has no certificate: set SYNCLINE_GATEWAY_TLS_CERT and SYNCLINE_GATEWAY_TLS_KEY, or SYNCLINE_GATEWAY_PLAINTEXT=allow where something in front ends TLS"
    )]
    Plaintext(std::net::SocketAddr),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("no HTTP client can be made for the OIDC issuer")]
    Oidc(#[source] reqwest::Error),
    #[error("the contracts could not be read for reflection")]
    Reflection(#[source] tonic_reflection::server::Error),
    #[error("health cannot be answered")]
    Health(#[source] rpc::ServeError),
    #[error("the gateway stopped serving")]
    Serve(#[source] tonic::transport::Error),
}

/// The door: who may pass, and the ways that lead on.
#[derive(Debug)]
pub struct Gateway {
    db: PgPool,
    identities: Arc<Identities>,
    throttle: Throttle,
    auditor: Auditor,
    /// Ends, with every entry written, once nobody can record any more.
    writer: Option<tokio::task::JoinHandle<()>>,
    channels: BTreeMap<Peer, Channel>,
    tls: Option<tonic::transport::ServerTlsConfig>,
    /// Where health is answered without TLS as well.
    health_listen: Option<std::net::SocketAddr>,
    /// Cancelled when open streams shall end.
    leaving: CancellationToken,
}

impl Gateway {
    /// `db` has the schema of [`MIGRATIONS`]; `connect` makes the channel of each peer and must not wait for the peer to
    /// be up.
    ///
    /// # Errors
    /// [`Error::NoToken`], [`Error::Tls`], [`Error::Oidc`].
    pub fn new(config: &GatewayConfig, token: Option<&SecretString>, db: PgPool, connect: impl Fn(Peer) -> Channel) -> Result<Self, Error> {
        let bootstrap = token.and_then(BootstrapToken::new).ok_or(Error::NoToken)?;
        let oidc = config.oidc.clone().map(Oidc::new).transpose().map_err(Error::Oidc)?;
        let (auditor, writer) = Auditor::start(db.clone());
        Ok(Self {
            identities: Arc::new(Identities::new(db.clone(), bootstrap, oidc)),
            throttle: Throttle::new(config.requests_per_second),
            auditor,
            writer: Some(writer),
            channels: Peer::ALL.into_iter().map(|peer| (peer, connect(peer))).collect(),
            tls: config.tls.as_ref().map(tls::read).transpose()?,
            health_listen: None,
            leaving: CancellationToken::new(),
            db,
        })
    }

    pub(crate) fn channel(&self, peer: Peer) -> Channel {
        self.channels.get(&peer).expect("`new` makes a channel for every peer").clone()
    }

    pub(crate) fn leaving(&self) -> CancellationToken {
        self.leaving.clone()
    }

    /// Everything the gateway answers.
    fn router(self: &Arc<Self>, own: Routes) -> Router {
        let calls = own
            .into_axum_router()
            .fallback_service(Router::new().fallback(proxy::forward).with_state(Arc::clone(self)))
            .layer(from_fn_with_state(Arc::clone(self), door::pass));
        // In a router of its own, so that a translated request is routed by its new path.
        Router::new()
            .fallback_service(calls)
            .layer(axum::middleware::from_fn(rest::translate))
    }

    /// Serves until `shutdown`, then lets open calls finish for a moment.
    ///
    /// # Errors
    /// [`Error::Reflection`] and [`Error::Serve`].
    pub async fn serve(mut self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), Error> {
        let (health, health_service) = tonic_health::server::health_reporter();
        let watching = syncline_runtime::health::watch(health, "gateway", self.db.clone(), None, shutdown.clone());
        let _watching = AbortOnDropHandle::new(tokio::spawn(watching));
        let _probes = match self.health_listen {
            Some(address) => Some(rpc::serve_health(address, health_service.clone()).await.map_err(Error::Health)?),
            None => None,
        };
        let tokens = api::tokens::Tokens {
            db: self.db.clone(),
            identities: Arc::clone(&self.identities),
        };
        let own = Routes::new(health_service)
            .add_service(reflection()?)
            .add_service(TokenServiceServer::new(tokens))
            .add_service(AuditServiceServer::new(api::audit::Audit { db: self.db.clone() }));
        let (tls, writer) = (self.tls.take(), self.writer.take());
        let leaving = self.leaving();
        let router = Arc::new(self).router(own);
        let stop = shutdown.clone().cancelled_owned();
        let mut server = tonic::transport::Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).map_err(Error::Serve)?;
        }
        let serving = server
            // For REST: scripts speak HTTP/1.1.
            .accept_http1(true)
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .http2_max_header_list_size(HEADER_BYTES_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_WAIT))
            .add_routes(router.into())
            .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), stop);
        let deadline = async {
            shutdown.cancelled().await;
            tokio::time::sleep(STREAM_GRACE).await;
            leaving.cancel();
            tokio::time::sleep(CLOSE_GRACE).await;
        };
        let served = tokio::select! {
            served = serving => served.map_err(Error::Serve),
            () = deadline => Ok(()),
        };
        // Whoever could record is gone; what they recorded is written now.
        if let Some(writer) = writer
            && tokio::time::timeout(AUDIT_GRACE, writer).await.is_err()
        {
            tracing::error!("the audit log could not be written to its end before the gateway stopped");
        }
        served
    }
}

/// Reflection over the public services; internal ones are not listed.
fn reflection() -> Result<tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection>, Error>
{
    let mut builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(syncline_wire::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(route::HEALTH);
    for service in SERVICES {
        builder = builder.with_service_name(service.name);
    }
    builder.build_v1().map_err(Error::Reflection)
}

/// Runs the gateway until `shutdown`.
///
/// # Errors
/// [`Error`].
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let settings = GatewayConfig::from_env()?;
    let address = config.listen;
    if settings.tls.is_none() && !settings.plaintext && !address.ip().is_loopback() {
        return Err(Error::Plaintext(address).into());
    }
    let db = syncline_runtime::database(&config, Some(&MIGRATIONS)).await?;
    let tls = config.tls.as_ref().map(Tls::load).transpose()?;
    let mut channels = BTreeMap::new();
    for peer in Peer::ALL {
        let client = tls.as_ref().map(|tls| tls.client(peer.name()));
        let channel = rpc::channel(config.peers.url(peer.name()), client).map_err(StartError::Identity)?;
        channels.insert(peer, channel);
    }
    let mut gateway = Gateway::new(&settings, config.gateway_token.as_ref(), db, |peer| {
        channels.get(&peer).expect("every peer has one").clone()
    })?;
    gateway.health_listen = config.health_listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen { address, source })?;
    tracing::info!(service = "gateway", %address, "ready");
    gateway.serve(listener, shutdown).await?;
    Ok(())
}
