//! REST: discovery, records, collections and queries.

pub mod collections;
pub mod composite;
pub mod conditional;
pub mod cursor;
pub mod discovery;
pub mod query;
pub mod records;
mod render;
