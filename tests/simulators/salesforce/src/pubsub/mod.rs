//! Change data capture and platform events over the Pub/Sub API (gRPC, Avro).
//!
//! Every committed transaction of a captured object becomes events in one log ([`capture`], [`log`]); subscriptions
//! read it under flow control ([`delivery`]). Each event is one Avro datum of a schema built from the org's describe
//! ([`event_schema`]), its header tells which fields changed ([`bitmap`]). Nothing is captured, and no write pays for
//! it, unless the org is configured with a bus.
//!
//! Start at [`bus::PubSub`]; calls enter in [`service`], tests interfere through [`control`].

pub mod bitmap;
pub mod bus;
pub mod capture;
pub mod config;
pub mod control;
pub mod delivery;
pub mod event;
pub mod event_schema;
pub mod faults;
pub mod log;
pub mod origin;
pub mod publish;
pub mod refusal;
pub mod server;
pub mod service;
pub mod text_diff;
pub mod topic;

/// Messages and service of `eventbus.v1`.
#[allow(clippy::all, clippy::pedantic, missing_docs, reason = "generated")]
pub mod proto {
    tonic::include_proto!("eventbus.v1");
}

pub use bus::PubSub;
pub use config::PubSubConfig;
