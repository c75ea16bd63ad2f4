//! Avro schemas of events, built from the org's own describe.
//!
//! Field 0 is the header. The body follows in describe order, with address, location and name parts folded into their
//! compound, without formulas and the fields that change data capture leaves out. A schema's id is a hash of its text,
//! so the same form always has the same id and another form never does.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::pubsub::config::{PlatformEvent, PlatformType};
use crate::schema::{Field, Object};
use crate::store::id::Id;

/// Not in any change event (fact sheet, 4.4).
const LEFT_OUT: [&str; 10] = [
    "Id",
    "IsDeleted",
    "SystemModstamp",
    "MasterRecordId",
    "LastActivityDate",
    "LastViewedDate",
    "LastReferencedDate",
    "PhotoUrl",
    "IsPartner",
    "IsCustomerPortal",
];
/// Picklists whose values nobody can edit.
const STATIC_PICKLISTS: [&str; 3] = ["CleanStatus", "ForecastCategory", "CurrencyIsoCode"];
const ADDRESS_PARTS: [&str; 10] = [
    "Street",
    "City",
    "State",
    "PostalCode",
    "Country",
    "StateCode",
    "CountryCode",
    "Latitude",
    "Longitude",
    "GeocodeAccuracy",
];
const LOCATION_PARTS: [&str; 2] = ["Latitude", "Longitude"];
const NAME_PARTS: [&str; 6] = ["Salutation", "FirstName", "LastName", "MiddleName", "InformalName", "Suffix"];
/// Texts up to this length are plain ones, longer ones are kept apart from the row.
const PLAIN_TEXT_CHARS_MAX: usize = 255;

/// How a cell's text becomes an Avro value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    Text,
    /// Text that may be told as a difference.
    LongText,
    Double,
    Int,
    Boolean,
    DateTime,
    Date,
    Time,
}

impl Cell {
    /// The Avro type's name.
    #[must_use]
    pub fn avro(self) -> &'static str {
        match self {
            Self::Text | Self::LongText => "string",
            Self::Double => "double",
            Self::Int => "int",
            Self::Boolean => "boolean",
            Self::DateTime | Self::Date | Self::Time => "long",
        }
    }
}

/// A part of a compound: its name, and the column it comes from if the org has it.
#[derive(Debug, Clone)]
pub struct Part {
    pub name: &'static str,
    pub column: Option<usize>,
    pub cell: Cell,
}

/// Where a body field's value comes from.
#[derive(Debug, Clone)]
pub enum Source {
    Column {
        column: usize,
        cell: Cell,
    },
    Compound {
        parts: Vec<Part>,
    },
    /// Account.Name: text of a business account, parts of a person account.
    SwitchableName {
        column: usize,
        parts: Vec<Part>,
    },
    /// A field that a schema change added: it has the same value in every event that carries all values.
    Added {
        cell: Cell,
        value: Option<String>,
    },
}

/// One body field.
#[derive(Debug, Clone)]
pub struct EventField {
    pub name: String,
    pub source: Source,
}

/// A change of an event's form, asked for by a test.
#[derive(Debug, Clone)]
pub enum SchemaChange {
    Add {
        name: String,
        kind: PlatformType,
        value: Option<String>,
        /// The field behind which it stands; the last when absent.
        after: Option<String>,
    },
    Drop {
        name: String,
    },
}

/// One schema.
pub struct EventSchema {
    pub id: String,
    pub json: String,
    pub avro: apache_avro::Schema,
    /// The body, so that `fields[i]` is Avro field `i + 1`.
    pub fields: Vec<EventField>,
}

/// A schema that is not what Avro allows.
#[derive(Debug, thiserror::Error)]
#[error("the event schema of {object}: {reason}")]
pub struct EventSchemaError {
    pub object: String,
    pub reason: String,
}

impl EventSchema {
    /// The change event schema of an object.
    ///
    /// # Errors
    /// When a change asks for what Avro does not allow, such as a name twice.
    pub fn of_object(meta: &Object, pod: [u8; 2], changes: &[SchemaChange]) -> Result<Self, EventSchemaError> {
        let mut builder = Builder::new(meta, pod);
        // A dropped field must not take with it the record type that it would have been the first to write out.
        let dropped = |name: &str| {
            changes
                .iter()
                .any(|c| matches!(c, SchemaChange::Drop { name: gone } if gone.eq_ignore_ascii_case(name)))
        };
        for (column, field) in meta.fields.iter().enumerate().filter(|(_, f)| !dropped(&f.name)) {
            builder.field(column, field);
        }
        for change in changes {
            builder.add(change);
        }
        let Builder { fields, mut avro, .. } = builder;
        avro.insert(
            0,
            json!({"name": "ChangeEventHeader", "type": header(), "doc": "Data:ComplexValueType"}),
        );
        let name = event_name(&meta.name);
        let text = json!({"type": "record", "name": name, "namespace": "com.sforce.eventbus", "fields": avro});
        Self::finish(text, fields, false, &name)
    }

    /// A platform event's schema, which names its id in itself.
    ///
    /// # Errors
    /// As [`EventSchema::of_object`].
    pub fn of_platform_event(event: &PlatformEvent, pod: [u8; 2]) -> Result<Self, EventSchemaError> {
        let mut avro = vec![
            json!({"name": "CreatedDate", "type": "long", "doc": "CreatedDate:DateTime"}),
            json!({"name": "CreatedById", "type": "string", "doc": "CreatedBy:EntityId"}),
        ];
        for (name, kind) in &event.fields {
            let (cell, semantic) = platform_cell(*kind);
            let id = field_id(pod, &event.name, name);
            avro.push(nullable(name, json!(cell.avro()), &format!("Data:{semantic}:{id}")));
        }
        let text = json!({"type": "record", "name": event.name, "namespace": "com.sforce.eventbus", "fields": avro});
        Self::finish(text, Vec::new(), true, &event.name)
    }

    fn finish(mut text: Value, fields: Vec<EventField>, names_itself: bool, object: &str) -> Result<Self, EventSchemaError> {
        let hash = digest(&SHA256, text.to_string().as_bytes());
        let id = URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]);
        if names_itself && let Some(map) = text.as_object_mut() {
            map.insert("uuid".into(), json!(id));
        }
        let json = text.to_string();
        let avro = apache_avro::Schema::parse_str(&json).map_err(|e| EventSchemaError {
            object: object.into(),
            reason: e.to_string(),
        })?;
        Ok(Self { id, json, avro, fields })
    }
}

/// `Account` gives `AccountChangeEvent`, `Project__c` gives `Project__ChangeEvent`.
#[must_use]
pub fn event_name(object: &str) -> String {
    match object.strip_suffix("__c") {
        Some(stem) => format!("{stem}__ChangeEvent"),
        None => format!("{object}ChangeEvent"),
    }
}

fn header() -> Value {
    let text = |name: &str| json!({"name": name, "type": "string"});
    let list = |name: &str| json!({"name": name, "type": {"type": "array", "items": "string"}});
    let number = |name: &str, kind: &str| json!({"name": name, "type": kind});
    let symbols = crate::pubsub::event::ChangeType::ALL.map(|t| t.name());
    json!({"type": "record", "name": "ChangeEventHeader", "fields": [
        text("entityName"), list("recordIds"),
        {"name": "changeType", "type": {"type": "enum", "name": "ChangeType", "symbols": symbols}},
        text("changeOrigin"), text("transactionKey"), number("sequenceNumber", "int"),
        number("commitTimestamp", "long"), number("commitNumber", "long"), text("commitUser"),
        list("nulledFields"), list("diffFields"), list("changedFields")]})
}

fn nullable(name: &str, kind: Value, doc: &str) -> Value {
    json!({"name": name, "type": ["null", kind], "doc": doc, "default": null})
}

/// The id of a custom field's definition; the same field always has the same.
fn field_id(pod: [u8; 2], object: &str, field: &str) -> String {
    let hash = digest(&SHA256, format!("{object}.{field}").as_bytes());
    let serial = hash.as_ref().iter().take(5).fold(0, |serial, byte| serial << 8 | u64::from(*byte));
    Id::new(*b"00N", pod, serial).text()[..15].to_owned()
}

fn platform_cell(kind: PlatformType) -> (Cell, &'static str) {
    match kind {
        PlatformType::Text => (Cell::Text, "Text"),
        PlatformType::LongText => (Cell::LongText, "StringPlusClob"),
        PlatformType::Number => (Cell::Double, "Double"),
        PlatformType::Checkbox => (Cell::Boolean, "Boolean"),
        PlatformType::Date => (Cell::Date, "DateOnly"),
        PlatformType::DateTime => (Cell::DateTime, "DateTime"),
    }
}

/// Cell form, role and semantic type of a describe field; `None` for types that events do not carry.
fn semantics(field: &Field) -> Option<(Cell, &'static str, &'static str)> {
    let data = |cell, semantic| Some((cell, "Data", semantic));
    match field.describe.get("type").and_then(Value::as_str)? {
        "reference" => Some((Cell::Text, "ForeignKey", "EntityId")),
        "string" if field.name.starts_with("Jigsaw") && field.name.ends_with("Id") => {
            Some((Cell::Text, "ExternalForeignKey", "ExternalId"))
        }
        "string" | "combobox" | "encryptedstring" | "DataCategoryGroupReference" => data(Cell::Text, "Text"),
        "textarea" if field.describe.get("htmlFormatted") == Some(&Value::Bool(true)) => data(Cell::LongText, "HtmlStringPlusClob"),
        "textarea" if field.length > PLAIN_TEXT_CHARS_MAX => data(Cell::LongText, "StringPlusClob"),
        "textarea" => data(Cell::Text, "Text"),
        "picklist" if STATIC_PICKLISTS.contains(&field.name.as_str()) => data(Cell::Text, "StaticEnum"),
        "picklist" => data(Cell::Text, "DynamicEnum"),
        "multipicklist" => data(Cell::Text, "MultiEnum"),
        "email" => data(Cell::Text, "Email"),
        "phone" => data(Cell::Text, "Phone"),
        "url" => data(Cell::Text, "Url"),
        "boolean" => data(Cell::Boolean, "Boolean"),
        "int" => data(Cell::Int, "Integer"),
        "double" => data(Cell::Double, "Double"),
        "currency" => data(Cell::Double, "Currency"),
        "percent" => data(Cell::Double, "Percent"),
        "datetime" if field.name == "CreatedDate" => Some((Cell::DateTime, "CreatedDate", "DateTime")),
        "datetime" => data(Cell::DateTime, "DateTime"),
        "date" => data(Cell::Date, "DateOnly"),
        "time" => data(Cell::Time, "TimeOnly"),
        _ => None,
    }
}

struct Builder<'a> {
    meta: &'a Object,
    pod: [u8; 2],
    fields: Vec<EventField>,
    avro: Vec<Value>,
    /// Named types that have been written out; later uses name them.
    written: Vec<&'static str>,
}

impl<'a> Builder<'a> {
    fn new(meta: &'a Object, pod: [u8; 2]) -> Self {
        Self {
            meta,
            pod,
            fields: Vec::new(),
            avro: Vec::new(),
            written: Vec::new(),
        }
    }

    fn field(&mut self, column: usize, field: &Field) {
        let formula = field.describe.get("calculatedFormula").is_some_and(|f| !f.is_null());
        if LEFT_OUT.contains(&field.name.as_str()) || formula {
            return;
        }
        let person = self.meta.field("LastName").is_some();
        if self.meta.name == "Account" && field.name == "Name" {
            return self.switchable_name(column, field);
        }
        if person && NAME_PARTS.contains(&field.name.as_str()) {
            return;
        }
        if person && field.name == "Name" {
            let parts = self.parts("", "", &NAME_PARTS);
            return self.compound(field, "PersonName", parts);
        }
        let kind = field.describe.get("type").and_then(Value::as_str).unwrap_or_default();
        match kind {
            "address" => {
                let parts = self.address_parts(&field.name);
                return self.compound(field, "Address", parts);
            }
            "location" => {
                let stem = field.name.trim_end_matches('c');
                let parts = self.parts(stem, "__s", &LOCATION_PARTS);
                return self.compound(field, "Location", parts);
            }
            _ => {}
        }
        if self.is_folded(field) {
            return;
        }
        let Some((cell, role, semantic)) = semantics(field) else { return };
        let doc = self.doc(field, role, semantic);
        self.push(&field.name, json!(["null", cell.avro()]), &doc, Source::Column { column, cell });
    }

    fn is_folded(&self, field: &Field) -> bool {
        let compound = field.compound.as_deref().and_then(|c| self.meta.field(c));
        compound.is_some_and(|c| {
            let kind = self.meta.fields[c].describe.get("type").and_then(Value::as_str);
            matches!(kind, Some("address" | "location"))
        })
    }

    fn doc(&self, field: &Field, role: &str, semantic: &str) -> String {
        let custom = field.describe.get("custom") == Some(&Value::Bool(true));
        match custom {
            true => format!("{role}:{semantic}:{}", field_id(self.pod, &self.meta.name, &field.name)),
            false => format!("{role}:{semantic}"),
        }
    }

    fn push(&mut self, name: &str, kind: Value, doc: &str, source: Source) {
        self.avro.push(json!({"name": name, "type": kind, "doc": doc, "default": null}));
        self.fields.push(EventField {
            name: name.to_owned(),
            source,
        });
    }

    fn compound(&mut self, field: &Field, record: &'static str, parts: Vec<Part>) {
        let doc = self.doc(field, "Data", record);
        let kind = json!(["null", self.record(record, &parts)]);
        self.push(&field.name, kind, &doc, Source::Compound { parts });
    }

    fn switchable_name(&mut self, column: usize, field: &Field) {
        let parts: Vec<Part> = NAME_PARTS
            .into_iter()
            .enumerate()
            .filter(|(at, name)| *at < 3 || self.meta.field(name).is_some())
            .map(|(_, name)| self.part("", name, ""))
            .collect();
        let record = "Switchable_PersonName";
        let doc = self.doc(field, "Data", record);
        let kind = json!(["null", "string", self.record(record, &parts)]);
        self.push(&field.name, kind, &doc, Source::SwitchableName { column, parts });
    }

    /// The record type, written out the first time and named afterwards.
    fn record(&mut self, name: &'static str, parts: &[Part]) -> Value {
        if self.written.contains(&name) {
            return json!(name);
        }
        self.written.push(name);
        let fields: Vec<Value> = parts
            .iter()
            .map(|p| json!({"name": p.name, "type": ["null", p.cell.avro()], "default": null}))
            .collect();
        json!({"type": "record", "name": name, "fields": fields})
    }

    fn part(&self, prefix: &str, name: &'static str, suffix: &str) -> Part {
        let cell = match name {
            "Latitude" | "Longitude" => Cell::Double,
            _ => Cell::Text,
        };
        let column = self.meta.field(&format!("{prefix}{name}{suffix}"));
        Part { name, column, cell }
    }

    fn parts(&self, prefix: &str, suffix: &str, names: &[&'static str]) -> Vec<Part> {
        let all = names.iter().map(|name| self.part(prefix, name, suffix));
        all.filter(|p| p.column.is_some()).collect()
    }

    /// Every address of an object has the same parts, because they share one Avro type: codes when any of them has.
    fn address_parts(&self, name: &str) -> Vec<Part> {
        let custom = name.ends_with("__c");
        let prefix = match custom {
            true => name.trim_end_matches('c'),
            false => name.strip_suffix("Address").unwrap_or_default(),
        };
        let with_codes = self
            .meta
            .fields
            .iter()
            .any(|f| f.compound.is_some() && f.name.contains("StateCode"));
        ADDRESS_PARTS
            .into_iter()
            .filter(|part| with_codes || !part.ends_with("Code") || *part == "PostalCode")
            .map(|part| self.part(prefix, part, if custom { "__s" } else { "" }))
            .collect()
    }

    fn add(&mut self, change: &SchemaChange) {
        let SchemaChange::Add { name, kind, value, after } = change else {
            return;
        };
        let (cell, semantic) = platform_cell(*kind);
        let at = after
            .as_ref()
            .and_then(|a| self.fields.iter().position(|f| f.name.eq_ignore_ascii_case(a)))
            .map_or(self.fields.len(), |at| at + 1);
        let doc = format!("Data:{semantic}:{}", field_id(self.pod, &self.meta.name, name));
        self.avro.insert(at, nullable(name, json!(cell.avro()), &doc));
        let source = Source::Added {
            cell,
            value: value.clone(),
        };
        let name = name.clone();
        self.fields.insert(at, EventField { name, source });
    }
}
