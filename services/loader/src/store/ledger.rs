//! The ledger's SQL: keys, contents, reservations.
//!
//! Look-ups by key are lateral with `offset 0`: the planner then always descends the whole index for each key. A plain
//! join is planned by statistics that do not exist yet while the first run fills the tables, and turns quadratic. So does
//! `target_key is not null` inside of the lateral: it admits the partial index, which does not know the source key.

use std::collections::{HashMap, HashSet};

use sqlx::{PgConnection, PgExecutor, Row};

/// What the ledger knows of a source key.
pub struct Known {
    pub target_key: Option<String>,
    pub hash: Option<Vec<u8>>,
    pub deferred_hash: Option<Vec<u8>>,
    /// Digest of the references as target keys, as last written.
    pub refs: Option<Vec<u8>>,
    /// This run has written it or found it unchanged.
    pub seen: bool,
    /// `refused` or `parked`, when this run has come to that.
    pub refusal: Option<String>,
}

/// Looks up keys of one link, as one sync sees them.
pub async fn known(
    db: impl PgExecutor<'_>,
    link: i64,
    sync: &str,
    run_number: i64,
    keys: &[String],
) -> Result<HashMap<String, Known>, sqlx::Error> {
    let rows = sqlx::query(
        "select k.key, l.target_key, c.hash, c.deferred_hash, c.refs, coalesce(c.seen = $3, false), r.kind
         from unnest($4::text[]) as k(key)
         left join lateral (select source_key, target_key from ledger where link = $1 and source_key = k.key offset 0) l on true
         left join lateral (select hash, deferred_hash, refs, seen from content
           where link = $1 and sync = $2 and source_key = k.key and l.target_key is not null offset 0) c on true
         left join lateral (select kind from refusal
           where run_number = $3 and link = $1 and source_key = k.key and step = 'load_pass_1' offset 0) r on true
         where l.source_key is not null or r.kind is not null",
    )
    .bind(link)
    .bind(sync)
    .bind(run_number)
    .bind(keys)
    .fetch_all(db)
    .await?;
    let known = |r: &sqlx::postgres::PgRow| Known {
        target_key: r.get(1),
        hash: r.get(2),
        deferred_hash: r.get(3),
        refs: r.get(4),
        seen: r.get(5),
        refusal: r.get(6),
    };
    Ok(rows.iter().map(|r| (r.get(0), known(r))).collect())
}

/// Target keys of source keys over several links (a reference may point to several objects).
pub async fn resolve(db: impl PgExecutor<'_>, links: &[i64], keys: &[String]) -> Result<Vec<(String, String)>, sqlx::Error> {
    let rows = sqlx::query(
        "select k.key, l.target_key from unnest($2::text[]) as k(key)
         cross join lateral (select target_key from ledger where link = any($1) and source_key = k.key offset 0) l
         where l.target_key is not null",
    )
    .bind(links)
    .bind(keys)
    .fetch_all(db)
    .await?;
    Ok(rows.iter().map(|r| (r.get(0), r.get(1))).collect())
}

/// Reserves keys for a journal entry. Answers how many were reserved: fewer than asked means that another entry, which
/// is not settled, holds some. An entry that this statement cannot see yet counts as not settled.
pub async fn reserve(tx: &mut PgConnection, link: i64, run_number: i64, entry: i64, keys: &[String]) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "insert into ledger (link, source_key, entry, run_number) select $1, key, $3, $2 from unnest($4::text[]) as k(key)
         on conflict (link, source_key) do update set entry = excluded.entry, run_number = excluded.run_number
         where ledger.target_key is null
           and exists (select 1 from journal j where j.entry = ledger.entry and j.state = 'settled')",
    )
    .bind(link)
    .bind(run_number)
    .bind(entry)
    .bind(keys)
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Lets go of reservations of an entry that wrote nothing for these keys.
pub async fn unreserve(tx: &mut PgConnection, link: i64, entry: i64, keys: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query("delete from ledger where link = $1 and entry = $2 and target_key is null and source_key = any($3)")
        .bind(link)
        .bind(entry)
        .bind(keys)
        .execute(tx)
        .await?;
    Ok(())
}

/// Rows that were written, as columns.
#[derive(Default)]
pub struct Written {
    pub source_keys: Vec<String>,
    pub target_keys: Vec<String>,
    /// The record is new; otherwise it was updated.
    pub created: Vec<bool>,
    pub hashes: Vec<Vec<u8>>,
    pub sent: Vec<Vec<u8>>,
    pub refs: Vec<Vec<u8>>,
}

impl Written {
    /// Takes rows out by source key.
    pub fn remove(&mut self, doomed: &HashSet<String>) {
        let keep: Vec<bool> = self.source_keys.iter().map(|k| !doomed.contains(k)).collect();
        fn filter<T>(column: &mut Vec<T>, keep: &[bool]) {
            let mut keep = keep.iter();
            column.retain(|_| keep.next().copied().unwrap_or(true));
        }
        filter(&mut self.source_keys, &keep);
        filter(&mut self.target_keys, &keep);
        filter(&mut self.created, &keep);
        filter(&mut self.hashes, &keep);
        filter(&mut self.sent, &keep);
        filter(&mut self.refs, &keep);
    }
}

/// Source keys among these whose target record belongs to another source key: in the ledger, or earlier in the list.
pub async fn owned_by_others(tx: &mut PgConnection, link: i64, written: &Written) -> Result<HashSet<String>, sqlx::Error> {
    let owned: Vec<String> = sqlx::query_scalar(
        "select u.source_key from unnest($2::text[], $3::text[]) as u(source_key, target_key)
         cross join lateral (select source_key from ledger where link = $1 and target_key = u.target_key offset 0) l
         where l.source_key <> u.source_key",
    )
    .bind(link)
    .bind(&written.source_keys)
    .bind(&written.target_keys)
    .fetch_all(tx)
    .await?;
    let mut owned: HashSet<String> = owned.into_iter().collect();
    let mut targets = HashSet::with_capacity(written.target_keys.len());
    for (source, target) in written.source_keys.iter().zip(&written.target_keys) {
        if !owned.contains(source) && !targets.insert(target) {
            owned.insert(source.clone());
        }
    }
    Ok(owned)
}

/// How many of these keys the run has seen before, so that no key counts twice.
pub async fn seen_before(tx: &mut PgConnection, link: i64, sync: &str, run_number: i64, keys: &[String]) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "select count(*) from unnest($4::text[]) as k(key)
         cross join lateral (select 1 from content where link = $1 and sync = $2 and source_key = k.key and seen = $3 offset 0) c",
    )
    .bind(link)
    .bind(sync)
    .bind(run_number)
    .bind(keys)
    .fetch_one(tx)
    .await
}

/// Gives reserved keys their target keys.
pub async fn assign(tx: &mut PgConnection, link: i64, written: &Written) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update ledger l set target_key = u.target_key from unnest($2::text[], $3::text[]) as u(source_key, target_key)
         where l.link = $1 and l.source_key = u.source_key and l.target_key is distinct from u.target_key",
    )
    .bind(link)
    .bind(&written.source_keys)
    .bind(&written.target_keys)
    .execute(tx)
    .await?;
    Ok(())
}

/// What the contents of one object have in common.
pub struct ContentOf<'a> {
    pub link: i64,
    pub sync: &'a str,
    pub run_number: i64,
    pub sent_update: bool,
    /// Digest of deferred references that are all null: what pass 1 leaves behind.
    pub no_deferred_refs: &'a [u8],
}

/// Stores what was written of each row.
pub async fn content_written(tx: &mut PgConnection, of: &ContentOf<'_>, written: &Written) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into content (link, sync, source_key, hash, sent, sent_update, refs, deferred_refs, written, seen)
         select $1, $2, u.source_key, u.hash, u.sent, $4, u.refs, $5, $3, $3
         from unnest($6::text[], $7::bytea[], $8::bytea[], $9::bytea[]) as u(source_key, hash, sent, refs)
         on conflict (link, sync, source_key) do update
           set hash = excluded.hash, sent = excluded.sent, sent_update = excluded.sent_update, refs = excluded.refs,
               written = excluded.written, seen = excluded.seen",
    )
    .bind(of.link)
    .bind(of.sync)
    .bind(of.run_number)
    .bind(of.sent_update)
    .bind(of.no_deferred_refs)
    .bind(&written.source_keys)
    .bind(&written.hashes)
    .bind(&written.sent)
    .bind(&written.refs)
    .execute(tx)
    .await?;
    Ok(())
}

/// Marks unchanged rows as seen in this run; answers how many had not been.
pub async fn content_seen(tx: &mut PgConnection, link: i64, sync: &str, run_number: i64, keys: &[String]) -> Result<u64, sqlx::Error> {
    let done = sqlx::query("update content set seen = $3 where link = $1 and sync = $2 and source_key = any($4) and seen <> $3")
        .bind(link)
        .bind(sync)
        .bind(run_number)
        .bind(keys)
        .execute(tx)
        .await?;
    Ok(done.rows_affected())
}

/// What pass 3 expects of a target record.
pub struct Expected {
    pub source_key: String,
    pub refs: Vec<u8>,
    pub deferred_refs: Vec<u8>,
}

/// Expectations by target key, of records that this run saw.
pub async fn expected(
    db: impl PgExecutor<'_>,
    link: i64,
    sync: &str,
    run_number: i64,
    target_keys: &[String],
) -> Result<HashMap<String, Expected>, sqlx::Error> {
    let rows = sqlx::query(
        "select k.key, l.source_key, c.refs, c.deferred_refs from unnest($4::text[]) as k(key)
         cross join lateral (select source_key from ledger where link = $1 and target_key = k.key offset 0) l
         cross join lateral (select refs, deferred_refs from content
           where link = $1 and sync = $2 and source_key = l.source_key and seen = $3 offset 0) c",
    )
    .bind(link)
    .bind(sync)
    .bind(run_number)
    .bind(target_keys)
    .fetch_all(db)
    .await?;
    let expected = |r: &sqlx::postgres::PgRow| Expected {
        source_key: r.get(1),
        refs: r.get(2),
        deferred_refs: r.get(3),
    };
    Ok(rows.iter().map(|r| (r.get(0), expected(r))).collect())
}

/// How many records of the link this run saw and the target should have.
pub async fn seen_count(db: impl PgExecutor<'_>, link: i64, sync: &str, run_number: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select count(*) from content where link = $1 and sync = $2 and seen = $3")
        .bind(link)
        .bind(sync)
        .bind(run_number)
        .fetch_one(db)
        .await
}

/// Keys of this sync that the run did not see, with their target keys.
pub async fn orphans(
    db: impl PgExecutor<'_>,
    link: i64,
    sync: &str,
    run_number: i64,
    limit: i64,
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let rows = sqlx::query(
        "select c.source_key, l.target_key from content c
         cross join lateral (select target_key from ledger where link = $1 and source_key = c.source_key offset 0) l
         where l.target_key is not null and c.link = $1 and c.sync = $2 and c.seen <> $3
           and not exists (select 1 from refusal r where r.run_number = $3 and r.link = $1 and r.source_key = c.source_key)
         order by c.source_key limit $4",
    )
    .bind(link)
    .bind(sync)
    .bind(run_number)
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(rows.iter().map(|r| (r.get(0), r.get(1))).collect())
}

/// Forgets keys whose target records are deleted.
pub async fn forget(tx: &mut PgConnection, link: i64, keys: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query("delete from content where link = $1 and source_key = any($2)")
        .bind(link)
        .bind(keys)
        .execute(&mut *tx)
        .await?;
    sqlx::query("delete from ledger where link = $1 and source_key = any($2)")
        .bind(link)
        .bind(keys)
        .execute(tx)
        .await?;
    Ok(())
}

/// Forgets a whole link, once the target's object is empty.
pub async fn forget_link(tx: &mut PgConnection, link: i64) -> Result<(), sqlx::Error> {
    sqlx::query("delete from content where link = $1")
        .bind(link)
        .execute(&mut *tx)
        .await?;
    sqlx::query("delete from ledger where link = $1").bind(link).execute(tx).await?;
    Ok(())
}
