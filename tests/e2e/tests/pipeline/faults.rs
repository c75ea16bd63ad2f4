//! Orgs that misbehave and workers that die: the run goes on by itself, and no record is there twice.

use serde_json::{Value, json};
use syncline_e2e::sync;
use syncline_e2e::{SimulatedOrg, World, assert_balanced};
use syncline_salesforce_simulator::OrgConfig;

const SCALE: u64 = 1_000;
/// More than 2,000 contacts, so that a job reads them. Smaller objects are read without one.
const SCALE_OF_JOBS: u64 = 10_000;

/// Both orgs take their time, so that a run can be met in its middle.
async fn slow_world(scale: u64) -> World {
    let source = OrgConfig {
        job_latency_ms: 300,
        bulk_page_rows: 250,
        ..SimulatedOrg::production(scale)
    };
    let target = OrgConfig {
        job_latency_ms: 500,
        ..SimulatedOrg::sandbox()
    };
    World::between(source, target).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_expire_in_mid_run_are_renewed() {
    let world = slow_world(SCALE).await;
    let run = world.submit(&sync::refresh()).await;
    for jobs in [1, 3, 6, 9] {
        world.requests(&world.target, "POST", "jobs/ingest", jobs).await;
        let expired = world.target.sim("POST", "expire-tokens", Value::Null).await;
        world.source.sim("POST", "expire-tokens", Value::Null).await;
        assert!(expired["expired"].as_u64().unwrap() > 0, "a session was in use: {expired}");
    }
    assert_balanced(&world.end(&run.id, "completed").await);
    world.assert_same().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_and_busy_orgs_cost_no_record_and_duplicate_none() {
    let world = World::start(SCALE_OF_JOBS).await;
    for fault in [
        json!({"kind": "cut_after", "method": "PATCH", "path": "/jobs/ingest", "times": 2}),
        json!({"kind": "cut_after", "method": "POST", "path": "/jobs/ingest", "skip": 2, "times": 1}),
        json!({"kind": "cut", "method": "PUT", "path": "/jobs/ingest", "skip": 3, "times": 1}),
        json!({"kind": "truncate", "method": "GET", "path": "/successfulResults", "skip": 1, "times": 1}),
        json!({"kind": "html503", "method": "GET", "path": "/jobs/ingest", "skip": 9, "times": 2}),
        json!({"kind": "status", "status": 429, "retry_after_secs": 1, "method": "POST", "path": "/jobs/ingest", "skip": 3, "times": 2}),
    ] {
        world.target.fault(fault).await;
    }
    for fault in [
        json!({"kind": "cut_after", "method": "POST", "path": "/jobs/query", "times": 1}),
        json!({"kind": "truncate", "method": "GET", "path": "/results", "times": 2}),
        json!({"kind": "html503", "method": "GET", "path": "/jobs/query", "skip": 1, "times": 2}),
        json!({"kind": "truncate", "method": "GET", "path": "/v65.0/query", "skip": 20, "times": 2}),
    ] {
        world.source.fault(fault).await;
    }
    assert_balanced(&world.run_to(&sync::refresh(), "completed").await);
    world.assert_same().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_fails_part_way_is_finished_by_another() {
    let world = World::start(3_000).await;
    for object in ["Contact", "Task"] {
        let fault = json!({"object": object, "after_rows": 200, "message": "InternalServerError"});
        world.target.sim("POST", "job-faults", fault).await;
    }
    assert_balanced(&world.run_to(&sync::refresh(), "completed").await);
    world.assert_same().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_row_is_tried_again_or_listed_but_never_lost() {
    let world = World::start(500).await;
    world
        .target
        .sim(
            "POST",
            "row-faults",
            json!({"object": "Contact", "code": "UNABLE_TO_LOCK_ROW", "times": 3}),
        )
        .await;
    let run = world.submit(&sync::refresh()).await;
    let run = world
        .stack
        .door
        .reach(&run.id, &["completed", "completed_with_errors"], syncline_e2e::RUN_WAIT)
        .await;
    assert_balanced(&world.stack.door.report(&run.id).await);
    // What was only listed comes with the next run.
    assert_balanced(&world.run_to(&sync::refresh(), "completed").await);
    world.assert_same().await;
}

/// Kills a service when `count` requests of this kind were seen, and starts it again.
async fn survives(service: &str, at_source: bool, method: &str, part: &str, count: u64) {
    let mut world = slow_world(if at_source { SCALE_OF_JOBS } else { SCALE }).await;
    let run = world.submit(&sync::refresh()).await;
    let org = if at_source { &world.source } else { &world.target };
    world.requests(org, method, part, count).await;
    world.stack.kill(service).await;
    let now = world.stack.door.run(&run.id).await;
    assert!(now.is_err() || now.unwrap().finished_at.is_none(), "it was killed in mid-run");
    world.stack.restart(service).await;
    assert_balanced(&world.end(&run.id, "completed").await);
    world.assert_same().await;
    assert_eq!(world.target.open_jobs().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loader_killed_while_a_job_is_created_duplicates_nothing() {
    survives("loader", false, "POST", "jobs/ingest", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loader_killed_while_a_job_is_in_flight_duplicates_nothing() {
    survives("loader", false, "PATCH", "jobs/ingest", 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extractor_killed_between_pages_reads_on_where_it_was() {
    survives("extractor", true, "GET", "results", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_masker_killed_in_mid_run_masks_the_rest() {
    survives("masker", true, "GET", "results", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_killed_in_mid_run_goes_on_with_it() {
    survives("coordinator", false, "POST", "jobs/ingest", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_killed_in_mid_run_only_delays() {
    survives("connector", false, "POST", "jobs/ingest", 2).await;
}
