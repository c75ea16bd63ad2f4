//! Whole answers in forms that careless clients trip over.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use http::header;

/// Passes the body on byte by byte, so that no chunk holds a whole line, character or compressed block.
pub fn trickle(reply: Response) -> Response {
    let (mut parts, body) = reply.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let bytes = body.into_data_stream().flat_map(|piece| {
        let pieces: Vec<_> = match piece {
            Ok(piece) => (0..piece.len()).map(|at| Ok::<Bytes, axum::Error>(piece.slice(at..=at))).collect(),
            Err(error) => vec![Err(error)],
        };
        futures::stream::iter(pieces)
    });
    Response::from_parts(parts, Body::from_stream(bytes))
}
