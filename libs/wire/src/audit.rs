//! Entries of the audit log across gRPC.

use syncline_domain::audit::{Entry, Hash, Link};

use crate::identity::AuditEntry;

impl From<Link> for AuditEntry {
    fn from(link: Link) -> Self {
        let entry = link.entry;
        Self {
            seq: entry.seq,
            at_us: entry.at_us,
            request: entry.request,
            subject: entry.subject,
            role: entry.role,
            address: entry.address,
            method: entry.method,
            resource: entry.resource,
            connections: entry.connections,
            result: entry.result,
            code: entry.code,
            previous: link.previous.0.to_vec(),
            hash: link.hash.0.to_vec(),
        }
    }
}

/// A hash that came over the wire.
#[must_use]
pub fn hash(bytes: Vec<u8>) -> Option<Hash> {
    <[u8; 32]>::try_from(bytes).ok().map(Hash)
}

/// The entry in its place; nothing when a hash has not 32 bytes.
#[must_use]
pub fn link(entry: AuditEntry) -> Option<Link> {
    Some(Link {
        previous: hash(entry.previous)?,
        hash: hash(entry.hash)?,
        entry: Entry {
            seq: entry.seq,
            at_us: entry.at_us,
            request: entry.request,
            subject: entry.subject,
            role: entry.role,
            address: entry.address,
            method: entry.method,
            resource: entry.resource,
            connections: entry.connections,
            result: entry.result,
            code: entry.code,
        },
    })
}
