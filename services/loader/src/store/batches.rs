//! Claims on batches and the ends of partitions.

use sqlx::{PgConnection, PgExecutor, Row};
use syncline_domain::{BatchName, ObjectName, RunId};

fn number(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

pub struct ClaimRow {
    pub done: bool,
    pub attempts: i32,
    pub entries: Vec<i64>,
}

/// Counts a delivery and answers what is known of the batch.
pub async fn claim_attempt(db: impl PgExecutor<'_>, name: &BatchName) -> Result<ClaimRow, sqlx::Error> {
    let row = sqlx::query(
        "insert into claim (run, object, partition, generation, seq, part, parts, attempts) values ($1, $2, $3, $4, $5, $6, $7, 1)
         on conflict (run, object, partition, generation, seq, part) do update set attempts = claim.attempts + 1, parts = excluded.parts
         returning state = 'done', attempts, entries",
    )
    .bind(name.run.as_str())
    .bind(name.object.as_str())
    .bind(number(name.partition))
    .bind(number(name.generation))
    .bind(number(name.seq))
    .bind(i32::from(name.part))
    .bind(i32::from(name.parts))
    .fetch_one(db)
    .await?;
    Ok(ClaimRow {
        done: row.get(0),
        attempts: row.get(1),
        entries: row.get(2),
    })
}

/// Expects a batch anew in a round of its run, for its letter is replayed: until it has come, the reading is not complete.
/// Whole: a raw batch, of which as many clean parts may come as the masker makes; otherwise that very part. Once, however
/// often it is asked for.
pub async fn claim_reopen(tx: &mut PgConnection, name: &BatchName, round: u32, whole: bool) -> Result<(), sqlx::Error> {
    sqlx::query(
        "delete from claim where run = $1 and object = $2 and partition = $3 and generation = $4 and seq = $5
           and ($8 or part = $6) and round < $7",
    )
    .bind(name.run.as_str())
    .bind(name.object.as_str())
    .bind(number(name.partition))
    .bind(number(name.generation))
    .bind(number(name.seq))
    .bind(i32::from(name.part))
    .bind(number(round))
    .bind(whole)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "insert into claim (run, object, partition, generation, seq, part, parts, round) values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict do nothing",
    )
    .bind(name.run.as_str())
    .bind(name.object.as_str())
    .bind(number(name.partition))
    .bind(number(name.generation))
    .bind(number(name.seq))
    .bind(i32::from(name.part))
    .bind(i32::from(name.parts))
    .bind(number(round))
    .execute(tx)
    .await?;
    Ok(())
}

/// Points a batch to the journal entries that hold its rows.
pub async fn claim_entries(tx: &mut PgConnection, name: &BatchName, entries: &[i64]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update claim set entries = $7 where run = $1 and object = $2 and partition = $3 and generation = $4 and seq = $5 and part = $6",
    )
    .bind(name.run.as_str())
    .bind(name.object.as_str())
    .bind(number(name.partition))
    .bind(number(name.generation))
    .bind(number(name.seq))
    .bind(i32::from(name.part))
    .bind(entries)
    .execute(tx)
    .await?;
    Ok(())
}

/// Every row of the batch has an outcome.
pub async fn claim_done(tx: &mut PgConnection, name: &BatchName, dead: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update claim set state = 'done', dead = $7
         where run = $1 and object = $2 and partition = $3 and generation = $4 and seq = $5 and part = $6",
    )
    .bind(name.run.as_str())
    .bind(name.object.as_str())
    .bind(number(name.partition))
    .bind(number(name.generation))
    .bind(number(name.seq))
    .bind(i32::from(name.part))
    .bind(dead)
    .execute(tx)
    .await?;
    Ok(())
}

pub async fn end_record(tx: &mut PgConnection, name: &BatchName, batches: u32, records: u64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into partition_end (run, object, partition, generation, batches, records) values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
    )
    .bind(name.run.as_str())
    .bind(name.object.as_str())
    .bind(number(name.partition))
    .bind(number(name.generation))
    .bind(number(batches))
    .bind(i64::try_from(records).unwrap_or(i64::MAX))
    .execute(tx)
    .await?;
    Ok(())
}

/// What was read in a generation that is complete: records, and those given up on the way.
pub struct Reading {
    pub records: i64,
    pub dead: i64,
}

/// The complete reading of an object, if some generation has ended and all its batches are done.
pub async fn complete_reading(db: impl PgExecutor<'_>, run: &RunId, object: &ObjectName) -> Result<Option<Reading>, sqlx::Error> {
    let row = sqlx::query(
        "select e.records, d.dead from partition_end e,
           lateral (select count(*) as batches, coalesce(sum(whole.dead), 0)::bigint as dead from (
              select seq, sum(dead) as dead from claim c
              where c.run = e.run and c.object = e.object and c.partition = e.partition and c.generation = e.generation
                and c.seq < e.batches and c.state = 'done'
              group by seq, parts having count(*) = parts) whole) d
         where e.run = $1 and e.object = $2 and d.batches >= e.batches
         order by e.generation desc limit 1",
    )
    .bind(run.as_str())
    .bind(object.as_str())
    .fetch_optional(db)
    .await?;
    Ok(row.map(|r| Reading {
        records: r.get(0),
        dead: r.get(1),
    }))
}

/// Objects of a run of which some generation is complete.
pub async fn received(db: impl PgExecutor<'_>, run: &RunId) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select distinct e.object from partition_end e where e.run = $1 and e.batches <= (
           select count(*) from (select 1 from claim c
              where c.run = e.run and c.object = e.object and c.partition = e.partition and c.generation = e.generation
                and c.seq < e.batches and c.state = 'done'
              group by seq, parts having count(*) = parts) whole)",
    )
    .bind(run.as_str())
    .fetch_all(db)
    .await
}
