//! Closing the books, and keeping the history within bounds.
//!
//! A run's last status can overtake another stage's last totals when a fact had to be retried. So the books close only
//! when nothing new was heard of the run for [`QUIET_MS`]. A fact that comes even later is still booked, and moves the
//! cursor.

use std::time::Duration;

use sqlx::PgPool;
use syncline_bus::trace;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::store;

const QUIET_MS: u32 = 300;
const CLOSE_PAUSE: Duration = Duration::from_millis(100);
/// How long the history of facts is kept; totals and reports stay.
const HISTORY_KEEP_DAYS: u32 = 30;
const EXPIRE_PAUSE: Duration = Duration::from_secs(600);
/// Facts that one sweep removes.
const EXPIRE_ROWS_MAX: u32 = 50_000;

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

/// Forgets old history until shutdown.
pub(crate) async fn expire(db: PgPool, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(EXPIRE_PAUSE) => {}
        }
        let expired = async { store::facts_expire(&mut *db.acquire().await?, HISTORY_KEEP_DAYS, EXPIRE_ROWS_MAX).await };
        match expired.await {
            Ok(0) => {}
            Ok(facts) => tracing::info!(facts, "old history forgotten"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "forgetting old history failed"),
        }
    }
}
