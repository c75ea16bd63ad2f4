//! Who asks, and by which way the request came.

use http::{HeaderMap, header};

use crate::web::listener::Peer;

/// The other end of a request; subrequests share it with the call that carries them.
#[derive(Clone)]
pub struct Caller {
    /// Scheme and host by which the client reached the org: its own URLs begin so, since
    /// clients behind a proxy know it by another host than it listens on.
    pub base: String,
}

impl Caller {
    /// `own_url` stands in where the client names no usable host.
    pub fn new(peer: &Peer, headers: &HeaderMap, own_url: &str) -> Self {
        let is_host = |host: &&str| !host.is_empty() && host.bytes().all(|c| c.is_ascii_alphanumeric() || b".-:[]".contains(&c));
        let host = headers.get(header::HOST).and_then(|v| v.to_str().ok()).filter(is_host);
        let base = match host {
            Some(host) => format!("{}://{host}", if peer.secure { "https" } else { "http" }),
            None => own_url.to_owned(),
        };
        Self { base }
    }
}
