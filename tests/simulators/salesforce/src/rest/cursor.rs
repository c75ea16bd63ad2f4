//! What an unfinished query leaves behind: its rows as they were, until the locator dies.
//!
//! A page holds a bounded number of records, parents and children together; a parent whose
//! children don't fit into what is left waits for the next page, and one whose children fit
//! no page at all has its child results cut, each with a locator of its own.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use chrono::{DateTime, Utc};

use super::render::{Tree, record};
use crate::soql::plan::Plan;
use crate::soql::run;
use crate::store::db::Db;
use crate::store::id::Id;
use crate::store::row::Row;
use crate::web::http::Call;
use crate::web::reply::ApiError;

/// Cursors one org keeps; the oldest make room.
const CURSORS_MAX: usize = 10_000;
/// Results stay available for two days.
pub const LOCATOR_SECS: u64 = 172_800;

/// The rows of a query, and how they are paged.
pub struct Snapshot {
    /// Where the rows come from, if not from the org's records.
    pub source: Option<Arc<Db>>,
    pub plan: Arc<Plan>,
    pub rows: Vec<Row>,
    pub with_deleted: bool,
    /// Records per page, children included.
    pub page: usize,
}

/// A snapshot somebody may continue.
pub struct Cursor {
    user: Id,
    born: DateTime<Utc>,
    pub(super) snapshot: Snapshot,
}

impl Cursor {
    /// `born` is the org's time.
    pub fn new(user: Id, born: DateTime<Utc>, snapshot: Snapshot) -> Self {
        Self { user, born, snapshot }
    }
}

/// All open cursors, and the settings of paging.
pub struct Cursors {
    open: Mutex<HashMap<String, Arc<Cursor>>>,
    expired: Mutex<HashSet<String>>,
    rows: AtomicUsize,
    ragged: AtomicBool,
    life_secs: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Cursors {
    pub fn new(page_rows: usize) -> Self {
        Self {
            open: Mutex::default(),
            expired: Mutex::default(),
            rows: AtomicUsize::new(page_rows.max(1)),
            ragged: AtomicBool::new(false),
            life_secs: AtomicU64::new(LOCATOR_SECS),
        }
    }

    /// Records per page at most.
    pub fn page_rows(&self) -> usize {
        self.rows.load(Ordering::Relaxed)
    }

    /// Changes paging from now on: `ragged` makes each page another size.
    pub fn set_paging(&self, rows: Option<usize>, ragged: Option<bool>, life_secs: Option<u64>) {
        if let Some(rows) = rows {
            self.rows.store(rows.max(1), Ordering::Relaxed);
        }
        if let Some(ragged) = ragged {
            self.ragged.store(ragged, Ordering::Relaxed);
        }
        if let Some(secs) = life_secs {
            self.life_secs.store(secs, Ordering::Relaxed);
        }
    }

    /// Ends every open cursor, as two days of waiting would.
    pub fn expire_all(&self) -> usize {
        let ended: Vec<String> = locked(&self.open).drain().map(|(locator, _)| locator).collect();
        let count = ended.len();
        locked(&self.expired).extend(ended);
        count
    }

    fn keep(&self, locator: String, cursor: Arc<Cursor>) {
        let mut open = locked(&self.open);
        if open.len() >= CURSORS_MAX
            && let Some(oldest) = open.keys().min().cloned()
        {
            open.remove(&oldest);
        }
        open.insert(locator, cursor);
    }

    /// The cursor behind `LOCATOR-OFFSET`, for the user who opened it.
    pub fn find(&self, text: &str, user: Id, now: DateTime<Utc>) -> Result<(Arc<Cursor>, String, usize), ApiError> {
        let bad = |why: &str| ApiError::bad("INVALID_QUERY_LOCATOR", why);
        let (locator, offset) = text.rsplit_once('-').ok_or_else(|| bad("invalid query locator"))?;
        let offset: usize = offset.parse().map_err(|_| bad("invalid query locator"))?;
        if locked(&self.expired).contains(locator) {
            return Err(bad("invalid query locator: QUERY_LOCATOR_EXPIRED"));
        }
        let cursor = locked(&self.open).get(locator).cloned();
        let cursor = cursor.ok_or_else(|| bad("invalid query locator: QUERY_LOCATOR_NOT_FOUND"))?;
        let age_secs = u64::try_from((now - cursor.born).num_seconds()).unwrap_or(0);
        if age_secs >= self.life_secs.load(Ordering::Relaxed) {
            locked(&self.open).remove(locator);
            return Err(bad("invalid query locator: QUERY_LOCATOR_EXPIRED"));
        }
        if cursor.user != user {
            return Err(bad("invalid query locator: UNAUTHORIZED_USER_FOR_CURSOR"));
        }
        if offset >= cursor.snapshot.rows.len() {
            return Err(bad("invalid query locator"));
        }
        Ok((cursor, locator.to_owned(), offset))
    }

    /// Records the page at `offset` may hold.
    fn budget(&self, page: usize, offset: usize) -> usize {
        if !self.ragged.load(Ordering::Relaxed) {
            return page;
        }
        // Any spread will do, as long as the same page is always the same size.
        let mixed = (offset as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
        1 + (mixed as usize) % page
    }
}

type ByParent = HashMap<Vec<u8>, Vec<Row>, ahash::RandomState>;

/// Children of some parents, per subquery, and their children in turn.
struct Family {
    tree: Tree,
    children: Vec<(ByParent, Family)>,
}

impl Family {
    fn read(db: &Db, plan: &Plan, parents: &[&Row], with_deleted: bool) -> Self {
        let children = plan.children.iter().map(|child| {
            let table = &db.tables[child.plan.object];
            let wanted: HashSet<&[u8], ahash::RandomState> = parents.iter().filter_map(|p| p.get(0)).collect();
            let mut found = ByParent::default();
            for index in run::rows_without_limit(db, &child.plan, with_deleted) {
                let row = table.row(index);
                if let Some(parent) = row.get(child.field).filter(|p| wanted.contains(p)) {
                    found.entry(parent.to_vec()).or_default().push(row.clone());
                }
            }
            for rows in found.values_mut() {
                rows.drain(..rows.len().min(child.plan.offset as usize));
                rows.truncate(child.plan.limit.map_or(usize::MAX, |l| l as usize));
            }
            found.retain(|_, rows| !rows.is_empty());
            let below: Vec<&Row> = found.values().flatten().collect();
            let family = Self::read(db, &child.plan, &below, with_deleted);
            (found, family)
        });
        Self {
            children: children.collect(),
            tree: Tree::of(db, &plan.columns).keyed(db.schema.objects[plan.object].field("DurableId")),
        }
    }

    /// Records a row brings along, itself included.
    fn weight(&self, row: &Row) -> usize {
        let id = row.get(0).unwrap_or_default();
        let children = self.children.iter().filter_map(|(found, family)| {
            let rows = found.get(id)?;
            Some(rows.iter().map(|r| family.weight(r)).sum::<usize>())
        });
        1 + children.sum::<usize>()
    }
}

/// Writes pages, opening cursors for what they leave out.
pub struct PageWriter<'a> {
    call: &'a Call,
    db: &'a Db,
}

impl<'a> PageWriter<'a> {
    pub fn new(call: &'a Call, db: &'a Db) -> Self {
        Self { call, db }
    }

    /// Appends a page from `offset` on, without the opening brace.
    pub fn page(&mut self, out: &mut Vec<u8>, cursor: &Arc<Cursor>, locator: Option<String>, offset: usize) {
        let snapshot = &cursor.snapshot;
        let cursors = &self.call.org.cursors;
        let mut budget = cursors.budget(snapshot.page, offset);
        let candidates: Vec<&Row> = snapshot.rows.iter().skip(offset).take(budget).collect();
        let family = Family::read(self.db, &snapshot.plan, &candidates, snapshot.with_deleted);
        let mut taken = 0;
        let mut left = budget;
        for row in &candidates {
            let weight = family.weight(row);
            if weight > left && taken > 0 {
                break;
            }
            left = left.saturating_sub(weight);
            taken += 1;
            if left == 0 {
                break;
            }
        }
        let end = offset + taken;
        let done = end >= snapshot.rows.len();
        let _ = write!(out, "\"totalSize\":{},\"done\":{done}", snapshot.rows.len());
        if !done {
            let locator = locator.unwrap_or_else(|| {
                let fresh = self.call.org.next_serial(*b"01g").text();
                cursors.keep(fresh.clone(), Arc::clone(cursor));
                fresh
            });
            let _ = write!(out, ",\"nextRecordsUrl\":\"{}\"", self.call.path(&format!("query/{locator}-{end}")));
        }
        out.extend_from_slice(b",\"records\":[");
        for (i, row) in candidates.iter().take(taken).enumerate() {
            if i > 0 {
                out.push(b',');
            }
            self.row(out, cursor, &snapshot.plan, &family, row, &mut budget);
        }
        out.extend_from_slice(b"]}");
    }

    fn row(&mut self, out: &mut Vec<u8>, cursor: &Arc<Cursor>, plan: &Plan, family: &Family, row: &Row, budget: &mut usize) {
        *budget = budget.saturating_sub(1);
        let (db, version) = (self.db, self.call.version.as_str());
        record(out, db, version, plan.object, row, &family.tree, &mut |out: &mut Vec<u8>| {
            for (child, (found, below)) in plan.children.iter().zip(&family.children) {
                let _ = write!(out, ",\"{}\":", child.relationship);
                match found.get(row.get(0).unwrap_or_default()) {
                    None => out.extend_from_slice(b"null"),
                    Some(rows) => self.children(out, cursor, &child.plan, below, rows, budget),
                }
            }
        });
    }

    fn children(&mut self, out: &mut Vec<u8>, cursor: &Arc<Cursor>, plan: &Arc<Plan>, family: &Family, rows: &[Row], budget: &mut usize) {
        let mut records = Vec::new();
        let mut shown = 0;
        // One record at least, so that whoever follows the locators gets on.
        while shown < rows.len() && (*budget > 0 || shown == 0) {
            if shown > 0 {
                records.push(b',');
            }
            self.row(&mut records, cursor, plan, family, &rows[shown], budget);
            shown += 1;
        }
        let done = shown == rows.len();
        let _ = write!(out, "{{\"totalSize\":{},\"done\":{done}", rows.len());
        if !done {
            let rest = Snapshot {
                source: cursor.snapshot.source.clone(),
                plan: Arc::clone(plan),
                rows: rows.to_vec(),
                with_deleted: cursor.snapshot.with_deleted,
                page: cursor.snapshot.page,
            };
            let locator = self.call.org.next_serial(*b"01g").text();
            let rest = Cursor {
                user: cursor.user,
                born: cursor.born,
                snapshot: rest,
            };
            self.call.org.cursors.keep(locator.clone(), Arc::new(rest));
            let _ = write!(
                out,
                ",\"nextRecordsUrl\":\"{}\"",
                self.call.path(&format!("query/{locator}-{shown}"))
            );
        }
        out.extend_from_slice(b",\"records\":[");
        out.extend_from_slice(&records);
        out.extend_from_slice(b"]}");
    }
}
