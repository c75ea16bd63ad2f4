//! Scripted faults and the request log.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::store::value::RowError;

/// What happens to a matching request.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// Answer this instead; nothing is executed.
    Status {
        status: u16,
        #[serde(default)]
        body: Value,
        #[serde(default)]
        retry_after_secs: Option<u64>,
    },
    /// The edge's HTML maintenance page.
    Html503,
    /// Hold the request, then cut the connection; nothing is executed.
    Hang { hang_ms: u64 },
    /// Cut the connection; nothing is executed.
    Cut,
    /// Execute, then cut the connection before the answer.
    CutAfter,
    /// Execute, then cut the connection in the middle of the body.
    Truncate,
    /// Execute, then send the body in chunks of one byte.
    Trickle,
    /// Execute, then say the body is something else.
    ContentType { content_type: String },
    /// Execute after a delay.
    Delay { delay_ms: u64 },
}

/// A rule: the next `times` requests that match, after skipping `skip`.
#[derive(Debug, Clone, Deserialize)]
pub struct Fault {
    /// HTTP method; any when absent.
    #[serde(default)]
    pub method: Option<String>,
    /// Part of the path; any when empty.
    #[serde(default)]
    pub path: String,
    #[serde(default)]
    pub skip: u64,
    #[serde(default = "once")]
    pub times: u64,
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// Row errors a test may inject: those that come from load rather than from the data.
const ROW_CODES: [&str; 6] = [
    "UNABLE_TO_LOCK_ROW",
    "SERVER_UNAVAILABLE",
    "REQUEST_RUNNING_TOO_LONG",
    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
    "DUPLICATES_DETECTED",
    "UNKNOWN_EXCEPTION",
];

/// The next `times` Bulk rows of an object fail, after skipping `skip`.
#[derive(Debug, Clone, Deserialize)]
pub struct RowFault {
    pub object: String,
    pub code: String,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub skip: u64,
    #[serde(default = "once")]
    pub times: u64,
}

/// Which of the Bulk API's directions a job fault is for.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    #[default]
    Ingest,
    Query,
}

/// What becomes of a Bulk job.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum JobFaultKind {
    /// It fails with `message` once it has committed `after_rows` rows (to the next chunk of 200); the rest stays unprocessed.
    #[default]
    Fail,
    /// It stays in progress after so many rows until it is aborted, or until somebody has looked at it `looks` times.
    Stuck,
    /// It is gone after `reads` reads of its results.
    Vanish,
}

/// The next Bulk job of an object comes to grief.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobFault {
    pub object: String,
    #[serde(default)]
    pub direction: Direction,
    #[serde(default)]
    pub kind: JobFaultKind,
    #[serde(default)]
    pub after_rows: usize,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub looks: Option<u64>,
    #[serde(default)]
    pub reads: u64,
}

fn once() -> u64 {
    1
}

/// Rules and counters of one org.
#[derive(Default)]
pub struct Faults {
    rules: Mutex<Vec<Fault>>,
    row_faults: Mutex<Vec<(&'static str, RowFault)>>,
    job_faults: Mutex<Vec<JobFault>>,
    log: Mutex<BTreeMap<String, u64>>,
    writes: AtomicU64,
    latency_ms: AtomicU64,
}

impl Faults {
    fn rules(&self) -> std::sync::MutexGuard<'_, Vec<Fault>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, fault: Fault) {
        self.rules().push(fault);
    }

    /// Scripts row errors; false when the code is none of the injectable ones.
    pub fn add_row_fault(&self, fault: RowFault) -> bool {
        let Some(code) = ROW_CODES.into_iter().find(|c| *c == fault.code) else {
            return false;
        };
        self.row_faults.lock().unwrap_or_else(PoisonError::into_inner).push((code, fault));
        true
    }

    pub fn add_job_fault(&self, fault: JobFault) {
        self.job_faults.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// The scripted error of the next row of an object.
    pub fn row_fault(&self, object: &str) -> Option<RowError> {
        let mut faults = self.row_faults.lock().unwrap_or_else(PoisonError::into_inner);
        let (code, fault) = faults.iter_mut().find(|(_, f)| f.object == object && f.times > 0)?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        fault.times -= 1;
        let error = RowError::new(code, fault.message.clone(), &[]);
        faults.retain(|(_, f)| f.times > 0);
        Some(error)
    }

    /// Takes the fault of this kind for a job that has handled `rows` rows.
    pub fn job_fault(&self, object: &str, direction: Direction, kind: JobFaultKind, rows: usize) -> Option<JobFault> {
        let mut faults = self.job_faults.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = |f: &JobFault| f.object == object && f.direction == direction && f.kind == kind && rows >= f.after_rows;
        let at = faults.iter().position(is_due)?;
        Some(faults.remove(at))
    }

    pub fn clear(&self) {
        self.rules().clear();
        self.row_faults.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.job_faults.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.latency_ms.store(0, Ordering::Relaxed);
    }

    /// How often scripted faults of every kind would still happen.
    pub fn left(&self) -> u64 {
        let rows = self.row_faults.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = self.job_faults.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = self.rules();
        rules.iter().map(|r| r.times).chain(rows.iter().map(|(_, f)| f.times)).sum::<u64>() + jobs.len() as u64
    }

    pub fn set_latency_ms(&self, latency_ms: u64) {
        self.latency_ms.store(latency_ms, Ordering::Relaxed);
    }

    pub fn latency_ms(&self) -> u64 {
        self.latency_ms.load(Ordering::Relaxed)
    }

    /// The fault for this request, consuming one of its uses.
    pub fn take(&self, method: &str, path: &str) -> Option<FaultKind> {
        let mut rules = self.rules();
        let hit = rules.iter_mut().find(|rule| {
            rule.times > 0 && rule.method.as_deref().is_none_or(|m| m.eq_ignore_ascii_case(method)) && path.contains(&rule.path)
        })?;
        if hit.skip > 0 {
            hit.skip -= 1;
            return None;
        }
        hit.times -= 1;
        let kind = hit.kind.clone();
        rules.retain(|r| r.times > 0);
        Some(kind)
    }

    /// Counts a request under its template (ids replaced).
    pub fn count(&self, method: &str, segments: &[&str]) {
        let mut template = String::from(method);
        template.push(' ');
        for segment in segments {
            template.push('/');
            let is_id = (segment.len() == 15 || segment.len() == 18)
                && segment.bytes().all(|c| c.is_ascii_alphanumeric())
                && segment.bytes().any(|c| c.is_ascii_digit());
            template.push_str(if is_id { "{id}" } else { segment });
        }
        *self.log().entry(template).or_default() += 1;
    }

    /// Counts committed record writes.
    pub fn wrote(&self, records: u64) {
        self.writes.fetch_add(records, Ordering::Relaxed);
    }

    /// Requests by method and template, and records written.
    pub fn report(&self) -> Value {
        json!({"requests": *self.log(), "writes": self.writes.load(Ordering::Relaxed)})
    }

    pub fn reset_report(&self) {
        self.log().clear();
        self.writes.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_skips_then_fires_the_given_number_of_times() {
        let faults = Faults::default();
        let fault = json!({"method": "POST", "path": "/jobs", "skip": 1, "times": 2, "kind": "cut"});
        faults.add(serde_json::from_value(fault).unwrap());
        assert_eq!(faults.take("GET", "/x/jobs"), None);
        assert_eq!(faults.take("POST", "/x/jobs"), None);
        assert_eq!(faults.left(), 2);
        assert_eq!(faults.take("POST", "/x/jobs"), Some(FaultKind::Cut));
        assert_eq!(faults.left(), 1);
        assert_eq!(faults.take("POST", "/x/jobs"), Some(FaultKind::Cut));
        assert_eq!(faults.take("POST", "/x/jobs"), None);
        assert_eq!(faults.left(), 0);
    }
}
