//! `syncline health URL`: asks one service for its health, as Kubernetes' probes do; for stacks whose probes are commands.

use std::time::Duration;

use serde_json::json;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;

const ANSWER_MAX: Duration = Duration::from_secs(3);

/// # Errors
/// When it does not answer, or answers that it does not serve.
pub fn run(url: &str, service: &str, output: Output) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let endpoint =
            Endpoint::from_shared(url.to_owned()).map_err(|_| CliError::new(Exit::Invalid, format!("`{url}` is not an address")))?;
        let mut health = HealthClient::new(endpoint.connect_timeout(ANSWER_MAX).timeout(ANSWER_MAX).connect_lazy());
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.map_err(|s| CliError::unreachable(url, s.message()))?;
        let status = answer.into_inner().status();
        output.result(&format!("{}\n", status.as_str_name()), &json!({"status": status.as_str_name()}))?;
        match status {
            ServingStatus::Serving => Ok(Exit::Ok),
            _ => Err(CliError::new(Exit::Unexpected, format!("{url} does not serve `{service}`"))),
        }
    })
}
