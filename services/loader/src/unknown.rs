//! What our own user wrote into the target and this database does not know: it was restored to an earlier moment than its last.
//!
//! The target does not go back with the database. What was written in between would be taken for new and written a second
//! time, so the link stops before anything is written, and says what is unknown.
//!
//! A foreign tool may work as the same user, so what is unknown is looked for in *gaps* alone: spans in which no loader was at work, as
//! far as the database knows. A loader notes its presence every few seconds. While it does, whatever it writes is in journal and
//! ledger, and what else is there is somebody else's. A restored database has a gap from the moment of the
//! backup to its first use, and so has one that merely stood still; then nothing is unknown.
//!
//! Two things tell: records that no ledger has, and jobs that no journal has and that wrote something or are still about to.
//! A settled job is deleted, its records stay; a job that is under way has no records yet. Deletions do not count: they are not in the
//! journal, because they can be repeated.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use syncline_connect::target::JobListing;
use syncline_connect::{JobState, Source, Target};
use syncline_domain::ErrorCode;
use syncline_domain::run::Step;
use syncline_runtime::{Platform, StageError};

use crate::context::Context;
use crate::journal;
use crate::store;
use crate::store::gaps::Gap;

/// How often presence is noted.
const PRESENCE_EVERY: Duration = Duration::from_secs(5);
/// An absence that is no pause of a healthy process.
const GAP_MS: f64 = 15_000.0;
/// Gaps are remembered as long as somebody may first look at a link after one.
const GAPS_DAYS: f64 = 90.0;
/// What two clocks may be apart although both were just read, and the resolution of the target's.
const MARGIN: TimeDelta = TimeDelta::minutes(1);
/// What the target's times are told in.
const RESOLUTION: TimeDelta = TimeDelta::seconds(1);
/// Jobs and records that a message names.
const NAMED_MAX: usize = 5;

/// Notes this process's presence until shutdown.
pub(crate) async fn be_present(platform: Platform) {
    loop {
        if let Err(error) = store::gaps::present(&platform.db, GAP_MS, GAPS_DAYS).await {
            tracing::warn!(%error, "presence could not be noted; trying again");
        }
        tokio::time::sleep(PRESENCE_EVERY).await;
    }
}

/// Before a step writes over the link: stops it if the target holds anything of ours that is unknown.
///
/// # Errors
/// `SYSTEM_UNKNOWN_001` when it does.
pub async fn check(context: &Context, step: Step) -> Result<(), StageError> {
    let clears = step == Step::Clear;
    if !clears && !matches!(step, Step::LoadPass1 | Step::LoadPass2 | Step::Orphans | Step::LoadPass3) {
        return Ok(());
    }
    let db = &context.platform.db;
    // The database may have been restored a moment ago.
    store::gaps::present(db, GAP_MS, GAPS_DAYS).await?;
    let (gaps, now) = store::gaps::of_link(db, context.link).await?;
    if gaps.is_empty() {
        return Ok(());
    }
    // What an open entry of ours wrote is not in the ledger yet.
    journal::settle_left_behind(context).await?;
    let target_now = context.target.org().await?.now;
    // What is still to come has not been looked at by anybody.
    let reviewed_until = context.plan().reviewed_until.filter(|at| *at <= target_now + MARGIN);
    let spans = spans(&gaps, target_now - now, reviewed_until);
    let jobs = unknown_jobs(context, &spans, clears).await?;
    // Records of before do not matter where the object is about to be emptied.
    let records = if clears {
        Vec::new()
    } else {
        unknown_records(context, &spans).await?
    };
    if jobs.is_empty() && records.is_empty() {
        if !clears {
            store::gaps::reconciled(db, context.link, now).await?;
        }
        return Ok(());
    }
    Err(StageError::new(
        ErrorCode::UnknownWrites,
        message(context, &spans, &records, &jobs, target_now),
    ))
}

/// The gaps by the target's clock, without what somebody has looked at.
fn spans(gaps: &[Gap], ahead: TimeDelta, reviewed_until: Option<DateTime<Utc>>) -> Vec<Gap> {
    let by_target = gaps.iter().map(|gap| Gap {
        // The second that was named has been looked at to its end.
        began: (gap.began + ahead - MARGIN).max(reviewed_until.map_or(DateTime::<Utc>::MIN_UTC, |at| at + RESOLUTION)),
        ended: gap.ended + ahead + MARGIN,
    });
    by_target.filter(|gap| gap.began < gap.ended).collect()
}

/// Jobs in a gap that no journal knows, with what they wrote.
async fn unknown_jobs(context: &Context, spans: &[Gap], only_under_way: bool) -> Result<Vec<String>, StageError> {
    let Some(since) = spans.iter().map(|s| s.began).min() else {
        return Ok(Vec::new());
    };
    let object = context.target_object().as_str();
    let listed = context.target.list_jobs(since).await?;
    let suspects: Vec<JobListing> = listed.into_iter().filter(|j| may_have_written(j, object, spans)).collect();
    let ids: Vec<String> = suspects.iter().map(|j| j.id.clone()).collect();
    let known: HashSet<String> = store::journal::known_jobs(&context.platform.db, &ids).await?.into_iter().collect();
    let mut unknown = Vec::new();
    for job in suspects.into_iter().filter(|j| !known.contains(&j.id)) {
        let status = match context.target.job_status(&job.id).await {
            Err(error) if error.gone => continue,
            other => other?,
        };
        let written = status.processed.saturating_sub(status.failed);
        if !status.state.is_terminal() {
            unknown.push(format!("{}, not finished", job.id));
        } else if written > 0 && !only_under_way {
            unknown.push(format!("{}, which wrote {written}", job.id));
        }
    }
    Ok(unknown)
}

fn may_have_written(job: &JobListing, object: &str, spans: &[Gap]) -> bool {
    // An open job has written nothing, and a job of ours is closed only if the journal says so.
    job.state != JobState::Open
        && !job.deletes
        && job.object == object
        && spans.iter().any(|s| s.began <= job.created && job.created <= s.ended)
}

/// Records in a gap that no ledger has.
async fn unknown_records(context: &Context, spans: &[Gap]) -> Result<Vec<String>, StageError> {
    let mut ids = HashSet::new();
    for span in spans {
        let found = match context.target.created(context.target_object(), span.began, Some(span.ended)).await {
            // An object whose records do not say when they were created: its jobs have to do.
            Err(error) if error.code == ErrorCode::FieldMissing => {
                tracing::warn!(object = %context.target_object(), %error, "records cannot be found by the time of their creation");
                return Ok(Vec::new());
            }
            other => other?,
        };
        ids.extend(found.into_iter().filter(|r| !r.deleted).map(|r| r.id));
    }
    let mut unknown = store::ledger::unknown_targets(&context.platform.db, context.link, ids.into_iter().collect()).await?;
    // Another link's job that is not settled explains them: its loader has died, and its next one settles it.
    if !unknown.is_empty() && store::journal::open_beside(&context.platform.db, context.link).await? {
        return Err(StageError::new(
            ErrorCode::RunActive,
            format!("records of {} wait for another sync's job to be settled", context.target_object()),
        ));
    }
    unknown.sort();
    Ok(unknown)
}

fn message(context: &Context, spans: &[Gap], records: &[String], jobs: &[String], now: DateTime<Utc>) -> String {
    let moment = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let named = |all: &[String]| {
        let rest = all.len().saturating_sub(NAMED_MAX);
        let named: Vec<&str> = all.iter().take(NAMED_MAX).map(String::as_str).collect();
        named.join("; ") + &if rest > 0 { format!("; and {rest} more") } else { String::new() }
    };
    let spans: Vec<String> = spans
        .iter()
        .map(|s| format!("{} to {}", moment(s.began), moment(s.ended)))
        .collect();
    let mut found = Vec::new();
    if !records.is_empty() {
        found.push(format!("{} records that no ledger has ({})", records.len(), named(records)));
    }
    if !jobs.is_empty() {
        found.push(format!("{} jobs that no journal has ({})", jobs.len(), named(jobs)));
    }
    format!(
        "{}: of {} the database knows nothing, and the connection's user has made in the target {}. Nothing was written. It is {} there",
        context.name(),
        spans.join(" and "),
        found.join(" and "),
        moment(now)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + 60 * minute, 0).expect("a valid moment")
    }

    fn gap(began: i64, ended: i64) -> Gap {
        Gap {
            began: at(began),
            ended: at(ended),
        }
    }

    #[test]
    fn gaps_are_seen_by_the_targets_clock_and_end_where_somebody_has_looked() {
        let gaps = [gap(10, 20), gap(40, 50)];
        let hour = TimeDelta::minutes(60);
        assert_eq!(spans(&gaps, TimeDelta::zero(), None), [gap(9, 21), gap(39, 51)]);
        assert_eq!(spans(&gaps, hour, None), [gap(69, 81), gap(99, 111)]);
        assert_eq!(spans(&gaps, -hour, None), [gap(-51, -39), gap(-21, -9)]);
        let rest = Gap {
            began: at(15) + RESOLUTION,
            ..gap(15, 21)
        };
        assert_eq!(spans(&gaps, TimeDelta::zero(), Some(at(15))), [rest, gap(39, 51)]);
        assert_eq!(spans(&gaps, TimeDelta::zero(), Some(at(30))), [gap(39, 51)]);
        assert_eq!(spans(&gaps, TimeDelta::zero(), Some(at(60))), []);
    }

    #[test]
    fn a_job_of_a_gap_counts_unless_it_is_open_or_deletes() {
        let job = |object: &str, state, minute, deletes| JobListing {
            id: "750".to_owned(),
            object: object.to_owned(),
            state,
            created: at(minute),
            deletes,
        };
        let spans = [gap(10, 20), gap(40, 50)];
        for state in [
            JobState::Uploaded,
            JobState::InProgress,
            JobState::Complete,
            JobState::Failed,
            JobState::Aborted,
        ] {
            assert!(may_have_written(&job("Account", state, 45, false), "Account", &spans), "{state:?}");
        }
        for other in [
            job("Account", JobState::Open, 45, false),
            job("Account", JobState::Complete, 45, true),
            job("Account", JobState::Complete, 30, false),
            job("Account", JobState::Complete, 60, false),
            job("Lead", JobState::Complete, 45, false),
        ] {
            assert!(!may_have_written(&other, "Account", &spans), "{other:?}");
        }
    }
}
