//! The bus: streams, subjects, the publisher and the runners that deliver.
//!
//! Guarantees: every stream is bounded and blocks instead of dropping (except EVENTS, which ages); only the runners here
//! acknowledge, after a handler has said what happened; a message that a handler still works on is kept alive every
//! third of the ack wait. Messages are hints: nothing here is the only record of anything, except batches, whose names
//! stand in the extractor's table before they are published.
//!
//! Why this way: ARCHITECTURE.md, "Streams". Start with [`Bus`], then [`subjects`], [`batches`] and [`runner`].

pub mod batches;
mod bus;
mod error;
pub mod inspection;
mod keep_alive;
pub mod permissions;
mod pull;
pub mod runner;
pub mod streams;
pub mod subjects;
pub mod trace;

pub use batches::{BatchConsumer, Delivery, GroupLimits, RunOnce};
pub use bus::{Bus, BusConfig, BusTls, kind as event_kind};
pub use error::BusError;
pub use runner::{DeadLetter, Handled, Runner};
pub use subjects::Audience;
