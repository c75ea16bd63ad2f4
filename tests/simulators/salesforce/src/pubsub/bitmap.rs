//! Which fields changed, as the header's bitmap strings.
//!
//! `0x650004E0` is one big-endian number in hexadecimal of even length whose bit *i* stands for the Avro field *i* of
//! the event; `4-0x10` does the same for the parts of the compound field at 4.

use std::collections::BTreeMap;

/// A set of fields and of parts of compound fields.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct FieldSet {
    top: Vec<usize>,
    parts: BTreeMap<usize, Vec<usize>>,
}

impl FieldSet {
    /// Adds a top-level field by its Avro position.
    pub fn add(&mut self, field: usize) {
        self.top.push(field);
    }

    /// Adds one part of the compound field at `field`.
    pub fn add_part(&mut self, field: usize, part: usize) {
        self.parts.entry(field).or_default().push(part);
    }

    /// Fields and parts in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.top.len() + self.parts.values().map(Vec::len).sum::<usize>()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.top.is_empty() && self.parts.is_empty()
    }

    /// The header's strings.
    #[must_use]
    pub fn strings(&self) -> Vec<String> {
        let mut out = Vec::new();
        if !self.top.is_empty() {
            out.push(mask(&self.top));
        }
        out.extend(self.parts.iter().map(|(field, parts)| format!("{field}-{}", mask(parts))));
        out
    }
}

fn mask(bits: &[usize]) -> String {
    let highest = bits.iter().copied().max().unwrap_or(0);
    let mut bytes = vec![0u8; highest / 8 + 1];
    for bit in bits {
        bytes[bit / 8] |= 1 << (bit % 8);
    }
    let mut out = String::from("0x");
    for byte in bytes.iter().rev() {
        out.push_str(&format!("{byte:02X}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(top: &[usize], parts: &[(usize, usize)]) -> Vec<String> {
        let mut set = FieldSet::default();
        top.iter().for_each(|f| set.add(*f));
        parts.iter().for_each(|(f, p)| set.add_part(*f, *p));
        set.strings()
    }

    #[test]
    fn bits_count_from_the_right_in_whole_bytes() {
        // The documented example: Description (16) and LastModifiedDate (22).
        assert_eq!(strings(&[16, 22], &[]), ["0x410000"]);
        assert_eq!(strings(&[16], &[]), ["0x010000"]);
        assert_eq!(strings(&[5, 6, 7, 10, 24, 26, 29, 30], &[]), ["0x650004E0"]);
        assert_eq!(strings(&[], &[(4, 4)]), ["4-0x10"]);
        assert_eq!(strings(&[7, 12, 23], &[(5, 1), (5, 3)]), ["0x801080", "5-0x0A"]);
        assert!(strings(&[], &[]).is_empty());
    }
}
