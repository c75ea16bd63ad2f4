//! Whatever can be wrong with a sync: each is found before a record moves, under its code, naming the place.
#![allow(clippy::unwrap_used)]

mod bench;

use bench::*;
use syncline_analyzer::facts::{Count, Facts};
use syncline_connect::OrgKind;
use syncline_domain::describe::FieldType;
use syncline_domain::issue::Severity;

struct Case {
    what: &'static str,
    /// The lines below `spec:`.
    spec: &'static str,
    spoil: fn(&mut Facts),
    code: &'static str,
    severity: Severity,
    /// `Object`, `Object.Field` or nothing.
    place: &'static str,
    says: &'static str,
}

const CONTACT: &str = "  objects:\n    - name: Contact\n  masking:\n    preset: hipaa\n";
const PAIR: &str = "  objects:\n    - name: Account\n    - name: Contact\n  masking:\n    preset: hipaa\n";

fn nothing(_: &mut Facts) {}

fn cases() -> Vec<Case> {
    use Severity::{Error, Fatal, Info, Warning};
    let case = |what, spec, spoil, code, severity, place, says| Case {
        what,
        spec,
        spoil,
        code,
        severity,
        place,
        says,
    };
    vec![
        case(
            "object missing at the source",
            CONTACT,
            |f| drop(f.source.describes.remove("Contact")),
            "SCHEMA_OBJECT_001",
            Fatal,
            "Contact",
            "the source `production` has no object Contact",
        ),
        case(
            "object missing in the target",
            CONTACT,
            |f| drop(f.target.describes.remove("Contact")),
            "SCHEMA_OBJECT_001",
            Fatal,
            "Contact",
            "the target `uat` has no object Contact",
        ),
        case(
            "object misspelt",
            "  objects:\n    - name: Contcat\n  masking:\n    preset: hipaa\n",
            nothing,
            "SCHEMA_OBJECT_001",
            Fatal,
            "Contcat",
            "did you mean `Contact`?",
        ),
        case(
            "object that cannot be queried",
            CONTACT,
            |f| f.source.describes.get_mut("Contact").unwrap().queryable = false,
            "AUTH_PERMISSION_001",
            Fatal,
            "Contact",
            "cannot be queried",
        ),
        case(
            "object that cannot be created",
            CONTACT,
            |f| f.target.describes.get_mut("Contact").unwrap().createable = false,
            "AUTH_PERMISSION_001",
            Fatal,
            "Contact",
            "cannot be created",
        ),
        case(
            "listed field misspelt",
            "  objects:\n    - name: Contact\n      fields: [LastName, Emial]\n  masking:\n    preset: hipaa\n",
            nothing,
            "SCHEMA_FIELD_001",
            Fatal,
            "Contact.Emial",
            "did you mean `Email`?",
        ),
        case(
            "listed field missing in the target",
            "  objects:\n    - name: Contact\n      fields: [LastName, Title]\n  masking:\n    preset: hipaa\n",
            |f| remove(&mut f.target, "Contact", "Title"),
            "SCHEMA_FIELD_001",
            Fatal,
            "Contact.Title",
            "Contact of the target does not have",
        ),
        case(
            "listed field that the target computes",
            "  objects:\n    - name: Contact\n      fields: [LastName, Name]\n  masking:\n    preset: hipaa\n",
            nothing,
            "SCHEMA_FIELD_001",
            Fatal,
            "Contact.Name",
            "may not write it",
        ),
        case(
            "excluded field misspelt",
            "  objects:\n    - name: Contact\n      exclude: [Birthdat]\n  masking:\n    preset: hipaa\n",
            nothing,
            "SCHEMA_FIELD_001",
            Fatal,
            "Contact.Birthdat",
            "did you mean `Birthdate`?",
        ),
        case(
            "mapped field missing at the source",
            "  objects:\n    - name: Contact\n      map: {Mail: Email}\n  masking:\n    preset: hipaa\n",
            nothing,
            "SCHEMA_FIELD_001",
            Fatal,
            "Contact.Mail",
            "Contact of the source does not have",
        ),
        case(
            "mapped onto a missing field",
            "  objects:\n    - name: Contact\n      map: {Email: Mail__c}\n  masking:\n    preset: hipaa\n",
            nothing,
            "SCHEMA_FIELD_001",
            Fatal,
            "Contact.Email",
            "`Mail__c`, which Contact of the target does not have",
        ),
        case(
            "two fields mapped onto one",
            "  objects:\n    - name: Contact\n      map: {Phone: Fax, HomePhone: Fax}\n  masking:\n    preset: hipaa\n",
            nothing,
            "SCHEMA_SYNC_001",
            Fatal,
            "Contact",
            "both mapped to `Fax`",
        ),
        case(
            "mapped field displaces a namesake",
            "  objects:\n    - name: Contact\n      map: {Phone: Fax}\n  masking:\n    preset: hipaa\n",
            nothing,
            "SCHEMA_FIELD_001",
            Warning,
            "Contact.Fax",
            "another field is mapped to its name",
        ),
        case(
            "mapped field that is not taken",
            "  objects:\n    - name: Contact\n      fields: [LastName]\n      map: {Phone: Fax}\n  masking:\n    preset: hipaa\n",
            nothing,
            "SCHEMA_SYNC_001",
            Fatal,
            "Contact.Phone",
            "does not take",
        ),
        case(
            "key missing",
            "  objects:\n    - name: Contact\n      key: Ext__c\n  masking:\n    preset: hipaa\n",
            nothing,
            "SCHEMA_FIELD_001",
            Fatal,
            "Contact.Ext__c",
            "`key` names `Ext__c`",
        ),
        case(
            "key that is not an external id",
            "  objects:\n    - name: Contact\n      key: Title\n  masking:\n    preset: hipaa\n",
            nothing,
            "SCHEMA_FIELD_TYPE_001",
            Fatal,
            "Contact.Title",
            "not an external id with unique values",
        ),
        case(
            "key that is excluded",
            "  objects:\n    - name: Contact\n      key: Title\n      exclude: [Title]\n  masking:\n    preset: hipaa\n",
            nothing,
            "SCHEMA_SYNC_001",
            Fatal,
            "Contact.Title",
            "cannot be in `exclude`",
        ),
        case(
            "key that is masked",
            "  objects:\n    - name: Contact\n      key: Email\n  masking:\n    preset: hipaa\n",
            |f| {
                let key = edit(&mut f.target, "Contact", "Email");
                key.external_id = true;
                key.unique = true;
            },
            "MASK_STRATEGY_001",
            Fatal,
            "Contact.Email",
            "would be masked",
        ),
        case(
            "types that do not fit",
            CONTACT,
            |f| edit(&mut f.target, "Contact", "Title").field_type = FieldType::Date,
            "SCHEMA_FIELD_TYPE_001",
            Error,
            "Contact.Title",
            "string at the source, date in the target",
        ),
        case(
            "shorter field",
            CONTACT,
            |f| edit(&mut f.target, "Contact", "Title").length = 20,
            "SCHEMA_FIELD_TYPE_001",
            Warning,
            "Contact.Title",
            "128 characters at the source, 20 in the target",
        ),
        case(
            "field that only the source has",
            CONTACT,
            |f| remove(&mut f.target, "Contact", "Title"),
            "SCHEMA_FIELD_001",
            Warning,
            "Contact",
            "the target does not have them: Title",
        ),
        case(
            "required field that is excluded",
            "  objects:\n    - name: Contact\n      exclude: [LastName]\n  masking:\n    preset: hipaa\n",
            nothing,
            "SCHEMA_REQUIRED_001",
            Fatal,
            "Contact.LastName",
            "the target requires `LastName`",
        ),
        case(
            "required parent that is not in the sync",
            "  objects:\n    - name: OpportunityContactRole\n  masking:\n    preset: hipaa\n",
            nothing,
            "SCHEMA_REQUIRED_001",
            Fatal,
            "OpportunityContactRole.OpportunityId",
            "which points to Opportunity",
        ),
        case(
            "picklist value missing",
            CONTACT,
            |f| {
                edit(&mut f.source, "Contact", "LeadSource").picklist_values = vec!["Web".into(), "Fair".into(), "Dance".into()];
                let target = edit(&mut f.target, "Contact", "LeadSource");
                target.picklist_values = vec!["Web".into()];
                target.restricted_picklist = true;
            },
            "SCHEMA_PICKLIST_001",
            Warning,
            "Contact.LeadSource",
            "2 values of `LeadSource` of Contact are not in the target's restricted picklist: Fair, Dance",
        ),
        case(
            "objects that require each other",
            PAIR,
            |f| {
                for end in [&mut f.source, &mut f.target] {
                    edit(end, "Account", "Primary_Contact__c").nillable = false;
                    edit(end, "Contact", "AccountId").nillable = false;
                }
            },
            "SCHEMA_CYCLE_001",
            Fatal,
            "Account",
            "Account -> Contact -> Account",
        ),
        case(
            "cycle that cannot be completed later",
            PAIR,
            |f| {
                edit(&mut f.target, "Account", "Primary_Contact__c").updateable = false;
                edit(&mut f.target, "Contact", "AccountId").updateable = false;
            },
            "SCHEMA_CYCLE_001",
            Fatal,
            "Account",
            "cannot be added later",
        ),
        case(
            "object that requires itself",
            CONTACT,
            |f| edit(&mut f.target, "Contact", "ReportsToId").nillable = false,
            "SCHEMA_CYCLE_001",
            Fatal,
            "Contact",
            "Contact -> Contact",
        ),
        case(
            "production target",
            CONTACT,
            |f| f.target.org.kind = OrgKind::Production,
            "AUTH_PRODUCTION_TARGET_001",
            Fatal,
            "",
            "reports itself as a production org",
        ),
        case(
            "another production target is allowed",
            "  allow_production_target: 00D000000000001\n  objects:\n    - name: Contact\n  masking:\n    preset: hipaa\n",
            |f| f.target.org.kind = OrgKind::Production,
            "AUTH_PRODUCTION_TARGET_001",
            Fatal,
            "",
            "reports itself as a production org",
        ),
        case(
            "source and target are one org",
            CONTACT,
            |f| f.target.org.id = "00DWy0000004567".to_owned(),
            "SCHEMA_SYNC_001",
            Fatal,
            "",
            "the same org",
        ),
        case(
            "target that must be empty",
            "  existing: refuse\n  objects:\n    - name: Contact\n  masking:\n    preset: hipaa\n",
            |f| {
                f.target_counts.insert(object_name("Contact"), 12);
            },
            "DATA_EXISTING_001",
            Fatal,
            "Contact",
            "holds 12 records",
        ),
        case(
            "filter that does not parse",
            "  objects:\n    - name: Contact\n      where: Nme = 'x'\n  masking:\n    preset: hipaa\n",
            |f| {
                drop(
                    f.source_counts
                        .insert(object_name("Contact"), Count::Refused("HTTP 400 INVALID_FIELD `Nme`".into())),
                )
            },
            "SCHEMA_QUERY_001",
            Fatal,
            "Contact",
            "`where` of Contact was not understood by the source: HTTP 400 INVALID_FIELD `Nme`",
        ),
        case(
            "classified field without a decision",
            "  objects:\n    - name: Contact\n",
            nothing,
            "MASK_UNDECIDED_001",
            Fatal,
            "Contact.Email",
            "no rule decides on it",
        ),
        case(
            "preset misspelt",
            "  objects:\n    - name: Contact\n  masking:\n    preset: hippa\n",
            nothing,
            "MASK_UNKNOWN_001",
            Fatal,
            "",
            "did you mean `hipaa`?",
        ),
        case(
            "strategy misspelt",
            "  objects:\n    - name: Contact\n  masking:\n    preset: hipaa\n    rules:\n      Contact:\n        Email: fkae(email)\n",
            nothing,
            "MASK_UNKNOWN_001",
            Fatal,
            "Contact.Email",
            "did you mean `fake`?",
        ),
        case(
            "rule for an object outside of the sync",
            "  objects:\n    - name: Contact\n  masking:\n    preset: hipaa\n    rules:\n      Lead:\n        Email: redact\n",
            nothing,
            "MASK_UNKNOWN_001",
            Fatal,
            "Lead",
            "names object Lead",
        ),
        case(
            "rule for a field that does not exist",
            "  objects:\n    - name: Contact\n  masking:\n    preset: hipaa\n    rules:\n      Contact:\n        Emial: redact\n",
            nothing,
            "MASK_UNKNOWN_001",
            Fatal,
            "Contact.Emial",
            "did you mean `Email`?",
        ),
        case(
            "rule for a field that does not travel",
            "  objects:\n    - name: Contact\n      exclude: [Fax]\n  masking:\n    preset: hipaa\n    rules:\n      Contact:\n        Fax: redact\n",
            nothing,
            "MASK_UNKNOWN_001",
            Fatal,
            "Contact.Fax",
            "which the sync does not write",
        ),
        case(
            "strategy that the field does not admit",
            "  objects:\n    - name: Contact\n  masking:\n    preset: hipaa\n    rules:\n      Contact:\n        Birthdate: fake(phone)\n",
            nothing,
            "MASK_STRATEGY_001",
            Fatal,
            "Contact.Birthdate",
            "not admissible",
        ),
        case(
            "masked reference",
            "  objects:\n    - name: Account\n    - name: Contact\n  masking:\n    preset: hipaa\n    rules:\n      Contact:\n        AccountId: hash\n",
            nothing,
            "MASK_STRATEGY_001",
            Fatal,
            "Contact.AccountId",
            "not masked",
        ),
        case(
            "reference out of the sync",
            "  objects:\n    - name: Opportunity\n  masking:\n    preset: hipaa\n",
            nothing,
            "DATA_REFERENCE_001",
            Info,
            "Opportunity",
            "CampaignId (Campaign)",
        ),
        case(
            "daily limit",
            CONTACT,
            |f| f.source.calls_left = Some(1),
            "LIMITS_API_DAILY_001",
            Fatal,
            "",
            "has 1 left today",
        ),
    ]
}

#[test]
fn every_misconfiguration_is_found_under_its_code_and_names_its_place() {
    let mut failures = Vec::new();
    for case in cases() {
        let mut facts = facts();
        (case.spoil)(&mut facts);
        let plan = plan(spec(case.spec), &facts);
        let found = plan.issues.iter().any(|i| {
            let object = i.object.as_ref().map(ToString::to_string).unwrap_or_default();
            let place = match &i.field {
                Some(field) => format!("{object}.{field}"),
                None => object,
            };
            i.code.as_str() == case.code
                && i.severity == case.severity
                && place == case.place
                && i.message.contains(case.says)
                && !i.remedy.is_empty()
        });
        if !found {
            failures.push(format!("{}: {:#?}", case.what, plan.issues));
        }
        assert_eq!(
            plan.can_proceed(),
            !plan.issues.iter().any(|i| i.severity == Severity::Fatal),
            "{}",
            case.what
        );
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_unspoilt_syncs_have_nothing_fatal() {
    for text in [CONTACT, PAIR] {
        let plan = plan(spec(text), &facts());
        assert!(plan.can_proceed(), "{:#?}", fatals(&plan));
    }
    let allowed = "  allow_production_target: 00D8H0000007890\n  objects:\n    - name: Contact\n  masking:\n    preset: hipaa\n";
    let mut facts = facts();
    facts.target.org.kind = OrgKind::Production;
    assert!(plan(spec(allowed), &facts).can_proceed());
}
