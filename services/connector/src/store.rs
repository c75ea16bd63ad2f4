//! The connector's SQL. Times are compared by the database's clock, so replicas whose clocks differ agree.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgExecutor};
use syncline_domain::{ConnectionName, ErrorCode, ObjectName, RunId, TenantId};

/// A connection as it is shown. Holds nothing secret.
#[derive(Debug, Clone, FromRow)]
pub struct ConnectionRow {
    pub name: String,
    pub version: i64,
    pub document: String,
    pub org_type: Option<String>,
    pub org_id: Option<String>,
    pub org_name: Option<String>,
    pub health: Option<String>,
    pub health_code: Option<String>,
    pub health_message: Option<String>,
    pub last_connected_at: Option<DateTime<Utc>>,
    pub calls_used: Option<i64>,
    pub calls_max: Option<i64>,
    pub owner: String,
    pub breaker: Option<String>,
}

/// Sealed credentials, and the document that says what they are for.
#[derive(FromRow)]
pub struct CredentialRow {
    pub version: i64,
    pub document: String,
    pub data_key: Vec<u8>,
    pub secrets: Vec<u8>,
    pub token: Option<Vec<u8>>,
    /// Seconds that the token has left.
    pub token_left: Option<f64>,
}

pub async fn connection_get(
    db: impl PgExecutor<'_>,
    tenant: &TenantId,
    name: &ConnectionName,
) -> Result<Option<ConnectionRow>, sqlx::Error> {
    sqlx::query_as(
        "select c.name, c.version, c.document, c.org_type, c.org_id, c.org_name, c.health, c.health_code, c.health_message,
                c.last_connected_at, q.calls_used, q.calls_max, c.owner, q.breaker
         from connection c left join quota q using (tenant, name)
         where c.tenant = $1 and c.name = $2",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .fetch_optional(db)
    .await
}

/// In order of name, behind `after`.
pub async fn connection_list(
    db: impl PgExecutor<'_>,
    tenant: &TenantId,
    after: &str,
    rows_max: i64,
) -> Result<Vec<ConnectionRow>, sqlx::Error> {
    sqlx::query_as(
        "select c.name, c.version, c.document, c.org_type, c.org_id, c.org_name, c.health, c.health_code, c.health_message,
                c.last_connected_at, q.calls_used, q.calls_max, c.owner, q.breaker
         from connection c left join quota q using (tenant, name)
         where c.tenant = $1 and c.name collate \"C\" > $2
         order by c.name collate \"C\"
         limit $3",
    )
    .bind(tenant.as_str())
    .bind(after)
    .bind(rows_max)
    .fetch_all(db)
    .await
}

/// Locks a connection against being applied or deleted meanwhile, and answers its owner if it is there. Taken before the
/// lock of its credentials, as a delete does, so that the two cannot wait for each other.
pub async fn connection_lock(db: &mut PgConnection, tenant: &TenantId, name: &ConnectionName) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("select owner from connection where tenant = $1 and name = $2 for update")
        .bind(tenant.as_str())
        .bind(name.as_str())
        .fetch_optional(db)
        .await
}

/// Stores a new version; what was learnt through an older one is forgotten, and the first owner stays. Returns the version.
pub async fn connection_put(
    db: &mut PgConnection,
    tenant: &TenantId,
    name: &ConnectionName,
    document: &str,
    owner: &str,
) -> Result<i64, sqlx::Error> {
    let version: i64 = sqlx::query_scalar(
        "insert into connection (tenant, name, version, document, owner) values ($1, $2, nextval('connection_version'), $3, $4)
         on conflict (tenant, name) do update set
             version = excluded.version, document = excluded.document, applied_at = clock_timestamp(),
             org_type = null, org_id = null, org_name = null,
             health = null, health_code = null, health_message = null, last_connected_at = null
         returning version",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .bind(document)
    .bind(owner)
    .fetch_one(&mut *db)
    .await?;
    sqlx::query(
        "insert into quota (tenant, name) values ($1, $2)
         on conflict (tenant, name) do update set calls_used = null, calls_max = null, reported_at = null, breaker = null",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .execute(&mut *db)
    .await?;
    Ok(version)
}

pub async fn connection_delete(db: impl PgExecutor<'_>, tenant: &TenantId, name: &ConnectionName) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("delete from connection where tenant = $1 and name = $2")
        .bind(tenant.as_str())
        .bind(name.as_str())
        .execute(db)
        .await?;
    Ok(done.rows_affected() > 0)
}

pub async fn credential_put(
    db: impl PgExecutor<'_>,
    tenant: &TenantId,
    name: &ConnectionName,
    version: i64,
    data_key: &[u8],
    secrets: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into credential (tenant, name, version, data_key, secrets) values ($1, $2, $3, $4, $5)
         on conflict (tenant, name) do update set
             version = excluded.version, data_key = excluded.data_key, secrets = excluded.secrets,
             token = null, token_expires_at = null",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .bind(version)
    .bind(data_key)
    .bind(secrets)
    .execute(db)
    .await?;
    Ok(())
}

pub async fn credential_get(
    db: impl PgExecutor<'_>,
    tenant: &TenantId,
    name: &ConnectionName,
) -> Result<Option<CredentialRow>, sqlx::Error> {
    sqlx::query_as(
        "select k.version, c.document, k.data_key, k.secrets, k.token,
                extract(epoch from k.token_expires_at - clock_timestamp())::float8 as token_left
         from credential k join connection c using (tenant, name)
         where k.tenant = $1 and k.name = $2",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .fetch_optional(db)
    .await
}

/// Locks the credentials until the transaction ends, so that of all replicas one renews the token. A holder that hangs
/// loses the lock after `hold_max`.
pub async fn credential_lock(
    db: &mut PgConnection,
    tenant: &TenantId,
    name: &ConnectionName,
    hold_max: Duration,
) -> Result<Option<CredentialRow>, sqlx::Error> {
    sqlx::query("select set_config('idle_in_transaction_session_timeout', $1, true)")
        .bind(hold_max.as_millis().to_string())
        .execute(&mut *db)
        .await?;
    // Locked first, read after: a row that was read while it waited for the lock would show the token from before.
    let locked: Option<i64> = sqlx::query_scalar("select version from credential where tenant = $1 and name = $2 for update")
        .bind(tenant.as_str())
        .bind(name.as_str())
        .fetch_optional(&mut *db)
        .await?;
    match locked {
        Some(_) => credential_get(db, tenant, name).await,
        None => Ok(None),
    }
}

/// Stores a new token and, where it was rotated, the secret that replaces the old one. False if the connection was
/// applied anew or deleted meanwhile.
pub async fn credential_renew(
    db: impl PgExecutor<'_>,
    tenant: &TenantId,
    name: &ConnectionName,
    version: i64,
    token: &[u8],
    lifetime: Duration,
    rotated: Option<&[u8]>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "update credential set
             token = $4, token_expires_at = clock_timestamp() + make_interval(secs => $5), secrets = coalesce($6, secrets)
         where tenant = $1 and name = $2 and version = $3",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .bind(version)
    .bind(token)
    .bind(lifetime.as_secs_f64())
    .bind(rotated)
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

pub async fn health_connected(db: impl PgExecutor<'_>, tenant: &TenantId, name: &ConnectionName, version: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update connection set health = 'Connected', health_code = null, health_message = null, last_connected_at = clock_timestamp()
         where tenant = $1 and name = $2 and version = $3",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .bind(version)
    .execute(db)
    .await?;
    Ok(())
}

pub async fn health_failed(
    db: impl PgExecutor<'_>,
    tenant: &TenantId,
    name: &ConnectionName,
    version: i64,
    health: &str,
    code: ErrorCode,
    message: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update connection set health = $4, health_code = $5, health_message = $6
         where tenant = $1 and name = $2 and version = $3",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .bind(version)
    .bind(health)
    .bind(code.as_str())
    .bind(message)
    .execute(db)
    .await?;
    Ok(())
}

pub async fn org_record(
    db: impl PgExecutor<'_>,
    tenant: &TenantId,
    name: &ConnectionName,
    version: i64,
    kind: &str,
    id: &str,
    org_name: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("update connection set org_type = $4, org_id = $5, org_name = $6 where tenant = $1 and name = $2 and version = $3")
        .bind(tenant.as_str())
        .bind(name.as_str())
        .bind(version)
        .bind(kind)
        .bind(id)
        .bind(org_name)
        .execute(db)
        .await?;
    Ok(())
}

/// What the quota's row said after a reservation.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct QuotaRow {
    /// Seconds until every granted call has had its turn, this reservation included.
    pub ahead: f64,
}

/// What was last reported, if it is recent enough to act on.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct UsageRow {
    pub calls_used: Option<i64>,
    pub calls_max: Option<i64>,
    pub recent: bool,
    /// Whether the connection's breaker has anything to say.
    pub troubled: bool,
}

/// Losing the last moments of a quota in a crash costs nothing, waiting for the disk before every call would.
async fn forgetful(db: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("set local synchronous_commit = off").execute(db).await?;
    Ok(())
}

/// Reserves calls that take `cost` together at the connection's pace. `None` if there is no such connection.
pub async fn quota_reserve(
    db: &mut PgConnection,
    tenant: &TenantId,
    name: &ConnectionName,
    cost: Duration,
) -> Result<Option<QuotaRow>, sqlx::Error> {
    forgetful(db).await?;
    sqlx::query_as(
        "update quota set next_free = greatest(next_free, clock_timestamp()) + make_interval(secs => $3)
         where tenant = $1 and name = $2
         returning extract(epoch from next_free - clock_timestamp())::float8 as ahead",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .bind(cost.as_secs_f64())
    .fetch_optional(db)
    .await
}

pub async fn usage_get(
    db: impl PgExecutor<'_>,
    tenant: &TenantId,
    name: &ConnectionName,
    trusted: Duration,
) -> Result<Option<UsageRow>, sqlx::Error> {
    sqlx::query_as(
        "select calls_used, calls_max,
                coalesce(reported_at > clock_timestamp() - make_interval(secs => $3), false) as recent,
                breaker is not null as troubled
         from quota where tenant = $1 and name = $2",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .bind(trusted.as_secs_f64())
    .fetch_optional(db)
    .await
}

/// False if there is no such connection.
pub async fn usage_record(
    db: &mut PgConnection,
    tenant: &TenantId,
    name: &ConnectionName,
    used: i64,
    max: i64,
) -> Result<bool, sqlx::Error> {
    forgetful(db).await?;
    let done =
        sqlx::query("update quota set calls_used = $3, calls_max = $4, reported_at = clock_timestamp() where tenant = $1 and name = $2")
            .bind(tenant.as_str())
            .bind(name.as_str())
            .bind(used)
            .bind(max)
            .execute(db)
            .await?;
    Ok(done.rows_affected() > 0)
}

/// A circuit breaker, and the time.
#[derive(FromRow)]
pub struct BreakerRow<T> {
    pub breaker: T,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

impl<T> BreakerRow<T> {
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.now_ms).unwrap_or(0)
    }
}

/// `None` where nothing has failed, or there is no such connection.
pub async fn breaker_get(
    db: impl PgExecutor<'_>,
    tenant: &TenantId,
    name: &ConnectionName,
) -> Result<Option<BreakerRow<String>>, sqlx::Error> {
    sqlx::query_as(
        "select breaker, (extract(epoch from clock_timestamp()) * 1000)::bigint as now_ms
         from quota where tenant = $1 and name = $2 and breaker is not null",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .fetch_optional(db)
    .await
}

/// Locked until the transaction ends. `None` if there is no such connection.
pub async fn breaker_lock(
    db: &mut PgConnection,
    tenant: &TenantId,
    name: &ConnectionName,
) -> Result<Option<BreakerRow<Option<String>>>, sqlx::Error> {
    forgetful(db).await?;
    sqlx::query_as(
        "select breaker, (extract(epoch from clock_timestamp()) * 1000)::bigint as now_ms
         from quota where tenant = $1 and name = $2 for update",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .fetch_optional(db)
    .await
}

pub async fn breaker_put(
    db: &mut PgConnection,
    tenant: &TenantId,
    name: &ConnectionName,
    breaker: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query("update quota set breaker = $3 where tenant = $1 and name = $2")
        .bind(tenant.as_str())
        .bind(name.as_str())
        .bind(breaker)
        .execute(db)
        .await?;
    Ok(())
}

/// Of these connections, or of all.
pub async fn breaker_list(
    db: impl PgExecutor<'_>,
    tenant: &TenantId,
    names: Option<&[String]>,
) -> Result<Vec<(String, Option<String>)>, sqlx::Error> {
    sqlx::query_as("select name, breaker from quota where tenant = $1 and ($2::text[] is null or name = any($2)) order by name")
        .bind(tenant.as_str())
        .bind(names)
        .fetch_all(db)
        .await
}

/// A cached describe and its age in seconds.
#[derive(FromRow)]
pub struct DescribeRow {
    pub object: String,
    pub body: String,
    pub age: f64,
}

/// Cached describes of this version that are younger than `age_max`.
pub async fn describe_list(
    db: impl PgExecutor<'_>,
    tenant: &TenantId,
    name: &ConnectionName,
    version: i64,
    objects: &[&str],
    age_max: Duration,
) -> Result<Vec<DescribeRow>, sqlx::Error> {
    sqlx::query_as(
        "select object, body, extract(epoch from clock_timestamp() - read_at)::float8 as age
         from describe
         where tenant = $1 and name = $2 and version = $3 and object = any($4)
           and read_at > clock_timestamp() - make_interval(secs => $5)",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .bind(version)
    .bind(objects)
    .bind(age_max.as_secs_f64())
    .fetch_all(db)
    .await
}

/// Caches describes; one of a connection that was deleted meanwhile is dropped.
pub async fn describe_put(
    db: impl PgExecutor<'_>,
    tenant: &TenantId,
    name: &ConnectionName,
    version: i64,
    objects: &[&str],
    bodies: &[&str],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into describe (tenant, name, object, version, body)
         select c.tenant, c.name, d.object, $3, d.body
         from connection c, unnest($4::text[], $5::text[]) as d (object, body)
         where c.tenant = $1 and c.name = $2 and c.version = $3
         order by d.object
         on conflict (tenant, name, object) do update set
             version = excluded.version, body = excluded.body, read_at = excluded.read_at",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .bind(version)
    .bind(objects)
    .bind(bodies)
    .execute(db)
    .await?;
    Ok(())
}

/// Describes whose object no longer exists must not come back from the cache.
pub async fn describe_drop(
    db: impl PgExecutor<'_>,
    tenant: &TenantId,
    name: &ConnectionName,
    objects: &[&ObjectName],
) -> Result<(), sqlx::Error> {
    let objects: Vec<&str> = objects.iter().map(|o| o.as_str()).collect();
    sqlx::query("delete from describe where tenant = $1 and name = $2 and object = any($3)")
        .bind(tenant.as_str())
        .bind(name.as_str())
        .bind(objects)
        .execute(db)
        .await?;
    Ok(())
}

/// The wrapped data keys of a run.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct RunKeyRow {
    pub raw_wrapped: Vec<u8>,
    pub clean_wrapped: Vec<u8>,
}

pub async fn run_key_get(db: impl PgExecutor<'_>, tenant: &TenantId, run: &RunId) -> Result<Option<RunKeyRow>, sqlx::Error> {
    sqlx::query_as("select raw_wrapped, clean_wrapped from run_key where tenant = $1 and run = $2")
        .bind(tenant.as_str())
        .bind(run.as_str())
        .fetch_optional(db)
        .await
}

/// Stores keys unless the run has some.
pub async fn run_key_offer(db: impl PgExecutor<'_>, tenant: &TenantId, run: &RunId, keys: &RunKeyRow) -> Result<(), sqlx::Error> {
    sqlx::query("insert into run_key (tenant, run, raw_wrapped, clean_wrapped) values ($1, $2, $3, $4) on conflict do nothing")
        .bind(tenant.as_str())
        .bind(run.as_str())
        .bind(&keys.raw_wrapped)
        .bind(&keys.clean_wrapped)
        .execute(db)
        .await?;
    Ok(())
}

/// Every connection that has credentials, of every tenant.
pub async fn credential_names(db: impl PgExecutor<'_>) -> Result<Vec<(String, String)>, sqlx::Error> {
    sqlx::query_as("select tenant, name from credential order by tenant, name")
        .fetch_all(db)
        .await
}

/// The wrapped data key of a connection, locked until the transaction ends.
pub async fn credential_key_lock(db: &mut PgConnection, tenant: &str, name: &str) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar("select data_key from credential where tenant = $1 and name = $2 for update")
        .bind(tenant)
        .bind(name)
        .fetch_optional(db)
        .await
}

pub async fn credential_key_put(db: &mut PgConnection, tenant: &str, name: &str, wrapped: &[u8]) -> Result<(), sqlx::Error> {
    sqlx::query("update credential set data_key = $3 where tenant = $1 and name = $2")
        .bind(tenant)
        .bind(name)
        .bind(wrapped)
        .execute(db)
        .await?;
    Ok(())
}

/// Every run that has keys, of every tenant.
pub async fn run_key_names(db: impl PgExecutor<'_>) -> Result<Vec<(String, String)>, sqlx::Error> {
    sqlx::query_as("select tenant, run from run_key order by tenant, run")
        .fetch_all(db)
        .await
}

/// The wrapped keys of a run, locked until the transaction ends.
pub async fn run_key_lock(db: &mut PgConnection, tenant: &str, run: &str) -> Result<Option<RunKeyRow>, sqlx::Error> {
    sqlx::query_as("select raw_wrapped, clean_wrapped from run_key where tenant = $1 and run = $2 for update")
        .bind(tenant)
        .bind(run)
        .fetch_optional(db)
        .await
}

pub async fn run_key_put(db: &mut PgConnection, tenant: &str, run: &str, keys: &RunKeyRow) -> Result<(), sqlx::Error> {
    sqlx::query("update run_key set raw_wrapped = $3, clean_wrapped = $4 where tenant = $1 and run = $2")
        .bind(tenant)
        .bind(run)
        .bind(&keys.raw_wrapped)
        .bind(&keys.clean_wrapped)
        .execute(db)
        .await?;
    Ok(())
}
