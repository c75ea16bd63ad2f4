//! What every connector offers: [`Source`] and [`Target`], over an [`Access`] that somebody else keeps valid.
//!
//! The traits are contracts. A method either did what it says or returns a [`ConnectError`] whose catalogue code tells
//! whether trying again may help; 'not known what became of it' is never reported as success. No error text holds a
//! record's value. Connectors own retries of single requests (the policy is in [`retry`]); the stages own everything
//! that spans requests.
//!
//! Start with [`source`] and [`target`].

pub mod access;
pub mod digest;
pub mod error;
pub mod retry;
pub mod schema;
pub mod source;
pub mod target;

pub use access::{Access, AccessToken, Sign, Usage};
pub use digest::RowDigester;
pub use error::ConnectError;
pub use source::{Generation, GenerationState, Hints, OrgInfo, OrgKind, Page, Query, Source};
pub use target::{Column, JobState, JobStatus, Nulls, Operation, ResultKind, ResultRow, Target};
