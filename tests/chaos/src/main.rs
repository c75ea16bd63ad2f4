//! `syncline-chaos`: breaks a running installation again and again, and looks over plain REST whether the target is the
//! source's masked copy: nothing lost, nothing twice, every link right.
//!
//! It runs the shipped programs as separate processes against a private NATS and PostgreSQL and two simulated orgs. Each
//! trial is a small refresh into a target of its own with one fault in it ([`fault`]): a process killed at a named point of
//! the pipeline, or anything else of the list at a random moment. What is judged is in [`check`]; what is kept of a trial is
//! a line of JSON ([`record`]), of which [`matrix`] makes `docs/crash-matrix.md`.

mod check;
mod fault;
mod gateway;
mod installation;
mod matrix;
mod org;
mod record;
mod servers;
mod session;
mod strike;
mod trial;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(name = "syncline-chaos", about = "Exactly-once resume, proven by breaking a running installation")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Break things until the time is up, or everything chosen has been broken.
    Run(Run),
    /// Write the crash matrix from recorded trials.
    Matrix {
        /// Files of records, one JSON document a line.
        #[arg(required = true)]
        records: Vec<PathBuf>,
        #[arg(long, default_value = "docs/crash-matrix.md")]
        out: PathBuf,
    },
    /// Every fault that can be chosen.
    List,
}

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Set {
    /// Every named point.
    Points,
    /// Hanging beyond the lease at points of the loader, masker and extractor.
    Hangs,
    /// The list of other faults.
    Others,
    /// All of it.
    All,
    /// Whatever has been measured least often, as long as it was less than three times; several sessions may share it.
    Few,
    /// The few minutes that every change must pass.
    Fixed,
}

#[derive(Debug, Args)]
pub struct Run {
    #[arg(long, env = "CHAOS_MINUTES", default_value_t = 10.0)]
    pub minutes: f64,
    /// The same seed chooses the same faults, passages and moments in the same order.
    #[arg(long, env = "CHAOS_SEED")]
    pub seed: Option<u64>,
    #[arg(long, value_enum, env = "CHAOS_SET", default_value = "all")]
    pub set: Set,
    /// Only faults whose `name @ place` holds this: with a trial's seed, `--skip` of one less than its number and `--trials 1`
    /// it repeats one that was chosen as least measured.
    #[arg(long, env = "CHAOS_ONLY")]
    pub only: Option<String>,
    /// Go on behind this many trials of the seed: `--seed N --skip 7 --trials 1` repeats the eighth alone.
    #[arg(long, default_value_t = 0)]
    pub skip: u32,
    #[arg(long)]
    pub trials: Option<u32>,
    /// One point per trial, so that a defect is that point's; otherwise several processes die in each.
    #[arg(long, env = "CHAOS_ALONE")]
    pub alone: bool,
    /// Records of the source, at least.
    #[arg(long, env = "CHAOS_SCALE", default_value_t = 3000)]
    pub scale: u64,
    /// Also scan NATS, PostgreSQL and logs on disk for the source's values after every trial.
    #[arg(long)]
    pub scan: bool,
    /// Where records are added.
    #[arg(long, default_value = ".local/chaos/records.jsonl")]
    pub records: PathBuf,
    /// Where the programs are; beside this one otherwise.
    #[arg(long, env = "SYNCLINE_BIN")]
    pub bin: Option<PathBuf>,
    /// Keep logs and data of the session.
    #[arg(long)]
    pub keep: bool,
}

impl Run {
    /// What was recorded before, in the repository and by this and other sessions.
    pub fn all_records(&self) -> anyhow::Result<Vec<record::Record>> {
        let mut all = Vec::new();
        for file in [&repository().join("tests/chaos/records.jsonl"), &self.records] {
            if file.exists() {
                all.extend(record::Record::read_all(file)?);
            }
        }
        Ok(all)
    }
}

/// The repository that this program was built from.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[allow(clippy::print_stderr, reason = "the last word of a failed command")]
fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(run) => session::run(&run),
        Command::Matrix { records, out } => matrix::write(&records, &out).map(|()| true),
        Command::List => session::list().map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("syncline-chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}
