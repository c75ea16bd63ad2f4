//! gRPC: serving with health and reflection, calling with a bound on every wait, trace context on both sides.

use std::time::Duration;

use opentelemetry::propagation::{Extractor, Injector};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Server};
use tonic::{Request, Status};
use tonic_health::pb::health_server::{Health, HealthServer};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::platform::Platform;
use crate::{callers, health};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Describes of a large org take a while; streams are not bound by it.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Plans of large orgs hold every user's id twice.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Debug, Error)]
pub enum ServeError {
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: std::net::SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("the gRPC server failed")]
    Serve(#[from] tonic::transport::Error),
    #[error("the contracts cannot be reflected")]
    Reflection,
}

/// A channel that connects on first use. An address that is not one fails on first use.
///
/// # Errors
/// When certificate and key do not belong together.
pub fn channel(url: &str, tls: Option<ClientTlsConfig>) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap_or_else(|_| Endpoint::from_static("http://127.0.0.1:1"));
    let endpoint = match tls {
        Some(tls) => endpoint.tls_config(tls)?,
        None => endpoint,
    };
    let channel = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .connect_lazy();
    Ok(channel)
}

/// Serves until shutdown, with health and reflection added.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(platform: &Platform, routes: Routes) -> Result<(), ServeError> {
    let address = platform.config.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })?;
    let (reporter, health) = tonic_health::server::health_reporter();
    let watching = health::watch(
        reporter,
        platform.config.service,
        platform.db.clone(),
        Some(platform.bus.clone()),
        platform.shutdown.clone(),
    );
    let _watching = AbortOnDropHandle::new(tokio::spawn(watching));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(syncline_wire::DESCRIPTORS)
        .build_v1()
        .map_err(|_| ServeError::Reflection)?;
    let _probes = match platform.config.health_listen {
        Some(address) => Some(serve_health(address, health.clone()).await?),
        None => None,
    };
    let mut routes = routes.add_service(health).add_service(reflection);
    let mut server = Server::builder();
    if let Some(tls) = &platform.tls {
        server = server.tls_config(tls.server())?;
        routes = routes.into_axum_router().layer(axum::middleware::from_fn(callers::admit)).into();
    }
    tracing::info!(service = platform.config.service, %address, tls = platform.tls.is_some(), "ready");
    server
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .trace_fn(server_span)
        .add_routes(routes)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), platform.shutdown.clone().cancelled_owned())
        .await?;
    Ok(())
}

/// Answers health without TLS, and nothing else, until it is dropped.
///
/// # Errors
/// [`ServeError::Listen`].
pub async fn serve_health<H: Health>(address: std::net::SocketAddr, health: HealthServer<H>) -> Result<AbortOnDropHandle<()>, ServeError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })?;
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        let served = Server::builder()
            .add_service(health)
            .serve_with_incoming(TcpListenerStream::new(listener));
        if let Err(error) = served.await {
            tracing::error!(%error, %address, "health is no longer answered");
        }
    })))
}

fn server_span(request: &http::Request<()>) -> tracing::Span {
    let path = request.uri().path();
    // Probes come every few seconds and are about nothing.
    if path.starts_with("/grpc.health.") {
        return tracing::Span::none();
    }
    let span = tracing::info_span!("rpc", path);
    adopt(&span, request.headers());
    span
}

/// Makes a span the child of the context in a request's headers, if they carry one.
pub fn adopt(span: &tracing::Span, headers: &http::HeaderMap) {
    let context = opentelemetry::global::get_text_map_propagator(|p| p.extract(&HttpHeaders(headers)));
    // Fails only when the span is disabled by the filter.
    let _ = span.set_parent(context);
}

/// Writes the current span's context into a request's headers, in the place of any that is there.
pub fn inject(headers: &mut http::HeaderMap) {
    let context = tracing::Span::current().context();
    opentelemetry::global::get_text_map_propagator(|p| p.inject_context(&context, &mut HttpHeadersMut(headers)));
}

struct HttpHeadersMut<'a>(&'a mut http::HeaderMap);

impl Injector for HttpHeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (http::HeaderName::try_from(key), http::HeaderValue::try_from(value)) {
            self.0.insert(key, value);
        }
    }
}

struct HttpHeaders<'a>(&'a http::HeaderMap);

impl Extractor for HttpHeaders<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|v| v.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

struct Metadata<'a>(&'a mut MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), MetadataValue::try_from(value)) {
            self.0.insert(key, value);
        }
    }
}

/// Adds the current span's context to a call.
#[allow(clippy::result_large_err, reason = "tonic's interceptor has this signature")]
pub fn traced(mut request: Request<()>) -> Result<Request<()>, Status> {
    let context = tracing::Span::current().context();
    opentelemetry::global::get_text_map_propagator(|p| p.inject_context(&context, &mut Metadata(request.metadata_mut())));
    Ok(request)
}

/// A channel whose calls carry the trace.
pub type Traced = InterceptedService<Channel, fn(Request<()>) -> Result<Request<()>, Status>>;

/// Wraps a channel for a generated client: `XClient::new(with_trace(channel))`.
#[must_use]
pub fn with_trace(channel: Channel) -> Traced {
    InterceptedService::new(channel, traced)
}
