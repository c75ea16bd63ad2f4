//! Phone numbers in the shape of the original, from numbers that nobody has.
//!
//! Separators, length, country prefix, trunk zero `(0)` and the place of an extension are kept; every digit is redrawn.
//!
//! | original | fake | reserved by |
//! |---|---|---|
//! | `+1` and ten digits, ten digits, seven digits | `NPA 555 01xx` | NANPA / ATIS-0300115: 555-0100 to 555-0199 are kept for fiction |
//! | `+44`, ten digits | `20 7946 0xxx`, mobile `7700 900xxx` | Ofcom, "Telephone numbers for use in TV and radio drama" |
//! | `+49`, ten or eleven digits | `30 23125xxx`, `69 90009xxx`, `40 66969xxx`, `221 4710xxx`, `89 99998xxx`, mobile `171 39200xx`, `176 040690xx` | Bundesnetzagentur, Mitteilung 148/2021, Amtsblatt 7/2021, "Drama Numbers" |
//! | `+33`, nine digits | `1 99 00 xx xx`, mobile `6 39 98 xx xx` | ARCEP, plan national de numérotation, numbers for audiovisual works |
//! | a leading zero without country | one of the above that fits ten or eleven digits | as above; `01632 960xxx` is Ofcom's range without area |
//! | any other number | country code 999 | ITU-T E.164, list of assigned country codes: 999 is assigned to nobody |
//! | fewer than seven digits | `5` and digits redrawn | too short to be dialled from outside its own network |
//!
//! Text that is no phone number ("ask for Bob") is dropped whole and replaced by a number under +999.

use super::DRAWS_MAX;
use super::draw::Draw;
use crate::key::Subkey;

/// E.164 numbers have at most 15 digits; some room for access prefix and trunk zero.
const DIGITS_MAX: usize = 19;
const EXTENSION_DIGITS_MAX: usize = 8;

/// Geographic area codes of the North American plan; 555-01xx is kept free in each.
const AREA_CODES: &[&str] = &[
    "201", "202", "205", "206", "207", "208", "212", "213", "214", "215", "216", "217", "301", "302", "303", "304", "305", "307", "308",
    "309", "312", "313", "314", "315", "316", "317", "401", "402", "404", "405", "406", "408", "410", "412", "413", "414", "415", "419",
    "501", "502", "503", "504", "505", "507", "508", "509", "512", "513", "515", "516", "517", "518", "601", "602", "603", "605", "606",
    "607", "608", "609", "612", "614", "615", "616", "617", "618", "619", "701", "702", "703", "704", "706", "707", "708", "712", "713",
    "715", "716", "717", "718", "719", "801", "802", "803", "804", "805", "806", "808", "812", "813", "814", "815", "816", "817", "818",
    "901", "903", "904", "907", "908", "909", "912", "913", "914", "915", "916", "918", "919",
];

const GERMAN_LANDLINES: &[&str] = &["3023125xxx", "6990009xxx", "4066969xxx", "2214710xxx", "8999998xxx"];

/// The digits of a number and what is around them.
struct Number {
    digits: [u8; DIGITS_MAX],
    len: usize,
    /// Digits that name a country follow (after `+`, or after `00`).
    international: bool,
    /// Where the digits after an access prefix `00` begin: 2, else 0.
    start: usize,
}

impl Number {
    fn all(&self) -> &[u8] {
        &self.digits[..self.len]
    }

    fn significant(&self) -> &[u8] {
        &self.digits[self.start..self.len]
    }

    /// What makes two writings the same number: digits without access prefix and North American `1`.
    fn seed(&self) -> &[u8] {
        match self.significant() {
            [b'1', rest @ ..] if rest.len() == 10 => rest,
            digits => digits,
        }
    }
}

/// Writes the fake; says whether its digits differ from the original's.
pub(super) fn write(key: &Subkey, input: &str, chars_max: usize, out: &mut String) -> bool {
    let Some((number, extension_at)) = parse(input) else {
        return unassigned(&mut Draw::new(key, input.as_bytes()), input, chars_max, out);
    };
    let mut draw = Draw::new(key, number.seed());
    for _ in 0..DRAWS_MAX {
        let mut fake = [b'0'; DIGITS_MAX];
        compose(&number, &mut draw, &mut fake);
        if fake[..number.len] != *number.all() {
            out.clear();
            let mut at = 0;
            for (position, c) in input.char_indices() {
                if !c.is_ascii_digit() {
                    out.push(c);
                } else if position >= extension_at {
                    out.push(char::from(draw.digit()));
                } else {
                    out.push(char::from(fake[at]));
                    at += 1;
                }
            }
            super::cut(out, chars_max);
            return true;
        }
        draw.again();
    }
    // Every draw met the original: leave the plan's numbers rather than keep it.
    unassigned(&mut draw, input, chars_max, out)
}

/// `+999` and nine digits.
fn unassigned(draw: &mut Draw<'_>, input: &str, chars_max: usize, out: &mut String) -> bool {
    for _ in 0..DRAWS_MAX {
        out.clear();
        out.push_str("+999");
        for _ in 0..9 {
            out.push(char::from(draw.digit()));
        }
        super::cut(out, chars_max);
        if out != input {
            return true;
        }
        draw.again();
    }
    false
}

/// The number and the byte position of its extension; `None` if there is text that is neither.
fn parse(input: &str) -> Option<(Number, usize)> {
    let mut number = Number {
        digits: [0; DIGITS_MAX],
        len: 0,
        international: false,
        start: 0,
    };
    let mut extension_at = input.len();
    for (position, c) in input.char_indices() {
        match c {
            '0'..='9' => {
                *number.digits.get_mut(number.len)? = c as u8;
                number.len += 1;
            }
            '+' if number.len == 0 && !number.international => number.international = true,
            ' ' | '(' | ')' | '-' | '.' | '/' => {}
            _ if number.len > 0 && is_extension(&input[position..]) => {
                extension_at = position;
                break;
            }
            _ => return None,
        }
    }
    if number.len < 3 || (number.international && number.len < 7) {
        return None;
    }
    if !number.international && number.len > 8 && number.all().starts_with(b"00") {
        number.international = true;
        number.start = 2;
    }
    Some((number, extension_at))
}

/// `x12`, `ext. 12`, `#12`.
fn is_extension(text: &str) -> bool {
    let marker = ["extension", "ext", "x", "#"]
        .iter()
        .find(|m| text.get(..m.len()).is_some_and(|t| t.eq_ignore_ascii_case(m)));
    let Some(marker) = marker else { return false };
    let rest = &text[marker.len()..];
    let digits = rest.bytes().filter(u8::is_ascii_digit).count();
    (1..=EXTENSION_DIGITS_MAX).contains(&digits) && rest.bytes().all(|b| b.is_ascii_digit() || matches!(b, b' ' | b'.' | b':'))
}

/// Chooses digits for the whole number into `fake`, which has the number's length.
fn compose(number: &Number, draw: &mut Draw<'_>, fake: &mut [u8; DIGITS_MAX]) {
    fake[..number.len].copy_from_slice(number.all());
    let significant = number.significant();
    let start = number.start;
    let end = number.len;
    if number.international {
        if let [b'1', rest @ ..] = significant
            && rest.len() == 10
        {
            return north_american(draw, &mut fake[start + 1..end]);
        }
        // `+44 (0)20 ...`: the trunk zero stays where it is.
        let trunk = usize::from(significant.get(2) == Some(&b'0'));
        let national = significant.get(2 + trunk..).unwrap_or_default();
        let at = start + 2 + trunk;
        let pattern = match (&significant[..2], national.len(), national.first()) {
            (b"44", 10, Some(b'7')) => Some("7700900xxx"),
            (b"44", 10, _) => Some("2079460xxx"),
            (b"49", 10, Some(b'1')) => Some("17139200xx"),
            (b"49", 10, _) => Some(draw.pick(GERMAN_LANDLINES)),
            (b"49", 11, _) => Some("176040690xx"),
            (b"33", 9, Some(b'6' | b'7')) => Some("63998xxxx"),
            (b"33", 9, _) => Some("19900xxxx"),
            _ => None,
        };
        return match pattern {
            Some(pattern) => fill(draw, pattern, &mut fake[at..end]),
            None => fill(draw, "999", &mut fake[start..end]),
        };
    }
    match (significant.len(), significant) {
        (10, [b'2'..=b'9', _, _, b'2'..=b'9', ..]) => north_american(draw, &mut fake[..end]),
        (11, [b'1', b'2'..=b'9', ..]) => north_american(draw, &mut fake[1..end]),
        (7, [b'2'..=b'9', ..]) => fill(draw, "55501xx", &mut fake[..end]),
        (11, [b'0', b'7', ..]) => fill(draw, "07700900xxx", &mut fake[..end]),
        (11, [b'0', b'1', b'5'..=b'7', ..]) => fill(draw, "017139200xx", &mut fake[..end]),
        (11, [b'0', b'1', ..]) => fill(draw, "01632960xxx", &mut fake[..end]),
        (11, [b'0', ..]) => fill(draw, "02079460xxx", &mut fake[..end]),
        (10, [b'0', b'6' | b'7', ..]) => fill(draw, "063998xxxx", &mut fake[..end]),
        (10, [b'0', ..]) => fill(draw, "019900xxxx", &mut fake[..end]),
        (7.., _) => fill(draw, "00999", &mut fake[..end]),
        // No emergency number begins with 5.
        _ => fill(draw, "5", &mut fake[..end]),
    }
}

fn north_american(draw: &mut Draw<'_>, fake: &mut [u8]) {
    let area = draw.pick(AREA_CODES);
    let (area_digits, rest) = fake.split_at_mut(3);
    area_digits.copy_from_slice(area.as_bytes());
    fill(draw, "55501xx", rest);
}

/// Follows the pattern; `x` and whatever is behind its end are drawn.
fn fill(draw: &mut Draw<'_>, pattern: &str, fake: &mut [u8]) {
    let mut pattern = pattern.bytes();
    // One word holds 19 digits, more than any number needs.
    let mut digits = draw.word();
    for place in fake {
        *place = match pattern.next() {
            Some(fixed) if fixed.is_ascii_digit() => fixed,
            _ => {
                let digit = b'0' + (digits % 10) as u8;
                digits /= 10;
                digit
            }
        };
    }
}
