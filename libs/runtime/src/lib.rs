//! What every service is made of.
//!
//! Guarantees: configuration comes from the environment and is checked once; a service starts only against servers that
//! are new enough; whoever holds a lease is the only one to commit for a task ([`lease`]); a message that belongs to a
//! transaction is sent if and only if the transaction commits ([`outbox`]); everything spawned is named and stops at
//! shutdown. It must not know what a service does.
//!
//! Start with [`Platform`] and [`worker`].

pub mod access;
mod callers;
pub mod config;
mod database;
pub mod entry;
pub mod failpoint;
pub mod health;
pub mod inspection;
pub mod keys;
pub mod lease;
pub mod letters;
pub mod metrics;
pub mod outbox;
pub mod panics;
pub mod plans;
mod platform;
pub mod progress;
pub mod rpc;
pub mod telemetry;
pub mod tls;
pub mod usage;
pub mod worker;

pub use config::Config;
pub use database::database;
pub use entry::main;
pub use keys::Keys;
pub use lease::{Lease, TaskId};
pub use platform::{Peers, Platform, StartError};
pub use worker::{Outcome, StageError};
