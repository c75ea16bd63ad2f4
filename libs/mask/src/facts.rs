//! What masking must know of a field: the part of a source's describe that bounds what may be written.

use serde::{Deserialize, Serialize};

/// One field of one object, in the words of the Salesforce describe (`DescribeFieldResult`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldFacts {
    /// API name, unique within its object.
    pub name: String,
    /// What users see; naming conventions are looked for here too.
    #[serde(default)]
    pub label: String,
    pub sf_type: FieldType,
    /// Longest value in characters; `None` where the type has no length.
    #[serde(default)]
    pub max_chars: Option<u32>,
    pub nillable: bool,
    #[serde(default)]
    pub unique: bool,
    /// Must be given when a record is created: not nillable, or made required by its layout or the sync.
    #[serde(default)]
    pub required: bool,
    #[serde(default)]
    pub picklist: Option<Picklist>,
}

impl FieldFacts {
    /// A nillable field without further bounds; adjust what differs.
    #[must_use]
    pub fn new(name: impl Into<String>, sf_type: FieldType, max_chars: Option<u32>) -> Self {
        Self {
            name: name.into(),
            label: String::new(),
            sf_type,
            max_chars,
            nillable: true,
            unique: false,
            required: false,
            picklist: None,
        }
    }

    /// Whether null may be written.
    #[must_use]
    pub fn admits_null(&self) -> bool {
        self.nillable && !self.required && self.sf_type != FieldType::Boolean
    }
}

/// The values that a picklist offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Picklist {
    /// Whether other values are refused.
    pub restricted: bool,
    pub values: Vec<String>,
}

/// The describe's `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FieldType {
    String,
    Textarea,
    Picklist,
    Multipicklist,
    Combobox,
    Email,
    Phone,
    Url,
    Encryptedstring,
    Id,
    Reference,
    Boolean,
    Int,
    Long,
    Double,
    Currency,
    Percent,
    Date,
    Datetime,
    Time,
    /// Anything else (base64, location, address, anyType ...): only null and the value itself are known to be admitted.
    #[serde(other)]
    Other,
}

impl FieldType {
    /// From the describe's `type`; a type this crate doesn't know is [`FieldType::Other`].
    #[must_use]
    pub fn from_describe(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "string" => Self::String,
            "textarea" => Self::Textarea,
            "picklist" => Self::Picklist,
            "multipicklist" => Self::Multipicklist,
            "combobox" => Self::Combobox,
            "email" => Self::Email,
            "phone" => Self::Phone,
            "url" => Self::Url,
            "encryptedstring" => Self::Encryptedstring,
            "id" => Self::Id,
            "reference" => Self::Reference,
            "boolean" => Self::Boolean,
            "int" => Self::Int,
            "long" => Self::Long,
            "double" => Self::Double,
            "currency" => Self::Currency,
            "percent" => Self::Percent,
            "date" => Self::Date,
            "datetime" => Self::Datetime,
            "time" => Self::Time,
            _ => Self::Other,
        }
    }

    /// The word for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Textarea => "textarea",
            Self::Picklist => "picklist",
            Self::Multipicklist => "multipicklist",
            Self::Combobox => "combobox",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Url => "url",
            Self::Encryptedstring => "encryptedstring",
            Self::Id => "id",
            Self::Reference => "reference",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Double => "double",
            Self::Currency => "currency",
            Self::Percent => "percent",
            Self::Date => "date",
            Self::Datetime => "datetime",
            Self::Time => "time",
            Self::Other => "other",
        }
    }

    /// Free of any syntax: whatever fits the length is admitted.
    #[must_use]
    pub fn is_plain_text(self) -> bool {
        matches!(self, Self::String | Self::Textarea | Self::Combobox | Self::Encryptedstring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_the_describe_is_known_by_its_name_in_any_case() {
        for name in [
            "string",
            "textarea",
            "picklist",
            "multipicklist",
            "combobox",
            "email",
            "phone",
            "url",
            "encryptedstring",
            "id",
            "reference",
            "boolean",
            "int",
            "long",
            "double",
            "currency",
            "percent",
            "date",
            "datetime",
            "time",
        ] {
            let known = FieldType::from_describe(name);
            assert_eq!(known.name(), name);
            assert_eq!(FieldType::from_describe(&name.to_uppercase()), known);
            assert_ne!(known, FieldType::Other, "{name}");
        }
        for name in ["location", "base64", "anyType", ""] {
            assert_eq!(FieldType::from_describe(name).name(), "other", "{name}");
        }
    }

    #[test]
    fn null_may_be_written_where_nothing_speaks_against_it() {
        let field = FieldFacts::new("A", FieldType::String, Some(80));
        assert!(field.admits_null());
        for (nillable, required, sf_type) in [
            (false, false, FieldType::String),
            (true, true, FieldType::String),
            (true, false, FieldType::Boolean),
        ] {
            let field = FieldFacts {
                nillable,
                required,
                sf_type,
                ..field.clone()
            };
            assert!(!field.admits_null(), "{field:?}");
        }
    }
}
