//! The port on which the bus answers.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};

use crate::org::OrgState;
use crate::pubsub::bus::PubSub;
use crate::pubsub::proto::pub_sub_server::PubSubServer;
use crate::pubsub::service::Service;

/// Largest request, the service's hard limit.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Listens and serves until the runtime ends; call it inside one. With a certificate the port speaks TLS only.
///
/// # Errors
/// When the port is taken, or certificate and key are none.
pub fn start(org: Arc<OrgState>, bus: Arc<PubSub>) -> std::io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", bus.config.port))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = TcpListener::from_std(listener)?;
    let tls = bus.config.tls.clone();
    let service = PubSubServer::new(Service::new(org, bus)).max_decoding_message_size(REQUEST_BYTES_MAX);
    let mut server = Server::builder().tcp_nodelay(true);
    if let Some(tls) = tls {
        let identity = Identity::from_pem(tls.certificate, tls.key);
        server = server
            .tls_config(ServerTlsConfig::new().identity(identity))
            .map_err(std::io::Error::other)?;
    }
    let router = server.add_service(service);
    tokio::spawn(async move {
        if let Err(error) = router.serve_with_incoming(TcpListenerStream::new(listener)).await {
            tracing::error!(%error, "the Pub/Sub port has closed");
        }
    });
    Ok(address)
}
