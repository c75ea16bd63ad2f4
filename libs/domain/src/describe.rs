//! What a system says about its objects: the connector-neutral form of a describe.

use serde::{Deserialize, Serialize};

use crate::{FieldName, ObjectName};

/// The kind of value that a field holds; the names follow Salesforce's `type` (REST API, sObject Describe).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    Id,
    Reference,
    String,
    TextArea,
    Email,
    Phone,
    Url,
    EncryptedString,
    Picklist,
    MultiPicklist,
    ComboBox,
    Boolean,
    Int,
    Long,
    /// Decimal numbers: double, currency, percent.
    Number,
    Date,
    DateTime,
    Time,
    Base64,
    /// Compound or unknown: described, never selected.
    Other,
}

impl FieldType {
    /// Whether a column of this type can travel.
    #[must_use]
    pub fn is_movable(self) -> bool {
        !matches!(self, Self::Base64 | Self::Other)
    }
}

/// One field as described. Booleans mirror the describe's keys of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldDescribe {
    pub name: FieldName,
    pub label: String,
    pub field_type: FieldType,
    /// Characters; 0 where the type has no length.
    pub length: u32,
    pub precision: u32,
    pub scale: u32,
    pub nillable: bool,
    pub createable: bool,
    pub updateable: bool,
    pub defaulted_on_create: bool,
    pub calculated: bool,
    pub auto_number: bool,
    pub unique: bool,
    pub external_id: bool,
    pub case_sensitive: bool,
    pub filterable: bool,
    pub restricted_picklist: bool,
    /// Active values only; empty unless the field is a picklist.
    pub picklist_values: Vec<String>,
    /// Objects that a reference may point to.
    pub reference_to: Vec<ObjectName>,
    pub relationship_name: Option<String>,
    pub cascade_delete: bool,
    /// The compound field that this one is a part of.
    pub compound: Option<String>,
}

impl FieldDescribe {
    /// Must an insert carry a value? (fact: createable, not nillable, not defaulted; booleans never are)
    #[must_use]
    pub fn required(&self) -> bool {
        self.createable && !self.nillable && !self.defaulted_on_create && self.field_type != FieldType::Boolean
    }
}

/// One record type. The master entry is left out by connectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordType {
    pub id: String,
    pub developer_name: String,
    pub active: bool,
    pub available: bool,
}

/// One object as described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectDescribe {
    pub name: ObjectName,
    pub label: String,
    pub key_prefix: Option<String>,
    pub createable: bool,
    pub updateable: bool,
    pub deletable: bool,
    pub queryable: bool,
    pub fields: Vec<FieldDescribe>,
    pub record_types: Vec<RecordType>,
    /// Changes whenever anything above changes (a keyless content hash, hex).
    pub hash: String,
}

impl ObjectDescribe {
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&FieldDescribe> {
        self.fields.iter().find(|f| f.name.as_str() == name)
    }
}
