//! Row locks that parallel transactions fight over; an org has them only when asked to.
//!
//! The records themselves change under one short write lock, so nothing would ever collide. With
//! lock contention on, a transaction (a Bulk chunk, a REST write) first takes a lock on every record
//! it names, its own and its parents, keeps them for a while after its commit, and waits for those
//! that others hold. What is still held when the wait is over is denied: rows that need it fail with
//! UNABLE_TO_LOCK_ROW. Locks are taken one by one and kept meanwhile, so two transactions can
//! deadlock, as they do in the service; the bound on the wait ends it.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::store::db::Db;
use crate::store::id::Id;
use crate::store::value::RowError;

/// How locks behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockConfig {
    /// Longest wait for a record somebody else holds; the service waits ten seconds.
    pub wait_ms: u64,
    /// How long a transaction keeps its locks after its rows are stored.
    pub hold_ms: u64,
    /// How often Bulk tries a chunk again before its rows fail.
    pub retries: u32,
}

impl Default for LockConfig {
    fn default() -> Self {
        Self {
            wait_ms: 10_000,
            hold_ms: 20,
            retries: 10,
        }
    }
}

/// The owner of locks taken through the control API.
const OUTSIDE: u64 = 0;
/// Ids an error message lists.
const SHOWN_MAX: usize = 10;

thread_local! {
    /// What the transaction of this thread was denied; `None` outside of one.
    static DENIED: RefCell<Option<Arc<HashSet<Id>>>> = const { RefCell::new(None) };
}

/// All held locks of an org.
pub struct LockTable {
    pub config: LockConfig,
    held: Mutex<HashMap<Id, u64, ahash::RandomState>>,
    freed: Condvar,
    owners: AtomicU64,
    waits: AtomicU64,
}

/// The locks of one transaction; dropping it frees them.
pub struct Locks<'a> {
    table: &'a LockTable,
    owner: u64,
    pub denied: Arc<HashSet<Id>>,
}

impl Drop for Locks<'_> {
    fn drop(&mut self) {
        self.table.release(self.owner);
    }
}

impl Locks<'_> {
    /// Keeps the locks for as long as a transaction takes to commit.
    pub fn linger(&self) {
        std::thread::sleep(Duration::from_millis(self.table.config.hold_ms));
    }
}

impl LockTable {
    pub fn new(config: LockConfig) -> Self {
        Self {
            config,
            held: Mutex::default(),
            freed: Condvar::new(),
            owners: AtomicU64::new(OUTSIDE + 1),
            waits: AtomicU64::new(0),
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Id, u64, ahash::RandomState>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes locks in the order given, waiting for each within one bound for all.
    pub fn acquire(&self, ids: &[Id]) -> Locks<'_> {
        let owner = self.owners.fetch_add(1, Ordering::Relaxed);
        let deadline = Instant::now() + Duration::from_millis(self.config.wait_ms);
        let mut denied = HashSet::new();
        let mut held = self.held();
        let mut waited = false;
        for id in ids {
            while held.get(id).is_some_and(|o| *o != owner) {
                waited = true;
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    denied.insert(*id);
                    break;
                }
                held = self.freed.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            held.entry(*id).or_insert(owner);
        }
        drop(held);
        self.waits.fetch_add(u64::from(waited), Ordering::Relaxed);
        Locks {
            table: self,
            owner,
            denied: Arc::new(denied),
        }
    }

    fn release(&self, owner: u64) {
        self.held().retain(|_, o| *o != owner);
        self.freed.notify_all();
    }

    /// Holds records as a transaction outside would, until [`LockTable::let_go`].
    pub fn hold(&self, ids: &[Id]) {
        let mut held = self.held();
        for id in ids {
            held.insert(*id, OUTSIDE);
        }
    }

    /// Frees what [`LockTable::hold`] holds.
    pub fn let_go(&self) {
        self.release(OUTSIDE);
    }

    /// How many transactions had to wait, and the ids held now.
    pub fn report(&self) -> (u64, Vec<Id>) {
        let mut ids: Vec<Id> = self.held().keys().copied().collect();
        ids.sort_unstable();
        (self.waits.load(Ordering::Relaxed), ids)
    }

    /// Runs a request that writes under the locks of the records its texts name. A request within
    /// another one belongs to that transaction.
    pub fn within<T>(&self, db: impl FnOnce() -> Vec<Id>, run: impl FnOnce() -> T) -> T {
        if DENIED.with_borrow(Option::is_some) {
            return run();
        }
        let locks = self.acquire(&db());
        DENIED.set(Some(Arc::clone(&locks.denied)));
        let out = run();
        DENIED.set(None);
        locks.linger();
        out
    }
}

/// What this thread's transaction was denied, if anything.
pub fn denied() -> Option<Arc<HashSet<Id>>> {
    DENIED.with_borrow(|d| d.as_ref().filter(|d| !d.is_empty()).cloned())
}

/// The business records a text names, in order and without repeats.
pub fn named(db: &Db, text: &str, out: &mut Vec<Id>) {
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()) {
        let Ok(id) = Id::parse(word.as_bytes()) else { continue };
        let known = db.schema.by_prefix(id.prefix()).is_some_and(|o| !db.schema.objects[o].setup);
        if known && !out.contains(&id) {
            out.push(id);
        }
    }
}

/// Refuses a row that needs a record the transaction was denied.
pub fn check<'a>(denied: &HashSet<Id>, needs: impl Iterator<Item = &'a [u8]>) -> Result<(), RowError> {
    let mut hit: Vec<String> = needs
        .filter_map(|raw| Id::parse(raw).ok())
        .filter(|id| denied.contains(id))
        .map(|id| id.text())
        .collect();
    hit.truncate(SHOWN_MAX);
    if hit.is_empty() {
        return Ok(());
    }
    Err(RowError::new(
        "UNABLE_TO_LOCK_ROW",
        format!(
            "unable to obtain exclusive access to this record or {} records: {}",
            hit.len(),
            hit.join(",")
        ),
        &[],
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn id(n: u64) -> Id {
        Id::new(*b"001", *b"Wy", n)
    }

    #[test]
    fn one_transaction_waits_for_another_and_is_denied_what_stays_held() {
        let table = LockTable::new(LockConfig {
            wait_ms: 5,
            ..LockConfig::default()
        });
        let first = table.acquire(&[id(1), id(2)]);
        assert!(first.denied.is_empty());
        let second = table.acquire(&[id(3), id(1)]);
        assert_eq!(*second.denied, HashSet::from([id(1)]));
        assert_eq!(table.report(), (1, vec![id(1), id(2), id(3)]));
        drop(second);
        drop(first);
        assert!(table.acquire(&[id(1), id(2), id(3)]).denied.is_empty());
    }

    #[test]
    fn a_freed_lock_wakes_the_one_who_waits() {
        let table = LockTable::new(LockConfig::default());
        table.hold(&[id(1)]);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| table.acquire(&[id(1)]).denied.len());
            table.let_go();
            assert_eq!(waiting.join().unwrap(), 0);
        });
    }

    #[test]
    fn opposite_orders_deadlock_and_the_bound_ends_it() {
        let table = LockTable::new(LockConfig {
            wait_ms: 50,
            ..LockConfig::default()
        });
        let start = std::sync::Barrier::new(2);
        let grab = |first: u64, then: u64| {
            let one = table.acquire(&[id(first)]);
            start.wait();
            let two = table.acquire(&[id(then)]);
            start.wait();
            one.denied.len() + two.denied.len()
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| grab(2, 1));
            assert_eq!(grab(1, 2), 1);
            assert_eq!(other.join().unwrap(), 1);
        });
    }
}
