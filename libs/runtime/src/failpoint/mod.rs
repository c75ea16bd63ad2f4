//! Named places between two effects, where a process can be made to die, hang or fail on request.
//!
//! The promise that a crash is harmless is proven by crashing at each of them ([`POINTS`]; `tests/chaos`). They are in the
//! shipped program, so that what is proven is what runs. Nothing happens at them unless the process was started with
//! `SYNCLINE_FAILPOINT`; then a passage costs a comparison per armed point, otherwise one atomic load.
//!
//! `SYNCLINE_FAILPOINT=NAME=ACTION[@PASSAGE][,…]`: at the given passage (the first unless said), once. Actions: `kill`
//! (SIGKILL to itself), `stop` (SIGSTOP to itself), `panic`, `error` (as if the database had broken at that moment),
//! `delay:MILLISECONDS`.

mod points;

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

pub use points::*;

/// A place in the pipeline. Its name is `WHERE.WHAT_HAS_JUST_HAPPENED`.
#[derive(Debug, PartialEq, Eq)]
pub struct Point {
    pub name: &'static str,
    /// Services whose process passes it.
    pub services: &'static [&'static str],
    /// What is done, and what is not yet done.
    pub between: &'static str,
}

/// What happens at an armed point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Kill,
    Stop,
    Panic,
    Error,
    Delay(Duration),
}

/// Which points are armed in a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failpoints(Vec<(&'static Point, Action, u64)>);

struct Armed {
    point: &'static Point,
    action: Action,
    passage: u64,
    passed: AtomicU64,
}

static ARMED: OnceLock<Vec<Armed>> = OnceLock::new();

impl FromStr for Failpoints {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(read).collect::<Result<_, _>>().map(Self)
    }
}

fn read(text: &str) -> Result<(&'static Point, Action, u64), String> {
    let (name, rest) = text
        .split_once('=')
        .ok_or("it is NAME=ACTION, NAME=ACTION@PASSAGE, or several with commas")?;
    let point = POINTS.iter().find(|point| point.name == name);
    let point = point.ok_or_else(|| format!("there is no failpoint `{name}`"))?;
    let (action, passage) = match rest.split_once('@') {
        None => (rest, 1),
        Some((action, passage)) => (
            action,
            passage.parse().ok().filter(|n| *n > 0).ok_or("a passage is a number above zero")?,
        ),
    };
    let action = match action.split_once(':') {
        Some(("delay", ms)) => Action::Delay(Duration::from_millis(
            ms.parse().map_err(|_| "a delay is a number of milliseconds")?,
        )),
        None if action == "kill" => Action::Kill,
        None if action == "stop" => Action::Stop,
        None if action == "panic" => Action::Panic,
        None if action == "error" => Action::Error,
        _ => return Err(format!("`{action}` is none of kill, stop, panic, error, delay:MILLISECONDS")),
    };
    Ok((point, action, passage))
}

impl fmt::Display for Failpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|(point, _, _)| point.name).collect();
        f.write_str(&names.join(","))
    }
}

/// Arms points for the rest of this process's life; the first call counts.
pub fn arm(failpoints: &Failpoints) {
    if failpoints.0.is_empty() {
        return;
    }
    tracing::warn!(%failpoints, "failpoints are armed: this process will fail on purpose");
    let armed = failpoints.0.iter().map(|(point, action, passage)| Armed {
        point,
        action: *action,
        passage: *passage,
        passed: AtomicU64::new(0),
    });
    let _ = ARMED.set(armed.collect());
}

/// The process passes a point.
///
/// # Errors
/// What a broken connection to the database would give, where the point is armed with `error`.
pub async fn pass(point: &'static Point) -> Result<(), sqlx::Error> {
    match ARMED.get() {
        None => Ok(()),
        Some(armed) => act(armed, point).await,
    }
}

async fn act(armed: &[Armed], point: &'static Point) -> Result<(), sqlx::Error> {
    for armed in armed.iter().filter(|armed| armed.point.name == point.name) {
        if armed.passed.fetch_add(1, Ordering::Relaxed) + 1 != armed.passage {
            continue;
        }
        tracing::warn!(point = point.name, action = ?armed.action, "failpoint");
        match armed.action {
            // Neither returns before the signal has done its work.
            Action::Kill => send(Signal::KILL),
            Action::Stop => send(Signal::STOP),
            Action::Panic => panic!("failpoint {}", point.name),
            Action::Error => return Err(sqlx::Error::Io(std::io::Error::other(format!("failpoint {}", point.name)))),
            Action::Delay(time) => tokio::time::sleep(time).await,
        }
    }
    Ok(())
}

fn send(signal: Signal) {
    if let Err(error) = kill_process(getpid(), signal) {
        tracing::error!(%error, "a failpoint could not signal its own process");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::PORTS;

    #[test]
    fn what_is_armed_is_read_and_mistakes_are_told() {
        let text = "loader.job_created=kill@3,masker.clean_published=stop,outbox.relayed=delay:250";
        let read: Failpoints = text.parse().expect("valid");
        assert_eq!(
            read.0,
            [
                (&LOADER_JOB_CREATED, Action::Kill, 3),
                (&MASKER_CLEAN_PUBLISHED, Action::Stop, 1),
                (&OUTBOX_RELAYED, Action::Delay(Duration::from_millis(250)), 1),
            ]
        );
        for wrong in [
            "",
            "loader.job_created",
            "loader.nowhere=kill",
            "loader.job_created=kill@0",
            "loader.job_created=kill@x",
            "loader.job_created=explode",
            "loader.job_created=delay",
            "loader.job_created=kill:5",
        ] {
            assert!(wrong.parse::<Failpoints>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_point_has_a_name_of_its_own_and_services_that_exist() {
        let names: BTreeSet<&str> = POINTS.iter().map(|point| point.name).collect();
        assert_eq!(names.len(), POINTS.len());
        for point in POINTS {
            assert!(!point.services.is_empty(), "{}", point.name);
            for service in point.services {
                assert!(PORTS.iter().any(|(name, _)| name == service), "{}: {service}", point.name);
            }
        }
    }

    fn armed(point: &'static Point, action: Action, passage: u64) -> Vec<Armed> {
        vec![Armed {
            point,
            action,
            passage,
            passed: AtomicU64::new(0),
        }]
    }

    #[tokio::test]
    async fn a_point_acts_at_its_passage_and_at_no_other() {
        let armed = armed(&LOADER_JOB_CREATED, Action::Error, 2);
        assert!(act(&armed, &LOADER_UPLOADED).await.is_ok());
        assert!(act(&armed, &LOADER_JOB_CREATED).await.is_ok());
        assert!(act(&armed, &LOADER_JOB_CREATED).await.is_err());
        assert!(act(&armed, &LOADER_JOB_CREATED).await.is_ok());
    }

    #[tokio::test]
    async fn nothing_happens_where_nothing_is_armed() {
        assert!(pass(&LOADER_JOB_CREATED).await.is_ok());
    }
}
