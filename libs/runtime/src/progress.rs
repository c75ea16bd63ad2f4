//! `StageService`: what a stage's own tables say of a run.

use async_trait::async_trait;
use syncline_domain::{ErrorCode, RunId};
use syncline_wire::stage::stage_service_server::{StageService, StageServiceServer};
use syncline_wire::stage::{GetProgressRequest, GetProgressResponse};
use syncline_wire::status::{invalid_field, status};
use tonic::{Request, Response, Status};

use crate::lease;
use crate::platform::Platform;

/// How many claims of a run are open; only the loader has any.
#[async_trait]
pub trait Claims: Send + Sync + 'static {
    async fn unsettled(&self, run: &RunId) -> Result<u32, sqlx::Error>;
}

/// A stage that claims nothing at a target.
pub struct NoClaims;

#[async_trait]
impl Claims for NoClaims {
    async fn unsettled(&self, _run: &RunId) -> Result<u32, sqlx::Error> {
        Ok(0)
    }
}

pub struct Progress<C> {
    platform: Platform,
    claims: C,
}

impl<C: Claims> Progress<C> {
    /// The service, ready to be routed.
    #[must_use]
    pub fn service(platform: &Platform, claims: C) -> StageServiceServer<Self> {
        StageServiceServer::new(Self {
            platform: platform.clone(),
            claims,
        })
    }
}

#[tonic::async_trait]
impl<C: Claims> StageService for Progress<C> {
    async fn get_progress(&self, request: Request<GetProgressRequest>) -> Result<Response<GetProgressResponse>, Status> {
        let run = RunId::new(request.into_inner().run).map_err(|e| invalid_field(ErrorCode::RequestInvalid, "run", e.to_string()))?;
        let unknown = |_| status(ErrorCode::DatabaseUnavailable, "the stage's database cannot be reached");
        let done = lease::finished(&self.platform.db, &run).await.map_err(unknown)?;
        let done = done
            .into_iter()
            .map(|(object, step, errors)| format!("{object}/{step}{}", if errors { "/errors" } else { "" }));
        Ok(Response::new(GetProgressResponse {
            live_leases: lease::live(&self.platform.db, &run).await.map_err(unknown)?,
            unsettled_claims: self.claims.unsettled(&run).await.map_err(unknown)?,
            done: done.filter(|d| !d.starts_with('/')).collect(),
        }))
    }
}
