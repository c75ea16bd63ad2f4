//! REST: discovery, records, collections and queries.

pub mod allocations;
pub mod collections;
pub mod composite;
pub mod conditional;
pub mod cursor;
pub mod discovery;
pub mod files;
pub mod global;
pub mod listviews;
mod mixed;
pub mod query;
pub mod recent;
pub mod records;
mod render;
pub mod replication;
pub mod search;
pub mod sobjects;
pub mod tooling;
