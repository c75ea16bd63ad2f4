//! Recording who did what.
//!
//! One task appends to the log, many entries per transaction. A change is recorded as `begun` before it is passed on
//! and again with its result; if the first cannot be stored, the change is refused. Reads, and refused attempts, are
//! recorded behind the caller's back through a bounded queue; when it is full, callers wait, and after [`ROOM_WAIT`] they
//! are refused. Nothing is dropped in silence.

use std::time::Duration;

use sqlx::PgPool;
use syncline_domain::audit::Entry;
use tokio::sync::{mpsc, oneshot};

use crate::store;

/// Entries that may wait to be written.
const QUEUE_MAX: usize = 4_096;
/// Entries per transaction.
const BATCH_MAX: usize = 256;
/// How long a caller waits for room in the queue, and for its entry to be stored.
const ROOM_WAIT: Duration = Duration::from_secs(5);
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The log cannot take the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written, so nothing was done; see whether the gateway reaches PostgreSQL, then try again")]
pub struct Unrecorded;

struct Job {
    entry: Entry,
    stored: Option<oneshot::Sender<()>>,
}

/// The way to the log.
#[derive(Debug, Clone)]
pub struct Auditor {
    queue: mpsc::Sender<Job>,
}

impl Auditor {
    /// Starts the writer. It ends, with everything written, once every `Auditor` is gone.
    #[must_use]
    pub fn start(db: PgPool) -> (Self, tokio::task::JoinHandle<()>) {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        (Self { queue }, tokio::spawn(write(db, jobs)))
    }

    /// Stores an entry before going on.
    ///
    /// # Errors
    /// [`Unrecorded`] when it was not stored in time: do not do what it says.
    pub async fn record(&self, entry: Entry) -> Result<(), Unrecorded> {
        let (stored, done) = oneshot::channel();
        let job = Job {
            entry,
            stored: Some(stored),
        };
        let recording = async {
            self.queue.send(job).await.map_err(|_| Unrecorded)?;
            done.await.map_err(|_| Unrecorded)
        };
        tokio::time::timeout(ROOM_WAIT, recording).await.unwrap_or(Err(Unrecorded))
    }

    /// Queues an entry.
    ///
    /// # Errors
    /// [`Unrecorded`] when there was no room in time.
    pub async fn note(&self, entry: Entry) -> Result<(), Unrecorded> {
        let job = Job { entry, stored: None };
        self.queue.send_timeout(job, ROOM_WAIT).await.map_err(|_| Unrecorded)
    }

    /// Room that is sure to be there later, for an entry that is made when a stream ends.
    ///
    /// # Errors
    /// [`Unrecorded`] when there was no room in time.
    pub async fn reserve(&self) -> Result<Later, Unrecorded> {
        let permit = tokio::time::timeout(ROOM_WAIT, self.queue.clone().reserve_owned()).await;
        permit.map_err(|_| Unrecorded)?.map(Later).map_err(|_| Unrecorded)
    }
}

/// A place in the queue.
pub struct Later(mpsc::OwnedPermit<Job>);

impl Later {
    pub fn note(self, entry: Entry) {
        self.0.send(Job { entry, stored: None });
    }
}

async fn write(db: PgPool, mut jobs: mpsc::Receiver<Job>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while jobs.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let mut failing = false;
        loop {
            // Whoever has given up waiting was refused; what it wanted was not done, and is recorded as such by nobody.
            batch.retain(|job: &Job| job.stored.as_ref().is_none_or(|s| !s.is_closed()));
            if batch.is_empty() {
                break;
            }
            match store::audit_append(&db, batch.iter().map(|job| job.entry.clone()).collect()).await {
                Ok(()) => break,
                Err(error) => {
                    if !failing {
                        tracing::error!(%error, "the audit log cannot be written; changes are refused until it can");
                    }
                    failing = true;
                    // Those who wait learn it now; what was only queued is tried again.
                    batch.retain(|job| job.stored.is_none());
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
        if failing {
            tracing::info!("the audit log is written again");
        }
        for job in batch.drain(..) {
            if let Some(stored) = job.stored {
                // Nobody waits any more: it was refused in vain, and its entry stands.
                let _ = stored.send(());
            }
        }
    }
}
