//! The books of an object in a run.

use sqlx::{PgConnection, PgExecutor, Row};
use syncline_domain::{ObjectName, RunId};

/// What is added, or stands there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObjectCount {
    pub inserted: i64,
    pub updated: i64,
    pub unchanged: i64,
    pub deleted: i64,
    pub references_resolved: i64,
    pub references_deferred: i64,
    pub references_nulled: i64,
    pub jobs: i64,
    pub api_calls: i64,
}

pub async fn add(tx: &mut PgConnection, run: &RunId, object: &ObjectName, count: &ObjectCount) -> Result<(), sqlx::Error> {
    if *count == ObjectCount::default() {
        return Ok(());
    }
    sqlx::query(
        "insert into object_count as o
           (run, object, inserted, updated, unchanged, deleted, references_resolved, references_deferred, references_nulled, jobs, api_calls)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         on conflict (run, object) do update set inserted = o.inserted + excluded.inserted, updated = o.updated + excluded.updated,
           unchanged = o.unchanged + excluded.unchanged, deleted = o.deleted + excluded.deleted,
           references_resolved = o.references_resolved + excluded.references_resolved,
           references_deferred = o.references_deferred + excluded.references_deferred,
           references_nulled = o.references_nulled + excluded.references_nulled,
           jobs = o.jobs + excluded.jobs, api_calls = o.api_calls + excluded.api_calls",
    )
    .bind(run.as_str())
    .bind(object.as_str())
    .bind(count.inserted)
    .bind(count.updated)
    .bind(count.unchanged)
    .bind(count.deleted)
    .bind(count.references_resolved)
    .bind(count.references_deferred)
    .bind(count.references_nulled)
    .bind(count.jobs)
    .bind(count.api_calls)
    .execute(tx)
    .await?;
    Ok(())
}

pub async fn get(db: impl PgExecutor<'_>, run: &RunId, object: &ObjectName) -> Result<ObjectCount, sqlx::Error> {
    let row = sqlx::query(
        "select inserted, updated, unchanged, deleted, references_resolved, references_deferred, references_nulled, jobs, api_calls
         from object_count where run = $1 and object = $2",
    )
    .bind(run.as_str())
    .bind(object.as_str())
    .fetch_optional(db)
    .await?;
    Ok(row.map_or_else(ObjectCount::default, |r| ObjectCount {
        inserted: r.get(0),
        updated: r.get(1),
        unchanged: r.get(2),
        deleted: r.get(3),
        references_resolved: r.get(4),
        references_deferred: r.get(5),
        references_nulled: r.get(6),
        jobs: r.get(7),
        api_calls: r.get(8),
    }))
}
