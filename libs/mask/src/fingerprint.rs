//! Keyed fingerprints: to recognise a value later without having kept it.
//!
//! A leak check fingerprints originals while they pass and looks for them at the target. Fingerprints have a subkey of
//! their own, so they say nothing about hashes or fakes, and without the key they can't be tried against guesses.

use crate::fake::fold;
use crate::key::{MaskKey, Subkey, Use};

/// Makes fingerprints under the project's key.
#[derive(Clone)]
pub struct Fingerprinter {
    key: Subkey,
}

impl Fingerprinter {
    #[must_use]
    pub fn new(key: &MaskKey) -> Self {
        Self {
            key: key.subkey(Use::Fingerprint),
        }
    }

    /// 128 bits of a value's normal form: trimmed, in lower case. `None` for a blank value, which identifies nobody.
    #[must_use]
    pub fn fingerprint(&self, value: &str) -> Option<u128> {
        self.fingerprint_with(value, &mut String::new())
    }

    /// As [`Self::fingerprint`], with memory that the caller reuses.
    #[must_use]
    pub fn fingerprint_with(&self, value: &str, scratch: &mut String) -> Option<u128> {
        let trimmed = value.trim();
        if trimmed.is_empty() {
            return None;
        }
        fold(trimmed, scratch);
        let digest = self.key.prf(scratch.as_bytes());
        scratch.clear();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Some(u128::from_le_bytes(bytes))
    }

    /// The low 64 bits, where a set of many must stay small: among n originals a stranger is mistaken for one of them
    /// with odds n / 2^64.
    #[must_use]
    pub fn fingerprint_u64(&self, value: &str) -> Option<u64> {
        self.fingerprint(value).map(|f| f as u64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn normal_forms_agree_and_keys_differ() {
        let a = Fingerprinter::new(&MaskKey::from_bytes(b"0123456789abcdef0123456789abcdef").unwrap());
        let b = Fingerprinter::new(&MaskKey::from_bytes(b"0123456789abcdef0123456789abcdeg").unwrap());
        assert_eq!(a.fingerprint(" Ada@X.org "), a.fingerprint("ada@x.org"));
        assert_eq!(a.fingerprint("ÄRGER"), a.fingerprint("ärger"));
        assert_ne!(a.fingerprint("ada"), b.fingerprint("ada"));
        assert_ne!(a.fingerprint("ada"), a.fingerprint("ade"));
        assert_eq!(a.fingerprint("  "), None);
        assert_eq!(a.fingerprint_u64("ada"), a.fingerprint("ada").map(|f| f as u64));
    }
}
