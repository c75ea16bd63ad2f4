//! From the books to a snapshot of a run on its way. Pure.

use std::collections::HashMap;

use syncline_domain::run::Step;
use syncline_wire::monitor::{ObjectProgress, Snapshot};

use crate::report::{EXTRACTOR, MASKER, failure, object_order};
use crate::store::{Books, counted};

/// Where the run stands.
#[must_use]
pub fn snapshot(run: &str, books: &Books) -> Snapshot {
    let (failure_code, failure_message) = failure(books);
    Snapshot {
        cursor: counted(books.run.cursor),
        run: run.to_owned(),
        status: books.run.status.clone(),
        objects: objects(books),
        waiting_for: waiting_for(books),
        failure_code,
        failure_message,
    }
}

fn objects(books: &Books) -> Vec<ObjectProgress> {
    let loads: HashMap<&str, _> = books.loads.iter().map(|l| (l.object.as_str(), l)).collect();
    let verifies: HashMap<&str, _> = books.verifies.iter().map(|v| (v.object.as_str(), v)).collect();
    object_order(books)
        .into_iter()
        .map(|object| {
            let load = loads.get(object.as_str());
            let extracted = books.stage_records(EXTRACTOR, &object);
            ObjectProgress {
                expected: books.expected(&object).max(extracted),
                extracted,
                transformed: books.stage_records(MASKER, &object),
                loaded: load.map_or(0, |l| {
                    counted(l.inserted + l.updated + l.unchanged + l.filtered + l.refused + l.parked + l.dead)
                }),
                verified: verifies
                    .get(object.as_str())
                    .map_or(0, |v| counted(v.values_compared.max(v.references_verified))),
                refused: load.map_or(0, |l| counted(l.refused + l.parked + l.dead)),
                phase: latest_done(books, &object),
                object,
            }
        })
        .collect()
}

/// The furthest step that was reported finished.
fn latest_done(books: &Books, object: &str) -> String {
    books
        .steps
        .iter()
        .filter(|s| s.done && s.object == object)
        .filter_map(|s| s.step.parse::<Step>().ok())
        .max()
        .map(|step| step.to_string())
        .unwrap_or_default()
}

/// What the run waits for: the latest step that gave its lease back and of which nothing was heard since.
fn waiting_for(books: &Books) -> String {
    if books.run.terminal {
        return String::new();
    }
    books
        .steps
        .iter()
        .filter(|s| !s.done)
        .filter_map(|s| Some((s.yielded_at?, s)))
        .filter(|(at, s)| books.object_latest(&s.object).is_none_or(|latest| latest <= *at))
        .max_by_key(|(at, _)| *at)
        .map(|(_, s)| {
            if s.object.is_empty() {
                s.reason.clone()
            } else {
                format!("{}: {}", s.object, s.reason)
            }
        })
        .unwrap_or_default()
}
