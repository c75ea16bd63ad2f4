//! Records that were refused or parked are loaded once the cause is mended: each once, and with balanced books.
#![allow(clippy::unwrap_used)]

mod bench;

use bench::*;
use syncline_domain::plan::ObjectPlan;
use syncline_runtime::Outcome;
use syncline_runtime::worker::Stage as _;
use syncline_testkit::eventually;
use syncline_wire::event::RefusedRecords;
use syncline_wire::event::run_event::Fact;

const RULE: &str = "DUPLICATES_DETECTED";

fn projects() -> ObjectPlan {
    object("Project__c", vec![text("Name")])
}

fn milestones() -> ObjectPlan {
    object("Milestone__c", vec![text("Name"), required("Project__c", "Project__c")])
}

fn project(i: usize) -> Vec<Option<String>> {
    row(&[&key("Project__c", i), &format!("P{i}")])
}

fn milestone(i: usize, parent: usize) -> Vec<Option<String>> {
    row(&[&key("Milestone__c", i), &format!("M{i}"), &key("Project__c", parent)])
}

/// The target refuses the next `times` rows of an object, as a duplicate rule does.
fn refuse(bench: &Bench, object: &str, times: u64) {
    bench.row_fault(object, RULE, times);
}

async fn load(bench: &Bench, object: &str, rows: &[Vec<Option<String>>]) -> bool {
    bench.publish_all(object, rows).await;
    bench.done(object, "load_pass_1").await
}

/// Groups of refusals that the last finished step of an object told of.
async fn told(bench: &Bench, object: &str) -> Vec<RefusedRecords> {
    let mut last = Vec::new();
    for fact in bench.facts().await {
        match fact {
            Fact::LoadTotals(t) if t.object == object => last.clear(),
            Fact::Refused(r) if r.object == object => last.push(r),
            _ => {}
        }
    }
    last
}

#[tokio::test]
async fn refused_records_are_written_once_when_they_are_retried_and_the_books_balance() {
    let bench = Bench::start(vec![accounts()]).await;
    refuse(&bench, "Account", 3);
    assert!(load(&bench, "Account", &some_accounts(0, 10)).await);
    let books = bench.books("Account").await;
    assert_eq!((books.inserted, books.refused, books.explained()), (7, 3, 10), "{books:?}");
    bench.forget_requests();

    assert_eq!(bench.retry("", "").await, 3);
    assert!(!bench.done("Account", "load_pass_1").await, "nothing is left");
    assert_eq!(bench.writes(), (3, 1), "only those are sent");
    let books = bench.books("Account").await;
    assert_eq!((books.inserted, books.refused, books.explained()), (10, 0, 10), "{books:?}");
    assert_eq!(bench.number("select count(*) from refusal where state = 'resolved'").await, 3);
    assert!(!bench.done("Account", "load_pass_2").await);
    assert!(!bench.done("Account", "load_pass_3").await);
    assert!(!bench.done("Account", "verify").await);
    assert_eq!(bench.org.count("Account"), 10);
}

#[tokio::test]
async fn only_what_is_asked_for_is_loaded_again() {
    let bench = Bench::start(vec![accounts(), projects()]).await;
    refuse(&bench, "Account", 2);
    load(&bench, "Account", &some_accounts(0, 4)).await;
    refuse(&bench, "Project__c", 1);
    load(&bench, "Project__c", &[project(1)]).await;
    assert_eq!(bench.retry("", "DATA_TOO_LARGE_001").await, 0);
    assert_eq!(bench.retry("Project__c", "").await, 1);
    assert!(bench.done("Account", "load_pass_1").await, "two are still refused");
    assert!(!bench.done("Project__c", "load_pass_1").await);
    assert_eq!((bench.org.count("Account"), bench.org.count("Project__c")), (2, 1));
    // A later choice takes the place of an earlier one that was not carried out.
    assert_eq!(bench.retry("", "").await, 2);
    assert_eq!(bench.retry("Project__c", "").await, 0);
    assert!(bench.done("Account", "load_pass_1").await);
    assert_eq!(bench.org.count("Account"), 2);
}

#[tokio::test]
async fn a_record_that_is_refused_again_stands_with_its_new_cause_and_can_be_retried_again() {
    let bench = Bench::start(vec![accounts()]).await;
    refuse(&bench, "Account", 1);
    load(&bench, "Account", &some_accounts(0, 1)).await;
    let code = bench.text("select code from refusal").await;
    bench.retry("", &code).await;
    bench.row_fault("Account", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", 1);
    assert!(bench.done("Account", "load_pass_1").await);
    assert_eq!(
        bench.text("select native || ' ' || state from refusal").await,
        "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY open"
    );
    let books = bench.books("Account").await;
    assert_eq!((books.inserted, books.refused, books.explained()), (0, 1, 1), "{books:?}");
    bench.retry("", "").await;
    assert!(!bench.done("Account", "load_pass_1").await);
    assert_eq!(bench.org.count("Account"), 1);
}

#[tokio::test]
async fn a_refused_parent_that_succeeds_on_retry_while_its_children_were_parked_takes_them_along() {
    let bench = Bench::start(vec![projects(), milestones()]).await;
    refuse(&bench, "Project__c", 1);
    assert!(load(&bench, "Project__c", &[project(1), project(2)]).await);
    let children: Vec<_> = (0..4).map(|i| milestone(i, 1 + i % 2)).collect();
    assert!(load(&bench, "Milestone__c", &children).await);
    let books = bench.books("Milestone__c").await;
    assert_eq!((books.inserted, books.parked, books.explained()), (2, 2, 4), "{books:?}");
    let [group] = &told(&bench, "Milestone__c").await[..] else {
        panic!("one group")
    };
    assert_eq!(
        (group.kind.as_str(), group.reason.as_str()),
        ("parked", "their parents were refused")
    );

    assert_eq!(bench.retry("Project__c", "").await, 1);
    assert!(!bench.done("Project__c", "load_pass_1").await);
    assert!(!bench.done("Milestone__c", "load_pass_1").await, "nobody waits any more");
    let books = bench.books("Milestone__c").await;
    assert_eq!((books.inserted, books.parked, books.explained()), (4, 0, 4), "{books:?}");
    let [group] = &told(&bench, "Milestone__c").await[..] else {
        panic!("one group")
    };
    assert_eq!((group.count, group.resolved, group.round), (0, 2, 1));
    for object in ["Project__c", "Milestone__c"] {
        assert!(!bench.done(object, "load_pass_3").await);
        assert!(!bench.done(object, "verify").await);
    }
    assert_eq!(bench.org.count("Milestone__c"), 4);
}

/// The batches of the child are there but not its end: its pass 1 goes on until that comes.
#[tokio::test]
async fn a_parent_committed_while_its_child_is_being_parked_is_found_before_the_phase_ends() {
    let bench = Bench::start(vec![projects(), milestones()]).await;
    bench.publish("Milestone__c", 0, &[milestone(1, 1)]).await;
    let work = bench.lease("Milestone__c", "load_pass_1").await;
    let stage = bench.stage();
    let child = tokio::spawn(async move { stage.work(&work).await.map_err(|e| e.to_string()) });
    eventually(DEADLINE, || async {
        match bench.books("Milestone__c").await.parked {
            1 => Ok(()),
            other => Err(format!("{other} are parked")),
        }
    })
    .await;
    assert!(!load(&bench, "Project__c", &[project(1)]).await);
    bench.end("Milestone__c", 1, 1).await;
    assert_eq!(child.await.unwrap(), Ok(Outcome::Done { with_errors: false }));
    let books = bench.books("Milestone__c").await;
    assert_eq!((books.inserted, books.parked, books.explained()), (1, 0, 1), "{books:?}");
}

#[tokio::test]
async fn a_parent_committed_after_pass_1_had_looked_is_found_by_pass_3() {
    let bench = Bench::start(vec![projects(), milestones()]).await;
    assert!(load(&bench, "Milestone__c", &[milestone(1, 1)]).await, "its parent is missing");
    assert!(!load(&bench, "Project__c", &[project(1)]).await);
    assert!(!bench.done("Milestone__c", "load_pass_3").await);
    let books = bench.books("Milestone__c").await;
    assert_eq!((books.inserted, books.parked, books.explained()), (1, 0, 1), "{books:?}");
    assert_eq!(bench.number("select count(*) from refusal where state <> 'resolved'").await, 0);
}

#[tokio::test]
async fn a_record_that_a_later_run_has_written_is_left_as_it_is() {
    let mut bench = Bench::start(vec![accounts()]).await;
    refuse(&bench, "Account", 1);
    load(&bench, "Account", &some_accounts(0, 2)).await;
    let first = bench.plan.run.clone();
    bench.next_run();
    let mut newer = some_accounts(0, 2);
    newer[0][2] = Some("Hamburg".to_owned());
    newer[1][2] = Some("Hamburg".to_owned());
    assert!(!load(&bench, "Account", &newer).await);
    bench.forget_requests();

    bench.plan.run = first;
    bench.pin();
    assert_eq!(bench.retry("", "").await, 1);
    assert!(!bench.done("Account", "load_pass_1").await);
    assert_eq!(bench.writes().0, 0, "what the first run read is out of date");
    assert_eq!(bench.values("Account", "BillingCity"), ["Hamburg", "Hamburg"]);
    let books = bench.books("Account").await;
    assert_eq!(
        (books.inserted, books.unchanged, books.refused, books.explained()),
        (1, 1, 0, 2),
        "{books:?}"
    );
    assert!(!bench.done("Account", "load_pass_3").await);
}

#[tokio::test]
async fn orphans_of_a_reopened_run_are_not_what_a_later_run_has_written() {
    let mut bench = Bench::start(vec![accounts()]).await;
    load(&bench, "Account", &some_accounts(0, 2)).await;
    let first = bench.plan.run.clone();
    bench.next_run();
    assert!(!load(&bench, "Account", &some_accounts(1, 3)).await);
    bench.plan.run = first;
    bench.pin();
    bench.retry("", "").await;
    assert!(!bench.done("Account", "orphans").await);
    assert_eq!(bench.org.count("Account"), 4);
}

#[tokio::test]
async fn a_retry_that_dies_anywhere_is_finished_by_the_next_loader_and_writes_nothing_twice() {
    for (method, path) in [
        ("POST", "/jobs/ingest"),
        ("PUT", "/batches"),
        ("PATCH", "/jobs/ingest/750"),
        ("GET", "/successfulResults"),
    ] {
        let mut bench = Bench::start(vec![accounts()]).await;
        refuse(&bench, "Account", 4);
        load(&bench, "Account", &some_accounts(0, 6)).await;
        bench.retry("", "").await;
        bench.kill_at("Account", "load_pass_1", method, path).await;
        assert!(!bench.done("Account", "load_pass_1").await, "{method} {path}");
        let books = bench.books("Account").await;
        assert_eq!(
            (books.inserted, books.refused, books.explained()),
            (6, 0, 6),
            "{method} {path}: {books:?}"
        );
        assert_eq!(bench.org.count("Account"), 6, "{method} {path}");
    }
}

#[tokio::test]
async fn a_deferred_reference_that_was_refused_is_written_when_it_is_retried() {
    let bench = Bench::start(vec![accounts()]).await;
    let parent = key("Account", 0);
    let rows = [
        row(&[&parent, "Head", "Berlin", ""]),
        row(&[&key("Account", 1), "Branch", "Berlin", &parent]),
    ];
    assert!(!load(&bench, "Account", &rows).await);
    refuse(&bench, "Account", 1);
    assert!(bench.done("Account", "load_pass_2").await);
    assert_eq!(bench.number("select count(*) from refusal where step = 'load_pass_2'").await, 1);
    assert_eq!(bench.retry("", "").await, 1);
    // Until pass 2 has written it, it stands.
    assert!(bench.done("Account", "load_pass_1").await);
    assert!(!bench.done("Account", "load_pass_2").await);
    assert!(!bench.done("Account", "load_pass_3").await);
    let with_parent = bench.values("Account", "ParentId").iter().filter(|p| !p.is_empty()).count();
    assert_eq!(with_parent, 1);
}

#[tokio::test]
async fn what_stays_parked_says_what_became_of_the_parents() {
    let mut filtered = projects();
    filtered.filter = Some("Name <> 'x'".to_owned());
    for (parent, reason) in [(projects(), "newer than the run"), (filtered, "the sync filters them")] {
        let bench = Bench::start(vec![parent, milestones()]).await;
        assert!(!load(&bench, "Project__c", &[project(1)]).await);
        assert!(load(&bench, "Milestone__c", &[milestone(1, 7)]).await);
        let [group] = &told(&bench, "Milestone__c").await[..] else {
            panic!("one group")
        };
        assert!(group.reason.contains(reason), "{group:?}");
    }
    let bench = Bench::start(vec![projects(), milestones()]).await;
    let name = bench.batch("Project__c", 0, 0);
    bench
        .publish_as(&name, &[project(1)], &serde_json::json!({"read": 3, "dead": 2}))
        .await;
    bench.end("Project__c", 1, 3).await;
    assert!(bench.done("Project__c", "load_pass_1").await);
    assert!(load(&bench, "Milestone__c", &[milestone(1, 7)]).await);
    let [group] = &told(&bench, "Milestone__c").await[..] else {
        panic!("one group")
    };
    assert_eq!(group.reason, "records of the parents' object were given up");
}

#[tokio::test]
async fn nothing_kept_is_looked_for_where_nothing_is_left() {
    let bench = Bench::start(vec![accounts()]).await;
    assert!(!load(&bench, "Account", &some_accounts(0, 3)).await);
    bench.forget_requests();
    assert_eq!(bench.retry("", "").await, 0);
    assert!(!bench.done("Account", "load_pass_1").await);
    assert_eq!(bench.writes(), (0, 0));
}
