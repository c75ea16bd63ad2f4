//! What a running service stands on.

use std::future::Future;
use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use syncline_bus::{Bus, BusConfig, BusError};
use syncline_domain::ErrorCode;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::config::Config;
use crate::keys::Keys;
use crate::{lease, outbox, rpc};

/// Connections that one service holds to PostgreSQL.
const CONNECTIONS_MAX: u32 = 12;
const START_PAUSE: Duration = Duration::from_millis(300);
/// How long one attempt to connect may take.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// PostgreSQL 15 is the oldest that is tested.
const POSTGRES_MIN: i32 = 150_000;

#[derive(Debug, Error)]
pub enum StartError {
    #[error("SYNCLINE_DATABASE_URL is not a PostgreSQL address")]
    DatabaseUrl,
    #[error("PostgreSQL cannot be reached: {0}. Start it and check SYNCLINE_DATABASE_URL")]
    Database(#[source] sqlx::Error),
    #[error("PostgreSQL {found} is too old; 15 or newer is needed")]
    DatabaseTooOld { found: String },
    #[error("the schema could not be migrated")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("NATS: {0}. Start NATS 2.10 or newer with JetStream and check SYNCLINE_NATS_URL")]
    Bus(#[source] BusError),
}

impl StartError {
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::DatabaseUrl | Self::Database(_) | Self::DatabaseTooOld { .. } | Self::Migrate(_) => ErrorCode::DatabaseUnavailable,
            Self::Bus(_) => ErrorCode::BusUnavailable,
        }
    }
}

/// Channels to the other services; they connect on first use and again by themselves.
#[derive(Clone)]
pub struct Peers {
    pub coordinator: Channel,
    pub connector: Channel,
    pub analyzer: Channel,
    pub extractor: Channel,
    pub masker: Channel,
    pub loader: Channel,
    pub monitor: Channel,
}

/// Everything a service is given.
#[derive(Clone)]
pub struct Platform {
    pub config: Config,
    /// Its search path is the service's own schema.
    pub db: PgPool,
    pub bus: Bus,
    pub keys: Keys,
    pub peers: Peers,
    pub shutdown: CancellationToken,
    /// Distinguishes this process among replicas; holder of its leases.
    pub instance: String,
}

impl Platform {
    /// Connects to PostgreSQL and NATS, checks their versions, and brings the service's schema up to date.
    ///
    /// # Errors
    /// [`StartError`] after waiting some seconds for whatever is away.
    pub async fn start(config: Config, migrations: Option<&'static Migrator>, shutdown: CancellationToken) -> Result<Self, StartError> {
        let db = database(&config, migrations).await?;
        let bus = bus(&config).await?;
        let peer = |service: &str| rpc::channel(config.peers.url(service));
        let peers = Peers {
            coordinator: peer("coordinator"),
            connector: peer("connector"),
            analyzer: peer("analyzer"),
            extractor: peer("extractor"),
            masker: peer("masker"),
            loader: peer("loader"),
            monitor: peer("monitor"),
        };
        let keys = Keys::load(&config.keys);
        let instance = format!("{}-{}", config.service, uuid::Uuid::new_v4().simple());
        let platform = Self {
            config,
            db,
            bus,
            keys,
            peers,
            shutdown,
            instance,
        };
        let relay = outbox::relay(
            platform.db.clone(),
            platform.bus.clone(),
            platform.config.service,
            platform.shutdown.clone(),
        );
        platform.spawn("outbox relay", relay);
        Ok(platform)
    }

    /// Runs a future beside the service until it ends or the service shuts down.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        let service = self.config.service;
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = future => if !shutdown.is_cancelled() { tracing::debug!(service, task = name, "ended"); }
            }
        });
    }
}

/// A service's pool of connections, its schema up to date; for a service that needs nothing else of a [`Platform`].
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
        (Ok(()), Some(migrations)) => migrations.run(&pool).await.map_err(StartError::Migrate),
        (Ok(()), None) => Ok(()),
    };
    sqlx::query("select pg_advisory_unlock(hashtext('syncline-schema-' || $1))")
        .bind(schema)
        .execute(&mut *connection)
        .await
        .map_err(StartError::Database)?;
    migrated?;
    Ok(pool)
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

async fn create_schema(connection: &mut sqlx::PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    // Schema names are this crate's own literals.
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create schema if not exists {schema}")))
        .execute(&mut *connection)
        .await?;
    sqlx::raw_sql(lease::SCHEMA).execute(connection).await?;
    Ok(())
}

async fn bus(config: &Config) -> Result<Bus, StartError> {
    let bus_config = BusConfig {
        url: config.nats_url.clone(),
        name: format!("syncline-{}", config.service),
        replicas: config.nats_replicas,
    };
    let deadline = tokio::time::Instant::now() + config.start_wait;
    loop {
        match Bus::connect(&bus_config).await {
            Ok(bus) => return Ok(bus),
            Err(error @ BusError::TooOld { .. }) => return Err(StartError::Bus(error)),
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(StartError::Bus(error)),
            Err(_) => tokio::time::sleep(START_PAUSE).await,
        }
    }
}
