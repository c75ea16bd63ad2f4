//! Settling while a run stops: every open claim is taken to its end, whatever that is.

use std::sync::Arc;

use syncline_domain::{ErrorCode, ObjectName};
use syncline_runtime::lease::{Lease, TaskId};
use syncline_runtime::plans::Plans;
use syncline_runtime::worker::Work;
use syncline_runtime::{Outcome, Platform, StageError};

use crate::context::Context;
use crate::journal::{self, Passing};
use crate::recent::RecentKeys;
use crate::store;

/// Settles what is open; the lease is then given back, because the run may stop and go on again.
pub async fn run(platform: &Platform, plans: &Plans, recent: &Arc<RecentKeys>, work: &Work) -> Result<Outcome, StageError> {
    let open = store::journal::open_of_run(&platform.db, work.run()).await?;
    if open.is_empty() {
        return Ok(Outcome::Stopped);
    }
    // A job that is under way is aborted.
    work.stop.cancel();
    for entry in open {
        let Some(row) = store::journal::get(&platform.db, entry).await? else {
            continue;
        };
        let object = ObjectName::new(row.object).map_err(|e| StageError::new(ErrorCode::Internal, e.to_string()))?;
        let task = TaskId {
            object: Some(object),
            ..work.lease.task.clone()
        };
        // The context looks at the object; commits are guarded by the lease that we hold.
        let looking = Work {
            lease: Lease {
                task,
                epoch: work.lease.epoch,
                round: work.lease.round,
            },
            ..work.clone()
        };
        let mut context = Context::new(platform, plans, recent, &looking).await?;
        context.work = work.clone();
        journal::settle(&context, entry, Passing::LoadAgain).await?;
    }
    Ok(Outcome::Stopped)
}
