//! What workers ask at every renewal of a lease.

use syncline_domain::ErrorCode;
use syncline_runtime::Platform;
use syncline_wire::run::run_control_service_server::RunControlService;
use syncline_wire::run::{GetIntentRequest, GetIntentResponse, Intent};
use syncline_wire::status::status;
use tonic::{Request, Response, Status};

use super::database;
use crate::store;

pub struct Control {
    platform: Platform,
}

impl Control {
    pub fn new(platform: &Platform) -> Self {
        Self {
            platform: platform.clone(),
        }
    }
}

#[tonic::async_trait]
impl RunControlService for Control {
    async fn get_intent(&self, request: Request<GetIntentRequest>) -> Result<Response<GetIntentResponse>, Status> {
        let run = request.into_inner().run;
        let row = store::run_get(&self.platform.db, self.platform.config.tenant.as_str(), &run)
            .await
            .map_err(|e| database(&e))?;
        let row = row.ok_or_else(|| status(ErrorCode::SyncUnknown, format!("there is no run `{run}`")))?;
        let intent = if row.state.life.is_stopping() { Intent::Stop } else { Intent::Work };
        Ok(Response::new(GetIntentResponse {
            intent: intent.into(),
            status: row.state.status().to_string(),
        }))
    }
}
