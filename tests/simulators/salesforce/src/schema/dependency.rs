//! Dependent picklists: which values the controlling field's value allows.
//!
//! In a describe, `validFor` is the base64 of a bit set, most significant bit first: bit *i*
//! allows the value when the controlling field has its *i*-th value. A controlling checkbox has
//! two: unchecked, checked.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::schema::{FieldType, Object, SchemaError};

/// The dependency of one picklist.
#[derive(Debug)]
pub struct Dependency {
    /// The controlling field.
    pub controller: usize,
    is_checkbox: bool,
    positions: HashMap<Vec<u8>, usize, ahash::RandomState>,
    /// Value to its bit set; values without one go with everything.
    allowed: HashMap<Vec<u8>, Vec<u8>, ahash::RandomState>,
}

impl Dependency {
    /// Whether `value` goes with the controlling field's value.
    pub fn allows(&self, controller: Option<&[u8]>, value: &[u8]) -> bool {
        let Some(bits) = self.allowed.get(value) else { return true };
        let position = match controller {
            raw if self.is_checkbox => usize::from(raw == Some(b"true")),
            Some(raw) => match self.positions.get(raw) {
                Some(position) => *position,
                None => return false,
            },
            None => return false,
        };
        has_bit(bits, position)
    }
}

fn has_bit(bits: &[u8], index: usize) -> bool {
    bits.get(index >> 3).is_some_and(|byte| byte & (0x80 >> (index % 8)) != 0)
}

/// A dependency given as configuration.
#[derive(Debug, Clone)]
pub struct DependencyOverride {
    pub object: String,
    pub field: String,
    pub controller: String,
    /// Controlling value to the values it allows.
    pub values: Vec<(String, Vec<String>)>,
}

impl DependencyOverride {
    /// Parses `Object.Field<-Controller: A=x|y; B=z`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = || format!("{text} is not Object.Field<-Controller: A=x|y; B=z");
        let (path, rest) = text.split_once("<-").ok_or_else(form)?;
        let (object, field) = path.split_once('.').ok_or_else(form)?;
        let (controller, lists) = rest.split_once(':').ok_or_else(form)?;
        let mut values = Vec::new();
        for list in lists.split(';').filter(|l| !l.trim().is_empty()) {
            let (value, allowed) = list.split_once('=').ok_or_else(form)?;
            let allowed = allowed.split('|').map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
            values.push((value.trim().to_owned(), allowed.collect()));
        }
        Ok(Self {
            object: object.trim().into(),
            field: field.trim().into(),
            controller: controller.trim().into(),
            values,
        })
    }
}

/// Writes a configured dependency into the describe attributes, where [`resolve`] reads it. The
/// field becomes restricted: the service enforces dependencies of restricted picklists only.
pub(super) fn apply_override(objects: &mut [Object], change: &DependencyOverride) -> Result<(), SchemaError> {
    let fail = |reason: String| SchemaError {
        file: "dependent picklist".into(),
        object: change.object.clone(),
        field: change.field.clone(),
        reason,
    };
    let object = objects
        .iter_mut()
        .find(|o| o.name.eq_ignore_ascii_case(&change.object))
        .ok_or_else(|| fail("no such object".into()))?;
    let field = object.field(&change.field).ok_or_else(|| fail("no such field".into()))?;
    let controller = object
        .field(&change.controller)
        .ok_or_else(|| fail(format!("no controlling field {}", change.controller)))?;
    if !matches!(object.fields[field].kind, FieldType::Picklist | FieldType::MultiPicklist) {
        return Err(fail("the field is not a picklist".into()));
    }
    let controlling = controlling_values(object, controller).ok_or_else(|| fail(format!("{} can't control", change.controller)))?;
    let width = controlling.len().div_ceil(8).max(3);
    let mut bits: HashMap<&str, Vec<u8>> = HashMap::new();
    for (value, allowed) in &change.values {
        let position = controlling
            .iter()
            .position(|c| c == value)
            .ok_or_else(|| fail(format!("{value} is not a value of {}", change.controller)))?;
        for name in allowed {
            if !object.fields[field].values.contains(name.as_bytes()) {
                return Err(fail(format!("{name} is not a value of the field")));
            }
            let set = bits.entry(name).or_insert_with(|| vec![0; width]);
            set[position >> 3] |= 0x80 >> (position % 8);
        }
    }
    let name = object.fields[controller].name.clone();
    let field = &mut object.fields[field];
    field.restricted = true;
    field.describe.insert("restrictedPicklist".into(), true.into());
    field.describe.insert("dependentPicklist".into(), true.into());
    field.describe.insert("controllerName".into(), name.into());
    for entry in field
        .describe
        .get_mut("picklistValues")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let set = entry["value"].as_str().and_then(|v| bits.get(v)).cloned();
        entry["validFor"] = json!(STANDARD.encode(set.unwrap_or_else(|| vec![0; width])));
    }
    Ok(())
}

/// The values whose positions the bits count: a picklist's, inactive ones included, or a checkbox's.
fn controlling_values(object: &Object, controller: usize) -> Option<Vec<String>> {
    let field = &object.fields[controller];
    match field.kind {
        FieldType::Boolean => Some(vec!["false".into(), "true".into()]),
        FieldType::Picklist => {
            let list = field.describe.get("picklistValues").and_then(Value::as_array)?;
            Some(list.iter().filter_map(|v| v["value"].as_str()).map(str::to_owned).collect())
        }
        _ => None,
    }
}

/// Reads the dependencies of an object from its describe attributes.
pub(super) fn resolve(object: &mut Object) -> Result<(), SchemaError> {
    let mut found = Vec::new();
    for (index, field) in object.fields.iter().enumerate() {
        let Some(name) = field.describe.get("controllerName").and_then(Value::as_str) else {
            continue;
        };
        let fail = |reason: String| SchemaError {
            file: "describe".into(),
            object: object.name.clone(),
            field: field.name.clone(),
            reason,
        };
        let controller = object
            .field(name)
            .filter(|c| *c != index)
            .ok_or_else(|| fail(format!("controlling field {name} does not exist")))?;
        let values = controlling_values(object, controller)
            .ok_or_else(|| fail(format!("controlling field {name} is neither a picklist nor a checkbox")))?;
        let mut allowed = HashMap::default();
        let list = field.describe.get("picklistValues").and_then(Value::as_array);
        for entry in list.into_iter().flatten() {
            let (Some(value), Some(text)) = (entry["value"].as_str(), entry["validFor"].as_str()) else {
                continue;
            };
            let bits = STANDARD
                .decode(text)
                .map_err(|e| fail(format!("validFor {text} of {value} is not base64: {e}")))?;
            if (values.len()..bits.len() * 8).any(|i| has_bit(&bits, i)) {
                return Err(fail(format!("validFor {text} of {value} names a value that {name} does not have")));
            }
            allowed.insert(value.as_bytes().to_vec(), bits);
        }
        let is_checkbox = object.fields[controller].kind == FieldType::Boolean;
        let positions = values.into_iter().enumerate().map(|(i, v)| (v.into_bytes(), i)).collect();
        found.push((
            index,
            Dependency {
                controller,
                is_checkbox,
                positions,
                allowed,
            },
        ));
    }
    for (index, dependency) in found {
        object.fields[index].dependency = Some(Box::new(dependency));
        object.dependents.push(index);
    }
    Ok(())
}
