//! Resolving rules and presets: who decides, and that nothing is left undecided in silence.
#![allow(clippy::unwrap_used)]

use syncline_mask::{FieldFacts, FieldType as T, MaskKey, ObjectFacts, Origin, Policy, PolicyProblem, Rules, Strategy};

fn sync() -> ObjectFacts {
    let field = |name: &str, sf_type, chars| FieldFacts::new(name, sf_type, Some(chars));
    let mut last_name = field("LastName", T::String, 80);
    last_name.nillable = false;
    last_name.required = true;
    ObjectFacts::from([
        (
            "Contact".to_owned(),
            vec![
                field("FirstName", T::String, 40),
                last_name,
                field("Email", T::Email, 80),
                field("Phone", T::Phone, 40),
                field("Birthdate", T::Date, 0),
                field("MailingStreet", T::Textarea, 255),
                field("Title", T::String, 128),
                field("Description", T::Textarea, 32_000),
                field("MRN__c", T::String, 20),
                field("HasOptedOutOfEmail", T::Boolean, 0),
            ],
        ),
        (
            "Account".to_owned(),
            vec![field("Name", T::String, 255), field("Industry", T::Picklist, 255)],
        ),
    ])
}

fn rules(lines: &[(&str, &str, &str)]) -> Rules {
    let mut rules = Rules::new();
    for (object, field, rule) in lines {
        rules
            .entry((*object).to_owned())
            .or_default()
            .insert((*field).to_owned(), rule.parse().unwrap());
    }
    rules
}

#[test]
fn the_hipaa_preset_decides_on_every_classified_field() {
    let decisions = Policy::resolve(Some("hipaa"), &Rules::new(), &sync()).unwrap();
    for (object, field, rule) in [
        ("Contact", "FirstName", "fake(given_name)"),
        ("Contact", "LastName", "fake(family_name)"),
        ("Contact", "Email", "fake(email)"),
        ("Contact", "Phone", "fake(phone)"),
        ("Contact", "Birthdate", "redact"),
        ("Contact", "MailingStreet", "fake(street)"),
        ("Contact", "Description", "redact"),
        ("Contact", "MRN__c", "hash"),
        ("Contact", "Title", "preserve"),
        ("Contact", "HasOptedOutOfEmail", "preserve"),
        ("Account", "Name", "preserve"),
        ("Account", "Industry", "preserve"),
    ] {
        let decision = decisions.get(object, field).unwrap();
        assert_eq!(decision.strategy.to_string(), rule, "{object}.{field}");
        let origin = if rule == "preserve" {
            Origin::Unclassified
        } else {
            Origin::Preset("hipaa")
        };
        assert_eq!(decision.origin, origin, "{object}.{field}");
    }
    assert_eq!(decisions.iter().count(), 12);
    let key = MaskKey::from_bytes(b"a key for the tests of policies!").unwrap();
    let plan = decisions.plan("Contact", &sync()["Contact"], &key).unwrap();
    assert_eq!(plan.fields().count(), 10);
    assert!(decisions.plan("Contact", &sync()["Account"], &key).is_err());
}

#[test]
fn a_rule_goes_before_the_preset_and_preserving_is_on_record() {
    let rules = rules(&[
        ("Contact", "Email", "preserve"),
        ("Contact", "MRN__c", "redact"),
        ("Account", "Name", "fake(company)"),
    ]);
    let decisions = Policy::resolve(Some("hipaa"), &rules, &sync()).unwrap();
    assert_eq!(decisions.get("Contact", "MRN__c").unwrap().strategy, Strategy::redact());
    assert_eq!(decisions.get("Account", "Name").unwrap().origin, Origin::Rule);
    let preserved: Vec<_> = decisions.declared_preserves().map(|(o, f, _)| (o, f)).collect();
    assert_eq!(preserved, [("Contact", "Email")]);
}

#[test]
fn without_a_preset_every_classified_field_needs_a_rule() {
    let problems = Policy::resolve(None, &rules(&[("Contact", "Email", "fake(email)")]), &sync()).unwrap_err();
    let undecided: Vec<_> = problems
        .iter()
        .map(|p| match p {
            PolicyProblem::Undecided { field, why, .. } => {
                assert!(!why.is_empty());
                field.as_str()
            }
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(
        undecided,
        [
            "FirstName",
            "LastName",
            "Phone",
            "Birthdate",
            "MailingStreet",
            "Description",
            "MRN__c"
        ]
    );
}

#[test]
fn all_problems_are_listed_at_once() {
    let rules = rules(&[
        ("Contcat", "Email", "fake(email)"),
        ("Contact", "Emial", "fake(email)"),
        ("Contact", "*", "redact"),
        ("Con*", "Email", "redact"),
        ("Contact", "HasOptedOutOfEmail", "fake(email)"),
        ("Lead", "Email", "redact"),
    ]);
    let problems = Policy::resolve(Some("hippa"), &rules, &sync()).unwrap_err();
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for part in [
        "no preset `hippa`; did you mean `hipaa`?",
        "object Contcat, which the sync does not write; did you mean `Contact`?",
        "Contact.Emial, which the sync does not write; did you mean `Email`?",
        "Contact.*: wildcards",
        "Con*.*: wildcards",
        "field HasOptedOutOfEmail: `fake(email)` is not admissible",
        "object Lead, which the sync does not write;",
    ] {
        assert!(said.iter().any(|s| s.contains(part)), "{part} in {said:#?}");
    }
    assert_eq!(problems.len(), 7, "{said:#?}");
}

#[test]
fn a_preset_falls_back_and_says_so_when_nothing_fits() {
    let mut short = FieldFacts::new("MRN__c", T::String, Some(8));
    short.unique = true;
    let facts = |field: &FieldFacts| ObjectFacts::from([("Patient__c".to_owned(), vec![field.clone()])]);
    let decisions = Policy::resolve(Some("hipaa"), &Rules::new(), &facts(&short)).unwrap();
    assert_eq!(decisions.get("Patient__c", "MRN__c").unwrap().strategy, Strategy::redact());

    short.nillable = false;
    let problems = Policy::resolve(Some("hipaa"), &Rules::new(), &facts(&short)).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].code(), "mask.strategy_inadmissible");
    assert!(problems[0].to_string().contains("MRN__c"));
}

#[test]
fn a_field_described_twice_is_a_problem() {
    let mut facts = sync();
    let twin = facts["Account"][0].clone();
    facts.get_mut("Account").unwrap().push(twin);
    let problems = Policy::resolve(Some("hipaa"), &Rules::new(), &facts).unwrap_err();
    assert_eq!(problems[0].code(), "mask.field_described_twice");
}

#[test]
fn rules_are_read_from_yaml() {
    let yaml = "Contact:\n  Email: fake(email)\n  MRN__c: { hash: { length: 16 } }\n";
    let rules: Rules = serde_saphyr::from_str(yaml).unwrap();
    assert_eq!(rules["Contact"]["MRN__c"].to_string(), "hash(16)");
    let error = serde_saphyr::from_str::<Rules>("Contact:\n  Email: faek(email)\n").unwrap_err();
    assert!(error.to_string().contains("did you mean `fake`"), "{error}");
}
