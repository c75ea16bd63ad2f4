//! The analyzer: compatibility of both ends, and the plan that every stage works by.
//!
//! - Consumes: invitations with the step `analyze`; definitions from the coordinator, describes and access from the
//!   connector service, identity, counts and look-up tables from both orgs.
//! - Publishes: `PlanBuilt`, in the transaction that finishes the task.
//! - Owns: the schema `analyzer` with the plans.
//! - Idempotency key: the run. A plan that exists is never built again, so T0 stays.
//!
//! Guarantees: nothing is written to either org; a plan holds names, types, ids and counts, never a record's value; all
//! that is wrong with a sync is listed at once, and any fatal issue stops the run before a record moved.
//!
//! Start with [`build`], the plan as a pure function; [`gather`] asks the questions that it depends on.

pub mod analyzer;
pub mod api;
pub mod build;
pub mod error;
pub mod facts;
pub mod gather;
pub mod org;
pub mod propose;
pub mod stage;
pub mod store;
pub mod summary;

use std::sync::Arc;

use anyhow::Context;
use syncline_runtime::{Config, Platform, rpc, worker};
use syncline_wire::analysis::analysis_service_server::AnalysisServiceServer;
use syncline_wire::analysis::plan_service_server::PlanServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::analyzer::Analyzer;
use crate::api::Api;
use crate::stage::AnalyzerStage;

/// The analyzer's tables.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
/// Runs that one process analyses at once.
const SLOTS: usize = 4;

/// Runs the service until shutdown.
///
/// # Errors
/// When it cannot start, or its server or consumer fails.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let platform = Platform::start(config, Some(&MIGRATIONS), shutdown).await?;
    serve(&platform).await
}

/// Serves on a platform that stands.
///
/// # Errors
/// As [`run`].
pub async fn serve(platform: &Platform) -> anyhow::Result<()> {
    let analyzer = Analyzer::new(platform);
    let api = Api::new(platform, analyzer.clone());
    let plans = PlanServiceServer::new(api.clone()).max_encoding_message_size(rpc::MESSAGE_BYTES_MAX);
    let routes = Routes::new(AnalysisServiceServer::new(api)).add_service(plans);
    let stage = Arc::new(AnalyzerStage::new(platform, analyzer));
    tokio::try_join!(async { rpc::serve(platform, routes).await.context("gRPC") }, async {
        worker::run(platform, stage, SLOTS).await.context("the stage's consumer")
    },)?;
    Ok(())
}
