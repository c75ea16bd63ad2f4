//! Objects without stored records: EntityDefinition, FieldDefinition and UserRecordAccess.
//!
//! Their rows follow from the schema and from the records, so each query builds those it
//! needs into a small database of its own and then runs like any other.

use std::sync::{Arc, LazyLock};

use serde_json::Value;

use super::SoqlError;
use super::ast::{Condition, Operand, Statement, Term};
use super::viewer::Viewer;
use crate::schema::{Field, Object, Schema, SchemaError};
use crate::store::db::Db;
use crate::store::id::Id;
use crate::store::row::Draft;

const DEFINITIONS: &str = include_str!("../../data/schema/virtual.schema");
/// Records one query may ask UserRecordAccess about.
const ACCESS_RECORDS_MAX: usize = 200;

static SCHEMA: LazyLock<Result<Arc<Schema>, SchemaError>> =
    LazyLock::new(|| Schema::from_sources(&[], &[("virtual.schema", DEFINITIONS)], &[]).map(Arc::new));

/// The database that answers the query, where the org's records do not.
pub fn open(db: &Db, statement: &Statement, viewer: &Viewer) -> Result<Option<Arc<Db>>, SoqlError> {
    let schema = match SCHEMA.as_ref() {
        Ok(schema) => schema,
        Err(error) => return Err(SoqlError::new("UNKNOWN_EXCEPTION", error.to_string())),
    };
    let Some(object) = schema.object(&statement.from.text) else {
        return Ok(None);
    };
    let mut out = Db::new(Arc::clone(schema), *b"00");
    match schema.objects[object].name.as_str() {
        "UserRecordAccess" => access(db, &mut out, statement, viewer)?,
        "FieldDefinition" => {
            // The real table spans every field of the org, so it wants to know the object.
            let keys = ["EntityDefinitionId", "EntityDefinition.QualifiedApiName", "DurableId"];
            if texts(statement.condition.as_ref(), &keys).is_empty() {
                return Err(SoqlError::new(
                    "EXTERNAL_OBJECT_UNSUPPORTED_EXCEPTION",
                    "FieldDefinition: a filter on a reified column is required [EntityDefinitionId, DurableId]",
                ));
            }
            definitions(db, &mut out);
        }
        _ => definitions(db, &mut out),
    }
    Ok(Some(Arc::new(out)))
}

/// Inserts a row; names the virtual schema lacks are a mistake of ours, so they are left out.
fn insert(db: &mut Db, object: &str, cells: &[(&str, String)]) -> Option<Id> {
    let index = db.schema.object(object)?;
    let meta = &db.schema.objects[index];
    let mut draft = Draft::default();
    draft.reset(meta.fields.len());
    for (name, value) in cells {
        // A false checkbox is stored as absent.
        if let Some(field) = meta.field(name).filter(|_| value != "false") {
            draft.set(field, value.as_bytes());
        }
    }
    let table = &mut db.tables[index];
    let id = table.next_id();
    draft.set(0, &id.long());
    table.push(id, draft.finish());
    Some(id)
}

fn definitions(db: &Db, out: &mut Db) {
    for object in &db.schema.objects {
        let cells = entity(object);
        let Some(id) = insert(out, "EntityDefinition", &cells) else {
            continue;
        };
        for field in object.fields.iter().filter(|f| !f.is_hidden()) {
            let mut cells = field_cells(object, field);
            cells.push(("_Entity", id.text()));
            insert(out, "FieldDefinition", &cells);
        }
    }
}

fn entity(object: &Object) -> Vec<(&'static str, String)> {
    let flag = |key: &str| (object.describe.get(key) == Some(&Value::Bool(true))).to_string();
    let text = |key: &str| object.describe.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let prefix: String = object.prefix.iter().map(|c| char::from(*c)).collect();
    vec![
        ("DurableId", object.name.clone()),
        ("QualifiedApiName", object.name.clone()),
        ("DeveloperName", object.name.trim_end_matches("__c").to_owned()),
        ("MasterLabel", object.label.clone()),
        ("Label", object.label.clone()),
        ("PluralLabel", text("labelPlural")),
        ("KeyPrefix", prefix),
        ("PublisherId", if object.custom { "<local>" } else { "System" }.to_owned()),
        ("IsCustomSetting", flag("customSetting")),
        ("IsDeprecatedAndHidden", flag("deprecatedAndHidden")),
        ("IsCustomizable", (!object.setup).to_string()),
        ("IsEverCreatable", flag("createable")),
        ("IsEverUpdatable", flag("updateable")),
        ("IsEverDeletable", flag("deletable")),
        ("IsQueryable", flag("queryable")),
        ("IsRetrieveable", flag("retrieveable")),
        ("IsSearchable", flag("searchable")),
        ("InternalSharingModel", "ReadWrite".into()),
        ("IsApexTriggerable", flag("triggerable")),
        ("IsTriggerable", flag("triggerable")),
        ("IsLayoutable", flag("layoutable")),
        ("IsReplicateable", flag("replicateable")),
        ("IsIdEnabled", "true".into()),
        ("IsInterface", flag("isInterface")),
        ("IsSubtype", flag("isSubtype")),
        ("IsFeedEnabled", flag("feedEnabled")),
    ]
}

fn field_cells(object: &Object, field: &Field) -> Vec<(&'static str, String)> {
    let flag = |key: &str| (field.describe.get(key) == Some(&Value::Bool(true))).to_string();
    let kind = field.describe.get("type").and_then(Value::as_str).unwrap_or_default();
    vec![
        ("DurableId", format!("{}.{}", object.name, field.name)),
        ("EntityDefinitionId", object.name.clone()),
        ("QualifiedApiName", field.name.clone()),
        ("DeveloperName", field.name.trim_end_matches("__c").to_owned()),
        ("MasterLabel", field.label.clone()),
        ("Label", field.label.clone()),
        ("DataType", data_type(field, kind)),
        ("ValueTypeId", kind.to_owned()),
        ("Length", field.length.to_string()),
        ("Precision", field.precision.to_string()),
        ("Scale", field.scale.to_string()),
        ("RelationshipName", field.relationship.clone().unwrap_or_default()),
        ("IsNillable", field.nillable.to_string()),
        ("IsCalculated", flag("calculated")),
        ("IsNameField", flag("nameField")),
        ("IsIndexed", (field.is_key() || field.name == "Id").to_string()),
        ("IsApiFilterable", field.filterable.to_string()),
        ("IsApiSortable", field.sortable.to_string()),
        ("IsApiGroupable", field.groupable.to_string()),
        ("IsPolymorphicForeignKey", (field.targets.len() > 1).to_string()),
    ]
}

/// The type as Setup shows it.
fn data_type(field: &Field, kind: &str) -> String {
    match kind {
        "string" => format!("Text({})", field.length),
        "textarea" if field.length > 255 => format!("Long Text Area({})", field.length),
        "textarea" => "Text Area".into(),
        "double" => format!("Number({}, {})", field.precision.saturating_sub(field.scale), field.scale),
        "currency" => format!("Currency({}, {})", field.precision.saturating_sub(field.scale), field.scale),
        "percent" => format!("Percent({}, {})", field.precision.saturating_sub(field.scale), field.scale),
        "int" => format!("Number({}, 0)", field.digits),
        "reference" => format!("Lookup({})", field.reference_to.join(",")),
        "boolean" => "Checkbox".into(),
        "multipicklist" => "Picklist (Multi-Select)".into(),
        "datetime" => "Date/Time".into(),
        "id" => "Lookup()".into(),
        "url" => "URL".into(),
        other => {
            let mut letters = other.chars();
            letters
                .next()
                .map_or_else(String::new, |c| c.to_uppercase().chain(letters).collect())
        }
    }
}

fn access(db: &Db, out: &mut Db, statement: &Statement, viewer: &Viewer) -> Result<(), SoqlError> {
    let bad = |message: &str| Err(SoqlError::new("MALFORMED_QUERY", message));
    let users = texts(statement.condition.as_ref(), &["UserId"]);
    let records = texts(statement.condition.as_ref(), &["RecordId"]);
    let [user] = users.as_slice() else {
        return bad("Can select only for one user: UserRecordAccess must be filtered by UserId with the equals operator");
    };
    if records.is_empty() {
        return bad("UserRecordAccess must be filtered by RecordId");
    }
    if records.len() > ACCESS_RECORDS_MAX {
        return bad("UserRecordAccess can be asked about at most 200 records");
    }
    let user = Id::parse(user.as_bytes()).unwrap_or(viewer.user).text();
    for record in records {
        // One user, all rights; of what is not there nobody has any.
        let Some(id) = Id::parse(record.as_bytes()).ok().filter(|id| db.locate(id).is_some()) else {
            continue;
        };
        let mut cells = vec![
            ("UserId", user.clone()),
            ("RecordId", id.text()),
            ("MaxAccessLevel", "All".to_owned()),
        ];
        for right in [
            "HasReadAccess",
            "HasEditAccess",
            "HasDeleteAccess",
            "HasTransferAccess",
            "HasAllAccess",
        ] {
            cells.push((right, "true".into()));
        }
        insert(out, "UserRecordAccess", &cells);
    }
    Ok(())
}

/// The texts a condition demands one of, for the fields named.
fn texts(condition: Option<&Condition>, names: &[&str]) -> Vec<String> {
    let named = |term: &Term| matches!(term, Term::Path(p) if names.iter().any(|n| n.eq_ignore_ascii_case(&p.text)));
    let text = |operand: &Operand| match operand {
        Operand::Text { value, .. } => Some(value.clone()),
        _ => None,
    };
    match condition {
        Some(Condition::And(list)) => list.iter().flat_map(|c| texts(Some(c), names)).collect(),
        Some(Condition::Compare { term, operator, operand }) if operator == "=" && named(term) => text(operand).into_iter().collect(),
        Some(Condition::In {
            term,
            negated: false,
            list,
        }) if named(term) => list.iter().filter_map(text).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_virtual_schema_is_consistent() {
        assert!(SCHEMA.is_ok(), "{:?}", SCHEMA.as_ref().err());
    }
}
