//! What a run leaves behind that holds records, sealed or as fingerprints, goes after a while: refusals, and the samples of
//! the leak check. The ledger, the content hashes and the journal stay: later runs need them.

use std::time::Duration;

use sqlx::{PgExecutor, PgPool};
use syncline_runtime::Platform;

const PAUSE: Duration = Duration::from_secs(600);
/// Rows that one statement removes, so that none is long.
const ROWS_MAX: i64 = 20_000;

/// Forgets until shutdown.
pub(crate) async fn enforce(platform: Platform) {
    let days = platform.config.retention.refusals_days;
    loop {
        tokio::time::sleep(PAUSE).await;
        match forget(&platform.db, days).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, days, "refusals and samples of old runs were forgotten"),
            Err(error) => tracing::warn!(%error, "refusals of old runs could not be forgotten; trying again"),
        }
    }
}

/// Removes what runs left that began, and were last worked on, more than `days` ago; answers how many rows. Whether such a run
/// still waits for somebody makes no difference: what is sealed does not stay for ever because a run was forgotten.
///
/// # Errors
/// [`sqlx::Error`]; what was removed is removed.
pub async fn forget(db: &PgPool, days: u32) -> Result<u64, sqlx::Error> {
    let mut removed = 0;
    for table in ["refusal", "sample"] {
        loop {
            let rows = remove(db, table, days).await?;
            removed += rows;
            if rows < ROWS_MAX.unsigned_abs() {
                break;
            }
        }
    }
    Ok(removed)
}

async fn remove(db: impl PgExecutor<'_>, table: &'static str, days: u32) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(sqlx::AssertSqlSafe(format!(
        "delete from {table} where ctid = any(array(
            select t.ctid from {table} t join run_number r on r.number = t.run_number
            where r.made_at < clock_timestamp() - $1 * interval '1 day'
              and not exists (
                select from task where task.run = r.run
                  and (task.expires_at > clock_timestamp() or task.updated_at >= clock_timestamp() - $1 * interval '1 day'))
            limit $2))"
    )))
    .bind(f64::from(days))
    .bind(ROWS_MAX)
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}
