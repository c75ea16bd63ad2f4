//! The loader's steps, one file each; this one picks.

pub(crate) mod building;
mod clear;
mod kept;
mod orphans;
mod pass1;
mod pass2;
mod pass3;
mod prepare;
mod replaying;
mod settle;
mod verify;

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::PgConnection;
use syncline_domain::ErrorCode;
use syncline_domain::run::Step;
use syncline_runtime::plans::Plans;
use syncline_runtime::worker::{Stage, Work};
use syncline_runtime::{Outcome, Platform, StageError, outbox};

use crate::context::Context;
use crate::recent::RecentKeys;
use crate::telling;
use crate::unknown;

/// The stage.
pub struct Loading {
    platform: Platform,
    plans: Plans,
    recent: Arc<RecentKeys>,
}

impl Loading {
    pub fn new(platform: &Platform) -> anyhow::Result<Self> {
        // Fail at start, not at the first run.
        platform.keys.digest()?;
        Ok(Self {
            platform: platform.clone(),
            plans: Plans::new(platform),
            recent: Arc::default(),
        })
    }
}

#[async_trait]
impl Stage for Loading {
    async fn work(&self, work: &Work) -> Result<Outcome, StageError> {
        if work.lease.task.step == "settle" {
            return settle::run(&self.platform, &self.plans, &self.recent, work).await;
        }
        let step = work
            .lease
            .task
            .step()
            .ok_or_else(|| StageError::new(ErrorCode::Internal, "the invitation names an unknown step"))?;
        let context = Context::new(&self.platform, &self.plans, &self.recent, work).await?;
        let outcome = match unknown::check(&context, step).await {
            Err(error) => Err(error),
            Ok(()) => match step {
                Step::Clear => clear::run(&context).await,
                Step::LoadPass1 => pass1::run(&context).await,
                Step::LoadPass2 => pass2::run(&context).await,
                Step::Orphans => orphans::run(&context).await,
                Step::LoadPass3 => pass3::run(&context).await,
                Step::Verify => verify::run(&context).await,
                Step::Extract | Step::Transform => Err(StageError::new(ErrorCode::Internal, format!("{step} is not the loader's"))),
            },
        };
        telling::book_calls(&context).await?;
        telling::tell(&context).await?;
        outcome
    }

    async fn finishing(&self, work: &Work, tx: &mut PgConnection) -> Result<(), StageError> {
        if work.lease.task.object.is_none() {
            return Ok(());
        }
        let context = Context::new(&self.platform, &self.plans, &self.recent, work).await?;
        for fact in telling::closing(&context).await? {
            outbox::event(&mut *tx, &work.event(fact)).await?;
        }
        Ok(())
    }
}
