//! Totals and findings of an object, told as events. Totals are cumulative, so a lost one is made up by the next.

use syncline_connect::Source;
use syncline_runtime::StageError;
use syncline_wire::event::run_event::Fact;
use syncline_wire::event::{LoadTotals, RefusedRecords};

use crate::context::Context;
use crate::parked;
use crate::store;
use crate::store::counts::ObjectCount;

/// Record ids that are told of one group.
const SAMPLE_IDS_MAX: usize = 100;

fn number(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// The books of the object as they stand.
pub async fn totals(context: &Context) -> Result<LoadTotals, StageError> {
    let db = &context.platform.db;
    let (run, object) = (context.work.run(), context.name());
    let count = store::counts::get(db, run, object).await?;
    let (refused, parked) = store::outcomes::totals(db, context.run_number, context.link).await?;
    let reading = store::batches::complete_reading(db, run, object).await?;
    let explained = count.inserted + count.updated + count.unchanged + refused + parked;
    Ok(LoadTotals {
        object: object.to_string(),
        // Until the reading is complete, what was read is what is explained.
        read: reading.as_ref().map_or(number(explained), |r| number(r.records)),
        inserted: number(count.inserted),
        updated: number(count.updated),
        unchanged: number(count.unchanged),
        filtered: 0,
        refused: number(refused),
        parked: number(parked),
        dead: reading.as_ref().map_or(0, |r| number(r.dead)),
        deleted: number(count.deleted),
        references_resolved: number(count.references_resolved),
        references_deferred: number(count.references_deferred),
        references_nulled: number(count.references_nulled),
        jobs: number(count.jobs),
        api_calls: number(count.api_calls),
        round: context.work.lease.round,
    })
}

/// Tells totals; a bus that is away only delays them.
pub async fn tell(context: &Context) -> Result<(), StageError> {
    let totals = totals(context).await?;
    if let Err(error) = context
        .platform
        .bus
        .publish_event(&context.work.event(Fact::LoadTotals(totals)))
        .await
    {
        tracing::warn!(%error, "totals could not be told; the next ones will be");
    }
    Ok(())
}

/// Facts that belong to the end of a step: totals and every group of refusals.
pub async fn closing(context: &Context) -> Result<Vec<Fact>, StageError> {
    let mut facts = vec![Fact::LoadTotals(totals(context).await?)];
    let links: Vec<i64> = context.links.values().copied().collect();
    let groups = store::outcomes::groups(&context.platform.db, context.run_number, context.link, &links).await?;
    // Parked records of one cause may wait for several reasons; they are one group all the same.
    for same in groups.chunk_by(|a, b| (&a.kind, &a.code, &a.native, &a.fields) == (&b.kind, &b.code, &b.native, &b.fields)) {
        let Some(first) = same.first() else { continue };
        facts.push(Fact::Refused(RefusedRecords {
            object: context.name().to_string(),
            code: first.code.clone(),
            native: first.native.clone(),
            fields: first.fields.clone(),
            count: number(same.iter().map(|g| g.count).sum()),
            sample_ids: same.iter().flat_map(|g| &g.sample).take(SAMPLE_IDS_MAX).cloned().collect(),
            kind: first.kind.clone(),
            resolved: number(same.iter().map(|g| g.resolved).sum()),
            reason: parked::reasons(context, same).await?,
            round: context.work.lease.round,
        }));
    }
    Ok(facts)
}

/// Books the calls that this task's handle made.
pub async fn book_calls(context: &Context) -> Result<(), StageError> {
    let api_calls = i64::try_from(context.target.calls()).unwrap_or(0);
    let mut tx = context.platform.db.begin().await?;
    context.work.lease.guard(&mut tx).await?;
    store::counts::add(
        &mut tx,
        context.work.run(),
        context.name(),
        &ObjectCount {
            api_calls,
            ..ObjectCount::default()
        },
    )
    .await?;
    tx.commit().await?;
    Ok(())
}
