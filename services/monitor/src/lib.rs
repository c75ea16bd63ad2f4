//! The monitor: progress, history, errors, reports and dead letters.
//!
//! - Consumes: EVENTS (durable, every tenant's facts) and DEAD.
//! - Publishes: nothing.
//! - Owns: the schema `monitor`: the history of facts, totals per run, object and stage, dead letters.
//! - Idempotency key: the digest of a fact's bytes; for dead letters (run, stage, batch, payload digest).
//!
//! Guarantees: facts may come twice, late and in any order, the books are the same (larger totals win; a status stands
//! by its version). A run's cursor only rises, so a watcher resumes behind the last one it saw. A dead letter is
//! acknowledged only once it is kept, sealed as it came. It never holds a record's value: facts carry names, codes,
//! counts and record ids only. Nothing depends on it: a run goes on while the monitor is away, and is booked later.
//!
//! Start with [`facts`], which books one fact, and [`report`], which reads the books.

pub mod api;
mod books;
pub mod error;
pub mod facts;
pub mod handler;
pub mod progress;
pub mod report;
pub mod resource;
pub mod store;
mod watch;

/// The monitor's tables.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
