//! The words of Syncline as types, and its decisions as pure functions.
//!
//! Guarantees: nothing here does IO, reads a clock or draws randomness; every decision is a function
//! from data to data, so it can be tested by walking its inputs. It must not depend on tokio, sqlx,
//! NATS or tonic.
//!
//! Start with [`run`] (the state machine of a run), [`spec`] (what users write), [`plan`] (what the
//! analyzer derives) and [`catalogue`] (every error that has a code).

pub mod audit;
pub mod batch_name;
pub mod breaker;
pub mod catalogue;
pub mod counts;
pub mod describe;
pub mod ids;
pub mod issue;
pub mod normal_form;
pub mod plan;
pub mod retry;
pub mod role;
pub mod run;
pub mod spec;

pub use batch_name::BatchName;
pub use catalogue::ErrorCode;
pub use ids::{ConnectionName, FieldName, NameError, ObjectName, RunId, SyncName, TenantId};
pub use role::Role;
