//! `StageService`: what a stage's own tables say of a run.

use async_trait::async_trait;
use sqlx::PgConnection;
use syncline_domain::run::Step;
use syncline_domain::{ErrorCode, ObjectName, RunId};
use syncline_wire::stage::stage_service_server::{StageService, StageServiceServer};
use syncline_wire::stage::{FinishedStep, GetProgressRequest, GetProgressResponse, ReopenRequest, ReopenResponse};
use syncline_wire::status::{invalid_field, status};
use tonic::{Request, Response, Status};

use crate::lease;
use crate::platform::Platform;

/// What a stage's own tables know beside its tasks.
#[async_trait]
pub trait Books: Send + Sync + 'static {
    /// How many claims of a run are open; only the loader has any.
    async fn unsettled(&self, _run: &RunId) -> Result<u32, sqlx::Error> {
        Ok(0)
    }

    /// Objects of which a reading has arrived whole, every batch dealt with.
    async fn received(&self, _run: &RunId) -> Result<Vec<String>, sqlx::Error> {
        Ok(Vec::new())
    }

    /// Forgets what stands in the way of another reading, inside the transaction that reopens the stage's step.
    async fn reopen(&self, _tx: &mut PgConnection, _run: &RunId, _object: &ObjectName) -> Result<(), sqlx::Error> {
        Ok(())
    }
}

pub struct Progress<B> {
    platform: Platform,
    books: B,
    /// The step that [`Books::reopen`] opens again, if the stage has one.
    reading: Option<Step>,
}

impl<B: Books> Progress<B> {
    /// The service, ready to be routed. `reading`: the step that begins again when batches are lost.
    #[must_use]
    pub fn service(platform: &Platform, books: B, reading: Option<Step>) -> StageServiceServer<Self> {
        StageServiceServer::new(Self {
            platform: platform.clone(),
            books,
            reading,
        })
    }
}

fn unknown(_: sqlx::Error) -> Status {
    status(ErrorCode::DatabaseUnavailable, "the stage's database cannot be reached")
}

#[tonic::async_trait]
impl<B: Books> StageService for Progress<B> {
    async fn get_progress(&self, request: Request<GetProgressRequest>) -> Result<Response<GetProgressResponse>, Status> {
        let run = RunId::new(request.into_inner().run).map_err(|e| invalid_field(ErrorCode::RequestInvalid, "run", e.to_string()))?;
        let done = lease::finished(&self.platform.db, &run).await.map_err(unknown)?;
        let done: Vec<_> = done.into_iter().filter(|d| !d.object.is_empty()).collect();
        let text = |d: &lease::Finished| format!("{}/{}{}", d.object, d.step, if d.with_errors { "/errors" } else { "" });
        Ok(Response::new(GetProgressResponse {
            live_leases: lease::live(&self.platform.db, &run).await.map_err(unknown)?,
            unsettled_claims: self.books.unsettled(&run).await.map_err(unknown)?,
            received: self.books.received(&run).await.map_err(unknown)?,
            done: done.iter().map(text).collect(),
            finished: done
                .into_iter()
                .map(|d| FinishedStep {
                    object: d.object,
                    step: d.step,
                    with_errors: d.with_errors,
                    round: d.round,
                })
                .collect(),
        }))
    }

    async fn reopen(&self, request: Request<ReopenRequest>) -> Result<Response<ReopenResponse>, Status> {
        let request = request.into_inner();
        let run = RunId::new(request.run).map_err(|e| invalid_field(ErrorCode::RequestInvalid, "run", e.to_string()))?;
        let object = ObjectName::new(request.object).map_err(|e| invalid_field(ErrorCode::RequestInvalid, "object", e.to_string()))?;
        let mut tx = self.platform.db.begin().await.map_err(unknown)?;
        if let Some(step) = self.reading {
            lease::reopen(&mut tx, &run, &object, step).await.map_err(unknown)?;
        }
        self.books.reopen(&mut tx, &run, &object).await.map_err(unknown)?;
        tx.commit().await.map_err(unknown)?;
        Ok(Response::new(ReopenResponse {}))
    }
}
