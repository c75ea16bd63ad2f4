//! The way in: the gateway, by the generated clients.

use std::collections::HashMap;
use std::time::Duration;

use syncline_testkit::eventually;
use syncline_wire::analysis::analysis_service_client::AnalysisServiceClient;
use syncline_wire::analysis::{CheckSyncRequest, CheckSyncResponse};
use syncline_wire::connection::connection_service_client::ConnectionServiceClient;
use syncline_wire::connection::{ApplyConnectionRequest, Connection, GetConnectionRequest, TestConnectionRequest};
use syncline_wire::monitor::monitor_service_client::MonitorServiceClient;
use syncline_wire::monitor::{GetReportRequest, Report};
use syncline_wire::run::run_service_client::RunServiceClient;
use syncline_wire::run::{
    CancelRunRequest, ExplainRunRequest, GetRunRequest, PauseRunRequest, ResumeRunRequest, RetryFailedRequest, RetryFailedResponse, Run,
    SubmitRunRequest, Wait,
};
use syncline_wire::sync::ApplySyncRequest;
use syncline_wire::sync::sync_service_client::SyncServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::org::SimulatedOrg;

/// The monitor hears of a run's end a moment after the coordinator decided it.
const BOOKS_WAIT: Duration = Duration::from_secs(20);

#[derive(Clone)]
struct Auth(MetadataValue<Ascii>);

impl Interceptor for Auth {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// What a user of the API can do.
#[derive(Clone)]
pub struct Door {
    channel: InterceptedService<Channel, Auth>,
}

impl Door {
    #[must_use]
    pub fn new(url: &str, token: &str) -> Self {
        let channel = Endpoint::from_shared(url.to_owned()).expect("an address").connect_lazy();
        let bearer = format!("Bearer {token}").parse().expect("a plain token");
        Self {
            channel: InterceptedService::new(channel, Auth(bearer)),
        }
    }

    fn runs(&self) -> RunServiceClient<InterceptedService<Channel, Auth>> {
        RunServiceClient::new(self.channel.clone())
    }

    /// Stores a connection to an org, with this secret.
    pub async fn connect(&self, name: &str, org: &SimulatedOrg, secret: &str) -> Result<Connection, Status> {
        self.connect_by(name, org, org.url(), secret, "").await
    }

    /// The same by another way to the org, with more lines of the spec.
    pub async fn connect_by(&self, name: &str, org: &SimulatedOrg, url: &str, secret: &str, more: &str) -> Result<Connection, Status> {
        let yaml = format!(
            "apiVersion: syncline.dev/v1\nkind: Connection\nmetadata:\n  name: {name}\nspec:\n  type: salesforce\n  url: {}\n  auth:\n    flow: client_credentials\n    client_id: {}\n    client_secret: {{env: SECRET}}\n  requests_per_second: 500\n{more}",
            url,
            org.client_id()
        );
        let secrets = HashMap::from([("client_secret".to_owned(), secret.to_owned())]);
        let mut client = ConnectionServiceClient::new(self.channel.clone());
        let answer = client.apply_connection(ApplyConnectionRequest { yaml, secrets }).await?;
        Ok(answer.into_inner().connection.expect("the connection"))
    }

    pub async fn connection(&self, name: &str) -> Result<Connection, Status> {
        let mut client = ConnectionServiceClient::new(self.channel.clone());
        let answer = client.get_connection(GetConnectionRequest { name: name.to_owned() }).await?;
        Ok(answer.into_inner().connection.expect("the connection"))
    }

    pub async fn test_connection(&self, name: &str) -> Result<Connection, Status> {
        let mut client = ConnectionServiceClient::new(self.channel.clone());
        let answer = client.test_connection(TestConnectionRequest { name: name.to_owned() }).await?;
        Ok(answer.into_inner().connection.expect("the connection"))
    }

    /// Stores a sync.
    pub async fn apply(&self, yaml: &str) -> Result<(), Status> {
        let mut client = SyncServiceClient::new(self.channel.clone());
        client.apply_sync(ApplySyncRequest { yaml: yaml.to_owned() }).await?;
        Ok(())
    }

    pub async fn check(&self, sync: &str) -> Result<CheckSyncResponse, Status> {
        let mut client = AnalysisServiceClient::new(self.channel.clone());
        Ok(client.check_sync(CheckSyncRequest { sync: sync.to_owned() }).await?.into_inner())
    }

    pub async fn submit(&self, sync: &str, key: &str) -> Result<Run, Status> {
        let request = SubmitRunRequest {
            sync: sync.to_owned(),
            idempotency_key: key.to_owned(),
        };
        Ok(self.runs().submit_run(request).await?.into_inner().run.expect("the run"))
    }

    pub async fn run(&self, id: &str) -> Result<Run, Status> {
        let request = GetRunRequest { id: id.to_owned() };
        Ok(self.runs().get_run(request).await?.into_inner().run.expect("the run"))
    }

    pub async fn cancel(&self, id: &str) -> Result<Run, Status> {
        let request = CancelRunRequest { id: id.to_owned() };
        Ok(self.runs().cancel_run(request).await?.into_inner().run.expect("the run"))
    }

    pub async fn pause(&self, id: &str) -> Result<Run, Status> {
        let request = PauseRunRequest { id: id.to_owned() };
        Ok(self.runs().pause_run(request).await?.into_inner().run.expect("the run"))
    }

    pub async fn resume(&self, id: &str) -> Result<Run, Status> {
        let request = ResumeRunRequest { id: id.to_owned() };
        Ok(self.runs().resume_run(request).await?.into_inner().run.expect("the run"))
    }

    /// Loads what a run ended without again.
    pub async fn retry_failed(&self, id: &str, object: &str) -> Result<RetryFailedResponse, Status> {
        let request = RetryFailedRequest {
            id: id.to_owned(),
            object: object.to_owned(),
            ..RetryFailedRequest::default()
        };
        Ok(self.runs().retry_failed(request).await?.into_inner())
    }

    /// What a run waits for, or ended without.
    pub async fn explain(&self, id: &str) -> Result<Vec<Wait>, Status> {
        let request = ExplainRunRequest { id: id.to_owned() };
        Ok(self.runs().explain_run(request).await?.into_inner().waits)
    }

    /// Waits until a run shows one of these statuses; other final ones fail the test.
    pub async fn reach(&self, id: &str, statuses: &[&str], wait: Duration) -> Run {
        let reached = eventually(wait, || async {
            let run = self.run(id).await.map_err(|e| e.to_string())?;
            match run.finished_at.is_some() || statuses.contains(&run.status.as_str()) {
                true => Ok(run),
                false => Err(format!("{} with {:?}", run.status, run.objects)),
            }
        })
        .await;
        if !statuses.contains(&reached.status.as_str()) {
            let report = self.report(id).await;
            panic!(
                "the run is {} ({}: {}), not {statuses:?}; errors {:?}; objects {:?}",
                reached.status, reached.failure_code, reached.failure_message, report.errors, report.objects
            );
        }
        reached
    }

    /// The closed books of a finished run.
    pub async fn report(&self, id: &str) -> Report {
        let run = self.run(id).await.expect("the run is known");
        let client = MonitorServiceClient::new(self.channel.clone());
        eventually(BOOKS_WAIT, || {
            let (mut client, status) = (client.clone(), run.status.clone());
            async move {
                let answer = client
                    .get_report(GetReportRequest { run: id.to_owned() })
                    .await
                    .map_err(|e| e.to_string())?;
                let report = answer.into_inner().report.ok_or("no report")?;
                match report.status == status && report.finished_at.is_some() {
                    true => Ok(report),
                    false => Err(format!("the report says {}", report.status)),
                }
            }
        })
        .await
    }
}
