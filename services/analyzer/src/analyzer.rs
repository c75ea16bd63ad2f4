//! From a run or a sync to its plan: fetch the definition, gather facts, build.

use std::sync::Arc;

use syncline_domain::plan::Plan;
use syncline_domain::spec::{Document, SyncSpec, read_document};
use syncline_domain::{ConnectionName, RunId, SyncName};
use syncline_runtime::Platform;
use syncline_runtime::access::ServiceAccess;
use syncline_runtime::rpc::with_trace;
use syncline_salesforce::Salesforce;
use syncline_wire::run::GetRunRequest;
use syncline_wire::run::run_service_client::RunServiceClient;
use syncline_wire::sync::GetSyncRequest;
use syncline_wire::sync::sync_service_client::SyncServiceClient;

use crate::build::{Request, build};
use crate::error::Error;
use crate::gather::{End, gather};
use crate::org::Connected;
use crate::propose::{self, Wish};

/// Builds plans.
#[derive(Clone)]
pub struct Analyzer {
    platform: Platform,
}

/// A plan, and whether a person has to approve it.
pub struct Analysis {
    pub plan: Plan,
    pub review: bool,
}

impl Analyzer {
    #[must_use]
    pub fn new(platform: &Platform) -> Self {
        Self {
            platform: platform.clone(),
        }
    }

    /// Analyses the version of the sync that a run executes.
    ///
    /// # Errors
    /// [`Error`] when the definition or one end cannot be had.
    pub async fn run(&self, run: &RunId) -> Result<Analysis, Error> {
        let mut runs = RunServiceClient::new(with_trace(self.platform.peers.coordinator.clone()));
        let answer = runs
            .get_run(GetRunRequest { id: run.to_string() })
            .await
            .map_err(|s| Error::coordinator(&s))?
            .into_inner();
        let found = answer.run.ok_or(Error::Answer("names no run"))?;
        self.analyse(run.clone(), &found.sync, found.sync_version).await
    }

    /// Analyses the newest version of a sync without running it.
    ///
    /// # Errors
    /// As [`Analyzer::run`].
    pub async fn check(&self, sync: &SyncName) -> Result<Analysis, Error> {
        let nobody = RunId::new("check").expect("a literal that is a valid run id");
        self.analyse(nobody, sync.as_str(), 0).await
    }

    /// A first sync from two connections, and the plan that would be made of it.
    ///
    /// # Errors
    /// [`Error`] when one end cannot be asked, or nothing is left to propose.
    pub async fn propose(&self, wish: &Wish) -> Result<(String, Plan), Error> {
        let (source, target) = futures::try_join!(self.connected(&wish.source), self.connected(&wish.target))?;
        let closure = propose::closure(&wish.objects, &source, &target)
            .await
            .map_err(|(end, cause)| Error::System {
                connection: match end {
                    End::Source => wish.source.clone(),
                    End::Target => wish.target.clone(),
                },
                cause,
            })?;
        if closure.objects.is_empty() {
            return Err(Error::NothingToPropose(closure.left_out.join("; ")));
        }
        let Document::Sync(document) = read_document(&propose::definition(wish, &closure))? else {
            return Err(Error::Answer("is not a sync"));
        };
        let request = Request {
            run: RunId::new("init").expect("a literal that is a valid run id"),
            sync: wish.name.clone(),
            sync_version: 0,
            spec: document.spec,
        };
        let plan = build(&request, &gather(&request, &source, &target).await?);
        Ok((propose::text(wish, &closure, &plan), plan))
    }

    async fn analyse(&self, run: RunId, sync: &str, version: u32) -> Result<Analysis, Error> {
        let (sync, sync_version, spec) = self.definition(sync, version).await?;
        let review = spec.review;
        let (source, target) = futures::try_join!(self.connected(&spec.source), self.connected(&spec.target))?;
        let request = Request {
            run,
            sync,
            sync_version,
            spec,
        };
        let facts = gather(&request, &source, &target).await?;
        let plan = build(&request, &facts);
        tracing::info!(
            run = %request.run,
            sync = %request.sync,
            objects = plan.objects.len(),
            records = plan.cost.records,
            issues = plan.issues.len(),
            can_proceed = plan.can_proceed(),
            "analysed"
        );
        Ok(Analysis { plan, review })
    }

    async fn definition(&self, name: &str, version: u32) -> Result<(SyncName, u32, SyncSpec), Error> {
        let mut syncs = SyncServiceClient::new(with_trace(self.platform.peers.coordinator.clone()));
        let request = GetSyncRequest {
            name: name.to_owned(),
            version,
        };
        let answer = syncs.get_sync(request).await.map_err(|s| Error::coordinator(&s))?.into_inner();
        let sync = answer.sync.ok_or(Error::Answer("names no sync"))?;
        match read_document(&sync.yaml)? {
            Document::Sync(document) => Ok((document.metadata.name, sync.version, document.spec)),
            Document::Connection(_) => Err(Error::Answer("is not a sync")),
        }
    }

    async fn connected(&self, connection: &ConnectionName) -> Result<Connected, Error> {
        let access = Arc::new(ServiceAccess::new(connection.clone(), self.platform.peers.connector.clone()));
        let opened = async { Salesforce::new(access.clone(), access.retry_policy().await?) };
        let system = opened.await.map_err(|cause| Error::System {
            connection: connection.clone(),
            cause,
        })?;
        Ok(Connected::new(access, system))
    }
}
