//! A gateway of one's own in front of tiny peers, over real sockets and a real database.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::Stream;
use secrecy::SecretString;
use sqlx::PgPool;
use syncline_domain::ErrorCode;
use syncline_gateway::config::GatewayConfig;
use syncline_gateway::route::Peer;
use syncline_gateway::{Error, Gateway, MIGRATIONS};
use syncline_runtime::Config;
use syncline_testkit::{TestDatabase, free_port, servers};
use syncline_wire::{identity, monitor, run, sync};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

pub const TOKEN: &str = "a-token-for-tests";
pub const SOON: Duration = Duration::from_secs(10);

/// Stands for the coordinator: serves `SyncService` and notes the metadata it was sent.
#[derive(Clone, Default)]
pub struct Coordinator {
    pub seen: Arc<Mutex<Option<MetadataMap>>>,
}

#[tonic::async_trait]
impl sync::sync_service_server::SyncService for Coordinator {
    async fn apply_sync(&self, request: Request<sync::ApplySyncRequest>) -> Result<Response<sync::ApplySyncResponse>, Status> {
        let yaml = request.into_inner().yaml;
        let sync = sync::Sync {
            yaml,
            ..Default::default()
        };
        Ok(Response::new(sync::ApplySyncResponse {
            sync: Some(sync),
            changed: true,
        }))
    }

    async fn get_sync(&self, request: Request<sync::GetSyncRequest>) -> Result<Response<sync::GetSyncResponse>, Status> {
        *self.seen.lock().unwrap() = Some(request.metadata().clone());
        match request.into_inner().name.as_str() {
            "" => Err(syncline_wire::status::status(ErrorCode::SyncUnknown, "no such sync")),
            name => {
                let sync = sync::Sync {
                    name: name.to_owned(),
                    ..Default::default()
                };
                let mut response = Response::new(sync::GetSyncResponse { sync: Some(sync) });
                response.metadata_mut().insert("x-from", "coordinator".parse().unwrap());
                Ok(response)
            }
        }
    }

    async fn list_syncs(&self, _: Request<sync::ListSyncsRequest>) -> Result<Response<sync::ListSyncsResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

/// Stands for the monitor: sends one snapshot, and another whenever it is told to.
#[derive(Clone, Default)]
pub struct Monitor {
    pub go_on: Arc<Notify>,
}

#[tonic::async_trait]
impl monitor::monitor_service_server::MonitorService for Monitor {
    type WatchRunStream = Pin<Box<dyn Stream<Item = Result<monitor::WatchRunResponse, Status>> + Send>>;

    async fn watch_run(&self, request: Request<monitor::WatchRunRequest>) -> Result<Response<Self::WatchRunStream>, Status> {
        let last = request.into_inner().after;
        let (send, receive) = mpsc::channel(1);
        let go_on = Arc::clone(&self.go_on);
        tokio::spawn(async move {
            for cursor in 1..=last {
                let snapshot = Some(monitor::Snapshot {
                    cursor,
                    ..Default::default()
                });
                if send.send(Ok(monitor::WatchRunResponse { snapshot })).await.is_err() {
                    return;
                }
                go_on.notified().await;
            }
            send.send(Err(Status::data_loss("the end, with a status"))).await.ok();
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }

    async fn get_report(&self, _: Request<monitor::GetReportRequest>) -> Result<Response<monitor::GetReportResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn list_errors(&self, _: Request<monitor::ListErrorsRequest>) -> Result<Response<monitor::ListErrorsResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn get_dead_letter(&self, _: Request<monitor::GetDeadLetterRequest>) -> Result<Response<monitor::GetDeadLetterResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn replay_dead_letters(
        &self,
        _: Request<monitor::ReplayDeadLettersRequest>,
    ) -> Result<Response<monitor::ReplayDeadLettersResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn discard_dead_letters(
        &self,
        _: Request<monitor::DiscardDeadLettersRequest>,
    ) -> Result<Response<monitor::DiscardDeadLettersResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn list_dead_letters(
        &self,
        _: Request<monitor::ListDeadLettersRequest>,
    ) -> Result<Response<monitor::ListDeadLettersResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

pub async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub async fn start_peer(routes: Routes) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let (listener, address) = listen().await;
    let task = tokio::spawn(async move {
        tonic::transport::Server::builder()
            .add_routes(routes)
            .serve_with_incoming(TcpIncoming::from(listener))
            .await
            .unwrap();
    });
    (address, task)
}

pub struct Bench {
    pub address: SocketAddr,
    pub coordinator: Coordinator,
    pub monitor: Monitor,
    pub shutdown: CancellationToken,
    pub serving: tokio::task::JoinHandle<Result<(), Error>>,
    pub db: PgPool,
    _database: TestDatabase,
}

/// A database with the gateway's schema, and the pool as the gateway opens it.
pub async fn database(url: &str) -> PgPool {
    let config = Config::from_lookup("gateway", &|name| match name {
        "SYNCLINE_DATABASE_URL" => Some(url.to_owned()),
        "SYNCLINE_NATS_URL" => Some(servers().nats_url.clone()),
        _ => None,
    })
    .unwrap();
    syncline_runtime::database(&config, Some(&MIGRATIONS)).await.unwrap()
}

impl Bench {
    pub async fn start() -> Self {
        Self::with(GatewayConfig::default()).await
    }

    pub async fn with(config: GatewayConfig) -> Self {
        let database = TestDatabase::create().await;
        let db = self::database(database.url()).await;
        Self::over(config, db, database).await
    }

    pub async fn over(config: GatewayConfig, db: PgPool, database: TestDatabase) -> Self {
        let coordinator = Coordinator::default();
        let monitor = Monitor::default();
        // No limit of its own, so that only the gateway's can refuse.
        let syncs = sync::sync_service_server::SyncServiceServer::new(coordinator.clone()).max_decoding_message_size(usize::MAX);
        let runs = run::run_service_server::RunServiceServer::new(coordinator.clone());
        let monitors = monitor::monitor_service_server::MonitorServiceServer::new(monitor.clone());
        let (coordinator_at, _) = start_peer(Routes::new(syncs).add_service(runs)).await;
        let (monitor_at, _) = start_peer(Routes::new(monitors)).await;
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let gateway = Gateway::new(&config, Some(&SecretString::from(TOKEN)), db.clone(), |peer| {
            let address = match peer {
                Peer::Coordinator => coordinator_at,
                Peer::Monitor => monitor_at,
                Peer::Connector | Peer::Analyzer => nobody,
            };
            Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
        })
        .unwrap();
        let (listener, address) = listen().await;
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(gateway.serve(listener, shutdown.clone()));
        Self {
            address,
            coordinator,
            monitor,
            shutdown,
            serving,
            db,
            _database: database,
        }
    }

    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect_lazy()
    }

    /// A channel that shows a value of `authorization` with every call.
    pub fn shown(&self, token: &str) -> Shown {
        let token = token.to_owned();
        InterceptedService::new(
            self.channel(),
            Box::new(move |mut request: Request<()>| {
                request.metadata_mut().insert("authorization", token.parse().unwrap());
                Ok(request)
            }),
        )
    }

    /// A token of a role, made by the bootstrap token.
    pub async fn token(&self, subject: &str, role: &str) -> identity::CreateTokenResponse {
        let mut tokens = identity::token_service_client::TokenServiceClient::new(self.shown(GOOD));
        let request = identity::CreateTokenRequest {
            subject: subject.to_owned(),
            role: role.to_owned(),
            days: 1,
        };
        tokens.create_token(request).await.unwrap().into_inner()
    }

    /// The same, as a channel.
    pub async fn caller(&self, subject: &str, role: &str) -> Shown {
        let secret = self.token(subject, role).await.secret;
        self.shown(&format!("Bearer {secret}"))
    }
}

pub const GOOD: &str = "Bearer a-token-for-tests";

type Show = Box<dyn FnMut(Request<()>) -> Result<Request<()>, Status> + Send + Sync>;
pub type Shown = InterceptedService<Channel, Show>;

#[tonic::async_trait]
impl run::run_service_server::RunService for Coordinator {
    async fn submit_run(&self, request: Request<run::SubmitRunRequest>) -> Result<Response<run::SubmitRunResponse>, Status> {
        *self.seen.lock().unwrap() = Some(request.metadata().clone());
        let mut response = Response::new(run::SubmitRunResponse {
            run: Some(run::Run {
                id: "r-1".to_owned(),
                sync: request.into_inner().sync,
                ..Default::default()
            }),
        });
        syncline_wire::caller::note_connections(response.metadata_mut(), ["production", "uat"]);
        Ok(response)
    }

    async fn get_run(&self, _: Request<run::GetRunRequest>) -> Result<Response<run::GetRunResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn explain_run(&self, _: Request<run::ExplainRunRequest>) -> Result<Response<run::ExplainRunResponse>, Status> {
        Ok(Response::new(run::ExplainRunResponse::default()))
    }

    async fn list_runs(&self, _: Request<run::ListRunsRequest>) -> Result<Response<run::ListRunsResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn approve_run(&self, _: Request<run::ApproveRunRequest>) -> Result<Response<run::ApproveRunResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn pause_run(&self, _: Request<run::PauseRunRequest>) -> Result<Response<run::PauseRunResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn resume_run(&self, _: Request<run::ResumeRunRequest>) -> Result<Response<run::ResumeRunResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn retry_failed(&self, _: Request<run::RetryFailedRequest>) -> Result<Response<run::RetryFailedResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn cancel_run(&self, _: Request<run::CancelRunRequest>) -> Result<Response<run::CancelRunResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}
