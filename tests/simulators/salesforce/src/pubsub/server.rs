//! The port on which the bus answers.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::StreamExt;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};

use crate::org::OrgState;
use crate::pubsub::bus::PubSub;
use crate::pubsub::proto::pub_sub_server::PubSubServer;
use crate::pubsub::service::Service;
use crate::web::listener::CutStream;
use crate::web::tls::TlsConfig;

/// More than the service takes, so that it can refuse in its own words.
const REQUEST_BYTES_READ_MAX: usize = 64 * 1024 * 1024;

/// Listens on a port of loopback (0 for a free one) and serves until the runtime ends; call it inside one. With a
/// certificate the port speaks TLS only.
///
/// # Errors
/// When the port is taken, or certificate and key are none.
pub fn start(org: &Arc<OrgState>, bus: &Arc<PubSub>, port: u16, tls: Option<&TlsConfig>) -> std::io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = TcpListener::from_std(listener)?;
    let service = Service::new(Arc::clone(org), Arc::clone(bus));
    let service = PubSubServer::new(service).max_decoding_message_size(REQUEST_BYTES_READ_MAX);
    let mut server = Server::builder();
    if let Some(tls) = tls {
        let identity = Identity::from_pem(std::fs::read(&tls.certificate)?, std::fs::read(&tls.key)?);
        let tls = ServerTlsConfig::new().identity(identity);
        server = server.tls_config(tls).map_err(std::io::Error::other)?;
    }
    let router = server.add_service(service);
    let bus = Arc::clone(bus);
    let incoming = TcpListenerStream::new(listener).map(move |accepted| {
        let stream = accepted?;
        // Small answers must not wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let stream = CutStream::new(stream);
        bus.faults.connected(stream.cutter());
        Ok::<_, std::io::Error>(stream)
    });
    tokio::spawn(async move {
        if let Err(error) = router.serve_with_incoming(incoming).await {
            tracing::error!(%error, "the Pub/Sub port has closed");
        }
    });
    Ok(address)
}
