//! The org's schema: objects and fields, read from captured describes and the compact
//! definition file, checked for contradictions, and rendered back as describe answers.

pub mod text;

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use text::TextObject;

/// A contradiction or a malformed entry in a schema source.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{file}: {object}.{field}: {reason}")]
pub struct SchemaError {
    pub file: String,
    pub object: String,
    pub field: String,
    pub reason: String,
}

/// Field types that decide how a value is checked and rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    Id,
    Reference,
    Text,
    LongText,
    Picklist,
    MultiPicklist,
    Email,
    Phone,
    Url,
    Boolean,
    Int,
    Decimal,
    Date,
    DateTime,
    Time,
    Address,
    Other,
}

impl FieldType {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "id" => Self::Id,
            "reference" => Self::Reference,
            "string" | "combobox" | "encryptedstring" => Self::Text,
            "textarea" => Self::LongText,
            "picklist" => Self::Picklist,
            "multipicklist" => Self::MultiPicklist,
            "email" => Self::Email,
            "phone" => Self::Phone,
            "url" => Self::Url,
            "boolean" => Self::Boolean,
            "int" | "long" => Self::Int,
            "double" | "currency" | "percent" => Self::Decimal,
            "date" => Self::Date,
            "datetime" => Self::DateTime,
            "time" => Self::Time,
            "address" => Self::Address,
            "location" | "base64" | "anyType" | "complexvalue" | "json" | "DataCategoryGroupReference" => Self::Other,
            _ => return None,
        })
    }

    /// Whether the value prints as a JSON literal rather than a string.
    pub fn is_bare_json(self) -> bool {
        matches!(self, Self::Boolean | Self::Int | Self::Decimal)
    }

    fn needs_length(self) -> bool {
        matches!(
            self,
            Self::Id | Self::Reference | Self::Text | Self::LongText | Self::Picklist | Self::Email | Self::Phone | Self::Url
        )
    }
}

/// One field.
pub struct Field {
    pub name: String,
    pub label: String,
    pub kind: FieldType,
    pub length: usize,
    pub precision: u32,
    pub scale: u32,
    pub digits: u32,
    pub nillable: bool,
    pub createable: bool,
    pub updateable: bool,
    pub defaulted: bool,
    pub filterable: bool,
    pub sortable: bool,
    pub groupable: bool,
    pub unique: bool,
    pub external_id: bool,
    pub id_lookup: bool,
    pub case_sensitive: bool,
    pub auto_number: bool,
    pub restricted: bool,
    pub cascade: bool,
    pub default: Option<String>,
    pub values: HashSet<Vec<u8>, ahash::RandomState>,
    pub reference_to: Vec<String>,
    /// The object indexes of `reference_to` that exist in this org.
    pub targets: Vec<usize>,
    pub relationship: Option<String>,
    pub compound: Option<String>,
    pub describe: Map<String, Value>,
}

impl Field {
    /// Must be sent on insert.
    pub fn is_required(&self) -> bool {
        self.createable && !self.nillable && !self.defaulted && self.kind != FieldType::Boolean
    }

    /// Whether values may identify a record in an upsert or a relationship column.
    pub fn is_key(&self) -> bool {
        self.external_id || self.id_lookup || self.unique
    }
}

/// One object.
pub struct Object {
    pub name: String,
    pub label: String,
    pub prefix: [u8; 3],
    pub custom: bool,
    pub setup: bool,
    pub fields: Vec<Field>,
    pub describe: Map<String, Value>,
    by_name: HashMap<String, usize>,
}

impl Object {
    /// Field index by name, ignoring case.
    pub fn field(&self, name: &str) -> Option<usize> {
        self.by_name
            .get(name)
            .copied()
            .or_else(|| self.by_name.get(name.to_ascii_lowercase().as_str()).copied())
    }

    /// The field whose relationship name is `name`.
    pub fn relationship(&self, name: &str) -> Option<usize> {
        self.fields
            .iter()
            .position(|f| f.relationship.as_deref().is_some_and(|r| r.eq_ignore_ascii_case(name)))
    }

    fn reindex(&mut self) {
        self.by_name = self
            .fields
            .iter()
            .enumerate()
            .map(|(i, f)| (f.name.to_ascii_lowercase(), i))
            .collect();
    }
}

/// All objects of the org.
pub struct Schema {
    pub objects: Vec<Object>,
    by_name: HashMap<String, usize>,
    by_prefix: HashMap<[u8; 3], usize>,
}

/// A change to a picklist's value set, to make two orgs differ.
#[derive(Debug, Clone)]
pub struct PicklistOverride {
    pub object: String,
    pub field: String,
    pub values: Vec<String>,
    pub restricted: bool,
}

const CAPTURED: [(&str, &str); 6] = [
    ("Account.json", include_str!("../../data/describe/Account.json")),
    ("Contact.json", include_str!("../../data/describe/Contact.json")),
    ("Opportunity.json", include_str!("../../data/describe/Opportunity.json")),
    ("Lead.json", include_str!("../../data/describe/Lead.json")),
    ("Case.json", include_str!("../../data/describe/Case.json")),
    (
        "OpportunityContactRole.json",
        include_str!("../../data/describe/OpportunityContactRole.json"),
    ),
];
const COMPACT: (&str, &str) = ("org.schema", include_str!("../../data/schema/org.schema"));

impl Schema {
    /// The schema compiled into the simulator.
    pub fn builtin(overrides: &[PicklistOverride]) -> Result<Self, SchemaError> {
        Self::from_sources(&CAPTURED, &[COMPACT], overrides)
    }

    /// Builds a schema from describe documents and compact definitions.
    pub fn from_sources(describes: &[(&str, &str)], compact: &[(&str, &str)], overrides: &[PicklistOverride]) -> Result<Self, SchemaError> {
        let mut objects: Vec<Object> = Vec::new();
        for (file, text) in describes {
            let object = object_from_describe(file, text)?;
            add_object(&mut objects, object, file)?;
        }
        for (file, text) in compact {
            for parsed in text::parse(file, text)? {
                apply_compact(&mut objects, parsed, file)?;
            }
        }
        for change in overrides {
            apply_override(&mut objects, change)?;
        }
        let by_name: HashMap<String, usize> = objects.iter().enumerate().map(|(i, o)| (o.name.to_ascii_lowercase(), i)).collect();
        let by_prefix = objects.iter().enumerate().map(|(i, o)| (o.prefix, i)).collect();
        for object in &mut objects {
            for field in &mut object.fields {
                field.targets = field
                    .reference_to
                    .iter()
                    .filter_map(|t| by_name.get(&t.to_ascii_lowercase()).copied())
                    .collect();
            }
        }
        Ok(Self {
            objects,
            by_name,
            by_prefix,
        })
    }

    /// Object index by API name, ignoring case.
    pub fn object(&self, name: &str) -> Option<usize> {
        self.by_name
            .get(name)
            .or_else(|| self.by_name.get(name.to_ascii_lowercase().as_str()))
            .copied()
    }

    /// Object index by key prefix.
    pub fn by_prefix(&self, prefix: [u8; 3]) -> Option<usize> {
        self.by_prefix.get(&prefix).copied()
    }

    /// The object's describe document for an API version, without record types.
    pub fn describe(&self, index: usize, version: &str) -> Map<String, Value> {
        let object = &self.objects[index];
        let mut out = object.describe.clone();
        out.insert("urls".into(), urls(&object.name, version));
        out.insert(
            "fields".into(),
            object.fields.iter().map(|f| Value::Object(f.describe.clone())).collect(),
        );
        out.insert("childRelationships".into(), self.children(index).into());
        out
    }

    fn children(&self, index: usize) -> Vec<Value> {
        let name = self.objects[index].name.as_str();
        let known: Vec<&Value> = self.objects[index]
            .describe
            .get("childRelationships")
            .and_then(Value::as_array)
            .map(|list| list.iter().collect())
            .unwrap_or_default();
        let mut out: Vec<Value> = Vec::new();
        for child in &self.objects {
            for field in child.fields.iter().filter(|f| f.targets.contains(&index)) {
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
                        "relationshipName": relationship, "restrictedDelete": false})
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

    /// The entry of the global describe.
    pub fn global_entry(&self, index: usize, version: &str) -> Value {
        const KEYS: [&str; 24] = [
            "activateable",
            "associateEntityType",
            "associateParentEntity",
            "createable",
            "custom",
            "customSetting",
            "deepCloneable",
            "deletable",
            "deprecatedAndHidden",
            "feedEnabled",
            "hasSubtypes",
            "isInterface",
            "isSubtype",
            "keyPrefix",
            "label",
            "labelPlural",
            "layoutable",
            "mergeable",
            "mruEnabled",
            "name",
            "queryable",
            "replicateable",
            "retrieveable",
            "searchable",
        ];
        let object = &self.objects[index];
        let mut out = Map::new();
        for key in KEYS.into_iter().chain(["triggerable", "undeletable", "updateable"]) {
            let value = object.describe.get(key).cloned().unwrap_or(Value::Null);
            out.insert(key.into(), value);
        }
        let base = format!("/services/data/{version}/sobjects/{}", object.name);
        out.insert(
            "urls".into(),
            json!({"rowTemplate": format!("{base}/{{ID}}"), "describe": format!("{base}/describe"),
                "sobject": base}),
        );
        Value::Object(out)
    }
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

fn add_object(objects: &mut Vec<Object>, object: Object, file: &str) -> Result<(), SchemaError> {
    let clash = objects.iter().find(|o| o.name.eq_ignore_ascii_case(&object.name));
    let fail = |reason: String| SchemaError {
        file: file.into(),
        object: object.name.clone(),
        field: "*".into(),
        reason,
    };
    if clash.is_some() {
        return Err(fail("the object is defined twice".into()));
    }
    if let Some(other) = objects.iter().find(|o| o.prefix == object.prefix) {
        return Err(fail(format!("key prefix already belongs to {}", other.name)));
    }
    objects.push(object);
    Ok(())
}

fn object_from_describe(file: &str, text: &str) -> Result<Object, SchemaError> {
    let fail = |object: &str, reason: String| SchemaError {
        file: file.into(),
        object: object.into(),
        field: "*".into(),
        reason,
    };
    let mut doc: Value = serde_json::from_str(text).map_err(|e| fail("?", format!("not JSON: {e}")))?;
    if let Some(inner) = doc.get_mut("result") {
        doc = inner.take();
    }
    let Value::Object(mut doc) = doc else {
        return Err(fail("?", "not a describe document".into()));
    };
    let name = text_of(&doc, "name").ok_or_else(|| fail("?", "no name".into()))?;
    let prefix = text_of(&doc, "keyPrefix")
        .and_then(|p| p.as_bytes().try_into().ok())
        .ok_or_else(|| fail(&name, "no key prefix".into()))?;
    let Some(Value::Array(list)) = doc.remove("fields") else {
        return Err(fail(&name, "no fields".into()));
    };
    let mut fields: Vec<Field> = Vec::with_capacity(list.len());
    for entry in list {
        let Value::Object(entry) = entry else {
            return Err(fail(&name, "a field is not an object".into()));
        };
        let field = field_from_describe(file, &name, entry)?;
        push_field(&mut fields, field, file, &name)?;
    }
    for (key, value) in text::object_defaults(&name, &name, false) {
        doc.entry(key).or_insert(value);
    }
    let mut object = Object {
        label: text_of(&doc, "label").unwrap_or_else(|| name.clone()),
        custom: doc.get("custom") == Some(&Value::Bool(true)),
        setup: false,
        prefix,
        fields,
        describe: doc,
        by_name: HashMap::new(),
        name,
    };
    object.reindex();
    Ok(object)
}

fn push_field(fields: &mut Vec<Field>, field: Field, file: &str, object: &str) -> Result<(), SchemaError> {
    if fields.iter().any(|f| f.name.eq_ignore_ascii_case(&field.name)) {
        return Err(SchemaError {
            file: file.into(),
            object: object.into(),
            field: field.name,
            reason: "the field is defined twice".into(),
        });
    }
    fields.push(field);
    Ok(())
}

fn apply_compact(objects: &mut Vec<Object>, parsed: TextObject, file: &str) -> Result<(), SchemaError> {
    let mut built = Vec::new();
    for entry in parsed.fields {
        built.push(field_from_describe(file, &parsed.name, entry)?);
    }
    if let Some(prefix) = parsed.prefix {
        let mut fields = Vec::new();
        for field in built {
            push_field(&mut fields, field, file, &parsed.name)?;
        }
        let mut describe = text::object_defaults(&parsed.name, &parsed.label, parsed.custom);
        let text = prefix.iter().map(|c| char::from(*c)).collect::<String>();
        describe.insert("keyPrefix".into(), text.into());
        let mut object = Object {
            name: parsed.name,
            label: parsed.label,
            prefix,
            custom: parsed.custom,
            setup: parsed.setup,
            fields,
            describe,
            by_name: HashMap::new(),
        };
        object.reindex();
        return add_object(objects, object, file);
    }
    let fail = |field: &str, reason: &str| SchemaError {
        file: file.into(),
        object: parsed.name.clone(),
        field: field.into(),
        reason: reason.into(),
    };
    let Some(object) = objects.iter_mut().find(|o| o.name == parsed.name) else {
        return Err(fail("*", "extends an object that is not defined"));
    };
    for drop in &parsed.drops {
        let before = object.fields.len();
        object.fields.retain(|f| f.name != *drop);
        if object.fields.len() == before {
            return Err(fail(drop, "drops a field that is not defined"));
        }
    }
    for field in built {
        push_field(&mut object.fields, field, file, &object.name)?;
    }
    object.reindex();
    Ok(())
}

fn apply_override(objects: &mut [Object], change: &PicklistOverride) -> Result<(), SchemaError> {
    let fail = |reason: &str| SchemaError {
        file: "picklist override".into(),
        object: change.object.clone(),
        field: change.field.clone(),
        reason: reason.into(),
    };
    let object = objects
        .iter_mut()
        .find(|o| o.name.eq_ignore_ascii_case(&change.object))
        .ok_or_else(|| fail("no such object"))?;
    let index = object.field(&change.field).ok_or_else(|| fail("no such field"))?;
    let field = &mut object.fields[index];
    if !matches!(field.kind, FieldType::Picklist | FieldType::MultiPicklist) {
        return Err(fail("the field is not a picklist"));
    }
    field.values = change.values.iter().map(|v| v.clone().into_bytes()).collect();
    field.restricted = change.restricted;
    if field.default.as_ref().is_some_and(|d| !change.values.contains(d)) {
        field.default = change.values.first().cloned();
        field.describe.insert("defaultValue".into(), json!(field.default));
    }
    field.describe.insert(
        "picklistValues".into(),
        change.values.iter().map(|v| text::picklist_value(v, false)).collect(),
    );
    field.describe.insert("restrictedPicklist".into(), change.restricted.into());
    Ok(())
}

fn text_of(map: &Map<String, Value>, key: &str) -> Option<String> {
    map.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn field_from_describe(file: &str, object: &str, entry: Map<String, Value>) -> Result<Field, SchemaError> {
    let name = text_of(&entry, "name").unwrap_or_default();
    let fail = |reason: String| SchemaError {
        file: file.into(),
        object: object.into(),
        field: name.clone(),
        reason,
    };
    if name.is_empty() {
        return Err(fail("a field has no name".into()));
    }
    let type_name = text_of(&entry, "type").ok_or_else(|| fail("no type".into()))?;
    let kind = FieldType::parse(&type_name).ok_or_else(|| fail(format!("unknown type {type_name}")))?;
    let flag = |key: &str| -> Result<bool, SchemaError> {
        entry
            .get(key)
            .and_then(Value::as_bool)
            .ok_or_else(|| fail(format!("{key} is missing or not a boolean")))
    };
    let number = |key: &str| entry.get(key).and_then(Value::as_u64).unwrap_or(0);
    let strings = |key: &str| -> Vec<String> {
        let list = entry.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let reference_to = strings("referenceTo");
    let values = entry
        .get("picklistValues")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|v| v["active"] != false)
        .filter_map(|v| v["value"].as_str())
        .map(|v| v.as_bytes().to_vec())
        .collect();
    let default = match entry.get("defaultValue") {
        Some(Value::String(s)) => Some(s.clone()),
        Some(Value::Bool(true)) => Some("true".into()),
        _ => None,
    };
    let field = Field {
        label: text_of(&entry, "label").unwrap_or_else(|| name.clone()),
        kind,
        length: number("length") as usize,
        precision: number("precision") as u32,
        scale: number("scale") as u32,
        digits: number("digits") as u32,
        nillable: flag("nillable")?,
        createable: flag("createable")?,
        updateable: flag("updateable")?,
        defaulted: flag("defaultedOnCreate")?,
        filterable: flag("filterable")?,
        sortable: flag("sortable")?,
        groupable: flag("groupable")?,
        unique: flag("unique")?,
        external_id: flag("externalId")?,
        id_lookup: flag("idLookup")?,
        case_sensitive: flag("caseSensitive")?,
        auto_number: flag("autoNumber")?,
        restricted: flag("restrictedPicklist")?,
        cascade: flag("cascadeDelete")?,
        default,
        values,
        targets: Vec::new(),
        relationship: text_of(&entry, "relationshipName"),
        compound: text_of(&entry, "compoundFieldName"),
        reference_to,
        describe: Map::new(),
        name: name.clone(),
    };
    let calculated = flag("calculated")?;
    if kind == FieldType::Reference && field.reference_to.is_empty() && field.createable {
        return Err(fail("a writable reference without a target".into()));
    }
    if kind != FieldType::Reference && !field.reference_to.is_empty() {
        return Err(fail(format!("{type_name} names reference targets")));
    }
    if (calculated || field.auto_number) && (field.createable || field.updateable) {
        return Err(fail("a calculated or auto-number field is writable".into()));
    }
    if kind.needs_length() && field.length == 0 {
        return Err(fail(format!("a {type_name} of length 0")));
    }
    if kind == FieldType::Decimal && field.precision < field.scale {
        return Err(fail("scale exceeds precision".into()));
    }
    if field.restricted && kind != FieldType::Picklist && kind != FieldType::MultiPicklist {
        return Err(fail(format!("a {type_name} is a restricted picklist")));
    }
    if let Some(default) = &field.default
        && field.restricted
        && !field.values.contains(default.as_bytes())
    {
        return Err(fail(format!("default {default} is not one of the values")));
    }
    Ok(Field { describe: entry, ..field })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_schema_is_consistent_and_every_field_has_57_keys() {
        let schema = Schema::builtin(&[]).unwrap();
        for object in &schema.objects {
            for field in &object.fields {
                assert_eq!(field.describe.len(), 57, "{}.{}", object.name, field.name);
            }
        }
        let contact = schema.object("contact").unwrap();
        assert!(schema.objects[contact].field("mrn__c").is_some());
        let describe = schema.describe(contact, "v65.0");
        assert_eq!(describe["keyPrefix"], "003");
    }

    fn reason(compact: &str) -> String {
        Schema::from_sources(&[], &[("t.schema", compact)], &[]).err().unwrap().to_string()
    }

    #[test]
    fn contradictions_name_file_and_field() {
        let twice = "object A__c a05 \"A\"\n  X__c string(5)\n  X__c string(6)\n";
        assert_eq!(reason(twice), "t.schema: A__c.X__c: the field is defined twice");
        let prefix = "object A__c a05 \"A\"\n  X__c string(5)\nobject B__c a05 \"B\"\n  X__c string(5)\n";
        assert!(reason(prefix).contains("key prefix already belongs to A__c"));
        assert!(reason("object A__c a05 \"A\"\n  X__c reference()\n").contains("A__c.X__c"));
        assert!(reason("object A__c a05 \"A\"\n  X__c blob(3)\n").contains("unknown type blob"));
        assert!(reason("extend A__c\n  X__c string(3)\n").contains("not defined"));
        let bad_default = "object A__c a05 \"A\"\n  X__c picklist restricted default=Z values=A|B\n";
        assert!(reason(bad_default).contains("default Z"));
    }

    #[test]
    fn a_describe_with_contradictory_flags_is_refused() {
        let text = CAPTURED[5].1.replacen("\"createable\": false", "\"createable\": \"no\"", 1);
        assert_ne!(text, CAPTURED[5].1);
        let error = Schema::from_sources(&[("ocr.json", &text)], &[], &[]).err().unwrap();
        assert_eq!(error.file, "ocr.json");
        assert!(error.reason.contains("createable"));
    }
}
