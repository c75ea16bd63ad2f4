//! Plans from captured describes: what travels, in which order, masked how.
#![allow(clippy::unwrap_used)]

mod bench;

use bench::*;
use syncline_analyzer::build::{Matches, outline};
use syncline_analyzer::facts::{Count, Facts, Kind, NoMatch, Usage};
use syncline_connect::OrgKind;
use syncline_domain::describe::{FieldDescribe, FieldType};
use syncline_domain::issue::Severity;
use syncline_domain::plan::{FieldRole, ObjectPlan, Reference};
use syncline_domain::{ErrorCode, FieldName};
use syncline_salesforce::names::Unmatched;

fn names(objects: &[syncline_domain::ObjectName]) -> Vec<&str> {
    objects.iter().map(|o| o.as_str()).collect()
}

fn role<'p>(object: &'p ObjectPlan, field: &str) -> &'p Reference {
    match &object.field(field).unwrap_or_else(|| panic!("{field} is not planned")).role {
        FieldRole::Reference(reference) => reference,
        other => panic!("{field} is {other:?}"),
    }
}

#[test]
fn captured_objects_make_a_plan_in_load_order() {
    let plan = plan(
        masked(&["OpportunityContactRole", "Case", "Opportunity", "Contact", "Account", "Lead"]),
        &facts(),
    );
    assert!(plan.can_proceed(), "{:#?}", fatals(&plan));
    let order: Vec<&str> = plan.objects.iter().map(|o| o.name.as_str()).collect();
    // Ready at once: the one that stands first in the sync.
    assert_eq!(
        order,
        ["Contact", "Account", "Case", "Opportunity", "OpportunityContactRole", "Lead"]
    );

    // Account.Primary_Contact__c and Contact.AccountId form a cycle: one of them waits, the one of the earlier object.
    let contact = plan.object("Contact").unwrap();
    let deferred: Vec<&str> = contact.deferred_fields().map(|f| f.name.as_str()).collect();
    assert_eq!(deferred, ["AccountId", "ReportsToId"]);
    assert_eq!(names(&contact.parents), [] as [&str; 0]);
    assert_eq!(names(&contact.deferred_parents), ["Account", "Contact"]);
    let account = plan.object("Account").unwrap();
    assert_eq!(names(&account.parents), ["Contact"]);
    assert!(role(account, "ParentId").deferred && !role(account, "Primary_Contact__c").deferred);

    let line = plan.object("OpportunityContactRole").unwrap();
    assert!(role(line, "OpportunityId").required && role(line, "ContactId").required);
    assert_eq!(names(&line.parents), ["Contact", "Opportunity"]);
    assert_eq!(role(plan.object("Case").unwrap(), "OwnerId").to, []);
    assert!(plan.objects.iter().all(|o| o.records == 1_000 && o.has_created_date));
    assert_eq!(plan.cost.records, 6_000);
}

#[test]
fn only_what_the_target_lets_be_written_travels() {
    let plan = plan(masked(&["Contact", "Account"]), &facts());
    let contact = plan.object("Contact").unwrap();
    assert_eq!(contact.fields.first().unwrap().role, FieldRole::SourceKey);
    for absent in [
        "Name",
        "MailingAddress",
        "CreatedDate",
        "LastModifiedById",
        "SystemModstamp",
        "IsDeleted",
        "PhotoUrl",
        "MasterRecordId",
    ] {
        assert!(contact.field(absent).is_none(), "{absent}");
    }
    for present in ["FirstName", "LastName", "MailingStreet", "OwnerId", "AccountId", "Birthdate"] {
        assert!(contact.field(present).is_some(), "{present}");
    }
    // Individual is not in the sync and is not matched by name.
    assert!(contact.field("IndividualId").is_none());
    let left_out = issues(&plan, ErrorCode::Reference);
    assert!(
        left_out
            .iter()
            .any(|i| i.severity == Severity::Info && i.message.contains("IndividualId (Individual)"))
    );
}

#[test]
fn the_preset_decides_and_names_what_classified_the_field() {
    let plan = plan(masked(&["Contact", "Account"]), &facts());
    let decision = |field: &str| plan.object("Contact").unwrap().field(field).unwrap().mask.clone();
    let birthdate = decision("Birthdate").unwrap();
    assert_eq!((birthdate.strategy.as_str(), birthdate.why.as_str()), ("redact", "hipaa:3"));
    let email = decision("Email").unwrap();
    assert_eq!((email.strategy.as_str(), email.why.as_str()), ("fake(email)", "hipaa:6"));
    assert_eq!(decision("Title"), None);
    assert_eq!(decision("AccountId"), None);
}

#[test]
fn a_rule_goes_before_the_preset_and_says_so() {
    let rules = "  objects:\n    - name: Contact\n  masking:\n    preset: hipaa\n    rules:\n      Contact:\n        Email: preserve\n        Title: redact\n";
    let plan = plan(spec(rules), &facts());
    let mask = |field: &str| plan.object("Contact").unwrap().field(field).unwrap().mask.clone().unwrap();
    assert_eq!(mask("Email").strategy, "preserve");
    assert_eq!(mask("Email").why, "rule");
    assert_eq!(mask("Title").strategy, "redact");
    assert!(plan.can_proceed(), "{:#?}", fatals(&plan));
}

#[test]
fn listed_fields_are_the_only_ones_and_the_key_comes_along() {
    let mut facts = facts_of(&[object(
        "Thing__c",
        vec![
            field("A__c", FieldType::Number),
            field("B__c", FieldType::Number),
            field("C__c", FieldType::Number),
        ],
    )]);
    for end in [&mut facts.source, &mut facts.target] {
        let key = edit(end, "Thing__c", "C__c");
        key.external_id = true;
        key.unique = true;
    }
    let plan = plan(
        spec("  objects:\n    - name: Thing__c\n      fields: [B__c]\n      key: C__c\n"),
        &facts,
    );
    let planned: Vec<&str> = plan.object("Thing__c").unwrap().fields.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(planned, ["Id", "B__c", "C__c"]);
    assert_eq!(plan.object("Thing__c").unwrap().key, Some(FieldName::new("C__c").unwrap()));
    assert!(plan.can_proceed(), "{:#?}", fatals(&plan));
}

#[test]
fn mapped_objects_and_fields_keep_both_names_and_references_follow() {
    let mut facts = facts_of(&[]);
    let source = [
        object("Parent__c", vec![field("Name", FieldType::String)]),
        object(
            "Child__c",
            vec![reference("Parent__c", &["Parent__c"]), field("Size__c", FieldType::Number)],
        ),
    ];
    let target = [
        object("Elder__c", vec![field("Name", FieldType::String)]),
        object(
            "Child__c",
            vec![reference("Elder__c", &["Elder__c"]), field("Measure__c", FieldType::Number)],
        ),
    ];
    facts.source.describes = source.into_iter().map(|d| (d.name.clone(), d)).collect();
    facts.target.describes = target.into_iter().map(|d| (d.name.clone(), d)).collect();
    let spec = spec(
        "  objects:\n    - name: Child__c\n      map:\n        Parent__c: Elder__c\n        Size__c: Measure__c\n    - name: Parent__c\n      target: Elder__c\n",
    );
    let plan = plan(spec, &facts);
    assert!(plan.can_proceed(), "{:#?}", fatals(&plan));
    assert_eq!(plan.objects.first().unwrap().target.as_str(), "Elder__c");
    let child = plan.object("Child__c").unwrap();
    assert_eq!(child.field("Size__c").unwrap().target.as_str(), "Measure__c");
    assert_eq!(names(&role(child, "Parent__c").to), ["Parent__c"]);
    assert_eq!(names(&child.parents), ["Parent__c"]);
}

#[test]
fn a_polymorphic_reference_points_to_whatever_the_sync_has() {
    let task = object(
        "Task",
        vec![
            reference("WhoId", &["Contact", "Lead"]),
            reference("WhatId", &["Account", "Opportunity", "Solution"]),
        ],
    );
    let describes = [task, captured("Contact"), captured("Account"), captured("Lead")];
    let plan = plan(masked(&["Task", "Contact", "Account", "Lead"]), &facts_of(&describes));
    let task = plan.object("Task").unwrap();
    assert_eq!(names(&role(task, "WhoId").to), ["Contact", "Lead"]);
    assert_eq!(names(&role(task, "WhatId").to), ["Account"]);
    assert_eq!(plan.objects.last().unwrap().name.as_str(), "Task");
    assert!(
        issues(&plan, ErrorCode::Reference)
            .iter()
            .any(|i| i.message.contains("WhatId (Opportunity, Solution)"))
    );
}

#[test]
fn line_items_travel_with_one_price_and_one_product() {
    let item = object(
        "OpportunityLineItem",
        vec![
            field("UnitPrice", FieldType::Number),
            field("TotalPrice", FieldType::Number),
            reference("PricebookEntryId", &["PricebookEntry"]),
            reference("Product2Id", &["Product2"]),
        ],
    );
    let entry = object(
        "PricebookEntry",
        vec![reference("Pricebook2Id", &["Pricebook2"]), reference("Product2Id", &["Product2"])],
    );
    let product = object("Product2", vec![field("Name", FieldType::String)]);
    let plan = plan(
        masked(&["OpportunityLineItem", "PricebookEntry", "Product2"]),
        &facts_of(&[item, entry, product]),
    );
    let item = plan.object("OpportunityLineItem").unwrap();
    assert!(item.field("UnitPrice").is_some() && item.field("TotalPrice").is_none());
    assert!(item.field("PricebookEntryId").is_some() && item.field("Product2Id").is_none());
    let entry = plan.object("PricebookEntry").unwrap();
    assert_eq!(entry.order_by.as_deref(), Some("Pricebook2.IsStandard DESC, Id"));
    assert_eq!(role(entry, "Pricebook2Id").to, []);
    assert_eq!(item.order_by, None);
}

#[test]
fn the_standard_price_book_is_matched_even_when_price_books_are_loaded() {
    let mut facts = facts_of(&[object(
        "Pricebook2",
        vec![field("Name", FieldType::String), field("IsActive", FieldType::Boolean)],
    )]);
    facts.source.directory.price_books = vec![
        price_book("01sS", "Standard Price Book", true),
        price_book("01sA", "Partner", false),
    ];
    facts.target.directory.price_books = vec![price_book("01sT", "Standard", true), price_book("01sB", "Partner", false)];
    let loaded = plan(
        spec(
            "  objects:\n    - name: Pricebook2\n      where: IsActive = true\n  masking:\n    rules:\n      Pricebook2:\n        Name: preserve\n",
        ),
        &facts,
    );
    assert_eq!(
        loaded.object("Pricebook2").unwrap().filter.as_deref(),
        Some("(IsActive = true) AND IsStandard = false")
    );
    assert_eq!(loaded.matched.get("01sS").map(String::as_str), Some("01sT"));
    assert_eq!(loaded.matched.get("01sA"), None);
    let elsewhere = plan(masked(&["Account"]), &{
        let mut with_account = facts_of(&[captured("Account")]);
        with_account.source.directory = facts.source.directory.clone();
        with_account.target.directory = facts.target.directory.clone();
        with_account
    });
    assert_eq!(elsewhere.matched.get("01sA").map(String::as_str), Some("01sB"));
}

#[test]
fn owners_are_matched_by_federation_then_name_then_sandbox_suffix_and_never_guessed() {
    let mut facts = facts();
    facts.source.directory.users = vec![
        user("005a", "ann@corp.example", "F-1"),
        user("005b", "bob@corp.example", ""),
        user("005c", "cy@corp.example", ""),
        user("005d", "dee@corp.example", ""),
        user("005e", "eve@corp.example", ""),
        user("005f", "flo@corp.example", ""),
    ];
    facts.target.directory.users = vec![
        successor("005A", "married@corp.example", "F-1"),
        successor("005X", "ann@corp.example", ""),
        successor("005B", "BOB@corp.example", ""),
        successor("005C", "cy@corp.example.uat", ""),
        off(successor("005E", "eve@corp.example", "")),
        successor("005F1", "flo@corp.example.uat", ""),
        successor("005F2", "flo@corp.example.second", ""),
    ];
    facts.source.directory.queues = vec![queue("00Ga", "Triage"), queue("00Gb", "Returns"), queue("00Gc", "Refunds")];
    facts.target.directory.queues = vec![queue("00GA", "triage"), queue("00GB1", "Returns"), queue("00GB2", "RETURNS")];
    let matches = Matches::new(&masked(&["Contact"]), &facts.source.directory, &facts.target.directory);
    let found: Vec<(&str, &str)> = matches.ids.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    assert_eq!(found, [("005a", "005A"), ("005b", "005B"), ("005c", "005C"), ("00Ga", "00GA")]);
    let unmatched = matches.unmatched(Kind::Owner, &object_name("Contact"));
    let unmatched: Vec<(&str, Unmatched)> = unmatched.iter().map(|n| (n.id.as_str(), n.why)).collect();
    assert_eq!(
        unmatched,
        [
            ("005d", Unmatched::Missing),
            ("005e", Unmatched::Inactive),
            ("005f", Unmatched::Ambiguous),
            ("00Gb", Unmatched::Ambiguous),
            ("00Gc", Unmatched::Missing)
        ]
    );
}

#[test]
fn record_types_are_matched_within_their_object_and_only_active_ones() {
    let mut facts = facts();
    facts.source.directory.record_types = vec![
        record_type("012a", "Account", "Partner"),
        record_type("012b", "Account", "Customer"),
        record_type("012c", "Contact", "Partner"),
    ];
    facts.target.directory.record_types = vec![
        record_type("012A", "Account", "PARTNER"),
        off(record_type("012B", "Account", "Customer")),
    ];
    let plan = plan(masked(&["Account", "Contact"]), &facts);
    assert_eq!(plan.matched.get("012a").map(String::as_str), Some("012A"));
    assert_eq!(plan.matched.len(), 1);
    let matches = Matches::new(&masked(&["Account"]), &facts.source.directory, &facts.target.directory);
    assert_eq!(
        matches.unmatched(Kind::RecordType, &object_name("Account")),
        [no_match("012b", "Customer", Unmatched::Inactive)]
    );
}

fn no_match(id: &str, label: &str, why: Unmatched) -> NoMatch {
    NoMatch {
        id: id.to_owned(),
        label: label.to_owned(),
        why,
    }
}

#[test]
fn what_is_unmatched_is_reported_only_where_it_is_used() {
    let mut facts = facts();
    let used = |object: &str, field: &str, kind, records| Usage {
        object: object_name(object),
        field: FieldName::new(field).unwrap(),
        kind,
        unmatched: vec![
            no_match("a", "Old_Type", Unmatched::Missing),
            no_match("b", "Off_Type", Unmatched::Inactive),
            no_match("c", "Two_Types", Unmatched::Ambiguous),
        ],
        records,
    };
    facts.usage = vec![
        used("Account", "OwnerId", Kind::Owner, Some(7)),
        used("Contact", "OwnerId", Kind::Owner, Some(0)),
        used("Account", "RecordTypeId", Kind::RecordType, None),
    ];
    let plan = plan(masked(&["Account", "Contact"]), &facts);
    let owners = issues(&plan, ErrorCode::OwnerMissing);
    assert_eq!(owners.len(), 1);
    let owner = owners.first().unwrap();
    assert_eq!((owner.severity, owner.count), (Severity::Warning, Some(7)));
    let message = "3 users or queues of the source have no match in the target (1 inactive there, 1 ambiguous); 7 records";
    assert!(owner.message.starts_with(message), "{}", owner.message);
    let types = issues(&plan, ErrorCode::RecordTypeMissing);
    assert_eq!(types.first().unwrap().count, None);
    let message = &types.first().unwrap().message;
    assert!(
        message.ends_with("Old_Type, Off_Type (inactive), Two_Types (ambiguous)"),
        "{message}"
    );
    assert!(plan.can_proceed());
}

#[test]
fn an_undecided_field_is_fatal_wherever_the_data_comes_from() {
    // A full copy of production calls itself a sandbox and holds the same people.
    for kind in [OrgKind::Production, OrgKind::Sandbox, OrgKind::Scratch, OrgKind::Developer] {
        let mut facts = facts();
        facts.source.org.kind = kind;
        let rules = "  objects:\n    - name: Contact\n  masking:\n    rules:\n      Contact:\n        Email: fake(email)\n";
        let plan = plan(spec(rules), &facts);
        assert!(!plan.can_proceed());
        let undecided = issues(&plan, ErrorCode::MaskUndecided);
        assert!(undecided.iter().all(|i| i.severity == Severity::Fatal) && !undecided.is_empty());
    }
}

#[test]
fn an_email_that_becomes_plain_text_is_still_masked_as_an_email() {
    let source = object("Thing__c", vec![field("Contact__c", FieldType::Email)]);
    let target = object("Thing__c", vec![field("Contact__c", FieldType::String)]);
    let mut facts = facts_of(&[source]);
    facts.target.describes.insert(target.name.clone(), target);
    let plan = plan(masked(&["Thing__c"]), &facts);
    let mask = plan.object("Thing__c").unwrap().field("Contact__c").unwrap().mask.clone();
    assert_eq!(mask.unwrap().strategy, "fake(email)");
}

#[test]
fn the_same_facts_give_the_same_bytes_and_issues_stand_gravest_first() {
    let mut facts = facts();
    remove(&mut facts.target, "Contact", "LeadSource");
    remove(&mut facts.target, "Account", "Name");
    let request = masked(&["Account", "Contact", "Case", "Lead"]);
    let first = plan(request.clone(), &facts);
    let second = plan(request, &facts);
    assert_eq!(serde_json::to_string(&first).unwrap(), serde_json::to_string(&second).unwrap());
    assert!(first.issues.is_sorted_by(|a, b| a.severity >= b.severity));
    assert!(first.issues.len() > 3);
}

#[test]
fn the_outline_says_what_the_state_machine_has_to_gate() {
    let text =
        "  existing: replace\n  orphans: delete\n  objects:\n    - name: Contact\n    - name: Account\n  masking:\n    preset: hipaa\n";
    let plan = plan(spec(text), &facts());
    let outline = outline(&plan, true);
    assert!(outline.review && outline.objects.iter().all(|o| o.clear && o.orphans && o.has_deferred));
    let account = outline.objects.iter().find(|o| o.name.as_str() == "Account").unwrap();
    assert_eq!(names(&account.parents), ["Contact"]);
    assert_eq!(names(&account.deferred_parents), ["Account"]);
}

#[test]
fn fewer_calls_left_than_needed_stop_the_run_and_few_warn() {
    for (left, severity) in [(0, Some(Severity::Fatal)), (20, Some(Severity::Warning)), (1_000_000, None)] {
        let mut facts = facts();
        let spec = masked(&["Contact"]);
        let needed = plan(spec.clone(), &facts).cost.target_calls;
        facts.target.calls_left = Some(if left == 20 { needed + 1 } else { left });
        let plan = plan(spec, &facts);
        let found = issues(&plan, ErrorCode::DailyApiLimit).first().map(|i| i.severity);
        assert_eq!(found, severity, "{left} left, {needed} needed");
    }
}

#[test]
fn few_records_cost_the_calls_of_a_query_and_many_those_of_a_job() {
    let spec = spec("  objects:\n    - name: Case\n      fields: [Subject]\n  masking:\n    rules:\n      Case: {Subject: preserve}\n");
    let mut facts = facts();
    let mut calls = |records: u64| {
        facts.source_counts.insert(object_name("Case"), Count::Records(records));
        plan(spec.clone(), &facts).cost.source_calls
    };
    let none = calls(0);
    // A count and one page.
    assert_eq!(calls(2_000), none);
    // Created, looked at three times, one page, deleted.
    assert_eq!(calls(2_001), none - 2 + 6);
    assert_eq!(calls(50_001), none - 2 + 7);
}

#[test]
fn contacts_that_are_persons_are_left_out_where_the_target_has_persons() {
    let with_persons = |name: &str| {
        let flag = FieldDescribe {
            createable: false,
            ..field("IsPersonAccount", FieldType::Boolean)
        };
        object(name, vec![field("Email", FieldType::Email), flag])
    };
    let of = |where_line: &str, facts: &Facts| {
        let spec = spec(&format!(
            "  objects:\n    - name: Contact\n{where_line}    - name: Account\n  masking:\n    preset: hipaa\n"
        ));
        let plan = plan(spec, facts);
        let contact = plan.object("Contact").unwrap();
        let warned = issues(&plan, ErrorCode::RecordTypeMissing).len();
        (contact.filter.clone(), contact.deletable.clone(), warned)
    };
    let mut facts = facts_of(&[with_persons("Contact"), with_persons("Account")]);
    let business = Some("IsPersonAccount = false".to_owned());
    assert_eq!(of("", &facts), (business.clone(), business, 0));
    let own = "      where: Email != null\n";
    assert_eq!(of(own, &facts).0.as_deref(), Some("(Email != null) AND IsPersonAccount = false"));
    // Without persons in the target they are contacts like any other, of accounts like any other.
    for object in ["Contact", "Account"] {
        remove(&mut facts.target, object, "IsPersonAccount");
    }
    assert_eq!(of("", &facts), (None, None, 1));
}
