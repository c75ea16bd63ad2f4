//! Empty jobs that nobody will ever fill: their maker died before it could store their id.
//!
//! Only open jobs of our own user on the plan's objects, older than ten minutes and known to no journal entry, are
//! aborted. An open job has written nothing, and a job of ours is filled only after its id is stored.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use syncline_connect::target::JobListing;
use syncline_connect::{JobState, Target};
use syncline_runtime::StageError;

use crate::context::Context;
use crate::store;

/// A job younger than this may be about to get its entry.
const AGE_MIN: TimeDelta = TimeDelta::minutes(10);
/// The target forgets open jobs by itself after seven days (Bulk API 2.0, limits).
const AGE_MAX: TimeDelta = TimeDelta::days(8);

/// Sweeps where the run begins: with its first object. A failure is only told, for nothing depends on it.
pub(crate) async fn once_per_run(context: &Context) {
    if context.plan().objects.first().map(|o| &o.name) != Some(context.name()) {
        return;
    }
    let objects: HashSet<&str> = context.plan().objects.iter().map(|o| o.target.as_str()).collect();
    match sweep(&context.target, &context.platform.db, &objects, Utc::now()).await {
        Ok(0) => {}
        Ok(swept) => tracing::info!(swept, "empty jobs that nobody knew were aborted"),
        Err(error) => tracing::warn!(%error, "empty jobs could not be swept"),
    }
}

/// Aborts abandoned jobs on `objects` as of `now`; answers how many.
///
/// # Errors
/// [`StageError`] when target or database cannot be asked.
pub async fn sweep(target: &dyn Target, db: &PgPool, objects: &HashSet<&str>, now: DateTime<Utc>) -> Result<usize, StageError> {
    let jobs = target.list_jobs(now - AGE_MAX).await?;
    let old: Vec<String> = jobs
        .into_iter()
        .filter(|j| may_be_abandoned(j, objects, now))
        .map(|j| j.id)
        .collect();
    if old.is_empty() {
        return Ok(0);
    }
    let known: HashSet<String> = store::journal::known_jobs(db, &old).await?.into_iter().collect();
    let mut swept = 0;
    for job in old.iter().filter(|j| !known.contains(*j)) {
        match target.abort_job(job).await {
            Ok(()) => swept += 1,
            Err(error) if error.gone => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(swept)
}

fn may_be_abandoned(job: &JobListing, objects: &HashSet<&str>, now: DateTime<Utc>) -> bool {
    job.state == JobState::Open && objects.contains(job.object.as_str()) && now - job.created > AGE_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_open_jobs_on_our_objects_may_be_abandoned() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("a valid moment");
        let job = |object: &str, state, age: TimeDelta| JobListing {
            id: "750".to_owned(),
            object: object.to_owned(),
            state,
            created: now - age,
            deletes: false,
        };
        let objects = HashSet::from(["Account"]);
        let old = TimeDelta::minutes(11);
        assert!(may_be_abandoned(&job("Account", JobState::Open, old), &objects, now));
        for other in [
            job("Account", JobState::Open, TimeDelta::minutes(9)),
            job("Account", JobState::Open, TimeDelta::minutes(-30)),
            job("Account", JobState::InProgress, old),
            job("Account", JobState::Uploaded, old),
            job("Lead", JobState::Open, old),
        ] {
            assert!(!may_be_abandoned(&other, &objects, now), "{other:?}");
        }
    }
}
