//! One change event: its header, and its body from what a row was and is.

use apache_avro::types::Value;

use crate::pubsub::bitmap::FieldSet;
use crate::pubsub::event_schema::{Cell, EventField, EventSchema, Part, Source};
use crate::pubsub::text_diff;
use crate::store::row::Row;
use crate::store::value;

/// What happened to the records, in the order of the Avro enum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeType {
    Create,
    Update,
    Delete,
    Undelete,
    GapCreate,
    GapUpdate,
    GapDelete,
    GapUndelete,
    GapOverflow,
    Snapshot,
}

impl ChangeType {
    pub const ALL: [Self; 10] = [
        Self::Create,
        Self::Update,
        Self::Delete,
        Self::Undelete,
        Self::GapCreate,
        Self::GapUpdate,
        Self::GapDelete,
        Self::GapUndelete,
        Self::GapOverflow,
        Self::Snapshot,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Undelete => "UNDELETE",
            Self::GapCreate => "GAP_CREATE",
            Self::GapUpdate => "GAP_UPDATE",
            Self::GapDelete => "GAP_DELETE",
            Self::GapUndelete => "GAP_UNDELETE",
            Self::GapOverflow => "GAP_OVERFLOW",
            Self::Snapshot => "SNAPSHOT",
        }
    }

    /// The type of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    /// What is told instead when the event itself cannot be.
    #[must_use]
    pub fn gap(self) -> Self {
        match self {
            Self::Create => Self::GapCreate,
            Self::Update => Self::GapUpdate,
            Self::Delete => Self::GapDelete,
            Self::Undelete => Self::GapUndelete,
            other => other,
        }
    }
}

/// What all events of one transaction share.
#[derive(Debug, Clone)]
pub struct Transaction {
    pub origin: String,
    pub key: String,
    pub commit_timestamp: i64,
    pub commit_number: i64,
    pub user: String,
}

/// The header of one event.
#[derive(Debug, Clone)]
pub struct Header {
    pub entity: String,
    pub record_ids: Vec<String>,
    pub change: ChangeType,
    pub sequence_number: i32,
    pub nulled: FieldSet,
    pub diff: FieldSet,
    pub changed: FieldSet,
}

impl Header {
    /// A header without bitmaps.
    #[must_use]
    pub fn new(entity: &str, change: ChangeType, record_ids: Vec<String>) -> Self {
        Self {
            entity: entity.to_owned(),
            record_ids,
            change,
            sequence_number: 1,
            nulled: FieldSet::default(),
            diff: FieldSet::default(),
            changed: FieldSet::default(),
        }
    }

    fn value(&self, transaction: &Transaction) -> Value {
        let texts = |list: Vec<String>| Value::Array(list.into_iter().map(Value::String).collect());
        let field = |name: &str, value: Value| (name.to_owned(), value);
        let text = |t: &str| Value::String(t.to_owned());
        Value::Record(vec![
            field("entityName", text(&self.entity)),
            field("recordIds", texts(self.record_ids.clone())),
            field("changeType", Value::Enum(self.change as u32, self.change.name().to_owned())),
            field("changeOrigin", text(&transaction.origin)),
            field("transactionKey", text(&transaction.key)),
            field("sequenceNumber", Value::Int(self.sequence_number)),
            field("commitTimestamp", Value::Long(transaction.commit_timestamp)),
            field("commitNumber", Value::Long(transaction.commit_number)),
            field("commitUser", text(&transaction.user)),
            field("nulledFields", texts(self.nulled.strings())),
            field("diffFields", texts(self.diff.strings())),
            field("changedFields", texts(self.changed.strings())),
        ])
    }
}

/// The event's values by Avro field; `None` is null.
pub type Body = Vec<Value>;

/// A body of nothing but nulls: deletes, gaps, overflows.
#[must_use]
pub fn empty_body(schema: &EventSchema) -> Body {
    schema.fields.iter().map(|_| null()).collect()
}

/// Every value of a row: CREATE and UNDELETE.
#[must_use]
pub fn whole_body(schema: &EventSchema, row: &Row) -> Body {
    schema.fields.iter().map(|f| whole(f, row)).collect()
}

/// The changed values of a row, and their bitmaps into `header`: UPDATE.
#[must_use]
pub fn changed_body(schema: &EventSchema, before: &Row, after: &Row, header: &mut Header) -> Body {
    let field = |(at, field): (usize, &EventField)| changed(at + 1, field, before, after, header);
    schema.fields.iter().enumerate().map(field).collect()
}

/// How many values of a body are there.
#[must_use]
pub fn present(body: &Body) -> usize {
    body.iter().filter(|v| !matches!(v, Value::Union(0, _))).count()
}

/// Whether a plain field of a row changed.
#[must_use]
pub fn has_moved(schema: &EventSchema, before: &Row, after: &Row, name: &str) -> bool {
    schema.fields.iter().any(|f| match f.source {
        Source::Column { column, .. } => f.name == name && before.get(column) != after.get(column),
        _ => false,
    })
}

/// Encodes one event as a single datum.
///
/// # Errors
/// When a value does not fit the schema, which is a mistake of the simulator.
pub fn encode(
    writer: &apache_avro::writer::datum::GenericDatumWriter<'_>,
    schema: &EventSchema,
    transaction: &Transaction,
    header: &Header,
    body: Body,
) -> Result<Vec<u8>, apache_avro::Error> {
    let mut fields = Vec::with_capacity(body.len() + 1);
    fields.push(("ChangeEventHeader".to_owned(), header.value(transaction)));
    fields.extend(schema.fields.iter().zip(body).map(|(f, v)| (f.name.clone(), v)));
    writer.write_value_to_vec(Value::Record(fields))
}

fn null() -> Value {
    Value::Union(0, Box::new(Value::Null))
}

fn some(branch: u32, value: Value) -> Value {
    Value::Union(branch, Box::new(value))
}

/// A stored cell as the event carries it.
fn cell_value(cell: Cell, raw: Option<&[u8]>) -> Value {
    // A checkbox that is not ticked is stored as nothing and told as false.
    if cell == Cell::Boolean {
        return some(1, Value::Boolean(raw == Some(b"true")));
    }
    let Some(raw) = raw else { return null() };
    let text = String::from_utf8_lossy(raw);
    let value = match cell {
        Cell::Text | Cell::LongText | Cell::Boolean => Some(Value::String(text.into_owned())),
        Cell::Double => text.parse().ok().map(Value::Double),
        Cell::Int => text.parse().ok().map(Value::Int),
        Cell::DateTime => chrono::DateTime::parse_from_rfc3339(&text)
            .ok()
            .map(|t| Value::Long(t.timestamp_millis())),
        Cell::Date => value::parse_date(raw).map(|d| Value::Long(d.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis())),
        Cell::Time => chrono::NaiveTime::parse_from_str(text.trim_end_matches('Z'), "%H:%M:%S%.f")
            .ok()
            .map(|t| Value::Long((t - chrono::NaiveTime::MIN).num_milliseconds())),
    };
    value.map_or_else(null, |v| some(1, v))
}

fn part_cell<'a>(part: &Part, row: &'a Row) -> Option<&'a [u8]> {
    part.column.and_then(|c| row.get(c))
}

fn record(parts: &[Part], value: impl Fn(&Part) -> Value) -> Value {
    Value::Record(parts.iter().map(|p| (p.name.to_owned(), value(p))).collect())
}

fn has_any(parts: &[Part], row: &Row) -> bool {
    parts.iter().any(|p| part_cell(p, row).is_some())
}

fn whole(field: &EventField, row: &Row) -> Value {
    match &field.source {
        Source::Column { column, cell } => cell_value(*cell, row.get(*column)),
        Source::Compound { parts } if has_any(parts, row) => some(1, record(parts, |p| cell_value(p.cell, part_cell(p, row)))),
        Source::SwitchableName { parts, .. } if has_any(parts, row) => some(2, record(parts, |p| cell_value(p.cell, part_cell(p, row)))),
        Source::SwitchableName { column, .. } => cell_value(Cell::Text, row.get(*column)),
        Source::Compound { .. } | Source::Added { value: None, .. } => null(),
        Source::Added { cell, value: Some(text) } => cell_value(*cell, Some(text.as_bytes())),
    }
}

fn changed(at: usize, field: &EventField, before: &Row, after: &Row, header: &mut Header) -> Value {
    match &field.source {
        Source::Column { column, cell } => changed_cell(at, field, *cell, before.get(*column), after.get(*column), header),
        Source::Compound { parts } => changed_parts(at, 1, parts, before, after, header),
        Source::SwitchableName { parts, .. } if has_any(parts, before) || has_any(parts, after) => {
            changed_parts(at, 2, parts, before, after, header)
        }
        Source::SwitchableName { column, .. } => changed_cell(at, field, Cell::Text, before.get(*column), after.get(*column), header),
        Source::Added { .. } => null(),
    }
}

fn changed_cell(at: usize, field: &EventField, cell: Cell, before: Option<&[u8]>, after: Option<&[u8]>, header: &mut Header) -> Value {
    // Every update tells when it was, even one that moved no stamp.
    if before == after && field.name != "LastModifiedDate" {
        return null();
    }
    header.changed.add(at);
    if after.is_none() && cell != Cell::Boolean {
        header.nulled.add(at);
        return null();
    }
    if let (Cell::LongText, Some(old), Some(new)) = (cell, before, after)
        && let Some(diff) = text_diff::unified(&String::from_utf8_lossy(old), &String::from_utf8_lossy(new))
    {
        header.diff.add(at);
        return some(1, Value::String(diff));
    }
    cell_value(cell, after)
}

fn changed_parts(at: usize, branch: u32, parts: &[Part], before: &Row, after: &Row, header: &mut Header) -> Value {
    let moved: Vec<bool> = parts.iter().map(|p| part_cell(p, before) != part_cell(p, after)).collect();
    if !moved.contains(&true) {
        return null();
    }
    if !has_any(parts, after) {
        // All parts went at once: the compound itself is told as nulled.
        header.changed.add(at);
        header.nulled.add(at);
        return null();
    }
    for (part, _) in moved.iter().enumerate().filter(|(_, moved)| **moved) {
        header.changed.add_part(at, part);
        if part_cell(&parts[part], after).is_none() {
            header.nulled.add_part(at, part);
        }
    }
    let value = |p: &Part| {
        let is_moved = part_cell(p, before) != part_cell(p, after);
        if is_moved {
            cell_value(p.cell, part_cell(p, after))
        } else {
            null()
        }
    };
    some(branch, record(parts, value))
}
