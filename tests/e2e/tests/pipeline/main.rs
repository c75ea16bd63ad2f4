//! The whole product, end to end: real NATS, real PostgreSQL, two simulated orgs, the API's door.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod copying;
mod faults;
mod misuse;
mod outages;
mod persons;
mod refusals;
mod restoring;
mod steering;
mod upgrade;
