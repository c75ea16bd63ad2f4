//! The contracts of `proto/` as Rust types, and what it takes to cross between them and the domain.
//!
//! Guarantees: one module per proto package, generated at build time; [`DESCRIPTORS`] holds the same contracts for
//! reflection. [`status`] is the only place where a catalogue code becomes a gRPC status and back.

pub mod audit;
pub mod caller;
pub mod page;
pub mod status;
pub mod time;

/// The encoded `FileDescriptorSet` of every contract, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

macro_rules! area {
    ($name:ident, $package:literal) => {
        #[allow(clippy::all, clippy::pedantic, missing_docs)]
        pub mod $name {
            tonic::include_proto!($package);
        }
    };
}

area!(sync, "syncline.sync.v1");
area!(run, "syncline.run.v1");
area!(connection, "syncline.connection.v1");
area!(access, "syncline.access.v1");
area!(analysis, "syncline.analysis.v1");
area!(stage, "syncline.stage.v1");
area!(event, "syncline.event.v1");
area!(monitor, "syncline.monitor.v1");
area!(identity, "syncline.identity.v1");
