//! The monitor's SQL. Writing a fact is commutative and idempotent; see each function for which of two facts wins.

mod dead;
mod decision;
mod fact;
mod read;
mod totals;

pub use dead::{
    DeadRow, NewDeadLetter, Wanted, dead_letter_get, dead_letter_list, dead_letter_store, dead_letter_total, dead_letters_expire,
};
pub use decision::{
    Affected, Choice, LetterRow, letter_replayed, letters_affected, letters_count, letters_discard, letters_fetch, letters_keep,
    letters_left, letters_replay,
};
pub use fact::{
    fact_insert, facts_expire, outline_put, plan_put, run_touch, runs_close, runs_expire, status_put, step_done, step_failed, step_yielded,
};
pub use read::{Books, RefusedRow, RunRow, books_read, run_row};
pub use totals::{load_put, mask_put, refused_put, resource_put, stage_put, verify_put};

/// The owner of a row: every table's key begins with it.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    pub tenant: &'a str,
    pub run: &'a str,
}

/// Counts travel as `uint64` and are stored as `bigint`; nothing countable comes near the difference.
pub(crate) fn stored(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(crate) fn counted(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}
