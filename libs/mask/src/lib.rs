//! Masking: what stands in for personal data, and which fields hold any.
//!
//! Guarantees, each with a test:
//! - **Deterministic.** Under one [`MaskKey`] equal inputs (in normal form) get equal results in every object, field
//!   and run, so joins and duplicates survive. Another key gives unrelated results.
//! - **No fixed points.** A fake or hash never equals its input; what can't differ is counted, not hidden.
//! - **Admissible.** A [`MaskPlan`] compiles only if each [`Strategy`] yields values that its field admits: type, length
//!   in characters, uniqueness, null.
//! - **Undeliverable.** Fake addresses, numbers and links are reserved ones: nobody is mailed, called or visited.
//! - **Fails closed.** [`Policy::resolve`] lists every classified field without a decision and every rule it can't
//!   follow; a column without a decision is an error.
//!
//! It does no IO, knows no runtime, and never puts a value into an error, a log or `Debug`.
//!
//! Start at [`Policy::resolve`] (which field gets which strategy) and [`MaskPlan::compile`] (how columns are rewritten).

mod admit;
mod classify;
mod dictionary;
mod error;
mod facts;
mod fake;
mod fingerprint;
mod key;
mod plan;
mod policy;
mod preset;
mod strategy;
pub mod suggest;

pub use admit::{UNIQUE_BITS_MIN, admit};
pub use classify::{Classified, classify};
pub use error::MaskError;
pub use facts::{FieldFacts, FieldType, Picklist};
pub use fake::{DRAWS_MAX, TEXT_CHARS_MAX};
pub use fingerprint::Fingerprinter;
pub use key::{KEY_BYTES, MaskKey};
pub use plan::{ColumnMask, FieldCounts, MaskPlan};
pub use policy::{Decision, Decisions, ObjectFacts, Origin, Policy, PolicyProblem, Rules};
pub use preset::{HipaaIdentifier, PRESET_NAMES, PiiKind};
pub use strategy::{FakeKind, HASH_CHARS_DEFAULT, HASH_CHARS_MIN, HashEncoding, HashOptions, Redaction, STRATEGY_NAMES, Strategy};
