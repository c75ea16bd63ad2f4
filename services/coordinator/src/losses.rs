//! Batches that the bus lost with its storage: found by comparing, mended by reading the object once more.
//!
//! A batch is acknowledged only after the stage's table knows it. So where a stage above is done with an object, nothing
//! of it is left on the bus, and the stage below does not know all of it, something is gone. The order of the three
//! questions is what makes that sound: a batch moves forward only. An answer that does not come proves nothing.
//!
//! Mended first at the stages, then in the run's state: whatever stops in between, the same comparison finds it again. A
//! batch that is read twice is loaded once, because the loader knows every source key of the run.

use syncline_bus::Audience;
use syncline_domain::run::{Event, Life, ObjectState, Step};
use syncline_domain::{ObjectName, RunId, TenantId};
use syncline_runtime::rpc::with_trace;
use syncline_runtime::{Platform, metrics};
use syncline_wire::stage::ReopenRequest;
use syncline_wire::stage::stage_service_client::StageServiceClient;
use tonic::Status;
use tonic::transport::Channel;

use crate::reconciler::{ask, report};
use crate::{shell, store};

/// Looks for losses of a run and mends them. Replicas exclude each other: what one has mended must not be found by another
/// that asked before.
pub async fn mend(platform: &Platform, run: &str) {
    if let Err(error) = try_mend(platform, run).await {
        tracing::warn!(%run, %error, "batches could not be looked for; trying again");
    }
}

async fn try_mend(platform: &Platform, run: &str) -> Result<(), sqlx::Error> {
    let mut alone = platform.db.begin().await?;
    if !store::run_mending(&mut alone, run).await? {
        return Ok(());
    }
    let Some(row) = store::run_look(&mut *alone, run).await? else {
        return Ok(());
    };
    let (Ok(tenant), Ok(id)) = (TenantId::new(row.tenant.as_str()), RunId::new(run)) else {
        return Ok(());
    };
    // In a run that was reopened a stage waits for letters, which do not come by the bus.
    if !matches!(row.state.life, Life::Running) || row.state.round > 0 {
        return Ok(());
    }
    for (audience, above, below, stage) in [
        (Audience::Raw, Step::Extract, Step::Transform, &platform.peers.masker),
        (Audience::Clean, Step::Transform, Step::LoadPass1, &platform.peers.loader),
    ] {
        let waited_for = |o: &&ObjectState| o.done(above) && !o.done(below);
        let mut empty = Vec::new();
        for object in row.state.objects.iter().filter(waited_for) {
            if matches!(platform.bus.waiting(audience, &tenant, &id, &object.name).await, Ok(0)) {
                empty.push(&object.name);
            }
        }
        if empty.is_empty() {
            continue;
        }
        let Some(answer) = ask(stage.clone(), run).await else { continue };
        for object in empty.into_iter().filter(|o| !answer.received.iter().any(|r| r == o.as_str())) {
            read_again(platform, run, object, audience).await;
        }
    }
    Ok(())
}

async fn read_again(platform: &Platform, run: &str, object: &ObjectName, audience: Audience) {
    tracing::warn!(%run, %object, %audience, "batches are gone from the bus; the object is read again");
    for stage in [&platform.peers.extractor, &platform.peers.masker] {
        if let Err(status) = reopen(stage.clone(), run, object).await {
            tracing::warn!(%run, %object, code = ?status.code(), "a stage could not be told; trying again");
            return;
        }
    }
    let lost = Event::BatchesLost { object: object.clone() };
    match shell::apply(platform, run, &lost).await {
        Ok(_) => metrics::count(metrics::BUS_LOSSES, 1, &[("audience", audience.token())]),
        Err(error) => report(run, &error),
    }
}

async fn reopen(stage: Channel, run: &str, object: &ObjectName) -> Result<(), Status> {
    let request = ReopenRequest {
        run: run.to_owned(),
        object: object.to_string(),
    };
    StageServiceClient::new(with_trace(stage)).reopen(request).await.map(drop)
}
