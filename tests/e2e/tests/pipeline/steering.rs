//! Runs that are submitted twice, cancelled, paused and resumed.

use std::time::Duration;

use syncline_e2e::sync;
use syncline_e2e::{RUN_WAIT, SimulatedOrg, World, assert_balanced};
use syncline_salesforce_simulator::OrgConfig;
use syncline_testkit::eventually;
use syncline_wire::status::code_of;

const CLEAN_WAIT: Duration = Duration::from_secs(20);

/// A target whose jobs take long enough to be met in their middle.
async fn slow_world() -> World {
    let target = OrgConfig {
        job_latency_ms: 700,
        ..SimulatedOrg::sandbox()
    };
    World::between(SimulatedOrg::production(1_000), target).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_run_at_a_time_writes_a_link_and_a_key_names_one_run() {
    let world = slow_world().await;
    let door = &world.stack.door;
    door.apply(&sync::refresh()).await.unwrap();
    door.apply(&sync::with(&sync::refresh(), "name: refresh", "name: other"))
        .await
        .unwrap();
    let run = door.submit("refresh", "key-1").await.unwrap();

    let second = door.submit("refresh", "").await.unwrap_err();
    assert_eq!(code_of(&second).map(|c| c.as_str()), Some("SYSTEM_RUN_ACTIVE_001"), "{second}");
    assert!(second.message().contains(&run.id), "the active run is named: {second}");
    let other = door.submit("other", "").await.unwrap_err();
    assert_eq!(
        code_of(&other).map(|c| c.as_str()),
        Some("SYSTEM_RUN_ACTIVE_001"),
        "the same link: {other}"
    );
    assert_eq!(door.submit("refresh", "key-1").await.unwrap().id, run.id);
    let stolen = door.submit("other", "key-1").await.unwrap_err();
    assert_eq!(stolen.code(), tonic::Code::AlreadyExists, "{stolen}");

    let report = world.end(&run.id, "completed").await;
    assert_balanced(&report);
    assert_eq!(
        door.submit("refresh", "key-1").await.unwrap().id,
        run.id,
        "the key outlives the run"
    );
    world.assert_same().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_run_leaves_no_job_no_message_and_no_duplicate() {
    let world = slow_world().await;
    let door = &world.stack.door;
    let run = world.submit(&sync::refresh()).await;
    world.first_writes(&run.id).await;
    let answered = door.cancel(&run.id).await.unwrap();
    assert!(
        ["cancelling", "cancelled"].contains(&answered.status.as_str()),
        "{}",
        answered.status
    );
    door.reach(&run.id, &["cancelled"], RUN_WAIT).await;
    assert_eq!(world.target.open_jobs().await, Vec::<String>::new());
    let written = world.target.writes().await;
    eventually(CLEAN_WAIT, || async {
        match world.stack.nats.left_by(&run.id).await {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        }
    })
    .await;
    assert_eq!(
        world.target.writes().await,
        written,
        "cancelled means that nothing is written any more"
    );

    let report = world.run_to(&sync::refresh(), "completed").await;
    assert_balanced(&report);
    world.assert_same().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_run_writes_nothing_until_it_is_resumed() {
    let world = slow_world().await;
    let door = &world.stack.door;
    let run = world.submit(&sync::refresh()).await;
    world.first_writes(&run.id).await;
    door.pause(&run.id).await.unwrap();
    door.reach(&run.id, &["paused"], RUN_WAIT).await;
    assert_eq!(world.target.open_jobs().await, Vec::<String>::new());
    let written = world.target.writes().await;
    let active = door.submit("refresh", "").await.unwrap_err();
    assert_eq!(
        code_of(&active).map(|c| c.as_str()),
        Some("SYSTEM_RUN_ACTIVE_001"),
        "a paused run keeps its link: {active}"
    );
    assert_eq!(world.target.writes().await, written);
    door.resume(&run.id).await.unwrap();
    let report = world.end(&run.id, "completed").await;
    assert_balanced(&report);
    world.assert_same().await;
}
