//! Bulk API 2.0 in both directions.

pub mod ingest;
pub mod query;
pub mod rows;
