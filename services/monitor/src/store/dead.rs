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
    /// How many source records the batch stands for; 0 when it is not known.
    pub records: u64,
    /// The round of the run in which it was given up.
    pub round: u32,
    pub payload: &'a [u8],
}

/// Which letters; empty texts are any.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    pub object: &'a str,
    pub stage: &'a str,
    pub code: &'a str,
    pub state: &'a str,
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
    pub records: i64,
    pub state: String,
    pub last_at: Option<DateTime<Utc>>,
    pub replays: i32,
    pub decided_by: String,
    pub decided_at: Option<DateTime<Utc>>,
    pub reason: String,
}

const COLUMNS: &str =
    "id, run, stage, object, batch, code, cause, attempts, at, records, state, last_at, replays, decided_by, decided_at, reason";

/// Delivered twice is stored once. A letter that was replayed and given up again in that round is kept again.
pub async fn dead_letter_store(db: impl PgExecutor<'_>, key: Key<'_>, letter: &NewDeadLetter<'_>) -> Result<bool> {
    let done = sqlx::query(
        "insert into dead_letter (tenant, run, stage, object, batch, code, cause, attempts, payload, digest, records, round)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, sha256($9), $10, $11)
         on conflict (tenant, run, stage, batch, digest) do update set state = 'kept', code = excluded.code, cause = excluded.cause,
            attempts = dead_letter.attempts + excluded.attempts, last_at = clock_timestamp(), round = excluded.round
         where dead_letter.round < excluded.round",
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
    .bind(stored(letter.records))
    .bind(i32::try_from(letter.round).unwrap_or(i32::MAX))
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// How many of these there are; of all runs when `run` is empty.
pub async fn dead_letter_total(db: impl PgExecutor<'_>, key: Key<'_>, wanted: &Wanted<'_>) -> Result<u64> {
    let total: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from dead_letter where {WANTED}")))
        .bind(key.tenant)
        .bind(key.run)
        .bind(wanted.object)
        .bind(wanted.stage)
        .bind(wanted.code)
        .bind(wanted.state)
        .fetch_one(db)
        .await?;
    Ok(super::counted(total))
}

const WANTED: &str = "tenant = $1 and ($2 = '' or run = $2) and ($3 = '' or object = $3) and ($4 = '' or stage = $4)
    and ($5 = '' or code = $5) and ($6 = '' or state = $6)";

/// Newest first, those before id `before`; of all runs when `run` is empty.
pub async fn dead_letter_list(
    db: impl PgExecutor<'_>,
    key: Key<'_>,
    wanted: &Wanted<'_>,
    before: u64,
    rows_max: i64,
) -> Result<Vec<DeadRow>> {
    let sql = format!("select {COLUMNS} from dead_letter where {WANTED} and id < $7 order by id desc limit $8");
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(key.tenant)
        .bind(key.run)
        .bind(wanted.object)
        .bind(wanted.stage)
        .bind(wanted.code)
        .bind(wanted.state)
        .bind(stored(before))
        .bind(rows_max)
        .fetch_all(db)
        .await
}

/// One letter.
pub async fn dead_letter_get(db: impl PgExecutor<'_>, tenant: &str, id: u64) -> Result<Option<DeadRow>> {
    let sql = format!("select {COLUMNS} from dead_letter where tenant = $1 and id = $2");
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(tenant)
        .bind(stored(id))
        .fetch_optional(db)
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
