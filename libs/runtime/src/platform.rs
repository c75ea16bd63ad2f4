//! What a running service stands on.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::migrate::Migrator;
use syncline_bus::{Bus, BusConfig, BusError};
use syncline_domain::ErrorCode;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::config::{Config, Migrating};
use crate::database::database;
use crate::keys::Keys;
use crate::tls::{Tls, TlsError, TlsFiles};
use crate::{outbox, rpc};

pub(crate) const START_PAUSE: Duration = Duration::from_millis(300);

#[derive(Debug, Error)]
pub enum StartError {
    #[error("SYNCLINE_DATABASE_URL is not a PostgreSQL address")]
    DatabaseUrl,
    #[error("PostgreSQL cannot be reached: {0}. Start it and check SYNCLINE_DATABASE_URL")]
    Database(#[source] sqlx::Error),
    #[error("PostgreSQL {found} is too old; 15 or newer is needed")]
    DatabaseTooOld { found: String },
    #[error("the schema `{schema}` could not be migrated, and nothing was changed: {}", remedy(source))]
    Migrate {
        schema: &'static str,
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    #[error("the schema `{schema}` is older than this release (SYNCLINE_MIGRATE=never): run `syncline migrate`, then start again")]
    NotMigrated { schema: &'static str },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("SYNCLINE_TLS_CERT and SYNCLINE_TLS_KEY do not belong together")]
    Identity(#[from] tonic::transport::Error),
    #[error("NATS: {0}")]
    BusNotMigrated(#[source] BusError),
    #[error("NATS: {0}. Start NATS 2.10 or newer with JetStream and check SYNCLINE_NATS_URL")]
    Bus(#[source] BusError),
}

/// What to do about a migration that cannot be made.
fn remedy(error: &sqlx::migrate::MigrateError) -> &'static str {
    use sqlx::migrate::MigrateError;
    match error {
        MigrateError::VersionMismatch(_) => {
            "a migration that was applied is not the one of this release; use the release that made the database, or restore a backup"
        }
        MigrateError::Dirty(_) => "an earlier migration stopped half-way; restore the backup that was taken before it",
        _ => "see the cause, mend it, and start again",
    }
}

impl StartError {
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::DatabaseUrl | Self::Database(_) | Self::DatabaseTooOld { .. } | Self::Migrate { .. } | Self::NotMigrated { .. } => {
                ErrorCode::DatabaseUnavailable
            }
            Self::Bus(_) | Self::BusNotMigrated(_) => ErrorCode::BusUnavailable,
            Self::Tls(_) | Self::Identity(_) => ErrorCode::Credentials,
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
    pub tls: Option<Arc<Tls>>,
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
        let tls = config.tls.as_ref().map(Tls::load).transpose()?.map(Arc::new);
        let db = database(&config, migrations).await?;
        let bus = bus(&config).await?;
        let peer = |service: &str| rpc::channel(config.peers.url(service), tls.as_ref().map(|tls| tls.client(service)));
        let peers = Peers {
            coordinator: peer("coordinator")?,
            connector: peer("connector")?,
            analyzer: peer("analyzer")?,
            extractor: peer("extractor")?,
            masker: peer("masker")?,
            loader: peer("loader")?,
            monitor: peer("monitor")?,
        };
        let keys = Keys::load(&config.keys);
        let instance = format!("{}-{}", config.service, uuid::Uuid::new_v4().simple());
        let platform = Self {
            config,
            db,
            bus,
            keys,
            peers,
            tls,
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

async fn bus(config: &Config) -> Result<Bus, StartError> {
    let bus_config = BusConfig {
        url: config.nats_url.clone(),
        name: format!("syncline-{}", config.service),
        service: Some(config.service),
        make_streams: config.migrating == Migrating::AtStart,
        replicas: config.nats_replicas,
        tls: config.tls.as_ref().map(TlsFiles::bus),
    };
    let deadline = tokio::time::Instant::now() + config.start_wait;
    loop {
        match Bus::connect(&bus_config).await {
            Ok(bus) => return Ok(bus),
            Err(error @ BusError::TooOld { .. }) => return Err(StartError::Bus(error)),
            Err(error @ BusError::NotMigrated { .. }) => return Err(StartError::BusNotMigrated(error)),
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(StartError::Bus(error)),
            Err(_) => tokio::time::sleep(START_PAUSE).await,
        }
    }
}
