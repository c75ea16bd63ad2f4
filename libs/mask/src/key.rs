//! The project's masking key and the subkeys drawn from it.
//!
//! One 32-byte key makes all fakes, hashes and fingerprints of a project. Each use has a subkey of its own
//! (BLAKE3 `derive_key`, whose context strings are global constants as its specification asks), so that a fake of a
//! name says nothing about the hash of the same text. Whoever holds the key can test guesses of originals; it is
//! therefore zeroized, and neither printed nor compared.

use std::fmt;

use zeroize::Zeroize;

use crate::MaskError;

/// Length of the key in bytes.
pub const KEY_BYTES: usize = 32;

/// The secret that makes masking repeatable for its holder and opaque for everyone else.
#[derive(Clone)]
pub struct MaskKey([u8; KEY_BYTES]);

impl MaskKey {
    /// Takes 32 bytes from a cryptographic random generator.
    ///
    /// # Errors
    /// [`MaskError::Key`] if the length is wrong or all bytes are equal (a key that was never filled in).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MaskError> {
        let key: [u8; KEY_BYTES] = bytes.try_into().map_err(|_| MaskError::Key {
            reason: "must be 32 bytes long",
        })?;
        if key.iter().all(|byte| *byte == key[0]) {
            return Err(MaskError::Key {
                reason: "is one byte repeated, not random material",
            });
        }
        Ok(Self(key))
    }

    /// Names the key without revealing it: 16 hex digits, for evidence that two runs used the same key.
    #[must_use]
    pub fn id(&self) -> String {
        let derived = self.subkey(Use::KeyId);
        let tag = blake3::keyed_hash(&derived.0, b"");
        tag.to_hex()[..16].to_owned()
    }

    pub(crate) fn subkey(&self, purpose: Use) -> Subkey {
        Subkey(blake3::derive_key(purpose.context(), &self.0))
    }
}

impl Drop for MaskKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaskKey(..)")
    }
}

/// What a subkey is for. Place parts share one, so that equal seeds give a city, state and code that belong together.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Use {
    KeyId,
    Hash,
    Fingerprint,
    GivenName,
    FamilyName,
    Company,
    Email,
    Phone,
    Street,
    Place,
    Url,
    Text,
}

impl Use {
    fn context(self) -> &'static str {
        match self {
            Self::KeyId => "syncline-mask 2026-11 v1 key id",
            Self::Hash => "syncline-mask 2026-11 v1 hash",
            Self::Fingerprint => "syncline-mask 2026-11 v1 fingerprint",
            Self::GivenName => "syncline-mask 2026-11 v1 given name",
            Self::FamilyName => "syncline-mask 2026-11 v1 family name",
            Self::Company => "syncline-mask 2026-11 v1 company",
            Self::Email => "syncline-mask 2026-11 v1 email",
            Self::Phone => "syncline-mask 2026-11 v1 phone",
            Self::Street => "syncline-mask 2026-11 v1 street",
            Self::Place => "syncline-mask 2026-11 v1 place",
            Self::Url => "syncline-mask 2026-11 v1 url",
            Self::Text => "syncline-mask 2026-11 v1 text",
        }
    }
}

/// A key for one purpose.
#[derive(Clone)]
pub(crate) struct Subkey([u8; KEY_BYTES]);

impl Drop for Subkey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Subkey {
    /// The keyed BLAKE3 hash of an input: the only source of choice in this crate.
    pub(crate) fn prf(&self, input: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.0, input).as_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_that_were_never_filled_in_are_refused() {
        for bytes in [&[0u8; 32][..], &[7u8; 32], &[1u8; 31], &[], &[1u8; 33]] {
            assert!(MaskKey::from_bytes(bytes).is_err(), "{} bytes", bytes.len());
        }
    }

    #[test]
    fn debug_and_id_do_not_reveal_the_key() {
        let bytes: Vec<u8> = (1..=32).collect();
        let key = MaskKey::from_bytes(&bytes).unwrap();
        assert_eq!(format!("{key:?}"), "MaskKey(..)");
        assert_eq!(key.id().len(), 16);
        let mut other = bytes.clone();
        other[31] ^= 1;
        assert_ne!(key.id(), MaskKey::from_bytes(&other).unwrap().id());
    }
}
