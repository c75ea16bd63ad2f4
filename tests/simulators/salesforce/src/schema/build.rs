//! Objects and fields from describe documents and compact definitions, checked for
//! contradictions as they are read.

use std::collections::HashMap;
use std::sync::atomic::AtomicU8;

use serde_json::{Map, Value, json};

use crate::schema::check;
use crate::schema::text::{self, TextObject};
use crate::schema::{Field, FieldType, Object, PicklistOverride, SchemaError};

pub(super) fn add_object(objects: &mut Vec<Object>, object: Object, file: &str) -> Result<(), SchemaError> {
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

pub(super) fn object_from_describe(file: &str, text: &str) -> Result<Object, SchemaError> {
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
        dependents: Vec::new(),
        restricting: Vec::new(),
        places: Vec::new(),
        storage_bytes: 0,
        describe: doc,
        by_name: HashMap::new(),
        name,
    };
    // Everything counts on the id being the first cell.
    match object.fields.iter().position(|f| f.kind == FieldType::Id) {
        Some(0) => {}
        Some(at) => object.fields[..=at].rotate_right(1),
        None => return Err(fail(&object.name, "no field of type id".into())),
    }
    object.reindex();
    check::object(file, &object)?;
    Ok(object)
}

pub(super) fn push_field(fields: &mut Vec<Field>, field: Field, file: &str, object: &str) -> Result<(), SchemaError> {
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

pub(super) fn apply_compact(objects: &mut Vec<Object>, parsed: TextObject, file: &str) -> Result<(), SchemaError> {
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
            dependents: Vec::new(),
            restricting: Vec::new(),
            places: Vec::new(),
            storage_bytes: 0,
            describe,
            by_name: HashMap::new(),
        };
        object.reindex();
        check::object(file, &object)?;
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
    check::object(file, object)
}

pub(super) fn apply_override(objects: &mut [Object], change: &PicklistOverride) -> Result<(), SchemaError> {
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

pub(super) fn field_from_describe(file: &str, object: &str, entry: Map<String, Value>) -> Result<Field, SchemaError> {
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
    // An attribute that does not apply may be absent.
    let number = |key: &str| -> Result<u32, SchemaError> {
        match entry.get(key) {
            None | Some(Value::Null) => Ok(0),
            Some(value) => value
                .as_u64()
                .and_then(|n| u32::try_from(n).ok())
                .ok_or_else(|| fail(format!("{key} is {value}, not a whole number"))),
        }
    };
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
        length: number("length")? as usize,
        precision: number("precision")?,
        scale: number("scale")?,
        digits: number("digits")?,
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
        dependency: None,
        describe: Map::new(),
        access: AtomicU8::new(0),
        name: name.clone(),
    };
    check::attributes(&entry, &type_name, kind).map_err(&fail)?;
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
