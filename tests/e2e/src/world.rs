//! A stack between two orgs, and what most tests do with it.

use std::time::Duration;

use syncline_salesforce_simulator::OrgConfig;
use syncline_testkit::eventually;
use syncline_wire::monitor::{ObjectReport, Report};
use syncline_wire::run::Run;

use crate::compare;
use crate::org::SimulatedOrg;
use crate::stack::Stack;
use crate::sync::OBJECTS;

/// Longest that a run may take, faults and their waits included.
pub const RUN_WAIT: Duration = Duration::from_secs(120);
/// Longest until a run shows a first effect.
const EFFECT_WAIT: Duration = Duration::from_secs(40);

/// Production, sandbox, and Syncline between them. The stack goes first when it ends.
pub struct World {
    pub stack: Stack,
    pub source: SimulatedOrg,
    pub target: SimulatedOrg,
}

impl World {
    /// With at least `scale` records at the source, and both connections stored.
    pub async fn start(scale: u64) -> Self {
        Self::between(SimulatedOrg::production(scale), SimulatedOrg::sandbox()).await
    }

    pub async fn between(source: OrgConfig, target: OrgConfig) -> Self {
        Self::around(Stack::start().await, source, target).await
    }

    pub async fn around(stack: Stack, source: OrgConfig, target: OrgConfig) -> Self {
        let (source, target) = (SimulatedOrg::start(source), SimulatedOrg::start(target));
        for (name, org) in [("production", &source), ("uat", &target)] {
            stack.door.connect(name, org, org.client_secret()).await.expect("a good connection");
        }
        Self { stack, source, target }
    }

    /// Applies a sync and submits a run of it.
    pub async fn submit(&self, yaml: &str) -> Run {
        self.stack.door.apply(yaml).await.expect("a good sync");
        self.stack.door.submit("refresh", "").await.expect("no run is active")
    }

    /// Applies, runs, waits for this end and the closed books.
    pub async fn run_to(&self, yaml: &str, status: &str) -> Report {
        let run = self.submit(yaml).await;
        self.end(&run.id, status).await
    }

    /// Waits for this end and the closed books.
    pub async fn end(&self, id: &str, status: &str) -> Report {
        self.stack.door.reach(id, &[status], RUN_WAIT).await;
        self.stack.door.report(id).await
    }

    /// Waits until the target holds records of the run, so that what is done next is done in mid-run.
    pub async fn first_writes(&self, id: &str) {
        eventually(EFFECT_WAIT, || async {
            let run = self.stack.door.run(id).await.map_err(|e| e.to_string())?;
            assert!(
                run.finished_at.is_none(),
                "the run was too fast to be met in its middle: {}",
                run.status
            );
            match self.target.writes().await {
                0 => Err(format!("nothing written; the run is {}", run.status)),
                _ => Ok(()),
            }
        })
        .await;
    }

    /// Waits until so many requests were made of one of the orgs.
    pub async fn requests(&self, org: &SimulatedOrg, method: &str, part: &str, count: u64) {
        eventually(EFFECT_WAIT, || async {
            match org.requests(method, part).await {
                n if n >= count => Ok(()),
                n => Err(format!("{n} of {count} requests {method} …{part}")),
            }
        })
        .await;
    }

    /// Both orgs hold the same, record for record and link for link, as plain REST shows it.
    pub async fn assert_same(&self) {
        compare::assert_same(&self.source, &self.target, &OBJECTS).await;
    }

    /// The run was refused before it wrote anything: code, text that names the place, and an untouched target.
    pub async fn assert_stopped(&self, yaml: &str, code: &str, place: &str) {
        let run = self.submit(yaml).await;
        let run = self.stack.door.reach(&run.id, &["failed"], RUN_WAIT).await;
        assert_eq!(run.failure_code, code, "{}", run.failure_message);
        assert!(
            run.failure_message.contains(place),
            "the message does not name {place}: {}",
            run.failure_message
        );
        assert_eq!(self.target.writes().await, 0, "not one record is written");
        assert_eq!(self.target.requests("POST", "jobs/ingest").await, 0, "not one job is made");
        let left = self.stack.nats.left_by(&run.id).await;
        assert!(
            left.iter()
                .all(|l| !l.contains("messages on raw") && !l.contains("messages on clean")),
            "{left:?}"
        );
        let report = self.stack.door.report(&run.id).await;
        assert_eq!((report.status.as_str(), report.failure_code.as_str()), ("failed", code));
    }
}

/// One object's line of a report.
pub fn object<'a>(report: &'a Report, name: &str) -> &'a ObjectReport {
    report
        .objects
        .iter()
        .find(|o| o.object == name)
        .expect("the object is in the report")
}

/// Read = written + explained, for every object, and nothing is wrong.
pub fn assert_balanced(report: &Report) {
    for o in &report.objects {
        let explained = o.inserted + o.updated + o.unchanged + o.filtered + o.refused + o.parked + o.dead;
        assert!(o.balanced && o.read == explained, "{} read, {explained} explained: {o:?}", o.read);
        assert_eq!((o.references_wrong, o.values_different, o.leaks), (0, 0, 0), "{o:?}");
    }
}
