//! Every mistake is refused before a record moves, with a message that leads out of it.
#![allow(clippy::unwrap_used)]

use syncline_mask::{FieldFacts, FieldType, MaskError, Picklist, Strategy, admit};

#[test]
fn a_rule_outside_the_grammar_is_refused_with_what_was_meant() {
    for (rule, part) in [
        ("", "known: fake, hash, redact, preserve"),
        ("fkae(email)", "did you mean `fake`?"),
        ("perserve", "did you mean `preserve`?"),
        ("Redact", "did you mean `redact`?"),
        ("tokenize", "known: fake, hash, redact, preserve"),
        ("email", "did you mean `fake(email)`?"),
        ("fake", "needs a kind"),
        ("fake()", "known kinds: given_name"),
        ("fake(emial)", "did you mean `email`?"),
        ("fake(first_name)", "known: given_name"),
        ("fake(email", "not closed"),
        ("fake(email) x", "not closed"),
        ("hash(2)", "4 to 64"),
        ("hash(65)", "4 to 64"),
        ("hash(52, base32)", "4 to 51"),
        ("hash(99999999)", "too long"),
        ("hash(8, 9)", "two lengths"),
        ("hash(hex, base32)", "two encodings"),
        ("hash(base64)", "neither a length"),
        ("hash(-4)", "neither a length"),
        ("hash(8,)", "neither a length"),
        ("preserve(all)", "takes no argument"),
        ("redact(\"open)", "not closed"),
        ("redact(\"a\" b)", "after the closing quote"),
        ("redact(a \"b\")", "quote the whole"),
        ("*", "wildcards are not supported"),
    ] {
        let error = rule.parse::<Strategy>().unwrap_err();
        assert_eq!(error.code(), "mask.rule_invalid");
        assert!(error.to_string().contains(part), "{rule}: {error}");
        assert!(serde_saphyr::from_str::<Strategy>(&format!("'{rule}'")).is_err(), "{rule}");
    }
}

#[test]
fn long_forms_refuse_what_they_do_not_know() {
    for (yaml, part) in [
        ("{ fkae: { kind: email } }", "did you mean `fake`?"),
        ("{ fake: { kind: emial } }", "did you mean `email`?"),
        ("{ fake: { kind: email, seed: 3 } }", "seed"),
        ("{ fake: {} }", "kind"),
        ("{ hash: { lenght: 16 } }", "lenght"),
        ("{ hash: { length: 1 } }", "4 to 64"),
        ("{ redact: { text: x } }", "text"),
        ("{ preserve: { really: true } }", "really"),
        ("{ hash: {}, redact: {} }", "second"),
        ("{}", "known: fake"),
    ] {
        let error = serde_saphyr::from_str::<Strategy>(yaml).unwrap_err().to_string();
        assert!(error.contains(part), "{yaml}: {error}");
    }
    assert!(serde_json::from_str::<Strategy>("7").is_err());
    assert!(serde_json::from_str::<Strategy>("null").is_err());
}

#[test]
fn short_and_long_forms_mean_the_same() {
    for (short, long) in [
        ("fake(email)", "{ fake: { kind: email } }"),
        ("fake(given-name)", "{ fake: { kind: given_name } }"),
        ("hash", "{ hash: {} }"),
        ("hash(16)", "{ hash: { length: 16 } }"),
        ("hash(16, base32)", "{ hash: { length: 16, encoding: base32 } }"),
        ("redact", "{ redact: {} }"),
        ("redact(n/a)", "{ redact: { value: n/a } }"),
        ("redact(\"a \\\"b\\\" (c)\")", "{ redact: { value: 'a \"b\" (c)' } }"),
        ("preserve", "{ preserve: {} }"),
    ] {
        let parsed: Strategy = short.parse().unwrap();
        assert_eq!(serde_saphyr::from_str::<Strategy>(long).unwrap(), parsed, "{short}");
        assert_eq!(parsed.to_string().parse::<Strategy>().unwrap(), parsed);
    }
}

struct Field(FieldFacts);

impl Field {
    fn of(sf_type: FieldType, max_chars: u32) -> Self {
        Self(FieldFacts::new("Field__c", sf_type, Some(max_chars)))
    }

    fn unique(mut self) -> Self {
        self.0.unique = true;
        self
    }

    fn filled(mut self) -> Self {
        self.0.nillable = false;
        self
    }

    fn picklist(mut self, restricted: bool) -> Self {
        let values = vec!["Hot".to_owned(), "Cold".to_owned()];
        self.0.picklist = Some(Picklist { restricted, values });
        self
    }
}

#[test]
fn a_strategy_that_the_field_does_not_admit_is_refused() {
    use FieldType as T;
    let text = |chars| Field::of(T::String, chars);
    for (rule, field, part) in [
        ("fake(email)", Field::of(T::Boolean, 0), "type boolean"),
        ("fake(email)", Field::of(T::Date, 0), "type date"),
        ("fake(email)", Field::of(T::Phone, 40), "type phone"),
        ("fake(email)", text(29), "needs 30 characters"),
        ("fake(given_name)", text(40).unique(), "use `hash`"),
        ("fake(full_name)", text(80).unique(), "unique"),
        ("fake(phone)", text(20).unique(), "unique"),
        ("fake(given_name)", Field::of(T::Email, 80), "type email"),
        ("fake(company)", Field::of(T::Url, 255), "type url"),
        ("fake(text)", Field::of(T::Double, 0), "type double"),
        ("fake(city)", Field::of(T::Reference, 18), "type reference"),
        ("fake(city)", Field::of(T::Picklist, 40).picklist(true), "restricted picklist"),
        ("fake(city)", Field::of(T::Picklist, 40), "restricted picklist"),
        ("fake(url)", text(37), "needs 38"),
        ("fake(phone)", text(9), "needs 10"),
        ("fake(street)", text(4), "needs 5"),
        ("hash", text(15).unique(), "64 bits"),
        ("hash(12)", text(80).unique(), "48 of the 64"),
        ("hash(12, base32)", text(80).unique(), "60 of the 64"),
        ("hash", text(3), "needs 4"),
        ("hash(32)", text(20), "do not fit into 20"),
        ("hash", Field::of(T::Email, 80), "use `fake(email)`"),
        ("hash", Field::of(T::Url, 80), "use `fake(url)`"),
        ("hash", Field::of(T::Int, 0), "holds no text"),
        ("hash", Field::of(T::Boolean, 0), "holds no text"),
        ("hash", Field::of(T::Reference, 18), "ledger"),
        ("hash", Field::of(T::Multipicklist, 4099).picklist(true), "restricted picklist"),
        ("redact", text(80).unique().filled(), "use `hash`"),
        ("redact(x)", text(80).unique(), "use `hash`"),
        ("redact(longer)", text(5), "6 characters, the field 5"),
        ("redact(\"\")", text(5).filled(), "does not admit"),
        ("redact(yes)", Field::of(T::Boolean, 0), "type boolean"),
        ("redact(none)", Field::of(T::Int, 0), "type int"),
        ("redact(2025-13-01)", Field::of(T::Date, 0), "type date"),
        ("redact(nobody)", Field::of(T::Email, 80), "type email"),
        ("redact(Warm)", Field::of(T::Picklist, 40).picklist(true), "that the picklist lists"),
        (
            "redact",
            Field::of(T::Picklist, 40).picklist(true).filled(),
            "give one of its values",
        ),
        ("redact", Field::of(T::Reference, 18).filled(), "no constant is known"),
        ("redact", Field::of(T::Id, 18), "id can't be removed"),
    ] {
        let strategy: Strategy = rule.parse().unwrap();
        let error = admit(&strategy, &field.0).unwrap_err();
        assert!(matches!(error, MaskError::Inadmissible { .. }));
        let message = error.to_string();
        assert!(message.contains(part) && message.contains("Field__c"), "{rule}: {message}");
    }
}

#[test]
fn what_the_field_admits_is_not_refused() {
    use FieldType as T;
    for (rule, field) in [
        ("preserve", Field::of(T::Boolean, 0)),
        ("preserve", Field::of(T::Reference, 18).filled()),
        ("fake(email)", Field::of(T::Email, 80).unique()),
        ("fake(email)", Field::of(T::String, 30)),
        ("fake(city)", Field::of(T::Picklist, 40).picklist(false)),
        ("hash", Field::of(T::String, 16).unique()),
        ("hash(base32)", Field::of(T::String, 13).unique()),
        ("hash", Field::of(T::Phone, 40)),
        ("redact", Field::of(T::Reference, 18)),
        ("redact", Field::of(T::Boolean, 0)),
        ("redact(Cold)", Field::of(T::Picklist, 40).picklist(true).filled()),
        ("redact(2000-01-01)", Field::of(T::Date, 0)),
        ("redact(née)", Field::of(T::String, 3)),
    ] {
        let strategy: Strategy = rule.parse().unwrap();
        assert_eq!(admit(&strategy, &field.0), Ok(()), "{rule}");
    }
}
