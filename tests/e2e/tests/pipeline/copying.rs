//! What a refresh copies, and what it leaves alone.

use std::time::Duration;

use serde_json::{Value, json};
use syncline_e2e::sync::{self, OBJECTS};
use syncline_e2e::{World, assert_balanced, compare, object};
use syncline_testkit::eventually;

const SCALE: u64 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_copies_every_object_record_for_record_and_link_for_link() {
    let world = World::start(SCALE).await;
    let report = world.run_to(&sync::refresh(), "completed").await;
    assert_balanced(&report);
    let counts = world.source.counts(&OBJECTS).await;
    assert!(
        counts.values().all(|n| *n > 0),
        "the source has records of every object: {counts:?}"
    );
    for (name, count) in &counts {
        let line = object(&report, name);
        assert_eq!((line.read, line.inserted, line.target_count), (*count, *count, *count), "{line:?}");
    }
    world.assert_same().await;
    assert!(
        report.objects.iter().map(|o| o.references_deferred).sum::<u64>() > 0,
        "hierarchies are deferred"
    );
    assert!(
        report.objects.iter().map(|o| o.values_compared).sum::<u64>() > 0,
        "values are verified"
    );
    assert!(report.errors.is_empty(), "{:?}", report.errors);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_comparison_sees_a_swapped_parent_a_lost_child_and_an_unmasked_phone() {
    let world = World::start(500).await;
    world.run_to(&sync::refresh(), "completed").await;
    world.assert_same().await;
    let contacts = world
        .target
        .query("SELECT Id, AccountId, Ext_Id__c FROM Contact WHERE AccountId != null")
        .await;
    let (a, b) = contacts
        .iter()
        .find_map(|c| contacts.iter().find(|d| d["AccountId"] != c["AccountId"]).map(|d| (c, d)))
        .unwrap();
    let (a_id, b_id) = (a["Id"].as_str().unwrap(), b["Id"].as_str().unwrap());
    let swap = format!("records/{a_id}/swap/AccountId/{b_id}");
    world.target.sim("POST", &swap, Value::Null).await;
    let found = compare::differences(&world.source, &world.target, &OBJECTS).await;
    assert!(found.iter().any(|d| d.starts_with("Contact at the")), "{found:?}");
    world.target.sim("POST", &swap, Value::Null).await;
    world.assert_same().await;

    let soql = format!(
        "SELECT Id, Phone FROM Contact WHERE Ext_Id__c = '{}'",
        a["Ext_Id__c"].as_str().unwrap()
    );
    let original = &world.source.query(&soql).await[0];
    let masked = world.target.query(&soql).await[0]["Phone"].clone();
    let place = format!("records/{a_id}");
    world.target.sim("PATCH", &place, json!({"Phone": original["Phone"]})).await;
    let found = compare::differences(&world.source, &world.target, &OBJECTS).await;
    assert!(found.iter().any(|d| d.contains("Phone") && d.contains("not masked")), "{found:?}");
    world.target.sim("PATCH", &place, json!({"Phone": masked})).await;

    let task = world.target.query("SELECT Id FROM Task LIMIT 1").await[0]["Id"]
        .as_str()
        .unwrap()
        .to_owned();
    world.target.sim("DELETE", &format!("records/{task}"), Value::Null).await;
    let found = compare::differences(&world.source, &world.target, &OBJECTS).await;
    assert!(found.iter().any(|d| d.starts_with("Task at the")), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_run_writes_only_what_changed_or_is_new() {
    let world = World::start(SCALE).await;
    world.run_to(&sync::refresh(), "completed").await;

    world.target.forget_requests().await;
    let report = world.run_to(&sync::refresh(), "completed").await;
    assert_balanced(&report);
    assert!(
        report.objects.iter().all(|o| o.read > 0 && o.unchanged == o.read),
        "{:?}",
        report.objects
    );
    assert_eq!(world.target.writes().await, 0, "an unchanged org costs no writes");
    assert_eq!(world.target.requests("POST", "jobs/ingest").await, 0, "and no job");

    let leads = world.source.query("SELECT Id FROM Lead ORDER BY Ext_Id__c LIMIT 7").await;
    for lead in &leads {
        let path = format!("sobjects/Lead/{}", lead["Id"].as_str().unwrap());
        world.source.rest("PATCH", &path, json!({"Title": "Chief Tester"})).await;
    }
    for n in 0..5 {
        let account = json!({"Name": format!("New {n}"), "Ext_Id__c": format!("NEW-{n}"), "Industry": "Energy", "CurrencyIsoCode": "USD"});
        world.source.rest("POST", "sobjects/Account", account).await;
    }
    a_second_passes().await;
    let report = world.run_to(&sync::refresh(), "completed").await;
    assert_balanced(&report);
    let (accounts, leads) = (object(&report, "Account"), object(&report, "Lead"));
    assert_eq!((accounts.inserted, accounts.updated), (5, 0), "{accounts:?}");
    assert_eq!((leads.inserted, leads.updated), (0, 7), "{leads:?}");
    assert!(
        report
            .objects
            .iter()
            .filter(|o| !["Account", "Lead"].contains(&o.object.as_str()))
            .all(|o| o.unchanged == o.read),
        "{:?}",
        report.objects
    );
    assert_eq!(world.target.writes().await, 12);
    world.assert_same().await;
}

/// A run reads what was created before its moment T0, which the org's clock tells in whole seconds.
pub async fn a_second_passes() {
    let began = std::time::SystemTime::now();
    eventually(Duration::from_secs(5), || async {
        match began.elapsed() {
            Ok(passed) if passed > Duration::from_millis(1_100) => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_are_kept_or_deleted_as_the_sync_says() {
    let world = World::start(500).await;
    // Somebody else's record is never an orphan.
    let stranger = world
        .target
        .rest("POST", "sobjects/Lead", json!({"LastName": "Stranger", "Company": "Elsewhere"}))
        .await;
    world.run_to(&sync::refresh(), "completed").await;
    let before = world.target.count("Lead").await;
    for lead in world.source.query("SELECT Id FROM Lead LIMIT 4").await {
        let path = format!("sobjects/Lead/{}", lead["Id"].as_str().unwrap());
        world.source.rest("DELETE", &path, Value::Null).await;
    }
    let report = world.run_to(&sync::refresh(), "completed").await;
    assert_eq!(object(&report, "Lead").deleted, 0);
    assert_eq!(world.target.count("Lead").await, before, "kept");

    let delete = sync::with(&sync::refresh(), "orphans: keep", "orphans: delete");
    let report = world.run_to(&delete, "completed").await;
    assert_eq!(object(&report, "Lead").deleted, 4, "{:?}", object(&report, "Lead"));
    assert_eq!(world.target.count("Lead").await, before - 4);
    // A deleted lead takes its tasks along, at either end.
    let mut expected = world.source.counts(&OBJECTS).await;
    *expected.get_mut("Lead").unwrap() += 1;
    assert_eq!(world.target.counts(&OBJECTS).await, expected);
    let soql = format!("SELECT Id FROM Lead WHERE Id = '{}'", stranger["id"].as_str().unwrap());
    assert_eq!(world.target.query(&soql).await.len(), 1, "the stranger is still there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replace_empties_the_target_first() {
    let world = World::start(500).await;
    for n in 0..3 {
        world
            .target
            .rest("POST", "sobjects/Account", json!({"Name": format!("Old {n}")}))
            .await;
    }
    let replace = sync::with(&sync::refresh(), "existing: update", "existing: replace");
    let report = world.run_to(&replace, "completed").await;
    assert_eq!(object(&report, "Account").deleted, 3, "{:?}", object(&report, "Account"));
    world.assert_same().await;
    // Again: what the first run wrote is replaced, too.
    let report = world.run_to(&replace, "completed").await;
    assert_balanced(&report);
    assert!(report.objects.iter().all(|o| o.inserted == o.read), "{:?}", report.objects);
    world.assert_same().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refuse_stops_before_any_write_if_the_target_holds_records() {
    let world = World::start(500).await;
    world.target.rest("POST", "sobjects/Account", json!({"Name": "Mine"})).await;
    world.target.forget_requests().await;
    let refuse = sync::with(&sync::refresh(), "existing: update", "existing: refuse");
    world.assert_stopped(&refuse, "DATA_EXISTING_001", "Account").await;
    assert_eq!(world.target.count("Account").await, 1);
}
