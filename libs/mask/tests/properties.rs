//! Properties of masked columns. A failure prints the seed; `PROPTEST_RNG_SEED=<seed>` repeats the run.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use arrow_array::{Array, StringArray};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use syncline_mask::{ColumnMask, FakeKind, FieldCounts, FieldFacts, FieldType, MaskKey, MaskPlan, Strategy as Rule};

fn config() -> Config {
    let seed = std::env::var("PROPTEST_RNG_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            now.as_nanos() as u64
        });
    eprintln!("PROPTEST_RNG_SEED={seed}");
    Config {
        cases: 400,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    }
}

fn key(last: u8) -> MaskKey {
    let mut bytes = *b"a key for the tests of masking 0";
    bytes[31] = last;
    MaskKey::from_bytes(&bytes).unwrap()
}

fn facts(kind: FakeKind, max_chars: u32) -> FieldFacts {
    let sf_type = match kind {
        FakeKind::Email => FieldType::Email,
        FakeKind::Phone => FieldType::Phone,
        FakeKind::Url => FieldType::Url,
        _ => FieldType::Textarea,
    };
    FieldFacts::new("Field", sf_type, Some(max_chars))
}

fn masked(rule: &Rule, facts: &FieldFacts, key: &MaskKey, value: &str) -> String {
    let mask = ColumnMask::compile(key, facts, rule).unwrap();
    let (column, _) = mask.mask_column(&StringArray::from(vec![value]));
    column.value(0).to_owned()
}

fn fake(kind: FakeKind, value: &str) -> String {
    masked(&Rule::Fake(kind), &facts(kind, 255), &key(1), value)
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// Everything a field may hold: words, digits, symbols, other scripts, blanks around.
fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[A-Za-z]{1,12}( [A-Za-z]{1,12}){0,3}",
        2 => "[ -~]{1,60}",
        2 => "\\PC{1,40}",
        1 => "[0-9]{1,14}",
        1 => "[A-Z]{2}",
        1 => "  [a-z]{1,8} ",
        1 => phone(),
        1 => email(),
    ]
}

fn email() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9._]{1,20}@[a-z]{1,12}\\.(com|org|invalid)"
}

fn phone() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\([2-9][0-9]{2}\\) [2-9][0-9]{2}-[0-9]{4}",
        "\\+1[ .-][2-9][0-9]{2}[ .-][2-9][0-9]{2}[ .-][0-9]{4}( x[0-9]{1,4})?",
        "[2-9][0-9]{2}-[0-9]{4}",
        "\\+44 (\\(0\\))?[1-9][0-9]{3} [0-9]{6}",
        "\\+49 [1-9][0-9]{2}[ /-][0-9]{7,8}",
        "\\+33 [1-9]( [0-9]{2}){4}",
        "0[1-9][0-9]{2} [0-9]{6,7}",
        "\\+[5-9][0-9]{1,2} [0-9]{3,4} [0-9]{3,5}",
        "00[1-9][0-9] [0-9]{8,10}",
        "[0-9]{3,9}",
    ]
}

fn any_kind() -> impl Strategy<Value = FakeKind> {
    proptest::sample::select(FakeKind::ALL.iter().map(|(kind, _)| *kind).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn equal_inputs_get_equal_fakes_and_other_keys_get_others(kind in any_kind(), value in any_value()) {
        prop_assume!(!value.is_empty());
        let rule = Rule::Fake(kind);
        let field = facts(kind, 255);
        let mut elsewhere = field.clone();
        elsewhere.name = "Other".to_owned();
        elsewhere.nillable = false;
        let once = masked(&rule, &field, &key(1), &value);
        prop_assert_eq!(&once, &masked(&rule, &elsewhere, &key(1), &value));
        prop_assert_eq!(&once, &masked(&rule, &field, &key(1), &format!(" {value} ")));
        if matches!(kind, FakeKind::Email | FakeKind::Url) {
            prop_assert_ne!(&once, &masked(&rule, &field, &key(2), &value));
        }
    }

    #[test]
    fn a_fake_never_equals_its_input(kind in any_kind(), value in any_value()) {
        prop_assume!(!value.trim().is_empty());
        let out = fake(kind, &value);
        prop_assert!(!out.is_empty());
        prop_assert!(!out.eq_ignore_ascii_case(value.trim()), "{} -> {}", value, out);
        // A fake fed back is an input like any other: this meets every entry of the dictionaries in time.
        let again = fake(kind, &out);
        prop_assert!(!again.eq_ignore_ascii_case(&out), "{} -> {}", out, again);
    }

    #[test]
    fn a_fake_fits_its_field(kind in any_kind(), value in any_value(), max_chars in 2u32..120) {
        let field = facts(kind, max_chars);
        let rule = Rule::Fake(kind);
        if let Ok(mask) = ColumnMask::compile(&key(1), &field, &rule) {
            let input = StringArray::from(vec![value.as_str()]);
            let (column, counts) = mask.mask_column(&input);
            prop_assert!(column.value(0).chars().count() <= max_chars as usize);
            prop_assert!(column.value(0).trim() == column.value(0) && !column.value(0).is_empty());
            prop_assert_eq!(counts.masked + counts.unchanged, 1);
        }
    }

    #[test]
    fn a_hash_has_the_length_and_alphabet_it_was_given(value in "\\PC{1,60}", length in 4u16..=51, hex in any::<bool>()) {
        let encoding = if hex { "hex" } else { "base32" };
        let rule: Rule = format!("hash({length}, {encoding})").parse().unwrap();
        let field = FieldFacts::new("Field", FieldType::String, Some(80));
        let out = masked(&rule, &field, &key(1), &value);
        prop_assert_eq!(out.len(), usize::from(length));
        let alphabet = if hex { "0123456789abcdef" } else { "abcdefghijklmnopqrstuvwxyz234567" };
        prop_assert!(out.chars().all(|c| alphabet.contains(c)));
        prop_assert_ne!(out.as_str(), value.trim());
        prop_assert_eq!(&out, &masked(&rule, &field, &key(1), &value));
        if length >= 16 {
            prop_assert_ne!(&out, &masked(&rule, &field, &key(2), &value));
        }
    }

    #[test]
    fn fake_addresses_are_valid_and_undeliverable(value in any_value(), max_chars in 30u32..=255) {
        let rule = Rule::Fake(FakeKind::Email);
        let out = masked(&rule, &facts(FakeKind::Email, max_chars), &key(1), &value);
        let (local, domain) = out.split_once('@').unwrap();
        prop_assert_eq!(domain, "example.invalid");
        prop_assert!((14..=64).contains(&local.len()));
        prop_assert!(local.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        let ascii: String = value.chars().filter(char::is_ascii).collect();
        let write = |value: &str| masked(&rule, &facts(FakeKind::Email, max_chars), &key(1), value);
        if !ascii.is_empty() {
            prop_assert_eq!(write(&ascii), write(&ascii.to_uppercase()));
        }
    }

    #[test]
    fn fake_numbers_keep_their_shape(value in phone()) {
        let out = fake(FakeKind::Phone, &value);
        let shape = |text: &str| text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>();
        prop_assert_eq!(shape(&out), shape(&value), "{} -> {}", value, out);
        let main = |text: &str| digits(text.split('x').next().unwrap());
        prop_assert_ne!(main(&out), main(&value));
        let fake = main(&out);
        if value.starts_with("+1") || value.starts_with('(') {
            prop_assert!(fake[fake.len() - 7..].starts_with("55501"), "{}", out);
        } else if value.starts_with("+44 ") {
            prop_assert!(fake.trim_start_matches("44").trim_start_matches('0').starts_with("2079460")
                || fake.contains("7700900"), "{}", out);
        } else if value.starts_with("+49") {
            prop_assert!(["4930", "4969", "4940", "49221", "4989", "49171", "49176"].iter().any(|p| fake.starts_with(p)), "{}", out);
        } else if value.starts_with("+33") {
            prop_assert!(fake.starts_with("3319900") || fake.starts_with("3363998"), "{}", out);
        } else if value.starts_with('+') {
            prop_assert!(fake.starts_with("999"), "{}", out);
        }
    }

    #[test]
    fn whole_names_agree_with_their_parts(given in "[A-Z][a-z]{1,9}", family in "[A-Z][a-z]{1,9}( [A-Z][a-z]{1,5})?") {
        let (fake_given, fake_family) = (fake(FakeKind::GivenName, &given), fake(FakeKind::FamilyName, &family));
        prop_assert_eq!(fake(FakeKind::FullName, &format!("{given} {family}")), format!("{fake_given} {fake_family}"));
        prop_assert_eq!(fake(FakeKind::FullName, &format!("{family}, {given}")), format!("{fake_family}, {fake_given}"));
        prop_assert_eq!(fake(FakeKind::FullName, family.split(' ').next().unwrap()), fake(FakeKind::FamilyName, family.split(' ').next().unwrap()));
    }

    #[test]
    fn postal_codes_keep_their_shape(value in prop_oneof!["[0-9]{5}", "[0-9]{5}-[0-9]{4}", "[A-Z]{1,2}[0-9]{1,2} [0-9][A-Z]{2}", "[A-Z][0-9][A-Z] [0-9][A-Z][0-9]"]) {
        let out = fake(FakeKind::PostalCode, &value);
        let shape = |text: &str| text.chars().map(|c| if c.is_ascii_digit() { '0' } else if c.is_ascii_uppercase() { 'A' } else { c }).collect::<String>();
        prop_assert_eq!(shape(&out), shape(&value));
        prop_assert_ne!(out, value);
    }

    #[test]
    fn counts_add_up_and_null_stays_null(values in proptest::collection::vec(proptest::option::of(prop_oneof![Just(String::new()), any_value()]), 0..60), which in 0usize..5) {
        let rule: Rule = ["fake(text)", "hash", "redact", "redact(gone)", "preserve"][which].parse().unwrap();
        let field = FieldFacts::new("Field", FieldType::Textarea, Some(255));
        let mask = ColumnMask::compile(&key(1), &field, &rule).unwrap();
        let input = StringArray::from(values);
        let (output, counts) = mask.mask_column(&input);
        prop_assert_eq!(output.len(), input.len());
        prop_assert_eq!(counts.masked + counts.null + counts.unchanged + counts.preserved, input.len() as u64);
        for row in 0..input.len() {
            let blank = input.is_null(row) || input.value(row).is_empty();
            if blank {
                prop_assert!(output.is_null(row) || output.value(row).is_empty());
            } else if which == 2 {
                prop_assert!(output.is_null(row));
            } else {
                prop_assert!(output.is_valid(row) && !output.value(row).is_empty());
            }
        }
    }

    #[test]
    fn rules_are_read_back_as_written(kind in any_kind(), text in "[ -~]{1,30}", length in 4u16..=51, which in 0usize..6) {
        let rule: Rule = match which {
            0 => Rule::Fake(kind),
            1 => Rule::redact(),
            2 => serde_json::from_value(serde_json::json!({ "redact": { "value": text } })).unwrap(),
            3 => format!("hash({length})").parse().unwrap(),
            4 => format!("hash(base32, {length})").parse().unwrap(),
            _ => Rule::Preserve,
        };
        prop_assert_eq!(&rule.to_string().parse::<Rule>().unwrap(), &rule);
        let json = serde_json::to_string(&rule).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Rule>(&json).unwrap(), &rule);
    }
}

#[test]
fn a_hundred_thousand_addresses_stay_apart() {
    let field = {
        let mut field = FieldFacts::new("Email", FieldType::Email, Some(80));
        field.unique = true;
        field
    };
    let rule: Rule = "fake(email)".parse().unwrap();
    let mask = ColumnMask::compile(&key(1), &field, &rule).unwrap();
    let input: StringArray = (0..100_000)
        .map(|i| Some(format!("person{i}@example.com")))
        .collect::<Vec<_>>()
        .into();
    let (output, counts) = mask.mask_column(&input);
    let distinct: HashSet<&str> = output.iter().flatten().collect();
    assert_eq!(distinct.len(), 100_000);
    assert_eq!(counts.masked, 100_000);
}

#[test]
fn addresses_that_differ_in_case_are_one_address() {
    assert_eq!(fake(FakeKind::Email, "Ada@Example.COM"), fake(FakeKind::Email, "ada@example.com"));
    assert_ne!(fake(FakeKind::Email, "ada@example.com"), fake(FakeKind::Email, "adb@example.com"));
}

#[test]
fn one_number_in_two_writings_is_one_fake() {
    let plain = digits(&fake(FakeKind::Phone, "(415) 555-2671"));
    let long = digits(&fake(FakeKind::Phone, "+1 415.555.2671"));
    assert_eq!(format!("1{plain}"), long);
}

#[test]
fn text_in_a_phone_field_does_not_survive() {
    for value in [
        "ask for Bob Miller",
        "1-800-FLOWERS",
        "415 555 2671 (wife: 415 555 9999)",
        "unknown",
        "n/a",
        "+",
        "１２３",
    ] {
        let out = fake(FakeKind::Phone, value);
        assert!(out.starts_with("+999") && out.len() == 13, "{value} -> {out}");
    }
}

#[test]
fn every_dictionary_entry_is_moved_by_its_own_kind() {
    // Fakes of many inputs visit the lists; each entry is then masked in turn.
    for kind in [
        FakeKind::GivenName,
        FakeKind::FamilyName,
        FakeKind::City,
        FakeKind::State,
        FakeKind::Country,
    ] {
        let mut seen = HashSet::new();
        for i in 0..3_000 {
            let entry = fake(kind, &format!("input {i}"));
            assert_ne!(fake(kind, &entry), entry);
            seen.insert(entry);
        }
        assert!(seen.len() >= 45, "{kind} has only {} values", seen.len());
    }
}

#[test]
fn a_constant_that_meets_itself_is_counted_as_unchanged() {
    let field = FieldFacts::new("Field", FieldType::String, Some(20));
    let rule: Rule = "redact(gone)".parse().unwrap();
    let mask = ColumnMask::compile(&key(1), &field, &rule).unwrap();
    let (column, counts) = mask.mask_column(&StringArray::from(vec![Some("gone"), Some("here"), None]));
    assert_eq!(column, StringArray::from(vec![Some("gone"), Some("gone"), None]));
    assert_eq!(
        counts,
        FieldCounts {
            masked: 1,
            null: 1,
            unchanged: 1,
            preserved: 0
        }
    );
}

#[test]
fn what_must_not_be_null_is_redacted_to_a_constant_of_its_type() {
    for (sf_type, constant) in [
        (FieldType::String, "REDACTED"),
        (FieldType::Email, "redacted@example.invalid"),
        (FieldType::Date, "1900-01-01"),
        (FieldType::Double, "0"),
        (FieldType::Boolean, "false"),
    ] {
        let mut field = FieldFacts::new("Field", sf_type, Some(40));
        field.nillable = false;
        assert_eq!(masked(&Rule::redact(), &field, &key(1), "2"), constant);
    }
    let mut short = FieldFacts::new("Field", FieldType::String, Some(3));
    short.required = true;
    assert_eq!(masked(&Rule::redact(), &short, &key(1), "abc"), "RED");
}

#[test]
fn golden_values_hold_across_versions() {
    // Masked data of earlier runs must keep matching: a change here breaks every target that was ever loaded.
    let golden = [
        (FakeKind::GivenName, "Ada"),
        (FakeKind::FamilyName, "Lovelace"),
        (FakeKind::Email, "ada@example.com"),
        (FakeKind::Phone, "+1 (415) 555-2671 x12"),
        (FakeKind::Street, "12 St James's Square"),
        (FakeKind::City, "London"),
        (FakeKind::PostalCode, "SW1Y 4JH"),
        (FakeKind::Company, "Analytical Engines"),
        (FakeKind::Url, "https://ada.example.com"),
        (FakeKind::Text, "Called about the engine."),
    ];
    let written: Vec<String> = golden.iter().map(|(kind, value)| fake(*kind, value)).collect();
    assert_eq!(written, GOLDEN);
}

const GOLDEN: [&str; 10] = [
    "Wallace",
    "Moretti",
    "uokyiynni35hxypwmyhx5@example.invalid",
    "+1 (513) 555-0124 x39",
    "8457 Sycamore Drive",
    "Norfolk",
    "HH8N 2QL",
    "Swift Electric Services",
    "https://urgedut2wmf6slni4.example.invalid",
    "Mark added letter change",
];

#[test]
fn an_unplanned_column_is_refused_and_a_plan_names_every_error() {
    let (good, bad) = (
        FieldFacts::new("Name", FieldType::String, Some(80)),
        FieldFacts::new("Flag", FieldType::Boolean, None),
    );
    let rule: Rule = "fake(company)".parse().unwrap();
    let plan = MaskPlan::compile(&key(1), [(&good, &rule)]).unwrap();
    assert!(plan.mask_column("Name", &StringArray::from(vec!["Acme"])).is_ok());
    let refused = plan.mask_column("Other", &StringArray::from(vec!["Acme"])).unwrap_err();
    assert_eq!(refused.code(), "mask.field_unplanned");
    assert!(!format!("{plan:?}").contains("key"));
    let errors = MaskPlan::compile(&key(1), [(&bad, &rule), (&good, &rule), (&good, &rule)]).unwrap_err();
    let codes: Vec<_> = errors.iter().map(|e| e.code()).collect();
    assert_eq!(codes, ["mask.strategy_inadmissible", "mask.field_planned_twice"]);
}
