//! Closing the books, and keeping the history within bounds.
//!
//! A run's last status can overtake another stage's last totals when a fact had to be retried. So the books close only
//! when nothing new was heard of the run for [`QUIET_MS`]. A fact that comes even later is still booked, and moves the
//! cursor.

use std::time::Duration;

use sqlx::PgPool;
use syncline_bus::trace;
use syncline_runtime::config::Retention;
use syncline_runtime::failpoint;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::store;

const QUIET_MS: u32 = 300;
const CLOSE_PAUSE: Duration = Duration::from_millis(100);
const EXPIRE_PAUSE: Duration = Duration::from_secs(600);
/// Rows that one sweep removes; of runs, with all their books, far fewer.
const EXPIRE_ROWS_MAX: u32 = 50_000;
const EXPIRE_RUNS_MAX: u32 = 50;

/// Closes books until shutdown.
pub(crate) async fn close_when_quiet(db: PgPool, news: &Notify, shutdown: CancellationToken) {
    let mut failing = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(CLOSE_PAUSE) => {}
        }
        let closed = async { store::runs_close(&mut *db.acquire().await?, QUIET_MS).await };
        match closed.await {
            Ok(runs) => {
                failing = false;
                for (run, status, trace) in &runs {
                    let span = tracing::info_span!("report", run, status);
                    trace::go_on(&span, trace.as_deref());
                    span.in_scope(|| tracing::info!(run, status, "the books of a run are closed"));
                }
                if !runs.is_empty() {
                    // What it would fail is told by the next fact.
                    let _ = failpoint::pass(&failpoint::MONITOR_BOOKS_CLOSED).await;
                    news.notify_waiters();
                }
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(error = &error as &dyn std::error::Error, "closing books failed; trying again");
                }
                failing = true;
            }
        }
    }
}

/// Forgets what is older than it is kept, until shutdown.
pub(crate) async fn expire(db: PgPool, keep: Retention, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(EXPIRE_PAUSE) => {}
        }
        match forget(&db, keep).await {
            Ok(Forgotten {
                facts: 0,
                dead_letters: 0,
                runs: 0,
            }) => {}
            Ok(forgotten) => tracing::info!(?forgotten, "what was kept long enough is forgotten"),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "forgetting what was kept long enough failed"
            ),
        }
    }
}

/// What one sweep has removed.
#[derive(Debug, PartialEq, Eq)]
pub struct Forgotten {
    pub facts: u64,
    pub dead_letters: u64,
    pub runs: u64,
}

/// One sweep.
///
/// # Errors
/// Of the database; what was removed is removed.
pub async fn forget(db: &PgPool, keep: Retention) -> Result<Forgotten, sqlx::Error> {
    let mut db = db.acquire().await?;
    Ok(Forgotten {
        facts: store::facts_expire(&mut db, keep.events_days, EXPIRE_ROWS_MAX).await?,
        dead_letters: store::dead_letters_expire(&mut db, keep.dead_letters_days, EXPIRE_ROWS_MAX).await?,
        runs: store::runs_expire(&mut db, keep.reports_days, EXPIRE_RUNS_MAX).await?,
    })
}
