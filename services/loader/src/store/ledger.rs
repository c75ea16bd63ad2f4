//! The ledger's SQL: keys, contents, reservations.
//!
//! Look-ups by key are lateral with `offset 0`: the planner then always descends the whole index for each key. A plain
//! join is planned by statistics that do not exist yet while the first run fills the tables, and turns quadratic. So does
//! `target_key is not null` inside of the lateral: it admits the partial index, which does not know the source key.
//! Updates name the span of their keys besides: a merge would otherwise begin at the link's first key.

use std::collections::{HashMap, HashSet};

use sqlx::{PgConnection, PgExecutor, PgPool, Row};

/// Keys of one look-up.
const KEYS_MAX: usize = 20_000;

/// What the ledger knows of a source key.
pub struct Known {
    pub target_key: Option<String>,
    pub hash: Option<Vec<u8>>,
    pub deferred_hash: Option<Vec<u8>>,
    /// Digest of the references as target keys, as last written.
    pub refs: Option<Vec<u8>>,
    /// This run has written it or found it unchanged.
    pub seen: bool,
    /// A later run has: what this run read is out of date.
    pub overtaken: bool,
    /// `refused` or `parked`, when this run has come to that.
    pub refusal: Option<String>,
    /// It was refused in an earlier round and is loaded again: its references are in the books.
    pub again: bool,
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
        "select k.key, l.target_key, c.hash, c.deferred_hash, c.refs, coalesce(c.seen = $3, false), coalesce(c.seen > $3, false),
           case when r.state = 'open' then r.kind end, coalesce(r.state <> 'open' and r.kind = 'refused', false)
         from unnest($4::text[]) as k(key)
         left join lateral (select source_key, target_key from ledger where link = $1 and source_key = k.key offset 0) l on true
         left join lateral (select hash, deferred_hash, refs, seen from content
           where link = $1 and sync = $2 and source_key = k.key and l.target_key is not null offset 0) c on true
         left join lateral (select kind, state from refusal
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
        overtaken: r.get(6),
        refusal: r.get(7),
        again: r.get(8),
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
pub async fn unreserve(tx: &mut PgConnection, link: i64, entry: i64, keys: &[&String]) -> Result<(), sqlx::Error> {
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query("delete from ledger where link = $1 and entry = $2 and target_key is null and source_key = any($3)")
        .bind(link)
        .bind(entry)
        .bind(keys)
        .execute(tx)
        .await?;
    Ok(())
}

/// First and last of some keys, in the order of the database's collation `C`; empty texts of none, between which nothing lies.
pub fn span(keys: &[String]) -> (&str, &str) {
    let first = keys.iter().min().map_or("", String::as_str);
    (first, keys.iter().max().map_or("", String::as_str))
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
    /// Orders the rows by source key. Results come in any order, and rows that are neighbours in the tables and their
    /// indexes cost a quarter less to write than rows all over them.
    pub fn sort(&mut self) {
        let mut order: Vec<usize> = (0..self.source_keys.len()).collect();
        order.sort_unstable_by(|a, b| self.source_keys[*a].cmp(&self.source_keys[*b]));
        fn arrange<T: Default>(column: &mut [T], order: &[usize]) -> Vec<T> {
            order.iter().map(|i| std::mem::take(&mut column[*i])).collect()
        }
        self.source_keys = arrange(&mut self.source_keys, &order);
        self.target_keys = arrange(&mut self.target_keys, &order);
        self.created = arrange(&mut self.created, &order);
        self.hashes = arrange(&mut self.hashes, &order);
        self.sent = arrange(&mut self.sent, &order);
        self.refs = arrange(&mut self.refs, &order);
    }

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
    let (first, last) = span(&written.target_keys);
    // New records have new keys: mostly the span is empty, and nothing has to be looked up.
    let owned: Vec<String> = sqlx::query_scalar(
        "select u.source_key from unnest($2::text[], $3::text[]) as u(source_key, target_key)
         cross join lateral (select source_key from ledger where link = $1 and target_key = u.target_key offset 0) l
         where l.source_key <> u.source_key
           and (select target_key from ledger where link = $1 and target_key between $4 and $5 order by target_key limit 1) is not null",
    )
    .bind(link)
    .bind(&written.source_keys)
    .bind(&written.target_keys)
    .bind(first)
    .bind(last)
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

/// Which of these records the ledger does not have, over whatever link to the same target object.
pub async fn unknown_targets(db: &PgPool, link: i64, mut target_keys: Vec<String>) -> Result<Vec<String>, sqlx::Error> {
    let mut known: HashSet<String> = HashSet::new();
    for target_keys in target_keys.chunks(KEYS_MAX) {
        let found: Vec<String> = sqlx::query_scalar(
            "select u.key from link own
             join link l on l.target_identity = own.target_identity and l.target_object = own.target_object
             cross join unnest($2::text[]) as u(key)
             cross join lateral (select 1 from ledger where link = l.id and target_key = u.key offset 0) known
             where own.id = $1",
        )
        .bind(link)
        .bind(target_keys)
        .fetch_all(db)
        .await?;
        known.extend(found);
    }
    target_keys.retain(|key| !known.contains(key));
    Ok(target_keys)
}

/// How many of these keys the run has seen before, so that no key counts twice.
pub async fn seen_before(tx: &mut PgConnection, link: i64, sync: &str, run_number: i64, keys: &[String]) -> Result<i64, sqlx::Error> {
    let (first, last) = span(keys);
    // In a first run the span is mostly empty, and nothing has to be looked up.
    sqlx::query_scalar(
        "select count(*) from unnest($4::text[]) as k(key)
         cross join lateral (select 1 from content where link = $1 and sync = $2 and source_key = k.key and seen = $3 offset 0) c
         where (select source_key from content where link = $1 and sync = $2 and source_key between $5 and $6
                order by source_key limit 1) is not null",
    )
    .bind(link)
    .bind(sync)
    .bind(run_number)
    .bind(keys)
    .bind(first)
    .bind(last)
    .fetch_one(tx)
    .await
}

/// Gives reserved keys their target keys.
pub async fn assign(tx: &mut PgConnection, link: i64, written: &Written) -> Result<(), sqlx::Error> {
    let (first, last) = span(&written.source_keys);
    sqlx::query(
        "update ledger l set target_key = u.target_key from unnest($2::text[], $3::text[]) as u(source_key, target_key)
         where l.link = $1 and l.source_key = u.source_key and l.source_key between $4 and $5
           and l.target_key is distinct from u.target_key",
    )
    .bind(link)
    .bind(&written.source_keys)
    .bind(&written.target_keys)
    .bind(first)
    .bind(last)
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

/// How many rows a span of keys may hold per key asked for before each key is looked up by itself.
const SPAN_ROWS_PER_KEY: usize = 3;

/// Expectations by target key, of records that this run saw.
///
/// A page of a read-back holds neighbours: their spans in both indexes are read in one go, at a fraction of the price of a
/// descent for each key. Keys that lie apart are looked up one by one.
pub async fn expected(
    db: &PgPool,
    link: i64,
    sync: &str,
    run_number: i64,
    target_keys: &[String],
) -> Result<HashMap<String, Expected>, sqlx::Error> {
    match expected_in_span(db, link, sync, run_number, target_keys).await? {
        Some(expected) => Ok(expected),
        None => expected_one_by_one(db, link, sync, run_number, target_keys).await,
    }
}

/// `None`: the keys are too far apart.
async fn expected_in_span(
    db: &PgPool,
    link: i64,
    sync: &str,
    run_number: i64,
    target_keys: &[String],
) -> Result<Option<HashMap<String, Expected>>, sqlx::Error> {
    let rows_max = target_keys.len() * SPAN_ROWS_PER_KEY;
    let limit = i64::try_from(rows_max + 1).unwrap_or(i64::MAX);
    let (Some(first), Some(last)) = (target_keys.iter().min(), target_keys.iter().max()) else {
        return Ok(Some(HashMap::new()));
    };
    let keys: Vec<(String, String)> = sqlx::query_as(
        "select target_key, source_key from ledger where link = $1 and target_key between $2 and $3 order by target_key limit $4",
    )
    .bind(link)
    .bind(first)
    .bind(last)
    .bind(limit)
    .fetch_all(db)
    .await?;
    if keys.len() > rows_max {
        return Ok(None);
    }
    let asked: HashSet<&str> = target_keys.iter().map(String::as_str).collect();
    let mut targets: HashMap<String, String> = keys
        .into_iter()
        .filter(|(target, _)| asked.contains(target.as_str()))
        .map(|(target, source)| (source, target))
        .collect();
    let (Some(first), Some(last)) = (targets.keys().min(), targets.keys().max()) else {
        return Ok(Some(HashMap::new()));
    };
    let contents: Vec<(String, Vec<u8>, Vec<u8>, i64)> = sqlx::query_as(
        "select source_key, refs, deferred_refs, seen from content
         where link = $1 and sync = $2 and source_key between $3 and $4 order by source_key limit $5",
    )
    .bind(link)
    .bind(sync)
    .bind(first)
    .bind(last)
    .bind(limit)
    .fetch_all(db)
    .await?;
    if contents.len() > rows_max {
        return Ok(None);
    }
    let seen = contents.into_iter().filter(|(_, _, _, seen)| *seen == run_number);
    let expected = seen.filter_map(|(source_key, refs, deferred_refs, _)| {
        let target = targets.remove(&source_key)?;
        let expected = Expected {
            source_key,
            refs,
            deferred_refs,
        };
        Some((target, expected))
    });
    Ok(Some(expected.collect()))
}

async fn expected_one_by_one(
    db: &PgPool,
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

/// Keys of this sync that neither the run nor a later one saw, with their target keys.
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
         where l.target_key is not null and c.link = $1 and c.sync = $2 and c.seen < $3
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

#[cfg(test)]
mod tests {
    use syncline_testkit::TestDatabase;

    use super::*;

    fn key(object: &str, number: usize) -> String {
        format!("{object}{number:012}AAA")
    }

    /// Every second record of link 1 was seen in run 7 by the sync, the others in run 6; link 2 is somebody else's.
    async fn filled(records: usize) -> (TestDatabase, PgPool) {
        let database = TestDatabase::create().await;
        let pool = PgPool::connect(database.url()).await.expect("the database answers");
        crate::MIGRATIONS.run(&pool).await.expect("the migrations apply");
        sqlx::query(
            "with row as (select n, link, lpad(n::text, 12, '0') || 'AAA' as number from generate_series(1, $1) n, unnest(array[1, 2]) link),
                  key as (insert into ledger (link, source_key, target_key, entry, run_number)
                            select link, '001' || number, '00t' || number, 1, 1 from row)
             insert into content (link, sync, source_key, hash, sent, sent_update, refs, deferred_refs, written, seen)
               select link, 'refresh', '001' || number, 'h', 's', false, number::bytea, 'd', 7, case when n % 2 = 0 then 7 else 6 end from row",
        )
        .bind(i32::try_from(records).expect("few records"))
        .execute(&pool)
        .await
        .expect("the rows are stored");
        (database, pool)
    }

    fn shown(expected: HashMap<String, Expected>) -> Vec<(String, String, Vec<u8>)> {
        let mut shown: Vec<_> = expected.into_iter().map(|(target, e)| (target, e.source_key, e.refs)).collect();
        shown.sort();
        shown
    }

    #[tokio::test]
    async fn neighbours_are_expected_as_each_by_itself() {
        let (_database, pool) = filled(400).await;
        let page = |range: std::ops::Range<usize>| range.map(|n| key("00t", n)).collect::<Vec<_>>();
        let mut unknown = page(100..200);
        unknown.push("00t000000000150ZZZ".to_owned());
        let mut backwards = page(1..50);
        backwards.reverse();
        for keys in [page(1..401), page(100..101), backwards, unknown, page(900..950), Vec::new()] {
            let span = expected_in_span(&pool, 1, "refresh", 7, &keys).await.expect("the database answers");
            let each = expected_one_by_one(&pool, 1, "refresh", 7, &keys)
                .await
                .expect("the database answers");
            let even = keys
                .iter()
                .filter(|k| k.ends_with("AAA") && shown_number(k).is_multiple_of(2) && shown_number(k) <= 400);
            assert_eq!(each.len(), even.count());
            assert_eq!(
                span.map(shown).unwrap_or_else(|| panic!("{} keys are neighbours", keys.len())),
                shown(each)
            );
        }
    }

    fn shown_number(key: &str) -> usize {
        key[3..15].parse().expect("a number")
    }

    #[tokio::test]
    async fn keys_that_lie_apart_are_looked_up_by_themselves() {
        let (_database, pool) = filled(400).await;
        let keys = vec![key("00t", 2), key("00t", 200), key("00t", 400)];
        assert!(
            expected_in_span(&pool, 1, "refresh", 7, &keys)
                .await
                .expect("the database answers")
                .is_none()
        );
        let expected = expected(&pool, 1, "refresh", 7, &keys).await.expect("the database answers");
        assert_eq!(expected.len(), 3);
    }

    #[tokio::test]
    async fn what_others_own_and_what_was_seen_is_found_among_what_is_new() {
        let (_database, pool) = filled(40).await;
        let mut db = pool.acquire().await.expect("the database answers");
        let written = |pairs: &[(usize, usize)]| Written {
            source_keys: pairs.iter().map(|(source, _)| key("001", *source)).collect(),
            target_keys: pairs.iter().map(|(_, target)| key("00t", *target)).collect(),
            ..Written::default()
        };
        for (pairs, owned) in [
            (&[(50, 50), (51, 51)][..], &[][..]),
            (&[(7, 7), (50, 50)], &[]),
            (&[(50, 7), (51, 51), (52, 39)], &[50, 52]),
            // Two for one in the list itself: the first has it.
            (&[(60, 90), (61, 90)], &[61]),
            (&[], &[]),
        ] {
            let found = owned_by_others(&mut db, 1, &written(pairs)).await.expect("the database answers");
            assert_eq!(found, owned.iter().map(|n| key("001", *n)).collect(), "{pairs:?}");
        }
        for (keys, seen) in [(1..11, 5), (35..60, 3), (41..60, 0), (0..0, 0)] {
            let keys: Vec<String> = keys.map(|n| key("001", n)).collect();
            let found = seen_before(&mut db, 1, "refresh", 7, &keys).await.expect("the database answers");
            assert_eq!(found, seen, "{keys:?}");
        }
    }

    #[tokio::test]
    async fn only_the_keys_that_were_written_get_their_targets() {
        let (_database, pool) = filled(9).await;
        let mut db = pool.acquire().await.expect("the database answers");
        let written = Written {
            source_keys: [8, 2, 5].map(|n| key("001", n)).to_vec(),
            target_keys: [108, 102, 105].map(|n| key("00t", n)).to_vec(),
            ..Written::default()
        };
        assign(&mut db, 1, &written).await.expect("the database answers");
        let keys = "select target_key from ledger where link = $1 order by source_key";
        for (link, expected) in [(1, [1, 102, 3, 4, 105, 6, 7, 108, 9]), (2, [1, 2, 3, 4, 5, 6, 7, 8, 9])] {
            let found: Vec<String> = sqlx::query_scalar(keys)
                .bind(link)
                .fetch_all(&pool)
                .await
                .expect("the database answers");
            assert_eq!(found, expected.map(|n| key("00t", n)), "link {link}");
        }
    }

    #[test]
    fn sorting_keeps_rows_together() {
        let mut written = Written::default();
        for n in [3u8, 1, 2] {
            written.source_keys.push(format!("s{n}"));
            written.target_keys.push(format!("t{n}"));
            written.created.push(n == 1);
            written.hashes.push(vec![n]);
            written.sent.push(vec![n + 10]);
            written.refs.push(vec![n + 20]);
        }
        written.sort();
        assert_eq!(written.source_keys, ["s1", "s2", "s3"]);
        assert_eq!(written.target_keys, ["t1", "t2", "t3"]);
        assert_eq!(written.created, [true, false, false]);
        assert_eq!(
            (written.hashes, written.sent),
            (vec![vec![1], vec![2], vec![3]], vec![vec![11], vec![12], vec![13]])
        );
        assert_eq!(written.refs, [[21], [22], [23]]);
    }
}
