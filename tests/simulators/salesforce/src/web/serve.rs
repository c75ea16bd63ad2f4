//! Serves connections over HTTP/1.1 with header names in the case a real org writes them.
//!
//! Names are case-insensitive, yet clients in the field look some of them up as written
//! (`Content-Type`, `Sforce-Locator`), and behave differently when they are lower-case.

use axum::Extension;
use axum::Router;
use axum::extract::connect_info::ConnectInfo;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::web::listener::{CutStream, Peer};

/// Accepts until it is dropped; `secure` is what handlers learn of their peer.
pub async fn serve<L, S>(mut listener: L, secure: bool, app: Router)
where
    L: Listener<Io = CutStream<S>>,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await;
        let peer = Peer {
            cutter: stream.cutter(),
            secure,
        };
        let service = TowerToHyperService::new(app.clone().layer(Extension(ConnectInfo(peer))));
        // Ends with its client or with the runtime.
        tokio::spawn(async move {
            let mut server = http1::Builder::new();
            server.title_case_headers(true).timer(TokioTimer::new());
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}
