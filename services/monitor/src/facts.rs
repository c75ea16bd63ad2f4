//! From a fact on the bus to the books, in one transaction.
//!
//! The idempotency key is the fact itself: its bytes' digest in the history. A fact that is there already changes
//! nothing, not even the cursor. A fact that is new is merged by rules that do not depend on order.

use chrono::{DateTime, Utc};
use prost::Message as _;
use serde::Deserialize;
use sqlx::{Connection as _, PgConnection};
use syncline_bus::trace;
use syncline_domain::run::Status;
use syncline_wire::event::RunEvent;
use syncline_wire::event::run_event::Fact;

use crate::error::MonitorError;
use crate::store::{self, Key};

/// The part of a plan's outline that the books need.
#[derive(Deserialize)]
struct Outline {
    objects: Vec<OutlineObject>,
}

#[derive(Deserialize)]
struct OutlineObject {
    name: String,
}

/// What a fact did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// It was there already.
    Already,
    New,
    /// New, and the run ended with it.
    Ended,
}

/// Stores one fact.
///
/// # Errors
/// [`MonitorError::Store`] is worth a retry; [`MonitorError::BadFact`] never becomes readable.
pub async fn record(db: &mut PgConnection, event: &RunEvent) -> Result<Recorded, MonitorError> {
    let fact = event.fact.as_ref().ok_or(MonitorError::BadFact("it states nothing"))?;
    if event.run.is_empty() || event.tenant.is_empty() {
        return Err(MonitorError::BadFact("it does not say which run it is about"));
    }
    let at = event
        .at
        .as_ref()
        .and_then(syncline_wire::time::from_proto)
        .ok_or(MonitorError::BadFact("it has no time"))?;
    let key = Key {
        tenant: &event.tenant,
        run: &event.run,
    };

    let mut tx = db.begin().await?;
    let new = store::fact_insert(&mut tx, key, at, syncline_bus::event_kind(event), &event.encode_to_vec()).await?;
    let recorded = if new {
        store::run_touch(&mut tx, key).await?;
        apply(&mut tx, key, at, fact).await?
    } else {
        Recorded::Already
    };
    tx.commit().await?;
    Ok(recorded)
}

async fn apply(db: &mut PgConnection, key: Key<'_>, at: DateTime<Utc>, fact: &Fact) -> Result<Recorded, MonitorError> {
    match fact {
        Fact::PlanBuilt(plan) => {
            store::plan_put(db, key, plan.records).await?;
            // A plan that stopped the run has no outline; one that cannot be read costs the order of objects only.
            if let Ok(outline) = serde_json::from_str::<Outline>(&plan.outline_json) {
                let names: Vec<String> = outline.objects.into_iter().map(|object| object.name).collect();
                store::outline_put(db, key, &names).await?;
            }
        }
        Fact::StepDone(step) => store::step_done(db, key, step).await?,
        Fact::StepYielded(step) => store::step_yielded(db, key, at, step).await?,
        Fact::StepFailed(step) => store::step_failed(db, key, at, step).await?,
        Fact::StatusChanged(status) => {
            let terminal = status.status.parse::<Status>().is_ok_and(Status::is_terminal);
            store::status_put(db, key, at, terminal, trace::current().as_deref(), status).await?;
            if terminal {
                store::letters_left(db, key, at).await?;
                return Ok(Recorded::Ended);
            }
        }
        Fact::StageTotals(totals) => store::stage_put(db, key, at, totals).await?,
        Fact::LoadTotals(totals) => store::load_put(db, key, at, totals).await?,
        Fact::Refused(refused) => store::refused_put(db, key, at, refused).await?,
        Fact::MaskTotals(totals) => store::mask_put(db, key, totals).await?,
        Fact::VerifyTotals(totals) => store::verify_put(db, key, at, totals).await?,
        Fact::LetterReplayed(letter) => store::letter_replayed(db, key, &letter.stage, &letter.batch, letter.round).await?,
        Fact::ResourceUse(used) => store::resource_put(db, key, used).await?,
    }
    Ok(Recorded::New)
}
