//! The records as all requests share them: many readers or one writer, and transactions
//! that span several calls of one thread.
//!
//! A composite request runs the same handlers as single requests do, and each of them
//! locks the records for itself. So that no other request sees or joins an unfinished
//! transaction, everybody passes a gate first, which a transaction holds shut; its own
//! thread passes freely.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::store::db::Db;
use crate::store::journal::{Change, Savepoint};

thread_local! {
    /// Address of the records whose gate this thread holds shut; 0 for none.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
}

/// Told of every committed transaction's changes, under the write lock.
pub type CommitHook = Box<dyn Fn(&Db, Vec<Change>) + Send + Sync>;

/// See the module's description.
pub struct SharedDb {
    gate: RwLock<()>,
    db: RwLock<Db>,
    hook: OnceLock<CommitHook>,
}

/// Reading access.
pub struct DbRead<'a> {
    db: RwLockReadGuard<'a, Db>,
    // Dropped last: fields go in order.
    _gate: Option<RwLockReadGuard<'a, ()>>,
}

/// Writing access; one transaction of its own when somebody listens to commits.
pub struct DbWrite<'a> {
    db: RwLockWriteGuard<'a, Db>,
    reporting: Option<(Savepoint, &'a CommitHook)>,
    _gate: Option<RwLockReadGuard<'a, ()>>,
}

impl Deref for DbRead<'_> {
    type Target = Db;
    fn deref(&self) -> &Db {
        &self.db
    }
}

impl Deref for DbWrite<'_> {
    type Target = Db;
    fn deref(&self) -> &Db {
        &self.db
    }
}

impl DerefMut for DbWrite<'_> {
    fn deref_mut(&mut self) -> &mut Db {
        &mut self.db
    }
}

impl Drop for DbWrite<'_> {
    fn drop(&mut self) {
        if let Some((savepoint, hook)) = self.reporting.take() {
            report(&mut self.db, savepoint, Some(hook));
        }
    }
}

fn report(db: &mut Db, savepoint: Savepoint, hook: Option<&CommitHook>) {
    let changes = db.commit(savepoint);
    if let Some(hook) = hook
        && !changes.is_empty()
    {
        hook(db, changes);
    }
}

/// An open transaction; dropped unfinished (by a panic) it rolls back.
struct Open<'a> {
    shared: &'a SharedDb,
    savepoint: Option<Savepoint>,
    /// What `INSIDE` was before.
    outside: usize,
    _gate: Option<RwLockWriteGuard<'a, ()>>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(savepoint) = self.savepoint.take() {
            self.shared.lock().roll_back(savepoint);
        }
        INSIDE.set(self.outside);
    }
}

impl SharedDb {
    pub fn new(db: Db) -> Self {
        Self {
            gate: RwLock::new(()),
            db: RwLock::new(db),
            hook: OnceLock::new(),
        }
    }

    /// Names the one listener to commits; `false` when there is one already.
    pub fn on_commit(&self, hook: CommitHook) -> bool {
        self.hook.set(hook).is_ok()
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn pass(&self) -> Option<RwLockReadGuard<'_, ()>> {
        let inside = INSIDE.get() == self.address();
        (!inside).then(|| self.gate.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock(&self) -> RwLockWriteGuard<'_, Db> {
        self.db.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn read(&self) -> DbRead<'_> {
        let gate = self.pass();
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        DbRead { db, _gate: gate }
    }

    pub fn write(&self) -> DbWrite<'_> {
        let gate = self.pass();
        let mut db = self.lock();
        let reporting = self.hook.get().map(|hook| (db.begin(), hook));
        DbWrite {
            db,
            reporting,
            _gate: gate,
        }
    }

    /// Runs `body` as one transaction: everything this thread writes meanwhile is kept when
    /// it answers `Ok` and undone when it answers `Err`. Nobody else sees or changes the
    /// records in between. Transactions nest.
    pub fn transaction<T, E>(&self, body: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let outside = INSIDE.get();
        let gate = (outside != self.address()).then(|| self.gate.write().unwrap_or_else(PoisonError::into_inner));
        INSIDE.set(self.address());
        let mut open = Open {
            shared: self,
            savepoint: None,
            outside,
            _gate: gate,
        };
        open.savepoint = Some(self.lock().begin());
        let result = body();
        if result.is_ok()
            && let Some(savepoint) = open.savepoint.take()
        {
            report(&mut self.lock(), savepoint, self.hook.get());
        }
        result
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::schema::Schema;
    use crate::store::row::Draft;

    fn shared() -> SharedDb {
        SharedDb::new(Db::new(Arc::new(Schema::builtin(&[]).unwrap()), *b"Wy"))
    }

    fn push(shared: &SharedDb, object: &str) -> u32 {
        let mut db = shared.write();
        let at = db.schema.object(object).unwrap();
        let mut draft = Draft::default();
        draft.reset(db.schema.objects[at].fields.len());
        let id = db.tables[at].next_id();
        draft.set(0, &id.long());
        db.tables[at].push(id, draft.finish())
    }

    fn live(shared: &SharedDb, object: &str) -> usize {
        shared.read().table(object).live
    }

    #[test]
    fn a_failed_transaction_leaves_nothing_and_nests() {
        let db = shared();
        let failed: Result<(), &str> = db.transaction(|| {
            push(&db, "Account");
            let inner: Result<(), ()> = db.transaction(|| {
                push(&db, "Contact");
                Ok(())
            });
            inner.unwrap();
            assert_eq!((live(&db, "Account"), live(&db, "Contact")), (1, 1));
            Err("no")
        });
        assert_eq!(failed, Err("no"));
        assert_eq!((live(&db, "Account"), live(&db, "Contact")), (0, 0));
        let kept: Result<(), &str> = db.transaction(|| {
            push(&db, "Account");
            let inner: Result<(), ()> = db.transaction(|| {
                push(&db, "Contact");
                Err(())
            });
            assert!(inner.is_err());
            Ok(())
        });
        kept.unwrap();
        assert_eq!((live(&db, "Account"), live(&db, "Contact")), (1, 0));
    }

    #[test]
    fn a_panic_inside_rolls_back_and_leaves_the_records_usable() {
        let db = shared();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _: Result<(), ()> = db.transaction(|| {
                push(&db, "Account");
                std::panic::resume_unwind(Box::new("scripted"));
            });
        }));
        assert!(outcome.is_err());
        assert_eq!(live(&db, "Account"), 0);
        push(&db, "Account");
        assert_eq!(live(&db, "Account"), 1);
    }

    #[test]
    fn other_threads_see_a_transaction_whole_or_not_at_all() {
        let db = shared();
        let torn = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..200 {
                    let _: Result<(), ()> = db.transaction(|| {
                        push(&db, "Account");
                        push(&db, "Contact");
                        Ok(())
                    });
                }
            });
            scope.spawn(|| {
                while live(&db, "Account") < 200 {
                    let both = db.read();
                    if both.table("Account").live != both.table("Contact").live {
                        torn.fetch_add(1, Ordering::Relaxed);
                    }
                    drop(both);
                    std::thread::yield_now();
                }
            });
        });
        assert_eq!(torn.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_listener_hears_each_commit_once_and_no_roll_back() {
        let db = shared();
        let heard: Arc<Mutex<Vec<usize>>> = Arc::default();
        let copy = Arc::clone(&heard);
        assert!(db.on_commit(Box::new(move |_, changes| copy.lock().unwrap().push(changes.len()))));
        push(&db, "Account");
        let _: Result<(), ()> = db.transaction(|| {
            push(&db, "Account");
            push(&db, "Contact");
            Ok(())
        });
        let _: Result<(), ()> = db.transaction(|| {
            push(&db, "Account");
            Err(())
        });
        let nothing: Result<(), ()> = db.transaction(|| Ok(()));
        nothing.unwrap();
        assert_eq!(*heard.lock().unwrap(), [1, 2]);
    }
}
