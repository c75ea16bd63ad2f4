//! What a run will cost in API calls: an estimate before, compared with the actual figure in the report.
//!
//! Source: who it is and its limits, look-up tables, a describe and a count per object; few records are read by a query,
//! many by a job that is made, polled, read page by page and deleted. Target: the same once for planning and by a job once
//! per object for reading back, and seven calls per ingest job (create, upload, close, polls, three kinds of results, delete).

use syncline_domain::ErrorCode;
use syncline_domain::issue::{Issue, Severity};
use syncline_domain::plan::{Cost, ObjectPlan};
use syncline_domain::spec::Existing;
use syncline_salesforce::choice::{self, Read};

use crate::facts::Facts;

/// Records per page of a reading.
const PAGE_RECORDS: u64 = 50_000;
/// Records per ingest job: what the loader's groups of batches come to in pass 1, and its rows per job in pass 2.
const JOB_RECORDS: u64 = 20_000;
const CALLS_PER_JOB: u64 = 7;
const POLLS_PER_READING: u64 = 3;
/// Identity, limits, users, queues, record types, price books.
const CALLS_PER_END: u64 = 6;
/// Share of what is left from which a person is warned, in percent.
const WARN_PERCENT: u64 = 80;

pub(super) fn project(objects: &[ObjectPlan], existing: Existing) -> Cost {
    let mut cost = Cost {
        source_calls: CALLS_PER_END,
        target_calls: CALLS_PER_END,
        ..Cost::default()
    };
    for object in objects {
        let jobs_per_pass = object.records.div_ceil(JOB_RECORDS);
        let mut jobs = jobs_per_pass;
        if object.has_deferred() {
            jobs += jobs_per_pass;
        }
        if existing == Existing::Replace {
            jobs += 1;
        }
        cost.records += object.records;
        cost.jobs += jobs;
        cost.source_calls += 2 + reading(object);
        cost.target_calls += 1 + jobs * CALLS_PER_JOB + reading_by_job(object.records);
    }
    cost
}

/// Whichever way the connector will choose.
fn reading(object: &ObjectPlan) -> u64 {
    match choice::read(Some(object.records), &object.fields) {
        Read::Query => choice::query_calls(object.records, &object.fields),
        Read::Bulk => reading_by_job(object.records),
    }
}

fn reading_by_job(records: u64) -> u64 {
    2 + POLLS_PER_READING + records.div_ceil(PAGE_RECORDS).max(1)
}

pub(super) fn check(cost: Cost, facts: &Facts, issues: &mut Vec<Issue>) {
    for (end, calls, left) in [
        ("source", cost.source_calls, facts.source.calls_left),
        ("target", cost.target_calls, facts.target.calls_left),
    ] {
        let Some(left) = left else { continue };
        let severity = if calls > left {
            Severity::Fatal
        } else if calls.saturating_mul(100) > left.saturating_mul(WARN_PERCENT) {
            Severity::Warning
        } else {
            continue;
        };
        issues.push(Issue::new(
            ErrorCode::DailyApiLimit,
            severity,
            format!("the run needs about {calls} API calls of the {end}, which has {left} left today"),
        ));
    }
}
