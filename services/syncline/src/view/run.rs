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
