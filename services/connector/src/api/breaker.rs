//! `BreakerService`: for the coordinator, which explains what runs wait for.

use syncline_wire::breaker::to_proto;
use syncline_wire::connection::breaker_service_server::BreakerService;
use syncline_wire::connection::{ListBreakersRequest, ListBreakersResponse};
use tonic::{Request, Response, Status};

use crate::Connector;

#[tonic::async_trait]
impl BreakerService for Connector {
    async fn list_breakers(&self, request: Request<ListBreakersRequest>) -> Result<Response<ListBreakersResponse>, Status> {
        let found = self.breakers.list(&request.into_inner().connections).await?;
        let breakers = found.iter().filter_map(|(name, breaker)| to_proto(name, breaker)).collect();
        Ok(Response::new(ListBreakersResponse { breakers }))
    }
}
