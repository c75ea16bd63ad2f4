//! A session: one installation, one source, trial after trial.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::installation::{Installation, Programs};
use crate::org::Org;
use crate::record::Record;
use crate::servers::Servers;
use crate::trial::Bench;
use crate::{Run, Set, matrix};

#[allow(clippy::print_stdout, reason = "a command's result")]
pub fn list() -> Result<()> {
    for fault in [Fault::points(), Fault::hangs(), Fault::others()].concat() {
        println!("{:<75} {}", fault.name(), fault.point());
    }
    Ok(())
}

/// How often a service dies in one trial: whenever it is started again, at the next point. Some do all their work for a run
/// at its beginning.
fn deaths_max(service: Option<&str>) -> usize {
    match service {
        Some("analyzer" | "connector" | "gateway") => 1,
        _ => 3,
    }
}

/// What a session breaks, in its order: everything once, in an order of its seed, then again.
fn chosen(run: &Run, rng: &mut StdRng) -> Vec<Vec<Fault>> {
    let mut points = Fault::points();
    let mut alone = match run.set {
        Set::Points => Vec::new(),
        Set::Hangs => Fault::hangs(),
        Set::Others => Fault::others(),
        Set::All => [Fault::hangs(), Fault::others()].concat(),
        Set::Few => return Vec::new(),
        Set::Fixed => vec![Fault::AllKilled, Fault::NatsKilled, Fault::PostgresKilled],
    };
    if matches!(run.set, Set::Hangs | Set::Others) {
        points.clear();
    }
    if let Some(only) = &run.only {
        let is_meant = |fault: &Fault| fault.cell().contains(only);
        points.retain(is_meant);
        alone.retain(is_meant);
    }
    points.shuffle(rng);
    let mut trials: Vec<Vec<Fault>> = if run.alone {
        points.into_iter().map(|point| vec![point]).collect()
    } else {
        together(points)
    };
    trials.shuffle(rng);
    let alone = alone.into_iter().map(|fault| vec![fault]);
    if run.set == Set::Fixed {
        // Time may cut off points of the later trials, and none of these.
        trials.splice(1..1, alone);
    } else {
        trials.extend(alone);
        trials.shuffle(rng);
    }
    trials
}

/// Deals points out to trials: processes of several services die in each, and each of them several times.
fn together(points: Vec<Fault>) -> Vec<Vec<Fault>> {
    let mut trials: Vec<Vec<Fault>> = Vec::new();
    for point in points {
        if point.needs_records() {
            trials.push(vec![point]);
            continue;
        }
        let has_room = |trial: &&mut Vec<Fault>| {
            let same = trial.iter().filter(|fault| fault.service() == point.service()).count();
            same < deaths_max(point.service()) && !trial.iter().any(|fault| fault.needs_records())
        };
        match trials.iter_mut().find(has_room) {
            Some(trial) => trial.push(point),
            None => trials.push(vec![point]),
        }
    }
    trials
}

/// Runs a session; answers whether every trial was good.
pub fn run(run: &Run) -> Result<bool> {
    syncline_runtime::entry::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(session(run));
    runtime.shutdown_timeout(Duration::from_secs(2));
    done
}

async fn session(run: &Run) -> Result<bool> {
    let end = Instant::now() + Duration::from_secs_f64(run.minutes * 60.0);
    let seed = run.seed.unwrap_or_else(|| rand::rng().random_range(1..1_000_000));
    say(&format!("seed {seed} (CHAOS_SEED={seed} repeats it)"));
    let place = crate::repository().join(".local");
    std::fs::create_dir_all(&place)?;
    let home = tempfile::Builder::new().prefix("chaos.").tempdir_in(place.canonicalize()?)?;
    let path = home.path().to_owned();
    // PostgreSQL may run as another user.
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut bench = bench(run, seed, path.clone()).await?;
    let good = tokio::select! {
        good = trials(run, &mut bench, end) => good,
        () = asked_to_leave() => Err(anyhow::anyhow!("stopped")),
    };
    // Whatever was started is stopped with it.
    drop(bench);
    if run.keep || !matches!(good, Ok(true)) {
        say(&format!("logs are kept in {}", home.keep().display()));
    }
    good
}

async fn asked_to_leave() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(_) => std::future::pending().await,
    }
}

async fn bench(run: &Run, seed: u64, home: PathBuf) -> Result<Bench> {
    std::fs::create_dir_all(home.join("log"))?;
    let programs = Programs::find(run.bin.clone())?;
    let servers = tokio::task::block_in_place(|| Servers::start(&home))?;
    let scale = run.scale.to_string();
    // Small pages, so that an object is several batches.
    let source = [
        "--org",
        "production",
        "--scale",
        &scale,
        "--query-page-rows",
        "200",
        "--bulk-page-rows",
        "300",
    ];
    let source = Org::start(&programs, &home, "production", &source.map(str::to_owned)).await?;
    let installation = Installation::start(&programs, &home, &servers).await?;
    Ok(Bench {
        gateway: Gateway::new(&installation.gateway_url, &installation.token)?,
        programs,
        home,
        servers,
        installation,
        source,
        seed,
        version: version(),
        scan: run.scan,
        reference: None,
    })
}

async fn trials(run: &Run, bench: &mut Bench, end: Instant) -> Result<bool> {
    let mut rng = StdRng::seed_from_u64(bench.seed);
    let order = chosen(run, &mut rng);
    anyhow::ensure!(run.set == Set::Few || !order.is_empty(), "nothing is chosen");
    let mut bad = told(run, &bench.trial(0, &[Fault::Undisturbed]).await?, 0)?;
    let (mut done, mut trial) = (0, run.skip);
    while Instant::now() < end && run.trials.is_none_or(|n| done < n) {
        let next = match run.set {
            Set::Few => matrix::least_measured(&run.all_records()?)
                .choose(&mut rng)
                .map(|fault| vec![*fault]),
            _ => order.get(trial as usize % order.len()).cloned(),
        };
        let Some(faults) = next else { break };
        // A session ends when everything was broken once, if that was asked for by name.
        if run.set == Set::Fixed && trial as usize >= order.len() {
            break;
        }
        trial += 1;
        done += 1;
        let names: Vec<String> = faults.iter().map(|fault| fault.point()).collect();
        let records = bench.trial(trial, &faults).await;
        let records = records.with_context(|| format!("trial {trial}: {}", names.join(", ")))?;
        bad += told(run, &records, order.len())?;
    }
    say(&format!("{done} trials, {bad} bad"));
    Ok(bad == 0)
}

/// Prints and keeps a trial's records; answers how many are bad.
fn told(run: &Run, records: &[Record], of: usize) -> Result<u32> {
    let mut bad = 0;
    for record in records {
        bad += u32::from(tell(record, of));
        record.append(&run.records)?;
    }
    Ok(bad)
}

/// Prints a line; answers whether the trial was bad.
fn tell(record: &Record, of: usize) -> bool {
    let place = if of == 0 { String::new() } else { format!("/{of}") };
    let resume = record
        .resume_seconds
        .map_or(String::new(), |s| format!("  {s:.1} s to the next batch"));
    say(&format!(
        "{:>4}{place} {:<12} {} @ {}  [{}]  {:.1} s{resume}",
        record.trial, record.outcome, record.fault, record.point, record.detail, record.run_seconds
    ));
    record.findings.iter().for_each(|finding| say(&format!("        {finding}")));
    record.is_bad()
}

/// Release and commit, as far as they can be had.
fn version() -> String {
    let commit = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .current_dir(crate::repository())
        .output();
    let commit = commit
        .ok()
        .filter(|o| o.status.success())
        .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    format!("{} {}", env!("CARGO_PKG_VERSION"), commit.unwrap_or_default())
        .trim()
        .to_owned()
}

#[allow(clippy::print_stdout, reason = "the session's report")]
fn say(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_dealt_out_once_and_no_process_dies_too_often() {
        let trials = together(Fault::points());
        assert_eq!(trials.concat().len(), Fault::points().len());
        for trial in &trials {
            for fault in trial {
                let deaths = trial.iter().filter(|other| other.service() == fault.service()).count();
                assert!(deaths <= deaths_max(fault.service()), "{trial:?}");
                assert!(!fault.needs_records() || trial.len() == 1, "{trial:?}");
            }
        }
    }
}
