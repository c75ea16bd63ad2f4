//! Refusals, deferred references and the verification sample.

use std::collections::BTreeMap;

use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor, Row};
use syncline_connect::target::Refusal;

use crate::store::ledger::{Written, span};

/// Rows that were refused, as columns.
#[derive(Default)]
pub struct Refused {
    pub source_keys: Vec<String>,
    pub codes: Vec<String>,
    pub natives: Vec<String>,
    pub fields: Vec<String>,
    /// The key of the parent that is missing; empty where none is.
    pub missing: Vec<String>,
}

impl Refused {
    pub fn push(&mut self, key: String, refusal: &Refusal) {
        self.push_waiting(key, refusal, String::new());
    }

    /// A record that waits for a parent.
    pub fn push_waiting(&mut self, key: String, refusal: &Refusal, missing: String) {
        self.source_keys.push(key);
        self.codes.push(refusal.code.to_string());
        self.natives.push(refusal.native.clone());
        self.fields.push(refusal.fields.join(","));
        self.missing.push(missing);
    }
}

impl Refused {
    /// How many rows each code has.
    pub fn by_code(&self) -> std::collections::BTreeMap<String, u64> {
        let mut counts = std::collections::BTreeMap::new();
        for code in &self.codes {
            *counts.entry(code.clone()).or_default() += 1;
        }
        counts
    }
}

/// Books records as refused, parked or different. One that was chosen to be loaded again stands again, with its new cause.
pub async fn refused(tx: &mut PgConnection, run_number: i64, link: i64, step: &str, kind: &str, rows: &Refused) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into refusal (run_number, link, source_key, step, kind, code, native, fields, missing)
         select $1, $2, u.key, $3, $4, u.code, u.native, u.fields, nullif(u.missing, '')
         from unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[]) as u(key, code, native, fields, missing)
         on conflict (run_number, link, source_key, step) do update
           set kind = excluded.kind, code = excluded.code, native = excluded.native, fields = excluded.fields,
               missing = excluded.missing, state = 'open'
           where refusal.state <> 'open'",
    )
    .bind(run_number)
    .bind(link)
    .bind(step)
    .bind(kind)
    .bind(&rows.source_keys)
    .bind(&rows.codes)
    .bind(&rows.natives)
    .bind(&rows.fields)
    .bind(&rows.missing)
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets the differences that a step found before: it looks at everything again.
pub async fn mismatches_forget(tx: &mut PgConnection, run_number: i64, link: i64, step: &str) -> Result<(), sqlx::Error> {
    sqlx::query("delete from refusal where run_number = $1 and link = $2 and step = $3 and kind = 'mismatch'")
        .bind(run_number)
        .bind(link)
        .bind(step)
        .execute(tx)
        .await?;
    Ok(())
}

/// Which of these keys have a refusal whose record is not kept yet.
pub async fn refused_unsealed(db: impl PgExecutor<'_>, run_number: i64, link: i64, keys: &[String]) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select source_key from refusal where run_number = $1 and link = $2 and step = 'load_pass_1' and sealed is null and source_key = any($3)",
    )
    .bind(run_number)
    .bind(link)
    .bind(keys)
    .fetch_all(db)
    .await
}

/// Keeps refused records, sealed.
pub async fn refused_keep(
    tx: &mut PgConnection,
    run_number: i64,
    link: i64,
    keys: &[String],
    sealed: &[Vec<u8>],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update refusal r set sealed = u.sealed from unnest($3::text[], $4::bytea[]) as u(key, sealed)
         where r.run_number = $1 and r.link = $2 and r.step = 'load_pass_1' and r.source_key = u.key",
    )
    .bind(run_number)
    .bind(link)
    .bind(keys)
    .bind(sealed)
    .execute(tx)
    .await?;
    Ok(())
}

/// Refusals of an object that stand, grouped, with sample keys; and how many of each group were written since.
pub struct Group {
    pub kind: String,
    pub code: String,
    pub native: String,
    pub fields: String,
    pub count: i64,
    pub resolved: i64,
    /// Of a parked group: what became of the parents, where a refusal tells.
    pub parents: Option<String>,
    pub sample: Vec<String>,
}

/// `links`: those of the plan, among which parents are looked for.
pub async fn groups(db: impl PgExecutor<'_>, run_number: i64, link: i64, links: &[i64]) -> Result<Vec<Group>, sqlx::Error> {
    let rows = sqlx::query(
        "select r.kind, r.code, r.native, r.fields, count(*) filter (where r.state <> 'resolved'), count(*) filter (where r.state = 'resolved'),
           p.kind, coalesce((array_agg(r.source_key order by r.source_key) filter (where r.state <> 'resolved'))[1:100], '{}')
         from refusal r
         left join lateral (select kind from refusal where run_number = $1 and link = any($3) and source_key = r.missing
             and step = 'load_pass_1' and state <> 'resolved' and r.kind = 'parked' limit 1) p on true
         where r.run_number = $1 and r.link = $2 group by 1, 2, 3, 4, 7 order by 1, 2, 3, 4, 7",
    )
    .bind(run_number)
    .bind(link)
    .bind(links)
    .fetch_all(db)
    .await?;
    let group = |r: &sqlx::postgres::PgRow| Group {
        kind: r.get(0),
        code: r.get(1),
        native: r.get(2),
        fields: r.get(3),
        count: r.get(4),
        resolved: r.get(5),
        parents: r.get(6),
        sample: r.get(7),
    };
    Ok(rows.iter().map(group).collect())
}

/// Records that pass 1 refused and parked.
pub async fn totals(db: impl PgExecutor<'_>, run_number: i64, link: i64) -> Result<(i64, i64), sqlx::Error> {
    let row = sqlx::query(
        "select count(*) filter (where kind = 'refused'), count(*) filter (where kind = 'parked') from refusal
         where run_number = $1 and link = $2 and step = 'load_pass_1' and state <> 'resolved'",
    )
    .bind(run_number)
    .bind(link)
    .fetch_one(db)
    .await?;
    Ok((row.get(0), row.get(1)))
}

/// Whether anything was refused, parked or different.
pub async fn any(db: impl PgExecutor<'_>, run_number: i64, link: i64) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select 1 from refusal where run_number = $1 and link = $2 and state <> 'resolved')")
        .bind(run_number)
        .bind(link)
        .fetch_one(db)
        .await
}

/// Rows for pass 2, as columns. `targets` is one text per row, its keys separated by blanks.
#[derive(Default)]
pub struct Deferred {
    pub source_keys: Vec<String>,
    pub hashes: Vec<Vec<u8>>,
    pub targets: Vec<String>,
}

pub async fn defer(tx: &mut PgConnection, run_number: i64, link: i64, rows: &Deferred) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "insert into deferred (run_number, link, source_key, hash, targets)
         select $1, $2, u.key, u.hash, string_to_array(u.targets, ' ') from unnest($3::text[], $4::bytea[], $5::text[]) as u(key, hash, targets)
         on conflict do nothing",
    )
    .bind(run_number)
    .bind(link)
    .bind(&rows.source_keys)
    .bind(&rows.hashes)
    .bind(&rows.targets)
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// A row of pass 2.
pub struct DeferredRow {
    pub source_key: String,
    /// `None`: its own record was refused or parked.
    pub target_key: Option<String>,
    pub hash: Vec<u8>,
    pub targets: Vec<String>,
    /// Digest of the target keys that the record's deferred references hold now.
    pub standing: Option<Vec<u8>>,
}

pub async fn deferred_next(
    db: impl PgExecutor<'_>,
    run_number: i64,
    link: i64,
    sync: &str,
    limit: i64,
) -> Result<Vec<DeferredRow>, sqlx::Error> {
    let rows = sqlx::query(
        "select d.source_key, l.target_key, d.hash, d.targets, c.deferred_refs from deferred d
         left join lateral (select target_key from ledger where link = $2 and source_key = d.source_key offset 0) l on true
         left join lateral (select deferred_refs from content where link = $2 and sync = $4 and source_key = d.source_key offset 0) c on true
         where d.run_number = $1 and d.link = $2 and not d.refused order by d.source_key limit $3",
    )
    .bind(run_number)
    .bind(link)
    .bind(limit)
    .bind(sync)
    .fetch_all(db)
    .await?;
    let row = |r: &sqlx::postgres::PgRow| DeferredRow {
        source_key: r.get(0),
        target_key: r.get(1),
        hash: r.get(2),
        targets: r.get(3),
        standing: r.get(4),
    };
    Ok(rows.iter().map(row).collect())
}

pub async fn deferred_drop(tx: &mut PgConnection, run_number: i64, link: i64, keys: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query("delete from deferred where run_number = $1 and link = $2 and source_key = any($3)")
        .bind(run_number)
        .bind(link)
        .bind(keys)
        .execute(tx)
        .await?;
    Ok(())
}

/// Keeps rows that pass 2 was refused, for a retry.
pub async fn deferred_refuse(tx: &mut PgConnection, run_number: i64, link: i64, keys: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query("update deferred set refused = true where run_number = $1 and link = $2 and source_key = any($3)")
        .bind(run_number)
        .bind(link)
        .bind(keys)
        .execute(tx)
        .await?;
    Ok(())
}

/// Stores what pass 2 wrote: the hash of the deferred references and the digest of their target keys.
pub async fn deferred_written(tx: &mut PgConnection, link: i64, sync: &str, written: &Written) -> Result<(), sqlx::Error> {
    let (first, last) = span(&written.source_keys);
    sqlx::query(
        "update content c set deferred_hash = u.hash, deferred_refs = u.refs
         from unnest($3::text[], $4::bytea[], $5::bytea[]) as u(source_key, hash, refs)
         where c.link = $1 and c.sync = $2 and c.source_key = u.source_key and c.source_key between $6 and $7",
    )
    .bind(link)
    .bind(sync)
    .bind(&written.source_keys)
    .bind(&written.hashes)
    .bind(&written.refs)
    .bind(first)
    .bind(last)
    .execute(tx)
    .await?;
    Ok(())
}

pub async fn sample_insert(
    tx: &mut PgConnection,
    run_number: i64,
    link: i64,
    sample: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<(), sqlx::Error> {
    let keys: Vec<&str> = sample.keys().map(String::as_str).collect();
    let prints: Vec<Json<&BTreeMap<String, String>>> = sample.values().map(Json).collect();
    sqlx::query(
        "insert into sample (run_number, link, source_key, fingerprints)
         select $1, $2, u.key, u.prints from unnest($3::text[], $4::jsonb[]) as u(key, prints) on conflict do nothing",
    )
    .bind(run_number)
    .bind(link)
    .bind(&keys)
    .bind(&prints)
    .execute(tx)
    .await?;
    Ok(())
}

/// A sampled record that is in the target.
pub struct SampleRow {
    pub source_key: String,
    pub target_key: String,
    pub fingerprints: BTreeMap<String, String>,
    pub sent: Vec<u8>,
    pub sent_update: bool,
}

pub async fn sample_get(
    db: impl PgExecutor<'_>,
    run_number: i64,
    link: i64,
    sync: &str,
    limit: i64,
) -> Result<Vec<SampleRow>, sqlx::Error> {
    let rows = sqlx::query(
        "select s.source_key, l.target_key, s.fingerprints, c.sent, c.sent_update from sample s
         cross join lateral (select target_key from ledger where link = $2 and source_key = s.source_key offset 0) l
         cross join lateral (select sent, sent_update from content where link = $2 and sync = $3 and source_key = s.source_key offset 0) c
         where l.target_key is not null and s.run_number = $1 and s.link = $2 order by s.source_key limit $4",
    )
    .bind(run_number)
    .bind(link)
    .bind(sync)
    .bind(limit)
    .fetch_all(db)
    .await?;
    let row = |r: &sqlx::postgres::PgRow| SampleRow {
        source_key: r.get(0),
        target_key: r.get(1),
        fingerprints: r.get::<Json<_>, _>(2).0,
        sent: r.get(3),
        sent_update: r.get(4),
    };
    Ok(rows.iter().map(row).collect())
}
