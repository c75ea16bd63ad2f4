//! What a service learns from its peers, and what it tells them.
#![allow(clippy::unwrap_used)]
#![allow(dead_code)] // the bench serves several test programs

mod bench;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bench::{Bench, serve};
use futures::future::join_all;
use syncline_connect::{Access, Sign};
use syncline_domain::breaker::Failure;
use syncline_domain::plan::{Cost, Endpoint, Plan};
use syncline_domain::run::Step;
use syncline_domain::{ConnectionName, ErrorCode, ObjectName, RunId, SyncName};
use syncline_runtime::access::ServiceAccess;
use syncline_runtime::plans::Plans;
use syncline_runtime::progress::{Books, Progress};
use syncline_runtime::{Lease, TaskId};
use syncline_wire::access::access_service_server::{AccessService, AccessServiceServer};
use syncline_wire::access::*;
use syncline_wire::analysis::plan_service_server::{PlanService, PlanServiceServer};
use syncline_wire::analysis::{GetPlanRequest, GetPlanResponse};
use syncline_wire::connection::RetryPolicy;
use syncline_wire::stage::stage_service_client::StageServiceClient;
use syncline_wire::stage::{GetProgressRequest, ReopenRequest};
use syncline_wire::status::{code_of, retry_after, status};
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

/// A connector service and an analyzer that note what they are asked.
#[derive(Clone, Default)]
struct Peer {
    tokens: Arc<Mutex<Vec<String>>>,
    leases: Arc<Mutex<Vec<u32>>>,
    grants: Arc<Mutex<Vec<u32>>>,
    served: Arc<Mutex<Vec<bool>>>,
    outcomes: Arc<Mutex<Vec<(String, u64)>>>,
    /// The breaker is open for so long.
    refusing: Arc<Mutex<Option<Duration>>>,
    probing: bool,
    describes: Vec<String>,
    plans: Arc<Mutex<Vec<String>>>,
    plan_json: Vec<u8>,
    retry: Option<RetryPolicy>,
}

#[tonic::async_trait]
impl AccessService for Peer {
    async fn get_access(&self, request: Request<GetAccessRequest>) -> Result<Response<GetAccessResponse>, Status> {
        let mut tokens = self.tokens.lock().unwrap();
        tokens.push(request.into_inner().stale);
        Ok(Response::new(GetAccessResponse {
            instance_url: "https://org".to_owned(),
            api_version: "65.0".to_owned(),
            access_token: format!("token-{}", tokens.len()),
            retry: self.retry.clone(),
        }))
    }

    async fn lease_quota(&self, request: Request<LeaseQuotaRequest>) -> Result<Response<LeaseQuotaResponse>, Status> {
        let LeaseQuotaRequest { calls, served, .. } = request.into_inner();
        self.leases.lock().unwrap().push(calls);
        self.served.lock().unwrap().push(served);
        if let Some(wait) = self.refusing.lock().unwrap().as_ref() {
            return Err(retry_after(ErrorCode::HeldBack, "nothing is sent to `production`", *wait));
        }
        let granted = self.grants.lock().unwrap().pop().unwrap_or(calls);
        Ok(Response::new(LeaseQuotaResponse {
            granted,
            wait_ms: 0,
            probe: self.probing,
        }))
    }

    async fn report_outcome(&self, request: Request<ReportOutcomeRequest>) -> Result<Response<ReportOutcomeResponse>, Status> {
        let request = request.into_inner();
        self.outcomes.lock().unwrap().push((request.failure, request.wait_ms));
        Ok(Response::new(ReportOutcomeResponse {}))
    }

    async fn report_usage(&self, _: Request<ReportUsageRequest>) -> Result<Response<ReportUsageResponse>, Status> {
        Ok(Response::new(ReportUsageResponse {}))
    }

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        if self.describes.is_empty() {
            return Err(status(ErrorCode::DailyApiLimit, "used up"));
        }
        Ok(Response::new(DescribeResponse {
            describes_json: self.describes.clone(),
        }))
    }

    async fn get_run_keys(&self, _: Request<GetRunKeysRequest>) -> Result<Response<GetRunKeysResponse>, Status> {
        Err(Status::internal("no code"))
    }
}

#[tonic::async_trait]
impl PlanService for Peer {
    async fn get_plan(&self, request: Request<GetPlanRequest>) -> Result<Response<GetPlanResponse>, Status> {
        let run = request.into_inner().run;
        self.plans.lock().unwrap().push(run.clone());
        if run == "unknown" {
            return Err(status(ErrorCode::SyncUnknown, "no such plan"));
        }
        Ok(Response::new(GetPlanResponse {
            plan_json: self.plan_json.clone(),
            hash: "h".to_owned(),
        }))
    }
}

async fn access(peer: &Peer) -> ServiceAccess {
    let url = serve(Routes::new(AccessServiceServer::new(peer.clone()))).await;
    ServiceAccess::new(
        ConnectionName::new("production").unwrap(),
        syncline_runtime::rpc::channel(&url, None).unwrap(),
    )
}

fn objects(count: usize) -> Vec<ObjectName> {
    (0..count).map(|n| ObjectName::new(format!("O{n}__c")).unwrap()).collect()
}

#[tokio::test]
async fn requests_are_leased_in_blocks() {
    let peer = Peer::default();
    let access = access(&peer).await;
    for _ in 0..40 {
        access.permit(1).await.unwrap();
    }
    assert_eq!(*peer.leases.lock().unwrap(), [20, 20]);
    access.permit(25).await.unwrap();
    assert_eq!(*peer.leases.lock().unwrap(), [20, 20, 25]);
}

#[tokio::test]
async fn a_small_grant_is_added_to_until_it_suffices_and_an_empty_one_is_no_busy_loop() {
    let peer = Peer::default();
    *peer.grants.lock().unwrap() = vec![3, 1, 0, 1]; // taken from the end
    let access = access(&peer).await;
    let begin = tokio::time::Instant::now();
    access.permit(5).await.unwrap();
    assert_eq!(peer.leases.lock().unwrap().len(), 4);
    assert!(begin.elapsed().as_millis() >= 100);
}

#[tokio::test]
async fn answers_cost_no_call_and_failures_are_told_and_give_the_block_up() {
    let peer = Peer::default();
    let access = access(&peer).await;
    for _ in 0..30 {
        access.permit(1).await.unwrap();
        access.note(Sign::Answered).await;
    }
    assert_eq!(*peer.served.lock().unwrap(), [false, true], "it travels with the leases");
    assert!(peer.outcomes.lock().unwrap().is_empty());
    access.note(Sign::Away(Failure::NoConnection)).await;
    access.permit(1).await.unwrap();
    assert_eq!(
        *peer.served.lock().unwrap(),
        [false, true, false],
        "the rest of the block is not used up"
    );
    access.note(Sign::Answered).await;
    access.note(Sign::Answered).await;
    access.note(Sign::Wait(Duration::from_secs(90))).await;
    let told = [("no_connection", 0), ("", 0), ("", 90_000)].map(|(failure, wait)| (failure.to_owned(), wait));
    assert_eq!(
        *peer.outcomes.lock().unwrap(),
        told,
        "the first answer after a failure is told, and no other"
    );
}

#[tokio::test]
async fn an_open_breaker_is_an_error_that_says_how_long() {
    let peer = Peer::default();
    *peer.refusing.lock().unwrap() = Some(Duration::from_secs(17));
    let error = access(&peer).await.permit(1).await.unwrap_err();
    assert_eq!(
        (error.code, error.retry_after),
        (ErrorCode::HeldBack, Some(Duration::from_secs(17)))
    );
    assert!(error.message.contains("`production`"), "{error}");
    assert_eq!(peer.leases.lock().unwrap().len(), 1, "nobody waits here");
}

#[tokio::test]
async fn what_becomes_of_a_probe_is_told() {
    let peer = Peer {
        probing: true,
        ..Peer::default()
    };
    let access = access(&peer).await;
    access.permit(1).await.unwrap();
    access.note(Sign::Answered).await;
    assert_eq!(*peer.outcomes.lock().unwrap(), [(String::new(), 0)]);
}

#[tokio::test]
async fn a_token_is_kept_and_a_refresh_is_shared() {
    let peer = Peer::default();
    let access = access(&peer).await;
    let first = access.token().await.unwrap();
    assert_eq!(access.token().await.unwrap(), first);
    assert_eq!(peer.tokens.lock().unwrap().len(), 1);
    let second = access.refresh(&first).await.unwrap();
    assert_ne!(second, first);
    // Those who find the same token refused later are given the newer one.
    for token in join_all((0..10).map(|_| access.refresh(&first))).await {
        assert_eq!(token.unwrap(), second);
    }
    assert_eq!(access.token().await.unwrap(), second);
    let asked = peer.tokens.lock().unwrap().clone();
    assert_eq!(asked, [String::new(), syncline_connect::access::fingerprint("token-1")]);
    assert!(!format!("{access:?}").contains("token-"));
}

#[tokio::test]
async fn a_policy_comes_with_the_token_and_an_older_connector_means_the_defaults() {
    let policy = syncline_domain::retry::RetryPolicy {
        attempts_max: 9,
        ..Default::default()
    };
    let peer = Peer {
        retry: Some(syncline_wire::retry::to_proto(&policy)),
        ..Peer::default()
    };
    let told = access(&peer).await;
    assert_eq!(told.retry_policy().await, Ok(policy));
    told.token().await.unwrap();
    assert_eq!(peer.tokens.lock().unwrap().len(), 1, "it costs no call of its own");
    assert_eq!(access(&Peer::default()).await.retry_policy().await, Ok(Default::default()));
}

#[tokio::test]
async fn describes_come_in_the_order_asked_and_what_is_missing_is_none() {
    let describes = vec![String::new(), String::new()];
    let access_to = async |describes: Vec<String>| {
        access(&Peer {
            describes,
            ..Peer::default()
        })
        .await
    };
    let found = access_to(describes.clone()).await.describe(&objects(2)).await.unwrap();
    assert!(matches!(found.as_slice(), [None, None]));
    // Fewer answers than objects would give one object's describe to another.
    let error = access_to(describes).await.describe(&objects(3)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Internal);
    let error = access_to(vec!["{".to_owned()]).await.describe(&objects(1)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Internal);
    let error = access_to(vec![]).await.describe(&objects(1)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::DailyApiLimit);
}

#[tokio::test]
async fn a_connector_that_is_away_is_unreachable() {
    let channel = syncline_runtime::rpc::channel("http://127.0.0.1:1", None).unwrap();
    let access = ServiceAccess::new(ConnectionName::new("production").unwrap(), channel);
    for error in [access.token().await.map(drop), access.permit(1).await] {
        assert_eq!(error.unwrap_err().code, ErrorCode::Unreachable);
    }
}

fn plan() -> Plan {
    let endpoint = || Endpoint {
        connection: ConnectionName::new("c").unwrap(),
        identity: "00D".to_owned(),
        label: "C".to_owned(),
    };
    Plan {
        run: RunId::new("r-1").unwrap(),
        sync: SyncName::new("s").unwrap(),
        sync_version: 1,
        source: endpoint(),
        target: endpoint(),
        default_owner: None,
        reviewed_until: None,
        t0: chrono::DateTime::UNIX_EPOCH,
        existing: Default::default(),
        orphans: Default::default(),
        objects: Vec::new(),
        matched: Default::default(),
        issues: Vec::new(),
        cost: Cost::default(),
    }
}

#[tokio::test]
async fn a_plan_is_fetched_once_per_run_and_errors_keep_their_code() {
    let mut peer = Peer {
        plan_json: serde_json::to_vec(&plan()).unwrap(),
        ..Peer::default()
    };
    let url = serve(Routes::new(PlanServiceServer::new(peer.clone())).add_service(AccessServiceServer::new(peer.clone()))).await;
    let bench = Bench::beside(&url, |_| {}).await;
    let plans = Plans::new(&bench.platform);
    let run = |n: u32| RunId::new(format!("r-{n}")).unwrap();
    for n in [1, 1, 2, 1, 2] {
        let pinned = plans.get(&run(n)).await.unwrap();
        assert_eq!((pinned.hash.as_str(), pinned.plan.sync_version), ("h", 1));
    }
    assert_eq!(*peer.plans.lock().unwrap(), ["r-1", "r-2"]);
    for n in 3..40 {
        plans.get(&run(n)).await.unwrap(); // far more runs than are kept
    }
    plans.get(&run(39)).await.unwrap();
    plans.get(&run(1)).await.unwrap();
    assert_eq!(peer.plans.lock().unwrap().len(), 40);

    let unknown = RunId::new("unknown").unwrap();
    for _ in 0..2 {
        let Err(error) = plans.get(&unknown).await else {
            panic!("there is no plan")
        };
        assert_eq!(error.code(), ErrorCode::SyncUnknown);
    }
    assert_eq!(peer.plans.lock().unwrap().len(), 42, "a failure is not kept");
    let Err(error) = plans.raw_key(&unknown).await else {
        panic!("there is no key")
    };
    assert_eq!(error.code(), ErrorCode::MaskKey, "this service was given none");

    peer.plan_json = b"{".to_vec();
    let url = serve(Routes::new(PlanServiceServer::new(peer))).await;
    let bench = Bench::beside(&url, |_| {}).await;
    let Err(error) = Plans::new(&bench.platform).get(&run(1)).await else {
        panic!("no JSON")
    };
    assert_eq!(error.code(), ErrorCode::Internal);
}

/// A stage that forgets a batch of its own when it is told that some are lost.
struct Forgetful;

#[tonic::async_trait]
impl Books for Forgetful {
    async fn reopen(&self, tx: &mut sqlx::PgConnection, _: &RunId, object: &ObjectName) -> Result<(), sqlx::Error> {
        sqlx::query("insert into outbox (subject, payload) values ($1, '')")
            .bind(object.as_str())
            .execute(tx)
            .await?;
        Ok(())
    }
}

#[tokio::test]
async fn progress_is_what_the_tables_say_of_that_run() {
    let bench = Bench::start().await;
    let db = &bench.platform.db;
    for (step, with_errors) in [("extract", false), ("verify", true)] {
        let mut tx = db.begin().await.unwrap();
        bench.taken(step).await.finish(&mut tx, with_errors).await.unwrap();
        tx.commit().await.unwrap();
    }
    bench.taken("transform").await;
    bench.taken("clear").await.release(db, true).await.unwrap();
    let of_the_run = TaskId {
        object: None,
        ..bench.task("settle")
    };
    Lease::take(db, of_the_run, "test").await.unwrap();
    let other = TaskId {
        run: RunId::new("other").unwrap(),
        ..bench.task("extract")
    };
    Lease::take(db, other, "test").await.unwrap();
    let url = serve(Routes::new(Progress::service(&bench.platform, Forgetful, Some(Step::Extract)))).await;
    let mut client = StageServiceClient::connect(url).await.unwrap();
    let ask = |run: &str| GetProgressRequest { run: run.to_owned() };
    let mut progress = client.get_progress(ask(bench.run.as_str())).await.unwrap().into_inner();
    progress.done.sort();
    assert_eq!(progress.done, ["Account/extract", "Account/verify/errors"]);
    assert_eq!((progress.live_leases, progress.unsettled_claims), (2, 0));
    let lost = ReopenRequest {
        run: bench.run.to_string(),
        object: "Account".to_owned(),
    };
    client.reopen(lost.clone()).await.unwrap();
    let after = client.get_progress(ask(bench.run.as_str())).await.unwrap().into_inner();
    assert_eq!(
        after.done,
        ["Account/verify/errors"],
        "the stage's reading is open again, nothing else"
    );
    assert_eq!(after.live_leases, 2, "whoever works is left alone");
    let told: i64 = sqlx::query_scalar("select count(*) from outbox where subject = 'Account'")
        .fetch_one(db)
        .await
        .unwrap();
    assert_eq!(told, 1, "and the stage's own tables forgot");
    let nameless = ReopenRequest {
        object: "a b".to_owned(),
        ..lost
    };
    assert_eq!(client.reopen(nameless).await.unwrap_err().code(), Code::InvalidArgument);
    let nothing = client.get_progress(ask("never-heard-of")).await.unwrap().into_inner();
    assert_eq!((nothing.live_leases, nothing.done.len()), (0, 0));
    assert_eq!(client.get_progress(ask("a.b")).await.unwrap_err().code(), Code::InvalidArgument);
    db.close().await;
    let unknown = client.get_progress(ask(bench.run.as_str())).await.unwrap_err();
    assert_eq!(
        code_of(&unknown),
        Some(ErrorCode::DatabaseUnavailable),
        "no answer, not an empty one"
    );
}
