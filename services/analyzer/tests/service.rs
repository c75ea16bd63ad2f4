//! The service against real PostgreSQL and NATS and two simulated orgs; connector and coordinator are stand-ins that
//! speak their contracts.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use prost::Message as _;
use syncline_analyzer::MIGRATIONS;
use syncline_analyzer::analyzer::Analyzer;
use syncline_analyzer::api::Api;
use syncline_analyzer::stage::{AnalyzerStage, STEP};
use syncline_analyzer::store::{StoredPlan, plan_get, plan_put};
use syncline_connect::retry::RetryPolicy;
use syncline_connect::{Access, AccessToken, ConnectError, Source, Usage};
use syncline_domain::plan::Plan;
use syncline_domain::run::Outline;
use syncline_domain::spec::{Document, read_document};
use syncline_domain::{ErrorCode, ObjectName, RunId, TenantId};
use syncline_runtime::lease::Take;
use syncline_runtime::worker::{Outcome, Stage, StageError, Work};
use syncline_runtime::{Config, Lease, Platform, TaskId};
use syncline_salesforce::Salesforce;
use syncline_salesforce_simulator::{Flavour, Org, OrgConfig, RunningOrg};
use syncline_testkit::{TestDatabase, free_port, servers};
use syncline_wire::access::access_service_server::{AccessService, AccessServiceServer};
use syncline_wire::access::{
    DescribeRequest, DescribeResponse, GetAccessRequest, GetAccessResponse, GetRunKeysRequest, GetRunKeysResponse, LeaseQuotaRequest,
    LeaseQuotaResponse, ReportOutcomeRequest, ReportOutcomeResponse, ReportUsageRequest, ReportUsageResponse,
};
use syncline_wire::analysis::analysis_service_server::AnalysisService;
use syncline_wire::analysis::plan_service_server::PlanService;
use syncline_wire::analysis::{CheckSyncRequest, CheckSyncResponse, GetPlanRequest, GetPlanSummaryRequest, ProposeSyncRequest};
use syncline_wire::event::RunEvent;
use syncline_wire::event::run_event::Fact;
use syncline_wire::run::run_service_server::{RunService, RunServiceServer};
use syncline_wire::run::{
    ApproveRunRequest, ApproveRunResponse, CancelRunRequest, CancelRunResponse, ExplainRunRequest, ExplainRunResponse, GetRunRequest,
    GetRunResponse, ListRunsRequest, ListRunsResponse, PauseRunRequest, PauseRunResponse, ResumeRunRequest, ResumeRunResponse, Run,
    SubmitRunRequest, SubmitRunResponse,
};
use syncline_wire::status::{code_of, status};
use syncline_wire::sync::sync_service_server::{SyncService, SyncServiceServer};
use syncline_wire::sync::{
    ApplySyncRequest, ApplySyncResponse, GetSyncRequest, GetSyncResponse, ListSyncsRequest, ListSyncsResponse, Sync as SyncDefinition,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status};

const EVENT_WAIT: Duration = Duration::from_secs(10);
const RECORDS: u64 = 400;

const SYNC: &str = "\
apiVersion: syncline.dev/v1
kind: Sync
metadata:
  name: prod-to-uat
spec:
  source: production
  target: uat
  objects:
    - name: OpportunityLineItem
    - name: Task
    - name: Account
    - name: Contact
    - name: Opportunity
    - name: OpportunityContactRole
    - name: Case
    - name: Lead
    - name: Product2
    - name: PricebookEntry
    - name: Project__c
    - name: Milestone__c
  masking:
    preset: hipaa
";

/// Access to a simulated org under a token that does not expire.
#[derive(Debug, Clone)]
struct Fixed(AccessToken);

#[async_trait]
impl Access for Fixed {
    async fn token(&self) -> Result<AccessToken, ConnectError> {
        Ok(self.0.clone())
    }
    async fn refresh(&self, _: &AccessToken) -> Result<AccessToken, ConnectError> {
        Err(ConnectError::new(ErrorCode::Credentials, "the token does not expire"))
    }
    async fn permit(&self, _: u32) -> Result<(), ConnectError> {
        Ok(())
    }
    fn observe(&self, _: Usage) {}
}

/// The connector service, as far as the analyzer needs it.
#[derive(Clone)]
struct Connector {
    production: AccessToken,
    uat: AccessToken,
}

impl Connector {
    #[allow(clippy::result_large_err, reason = "tonic's own error")]
    fn token(&self, connection: &str) -> Result<AccessToken, Status> {
        match connection {
            "production" => Ok(self.production.clone()),
            "uat" => Ok(self.uat.clone()),
            "locked" => Err(status(ErrorCode::Credentials, "the system refused the credentials")),
            other => Err(status(ErrorCode::UnknownConnection, format!("there is no connection `{other}`"))),
        }
    }
}

#[tonic::async_trait]
impl AccessService for Connector {
    async fn get_access(&self, request: Request<GetAccessRequest>) -> Result<Response<GetAccessResponse>, Status> {
        let token = self.token(&request.get_ref().connection)?;
        Ok(Response::new(GetAccessResponse {
            instance_url: token.instance_url.clone(),
            api_version: token.api_version.clone(),
            access_token: token.expose().to_owned(),
            retry: None,
        }))
    }
    async fn lease_quota(&self, request: Request<LeaseQuotaRequest>) -> Result<Response<LeaseQuotaResponse>, Status> {
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
    async fn describe(&self, request: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        let request = request.into_inner();
        let access = Fixed(self.token(&request.connection)?);
        let system = Salesforce::new(Arc::new(access), RetryPolicy::default()).unwrap();
        let objects: Vec<ObjectName> = request.objects.iter().map(|o| ObjectName::new(o.as_str()).unwrap()).collect();
        let describes = system.describe(&objects).await.map_err(|e| status(e.code, e.message))?;
        let describes_json = describes
            .into_iter()
            .map(|d| d.map(|d| serde_json::to_string(&d).unwrap()).unwrap_or_default())
            .collect();
        Ok(Response::new(DescribeResponse { describes_json }))
    }
    async fn get_run_keys(&self, _: Request<GetRunKeysRequest>) -> Result<Response<GetRunKeysResponse>, Status> {
        Err(Status::unimplemented("the analyzer needs no keys"))
    }
}

/// The coordinator, as far as the analyzer needs it: one sync, of which every run executes version 3.
#[derive(Clone)]
struct Coordinator {
    yaml: Arc<Mutex<String>>,
}

#[tonic::async_trait]
impl SyncService for Coordinator {
    async fn get_sync(&self, request: Request<GetSyncRequest>) -> Result<Response<GetSyncResponse>, Status> {
        let request = request.into_inner();
        if request.name != "prod-to-uat" {
            return Err(status(ErrorCode::SyncUnknown, format!("there is no sync `{}`", request.name)));
        }
        Ok(Response::new(GetSyncResponse {
            sync: Some(SyncDefinition {
                name: request.name,
                version: if request.version == 0 { 4 } else { request.version },
                yaml: self.yaml.lock().unwrap().clone(),
                ..Default::default()
            }),
        }))
    }
    async fn apply_sync(&self, _: Request<ApplySyncRequest>) -> Result<Response<ApplySyncResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn list_syncs(&self, _: Request<ListSyncsRequest>) -> Result<Response<ListSyncsResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl RunService for Coordinator {
    async fn get_run(&self, request: Request<GetRunRequest>) -> Result<Response<GetRunResponse>, Status> {
        Ok(Response::new(GetRunResponse {
            run: Some(Run {
                id: request.into_inner().id,
                sync: "prod-to-uat".to_owned(),
                sync_version: 3,
                ..Default::default()
            }),
        }))
    }
    async fn submit_run(&self, _: Request<SubmitRunRequest>) -> Result<Response<SubmitRunResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn explain_run(&self, _: Request<ExplainRunRequest>) -> Result<Response<ExplainRunResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn list_runs(&self, _: Request<ListRunsRequest>) -> Result<Response<ListRunsResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn approve_run(&self, _: Request<ApproveRunRequest>) -> Result<Response<ApproveRunResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn pause_run(&self, _: Request<PauseRunRequest>) -> Result<Response<PauseRunResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn resume_run(&self, _: Request<ResumeRunRequest>) -> Result<Response<ResumeRunResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn retry_failed(
        &self,
        _: Request<syncline_wire::run::RetryFailedRequest>,
    ) -> Result<Response<syncline_wire::run::RetryFailedResponse>, Status> {
        Err(Status::unimplemented("not asked for by the analyzer"))
    }
    async fn cancel_run(&self, _: Request<CancelRunRequest>) -> Result<Response<CancelRunResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

struct Bench {
    _database: TestDatabase,
    _orgs: Option<(RunningOrg, RunningOrg)>,
    yaml: Arc<Mutex<String>>,
    platform: Platform,
    analyzer: Analyzer,
    tenant: TenantId,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.platform.shutdown.cancel();
    }
}

fn token(org: &RunningOrg) -> AccessToken {
    AccessToken::new(org.url.clone(), "65.0".to_owned(), org.token.clone())
}

impl Bench {
    /// With orgs: production holds generated records, the sandbox none.
    async fn start() -> Self {
        let production = Org::start(OrgConfig {
            scale: Some(RECORDS),
            ..OrgConfig::default()
        })
        .unwrap();
        let sandbox = Org::start(OrgConfig {
            flavour: Flavour::Sandbox,
            ..OrgConfig::default()
        })
        .unwrap();
        let connector = Connector {
            production: token(&production),
            uat: token(&sandbox),
        };
        Self::around(connector, Some((production, sandbox))).await
    }

    async fn around(connector: Connector, orgs: Option<(RunningOrg, RunningOrg)>) -> Self {
        syncline_runtime::entry::install_crypto();
        let yaml = Arc::new(Mutex::new(SYNC.to_owned()));
        let coordinator = Coordinator { yaml: Arc::clone(&yaml) };
        let routes = Routes::new(AccessServiceServer::new(connector))
            .add_service(SyncServiceServer::new(coordinator.clone()))
            .add_service(RunServiceServer::new(coordinator));
        let peers = peer(routes).await;
        let database = TestDatabase::create().await;
        let tenant = syncline_testkit::prefix();
        let listen = format!("127.0.0.1:{}", free_port());
        let config = Config::from_lookup("analyzer", &|name| match name {
            "SYNCLINE_NATS_URL" => Some(servers().nats_url.clone()),
            "SYNCLINE_DATABASE_URL" => Some(database.url().to_owned()),
            "SYNCLINE_TENANT" => Some(tenant.clone()),
            "SYNCLINE_LISTEN" => Some(listen.clone()),
            "SYNCLINE_CONNECTOR_URL" | "SYNCLINE_COORDINATOR_URL" => Some(format!("http://{peers}")),
            _ => None,
        })
        .unwrap();
        let platform = Platform::start(config, Some(&MIGRATIONS), CancellationToken::new()).await.unwrap();
        let analyzer = Analyzer::new(&platform);
        Self {
            _database: database,
            _orgs: orgs,
            yaml,
            platform,
            analyzer,
            tenant: TenantId::new(tenant.as_str()).unwrap(),
        }
    }

    fn api(&self) -> Api {
        Api::new(&self.platform, self.analyzer.clone())
    }

    fn stage(&self) -> AnalyzerStage {
        AnalyzerStage::new(&self.platform, self.analyzer.clone())
    }

    fn define(&self, change: impl Fn(&str) -> String) {
        let mut yaml = self.yaml.lock().unwrap();
        *yaml = change(SYNC);
    }

    async fn check(&self) -> Result<CheckSyncResponse, Status> {
        let request = CheckSyncRequest {
            sync: "prod-to-uat".to_owned(),
        };
        Ok(self.api().check_sync(Request::new(request)).await?.into_inner())
    }

    async fn work(&self, run: &RunId) -> Work {
        let task = TaskId {
            run: run.clone(),
            object: None,
            step: STEP.to_owned(),
        };
        match Lease::take(&self.platform.db, task, "test").await.unwrap() {
            Take::Taken(lease) => Work {
                tenant: self.tenant.clone(),
                lease,
                stop: CancellationToken::new(),
            },
            other => panic!("{other:?}"),
        }
    }

    async fn stored(&self, run: &RunId) -> Option<StoredPlan> {
        plan_get(&self.platform.db, run).await.unwrap()
    }
}

async fn peer(routes: Routes) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        Server::builder()
            .add_routes(routes)
            .serve_with_incoming(TcpIncoming::from(listener))
            .await
    });
    address
}

fn run_id(text: &str) -> RunId {
    RunId::new(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_two_orgs_finds_the_order_the_counts_and_the_masks() {
    let bench = Bench::start().await;
    let answer = bench.check().await.unwrap();
    let fatals: Vec<_> = answer.issues.iter().filter(|i| i.severity == "fatal").collect();
    assert!(answer.can_proceed && answer.fatal_count == 0, "{fatals:#?}");
    let plan = answer.plan.unwrap();
    assert!(plan.records >= RECORDS, "{} records", plan.records);
    let at = |name: &str| plan.objects.iter().position(|o| o.name == name).unwrap();
    for (parent, child) in [
        ("Account", "Opportunity"),
        ("Opportunity", "OpportunityContactRole"),
        ("Contact", "OpportunityContactRole"),
        ("Product2", "PricebookEntry"),
        ("PricebookEntry", "OpportunityLineItem"),
        ("Project__c", "Milestone__c"),
        ("Contact", "Task"),
        ("Lead", "Task"),
    ] {
        assert!(at(parent) < at(child), "{parent} before {child}");
    }
    let deferred = |name: &str| plan.objects.get(at(name)).unwrap().deferred_fields.clone();
    assert_eq!(deferred("Project__c"), ["Current_Milestone__c"]);
    assert!(deferred("Account").contains(&"ParentId".to_owned()));
    assert!(deferred("Case").contains(&"ParentId".to_owned()));
    let contact = plan.objects.get(at("Contact")).unwrap();
    assert!(contact.masked.iter().any(|m| m.field == "Birthdate" && m.strategy == "redact"));
    assert!(bench.stored(&run_id("check")).await.is_none(), "a check is not stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_gets_one_plan_and_announces_it_with_the_finished_task() {
    let bench = Bench::start().await;
    let run = run_id("r-one");
    let nats = servers().nats().await;
    let mut events = nats.subscribe(format!("event.{}.{run}.*", bench.tenant)).await.unwrap();
    nats.flush().await.unwrap();
    let stage = bench.stage();

    let work = bench.work(&run).await;
    assert_eq!(stage.work(&work).await.unwrap(), Outcome::Done { with_errors: false });
    let first = bench.stored(&run).await.unwrap();
    let plan: Plan = first.plan().unwrap();
    assert_eq!((plan.run.as_str(), plan.sync_version), ("r-one", 3));
    assert_eq!(plan.objects.len(), 12);
    // Users, record types and price books of the source are known in the target.
    assert!(plan.matched.keys().any(|id| id.starts_with("005")));
    assert!(plan.matched.keys().any(|id| id.starts_with("012")));
    assert!(plan.matched.keys().any(|id| id.starts_with("01s")));
    assert!(plan.matched.iter().all(|(source, target)| source != target));
    assert!(plan.objects.iter().all(|o| !o.source_describe_hash.is_empty()));

    // Killed before it finished: the next worker keeps the plan, although the definition is another one by now.
    bench.define(|sync| sync.replace("    - name: Task\n", ""));
    work.lease.release(&bench.platform.db, false).await.unwrap();
    let work = bench.work(&run).await;
    assert_eq!(stage.work(&work).await.unwrap(), Outcome::Done { with_errors: false });
    assert_eq!(bench.stored(&run).await.unwrap(), first);

    let mut tx = bench.platform.db.begin().await.unwrap();
    work.lease.finish(&mut tx, false).await.unwrap();
    stage.finishing(&work, &mut tx).await.unwrap();
    tx.commit().await.unwrap();
    let message = tokio::time::timeout(EVENT_WAIT, events.next()).await.unwrap().unwrap();
    let event = RunEvent::decode(message.payload.as_ref()).unwrap();
    let Some(Fact::PlanBuilt(built)) = event.fact else {
        panic!("{:?}", event.fact)
    };
    let outline: Outline = serde_json::from_str(&built.outline_json).unwrap();
    assert_eq!(outline.objects.len(), 12);
    assert_eq!((built.fatal_code.as_str(), built.records), ("", plan.cost.records));

    let answer = bench
        .api()
        .get_plan(Request::new(GetPlanRequest { run: run.to_string() }))
        .await
        .unwrap();
    let answer = answer.into_inner();
    assert_eq!(
        (answer.plan_json.as_slice(), answer.hash.as_str()),
        (first.json.as_slice(), first.hash.as_str())
    );
    assert_eq!(blake3::hash(&answer.plan_json).to_hex().as_str(), answer.hash);
    let request = GetPlanSummaryRequest { run: run.to_string() };
    let summary = bench.api().get_plan_summary(Request::new(request)).await.unwrap().into_inner();
    assert_eq!(summary.plan.unwrap().objects.len(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_lost_its_lease_stores_nothing() {
    let bench = Bench::start().await;
    let run = run_id("r-lost");
    let work = bench.work(&run).await;
    work.lease.release(&bench.platform.db, false).await.unwrap();
    let _other = bench.work(&run).await;
    let error = bench.stage().work(&work).await.unwrap_err();
    assert!(matches!(error, StageError::Lease(_)), "{error}");
    assert!(bench.stored(&run).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fatal_issue_is_announced_with_its_code() {
    let bench = Bench::start().await;
    let table = [
        ("    - name: Lead\n", "    - name: Laed\n", "SCHEMA_OBJECT_001"),
        (
            "    - name: Lead\n",
            "    - name: Lead\n      where: Nme = 'x'\n",
            "SCHEMA_QUERY_001",
        ),
        ("    - name: Lead\n", "    - name: Lead\n      where: Name = \n", "SCHEMA_QUERY_001"),
        (
            "    - name: Lead\n",
            "    - name: Lead\n      exclude: [Companyy]\n",
            "SCHEMA_FIELD_001",
        ),
        ("    preset: hipaa\n", "    preset: hipa\n", "MASK_UNKNOWN_001"),
        ("  target: uat\n", "  target: production\n", "SCHEMA_SYNC_001"),
    ];
    for (index, (from, to, code)) in table.into_iter().enumerate() {
        bench.define(|sync| sync.replace(from, to));
        let run = run_id(&format!("r-fatal-{index}"));
        let work = bench.work(&run).await;
        let stage = bench.stage();
        match stage.work(&work).await {
            // Not a definition that could ever be applied.
            Err(error) => assert_eq!(error.code().as_str(), code, "{to:?}: {error}"),
            Ok(_) => {
                let built = syncline_analyzer::stage::plan_built(&bench.stored(&run).await.unwrap()).unwrap();
                assert_eq!(built.fatal_code, code, "{to:?}: {}", built.fatal_message);
                assert!(!built.fatal_message.is_empty());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_an_error_under_its_own_code() {
    let gone = AccessToken::new(format!("http://127.0.0.1:{}", free_port()), "65.0".to_owned(), "none".to_owned());
    let connector = Connector {
        production: gone.clone(),
        uat: gone,
    };
    let bench = Bench::around(connector, None).await;
    for (source, code) in [("nowhere", "AUTH_CONNECTION_001"), ("locked", "AUTH_CREDENTIALS_001")] {
        bench.define(|sync| sync.replace("source: production", &format!("source: {source}")));
        let refused = bench.check().await.unwrap_err();
        assert_eq!(code_of(&refused).unwrap().as_str(), code, "{refused}");
        assert!(refused.message().contains(source), "{refused}");
        let work = bench.work(&run_id(&format!("r-{source}"))).await;
        assert_eq!(bench.stage().work(&work).await.unwrap_err().code().as_str(), code);
    }
    let unknown = CheckSyncRequest { sync: "other".to_owned() };
    for refused in [
        bench.api().check_sync(Request::new(unknown)).await.unwrap_err(),
        bench
            .api()
            .check_sync(Request::new(CheckSyncRequest {
                sync: "Not A Name".to_owned(),
            }))
            .await
            .unwrap_err(),
        bench
            .api()
            .get_plan(Request::new(GetPlanRequest { run: "r-none".to_owned() }))
            .await
            .unwrap_err(),
        bench
            .api()
            .get_plan(Request::new(GetPlanRequest { run: "r.*".to_owned() }))
            .await
            .unwrap_err(),
        bench
            .api()
            .get_plan_summary(Request::new(GetPlanSummaryRequest { run: "r-none".to_owned() }))
            .await
            .unwrap_err(),
    ] {
        assert_eq!(refused.code(), tonic::Code::NotFound, "{refused}");
        assert_eq!(code_of(&refused), Some(ErrorCode::SyncUnknown));
    }
    let mut work = bench.work(&run_id("r-step")).await;
    work.lease.task.step = "extract".to_owned();
    assert_eq!(bench.stage().work(&work).await.unwrap_err().code(), ErrorCode::Internal);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_plan_of_a_run_stays() {
    let gone = AccessToken::new("http://127.0.0.1:1".to_owned(), "65.0".to_owned(), "none".to_owned());
    let bench = Bench::around(
        Connector {
            production: gone.clone(),
            uat: gone,
        },
        None,
    )
    .await;
    let run = run_id("r-twice");
    let plan = |text: &str| StoredPlan {
        json: text.as_bytes().to_vec(),
        hash: blake3::hash(text.as_bytes()).to_hex().to_string(),
        review: false,
    };
    assert!(plan_put(&bench.platform.db, &run, &plan("{\"a\":1}")).await.unwrap());
    assert!(!plan_put(&bench.platform.db, &run, &plan("{\"a\":2}")).await.unwrap());
    assert_eq!(bench.stored(&run).await.unwrap(), plan("{\"a\":1}"));
    // What was stored is not a plan: said so, not made up.
    let refused = bench
        .api()
        .get_plan_summary(Request::new(GetPlanSummaryRequest { run: run.to_string() }))
        .await
        .unwrap_err();
    assert_eq!(code_of(&refused), Some(ErrorCode::Internal));
}

#[tokio::test]
async fn a_first_sync_is_proposed_with_what_it_needs_and_its_plan_can_proceed() {
    let bench = Bench::start().await;
    let propose = async |objects: &[&str], preset: &str| {
        let request = ProposeSyncRequest {
            name: "refresh".to_owned(),
            source: "production".to_owned(),
            target: "uat".to_owned(),
            objects: objects.iter().map(|o| (*o).to_owned()).collect(),
            preset: preset.to_owned(),
        };
        bench.api().propose_sync(Request::new(request)).await.map(Response::into_inner)
    };
    // A line item must point to an opportunity, a price book entry to a product; from one to the other nothing must.
    let alone = propose(&["OpportunityLineItem"], "hipaa").await.unwrap();
    assert!(
        alone.yaml.contains("#   OpportunityLineItem.PricebookEntryId (PricebookEntry)"),
        "{}",
        alone.yaml
    );
    let proposal = propose(&["OpportunityLineItem", "PricebookEntry"], "hipaa").await.unwrap();
    let Ok(Document::Sync(sync)) = read_document(&proposal.yaml) else {
        panic!("it does not read: {}", proposal.yaml)
    };
    let names: Vec<&str> = sync.spec.objects.iter().map(|o| o.name.as_str()).collect();
    for needed in ["OpportunityLineItem", "Opportunity", "PricebookEntry", "Product2"] {
        assert!(names.contains(&needed), "{needed} is missing: {names:?}");
    }
    assert!(
        proposal.yaml.contains("OpportunityLineItem.OpportunityId must point to one"),
        "{}",
        proposal.yaml
    );
    let grave: Vec<_> = proposal.issues.iter().filter(|i| i.severity == "fatal").collect();
    assert!(grave.is_empty(), "{grave:?}");

    // The usual objects, with what is masked and how.
    let usual = propose(&[], "hipaa").await.unwrap();
    assert!(usual.yaml.contains("Contact.Email: fake(email)"), "{}", usual.yaml);
    let missing = propose(&["Contact", "Nothing__c"], "hipaa").await.unwrap();
    assert!(missing.yaml.contains("#   Nothing__c: neither org has it"), "{}", missing.yaml);

    // Without a framework, what is classified stands there to be decided.
    let bare = propose(&["Contact"], "").await.unwrap();
    assert!(bare.yaml.contains("MASK_UNDECIDED_001 Contact.Email"), "{}", bare.yaml);
    for (objects, preset, field) in [(&["no object"][..], "hipaa", "objects"), (&[], "gdpr\n", "preset")] {
        let status = propose(objects, preset).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(status.message().contains(field), "{status}");
    }
    let none = propose(&["Nothing__c"], "hipaa").await.unwrap_err();
    assert!(none.message().contains("Nothing__c"), "{none}");
}
