//! What the monitor asks when dead letters are replayed.

use syncline_domain::run::Step;
use syncline_domain::{ErrorCode, ObjectName};
use syncline_runtime::Platform;
use syncline_wire::run::reopen_service_server::ReopenService;
use syncline_wire::run::{ReopenRunRequest, ReopenRunResponse};
use syncline_wire::status::{invalid_field, status};
use tonic::{Request, Response, Status};

use super::{database, reopen_error};
use crate::{reopening, store};

pub struct Reopening {
    platform: Platform,
}

impl Reopening {
    pub fn new(platform: &Platform) -> Self {
        Self {
            platform: platform.clone(),
        }
    }
}

#[tonic::async_trait]
impl ReopenService for Reopening {
    async fn reopen_run(&self, request: Request<ReopenRunRequest>) -> Result<Response<ReopenRunResponse>, Status> {
        let ReopenRunRequest { run, objects } = request.into_inner();
        let found = store::run_get(&self.platform.db, self.platform.config.tenant.as_str(), &run).await;
        if found.map_err(|e| database(&e))?.is_none() {
            return Err(status(ErrorCode::SyncUnknown, format!("there is no run `{run}`")));
        }
        let invalid = |why: String| invalid_field(ErrorCode::RequestInvalid, "objects", why);
        let mut steps = Vec::new();
        for wanted in objects {
            let object = ObjectName::new(wanted.object).map_err(|e| invalid(e.to_string()))?;
            steps.push((object, wanted.from_step.parse::<Step>().map_err(invalid)?));
        }
        let row = reopening::replay(&self.platform, &run, steps).await.map_err(reopen_error)?;
        Ok(Response::new(ReopenRunResponse { round: row.state.round }))
    }
}
