//! Records that the target refuses: kept, counted, listed; the books balance.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use syncline_e2e::sync;
use syncline_e2e::{SimulatedOrg, World, assert_balanced, object};
use syncline_salesforce_simulator::OrgConfig;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_target_keeps_what_fits_and_lists_the_rest() {
    let target = OrgConfig {
        storage_mb: 1,
        ..SimulatedOrg::sandbox()
    };
    let world = World::between(SimulatedOrg::production(1_500), target).await;
    let report = world.run_to(&sync::refresh(), "completed_with_errors").await;
    assert_balanced(&report);
    let full: Vec<_> = report.errors.iter().filter(|e| e.code == "LIMITS_STORAGE_001").collect();
    assert!(!full.is_empty(), "{:?}", report.errors);
    for group in &full {
        assert!(
            group.count > 0 && !group.remedy.is_empty() && group.native == "STORAGE_LIMIT_EXCEEDED",
            "{group:?}"
        );
        assert!(
            group.sample_ids.iter().all(|id| id.len() == 18) && !group.sample_ids.is_empty(),
            "{group:?}"
        );
    }
    let refused: u64 = report.objects.iter().map(|o| o.refused).sum();
    let listed: u64 = report.errors.iter().filter(|e| e.kind == "refused").map(|e| e.count).sum();
    assert_eq!(listed, refused, "every refused record is listed: {:?}", report.errors);
    for (name, count) in world.target.counts(&sync::OBJECTS).await {
        assert_eq!(object(&report, &name).inserted, count, "{name}: written is what is there");
    }

    // Room is made: the next run brings the rest, and nothing twice.
    world.target.sim("POST", "storage", json!({"mb": 1000})).await;
    let report = world.run_to(&sync::refresh(), "completed").await;
    assert_balanced(&report);
    world.assert_same().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validation_rule_refuses_records_and_parks_their_children() {
    let world = World::start(1_000).await;
    let stage = world.source.query("SELECT StageName FROM Opportunity LIMIT 1").await[0]["StageName"]
        .as_str()
        .unwrap()
        .to_owned();
    let rule = format!("Opportunity: StageName = '{stage}' => not this stage");
    world.target.sim("POST", "validation-rules", json!([rule])).await;
    let refused: BTreeSet<String> = ids(&world, &format!("SELECT Id FROM Opportunity WHERE StageName = '{stage}'"), "Id").await;
    let orphaned = |soql: &'static str| {
        let (world, refused) = (&world, &refused);
        async move {
            let rows = world.source.query(soql).await;
            rows.iter()
                .filter(|r| refused.contains(r["OpportunityId"].as_str().unwrap()))
                .count() as u64
        }
    };
    let roles = orphaned("SELECT Id, OpportunityId FROM OpportunityContactRole").await;
    let lines = orphaned("SELECT Id, OpportunityId FROM OpportunityLineItem").await;
    assert!(roles + lines > 0, "the refused have children");

    let report = world.run_to(&sync::refresh(), "completed_with_errors").await;
    assert_balanced(&report);
    assert_eq!(object(&report, "Opportunity").refused, refused.len() as u64);
    assert_eq!(object(&report, "OpportunityContactRole").parked, roles);
    assert_eq!(object(&report, "OpportunityLineItem").parked, lines);
    let group = report
        .errors
        .iter()
        .find(|e| e.object == "Opportunity" && e.kind == "refused")
        .expect("it is listed");
    assert_eq!(
        (group.code.as_str(), group.count),
        ("DATA_VALIDATION_RULE_001", refused.len() as u64),
        "{group:?}"
    );
    assert!(
        group.sample_ids.iter().all(|id| refused.contains(id)) && !group.sample_ids.is_empty(),
        "{group:?}"
    );
    let parked = report
        .errors
        .iter()
        .find(|e| e.object == "OpportunityContactRole" && e.kind == "parked")
        .expect("explained");
    assert_eq!((parked.code.as_str(), parked.count), ("DATA_REFERENCE_001", roles), "{parked:?}");

    // The rule is lifted: everything follows.
    world.target.sim("POST", "validation-rules", json!([])).await;
    let report = world.run_to(&sync::refresh(), "completed").await;
    assert_balanced(&report);
    world.assert_same().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_ended_with_refused_and_parked_records_is_completed_by_a_retry() {
    let world = World::start(800).await;
    let stage = world.source.query("SELECT StageName FROM Opportunity LIMIT 1").await[0]["StageName"]
        .as_str()
        .unwrap()
        .to_owned();
    let rule = format!("Opportunity: StageName = '{stage}' => not this stage");
    world.target.sim("POST", "validation-rules", json!([rule])).await;
    let run = world.submit(&sync::refresh()).await;
    let report = world.end(&run.id, "completed_with_errors").await;
    assert_balanced(&report);
    let refused = object(&report, "Opportunity").refused;
    let parked: u64 = report.objects.iter().map(|o| o.parked).sum();
    assert!(refused > 0 && parked > 0, "{:?}", report.objects);
    let waits = world.stack.door.explain(&run.id).await.unwrap();
    assert!(
        waits.iter().all(|w| w.on == "person"),
        "loader and monitor have answered: {waits:?}"
    );
    assert!(
        waits
            .iter()
            .any(|w| w.remedy.contains("runs retry-failed") && w.object == "Opportunity"),
        "{waits:?}"
    );

    world.target.sim("POST", "validation-rules", json!([])).await;
    let answer = world.stack.door.retry_failed(&run.id, "Opportunity").await.unwrap();
    assert_eq!((answer.chosen, answer.parked), (refused, parked));
    let again = world.end(&run.id, "completed").await;
    assert_balanced(&again);
    for (before, after) in report.objects.iter().zip(&again.objects) {
        let written = before.inserted + before.refused + before.parked;
        assert_eq!((after.inserted, after.refused, after.parked), (written, 0, 0), "{}", after.object);
        assert_eq!((after.references_wrong, after.values_different), (0, 0), "{}", after.object);
    }
    assert!(
        again.errors.iter().all(|e| e.state == "resolved by retry" && e.count == 0),
        "{:?}",
        again.errors
    );
    assert!(world.stack.door.explain(&run.id).await.unwrap().is_empty());

    // Optional links to what came late were written as null; the next run writes these, and no record twice.
    let next = world.run_to(&sync::refresh(), "completed").await;
    assert_eq!(next.objects.iter().map(|o| o.inserted).sum::<u64>(), 0);
    world.assert_same().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_automation_refuses_are_listed_with_their_codes() {
    let world = World::start(500).await;
    let fault =
        json!({"object": "Lead", "code": "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "message": "a trigger said no", "skip": 3, "times": 4});
    world.target.sim("POST", "row-faults", fault).await;
    let report = world.run_to(&sync::refresh(), "completed_with_errors").await;
    assert_balanced(&report);
    assert_eq!(object(&report, "Lead").refused, 4);
    let group = report.errors.iter().find(|e| e.object == "Lead").expect("it is listed");
    assert_eq!((group.code.as_str(), group.count), ("AUTOMATION_TRIGGER_FAILURE", 4), "{group:?}");
    assert_eq!(group.sample_ids.len(), 4);
    let there = ids(&world, "SELECT Id FROM Lead", "Id").await;
    assert!(group.sample_ids.iter().all(|id| there.contains(id)), "ids are the source's");
    let report = world.run_to(&sync::refresh(), "completed").await;
    assert_eq!(object(&report, "Lead").inserted, 4);
    world.assert_same().await;
}

async fn ids(world: &World, soql: &str, field: &str) -> BTreeSet<String> {
    let rows: Vec<Value> = world.source.query(soql).await;
    rows.iter().map(|r| r[field].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_fits_no_message_is_refused_and_the_rest_is_loaded() {
    let world = World::start(500).await;
    let id = world.source.query("SELECT Id FROM Lead LIMIT 1").await[0]["Id"]
        .as_str()
        .unwrap()
        .to_owned();
    // Text that no compression makes small: past what a message holds.
    let mut state = 1_u64;
    let huge: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'!' + u8::try_from((state >> 40) % 90).unwrap())
    })
    .take(1_600_000)
    .collect();
    world
        .source
        .sim("PATCH", &format!("records/{id}"), json!({"Description": huge}))
        .await;
    let leads = world.source.count("Lead").await;
    let report = world.run_to(&sync::refresh(), "completed_with_errors").await;
    assert_balanced(&report);
    assert_eq!((object(&report, "Lead").refused, object(&report, "Lead").inserted), (1, leads - 1));
    let group = report.errors.iter().find(|e| e.object == "Lead").expect("it is listed");
    assert_eq!((group.code.as_str(), group.count), ("DATA_TOO_LARGE_001", 1), "{group:?}");
    assert_eq!(group.sample_ids, [id]);
    assert_eq!(world.target.count("Lead").await, leads - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_an_owner_who_is_not_in_the_target_fall_to_the_connections_user_and_verify() {
    let world = World::start(500).await;
    let owner = world.source.query("SELECT OwnerId FROM Account LIMIT 1").await[0]["OwnerId"]
        .as_str()
        .unwrap()
        .to_owned();
    world
        .source
        .sim(
            "PATCH",
            &format!("records/{owner}"),
            json!({"Username": "nobody@elsewhere.example", "FederationIdentifier": "nobody"}),
        )
        .await;
    let owned = world
        .source
        .query(&format!("SELECT Id FROM Account WHERE OwnerId = '{owner}'"))
        .await
        .len();
    assert!(owned > 0);
    let report = world.run_to(&sync::refresh(), "completed").await;
    assert_balanced(&report);
    let account = object(&report, "Account");
    assert_eq!((account.references_wrong, account.values_different), (0, 0));
    assert_eq!(account.references_nulled, owned as u64, "they are counted");
}
