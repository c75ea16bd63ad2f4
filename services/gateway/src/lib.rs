//! The only public door: authenticates a caller, then passes the call to the service that has it, by its path alone.
//!
//! Guarantees: nothing but health is answered without the API token; only the services of [`route::ROUTES`] can be
//! reached, never those that hand tokens, keys or plans to stages; messages pass in both directions as they come,
//! trailers and statuses unchanged; a peer that is down or dies in the middle is a gRPC status that names it.
//! It must never look into a message, keep state, or need the bus or the database.
//!
//! Consumes and publishes nothing on the bus, owns no table, needs no idempotency key: a call that is sent twice
//! reaches the peer twice.
//!
//! Start with [`route`], then [`proxy`]. TLS, roles and REST come in at [`Gateway::serve`], [`route::Access`] and the
//! router of [`Gateway::router`].

pub mod body;
pub mod proxy;
pub mod route;
pub mod token;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use secrecy::SecretString;
use syncline_domain::ErrorCode;
use syncline_runtime::Config;
use syncline_wire::status::status;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::transport::server::TcpIncoming;

use crate::route::{Access, Peer, ROUTES};
use crate::token::ApiToken;

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
    #[error("the contracts could not be read for reflection")]
    Reflection(#[source] tonic_reflection::server::Error),
    #[error("the gateway stopped serving")]
    Serve(#[source] tonic::transport::Error),
}

/// The door: who may pass, and the ways that lead on.
#[derive(Debug)]
pub struct Gateway {
    token: ApiToken,
    channels: BTreeMap<Peer, Channel>,
    /// Cancelled when open streams shall end.
    leaving: CancellationToken,
}

impl Gateway {
    /// `connect` makes the channel of each peer; it must not wait for the peer to be up.
    ///
    /// # Errors
    /// [`Error::NoToken`].
    pub fn new(token: Option<&SecretString>, connect: impl Fn(Peer) -> Channel) -> Result<Self, Error> {
        Ok(Self {
            token: token.and_then(ApiToken::new).ok_or(Error::NoToken)?,
            channels: Peer::ALL.into_iter().map(|peer| (peer, connect(peer))).collect(),
            leaving: CancellationToken::new(),
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
        own.into_axum_router()
            .fallback_service(Router::new().fallback(proxy::forward).with_state(Arc::clone(self)))
            .layer(from_fn_with_state(Arc::clone(self), authenticate))
    }

    /// Serves until `shutdown`, then lets open calls finish for a moment.
    ///
    /// # Errors
    /// [`Error::Reflection`] and [`Error::Serve`].
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), Error> {
        let (health, health_service) = tonic_health::server::health_reporter();
        let own = Routes::new(health_service).add_service(reflection()?);
        let leaving = self.leaving();
        let router = Arc::new(self).router(own);
        let stop = {
            let shutdown = shutdown.clone();
            async move {
                shutdown.cancelled().await;
                health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
            }
        };
        let serving = tonic::transport::Server::builder()
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
        tokio::select! {
            served = serving => served.map_err(Error::Serve),
            () = deadline => Ok(()),
        }
    }
}

/// Lets nobody pass who may not.
async fn authenticate(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    match route::access_of(request.uri().path()) {
        Access::Anybody => {}
        Access::Authenticated => {
            if let Err(refusal) = gateway.token.admit(request.headers()) {
                return status(ErrorCode::Credentials, refusal.to_string()).into_http();
            }
        }
    }
    next.run(request).await
}

/// Reflection over the public services; internal ones are not listed.
fn reflection() -> Result<tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection>, Error>
{
    let mut builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(syncline_wire::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(route::HEALTH);
    for (service, _) in ROUTES {
        builder = builder.with_service_name(*service);
    }
    builder.build_v1().map_err(Error::Reflection)
}

/// Runs the gateway until `shutdown`.
///
/// # Errors
/// [`Error`].
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let gateway = Gateway::new(config.gateway_token.as_ref(), |peer| {
        syncline_runtime::rpc::channel(config.peers.url(peer.name()))
    })?;
    let address = config.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen { address, source })?;
    tracing::info!(service = "gateway", %address, "ready");
    gateway.serve(listener, shutdown).await?;
    Ok(())
}
