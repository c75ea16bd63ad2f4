//! Dead letters: their cause, never their content.

use serde_json::{Value, json};
use syncline_wire::monitor::DeadLetter;

use super::{dash, moment_json};
use crate::figures::{grouped, moment};
use crate::table::Table;

#[must_use]
pub fn table(total: u64, letters: &[DeadLetter]) -> String {
    let mut text = match total {
        0 => return "no dead letters\n".to_owned(),
        1 => "1 dead letter\n".to_owned(),
        n => format!("{} dead letters\n", grouped(n)),
    };
    let mut table = Table::new(&[
        ">id",
        "at (UTC)",
        "run",
        "stage",
        "object",
        "state",
        ">records",
        ">attempts",
        "code",
        "cause",
        "batch",
    ]);
    for l in letters {
        table.row([
            l.id.to_string().as_str(),
            &moment(l.at.as_ref()),
            &l.run,
            &l.stage,
            dash(&l.object),
            dash(&l.state),
            &l.records.to_string(),
            &l.attempts.to_string(),
            dash(&l.code),
            dash(&l.cause),
            dash(&l.batch),
        ]);
    }
    text.push_str(&table.render(0));
    let shown = letters.len() as u64;
    if shown < total {
        text.push_str(&format!("... and {} older ones; see --limit\n", grouped(total - shown)));
    }
    text
}

/// One letter: what is known of it.
#[must_use]
pub fn details(l: &DeadLetter) -> String {
    let mut text = format!("dead letter {}: {}\n", l.id, dash(&l.state));
    let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:<12} {value}\n"));
    line("run", &l.run);
    line("object", dash(&l.object));
    line("stage", &l.stage);
    line("batch", dash(&l.batch));
    line(
        "records",
        &if l.records == 0 {
            "not known".to_owned()
        } else {
            grouped(l.records)
        },
    );
    line("attempts", &l.attempts.to_string());
    line("cause", &format!("{} {}", dash(&l.code), l.cause));
    line("first", &format!("{} UTC", moment(l.at.as_ref())));
    line("last", &format!("{} UTC", moment(l.last_at.as_ref())));
    line("replays", &l.replays.to_string());
    if !l.decided_by.is_empty() || l.decided_at.is_some() {
        line(
            "decided by",
            &format!("{} at {} UTC", dash(&l.decided_by), moment(l.decided_at.as_ref())),
        );
    }
    if !l.reason.is_empty() {
        line("reason", &l.reason);
    }
    text
}

#[must_use]
pub fn letter_json(l: &DeadLetter) -> Value {
    json!({
        "id": l.id, "run": l.run, "stage": l.stage, "object": l.object, "batch": l.batch, "code": l.code,
        "cause": l.cause, "attempts": l.attempts, "at": moment_json(l.at.as_ref()), "records": l.records,
        "state": l.state, "last_at": moment_json(l.last_at.as_ref()), "replays": l.replays, "decided_by": l.decided_by,
        "decided_at": moment_json(l.decided_at.as_ref()), "reason": l.reason,
    })
}

#[must_use]
pub fn to_json(total: u64, letters: &[DeadLetter]) -> Value {
    let letters: Vec<Value> = letters.iter().map(letter_json).collect();
    json!({"total": total, "dead_letters": letters})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(id: u64) -> DeadLetter {
        DeadLetter {
            id,
            run: "r-1".into(),
            stage: "loader".into(),
            object: "Contact".into(),
            code: "SYSTEM_DEAD_LETTER_001".into(),
            cause: "not loaded in 6 attempts".into(),
            attempts: 6,
            ..DeadLetter::default()
        }
    }

    #[test]
    fn letters_are_counted_and_those_that_are_not_shown_are_mentioned() {
        assert_eq!(table(0, &[]), "no dead letters\n");
        let one = table(1, &[letter(7)]);
        assert!(
            one.starts_with("1 dead letter\n") && one.contains("not loaded in 6 attempts"),
            "{one}"
        );
        assert!(!one.contains("older"), "{one}");
        let some = table(1_200, &[letter(7), letter(6)]);
        assert!(some.starts_with("1,200 dead letters\n") && some.contains("1,198 older"), "{some}");
    }

    #[test]
    fn one_letter_shows_who_decided_and_why() {
        let mut one = letter(7);
        assert!(details(&one).contains("records      not known") && !details(&one).contains("decided"));
        one.state = "discarded".into();
        one.records = 1_200;
        one.decided_by = "ann".into();
        one.reason = "test data".into();
        let text = details(&one);
        for part in ["dead letter 7: discarded", "1,200", "ann", "test data"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn programs_are_told_the_same() {
        let json = to_json(3, &[letter(7)]);
        assert_eq!(
            (json["total"].as_u64(), json["dead_letters"][0]["attempts"].as_u64()),
            (Some(3), Some(6))
        );
        assert!(json["dead_letters"][0]["at"].is_null());
    }
}
