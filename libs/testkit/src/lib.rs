//! Development only: real NATS, real PostgreSQL and controlled faults for the tests of every other crate.
//!
//! Guarantees: a test that asks for a server gets a real one, durable like production, or fails loudly; tests share
//! servers but never names ([`TestDatabase`], [`TestPrefix`]); waiting is polling with a deadline that reports the last
//! state seen ([`eventually`]), never a sleep.
//!
//! It must never be a dependency of shipped code, and holds no mocks: what is faked (a dead link, a slow network, a
//! killed process) is faked outside the code under test, by [`FaultProxy`] and [`Process`].
//!
//! Start with [`servers`]. `make test` starts servers once and names them in `SYNCLINE_NATS_URL` and
//! `SYNCLINE_DATABASE_URL`; a bare `cargo test` starts shared ones itself, which later runs reuse and `make down-tests` stops.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a broken test bench should panic where it broke

mod database;
mod eventually;
mod ports;
mod prefix;
mod private_nats;
mod process;
mod proxy;
mod servers;

pub use database::TestDatabase;
pub use eventually::eventually;
pub use ports::free_port;
pub use prefix::{TestPrefix, prefix};
pub use private_nats::PrivateNats;
pub use process::{Process, send_signal};
pub use proxy::FaultProxy;
pub use servers::{Servers, nats_options, servers};
