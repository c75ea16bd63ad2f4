//! Invitations to analyse a run.

use async_trait::async_trait;
use sqlx::PgConnection;
use syncline_domain::ErrorCode;
use syncline_domain::issue::Severity;
use syncline_runtime::worker::{Stage, Work};
use syncline_runtime::{Outcome, Platform, StageError, failpoint, outbox};
use syncline_wire::event::PlanBuilt;
use syncline_wire::event::run_event::Fact;

use crate::analyzer::Analyzer;
use crate::build::outline;
use crate::error::Error;
use crate::store::{self, StoredPlan};

/// The analyzer's only step.
pub const STEP: &str = "analyze";

/// The analyzer's stage.
pub struct AnalyzerStage {
    platform: Platform,
    analyzer: Analyzer,
}

impl AnalyzerStage {
    #[must_use]
    pub fn new(platform: &Platform, analyzer: Analyzer) -> Self {
        Self {
            platform: platform.clone(),
            analyzer,
        }
    }
}

#[async_trait]
impl Stage for AnalyzerStage {
    async fn work(&self, work: &Work) -> Result<Outcome, StageError> {
        if work.lease.task.step != STEP {
            let message = format!("`{}` is not a step of the analyzer", work.lease.task.step);
            return Err(StageError::new(ErrorCode::Internal, message));
        }
        // A plan that exists stays, and with it T0: others may have begun to work by it.
        if store::plan_exists(&self.platform.db, work.run()).await? {
            return Ok(Outcome::Done { with_errors: false });
        }
        let analysis = tokio::select! {
            analysis = self.analyzer.run(work.run()) => analysis?,
            () = work.stop.cancelled() => return Ok(Outcome::Stopped),
        };
        let plan = StoredPlan::new(&analysis.plan, analysis.review)?;
        failpoint::pass(&failpoint::ANALYZER_PLAN_BUILT).await?;
        let mut tx = self.platform.db.begin().await?;
        work.lease.guard(&mut tx).await?;
        store::plan_put(&mut *tx, work.run(), &plan).await?;
        tx.commit().await?;
        failpoint::pass(&failpoint::ANALYZER_PLAN_STORED).await?;
        Ok(Outcome::Done { with_errors: false })
    }

    async fn finishing(&self, work: &Work, tx: &mut PgConnection) -> Result<(), StageError> {
        let stored = store::plan_get(&mut *tx, work.run()).await?.ok_or_else(|| Error::NoPlan {
            what: work.run().to_string(),
        })?;
        let fact = plan_built(&stored)?;
        outbox::event(tx, &work.event(Fact::PlanBuilt(fact))).await?;
        Ok(())
    }
}

/// The fact that a plan was built.
///
/// # Errors
/// [`StageError`] when the stored plan does not parse.
pub fn plan_built(stored: &StoredPlan) -> Result<PlanBuilt, StageError> {
    let plan = stored.plan()?;
    let fatal = plan.issues.iter().find(|i| i.severity == Severity::Fatal);
    let outline_json = serde_json::to_string(&outline(&plan, stored.review))
        .map_err(|_| StageError::new(ErrorCode::Internal, "an outline has no JSON form"))?;
    Ok(PlanBuilt {
        outline_json,
        fatal_code: fatal.map(|i| i.code.to_string()).unwrap_or_default(),
        fatal_message: fatal.map(|i| i.message.clone()).unwrap_or_default(),
        records: plan.cost.records,
    })
}
