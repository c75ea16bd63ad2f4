//! A service's own schema: reached, recent enough, and up to date.
//!
//! Migrations only go forward, and each leaves what the previous release needs, so both may run beside each other: a
//! schema that is *newer* than the program is fine. Replicas that start together take turns.

use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};

use crate::config::{Config, Migrating};
use crate::inspection::{self, Schema};
use crate::lease;
use crate::platform::{START_PAUSE, StartError};

/// Connections that one service holds to PostgreSQL.
pub(crate) const CONNECTIONS_MAX: u32 = 12;
/// How long one attempt to connect may take.
pub(crate) const ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// PostgreSQL 15 is the oldest that is tested.
pub(crate) const POSTGRES_MIN: i32 = 150_000;

/// A service's pool of connections, its schema up to date.
///
/// # Errors
/// [`StartError`] after waiting some seconds for the server.
pub async fn database(config: &Config, migrations: Option<&'static Migrator>) -> Result<PgPool, StartError> {
    let options: PgConnectOptions = config.database_url.expose_secret().parse().map_err(|_| StartError::DatabaseUrl)?;
    let schema = config.service;
    let options = options
        .application_name(&format!("syncline-{schema}"))
        .options([("search_path", schema)]);
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(Duration::from_secs(10))
        .connect_lazy_with(options.clone());
    let deadline = tokio::time::Instant::now() + config.start_wait;
    let version = loop {
        match server_version(&options).await {
            Ok(version) => break version,
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(StartError::Database(error)),
            Err(_) => tokio::time::sleep(START_PAUSE).await,
        }
    };
    if version < POSTGRES_MIN {
        return Err(StartError::DatabaseTooOld {
            found: (version / 10_000).to_string(),
        });
    }
    match config.migrating {
        Migrating::AtStart => migrate(&pool, schema, migrations).await?,
        Migrating::Never => check(&pool, schema, migrations).await?,
    }
    Ok(pool)
}

async fn migrate(pool: &PgPool, schema: &'static str, migrations: Option<&'static Migrator>) -> Result<(), StartError> {
    let mut connection = pool.acquire().await.map_err(StartError::Database)?;
    // Replicas that start together would race for the same names.
    sqlx::query("select pg_advisory_lock(hashtext('syncline-schema-' || $1))")
        .bind(schema)
        .execute(&mut *connection)
        .await
        .map_err(StartError::Database)?;
    let created = create_schema(&mut connection, schema).await;
    let migrated = match (created, migrations) {
        (Err(error), _) => Err(StartError::Database(error)),
        (Ok(()), Some(migrations)) => {
            let mut tolerant = Migrator::with_migrations(migrations.iter().cloned().collect());
            // What a newer release has applied is no business of this one.
            tolerant.set_ignore_missing(true);
            tolerant.run(pool).await.map_err(|source| StartError::Migrate { schema, source })
        }
        (Ok(()), None) => Ok(()),
    };
    sqlx::query("select pg_advisory_unlock(hashtext('syncline-schema-' || $1))")
        .bind(schema)
        .execute(&mut *connection)
        .await
        .map_err(StartError::Database)?;
    migrated
}

/// Sees that every migration of this release was applied, and changes nothing.
async fn check(pool: &PgPool, schema: &'static str, migrations: Option<&'static Migrator>) -> Result<(), StartError> {
    let mut connection = pool.acquire().await.map_err(StartError::Database)?;
    let broken = |source| StartError::Migrate { schema, source };
    match inspection::schema(&mut connection, schema, migrations).await {
        Ok(Schema::Current { .. } | Schema::Newer { .. }) => Ok(()),
        Ok(Schema::Missing | Schema::Older { .. }) => Err(StartError::NotMigrated { schema }),
        Ok(Schema::Foreign { version }) => Err(broken(MigrateError::VersionMismatch(version))),
        Ok(Schema::HalfApplied { version }) => Err(broken(MigrateError::Dirty(version))),
        Err(source) => Err(StartError::Database(source)),
    }
}

/// Asks past the pool, which would answer every failure with its own timeout.
async fn server_version(options: &PgConnectOptions) -> Result<i32, sqlx::Error> {
    let asking = async {
        let mut connection = PgConnection::connect_with(options).await?;
        let version = sqlx::query_scalar("select current_setting('server_version_num')::int")
            .fetch_one(&mut connection)
            .await?;
        // It has answered; how it takes the farewell does not matter.
        let _ = connection.close().await;
        Ok(version)
    };
    tokio::time::timeout(ATTEMPT_MAX, asking)
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

async fn create_schema(connection: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    // Schema names are this crate's own literals.
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create schema if not exists {schema}")))
        .execute(&mut *connection)
        .await?;
    sqlx::raw_sql(lease::SCHEMA).execute(connection).await?;
    Ok(())
}
