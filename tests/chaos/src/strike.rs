//! Doing it: each fault at its moment, and everything mended afterwards.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Result;
use async_nats::jetstream;
use futures::TryStreamExt;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use syncline_runtime::lease::LEASE_TTL;
use syncline_testkit::{FaultProxy, nats_options};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::fault::{Fault, Link, OrgFault, Side, Trouble, any_object};
use crate::installation::Installation;
use crate::org::Org;
use crate::servers::Servers;
use crate::watch::{Moment, now};

const PAUSE: Duration = Duration::from_millis(15);
/// What happens only after a run's end (its books, the clean-up) is waited for this long.
const AFTERWARDS: Duration = Duration::from_secs(4);
/// How much longer than a lease somebody hangs.
const BEYOND_LEASE: Duration = Duration::from_millis(2500);
/// How long scripted answers of an org may go unused before the trial goes on.
const SCRIPT_WAIT: Duration = Duration::from_secs(12);

/// Everything that can be struck.
pub struct Ground<'a> {
    pub installation: &'a mut Installation,
    pub servers: &'a Servers,
    pub source: &'a Org,
    pub target: &'a Org,
    /// The run's end.
    pub ended: watch::Receiver<bool>,
    /// How long an undisturbed run takes.
    pub span: Duration,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Struck {
    pub reached: bool,
    pub at: Moment,
    /// Everything runs again since then.
    pub mended: Moment,
    pub detail: String,
}

/// A process and the points at which it shall die, one after the other: whenever it comes back, the next one is armed.
pub struct Armed {
    pub place: usize,
    /// Place in the trial's faults, and what is armed for it.
    waiting: VecDeque<(usize, String)>,
    now: Option<(usize, String)>,
}

impl Armed {
    /// Whether its process would still die.
    pub fn is_waiting(&self) -> bool {
        self.now.is_some()
    }
}

/// Before the run: what has to stand ready. Answers what was chosen for each fault, for people.
pub async fn prepare(
    installation: &mut Installation,
    target: &Org,
    faults: &[Fault],
    rng: &mut StdRng,
) -> Result<(Vec<Armed>, Vec<String>)> {
    let mut all: Vec<Armed> = Vec::new();
    let mut chosen = Vec::new();
    for (index, fault) in faults.iter().enumerate() {
        let (Fault::KilledAt(point, service) | Fault::StoppedAt(point, service)) = fault else {
            chosen.push(String::new());
            continue;
        };
        let action = if matches!(fault, Fault::StoppedAt(..)) { "stop" } else { "kill" };
        let armed = format!("{}={action}@{}", point.name, fault.passage(rng));
        chosen.push(armed.clone());
        if *service == "connector" {
            // A token that is good is not asked for again.
            target.revoke_tokens().await?;
        }
        let place = installation.places(service).first().copied().unwrap_or(0);
        match all.iter_mut().find(|armed| armed.place == place) {
            Some(known) => known.waiting.push_back((index, armed)),
            None => {
                installation.renew(place, Some(&armed)).await?;
                all.push(Armed {
                    place,
                    waiting: VecDeque::new(),
                    now: Some((index, armed)),
                });
            }
        }
    }
    Ok((all, chosen))
}

/// Strikes while the run goes on; answers what came of each fault.
pub async fn strike(ground: &mut Ground<'_>, faults: &[Fault], armed: &mut [Armed], rng: &mut StdRng) -> Result<Vec<Struck>> {
    if !armed.is_empty() {
        return at_points(ground, faults.len(), armed).await;
    }
    let mut struck = Vec::new();
    for fault in faults {
        struck.push(at_some_time(ground, *fault, rng).await?);
    }
    Ok(struck)
}

async fn at_some_time(ground: &mut Ground<'_>, fault: Fault, rng: &mut StdRng) -> Result<Struck> {
    if fault == Fault::Undisturbed {
        return Ok(Struck::default());
    }
    // What is scripted at an org has to be met by requests that are still to come.
    let latest = match fault {
        // A query job is made once for an object, soon.
        Fault::Org(Side::Source, OrgFault::JobFails | OrgFault::JobStuck | OrgFault::JobVanishes) => 0.03,
        Fault::Org(..) => 0.4,
        _ => 0.75,
    };
    let delay = ground.span.mul_f64(rng.random_range(0.02..latest));
    let mut ended = ground.ended.clone();
    if timeout(delay, ended.wait_for(|ended| *ended)).await.is_ok() {
        return Ok(Struck {
            detail: format!("the run had ended before {} ms", delay.as_millis()),
            ..Struck::default()
        });
    }
    let mut struck = Struck {
        reached: true,
        at: now(),
        ..Struck::default()
    };
    let what = at_a_moment(ground, fault, rng).await?;
    struck.reached = what != UNUSED;
    struck.mended = now();
    // Processes that ended of it are started again, as a supervisor does.
    ground.installation.mend().await?;
    struck.detail = format!("after {} ms; {what}", delay.as_millis());
    Ok(struck)
}

/// The object of the demo that has the most records.
const LARGE: &str = "Contact";
const UNUSED: &str = "nothing came of it";

async fn at_points(ground: &mut Ground<'_>, faults: usize, armed: &mut [Armed]) -> Result<Vec<Struck>> {
    let mut struck: Vec<Struck> = (0..faults).map(|_| Struck::default()).collect();
    let mut last = None;
    while armed.iter().any(|armed| armed.now.is_some()) {
        for armed in armed.iter_mut() {
            let Some(this) = armed.now.as_ref().and_then(|(index, _)| struck.get_mut(*index)) else {
                continue;
            };
            this.at = now();
            if ground.installation.fallen(armed.place)? {
                armed.now = armed.waiting.pop_front();
                this.reached = true;
                this.mended = now();
                let next = armed.now.as_ref().map(|(_, what)| what.as_str());
                ground.installation.launch(armed.place, next)?;
            } else if ground.installation.stopped(armed.place)? {
                this.reached = true;
                sleep(LEASE_TTL + BEYOND_LEASE).await;
                this.mended = now();
                ground.installation.resume(armed.place)?;
                armed.now = None;
            }
        }
        if *ground.ended.borrow() {
            let end = *last.get_or_insert_with(|| Instant::now() + AFTERWARDS);
            if Instant::now() >= end {
                break;
            }
        }
        sleep(PAUSE).await;
    }
    Ok(struck)
}

async fn at_a_moment(ground: &mut Ground<'_>, fault: Fault, rng: &mut StdRng) -> Result<String> {
    let seconds = Duration::from_millis(rng.random_range(500..6000));
    let installation = &mut *ground.installation;
    match fault {
        Fault::Killed(service) | Fault::KilledBesideSlowJobs(service) => {
            for place in installation.places(service) {
                installation.kill(place)?;
            }
            Ok(String::new())
        }
        Fault::AllKilled => {
            for place in 0..installation.services.len() {
                installation.kill(place)?;
            }
            Ok(String::new())
        }
        Fault::AllRestarted => {
            let began = Instant::now();
            for place in 0..installation.services.len() {
                installation.restart(place).await?;
            }
            let in_time = if *ground.ended.borrow() { "; the run ended meanwhile" } else { "" };
            Ok(format!(
                "{} processes in {} s{in_time}",
                installation.services.len(),
                began.elapsed().as_secs()
            ))
        }
        Fault::Paused(service) => {
            let place = installation.places(service).first().copied().unwrap_or(0);
            installation.pause(place)?;
            sleep(LEASE_TTL + BEYOND_LEASE).await;
            installation.resume(place)?;
            Ok(String::new())
        }
        Fault::NatsKilled => {
            ground.servers.kill_nats()?;
            sleep(seconds / 3).await;
            tokio::task::block_in_place(|| ground.servers.up())?;
            Ok(format!("away for {} ms", (seconds / 3).as_millis()))
        }
        Fault::PostgresKilled => {
            ground.servers.kill_postgres()?;
            sleep(seconds / 3).await;
            tokio::task::block_in_place(|| ground.servers.up())?;
            Ok(format!("away for {} ms", (seconds / 3).as_millis()))
        }
        Fault::PostgresTerminated => {
            let mut db = PgConnection::connect(&ground.servers.database_url).await?;
            sqlx::query(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
            )
            .execute(&mut db)
            .await?;
            Ok(String::new())
        }
        Fault::BatchConsumerDeleted => delete_consumer(ground, &["RAW_0", "CLEAN_0"], rng).await,
        Fault::TaskConsumerDeleted => delete_consumer(ground, &["TASKS"], rng).await,
        Fault::Network(service, link, trouble) => {
            let place = installation.places(service).first().copied().unwrap_or(0);
            let Some(service) = installation.services.get(place) else {
                return Ok(UNUSED.to_owned());
            };
            let proxy = match link {
                Link::Nats => &service.nats,
                Link::Database => &service.database,
                Link::Callers => &service.front,
            };
            // Longer than a lease, now and then.
            disturb(proxy, trouble, seconds * rng.random_range(1..=3), rng).await;
            service.heal();
            Ok(format!("for up to {} ms", (seconds * 3).as_millis()))
        }
        Fault::Org(side, what) => {
            let org = match side {
                Side::Source => ground.source,
                Side::Target => ground.target,
            };
            let done = at_an_org((org, side == Side::Source), what, seconds, &ground.ended, rng).await?;
            org.heal().await?;
            Ok(done)
        }
        Fault::Undisturbed | Fault::KilledAt(..) | Fault::StoppedAt(..) => Ok(String::new()),
    }
}

async fn disturb(proxy: &FaultProxy, trouble: Trouble, time: Duration, rng: &mut StdRng) {
    match trouble {
        Trouble::Cut => {
            for _ in 0..rng.random_range(1..=4) {
                proxy.cut();
                sleep(Duration::from_millis(rng.random_range(20..400))).await;
            }
        }
        Trouble::Held => {
            proxy.hold();
            sleep(time).await;
        }
        Trouble::Refused => {
            proxy.refuse();
            sleep(time).await;
        }
        Trouble::Delayed => {
            proxy.delay(Duration::from_millis(rng.random_range(20..300)));
            sleep(time).await;
        }
    }
    proxy.forward();
}

async fn at_an_org(
    (org, is_source): (&Org, bool),
    what: OrgFault,
    seconds: Duration,
    ended: &watch::Receiver<bool>,
    rng: &mut StdRng,
) -> Result<String> {
    let times = rng.random_range(1..=6);
    let skip = rng.random_range(0..=4);
    // A refusal comes before anything is done, so any request may meet it; so may a lost answer.
    let script = match what {
        OrgFault::Network(trouble) => {
            disturb(&org.proxy, trouble, seconds, rng).await;
            return Ok(format!("for {} ms", seconds.as_millis()));
        }
        OrgFault::TokensRevoked => {
            org.revoke_tokens().await?;
            return Ok(String::new());
        }
        OrgFault::JobFails | OrgFault::JobStuck | OrgFault::JobVanishes => {
            let after = rng.random_range(0..200);
            let kind = match what {
                OrgFault::JobStuck => "stuck",
                OrgFault::JobVanishes => "vanish",
                _ => "fail",
            };
            // Only large objects are read by jobs; all are written by them.
            let (direction, object) = if is_source { ("query", LARGE) } else { ("ingest", any_object(rng)) };
            let mut fault = json!({"object": object, "direction": direction, "kind": kind, "after_rows": after,
                "message": "InternalServerError : of a trial"});
            if what == OrgFault::JobStuck {
                fault["looks"] = json!(times * 5);
            }
            if is_source {
                fault["after_rows"] = json!(0);
            }
            org.sim("POST", "job-faults", fault).await?;
            return scripted(org, ended, format!("{direction} of {object}, {kind} after {after} rows")).await;
        }
        OrgFault::RowLocks => {
            let object = any_object(rng);
            let fault = json!({"object": object, "code": "UNABLE_TO_LOCK_ROW", "message": "of a trial", "times": times * 20});
            org.sim("POST", "row-faults", fault).await?;
            return scripted(org, ended, format!("{} rows of {object}", times * 20)).await;
        }
        OrgFault::Unavailable503 => json!({"kind": "html503", "path": "/services/data", "skip": skip, "times": times}),
        OrgFault::TooMany429 => {
            json!({"kind": "status", "status": 429, "retry_after_secs": 1, "path": "/services/data", "skip": skip, "times": times,
                "body": [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "of a trial"}]})
        }
        OrgFault::AnswersLost => json!({"kind": "cut_after", "path": "/services/data", "skip": skip, "times": times}),
        OrgFault::CreateAnswerLost => json!({"kind": "cut_after", "method": "POST", "path": "/jobs/ingest", "times": 1}),
        OrgFault::CloseAnswerLost => json!({"kind": "cut_after", "method": "PATCH", "path": "/jobs/ingest/", "times": times.min(2)}),
        OrgFault::UploadCut => json!({"kind": "cut", "method": "PUT", "path": "/jobs/ingest/", "times": times.min(3)}),
        OrgFault::ResultsExpired => {
            org.sim("POST", "expire-locators", json!({})).await?;
            org.sim("POST", "jobs/expire-results", Value::Null).await?;
            return Ok(String::new());
        }
    };
    org.fault(script).await?;
    scripted(org, ended, format!("up to {times} requests, {skip} before")).await
}

/// What was scripted stays until it has happened, for a while, or until the run has ended.
async fn scripted(org: &Org, ended: &watch::Receiver<bool>, detail: String) -> Result<String> {
    let all = org.faults_left().await?;
    let end = Instant::now() + SCRIPT_WAIT;
    let mut left = all;
    while left > 0 && Instant::now() < end && !*ended.borrow() {
        sleep(PAUSE).await;
        left = org.faults_left().await?;
    }
    if left == all {
        return Ok(UNUSED.to_owned());
    }
    Ok(format!("{detail}; happened {} times", all - left))
}

async fn delete_consumer(ground: &Ground<'_>, streams: &[&str], rng: &mut StdRng) -> Result<String> {
    let (options, address) = nats_options(&ground.servers.nats_url);
    let context = jetstream::new(options.connect(address).await?);
    let mut found = Vec::new();
    for name in streams {
        let consumers: Vec<String> = context.get_stream(name).await?.consumer_names().try_collect().await?;
        found.extend(consumers.into_iter().map(|consumer| ((*name).to_owned(), consumer)));
    }
    found.sort();
    let Some((stream, consumer)) = found.choose(rng) else {
        return Ok(UNUSED.to_owned());
    };
    // The run may be done with it by now.
    match context.get_stream(stream).await?.delete_consumer(consumer).await {
        Ok(_) => Ok(format!("{consumer} of {stream}")),
        Err(_) => Ok(UNUSED.to_owned()),
    }
}
