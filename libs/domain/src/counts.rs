//! The books: every record that was read is accounted for, or the run says so.

use serde::{Deserialize, Serialize};

/// Counts of one object in one run, by distinct source key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub read: u64,
    pub inserted: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub filtered: u64,
    pub refused: u64,
    pub parked: u64,
    pub dead: u64,
    /// Records deleted at the target because the source no longer has them (not part of the balance).
    pub deleted: u64,
}

impl Counts {
    #[must_use]
    pub fn written(&self) -> u64 {
        self.inserted + self.updated
    }

    /// What is explained: written, unchanged, filtered, refused, parked or dead.
    #[must_use]
    pub fn explained(&self) -> u64 {
        self.written() + self.unchanged + self.filtered + self.refused + self.parked + self.dead
    }

    /// read = written + unchanged + filtered + refused + parked + dead
    #[must_use]
    pub fn balanced(&self) -> bool {
        self.read == self.explained()
    }

    /// Nothing was lost on the way and every record is where it belongs.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.balanced() && self.refused == 0 && self.parked == 0 && self.dead == 0
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, o: Self) {
        self.read += o.read;
        self.inserted += o.inserted;
        self.updated += o.updated;
        self.unchanged += o.unchanged;
        self.filtered += o.filtered;
        self.refused += o.refused;
        self.parked += o.parked;
        self.dead += o.dead;
        self.deleted += o.deleted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_neither_written_nor_explained_unbalances_the_books() {
        let mut counts = Counts {
            read: 10,
            inserted: 4,
            updated: 2,
            unchanged: 1,
            filtered: 1,
            refused: 1,
            ..Counts::default()
        };
        assert!(!counts.balanced());
        counts.parked = 1;
        assert!(counts.balanced());
        assert!(!counts.clean());
    }
}
