//! What this process used for a run.
//!
//! The monitor looks at its own process when it first hears of a run and when the run ends, and files the difference
//! under the run. Under `syncline dev` that process holds every service, so the figure is the whole installation's; a
//! monitor that runs by itself accounts for itself only, and the other services may file their own
//! `ResourceUse` facts, which are added up. CPU is what the process used *during* the run, so runs that overlap share it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use syncline_runtime::usage::ProcessUsage;

/// Runs whose starting point is remembered at once; the oldest are forgotten, their CPU is then unknown.
const STARTS_MAX: usize = 1024;

/// The name under which this process files what it used: the executable's.
#[must_use]
pub fn process_name() -> String {
    std::env::current_exe()
        .ok()
        .and_then(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .unwrap_or_else(|| "monitor".to_owned())
}

/// Remembers what the process had used when each run began.
#[derive(Debug, Default)]
pub struct Starts(Mutex<HashMap<String, (u64, ProcessUsage)>>);

impl Starts {
    /// Notes the run's beginning; later calls for the same run change nothing.
    pub fn begin(&self, run: &str) {
        let mut starts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if starts.contains_key(run) {
            return;
        }
        let sample = ProcessUsage::now();
        if starts.len() >= STARTS_MAX
            && let Some(oldest) = starts.iter().min_by_key(|(_, (order, _))| *order).map(|(run, _)| run.clone())
        {
            starts.remove(&oldest);
        }
        let order = starts.values().map(|(order, _)| order + 1).max().unwrap_or(0);
        starts.insert(run.to_owned(), (order, sample));
    }

    /// What was used since [`Starts::begin`]; `None` if this process did not see the beginning.
    #[must_use]
    pub fn since(&self, run: &str) -> Option<ProcessUsage> {
        let starts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, start) = starts.get(run)?;
        let now = ProcessUsage::now();
        Some(ProcessUsage {
            cpu_seconds: (now.cpu_seconds - start.cpu_seconds).max(0.0),
            peak_memory_bytes: now.peak_memory_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_run_is_charged_with_what_came_after_its_beginning() {
        let starts = Starts::default();
        assert_eq!(starts.since("r-1"), None);
        starts.begin("r-1");
        let used = starts.since("r-1").unwrap();
        assert!(used.cpu_seconds < 60.0 && used.peak_memory_bytes > 0, "{used:?}");
    }

    #[test]
    fn the_starts_that_are_remembered_are_bounded() {
        let starts = Starts::default();
        for n in 0..=STARTS_MAX {
            starts.begin(&format!("r-{n}"));
        }
        assert!(starts.since("r-0").is_none());
        assert!(starts.since("r-1").is_some());
    }
}
