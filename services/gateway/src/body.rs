//! An answer's body on its way through: never gathered, and given a proper end.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use syncline_domain::ErrorCode;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;

use crate::route::Peer;

/// A response's body that always ends with a status: a peer that dies in the middle, or a gateway that leaves, is told
/// as UNAVAILABLE instead of a torn connection.
pub struct ResponseBody {
    inner: Option<tonic::body::Body>,
    peer: Peer,
    leaving: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl ResponseBody {
    pub fn new(inner: tonic::body::Body, peer: Peer, leaving: WaitForCancellationFutureOwned) -> Self {
        Self {
            inner: Some(inner),
            peer,
            leaving: Box::pin(leaving),
        }
    }

    fn end(&mut self, message: String) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.inner = None;
        let status = syncline_wire::status::status(ErrorCode::Unreachable, message);
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        match Pin::new(inner).poll_frame(cx) {
            Poll::Ready(Some(Err(_))) => {
                let peer = self.peer;
                tracing::warn!(%peer, "a peer broke off its answer");
                self.end(format!("the {peer} service broke off its answer"))
            }
            Poll::Ready(other) => Poll::Ready(other),
            Poll::Pending => {
                std::task::ready!(self.leaving.as_mut().poll(cx));
                self.end("the gateway is stopping; ask again".to_owned())
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}
