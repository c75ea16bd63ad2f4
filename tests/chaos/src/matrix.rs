//! `docs/crash-matrix.md`, from recorded trials. Only what was measured becomes a cell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::fault::Fault;
use crate::record::Record;

/// How often everything on the list is to be measured.
const WANTED: usize = 3;
const TRIED_MAX: usize = 10;

const HEAD: &str = "# The crash matrix

Written by `syncline-chaos matrix` from recorded trials; how they are made and read: [chaos.md](chaos.md). Every number was measured,
none is written by hand. A cell that is not here was not measured.

";

pub fn write(files: &[PathBuf], out: &Path) -> Result<()> {
    let mut records = Vec::new();
    for file in files {
        records.extend(Record::read_all(file)?);
    }
    std::fs::write(out, page(&records))?;
    Ok(())
}

fn page(records: &[Record]) -> String {
    let mut page = HEAD.to_owned();
    summary(&mut page, records);
    let measured = records.iter().filter(|record| record.is_measured());
    let mut cells: BTreeMap<(&str, &str), Vec<&Record>> = BTreeMap::new();
    for record in measured {
        cells.entry((&record.fault, &record.point)).or_default().push(record);
    }
    page.push_str("\n## Every fault at every point\n\n");
    page.push_str(
        "| fault | point | runs | bad | lost | duplicated | wrong links | redone | next batch after | worst | lease end to next batch |\n",
    );
    page.push_str("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    // In the order of the list, which is the order of the pipeline; what stood on an older list comes last.
    let list = [vec![Fault::Undisturbed], Fault::points(), Fault::hangs(), Fault::others()].concat();
    let listed: Vec<(String, String)> = list.iter().map(|fault| (fault.name(), fault.point())).collect();
    let known: BTreeSet<(&str, &str)> = listed.iter().map(|(fault, point)| (fault.as_str(), point.as_str())).collect();
    let older = cells.keys().filter(|cell| !known.contains(*cell)).copied();
    for cell in listed.iter().map(|(fault, point)| (fault.as_str(), point.as_str())).chain(older) {
        if let Some(trials) = cells.get(&cell) {
            row(&mut page, cell, trials);
        }
    }
    gaps(&mut page, &listed, &cells);
    defects(&mut page, records);
    page
}

fn summary(page: &mut String, records: &[Record]) {
    let measured: Vec<&Record> = records.iter().filter(|record| record.is_measured()).collect();
    let bad = measured.iter().filter(|record| record.is_bad()).count();
    let faults = measured.iter().filter(|record| record.fault != Fault::Undisturbed.name()).count();
    // Several faults may share a run.
    let runs: BTreeSet<(u64, u32, &str)> = measured.iter().map(|r| (r.seed, r.trial, r.version.as_str())).collect();
    let dates: BTreeSet<&str> = records.iter().filter_map(|record| record.at.get(..10)).collect();
    let versions: BTreeSet<&str> = records.iter().map(|record| record.version.as_str()).collect();
    let seeds: BTreeSet<u64> = records.iter().map(|record| record.seed).collect();
    let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
    let join = |set: &BTreeSet<&str>| set.iter().copied().collect::<Vec<_>>().join(", ");
    let leases: Vec<f64> = measured.iter().flat_map(|record| record.takeover_seconds.iter().copied()).collect();
    let resumed: Vec<f64> = measured.iter().filter_map(|record| record.resume_seconds).collect();
    let sum = |of: fn(&Record) -> u64| measured.iter().map(|record| of(record)).sum::<u64>();
    let lines = [
        ("measured", join(&dates)),
        ("version", join(&versions)),
        ("seeds", seeds.join(", ")),
        ("runs, faults injected", format!("{}, {faults}; {bad} ended badly", runs.len())),
        ("records moved", sum(|record| record.records).to_string()),
        (
            "lost, duplicated, wrong links",
            format!(
                "{}, {}, {}",
                sum(Record::lost_for_good),
                sum(|r| r.duplicated),
                sum(|r| r.wrong_links)
            ),
        ),
        ("from everything running again to the next batch", spread(&resumed)),
        ("from the end of a lost lease to its follower's next batch", spread(&leases)),
        ("lease", format!("{} s", syncline_runtime::lease::LEASE_TTL.as_secs())),
    ];
    page.push_str("| | |\n|---|---|\n");
    for (what, value) in lines {
        let _ = writeln!(page, "| {what} | {value} |");
    }
}

fn row(page: &mut String, (fault, point): (&str, &str), trials: &[&Record]) {
    let sum = |of: fn(&Record) -> u64| trials.iter().map(|record| of(record)).sum::<u64>();
    let resumed: Vec<f64> = trials.iter().filter_map(|record| record.resume_seconds).collect();
    let leases: Vec<f64> = trials.iter().flat_map(|record| record.takeover_seconds.iter().copied()).collect();
    let most = resumed
        .iter()
        .copied()
        .fold(None, |most: Option<f64>, s| Some(most.map_or(s, |m| m.max(s))));
    let seconds = |s: Option<f64>| s.map_or("-".to_owned(), |s| format!("{s:.1} s"));
    let _ = writeln!(
        page,
        "| {fault} | {point} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        trials.len(),
        trials.iter().filter(|record| record.is_bad()).count(),
        sum(Record::lost_for_good),
        sum(|r| r.duplicated),
        sum(|r| r.wrong_links),
        sum(|r| r.republished + r.reloaded),
        seconds(median(&resumed)),
        seconds(most),
        seconds(median(&leases)),
    );
}

/// Of the list, what was measured least often, and less than [`WANTED`] times. What did not come about in many trials is given up.
pub fn least_measured(records: &[Record]) -> Vec<Fault> {
    let mut times: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for record in records {
        let (measured, tried) = times.entry(format!("{} @ {}", record.fault, record.point)).or_default();
        *measured += usize::from(record.is_measured());
        *tried += 1;
    }
    let count = |fault: &Fault| times.get(&fault.cell()).copied().unwrap_or_default();
    let mut list = [Fault::points(), Fault::hangs(), Fault::others()].concat();
    list.retain(|fault| matches!(count(fault), (measured, tried) if measured < WANTED && tried < TRIED_MAX));
    let least = list.iter().map(|fault| count(fault).0).min();
    list.retain(|fault| Some(count(fault).0) == least);
    list
}

/// What of the list was measured less than that.
fn gaps(page: &mut String, listed: &[(String, String)], cells: &BTreeMap<(&str, &str), Vec<&Record>>) {
    let count = |cell: &(String, String)| cells.get(&(cell.0.as_str(), cell.1.as_str())).map_or(0, Vec::len);
    let few: Vec<&(String, String)> = listed.iter().filter(|cell| count(cell) < WANTED).collect();
    if few.is_empty() {
        return;
    }
    let _ = writeln!(page, "\n## Measured less than {WANTED} times\n");
    for cell in few {
        let _ = writeln!(page, "- {} @ {}: {}", cell.0, cell.1, count(cell));
    }
}

fn defects(page: &mut String, records: &[Record]) {
    let bad: Vec<&Record> = records.iter().filter(|record| record.is_bad()).collect();
    if bad.is_empty() {
        return;
    }
    page.push_str("\n## Trials that ended badly\n\n");
    for record in bad {
        let first = record.findings.first().map_or("", String::as_str);
        let short: String = first.chars().take(200).collect();
        let _ = writeln!(
            page,
            "- seed {} trial {} ({}): {} @ {} [{}]: {}",
            record.seed,
            record.trial,
            record.version,
            record.fault,
            record.point,
            record.detail,
            short.replace('|', "/")
        );
    }
}

fn spread(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(median), Some(most)) = (median(&sorted), sorted.last()) else {
        return "-".to_owned();
    };
    let at = (sorted.len() * 95).div_ceil(100).saturating_sub(1);
    let nearly_all = sorted.get(at).copied().unwrap_or(median);
    format!(
        "median {median:.1} s, 95 of 100 within {nearly_all:.1} s, at most {most:.1} s ({} times)",
        sorted.len()
    )
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fault: Fault, outcome: &str, resume: f64, leases: &[f64]) -> Record {
        Record {
            at: "2026-01-02T03:04:05Z".to_owned(),
            seed: 7,
            fault: fault.name(),
            point: fault.point(),
            outcome: outcome.to_owned(),
            lost: u64::from(outcome == "bad"),
            reloaded: 2,
            resume_seconds: Some(resume),
            takeover_seconds: leases.to_vec(),
            ..Record::default()
        }
    }

    #[test]
    fn only_what_was_measured_is_a_cell() {
        let killed = Fault::Killed("loader");
        let page = page(&[
            record(killed, "good", 1.0, &[0.5]),
            record(killed, "bad", 3.0, &[1.5, 2.5]),
            record(killed, "good", 2.0, &[]),
            record(Fault::Killed("masker"), "not reached", 9.0, &[]),
        ]);
        assert!(
            page.contains("| kill -9 at a random moment | loader | 3 | 1 | 1 | 0 | 0 | 6 | 2.0 s | 3.0 s | 1.5 s |"),
            "{page}"
        );
        assert!(!page.contains("| kill -9 at a random moment | masker |"), "{page}");
        assert!(page.contains("- kill -9 at a random moment @ masker: 0"), "{page}");
        assert!(!page.contains("- kill -9 at a random moment @ loader:"), "{page}");
        assert!(page.contains("seed 7 trial 0"), "{page}");
    }

    #[test]
    fn what_was_measured_least_comes_next_until_all_was_measured_often_enough() {
        let all = [Fault::points(), Fault::hangs(), Fault::others()].concat();
        let mut records = Vec::new();
        assert_eq!(least_measured(&records), all);
        let (last, others) = all.split_last().expect("there are faults");
        records.extend(others.iter().map(|fault| record(*fault, "good", 1.0, &[])));
        records.push(record(*last, "not reached", 1.0, &[]));
        assert_eq!(least_measured(&records), [*last]);
        let unreached = || record(*last, "not reached", 1.0, &[]);
        let given_up: Vec<Record> = std::iter::repeat_with(unreached).take(TRIED_MAX).chain(records.clone()).collect();
        assert!(!least_measured(&given_up).contains(last));
        for _ in 0..WANTED {
            records.extend(all.iter().map(|fault| record(*fault, "bad", 1.0, &[])));
        }
        assert_eq!(least_measured(&records), []);
    }
}
