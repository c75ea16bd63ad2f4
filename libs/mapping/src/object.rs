//! The mapping of one object, as its sync gives it.

use std::collections::BTreeMap;

use syncline_domain::spec::ObjectSpec;
use syncline_domain::{FieldName, ObjectName};

use crate::MappingError;

/// Names of one object and its fields on both ends. What is not mapped keeps its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMapping {
    object: ObjectName,
    target: ObjectName,
    fields: BTreeMap<FieldName, FieldName>,
}

impl ObjectMapping {
    /// Reads the mapping of an object's spec.
    ///
    /// # Errors
    /// [`MappingError::Collision`] when two fields are mapped to one.
    pub fn new(spec: &ObjectSpec) -> Result<Self, MappingError> {
        let mut taken: BTreeMap<&FieldName, &FieldName> = BTreeMap::new();
        for (field, target) in &spec.mapping {
            if let Some(first) = taken.insert(target, field) {
                return Err(MappingError::Collision {
                    target: target.clone(),
                    first: first.clone(),
                    second: field.clone(),
                });
            }
        }
        Ok(Self {
            object: spec.name.clone(),
            target: spec.target.clone().unwrap_or_else(|| spec.name.clone()),
            fields: spec.mapping.clone(),
        })
    }

    #[must_use]
    pub fn object(&self) -> &ObjectName {
        &self.object
    }

    /// The target's object.
    #[must_use]
    pub fn target(&self) -> &ObjectName {
        &self.target
    }

    /// The target field that a source field becomes.
    #[must_use]
    pub fn target_field<'a>(&'a self, field: &'a FieldName) -> &'a FieldName {
        self.fields.get(field).unwrap_or(field)
    }

    /// The source field that is mapped to `target` by name, when there is one.
    #[must_use]
    pub fn mapped_to(&self, target: &FieldName) -> Option<&FieldName> {
        self.fields.iter().find(|(_, t)| *t == target).map(|(field, _)| field)
    }

    /// Whether the sync renames this source field.
    #[must_use]
    pub fn renames(&self, field: &FieldName) -> bool {
        self.fields.contains_key(field)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(text: &str) -> FieldName {
        FieldName::new(text).unwrap()
    }

    fn spec(pairs: &[(&str, &str)]) -> ObjectSpec {
        ObjectSpec {
            name: ObjectName::new("Contact").unwrap(),
            target: Some(ObjectName::new("Person__c").unwrap()),
            filter: None,
            fields: None,
            exclude: Vec::new(),
            key: None,
            mapping: pairs.iter().map(|(a, b)| (name(a), name(b))).collect(),
        }
    }

    #[test]
    fn mapped_fields_are_renamed_and_others_keep_their_name() {
        let mapping = ObjectMapping::new(&spec(&[("Email", "Mail__c")])).unwrap();
        assert_eq!(mapping.target().as_str(), "Person__c");
        assert_eq!(mapping.target_field(&name("Email")).as_str(), "Mail__c");
        assert_eq!(mapping.target_field(&name("Phone")).as_str(), "Phone");
        assert_eq!(mapping.mapped_to(&name("Mail__c")), Some(&name("Email")));
        assert_eq!(mapping.mapped_to(&name("Phone")), None);
        assert!(mapping.renames(&name("Email")) && !mapping.renames(&name("Phone")));
    }

    #[test]
    fn two_fields_cannot_become_one() {
        let error = ObjectMapping::new(&spec(&[("Email", "Mail__c"), ("Fax", "Mail__c")])).unwrap_err();
        assert_eq!(error.to_string(), "`Email` and `Fax` are both mapped to `Mail__c`");
    }
}
