//! Cities, states, countries and postal codes.
//!
//! All draw from one key, so equal seeds give parts of one place. Columns are masked one by one from their own
//! values, though: the city and the code of one record are usually parts of different places.

use super::DRAWS_MAX;
use super::draw::Draw;
use crate::FakeKind;
use crate::dictionary::places::{COUNTRIES, COUNTRY_CODES, PLACES};
use crate::key::Subkey;

/// No postal code is longer (the longest in use have ten characters).
const POSTAL_CHARS_MAX: usize = 12;
/// The longest state or country name is shorter; narrower fields get codes.
const NAME_CHARS: usize = 14;

/// A city, state or country; the latter two abbreviated where the original was.
pub(super) fn name(kind: FakeKind, draw: &mut Draw<'_>, input: &str, chars_max: usize) -> &'static str {
    let short = chars_max < NAME_CHARS || (input.len() == 2 && input.bytes().all(|b| b.is_ascii_alphabetic()));
    match (kind, short) {
        (FakeKind::State, true) => draw.pick(PLACES).state_code,
        (FakeKind::State, false) => draw.pick(PLACES).state,
        (FakeKind::Country, true) => draw.pick(COUNTRY_CODES),
        (FakeKind::Country, false) => draw.pick(COUNTRIES),
        _ => draw.pick(PLACES).city,
    }
}

/// Five digits (and ZIP+4) become a ZIP code of a listed place; other codes keep their shape: digit for digit, letter
/// for letter. What doesn't look like a postal code becomes a ZIP code.
pub(super) fn postal_code(key: &Subkey, input: &str, chars_max: usize, out: &mut String) -> bool {
    let mut draw = Draw::new(key, input.as_bytes());
    let bytes = input.as_bytes();
    let zip = bytes.len() >= 5
        && bytes[..5].iter().all(u8::is_ascii_digit)
        && (bytes.len() == 5 || (bytes.len() == 10 && bytes[5] == b'-' && bytes[6..].iter().all(u8::is_ascii_digit)));
    let shaped = !zip
        && (3..=POSTAL_CHARS_MAX).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'-'))
        && bytes.iter().any(u8::is_ascii_digit);
    for _ in 0..DRAWS_MAX {
        out.clear();
        if shaped {
            for byte in bytes {
                out.push(char::from(match byte {
                    b'0'..=b'9' => draw.digit(),
                    b'a'..=b'z' => b'a' + draw.below(26) as u8,
                    b'A'..=b'Z' => b'A' + draw.below(26) as u8,
                    other => *other,
                }));
            }
        } else {
            out.push_str(draw.pick(PLACES).postal_code);
            if zip && bytes.len() == 10 {
                out.push('-');
                for _ in 0..4 {
                    out.push(char::from(draw.digit()));
                }
            }
        }
        let same = if zip {
            out.as_bytes()[..5] == bytes[..5]
        } else {
            out.eq_ignore_ascii_case(input)
        };
        super::cut(out, chars_max);
        if !same {
            return true;
        }
        draw.again();
    }
    false
}
