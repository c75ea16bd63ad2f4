//! Runs as the coordinator knows them.

use serde_json::{Value, json};
use syncline_wire::run::Run;

use super::{moment_json, text_json};
use crate::figures::moment;
use crate::table::Table;

#[must_use]
pub fn table(runs: &[Run]) -> String {
    if runs.is_empty() {
        return "no runs; start one with `syncline run SYNC`\n".to_owned();
    }
    let mut table = Table::new(&["run", "sync", ">version", "status", "submitted (UTC)", "finished (UTC)", "failure"]);
    for r in runs {
        table.row([
            r.id.as_str(),
            &r.sync,
            &r.sync_version.to_string(),
            &r.status,
            &moment(r.submitted_at.as_ref()),
            &moment(r.finished_at.as_ref()),
            &r.failure_code,
        ]);
    }
    table.render(0)
}

#[must_use]
pub fn details(r: &Run) -> String {
    let mut table = Table::new(&["run", &r.id]);
    table.row(["sync", &format!("{} version {}", r.sync, r.sync_version)]);
    table.row(["status", &r.status]);
    if !r.failure_code.is_empty() {
        table.row(["failure", &format!("{} {}", r.failure_code, r.failure_message)]);
    }
    table.row(["submitted", &moment(r.submitted_at.as_ref())]);
    table.row(["finished", &moment(r.finished_at.as_ref())]);
    let mut text = table.render(0);
    if !r.objects.is_empty() {
        let mut objects = Table::new(&["object", "phase"]);
        for o in &r.objects {
            objects.row([o.object.as_str(), if o.phase.is_empty() { "finished" } else { &o.phase }]);
        }
        text.push('\n');
        text.push_str(&objects.render(0));
    }
    text
}

#[must_use]
pub fn to_json(r: &Run) -> Value {
    let objects: Vec<Value> = r
        .objects
        .iter()
        .map(|o| json!({"object": o.object, "phase": text_json(&o.phase), "finished": o.phase.is_empty()}))
        .collect();
    json!({
        "id": r.id,
        "sync": r.sync,
        "sync_version": r.sync_version,
        "status": r.status,
        "version": r.version,
        "objects": objects,
        "failure": failure(&r.failure_code, &r.failure_message),
        "submitted_at": moment_json(r.submitted_at.as_ref()),
        "finished_at": moment_json(r.finished_at.as_ref()),
    })
}

pub(super) fn failure(code: &str, message: &str) -> Value {
    if code.is_empty() && message.is_empty() {
        Value::Null
    } else {
        json!({"code": text_json(code), "message": message})
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use syncline_wire::run::ObjectPhase;

    use super::*;

    fn failed() -> Run {
        let phase = |object: &str, phase: &str| ObjectPhase {
            object: object.into(),
            phase: phase.into(),
        };
        Run {
            id: "r-1".into(),
            sync: "refresh".into(),
            sync_version: 3,
            status: "failed".into(),
            objects: vec![phase("Account", ""), phase("Contact", "load_pass_1")],
            failure_code: "SCHEMA_FIELD_001".into(),
            failure_message: "Contact has no field X".into(),
            submitted_at: Some(Timestamp {
                seconds: 1_700_000_000,
                nanos: 0,
            }),
            ..Run::default()
        }
    }

    #[test]
    fn a_run_shows_where_each_object_stands_and_why_it_failed() {
        let text = details(&failed());
        for part in [
            "refresh version 3",
            "SCHEMA_FIELD_001 Contact has no field X",
            "load_pass_1",
            "2023-11-14 22:13:20",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        let account = text.lines().find(|line| line.contains("Account")).unwrap_or_default();
        assert!(account.contains("finished"), "{text}");
        let list = table(&[failed()]);
        assert!(list.contains("r-1") && list.contains("SCHEMA_FIELD_001"), "{list}");
        assert!(table(&[]).contains("syncline run SYNC"));
    }

    #[test]
    fn programs_are_told_the_same_with_nulls_for_what_is_not() {
        let json = to_json(&failed());
        assert_eq!(json["objects"][0], json!({"object": "Account", "phase": null, "finished": true}));
        assert_eq!(json["failure"]["code"], "SCHEMA_FIELD_001");
        assert!(json["finished_at"].is_null());
        let running = Run {
            failure_code: String::new(),
            failure_message: String::new(),
            ..failed()
        };
        assert!(to_json(&running)["failure"].is_null());
        assert!(!details(&running).contains("failure"));
    }
}
