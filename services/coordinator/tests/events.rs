//! Facts from the bus: twice, late, in any order, by two coordinators at once; each is applied exactly once.
#![allow(clippy::unwrap_used)]

mod desk;

use std::time::Duration;

use desk::{Desk, STEPS, done, failed, fatal, planned, yaml, yielded};
use syncline_bus::Handled;
use syncline_coordinator::{MIGRATIONS, shell};
use syncline_wire::event::StageTotals;
use syncline_wire::event::run_event::Fact;

fn invited(stage: &str, object: &str, step: &str) -> (String, String, String) {
    (stage.to_owned(), object.to_owned(), step.to_owned())
}

#[tokio::test]
async fn a_plan_opens_extraction_and_transformation_of_every_object_at_once() {
    let desk = Desk::start().await;
    let id = desk.running().await;
    let invitations = desk.invitations().await;
    assert_eq!(
        invitations,
        [
            invited("analyzer", "", "analyze"),
            invited("extractor", "Account", "extract"),
            invited("extractor", "Contact", "extract"),
            invited("masker", "Account", "transform"),
            invited("masker", "Contact", "transform"),
            invited("loader", "Account", "load_pass_1"),
        ],
        "a child's loading waits for its parent's"
    );
    desk.tell(&id, done("Account", "load_pass_1")).await;
    assert!(desk.invitations().await.contains(&invited("loader", "Contact", "load_pass_1")));
}

#[tokio::test]
async fn a_run_goes_through_every_status_once_whatever_comes_twice() {
    let desk = Desk::start().await;
    desk.apply(&yaml("prod-to-uat", "uat")).await.unwrap();
    let id = desk.submit("prod-to-uat", "").await.unwrap().id;
    for _ in 0..2 {
        assert_eq!(desk.tell(&id, planned(false)).await, Handled::Done);
    }
    for (object, step) in STEPS {
        for _ in 0..3 {
            assert_eq!(desk.tell(&id, done(object, step)).await, Handled::Done);
        }
    }
    let run = desk.run(&id).await;
    assert_eq!(run.status, "completed");
    assert!(run.finished_at.is_some());
    assert_eq!(
        desk.announced().await,
        [
            "pending",
            "compatibility",
            "extracting",
            "transforming",
            "loading",
            "verifying",
            "completed"
        ]
    );
    // A second plan and a late failure change nothing any more.
    for late in [
        planned(false),
        done("Account", "extract"),
        failed("Account", "verify", "DATA_VERIFY_001"),
    ] {
        assert_eq!(desk.tell(&id, late).await, Handled::Done);
    }
    assert_eq!(desk.run(&id).await, run);
}

#[tokio::test]
async fn the_order_in_which_facts_come_does_not_matter() {
    let desk = Desk::start().await;
    let id = desk.running().await;
    for (object, step) in STEPS.into_iter().rev() {
        desk.tell(&id, done(object, step)).await;
    }
    assert_eq!(desk.run(&id).await.status, "completed");
}

#[tokio::test]
async fn facts_that_fit_no_run_are_dropped_and_change_nothing() {
    let desk = Desk::start().await;
    let id = desk.running().await;
    let before = (desk.run(&id).await, desk.bench.number("select count(*) from outbox").await);
    for (run, fact) in [
        ("r-none", done("Account", "extract")),
        (id.as_str(), done("Lead", "extract")),
        (id.as_str(), done("Account", "clear")),
        (id.as_str(), done("Account", "dance")),
        (id.as_str(), done("no such name!", "extract")),
        (id.as_str(), yielded("Account", "verify", "no room")),
        (id.as_str(), Fact::StageTotals(StageTotals::default())),
    ] {
        assert_eq!(desk.tell(run, fact.clone()).await, Handled::Done, "{fact:?}");
    }
    let mut empty = desk.event(&id, done("Account", "extract"));
    empty.fact = None;
    assert_eq!(shell::handle(desk.bench.platform.clone(), empty).await, Handled::Done);
    assert_eq!(
        (desk.run(&id).await, desk.bench.number("select count(*) from outbox").await),
        before
    );
}

#[tokio::test]
async fn steps_that_finish_before_the_plan_is_known_are_refused_and_not_lost_on_the_run() {
    let desk = Desk::start().await;
    desk.apply(&yaml("a", "uat")).await.unwrap();
    let run = desk.submit("a", "").await.unwrap();
    assert_eq!(desk.tell(&run.id, done("Account", "extract")).await, Handled::Done);
    assert_eq!(desk.run(&run.id).await, run);
}

#[tokio::test]
async fn a_fatal_plan_ends_the_run_before_anything_moved() {
    let desk = Desk::start().await;
    desk.apply(&yaml("a", "uat")).await.unwrap();
    let id = desk.submit("a", "").await.unwrap().id;
    desk.tell(&id, fatal()).await;
    let run = desk.run(&id).await;
    assert_eq!((run.status.as_str(), run.failure_code.as_str()), ("failed", "SCHEMA_OBJECT_001"));
    assert_eq!(run.failure_message, "Account is missing in the target");
    assert_eq!(desk.invitations().await.len(), 1, "only the analyzer was invited");
    desk.submit("a", "").await.unwrap();
}

#[tokio::test]
async fn a_failed_step_names_object_step_and_cause() {
    let desk = Desk::start().await;
    let id = desk.running().await;
    desk.tell(&id, failed("Contact", "extract", "DATA_TOO_LARGE_001")).await;
    desk.tell(&id, failed("Account", "extract", "SYSTEM_INTERNAL_ERROR")).await;
    let run = desk.run(&id).await;
    assert_eq!(run.failure_code, "DATA_TOO_LARGE_001", "the first one counts");
    assert_eq!(run.failure_message, "Contact extract: it broke");
    let code = failed("", "analyze", "NOT_IN_THE_CATALOGUE");
    let desk = Desk::start().await;
    desk.apply(&yaml("a", "uat")).await.unwrap();
    let id = desk.submit("a", "").await.unwrap().id;
    desk.tell(&id, code).await;
    assert_eq!(desk.run(&id).await.failure_code, "SYSTEM_INTERNAL_ERROR");
}

#[tokio::test]
async fn a_fact_and_what_follows_from_it_are_one_transaction() {
    let desk = Desk::start().await;
    let id = desk.running().await;
    let before = desk.run(&id).await;
    // The state can be stored, the invitation that follows cannot.
    desk.bench.execute("alter table outbox rename to hidden").await;
    let answer = desk.tell(&id, done("Account", "load_pass_1")).await;
    assert!(matches!(answer, Handled::Retry { after } if after > Duration::ZERO), "{answer:?}");
    assert_eq!(desk.run(&id).await, before, "half of it is stored");
    desk.bench.execute("alter table hidden rename to outbox").await;
    assert_eq!(desk.tell(&id, done("Account", "load_pass_1")).await, Handled::Done);
    assert!(desk.invitations().await.contains(&invited("loader", "Contact", "load_pass_1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_at_once_apply_every_fact_once() {
    let desk = Desk::start().await;
    let id = desk.running().await;
    let other = desk.bench.replica(&MIGRATIONS).await;
    let mut tasks = Vec::new();
    for (object, step) in STEPS {
        for platform in [desk.bench.platform.clone(), other.clone(), other.clone()] {
            let event = desk.event(&id, done(object, step));
            tasks.push(tokio::spawn(shell::handle(platform, event)));
        }
    }
    for task in tasks {
        assert_eq!(task.await.unwrap(), Handled::Done);
    }
    let run = desk.run(&id).await;
    assert_eq!(run.status, "completed");
    let announced = desk.announced().await;
    let mut once = announced.clone();
    once.dedup();
    assert_eq!(announced, once, "a status was announced twice");
    assert_eq!(announced.iter().filter(|s| *s == "completed").count(), 1);
    // Each step and each round of invitations raised the version by one, nothing else did.
    let swaps = i64::try_from(run.version).unwrap();
    assert_eq!(desk.bench.number("select version from run").await, swaps);
}
