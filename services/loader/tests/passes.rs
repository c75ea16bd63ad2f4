//! What the steps do with a whole object: references, changes, refusals, orphans, verification.
#![allow(clippy::unwrap_used)]

mod bench;

use bench::*;
use reqwest::Method;
use serde_json::json;
use sqlx::Row;
use syncline_domain::ErrorCode;
use syncline_domain::describe::FieldType;
use syncline_runtime::Outcome;
use syncline_salesforce_simulator::OrgConfig;
use syncline_salesforce_simulator::store::rules::ValidationRule;
use syncline_salesforce_simulator::store::setup::SetupDoc;

/// Loads an object's rows and says whether there were errors.
async fn load(bench: &Bench, object: &str, rows: &[Vec<Option<String>>]) -> bool {
    bench.publish_all(object, rows).await;
    bench.done(object, "load_pass_1").await
}

/// Five accounts: 1 and 2 belong to 0, 3 to 4, which comes later, and 4 to 1.
fn family() -> Vec<Vec<Option<String>>> {
    let account = |i: usize, parent: Option<usize>| {
        let parent = parent.map(|p| key("Account", p)).unwrap_or_default();
        row(&[&key("Account", i), &format!("Account {i}"), "Berlin", &parent])
    };
    vec![
        account(0, None),
        account(1, Some(0)),
        account(2, Some(0)),
        account(3, Some(4)),
        account(4, Some(1)),
    ]
}

/// Name -> name of the parent.
fn parents(bench: &Bench) -> Vec<(String, String)> {
    let records = bench.records("Account", &["Name", "ParentId"]);
    let mut pairs: Vec<(String, String)> = records
        .values()
        .map(|r| (r[0].clone(), records.get(&r[1]).map(|p| p[0].clone()).unwrap_or_default()))
        .collect();
    pairs.sort();
    pairs
}

fn expected_parents() -> Vec<(String, String)> {
    [("0", ""), ("1", "0"), ("2", "0"), ("3", "4"), ("4", "1")]
        .map(|(a, b)| {
            (
                format!("Account {a}"),
                if b.is_empty() { String::new() } else { format!("Account {b}") },
            )
        })
        .to_vec()
}

#[tokio::test]
async fn references_into_the_own_object_and_cycles_are_written_in_pass_2_and_verified_in_pass_3() {
    let bench = Bench::start(vec![accounts()]).await;
    assert!(!load(&bench, "Account", &family()).await);
    assert!(!bench.done("Account", "load_pass_2").await);
    assert_eq!(parents(&bench), expected_parents());
    assert!(!bench.done("Account", "load_pass_3").await);
    let books = bench.books("Account").await;
    assert_eq!((books.deferred, books.nulled), (4, 0));
    assert_eq!(bench.number("select count(*) from deferred").await, 0);
}

#[tokio::test]
async fn a_pass_2_that_dies_anywhere_is_finished_by_the_next_loader() {
    for (method, path) in [
        ("POST", "/jobs/ingest"),
        ("PUT", "/batches"),
        ("PATCH", "/jobs/ingest/750"),
        ("GET", "successfulResults"),
        ("DELETE", "/jobs/ingest/750"),
    ] {
        let mut bench = Bench::start(vec![accounts()]).await;
        load(&bench, "Account", &family()).await;
        bench.kill_at("Account", "load_pass_2", method, path).await;
        assert!(!bench.done("Account", "load_pass_2").await, "{method} {path}");
        assert_eq!(parents(&bench), expected_parents(), "{method} {path}");
    }
}

#[tokio::test]
async fn two_objects_that_point_to_each_other_are_loaded_and_verified() {
    let project = object("Project__c", vec![text("Name"), deferred("Current_Milestone__c", "Milestone__c")]);
    let milestone = object("Milestone__c", vec![text("Name"), required("Project__c", "Project__c")]);
    let bench = Bench::start(vec![project, milestone]).await;
    let projects: Vec<_> = (0..3)
        .map(|i| row(&[&key("Project__c", i), &format!("P{i}"), &key("Milestone__c", i)]))
        .collect();
    let mut milestones: Vec<_> = (0..3)
        .map(|i| row(&[&key("Milestone__c", i), &format!("M{i}"), &key("Project__c", i)]))
        .collect();
    milestones.push(row(&[&key("Milestone__c", 9), "Lost", &key("Project__c", 99)]));
    assert!(!load(&bench, "Project__c", &projects).await);
    assert!(load(&bench, "Milestone__c", &milestones).await, "one has no project");
    assert!(!bench.done("Project__c", "load_pass_2").await);
    assert!(!bench.done("Project__c", "load_pass_3").await);
    assert!(!bench.done("Milestone__c", "load_pass_3").await);
    let milestones = bench.records("Milestone__c", &["Name", "Project__c"]);
    for project in bench.records("Project__c", &["Name", "Current_Milestone__c"]).into_values() {
        assert_eq!(milestones[&project[1]][0].replace('M', "P"), project[0]);
    }
}

#[tokio::test]
async fn a_record_whose_required_parent_is_missing_is_parked_and_sealed() {
    let milestone = object("Milestone__c", vec![text("Name"), required("Project__c", "Project__c")]);
    let bench = Bench::start(vec![object("Project__c", vec![text("Name")]), milestone]).await;
    let rows = [row(&[&key("Milestone__c", 1), "Very Secret", &key("Project__c", 1)])];
    assert!(load(&bench, "Milestone__c", &rows).await);
    assert_eq!(bench.org.count("Milestone__c"), 0);
    let books = bench.books("Milestone__c").await;
    assert_eq!((books.parked, books.explained()), (1, 1), "{books:?}");
    assert_sealed(&bench, "Milestone__c", "Very Secret", ErrorCode::Reference, "Project__c").await;
}

/// The one refusal holds code and fields in the clear, and the record sealed.
async fn assert_sealed(bench: &Bench, object: &str, value: &str, code: ErrorCode, fields: &str) {
    let refusal = sqlx::query("select code, native, fields, sealed, refusal::text from refusal")
        .fetch_one(&bench.platform.db)
        .await
        .unwrap();
    assert_eq!(refusal.get::<String, _>(0), code.as_str());
    assert_eq!(refusal.get::<String, _>(2), fields);
    let sealed: Vec<u8> = refusal.get(3);
    let plain: String = refusal.get(4);
    assert!(!plain.contains(value) && !plain.contains("secret"), "{plain}");
    assert!(!sealed.windows(value.len()).any(|w| w == value.as_bytes()));
    let kept = bench.batch(object, 0, u32::MAX);
    match syncline_batch::open(&bench.clean, &kept, &sealed) {
        Ok(syncline_batch::Body::Data { rows, .. }) => assert!(format!("{rows:?}").contains(value)),
        _ => panic!("what was kept does not open under its own name"),
    }
}

#[tokio::test]
async fn a_refused_record_is_kept_sealed_and_the_others_are_loaded() {
    let bench = Bench::with_org(
        vec![accounts()],
        OrgConfig {
            validation_rules: vec![ValidationRule::parse("Account: BillingCity = 'Atlantis' => no such city").unwrap()],
            ..OrgConfig::default()
        },
    )
    .await;
    let mut rows = family();
    rows[1][2] = Some("Atlantis".to_owned());
    assert!(load(&bench, "Account", &rows).await);
    let books = bench.books("Account").await;
    assert_eq!((books.inserted, books.refused, books.explained()), (4, 1, 5), "{books:?}");
    assert_sealed(&bench, "Account", "Atlantis", ErrorCode::ValidationRule, "BillingCity").await;
    assert_eq!(bench.number("select count(*) from ledger").await, 4, "its key is free again");
    // Its deferred reference went with it; the others' are written.
    assert!(bench.done("Account", "load_pass_2").await);
    assert_eq!(bench.number("select count(*) from deferred").await, 0);
}

#[tokio::test]
async fn locked_rows_are_tried_again_and_only_those() {
    let bench = Bench::start(vec![accounts()]).await;
    bench.row_fault("Account", "UNABLE_TO_LOCK_ROW", 3);
    assert!(!load(&bench, "Account", &some_accounts(0, 20)).await);
    assert_eq!(bench.org.count("Account"), 20);
    let books = bench.books("Account").await;
    assert_eq!((books.inserted, books.refused, books.jobs), (20, 0, 2), "{books:?}");
}

#[tokio::test]
async fn rows_that_stay_locked_are_refused_with_the_targets_code_in_the_end() {
    let bench = Bench::start(vec![accounts()]).await;
    bench.row_fault("Account", "UNABLE_TO_LOCK_ROW", 1_000);
    assert!(load(&bench, "Account", &some_accounts(0, 2)).await);
    let books = bench.books("Account").await;
    assert_eq!((books.inserted, books.refused, books.jobs), (0, 2, 4), "{books:?}");
    let natives = bench
        .number("select count(*) from refusal where native = 'UNABLE_TO_LOCK_ROW' and sealed is not null")
        .await;
    assert_eq!(natives, 2);
}

#[tokio::test]
async fn locked_rows_of_pass_2_are_tried_again() {
    let bench = Bench::start(vec![accounts()]).await;
    load(&bench, "Account", &family()).await;
    bench.row_fault("Account", "UNABLE_TO_LOCK_ROW", 2);
    assert!(!bench.done("Account", "load_pass_2").await);
    assert_eq!(parents(&bench), expected_parents());
}

#[tokio::test]
async fn a_second_run_writes_nothing_when_nothing_changed_and_exactly_what_did() {
    let mut bench = Bench::start(vec![accounts(), contacts()]).await;
    let contact = |i: usize, email: &str, account: usize| row(&[&key("Contact", i), &format!("C{i}"), email, &key("Account", account)]);
    let mut people: Vec<_> = (0..4).map(|i| contact(i, "a@example.com", i)).collect();
    for step in 0..2 {
        if step == 1 {
            bench.next_run();
            bench.forget_requests();
        }
        assert!(!load(&bench, "Account", &family()).await);
        assert!(!load(&bench, "Contact", &people).await);
        assert!(!bench.done("Account", "load_pass_2").await);
        assert!(!bench.done("Contact", "load_pass_3").await);
    }
    assert_eq!(bench.writes(), (0, 0));
    assert_eq!(
        (bench.books("Account").await.unchanged, bench.books("Contact").await.unchanged),
        (5, 4)
    );
    bench.next_run();
    let mut accounts = family();
    accounts[1][3] = None;
    people[2][2] = Some("b@example.com".to_owned());
    people[3][3] = Some(key("Account", 0));
    assert!(!load(&bench, "Account", &accounts).await);
    assert!(!load(&bench, "Contact", &people).await);
    assert!(!bench.done("Account", "load_pass_2").await);
    let books = bench.books("Contact").await;
    assert_eq!((books.updated, books.unchanged), (2, 2), "{books:?}");
    assert_eq!(bench.writes().0, 3);
    assert_eq!(parents(&bench)[1], ("Account 1".to_owned(), String::new()));
    assert!(!bench.done("Contact", "load_pass_3").await);
}

#[tokio::test]
async fn a_reference_whose_parent_came_late_is_written_by_the_next_run() {
    let mut bench = Bench::start(vec![accounts(), contacts()]).await;
    let people = [row(&[&key("Contact", 0), "C", "", &key("Account", 2)])];
    // The first run has neither the contact's account nor the parent of account 1.
    let mut present = family();
    present.remove(2);
    present.remove(0);
    load(&bench, "Account", &present).await;
    bench.done("Account", "load_pass_2").await;
    load(&bench, "Contact", &people).await;
    assert_eq!((bench.books("Contact").await.nulled, bench.books("Account").await.nulled), (1, 1));
    bench.next_run();
    bench.forget_requests();
    load(&bench, "Account", &present).await;
    bench.done("Account", "load_pass_2").await;
    load(&bench, "Contact", &people).await;
    assert_eq!(bench.writes(), (0, 0), "still missing: nothing to write");
    assert_eq!((bench.books("Contact").await.nulled, bench.books("Account").await.nulled), (1, 1));
    bench.next_run();
    load(&bench, "Account", &family()).await;
    bench.done("Account", "load_pass_2").await;
    load(&bench, "Contact", &people).await;
    assert_eq!(parents(&bench), expected_parents());
    let account = bench.records("Contact", &["AccountId"]).into_values().next().unwrap().concat();
    assert_eq!(Some(account), bench.target_key("Account", &key("Account", 2)).await);
}

#[tokio::test]
async fn pass_3_finds_a_swapped_reference_and_a_record_that_is_gone() {
    let bench = Bench::start(vec![accounts(), contacts()]).await;
    load(&bench, "Account", &family()).await;
    let people: Vec<_> = (0..3).map(|i| row(&[&key("Contact", i), "C", "", &key("Account", i)])).collect();
    load(&bench, "Contact", &people).await;
    let mut ids = Vec::new();
    for i in 0..3 {
        ids.push(bench.target_key("Contact", &key("Contact", i)).await.unwrap());
    }
    let swap = format!("records/{}/swap/AccountId/{}", ids[0], ids[1]);
    bench.corrupt(Method::POST, &swap, json!({})).await;
    assert!(bench.done("Contact", "load_pass_3").await);
    let mismatches = "select count(*) from refusal where step = 'load_pass_3' and kind = 'mismatch'";
    assert_eq!(bench.number(mismatches).await, 2);
    assert_eq!(bench.books("Contact").await.refused, 0, "a mismatch is no refusal");
    bench.corrupt(Method::POST, &swap, json!({})).await;
    bench.reopen("load_pass_3").await;
    assert!(!bench.done("Contact", "load_pass_3").await, "swapped back");
    bench.corrupt(Method::DELETE, &format!("records/{}", ids[2]), json!({})).await;
    bench.reopen("load_pass_3").await;
    assert!(bench.done("Contact", "load_pass_3").await, "one is gone");
}

#[tokio::test]
async fn verification_finds_a_changed_value_and_a_leaked_original() {
    let bench = Bench::start(vec![accounts(), contacts()]).await;
    let people: Vec<_> = (0..4)
        .map(|i| row(&[&key("Contact", i), &format!("C{i}"), &format!("masked{i}@example.com"), ""]))
        .collect();
    let sample: serde_json::Map<String, serde_json::Value> = (0..4)
        .map(|i| (key("Contact", i), json!({"Email": fingerprint(&format!("original{i}@corp.com"))})))
        .collect();
    let name = bench.batch("Contact", 0, 0);
    bench
        .publish_as(&name, &people, &json!({"read": 4, "dead": 0, "sample": sample}))
        .await;
    bench.end("Contact", 1, 4).await;
    assert!(!bench.done("Contact", "load_pass_1").await);
    assert!(!bench.done("Contact", "verify").await);
    for (i, change) in [(1, json!({"LastName": "Changed"})), (2, json!({"Email": "Original2@corp.com"}))] {
        let id = bench.target_key("Contact", &key("Contact", i)).await.unwrap();
        bench.corrupt(Method::PATCH, &format!("records/{id}"), change).await;
    }
    bench.reopen("verify").await;
    assert!(bench.done("Contact", "verify").await);
    let wrong: Vec<(String, String)> = sqlx::query("select source_key, fields from refusal where step = 'verify' order by 1")
        .fetch_all(&bench.platform.db)
        .await
        .unwrap()
        .iter()
        .map(|r| (r.get(0), r.get(1)))
        .collect();
    let keys: Vec<&str> = wrong.iter().map(|(k, _)| k.as_str()).collect();
    assert_eq!(keys, [key("Contact", 1), key("Contact", 2)]);
    assert_eq!(wrong[1].1, "Email", "a leak names its field");
}

#[tokio::test]
async fn clearing_deletes_what_the_target_holds_and_forgets_its_keys() {
    let mut bench = Bench::start(vec![accounts()]).await;
    load(&bench, "Account", &some_accounts(0, 30)).await;
    bench.next_run();
    bench.kill_at("Account", "clear", "DELETE", "/composite/sobjects").await;
    assert!(!bench.done("Account", "clear").await);
    assert_eq!(bench.org.count("Account"), 0);
    assert_eq!(bench.number("select count(*) from ledger").await, 0);
    assert!(!load(&bench, "Account", &some_accounts(0, 30)).await);
    assert_eq!(bench.org.count("Account"), 30);
    assert_eq!(bench.books("Account").await.inserted, 30);
}

#[tokio::test]
async fn orphans_are_deleted_and_refused_records_are_not_orphans() {
    let mut bench = Bench::start(vec![accounts()]).await;
    load(&bench, "Account", &some_accounts(0, 10)).await;
    let setup = SetupDoc {
        validation_rules: vec!["Account: BillingCity = 'Atlantis' => no such city".to_owned()],
        ..SetupDoc::default()
    };
    bench.org.state.set_up(setup).unwrap();
    bench.next_run();
    let mut rows = some_accounts(0, 7);
    rows[0][2] = Some("Atlantis".to_owned());
    assert!(load(&bench, "Account", &rows).await);
    assert!(!bench.done("Account", "orphans").await);
    let mut left: Vec<String> = (0..7).map(|i| format!("Account {i}")).collect();
    left.sort();
    assert_eq!(bench.values("Account", "Name"), left);
    assert_eq!(bench.books("Account").await.deleted, 3);
    assert_eq!(bench.number("select count(*) from ledger").await, 7);
}

#[tokio::test]
async fn orphans_are_kept_when_records_were_given_up_on_the_way_or_the_reading_is_not_complete() {
    let mut bench = Bench::start(vec![accounts()]).await;
    load(&bench, "Account", &some_accounts(0, 10)).await;
    bench.next_run();
    let name = bench.batch("Account", 0, 0);
    bench.publish_as(&name, &some_accounts(0, 6), &json!({"read": 10, "dead": 4})).await;
    let early = bench.step("Account", "orphans").await;
    assert!(early.is_err(), "{early:?}");
    bench.end("Account", 1, 10).await;
    assert!(bench.done("Account", "load_pass_1").await, "four records are dead");
    assert!(bench.done("Account", "orphans").await, "and the step says so");
    assert_eq!(bench.org.count("Account"), 10);
}

#[tokio::test]
async fn an_upsert_that_meets_another_source_keys_record_is_refused_and_ends() {
    let account = keyed(object("Account", vec![text("Name"), text("Ext_Id__c")]), "Ext_Id__c");
    let mut bench = Bench::start(vec![account]).await;
    let rows: Vec<_> = (0..3)
        .map(|i| row(&[&key("Account", i), &format!("Account {i}"), &format!("E{i}")]))
        .collect();
    assert!(!load(&bench, "Account", &rows).await);
    bench.next_run();
    // Another source record with the external id of the first, and two new ones that share one, in two jobs.
    let mut rows = rows;
    rows.push(row(&[&key("Account", 10), "Stranger", "E0"]));
    rows.push(row(&[&key("Account", 11), "Twin", "E11"]));
    bench.publish("Account", 0, &rows).await;
    assert!(matches!(bench.step("Account", "load_pass_1").await, Ok(Outcome::Yielded { .. })));
    bench
        .publish("Account", 1, &[row(&[&key("Account", 12), "Other twin", "E11"])])
        .await;
    bench.end("Account", 2, 6).await;
    assert!(bench.done("Account", "load_pass_1").await);
    let books = bench.books("Account").await;
    assert_eq!(
        (books.inserted, books.unchanged, books.refused, books.explained()),
        (1, 3, 2, 6),
        "{books:?}"
    );
    assert_eq!(
        bench
            .number("select count(*) from refusal where code = 'DATA_DUPLICATE_001' and fields = 'Ext_Id__c'")
            .await,
        2
    );
    assert_eq!(bench.number("select count(*) from ledger").await, 4);
}

#[tokio::test]
async fn an_upsert_updates_what_the_target_has_under_the_key() {
    let account = keyed(object("Account", vec![text("Name"), text("Ext_Id__c")]), "Ext_Id__c");
    let mut bench = Bench::start(vec![account.clone()]).await;
    load(&bench, "Account", &[row(&[&key("Account", 0), "Old", "E0"])]).await;
    // Another source org: a link of its own, the same target.
    bench.plan.source.identity = "00DOther".to_owned();
    bench.next_run();
    let rows = [row(&[&key("Account", 5), "New", "E0"]), row(&[&key("Account", 6), "Newer", "E6"])];
    assert!(!load(&bench, "Account", &rows).await);
    let books = bench.books("Account").await;
    assert_eq!((books.inserted, books.updated), (1, 1), "{books:?}");
    assert_eq!(bench.values("Account", "Name"), ["New", "Newer"]);
}

#[tokio::test]
async fn a_batch_that_never_opens_is_set_aside_and_counted() {
    let bench = Bench::start(vec![accounts()]).await;
    bench.publish("Account", 0, &some_accounts(0, 3)).await;
    let bad = bench.batch("Account", 0, 1);
    bench.deliver(&bad, 7, b"not sealed under any key of ours".to_vec()).await;
    bench.end("Account", 2, 10).await;
    let mut outcome = bench.step("Account", "load_pass_1").await;
    for _ in 0..6 {
        if matches!(outcome, Ok(Outcome::Yielded { .. })) {
            outcome = bench.step("Account", "load_pass_1").await;
        }
    }
    assert!(matches!(outcome, Ok(Outcome::Done { with_errors: true })), "{outcome:?}");
    assert_eq!(bench.number("select sum(dead)::bigint from claim").await, 7);
    assert_eq!(bench.org.count("Account"), 3);
}

#[tokio::test]
async fn empty_jobs_that_nobody_knows_are_swept_when_they_are_old() {
    let bench = Bench::start(vec![object("Account", vec![field("Name", FieldType::String)])]).await;
    bench.fault("POST", "/jobs/ingest", json!({"kind": "cut_after"}));
    bench.publish_all("Account", &[row(&[&key("Account", 0), "A"])]).await;
    assert!(bench.step("Account", "load_pass_1").await.is_err());
    assert!(!bench.done("Account", "load_pass_1").await);
    let open = || bench.org.state.ingest_jobs().len();
    assert_eq!(open(), 1, "too young to be swept");
    let target = bench.target();
    let objects = std::collections::HashSet::from(["Account"]);
    let sweep = async |minutes: i64| {
        let now = chrono::Utc::now() + chrono::TimeDelta::minutes(minutes);
        syncline_loader::sweep::sweep(&target, &bench.platform.db, &objects, now)
            .await
            .unwrap()
    };
    assert_eq!(sweep(9).await, 0);
    assert_eq!(sweep(11).await, 1);
    assert_eq!(sweep(11).await, 0, "it is not open any more");
}

#[tokio::test]
async fn sealed_refusals_and_samples_go_after_their_time_and_what_later_runs_need_stays() {
    use syncline_loader::retention::forget;

    let bench = Bench::start(vec![accounts()]).await;
    bench.row_fault("Account", "UNABLE_TO_LOCK_ROW", 1_000);
    assert!(load(&bench, "Account", &some_accounts(0, 2)).await);
    let refusals = async || bench.number("select count(*) from refusal").await;
    let execute = async |sql: &'static str| sqlx::query(sql).execute(&bench.platform.db).await.unwrap();
    assert_eq!(
        (refusals().await, forget(&bench.platform.db, 90).await.unwrap()),
        (2, 0),
        "they are new"
    );
    execute("update run_number set made_at = made_at - interval '91 days'").await;
    assert_eq!(
        forget(&bench.platform.db, 90).await.unwrap(),
        0,
        "it may be paused: it was worked on today"
    );
    execute("update task set updated_at = updated_at - interval '91 days', expires_at = clock_timestamp() + interval '1 minute'").await;
    assert_eq!(forget(&bench.platform.db, 90).await.unwrap(), 0, "somebody works on the run");
    execute("update task set expires_at = null").await;
    let journal = bench.number("select count(*) from journal").await;
    assert!(forget(&bench.platform.db, 90).await.unwrap() >= 2);
    assert_eq!(refusals().await, 0);
    assert_eq!(bench.number("select count(*) from sample").await, 0);
    assert_eq!(bench.number("select count(*) from journal").await, journal);
    let books = bench.books("Account").await;
    assert_eq!((books.inserted, books.jobs), (0, 4), "{books:?}");
}
