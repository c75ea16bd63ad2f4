//! Transactions: a journal of table changes that can be undone.
//!
//! While a transaction is open every table notes what each change replaced, whoever made
//! it: the row asked for, a derived amount on its parent, a cascade. Rolling back restores
//! all of it; committing hands the changes over in the order they happened. With no
//! transaction open, a table pays one test for `None` per change.
//!
//! As in the service, numbers that were handed out stay used: a rolled-back insert leaves
//! a gap in ids and auto numbers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::db::{Db, Life};
use crate::store::row::Row;

/// One change of one row. What the row is now, the table knows.
#[derive(Clone)]
pub struct Change {
    pub object: usize,
    pub index: u32,
    /// Content and state before; `None` for a new row.
    pub before: Option<(Row, Life)>,
}

/// The open transaction's changes, shared by all tables.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<Change>>>);

impl Journal {
    fn changes(&self) -> MutexGuard<'_, Vec<Change>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, change: Change) {
        self.changes().push(change);
    }
}

/// Where a transaction, or one nested in another, began.
#[must_use = "a transaction that is neither committed nor rolled back stays open"]
pub struct Savepoint {
    changes: usize,
    outermost: bool,
}

impl Db {
    /// Opens a transaction, or a nested one when one is open.
    pub fn begin(&mut self) -> Savepoint {
        if let Some(journal) = &self.journal {
            let changes = journal.changes().len();
            return Savepoint { changes, outermost: false };
        }
        let journal = Journal::default();
        self.record_in(Some(&journal));
        self.journal = Some(journal);
        Savepoint {
            changes: 0,
            outermost: true,
        }
    }

    /// Keeps what happened since `savepoint`. The outermost commit closes the transaction
    /// and returns its changes in order; a nested one leaves them to it.
    pub fn commit(&mut self, savepoint: Savepoint) -> Vec<Change> {
        if savepoint.outermost { self.close() } else { Vec::new() }
    }

    /// Undoes everything since `savepoint`.
    pub fn roll_back(&mut self, savepoint: Savepoint) {
        let Some(journal) = &self.journal else { return };
        let undone = journal.changes().split_off(savepoint.changes);
        for change in undone.into_iter().rev() {
            self.tables[change.object].restore(change.index, change.before);
        }
        if savepoint.outermost {
            self.close();
        }
    }

    fn close(&mut self) -> Vec<Change> {
        self.record_in(None);
        self.journal
            .take()
            .map(|journal| std::mem::take(&mut *journal.changes()))
            .unwrap_or_default()
    }

    fn record_in(&mut self, journal: Option<&Journal>) {
        for table in &mut self.tables {
            table.journal = journal.cloned();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::schema::Schema;
    use crate::store::row::Draft;

    struct Fixture {
        db: Db,
        account: usize,
        key: usize,
    }

    impl Fixture {
        fn new() -> Self {
            let schema = Arc::new(Schema::builtin(&[]).unwrap());
            let account = schema.object("Account").unwrap();
            let key = schema.objects[account].field("Ext_Id__c").unwrap();
            let db = Db::new(schema, *b"Wy");
            Self { db, account, key }
        }

        fn row(&self, key: &str) -> Row {
            let mut draft = Draft::default();
            draft.reset(self.db.schema.objects[self.account].fields.len());
            draft.set(0, &self.db.tables[self.account].next_id().long());
            draft.set(self.key, key.as_bytes());
            draft.finish()
        }

        fn push(&mut self, key: &str) -> u32 {
            let row = self.row(key);
            let table = &mut self.db.tables[self.account];
            table.push(table.next_id(), row)
        }

        fn set(&mut self, index: u32, key: &str) {
            let mut draft = Draft::default();
            let table = &mut self.db.tables[self.account];
            draft.load(table.row(index), self.db.schema.objects[self.account].fields.len());
            draft.set(self.key, key.as_bytes());
            table.replace(index, draft.finish());
        }

        fn found(&self, key: &str) -> Vec<u32> {
            self.db.tables[self.account].by_key(self.key, key.as_bytes()).unwrap()
        }

        fn totals(&self) -> (usize, u64) {
            let table = &self.db.tables[self.account];
            (table.live, table.live_bytes)
        }
    }

    #[test]
    fn rolling_back_restores_rows_keys_and_totals() {
        let mut f = Fixture::new();
        let (kept, binned) = (f.push("kept"), f.push("binned"));
        let before = f.totals();
        let savepoint = f.db.begin();
        f.set(kept, "first");
        f.set(kept, "second, longer");
        let new = f.push("new");
        f.db.tables[f.account].bury(binned, Life::Deleted);
        assert_eq!(f.found("second, longer"), [kept]);
        f.db.roll_back(savepoint);
        assert_eq!(f.totals(), before);
        assert_eq!((f.found("kept"), f.found("binned")), (vec![kept], vec![binned]));
        assert!(f.found("first").is_empty() && f.found("second, longer").is_empty() && f.found("new").is_empty());
        assert!(f.db.tables[f.account].life(new) == Life::Purged);
        // Closed: later changes are not noted, and numbering goes on.
        let next = f.push("after");
        assert_eq!(next, new + 1);
        let savepoint = f.db.begin();
        assert!(f.db.commit(savepoint).is_empty());
    }

    #[test]
    fn a_nested_roll_back_keeps_what_the_outer_transaction_did() {
        let mut f = Fixture::new();
        let outer = f.db.begin();
        let first = f.push("first");
        let inner = f.db.begin();
        f.set(first, "inner");
        f.push("second");
        f.db.roll_back(inner);
        let inner = f.db.begin();
        let third = f.push("third");
        assert!(f.db.commit(inner).is_empty());
        let changes = f.db.commit(outer);
        let seen: Vec<(u32, bool)> = changes.iter().map(|c| (c.index, c.before.is_none())).collect();
        assert_eq!(seen, [(first, true), (third, true)]);
        assert_eq!(f.found("first"), [first]);
        assert!(f.found("second").is_empty());
    }
}
