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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use crate::schema::{Schema, SchemaOptions};

    /// A document of an id and two picklists, the second of which depends on the first.
    fn document() -> Value {
        let field = |name: &str, kind: &str, soap: &str| {
            let mut out = json!({"name": name, "type": kind, "soapType": soap, "length": 18, "byteLength": 54,
                "referenceTo": [], "picklistValues": [], "dependentPicklist": false});
            for flag in [
                "nillable",
                "createable",
                "updateable",
                "defaultedOnCreate",
                "filterable",
                "sortable",
                "groupable",
                "unique",
                "externalId",
                "idLookup",
                "caseSensitive",
                "autoNumber",
                "restrictedPicklist",
                "cascadeDelete",
                "calculated",
            ] {
                out[flag] = false.into();
            }
            out
        };
        let (mut colour, mut shade) = (
            field("Colour__c", "picklist", "xsd:string"),
            field("Shade__c", "picklist", "xsd:string"),
        );
        colour["picklistValues"] = json!([{"value": "Red", "active": true}, {"value": "Blue", "active": true}]);
        shade["picklistValues"] = json!([{"value": "Dark", "active": true, "validFor": "QAAA"}]);
        shade["dependentPicklist"] = true.into();
        shade["controllerName"] = "Colour__c".into();
        json!({"name": "Thing__c", "keyPrefix": "a77", "fields": [field("Id", "id", "tns:ID"), colour, shade]})
    }

    fn build(change: impl Fn(&mut Value)) -> Result<Schema, String> {
        let mut text = document();
        change(&mut text);
        Schema::build(&SchemaOptions {
            describes: vec![("Thing.json".into(), text.to_string())],
            ..SchemaOptions::default()
        })
        .map_err(|e| e.to_string())
    }

    #[test]
    fn bits_count_from_the_most_significant_one() {
        let schema = build(|_| {}).unwrap();
        let thing = &schema.objects[schema.object("Thing__c").unwrap()];
        let shade = thing.fields[thing.field("Shade__c").unwrap()].dependency.as_ref().unwrap();
        assert!(shade.allows(Some(b"Blue"), b"Dark"));
        assert!(!shade.allows(Some(b"Red"), b"Dark") && !shade.allows(None, b"Dark"));
    }

    #[test]
    fn contradictions_name_file_object_and_field() {
        let set = |field: usize, key: &'static str, value: Value| move |doc: &mut Value| doc["fields"][field][key] = value.clone();
        for (found, part) in [
            (
                build(set(1, "type", json!("hologram"))),
                "Thing__c.Colour__c: unknown type hologram",
            ),
            (
                build(set(1, "soapType", json!("xsd:int"))),
                "Thing__c.Colour__c: type picklist with soapType xsd:int",
            ),
            (
                build(set(1, "nillable", json!("no"))),
                "Thing__c.Colour__c: nillable is missing or not a boolean",
            ),
            (
                build(set(1, "length", json!(-3))),
                "Thing__c.Colour__c: length is -3, not a whole number",
            ),
            (
                build(set(1, "byteLength", json!(1))),
                "Thing__c.Colour__c: byteLength is below length",
            ),
            (build(set(1, "name", json!("SHADE__c"))), "the field is defined twice"),
            (
                build(set(1, "compoundFieldName", json!("Paint__c"))),
                "Thing__c.Colour__c: is part of Paint__c, which does not exist",
            ),
            (
                build(set(2, "controllerName", Value::Null)),
                "Thing__c.Shade__c: a dependent picklist names no controlling field",
            ),
            (
                build(set(2, "controllerName", json!("Id"))),
                "controlling field Id is neither a picklist nor a checkbox",
            ),
            (
                build(set(2, "controllerName", json!("Gone__c"))),
                "controlling field Gone__c does not exist",
            ),
            (
                build(set(2, "dependentPicklist", json!(false))),
                "controls a field that is not a dependent picklist",
            ),
            (
                build(set(2, "picklistValues", json!([{"value": "D", "validFor": "?"}]))),
                "is not base64",
            ),
            (
                build(set(2, "picklistValues", json!([{"value": "D", "validFor": "CAAA"}]))),
                "names a value that Colour__c does not have",
            ),
            (
                build(set(1, "picklistValues", json!([{"value": "D"}, {"value": "D"}]))),
                "picklist value D occurs twice",
            ),
            (build(set(0, "type", json!("string"))), "Thing__c.Id"),
            (
                build(|doc| doc["keyPrefix"] = json!("001")),
                "key prefix already belongs to Account",
            ),
            (build(|doc| doc["keyPrefix"] = Value::Null), "no key prefix"),
            (build(|doc| doc["fields"] = Value::Null), "no fields"),
            (
                build(|doc| doc["name"] = json!("User")),
                "describe directory: User.Username: an org can't do without",
            ),
        ] {
            let error = found.err().unwrap();
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
