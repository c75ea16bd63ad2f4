//! What to do with a field's values, and the short text in which users say it.
//!
//! ```text
//! rule     = "preserve" | "redact" [ "(" text ")" ] | "hash" [ "(" option { "," option } ")" ] | "fake" "(" kind ")"
//! option   = length | "hex" | "base32"
//! ```
//!
//! `Email: fake(email)`, `MRN__c: hash(16)`, `Notes__c: redact`, `Title: preserve`. A redaction text may be quoted
//! (`redact("n/a")`, with `\"` and `\\`). In YAML and JSON the same may be written long: `{ hash: { length: 16 } }`; unknown keys are
//! errors. A strategy is always written back in its short form.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::MaskError;
use crate::suggest::closest;

/// What happens to a field's values on their way to the target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// A plausible value of the same kind, chosen by the key; equal inputs get equal fakes.
    Fake(FakeKind),
    /// A keyed BLAKE3 hash: equal inputs stay equal, nothing else is kept.
    Hash(HashOptions),
    /// Removes the value: null where the field admits it, a constant otherwise.
    Redact(Redaction),
    /// Leaves the value as it is: a declared, audited decision.
    Preserve,
}

/// The names of all strategies, as users write them.
pub const STRATEGY_NAMES: &[&str] = &["fake", "hash", "redact", "preserve"];

/// Fewest characters of a hash; below this, unrelated values meet too often for the result to mean anything.
pub const HASH_CHARS_MIN: u16 = 4;
/// Characters of a hash when neither rule nor field says otherwise: 128 bits in hex.
pub const HASH_CHARS_DEFAULT: u16 = 32;

/// How [`Strategy::Hash`] writes its digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HashOptions {
    /// Characters written; `None`: [`HASH_CHARS_DEFAULT`], or the field's length if that is less.
    pub length: Option<u16>,
    pub encoding: HashEncoding,
}

/// The alphabet of a hash. Both are lower case, so that fields which ignore case lose nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HashEncoding {
    /// 4 bits per character, at most 64 characters.
    #[default]
    Hex,
    /// 5 bits per character (RFC 4648 alphabet, lower case), at most 51 characters.
    Base32,
}

impl HashEncoding {
    #[must_use]
    pub fn bits_per_char(self) -> u16 {
        match self {
            Self::Hex => 4,
            Self::Base32 => 5,
        }
    }

    /// Characters that a 256-bit digest fills completely.
    #[must_use]
    pub fn chars_max(self) -> u16 {
        256 / self.bits_per_char()
    }
}

/// How [`Strategy::Redact`] fills the place of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Redaction {
    /// The constant to write; `None`: null if the field admits it, else a constant that its type admits.
    pub value: Option<String>,
}

/// What a fake looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FakeKind {
    GivenName,
    FamilyName,
    /// Built from the given and family fakes of the name's parts, so that parts and whole agree.
    FullName,
    Company,
    /// At a domain that can't receive mail; unique.
    Email,
    /// In the shape of the original, from numbers that are never assigned.
    Phone,
    Street,
    City,
    State,
    PostalCode,
    Country,
    /// At a domain that can't resolve; unique.
    Url,
    /// Neutral words of about the original's length.
    Text,
}

impl FakeKind {
    /// Every kind with the name users write.
    pub const ALL: &'static [(FakeKind, &'static str)] = &[
        (Self::GivenName, "given_name"),
        (Self::FamilyName, "family_name"),
        (Self::FullName, "full_name"),
        (Self::Company, "company"),
        (Self::Email, "email"),
        (Self::Phone, "phone"),
        (Self::Street, "street"),
        (Self::City, "city"),
        (Self::State, "state"),
        (Self::PostalCode, "postal_code"),
        (Self::Country, "country"),
        (Self::Url, "url"),
        (Self::Text, "text"),
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GivenName => "given_name",
            Self::FamilyName => "family_name",
            Self::FullName => "full_name",
            Self::Company => "company",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Street => "street",
            Self::City => "city",
            Self::State => "state",
            Self::PostalCode => "postal_code",
            Self::Country => "country",
            Self::Url => "url",
            Self::Text => "text",
        }
    }
}

impl fmt::Display for FakeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FakeKind {
    type Err = String;

    /// Kinds may be written with `-` or `_`.
    fn from_str(text: &str) -> Result<Self, String> {
        let plain = text.trim().replace('-', "_");
        Self::ALL
            .iter()
            .find(|(_, name)| *name == plain)
            .map(|(kind, _)| *kind)
            .ok_or_else(|| unknown("kind of fake", &plain, Self::ALL.iter().map(|(_, n)| *n)))
    }
}

impl Strategy {
    /// The name before the parenthesis.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fake(_) => "fake",
            Self::Hash(_) => "hash",
            Self::Redact(_) => "redact",
            Self::Preserve => "preserve",
        }
    }

    /// Redaction without a constant.
    #[must_use]
    pub fn redact() -> Self {
        Self::Redact(Redaction::default())
    }

    /// A hash of the default length.
    #[must_use]
    pub fn hash() -> Self {
        Self::Hash(HashOptions::default())
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fake(kind) => write!(f, "fake({kind})"),
            Self::Preserve => f.write_str("preserve"),
            Self::Redact(Redaction { value: None }) => f.write_str("redact"),
            Self::Redact(Redaction { value: Some(value) }) => {
                let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
                write!(f, "redact(\"{quoted}\")")
            }
            Self::Hash(HashOptions { length, encoding }) => match (length, encoding) {
                (None, HashEncoding::Hex) => f.write_str("hash"),
                (None, HashEncoding::Base32) => f.write_str("hash(base32)"),
                (Some(length), HashEncoding::Hex) => write!(f, "hash({length})"),
                (Some(length), HashEncoding::Base32) => write!(f, "hash({length}, base32)"),
            },
        }
    }
}

impl FromStr for Strategy {
    type Err = MaskError;

    fn from_str(text: &str) -> Result<Self, MaskError> {
        parse(text.trim()).map_err(|reason| MaskError::Rule {
            rule: text.trim().to_owned(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Strategy, String> {
    if text.is_empty() {
        return Err(format!("is empty; {}", known_strategies()));
    }
    let (name, argument) = match text.split_once('(') {
        None => (text, None),
        Some((name, rest)) => {
            let inner = rest.strip_suffix(')').ok_or("the parenthesis is not closed at the end")?;
            (name.trim_end(), Some(inner.trim()))
        }
    };
    match name {
        "preserve" => match argument {
            None | Some("") => Ok(Strategy::Preserve),
            Some(_) => Err("`preserve` takes no argument".to_owned()),
        },
        "fake" => match argument {
            None | Some("") => Err(format!(
                "`fake` needs a kind, as in `fake(email)`; known kinds: {}",
                list(FakeKind::ALL.iter().map(|(_, name)| *name))
            )),
            Some(kind) => kind.parse().map(Strategy::Fake),
        },
        "redact" => Ok(Strategy::Redact(Redaction {
            value: match argument {
                None | Some("") => None,
                Some(text) => Some(unquote(text)?),
            },
        })),
        "hash" => parse_hash(argument.unwrap_or_default()),
        _ if name.contains('*') => Err("wildcards are not supported; name a strategy per field".to_owned()),
        _ => Err(unknown_strategy(name)),
    }
}

fn parse_hash(argument: &str) -> Result<Strategy, String> {
    let mut length = None;
    let mut encoding = None;
    if !argument.is_empty() {
        for option in argument.split(',').map(str::trim) {
            if option.bytes().all(|b| b.is_ascii_digit()) && !option.is_empty() {
                let chars = option.parse().map_err(|_| format!("a length of {option} characters is too long"))?;
                if length.replace(chars).is_some() {
                    return Err("two lengths".to_owned());
                }
            } else if encoding.replace(parse_encoding(option)?).is_some() {
                return Err("two encodings".to_owned());
            }
        }
    }
    hash_options(length, encoding.unwrap_or_default()).map(Strategy::Hash)
}

fn parse_encoding(text: &str) -> Result<HashEncoding, String> {
    match text {
        "hex" => Ok(HashEncoding::Hex),
        "base32" => Ok(HashEncoding::Base32),
        _ => Err(format!("`{text}` is neither a length in characters nor an encoding (hex, base32)")),
    }
}

fn hash_options(length: Option<u16>, encoding: HashEncoding) -> Result<HashOptions, String> {
    if let Some(chars) = length {
        let most = encoding.chars_max();
        if !(HASH_CHARS_MIN..=most).contains(&chars) {
            return Err(format!("the length must be {HASH_CHARS_MIN} to {most} characters, not {chars}"));
        }
    }
    Ok(HashOptions { length, encoding })
}

fn unquote(text: &str) -> Result<String, String> {
    let Some(rest) = text.strip_prefix('"') else {
        return if text.contains('"') {
            Err("a quote in the middle of the text; quote the whole text".to_owned())
        } else {
            Ok(text.to_owned())
        };
    };
    let mut value = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' if chars.as_str().is_empty() => return Ok(value),
            '"' => return Err("text after the closing quote".to_owned()),
            '\\' => match chars.next() {
                Some(escaped @ ('"' | '\\')) => value.push(escaped),
                _ => return Err("only `\\\"` and `\\\\` may be escaped".to_owned()),
            },
            _ => value.push(c),
        }
    }
    Err("the quote is not closed".to_owned())
}

fn unknown_strategy(given: &str) -> String {
    // People write the kind where the strategy belongs: `email` for `fake(email)`.
    let kind = given.replace('-', "_");
    if FakeKind::ALL.iter().any(|(_, name)| *name == kind) {
        return format!("unknown strategy `{given}`; did you mean `fake({kind})`? {}", known_strategies());
    }
    unknown("strategy", given, STRATEGY_NAMES.iter().copied())
}

fn known_strategies() -> String {
    format!("known: {}", list(STRATEGY_NAMES.iter().copied()))
}

fn unknown<'a>(what: &str, given: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let hint = match closest(given, known.clone()) {
        Some(name) => format!(" did you mean `{name}`?"),
        None => String::new(),
    };
    format!("unknown {what} `{given}`;{hint} known: {}", list(known))
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

impl Serialize for Strategy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Strategy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RuleVisitor)
    }
}

struct RuleVisitor;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FakeForm {
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HashForm {
    length: Option<u16>,
    encoding: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RedactForm {
    value: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PreserveForm {}

impl<'de> Visitor<'de> for RuleVisitor {
    type Value = Strategy;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a masking rule such as `fake(email)`, `hash`, `redact` or `preserve`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Strategy, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strategy, A::Error> {
        use de::Error;
        let Some(name) = map.next_key::<String>()? else {
            return Err(A::Error::custom(format!("an empty rule; {}", known_strategies())));
        };
        let strategy = match name.as_str() {
            "fake" => {
                let form: FakeForm = map.next_value()?;
                Strategy::Fake(form.kind.parse().map_err(A::Error::custom)?)
            }
            "hash" => {
                let form: HashForm = map.next_value()?;
                let encoding = match form.encoding {
                    None => HashEncoding::default(),
                    Some(text) => parse_encoding(&text).map_err(A::Error::custom)?,
                };
                Strategy::Hash(hash_options(form.length, encoding).map_err(A::Error::custom)?)
            }
            "redact" => {
                let form: RedactForm = map.next_value()?;
                Strategy::Redact(Redaction { value: form.value })
            }
            "preserve" => {
                let PreserveForm {} = map.next_value()?;
                Strategy::Preserve
            }
            other => return Err(A::Error::custom(unknown_strategy(other))),
        };
        if let Some(second) = map.next_key::<String>()? {
            return Err(A::Error::custom(format!("a rule has one strategy; `{second}` is a second one")));
        }
        Ok(strategy)
    }
}
