//! The steps of one object, in the order in which a person thinks of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Status;

/// A piece of work on one object that is invited, leased and finished as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Extract,
    Transform,
    /// `existing: replace`: delete what the target holds.
    Clear,
    /// Rows with every reference that can be resolved at once.
    LoadPass1,
    /// Deferred references.
    LoadPass2,
    /// `orphans: delete`.
    Orphans,
    /// Read every reference back.
    LoadPass3,
    /// Compare counts and values.
    Verify,
}

impl Step {
    pub const ALL: [Self; 8] = [
        Self::Extract,
        Self::Transform,
        Self::Clear,
        Self::LoadPass1,
        Self::LoadPass2,
        Self::Orphans,
        Self::LoadPass3,
        Self::Verify,
    ];

    /// Which stage's workers do it.
    #[must_use]
    pub fn stage(self) -> &'static str {
        match self {
            Self::Extract => "extractor",
            Self::Transform => "masker",
            Self::Clear | Self::LoadPass1 | Self::LoadPass2 | Self::Orphans | Self::LoadPass3 | Self::Verify => "loader",
        }
    }

    /// The public status of a run whose earliest unfinished step this is.
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            Self::Extract => Status::Extracting,
            Self::Transform => Status::Transforming,
            Self::Clear | Self::LoadPass1 | Self::LoadPass2 | Self::Orphans => Status::Loading,
            Self::LoadPass3 | Self::Verify => Status::Verifying,
        }
    }

    /// Whether it may be done again in a run that has ended. Reading again would be another run, and clearing would delete
    /// what the run has written.
    #[must_use]
    pub fn can_be_reopened(self) -> bool {
        match self {
            Self::Extract | Self::Clear => false,
            Self::Transform | Self::LoadPass1 | Self::LoadPass2 | Self::Orphans | Self::LoadPass3 | Self::Verify => true,
        }
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Extract => "extract",
            Self::Transform => "transform",
            Self::Clear => "clear",
            Self::LoadPass1 => "load_pass_1",
            Self::LoadPass2 => "load_pass_2",
            Self::Orphans => "orphans",
            Self::LoadPass3 => "load_pass_3",
            Self::Verify => "verify",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Step {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a step"))
    }
}
