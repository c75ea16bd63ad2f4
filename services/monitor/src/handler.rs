//! What the monitor does with each message.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use sqlx::PgPool;
use syncline_bus::{DeadLetter, Handled, subjects};
use syncline_runtime::failpoint;
use syncline_wire::event::run_event::Fact;
use syncline_wire::event::{ResourceUse, RunEvent};
use syncline_wire::time::to_proto;
use tokio::sync::Notify;

use crate::error::MonitorError;
use crate::facts::{self, Recorded};
use crate::resource::{self, Starts};
use crate::store::{self, Key, NewDeadLetter};

/// After the database refused a fact.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Books facts and dead letters.
#[derive(Clone)]
pub struct Handler {
    db: PgPool,
    news: Arc<Notify>,
    starts: Arc<Starts>,
    process: String,
}

impl Handler {
    #[must_use]
    pub fn new(db: PgPool, news: Arc<Notify>) -> Self {
        Self {
            db,
            news,
            starts: Arc::default(),
            process: resource::process_name(),
        }
    }

    /// A fact about a run.
    pub async fn event(&self, event: RunEvent) -> Handled {
        match self.record(&event).await {
            Ok(()) => Handled::Done,
            Err(error @ MonitorError::BadFact(_)) => {
                tracing::error!(run = %event.run, %error, "a fact was dropped");
                Handled::Done
            }
            Err(error) => {
                tracing::warn!(run = %event.run, error = &error as &dyn std::error::Error, "a fact could not be booked; trying again");
                Handled::Retry { after: RETRY_PAUSE }
            }
        }
    }

    async fn record(&self, event: &RunEvent) -> Result<(), MonitorError> {
        let mut db = self.db.acquire().await?;
        let recorded = facts::record(&mut db, event).await?;
        match recorded {
            Recorded::Already => return Ok(()),
            Recorded::New => self.starts.begin(&event.run),
            Recorded::Ended => {
                tracing::info!(run = %event.run, "run ended");
                if let Some(used) = self.used(event) {
                    facts::record(&mut db, &used).await?;
                }
            }
        }
        failpoint::pass(&failpoint::MONITOR_FACT_BOOKED).await?;
        self.news.notify_waiters();
        Ok(())
    }

    /// What this process used, as a fact of the moment the run ended: booking it twice changes nothing.
    fn used(&self, ended: &RunEvent) -> Option<RunEvent> {
        let sample = self.starts.since(&ended.run)?;
        Some(RunEvent {
            tenant: ended.tenant.clone(),
            run: ended.run.clone(),
            at: Some(to_proto(Utc::now())),
            fact: Some(Fact::ResourceUse(ResourceUse {
                process: self.process.clone(),
                cpu_seconds: sample.cpu_seconds,
                peak_memory_bytes: sample.peak_memory_bytes,
            })),
        })
    }

    /// A message that another stage gave up.
    pub async fn dead(&self, letter: DeadLetter) -> Handled {
        let Some((stage, tenant, run)) = subjects::parse_dead(&letter.subject) else {
            tracing::error!(subject = %letter.subject, "a dead letter on a subject that is not one was dropped");
            return Handled::Done;
        };
        let key = Key {
            tenant: tenant.as_str(),
            run: run.as_str(),
        };
        let new = NewDeadLetter {
            stage,
            object: &letter.object,
            batch: &letter.batch,
            code: &letter.code,
            cause: &letter.cause,
            attempts: letter.attempts,
            records: letter.records,
            round: letter.round,
            payload: &letter.payload,
        };
        match store::dead_letter_store(&self.db, key, &new).await {
            Ok(_) => Handled::Done,
            Err(error) => {
                tracing::warn!(%run, error = &error as &dyn std::error::Error, "a dead letter could not be kept; trying again");
                Handled::Retry { after: RETRY_PAUSE }
            }
        }
    }
}
