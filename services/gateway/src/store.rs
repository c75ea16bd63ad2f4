//! The gateway's SQL: tokens, and the audit log.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgExecutor, PgPool, Row};
use syncline_domain::audit::{Entry, Hash, Head, Link};

/// A token, without its secret.
#[derive(Debug, Clone, FromRow)]
pub struct TokenRow {
    pub id: String,
    pub subject: String,
    pub role: String,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
}

/// What a token that was shown is worth.
#[derive(Debug, Clone, FromRow)]
pub struct FoundToken {
    pub id: String,
    pub subject: String,
    pub role: String,
    pub expired: bool,
    pub revoked: bool,
    /// Nobody has noted its use in the last minute.
    pub use_is_old: bool,
}

const TOKEN: &str = "id, subject, role, created_by, created_at, expires_at, revoked_at, last_used_at";

/// Stores a token that is valid for some days from now.
pub async fn token_insert(
    db: impl PgExecutor<'_>,
    id: &str,
    hash: &[u8; 32],
    subject: &str,
    role: &str,
    created_by: &str,
    days: i32,
) -> Result<TokenRow, sqlx::Error> {
    // The list of columns is this module's own literal.
    sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "insert into token (id, hash, subject, role, created_by, expires_at)
         values ($1, $2, $3, $4, $5, clock_timestamp() + make_interval(days => $6)) returning {TOKEN}"
    )))
    .bind(id)
    .bind(hash.as_slice())
    .bind(subject)
    .bind(role)
    .bind(created_by)
    .bind(days)
    .fetch_one(db)
    .await
}

pub async fn token_find(db: impl PgExecutor<'_>, hash: &[u8; 32]) -> Result<Option<FoundToken>, sqlx::Error> {
    sqlx::query_as(
        "select id, subject, role, expires_at <= clock_timestamp() as expired, revoked_at is not null as revoked,
                coalesce(last_used_at < clock_timestamp() - interval '1 minute', true) as use_is_old
         from token where hash = $1",
    )
    .bind(hash.as_slice())
    .fetch_optional(db)
    .await
}

pub async fn token_used(db: impl PgExecutor<'_>, id: &str) -> Result<(), sqlx::Error> {
    sqlx::query("update token set last_used_at = clock_timestamp() where id = $1")
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}

/// In the order of their ids, which is the order in which they were made.
pub async fn token_list(db: impl PgExecutor<'_>, after: &str, rows_max: i64) -> Result<Vec<TokenRow>, sqlx::Error> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "select {TOKEN} from token where id collate \"C\" > $1 order by id collate \"C\" limit $2"
    )))
    .bind(after)
    .bind(rows_max)
    .fetch_all(db)
    .await
}

pub async fn token_revoke(db: impl PgExecutor<'_>, id: &str) -> Result<Option<TokenRow>, sqlx::Error> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "update token set revoked_at = coalesce(revoked_at, clock_timestamp()) where id = $1 returning {TOKEN}"
    )))
    .bind(id)
    .fetch_optional(db)
    .await
}

/// The end of the log.
pub async fn audit_head(db: impl PgExecutor<'_>) -> Result<Head, sqlx::Error> {
    let row = sqlx::query("select seq, hash from audit_head").fetch_one(db).await?;
    head(&row)
}

fn head(row: &sqlx::postgres::PgRow) -> Result<Head, sqlx::Error> {
    Ok(Head {
        seq: row.get::<i64, _>(0).unsigned_abs(),
        hash: hash(row.get(1))?,
    })
}

fn hash(bytes: Vec<u8>) -> Result<Hash, sqlx::Error> {
    let bytes = <[u8; 32]>::try_from(bytes).map_err(|_| sqlx::Error::Decode("a hash of the audit log has not 32 bytes".into()))?;
    Ok(Hash(bytes))
}

/// Appends entries in order; whoever else appends waits. Their `seq` is given here.
pub async fn audit_append(db: &PgPool, mut entries: Vec<Entry>) -> Result<(), sqlx::Error> {
    let mut tx = db.begin().await?;
    let row = sqlx::query("select seq, hash from audit_head for update")
        .fetch_one(&mut *tx)
        .await?;
    let mut head = head(&row)?;
    let mut links = Vec::with_capacity(entries.len());
    for mut entry in entries.drain(..) {
        entry.seq = head.seq + 1;
        let link = entry.link(head.hash);
        head = Head {
            seq: link.entry.seq,
            hash: link.hash,
        };
        links.push(link);
    }
    audit_insert(&mut tx, &links).await?;
    sqlx::query("update audit_head set seq = $1, hash = $2")
        .bind(i64::try_from(head.seq).unwrap_or(i64::MAX))
        .bind(head.hash.0.as_slice())
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

async fn audit_insert(tx: &mut PgConnection, links: &[Link]) -> Result<(), sqlx::Error> {
    let texts = |of: fn(&Entry) -> &String| links.iter().map(|l| of(&l.entry).clone()).collect::<Vec<_>>();
    let seqs: Vec<i64> = links.iter().map(|l| i64::try_from(l.entry.seq).unwrap_or(i64::MAX)).collect();
    let times: Vec<i64> = links.iter().map(|l| l.entry.at_us).collect();
    let hashes = |of: fn(&Link) -> &Hash| links.iter().map(|l| of(l).0.to_vec()).collect::<Vec<_>>();
    sqlx::query(
        "insert into audit (seq, at_us, request, subject, role, address, method, resource, connections, result, code, previous, hash)
         select * from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                              $9::text[], $10::text[], $11::text[], $12::bytea[], $13::bytea[])",
    )
    .bind(seqs)
    .bind(times)
    .bind(texts(|e| &e.request))
    .bind(texts(|e| &e.subject))
    .bind(texts(|e| &e.role))
    .bind(texts(|e| &e.address))
    .bind(texts(|e| &e.method))
    .bind(texts(|e| &e.resource))
    .bind(texts(|e| &e.connections))
    .bind(texts(|e| &e.result))
    .bind(texts(|e| &e.code))
    .bind(hashes(|l| &l.previous))
    .bind(hashes(|l| &l.hash))
    .execute(tx)
    .await?;
    Ok(())
}

/// Entries behind `after`, oldest first; of one subject or connection, where those are not empty.
pub async fn audit_list(
    db: impl PgExecutor<'_>,
    after: u64,
    subject: &str,
    connection: &str,
    rows_max: i64,
) -> Result<Vec<Link>, sqlx::Error> {
    let rows = sqlx::query(
        "select seq, at_us, request, subject, role, address, method, resource, connections, result, code, previous, hash
         from audit
         where seq > $1 and ($2 = '' or subject = $2) and ($3 = '' or $3 = any(string_to_array(connections, ',')))
         order by seq limit $4",
    )
    .bind(i64::try_from(after).unwrap_or(i64::MAX))
    .bind(subject)
    .bind(connection)
    .bind(rows_max)
    .fetch_all(db)
    .await?;
    let link = |r: &sqlx::postgres::PgRow| {
        Ok(Link {
            entry: Entry {
                seq: r.get::<i64, _>(0).unsigned_abs(),
                at_us: r.get(1),
                request: r.get(2),
                subject: r.get(3),
                role: r.get(4),
                address: r.get(5),
                method: r.get(6),
                resource: r.get(7),
                connections: r.get(8),
                result: r.get(9),
                code: r.get(10),
            },
            previous: hash(r.get(11))?,
            hash: hash(r.get(12))?,
        })
    };
    rows.iter().map(link).collect()
}
