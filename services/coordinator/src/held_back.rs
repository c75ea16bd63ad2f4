//! Over which connections of a run nothing is sent for now, as the connector knows it.

use std::time::Duration;

use syncline_domain::breaker::Breaker;
use syncline_runtime::Platform;
use syncline_runtime::rpc::with_trace;
use syncline_wire::breaker::from_proto;
use syncline_wire::connection::ListBreakersRequest;
use syncline_wire::connection::breaker_service_client::BreakerServiceClient;

const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Asks for both ends. A connector that does not answer is unknown: nothing is concluded from it.
pub async fn ask(platform: &Platform, source: &str, target: &str) -> Vec<(String, Breaker)> {
    let mut client = BreakerServiceClient::new(with_trace(platform.peers.connector.clone()));
    let asked = client.list_breakers(ListBreakersRequest {
        connections: vec![source.to_owned(), target.to_owned()],
    });
    let Ok(Ok(answer)) = tokio::time::timeout(ANSWER_WAIT, asked).await else {
        return Vec::new();
    };
    let breakers = answer.into_inner().breakers.into_iter();
    breakers.filter_map(|b| Some((b.connection.clone(), from_proto(&b)?))).collect()
}
