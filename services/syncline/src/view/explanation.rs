//! What a run waits for.

use std::fmt::Write as _;

use serde_json::{Value, json};
use syncline_wire::run::{ExplainRunResponse, Wait};

use super::run::failure;
use super::{moment_json, text_json};

/// Waits that concern nobody are shown up to this many.
const QUIET_MAX: usize = 8;

/// `now`: seconds since 1970.
#[must_use]
pub fn text(answer: &ExplainRunResponse, now: i64) -> String {
    let mut text = format!("the run is {}\n", answer.status);
    if !answer.failure_code.is_empty() {
        let _ = writeln!(text, "{} {}\n  {}", answer.failure_code, answer.failure_message, answer.remedy);
    }
    let is_quiet = |wait: &&Wait| matches!(wait.on.as_str(), "work" | "step");
    for wait in answer.waits.iter().filter(|w| !is_quiet(w)) {
        let _ = writeln!(
            text,
            "\n{}waits for {}{}\n  {}",
            place(wait),
            wait.what,
            since(wait, now),
            wait.remedy
        );
    }
    let quiet: Vec<&Wait> = answer.waits.iter().filter(is_quiet).collect();
    if !quiet.is_empty() {
        text.push_str("\nnothing to do about:\n");
    }
    for wait in quiet.iter().take(QUIET_MAX) {
        let _ = writeln!(text, "  {}waits for {}{}", place(wait), wait.what, since(wait, now));
    }
    if quiet.len() > QUIET_MAX {
        let _ = writeln!(text, "  ... and {} more; -o json lists them", quiet.len() - QUIET_MAX);
    }
    if answer.waits.is_empty() && answer.failure_code.is_empty() {
        text.push_str("it waits for nothing\n");
    }
    text
}

fn place(wait: &Wait) -> String {
    if wait.object.is_empty() {
        "it ".to_owned()
    } else {
        format!("{} {} ", wait.object, wait.step)
    }
}

fn since(wait: &Wait, now: i64) -> String {
    let Some(since) = &wait.since else { return String::new() };
    let seconds = (now - since.seconds).max(0);
    match seconds {
        0..120 => format!(", for {seconds} s"),
        120..7_200 => format!(", for {} min", seconds / 60),
        _ => format!(", for {} h", seconds / 3_600),
    }
}

#[must_use]
pub fn to_json(answer: &ExplainRunResponse) -> Value {
    let waits: Vec<Value> = answer
        .waits
        .iter()
        .map(|w| {
            json!({
                "on": w.on,
                "object": text_json(&w.object),
                "step": text_json(&w.step),
                "what": w.what,
                "remedy": w.remedy,
                "since": moment_json(w.since.as_ref()),
            })
        })
        .collect();
    json!({
        "status": answer.status,
        "waits": waits,
        "failure": failure(&answer.failure_code, &answer.failure_message),
        "remedy": text_json(&answer.remedy),
    })
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn wait(on: &str, object: &str, since: Option<i64>) -> Wait {
        Wait {
            on: on.into(),
            object: object.into(),
            step: "load_pass_1".into(),
            what: "room".into(),
            remedy: "Make some.".into(),
            since: since.map(|seconds| Timestamp { seconds, nanos: 0 }),
        }
    }

    #[test]
    fn what_needs_somebody_has_its_remedy_and_what_does_not_is_short() {
        let mut answer = ExplainRunResponse {
            status: "loading".into(),
            waits: vec![wait("condition", "Account", Some(1_000)), wait("person", "", None)],
            ..Default::default()
        };
        answer.waits.extend((0..20).map(|n| wait("step", &format!("O{n}"), None)));
        let text = text(&answer, 1_090);
        assert!(
            text.contains("Account load_pass_1 waits for room, for 90 s\n  Make some."),
            "{text}"
        );
        assert!(text.contains("it waits for room\n"), "{text}");
        assert!(text.contains("and 12 more") && !text.contains("O19"), "{text}");
        assert_eq!(to_json(&answer)["waits"].as_array().map(Vec::len), Some(22));
    }

    #[test]
    fn a_finished_run_waits_for_nothing_and_a_failed_one_says_why() {
        let done = ExplainRunResponse {
            status: "completed".into(),
            ..Default::default()
        };
        assert!(text(&done, 0).contains("waits for nothing"));
        let failed = ExplainRunResponse {
            failure_code: "SCHEMA_FIELD_001".into(),
            remedy: "Map it.".into(),
            ..done
        };
        let text = text(&failed, 0);
        assert!(
            text.contains("SCHEMA_FIELD_001") && text.contains("Map it.") && !text.contains("nothing"),
            "{text}"
        );
    }
}
