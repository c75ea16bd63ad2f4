//! `RefusalService`: what stands refused or parked, and which of it is loaded again.

use sqlx::PgPool;
use syncline_domain::ErrorCode;
use syncline_wire::stage::refusal_service_server::{RefusalService, RefusalServiceServer};
use syncline_wire::stage::{ChooseRefusalsRequest, ChooseRefusalsResponse, ListRefusalsRequest, ListRefusalsResponse, RefusalGroup};
use syncline_wire::status::status;
use tonic::{Request, Response, Status};

use crate::store::kept::{self, Standing};

/// Answers from the loader's tables.
pub struct Refusals {
    db: PgPool,
}

impl Refusals {
    /// The service, ready to be routed.
    #[must_use]
    pub fn service(db: PgPool) -> RefusalServiceServer<Self> {
        RefusalServiceServer::new(Self::new(db))
    }

    #[must_use]
    pub fn new(db: PgPool) -> Self {
        Self { db }
    }

    async fn groups(&self, run: &str) -> Result<Vec<RefusalGroup>, Status> {
        let standing = kept::standing(&self.db, run).await.map_err(unknown)?;
        Ok(standing.into_iter().map(group).collect())
    }
}

fn unknown(error: sqlx::Error) -> Status {
    tracing::warn!(%error, "refusals could not be looked at");
    status(ErrorCode::DatabaseUnavailable, "the loader's database cannot be reached")
}

fn group(standing: Standing) -> RefusalGroup {
    let number = |n: i64| u64::try_from(n).unwrap_or(0);
    RefusalGroup {
        object: standing.object,
        kind: standing.kind,
        code: standing.code,
        native: standing.native,
        fields: standing.fields,
        count: number(standing.count),
        kept: number(standing.kept),
        chosen: number(standing.chosen),
    }
}

#[tonic::async_trait]
impl RefusalService for Refusals {
    async fn list_refusals(&self, request: Request<ListRefusalsRequest>) -> Result<Response<ListRefusalsResponse>, Status> {
        let groups = self.groups(&request.into_inner().run).await?;
        Ok(Response::new(ListRefusalsResponse { groups }))
    }

    async fn choose_refusals(&self, request: Request<ChooseRefusalsRequest>) -> Result<Response<ChooseRefusalsResponse>, Status> {
        let ChooseRefusalsRequest { run, object, code } = request.into_inner();
        kept::choose(&self.db, &run, &object, &code).await.map_err(unknown)?;
        let groups = self.groups(&run).await?;
        Ok(Response::new(ChooseRefusalsResponse { groups }))
    }
}
