//! The same org over TLS: certificate and key from PEM files, HTTP/1.1 by ALPN.
//!
//! Handshakes run beside the accept loop, so a client that connects and says nothing holds
//! up nobody.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::web::listener::{ACCEPT_RETRY_MS, CutStream};

/// Longest a handshake may take.
const HANDSHAKE_SECS_MAX: u64 = 10;
/// Finished handshakes that wait for the server.
const HANDSHAKES_WAITING_MAX: usize = 64;

/// Where the org listens with TLS, and as whom.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Port on loopback; 0 picks a free one.
    pub port: u16,
    /// PEM file with the certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// Why TLS is not served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("reading {path}: {source}")]
    Pem {
        path: String,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("certificate and key: {0}")]
    Identity(#[from] rustls::Error),
}

/// The handshake's side of the configuration.
pub fn acceptor(config: &TlsConfig) -> Result<TlsAcceptor, TlsError> {
    let pem = |path: &PathBuf, source| TlsError::Pem {
        path: path.display().to_string(),
        source,
    };
    let chain = CertificateDer::pem_file_iter(&config.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| pem(&config.certificate, e))?;
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|e| pem(&config.key, e))?;
    let mut server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

/// Accepts TLS connections with a cutter each.
pub struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    /// Takes over a bound listener; its accept loop ends with this value.
    pub fn new(tcp: TcpListener, acceptor: TlsAcceptor) -> io::Result<Self> {
        let address = tcp.local_addr()?;
        let (sender, ready) = mpsc::channel(HANDSHAKES_WAITING_MAX);
        tokio::spawn(accept_all(tcp, acceptor, sender));
        Ok(Self { ready, address })
    }
}

async fn accept_all(tcp: TcpListener, acceptor: TlsAcceptor, ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>) {
    loop {
        let accepted = tokio::select! {
            accepted = tcp.accept() => accepted,
            () = ready.closed() => return,
        };
        let Ok((stream, address)) = accepted else {
            tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            let shake = tokio::time::timeout(Duration::from_secs(HANDSHAKE_SECS_MAX), acceptor.accept(stream));
            match shake.await {
                Ok(Ok(stream)) => {
                    let _ = ready.send((stream, address)).await;
                }
                Ok(Err(error)) => tracing::debug!(%address, %error, "TLS handshake refused"),
                Err(_) => tracing::debug!(%address, "TLS handshake timed out"),
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = CutStream<TlsStream<TcpStream>>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match self.ready.recv().await {
            Some((stream, address)) => (CutStream::new(stream), address),
            // The accept loop lives as long as this receiver.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
