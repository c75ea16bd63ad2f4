//! The org's records: one table per object, rows addressed by position, ids resolved
//! without a map for everything this org numbered itself.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::Clock;
use crate::schema::Schema;
use crate::store::files::Bodies;
use crate::store::id::Id;
use crate::store::journal::{Change, Journal};
use crate::store::row::Row;

const MANY: u32 = 1 << 31;

/// A multi-map from a key text (compared without case) to rows, 16 bytes per entry.
#[derive(Default)]
pub struct KeyIndex {
    hasher: ahash::RandomState,
    one: HashMap<u64, u32, ahash::RandomState>,
    many: Vec<Vec<u32>>,
}

impl KeyIndex {
    fn hash(&self, key: &[u8]) -> u64 {
        if key.is_ascii() && !key.iter().any(u8::is_ascii_uppercase) {
            return self.hasher.hash_one(key);
        }
        let lower = String::from_utf8_lossy(key).to_lowercase();
        self.hasher.hash_one(lower.as_bytes())
    }

    fn add(&mut self, key: &[u8], row: u32) {
        let hash = self.hash(key);
        match self.one.get_mut(&hash) {
            None => {
                self.one.insert(hash, row);
            }
            Some(slot) if *slot & MANY != 0 => self.many[(*slot & !MANY) as usize].push(row),
            Some(slot) => {
                let first = *slot;
                *slot = MANY | self.many.len() as u32;
                self.many.push(vec![first, row]);
            }
        }
    }

    fn remove(&mut self, key: &[u8], row: u32) {
        let hash = self.hash(key);
        match self.one.get(&hash) {
            Some(slot) if *slot & MANY != 0 => {
                self.many[(*slot & !MANY) as usize].retain(|r| *r != row);
            }
            Some(slot) if *slot == row => {
                self.one.remove(&hash);
            }
            _ => {}
        }
    }

    fn candidates(&self, key: &[u8]) -> &[u32] {
        match self.one.get(&self.hash(key)) {
            Some(slot) if *slot & MANY != 0 => &self.many[(*slot & !MANY) as usize],
            Some(slot) => std::slice::from_ref(slot),
            None => &[],
        }
    }
}

/// What has become of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Life {
    Live,
    /// In the recycle bin: only `queryAll` sees it.
    Deleted,
    /// Gone for good.
    Purged,
}

/// All records of one object.
pub struct Table {
    object: usize,
    prefix: [u8; 3],
    pod: [u8; 2],
    rows: Vec<Row>,
    life: Vec<Life>,
    base: u64,
    foreign: HashMap<Id, u32, ahash::RandomState>,
    indexes: Vec<(usize, KeyIndex)>,
    pub live: usize,
    pub live_bytes: u64,
    pub is_deleted: Option<usize>,
    pub auto_serial: u64,
    /// Set while a transaction is open.
    pub(super) journal: Option<Journal>,
}

const FIRST_SERIAL: u64 = 15_018_570;

impl Table {
    /// Number of rows ever stored.
    pub fn len(&self) -> u32 {
        self.rows.len() as u32
    }

    /// Whether nothing was ever stored.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn row(&self, index: u32) -> &Row {
        &self.rows[index as usize]
    }

    pub fn life(&self, index: u32) -> Life {
        self.life[index as usize]
    }

    /// The id at a position.
    pub fn id(&self, index: u32) -> Id {
        let text = self.rows[index as usize].get(0).unwrap_or_default();
        Id::parse(text).expect("every stored row carries its id in cell 0")
    }

    /// Position of an id, deleted rows included, purged ones not.
    pub fn find(&self, id: &Id) -> Option<u32> {
        let guess = id.serial().wrapping_sub(self.base);
        let found = if guess < self.rows.len() as u64 && self.rows[guess as usize].get(0).map(|t| &t[..15]) == Some(&id.0[..]) {
            Some(guess as u32)
        } else {
            self.foreign.get(id).copied()
        };
        found.filter(|i| self.life(*i) != Life::Purged)
    }

    /// Position of an id that is not deleted.
    pub fn find_live(&self, id: &Id) -> Option<u32> {
        self.find(id).filter(|i| self.life(*i) == Life::Live)
    }

    /// The id the next insert gets.
    pub fn next_id(&self) -> Id {
        Id::new(self.prefix, self.pod, self.base + self.rows.len() as u64)
    }

    /// Appends a row whose cell 0 is `id`.
    pub fn push(&mut self, id: Id, row: Row) -> u32 {
        let index = self.rows.len() as u32;
        if id != self.next_id() {
            // New serials must stay above any of this pod; rows numbered under the old base
            // then need the map as well.
            if id.pod() == self.pod && id.serial() >= self.base + u64::from(index) {
                for earlier in 0..index {
                    let earlier_id = self.id(earlier);
                    self.foreign.insert(earlier_id, earlier);
                }
                self.base = id.serial() - u64::from(index);
            } else {
                self.foreign.insert(id, index);
            }
        }
        for (field, index_of) in &mut self.indexes {
            if let Some(key) = row.get(*field) {
                index_of.add(key, index);
            }
        }
        self.live += 1;
        self.live_bytes += row.bytes() as u64;
        self.rows.push(row);
        self.life.push(Life::Live);
        if let Some(journal) = &self.journal {
            let object = self.object;
            journal.note(Change {
                object,
                index,
                before: None,
            });
        }
        index
    }

    fn note(&self, index: u32) {
        if let Some(journal) = &self.journal {
            let before = (self.rows[index as usize].clone(), self.life[index as usize]);
            journal.note(Change {
                object: self.object,
                index,
                before: Some(before),
            });
        }
    }

    /// Puts a row back as a journal says it was; a row that was not there is purged.
    pub(super) fn restore(&mut self, index: u32, before: Option<(Row, Life)>) {
        if self.life[index as usize] == Life::Live {
            self.unlist(index);
        }
        match before {
            None => self.life[index as usize] = Life::Purged,
            Some((row, life)) => {
                self.rows[index as usize] = row;
                self.life[index as usize] = life;
                if life == Life::Live {
                    self.list(index);
                }
            }
        }
    }

    /// Takes a row into the totals and key indexes.
    fn list(&mut self, index: u32) {
        let row = &self.rows[index as usize];
        self.live += 1;
        self.live_bytes += row.bytes() as u64;
        for (field, keys) in &mut self.indexes {
            if let Some(key) = row.get(*field) {
                keys.add(key, index);
            }
        }
    }

    /// Takes a row out of the totals and key indexes.
    fn unlist(&mut self, index: u32) {
        let row = &self.rows[index as usize];
        self.live -= 1;
        self.live_bytes = self.live_bytes.saturating_sub(row.bytes() as u64);
        for (field, keys) in &mut self.indexes {
            if let Some(key) = row.get(*field) {
                keys.remove(key, index);
            }
        }
    }

    /// Replaces a row's content.
    pub fn replace(&mut self, index: u32, row: Row) {
        self.note(index);
        let old = &self.rows[index as usize];
        for (field, keys) in &mut self.indexes {
            let (before, after) = (old.get(*field), row.get(*field));
            if before != after {
                if let Some(key) = before {
                    keys.remove(key, index);
                }
                if let Some(key) = after {
                    keys.add(key, index);
                }
            }
        }
        self.live_bytes += row.bytes() as u64;
        self.live_bytes = self.live_bytes.saturating_sub(old.bytes() as u64);
        self.rows[index as usize] = row;
    }

    /// Moves a live row to the recycle bin or beyond.
    pub fn bury(&mut self, index: u32, life: Life) {
        self.note(index);
        if self.life[index as usize] == Life::Live {
            self.unlist(index);
        }
        self.life[index as usize] = life;
    }

    /// Takes a row out of the recycle bin.
    pub fn revive(&mut self, index: u32, row: Row) {
        self.note(index);
        self.rows[index as usize] = row;
        if self.life[index as usize] == Life::Deleted {
            self.life[index as usize] = Life::Live;
            self.list(index);
        }
    }

    /// Replaces a buried row's content; buried rows are in no index and in no total.
    pub fn replace_buried(&mut self, index: u32, row: Row) {
        self.note(index);
        self.rows[index as usize] = row;
    }

    /// Makes sure a key index on `field` exists.
    pub fn ensure_index(&mut self, field: usize) {
        if self.indexes.iter().any(|(f, _)| *f == field) {
            return;
        }
        let mut keys = KeyIndex::default();
        for (index, row) in self.rows.iter().enumerate() {
            if self.life[index] == Life::Live
                && let Some(key) = row.get(field)
            {
                keys.add(key, index as u32);
            }
        }
        self.indexes.push((field, keys));
    }

    /// Live rows whose `field` equals `key` without case; `None` when not indexed.
    pub fn by_key(&self, field: usize, key: &[u8]) -> Option<Vec<u32>> {
        let (_, keys) = self.indexes.iter().find(|(f, _)| *f == field)?;
        let mut out = Vec::new();
        for index in keys.candidates(key) {
            let stored = self.rows[*index as usize].get(field).unwrap_or_default();
            if same_text(stored, key) {
                out.push(*index);
            }
        }
        Some(out)
    }

    /// Positions of live rows, or of all but purged ones.
    pub fn scan(&self, with_deleted: bool) -> impl Iterator<Item = u32> + '_ {
        self.life
            .iter()
            .enumerate()
            .filter(move |(_, life)| match life {
                Life::Live => true,
                Life::Deleted => with_deleted,
                Life::Purged => false,
            })
            .map(|(i, _)| i as u32)
    }

    /// Reserves room for a bulk of rows.
    pub fn reserve(&mut self, rows: usize) {
        self.rows.reserve(rows);
        self.life.reserve(rows);
    }
}

/// Case-insensitive equality of stored text.
pub fn same_text(a: &[u8], b: &[u8]) -> bool {
    if a.eq_ignore_ascii_case(b) {
        return true;
    }
    (!a.is_ascii() || !b.is_ascii()) && String::from_utf8_lossy(a).to_lowercase() == String::from_utf8_lossy(b).to_lowercase()
}

/// All tables.
pub struct Db {
    pub schema: Arc<Schema>,
    pub tables: Vec<Table>,
    /// Bytes of files.
    pub files: Bodies,
    /// What queries call now.
    pub clock: Clock,
    /// The open transaction, if any.
    pub(super) journal: Option<Journal>,
}

impl Db {
    /// An org without records, numbering from its own pod.
    pub fn new(schema: Arc<Schema>, pod: [u8; 2]) -> Self {
        let tables = schema
            .objects
            .iter()
            .enumerate()
            .map(|(at, object)| {
                let mut table = Table {
                    object: at,
                    prefix: object.prefix,
                    pod,
                    rows: Vec::new(),
                    life: Vec::new(),
                    base: FIRST_SERIAL,
                    foreign: HashMap::default(),
                    indexes: Vec::new(),
                    live: 0,
                    live_bytes: 0,
                    is_deleted: object.field("IsDeleted"),
                    auto_serial: 1000,
                    journal: None,
                };
                for (i, field) in object.fields.iter().enumerate() {
                    // Price rules look entries up by product on every insert.
                    let priced = object.name == "PricebookEntry" && field.name == "Product2Id";
                    if field.unique || priced {
                        table.ensure_index(i);
                    }
                }
                table
            })
            .collect();
        Self {
            schema,
            tables,
            files: Bodies::default(),
            clock: Clock::default(),
            journal: None,
        }
    }

    /// The object and position of any id.
    pub fn locate(&self, id: &Id) -> Option<(usize, u32)> {
        let object = self.schema.by_prefix(id.prefix())?;
        Some((object, self.tables[object].find(id)?))
    }

    /// The object and position of an id that is not deleted, from stored text.
    pub fn locate_text(&self, text: &[u8]) -> Option<(usize, u32)> {
        let id = Id::parse(text.get(..15)?).ok()?;
        let (object, index) = self.locate(&id)?;
        (self.tables[object].life(index) == Life::Live).then_some((object, index))
    }

    /// A table by object name; absent objects are a programming error of the simulator.
    pub fn table(&self, name: &str) -> &Table {
        let index = self.schema.object(name).expect("a built-in object");
        &self.tables[index]
    }

    /// Data storage the org counts, in bytes.
    pub fn storage_bytes(&self) -> u64 {
        self.tables
            .iter()
            .zip(&self.schema.objects)
            .map(|(t, o)| t.live as u64 * o.storage_bytes)
            .sum()
    }
}
