//! One watcher of one run.
//!
//! Sends a snapshot whenever the run's cursor moved, at most one per [`SNAPSHOT_PAUSE`], and ends with the run: the
//! last snapshot has its terminal status and comes after the books were closed. A watcher that comes back with the
//! last cursor it saw misses nothing, because a snapshot always holds everything; behind a finished run's last one nothing
//! comes, and the stream ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, stream};
use sqlx::PgPool;
use syncline_domain::{ErrorCode, TenantId};
use syncline_wire::monitor::WatchRunResponse;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::error::MonitorError;
use crate::progress;
use crate::store::{self, Key, RunRow, counted};

/// Between two snapshots of one watcher.
const SNAPSHOT_PAUSE: Duration = Duration::from_millis(100);
/// Another replica may have stored what moved the cursor; then nobody notifies us.
const POLL_PAUSE: Duration = Duration::from_millis(500);
/// A run that was submitted just now is known as soon as its first fact arrives.
const UNKNOWN_WAIT: Duration = Duration::from_secs(3);

pub(crate) struct Watch {
    pub db: PgPool,
    pub tenant: TenantId,
    pub run: String,
    pub after: u64,
    /// A snapshot went out before, so the next one waits its turn.
    pub sent: bool,
    pub news: Arc<Notify>,
    pub shutdown: CancellationToken,
}

impl Watch {
    /// Waits a little for the run to be heard of.
    pub(crate) async fn known(&self) -> Result<(), MonitorError> {
        let deadline = Instant::now() + UNKNOWN_WAIT;
        while self.row().await?.is_none() {
            if Instant::now() >= deadline || self.shutdown.is_cancelled() {
                return Err(MonitorError::UnknownRun(self.run.chars().take(80).collect()));
            }
            self.wait(SNAPSHOT_PAUSE).await;
        }
        Ok(())
    }

    pub(crate) fn snapshots(self) -> impl Stream<Item = Result<WatchRunResponse, Status>> + Send {
        stream::unfold(Some(self), |watch| async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(Some((snapshot, last))) => Some((Ok(snapshot), (!last).then_some(watch))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// The next snapshot and whether it is the last one.
    async fn next(&mut self) -> Result<Option<(WatchRunResponse, bool)>, Status> {
        if self.sent {
            tokio::time::sleep(SNAPSHOT_PAUSE).await;
        }
        loop {
            if self.shutdown.is_cancelled() {
                let why = "the monitor is stopping; watch again behind the last cursor";
                return Err(syncline_wire::status::status(ErrorCode::Unreachable, why));
            }
            match self.row().await? {
                Some(row) if counted(row.cursor) != self.after => break,
                Some(row) if row.closed => return Ok(None),
                _ => self.wait(POLL_PAUSE).await,
            }
        }
        let Some(books) = store::books_read(&self.db, self.key()).await.map_err(MonitorError::Store)? else {
            return Ok(None);
        };
        let snapshot = progress::snapshot(&self.run, &books);
        self.after = snapshot.cursor;
        self.sent = true;
        Ok(Some((WatchRunResponse { snapshot: Some(snapshot) }, books.run.closed)))
    }

    async fn row(&self) -> Result<Option<RunRow>, MonitorError> {
        Ok(store::run_row(&self.db, self.key()).await?)
    }

    async fn wait(&self, longest: Duration) {
        tokio::select! {
            () = self.news.notified() => {}
            () = tokio::time::sleep(longest) => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    fn key(&self) -> Key<'_> {
        Key {
            tenant: self.tenant.as_str(),
            run: &self.run,
        }
    }
}
