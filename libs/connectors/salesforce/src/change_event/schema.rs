//! A schema made ready for decoding: names resolved, only the types that events have.

use std::collections::HashMap;

use apache_avro::Schema;

use super::bitmap::expand;
use super::datum::{Reader, Value};
use super::{ChangeEvent, ChangeType, EventError, Fault};

/// Bytes of a schema's text: what one answer may carry.
const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Levels of records, unions and arrays.
const DEPTH_MAX: usize = 16;
const HEADER: &str = "ChangeEventHeader";

/// What stands at a place of the datum. Records are kept once and referred to by number.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Text,
    Bytes,
    Enum(Vec<String>),
    Array(Box<Shape>),
    Union(Vec<Shape>),
    Record(usize),
}

/// A record's fields by name, in order.
pub(super) type Fields = Vec<(String, Shape)>;

/// The schema of one form of one entity's change events.
#[derive(Debug)]
pub struct EventSchema {
    id: String,
    pub(super) records: Vec<Fields>,
    root: usize,
}

impl EventSchema {
    /// Reads a schema's text.
    ///
    /// # Errors
    /// When it is no Avro schema, none of a record whose first field is the header, or has types that events do not
    /// have; the error names the field.
    pub fn parse(id: &str, json: &str) -> Result<Self, EventError> {
        let fail = |path: &str, fault| EventError {
            schema_id: id.to_owned(),
            path: path.to_owned(),
            offset: None,
            fault,
        };
        if json.len() > TEXT_BYTES_MAX {
            return Err(fail("", Fault::Schema(format!("{} bytes of text", json.len()))));
        }
        let avro = Schema::parse_str(json).map_err(|e| fail("", Fault::Schema(e.to_string())))?;
        let mut builder = Builder::default();
        let root = builder.shape(&avro, "", 0).map_err(|(path, fault)| fail(&path, fault))?;
        let Shape::Record(root) = root else {
            return Err(fail("", Fault::Header("not a record")));
        };
        let schema = Self {
            id: id.to_owned(),
            records: builder.records,
            root,
        };
        match schema.records[root].first() {
            Some((name, Shape::Record(_))) if name == HEADER => Ok(schema),
            _ => Err(fail("", Fault::Header("the first field is not the header"))),
        }
    }

    /// Names of the body's fields, in order.
    pub fn field_names(&self) -> impl Iterator<Item = &str> {
        self.records[self.root].iter().skip(1).map(|(name, _)| name.as_str())
    }

    /// Decodes one payload.
    ///
    /// # Errors
    /// When the payload is not a datum of this schema; the error names field and byte.
    pub fn decode(&self, payload: &[u8]) -> Result<ChangeEvent, EventError> {
        let mut reader = Reader::new(self, payload);
        let read = reader.record(self.root, 0).and_then(|fields| reader.end().map(|()| fields));
        let fields = read.map_err(|fault| self.error(reader.path(), Some(reader.offset()), fault))?;
        self.event(fields)
    }

    fn error(&self, path: String, offset: Option<usize>, fault: Fault) -> EventError {
        EventError {
            schema_id: self.id.clone(),
            path,
            offset,
            fault,
        }
    }

    fn event(&self, fields: Vec<(String, Value)>) -> Result<ChangeEvent, EventError> {
        let mut fields = fields.into_iter();
        let mut header = match fields.next() {
            Some((_, Value::Record(parts))) => Header { schema: self, parts },
            _ => return Err(self.error(HEADER.into(), None, Fault::Header("there is none"))),
        };
        let change = header.text("changeType")?;
        let unknown_change = || self.error(format!("{HEADER}.changeType"), None, Fault::Header("an unknown type of change"));
        Ok(ChangeEvent {
            entity: header.text("entityName")?,
            record_ids: header.texts("recordIds")?,
            change: ChangeType::parse(&change).ok_or_else(unknown_change)?,
            origin: header.text("changeOrigin")?,
            transaction_key: header.text("transactionKey")?,
            sequence_number: i32::try_from(header.number("sequenceNumber")?).unwrap_or(i32::MAX),
            commit_timestamp_ms: header.number("commitTimestamp")?,
            commit_number: header.number("commitNumber")?,
            commit_user: header.text("commitUser")?,
            changed: header.bitmap("changedFields")?,
            nulled: header.bitmap("nulledFields")?,
            diffed: header.bitmap("diffFields")?,
            fields: fields.collect(),
        })
    }

    /// Names of the top-level fields, and of the parts where a field is a compound.
    pub(super) fn parts_of(&self, field: usize) -> Option<(&str, Option<&Fields>)> {
        let (name, shape) = self.records[self.root].get(field)?;
        let record = match shape {
            Shape::Record(record) => Some(*record),
            Shape::Union(branches) => branches.iter().find_map(|b| match b {
                Shape::Record(record) => Some(*record),
                _ => None,
            }),
            _ => None,
        };
        Some((name, record.map(|r| &self.records[r])))
    }
}

/// The header's values; taken out by name, so that fields which the service adds do no harm.
struct Header<'a> {
    schema: &'a EventSchema,
    parts: Vec<(String, Value)>,
}

impl Header<'_> {
    fn take(&mut self, name: &'static str) -> Value {
        let found = self.parts.iter_mut().find(|(n, _)| n == name);
        found.map_or(Value::Null, |(_, v)| std::mem::replace(v, Value::Null))
    }

    fn missing(&self, name: &str) -> EventError {
        let fault = Fault::Header("missing or of another type");
        self.schema.error(format!("{HEADER}.{name}"), None, fault)
    }

    fn text(&mut self, name: &'static str) -> Result<String, EventError> {
        match self.take(name) {
            Value::Text(text) => Ok(text),
            _ => Err(self.missing(name)),
        }
    }

    fn number(&mut self, name: &'static str) -> Result<i64, EventError> {
        match self.take(name) {
            Value::Long(n) => Ok(n),
            Value::Int(n) => Ok(n.into()),
            _ => Err(self.missing(name)),
        }
    }

    fn texts(&mut self, name: &'static str) -> Result<Vec<String>, EventError> {
        let Value::Array(items) = self.take(name) else {
            return Err(self.missing(name));
        };
        let text = |item| match item {
            Value::Text(text) => Ok(text),
            _ => Err(self.missing(name)),
        };
        items.into_iter().map(text).collect()
    }

    fn bitmap(&mut self, name: &'static str) -> Result<Vec<super::FieldPath>, EventError> {
        let mut out = Vec::new();
        for (at, text) in self.texts(name)?.iter().enumerate() {
            let place = |fault| self.schema.error(format!("{HEADER}.{name}[{at}]"), None, fault);
            expand(text, self.schema, &mut out).map_err(place)?;
        }
        Ok(out)
    }
}

#[derive(Default)]
struct Builder {
    records: Vec<Fields>,
    by_name: HashMap<String, Shape>,
}

impl Builder {
    fn shape(&mut self, schema: &Schema, path: &str, depth: usize) -> Result<Shape, (String, Fault)> {
        if depth > DEPTH_MAX {
            return Err((path.to_owned(), Fault::Depth));
        }
        Ok(match schema {
            Schema::Null => Shape::Null,
            Schema::Boolean => Shape::Boolean,
            Schema::Int | Schema::Date | Schema::TimeMillis => Shape::Int,
            Schema::Long | Schema::TimestampMillis | Schema::TimestampMicros | Schema::TimeMicros => Shape::Long,
            Schema::Float => Shape::Float,
            Schema::Double => Shape::Double,
            Schema::String => Shape::Text,
            Schema::Bytes => Shape::Bytes,
            Schema::Array(array) => Shape::Array(Box::new(self.shape(&array.items, path, depth + 1)?)),
            Schema::Union(union) => {
                let branches = union.variants().iter().map(|v| self.shape(v, path, depth + 1));
                Shape::Union(branches.collect::<Result<_, _>>()?)
            }
            Schema::Enum(symbols) => {
                let shape = Shape::Enum(symbols.symbols.clone());
                self.by_name.insert(symbols.name.fullname(None), shape.clone());
                shape
            }
            Schema::Record(record) => {
                let mut fields = Fields::with_capacity(record.fields.len());
                for field in &record.fields {
                    let path = if path.is_empty() {
                        field.name.clone()
                    } else {
                        format!("{path}.{}", field.name)
                    };
                    fields.push((field.name.clone(), self.shape(&field.schema, &path, depth + 1)?));
                }
                self.records.push(fields);
                let shape = Shape::Record(self.records.len() - 1);
                self.by_name.insert(record.name.fullname(None), shape.clone());
                shape
            }
            // A record that contains itself is not complete yet, so its name is not found.
            Schema::Ref { name } => {
                let known = self.by_name.get(&name.fullname(None)).cloned();
                known.ok_or_else(|| (path.to_owned(), Fault::Type(name.fullname(None))))?
            }
            other => return Err((path.to_owned(), Fault::Type(kind(other)))),
        })
    }
}

fn kind(schema: &Schema) -> String {
    match schema {
        Schema::Map(_) => "map",
        Schema::Fixed(_) => "fixed",
        _ => "of a logical value",
    }
    .to_owned()
}
