//! References through a key of the parent instead of its id: `Account.Ext__c`, and `Lead:Who.Email` where the parent may
//! be of several objects (Bulk API 2.0, "Relationship Fields in a Header Row"; REST API, "Upsert, external ids").
//!
//! The prefix must stand on polymorphic references and on no others; only external ids and other look-up fields can be keys.

use serde_json::{Map, Value, json};
use syncline_connect::ConnectError;
use syncline_domain::describe::{FieldDescribe, ObjectDescribe};
use syncline_domain::{ErrorCode, FieldName, ObjectName};

/// A column that names a parent by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceColumn {
    /// `Account`, `Parent__r`, `Who`.
    relationship: String,
    /// The parent's object, where it has to be said.
    parent: Option<ObjectName>,
    key: FieldName,
}

impl ReferenceColumn {
    /// The column by which `field` can be written through `key` of `parent`.
    ///
    /// # Errors
    /// When the field is no reference to `parent`, or `key` cannot identify one.
    pub fn new(field: &FieldDescribe, parent: &ObjectDescribe, key: &FieldName) -> Result<Self, ConnectError> {
        let refuse = |why: &str| {
            ConnectError::new(
                ErrorCode::SyncInvalid,
                format!("{} cannot be written by {}.{key}: {why}", field.name, parent.name),
            )
        };
        let relationship = field.relationship_name.as_ref().ok_or_else(|| refuse("it has no relationship"))?;
        let relationship = FieldName::new(relationship.as_str()).map_err(|_| refuse("it has no relationship"))?;
        if !field.reference_to.contains(&parent.name) {
            return Err(refuse("it does not point there"));
        }
        let described = parent.field(key.as_str()).ok_or_else(|| refuse("there is no such field"))?;
        if !(described.external_id || described.unique || is_standard_key(&parent.name, key)) {
            return Err(refuse("the field identifies nothing"));
        }
        Ok(Self {
            relationship: relationship.into(),
            parent: (field.reference_to.len() > 1).then(|| parent.name.clone()),
            key: key.clone(),
        })
    }

    /// The column's header in an upload.
    #[must_use]
    pub fn header(&self) -> String {
        match &self.parent {
            Some(parent) => format!("{parent}:{}.{}", self.relationship, self.key),
            None => format!("{}.{}", self.relationship, self.key),
        }
    }

    /// Puts the reference into a JSON record. No key, no reference: null cannot be written this way, only through the
    /// field that holds the id.
    pub fn put(&self, key: Option<&str>, values: &mut Map<String, Value>) {
        let Some(key) = key.filter(|k| !k.is_empty()) else { return };
        let mut parent = Map::new();
        if let Some(object) = &self.parent {
            parent.insert("attributes".to_owned(), json!({ "type": object.as_str() }));
        }
        parent.insert(self.key.as_str().to_owned(), key.into());
        values.insert(self.relationship.clone(), Value::Object(parent));
    }
}

/// Look-up fields that are no external ids (describe, `idLookup`): the neutral describe does not carry the flag.
fn is_standard_key(object: &ObjectName, key: &FieldName) -> bool {
    matches!(
        (object.as_str(), key.as_str()),
        ("Contact" | "Lead" | "User", "Email") | ("User", "Username") | ("RecordType", "DeveloperName") | (_, "Id")
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::describe::read_describe;

    fn describe(json: &Value) -> ObjectDescribe {
        read_describe(json.to_string().as_bytes()).unwrap()
    }

    fn task() -> ObjectDescribe {
        describe(&json!({"name": "Task", "fields": [
            {"name": "WhoId", "type": "reference", "referenceTo": ["Contact", "Lead"], "relationshipName": "Who"},
            {"name": "Parent__c", "type": "reference", "referenceTo": ["Parent__c"], "relationshipName": "Parent__r"},
            {"name": "Old__c", "type": "reference", "referenceTo": ["Lead"]},
        ]}))
    }

    fn lead() -> ObjectDescribe {
        describe(&json!({"name": "Lead", "fields": [
            {"name": "Email", "type": "email"}, {"name": "Ext__c", "type": "string", "externalId": true}, {"name": "Company", "type": "string"},
        ]}))
    }

    fn column(field: &str, parent: &ObjectDescribe, key: &str) -> Result<ReferenceColumn, ConnectError> {
        ReferenceColumn::new(task().field(field).unwrap(), parent, &FieldName::new(key).unwrap())
    }

    #[test]
    fn a_prefix_stands_on_polymorphic_references_only() {
        let parent = describe(&json!({"name": "Parent__c", "fields": [{"name": "Code__c", "type": "string", "unique": true}]}));
        for (field, parent, key, header) in [
            ("WhoId", &lead(), "Email", "Lead:Who.Email"),
            ("WhoId", &lead(), "Ext__c", "Lead:Who.Ext__c"),
            ("Parent__c", &parent, "Code__c", "Parent__r.Code__c"),
        ] {
            assert_eq!(column(field, parent, key).unwrap().header(), header);
        }
    }

    #[test]
    fn what_identifies_nothing_is_refused() {
        let parent = describe(&json!({"name": "Account", "fields": [{"name": "Ext__c", "type": "string", "externalId": true}]}));
        for (field, parent, key) in [
            ("WhoId", &lead(), "Company"),
            ("WhoId", &lead(), "Missing__c"),
            ("WhoId", &parent, "Ext__c"),
            ("Old__c", &lead(), "Email"),
        ] {
            assert_eq!(
                column(field, parent, key).map_err(|e| e.code),
                Err(ErrorCode::SyncInvalid),
                "{field} {key}"
            );
        }
    }

    #[test]
    fn a_json_record_names_the_parents_object_and_key() {
        let mut values = Map::new();
        let who = column("WhoId", &lead(), "Email").unwrap();
        who.put(None, &mut values);
        who.put(Some(""), &mut values);
        assert!(values.is_empty());
        who.put(Some("a@example.com"), &mut values);
        assert_eq!(
            Value::Object(values),
            json!({"Who": {"attributes": {"type": "Lead"}, "Email": "a@example.com"}})
        );
    }
}
