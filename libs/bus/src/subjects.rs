//! Every subject, once. Tokens are validated names, so they hold neither dots nor wildcards.

use std::fmt;

use syncline_domain::{BatchName, ObjectName, RunId, TenantId};

/// Streams are sharded; until there is need there is one shard, and its token is here already.
pub const SHARD: u32 = 0;

/// Who may read a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Audience {
    /// Extractor to masker.
    Raw,
    /// Masker to loader.
    Clean,
}

impl Audience {
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Clean => "clean",
        }
    }

    #[must_use]
    pub fn stream(self) -> String {
        match self {
            Self::Raw => format!("RAW_{SHARD}"),
            Self::Clean => format!("CLEAN_{SHARD}"),
        }
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

/// `raw.<shard>.<tenant>.<run>.<object>.<partition>`
#[must_use]
pub fn batch(audience: Audience, tenant: &TenantId, name: &BatchName) -> String {
    format!("{audience}.{SHARD}.{tenant}.{}.{}.{}", name.run, name.object, name.partition)
}

/// Every partition of an object.
#[must_use]
pub fn object_batches(audience: Audience, tenant: &TenantId, run: &RunId, object: &ObjectName) -> String {
    format!("{audience}.{SHARD}.{tenant}.{run}.{object}.*")
}

/// Everything of a run.
#[must_use]
pub fn run_batches(audience: Audience, tenant: &TenantId, run: &RunId) -> String {
    format!("{audience}.{SHARD}.{tenant}.{run}.>")
}

/// `task.<stage>.<priority>.<tenant>.<run>`
#[must_use]
pub fn task(stage: &str, tenant: &TenantId, run: &RunId) -> String {
    format!("task.{stage}.normal.{tenant}.{run}")
}

/// Every task of a stage.
#[must_use]
pub fn stage_tasks(stage: &str) -> String {
    format!("task.{stage}.>")
}

/// `event.<tenant>.<run>.<kind>`
#[must_use]
pub fn event(tenant: &str, run: &str, kind: &str) -> String {
    format!("event.{tenant}.{run}.{kind}")
}

/// `dead.<stage>.<tenant>.<run>`
#[must_use]
pub fn dead(stage: &str, tenant: &TenantId, run: &RunId) -> String {
    format!("dead.{stage}.{tenant}.{run}")
}

/// Stage, tenant and run of a [`dead`] subject; `None` for anything else.
#[must_use]
pub fn parse_dead(subject: &str) -> Option<(&str, TenantId, RunId)> {
    let (stage, rest) = subject.strip_prefix("dead.")?.split_once('.')?;
    let (tenant, run) = rest.split_once('.')?;
    Some((stage, tenant.parse().ok()?, run.parse().ok()?))
}

/// Name of the consumer through which a stage reads an object's batches.
#[must_use]
pub fn batch_consumer(stage: &str, run: &RunId, object: &ObjectName) -> String {
    format!("{stage}_{run}_{object}")
}

/// Whether a consumer has such a name for this run. Stages and run ids hold no `_`, objects may.
pub(crate) fn is_consumer_of(name: &str, run: &RunId) -> bool {
    name.split_once('_')
        .and_then(|(_, rest)| rest.strip_prefix(run.as_str()))
        .is_some_and(|rest| rest.starts_with('_'))
}

/// Headers, once.
pub mod header {
    pub const MESSAGE_ID: &str = "Nats-Msg-Id";
    pub const BATCH: &str = "Syncline-Batch";
    pub const PLAN: &str = "Syncline-Plan";
    pub const CODE: &str = "Syncline-Code";
    pub const CAUSE: &str = "Syncline-Cause";
    pub const ATTEMPTS: &str = "Syncline-Attempts";
    pub const OBJECT: &str = "Syncline-Object";
    /// How many source records a batch stands for.
    pub const RECORDS: &str = "Syncline-Records";
    /// How often the run had been reopened.
    pub const ROUND: &str = "Syncline-Round";
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_dead_subject_read_back_and_nothing_else_does() {
        let (tenant, run) = (TenantId::new("acme").unwrap(), RunId::new("r-1").unwrap());
        let subject = dead("masker", &tenant, &run);
        assert_eq!(parse_dead(&subject), Some(("masker", tenant, run)));
        for other in [
            "",
            "dead.",
            "dead.masker",
            "dead.masker.acme",
            "dead.masker.acme.r-1.x",
            "task.masker.acme.r-1",
            "dead.m.A.r",
        ] {
            assert_eq!(parse_dead(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_consumer_belongs_to_the_run_in_its_second_place() {
        let (run, object) = (RunId::new("abc").unwrap(), ObjectName::new("My_Thing__c").unwrap());
        assert!(is_consumer_of(&batch_consumer("loader", &run, &object), &run));
        for other in [
            "",
            "abc",
            "loader_abc",
            "loader_abcd_Account",
            "loader_xabc_Account",
            "loader_r-2_A_abc_B",
        ] {
            assert!(!is_consumer_of(other, &run), "{other:?}");
        }
    }
}
