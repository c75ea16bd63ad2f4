//! From the books to the report. Pure: the same books give the same report.

use std::collections::HashMap;

use indexmap::IndexMap;
use syncline_domain::ErrorCode;
use syncline_domain::counts::Counts;
use syncline_domain::run::Status;
use syncline_wire::monitor::{ErrorGroup, FieldReport, ObjectReport, Report};
use syncline_wire::time::to_proto;

use crate::store::{Books, RefusedRow, counted};

/// The stage whose totals count what the source gave.
pub(crate) const EXTRACTOR: &str = "extractor";
pub(crate) const MASKER: &str = "masker";
pub(crate) const LOADER: &str = "loader";

/// States of a group of errors.
const OPEN: &str = "open";
const RESOLVED: &str = "resolved by retry";

/// The report of a run, finished or not.
#[must_use]
pub fn report(run: &str, books: &Books) -> Report {
    let objects = objects(books);
    let wall_seconds = match (books.run.started_at, books.run.finished_at) {
        (Some(from), Some(to)) => seconds_between(from, to),
        (Some(from), None) => books.latest().map_or(0.0, |to| seconds_between(from, to)),
        _ => 0.0,
    };
    let read: u64 = objects.iter().map(|o| o.read).sum();
    let (failure_code, failure_message) = failure(books);
    let verify_calls: u64 = books.verifies.iter().map(|v| counted(v.api_calls)).sum();
    let load_calls: u64 = books.loads.iter().map(|l| counted(l.api_calls)).sum();
    let source_calls: u64 = books
        .stages
        .iter()
        .filter(|s| s.stage != LOADER)
        .map(|s| counted(s.api_calls))
        .sum();
    let target_calls = load_calls + verify_calls;
    Report {
        run: run.to_owned(),
        sync: books.run.sync.clone(),
        sync_version: u32::try_from(books.run.sync_version).unwrap_or(0),
        status: books.run.status.clone(),
        failure_code,
        failure_message,
        started_at: books.run.started_at.map(to_proto),
        finished_at: books.run.finished_at.map(to_proto),
        wall_seconds,
        cpu_seconds: books.cpu_seconds,
        peak_memory_bytes: counted(books.peak_memory_bytes),
        records_per_second: per_second(read, wall_seconds),
        source_calls,
        target_calls,
        calls_per_million_records: per_million(source_calls + target_calls, read),
        projected_records: counted(books.run.projected_records),
        jobs: books.loads.iter().map(|l| counted(l.jobs)).sum(),
        objects,
        errors: errors(books),
    }
}

/// Why the run failed. The coordinator's word goes first; until it is heard, the earliest failed step's.
pub(crate) fn failure(books: &Books) -> (String, String) {
    if !books.run.failure_code.is_empty() || books.run.status != Status::Failed.as_str() {
        return (books.run.failure_code.clone(), books.run.failure_message.clone());
    }
    books
        .steps
        .iter()
        .filter(|s| s.failed_at.is_some())
        .min_by_key(|s| s.failed_at)
        .map_or_else(Default::default, |s| (s.code.clone(), s.message.clone()))
}

/// Objects in load order; those that no plan named come last, by name.
pub(crate) fn object_order(books: &Books) -> Vec<String> {
    let mut order: IndexMap<&str, ()> = books.outline.iter().map(|o| (o.as_str(), ())).collect();
    let mut others: Vec<&str> = books
        .stages
        .iter()
        .map(|s| s.object.as_str())
        .chain(books.loads.iter().map(|l| l.object.as_str()))
        .chain(books.masks.iter().map(|m| m.object.as_str()))
        .chain(books.verifies.iter().map(|v| v.object.as_str()))
        .filter(|object| !object.is_empty())
        .collect();
    others.sort_unstable();
    order.extend(others.into_iter().map(|o| (o, ())));
    order.into_keys().map(str::to_owned).collect()
}

fn objects(books: &Books) -> Vec<ObjectReport> {
    let loads: HashMap<&str, _> = books.loads.iter().map(|l| (l.object.as_str(), l)).collect();
    let verifies: HashMap<&str, _> = books.verifies.iter().map(|v| (v.object.as_str(), v)).collect();
    let mut objects: Vec<ObjectReport> = object_order(books)
        .into_iter()
        .map(|object| {
            let mut row = ObjectReport {
                read: books.stage_records(EXTRACTOR, &object),
                ..ObjectReport::default()
            };
            if let Some(load) = loads.get(object.as_str()) {
                // The loader can't miss what never reached it, so what the extractor counted stands if it is more.
                row.read = row.read.max(counted(load.read));
                row.inserted = counted(load.inserted);
                row.updated = counted(load.updated);
                row.unchanged = counted(load.unchanged);
                row.filtered = counted(load.filtered);
                row.refused = counted(load.refused);
                row.parked = counted(load.parked);
                row.dead = counted(load.dead);
                row.deleted = counted(load.deleted);
                row.references_resolved = counted(load.references_resolved);
                row.references_deferred = counted(load.references_deferred);
                row.references_nulled = counted(load.references_nulled);
            }
            if let Some(verify) = verifies.get(object.as_str()) {
                row.references_verified = counted(verify.references_verified);
                row.references_wrong = counted(verify.references_wrong);
                row.values_compared = counted(verify.values_compared);
                row.values_different = counted(verify.values_different);
                row.leaks = counted(verify.leaks);
                row.target_count = counted(verify.target_count);
            }
            row.balanced = counts(&row).balanced();
            row.object = object;
            row
        })
        .collect();
    for mask in &books.masks {
        if let Some(row) = objects.iter_mut().find(|o| o.object == mask.object) {
            row.fields.push(FieldReport {
                field: mask.field.clone(),
                strategy: mask.strategy.clone(),
                masked: counted(mask.masked),
                null: counted(mask.nulls),
                unchanged: counted(mask.unchanged),
            });
        }
    }
    objects
}

fn counts(row: &ObjectReport) -> Counts {
    Counts {
        read: row.read,
        inserted: row.inserted,
        updated: row.updated,
        unchanged: row.unchanged,
        filtered: row.filtered,
        refused: row.refused,
        parked: row.parked,
        dead: row.dead,
        deleted: row.deleted,
    }
}

/// Errors by group, largest first, with what the catalogue says of them. In every round an object's groups are told anew, so
/// one of an earlier round has gone over into others.
#[must_use]
pub fn errors(books: &Books) -> Vec<ErrorGroup> {
    let loads: HashMap<&str, _> = books.loads.iter().map(|l| (l.object.as_str(), l)).collect();
    let is_current = |r: &&RefusedRow| {
        let Some(load) = loads.get(r.object.as_str()) else { return true };
        // What was parked once and written later is no error.
        r.round >= load.round && (r.kind != "parked" || load.parked > 0 || r.resolved > 0)
    };
    books
        .refused
        .iter()
        .filter(is_current)
        .map(|r| {
            let entry = r.code.parse::<ErrorCode>().ok().map(ErrorCode::entry);
            ErrorGroup {
                object: r.object.clone(),
                code: r.code.clone(),
                title: entry.map(|e| e.title.to_owned()).unwrap_or_default(),
                remedy: entry.map(|e| e.remedy.to_owned()).unwrap_or_default(),
                native: r.native.clone(),
                fields: r.fields.clone(),
                count: counted(r.count),
                sample_ids: r.sample_ids.clone(),
                kind: r.kind.clone(),
                resolved: counted(r.resolved),
                state: if r.count > 0 { OPEN } else { RESOLVED }.to_owned(),
                reason: r.reason.clone(),
            }
        })
        .collect()
}

fn seconds_between(from: chrono::DateTime<chrono::Utc>, to: chrono::DateTime<chrono::Utc>) -> f64 {
    (to - from).as_seconds_f64().max(0.0)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rate is rounded anyway"
)]
fn per_second(records: u64, seconds: f64) -> u64 {
    if seconds > 0.0 {
        (records as f64 / seconds).round() as u64
    } else {
        0
    }
}

/// What a run of a million records would cost if it went on like this one; a small run's fixed calls weigh more.
fn per_million(calls: u64, records: u64) -> u64 {
    let scaled = u128::from(calls) * 1_000_000;
    match u128::from(records) {
        0 => 0,
        records => u64::try_from((scaled + records / 2) / records).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_scaled_to_a_million_records() {
        for (calls, records, scaled) in [
            (0, 0, 0),
            (5, 0, 0),
            (15, 100, 150_000),
            (460, 1_000_000, 460),
            (1, 3_000_000, 0),
            (2, 3_000_000, 1),
            (u64::MAX, 1, u64::MAX),
        ] {
            assert_eq!(per_million(calls, records), scaled, "{calls} calls for {records}");
        }
    }
}
