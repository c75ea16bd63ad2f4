//! What is missing, unreachable, too old or misconfigured, and how to mend it.
//!
//! Guarantees: it changes nothing; every wait has a bound ([`CHECK_MAX`] for a check); a finding never holds a password, a
//! token or a key: addresses are shown without what stands before their `@`.
//!
//! Start with [`Finding`]. [`client`] looks at the way to the gateway, the other rooms at an installation by the environment
//! of its services.

pub mod bus;
pub mod certificate;
pub mod client;
pub mod database;
pub mod environment;
pub mod keys;
pub mod peers;
pub mod tls;

use std::time::Duration;

use serde::Serialize;
use tonic::Status;

/// How long one check may take.
pub const CHECK_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: String,
    pub verdict: Verdict,
    pub detail: String,
    /// How to mend it; of everything that is not well.
    pub remedy: Option<String>,
}

impl Finding {
    pub fn ok(check: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            verdict: Verdict::Ok,
            detail: detail.into(),
            remedy: None,
        }
    }

    pub fn warn(check: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warn,
            remedy: Some(remedy.into()),
            ..Self::ok(check, detail)
        }
    }

    pub fn fail(check: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fail,
            ..Self::warn(check, detail, remedy)
        }
    }
}

/// Findings in the order in which they are shown, and what could not be looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examination {
    pub findings: Vec<Finding>,
    pub unseen: Vec<String>,
}

impl Examination {
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub fn append(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.unseen.extend(other.unseen);
    }

    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|f| f.verdict == verdict).count()
    }
}

/// A call's answer, or that it did not come in time.
async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = || Status::deadline_exceeded(format!("no answer within {} s", CHECK_MAX.as_secs()));
    tokio::time::timeout(CHECK_MAX, call).await.unwrap_or_else(|_| Err(late()))
}

/// An error with its causes, as far as they say more.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
