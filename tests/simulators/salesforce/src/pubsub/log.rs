//! The retained events, in the order in which they were committed.
//!
//! One log serves all topics, so a topic's replay ids rise but do not follow one another. Events leave by age or when
//! the log is too large; a position before the oldest can then no longer be replayed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

/// Bytes an event costs beyond its payload.
const EVENT_OVERHEAD_BYTES: usize = 160;
/// Two zero bytes follow the number in a replay id.
const REPLAY_ID_BYTES: usize = 10;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A change of an object's record.
    Entity(usize),
    /// A platform event, by its place in the configuration.
    Platform(usize),
}

/// One retained event.
#[derive(Debug, Clone)]
pub struct Event {
    pub number: u64,
    pub at_ms: i64,
    pub subject: Subject,
    pub id: String,
    pub schema_id: Arc<str>,
    pub payload: Bytes,
}

/// An event to be appended.
pub struct NewEvent {
    pub subject: Subject,
    pub schema_id: Arc<str>,
    pub payload: Vec<u8>,
    /// The publisher's own; one is made up when it is empty.
    pub id: String,
}

impl NewEvent {
    /// An event of the org itself.
    #[must_use]
    pub fn new(subject: Subject, schema_id: Arc<str>, payload: Vec<u8>) -> Self {
        Self {
            subject,
            schema_id,
            payload,
            id: String::new(),
        }
    }
}

/// A position that cannot be resumed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayError {
    /// Not a replay id of this org, or one whose successors are gone.
    Corrupted,
}

/// Where a number stands as a replay id: eight bytes, big-endian, then two zeros.
#[must_use]
pub fn replay_id(number: u64) -> Vec<u8> {
    let mut out = number.to_be_bytes().to_vec();
    out.resize(REPLAY_ID_BYTES, 0);
    out
}

struct Inner {
    events: VecDeque<Event>,
    bytes: usize,
    /// The last number handed out or skipped.
    last: u64,
    /// Positions below this have lost events.
    floor: u64,
    retention_ms: i64,
    bytes_max: usize,
}

/// The log and its bell.
pub struct Log {
    inner: Mutex<Inner>,
    bell: watch::Sender<u64>,
}

/// One reading of the log.
pub struct Batch {
    pub events: Vec<Event>,
    /// Everything up to here has been looked at.
    pub seen: u64,
}

impl Log {
    /// An empty log that numbers from `first`.
    #[must_use]
    pub fn new(first: u64, retention_ms: u64, bytes_max: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                events: VecDeque::new(),
                bytes: 0,
                last: first,
                floor: first,
                retention_ms: i64::try_from(retention_ms).unwrap_or(i64::MAX),
                bytes_max,
            }),
            bell: watch::Sender::new(first),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings whenever an event arrives.
    #[must_use]
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// Appends the events of one transaction and returns the number of the last.
    pub fn append(&self, now_ms: i64, events: impl IntoIterator<Item = NewEvent>) -> u64 {
        let mut inner = self.inner();
        for new in events {
            inner.last += 1;
            let event = Event {
                number: inner.last,
                at_ms: now_ms,
                subject: new.subject,
                id: if new.id.is_empty() {
                    uuid::Uuid::new_v4().to_string()
                } else {
                    new.id
                },
                schema_id: new.schema_id,
                payload: new.payload.into(),
            };
            inner.bytes += event.payload.len() + EVENT_OVERHEAD_BYTES;
            inner.events.push_back(event);
        }
        let last = inner.last;
        // The next transaction starts at a distance: ids are ordered, not contiguous.
        inner.last += 1;
        inner.evict(now_ms);
        drop(inner);
        self.bell.send_replace(last);
        last
    }

    /// Up to `max` events after a position that `wanted` holds for, within `bytes_max` (but always one).
    pub fn read(&self, after: u64, now_ms: i64, max: usize, bytes_max: usize, wanted: impl Fn(Subject) -> bool) -> Batch {
        let mut inner = self.inner();
        inner.evict(now_ms);
        let start = inner.events.partition_point(|e| e.number <= after);
        let mut batch = Batch {
            events: Vec::new(),
            seen: inner.last.max(after),
        };
        let mut bytes = 0;
        for event in inner.events.range(start..).filter(|e| wanted(e.subject)) {
            bytes += event.payload.len();
            if batch.events.len() == max || (bytes > bytes_max && !batch.events.is_empty()) {
                batch.seen = batch.events.last().map_or(after, |e| e.number);
                break;
            }
            batch.events.push(event.clone());
        }
        batch
    }

    /// The position behind everything.
    pub fn latest(&self, now_ms: i64) -> u64 {
        let mut inner = self.inner();
        inner.evict(now_ms);
        inner.last
    }

    /// The position before everything retained.
    pub fn earliest(&self, now_ms: i64) -> u64 {
        let mut inner = self.inner();
        inner.evict(now_ms);
        inner.floor
    }

    /// The position a client's replay id names.
    ///
    /// # Errors
    /// When the bytes are none of this org's positions, or events after it are gone.
    pub fn position(&self, id: &[u8], now_ms: i64) -> Result<u64, ReplayError> {
        let [number @ .., 0, 0] = id else {
            return Err(ReplayError::Corrupted);
        };
        let number = u64::from_be_bytes(number.try_into().map_err(|_| ReplayError::Corrupted)?);
        let mut inner = self.inner();
        inner.evict(now_ms);
        (inner.floor..=inner.last)
            .contains(&number)
            .then_some(number)
            .ok_or(ReplayError::Corrupted)
    }

    /// Forgets events older than `age_ms`, as if retention had been that short until now.
    pub fn forget(&self, now_ms: i64, age_ms: i64) -> usize {
        let mut inner = self.inner();
        let before = inner.events.len();
        inner.evict_before(now_ms.saturating_sub(age_ms));
        before - inner.events.len()
    }

    /// Retained events and their bytes.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let inner = self.inner();
        (inner.events.len(), inner.bytes)
    }
}

impl Inner {
    fn evict(&mut self, now_ms: i64) {
        self.evict_before(now_ms.saturating_sub(self.retention_ms));
        while self.bytes > self.bytes_max {
            self.pop();
        }
    }

    fn evict_before(&mut self, at_ms: i64) {
        while self.events.front().is_some_and(|e| e.at_ms < at_ms) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= event.payload.len() + EVENT_OVERHEAD_BYTES;
            // An event's own number goes with it, so that a stored id ages out together with its event.
            self.floor = event.number + 1;
            self.last = self.last.max(self.floor);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const A: Subject = Subject::Entity(0);
    const B: Subject = Subject::Entity(1);

    fn add(log: &Log, now_ms: i64, subject: Subject) -> u64 {
        log.append(now_ms, [NewEvent::new(subject, Arc::from("schema"), vec![0; 10])])
    }

    fn numbers(batch: &Batch) -> Vec<u64> {
        batch.events.iter().map(|e| e.number).collect()
    }

    #[test]
    fn a_topic_sees_its_own_events_in_order_and_no_more_than_asked() {
        let log = Log::new(100, 1000, 1 << 20);
        let (first, _, third) = (add(&log, 0, A), add(&log, 0, B), add(&log, 0, A));
        assert!(first > 100 && third > first + 1);
        let all = log.read(100, 0, 10, 1 << 20, |s| s == A);
        assert_eq!((numbers(&all), all.seen), (vec![first, third], log.latest(0)));
        let one = log.read(100, 0, 1, 1 << 20, |s| s == A);
        assert_eq!((numbers(&one), one.seen), (vec![first], first));
        let small = log.read(100, 0, 10, 15, |s| s == A);
        assert_eq!(numbers(&small), [first]);
        let rest = log.read(first, 0, 10, 1 << 20, |s| s == A);
        assert_eq!(numbers(&rest), [third]);
    }

    #[test]
    fn replay_ids_that_are_foreign_mangled_or_too_old_are_refused() {
        let log = Log::new(100, 1000, 1 << 20);
        assert_eq!(log.position(&replay_id(100), 0), Ok(100));
        let first = add(&log, 0, A);
        let second = add(&log, 800, A);
        assert_eq!(replay_id(first).len(), 10);
        assert_eq!(log.position(&replay_id(first), 900), Ok(first));
        for bad in [&[][..], &[1, 2, 3], &[0xff; 10], &replay_id(5), &replay_id(first)[..8]] {
            assert_eq!(log.position(bad, 900), Err(ReplayError::Corrupted), "{bad:?}");
        }
        // The first is 1,100 ms old now: its id goes, that of the second stays.
        assert_eq!(log.position(&replay_id(first), 1100), Err(ReplayError::Corrupted));
        assert_eq!(log.position(&replay_id(second), 1100), Ok(second));
        assert_eq!(numbers(&log.read(log.earliest(1100), 1100, 9, 1 << 20, |_| true)), [second]);
        // What a quiet log calls its latest position can be resumed from.
        let latest = log.latest(5000);
        assert_eq!(log.position(&replay_id(latest), 5000), Ok(latest));
    }

    #[test]
    fn a_log_that_is_too_large_loses_its_oldest() {
        let log = Log::new(0, 1_000_000, 2 * (10 + EVENT_OVERHEAD_BYTES));
        let all: Vec<u64> = (0..5).map(|_| add(&log, 0, A)).collect();
        assert_eq!(numbers(&log.read(0, 0, 9, 1 << 20, |_| true)), all[3..]);
        assert_eq!(log.size(), (2, 2 * (10 + EVENT_OVERHEAD_BYTES)));
    }
}
