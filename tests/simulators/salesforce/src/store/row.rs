//! One record as a compact, immutable, shared blob.
//!
//! Only present cells take room: a bit per field, one end offset per present cell, then the
//! text in the very form Bulk results print. Rendering is therefore a copy, and a query
//! job's snapshot is a list of shared pointers that later writes can't disturb.

use std::sync::Arc;

const HEADER: usize = 4;
const ABSENT: (u32, u32) = (u32::MAX, 0);

/// A stored record. Cloning shares it.
#[derive(Clone)]
pub struct Row(Arc<[u8]>);

impl Row {
    fn word(&self, index: usize) -> u64 {
        let at = HEADER + index * 8;
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("a slice of eight bytes is eight bytes"))
    }

    fn end(&self, base: usize, wide: bool, rank: usize) -> usize {
        if wide {
            let at = base + rank * 4;
            u32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]]) as usize
        } else {
            let at = base + rank * 2;
            usize::from(u16::from_le_bytes([self.0[at], self.0[at + 1]]))
        }
    }

    /// The cell's text, or `None` when it is null.
    pub fn get(&self, field: usize) -> Option<&[u8]> {
        let wide = self.0[0] == 1;
        let words = usize::from(self.0[1]);
        let count = usize::from(u16::from_le_bytes([self.0[2], self.0[3]]));
        let (index, bit) = (field / 64, 1u64 << (field % 64));
        if index >= words {
            return None;
        }
        let word = self.word(index);
        if word & bit == 0 {
            return None;
        }
        let mut rank = (word & (bit - 1)).count_ones() as usize;
        for before in 0..index {
            rank += self.word(before).count_ones() as usize;
        }
        let base = HEADER + words * 8;
        let data = base + count * if wide { 4 } else { 2 };
        let start = if rank == 0 { 0 } else { self.end(base, wide, rank - 1) };
        let end = self.end(base, wide, rank);
        Some(&self.0[data + start..data + end])
    }

    /// A number that changes with the content.
    pub fn digest(&self) -> u64 {
        use std::hash::{DefaultHasher, Hasher};
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.0);
        hasher.finish()
    }

    /// Bytes this record occupies.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// A record under construction; reused from row to row.
#[derive(Default)]
pub struct Draft {
    text: Vec<u8>,
    spans: Vec<(u32, u32)>,
}

impl Draft {
    /// Forgets everything and sizes for an object of `fields` fields.
    pub fn reset(&mut self, fields: usize) {
        self.text.clear();
        self.spans.clear();
        self.spans.resize(fields, ABSENT);
    }

    /// Starts from a stored record.
    pub fn load(&mut self, row: &Row, fields: usize) {
        self.reset(fields);
        for field in 0..fields {
            if let Some(value) = row.get(field) {
                self.set(field, value);
            }
        }
    }

    /// Sets a cell; empty text is null.
    pub fn set(&mut self, field: usize, value: &[u8]) {
        if value.is_empty() {
            self.spans[field] = ABSENT;
            return;
        }
        let start = self.text.len() as u32;
        self.text.extend_from_slice(value);
        self.spans[field] = (start, self.text.len() as u32);
    }

    /// Makes a cell null.
    pub fn clear(&mut self, field: usize) {
        self.spans[field] = ABSENT;
    }

    /// The cell's text, or `None` when it is null.
    pub fn get(&self, field: usize) -> Option<&[u8]> {
        let (start, end) = self.spans[field];
        (start != u32::MAX).then(|| &self.text[start as usize..end as usize])
    }

    /// Packs the record.
    pub fn finish(&self) -> Row {
        let words = self.spans.len().div_ceil(64);
        let mut count = 0usize;
        let mut total = 0usize;
        for (start, end) in &self.spans {
            if *start != u32::MAX {
                count += 1;
                total += (end - start) as usize;
            }
        }
        let wide = total > usize::from(u16::MAX);
        let step = if wide { 4 } else { 2 };
        let mut out = Vec::with_capacity(HEADER + words * 8 + count * step + total);
        out.push(u8::from(wide));
        out.push(words as u8);
        out.extend_from_slice(&(count as u16).to_le_bytes());
        for chunk in self.spans.chunks(64) {
            let word = chunk
                .iter()
                .enumerate()
                .fold(0u64, |acc, (bit, span)| acc | (u64::from(span.0 != u32::MAX) << bit));
            out.extend_from_slice(&word.to_le_bytes());
        }
        let mut end = 0u32;
        for (start, stop) in &self.spans {
            if *start != u32::MAX {
                end += stop - start;
                if wide {
                    out.extend_from_slice(&end.to_le_bytes());
                } else {
                    out.extend_from_slice(&(end as u16).to_le_bytes());
                }
            }
        }
        for (start, stop) in &self.spans {
            if *start != u32::MAX {
                out.extend_from_slice(&self.text[*start as usize..*stop as usize]);
            }
        }
        Row(out.into())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn cells_survive_packing_across_bitmap_words() {
        let mut draft = Draft::default();
        draft.reset(130);
        draft.set(0, b"id");
        draft.set(63, b"edge");
        draft.set(64, b"next");
        draft.set(129, "ü😀".as_bytes());
        let row = draft.finish();
        assert_eq!(row.get(0).unwrap(), b"id");
        assert_eq!(row.get(63).unwrap(), b"edge");
        assert_eq!(row.get(64).unwrap(), b"next");
        assert_eq!(row.get(129).unwrap(), "ü😀".as_bytes());
        assert!(row.get(1).is_none());
        assert!(row.get(500).is_none());
    }

    #[test]
    fn a_row_beyond_64_kib_keeps_its_cells() {
        let mut draft = Draft::default();
        draft.reset(3);
        let long = vec![b'x'; 70_000];
        draft.set(0, b"a");
        draft.set(1, &long);
        draft.set(2, b"z");
        let row = draft.finish();
        assert_eq!(row.get(1).unwrap().len(), 70_000);
        assert_eq!(row.get(2).unwrap(), b"z");
    }

    #[test]
    fn a_loaded_draft_overwrites_and_clears() {
        let mut draft = Draft::default();
        draft.reset(2);
        draft.set(0, b"a");
        draft.set(1, b"b");
        let row = draft.finish();
        draft.load(&row, 2);
        draft.set(0, b"longer");
        draft.clear(1);
        let row = draft.finish();
        assert_eq!(row.get(0).unwrap(), b"longer");
        assert!(row.get(1).is_none());
    }
}
