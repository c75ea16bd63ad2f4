//! A TCP listener whose connections a handler can cut, to script lost answers.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Pause after a failed accept (out of descriptors) before the next try.
pub(crate) const ACCEPT_RETRY_MS: u64 = 50;

/// Cuts the connection it belongs to at the next write.
#[derive(Clone, Default)]
pub struct Cutter(Arc<AtomicBool>);

impl Cutter {
    pub fn cut(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether its connection is gone.
    pub fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::ConnectionReset));
        }
        Ok(())
    }
}

/// Accepts connections with a [`Cutter`] each.
pub struct CutListener(pub TcpListener);

/// What a handler knows of the connection behind a request.
#[derive(Clone)]
pub struct Peer {
    pub cutter: Cutter,
    /// The client came over TLS.
    pub secure: bool,
}

/// A connection that can be cut.
pub struct CutStream<S> {
    inner: S,
    cutter: Cutter,
}

impl<S> CutStream<S> {
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            cutter: Cutter::default(),
        }
    }

    pub fn cutter(&self) -> Cutter {
        self.cutter.clone()
    }
}

/// The event bus knows nothing of the connection behind a call.
impl<S> tonic::transport::server::Connected for CutStream<S> {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl Listener for CutListener {
    type Io = CutStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok((inner, addr)) => {
                    // Small answers must not wait for an acknowledgement.
                    let _ = inner.set_nodelay(true);
                    return (CutStream::new(inner), addr);
                }
                Err(_) => {
                    tokio::time::sleep(std::time::Duration::from_millis(ACCEPT_RETRY_MS)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CutStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.cutter.check()?;
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CutStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.cutter.check()?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
