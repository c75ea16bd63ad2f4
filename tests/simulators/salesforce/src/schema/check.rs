//! Contradictions within a describe: between the attributes of a field, and between fields.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::schema::{FieldType, Object, SchemaError};

/// Attributes of one field that can't be true together.
pub(super) fn attributes(entry: &Map<String, Value>, type_name: &str, kind: FieldType) -> Result<(), String> {
    let soap = entry.get("soapType").and_then(Value::as_str).unwrap_or_default();
    let fitting: &[&str] = match kind {
        FieldType::Id | FieldType::Reference => &["tns:ID"],
        FieldType::Boolean => &["xsd:boolean"],
        FieldType::Int => &["xsd:int", "xsd:long"],
        FieldType::Decimal => &["xsd:double"],
        FieldType::Date => &["xsd:date"],
        FieldType::DateTime => &["xsd:dateTime"],
        FieldType::Time => &["xsd:time"],
        FieldType::Address => &["urn:address"],
        FieldType::Other => &[],
        _ => &["xsd:string"],
    };
    if !fitting.is_empty() && !soap.is_empty() && !fitting.contains(&soap) {
        return Err(format!("type {type_name} with soapType {soap}"));
    }
    let flag = |key: &str| entry.get(key) == Some(&Value::Bool(true));
    let number = |key: &str| entry.get(key).and_then(Value::as_u64).unwrap_or(0);
    if soap == "xsd:string" && number("byteLength") < number("length") {
        return Err("byteLength is below length".into());
    }
    if flag("unique") && matches!(kind, FieldType::Boolean | FieldType::LongText | FieldType::MultiPicklist) {
        return Err(format!("a {type_name} can't be unique"));
    }
    if flag("externalId") && !matches!(kind, FieldType::Text | FieldType::Email | FieldType::Decimal | FieldType::Int) {
        return Err(format!("a {type_name} can't be an external id"));
    }
    let picklist = matches!(kind, FieldType::Picklist | FieldType::MultiPicklist);
    let values = entry.get("picklistValues").and_then(Value::as_array);
    let mut seen = HashSet::new();
    for (i, value) in values.into_iter().flatten().enumerate() {
        let text = value["value"]
            .as_str()
            .ok_or_else(|| format!("picklist value {} has no text", i + 1))?;
        if !value["active"].is_boolean() && !value["active"].is_null() {
            return Err(format!("picklist value {text} is neither active nor inactive"));
        }
        if !seen.insert(text) {
            return Err(format!("picklist value {text} occurs twice"));
        }
    }
    if !picklist && !seen.is_empty() && type_name != "combobox" {
        return Err(format!("a {type_name} has picklist values"));
    }
    let controller = entry.get("controllerName").and_then(Value::as_str);
    match (flag("dependentPicklist"), controller) {
        (true, None) => Err("a dependent picklist names no controlling field".into()),
        (true, Some(_)) if !picklist => Err(format!("a {type_name} is a dependent picklist")),
        (false, Some(controller)) => Err(format!("{controller} controls a field that is not a dependent picklist")),
        _ => Ok(()),
    }
}

/// Fields of one object that contradict each other.
pub(super) fn object(file: &str, object: &Object) -> Result<(), SchemaError> {
    let fail = |field: &str, reason: String| SchemaError {
        file: file.into(),
        object: object.name.clone(),
        field: field.into(),
        reason,
    };
    let mut relationships: HashMap<String, &str> = HashMap::new();
    let mut ids = 0;
    for field in &object.fields {
        ids += usize::from(field.kind == FieldType::Id);
        if ids > 1 {
            return Err(fail(&field.name, "a second field of type id".into()));
        }
        if let Some(compound) = &field.compound
            && object.field(compound).is_none()
        {
            return Err(fail(&field.name, format!("is part of {compound}, which does not exist")));
        }
        if let Some(name) = &field.relationship
            && let Some(other) = relationships.insert(name.to_ascii_lowercase(), &field.name)
        {
            return Err(fail(&field.name, format!("relationship {name} already belongs to {other}")));
        }
    }
    Ok(())
}

/// What the simulator itself reads; a document that replaces one of these must have it.
const NEEDED: [(&str, &[&str]); 8] = [
    ("User", &["Username", "IsActive", "Email", "ProfileId", "LastName"]),
    ("Profile", &["Name"]),
    ("Organization", &["Name", "IsSandbox", "OrganizationType"]),
    ("RecordType", &["DeveloperName", "SobjectType", "Name", "IsActive"]),
    ("Group", &["DeveloperName", "Type", "Name"]),
    ("Pricebook2", &["IsStandard", "Name"]),
    ("PricebookEntry", &["Pricebook2Id", "Product2Id", "UnitPrice"]),
    (
        "OpportunityLineItem",
        &["OpportunityId", "PricebookEntryId", "Quantity", "UnitPrice", "TotalPrice"],
    ),
];

/// Whether replaced objects still carry the fields the org's own rules read.
pub(super) fn needed(objects: &[Object], replaced: &HashSet<String>) -> Result<(), SchemaError> {
    for (name, fields) in NEEDED.iter().filter(|(n, _)| replaced.contains(&n.to_ascii_lowercase())) {
        let found = objects.iter().find(|o| o.name.eq_ignore_ascii_case(name));
        let missing = fields.iter().find(|f| found.is_none_or(|o| o.field(f).is_none()));
        if let Some(field) = missing {
            return Err(SchemaError {
                file: "describe directory".into(),
                object: (*name).into(),
                field: (*field).into(),
                reason: "an org can't do without this field".into(),
            });
        }
    }
    Ok(())
}
