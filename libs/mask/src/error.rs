//! What can go wrong, as one enum. No variant carries a record's value: names, numbers and rule texts only.

use thiserror::Error;

/// A failure of this crate; [`MaskError::code`] is what crosses process boundaries, the text is for people.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MaskError {
    /// The project key is not 32 bytes of key material.
    #[error("the masking key {reason}")]
    Key { reason: &'static str },

    /// A rule is not in the grammar of [`crate::Strategy`].
    #[error("masking rule `{rule}`: {reason}")]
    Rule { rule: String, reason: String },

    /// A strategy can't produce a value that the field admits.
    #[error("field {field}: `{strategy}` is not admissible: {reason}")]
    Inadmissible { field: String, strategy: String, reason: String },

    /// Two decisions for one field in one plan.
    #[error("field {field} is planned twice")]
    PlannedTwice { field: String },

    /// A column without a decision; masking fails closed.
    #[error("field {field} has no masking decision in this plan")]
    Unplanned { field: String },
}

impl MaskError {
    /// The stable code of the error catalogue.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Key { .. } => "mask.key_invalid",
            Self::Rule { .. } => "mask.rule_invalid",
            Self::Inadmissible { .. } => "mask.strategy_inadmissible",
            Self::PlannedTwice { .. } => "mask.field_planned_twice",
            Self::Unplanned { .. } => "mask.field_unplanned",
        }
    }
}
