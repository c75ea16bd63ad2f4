//! The masker's SQL.

use sqlx::{PgConnection, PgExecutor, Row};
use syncline_domain::{BatchName, ObjectName, RunId};

use crate::masking::FieldCount;

fn number(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// Counts an attempt; answers how many there have been and whether the batch is done.
pub async fn batch_attempt(db: impl PgExecutor<'_>, name: &BatchName) -> Result<(i32, bool), sqlx::Error> {
    let row = sqlx::query(
        "insert into batch (run, object, partition, generation, seq, attempts) values ($1, $2, $3, $4, $5, 1)
         on conflict (run, object, partition, generation, seq) do update set attempts = batch.attempts + 1
         returning attempts, done",
    )
    .bind(name.run.as_str())
    .bind(name.object.as_str())
    .bind(number(name.partition))
    .bind(number(name.generation))
    .bind(number(name.seq))
    .fetch_one(db)
    .await?;
    Ok((row.get(0), row.get(1)))
}

/// Lets a batch that was given up be worked on anew in a round of its run; once, however often it is asked for.
pub async fn batch_reopen(tx: &mut PgConnection, name: &BatchName, round: u32) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update batch set done = false, attempts = 0, round = $6
         where run = $1 and object = $2 and partition = $3 and generation = $4 and seq = $5 and round < $6",
    )
    .bind(name.run.as_str())
    .bind(name.object.as_str())
    .bind(number(name.partition))
    .bind(number(name.generation))
    .bind(number(name.seq))
    .bind(number(round))
    .execute(tx)
    .await?;
    Ok(())
}

/// How many records a batch was booked with; 0 when it never was.
pub async fn batch_records(db: impl PgExecutor<'_>, name: &BatchName) -> Result<i64, sqlx::Error> {
    let found: Option<i64> =
        sqlx::query_scalar("select records from batch where run = $1 and object = $2 and partition = $3 and generation = $4 and seq = $5")
            .bind(name.run.as_str())
            .bind(name.object.as_str())
            .bind(number(name.partition))
            .bind(number(name.generation))
            .bind(number(name.seq))
            .fetch_optional(db)
            .await?;
    Ok(found.unwrap_or(0))
}

/// Takes an attempt back that ended for a reason outside the batch. One that killed the process stays counted.
pub async fn batch_attempt_undo(db: impl PgExecutor<'_>, name: &BatchName) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update batch set attempts = attempts - 1
         where run = $1 and object = $2 and partition = $3 and generation = $4 and seq = $5 and attempts > 0 and not done",
    )
    .bind(name.run.as_str())
    .bind(name.object.as_str())
    .bind(number(name.partition))
    .bind(number(name.generation))
    .bind(number(name.seq))
    .execute(db)
    .await?;
    Ok(())
}

/// Marks a batch as done; false when it was already.
pub async fn batch_done(tx: &mut PgConnection, name: &BatchName, records: i64, bytes: i64) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "update batch set done = true, records = $6, bytes = $7
         where run = $1 and object = $2 and partition = $3 and generation = $4 and seq = $5 and not done",
    )
    .bind(name.run.as_str())
    .bind(name.object.as_str())
    .bind(number(name.partition))
    .bind(number(name.generation))
    .bind(number(name.seq))
    .bind(records)
    .bind(bytes)
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
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

/// Ends of a run's partitions all of whose batches are done.
const COMPLETE: &str = "from partition_end e where e.run = $1 and e.batches <=
    (select count(*) from batch b where b.run = e.run and b.object = e.object and b.partition = e.partition
       and b.generation = e.generation and b.seq < e.batches and b.done)";

/// Objects of a run of which some generation has ended and all its batches are done.
pub async fn received(db: impl PgExecutor<'_>, run: &RunId) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select distinct e.object {COMPLETE}")))
        .bind(run.as_str())
        .fetch_all(db)
        .await
}

/// Whether the object is among them.
pub async fn is_complete(db: impl PgExecutor<'_>, run: &RunId, object: &ObjectName) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
        "select exists (select 1 {COMPLETE} and e.object = $2)"
    )))
    .bind(run.as_str())
    .bind(object.as_str())
    .fetch_one(db)
    .await
}

/// What came of the ends seen so far is lost: only another generation's end counts.
pub async fn ends_forget(tx: &mut PgConnection, run: &RunId, object: &ObjectName) -> Result<(), sqlx::Error> {
    sqlx::query("delete from partition_end where run = $1 and object = $2")
        .bind(run.as_str())
        .bind(object.as_str())
        .execute(tx)
        .await?;
    Ok(())
}

/// Adds a batch's counts to those of its generation. A newer generation reads the same records again, so its counts take
/// the place of an older one's; what an older one still brings is not counted.
pub async fn counts_add(tx: &mut PgConnection, name: &BatchName, counts: &[FieldCount]) -> Result<(), sqlx::Error> {
    let fields: Vec<&str> = counts.iter().map(|c| c.field.as_str()).collect();
    let strategies: Vec<&str> = counts.iter().map(|c| c.strategy.as_str()).collect();
    let masked: Vec<i64> = counts.iter().map(|c| c.masked).collect();
    let empty: Vec<i64> = counts.iter().map(|c| c.empty).collect();
    let unchanged: Vec<i64> = counts.iter().map(|c| c.unchanged).collect();
    sqlx::query(
        "insert into field_count as old (run, object, generation, field, strategy, masked, empty, unchanged)
         select $1, $2, $8, * from unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[])
         on conflict (run, object, field) do update set generation = excluded.generation,
           masked = excluded.masked + case when old.generation = excluded.generation then old.masked else 0 end,
           empty = excluded.empty + case when old.generation = excluded.generation then old.empty else 0 end,
           unchanged = excluded.unchanged + case when old.generation = excluded.generation then old.unchanged else 0 end
         where old.generation <= excluded.generation",
    )
    .bind(name.run.as_str())
    .bind(name.object.as_str())
    .bind(&fields)
    .bind(&strategies)
    .bind(&masked)
    .bind(&empty)
    .bind(&unchanged)
    .bind(number(name.generation))
    .execute(tx)
    .await?;
    Ok(())
}

pub async fn counts_get(db: impl PgExecutor<'_>, run: &RunId, object: &ObjectName) -> Result<Vec<FieldCount>, sqlx::Error> {
    let rows =
        sqlx::query("select field, strategy, masked, empty, unchanged from field_count where run = $1 and object = $2 order by field")
            .bind(run.as_str())
            .bind(object.as_str())
            .fetch_all(db)
            .await?;
    let row = |r: sqlx::postgres::PgRow| FieldCount {
        field: r.get(0),
        strategy: r.get(1),
        masked: r.get(2),
        empty: r.get(3),
        unchanged: r.get(4),
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Done so far of the newest generation: batches, records, bytes.
pub async fn totals(db: impl PgExecutor<'_>, run: &RunId, object: &ObjectName) -> Result<(i64, i64, i64), sqlx::Error> {
    let row = sqlx::query(
        "select count(*), coalesce(sum(records), 0)::bigint, coalesce(sum(bytes), 0)::bigint from batch
         where run = $1 and object = $2 and done
           and generation = (select max(generation) from batch where run = $1 and object = $2)",
    )
    .bind(run.as_str())
    .bind(object.as_str())
    .fetch_one(db)
    .await?;
    Ok((row.get(0), row.get(1), row.get(2)))
}
