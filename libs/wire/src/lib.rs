//! The contracts of `proto/` as Rust types, and what it takes to cross between them and the domain.
//!
//! Guarantees: one module per proto package, generated at build time; [`DESCRIPTORS`] holds the same contracts for
//! reflection. [`status`] is the only place where a catalogue code becomes a gRPC status and back.

pub mod audit;
pub mod breaker;
pub mod caller;
pub mod page;
pub mod retry;
pub mod status;
pub mod time;

/// The encoded `FileDescriptorSet` of every contract, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

// Nested as their packages are, which is how generated code names a message of another package.
macro_rules! areas {
    ($($name:ident $package:literal)*) => {
        mod syncline {
            $(
                pub mod $name {
                    #[allow(clippy::all, clippy::pedantic, missing_docs)]
                    pub mod v1 {
                        tonic::include_proto!($package);
                    }
                }
            )*
        }
        $( pub use syncline::$name::v1 as $name; )*
    };
}

areas! {
    sync "syncline.sync.v1"
    run "syncline.run.v1"
    connection "syncline.connection.v1"
    access "syncline.access.v1"
    analysis "syncline.analysis.v1"
    stage "syncline.stage.v1"
    event "syncline.event.v1"
    monitor "syncline.monitor.v1"
    identity "syncline.identity.v1"
}
