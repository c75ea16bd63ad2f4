//! Bulk API 2.0 in both directions.

pub mod hold;
pub mod ingest;
pub mod list;
pub mod paging;
pub mod query;
mod quoting;
pub mod rows;
