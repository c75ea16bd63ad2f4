//! The extractor's SQL.

use std::collections::BTreeMap;

use sqlx::{PgConnection, PgExecutor, Row};
use syncline_domain::{ObjectName, RunId};

/// Until there is need an object is one partition; the column is here already.
pub const PARTITION: i32 = 0;

/// The newest reading of an object.
pub struct GenerationRow {
    pub generation: i32,
    pub handle: String,
    pub state: String,
    pub cursor: Option<String>,
    pub api_calls: i64,
}

pub async fn generation_newest(db: impl PgExecutor<'_>, run: &RunId, object: &ObjectName) -> Result<Option<GenerationRow>, sqlx::Error> {
    let row = sqlx::query(
        "select generation, handle, state, cursor, api_calls from generation
         where run = $1 and object = $2 and partition = $3 order by generation desc limit 1",
    )
    .bind(run.as_str())
    .bind(object.as_str())
    .bind(PARTITION)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|r| GenerationRow {
        generation: r.get(0),
        handle: r.get(1),
        state: r.get(2),
        cursor: r.get(3),
        api_calls: r.get(4),
    }))
}

pub async fn generation_insert(
    tx: &mut PgConnection,
    run: &RunId,
    object: &ObjectName,
    generation: i32,
    handle: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("insert into generation (run, object, partition, generation, handle) values ($1, $2, $3, $4, $5)")
        .bind(run.as_str())
        .bind(object.as_str())
        .bind(PARTITION)
        .bind(generation)
        .bind(handle)
        .execute(tx)
        .await?;
    Ok(())
}

pub async fn generation_state(
    tx: &mut PgConnection,
    run: &RunId,
    object: &ObjectName,
    generation: i32,
    state: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("update generation set state = $5 where run = $1 and object = $2 and partition = $3 and generation = $4")
        .bind(run.as_str())
        .bind(object.as_str())
        .bind(PARTITION)
        .bind(generation)
        .bind(state)
        .execute(tx)
        .await?;
    Ok(())
}

/// A finished reading whose batches are lost: the newest one is not read on. One that is still open goes on.
pub async fn generation_give_up(tx: &mut PgConnection, run: &RunId, object: &ObjectName) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update generation set state = 'lost' where run = $1 and object = $2 and partition = $3 and state = 'done'
           and generation = (select max(generation) from generation where run = $1 and object = $2 and partition = $3)",
    )
    .bind(run.as_str())
    .bind(object.as_str())
    .bind(PARTITION)
    .execute(tx)
    .await?;
    Ok(())
}

/// Moves the place where a crash would begin again, and adds up the calls that were made.
pub async fn generation_advance(
    tx: &mut PgConnection,
    run: &RunId,
    object: &ObjectName,
    generation: i32,
    cursor: Option<&str>,
    expected: i64,
    api_calls: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update generation set cursor = $5, records_expected = $6, api_calls = $7
         where run = $1 and object = $2 and partition = $3 and generation = $4",
    )
    .bind(run.as_str())
    .bind(object.as_str())
    .bind(PARTITION)
    .bind(generation)
    .bind(cursor)
    .bind(expected)
    .bind(api_calls)
    .execute(tx)
    .await?;
    Ok(())
}

/// A recorded batch of the page that is being read.
pub struct BatchRow {
    pub seq: i32,
    pub digest: Vec<u8>,
    pub published: bool,
}

/// Recorded batches of a page by their place in it.
pub async fn batch_page(
    db: impl PgExecutor<'_>,
    run: &RunId,
    object: &ObjectName,
    generation: i32,
    cursor: Option<&str>,
) -> Result<BTreeMap<i32, BatchRow>, sqlx::Error> {
    let rows = sqlx::query(
        "select place, seq, digest, published from batch
         where run = $1 and object = $2 and partition = $3 and generation = $4 and cursor is not distinct from $5 and place >= 0",
    )
    .bind(run.as_str())
    .bind(object.as_str())
    .bind(PARTITION)
    .bind(generation)
    .bind(cursor)
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| {
            (
                r.get(0),
                BatchRow {
                    seq: r.get(1),
                    digest: r.get(2),
                    published: r.get(3),
                },
            )
        })
        .collect())
}

/// Totals of a generation: batches, records, bytes.
pub async fn batch_totals(
    db: impl PgExecutor<'_>,
    run: &RunId,
    object: &ObjectName,
    generation: i32,
) -> Result<(i64, i64, i64), sqlx::Error> {
    let row = sqlx::query(
        "select count(*), coalesce(sum(records), 0)::bigint, coalesce(sum(bytes), 0)::bigint from batch
         where run = $1 and object = $2 and partition = $3 and generation = $4 and place >= 0",
    )
    .bind(run.as_str())
    .bind(object.as_str())
    .bind(PARTITION)
    .bind(generation)
    .fetch_one(db)
    .await?;
    Ok((row.get(0), row.get(1), row.get(2)))
}

/// A batch about to be published.
pub struct NewBatch<'a> {
    pub seq: i32,
    pub cursor: Option<&'a str>,
    pub place: i32,
    pub records: i32,
    pub bytes: i32,
    pub digest: &'a [u8],
}

pub async fn batch_record(
    tx: &mut PgConnection,
    run: &RunId,
    object: &ObjectName,
    generation: i32,
    batch: &NewBatch<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into batch (run, object, partition, generation, seq, cursor, place, records, bytes, digest)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing",
    )
    .bind(run.as_str())
    .bind(object.as_str())
    .bind(PARTITION)
    .bind(generation)
    .bind(batch.seq)
    .bind(batch.cursor)
    .bind(batch.place)
    .bind(batch.records)
    .bind(batch.bytes)
    .bind(batch.digest)
    .execute(tx)
    .await?;
    Ok(())
}

pub async fn batch_published(
    db: impl PgExecutor<'_>,
    run: &RunId,
    object: &ObjectName,
    generation: i32,
    seq: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query("update batch set published = true where run = $1 and object = $2 and partition = $3 and generation = $4 and seq = $5")
        .bind(run.as_str())
        .bind(object.as_str())
        .bind(PARTITION)
        .bind(generation)
        .bind(seq)
        .execute(db)
        .await?;
    Ok(())
}
