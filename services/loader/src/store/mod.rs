//! The loader's SQL, by what it is about.

pub mod batches;
pub mod counts;
pub mod gaps;
pub mod journal;
pub mod kept;
pub mod ledger;
pub mod outcomes;

use sqlx::{PgExecutor, PgPool, Row};
use syncline_domain::RunId;

/// The number of a run; made on first use.
pub async fn run_number(db: &PgPool, run: &RunId) -> Result<i64, sqlx::Error> {
    sqlx::query("insert into run_number (run) values ($1) on conflict do nothing")
        .bind(run.as_str())
        .execute(db)
        .await?;
    sqlx::query_scalar("select number from run_number where run = $1")
        .bind(run.as_str())
        .fetch_one(db)
        .await
}

/// Identifies a link.
pub struct LinkKey<'a> {
    pub tenant: &'a str,
    pub source_identity: &'a str,
    pub source_object: &'a str,
    pub target_identity: &'a str,
    pub target_object: &'a str,
}

/// The id of a link; made on first use.
pub async fn link_id(db: &PgPool, key: &LinkKey<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query(
        "insert into link (tenant, source_identity, source_object, target_identity, target_object) values ($1, $2, $3, $4, $5) on conflict do nothing",
    )
    .bind(key.tenant)
    .bind(key.source_identity)
    .bind(key.source_object)
    .bind(key.target_identity)
    .bind(key.target_object)
    .execute(db)
    .await?;
    let row = link_find(db, key).await?;
    row.ok_or(sqlx::Error::RowNotFound)
}

async fn link_find(db: impl PgExecutor<'_>, key: &LinkKey<'_>) -> Result<Option<i64>, sqlx::Error> {
    let row = sqlx::query(
        "select id from link where tenant = $1 and source_identity = $2 and source_object = $3 and target_identity = $4 and target_object = $5",
    )
    .bind(key.tenant)
    .bind(key.source_identity)
    .bind(key.source_object)
    .bind(key.target_identity)
    .bind(key.target_object)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|r| r.get(0)))
}
