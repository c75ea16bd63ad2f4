//! Bodies on their way through: never gathered, only counted (requests) and given a proper end (responses).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use syncline_domain::ErrorCode;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;

use crate::route::Peer;

/// Set by a [`RequestBody`] that was cut off.
#[derive(Debug, Clone, Default)]
pub struct Overrun(Arc<AtomicBool>);

impl Overrun {
    #[must_use]
    pub fn happened(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A request's body that fails once it has grown over its limit.
pub struct RequestBody<B> {
    inner: B,
    left: usize,
    overrun: Overrun,
}

impl<B> RequestBody<B> {
    pub fn new(inner: B, bytes_max: usize, overrun: Overrun) -> Self {
        Self {
            inner,
            left: bytes_max,
            overrun,
        }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        match std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.data_ref().map_or(Some(this.left), |data| this.left.checked_sub(data.len())) {
                Some(left) => {
                    this.left = left;
                    Poll::Ready(Some(Ok(frame)))
                }
                None => {
                    this.overrun.0.store(true, Ordering::Release);
                    Poll::Ready(Some(Err("the request is too large".into())))
                }
            },
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    #[tokio::test]
    async fn a_body_of_exactly_the_limit_passes_and_one_byte_more_is_cut_off() {
        for (len, passes) in [(16, true), (17, false)] {
            let overrun = Overrun::default();
            let body = RequestBody::new(Full::new(Bytes::from(vec![1; len])), 16, overrun.clone());
            assert_eq!(body.collect().await.is_ok(), passes, "{len}");
            assert_eq!(overrun.happened(), !passes, "{len}");
        }
    }
}
