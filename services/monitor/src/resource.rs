//! What this process has used, read from `/proc/self`.
//!
//! The monitor samples its own process when it first hears of a run and when the run ends, and files the difference
//! under the run. Under `syncline dev` that process holds every service, so the figure is the whole installation's; a
//! monitor that runs by itself accounts for itself only, and the other services may file their own
//! `ResourceUse` facts, which are added up. CPU is what the process used *during* the run, so runs that overlap share it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Runs whose starting point is remembered at once; the oldest are forgotten, their CPU is then unknown.
const STARTS_MAX: usize = 1024;

/// Linux reports process times in ticks of 1/100 s to every user program (`proc(5)`, USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// One look at `/proc/self`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// User and system time since the process began.
    pub cpu_seconds: f64,
    /// The largest resident set there was (`VmHWM`).
    pub peak_memory_bytes: u64,
}

impl Sample {
    /// `None` where there is no `/proc`.
    #[must_use]
    pub fn take() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        Some(Self {
            cpu_seconds: cpu_seconds(&stat)?,
            peak_memory_bytes: peak_memory_bytes(&status)?,
        })
    }
}

/// `proc(5)`: fields 14 and 15 are utime and stime; the name in field 2 may hold blanks and brackets.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
}

fn peak_memory_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

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
pub struct Starts(Mutex<HashMap<String, (u64, Sample)>>);

impl Starts {
    /// Notes the run's beginning; later calls for the same run change nothing.
    pub fn begin(&self, run: &str) {
        let mut starts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if starts.contains_key(run) {
            return;
        }
        let Some(sample) = Sample::take() else { return };
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
    pub fn since(&self, run: &str) -> Option<Sample> {
        let starts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, start) = starts.get(run)?;
        let now = Sample::take()?;
        Some(Sample {
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
    fn times_are_found_behind_any_process_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 1000 1 1";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("42 (x"), None);
    }

    #[test]
    fn the_peak_is_read_in_bytes() {
        assert_eq!(peak_memory_bytes("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"), Some(2 << 20));
        assert_eq!(peak_memory_bytes("Name:\tx\n"), None);
    }

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
