//! `AccessService`: for stages.

use std::str::FromStr;

use syncline_domain::breaker::Failure;
use syncline_domain::{ObjectName, RunId};
use syncline_wire::access::access_service_server::AccessService;
use syncline_wire::access::{
    DescribeRequest, DescribeResponse, GetAccessRequest, GetAccessResponse, GetRunKeysRequest, GetRunKeysResponse, LeaseQuotaRequest,
    LeaseQuotaResponse, ReportOutcomeRequest, ReportOutcomeResponse, ReportUsageRequest, ReportUsageResponse,
};
use tonic::{Request, Response, Status};

use super::connection_name;
use crate::broker::Want;
use crate::error::Error;
use crate::systems::Gate;
use crate::{Connector, systems};

/// Objects that one request may ask for; a sync names far fewer.
const OBJECTS_MAX: usize = 500;

#[tonic::async_trait]
impl AccessService for Connector {
    async fn get_access(&self, request: Request<GetAccessRequest>) -> Result<Response<GetAccessResponse>, Status> {
        let request = request.into_inner();
        let name = connection_name(&request.connection)?;
        let want = if request.stale.is_empty() {
            Want::Valid
        } else {
            Want::Not(request.stale)
        };
        let token = self.broker.token(&name, want).await?;
        Ok(Response::new(GetAccessResponse {
            instance_url: token.instance_url.clone(),
            api_version: token.api_version.clone(),
            access_token: token.expose().to_owned(),
            retry: Some(syncline_wire::retry::to_proto(&token.retry)),
        }))
    }

    async fn lease_quota(&self, request: Request<LeaseQuotaRequest>) -> Result<Response<LeaseQuotaResponse>, Status> {
        let request = request.into_inner();
        let name = connection_name(&request.connection)?;
        let (_, document) = self.connection(&name).await?;
        let per_second = systems::calls_per_second(&document.spec);
        let block = self.quotas.lease(&name, per_second, request.calls, request.served).await?;
        Ok(Response::new(LeaseQuotaResponse {
            granted: block.granted,
            // Rounded up: a millisecond too early is too early.
            wait_ms: u64::try_from(block.wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX),
            probe: block.probe,
        }))
    }

    async fn report_outcome(&self, request: Request<ReportOutcomeRequest>) -> Result<Response<ReportOutcomeResponse>, Status> {
        let request = request.into_inner();
        let name = connection_name(&request.connection)?;
        if request.wait_ms > 0 {
            self.breakers.asked_to_wait(&name, request.wait_ms).await?;
        } else if request.failure.is_empty() {
            self.breakers.answered(&name).await?;
        } else {
            let failure = request.failure.parse::<Failure>();
            let failure = failure.map_err(|()| Error::Invalid("`failure` is none that is known".to_owned()))?;
            self.breakers.failed(&name, failure).await?;
        }
        Ok(Response::new(ReportOutcomeResponse {}))
    }

    async fn report_usage(&self, request: Request<ReportUsageRequest>) -> Result<Response<ReportUsageResponse>, Status> {
        let request = request.into_inner();
        let name = connection_name(&request.connection)?;
        self.quotas.report(&name, request.used, request.max).await?;
        Ok(Response::new(ReportUsageResponse {}))
    }

    async fn describe(&self, request: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        let request = request.into_inner();
        let name = connection_name(&request.connection)?;
        if request.objects.len() > OBJECTS_MAX {
            return Err(Error::Invalid(format!("more than {OBJECTS_MAX} objects in one request")).into());
        }
        let objects: Vec<ObjectName> = request
            .objects
            .iter()
            .map(|object| ObjectName::from_str(object).map_err(|e| Error::Invalid(e.to_string())))
            .collect::<Result<_, _>>()?;
        let (version, document) = self.connection(&name).await?;
        let system = self.system(&name, &document.spec, Gate::Kept);
        let source = system.salesforce.clone().with_describes(self.describes.known(&name, version));
        let described = self.describes.get(&name, version, &objects, &source).await;
        system.report_usage().await?;
        let describes_json = described?
            .into_iter()
            .map(|body| body.map_or_else(String::new, |body| body.as_ref().to_owned()))
            .collect();
        Ok(Response::new(DescribeResponse { describes_json }))
    }

    async fn get_run_keys(&self, request: Request<GetRunKeysRequest>) -> Result<Response<GetRunKeysResponse>, Status> {
        let run = RunId::new(request.into_inner().run).map_err(|e| Error::Invalid(e.to_string()))?;
        let keys = self.run_keys.get(&run).await?;
        Ok(Response::new(GetRunKeysResponse {
            raw_wrapped: keys.raw_wrapped,
            clean_wrapped: keys.clean_wrapped,
        }))
    }
}
