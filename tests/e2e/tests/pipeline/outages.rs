//! NATS and PostgreSQL away: at start an error that says so, in mid-run a delay.

use std::time::{Duration, Instant};

use syncline_e2e::sync;
use syncline_e2e::{PrivateNats, SimulatedOrg, Stack, World, assert_balanced, configuration};
use syncline_salesforce_simulator::OrgConfig;
use syncline_testkit::{FaultProxy, TestDatabase, eventually, free_port};
use tokio_util::sync::CancellationToken;

/// Longer than one renewal of a lease, so that work in progress notices.
const OUTAGE: Duration = Duration::from_secs(5);
const OUTAGE_WAIT: Duration = Duration::from_secs(10);
const GATHERING_WAIT: Duration = Duration::from_secs(60);
/// A service waits for its servers for some twenty seconds before it gives up.
const GIVE_UP_WAIT: Duration = Duration::from_secs(60);

async fn world() -> World {
    let target = OrgConfig {
        job_latency_ms: 500,
        ..SimulatedOrg::sandbox()
    };
    World::around(Stack::behind_proxies().await, SimulatedOrg::production(1_000), target).await
}

/// Refuses every connection for the length of the outage.
async fn outage(outlet: &FaultProxy) {
    outlet.refuse();
    let began = Instant::now();
    eventually(OUTAGE_WAIT, || async {
        match began.elapsed() {
            long if long > OUTAGE => Ok(()),
            short => Err(short),
        }
    })
    .await;
    outlet.forward();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_survives_nats_being_away_for_some_seconds() {
    let world = world().await;
    let run = world.submit(&sync::refresh()).await;
    world.first_writes(&run.id).await;
    outage(world.stack.nats_outlet.as_ref().unwrap()).await;
    assert_balanced(&world.end(&run.id, "completed").await);
    world.assert_same().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_survives_postgresql_being_away_for_some_seconds() {
    let world = world().await;
    let run = world.submit(&sync::refresh()).await;
    world.first_writes(&run.id).await;
    outage(world.stack.database_outlet.as_ref().unwrap()).await;
    assert_balanced(&world.end(&run.id, "completed").await);
    world.assert_same().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_survives_its_connections_being_cut_again_and_again() {
    let world = world().await;
    let run = world.submit(&sync::refresh()).await;
    for jobs in [1, 4, 8] {
        world.requests(&world.target, "POST", "jobs/ingest", jobs).await;
        world.stack.nats_outlet.as_ref().unwrap().cut();
        world.stack.database_outlet.as_ref().unwrap().cut();
    }
    assert_balanced(&world.end(&run.id, "completed").await);
    world.assert_same().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_org_that_is_away_is_left_alone_explained_and_met_again_by_itself() {
    let target = OrgConfig {
        job_latency_ms: 500,
        ..SimulatedOrg::sandbox()
    };
    let world = World::between(SimulatedOrg::production(1_000), target).await;
    let (proxy, url) = FaultProxy::before(world.target.url(), 80).await.unwrap();
    let (door, org) = (&world.stack.door, &world.target);
    let impatient = "  retry: {attempts: 2, initial_delay: 50ms, max_delay: 100ms}\n";
    door.connect_by("uat", org, url.trim_end_matches('/'), org.client_secret(), impatient)
        .await
        .unwrap();
    let run = world.submit(&sync::refresh()).await;
    world.first_writes(&run.id).await;
    assert!(proxy.accepted() > 0, "the org is met through the proxy");
    proxy.refuse();

    let opened = eventually(OUTAGE_WAIT * 2, || async {
        let shown = door.connection("uat").await.map_err(|e| e.to_string())?;
        shown.breaker.ok_or(format!("closed; the connection is {}", shown.health))
    })
    .await;
    assert_eq!(opened.failure, "no_connection", "{opened:?}");
    let waits = door.explain(&run.id).await.unwrap();
    let wait = waits.iter().find(|w| w.on == "condition").unwrap();
    for part in [
        "connection `uat`",
        "requests in a row failed",
        "no connection could be made",
        "circuit breaker",
    ] {
        assert!(wait.what.contains(part), "{wait:?}");
    }
    assert!(
        wait.since.is_some() && wait.remedy.contains("syncline connection test uat"),
        "{wait:?}"
    );
    assert!(!waits.iter().any(|w| w.what.contains("`production`")), "{waits:?}");

    // Probes are all that is sent, though every worker has something to do.
    let probed = eventually(OUTAGE_WAIT * 3, || async {
        let breaker = door.connection("uat").await.unwrap().breaker.unwrap();
        let next = breaker.until.as_ref().map(|u| u.seconds) > opened.until.as_ref().map(|u| u.seconds + 5);
        if next && breaker.state == "open" {
            Ok(breaker)
        } else {
            Err(breaker)
        }
    })
    .await;
    assert!(
        probed.failures <= opened.failures + 8,
        "it is left alone: {opened:?} then {probed:?}"
    );

    proxy.forward();
    assert_balanced(&world.end(&run.id, "completed").await);
    world.assert_same().await;
    assert_eq!(world.target.open_jobs().await, Vec::<String>::new());
    assert_eq!(door.connection("uat").await.unwrap().breaker, None);
}

/// While `away` is down, batches gather in the stream that it reads; then the bus loses them all.
async fn survives_the_loss_of(stream: &str, away: &str) {
    let mut world = World::start(2_000).await;
    world.stack.kill(away).await;
    let run = world.submit(&sync::refresh()).await;
    eventually(GATHERING_WAIT, || async {
        let left = world.stack.nats.left_by(&run.id).await;
        let gathered = left.iter().filter(|l| l.contains(&format!("messages on {stream}"))).count();
        if gathered == sync::OBJECTS.len() { Ok(()) } else { Err(left) }
    })
    .await;
    world.stack.lose_the_bus().await;
    let report = world.end(&run.id, "completed").await;
    assert_balanced(&report);
    world.assert_same().await;
    assert_eq!(world.target.open_jobs().await, Vec::<String>::new());
    assert_eq!(world.stack.nats.left_by(&run.id).await, Vec::<String>::new());
    for object in &report.objects {
        for field in &object.fields {
            let counted = field.masked + field.null + field.unchanged;
            assert_eq!(counted, object.read, "{} {field:?} is counted once", object.object);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_raw_batches_the_bus_has_lost_reads_them_again() {
    survives_the_loss_of("raw", "masker").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_clean_batches_the_bus_has_lost_reads_and_masks_them_again() {
    survives_the_loss_of("clean", "loader").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_cannot_reach_its_servers_says_which_and_what_to_do() {
    let (nats, database) = tokio::join!(PrivateNats::start(), TestDatabase::create());
    let keys = tempfile::tempdir().unwrap();
    let nowhere = free_port();
    let base = free_port() - 8;
    let no_nats = configuration(
        "coordinator",
        &format!("nats://u:hidden@127.0.0.1:{nowhere}"),
        database.url(),
        base,
        keys.path(),
        "t",
    );
    let away = format!("postgres://u:hidden@127.0.0.1:{nowhere}/db");
    let no_database = configuration("monitor", nats.url(), &away, base, keys.path(), "t");
    let (bus, store) = tokio::join!(
        tokio::time::timeout(GIVE_UP_WAIT, syncline_coordinator::run(no_nats, CancellationToken::new())),
        tokio::time::timeout(GIVE_UP_WAIT, syncline_monitor::run(no_database, CancellationToken::new())),
    );
    for (ended, what, variable) in [(bus, "NATS", "SYNCLINE_NATS_URL"), (store, "PostgreSQL", "SYNCLINE_DATABASE_URL")] {
        let error = format!("{:#}", ended.expect("it gives up").expect_err("it cannot start"));
        assert!(
            error.contains(what) && error.contains(variable) && error.contains("Start"),
            "{error}"
        );
        assert!(!error.contains("hidden"), "no password: {error}");
    }
}
