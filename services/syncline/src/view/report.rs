//! The report of a run: every record that was read is written or explained.

use serde_json::{Value, json};
use syncline_wire::monitor::{ErrorGroup, ObjectReport, Report};

use super::run::failure;
use super::{dash, moment_json, text_json};
use crate::figures::{duration, grouped, mebibytes, moment};
use crate::table::Table;

/// Ids shown per group of errors; the JSON has all there are.
const SAMPLES_SHOWN: usize = 5;

/// The report as text.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut text = head(report);
    if !report.objects.is_empty() {
        section(&mut text, "records", &records(&report.objects, is_over(&report.status)));
        section(&mut text, "references and verification", &references(&report.objects));
    }
    let (masked, empty) = masked(&report.objects);
    if !masked.is_empty() {
        section(&mut text, "masked values", &masked);
    }
    if empty > 0 {
        let fields = if empty == 1 { "field was" } else { "fields were" };
        text.push_str(&format!("  {empty} more classified {fields} empty in every record\n"));
    }
    text.push('\n');
    text.push_str(&cost(report));
    if !report.errors.is_empty() {
        text.push_str("\nerrors\n");
        for group in &report.errors {
            text.push_str(&error(group));
        }
    }
    text
}

fn section(text: &mut String, title: &str, table: &Table) {
    text.push_str(&format!("\n{title}\n"));
    text.push_str(&table.render(2));
}

fn head(r: &Report) -> String {
    let mut text = format!("run {} of {} version {}: {}\n", r.run, dash(&r.sync), r.sync_version, r.status);
    if !r.failure_code.is_empty() || !r.failure_message.is_empty() {
        text.push_str(&format!("  {} {}\n", r.failure_code, r.failure_message));
        if let Ok(code) = r.failure_code.parse::<syncline_domain::ErrorCode>() {
            text.push_str(&format!("  remedy: {}\n", code.entry().remedy));
        }
    }
    text.push_str(&format!(
        "  from {} to {} UTC\n",
        moment(r.started_at.as_ref()),
        moment(r.finished_at.as_ref())
    ));
    text
}

fn is_over(status: &str) -> bool {
    status.parse().is_ok_and(syncline_domain::run::Status::is_terminal)
}

fn records(objects: &[ObjectReport], over: bool) -> Table {
    let deleted = objects.iter().any(|o| o.deleted > 0);
    let mut titles = vec![
        "object",
        ">read",
        ">inserted",
        ">updated",
        ">unchanged",
        ">filtered",
        ">refused",
        ">parked",
        ">dead",
        "balanced",
    ];
    if deleted {
        titles.push(">deleted");
    }
    let mut table = Table::new(&titles);
    for o in objects.iter().chain(std::iter::once(&sum(objects))) {
        let mut row = vec![o.object.clone()];
        row.extend([o.read, o.inserted, o.updated, o.unchanged, o.filtered, o.refused, o.parked, o.dead].map(grouped));
        let balanced = match (o.balanced, over) {
            (true, _) => "✓",
            (false, true) => "NO",
            (false, false) => "not yet",
        };
        row.push(balanced.to_owned());
        if deleted {
            row.push(grouped(o.deleted));
        }
        table.row(row);
    }
    table
}

fn references(objects: &[ObjectReport]) -> Table {
    let mut table = Table::new(&[
        "object",
        ">resolved",
        ">deferred",
        ">nulled",
        ">verified",
        ">wrong",
        ">values compared",
        ">different",
        ">leaks",
        ">in target",
    ]);
    for o in objects.iter().chain(std::iter::once(&sum(objects))) {
        let mut row = vec![o.object.clone()];
        row.extend(
            [
                o.references_resolved,
                o.references_deferred,
                o.references_nulled,
                o.references_verified,
                o.references_wrong,
                o.values_compared,
                o.values_different,
                o.leaks,
                o.target_count,
            ]
            .map(grouped),
        );
        table.row(row);
    }
    table
}

fn sum(objects: &[ObjectReport]) -> ObjectReport {
    let mut total = ObjectReport {
        object: "total".to_owned(),
        balanced: true,
        ..ObjectReport::default()
    };
    for o in objects {
        total.read += o.read;
        total.inserted += o.inserted;
        total.updated += o.updated;
        total.unchanged += o.unchanged;
        total.filtered += o.filtered;
        total.refused += o.refused;
        total.parked += o.parked;
        total.dead += o.dead;
        total.deleted += o.deleted;
        total.balanced &= o.balanced;
        total.references_resolved += o.references_resolved;
        total.references_deferred += o.references_deferred;
        total.references_nulled += o.references_nulled;
        total.references_verified += o.references_verified;
        total.references_wrong += o.references_wrong;
        total.values_compared += o.values_compared;
        total.values_different += o.values_different;
        total.leaks += o.leaks;
        total.target_count += o.target_count;
    }
    total
}

/// Fields that held values, and how many did not. The JSON has them all.
fn masked(objects: &[ObjectReport]) -> (Table, usize) {
    let mut table = Table::new(&["field", "strategy", ">masked", ">empty", ">unchanged"]);
    let mut empty = 0;
    for o in objects {
        for f in &o.fields {
            if f.masked == 0 && f.unchanged == 0 {
                empty += 1;
                continue;
            }
            table.row([
                format!("{}.{}", o.object, f.field).as_str(),
                &f.strategy,
                &grouped(f.masked),
                &grouped(f.null),
                &grouped(f.unchanged),
            ]);
        }
    }
    (table, empty)
}

fn cost(r: &Report) -> String {
    let read: u64 = r.objects.iter().map(|o| o.read).sum();
    let mut text = format!(
        "API calls: {} to the source, {} to the target, {} jobs, {} per million records\n",
        grouped(r.source_calls),
        grouped(r.target_calls),
        grouped(r.jobs),
        grouped(r.calls_per_million_records)
    );
    text.push_str(&format!(
        "records:   {} projected, {} read\n",
        grouped(r.projected_records),
        grouped(read)
    ));
    text.push_str(&format!(
        "time:      wall {}, CPU {}, {} records/s\n",
        duration(r.wall_seconds),
        duration(r.cpu_seconds),
        grouped(r.records_per_second)
    ));
    if r.peak_memory_bytes > 0 {
        text.push_str(&format!("memory:    {} at most\n", mebibytes(r.peak_memory_bytes)));
    }
    text
}

fn error(e: &ErrorGroup) -> String {
    let records = if e.count == 1 { "record" } else { "records" };
    let mut text = format!("  {} {} {records} {}: {} {}\n", grouped(e.count), e.object, e.kind, e.code, e.title);
    if !e.native.is_empty() || !e.fields.is_empty() {
        text.push_str(&format!("    the target says {}", dash(&e.native)));
        if !e.fields.is_empty() {
            text.push_str(&format!(" on {}", e.fields));
        }
        text.push('\n');
    }
    if !e.reason.is_empty() {
        text.push_str(&format!("    {}\n", e.reason));
    }
    if e.resolved > 0 {
        text.push_str(&format!("    {} more were resolved by retry\n", grouped(e.resolved)));
    }
    if !e.remedy.is_empty() && e.count > 0 {
        text.push_str(&format!("    remedy: {}\n", e.remedy));
    }
    if !e.sample_ids.is_empty() {
        let shown: Vec<&str> = e.sample_ids.iter().take(SAMPLES_SHOWN).map(String::as_str).collect();
        let more = if e.count > shown.len() as u64 { ", ..." } else { "" };
        text.push_str(&format!("    such as {}{more}\n", shown.join(", ")));
    }
    text
}

/// The report as JSON: everything there is.
#[must_use]
pub fn to_json(r: &Report) -> Value {
    let objects: Vec<Value> = r.objects.iter().map(object_json).collect();
    let errors: Vec<Value> = r.errors.iter().map(error_json).collect();
    json!({
        "run": r.run,
        "sync": r.sync,
        "sync_version": r.sync_version,
        "status": r.status,
        "failure": failure(&r.failure_code, &r.failure_message),
        "started_at": moment_json(r.started_at.as_ref()),
        "finished_at": moment_json(r.finished_at.as_ref()),
        "wall_seconds": r.wall_seconds,
        "cpu_seconds": r.cpu_seconds,
        "peak_memory_bytes": r.peak_memory_bytes,
        "records_per_second": r.records_per_second,
        "source_calls": r.source_calls,
        "target_calls": r.target_calls,
        "calls_per_million_records": r.calls_per_million_records,
        "projected_records": r.projected_records,
        "jobs": r.jobs,
        "balanced": r.objects.iter().all(|o| o.balanced),
        "objects": objects,
        "errors": errors,
    })
}

fn object_json(o: &ObjectReport) -> Value {
    let fields: Vec<Value> = o
        .fields
        .iter()
        .map(|f| json!({"field": f.field, "strategy": f.strategy, "masked": f.masked, "null": f.null, "unchanged": f.unchanged}))
        .collect();
    json!({
        "object": o.object,
        "read": o.read,
        "inserted": o.inserted,
        "updated": o.updated,
        "unchanged": o.unchanged,
        "filtered": o.filtered,
        "refused": o.refused,
        "parked": o.parked,
        "dead": o.dead,
        "deleted": o.deleted,
        "balanced": o.balanced,
        "references": {
            "resolved": o.references_resolved, "deferred": o.references_deferred, "nulled": o.references_nulled,
            "verified": o.references_verified, "wrong": o.references_wrong,
        },
        "values_compared": o.values_compared,
        "values_different": o.values_different,
        "leaks": o.leaks,
        "target_count": o.target_count,
        "fields": fields,
    })
}

fn error_json(e: &ErrorGroup) -> Value {
    json!({
        "object": e.object, "kind": e.kind, "code": e.code, "title": e.title, "remedy": e.remedy,
        "native": text_json(&e.native), "fields": text_json(&e.fields), "count": e.count, "sample_ids": e.sample_ids,
        "resolved": e.resolved, "state": e.state, "reason": text_json(&e.reason),
    })
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use syncline_wire::monitor::FieldReport;

    use super::*;

    fn fixed() -> Report {
        Report {
            run: "r-1".into(),
            sync: "refresh".into(),
            sync_version: 2,
            status: "completed_with_errors".into(),
            started_at: Some(Timestamp {
                seconds: 1_800_000_000,
                nanos: 0,
            }),
            finished_at: Some(Timestamp {
                seconds: 1_800_000_042,
                nanos: 0,
            }),
            wall_seconds: 42.0,
            cpu_seconds: 61.25,
            peak_memory_bytes: 210 << 20,
            records_per_second: 1_000,
            source_calls: 120,
            target_calls: 340,
            calls_per_million_records: 18_400,
            projected_records: 42_000,
            jobs: 12,
            objects: vec![
                ObjectReport {
                    object: "Account".into(),
                    read: 12_000,
                    inserted: 11_997,
                    refused: 3,
                    balanced: true,
                    references_resolved: 12_000,
                    references_deferred: 800,
                    references_verified: 12_800,
                    values_compared: 1_000,
                    target_count: 11_997,
                    fields: vec![
                        FieldReport {
                            field: "Fax".into(),
                            strategy: "fake(phone)".into(),
                            null: 12_000,
                            ..Default::default()
                        },
                        FieldReport {
                            field: "Phone".into(),
                            strategy: "fake(phone)".into(),
                            masked: 11_000,
                            null: 1_000,
                            unchanged: 0,
                        },
                    ],
                    ..Default::default()
                },
                ObjectReport {
                    object: "Contact".into(),
                    read: 30_000,
                    inserted: 29_000,
                    ..Default::default()
                },
            ],
            errors: vec![ErrorGroup {
                object: "Account".into(),
                code: "DATA_VALIDATION_RULE_001".into(),
                title: "Refused by a validation rule".into(),
                remedy: "Correct the record.".into(),
                native: "FIELD_CUSTOM_VALIDATION_EXCEPTION".into(),
                fields: "Phone".into(),
                count: 3,
                sample_ids: vec!["001A0".into(), "001A1".into()],
                kind: "refused".into(),
                ..ErrorGroup::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn the_report_reads_like_this() {
        let expected = "\
run r-1 of refresh version 2: completed_with_errors
  from 2027-01-15 08:00:00 to 2027-01-15 08:00:42 UTC

records
  object     read  inserted  updated  unchanged  filtered  refused  parked  dead  balanced
  Account  12,000    11,997        0          0         0        3       0     0  ✓
  Contact  30,000    29,000        0          0         0        0       0     0  NO
  total    42,000    40,997        0          0         0        3       0     0  NO

references and verification
  object   resolved  deferred  nulled  verified  wrong  values compared  different  leaks  in target
  Account    12,000       800       0    12,800      0            1,000          0      0     11,997
  Contact         0         0       0         0      0                0          0      0          0
  total      12,000       800       0    12,800      0            1,000          0      0     11,997

masked values
  field          strategy     masked  empty  unchanged
  Account.Phone  fake(phone)  11,000  1,000          0
  1 more classified field was empty in every record

API calls: 120 to the source, 340 to the target, 12 jobs, 18,400 per million records
records:   42,000 projected, 42,000 read
time:      wall 42.0 s, CPU 1 min 01 s, 1,000 records/s
memory:    210 MiB at most

errors
  3 Account records refused: DATA_VALIDATION_RULE_001 Refused by a validation rule
    the target says FIELD_CUSTOM_VALIDATION_EXCEPTION on Phone
    remedy: Correct the record.
    such as 001A0, 001A1, ...
";
        assert_eq!(text(&fixed()), expected);
    }

    #[test]
    fn books_of_a_run_that_goes_on_are_not_wrong_yet() {
        let report = Report {
            status: "loading".into(),
            ..fixed()
        };
        let text = text(&report);
        assert!(text.contains("not yet") && !text.contains("  NO\n"), "{text}");
    }

    #[test]
    fn a_failed_run_says_why_and_what_to_do() {
        let report = Report {
            run: "r-1".into(),
            status: "failed".into(),
            failure_code: "SCHEMA_QUERY_001".into(),
            failure_message: "row 1, column 9: unexpected token".into(),
            ..Default::default()
        };
        let text = text(&report);
        assert!(text.contains("SCHEMA_QUERY_001 row 1, column 9"), "{text}");
        assert!(text.contains("remedy: Correct `where`"), "{text}");
    }

    #[test]
    fn the_json_holds_the_same_figures() {
        let value = to_json(&fixed());
        assert_eq!(value["balanced"], false);
        assert_eq!(value["objects"][0]["references"]["deferred"], 800);
        assert_eq!(value["objects"][0]["fields"][1]["masked"], 11_000);
        assert_eq!(value["errors"][0]["count"], 3);
        assert_eq!(value["started_at"], "2027-01-15T08:00:00.000Z");
        assert_eq!(value["failure"], Value::Null);
    }
}
