//! The run's own row, its history and its steps.

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection, Result};
use syncline_wire::event::{StatusChanged, StepDone, StepFailed, StepYielded};

use super::{Key, stored};

/// Stores the fact in the history. False: it is there already, byte for byte.
pub async fn fact_insert(db: &mut PgConnection, key: Key<'_>, at: DateTime<Utc>, kind: &str, body: &[u8]) -> Result<bool> {
    let done = sqlx::query(
        "insert into fact (tenant, run, digest, at, kind, body) values ($1, $2, sha256($5), $3, $4, $5) on conflict do nothing",
    )
    .bind(key.tenant)
    .bind(key.run)
    .bind(at)
    .bind(kind)
    .bind(body)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Makes the run known and moves its cursor. Locks the row: facts of one run are stored one after the other.
pub async fn run_touch(db: &mut PgConnection, key: Key<'_>) -> Result<()> {
    sqlx::query(
        "insert into run (tenant, run, cursor) values ($1, $2, 1)
         on conflict (tenant, run) do update set cursor = run.cursor + 1, touched_at = clock_timestamp()",
    )
    .bind(key.tenant)
    .bind(key.run)
    .execute(db)
    .await?;
    Ok(())
}

/// The status of the highest version stands; a run that was reopened has its books open again. The run began with the earliest status there is, whichever came first.
pub async fn status_put(
    db: &mut PgConnection,
    key: Key<'_>,
    at: DateTime<Utc>,
    terminal: bool,
    trace: Option<&str>,
    fact: &StatusChanged,
) -> Result<()> {
    sqlx::query(
        "update run set
            started_at = least(started_at, $3),
            sync = case when $4 > sync_version or sync = '' then $5 else sync end,
            sync_version = greatest(sync_version, $4),
            finished_at = case
                when $6 > status_version then case when $8 then $3 end
                when $6 = status_version and $8 then least(finished_at, $3)
                else finished_at end,
            terminal = case when $6 > status_version then $8 else terminal end,
            failure_code = case when $6 > status_version then $9 else failure_code end,
            failure_message = case when $6 > status_version then $10 else failure_message end,
            status = case when $6 > status_version then $7 else status end,
            closed = closed and not ($6 > status_version and not $8),
            trace = case when $6 > status_version then $11 else trace end,
            status_version = greatest(status_version, $6)
         where tenant = $1 and run = $2",
    )
    .bind(key.tenant)
    .bind(key.run)
    .bind(at)
    .bind(i64::from(fact.sync_version))
    .bind(&fact.sync)
    .bind(stored(fact.version))
    .bind(&fact.status)
    .bind(terminal)
    .bind(&fact.failure_code)
    .bind(&fact.failure_message)
    .bind(trace)
    .execute(db)
    .await?;
    Ok(())
}

/// Two analyzers may have planned; the larger projection stands.
pub async fn plan_put(db: &mut PgConnection, key: Key<'_>, records: u64) -> Result<()> {
    sqlx::query("update run set projected_records = greatest(projected_records, $3) where tenant = $1 and run = $2")
        .bind(key.tenant)
        .bind(key.run)
        .bind(stored(records))
        .execute(db)
        .await?;
    Ok(())
}

/// The objects of the plan in load order.
pub async fn outline_put(db: &mut PgConnection, key: Key<'_>, objects: &[String]) -> Result<()> {
    sqlx::query(
        "insert into outline (tenant, run, object, place)
         select $1, $2, object, place::integer from unnest($3::text[]) with ordinality as planned (object, place)
         on conflict (tenant, run, object) do update set place = least(outline.place, excluded.place)",
    )
    .bind(key.tenant)
    .bind(key.run)
    .bind(objects)
    .execute(db)
    .await?;
    Ok(())
}

/// Done stays done, and with errors once is with errors for good.
pub async fn step_done(db: &mut PgConnection, key: Key<'_>, fact: &StepDone) -> Result<()> {
    sqlx::query(
        "insert into step (tenant, run, object, step, done, with_errors) values ($1, $2, $3, $4, true, $5)
         on conflict (tenant, run, object, step) do update set done = true, with_errors = step.with_errors or excluded.with_errors",
    )
    .bind(key.tenant)
    .bind(key.run)
    .bind(&fact.object)
    .bind(&fact.step)
    .bind(fact.with_errors)
    .execute(db)
    .await?;
    Ok(())
}

/// The latest reason to wait stands.
pub async fn step_yielded(db: &mut PgConnection, key: Key<'_>, at: DateTime<Utc>, fact: &StepYielded) -> Result<()> {
    sqlx::query(
        "insert into step (tenant, run, object, step, yielded_at, reason) values ($1, $2, $3, $4, $5, $6)
         on conflict (tenant, run, object, step) do update set yielded_at = excluded.yielded_at, reason = excluded.reason
         where step.yielded_at is null or (excluded.yielded_at, excluded.reason) > (step.yielded_at, step.reason)",
    )
    .bind(key.tenant)
    .bind(key.run)
    .bind(&fact.object)
    .bind(&fact.step)
    .bind(at)
    .bind(&fact.reason)
    .execute(db)
    .await?;
    Ok(())
}

/// The earliest failure stands: the others follow from it.
pub async fn step_failed(db: &mut PgConnection, key: Key<'_>, at: DateTime<Utc>, fact: &StepFailed) -> Result<()> {
    sqlx::query(
        "insert into step (tenant, run, object, step, failed_at, code, message) values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (tenant, run, object, step)
         do update set failed_at = excluded.failed_at, code = excluded.code, message = excluded.message
         where step.failed_at is null or (excluded.failed_at, excluded.code, excluded.message) < (step.failed_at, step.code, step.message)",
    )
    .bind(key.tenant)
    .bind(key.run)
    .bind(&fact.object)
    .bind(&fact.step)
    .bind(at)
    .bind(&fact.code)
    .bind(&fact.message)
    .execute(db)
    .await?;
    Ok(())
}

/// Closes the books of runs that have ended and of which nothing more was heard for `quiet_ms`. Names them, with their
/// status and trace.
pub async fn runs_close(db: &mut PgConnection, quiet_ms: u32) -> Result<Vec<(String, String, Option<String>)>> {
    sqlx::query_as(
        "update run set closed = true, cursor = cursor + 1
         where terminal and not closed and touched_at < clock_timestamp() - $1 * interval '1 millisecond'
         returning run, status, trace",
    )
    .bind(f64::from(quiet_ms))
    .fetch_all(db)
    .await
}

/// Forgets history older than `keep_days`; totals and reports stay. At most `rows_max` at once.
pub async fn facts_expire(db: &mut PgConnection, keep_days: u32, rows_max: u32) -> Result<u64> {
    let done = sqlx::query(
        "delete from fact where ctid = any(array(
            select ctid from fact where stored_at < clock_timestamp() - $1 * interval '1 day' limit $2))",
    )
    .bind(f64::from(keep_days))
    .bind(i64::from(rows_max))
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Every table that holds something of one run.
const OF_A_RUN: [&str; 10] = [
    "fact",
    "outline",
    "step",
    "stage_totals",
    "load_totals",
    "refused",
    "mask_totals",
    "verify_totals",
    "resource_use",
    "run",
];

/// Forgets runs whose books closed more than `keep_days` ago, with all that is known of them. At most `runs_max` at once.
pub async fn runs_expire(db: &mut PgConnection, keep_days: u32, runs_max: u32) -> Result<u64> {
    let mut tx = db.begin().await?;
    let runs: Vec<(String, String)> = sqlx::query_as(
        "select tenant, run from run where closed and finished_at < clock_timestamp() - $1 * interval '1 day'
         order by finished_at limit $2 for update skip locked",
    )
    .bind(f64::from(keep_days))
    .bind(i64::from(runs_max))
    .fetch_all(&mut *tx)
    .await?;
    let (tenants, names): (Vec<String>, Vec<String>) = runs.into_iter().unzip();
    for table in OF_A_RUN {
        let sql = format!("delete from {table} where (tenant, run) in (select * from unnest($1::text[], $2::text[]))");
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&tenants)
            .bind(&names)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(names.len() as u64)
}
