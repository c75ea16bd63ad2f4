//! What a run ended without, and what of it is loaded again.

use serde_json::{Value, json};
use syncline_wire::run::RetryFailedResponse;

use super::{dash, text_json};
use crate::figures::grouped;
use crate::table::Table;

/// The groups, with how many of each are loaded again.
#[must_use]
pub fn table(answer: &RetryFailedResponse) -> String {
    let mut table = Table::new(&["object", "kind", ">records", ">kept", ">again", "code", "native", "fields"]);
    for f in &answer.failed {
        let again = match f.kind.as_str() {
            "parked" => "once parents come".to_owned(),
            _ => grouped(f.chosen),
        };
        table.row([
            f.object.as_str(),
            &f.kind,
            &grouped(f.count),
            &grouped(f.kept),
            &again,
            dash(&f.code),
            dash(&f.native),
            dash(&f.fields),
        ]);
    }
    table.render(0)
}

/// What is asked before it is done.
#[must_use]
pub fn question(answer: &RetryFailedResponse, run: &str) -> String {
    format!(
        "Load {} refused records of run {run} again, and {} parked ones whose parents are there by then?",
        grouped(answer.chosen),
        grouped(answer.parked)
    )
}

#[must_use]
pub fn text(answer: &RetryFailedResponse, run: &str, done: bool) -> String {
    if answer.failed.is_empty() {
        return format!("run {run} has neither refused nor parked records\n");
    }
    if done {
        return format!("run {run} is reopened; follow it with `syncline runs watch {run}`\n");
    }
    let mut text = table(answer);
    text.push_str(if answer.chosen + answer.parked > 0 {
        "nothing was done\n"
    } else {
        "none of these fit what was asked for, or their records are no longer kept\n"
    });
    text
}

#[must_use]
pub fn to_json(answer: &RetryFailedResponse, done: bool) -> Value {
    let failed = answer.failed.iter().map(|f| {
        json!({
            "object": f.object, "kind": f.kind, "code": f.code, "native": text_json(&f.native), "fields": text_json(&f.fields),
            "count": f.count, "kept": f.kept, "chosen": f.chosen, "remedy": f.remedy,
        })
    });
    let failed: Vec<Value> = failed.collect();
    let run = answer.run.as_ref().map(super::run::to_json);
    json!({"run": run, "failed": failed, "chosen": answer.chosen, "parked": answer.parked, "done": done})
}

#[cfg(test)]
mod tests {
    use syncline_wire::run::FailedRecords;

    use super::*;

    #[test]
    fn it_says_what_is_loaded_again_and_what_cannot_be() {
        let failed = |kind: &str, kept, chosen| FailedRecords {
            object: "Contact".into(),
            kind: kind.into(),
            code: "DATA_VALIDATION_RULE_001".into(),
            count: 5,
            kept,
            chosen,
            ..FailedRecords::default()
        };
        let mut answer = RetryFailedResponse {
            failed: vec![failed("refused", 4, 4), failed("parked", 5, 0)],
            chosen: 4,
            parked: 5,
            ..RetryFailedResponse::default()
        };
        assert!(question(&answer, "r-1").contains("4 refused records of run r-1"));
        let undone = text(&answer, "r-1", false);
        assert!(
            undone.contains("once parents come") && undone.ends_with("nothing was done\n"),
            "{undone}"
        );
        assert!(text(&answer, "r-1", true).contains("runs watch r-1"));
        (answer.chosen, answer.parked) = (0, 0);
        assert!(text(&answer, "r-1", false).contains("no longer kept"));
        assert!(text(&RetryFailedResponse::default(), "r-1", false).contains("neither"));
        assert_eq!(to_json(&answer, false)["failed"][0]["kept"], 4);
    }
}
