//! The SQL of presence and gaps.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor, PgPool};

/// A span of which this database knows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub began: DateTime<Utc>,
    pub ended: DateTime<Utc>,
}

/// Notes that somebody is at work; where nobody was for longer than `gap_ms`, there is a gap. Gaps older than `days` are forgotten.
pub async fn present(db: &PgPool, gap_ms: f64, days: f64) -> Result<(), sqlx::Error> {
    let mut tx = db.begin().await?;
    // Whoever comes second waits here, and finds what the first one stored.
    let seen: Option<DateTime<Utc>> = sqlx::query_scalar("select seen_at from presence for update")
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(seen) = seen {
        sqlx::query(
            "insert into gap (began, ended) select $1, clock_timestamp() where clock_timestamp() - $1 > $2 * interval '1 millisecond'
             on conflict (began) do update set ended = excluded.ended",
        )
        .bind(seen)
        .bind(gap_ms)
        .execute(&mut *tx)
        .await?;
        sqlx::query("delete from gap where ended < clock_timestamp() - $1 * interval '1 day'")
            .bind(days)
            .execute(&mut *tx)
            .await?;
    }
    sqlx::query("insert into presence (seen_at) values (clock_timestamp()) on conflict (one) do update set seen_at = clock_timestamp()")
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

/// Gaps since the link was last looked at, and what the clock says.
pub async fn of_link(db: &PgPool, link: i64) -> Result<(Vec<Gap>, DateTime<Utc>), sqlx::Error> {
    let gaps: Vec<(DateTime<Utc>, DateTime<Utc>)> = sqlx::query_as(
        "select g.began, g.ended from gap g join link l on l.id = $1
         where l.reconciled_at is null or g.ended > l.reconciled_at order by g.began",
    )
    .bind(link)
    .fetch_all(db)
    .await?;
    let now = sqlx::query_scalar("select clock_timestamp()").fetch_one(db).await?;
    Ok((gaps.into_iter().map(|(began, ended)| Gap { began, ended }).collect(), now))
}

/// As of `at`, all that the target holds of ours over this link is known.
pub async fn reconciled(db: impl PgExecutor<'_>, link: i64, at: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query("update link set reconciled_at = greatest(reconciled_at, $2) where id = $1")
        .bind(link)
        .bind(at)
        .execute(db)
        .await?;
    Ok(())
}

/// The target's object is empty: nothing is unknown, over whatever link.
pub async fn emptied(tx: &mut PgConnection, link: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update link l set reconciled_at = clock_timestamp() from link own
         where own.id = $1 and l.target_identity = own.target_identity and l.target_object = own.target_object",
    )
    .bind(link)
    .execute(tx)
    .await?;
    Ok(())
}
