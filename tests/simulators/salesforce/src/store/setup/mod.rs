//! What an administrator has set up beyond the schema: validation rules, triggers, flows,
//! duplicate and assignment rules, picklist values per record type, and permissions.
//!
//! The document is what flags and the control API give; [`Setup`] is its compiled form. An
//! object nothing is set up for has no entry, so its rows pay one look-up and nothing else.

mod document;

use std::collections::HashMap;

use crate::schema::{Access, Object, Schema};
use crate::store::db::Db;
use crate::store::formula::{Formula, FormulaError};
use crate::store::rules::ValidationRule;
use crate::store::rules::assignment::{AssignmentRule, Entry};
use crate::store::rules::duplicates::DuplicateRule;
use crate::store::rules::triggers::{Action, Event, Source, Trigger};
use crate::store::value;

pub use document::{
    ActionDoc, AssignmentDoc, AssignmentEntryDoc, DuplicateActionDoc, DuplicateDoc, FlowDoc, PermissionDoc, RecordTypeValuesDoc, SetupDoc,
    TriggerDoc,
};

/// A setup that contradicts the schema or itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct SetupError {
    /// Such as `triggers[2].actions[0]`.
    pub place: String,
    pub reason: String,
}

/// The values one record type allows in one picklist.
pub struct RecordTypeValues {
    /// Developer name; `Master` for rows without a record type.
    pub record_type: String,
    pub field: usize,
    pub values: Vec<String>,
    pub default: Option<String>,
}

/// What is set up for one object.
#[derive(Default)]
pub struct ObjectSetup {
    pub validation: Vec<ValidationRule>,
    pub triggers: Vec<Trigger>,
    pub duplicates: Vec<DuplicateRule>,
    pub assignment: Vec<AssignmentRule>,
    pub record_type_values: Vec<RecordTypeValues>,
    /// Developer name of the type that rows sent without one get.
    pub default_record_type: Option<String>,
    /// What the user may do; `None` is everything.
    pub permissions: Option<Vec<PermissionDoc>>,
}

impl ObjectSetup {
    /// Whether the user may do this to the object.
    pub fn permits(&self, wanted: PermissionDoc) -> bool {
        self.permissions.as_ref().is_none_or(|list| list.contains(&wanted))
    }
}

/// The compiled setup of an org.
#[derive(Default)]
pub struct Setup {
    pub document: SetupDoc,
    objects: HashMap<usize, ObjectSetup, ahash::RandomState>,
    /// Fields the user may not see, or not change.
    pub restricted_fields: Vec<(usize, usize, Access)>,
}

impl Setup {
    /// What is set up for an object, if anything is.
    pub fn object(&self, object: usize) -> Option<&ObjectSetup> {
        if self.objects.is_empty() {
            return None;
        }
        self.objects.get(&object)
    }

    /// The objects something is set up for.
    pub fn objects(&self) -> impl Iterator<Item = (usize, &ObjectSetup)> {
        self.objects.iter().map(|(object, setup)| (*object, setup))
    }

    /// Whether nothing is set up.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.restricted_fields.is_empty()
    }

    /// Makes the indexes duplicate rules look candidates up in, and the records that assignment
    /// rules are.
    pub fn prepare(&self, db: &mut Db) {
        for (object, setup) in self.objects() {
            for rule in &setup.duplicates {
                db.tables[object].ensure_index(rule.index_field());
            }
            for rule in &setup.assignment {
                crate::seed::assignment_rule(db, object, &rule.name, rule.active);
            }
        }
    }

    /// Checks a document against the schema and compiles it; `rules` are added to its own.
    pub fn compile(document: SetupDoc, rules: &[ValidationRule], schema: &Schema) -> Result<Self, SetupError> {
        let mut compiler = Compiler {
            schema,
            objects: HashMap::default(),
        };
        for (i, rule) in rules.iter().enumerate() {
            compiler.validation(rule.clone(), &format!("validation rule {}", i + 1))?;
        }
        for (i, text) in document.validation_rules.iter().enumerate() {
            let place = format!("validation_rules[{i}]");
            let rule = ValidationRule::parse(text).map_err(|e| fail(&place, e))?;
            compiler.validation(rule, &place)?;
        }
        for (i, trigger) in document.triggers.iter().enumerate() {
            compiler.trigger(trigger, &format!("triggers[{i}]"))?;
        }
        for (i, flow) in document.flows.iter().enumerate() {
            compiler.flow(flow, &format!("flows[{i}]"))?;
        }
        for (i, rule) in document.duplicate_rules.iter().enumerate() {
            compiler.duplicates(rule, &format!("duplicate_rules[{i}]"))?;
        }
        for (i, rule) in document.assignment_rules.iter().enumerate() {
            compiler.assignment(rule, &format!("assignment_rules[{i}]"))?;
        }
        for (i, entry) in document.record_type_values.iter().enumerate() {
            compiler.record_type_values(entry, &format!("record_type_values[{i}]"))?;
        }
        for (name, developer) in &document.default_record_types {
            let object = compiler.object(name, "default_record_types")?;
            compiler.entry(object).default_record_type = Some(developer.clone());
        }
        for (name, permissions) in &document.object_permissions {
            let object = compiler.object(name, "object_permissions")?;
            if !permissions.contains(&PermissionDoc::Read) {
                return Err(fail("object_permissions", format!("{name}: read can't be taken away")));
            }
            compiler.entry(object).permissions = Some(permissions.clone());
        }
        let mut restricted_fields = Vec::new();
        for (list, section, access) in [
            (&document.read_only_fields, "read_only_fields", Access::ReadOnly),
            (&document.hidden_fields, "hidden_fields", Access::Hidden),
        ] {
            for path in list {
                let (object, field) = compiler.path(path, section)?;
                if !schema.objects[object].fields[field].is_permissionable() {
                    return Err(fail(section, format!("{path} is a required or system field, everybody sees it")));
                }
                restricted_fields.push((object, field, access));
            }
        }
        let objects = compiler.objects;
        Ok(Self {
            document,
            objects,
            restricted_fields,
        })
    }
}

fn fail(place: &str, reason: impl std::fmt::Display) -> SetupError {
    SetupError {
        place: place.into(),
        reason: reason.to_string(),
    }
}

struct Compiler<'a> {
    schema: &'a Schema,
    objects: HashMap<usize, ObjectSetup, ahash::RandomState>,
}

impl Compiler<'_> {
    fn entry(&mut self, object: usize) -> &mut ObjectSetup {
        self.objects.entry(object).or_default()
    }

    fn object(&self, name: &str, place: &str) -> Result<usize, SetupError> {
        self.schema
            .object(name.trim())
            .ok_or_else(|| fail(place, format!("there is no object {name}")))
    }

    fn field(&self, object: usize, name: &str, place: &str) -> Result<usize, SetupError> {
        let meta = &self.schema.objects[object];
        meta.field(name.trim())
            .ok_or_else(|| fail(place, format!("{} has no field {name}", meta.name)))
    }

    fn path(&self, path: &str, place: &str) -> Result<(usize, usize), SetupError> {
        let (object, field) = path
            .split_once('.')
            .ok_or_else(|| fail(place, format!("{path} is not Object.Field")))?;
        let object = self.object(object, place)?;
        Ok((object, self.field(object, field, place)?))
    }

    fn formula(&self, text: Option<&String>, object: usize, place: &str) -> Result<Option<Formula>, SetupError> {
        let Some(text) = text else { return Ok(None) };
        let bound = |text: &str| -> Result<Formula, FormulaError> {
            let mut formula = Formula::parse(text)?;
            formula.bind(&self.schema.objects[object])?;
            Ok(formula)
        };
        bound(text).map(Some).map_err(|e| fail(&format!("{place}.if"), e))
    }

    fn validation(&mut self, mut rule: ValidationRule, place: &str) -> Result<(), SetupError> {
        let object = self.object(&rule.object, place)?;
        rule.bind(&self.schema.objects[object]).map_err(|e| fail(place, e))?;
        self.entry(object).validation.push(rule);
        Ok(())
    }

    fn trigger(&mut self, doc: &TriggerDoc, place: &str) -> Result<(), SetupError> {
        let object = self.object(&doc.object, place)?;
        let events = events(&doc.when, &format!("{place}.when"))?;
        let condition = self.formula(doc.condition.as_ref(), object, place)?;
        let mut actions = Vec::new();
        for (i, action) in doc.actions.iter().enumerate() {
            let place = format!("{place}.actions[{i}]");
            self.action(object, action, &events, &place, &mut actions)?;
        }
        self.entry(object).triggers.push(Trigger {
            name: doc.name.clone(),
            events,
            condition,
            actions,
        });
        Ok(())
    }

    fn flow(&mut self, doc: &FlowDoc, place: &str) -> Result<(), SetupError> {
        let object = self.object(&doc.object, place)?;
        let condition = self.formula(doc.condition.as_ref(), object, place)?;
        self.entry(object).triggers.push(Trigger {
            name: doc.name.clone(),
            events: vec![Event::BeforeInsert, Event::BeforeUpdate],
            condition,
            actions: vec![Action::FailFlow(doc.message.clone())],
        });
        Ok(())
    }

    fn action(&self, object: usize, doc: &ActionDoc, events: &[Event], place: &str, out: &mut Vec<Action>) -> Result<(), SetupError> {
        let is_before = events.iter().all(|e| e.is_before());
        let is_after = events.iter().all(|e| !e.is_before());
        let needs = |right: bool, when: &str| -> Result<(), SetupError> {
            if right {
                return Ok(());
            }
            Err(fail(place, format!("this action runs in {when} triggers only")))
        };
        match doc {
            ActionDoc::Set(cells) => {
                needs(is_before, "before")?;
                for (name, value) in cells {
                    let field = self.field(object, name, place)?;
                    let source = self.source(object, object, field, value, place)?;
                    out.push(Action::Set { field, source });
                }
            }
            ActionDoc::AddError { message, field } => {
                let field = match field {
                    Some(name) => Some(self.field(object, name, place)?),
                    None => None,
                };
                out.push(Action::AddError {
                    message: message.clone(),
                    field,
                });
            }
            ActionDoc::Throw(message) => out.push(Action::Throw(message.clone())),
            ActionDoc::Create {
                object: created,
                link,
                set,
            } => {
                needs(is_after, "after")?;
                let created = self.object(created, place)?;
                let link = match link {
                    Some(name) => {
                        let field = self.field(created, name, place)?;
                        if !self.schema.objects[created].fields[field].targets.contains(&object) {
                            return Err(fail(
                                place,
                                format!("{name} does not refer to {}", self.schema.objects[object].name),
                            ));
                        }
                        Some(field)
                    }
                    None => None,
                };
                let mut cells = Vec::new();
                for (name, value) in set {
                    let field = self.field(created, name, place)?;
                    cells.push((field, self.source(object, created, field, value, place)?));
                }
                out.push(Action::Create {
                    object: created,
                    link,
                    cells,
                });
            }
            ActionDoc::Touch(name) => {
                needs(is_after, "after")?;
                let field = self.field(object, name, place)?;
                if self.schema.objects[object].fields[field].targets.is_empty() {
                    return Err(fail(place, format!("{name} refers to no other record")));
                }
                out.push(Action::Touch { field });
            }
        }
        Ok(())
    }

    /// A literal in stored form, or a field of the triggering record.
    fn source(&self, from: usize, object: usize, field: usize, value: &serde_json::Value, place: &str) -> Result<Source, SetupError> {
        let text = match value {
            serde_json::Value::Null => return Ok(Source::Literal(Vec::new())),
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Object(map) => {
                let name = map.get("from").and_then(serde_json::Value::as_str);
                let name = name.ok_or_else(|| fail(place, "a value is a scalar or {\"from\": \"Field\"}"))?;
                return Ok(Source::Field(self.field(from, name, place)?));
            }
            other => other.to_string(),
        };
        let mut stored = Vec::new();
        let spec = &self.schema.objects[object].fields[field];
        value::normalise(spec, text.as_bytes(), &mut stored).map_err(|e| fail(place, format!("{}: {}", spec.name, e.message)))?;
        Ok(Source::Literal(stored))
    }

    fn duplicates(&mut self, doc: &DuplicateDoc, place: &str) -> Result<(), SetupError> {
        let object = self.object(&doc.object, place)?;
        if doc.fields.is_empty() {
            return Err(fail(place, "a duplicate rule needs a field to match"));
        }
        let mut fields = Vec::new();
        for name in &doc.fields {
            fields.push(self.field(object, name, place)?);
        }
        self.entry(object).duplicates.push(DuplicateRule {
            name: doc.name.clone(),
            fields,
            blocks: doc.action == DuplicateActionDoc::Block,
            alert: doc.alert.clone(),
        });
        Ok(())
    }

    fn assignment(&mut self, doc: &AssignmentDoc, place: &str) -> Result<(), SetupError> {
        let object = self.object(&doc.object, place)?;
        if !["Case", "Lead"].contains(&self.schema.objects[object].name.as_str()) {
            return Err(fail(place, "assignment rules exist for Case and Lead"));
        }
        let mut entries = Vec::new();
        for (i, entry) in doc.entries.iter().enumerate() {
            let place = format!("{place}.entries[{i}]");
            entries.push(Entry {
                condition: self.formula(entry.condition.as_ref(), object, &place)?,
                owner: entry.owner.clone(),
            });
        }
        self.entry(object).assignment.push(AssignmentRule {
            name: doc.name.clone(),
            active: doc.active,
            entries,
        });
        Ok(())
    }

    fn record_type_values(&mut self, doc: &RecordTypeValuesDoc, place: &str) -> Result<(), SetupError> {
        let object = self.object(&doc.object, place)?;
        let field = self.field(object, &doc.field, place)?;
        let meta: &Object = &self.schema.objects[object];
        let spec = &meta.fields[field];
        if meta.field("RecordTypeId").is_none() {
            return Err(fail(place, format!("{} has no record types", meta.name)));
        }
        for value in &doc.values {
            if !spec.values.contains(value.as_bytes()) {
                return Err(fail(place, format!("{value} is not a value of {}.{}", meta.name, spec.name)));
            }
        }
        if let Some(default) = doc.default.as_ref().filter(|d| !doc.values.contains(d)) {
            return Err(fail(place, format!("the default {default} is not one of the values")));
        }
        self.entry(object).record_type_values.push(RecordTypeValues {
            record_type: doc.record_type.clone(),
            field,
            values: doc.values.clone(),
            default: doc.default.clone(),
        });
        Ok(())
    }
}

/// `before insert, before update`
fn events(text: &str, place: &str) -> Result<Vec<Event>, SetupError> {
    let mut out = Vec::new();
    for part in text.split(',') {
        let words: Vec<String> = part.split_whitespace().map(str::to_ascii_lowercase).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        out.push(match words.as_slice() {
            ["before", "insert"] => Event::BeforeInsert,
            ["before", "update"] => Event::BeforeUpdate,
            ["before", "delete"] => Event::BeforeDelete,
            ["after", "insert"] => Event::AfterInsert,
            ["after", "update"] => Event::AfterUpdate,
            ["after", "delete"] => Event::AfterDelete,
            _ => {
                return Err(fail(
                    place,
                    format!("\"{}\" is not an event such as \"before insert\"", part.trim()),
                ));
            }
        });
    }
    Ok(out)
}
