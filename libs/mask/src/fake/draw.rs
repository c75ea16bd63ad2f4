//! A stream of keyed choices: the hash of the input, then the hash of that hash, and so on.

use crate::key::Subkey;

/// Words of eight bytes in one hash.
const WORDS_PER_BLOCK: usize = 4;

pub(crate) struct Draw<'k> {
    key: &'k Subkey,
    block: [u8; 32],
    used: usize,
}

impl<'k> Draw<'k> {
    pub(crate) fn new(key: &'k Subkey, seed: &[u8]) -> Self {
        Self {
            key,
            block: key.prf(seed),
            used: 0,
        }
    }

    /// Starts over from the next hash, for a draw that may not stand.
    pub(crate) fn again(&mut self) {
        self.block = self.key.prf(&self.block);
        self.used = 0;
    }

    pub(crate) fn word(&mut self) -> u64 {
        if self.used == WORDS_PER_BLOCK {
            self.again();
        }
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.block[self.used * 8..self.used * 8 + 8]);
        self.used += 1;
        u64::from_le_bytes(bytes)
    }

    /// A number below `bound`; its bias is under `bound` / 2^64.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.word()) * u128::from(bound)) >> 64) as u64
    }

    pub(crate) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        let index = self.below(list.len() as u64) as usize;
        list[index]
    }

    /// Four choices from a short list (far fewer than 2^16 entries) for the price of one.
    pub(crate) fn pick_four<T: Copy>(&mut self, list: &[T]) -> [T; 4] {
        let word = self.word();
        [0, 16, 32, 48].map(|shift| {
            let part = (word >> shift) as usize & 0xffff;
            list[(part * list.len()) >> 16]
        })
    }

    /// Decimal digits of a number, without allocating.
    pub(crate) fn push_number(number: u64, out: &mut String) {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        out.extend(digits[at..].iter().map(|b| char::from(*b)));
    }

    /// One decimal digit as ASCII.
    pub(crate) fn digit(&mut self) -> u8 {
        b'0' + self.below(10) as u8
    }
}

/// Lower-case RFC 4648 base32 of the first `chars` * 5 bits.
pub(crate) fn push_base32(bytes: &[u8; 32], chars: usize, out: &mut String) {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut pool: u32 = 0;
    let mut bits = 0;
    let mut source = bytes.iter();
    for _ in 0..chars {
        if bits < 5 {
            let Some(byte) = source.next() else { return };
            pool = (pool << 8) | u32::from(*byte);
            bits += 8;
        }
        bits -= 5;
        out.push(char::from(ALPHABET[(pool >> bits) as usize & 31]));
        pool &= (1 << bits) - 1;
    }
}

/// Lower-case hex of the first `chars` half-bytes.
pub(crate) fn push_hex(bytes: &[u8; 32], chars: usize, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for at in 0..chars.min(64) {
        let byte = bytes[at / 2];
        let half = if at % 2 == 0 { byte >> 4 } else { byte & 15 };
        out.push(char::from(DIGITS[usize::from(half)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_match_known_vectors() {
        // RFC 4648 section 10: BASE32("foobar") = MZXW6YTBOI======, BASE16("foobar") = 666F6F626172.
        let mut bytes = [0; 32];
        bytes[..6].copy_from_slice(b"foobar");
        let mut text = String::new();
        push_base32(&bytes, 9, &mut text);
        assert_eq!(text, "mzxw6ytbo");
        text.clear();
        push_hex(&bytes, 12, &mut text);
        assert_eq!(text, "666f6f626172");
        text.clear();
        Draw::push_number(9_070, &mut text);
        assert_eq!(text, "9070");
    }
}
