//! One trial: a target of its own, a refresh, a fault in it, and everything that must hold afterwards.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::check;
use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::installation::{Installation, Programs};
use crate::org::Org;
use crate::record::{GOOD, INCOMPLETE, NOT_REACHED, Record};
use crate::servers::Servers;
use crate::strike::{self, Armed, Ground, Struck};
use crate::watch::{Moment, Watch, now};

/// Longest that a run may take, faults and their waits included. Retries back off to 30 s.
const RUN_WAIT: Duration = Duration::from_secs(300);
const SUBMIT_WAIT: Duration = Duration::from_secs(60);
const BOOKS_WAIT: Duration = Duration::from_secs(40);
/// A full target is emptied and filled again where the fault lies in emptying it.
const REPLACE: [(&str, &str); 1] = [("existing: update", "existing: replace")];

/// What all trials of a session share.
pub struct Bench {
    pub programs: Programs,
    pub home: PathBuf,
    pub servers: Servers,
    pub installation: Installation,
    pub gateway: Gateway,
    pub source: Org,
    pub seed: u64,
    pub version: String,
    /// Also look for the source's values in everything that is on disk.
    pub scan: bool,
    pub reference: Option<Reference>,
}

/// What an undisturbed run takes.
#[derive(Clone, Copy)]
pub struct Reference {
    pub seconds: f64,
    pub writes: u64,
}

/// How a run went.
struct Ran {
    run: String,
    last: Value,
    report: Result<Value>,
    explanation: Option<String>,
    seconds: f64,
    seen: crate::watch::Seen,
}

impl Bench {
    /// Everything that this trial chooses follows from the session's seed and the trial's number.
    fn rng(&self, trial: u32) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_mul(1_000_003).wrapping_add(u64::from(trial)))
    }

    /// One trial with these faults in it. Several are points of processes that die one beside or after the other.
    pub async fn trial(&mut self, trial: u32, faults: &[Fault]) -> Result<Vec<Record>> {
        let mut rng = self.rng(trial);
        let number = (100_000 + u64::from(trial)).to_string();
        let latency = faults.iter().map(|fault| fault.job_latency_ms()).max().unwrap_or(0).to_string();
        let target = Org::start(
            &self.programs,
            &self.home,
            "sandbox",
            &["--org", "sandbox", "--org-number", &number, "--job-latency-ms", &latency].map(str::to_owned),
        )
        .await?;
        self.installation.mend().await?;
        let mut sync = self.apply(trial, &target, &[])?;
        let refilled = faults.iter().any(|fault| fault.needs_records());
        if refilled {
            self.fill(trial, &sync).await?;
            sync = self.apply(trial, &target, &REPLACE)?;
        }
        let replicas = faults.iter().any(|fault| fault.needs_replicas());
        if replicas {
            self.installation.second_processes(true).await?;
        }
        let (mut armed, chosen) = strike::prepare(&mut self.installation, &target, faults, &mut rng).await?;
        let (before, writes_before) = (check::published(&self.servers).await?, target.writes().await?);
        let (struck, ran) = self.run(trial, &sync, &target, faults, &mut armed, &mut rng).await?;
        // What was not reached would strike the next trial.
        for armed in armed.iter().filter(|armed| armed.is_waiting()) {
            self.installation.renew(armed.place, None).await?;
        }
        self.installation.mend().await?;
        if replicas {
            self.installation.second_processes(false).await?;
        }

        let mut common = Record {
            at: chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string(),
            seed: self.seed,
            trial,
            version: self.version.clone(),
            together: u32::try_from(faults.len()).unwrap_or(u32::MAX),
            run_seconds: round(ran.seconds),
            ..Record::default()
        };
        self.judge(&target, &ran, &mut common).await?;
        if !refilled {
            let (names, again) = check::batches(&self.servers, &ran.run).await?;
            common.republished = check::published(&self.servers).await?.saturating_sub(before).saturating_sub(names);
            common.reloaded = again;
            if let Some(reference) = self.reference {
                let writes = target.writes().await? - writes_before;
                common.rewritten = writes.cast_signed() - reference.writes.cast_signed();
            }
        }
        if faults == [Fault::Undisturbed] && self.reference.is_none() {
            self.reference = Some(Reference {
                seconds: ran.seconds,
                writes: target.writes().await?,
            });
        }
        let mut records = Vec::new();
        for ((fault, struck), how) in faults.iter().zip(&struck).zip(chosen) {
            let mut record = if records.is_empty() { common.clone() } else { beside(&common) };
            record.fault = fault.name();
            record.point = fault.point();
            record.detail = format!("{how}{}", struck.detail);
            measure(&mut record, *fault, struck, &ran);
            record.outcome = match (common.findings.is_empty(), struck.reached || *fault == Fault::Undisturbed) {
                (false, _) => "bad".to_owned(),
                (true, true) => GOOD.to_owned(),
                (true, false) => NOT_REACHED.to_owned(),
            };
            records.push(record);
        }
        Ok(records)
    }

    /// Connection and sync of this trial's own; answers the sync's name.
    fn apply(&self, trial: u32, target: &Org, changes: &[(&str, &str)]) -> Result<String> {
        let demo = crate::repository().join("deploy/demo");
        let (name, sync) = (format!("target-{trial}"), format!("refresh-{trial}"));
        let mut connections = std::fs::read_to_string(demo.join("connections.yaml"))?;
        for (place, value) in [
            ("${PROD_URL}", &self.source.proxied_url),
            ("${SANDBOX_URL}", &target.proxied_url),
            ("${PROD_CLIENT_ID}", &self.source.client_id),
            ("${SANDBOX_CLIENT_ID}", &target.client_id),
        ] {
            connections = connections.replace(place, value);
        }
        let connections = connections.replace("name: uat", &format!("name: {name}"));
        let mut document = std::fs::read_to_string(demo.join("refresh.yaml"))?
            .replace("name: refresh", &format!("name: {sync}"))
            .replace("target: uat", &format!("target: {name}"));
        for (from, to) in changes {
            anyhow::ensure!(document.contains(from), "the demo's sync does not hold `{from}`");
            document = document.replace(from, to);
        }
        let file = self.home.join("trial.yaml");
        std::fs::write(&file, format!("{connections}\n---\n{document}"))?;
        let file = file.to_str().context("a path of text")?;
        let secrets = [
            ("PROD_CLIENT_SECRET", self.source.client_secret.as_str()),
            ("SANDBOX_CLIENT_SECRET", target.client_secret.as_str()),
        ];
        self.installation.cli(&["apply", "-f", file], &secrets)?;
        Ok(sync)
    }

    /// An undisturbed run first.
    async fn fill(&self, trial: u32, sync: &str) -> Result<()> {
        let run = self
            .gateway
            .submit(sync, &format!("{}-{trial}-fill", self.seed), SUBMIT_WAIT)
            .await?;
        let last = self.gateway.end(&run, RUN_WAIT).await?;
        anyhow::ensure!(last["status"] == "completed", "the target could not be filled: {last}");
        Ok(())
    }

    async fn run(
        &mut self,
        trial: u32,
        sync: &str,
        target: &Org,
        faults: &[Fault],
        armed: &mut [Armed],
        rng: &mut StdRng,
    ) -> Result<(Vec<Struck>, Ran)> {
        let (end, ended) = watch::channel(false);
        let span = Duration::from_secs_f64(self.reference.map_or(5.0, |r| r.seconds));
        let mut ground = Ground {
            installation: &mut self.installation,
            servers: &self.servers,
            source: &self.source,
            target,
            ended,
            span,
        };
        let key = format!("{}-{trial}-{}", self.seed, uuid::Uuid::new_v4().simple());
        let running = conduct(&self.gateway, &self.servers.database_url, sync, &key, end);
        let (struck, ran) = tokio::join!(strike::strike(&mut ground, faults, armed, rng), running);
        Ok((struck?, ran?))
    }

    async fn judge(&self, target: &Org, ran: &Ran, record: &mut Record) -> Result<()> {
        if ran.last["status"] != "completed" {
            let why = ran.explanation.as_deref().unwrap_or_default();
            record.findings.push(format!(
                "{INCOMPLETE}{} {}: {} {why}",
                ran.last["status"], ran.last["failureCode"], ran.last["failureMessage"]
            ));
        }
        let scan = if self.scan {
            let mut places = self.servers.stores();
            places.push(self.home.join("log"));
            places
        } else {
            Vec::new()
        };
        let counts = tokio::task::block_in_place(|| check::compare(&self.source, target, &scan, record))?;
        record.records = counts.values().sum();
        check::ledger(&self.servers, target, &counts, record).await?;
        match &ran.report {
            Ok(report) => check::report(report, &counts, record),
            Err(error) => record.findings.push(error.to_string()),
        }
        check::leftovers(&self.servers, target, &ran.run, record).await
    }
}

/// Submits, looks on, and waits for the end and the closed books.
async fn conduct(gateway: &Gateway, database_url: &str, sync: &str, key: &str, end: watch::Sender<bool>) -> Result<Ran> {
    let began = Instant::now();
    let submitted = gateway.submit(sync, key, SUBMIT_WAIT).await;
    let Ok(run) = &submitted else {
        end.send_replace(true);
        return Err(submitted.err().context("it failed")?.context("the run could not be submitted"));
    };
    let looking = Watch::start(database_url, run);
    let last = gateway.end(run, RUN_WAIT).await?;
    let seconds = began.elapsed().as_secs_f64();
    let explanation = match last["finishedAt"].is_null() {
        true => Some(gateway.explanation(run).await),
        false => None,
    };
    end.send_replace(true);
    let status = last["status"].as_str().unwrap_or_default();
    let report = gateway.report(run, status, BOOKS_WAIT).await;
    Ok(Ran {
        run: run.clone(),
        seen: looking.end().await,
        last,
        report,
        explanation,
        seconds,
    })
}

/// The line of another fault of the same trial: what is counted once stands with the first.
fn beside(first: &Record) -> Record {
    Record {
        records: 0,
        lost: 0,
        duplicated: 0,
        wrong_links: 0,
        different: 0,
        republished: 0,
        reloaded: 0,
        rewritten: 0,
        ..first.clone()
    }
}

fn measure(record: &mut Record, fault: Fault, struck: &Struck, ran: &Ran) {
    if !struck.reached {
        return;
    }
    let mended: Moment = if struck.mended > 0.0 { struck.mended } else { now() };
    record.resume_seconds = ran.seen.first_batch_after(fault.stage(), mended).map(round);
    let stages: &[&str] = match (fault, fault.stage()) {
        (_, Some(stage)) => &[stage][..],
        (Fault::AllKilled, None) => &crate::installation::WORKERS,
        _ => &[],
    };
    for stage in stages {
        record
            .takeover_seconds
            .extend(ran.seen.taken_over(stage, struck.at).into_iter().map(round));
    }
}

fn round(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}
