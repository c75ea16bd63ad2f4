//! What a CSV record may look like: its quotes, and its size.

use csv::ByteRecord;

// "Bulk API 2.0 Limits" and "Prepare CSV Files".
pub(super) const HEADER_CHARS_MAX: usize = 32_000;
pub(super) const FIELDS_MAX: usize = 5_000;
const RECORD_CHARS_MAX: usize = 400_000;
const FIELD_CHARS_MAX: usize = 131_072;

/// How the quotes of a record stand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Quotes {
    Sound,
    /// A blank stands between a quoted cell and its delimiter: this row is refused.
    Apart,
    /// From this byte on cells and rows can't be told any longer, and why.
    Broken(usize, &'static str),
}

enum At {
    Cell,
    /// Blanks before anything else.
    Blank,
    Bare,
    /// After a blank and a quote, which is read as text.
    Loose,
    Quoted(usize),
    Quote,
    /// Blanks behind a closing quote.
    Behind,
}

/// Judges one record as the reader cut it.
pub(super) fn look(record: &[u8], delimiter: u8) -> Quotes {
    if !record.contains(&b'"') {
        return Quotes::Sound;
    }
    let mut state = At::Cell;
    let mut is_apart = false;
    for (i, byte) in record.iter().copied().enumerate() {
        let ends = byte == delimiter || matches!(byte, b'\r' | b'\n');
        state = match (state, byte) {
            (At::Cell, b'"') => At::Quoted(i),
            (At::Quoted(_), b'"') => At::Quote,
            (At::Quote, b'"') => At::Quoted(i),
            (At::Quoted(from), _) => At::Quoted(from),
            (_, _) if ends => At::Cell,
            (At::Blank, b'"') => {
                is_apart = true;
                At::Loose
            }
            (At::Cell | At::Blank, b' ') => At::Blank,
            (At::Quote | At::Behind, b' ') => {
                is_apart = true;
                At::Behind
            }
            (At::Quote | At::Behind, _) => return Quotes::Broken(i, "text behind a closing quote"),
            (At::Bare, b'"') => return Quotes::Broken(i, "a quote inside a cell that does not begin with one"),
            (At::Loose, _) => At::Loose,
            (At::Cell | At::Blank | At::Bare, _) => At::Bare,
        };
    }
    match state {
        At::Quoted(from) => Quotes::Broken(from, "a quote that is not closed"),
        _ if is_apart => Quotes::Apart,
        _ => Quotes::Sound,
    }
}

/// What of a record is too long, if anything.
pub(super) fn beyond(text: &[u8], record: &ByteRecord) -> Option<String> {
    if exceeds(text, RECORD_CHARS_MAX) {
        return Some(format!("exceeds {RECORD_CHARS_MAX} characters"));
    }
    let is_long = text.len() > FIELD_CHARS_MAX && record.iter().any(|cell| exceeds(cell, FIELD_CHARS_MAX));
    is_long.then(|| format!("has a field of more than {FIELD_CHARS_MAX} characters"))
}

fn exceeds(text: &[u8], chars_max: usize) -> bool {
    text.len() > chars_max && String::from_utf8_lossy(text).chars().count() > chars_max
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_sound_apart_or_broken() {
        for (record, expected) in [
            ("a,b", Quotes::Sound),
            ("\"a\",\"b, \"\"c\"\"\"\n", Quotes::Sound),
            ("\"\",a b ,\" x \"\r\n", Quotes::Sound),
            ("a, \"b\"", Quotes::Apart),
            ("\"a\" ,b", Quotes::Apart),
            ("\"a\" ,\"b", Quotes::Broken(5, "a quote that is not closed")),
            ("\"a\" x,b", Quotes::Broken(4, "text behind a closing quote")),
            ("\"a\"x,b", Quotes::Broken(3, "text behind a closing quote")),
            ("a\"b,c", Quotes::Broken(1, "a quote inside a cell that does not begin with one")),
        ] {
            assert_eq!(look(record.as_bytes(), b','), expected, "{record}");
        }
    }
}
