//! Record ids: base-62 serials, the 18-character checksum, and strict parsing.
//!
//! An id is 15 case-sensitive characters; positions 16-18 of the long form spell out
//! which of the 15 are upper case, so a re-cased copy is always detected.

use std::fmt;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CHECK: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

/// The 15 significant characters of a record id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub [u8; 15]);

/// Why a text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("not 15 or 18 characters")]
    Length,
    #[error("not base-62")]
    Alphabet,
    #[error("the case check characters do not match")]
    Checksum,
}

impl Id {
    /// Accepts the 15- or the 18-character form; the latter must carry a valid checksum.
    pub fn parse(text: &[u8]) -> Result<Self, IdError> {
        if text.len() != 15 && text.len() != 18 {
            return Err(IdError::Length);
        }
        if !text.iter().all(u8::is_ascii_alphanumeric) {
            return Err(IdError::Alphabet);
        }
        let mut short = [0u8; 15];
        short.copy_from_slice(&text[..15]);
        let id = Id(short);
        if text.len() == 18 && text[15..] != id.check() {
            return Err(IdError::Checksum);
        }
        Ok(id)
    }

    /// Builds an id from a key prefix, an instance pod and a serial.
    pub fn new(prefix: [u8; 3], pod: [u8; 2], serial: u64) -> Self {
        let mut out = [b'0'; 15];
        out[..3].copy_from_slice(&prefix);
        out[3..5].copy_from_slice(&pod);
        let mut rest = serial;
        for slot in out[6..].iter_mut().rev() {
            *slot = ALPHABET[(rest % 62) as usize];
            rest /= 62;
        }
        Id(out)
    }

    /// The three characters that say which object the record belongs to.
    pub fn prefix(&self) -> [u8; 3] {
        [self.0[0], self.0[1], self.0[2]]
    }

    /// The instance part.
    pub fn pod(&self) -> [u8; 2] {
        [self.0[3], self.0[4]]
    }

    /// The serial of the last nine characters.
    pub fn serial(&self) -> u64 {
        self.0[6..].iter().fold(0, |acc, c| {
            acc * 62
                + u64::from(match c {
                    b'0'..=b'9' => c - b'0',
                    b'A'..=b'Z' => c - b'A' + 10,
                    _ => c.wrapping_sub(b'a') % 26 + 36,
                })
        })
    }

    fn check(&self) -> [u8; 3] {
        let mut out = [0u8; 3];
        for (slot, group) in out.iter_mut().zip(self.0.chunks_exact(5)) {
            let bits = group
                .iter()
                .enumerate()
                .fold(0usize, |acc, (i, c)| acc | (usize::from(c.is_ascii_uppercase()) << i));
            *slot = CHECK[bits];
        }
        out
    }

    /// The 18-character form every API answer uses.
    pub fn long(&self) -> [u8; 18] {
        let mut out = [0u8; 18];
        out[..15].copy_from_slice(&self.0);
        out[15..].copy_from_slice(&self.check());
        out
    }

    /// The 18-character form as text.
    pub fn text(&self) -> String {
        self.long().iter().map(|c| char::from(*c)).collect()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn real_ids_keep_their_check_characters() {
        for long in [
            "001Wy0000001G2iIAE",
            "003Wy0000001GB6IAM",
            "500Wy0000001G2iIAE",
            "00QWy0000001G5VMAU",
            "012000000000000AAA",
            "01254000001upcKAAQ",
        ] {
            let id = Id::parse(long.as_bytes()).unwrap();
            assert_eq!(id.text(), long);
            assert_eq!(Id::parse(&long.as_bytes()[..15]).unwrap(), id);
        }
    }

    #[test]
    fn a_recased_id_is_refused() {
        assert_eq!(Id::parse(b"001wY0000001G2iIAE"), Err(IdError::Checksum));
        assert_eq!(Id::parse(b"001"), Err(IdError::Length));
        assert_eq!(Id::parse(b"001Wy0000001G2-"), Err(IdError::Alphabet));
    }

    #[test]
    fn serials_survive_the_round_trip() {
        for serial in [0, 1, 61, 62, 5_000_000, 62u64.pow(8)] {
            let id = Id::new(*b"001", *b"Wy", serial);
            assert_eq!(id.serial(), serial);
            assert_eq!(Id::parse(id.text().as_bytes()).unwrap(), id);
        }
    }
}
