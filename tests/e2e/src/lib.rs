//! The bench of the end-to-end tests: every service in one process, two simulated orgs, a way in, and a comparison.
//!
//! Guarantees: a [`Stack`] is the product as shipped: each service's own `run`, on a runtime of its own, over a real NATS
//! that no other stack shares (the stages' consumers are durable and one per server, so a second stack would take the
//! first one's invitations) and a fresh database. Tests talk to the gateway alone. What the orgs hold is judged over
//! their plain REST API by [`compare`], never by the ledger or the report.
//!
//! Start with [`World`].
#![allow(clippy::unwrap_used, clippy::expect_used)] // a broken bench should panic where it broke

pub mod compare;
mod door;
mod nats;
mod org;
mod stack;
pub mod sync;
mod world;

pub use door::Door;
pub use nats::PrivateNats;
pub use org::SimulatedOrg;
pub use stack::{Outlets, Stack, configuration, make_keys, port_block};
pub use world::{RUN_WAIT, World, assert_balanced, object};
