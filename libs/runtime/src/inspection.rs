//! What a PostgreSQL server and the schemas on it look like, without changing anything there: for `syncline doctor`, and
//! for services that do not migrate.

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::config::PORTS;
use crate::database::{ATTEMPT_MAX, CONNECTIONS_MAX, POSTGRES_MIN};

/// Connections that all services of an installation hold together, one replica each.
pub const CONNECTIONS_OF_ALL: u32 = CONNECTIONS_MAX * PORTS.len() as u32;

/// A schema beside the migrations of this release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    Current {
        version: i64,
    },
    /// A later release was here, which is fine.
    Newer {
        version: i64,
    },
    Missing,
    /// So many migrations of this release were not applied.
    Older {
        missing: usize,
    },
    /// A migration stopped half-way.
    HalfApplied {
        version: i64,
    },
    /// A migration that was applied is not the one of this release.
    Foreign {
        version: i64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Such as 150004.
    pub version_number: i32,
    /// Such as `15.4`.
    pub version: String,
    pub fsync: String,
    pub synchronous_commit: String,
    /// Connections that an ordinary role can have.
    pub connections: i32,
}

impl Settings {
    #[must_use]
    pub fn new_enough(&self) -> bool {
        self.version_number >= POSTGRES_MIN
    }
}

/// A server, and the schemas on it.
#[derive(Debug)]
pub struct Inspection {
    pub settings: Settings,
    pub schemas: Vec<(&'static str, Result<Schema, sqlx::Error>)>,
}

/// Host, port and database of an address, without user and password; none when it is no address of PostgreSQL.
#[must_use]
pub fn address(url: &SecretString) -> Option<String> {
    let options: PgConnectOptions = url.expose_secret().parse().ok()?;
    let database = options.get_database().unwrap_or(options.get_username());
    Some(format!("{}:{}/{database}", options.get_host(), options.get_port()))
}

/// Looks at the server and at the schemas, which are named by literals of this workspace.
///
/// # Errors
/// When the server cannot be reached, or does not answer in time.
pub async fn inspect(url: &SecretString, schemas: &[(&'static str, &'static Migrator)]) -> Result<Inspection, sqlx::Error> {
    let options: PgConnectOptions = url.expose_secret().parse()?;
    let options = options.application_name("syncline-doctor");
    let looking = async {
        let mut connection = PgConnection::connect_with(&options).await?;
        let settings = settings(&mut connection).await?;
        let mut found = Vec::new();
        for (name, migrations) in schemas {
            found.push((*name, schema(&mut connection, name, Some(migrations)).await));
        }
        // It has answered; how it takes the farewell does not matter.
        let _ = connection.close().await;
        Ok(Inspection { settings, schemas: found })
    };
    tokio::time::timeout(ATTEMPT_MAX, looking)
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

async fn settings(connection: &mut PgConnection) -> Result<Settings, sqlx::Error> {
    let row = sqlx::query(
        "select current_setting('server_version_num')::int, current_setting('server_version'), current_setting('fsync'), \
         current_setting('synchronous_commit'), \
         current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int \
         - coalesce(current_setting('reserved_connections', true), '0')::int",
    )
    .fetch_one(connection)
    .await?;
    Ok(Settings {
        version_number: row.try_get(0)?,
        version: row.try_get(1)?,
        fsync: row.try_get(2)?,
        synchronous_commit: row.try_get(3)?,
        connections: row.try_get(4)?,
    })
}

/// Sees whether every migration of this release was applied to the schema.
pub(crate) async fn schema(
    connection: &mut PgConnection,
    schema: &'static str,
    migrations: Option<&'static Migrator>,
) -> Result<Schema, sqlx::Error> {
    let wanted: Vec<(i64, &[u8])> = migrations
        .into_iter()
        .flat_map(|m| m.iter())
        .map(|m| (m.version, m.checksum.as_ref()))
        .collect();
    let made = |table: &'static str| {
        sqlx::query_scalar("select to_regclass($1 || '.' || $2) is not null")
            .bind(schema)
            .bind(table)
    };
    let has_tasks: bool = made("task").fetch_one(&mut *connection).await?;
    if !has_tasks {
        return Ok(Schema::Missing);
    }
    // The newest of what every schema has beside its own migrations (`lease::SCHEMA`).
    let has_trace: bool = sqlx::query_scalar(
        "select exists (select from information_schema.columns where table_schema = $1 and table_name = 'outbox' and column_name = 'trace')",
    )
    .bind(schema)
    .fetch_one(&mut *connection)
    .await?;
    if !has_trace {
        return Ok(Schema::Older { missing: 1 });
    }
    let has_migrations: bool = made("_sqlx_migrations").fetch_one(&mut *connection).await?;
    if !has_migrations {
        return Ok(judge(&wanted, &[]));
    }
    // Schema names are this workspace's own literals.
    let applied = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "select version, checksum, success from {schema}._sqlx_migrations order by version"
    )))
    .fetch_all(connection)
    .await?;
    Ok(judge(&wanted, &applied))
}

/// `applied`: version, checksum, and whether it was applied whole.
fn judge(wanted: &[(i64, &[u8])], applied: &[(i64, Vec<u8>, bool)]) -> Schema {
    if let Some((version, ..)) = applied.iter().find(|(_, _, whole)| !whole) {
        return Schema::HalfApplied { version: *version };
    }
    let mut missing = 0;
    for (version, checksum) in wanted {
        match applied.iter().find(|(v, ..)| v == version) {
            None => missing += 1,
            Some((_, found, _)) if found != checksum => return Schema::Foreign { version: *version },
            Some(_) => {}
        }
    }
    if missing > 0 {
        return Schema::Older { missing };
    }
    let newest = |versions: &mut dyn Iterator<Item = i64>| versions.max().unwrap_or(0);
    let ours = newest(&mut wanted.iter().map(|(version, _)| *version));
    let theirs = newest(&mut applied.iter().map(|(version, ..)| *version));
    if theirs > ours {
        Schema::Newer { version: theirs }
    } else {
        Schema::Current { version: ours }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_judged_by_what_was_applied_to_it() {
        let wanted: &[(i64, &[u8])] = &[(1, b"a"), (2, b"b")];
        let applied = |rows: &[(i64, &[u8], bool)]| -> Vec<_> { rows.iter().map(|(v, c, w)| (*v, c.to_vec(), *w)).collect() };
        type Applied = &'static [(i64, &'static [u8], bool)];
        let cases: [(Applied, Schema); 6] = [
            (&[], Schema::Older { missing: 2 }),
            (&[(1, b"a", true)], Schema::Older { missing: 1 }),
            (&[(1, b"a", true), (2, b"b", true)], Schema::Current { version: 2 }),
            (&[(1, b"a", true), (2, b"b", true), (3, b"c", true)], Schema::Newer { version: 3 }),
            (&[(1, b"a", true), (2, b"b", false)], Schema::HalfApplied { version: 2 }),
            (&[(1, b"x", true), (2, b"b", true)], Schema::Foreign { version: 1 }),
        ];
        for (rows, state) in cases {
            assert_eq!(judge(wanted, &applied(rows)), state, "{rows:?}");
        }
    }

    #[test]
    fn an_address_is_shown_without_user_and_password() {
        let shown = |url: &str| address(&url.into());
        assert_eq!(shown("postgres://me:s3cret@h:5433/db").as_deref(), Some("h:5433/db"));
        assert_eq!(shown("nonsense"), None);
    }
}
