//! The journal's SQL.

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor, Row};
use syncline_connect::target::NewJob;
use syncline_connect::{Column, Operation};
use syncline_domain::{ObjectName, RunId};

/// What is committed before a job exists.
pub struct NewEntry<'a> {
    pub run: &'a RunId,
    pub object: &'a ObjectName,
    pub step: &'a str,
    pub link: i64,
    pub sync: &'a str,
    pub operation: &'a Operation,
    pub columns: &'a [Column],
    pub digests: &'a [u8],
    pub source_keys: &'a [String],
    pub hashes: &'a [u8],
    pub refs: &'a [u8],
}

pub async fn insert(tx: &mut PgConnection, entry: &NewEntry<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "insert into journal (run, object, step, link, operation, columns, digests, source_keys, hashes, refs, sync)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) returning entry",
    )
    .bind(entry.run.as_str())
    .bind(entry.object.as_str())
    .bind(entry.step)
    .bind(entry.link)
    .bind(Json(entry.operation))
    .bind(Json(entry.columns))
    .bind(entry.digests)
    .bind(entry.source_keys)
    .bind(entry.hashes)
    .bind(entry.refs)
    .bind(entry.sync)
    .fetch_one(tx)
    .await
}

/// An entry as stored.
pub struct EntryRow {
    pub entry: i64,
    pub run: String,
    pub sync: String,
    pub object: String,
    pub step: String,
    pub link: i64,
    pub state: String,
    pub operation: Operation,
    pub columns: Vec<Column>,
    pub job: Option<String>,
    /// By the target's clock.
    pub job_created: Option<DateTime<Utc>>,
    pub job_creator: Option<String>,
    pub digests: Vec<u8>,
    pub source_keys: Vec<String>,
    pub hashes: Vec<u8>,
    pub refs: Vec<u8>,
}

pub async fn get(db: impl PgExecutor<'_>, entry: i64) -> Result<Option<EntryRow>, sqlx::Error> {
    let row = sqlx::query(
        "select entry, object, step, link, state, operation, columns, job, digests, source_keys, hashes, refs, run, sync, job_created, job_creator
         from journal where entry = $1",
    )
    .bind(entry)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|r| EntryRow {
        entry: r.get(0),
        object: r.get(1),
        step: r.get(2),
        link: r.get(3),
        state: r.get(4),
        operation: r.get::<Json<Operation>, _>(5).0,
        columns: r.get::<Json<Vec<Column>>, _>(6).0,
        job: r.get(7),
        digests: r.get(8),
        source_keys: r.get(9),
        hashes: r.get(10),
        refs: r.get(11),
        run: r.get(12),
        sync: r.get(13),
        job_created: r.get(14),
        job_creator: r.get(15),
    }))
}

/// Stores the job's id if the entry still waits for one.
pub async fn created(db: impl PgExecutor<'_>, entry: i64, job: &NewJob) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "update journal set job = $2, job_created = $3, job_creator = $4, state = 'created'
         where entry = $1 and state = 'intent' and job is null",
    )
    .bind(entry)
    .bind(&job.id)
    .bind(job.created)
    .bind(&job.creator)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes that the job is about to be closed, if nobody has given it up.
pub async fn closing(db: impl PgExecutor<'_>, entry: i64) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("update journal set state = 'closing' where entry = $1 and state = 'created'")
        .bind(entry)
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives a job up that was not about to be closed; false when it was.
pub async fn abandon(db: impl PgExecutor<'_>, entry: i64) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("update journal set state = 'abandoned' where entry = $1 and state in ('created', 'abandoned')")
        .bind(entry)
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Which of these jobs some entry knows.
pub async fn known_jobs(db: impl PgExecutor<'_>, jobs: &[String]) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("select job from journal where job = any($1)")
        .bind(jobs)
        .fetch_all(db)
        .await
}

/// Closes an entry; false when somebody else has. The rows are not needed any more.
pub async fn settled(tx: &mut PgConnection, entry: i64) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "update journal set state = 'settled', digests = '', source_keys = '{}', hashes = '', refs = '' where entry = $1 and state <> 'settled'",
    )
    .bind(entry)
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Open entries of a run, oldest first.
pub async fn open_of_run(db: impl PgExecutor<'_>, run: &RunId) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar("select entry from journal where run = $1 and state <> 'settled' order by entry")
        .bind(run.as_str())
        .fetch_all(db)
        .await
}

/// Open entries of a link, whatever run made them, oldest first.
pub async fn open_of_link(db: impl PgExecutor<'_>, link: i64) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar("select entry from journal where link = $1 and state <> 'settled' order by entry")
        .bind(link)
        .fetch_all(db)
        .await
}

pub async fn open_count(db: impl PgExecutor<'_>, run: &RunId) -> Result<u32, sqlx::Error> {
    let count: i64 = sqlx::query_scalar("select count(*) from journal where run = $1 and state <> 'settled'")
        .bind(run.as_str())
        .fetch_one(db)
        .await?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Of all runs.
pub async fn open_count_all(db: impl PgExecutor<'_>) -> Result<u32, sqlx::Error> {
    let count: i64 = sqlx::query_scalar("select count(*) from journal where state <> 'settled'")
        .fetch_one(db)
        .await?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Entries `j` that are not settled and may have created records.
const MAY_HAVE_CREATED: &str = "j.state = 'closing' and (j.operation = '\"insert\"'::jsonb or j.operation ? 'upsert')";

/// Rows that another entry may have written, as records of their own.
pub struct Beside {
    pub columns: Vec<Column>,
    pub digests: Vec<u8>,
}

/// What is not settled and may have created records of the same target object, over whatever link, beside one entry.
pub async fn beside(db: impl PgExecutor<'_>, entry: i64) -> Result<Vec<Beside>, sqlx::Error> {
    let sql = format!(
        "select j.columns, j.digests from journal own
         join link at on at.id = own.link
         join link l on l.target_identity = at.target_identity and l.target_object = at.target_object
         join journal j on j.link = l.id and j.entry <> own.entry
         where own.entry = $1 and {MAY_HAVE_CREATED}"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(entry).fetch_all(db).await?;
    let beside = |r: &sqlx::postgres::PgRow| Beside {
        columns: r.get::<Json<Vec<Column>>, _>(0).0,
        digests: r.get(1),
    };
    Ok(rows.iter().map(beside).collect())
}

/// Whether something is not settled that may have created records of the same target object over another link.
pub async fn open_beside(db: impl PgExecutor<'_>, link: i64) -> Result<bool, sqlx::Error> {
    let sql = format!(
        "select exists (select 1 from link own
           join link l on l.target_identity = own.target_identity and l.target_object = own.target_object and l.id <> own.id
           join journal j on j.link = l.id
         where own.id = $1 and {MAY_HAVE_CREATED})"
    );
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(link).fetch_one(db).await
}

/// Entries that hold reservations among these keys and are not settled.
pub async fn holding(db: impl PgExecutor<'_>, link: i64, keys: &[String]) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "select distinct l.entry from ledger l join journal j on j.entry = l.entry
         where l.link = $1 and l.source_key = any($2) and l.target_key is null and j.state <> 'settled'",
    )
    .bind(link)
    .bind(keys)
    .fetch_all(db)
    .await
}
