//! The peers that the loader asks: tokens, keys and plans.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use syncline_batch::SealingKey;
use syncline_domain::RunId;
use syncline_domain::plan::Plan;
use syncline_salesforce_simulator::RunningOrg;
use syncline_wire::access::access_service_server::{AccessService, AccessServiceServer};
use syncline_wire::access::{
    DescribeRequest, DescribeResponse, GetAccessRequest, GetAccessResponse, GetRunKeysRequest, GetRunKeysResponse, LeaseQuotaRequest,
    LeaseQuotaResponse, ReportOutcomeRequest, ReportOutcomeResponse, ReportUsageRequest, ReportUsageResponse,
};
use syncline_wire::analysis::plan_service_server::{PlanService, PlanServiceServer};
use syncline_wire::analysis::{GetPlanRequest, GetPlanResponse};
use syncline_wire::monitor::letter_service_server::{LetterService, LetterServiceServer};
use syncline_wire::monitor::{CountLettersRequest, CountLettersResponse, FetchLettersRequest, FetchLettersResponse, Letter};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

#[derive(Clone)]
pub struct Peers {
    address: SocketAddr,
    org_url: String,
    org_token: String,
    clean: SealingKey,
    kek: SealingKey,
    plans: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    /// Letters that the monitor hands out, each with the stage whose it is.
    pub letters: Arc<Mutex<Vec<(&'static str, Letter)>>>,
}

impl Peers {
    pub async fn start(org: &RunningOrg, clean: SealingKey, kek: SealingKey) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let peers = Self {
            address: listener.local_addr().unwrap(),
            org_url: org.url.clone(),
            org_token: org.token.clone(),
            clean,
            kek,
            plans: Arc::default(),
            letters: Arc::default(),
        };
        let server = Server::builder()
            .add_service(AccessServiceServer::new(peers.clone()))
            .add_service(PlanServiceServer::new(peers.clone()))
            .add_service(LetterServiceServer::new(peers.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        peers
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn pin(&self, plan: &Plan) {
        let json = serde_json::to_vec(plan).unwrap();
        self.plans.lock().unwrap().insert(plan.run.to_string(), json);
    }

    pub fn hash(&self, run: &RunId) -> String {
        blake3::hash(&self.plans.lock().unwrap()[run.as_str()]).to_hex().to_string()
    }
}

#[tonic::async_trait]
impl AccessService for Peers {
    async fn get_access(&self, _: Request<GetAccessRequest>) -> Result<Response<GetAccessResponse>, Status> {
        Ok(Response::new(GetAccessResponse {
            instance_url: self.org_url.clone(),
            api_version: "65.0".to_owned(),
            access_token: self.org_token.clone(),
            retry: None,
        }))
    }

    async fn lease_quota(&self, request: Request<LeaseQuotaRequest>) -> Result<Response<LeaseQuotaResponse>, Status> {
        Ok(Response::new(LeaseQuotaResponse {
            granted: request.into_inner().calls,
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
        Err(Status::unimplemented("the loader asks for no describes"))
    }

    async fn get_run_keys(&self, request: Request<GetRunKeysRequest>) -> Result<Response<GetRunKeysResponse>, Status> {
        let aad = format!("{}/clean", request.into_inner().run);
        Ok(Response::new(GetRunKeysResponse {
            raw_wrapped: Vec::new(),
            clean_wrapped: self.kek.wrap(&self.clean, aad.as_bytes()),
        }))
    }
}

#[tonic::async_trait]
impl PlanService for Peers {
    async fn get_plan(&self, request: Request<GetPlanRequest>) -> Result<Response<GetPlanResponse>, Status> {
        let plans = self.plans.lock().unwrap();
        let json = plans
            .get(&request.into_inner().run)
            .cloned()
            .ok_or_else(|| Status::not_found("no such plan"))?;
        let hash = blake3::hash(&json).to_hex().to_string();
        Ok(Response::new(GetPlanResponse { plan_json: json, hash }))
    }
}

#[tonic::async_trait]
impl LetterService for Peers {
    async fn fetch_letters(&self, request: Request<FetchLettersRequest>) -> Result<Response<FetchLettersResponse>, Status> {
        let request = request.into_inner();
        let letters = self.letters.lock().unwrap();
        let is_of = |batch: &str| batch.split('/').nth(1) == Some(request.object.as_str());
        let wanted = letters
            .iter()
            .filter(|(stage, l)| *stage == request.stage && is_of(&l.batch) && l.id > request.after);
        let mut letters: Vec<Letter> = wanted.map(|(_, letter)| letter.clone()).collect();
        if request.without_payload {
            letters.iter_mut().for_each(|l| l.payload.clear());
        }
        Ok(Response::new(FetchLettersResponse { letters, more: false }))
    }

    async fn count_letters(&self, _: Request<CountLettersRequest>) -> Result<Response<CountLettersResponse>, Status> {
        Err(Status::unimplemented("the loader counts none"))
    }
}
