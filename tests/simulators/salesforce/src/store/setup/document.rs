//! The setup as people write it: one JSON document, every section optional.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `--setup FILE` and `POST /__sim/setup`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SetupDoc {
    /// `Object: formula => message`
    pub validation_rules: Vec<String>,
    pub triggers: Vec<TriggerDoc>,
    pub flows: Vec<FlowDoc>,
    pub duplicate_rules: Vec<DuplicateDoc>,
    pub assignment_rules: Vec<AssignmentDoc>,
    pub record_type_values: Vec<RecordTypeValuesDoc>,
    /// Object to the developer name of the type that rows sent without one get.
    pub default_record_types: BTreeMap<String, String>,
    /// `Object.Field`: absent from describe, unknown to SOQL and writes.
    pub hidden_fields: Vec<String>,
    /// `Object.Field`: readable only.
    pub read_only_fields: Vec<String>,
    /// Object to what the user may do with it; objects not named are free.
    pub object_permissions: BTreeMap<String, Vec<PermissionDoc>>,
}

/// An Apex trigger, as far as others notice it.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerDoc {
    pub object: String,
    pub name: String,
    /// `before insert, before update`
    pub when: String,
    #[serde(rename = "if", default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    pub actions: Vec<ActionDoc>,
}

/// One effect of a trigger.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ActionDoc {
    /// Cells of the record itself; `{"from": "Field"}` copies.
    Set(BTreeMap<String, Value>),
    AddError {
        message: String,
        #[serde(default)]
        field: Option<String>,
    },
    /// An exception nobody caught.
    Throw(String),
    Create {
        object: String,
        /// The new record's field that points at this record.
        #[serde(default)]
        link: Option<String>,
        #[serde(default)]
        set: BTreeMap<String, Value>,
    },
    /// Updates the record this field points at.
    Touch(String),
}

/// A record-triggered flow that fails.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FlowDoc {
    pub object: String,
    pub name: String,
    #[serde(rename = "if", default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateActionDoc {
    Block,
    /// Refused unless the caller says `allowSave=true`.
    Allow,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DuplicateDoc {
    pub object: String,
    pub name: String,
    /// All must be filled and equal, case aside.
    #[serde(rename = "match")]
    pub fields: Vec<String>,
    pub action: DuplicateActionDoc,
    #[serde(default = "alert")]
    pub alert: String,
}

fn alert() -> String {
    "Use one of these records?".into()
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AssignmentDoc {
    pub object: String,
    pub name: String,
    #[serde(default = "yes")]
    pub active: bool,
    pub entries: Vec<AssignmentEntryDoc>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AssignmentEntryDoc {
    #[serde(rename = "if", default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// A queue's developer name, or a username.
    pub owner: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RecordTypeValuesDoc {
    pub object: String,
    /// Developer name, or `Master`.
    pub record_type: String,
    pub field: String,
    pub values: Vec<String>,
    #[serde(default)]
    pub default: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PermissionDoc {
    Read,
    Create,
    Edit,
    Delete,
}
