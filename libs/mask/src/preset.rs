//! The presets' tables, compiled in: fields that are known to hold identifiers, and how others are recognised.
//!
//! The tables are in `presets/`, with their sources in `presets/PROVENANCE.md`.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::{FieldType, Strategy};

/// Names of the presets that a sync may choose.
pub const PRESET_NAMES: &[&str] = &["hipaa"];

/// What kind of personal data a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PiiKind {
    Name,
    Company,
    Email,
    Phone,
    Fax,
    Street,
    City,
    PostalCode,
    Geolocation,
    Date,
    GovernmentId,
    MedicalRecord,
    HealthPlan,
    AccountNumber,
    Licence,
    Vehicle,
    Device,
    Url,
    IpAddress,
    Biometric,
    Photo,
    UniqueId,
    /// May hold anything, about anybody.
    FreeText,
    /// Art. 9 GDPR, or next to it.
    SpecialCategory,
    /// Declared by its name to be protected health information.
    ProtectedHealth,
}

impl PiiKind {
    const ALL: &'static [(PiiKind, &'static str)] = &[
        (Self::Name, "name"),
        (Self::Company, "company"),
        (Self::Email, "email"),
        (Self::Phone, "phone"),
        (Self::Fax, "fax"),
        (Self::Street, "street"),
        (Self::City, "city"),
        (Self::PostalCode, "postal_code"),
        (Self::Geolocation, "geolocation"),
        (Self::Date, "date"),
        (Self::GovernmentId, "government_id"),
        (Self::MedicalRecord, "medical_record"),
        (Self::HealthPlan, "health_plan"),
        (Self::AccountNumber, "account_number"),
        (Self::Licence, "licence"),
        (Self::Vehicle, "vehicle"),
        (Self::Device, "device"),
        (Self::Url, "url"),
        (Self::IpAddress, "ip_address"),
        (Self::Biometric, "biometric"),
        (Self::Photo, "photo"),
        (Self::UniqueId, "unique_id"),
        (Self::FreeText, "free_text"),
        (Self::SpecialCategory, "special_category"),
        (Self::ProtectedHealth, "protected_health"),
    ];

    /// The word for reports and for the tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("unnamed", |(_, name)| name)
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }
}

/// One of the 18 identifiers of the Safe Harbor method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HipaaIdentifier(u8);

impl HipaaIdentifier {
    /// 1 to 18, in the order of the regulation.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

impl std::fmt::Display for HipaaIdentifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let letter = char::from(b'A' + self.0 - 1);
        write!(f, "45 CFR 164.514(b)(2)(i)({letter})")
    }
}

/// What a table row says about the fields it matches.
#[derive(Debug)]
pub(crate) struct Entry {
    pub kind: PiiKind,
    pub identifier: Option<HipaaIdentifier>,
    /// What the preset does, best first.
    pub decisions: Vec<Strategy>,
}

/// How a detector looks at a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// The describe's type.
    Type(FieldType),
    /// The last word of the API name, or a word of the label.
    Suffix,
    /// A whole word of name or label.
    Token,
    /// The beginning or end of a word, or anywhere in capitals.
    Edge,
    /// Anywhere, ignoring case and separators.
    Part,
}

/// Types a detector applies to. References and booleans only where `Any` says so: the ledger translates the former, the
/// latter identify nobody by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Types {
    Any,
    Text,
    /// Text and numbers.
    Value,
    /// Dates and text that may hold one.
    Date,
    DateOnly,
    Phone,
}

impl Types {
    pub(crate) fn admit(self, sf_type: FieldType) -> bool {
        let is_date = matches!(sf_type, FieldType::Date | FieldType::Datetime);
        let is_number = matches!(sf_type, FieldType::Int | FieldType::Long | FieldType::Double);
        match self {
            Self::Any => sf_type != FieldType::Id,
            Self::Text => sf_type.is_plain_text(),
            Self::Value => sf_type.is_plain_text() || is_number,
            Self::Date => sf_type.is_plain_text() || is_date,
            Self::DateOnly => is_date,
            Self::Phone => sf_type == FieldType::Phone,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Detector {
    pub look: Look,
    pub word: &'static str,
    pub types: Types,
    pub entry: Entry,
}

/// Known fields: object -> field.
pub(crate) static KNOWN: LazyLock<HashMap<&'static str, HashMap<&'static str, Entry>>> = LazyLock::new(|| {
    let mut known: HashMap<_, HashMap<_, _>> = HashMap::new();
    for [object, field, kind, identifier, decision] in rows(include_str!("../presets/hipaa.csv")) {
        known.entry(object).or_default().insert(field, entry(kind, identifier, decision));
    }
    known
});

/// The table's row for a field.
pub(crate) fn known(object: &str, field: &str) -> Option<&'static Entry> {
    KNOWN.get(object)?.get(field)
}

/// Detectors, the first that matches wins.
pub(crate) static DETECTORS: LazyLock<Vec<Detector>> = LazyLock::new(|| {
    rows(include_str!("../presets/detectors.csv"))
        .map(|row| {
            let [look, word, types, kind, identifier, decision] = row;
            Detector {
                look: match look {
                    "type" => Look::Type(FieldType::from_describe(word)),
                    "suffix" => Look::Suffix,
                    "token" => Look::Token,
                    "edge" => Look::Edge,
                    "part" => Look::Part,
                    other => panic!("detectors.csv: match `{other}`"),
                },
                word,
                types: match types {
                    "any" => Types::Any,
                    "text" => Types::Text,
                    "value" => Types::Value,
                    "date" => Types::Date,
                    "dateonly" => Types::DateOnly,
                    "phone" => Types::Phone,
                    other => panic!("detectors.csv: types `{other}`"),
                },
                entry: entry(kind, identifier, decision),
            }
        })
        .collect()
});

/// Rows of a compiled-in table; its cells hold no commas. A malformed table can't pass the tests.
fn rows<const N: usize>(table: &'static str) -> impl Iterator<Item = [&'static str; N]> {
    table.lines().skip(1).map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        cells
            .try_into()
            .unwrap_or_else(|_| panic!("a preset row does not have {N} cells: {line}"))
    })
}

fn entry(kind: &str, identifier: &str, decision: &str) -> Entry {
    Entry {
        kind: PiiKind::from_name(kind).expect("preset tables name known kinds (tested)"),
        identifier: (!identifier.is_empty()).then(|| {
            let number = identifier.parse().expect("preset tables number identifiers (tested)");
            assert!((1..=18).contains(&number), "identifier {number}");
            HipaaIdentifier(number)
        }),
        decisions: decision
            .split('|')
            .map(|rule| rule.parse().expect("preset tables hold valid rules (tested)"))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_parse_and_cover_the_core_objects() {
        for (object, field) in [
            ("Account", "BillingStreet"),
            ("Contact", "Birthdate"),
            ("Lead", "Company"),
            ("Case", "SuppliedEmail"),
            ("Opportunity", "Description"),
            ("Task", "Subject"),
            ("Event", "Location"),
            ("User", "Username"),
            ("CampaignMember", "Email"),
        ] {
            assert!(known(object, field).is_some(), "{object}.{field}");
        }
        assert!(known("Account", "Name").is_none());
        assert!(known("Contact", "Title").is_none());
        assert!(DETECTORS.len() > 50);
        assert_eq!(HipaaIdentifier(18).to_string(), "45 CFR 164.514(b)(2)(i)(R)");
    }
}
