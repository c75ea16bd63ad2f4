//! Cumulative totals: the larger wins.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Result};
use syncline_wire::event::{LoadTotals, MaskTotals, RefusedRecords, ResourceUse, StageTotals, VerifyTotals};

use super::{Key, stored};

/// Source record ids that are kept per group.
const SAMPLE_IDS_MAX: usize = 100;

/// Every count by itself: they only ever grow.
pub async fn stage_put(db: &mut PgConnection, key: Key<'_>, at: DateTime<Utc>, fact: &StageTotals) -> Result<()> {
    sqlx::query(
        "insert into stage_totals (tenant, run, stage, object, batches, records, bytes, api_calls, expected, at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         on conflict (tenant, run, stage, object) do update set
            batches = greatest(stage_totals.batches, excluded.batches),
            records = greatest(stage_totals.records, excluded.records),
            bytes = greatest(stage_totals.bytes, excluded.bytes),
            api_calls = greatest(stage_totals.api_calls, excluded.api_calls),
            expected = greatest(stage_totals.expected, excluded.expected),
            at = greatest(stage_totals.at, excluded.at)",
    )
    .bind(key.tenant)
    .bind(key.run)
    .bind(&fact.stage)
    .bind(&fact.object)
    .bind(stored(fact.batches))
    .bind(stored(fact.records))
    .bind(stored(fact.bytes))
    .bind(stored(fact.api_calls))
    .bind(stored(fact.expected))
    .bind(at)
    .execute(db)
    .await?;
    Ok(())
}

/// The balance is replaced as a whole, or it would mix two moments: a parked record may be written later, so `parked`
/// falls while what is settled grows. The one of the later round wins, for there what was refused or given up may be undone;
/// then the one with more settled records, then with more read, then the later one. Everything outside the balance only
/// grows.
pub async fn load_put(db: &mut PgConnection, key: Key<'_>, at: DateTime<Utc>, fact: &LoadTotals) -> Result<()> {
    sqlx::query(
        "with better as (
            select coalesce((
                select ($19::bigint, $6::bigint + $7::bigint + $8::bigint + $9::bigint + $10::bigint + $12::bigint, $5::bigint, $4::timestamptz, $11::bigint, $6::bigint, $7::bigint)
                     > (round, inserted + updated + unchanged + filtered + refused + dead, read, at, parked, inserted, updated)
                from load_totals where tenant = $1 and run = $2 and object = $3), true) as yes)
         insert into load_totals (tenant, run, object, at, read, inserted, updated, unchanged, filtered, refused, parked, dead,
            deleted, references_resolved, references_deferred, references_nulled, jobs, api_calls, round)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
         on conflict (tenant, run, object) do update set
            read = case when (select yes from better) then excluded.read else load_totals.read end,
            inserted = case when (select yes from better) then excluded.inserted else load_totals.inserted end,
            updated = case when (select yes from better) then excluded.updated else load_totals.updated end,
            unchanged = case when (select yes from better) then excluded.unchanged else load_totals.unchanged end,
            filtered = case when (select yes from better) then excluded.filtered else load_totals.filtered end,
            refused = case when (select yes from better) then excluded.refused else load_totals.refused end,
            parked = case when (select yes from better) then excluded.parked else load_totals.parked end,
            dead = case when (select yes from better) then excluded.dead else load_totals.dead end,
            at = case when (select yes from better) then excluded.at else load_totals.at end,
            round = greatest(load_totals.round, excluded.round),
            deleted = greatest(load_totals.deleted, excluded.deleted),
            references_resolved = greatest(load_totals.references_resolved, excluded.references_resolved),
            references_deferred = greatest(load_totals.references_deferred, excluded.references_deferred),
            references_nulled = greatest(load_totals.references_nulled, excluded.references_nulled),
            jobs = greatest(load_totals.jobs, excluded.jobs),
            api_calls = greatest(load_totals.api_calls, excluded.api_calls)",
    )
    .bind(key.tenant)
    .bind(key.run)
    .bind(&fact.object)
    .bind(at)
    .bind(stored(fact.read))
    .bind(stored(fact.inserted))
    .bind(stored(fact.updated))
    .bind(stored(fact.unchanged))
    .bind(stored(fact.filtered))
    .bind(stored(fact.refused))
    .bind(stored(fact.parked))
    .bind(stored(fact.dead))
    .bind(stored(fact.deleted))
    .bind(stored(fact.references_resolved))
    .bind(stored(fact.references_deferred))
    .bind(stored(fact.references_nulled))
    .bind(stored(fact.jobs))
    .bind(stored(fact.api_calls))
    .bind(i64::from(fact.round))
    .execute(db)
    .await?;
    Ok(())
}

/// The group of the later round, else the one with more records that ever were in it, else the one with more of them written
/// since; and the ids that came with it.
pub async fn refused_put(db: &mut PgConnection, key: Key<'_>, at: DateTime<Utc>, fact: &RefusedRecords) -> Result<()> {
    let samples: Vec<&str> = fact.sample_ids.iter().take(SAMPLE_IDS_MAX).map(String::as_str).collect();
    sqlx::query(
        "insert into refused (tenant, run, object, code, native, fields, kind, count, sample_ids, at, round, resolved, reason)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         on conflict (tenant, run, object, code, native, fields, kind) do update set
            count = excluded.count, sample_ids = excluded.sample_ids, at = excluded.at, round = excluded.round,
            resolved = excluded.resolved, reason = excluded.reason
         where (excluded.round, excluded.count + excluded.resolved, excluded.resolved, excluded.at, excluded.sample_ids, excluded.reason)
             > (refused.round, refused.count + refused.resolved, refused.resolved, refused.at, refused.sample_ids, refused.reason)",
    )
    .bind(key.tenant)
    .bind(key.run)
    .bind(&fact.object)
    .bind(&fact.code)
    .bind(&fact.native)
    .bind(&fact.fields)
    .bind(&fact.kind)
    .bind(stored(fact.count))
    .bind(samples)
    .bind(at)
    .bind(i64::from(fact.round))
    .bind(stored(fact.resolved))
    .bind(&fact.reason)
    .execute(db)
    .await?;
    Ok(())
}

/// Every count by itself. A run has one strategy per field; should two be claimed, the choice does not depend on order.
pub async fn mask_put(db: &mut PgConnection, key: Key<'_>, fact: &MaskTotals) -> Result<()> {
    sqlx::query(
        "insert into mask_totals (tenant, run, object, field, strategy, masked, nulls, unchanged)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (tenant, run, object, field) do update set
            strategy = greatest(mask_totals.strategy, excluded.strategy),
            masked = greatest(mask_totals.masked, excluded.masked),
            nulls = greatest(mask_totals.nulls, excluded.nulls),
            unchanged = greatest(mask_totals.unchanged, excluded.unchanged)",
    )
    .bind(key.tenant)
    .bind(key.run)
    .bind(&fact.object)
    .bind(&fact.field)
    .bind(&fact.strategy)
    .bind(stored(fact.masked))
    .bind(stored(fact.null))
    .bind(stored(fact.unchanged))
    .execute(db)
    .await?;
    Ok(())
}

/// Every count by itself, so a difference that was found once in a round is never taken back; a later round looks at
/// everything again and starts anew. The target's count is of the latest look, calls only grow.
pub async fn verify_put(db: &mut PgConnection, key: Key<'_>, at: DateTime<Utc>, fact: &VerifyTotals) -> Result<()> {
    sqlx::query(
        "insert into verify_totals (tenant, run, object, references_verified, references_wrong, values_compared, values_different,
            leaks, target_count, api_calls, at, round)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         on conflict (tenant, run, object) do update set
            references_verified = case when excluded.round > verify_totals.round then excluded.references_verified
                when excluded.round < verify_totals.round then verify_totals.references_verified
                else greatest(verify_totals.references_verified, excluded.references_verified) end,
            references_wrong = case when excluded.round > verify_totals.round then excluded.references_wrong
                when excluded.round < verify_totals.round then verify_totals.references_wrong
                else greatest(verify_totals.references_wrong, excluded.references_wrong) end,
            values_compared = case when excluded.round > verify_totals.round then excluded.values_compared
                when excluded.round < verify_totals.round then verify_totals.values_compared
                else greatest(verify_totals.values_compared, excluded.values_compared) end,
            values_different = case when excluded.round > verify_totals.round then excluded.values_different
                when excluded.round < verify_totals.round then verify_totals.values_different
                else greatest(verify_totals.values_different, excluded.values_different) end,
            leaks = case when excluded.round > verify_totals.round then excluded.leaks
                when excluded.round < verify_totals.round then verify_totals.leaks
                else greatest(verify_totals.leaks, excluded.leaks) end,
            round = greatest(verify_totals.round, excluded.round),
            target_count = case when (excluded.at, excluded.target_count) > (verify_totals.at, verify_totals.target_count)
                then excluded.target_count else verify_totals.target_count end,
            api_calls = greatest(verify_totals.api_calls, excluded.api_calls),
            at = greatest(verify_totals.at, excluded.at)",
    )
    .bind(key.tenant)
    .bind(key.run)
    .bind(&fact.object)
    .bind(stored(fact.references_verified))
    .bind(stored(fact.references_wrong))
    .bind(stored(fact.values_compared))
    .bind(stored(fact.values_different))
    .bind(stored(fact.leaks))
    .bind(stored(fact.target_count))
    .bind(stored(fact.api_calls))
    .bind(at)
    .bind(i64::from(fact.round))
    .execute(db)
    .await?;
    Ok(())
}

/// What a process used grows while the run goes on.
pub async fn resource_put(db: &mut PgConnection, key: Key<'_>, fact: &ResourceUse) -> Result<()> {
    let cpu_seconds = if fact.cpu_seconds.is_finite() {
        fact.cpu_seconds.max(0.0)
    } else {
        0.0
    };
    sqlx::query(
        "insert into resource_use (tenant, run, process, cpu_seconds, peak_memory_bytes) values ($1, $2, $3, $4, $5)
         on conflict (tenant, run, process) do update set
            cpu_seconds = greatest(resource_use.cpu_seconds, excluded.cpu_seconds),
            peak_memory_bytes = greatest(resource_use.peak_memory_bytes, excluded.peak_memory_bytes)",
    )
    .bind(key.tenant)
    .bind(key.run)
    .bind(&fact.process)
    .bind(cpu_seconds)
    .bind(stored(fact.peak_memory_bytes))
    .execute(db)
    .await?;
    Ok(())
}
