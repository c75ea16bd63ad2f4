//! Change events: from a schema's text and a datum's bytes to what changed.
//!
//! A payload is decoded with exactly the schema it names; another schema, a cut or a hostile payload gives an error that
//! says where (byte and field), never a panic, and never more memory than the payload's own size suggests. No error
//! quotes a value. `apache-avro` reads the schema's text; the datum is read here, because that crate's reader takes a
//! missing end for nulls and reserves whatever length a payload claims.
//!
//! Start with [`Decoder`].

mod bitmap;
mod datum;
mod schema;
pub mod text_diff;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use syncline_connect::ConnectError;
use syncline_domain::ErrorCode;

pub use datum::Value;
pub use schema::EventSchema;

/// What happened to the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeType {
    Create,
    Update,
    Delete,
    Undelete,
    /// The change is known, its values are not: read the records again.
    GapCreate,
    GapUpdate,
    GapDelete,
    GapUndelete,
    /// Which records changed is not known: read the object again.
    GapOverflow,
    Snapshot,
}

impl ChangeType {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "CREATE" => Self::Create,
            "UPDATE" => Self::Update,
            "DELETE" => Self::Delete,
            "UNDELETE" => Self::Undelete,
            "GAP_CREATE" => Self::GapCreate,
            "GAP_UPDATE" => Self::GapUpdate,
            "GAP_DELETE" => Self::GapDelete,
            "GAP_UNDELETE" => Self::GapUndelete,
            "GAP_OVERFLOW" => Self::GapOverflow,
            "SNAPSHOT" => Self::Snapshot,
            _ => return None,
        })
    }
}

/// A field of the event, or one part of a compound field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldPath {
    pub field: String,
    pub part: Option<String>,
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.part {
            Some(part) => write!(f, "{}.{part}", self.field),
            None => f.write_str(&self.field),
        }
    }
}

/// One decoded event. `Debug` shows names and counts, no values.
#[derive(Clone, PartialEq)]
pub struct ChangeEvent {
    pub entity: String,
    /// Ids; a single `001*` stands for every record of the entity.
    pub record_ids: Vec<String>,
    pub change: ChangeType,
    pub origin: String,
    pub transaction_key: String,
    pub sequence_number: i32,
    /// Milliseconds since 1970.
    pub commit_timestamp_ms: i64,
    pub commit_number: i64,
    pub commit_user: String,
    /// Fields that an UPDATE changed; what is not in here has no meaning in its values.
    pub changed: Vec<FieldPath>,
    pub nulled: Vec<FieldPath>,
    /// Changed fields whose value is a difference; see [`text_diff::apply`].
    pub diffed: Vec<FieldPath>,
    /// Every field of the schema but the header, in its order.
    pub fields: Vec<(String, Value)>,
}

impl ChangeEvent {
    /// The value of a field, if the schema has it.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// Whether the event stands for every record of its entity.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.record_ids.iter().any(|id| id.ends_with('*'))
    }
}

impl fmt::Debug for ChangeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeEvent")
            .field("entity", &self.entity)
            .field("change", &self.change)
            .field("record_ids", &self.record_ids)
            .field("changed", &self.changed)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a schema or a payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the schema is not known")]
    UnknownSchema,
    #[error("not an Avro schema: {0}")]
    Schema(String),
    #[error("the type {0} is not one that events have")]
    Type(String),
    #[error("no change event: {0}")]
    Header(&'static str),
    #[error("the payload ends here")]
    Truncated,
    #[error("{0} bytes follow behind the last field")]
    Trailing(usize),
    #[error("a length of {0}, which the payload does not have")]
    Length(i64),
    #[error("a number that does not end")]
    Number,
    #[error("{0} is no branch of {1}")]
    Branch(i64, usize),
    #[error("not UTF-8")]
    Text,
    #[error("{0} is no truth value")]
    Boolean(u8),
    #[error("more values than an event can have")]
    Values,
    #[error("nested too deeply")]
    Depth,
    #[error("a bitmap that is none")]
    Bitmap,
    #[error("bit {0} stands for no field")]
    Bit(usize),
}

/// A fault and its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {fault}", place(schema_id, path, *offset))]
pub struct EventError {
    pub schema_id: String,
    /// The field, with its part or position: `BillingAddress.City`, `ChangeEventHeader.recordIds[3]`.
    pub path: String,
    /// The byte of the payload, when it is about one.
    pub offset: Option<usize>,
    pub fault: Fault,
}

fn place(schema_id: &str, path: &str, offset: Option<usize>) -> String {
    let mut out = format!("change event of schema {schema_id}");
    if !path.is_empty() {
        out.push_str(", field ");
        out.push_str(path);
    }
    if let Some(offset) = offset {
        out.push_str(&format!(", byte {offset}"));
    }
    out
}

impl From<EventError> for ConnectError {
    fn from(error: EventError) -> Self {
        Self::new(ErrorCode::BadAnswer, error.to_string())
    }
}

/// Decodes events by the schema that each names.
#[derive(Debug, Default, Clone)]
pub struct Decoder {
    schemas: HashMap<String, Arc<EventSchema>>,
}

impl Decoder {
    /// A decoder that knows no schema yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a schema is known. An id stands for one text for ever.
    #[must_use]
    pub fn knows(&self, schema_id: &str) -> bool {
        self.schemas.contains_key(schema_id)
    }

    /// Learns a schema.
    ///
    /// # Errors
    /// When the text is not the schema of a change event.
    pub fn learn(&mut self, schema_id: &str, json: &str) -> Result<(), EventError> {
        let schema = EventSchema::parse(schema_id, json)?;
        self.schemas.insert(schema_id.to_owned(), Arc::new(schema));
        Ok(())
    }

    /// Decodes one event.
    ///
    /// # Errors
    /// When the schema has not been learnt, or the payload is not a datum of it.
    pub fn decode(&self, schema_id: &str, payload: &[u8]) -> Result<ChangeEvent, EventError> {
        let schema = self.schemas.get(schema_id).ok_or_else(|| EventError {
            schema_id: schema_id.to_owned(),
            path: String::new(),
            offset: None,
            fault: Fault::UnknownSchema,
        })?;
        schema.decode(payload)
    }
}
