//! A finding before anything moves.

use serde::{Deserialize, Serialize};

use crate::catalogue::ErrorCode;
use crate::{FieldName, ObjectName};

/// How much an issue matters. Any `Fatal` stops the run before a record moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    Warning,
    Error,
    Fatal,
}

/// One finding of the analyzer, in words that an administrator can act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    pub code: ErrorCode,
    pub severity: Severity,
    pub object: Option<ObjectName>,
    pub field: Option<FieldName>,
    /// How many source records are affected, when that is known.
    pub count: Option<u64>,
    /// What was found and what will happen. Never holds a record's value.
    pub message: String,
    pub remedy: String,
}

impl Issue {
    /// An issue with the catalogue's remedy.
    #[must_use]
    pub fn new(code: ErrorCode, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            code,
            severity,
            object: None,
            field: None,
            count: None,
            message: message.into(),
            remedy: code.entry().remedy.to_owned(),
        }
    }

    #[must_use]
    pub fn at(mut self, object: &ObjectName, field: Option<&FieldName>) -> Self {
        self.object = Some(object.clone());
        self.field = field.cloned();
        self
    }

    #[must_use]
    pub fn counted(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}
