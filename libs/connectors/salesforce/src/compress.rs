//! Bodies of requests: of known length, gzipped where that pays.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header;
use http_body::{Frame, SizeHint};
use syncline_connect::ConnectError;
use syncline_domain::ErrorCode;

/// CSV shrinks to a fifth at the fastest level; slower ones save little more.
const LEVEL: u32 = 1;

/// Sets a body. A gzipped one is made before it is sent, so its length is known and the server need not take chunks.
pub(crate) async fn attach(
    builder: reqwest::RequestBuilder,
    chunks: Vec<Bytes>,
    zip: bool,
) -> Result<reqwest::RequestBuilder, ConnectError> {
    if !zip {
        return Ok(builder.body(reqwest::Body::wrap(Chunks::new(chunks))));
    }
    // Some milliseconds per megabyte: too long for a thread that others' requests wait for.
    let zipped = tokio::task::spawn_blocking(move || gzip(&chunks))
        .await
        .ok()
        .flatten()
        .ok_or_else(|| ConnectError::new(ErrorCode::Internal, "a request could not be compressed"))?;
    Ok(builder.header(header::CONTENT_ENCODING, "gzip").body(zipped))
}

fn gzip(chunks: &[Bytes]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
    for chunk in chunks {
        encoder.write_all(chunk).ok()?;
    }
    encoder.finish().ok()
}

/// A body of known length over chunks that are already in memory.
struct Chunks {
    left: std::vec::IntoIter<Bytes>,
    bytes: u64,
}

impl Chunks {
    fn new(chunks: Vec<Bytes>) -> Self {
        Self {
            bytes: chunks.iter().map(|c| c.len() as u64).sum(),
            left: chunks.into_iter(),
        }
    }
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let chunk = self.left.find(|c| !c.is_empty());
        if let Some(chunk) = &chunk {
            self.bytes -= chunk.len() as u64;
        }
        Poll::Ready(chunk.map(|c| Ok(Frame::data(c))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes)
    }
}
