//! What it takes to test one service in-process: its platform on servers of its own names, scripted peers, plans.
//!
//! Guarantees: every [`Bench`] has a database, keys, a tenant and a run that nobody else has, and removes from the bus
//! what its run left there. [`Peers`] speak the contracts of the services that are called, over real gRPC, and say what
//! the test told them to. The services themselves are the real ones; a test drives them by their own types.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a broken test bench should panic where it broke

mod bench;
mod bus;
mod peers;
mod plans;

pub use bench::{Bench, DIGEST_KEY, MASK_KEY};
pub use bus::Stored;
pub use peers::{Peers, Script};
pub use plans::{field, masked, object, plan};
