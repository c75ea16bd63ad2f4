//! Records that are kept, sealed, to be loaded again: which stand, which are chosen, which are resolved.

use sqlx::{PgConnection, PgExecutor, PgPool, Row};

/// Records of one object and cause that stand refused or parked.
pub struct Standing {
    pub object: String,
    pub kind: String,
    pub code: String,
    pub native: String,
    pub fields: String,
    pub count: i64,
    /// How many can be loaded again.
    pub kept: i64,
    pub chosen: i64,
}

/// Whether a refusal's record is there to be loaded again: sealed, or as a row of pass 2.
const KEPT: &str = "(r.sealed is not null or r.step = 'load_pass_2' and exists (
    select from deferred d where d.run_number = r.run_number and d.link = r.link and d.source_key = r.source_key))";

/// What stands in a run. A run that the loader never saw has nothing.
pub async fn standing(db: impl PgExecutor<'_>, run: &str) -> Result<Vec<Standing>, sqlx::Error> {
    let sql = format!(
        "select l.source_object, r.kind, r.code, r.native, r.fields, count(*), count(*) filter (where {KEPT}),
           count(*) filter (where r.state = 'chosen')
         from refusal r join run_number n on n.number = r.run_number join link l on l.id = r.link
         where n.run = $1 and r.kind in ('refused', 'parked') and r.state <> 'resolved'
         group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(run).fetch_all(db).await?;
    let standing = |r: &sqlx::postgres::PgRow| Standing {
        object: r.get(0),
        kind: r.get(1),
        code: r.get(2),
        native: r.get(3),
        fields: r.get(4),
        count: r.get(5),
        kept: r.get(6),
        chosen: r.get(7),
    };
    Ok(rows.iter().map(standing).collect())
}

/// Chooses refused records of a run instead of any that were chosen before. Empty texts are any object, any code.
pub async fn choose(db: &PgPool, run: &str, object: &str, code: &str) -> Result<(), sqlx::Error> {
    let mut tx = db.begin().await?;
    let passes = "update deferred d set refused = $2 from refusal r join run_number n on n.number = r.run_number
        where n.run = $1 and r.step = 'load_pass_2' and r.state = 'chosen'
          and d.run_number = r.run_number and d.link = r.link and d.source_key = r.source_key";
    sqlx::query(passes).bind(run).bind(true).execute(&mut *tx).await?;
    sqlx::query(
        "update refusal r set state = 'open' from run_number n where n.run = $1 and r.run_number = n.number and r.state = 'chosen'",
    )
    .bind(run)
    .execute(&mut *tx)
    .await?;
    let sql = format!(
        "update refusal r set state = 'chosen' from run_number n, link l
         where n.run = $1 and r.run_number = n.number and l.id = r.link and r.kind = 'refused' and r.state = 'open'
           and ($2 = '' or l.source_object = $2) and ($3 = '' or r.code = $3) and {KEPT}"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(run)
        .bind(object)
        .bind(code)
        .execute(&mut *tx)
        .await?;
    sqlx::query(passes).bind(run).bind(false).execute(&mut *tx).await?;
    tx.commit().await
}

/// Chooses parked records whose missing parent has come; answers how many. Of those that an earlier release parked the
/// parent is not known: they are looked at again.
pub async fn wake(tx: &mut PgConnection, run_number: i64, link: i64, links: &[i64]) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "update refusal r set state = 'chosen'
         where r.run_number = $1 and r.link = $2 and r.kind = 'parked' and r.state = 'open' and r.step = 'load_pass_1' and r.sealed is not null
           and (r.missing is null or exists (
             select from ledger l where l.link = any($3) and l.source_key = r.missing and l.target_key is not null))",
    )
    .bind(run_number)
    .bind(link)
    .bind(links)
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// The next chosen records of pass 1 behind a key, sealed: at most so many, and so many bytes unless one alone is larger.
pub async fn chosen_next(
    db: impl PgExecutor<'_>,
    run_number: i64,
    link: i64,
    after: &str,
    rows_max: i64,
    bytes_max: i64,
) -> Result<Vec<(String, Vec<u8>)>, sqlx::Error> {
    sqlx::query_as(
        "select source_key, sealed from (
           select source_key, sealed, row_number() over w as n, sum(octet_length(sealed)) over w as bytes from (
             select source_key, sealed from refusal
             where run_number = $1 and link = $2 and state = 'chosen' and step = 'load_pass_1' and sealed is not null
               and source_key > $3
             order by source_key limit $4) page
           window w as (order by source_key)) summed
         where n = 1 or bytes <= $5 order by source_key",
    )
    .bind(run_number)
    .bind(link)
    .bind(after)
    .bind(rows_max)
    .bind(bytes_max)
    .fetch_all(db)
    .await
}

/// Marks chosen records among these as resolved; answers how many.
pub async fn resolve(tx: &mut PgConnection, run_number: i64, link: i64, step: &str, keys: &[String]) -> Result<u64, sqlx::Error> {
    // Nearly always nothing is chosen, and then nothing has to be looked up.
    let any: bool = sqlx::query_scalar("select exists (select from refusal where run_number = $1 and link = $2 and state = 'chosen')")
        .bind(run_number)
        .bind(link)
        .fetch_one(&mut *tx)
        .await?;
    if !any || keys.is_empty() {
        return Ok(0);
    }
    let done = sqlx::query(
        "update refusal set state = 'resolved'
         where run_number = $1 and link = $2 and step = $3 and source_key = any($4) and state = 'chosen'",
    )
    .bind(run_number)
    .bind(link)
    .bind(step)
    .bind(keys)
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}
