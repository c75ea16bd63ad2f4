//! A Salesforce describe in the neutral form. Keys that nobody knows and keys that are missing are both fine.

use serde::Deserialize;
use syncline_connect::ConnectError;
use syncline_domain::describe::{FieldDescribe, FieldType, ObjectDescribe, RecordType};
use syncline_domain::{ErrorCode, FieldName, ObjectName};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SObject {
    name: String,
    label: Option<String>,
    key_prefix: Option<String>,
    #[serde(default)]
    createable: bool,
    #[serde(default)]
    updateable: bool,
    #[serde(default)]
    deletable: bool,
    #[serde(default)]
    queryable: bool,
    #[serde(default)]
    fields: Vec<Field>,
    #[serde(default)]
    record_type_infos: Vec<RecordTypeInfo>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Field {
    name: String,
    label: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    length: Option<u32>,
    precision: Option<u32>,
    digits: Option<u32>,
    scale: Option<u32>,
    #[serde(default)]
    nillable: bool,
    #[serde(default)]
    createable: bool,
    #[serde(default)]
    updateable: bool,
    #[serde(default)]
    defaulted_on_create: bool,
    #[serde(default)]
    calculated: bool,
    #[serde(default)]
    auto_number: bool,
    #[serde(default)]
    unique: bool,
    #[serde(default)]
    external_id: bool,
    #[serde(default)]
    case_sensitive: bool,
    #[serde(default)]
    filterable: bool,
    #[serde(default)]
    restricted_picklist: bool,
    picklist_values: Option<Vec<PicklistValue>>,
    reference_to: Option<Vec<String>>,
    relationship_name: Option<String>,
    #[serde(default)]
    cascade_delete: bool,
    compound_field_name: Option<String>,
}

#[derive(Deserialize)]
struct PicklistValue {
    #[serde(default)]
    active: bool,
    value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordTypeInfo {
    record_type_id: String,
    developer_name: Option<String>,
    name: Option<String>,
    #[serde(default)]
    active: bool,
    #[serde(default)]
    available: bool,
    #[serde(default)]
    master: bool,
}

/// REST API, sObject Describe, `type`. Compound and unknown types are described but never selected.
fn field_type(kind: &str) -> FieldType {
    match kind {
        "id" => FieldType::Id,
        "reference" => FieldType::Reference,
        "string" => FieldType::String,
        "textarea" => FieldType::TextArea,
        "email" => FieldType::Email,
        "phone" => FieldType::Phone,
        "url" => FieldType::Url,
        "encryptedstring" => FieldType::EncryptedString,
        "picklist" => FieldType::Picklist,
        "multipicklist" => FieldType::MultiPicklist,
        "combobox" => FieldType::ComboBox,
        "boolean" => FieldType::Boolean,
        "int" => FieldType::Int,
        "long" => FieldType::Long,
        "double" | "currency" | "percent" => FieldType::Number,
        "date" => FieldType::Date,
        "datetime" => FieldType::DateTime,
        "time" => FieldType::Time,
        "base64" => FieldType::Base64,
        _ => FieldType::Other,
    }
}

impl Field {
    /// `None` for a field whose name no query could use.
    fn neutral(self) -> Option<FieldDescribe> {
        let field_type = field_type(&self.kind);
        let precision = match field_type {
            FieldType::Int | FieldType::Long => self.digits.unwrap_or(0),
            _ => self.precision.unwrap_or(0),
        };
        Some(FieldDescribe {
            label: self.label.unwrap_or_else(|| self.name.clone()),
            name: FieldName::new(self.name).ok()?,
            field_type,
            length: self.length.unwrap_or(0),
            precision,
            scale: self.scale.unwrap_or(0),
            nillable: self.nillable,
            createable: self.createable,
            updateable: self.updateable,
            defaulted_on_create: self.defaulted_on_create,
            calculated: self.calculated,
            auto_number: self.auto_number,
            unique: self.unique,
            external_id: self.external_id,
            case_sensitive: self.case_sensitive,
            filterable: self.filterable,
            restricted_picklist: self.restricted_picklist,
            picklist_values: self
                .picklist_values
                .unwrap_or_default()
                .into_iter()
                .filter(|v| v.active)
                .filter_map(|v| v.value)
                .collect(),
            reference_to: self
                .reference_to
                .unwrap_or_default()
                .into_iter()
                .filter_map(|o| ObjectName::new(o).ok())
                .collect(),
            relationship_name: self.relationship_name,
            cascade_delete: self.cascade_delete,
            compound: self.compound_field_name,
        })
    }
}

/// Reads a describe answer.
///
/// # Errors
/// `NETWORK_ANSWER_001` when it is not a describe.
pub fn read_describe(json: &[u8]) -> Result<ObjectDescribe, ConnectError> {
    let object: SObject = crate::client::parse("describe", json)?;
    let name =
        ObjectName::new(object.name).map_err(|_| ConnectError::new(ErrorCode::BadAnswer, "describe: an object without a valid name"))?;
    let mut describe = ObjectDescribe {
        label: object.label.unwrap_or_else(|| name.as_str().to_owned()),
        name,
        key_prefix: object.key_prefix,
        createable: object.createable,
        updateable: object.updateable,
        deletable: object.deletable,
        queryable: object.queryable,
        fields: object.fields.into_iter().filter_map(Field::neutral).collect(),
        record_types: object
            .record_type_infos
            .into_iter()
            .filter(|r| !r.master)
            .map(|r| RecordType {
                id: r.record_type_id,
                developer_name: r.developer_name.or(r.name).unwrap_or_default(),
                active: r.active,
                available: r.available,
            })
            .collect(),
        hash: String::new(),
    };
    describe.hash = hash(&describe)?;
    Ok(describe)
}

/// Over the neutral form, so that what Syncline does not look at does not change it.
fn hash(describe: &ObjectDescribe) -> Result<String, ConnectError> {
    let content = serde_json::to_vec(describe).map_err(|_| ConnectError::new(ErrorCode::Internal, "a describe could not be hashed"))?;
    Ok(blake3::hash(&content).to_hex().to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn thing() -> Value {
        json!({
            "name": "Thing__c", "label": "Thing", "keyPrefix": "a01", "createable": true, "queryable": true,
            "neverHeardOf": {"a": [1]},
            "fields": [
                {"name": "Id", "type": "id", "length": 18, "label": "Id"},
                {"name": "Amount__c", "type": "currency", "precision": 18, "scale": 2, "nillable": true, "createable": true},
                {"name": "Count__c", "type": "int", "digits": 9, "precision": 0},
                {"name": "Level__c", "type": "picklist", "restrictedPicklist": true, "picklistValues": [
                    {"active": true, "value": "a", "validFor": null}, {"active": false, "value": "b"}]},
                {"name": "Parent__c", "type": "reference", "referenceTo": ["Thing__c", "Account"], "relationshipName": "Parent__r"},
                {"name": "Place__c", "type": "location", "compoundFieldName": null},
                {"name": "Body", "type": "base64"},
                {"name": "New__c", "type": "hologram"},
            ],
            "recordTypeInfos": [
                {"recordTypeId": "012000000000000AAA", "master": true, "developerName": "Master", "active": true, "available": true},
                {"recordTypeId": "0120000000001AAAAA", "developerName": "Big", "active": true, "available": false},
            ],
        })
    }

    fn read(json: &Value) -> ObjectDescribe {
        read_describe(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn types_and_facts_are_read() {
        let describe = read(&thing());
        let types: Vec<FieldType> = describe.fields.iter().map(|f| f.field_type).collect();
        assert_eq!(
            types,
            [
                FieldType::Id,
                FieldType::Number,
                FieldType::Int,
                FieldType::Picklist,
                FieldType::Reference,
                FieldType::Other,
                FieldType::Base64,
                FieldType::Other
            ]
        );
        assert_eq!(
            describe.field("Level__c").map(|f| f.picklist_values.clone()),
            Some(vec!["a".to_owned()])
        );
        assert_eq!(describe.field("Count__c").map(|f| f.precision), Some(9));
        assert_eq!(describe.field("Parent__c").map(|f| f.reference_to.len()), Some(2));
        assert_eq!(describe.record_types.len(), 1);
    }

    #[test]
    fn the_hash_changes_with_what_matters_and_with_nothing_else() {
        let base = read(&thing()).hash;
        assert_eq!(base.len(), 64);
        let mut other = thing();
        other["neverHeardOf"] = json!(null);
        other["urls"] = json!({"describe": "/x"});
        assert_eq!(read(&other).hash, base);
        for (pointer, value) in [
            ("/fields/1/scale", json!(3)),
            ("/fields/3/picklistValues/1/active", json!(true)),
            ("/createable", json!(false)),
        ] {
            let mut other = thing();
            *other.pointer_mut(pointer).unwrap() = value;
            assert_ne!(read(&other).hash, base, "{pointer}");
        }
    }

    #[test]
    fn what_is_not_a_describe_is_refused() {
        for bad in ["", "[]", "{}", r#"{"name":"a b"}"#, r#"{"name":"A","fields":[{"name":"x"}]}"#] {
            assert_eq!(
                read_describe(bad.as_bytes()).map_err(|e| e.code),
                Err(ErrorCode::BadAnswer),
                "{bad}"
            );
        }
    }
}
