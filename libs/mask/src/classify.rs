//! Which fields hold personal data: by table, by type, by name and by label.
//!
//! Errs on the side of finding too much: a field that is found wrongly costs its owner a line (`preserve`), one that is
//! missed costs somebody's privacy. Looks at metadata only, never at values.

use crate::preset::{DETECTORS, Entry, HipaaIdentifier, Look, PiiKind, known};
use crate::{FieldFacts, FieldType};

/// A field that holds, or may hold, personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classified {
    pub field: String,
    pub kind: PiiKind,
    /// What gave it away, for people.
    pub why: String,
    pub hipaa_identifier: Option<HipaaIdentifier>,
}

/// The classified among an object's fields, in their order.
#[must_use]
pub fn classify(object: &str, fields: &[FieldFacts]) -> Vec<Classified> {
    fields
        .iter()
        .filter_map(|facts| find(object, facts).map(|(found, _)| found))
        .collect()
}

/// The first finding: the table of known fields, then the detectors in their order.
pub(crate) fn find(object: &str, facts: &FieldFacts) -> Option<(Classified, &'static Entry)> {
    if let Some(entry) = known(object, &facts.name) {
        let why = format!("{object}.{} is known to hold it", facts.name);
        return Some((classified(facts, entry, why), entry));
    }
    if matches!(facts.sf_type, FieldType::Id) {
        return None;
    }
    let name = Words::of(api_stem(&facts.name));
    let label = Words::of(&facts.label);
    DETECTORS.iter().find_map(|detector| {
        if !detector.types.admit(facts.sf_type) {
            return None;
        }
        let word = detector.word;
        let why = match detector.look {
            Look::Type(sf_type) => (sf_type == facts.sf_type).then(|| format!("its type is {}", sf_type.name())),
            Look::Suffix => {
                if name.tokens.last().is_some_and(|last| last == word) {
                    Some(format!("its name ends in `{word}`"))
                } else {
                    label.has_token(word).then(|| format!("its label contains `{word}`"))
                }
            }
            Look::Token => seen(&name, &label, word, Words::has_token),
            Look::Edge => seen(&name, &label, word, Words::has_edge),
            Look::Part => seen(&name, &label, word, Words::has_part),
        }?;
        Some((classified(facts, &detector.entry, why), &detector.entry))
    })
}

fn classified(facts: &FieldFacts, entry: &Entry, why: String) -> Classified {
    Classified {
        field: facts.name.clone(),
        kind: entry.kind,
        why,
        hipaa_identifier: entry.identifier,
    }
}

fn seen(name: &Words, label: &Words, word: &str, test: impl Fn(&Words, &str) -> bool) -> Option<String> {
    if test(name, word) {
        Some(format!("its name contains `{word}`"))
    } else if test(label, word) {
        Some(format!("its label contains `{word}`"))
    } else {
        None
    }
}

/// The name without `__c`, `__pc` and the like.
fn api_stem(name: &str) -> &str {
    match name.rsplit_once("__") {
        Some((stem, suffix)) if suffix.len() <= 3 => stem,
        _ => name,
    }
}

/// A name taken apart: `Patient_SSNumber` has the words patient, ss, number; joined: patientssnumber.
struct Words {
    raw: String,
    tokens: Vec<String>,
    joined: String,
}

impl Words {
    fn of(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let mut tokens: Vec<String> = Vec::new();
        let mut word = String::new();
        for (at, c) in chars.iter().enumerate() {
            if !c.is_alphanumeric() {
                if !word.is_empty() {
                    tokens.push(std::mem::take(&mut word));
                }
                continue;
            }
            let after_lower = at > 0 && chars[at - 1].is_lowercase();
            let after_upper = at > 0 && chars[at - 1].is_uppercase();
            let before_lower = chars.get(at + 1).is_some_and(|next| next.is_lowercase());
            let starts = c.is_uppercase() && (after_lower || (after_upper && before_lower));
            if starts && !word.is_empty() {
                tokens.push(std::mem::take(&mut word));
            }
            word.extend(c.to_lowercase());
        }
        if !word.is_empty() {
            tokens.push(word);
        }
        Self {
            raw: text.to_owned(),
            joined: tokens.concat(),
            tokens,
        }
    }

    fn has_token(&self, word: &str) -> bool {
        self.tokens.iter().any(|token| token == word)
    }

    /// `MRNs`, `patientmrn` and `PATIENTMRN2`, but not `Adobe` for dob or `ClassName` for ssn.
    fn has_edge(&self, word: &str) -> bool {
        self.raw.contains(&word.to_uppercase()) || self.tokens.iter().any(|token| token.starts_with(word) || token.ends_with(word))
    }

    fn has_part(&self, word: &str) -> bool {
        self.joined.contains(word)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn custom_fields_are_recognised_by_type_name_and_label() {
        use FieldType as T;
        let cases = [
            ("Diagnosis_PHI__c", "", T::String, Some(PiiKind::ProtectedHealth)),
            ("Consent_PHI__c", "", T::Boolean, Some(PiiKind::ProtectedHealth)),
            ("Status__c", "Status (PHI)", T::Picklist, Some(PiiKind::ProtectedHealth)),
            ("Biometric_Consent__c", "", T::Boolean, None),
            ("SSN__c", "", T::String, Some(PiiKind::GovernmentId)),
            ("PatientSSN__c", "", T::String, Some(PiiKind::GovernmentId)),
            ("patient_ssn__c", "", T::String, Some(PiiKind::GovernmentId)),
            ("PATIENTSSN__c", "", T::String, Some(PiiKind::GovernmentId)),
            ("MRN__c", "", T::Double, Some(PiiKind::MedicalRecord)),
            ("Code__c", "Medical Record Number", T::String, Some(PiiKind::MedicalRecord)),
            ("Field1__c", "SSN", T::String, Some(PiiKind::GovernmentId)),
            ("Patient_DOB__c", "", T::Date, Some(PiiKind::Date)),
            ("Birth_Date__c", "", T::Date, Some(PiiKind::Date)),
            ("Second_Email__c", "", T::String, Some(PiiKind::Email)),
            ("Anything__c", "", T::Email, Some(PiiKind::Email)),
            ("Anything__c", "", T::Phone, Some(PiiKind::Phone)),
            ("Work_Fax__c", "", T::Phone, Some(PiiKind::Fax)),
            ("Anything__c", "", T::Encryptedstring, Some(PiiKind::GovernmentId)),
            ("Emergency_Phone__c", "", T::String, Some(PiiKind::Phone)),
            ("IBAN__c", "", T::String, Some(PiiKind::AccountNumber)),
            ("Passport_No__c", "", T::String, Some(PiiKind::Licence)),
            ("Drivers_License__c", "", T::String, Some(PiiKind::Licence)),
            ("License_Plate__c", "", T::String, Some(PiiKind::Vehicle)),
            ("Notes__c", "", T::Textarea, Some(PiiKind::FreeText)),
            ("Home_Street__c", "", T::Textarea, Some(PiiKind::Street)),
            ("HealthCloudGA__MedicalRecordNumber__c", "", T::String, Some(PiiKind::MedicalRecord)),
            ("ClassName__c", "", T::String, None),
            ("Adobe_Id__c", "", T::String, None),
            ("Rating__c", "", T::String, None),
            ("Capacity__c", "", T::String, None),
            ("HasOptedOutOfEmail", "", T::Boolean, None),
            ("Preferred_Phone__c", "", T::Picklist, None),
            ("Email_Template__c", "", T::Reference, None),
            ("Amount__c", "", T::Currency, None),
        ];
        for (name, label, sf_type, kind) in cases {
            let mut facts = FieldFacts::new(name, sf_type, Some(80));
            facts.label = label.to_owned();
            let found = classify("Thing__c", std::slice::from_ref(&facts));
            assert_eq!(found.first().map(|c| c.kind), kind, "{name} {label}");
            if let Some(found) = found.first() {
                assert!(found.why.starts_with("its "), "{}", found.why);
            }
        }
    }

    #[test]
    fn known_fields_go_before_detectors_and_carry_their_identifier() {
        let street = FieldFacts::new("MailingStreet", FieldType::Textarea, Some(255));
        let found = classify("Contact", &[street]);
        let found = found.first().unwrap();
        assert_eq!(found.kind, PiiKind::Street);
        assert_eq!(found.hipaa_identifier.unwrap().number(), 2);
        assert!(found.why.contains("Contact.MailingStreet"));
    }
}
