//! The services that a service under test calls.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use syncline_batch::SealingKey;
use syncline_domain::ErrorCode;
use syncline_domain::plan::Plan;
use syncline_wire::access::access_service_server::{AccessService, AccessServiceServer};
use syncline_wire::access::{
    DescribeRequest, DescribeResponse, GetAccessRequest, GetAccessResponse, GetRunKeysRequest, GetRunKeysResponse, LeaseQuotaRequest,
    LeaseQuotaResponse, ReportOutcomeRequest, ReportOutcomeResponse, ReportUsageRequest, ReportUsageResponse,
};
use syncline_wire::analysis::plan_service_server::{PlanService, PlanServiceServer};
use syncline_wire::analysis::{GetPlanRequest, GetPlanResponse};
use syncline_wire::connection::breaker_service_server::{BreakerService, BreakerServiceServer};
use syncline_wire::connection::{Breaker, ListBreakersRequest, ListBreakersResponse, RetryPolicy};
use syncline_wire::monitor::letter_service_server::{LetterService, LetterServiceServer};
use syncline_wire::monitor::{CountLettersRequest, CountLettersResponse, FetchLettersRequest, FetchLettersResponse, Letter};
use syncline_wire::run::reopen_service_server::{ReopenService, ReopenServiceServer};
use syncline_wire::run::run_control_service_server::{RunControlService, RunControlServiceServer};
use syncline_wire::run::{GetIntentRequest, GetIntentResponse, Intent, ReopenRunRequest, ReopenRunResponse};
use syncline_wire::stage::refusal_service_server::{RefusalService, RefusalServiceServer};
use syncline_wire::stage::stage_service_server::{StageService, StageServiceServer};
use syncline_wire::stage::{
    ChooseRefusalsRequest, ChooseRefusalsResponse, GetProgressRequest, GetProgressResponse, ListRefusalsRequest, ListRefusalsResponse,
    RefusalGroup, ReopenRequest, ReopenResponse,
};
use syncline_wire::status::status;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status};

/// What the peers answer. Nothing is set at first, and a peer that was told nothing answers with an error.
#[derive(Default)]
pub struct Script {
    pub plan: Option<Plan>,
    /// Where the source org is and the token it takes.
    pub org: Option<(String, String)>,
    /// How the source org's requests are tried again; the defaults when it is not said.
    pub retry: Option<RetryPolicy>,
    /// How the connector refuses to lease quota; it leases it when it is not said.
    pub quota_refused: Option<Status>,
    /// The circuit breakers of the run's connections.
    pub breakers: Option<Vec<Breaker>>,
    /// The keys under which the run's data keys are wrapped, and these: raw, then clean.
    pub keys: Option<[(SealingKey, SealingKey); 2]>,
    pub stop: bool,
    /// What a stage says of every run; `None` is no answer.
    pub progress: Option<GetProgressResponse>,
    /// How often progress was asked for.
    pub progress_asked: u32,
    /// Objects of which a stage was told that batches are lost.
    pub reopened: Vec<String>,
    /// It cannot be told so.
    pub reopen_refused: bool,
    /// What the loader says stands refused and parked.
    pub refusals: Option<Vec<RefusalGroup>>,
    /// Object and code of the choices that it was asked for.
    pub choices: Vec<(String, String)>,
    /// What the monitor counts.
    pub letter_counts: Option<CountLettersResponse>,
    /// What it hands out to whichever stage asks, with the stage whose letter each is.
    pub letters: Option<Vec<(String, Letter)>>,
    /// How the coordinator answers who wants to reopen a run, and what was asked.
    pub reopening: Option<Result<u32, Status>>,
    pub reopened_runs: Vec<ReopenRunRequest>,
}

/// Analyzer, connector, coordinator and stages behind one port.
#[derive(Clone)]
pub struct Peers {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

impl Peers {
    /// Serves until the test's runtime ends.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let peers = Self {
            address: listener.local_addr().unwrap(),
            script: Arc::default(),
        };
        let routes = Routes::new(PlanServiceServer::new(peers.clone()))
            .add_service(AccessServiceServer::new(peers.clone()))
            .add_service(BreakerServiceServer::new(peers.clone()))
            .add_service(RunControlServiceServer::new(peers.clone()))
            .add_service(StageServiceServer::new(peers.clone()))
            .add_service(RefusalServiceServer::new(peers.clone()))
            .add_service(LetterServiceServer::new(peers.clone()))
            .add_service(ReopenServiceServer::new(peers.clone()));
        let incoming = TcpIncoming::from(listener);
        tokio::spawn(async move { Server::builder().add_routes(routes).serve_with_incoming(incoming).await });
        peers
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Looks at or changes what is answered from now on.
    pub fn script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.script.lock().unwrap())
    }
}

fn untold() -> Status {
    status(ErrorCode::Unreachable, "this peer was told nothing")
}

#[tonic::async_trait]
impl PlanService for Peers {
    async fn get_plan(&self, _: Request<GetPlanRequest>) -> Result<Response<GetPlanResponse>, Status> {
        let plan_json = self
            .script(|s| s.plan.as_ref().map(|p| serde_json::to_vec(p).unwrap()))
            .ok_or_else(untold)?;
        let hash = blake3::hash(&plan_json).to_hex().to_string();
        Ok(Response::new(GetPlanResponse { plan_json, hash }))
    }
}

#[tonic::async_trait]
impl AccessService for Peers {
    async fn get_access(&self, _: Request<GetAccessRequest>) -> Result<Response<GetAccessResponse>, Status> {
        let (instance_url, access_token) = self.script(|s| s.org.clone()).ok_or_else(untold)?;
        Ok(Response::new(GetAccessResponse {
            instance_url,
            api_version: "65.0".to_owned(),
            access_token,
            retry: self.script(|s| s.retry.clone()),
        }))
    }

    async fn lease_quota(&self, request: Request<LeaseQuotaRequest>) -> Result<Response<LeaseQuotaResponse>, Status> {
        if let Some(refusal) = self.script(|s| s.quota_refused.clone()) {
            return Err(refusal);
        }
        Ok(Response::new(LeaseQuotaResponse {
            granted: request.get_ref().calls,
            wait_ms: 0,
            probe: false,
        }))
    }

    async fn report_outcome(&self, _: Request<ReportOutcomeRequest>) -> Result<Response<ReportOutcomeResponse>, Status> {
        Ok(Response::new(ReportOutcomeResponse {}))
    }

    async fn report_usage(&self, _: Request<ReportUsageRequest>) -> Result<Response<ReportUsageResponse>, Status> {
        Ok(Response::new(ReportUsageResponse {}))
    }

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        Err(untold())
    }

    async fn get_run_keys(&self, request: Request<GetRunKeysRequest>) -> Result<Response<GetRunKeysResponse>, Status> {
        let run = request.into_inner().run;
        let keys = self.script(|s| s.keys.clone()).ok_or_else(untold)?;
        let [(raw_kek, raw), (clean_kek, clean)] = keys;
        Ok(Response::new(GetRunKeysResponse {
            raw_wrapped: raw_kek.wrap(&raw, format!("{run}/raw").as_bytes()),
            clean_wrapped: clean_kek.wrap(&clean, format!("{run}/clean").as_bytes()),
        }))
    }
}

#[tonic::async_trait]
impl BreakerService for Peers {
    async fn list_breakers(&self, request: Request<ListBreakersRequest>) -> Result<Response<ListBreakersResponse>, Status> {
        let asked = request.into_inner().connections;
        let mut breakers = self.script(|s| s.breakers.clone()).ok_or_else(untold)?;
        breakers.retain(|b| asked.contains(&b.connection));
        Ok(Response::new(ListBreakersResponse { breakers }))
    }
}

#[tonic::async_trait]
impl RunControlService for Peers {
    async fn get_intent(&self, _: Request<GetIntentRequest>) -> Result<Response<GetIntentResponse>, Status> {
        let intent = if self.script(|s| s.stop) { Intent::Stop } else { Intent::Work };
        Ok(Response::new(GetIntentResponse {
            intent: intent.into(),
            status: String::new(),
        }))
    }
}

#[tonic::async_trait]
impl StageService for Peers {
    async fn get_progress(&self, _: Request<GetProgressRequest>) -> Result<Response<GetProgressResponse>, Status> {
        let progress = self.script(|s| {
            s.progress_asked += 1;
            s.progress.clone()
        });
        progress.map(Response::new).ok_or_else(untold)
    }

    async fn reopen(&self, request: Request<ReopenRequest>) -> Result<Response<ReopenResponse>, Status> {
        let object = request.into_inner().object;
        let refused = self.script(|s| {
            if !s.reopen_refused {
                s.reopened.push(object);
            }
            s.reopen_refused
        });
        if refused {
            return Err(untold());
        }
        Ok(Response::new(ReopenResponse {}))
    }
}

#[tonic::async_trait]
impl RefusalService for Peers {
    async fn list_refusals(&self, _: Request<ListRefusalsRequest>) -> Result<Response<ListRefusalsResponse>, Status> {
        let groups = self.script(|s| s.refusals.clone()).ok_or_else(untold)?;
        Ok(Response::new(ListRefusalsResponse { groups }))
    }

    /// Chooses as it is asked to.
    async fn choose_refusals(&self, request: Request<ChooseRefusalsRequest>) -> Result<Response<ChooseRefusalsResponse>, Status> {
        let ChooseRefusalsRequest { object, code, .. } = request.into_inner();
        let mut groups = self.script(|s| s.refusals.clone()).ok_or_else(untold)?;
        for group in groups.iter_mut().filter(|g| g.kind == "refused") {
            let fits = (object.is_empty() || object == group.object) && (code.is_empty() || code == group.code);
            group.chosen = if fits { group.kept } else { 0 };
        }
        self.script(|s| s.choices.push((object, code)));
        Ok(Response::new(ChooseRefusalsResponse { groups }))
    }
}

#[tonic::async_trait]
impl LetterService for Peers {
    /// One at a time, so that whoever asks has to ask again.
    async fn fetch_letters(&self, request: Request<FetchLettersRequest>) -> Result<Response<FetchLettersResponse>, Status> {
        let request = request.into_inner();
        let letters = self.script(|s| s.letters.clone()).ok_or_else(untold)?;
        let mut wanted = letters
            .into_iter()
            .filter(|(stage, letter)| *stage == request.stage && letter.id > request.after)
            .map(|(_, letter)| letter);
        let mut letters: Vec<Letter> = wanted.by_ref().take(1).collect();
        if request.without_payload {
            letters.iter_mut().for_each(|l| l.payload.clear());
        }
        let more = wanted.next().is_some();
        Ok(Response::new(FetchLettersResponse { letters, more }))
    }

    async fn count_letters(&self, _: Request<CountLettersRequest>) -> Result<Response<CountLettersResponse>, Status> {
        self.script(|s| s.letter_counts).map(Response::new).ok_or_else(untold)
    }
}

#[tonic::async_trait]
impl ReopenService for Peers {
    async fn reopen_run(&self, request: Request<ReopenRunRequest>) -> Result<Response<ReopenRunResponse>, Status> {
        let answer = self.script(|s| {
            s.reopened_runs.push(request.into_inner());
            s.reopening.clone()
        });
        let round = answer.ok_or_else(untold)??;
        Ok(Response::new(ReopenRunResponse { round }))
    }
}
