//! Decisions about dead letters, and what stages ask of those that are replayed.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgExecutor, Result};

use super::{Key, counted, stored};

/// Which letters of a run are decided about: one by id (0: any), or all that fit; empty texts are any.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    pub key: Key<'a>,
    pub id: u64,
    pub object: &'a str,
    pub stage: &'a str,
    pub code: &'a str,
}

const CHOSEN: &str = "tenant = $1 and run = $2 and ($3 = 0 or id = $3) and ($4 = '' or object = $4) and ($5 = '' or stage = $5)
    and ($6 = '' or code = $6)";

/// Letters of one object and stage.
#[derive(Debug, Clone, FromRow)]
pub struct Affected {
    pub object: String,
    pub stage: String,
    pub count: i64,
    pub records: i64,
}

/// What a decision would be about: letters that are kept, and those of a replay that did not begin.
pub async fn letters_affected(db: impl PgExecutor<'_>, choice: &Choice<'_>) -> Result<Vec<Affected>> {
    let sql = format!(
        "select object, stage, count(*) as count, coalesce(sum(records), 0)::bigint as records from dead_letter
         where {CHOSEN} and state in ('kept', 'replaying') group by object, stage order by object, stage"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(choice.key.tenant)
        .bind(choice.key.run)
        .bind(stored(choice.id))
        .bind(choice.object)
        .bind(choice.stage)
        .bind(choice.code)
        .fetch_all(db)
        .await
}

/// Marks letters as being replayed; answers the ids of those that were not yet.
pub async fn letters_replay(db: impl PgExecutor<'_>, choice: &Choice<'_>, by: &str) -> Result<Vec<i64>> {
    let sql = format!(
        "update dead_letter set state = 'replaying', replays = replays + 1, decided_by = $7, decided_at = clock_timestamp(), reason = ''
         where {CHOSEN} and state = 'kept' returning id"
    );
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(choice.key.tenant)
        .bind(choice.key.run)
        .bind(stored(choice.id))
        .bind(choice.object)
        .bind(choice.stage)
        .bind(choice.code)
        .bind(by)
        .fetch_all(db)
        .await
}

/// The run was not reopened: these are kept as before.
pub async fn letters_keep(db: impl PgExecutor<'_>, ids: &[i64]) -> Result<()> {
    sqlx::query("update dead_letter set state = 'kept', replays = replays - 1 where id = any($1) and state = 'replaying'")
        .bind(ids)
        .execute(db)
        .await?;
    Ok(())
}

/// A run ended at `at`: what was being replayed before and was not is kept.
pub async fn letters_left(db: &mut PgConnection, key: Key<'_>, at: DateTime<Utc>) -> Result<()> {
    sqlx::query("update dead_letter set state = 'kept' where tenant = $1 and run = $2 and state = 'replaying' and decided_at < $3")
        .bind(key.tenant)
        .bind(key.run)
        .bind(at)
        .execute(db)
        .await?;
    Ok(())
}

/// Gives letters up for good, with who decided and why.
pub async fn letters_discard(db: impl PgExecutor<'_>, choice: &Choice<'_>, by: &str, reason: &str) -> Result<u64> {
    let sql = format!(
        "update dead_letter set state = 'discarded', decided_by = $7, decided_at = clock_timestamp(), reason = $8
         where {CHOSEN} and state = 'kept'"
    );
    let done = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(choice.key.tenant)
        .bind(choice.key.run)
        .bind(stored(choice.id))
        .bind(choice.object)
        .bind(choice.stage)
        .bind(choice.code)
        .bind(by)
        .bind(reason)
        .execute(db)
        .await?;
    Ok(done.rows_affected())
}

/// A batch was worked on in `round` after all, unless it was given up again in that very round. In any order with that news
/// and with the run's end.
pub async fn letter_replayed(db: &mut PgConnection, key: Key<'_>, stage: &str, batch: &str, round: u32) -> Result<()> {
    sqlx::query(
        "update dead_letter set state = 'replayed'
         where tenant = $1 and run = $2 and stage = $3 and batch = $4 and state in ('kept', 'replaying') and replays > 0 and round < $5",
    )
    .bind(key.tenant)
    .bind(key.run)
    .bind(stage)
    .bind(batch)
    .bind(i32::try_from(round).unwrap_or(i32::MAX))
    .execute(db)
    .await?;
    Ok(())
}

/// A letter for the stage that gave it up. No `Debug`: the payload is sealed, but it is a payload.
#[derive(FromRow)]
pub struct LetterRow {
    pub id: i64,
    pub batch: String,
    pub records: i64,
    pub payload: Vec<u8>,
}

/// Letters that are being replayed, behind id `after`, oldest first. `names_only`: without what they carry.
pub async fn letters_fetch(
    db: impl PgExecutor<'_>,
    key: Key<'_>,
    object: &str,
    stage: &str,
    after: u64,
    rows_max: i64,
    names_only: bool,
) -> Result<Vec<LetterRow>> {
    sqlx::query_as(
        "select id, batch, records, case when $7 then ''::bytea else payload end as payload from dead_letter
         where tenant = $1 and run = $2 and object = $3 and stage = $4 and state = 'replaying' and id > $5 order by id limit $6",
    )
    .bind(key.tenant)
    .bind(key.run)
    .bind(object)
    .bind(stage)
    .bind(stored(after))
    .bind(rows_max)
    .bind(names_only)
    .fetch_all(db)
    .await
}

/// How many letters of a run are kept, with how many records, and how many discarded.
pub async fn letters_count(db: impl PgExecutor<'_>, key: Key<'_>) -> Result<(u64, u64, u64)> {
    let (kept, records, discarded): (i64, i64, i64) = sqlx::query_as(
        "select count(*) filter (where state in ('kept', 'replaying')),
            coalesce(sum(records) filter (where state in ('kept', 'replaying')), 0)::bigint,
            count(*) filter (where state = 'discarded')
         from dead_letter where tenant = $1 and run = $2",
    )
    .bind(key.tenant)
    .bind(key.run)
    .fetch_one(db)
    .await?;
    Ok((counted(kept), counted(records), counted(discarded)))
}
