//! A coordinator whose stages are scripted, and what stands in its outbox.
#![allow(clippy::unwrap_used, dead_code)] // every test file uses a part of it

use prost::Message as _;
use syncline_coordinator::MIGRATIONS;
use syncline_coordinator::api::control::Control;
use syncline_coordinator::api::runs::Runs;
use syncline_coordinator::api::syncs::Syncs;
use syncline_coordinator::shell;
use syncline_domain::ObjectName;
use syncline_domain::run::{ObjectOutline, Outline};
use syncline_test_support::{Bench, Peers};
use syncline_wire::event::run_event::Fact;
use syncline_wire::event::{PlanBuilt, RunEvent, StepDone, StepFailed, StepYielded};
use syncline_wire::run::run_service_server::RunService;
use syncline_wire::run::{GetRunRequest, Run, SubmitRunRequest};
use syncline_wire::stage::{GetProgressResponse, Invitation};
use syncline_wire::sync::sync_service_server::SyncService;
use syncline_wire::sync::{ApplySyncRequest, ApplySyncResponse};
use tonic::{Request, Status};

pub struct Desk {
    pub bench: Bench,
    pub syncs: Syncs,
    pub runs: Runs,
    pub control: Control,
    /// Extractor, masker, loader.
    pub stages: [Peers; 3],
}

pub fn yaml(name: &str, target: &str) -> String {
    format!(
        "apiVersion: syncline.dev/v1\nkind: Sync\nmetadata:\n  name: {name}\nspec:\n  source: production\n  target: {target}\n  objects:\n    - name: Account\n"
    )
}

pub fn quiet() -> GetProgressResponse {
    GetProgressResponse::default()
}

impl Desk {
    pub async fn start() -> Self {
        let stages = [Peers::start().await, Peers::start().await, Peers::start().await];
        let urls: Vec<String> = stages.iter().map(Peers::url).collect();
        let url = move |service: &str| match service {
            "masker" => urls[1].clone(),
            "loader" => urls[2].clone(),
            _ => urls[0].clone(),
        };
        let bench = Bench::with_urls("coordinator", &MIGRATIONS, stages[0].clone(), &url).await;
        Self {
            syncs: Syncs::new(&bench.platform),
            runs: Runs::new(&bench.platform),
            control: Control::new(&bench.platform),
            stages,
            bench,
        }
    }

    pub async fn apply(&self, yaml: &str) -> Result<ApplySyncResponse, Status> {
        let request = ApplySyncRequest { yaml: yaml.to_owned() };
        self.syncs.apply_sync(Request::new(request)).await.map(tonic::Response::into_inner)
    }

    pub async fn submit(&self, sync: &str, key: &str) -> Result<Run, Status> {
        let request = SubmitRunRequest {
            sync: sync.to_owned(),
            idempotency_key: key.to_owned(),
        };
        let answer = self.runs.submit_run(Request::new(request)).await?;
        Ok(answer.into_inner().run.unwrap())
    }

    pub async fn run(&self, id: &str) -> Run {
        let request = GetRunRequest { id: id.to_owned() };
        let answer = self.runs.get_run(Request::new(request)).await.unwrap();
        answer.into_inner().run.unwrap()
    }

    /// A run of Account and its child Contact that has begun to extract.
    pub async fn running(&self) -> String {
        self.apply(&yaml("prod-to-uat", "uat")).await.unwrap();
        let id = self.submit("prod-to-uat", "").await.unwrap().id;
        self.tell(&id, planned(false)).await;
        assert_eq!(self.run(&id).await.status, "extracting");
        id
    }

    /// A run that has ended: every step is done, these with errors.
    pub async fn ended(&self, errors: &[(&str, &str)]) -> String {
        let id = self.running().await;
        for (object, step) in STEPS {
            self.tell(&id, done_in(0, object, step, errors.contains(&(object, step)))).await;
        }
        id
    }

    /// A fact arrives from the bus.
    pub async fn tell(&self, run: &str, fact: Fact) -> syncline_bus::Handled {
        shell::handle(self.bench.platform.clone(), self.event(run, fact)).await
    }

    pub fn event(&self, run: &str, fact: Fact) -> RunEvent {
        RunEvent {
            tenant: self.bench.tenant.to_string(),
            run: run.to_owned(),
            at: None,
            fact: Some(fact),
        }
    }

    /// Invitations that stand in the outbox: stage, object and step.
    pub async fn invitations(&self) -> Vec<(String, String, String)> {
        let mut found = Vec::new();
        for (subject, payload) in self.outbox().await {
            if let Some(rest) = subject.strip_prefix("task.") {
                let invitation = Invitation::decode(payload.as_slice()).unwrap();
                let stage = rest.split('.').next().unwrap().to_owned();
                found.push((stage, invitation.object, invitation.step));
            }
        }
        found
    }

    /// Statuses that were announced, in order.
    pub async fn announced(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (subject, payload) in self.outbox().await {
            if subject.starts_with("event.") {
                match RunEvent::decode(payload.as_slice()).unwrap().fact {
                    Some(Fact::StatusChanged(change)) => found.push(change.status),
                    other => panic!("{other:?} is not the coordinator's to tell"),
                }
            }
        }
        found
    }

    pub async fn outbox(&self) -> Vec<(String, Vec<u8>)> {
        sqlx::query_as("select subject, payload from outbox order by id")
            .fetch_all(&self.bench.platform.db)
            .await
            .unwrap()
    }

    /// Whatever was invited is due again, as after some time.
    pub async fn pass_time(&self) {
        self.bench
            .execute(r#"update run set state = regexp_replace(state::text, '"(at_ms|invited_ms)": *\d+', '"\1": 0', 'g')::jsonb"#)
            .await;
    }

    pub fn all_stages_say(&self, progress: Option<&GetProgressResponse>) {
        for stage in &self.stages {
            stage.script(|s| s.progress = progress.cloned());
        }
    }
}

pub fn planned(review: bool) -> Fact {
    let name = |n: &str| ObjectName::new(n).unwrap();
    let object = |n: &str, parents: &[&str]| ObjectOutline {
        name: name(n),
        parents: parents.iter().map(|p| name(p)).collect(),
        deferred_parents: Vec::new(),
        has_deferred: false,
        clear: false,
        orphans: false,
    };
    let outline = Outline {
        objects: vec![object("Account", &[]), object("Contact", &["Account"])],
        review,
    };
    Fact::PlanBuilt(PlanBuilt {
        outline_json: serde_json::to_string(&outline).unwrap(),
        fatal_code: String::new(),
        fatal_message: String::new(),
        records: 10,
    })
}

pub fn fatal() -> Fact {
    Fact::PlanBuilt(PlanBuilt {
        outline_json: serde_json::to_string(&Outline::default()).unwrap(),
        fatal_code: "SCHEMA_OBJECT_001".to_owned(),
        fatal_message: "Account is missing in the target".to_owned(),
        records: 0,
    })
}

pub fn done(object: &str, step: &str) -> Fact {
    Fact::StepDone(StepDone {
        object: object.to_owned(),
        step: step.to_owned(),
        with_errors: false,
        round: 0,
    })
}

/// The same, in a round of a run that was reopened.
pub fn done_in(round: u32, object: &str, step: &str, with_errors: bool) -> Fact {
    Fact::StepDone(StepDone {
        object: object.to_owned(),
        step: step.to_owned(),
        with_errors,
        round,
    })
}

pub fn yielded(object: &str, step: &str, reason: &str) -> Fact {
    Fact::StepYielded(StepYielded {
        object: object.to_owned(),
        step: step.to_owned(),
        reason: reason.to_owned(),
        wait_ms: 0,
    })
}

pub fn failed(object: &str, step: &str, code: &str) -> Fact {
    Fact::StepFailed(StepFailed {
        object: object.to_owned(),
        step: step.to_owned(),
        code: code.to_owned(),
        message: "it broke".to_owned(),
    })
}

/// Every step of the outline of [`planned`], in an order in which they may happen.
pub const STEPS: [(&str, &str); 10] = [
    ("Account", "extract"),
    ("Contact", "extract"),
    ("Account", "transform"),
    ("Contact", "transform"),
    ("Account", "load_pass_1"),
    ("Contact", "load_pass_1"),
    ("Account", "load_pass_3"),
    ("Contact", "load_pass_3"),
    ("Account", "verify"),
    ("Contact", "verify"),
];
