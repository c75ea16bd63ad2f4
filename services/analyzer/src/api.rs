//! The analyzer's two services: one for people, one for stages.

use syncline_domain::{ConnectionName, ErrorCode, NameError, ObjectName, RunId, SyncName};
use syncline_mask::PRESET_NAMES;
use syncline_runtime::Platform;
use syncline_wire::analysis::analysis_service_server::AnalysisService;
use syncline_wire::analysis::plan_service_server::PlanService;
use syncline_wire::analysis::{
    CheckSyncRequest, CheckSyncResponse, GetPlanRequest, GetPlanResponse, GetPlanSummaryRequest, GetPlanSummaryResponse,
    ProposeSyncRequest, ProposeSyncResponse,
};
use syncline_wire::status::invalid_field;
use tonic::{Request, Response, Status};

use crate::analyzer::Analyzer;
use crate::error::Error;
use crate::propose::Wish;
use crate::store::{self, StoredPlan};
use crate::summary;

/// Answers for both services.
#[derive(Clone)]
pub struct Api {
    platform: Platform,
    analyzer: Analyzer,
}

impl Api {
    #[must_use]
    pub fn new(platform: &Platform, analyzer: Analyzer) -> Self {
        Self {
            platform: platform.clone(),
            analyzer,
        }
    }

    async fn stored(&self, run: &str) -> Result<StoredPlan, Error> {
        // A name that no run can have is a run that nobody knows.
        let unknown = || Error::NoPlan {
            what: format!("run `{}`", run.chars().take(80).collect::<String>()),
        };
        let id = RunId::new(run).map_err(|_| unknown())?;
        store::plan_get(&self.platform.db, &id).await?.ok_or_else(unknown)
    }
}

#[tonic::async_trait]
impl AnalysisService for Api {
    async fn check_sync(&self, request: Request<CheckSyncRequest>) -> Result<Response<CheckSyncResponse>, Status> {
        let name = request.into_inner().sync;
        let sync = SyncName::new(name.as_str()).map_err(|_| Error::NoPlan {
            what: format!("sync `{}`", name.chars().take(80).collect::<String>()),
        })?;
        let analysis = self.analyzer.check(&sync).await?;
        Ok(Response::new(summary::check(&analysis.plan)))
    }

    async fn propose_sync(&self, request: Request<ProposeSyncRequest>) -> Result<Response<ProposeSyncResponse>, Status> {
        let request = request.into_inner();
        let invalid = |field: &'static str| move |e: NameError| invalid_field(ErrorCode::RequestInvalid, field, e.to_string());
        let objects = request.objects.iter().map(|name| ObjectName::new(name.as_str()));
        let preset = (!request.preset.is_empty()).then_some(request.preset);
        if let Some(preset) = preset.as_deref().filter(|p| !PRESET_NAMES.contains(p)) {
            let why = format!(
                "there is no preset `{}`; there are: {}",
                preset.chars().filter(|c| !c.is_control()).take(80).collect::<String>(),
                PRESET_NAMES.join(", ")
            );
            return Err(invalid_field(ErrorCode::RequestInvalid, "preset", why));
        }
        let wish = Wish {
            name: SyncName::new(request.name.as_str()).map_err(invalid("name"))?,
            source: ConnectionName::new(request.source.as_str()).map_err(invalid("source"))?,
            target: ConnectionName::new(request.target.as_str()).map_err(invalid("target"))?,
            objects: objects.collect::<Result<_, _>>().map_err(invalid("objects"))?,
            preset,
        };
        let (yaml, plan) = self.analyzer.propose(&wish).await?;
        Ok(Response::new(ProposeSyncResponse {
            yaml,
            issues: plan.issues.iter().map(summary::issue).collect(),
        }))
    }

    async fn get_plan_summary(&self, request: Request<GetPlanSummaryRequest>) -> Result<Response<GetPlanSummaryResponse>, Status> {
        let plan = self.stored(&request.into_inner().run).await?.plan()?;
        Ok(Response::new(GetPlanSummaryResponse {
            plan: Some(summary::plan(&plan)),
            issues: plan.issues.iter().map(summary::issue).collect(),
        }))
    }
}

#[tonic::async_trait]
impl PlanService for Api {
    async fn get_plan(&self, request: Request<GetPlanRequest>) -> Result<Response<GetPlanResponse>, Status> {
        let stored = self.stored(&request.into_inner().run).await?;
        Ok(Response::new(GetPlanResponse {
            plan_json: stored.json,
            hash: stored.hash,
        }))
    }
}
