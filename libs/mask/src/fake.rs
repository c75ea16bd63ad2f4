//! Fakes: plausible values chosen by keyed hashes of the originals.
//!
//! - Equal inputs (trimmed; addresses also in lower case; phone numbers by their digits) get equal fakes, in every
//!   object, field and run of a project, as long as the fields' lengths don't cut them.
//! - A fake never equals its input: a draw that does is repeated, up to [`DRAWS_MAX`] times. What is still equal then
//!   (possible only where a field leaves next to no room) is counted as unchanged.
//! - Everything is ASCII, so a character is a byte.
//!
//! Nothing of the original survives but what its kind is meant to keep: a phone number's shape, a postal code's shape,
//! the length of free text, whether a state was abbreviated.

pub(crate) mod draw;
pub(crate) mod email;
mod phone;
mod place;
pub(crate) mod url;

use crate::FakeKind;
use crate::dictionary::companies::{COMPANY_FORMS, COMPANY_STEMS, COMPANY_TRADES};
use crate::dictionary::family_names::FAMILY_NAMES;
use crate::dictionary::given_names::GIVEN_NAMES;
use crate::dictionary::streets::{STREET_NAMES, STREET_TYPES};
use crate::dictionary::words::WORDS;
use crate::key::{MaskKey, Subkey, Use};
use draw::Draw;

/// Draws before a fake that equals its input is accepted. Lists have 12 entries or more, so reaching this by chance
/// has odds below 12^-16.
pub const DRAWS_MAX: usize = 16;

/// Longest filler for free text, whatever the original's length.
pub const TEXT_CHARS_MAX: usize = 2_000;

/// Makes fakes of one kind for one field.
pub(crate) struct Faker {
    kind: FakeKind,
    key: Subkey,
    /// Family names, when the kind is a full name.
    family_key: Subkey,
    chars_max: usize,
}

impl Faker {
    pub(crate) fn new(key: &MaskKey, kind: FakeKind, chars_max: usize) -> Self {
        let purpose = match kind {
            FakeKind::GivenName | FakeKind::FullName => Use::GivenName,
            FakeKind::FamilyName => Use::FamilyName,
            FakeKind::Company => Use::Company,
            FakeKind::Email => Use::Email,
            FakeKind::Phone => Use::Phone,
            FakeKind::Street => Use::Street,
            FakeKind::City | FakeKind::State | FakeKind::PostalCode | FakeKind::Country => Use::Place,
            FakeKind::Url => Use::Url,
            FakeKind::Text => Use::Text,
        };
        Self {
            kind,
            key: key.subkey(purpose),
            family_key: key.subkey(Use::FamilyName),
            chars_max,
        }
    }

    /// Writes the fake of `input` into `out` (which it clears); says whether it differs from the input.
    /// `scratch` is reused memory for normalised inputs.
    pub(crate) fn write(&self, input: &str, scratch: &mut String, out: &mut String) -> bool {
        let input = input.trim();
        match self.kind {
            FakeKind::GivenName => self.redrawn(input, out, |draw, out| {
                out.push_str(draw.pick(GIVEN_NAMES));
            }),
            FakeKind::FamilyName => self.redrawn(input, out, |draw, out| {
                out.push_str(draw.pick(FAMILY_NAMES));
            }),
            FakeKind::FullName => self.full_name(input, out),
            FakeKind::Company => self.redrawn(input, out, |draw, out| {
                out.push_str(draw.pick(COMPANY_STEMS));
                out.push(' ');
                out.push_str(draw.pick(COMPANY_TRADES));
                out.push(' ');
                out.push_str(draw.pick(COMPANY_FORMS));
            }),
            FakeKind::Street => self.redrawn(input, out, |draw, out| {
                Draw::push_number(1 + draw.below(9_999), out);
                out.push(' ');
                out.push_str(draw.pick(STREET_NAMES));
                out.push(' ');
                out.push_str(draw.pick(STREET_TYPES));
            }),
            FakeKind::Text => self.text(input, out),
            FakeKind::Email => {
                fold(input, scratch);
                email::write(&self.key, scratch, self.chars_max, out);
                !out.eq_ignore_ascii_case(input)
            }
            FakeKind::Url => {
                url::write(&self.key, input, self.chars_max, out);
                !out.eq_ignore_ascii_case(input)
            }
            FakeKind::Phone => phone::write(&self.key, input, self.chars_max, out),
            FakeKind::PostalCode => place::postal_code(&self.key, input, self.chars_max, out),
            FakeKind::City | FakeKind::State | FakeKind::Country => {
                let chars_max = self.chars_max;
                let kind = self.kind;
                self.redrawn(input, out, |draw, out| {
                    out.push_str(place::name(kind, draw, input, chars_max));
                })
            }
        }
    }

    /// Composes until the result differs from the input.
    fn redrawn(&self, input: &str, out: &mut String, compose: impl Fn(&mut Draw<'_>, &mut String)) -> bool {
        let mut draw = Draw::new(&self.key, input.as_bytes());
        for _ in 0..DRAWS_MAX {
            out.clear();
            compose(&mut draw, out);
            cut(out, self.chars_max);
            if !out.eq_ignore_ascii_case(input) {
                return true;
            }
            draw.again();
        }
        false
    }

    /// 'Ada Lovelace' becomes given('Ada') family('Lovelace'); the first word is the given name, all others the
    /// family name; 'Lovelace, Ada' keeps its order; a single word is a family name.
    fn full_name(&self, input: &str, out: &mut String) -> bool {
        let (given, family, family_first) = split_name(input);
        for attempt in 0..DRAWS_MAX {
            out.clear();
            let family_fake = self.part(&self.family_key, FAMILY_NAMES, family, attempt);
            match given {
                None => out.push_str(family_fake),
                Some(given) => {
                    let given_fake = self.part(&self.key, GIVEN_NAMES, given, attempt);
                    let (first, separator, last) = if family_first {
                        (family_fake, ", ", given_fake)
                    } else {
                        (given_fake, " ", family_fake)
                    };
                    out.push_str(first);
                    out.push_str(separator);
                    out.push_str(last);
                }
            }
            cut(out, self.chars_max);
            if !out.eq_ignore_ascii_case(input) {
                return true;
            }
        }
        false
    }

    /// The same choice that a field of that kind makes for the part alone, then later ones.
    fn part(&self, key: &Subkey, names: &'static [&'static str], part: &str, attempt: usize) -> &'static str {
        let mut draw = Draw::new(key, part.as_bytes());
        let mut name = draw.pick(names);
        let mut left = attempt;
        for _ in 0..DRAWS_MAX {
            if !name.eq_ignore_ascii_case(part) {
                if left == 0 {
                    break;
                }
                left -= 1;
            }
            draw.again();
            name = draw.pick(names);
        }
        name
    }

    fn text(&self, input: &str, out: &mut String) -> bool {
        let chars = input.chars().take(TEXT_CHARS_MAX).count().clamp(1, self.chars_max.max(1));
        self.redrawn(input, out, |draw, out| {
            while out.len() < chars {
                for word in draw.pick_four(WORDS) {
                    if out.is_empty() {
                        let mut letters = word.chars();
                        out.extend(letters.next().map(|c| c.to_ascii_uppercase()));
                        out.push_str(letters.as_str());
                    } else {
                        out.push(' ');
                        out.push_str(word);
                    }
                }
            }
            cut(out, chars);
        })
    }
}

/// Shortens ASCII text to a number of characters and drops the blanks that this leaves at the end.
fn cut(out: &mut String, chars: usize) {
    out.truncate(chars);
    while out.ends_with(' ') {
        out.pop();
    }
}

/// Lower case without allocating for ASCII.
pub(crate) fn fold(input: &str, out: &mut String) {
    out.clear();
    if input.is_ascii() {
        out.push_str(input);
        out.make_ascii_lowercase();
    } else {
        out.extend(input.chars().flat_map(char::to_lowercase));
    }
}

/// (given, family, whether the family name comes first).
fn split_name(name: &str) -> (Option<&str>, &str, bool) {
    if let Some((family, given)) = name.split_once(',') {
        let (family, given) = (family.trim(), given.trim());
        if !family.is_empty() && !given.is_empty() {
            return (Some(given), family, true);
        }
    }
    match name.split_once(char::is_whitespace) {
        Some((given, family)) => (Some(given), family.trim(), false),
        None => (None, name, false),
    }
}
