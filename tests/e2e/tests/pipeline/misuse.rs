//! Input that is wrong: a clear code, the place, and a target that nobody touched.

use syncline_e2e::sync;
use syncline_e2e::{SimulatedOrg, World};
use syncline_wire::status::code_of;

const SCALE: u64 = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_that_do_not_fit_the_orgs_stop_before_a_record_moves() {
    let world = World::start(SCALE).await;
    let two = sync::of(&["Account", "Contact"]);
    let rule = |text: &str| {
        sync::with(
            &two,
            "        Name: fake(company)\n",
            &format!("        Name: fake(company)\n{text}"),
        )
    };
    let cases = [
        (
            sync::with(&two, "source: production", "source: nowhere"),
            "AUTH_CONNECTION_001",
            "nowhere",
        ),
        (sync::with(&two, "target: uat", "target: nowhere"), "AUTH_CONNECTION_001", "nowhere"),
        (
            sync::with(&two, "- name: Contact\n", "- name: Contcat\n"),
            "SCHEMA_OBJECT_001",
            "Contcat",
        ),
        (
            sync::with(&two, "- name: Contact\n", "- name: Contact\n      target: Contcat\n"),
            "SCHEMA_OBJECT_001",
            "Contcat",
        ),
        (
            sync::with(
                &two,
                "- name: Contact\n",
                "- name: Contact\n      fields: [LastName, Shoe_Size__c]\n",
            ),
            "SCHEMA_FIELD_001",
            "Shoe_Size__c",
        ),
        (
            sync::with(
                &two,
                "- name: Contact\n",
                "- name: Contact\n      map: {Department: Shoe_Size__c}\n",
            ),
            "SCHEMA_FIELD_001",
            "Shoe_Size__c",
        ),
        (
            sync::with(&two, "- name: Contact\n", "- name: Contact\n      where: LastName LIKEE 'A%'\n"),
            "SCHEMA_QUERY_001",
            "Contact",
        ),
        (rule("        Phonne: redact\n"), "MASK_UNKNOWN_001", "Phonne"),
        (rule("        Phone: fakke(phone)\n"), "MASK_UNKNOWN_001", "fakke"),
        (sync::with(&two, "preset: hipaa", "preset: hippa"), "MASK_UNKNOWN_001", "hippa"),
        (sync::with(&two, "    preset: hipaa\n", ""), "MASK_UNDECIDED_001", "BillingStreet"),
    ];
    for (yaml, code, place) in cases {
        world.assert_stopped(&yaml, code, place).await;
        let check = world.stack.door.check("refresh").await;
        match check {
            Ok(answer) => {
                let issue = answer
                    .issues
                    .iter()
                    .find(|i| i.code == code)
                    .expect("the check says the same as the run");
                assert!(!answer.can_proceed && !issue.remedy.is_empty(), "{issue:?}");
            }
            Err(status) => assert_eq!(code_of(&status).map(|c| c.as_str()), Some(code), "{status}"),
        }
    }
    // The link is free again, and nothing of the failures is left in the way.
    world.run_to(&two, "completed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_named_by_test_and_run() {
    let world = World::start(SCALE).await;
    world.stack.door.connect("uat", &world.target, "not-the-secret").await.unwrap();
    match world.stack.door.test_connection("uat").await {
        Ok(connection) => {
            assert_eq!(
                (connection.health.as_str(), connection.health_code.as_str()),
                ("Error", "AUTH_CREDENTIALS_001")
            );
            assert!(!connection.health_message.contains("not-the-secret"));
        }
        Err(status) => {
            assert_eq!(code_of(&status).map(|c| c.as_str()), Some("AUTH_CREDENTIALS_001"), "{status}");
            assert!(!status.message().contains("not-the-secret"));
        }
    }
    world.assert_stopped(&sync::refresh(), "AUTH_CREDENTIALS_001", "uat").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_production_target_is_written_only_by_a_sync_that_names_it() {
    // The wrong way round: out of the sandbox into production.
    let world = World::between(SimulatedOrg::sandbox(), SimulatedOrg::production(SCALE)).await;
    world
        .assert_stopped(&sync::refresh(), "AUTH_PRODUCTION_TARGET_001", world.target.id())
        .await;
    let other = sync::with(
        &sync::refresh(),
        "  existing:",
        "  allow_production_target: 00D000000000001EAA\n  existing:",
    );
    world.assert_stopped(&other, "AUTH_PRODUCTION_TARGET_001", world.target.id()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_definition_is_refused_with_line_and_column() {
    let world = World::start(1).await;
    for (from, to, line) in [
        ("  target: uat\n", "  targett: uat\n", "7"),
        ("  objects:\n", "  objects: [\n", ""),
        ("existing: update", "existing: merge", "8"),
    ] {
        let status = world.stack.door.apply(&sync::with(&sync::refresh(), from, to)).await.unwrap_err();
        assert_eq!(code_of(&status).map(|c| c.as_str()), Some("SCHEMA_SYNC_001"), "{status}");
        assert!(status.message().contains("line") && status.message().contains(line), "{status}");
    }
    let status = world.stack.door.submit("refresh", "").await.unwrap_err();
    assert_eq!(
        code_of(&status).map(|c| c.as_str()),
        Some("SCHEMA_SYNC_002"),
        "nothing was stored: {status}"
    );
}
