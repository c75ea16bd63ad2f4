//! Whether a strategy can produce values that a field admits: decided once, before a record moves.

use crate::fake::email::EMAIL_CHARS_MIN;
use crate::fake::url::URL_CHARS_MIN;
use crate::strategy::{HASH_CHARS_DEFAULT, HASH_CHARS_MIN};
use crate::{FakeKind, FieldFacts, FieldType, HashOptions, MaskError, Redaction, Strategy};

/// A unique field needs at least this many keyed bits per value, so that a billion values collide with a
/// probability below 3 % (birthday bound) rather than surely.
pub const UNIQUE_BITS_MIN: u16 = 64;

/// The constant for text that must not be null.
const REDACTED_TEXT: &str = "REDACTED";

/// What [`Strategy::Redact`] will write into a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Filling {
    Null,
    Constant(String),
}

/// Checks a strategy against a field.
///
/// # Errors
/// [`MaskError::Inadmissible`] with the reason and, where there is one, the way out.
pub fn admit(strategy: &Strategy, facts: &FieldFacts) -> Result<(), MaskError> {
    let verdict = match strategy {
        Strategy::Preserve => Ok(()),
        Strategy::Redact(redaction) => filling(redaction, facts).map(drop),
        Strategy::Hash(options) => hash_chars(options, facts).map(drop),
        Strategy::Fake(kind) => admit_fake(*kind, facts),
    };
    verdict.map_err(|reason| inadmissible(strategy, facts, reason))
}

pub(crate) fn inadmissible(strategy: &Strategy, facts: &FieldFacts, reason: String) -> MaskError {
    MaskError::Inadmissible {
        field: facts.name.clone(),
        strategy: strategy.to_string(),
        reason,
    }
}

/// Fewest characters in which a kind still looks like its kind.
fn chars_min(kind: FakeKind) -> u32 {
    match kind {
        FakeKind::State | FakeKind::Country => 2,
        FakeKind::GivenName | FakeKind::FamilyName | FakeKind::City => 3,
        FakeKind::Text => 4,
        FakeKind::FullName | FakeKind::Company | FakeKind::Street | FakeKind::PostalCode => 5,
        FakeKind::Phone => 10,
        FakeKind::Email => EMAIL_CHARS_MIN,
        FakeKind::Url => URL_CHARS_MIN,
    }
}

fn admit_fake(kind: FakeKind, facts: &FieldFacts) -> Result<(), String> {
    let fits_type = match facts.sf_type {
        FieldType::Email => kind == FakeKind::Email,
        FieldType::Phone => kind == FakeKind::Phone,
        FieldType::Url => kind == FakeKind::Url,
        FieldType::Picklist => {
            if facts.picklist.as_ref().is_none_or(|p| p.restricted) {
                return Err("a restricted picklist refuses values that it does not list".to_owned());
            }
            true
        }
        other => other.is_plain_text(),
    };
    if !fits_type {
        return Err(format!("a field of type {} does not hold a {kind}", facts.sf_type.name()));
    }
    if facts.unique && !matches!(kind, FakeKind::Email | FakeKind::Url) {
        return Err(format!("the field is unique, and fakes of kind {kind} repeat; use `hash`"));
    }
    let least = chars_min(kind);
    match facts.max_chars {
        Some(most) if most < least => Err(format!("a {kind} needs {least} characters, the field has {most}")),
        _ => Ok(()),
    }
}

/// How many characters of the digest are written.
pub(crate) fn hash_chars(options: &HashOptions, facts: &FieldFacts) -> Result<usize, String> {
    match facts.sf_type {
        t if t.is_plain_text() => {}
        FieldType::Phone => {}
        FieldType::Picklist if facts.picklist.as_ref().is_some_and(|p| !p.restricted) => {}
        FieldType::Picklist | FieldType::Multipicklist => {
            return Err("a restricted picklist refuses values that it does not list".to_owned());
        }
        FieldType::Email => {
            return Err("a hash is no e-mail address; use `fake(email)`".to_owned());
        }
        FieldType::Url => return Err("a hash is no address; use `fake(url)`".to_owned()),
        FieldType::Id | FieldType::Reference => {
            return Err("references are translated through the ledger, not masked".to_owned());
        }
        other => return Err(format!("a field of type {} holds no text", other.name())),
    }
    let room = facts.max_chars.map_or(u16::MAX, |c| u16::try_from(c).unwrap_or(u16::MAX));
    let chars = match options.length {
        Some(length) if length > room => {
            return Err(format!("{length} characters do not fit into {room}"));
        }
        Some(length) => length,
        None => HASH_CHARS_DEFAULT.min(options.encoding.chars_max()).min(room),
    };
    if chars < HASH_CHARS_MIN {
        return Err(format!("a hash needs {HASH_CHARS_MIN} characters, the field has {room}"));
    }
    let bits = chars * options.encoding.bits_per_char();
    if facts.unique && bits < UNIQUE_BITS_MIN {
        return Err(format!(
            "the field is unique, and {chars} characters hold only {bits} of the {UNIQUE_BITS_MIN} bits that keep \
             values apart"
        ));
    }
    Ok(usize::from(chars))
}

/// Null if the field admits it and no constant was asked for; a constant of its type otherwise.
pub(crate) fn filling(redaction: &Redaction, facts: &FieldFacts) -> Result<Filling, String> {
    if matches!(facts.sf_type, FieldType::Id) {
        return Err("a record's id can't be removed".to_owned());
    }
    if redaction.value.is_none() && facts.admits_null() {
        return Ok(Filling::Null);
    }
    let value = match &redaction.value {
        Some(value) => value.clone(),
        None => default_constant(facts)?,
    };
    check_constant(&value, facts)?;
    Ok(if value.is_empty() {
        Filling::Null
    } else {
        Filling::Constant(value)
    })
}

fn default_constant(facts: &FieldFacts) -> Result<String, String> {
    let text = match facts.sf_type {
        FieldType::Boolean => "false",
        FieldType::Int | FieldType::Long | FieldType::Double | FieldType::Currency | FieldType::Percent => "0",
        FieldType::Date => "1900-01-01",
        FieldType::Datetime => "1900-01-01T00:00:00.000Z",
        FieldType::Time => "00:00:00.000Z",
        FieldType::Email => "redacted@example.invalid",
        FieldType::Phone => "555-0100",
        FieldType::Url => "https://example.invalid",
        FieldType::String | FieldType::Textarea | FieldType::Combobox | FieldType::Encryptedstring => {
            let room = facts.max_chars.map_or(usize::MAX, |c| c as usize);
            return Ok(REDACTED_TEXT.chars().take(room).collect());
        }
        FieldType::Picklist | FieldType::Multipicklist => {
            return Err("the field can't be null; give one of its values, as in `redact(Other)`".to_owned());
        }
        FieldType::Id | FieldType::Reference | FieldType::Other => {
            return Err(format!(
                "the field can't be null, and no constant is known for type {}",
                facts.sf_type.name()
            ));
        }
    };
    Ok(text.to_owned())
}

fn check_constant(value: &str, facts: &FieldFacts) -> Result<(), String> {
    if value.is_empty() {
        return if facts.admits_null() {
            Ok(())
        } else {
            Err("an empty text is null, which the field does not admit".to_owned())
        };
    }
    if facts.unique {
        return Err("the field is unique, a constant is not; use `hash`".to_owned());
    }
    let chars = value.chars().count();
    if let Some(most) = facts.max_chars
        && most > 0
        && chars > most as usize
    {
        return Err(format!("the constant has {chars} characters, the field {most}"));
    }
    let fits = match facts.sf_type {
        FieldType::Boolean => matches!(value, "true" | "false"),
        FieldType::Int | FieldType::Long => value.parse::<i64>().is_ok(),
        FieldType::Double | FieldType::Currency | FieldType::Percent => value.parse::<f64>().is_ok_and(f64::is_finite),
        FieldType::Date => is_date(value),
        FieldType::Datetime => value.split_once('T').is_some_and(|(d, t)| is_date(d) && t.len() >= 8),
        FieldType::Time => value.len() >= 8 && value.as_bytes().get(2) == Some(&b':'),
        FieldType::Email => {
            let mut sides = value.split('@');
            matches!((sides.next(), sides.next(), sides.next()), (Some(l), Some(d), None) if !l.is_empty() && d.contains('.'))
                && !value.contains(char::is_whitespace)
        }
        FieldType::Picklist | FieldType::Multipicklist => facts
            .picklist
            .as_ref()
            .is_some_and(|p| !p.restricted || p.values.iter().any(|v| v == value)),
        FieldType::Id | FieldType::Reference | FieldType::Other => false,
        FieldType::String | FieldType::Textarea | FieldType::Combobox | FieldType::Encryptedstring | FieldType::Phone | FieldType::Url => {
            true
        }
    };
    if fits {
        Ok(())
    } else {
        Err(format!(
            "the constant is not a value of type {}{}",
            facts.sf_type.name(),
            if facts.picklist.is_some() { " that the picklist lists" } else { "" }
        ))
    }
}

/// `YYYY-MM-DD`, by shape and rough range.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |part: &str, digits: usize| {
        (part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse::<u32>().ok())
            .flatten()
    };
    match parts.as_slice() {
        [y, m, d] => {
            number(y, 4).is_some_and(|y| y >= 1700)
                && number(m, 2).is_some_and(|m| (1..=12).contains(&m))
                && number(d, 2).is_some_and(|d| (1..=31).contains(&d))
        }
        _ => false,
    }
}
