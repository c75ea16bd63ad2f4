//! A Salesforce org for tests, demos and benchmarks.
//!
//! It answers as an org does: OAuth, describe, SOQL, records, collections, Bulk API 1.0 and 2.0 in
//! both directions, limits, row rules, and faults on request. It shares no code with the
//! connector it helps to test and knows nothing of what that connector expects; what it
//! does comes from the public API documentation and from captured describes.
//!
//! Start at [`org::Org::start`]; requests enter in `web::http`, rows are written in `store::rules`.
#![recursion_limit = "256"]

pub mod allocation;
pub mod auth;
pub mod bulk1;
pub mod bulk2;
pub mod clock;
pub mod limits;
pub mod org;
pub mod pubsub;
pub mod rest;
pub mod schema;
pub mod seed;
pub mod soap;
pub mod soql;
pub mod store;
pub mod web;

pub use org::{Org, OrgConfig, RunningOrg, StartError};
pub use seed::Flavour;

/// The row sets shipped with the simulator, e.g. `data_dir().join("rows/synthetic-b2b")`.
pub fn data_dir() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}
