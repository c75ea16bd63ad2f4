//! Dead letters: who decides about them, and what stages get of those that are replayed.
//!
//! Guarantees:
//! - A letter is kept until somebody decides. Replayed, it is kept again when the stage gives it up once more, or when the run
//!   ends without it; discarded, it stays counted as dead in the run's report.
//! - Letters are marked before the run is reopened, and unmarked when it is not: no round begins without its letters.
//! - What a letter carries leaves only sealed, and only for a stage: whoever lacks the stage's key reads nothing.

use sqlx::PgPool;
use syncline_domain::run::Step;
use syncline_domain::{ErrorCode, TenantId};
use syncline_runtime::rpc::with_trace;
use syncline_wire::monitor::letter_service_server::LetterService;
use syncline_wire::monitor::{CountLettersRequest, CountLettersResponse, DeadLetter, FetchLettersRequest, FetchLettersResponse, Letter};
use syncline_wire::run::reopen_service_client::ReopenServiceClient;
use syncline_wire::run::{ReopenRunRequest, ReopenedObject};
use syncline_wire::status::invalid_field;
use syncline_wire::time::to_proto;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::error::MonitorError;
use crate::report::MASKER;
use crate::store::{self, Affected, Choice, DeadRow, Key, LetterRow};

/// Letters of one answer; each is at most a message of the bus.
const LETTERS_MAX: i64 = 2;
/// Names of one answer.
const NAMES_MAX: i64 = 1_000;

/// What a decision is about.
#[derive(Debug, Default)]
pub struct Decision {
    pub id: u64,
    pub run: String,
    pub object: String,
    pub stage: String,
    pub code: String,
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Decided {
    pub run: String,
    pub count: u64,
    pub records: u64,
}

/// The letters' desk.
#[derive(Clone)]
pub struct Letters {
    db: PgPool,
    tenant: TenantId,
    coordinator: Channel,
}

impl Letters {
    #[must_use]
    pub fn new(db: PgPool, tenant: TenantId, coordinator: Channel) -> Self {
        Self { db, tenant, coordinator }
    }

    fn key<'a>(&'a self, run: &'a str) -> Key<'a> {
        Key {
            tenant: self.tenant.as_str(),
            run,
        }
    }

    /// A letter by id.
    pub async fn get(&self, id: u64) -> Result<DeadLetter, Status> {
        let row = store::dead_letter_get(&self.db, self.tenant.as_str(), id)
            .await
            .map_err(MonitorError::Store)?;
        row.map(message).ok_or_else(|| MonitorError::UnknownLetter(id).into())
    }

    /// The run that a decision is about: that of the letter, or the one that is named.
    async fn run_of(&self, decision: &Decision) -> Result<String, Status> {
        let run = if decision.id > 0 {
            self.get(decision.id).await?.run
        } else {
            decision.run.clone()
        };
        if run.is_empty() {
            return Err(invalid_field(
                ErrorCode::RequestInvalid,
                "run",
                "name the run, or one letter by its id",
            ));
        }
        if !decision.run.is_empty() && decision.run != run {
            return Err(invalid_field(
                ErrorCode::RequestInvalid,
                "run",
                format!("letter {} is of run {run}", decision.id),
            ));
        }
        Ok(run)
    }

    /// Reopens the run for its letters.
    ///
    /// # Errors
    /// What the coordinator says; the letters are kept then.
    pub async fn replay(&self, decision: &Decision, by: &str) -> Result<Decided, Status> {
        let run = self.run_of(decision).await?;
        let choice = self.choice(&run, decision);
        let affected = store::letters_affected(&self.db, &choice).await.map_err(MonitorError::Store)?;
        let decided = decided(&run, &affected);
        if decision.dry_run || affected.is_empty() {
            return Ok(decided);
        }
        let marked = store::letters_replay(&self.db, &choice, by).await.map_err(MonitorError::Store)?;
        let mut coordinator = ReopenServiceClient::new(with_trace(self.coordinator.clone()));
        let request = ReopenRunRequest {
            run: run.clone(),
            objects: reopened(&affected),
        };
        if let Err(refused) = coordinator.reopen_run(request).await {
            store::letters_keep(&self.db, &marked).await.map_err(MonitorError::Store)?;
            return Err(refused);
        }
        tracing::info!(run, letters = decided.count, by, "dead letters are replayed");
        Ok(decided)
    }

    /// Gives letters up for good.
    ///
    /// # Errors
    /// Without a reason, or when the store does not answer.
    pub async fn discard(&self, decision: &Decision, by: &str, reason: &str) -> Result<Decided, Status> {
        let run = self.run_of(decision).await?;
        let choice = self.choice(&run, decision);
        let affected = store::letters_affected(&self.db, &choice).await.map_err(MonitorError::Store)?;
        let mut decided = decided(&run, &affected);
        if decision.dry_run || affected.is_empty() {
            return Ok(decided);
        }
        if reason.trim().is_empty() {
            return Err(invalid_field(
                ErrorCode::RequestInvalid,
                "reason",
                "say why these records are given up",
            ));
        }
        decided.count = store::letters_discard(&self.db, &choice, by, reason)
            .await
            .map_err(MonitorError::Store)?;
        tracing::info!(run, letters = decided.count, by, "dead letters are discarded");
        Ok(decided)
    }

    fn choice<'a>(&'a self, run: &'a str, decision: &'a Decision) -> Choice<'a> {
        Choice {
            key: self.key(run),
            id: decision.id,
            object: &decision.object,
            stage: &decision.stage,
            code: &decision.code,
        }
    }
}

fn decided(run: &str, affected: &[Affected]) -> Decided {
    Decided {
        run: run.to_owned(),
        count: affected.iter().map(|a| store::counted(a.count)).sum(),
        records: affected.iter().map(|a| store::counted(a.records)).sum(),
    }
}

/// What the masker gave up is transformed again, and everything is loaded.
fn reopened(affected: &[Affected]) -> Vec<ReopenedObject> {
    let mut objects: Vec<ReopenedObject> = Vec::new();
    for letters in affected {
        let from = if letters.stage == MASKER {
            Step::Transform
        } else {
            Step::LoadPass1
        };
        match objects.iter_mut().find(|o| o.object == letters.object) {
            Some(object) if from == Step::Transform => object.from_step = from.to_string(),
            Some(_) => {}
            None => objects.push(ReopenedObject {
                object: letters.object.clone(),
                from_step: from.to_string(),
            }),
        }
    }
    objects
}

/// A letter as it is told: names, counts and moments.
pub fn message(row: DeadRow) -> DeadLetter {
    let count = |n: i32| u32::try_from(n).unwrap_or(0);
    DeadLetter {
        id: store::counted(row.id),
        run: row.run,
        stage: row.stage,
        object: row.object,
        batch: row.batch,
        code: row.code,
        cause: row.cause,
        attempts: count(row.attempts),
        at: Some(to_proto(row.at)),
        records: store::counted(row.records),
        state: row.state,
        last_at: Some(to_proto(row.last_at.unwrap_or(row.at))),
        replays: count(row.replays),
        decided_by: row.decided_by,
        reason: row.reason,
        decided_at: row.decided_at.map(to_proto),
    }
}

#[tonic::async_trait]
impl LetterService for Letters {
    async fn fetch_letters(&self, request: Request<FetchLettersRequest>) -> Result<Response<FetchLettersResponse>, Status> {
        let FetchLettersRequest {
            run,
            object,
            stage,
            after,
            without_payload,
        } = request.into_inner();
        let max = if without_payload { NAMES_MAX } else { LETTERS_MAX };
        let rows = store::letters_fetch(&self.db, self.key(&run), &object, &stage, after, max, without_payload)
            .await
            .map_err(MonitorError::Store)?;
        let letter = |row: LetterRow| Letter {
            id: store::counted(row.id),
            batch: row.batch,
            records: store::counted(row.records),
            payload: row.payload,
        };
        let more = i64::try_from(rows.len()).unwrap_or(max) >= max;
        Ok(Response::new(FetchLettersResponse {
            letters: rows.into_iter().map(letter).collect(),
            more,
        }))
    }

    async fn count_letters(&self, request: Request<CountLettersRequest>) -> Result<Response<CountLettersResponse>, Status> {
        let run = request.into_inner().run;
        let (kept, records, discarded) = store::letters_count(&self.db, self.key(&run)).await.map_err(MonitorError::Store)?;
        Ok(Response::new(CountLettersResponse { kept, discarded, records }))
    }
}
