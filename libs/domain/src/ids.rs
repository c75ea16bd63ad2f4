//! Validated names and ids.
//!
//! A name that has passed its constructor may stand in SOQL, in a URL path or in a bus subject without
//! further quoting: only letters, digits, `_` and (where stated) `-` are admitted, so injection is a type error.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A name was refused; the message never repeats more than the name itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{value}` is not a valid {what}: {rule}")]
pub struct NameError {
    what: &'static str,
    value: String,
    rule: &'static str,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the name.
            ///
            /// # Errors
            /// [`NameError`] when it breaks the rule of this type.
            pub fn new(value: impl Into<String>) -> Result<Self, NameError> {
                let value = value.into();
                let check: fn(&str) -> bool = $check;
                if check(&value) {
                    Ok(Self(value))
                } else {
                    let value = value.chars().take(80).collect();
                    Err(NameError { what: $what, value, rule: $rule })
                }
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(value: String) -> Result<Self, NameError> {
                Self::new(value)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(value: &str) -> Result<Self, NameError> {
                Self::new(value)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }
    };
}

/// Salesforce API names: at most 80 characters plus namespace and suffix (Object Reference, "API Name").
fn is_api_name(s: &str) -> bool {
    !s.is_empty()
        && s.len() <= 120
        && s.starts_with(|c: char| c.is_ascii_alphabetic())
        && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Names that users give to things. They become bus subject tokens, hence no dots or wildcards.
fn is_label(s: &str) -> bool {
    !s.is_empty()
        && s.len() <= 63
        && s.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && s.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

name_type!(
    /// The API name of an object, `Account` or `Project__c`.
    ObjectName, "object name", "letters, digits and `_`, starting with a letter, at most 120 characters", is_api_name
);
name_type!(
    /// The API name of a field, `ParentId` or `MRN__c`.
    FieldName, "field name", "letters, digits and `_`, starting with a letter, at most 120 characters", is_api_name
);
name_type!(
    /// The name of a connection.
    ConnectionName, "connection name", "lower-case letters, digits and `-`, at most 63 characters", is_label
);
name_type!(
    /// The name of a sync.
    SyncName, "sync name", "lower-case letters, digits and `-`, at most 63 characters", is_label
);
name_type!(
    /// The tenant that owns connections, syncs, runs and links.
    TenantId, "tenant", "lower-case letters, digits and `-`, at most 63 characters", is_label
);
name_type!(
    /// One execution of one version of a sync: `r-` and 26 or fewer lower-case letters and digits, ordered by time.
    RunId, "run id", "lower-case letters, digits and `-`, at most 63 characters", is_label
);

impl TenantId {
    /// The tenant of an installation that has only one.
    #[must_use]
    pub fn single() -> Self {
        Self("default".to_owned())
    }
}

impl RunId {
    /// A run id from a UUID (version 7, so that ids sort by time).
    #[must_use]
    pub fn from_uuid(uuid: uuid::Uuid) -> Self {
        Self(format!("r-{}", uuid.simple()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_break_out_of_soql_or_a_url_are_refused() {
        for bad in ["", "Account WHERE 1=1", "a/b", "a.b", "Acc'ount", "1abc", "é", "a\n", "a*", "a>"] {
            assert!(ObjectName::new(bad).is_err(), "{bad:?}");
        }
        for good in ["Account", "Project__c", "ns__Thing__c"] {
            assert!(ObjectName::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn labels_are_subject_tokens() {
        for bad in ["", "Prod", "a.b", "a b", "*", ">", "-a", &"x".repeat(64)] {
            assert!(SyncName::new(bad).is_err(), "{bad:?}");
        }
        assert!(SyncName::new("prod-to-uat").is_ok());
    }

    #[test]
    fn names_are_checked_when_they_are_deserialised() {
        assert!(serde_json::from_str::<FieldName>("\"Id; DROP\"").is_err());
    }
}
