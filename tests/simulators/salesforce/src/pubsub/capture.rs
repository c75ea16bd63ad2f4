//! From a committed transaction to its events.
//!
//! Several changes of one record make one event; the same change of several records of an object makes one event with
//! several ids; what comes after too many changes is an overflow; an event that is too large is a gap.

use std::collections::HashMap;
use std::sync::Arc;

use apache_avro::writer::datum::GenericDatumWriter;

use crate::pubsub::bus::{PubSub, now_ms};
use crate::pubsub::event::{self, ChangeType, Header, Transaction};
use crate::pubsub::event_schema::EventSchema;
use crate::pubsub::log::{NewEvent, Subject};
use crate::store::db::{Db, Life};
use crate::store::journal::Change;
use crate::store::row::Row;

/// Ids of one merged event: a trigger's batch.
const MERGED_IDS_MAX: usize = 200;

/// Longer texts are told alone.
const MERGED_TEXT_BYTES_MAX: usize = 1000;

/// One event to be.
struct Planned {
    object: usize,
    change: ChangeType,
    ids: Vec<String>,
    before: Option<Row>,
    after: Row,
}

impl PubSub {
    /// Puts the events of a committed transaction on the bus. The records must not change meanwhile.
    pub fn capture(&self, db: &Db, changes: Vec<Change>) {
        let entities = self.captured();
        let changes: Vec<Change> = changes.into_iter().filter(|c| entities.contains(&c.object)).collect();
        if changes.is_empty() {
            return;
        }
        let planned = plan(db, changes);
        let schemas: HashMap<usize, Arc<EventSchema>> = entities
            .into_iter()
            .filter(|e| planned.iter().any(|p| p.object == *e))
            .filter_map(|e| self.current_schema(e).ok().map(|s| (e, s)))
            .collect();
        let encoded = self.encode_all(&planned, &schemas);
        if !encoded.is_empty() {
            self.log.append(now_ms(), encoded);
        }
    }

    fn encode_all(&self, planned: &[Planned], schemas: &HashMap<usize, Arc<EventSchema>>) -> Vec<NewEvent> {
        let transaction = self.transaction();
        let writers: HashMap<usize, GenericDatumWriter<'_>> = schemas
            .iter()
            .filter_map(|(object, schema)| GenericDatumWriter::builder(&schema.avro).build().ok().map(|w| (*object, w)))
            .collect();
        let mut out = Vec::new();
        let mut overflowed: Vec<usize> = Vec::new();
        let mut changes = 0;
        let mut put = |object: usize, header: &mut Header, body: event::Body| {
            let (Some(schema), Some(writer)) = (schemas.get(&object), writers.get(&object)) else {
                return;
            };
            header.sequence_number = i32::try_from(out.len() + 1).unwrap_or(i32::MAX);
            match encode(writer, schema, &transaction, header, body, self.config.event_bytes_max) {
                Ok(bytes) => out.push(NewEvent::new(Subject::Entity(object), Arc::from(schema.id.as_str()), bytes)),
                Err(error) => tracing::error!(entity = %header.entity, %error, "a change event was not encoded"),
            }
        };
        for event in planned {
            let Some(schema) = schemas.get(&event.object) else { continue };
            let mut header = self.header(event.object, event.change, event.ids.clone());
            let (body, count) = body(schema, event, &mut header);
            if count == 0 {
                continue;
            }
            changes += count * event.ids.len();
            if changes > self.config.changes_max {
                if !overflowed.contains(&event.object) {
                    overflowed.push(event.object);
                }
                continue;
            }
            put(event.object, &mut header, body);
        }
        for object in overflowed {
            let Some(schema) = schemas.get(&object) else { continue };
            let mut header = self.header(object, ChangeType::GapOverflow, Vec::new());
            put(object, &mut header, event::empty_body(schema));
        }
        out
    }
}

/// Encodes an event, or the gap in its place when it is too large.
fn encode(
    writer: &GenericDatumWriter<'_>,
    schema: &EventSchema,
    transaction: &Transaction,
    header: &Header,
    body: event::Body,
    bytes_max: usize,
) -> Result<Vec<u8>, apache_avro::Error> {
    let bytes = event::encode(writer, schema, transaction, header, body)?;
    if bytes.len() <= bytes_max {
        return Ok(bytes);
    }
    let mut gap = Header::new(&header.entity, header.change.gap(), header.record_ids.clone());
    gap.sequence_number = header.sequence_number;
    event::encode(writer, schema, transaction, &gap, event::empty_body(schema))
}

/// An event's values, and how many changes they are; none when nothing that events carry has changed.
fn body(schema: &EventSchema, event: &Planned, header: &mut Header) -> (event::Body, usize) {
    match (&event.before, event.change) {
        (Some(before), ChangeType::Update) => {
            let body = event::changed_body(schema, before, &event.after, header);
            // LastModifiedDate is always told; alone and unmoved it is no change.
            let moved = event::has_moved(schema, before, &event.after, "LastModifiedDate");
            let count = if header.changed.len() > 1 || moved {
                header.changed.len()
            } else {
                0
            };
            (body, count)
        }
        (_, ChangeType::Create | ChangeType::Undelete) => {
            let body = event::whole_body(schema, &event.after);
            let count = event::present(&body).max(1);
            (body, count)
        }
        _ => (event::empty_body(schema), 1),
    }
}

/// What happened to each record between the transaction's begin and its end, in the order of first touch.
fn plan(db: &Db, changes: Vec<Change>) -> Vec<Planned> {
    let mut first: HashMap<(usize, u32), usize> = HashMap::new();
    let mut touched: Vec<Change> = Vec::new();
    for change in changes {
        first.entry((change.object, change.index)).or_insert_with(|| {
            touched.push(change);
            touched.len() - 1
        });
    }
    let mut out: Vec<Planned> = Vec::new();
    let mut same: HashMap<(usize, ChangeType, Vec<u8>), usize> = HashMap::new();
    for Change { object, index, before } in touched {
        let table = &db.tables[object];
        let (row, life) = (table.row(index).clone(), table.life(index));
        let Some(change) = kind(before.as_ref().map(|(_, life)| *life), life) else {
            continue;
        };
        let before = before.map(|(row, _)| row);
        let id = table.id(index).text();
        if let Some(key) = merge_key(db, object, change, before.as_ref(), &row) {
            let at = same.entry((object, change, key)).or_insert(out.len());
            if let Some(earlier) = out.get_mut(*at) {
                if earlier.ids.len() < MERGED_IDS_MAX {
                    earlier.ids.push(id);
                    continue;
                }
                *at = out.len();
            }
        }
        out.push(Planned {
            object,
            change,
            ids: vec![id],
            before,
            after: row,
        });
    }
    out
}

fn kind(before: Option<Life>, after: Life) -> Option<ChangeType> {
    match (before.unwrap_or(Life::Purged), after) {
        (Life::Purged, Life::Live) => Some(ChangeType::Create),
        (Life::Live, Life::Live) => Some(ChangeType::Update),
        (Life::Live, Life::Deleted | Life::Purged) => Some(ChangeType::Delete),
        (Life::Deleted, Life::Live) => Some(ChangeType::Undelete),
        (Life::Deleted | Life::Purged, Life::Deleted | Life::Purged) => None,
    }
}

/// Equal for changes that may be told together; `None` for those told alone.
fn merge_key(db: &Db, object: usize, change: ChangeType, before: Option<&Row>, after: &Row) -> Option<Vec<u8>> {
    if change == ChangeType::Delete {
        return Some(Vec::new());
    }
    let before = before.filter(|_| change == ChangeType::Update)?;
    let mut key = Vec::new();
    for field in 1..db.schema.objects[object].fields.len() {
        let (old, new) = (before.get(field), after.get(field));
        if old == new {
            continue;
        }
        let new = new.unwrap_or_default();
        // A text that may be told as a difference depends on what it was.
        if new.len() > MERGED_TEXT_BYTES_MAX {
            return None;
        }
        key.extend_from_slice(&(field as u32).to_le_bytes());
        key.extend_from_slice(&(new.len() as u32).to_le_bytes());
        key.extend_from_slice(new);
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_follows_from_the_two_ends() {
        use ChangeType::{Create, Delete, Undelete, Update};
        use Life::{Deleted, Live, Purged};
        for (before, after, expected) in [
            (None, Live, Some(Create)),
            (None, Deleted, None),
            (Some(Live), Live, Some(Update)),
            (Some(Live), Deleted, Some(Delete)),
            (Some(Live), Purged, Some(Delete)),
            (Some(Deleted), Live, Some(Undelete)),
            (Some(Deleted), Purged, None),
        ] {
            assert_eq!(kind(before, after), expected);
        }
    }
}
