//! Describe global: an entry per object, with the flags and links a real org gave it.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::schema::{Object, Schema};

/// Entries of real orgs, by object.
static CAPTURED: LazyLock<HashMap<String, Map<String, Value>>> = LazyLock::new(|| {
    let text = include_str!("../../data/describe/_global.json");
    let mut doc: Value = serde_json::from_str(text).unwrap_or_default();
    let list = doc["sobjects"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let entry = |entry: Value| match entry {
        Value::Object(map) => Some((map.get("name")?.as_str()?.to_owned(), map)),
        _ => None,
    };
    list.into_iter().filter_map(entry).collect()
});

/// All keys of an entry except `urls`.
const KEYS: [&str; 27] = [
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
    "triggerable",
    "undeletable",
    "updateable",
];

/// What an entry of a real org says better than the compact definition of an object does.
/// Rights are not among them: they say what this org permits.
const CHARACTER: [&str; 10] = [
    "feedEnabled",
    "label",
    "labelPlural",
    "layoutable",
    "mergeable",
    "mruEnabled",
    "replicateable",
    "searchable",
    "triggerable",
    "undeletable",
];

fn has_own_describe(object: &Object) -> bool {
    let children = object.describe.get("childRelationships").and_then(Value::as_array);
    children.is_some_and(|list| !list.is_empty())
}

/// Corrects the top level of a describe built from a compact definition.
pub fn characterise(object: &Object, describe: &mut Map<String, Value>) {
    let Some(real) = CAPTURED.get(&object.name).filter(|_| !has_own_describe(object)) else {
        return;
    };
    for key in CHARACTER {
        if let Some(value) = real.get(key) {
            describe.insert(key.into(), value.clone());
        }
    }
}

/// One entry, for an API version.
pub fn entry(schema: &Schema, index: usize, version: &str) -> Value {
    let object = &schema.objects[index];
    let mut describe = object.describe.clone();
    characterise(object, &mut describe);
    let mut out: Map<String, Value> = KEYS
        .into_iter()
        .map(|key| (key.to_owned(), describe.get(key).cloned().unwrap_or(Value::Null)))
        .collect();
    out.insert("urls".into(), urls(&object.name, version));
    Value::Object(out)
}

fn urls(name: &str, version: &str) -> Value {
    let base = format!("/services/data/{version}/sobjects/{name}");
    if let Some(Value::Object(real)) = CAPTURED.get(name).and_then(|e| e.get("urls")) {
        let shift = |url: &Value| {
            let tail = url
                .as_str()
                .and_then(|u| u.split_once(&format!("/sobjects/{name}")))
                .map_or("", |(_, tail)| tail);
            json!(format!("{base}{tail}"))
        };
        return Value::Object(real.iter().map(|(key, url)| (key.clone(), shift(url))).collect());
    }
    let at = |tail: &str| format!("{base}/{tail}");
    json!({"compactLayouts": at("describe/compactLayouts"), "rowTemplate": at("{ID}"),
        "approvalLayouts": at("describe/approvalLayouts"), "listviews": at("listviews"),
        "describe": at("describe"), "quickActions": at("quickActions"),
        "layouts": at("describe/layouts"), "sobject": base})
}
