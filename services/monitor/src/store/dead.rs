//! Dead letters: kept as they came, sealed, until somebody replays or discards them.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgExecutor, Result};

use super::{Key, stored};

/// One message that no retry could save. No `Debug`: the payload is sealed, but it is a payload.
pub struct NewDeadLetter<'a> {
    pub stage: &'a str,
    pub object: &'a str,
    pub batch: &'a str,
    pub code: &'a str,
    pub cause: &'a str,
    pub attempts: u32,
    pub payload: &'a [u8],
}

#[derive(FromRow)]
pub struct DeadRow {
    pub id: i64,
    pub run: String,
    pub stage: String,
    pub object: String,
    pub batch: String,
    pub code: String,
    pub cause: String,
    pub attempts: i32,
    pub at: DateTime<Utc>,
}

/// Delivered twice is stored once.
pub async fn dead_letter_store(db: impl PgExecutor<'_>, key: Key<'_>, letter: &NewDeadLetter<'_>) -> Result<bool> {
    let done = sqlx::query(
        "insert into dead_letter (tenant, run, stage, object, batch, code, cause, attempts, payload, digest)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, sha256($9)) on conflict (tenant, run, stage, batch, digest) do nothing",
    )
    .bind(key.tenant)
    .bind(key.run)
    .bind(letter.stage)
    .bind(letter.object)
    .bind(letter.batch)
    .bind(letter.code)
    .bind(letter.cause)
    .bind(i32::try_from(letter.attempts).unwrap_or(i32::MAX))
    .bind(letter.payload)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// How many there are; of all runs when `run` is empty.
pub async fn dead_letter_total(db: impl PgExecutor<'_>, key: Key<'_>) -> Result<u64> {
    let total: i64 = sqlx::query_scalar("select count(*) from dead_letter where tenant = $1 and ($2 = '' or run = $2)")
        .bind(key.tenant)
        .bind(key.run)
        .fetch_one(db)
        .await?;
    Ok(super::counted(total))
}

/// Newest first, those before id `before`; of all runs when `run` is empty.
pub async fn dead_letter_list(db: impl PgExecutor<'_>, key: Key<'_>, before: u64, rows_max: i64) -> Result<Vec<DeadRow>> {
    sqlx::query_as(
        "select id, run, stage, object, batch, code, cause, attempts, at from dead_letter
         where tenant = $1 and ($2 = '' or run = $2) and id < $3 order by id desc limit $4",
    )
    .bind(key.tenant)
    .bind(key.run)
    .bind(stored(before))
    .bind(rows_max)
    .fetch_all(db)
    .await
}

/// Forgets dead letters older than `keep_days`. At most `rows_max` at once.
pub async fn dead_letters_expire(db: &mut PgConnection, keep_days: u32, rows_max: u32) -> Result<u64> {
    let done = sqlx::query(
        "delete from dead_letter where id = any(array(
            select id from dead_letter where at < clock_timestamp() - $1 * interval '1 day' limit $2))",
    )
    .bind(f64::from(keep_days))
    .bind(i64::from(rows_max))
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}
