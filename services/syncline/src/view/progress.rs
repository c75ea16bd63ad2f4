//! A run on its way: a line per object with a bar per stage on a terminal, a line per change elsewhere.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use syncline_domain::run::Step;
use syncline_wire::monitor::{ObjectProgress, Snapshot};

use super::run::failure;
use super::text_json;
use crate::figures::{grouped, percent};

/// Cells of one stage's bar.
const BAR_CELLS: u64 = 8;
const NAME_WIDTH_MIN: usize = 12;
/// Between two lines about figures alone; a change of status or phase is told at once.
const LINE_PAUSE: Duration = Duration::from_secs(2);

/// The four stages as shares of one object's records.
fn shares(o: &ObjectProgress) -> [u64; 4] {
    let done = |step: Step| o.phase.parse::<Step>().is_ok_and(|latest| latest >= step);
    let share = |part: u64, step: Step| if done(step) { 100 } else { percent(part, o.expected) };
    [
        share(o.extracted, Step::Extract),
        share(o.transformed, Step::Transform),
        share(o.loaded, Step::LoadPass1),
        // Verification takes a sample, so its share is known only when it is done.
        if done(Step::Verify) {
            100
        } else if o.verified > 0 {
            50
        } else {
            0
        },
    ]
}

/// The widest name, for [`line`] and [`header`].
#[must_use]
pub fn name_width(objects: &[ObjectProgress]) -> usize {
    objects
        .iter()
        .map(|o| o.object.chars().count())
        .max()
        .unwrap_or(0)
        .max(NAME_WIDTH_MIN)
}

/// Titles above the lines.
#[must_use]
pub fn header(name_width: usize) -> String {
    format!("{:name_width$}  extract  transf.  load     verify    records", "")
}

/// One object's line.
#[must_use]
pub fn line(o: &ObjectProgress, name_width: usize) -> String {
    let bars: Vec<String> = shares(o).into_iter().map(bar).collect();
    let mut text = format!(
        "{:name_width$}  {}  {:>9} of {}",
        o.object,
        bars.join(" "),
        grouped(o.loaded),
        grouped(o.expected)
    );
    if o.refused > 0 {
        text.push_str(&format!(", {} refused", grouped(o.refused)));
    }
    text
}

fn bar(share: u64) -> String {
    let full = share * BAR_CELLS / 100;
    let partial = u64::from(full < BAR_CELLS && !(share * BAR_CELLS).is_multiple_of(100));
    (0..BAR_CELLS)
        .map(|cell| match cell {
            c if c < full => '█',
            c if c < full + partial => '▌',
            _ => '·',
        })
        .collect()
}

/// The line about the whole run.
#[must_use]
pub fn status_line(s: &Snapshot) -> String {
    let loaded: u64 = s.objects.iter().map(|o| o.loaded).sum();
    let expected: u64 = s.objects.iter().map(|o| o.expected).sum();
    let mut text = format!("run {}: {}", s.run, s.status);
    if expected > 0 {
        text.push_str(&format!(", {} of {} records loaded", grouped(loaded), grouped(expected)));
    }
    if !s.waiting_for.is_empty() {
        text.push_str(&format!(", waiting for {}", s.waiting_for));
    }
    text
}

/// Turns snapshots into lines for a log: what changed, and figures now and then.
#[derive(Debug, Default)]
pub struct Lines {
    status: String,
    waiting_for: String,
    phases: HashMap<String, String>,
    figures: Option<(Instant, Vec<ObjectProgress>)>,
}

impl Lines {
    /// The lines to print for this snapshot.
    pub fn next(&mut self, s: &Snapshot, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        if s.status != self.status || s.waiting_for != self.waiting_for {
            self.status.clone_from(&s.status);
            self.waiting_for.clone_from(&s.waiting_for);
            lines.push(status_line(s));
        }
        for o in &s.objects {
            if !o.phase.is_empty() && self.phases.get(&o.object) != Some(&o.phase) {
                self.phases.insert(o.object.clone(), o.phase.clone());
                lines.push(format!("  {}: {} done, {}", o.object, o.phase, figures(o)));
            }
        }
        let due = match &self.figures {
            None => true,
            Some((at, told)) => now.duration_since(*at) >= LINE_PAUSE && *told != s.objects,
        };
        if due {
            let told: HashMap<&str, &ObjectProgress> = match &self.figures {
                Some((_, told)) => told.iter().map(|o| (o.object.as_str(), o)).collect(),
                None => HashMap::new(),
            };
            for o in &s.objects {
                let moved = told.get(o.object.as_str()).is_none_or(|before| *before != o);
                let finished = o.phase == Step::Verify.as_str();
                if moved && !finished && o.extracted > 0 {
                    lines.push(format!("  {}: {}", o.object, figures(o)));
                }
            }
            self.figures = Some((now, s.objects.clone()));
        }
        lines
    }
}

fn figures(o: &ObjectProgress) -> String {
    let mut text = format!(
        "extracted {}, transformed {}, loaded {} of {}",
        grouped(o.extracted),
        grouped(o.transformed),
        grouped(o.loaded),
        grouped(o.expected)
    );
    if o.verified > 0 {
        text.push_str(&format!(", verified {}", grouped(o.verified)));
    }
    if o.refused > 0 {
        text.push_str(&format!(", refused {}", grouped(o.refused)));
    }
    text
}

#[must_use]
pub fn to_json(s: &Snapshot) -> Value {
    let objects: Vec<Value> = s
        .objects
        .iter()
        .map(|o| {
            json!({
                "object": o.object, "expected": o.expected, "extracted": o.extracted, "transformed": o.transformed,
                "loaded": o.loaded, "verified": o.verified, "refused": o.refused, "phase": text_json(&o.phase),
            })
        })
        .collect();
    json!({
        "cursor": s.cursor,
        "run": s.run,
        "status": s.status,
        "waiting_for": text_json(&s.waiting_for),
        "failure": failure(&s.failure_code, &s.failure_message),
        "objects": objects,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(extracted: u64, transformed: u64, loaded: u64, phase: &str) -> ObjectProgress {
        ObjectProgress {
            object: "Account".into(),
            expected: 1000,
            extracted,
            transformed,
            loaded,
            phase: phase.into(),
            ..Default::default()
        }
    }

    fn snapshot(status: &str, o: ObjectProgress) -> Snapshot {
        Snapshot {
            run: "r-1".into(),
            status: status.into(),
            objects: vec![o],
            ..Default::default()
        }
    }

    #[test]
    fn a_line_shows_every_stage() {
        let width = name_width(&[object(0, 0, 0, "")]);
        assert_eq!(header(width), "              extract  transf.  load     verify    records");
        assert_eq!(
            line(&object(1000, 500, 30, "extract"), width),
            "Account       ████████ ████···· ▌······· ········         30 of 1,000"
        );
        let refused = ObjectProgress {
            refused: 3,
            ..object(1000, 1000, 1000, "verify")
        };
        assert_eq!(
            line(&refused, width),
            "Account       ████████ ████████ ████████ ████████      1,000 of 1,000, 3 refused"
        );
    }

    #[test]
    fn an_object_without_records_is_full_once_its_steps_are_done() {
        let empty = ObjectProgress {
            expected: 0,
            ..object(0, 0, 0, "load_pass_1")
        };
        assert_eq!(shares(&empty), [100, 100, 100, 0]);
    }

    #[test]
    fn a_log_gets_changes_at_once_and_figures_now_and_then() {
        let mut lines = Lines::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(
            lines.next(&snapshot("extracting", object(10, 0, 0, "")), at(0)),
            [
                "run r-1: extracting, 0 of 1,000 records loaded",
                "  Account: extracted 10, transformed 0, loaded 0 of 1,000"
            ]
        );
        assert!(
            lines.next(&snapshot("extracting", object(20, 0, 0, "")), at(100)).is_empty(),
            "too soon"
        );
        assert_eq!(
            lines.next(&snapshot("extracting", object(1000, 0, 0, "extract")), at(200)),
            ["  Account: extract done, extracted 1,000, transformed 0, loaded 0 of 1,000"]
        );
        assert_eq!(
            lines.next(&snapshot("extracting", object(1000, 400, 0, "extract")), at(2_100)),
            ["  Account: extracted 1,000, transformed 400, loaded 0 of 1,000"]
        );
        assert!(
            lines
                .next(&snapshot("extracting", object(1000, 400, 0, "extract")), at(9_000))
                .is_empty()
        );
    }
}
