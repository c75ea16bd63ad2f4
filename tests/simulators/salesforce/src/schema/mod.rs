//! The org's schema: objects and fields, read from captured describes and the compact
//! definition file, checked for contradictions, and rendered back as describe answers.

mod build;
mod check;
pub mod dependency;
mod features;
mod person;
pub mod places;
mod render;
pub mod text;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::{Map, Value};

pub use dependency::{Dependency, DependencyOverride};
pub use person::PersonSchema;
use places::PlaceFields;

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
    /// Which values the controlling field's value allows.
    pub dependency: Option<Box<Dependency>>,
    pub describe: Map<String, Value>,
    access: AtomicU8,
}

/// What field-level security leaves of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Full,
    ReadOnly,
    Hidden,
}

impl Field {
    /// What the user may do with the field.
    pub fn access(&self) -> Access {
        match self.access.load(Ordering::Relaxed) {
            0 => Access::Full,
            1 => Access::ReadOnly,
            _ => Access::Hidden,
        }
    }

    /// Changes what the user may do with the field, from now on.
    pub fn set_access(&self, access: Access) {
        let value = match access {
            Access::Full => 0,
            Access::ReadOnly => 1,
            Access::Hidden => 2,
        };
        self.access.store(value, Ordering::Relaxed);
    }

    pub fn is_hidden(&self) -> bool {
        self.access() == Access::Hidden
    }

    /// Whether field-level security applies; required and system fields are always there.
    pub fn is_permissionable(&self) -> bool {
        self.describe.get("permissionable") == Some(&Value::Bool(true))
    }

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
    /// Fields whose picklist values depend on another field.
    pub dependents: Vec<usize>,
    /// Links (object, field) that stand in the way of deleting a record of this one.
    pub restricting: Vec<(usize, usize)>,
    /// Addresses with codes of state and country.
    pub places: Vec<PlaceFields>,
    /// What a record counts for in data storage.
    pub storage_bytes: u64,
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

    /// Field index by name, ignoring case; fields the user may not see don't exist.
    pub fn visible(&self, name: &str) -> Option<usize> {
        self.field(name).filter(|f| !self.fields[*f].is_hidden())
    }

    /// The visible field whose relationship name is `name`.
    pub fn relationship(&self, name: &str) -> Option<usize> {
        self.fields
            .iter()
            .position(|f| !f.is_hidden() && f.relationship.as_deref().is_some_and(|r| r.eq_ignore_ascii_case(name)))
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
    /// Every object with amounts says their currency.
    pub multi_currency: bool,
    /// Contacts have relations to accounts, the direct one by themselves.
    pub contact_relations: bool,
    /// Accounts may be persons.
    pub person: Option<PersonSchema>,
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

/// What an org's schema is made of besides the built-in objects.
#[derive(Debug, Clone, Default)]
pub struct SchemaOptions {
    /// Describe documents as (file, text); they replace built-in objects of the same name.
    pub describes: Vec<(String, String)>,
    pub picklists: Vec<PicklistOverride>,
    pub dependencies: Vec<DependencyOverride>,
    pub multi_currency: bool,
    pub person_accounts: bool,
    pub contact_relations: bool,
    /// Addresses have codes of state and country.
    pub state_country: bool,
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
        Self::build(&SchemaOptions {
            picklists: overrides.to_vec(),
            ..SchemaOptions::default()
        })
    }

    /// The schema of an org: built-in objects, those of the options, and its features.
    pub fn build(options: &SchemaOptions) -> Result<Self, SchemaError> {
        let mut own: Vec<(&str, &str)> = Vec::new();
        let mut replaced = HashSet::new();
        for (file, text) in &options.describes {
            let name = build::object_from_describe(file, text)?.name.to_ascii_lowercase();
            replaced.insert(name);
            own.push((file, text));
        }
        let kept = |(file, _): &&(&str, &str)| {
            let name = file.trim_end_matches(".json").to_ascii_lowercase();
            !replaced.contains(&name)
        };
        let describes: Vec<(&str, &str)> = CAPTURED.iter().filter(kept).copied().chain(own).collect();
        Self::assemble(&describes, &[COMPACT], options, &replaced)
    }

    /// Builds a schema from describe documents and compact definitions.
    pub fn from_sources(describes: &[(&str, &str)], compact: &[(&str, &str)], overrides: &[PicklistOverride]) -> Result<Self, SchemaError> {
        let options = SchemaOptions {
            picklists: overrides.to_vec(),
            ..SchemaOptions::default()
        };
        Self::assemble(describes, compact, &options, &HashSet::new())
    }

    fn assemble(
        describes: &[(&str, &str)],
        compact: &[(&str, &str)],
        options: &SchemaOptions,
        replaced: &HashSet<String>,
    ) -> Result<Self, SchemaError> {
        let mut objects: Vec<Object> = Vec::new();
        for (file, text) in describes {
            let object = build::object_from_describe(file, text)?;
            build::add_object(&mut objects, object, file)?;
        }
        for (file, text) in compact {
            for parsed in text::parse(file, text)? {
                // A document of the user's own is the whole truth about its object.
                if !replaced.contains(&parsed.name.to_ascii_lowercase()) {
                    build::apply_compact(&mut objects, parsed, file)?;
                }
            }
        }
        check::needed(&objects, replaced)?;
        features::apply(&mut objects, options)?;
        if options.state_country {
            places::apply(&mut objects)?;
        }
        for change in &options.picklists {
            build::apply_override(&mut objects, change)?;
        }
        for change in &options.dependencies {
            dependency::apply_override(&mut objects, change)?;
        }
        if options.person_accounts {
            person::apply(&mut objects)?;
        }
        let by_name: HashMap<String, usize> = objects.iter().enumerate().map(|(i, o)| (o.name.to_ascii_lowercase(), i)).collect();
        let by_prefix = objects.iter().enumerate().map(|(i, o)| (o.prefix, i)).collect();
        for object in &mut objects {
            dependency::resolve(object)?;
            if options.state_country {
                places::resolve(object);
            }
            object.storage_bytes = features::storage_bytes(object);
            for field in &mut object.fields {
                field.targets = field
                    .reference_to
                    .iter()
                    .filter_map(|t| by_name.get(&t.to_ascii_lowercase()).copied())
                    .collect();
            }
        }
        for index in 0..objects.len() {
            objects[index].restricting = render::restricting(&objects, index);
        }
        let person = options.person_accounts.then(|| PersonSchema::resolve(&objects)).transpose()?;
        Ok(Self {
            objects,
            multi_currency: options.multi_currency,
            contact_relations: options.contact_relations,
            person,
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
