//! The coordinator's SQL.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor, Row};
use syncline_bus::trace;
use syncline_domain::run::RunState;

/// A stored version of a sync.
pub struct SyncRow {
    pub name: String,
    pub version: i32,
    pub source: String,
    pub target: String,
    pub yaml: String,
    pub applied_at: DateTime<Utc>,
}

fn sync_row(row: &PgRow) -> SyncRow {
    SyncRow {
        name: row.get(0),
        version: row.get(1),
        source: row.get(2),
        target: row.get(3),
        yaml: row.get(4),
        applied_at: row.get(5),
    }
}

const SYNC: &str = "select name, version, source, target, yaml, applied_at from sync";

/// The newest version, or the one asked for.
pub async fn sync_get(db: impl PgExecutor<'_>, tenant: &str, name: &str, version: Option<i32>) -> Result<Option<SyncRow>, sqlx::Error> {
    let sql = format!("{SYNC} where tenant = $1 and name = $2 and ($3::int is null or version = $3) order by version desc limit 1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(tenant)
        .bind(name)
        .bind(version)
        .fetch_optional(db)
        .await?;
    Ok(row.as_ref().map(sync_row))
}

/// Newest versions in order of name.
pub async fn sync_list(db: impl PgExecutor<'_>, tenant: &str, after: &str, limit: i64) -> Result<Vec<SyncRow>, sqlx::Error> {
    let rows = sqlx::query(
        "select distinct on (name) name, version, source, target, yaml, applied_at from sync
         where tenant = $1 and name > $2 order by name, version desc limit $3",
    )
    .bind(tenant)
    .bind(after)
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(rows.iter().map(sync_row).collect())
}

/// Serialises applies of one sync, so that versions have no gaps.
pub async fn sync_lock(tx: &mut PgConnection, tenant: &str, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query("select pg_advisory_xact_lock(hashtext($1 || '/' || $2))")
        .bind(tenant)
        .bind(name)
        .execute(tx)
        .await?;
    Ok(())
}

pub async fn sync_insert(tx: &mut PgConnection, tenant: &str, row: &SyncRow) -> Result<(), sqlx::Error> {
    sqlx::query("insert into sync (tenant, name, version, source, target, yaml) values ($1, $2, $3, $4, $5, $6)")
        .bind(tenant)
        .bind(&row.name)
        .bind(row.version)
        .bind(&row.source)
        .bind(&row.target)
        .bind(&row.yaml)
        .execute(tx)
        .await?;
    Ok(())
}

/// A stored run.
pub struct RunRow {
    pub id: String,
    pub tenant: String,
    pub sync: String,
    pub sync_version: i32,
    pub source: String,
    pub target: String,
    pub state: RunState,
    pub submitted_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    /// The trace of its control flow.
    pub trace: Option<String>,
    /// It has ended, and what it left on the bus is removed.
    pub purged: bool,
}

fn run_row(row: &PgRow) -> RunRow {
    let Json(state) = row.get::<Json<RunState>, _>(4);
    RunRow {
        id: row.get(0),
        tenant: row.get(1),
        sync: row.get(2),
        sync_version: row.get(3),
        state,
        submitted_at: row.get(5),
        finished_at: row.get(6),
        source: row.get(7),
        target: row.get(8),
        trace: row.get(9),
        purged: row.get(10),
    }
}

const RUN: &str = "select id, tenant, sync, sync_version, state, submitted_at, finished_at, source, target, trace, purged from run";

pub async fn run_get(db: impl PgExecutor<'_>, tenant: &str, id: &str) -> Result<Option<RunRow>, sqlx::Error> {
    let sql = format!("{RUN} where tenant = $1 and id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(tenant)
        .bind(id)
        .fetch_optional(db)
        .await?;
    Ok(row.as_ref().map(run_row))
}

/// The run, locked until the transaction ends.
pub async fn run_lock(tx: &mut PgConnection, id: &str) -> Result<Option<RunRow>, sqlx::Error> {
    let sql = format!("{RUN} where id = $1 for update");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(tx).await?;
    Ok(row.as_ref().map(run_row))
}

/// The run as it is, without waiting for anybody.
pub async fn run_look(db: impl PgExecutor<'_>, id: &str) -> Result<Option<RunRow>, sqlx::Error> {
    let sql = format!("{RUN} where id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(db).await?;
    Ok(row.as_ref().map(run_row))
}

/// Whether this transaction is the only one that mends the run; until it ends.
pub async fn run_mending(tx: &mut PgConnection, id: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select pg_try_advisory_xact_lock(hashtext('mend/' || $1))")
        .bind(id)
        .fetch_one(tx)
        .await
}

pub async fn run_by_key(db: impl PgExecutor<'_>, tenant: &str, key: &str) -> Result<Option<RunRow>, sqlx::Error> {
    let sql = format!("{RUN} where tenant = $1 and idempotency_key = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(tenant)
        .bind(key)
        .fetch_optional(db)
        .await?;
    Ok(row.as_ref().map(run_row))
}

/// Newest first; ids sort by time.
pub async fn run_list(db: impl PgExecutor<'_>, tenant: &str, sync: &str, before: &str, limit: i64) -> Result<Vec<RunRow>, sqlx::Error> {
    let sql = format!("{RUN} where tenant = $1 and ($2 = '' or sync = $2) and ($3 = '' or id < $3) order by id desc limit $4");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(tenant)
        .bind(sync)
        .bind(before)
        .bind(limit)
        .fetch_all(db)
        .await?;
    Ok(rows.iter().map(run_row).collect())
}

/// How many unfinished runs each status has.
pub async fn run_counts(db: impl PgExecutor<'_>) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as("select status, count(*) from run where finished_at is null group by status")
        .fetch_all(db)
        .await
}

/// Ids of runs that are not finished.
pub async fn run_active(db: impl PgExecutor<'_>) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("select id from run where finished_at is null order by id")
        .fetch_all(db)
        .await
}

/// The unfinished run between two connections.
pub async fn run_active_on_link(db: impl PgExecutor<'_>, tenant: &str, source: &str, target: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("select id from run where tenant = $1 and source = $2 and target = $3 and finished_at is null")
        .bind(tenant)
        .bind(source)
        .bind(target)
        .fetch_optional(db)
        .await
}

/// Stores a new run; false when its key or its link is taken.
pub async fn run_insert(
    tx: &mut PgConnection,
    tenant: &str,
    id: &str,
    sync: &SyncRow,
    key: Option<&str>,
    state: &RunState,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "insert into run (id, tenant, sync, sync_version, source, target, idempotency_key, state, version, status, trace)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict do nothing",
    )
    .bind(id)
    .bind(tenant)
    .bind(&sync.name)
    .bind(sync.version)
    .bind(&sync.source)
    .bind(&sync.target)
    .bind(key)
    .bind(Json(state))
    .bind(i64::try_from(state.version).unwrap_or(i64::MAX))
    .bind(state.status().as_str())
    .bind(trace::current())
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Stores a state if nobody changed it since `version`.
pub async fn run_swap(tx: &mut PgConnection, id: &str, version: u64, state: &RunState) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "update run set state = $3, version = $4, status = $5, finished_at = case when $6 then coalesce(finished_at, clock_timestamp()) end,
           -- one that is reopened will leave something there again
           purged = purged and $6
         where id = $1 and version = $2",
    )
    .bind(id)
    .bind(i64::try_from(version).unwrap_or(i64::MAX))
    .bind(Json(state))
    .bind(i64::try_from(state.version).unwrap_or(i64::MAX))
    .bind(state.status().as_str())
    .bind(state.life.is_terminal())
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Finished runs that may still have something on the bus.
pub async fn run_unpurged(db: impl PgExecutor<'_>) -> Result<Vec<(String, String)>, sqlx::Error> {
    let rows = sqlx::query("select tenant, id from run where finished_at is not null and not purged order by id limit 20")
        .fetch_all(db)
        .await?;
    Ok(rows.iter().map(|r| (r.get(0), r.get(1))).collect())
}

pub async fn run_purged(db: impl PgExecutor<'_>, id: &str) -> Result<(), sqlx::Error> {
    sqlx::query("update run set purged = true where id = $1")
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}
