//! What is kept of a trial: one line of JSON.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub at: String,
    /// Of the whole session, and which trial of it this was: together they choose everything that was chosen.
    pub seed: u64,
    pub trial: u32,
    pub version: String,
    pub fault: String,
    /// Where: a failpoint, a service, an org, a link of the network.
    pub point: String,
    /// How many faults this trial had. What was redone, and the records moved, stand with the first of them.
    #[serde(default = "one")]
    pub together: u32,
    /// Choices of this trial, for people.
    pub detail: String,
    pub records: u64,
    /// `good`; `not reached` when the fault did not happen; anything else is a defect.
    pub outcome: String,
    pub lost: u64,
    pub duplicated: u64,
    pub wrong_links: u64,
    /// Other differences that the comparison found.
    pub different: u64,
    /// Batches published on the bus more often than once.
    pub republished: u64,
    /// Batches that the loader was given more often than once.
    pub reloaded: u64,
    /// Records written at the target beyond those of an undisturbed run.
    pub rewritten: i64,
    /// From the moment everything ran again to the first batch after it.
    pub resume_seconds: Option<f64>,
    /// From the end of each lease that was lost to its follower's first batch.
    pub takeover_seconds: Vec<f64>,
    pub run_seconds: f64,
    /// What was wrong, in words.
    pub findings: Vec<String>,
}

fn one() -> u32 {
    1
}

pub const GOOD: &str = "good";
pub const NOT_REACHED: &str = "not reached";
/// How the first finding begins when the run did not complete.
pub const INCOMPLETE: &str = "the run is ";

impl Record {
    pub fn append(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut open = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
        writeln!(open, "{}", serde_json::to_string(self)?)?;
        Ok(())
    }

    pub fn read_all(file: &Path) -> Result<Vec<Self>> {
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        lines
            .map(|(number, line)| serde_json::from_str(line).with_context(|| format!("{}:{}", file.display(), number + 1)))
            .collect()
    }

    /// Whether the trial showed what it was to show, well or badly.
    pub fn is_measured(&self) -> bool {
        self.outcome != NOT_REACHED
    }

    /// Records that a run which says it is complete did not bring. What a run that stopped has not brought is not lost.
    pub fn lost_for_good(&self) -> u64 {
        match self.findings.first() {
            Some(first) if first.starts_with(INCOMPLETE) => 0,
            _ => self.lost,
        }
    }

    pub fn is_bad(&self) -> bool {
        self.is_measured() && self.outcome != GOOD
    }
}
