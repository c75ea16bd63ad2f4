//! Describe answers: the object's document, the global entry, child relationships.

use serde_json::{Map, Value, json};

use crate::schema::{Access, Field, Object, Schema};

impl Schema {
    /// The object's describe document for an API version, without record types.
    pub fn describe(&self, index: usize, version: &str) -> Map<String, Value> {
        let object = &self.objects[index];
        let mut out = object.describe.clone();
        out.insert("urls".into(), urls(&object.name, version));
        out.insert(
            "fields".into(),
            object.fields.iter().filter(|f| !f.is_hidden()).map(field).collect(),
        );
        out.insert("childRelationships".into(), self.children(index).into());
        out
    }

    pub(crate) fn children(&self, index: usize) -> Vec<Value> {
        let name = self.objects[index].name.as_str();
        let known: Vec<&Value> = self.objects[index]
            .describe
            .get("childRelationships")
            .and_then(Value::as_array)
            .map(|list| list.iter().collect())
            .unwrap_or_default();
        let mut out: Vec<Value> = Vec::new();
        for child in &self.objects {
            for field in child.fields.iter().filter(|f| !f.is_hidden() && f.targets.contains(&index)) {
                let captured = known
                    .iter()
                    .find(|k| k["childSObject"] == child.name.as_str() && k["field"] == field.name.as_str());
                let entry = captured.map(|v| (*v).clone()).unwrap_or_else(|| {
                    let audit = matches!(field.name.as_str(), "CreatedById" | "LastModifiedById");
                    let made = if field.name.ends_with("__c") {
                        format!("{}s__r", child.name.trim_end_matches("__c"))
                    } else {
                        format!("{}s", child.name)
                    };
                    // A second link from the same child has no subquery name of its own.
                    let taken = known.iter().copied().chain(&out).any(|k| k["relationshipName"] == made.as_str());
                    let hidden = audit || name == "User" || field.name == "MasterRecordId" || taken;
                    let relationship = if hidden { Value::Null } else { json!(made) };
                    json!({"cascadeDelete": field.cascade, "childSObject": child.name,
                        "deprecatedAndHidden": false, "field": field.name,
                        "junctionIdListNames": [], "junctionReferenceTo": [],
                        "relationshipName": relationship, "restrictedDelete": is_set(&field.describe, "restrictedDelete")})
                });
                out.push(entry);
            }
        }
        out
    }

    /// Whether the captured describe says that deleting the parent deletes this child.
    pub fn cascades(&self, parent: usize, child: &str, field: &str) -> bool {
        let list = self.objects[parent].describe.get("childRelationships");
        list.and_then(Value::as_array)
            .into_iter()
            .flatten()
            .any(|c| c["childSObject"] == child && c["field"] == field && c["cascadeDelete"] == true)
    }
}

/// A field's entry; one the user may only read says so.
fn field(field: &Field) -> Value {
    let mut out = field.describe.clone();
    if field.access() == Access::ReadOnly {
        out.insert("createable".into(), false.into());
        out.insert("updateable".into(), false.into());
    }
    Value::Object(out)
}

fn urls(name: &str, version: &str) -> Value {
    let base = format!("/services/data/{version}/sobjects/{name}");
    let at = |tail: &str| format!("{base}/{tail}");
    json!({
        "compactLayouts": at("describe/compactLayouts"), "rowTemplate": at("{ID}"),
        "approvalLayouts": at("describe/approvalLayouts"), "defaultValues": at("defaultValues?recordTypeId&fields"),
        "listviews": at("listviews"), "describe": at("describe"),
        "quickActions": at("quickActions"), "layouts": at("describe/layouts"), "sobject": base,
    })
}

fn is_set(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key) == Some(&Value::Bool(true))
}

/// The links that stand in the way of deleting a record of `parent`, as its child relationships
/// or the linking fields say.
pub(super) fn restricting(objects: &[Object], parent: usize) -> Vec<(usize, usize)> {
    let known = objects[parent].describe.get("childRelationships").and_then(Value::as_array);
    let mut out = Vec::new();
    for (child, object) in objects.iter().enumerate() {
        for (index, field) in object.fields.iter().enumerate() {
            let listed = known
                .into_iter()
                .flatten()
                .any(|c| c["childSObject"] == object.name.as_str() && c["field"] == field.name.as_str() && c["restrictedDelete"] == true);
            if field.targets.contains(&parent) && (listed || is_set(&field.describe, "restrictedDelete")) {
                out.push((child, index));
            }
        }
    }
    out
}
