//! One service's platform, and the run that a test is about.

use sqlx::migrate::Migrator;
use syncline_batch::SealingKey;
use syncline_domain::plan::Plan;
use syncline_domain::{ObjectName, RunId, TenantId};
use syncline_runtime::lease::Take;
use syncline_runtime::worker::Work;
use syncline_runtime::{Config, Lease, Platform, TaskId};
use syncline_testkit::{TestDatabase, prefix, servers};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::peers::Peers;

const KEK_RAW: [u8; 32] = key(2);
const KEK_CLEAN: [u8; 32] = key(3);
pub const DIGEST_KEY: [u8; 32] = key(5);
pub const MASK_KEY: [u8; 32] = key(7);

/// Keys of the bench: different, and not so regular that they are refused.
const fn key(seed: u8) -> [u8; 32] {
    let mut bytes = [seed; 32];
    let mut at = 1;
    while at < bytes.len() {
        bytes[at] = bytes[at - 1].wrapping_mul(167).wrapping_add(91);
        at += 1;
    }
    bytes
}

/// A service's platform on a database of its own, every other service being played by [`Peers`].
pub struct Bench {
    pub platform: Platform,
    pub peers: Peers,
    pub tenant: TenantId,
    pub run: RunId,
    /// The run's data keys.
    pub raw: SealingKey,
    pub clean: SealingKey,
    database: TestDatabase,
    keys: TempDir,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.platform.shutdown.cancel();
    }
}

impl Bench {
    /// Nothing relays the outbox, so that a test can read what stands there.
    pub async fn start(service: &'static str, migrations: &'static Migrator) -> Self {
        let peers = Peers::start().await;
        let url = peers.url();
        Self::with_urls(service, migrations, peers, &move |_| url.clone()).await
    }

    /// `url` says where each service is.
    pub async fn with_urls(service: &'static str, migrations: &'static Migrator, peers: Peers, url: &dyn Fn(&str) -> String) -> Self {
        syncline_runtime::entry::install_crypto();
        let database = TestDatabase::create().await;
        let keys = tempfile::tempdir().unwrap();
        for (name, key) in [
            ("kek-raw", KEK_RAW),
            ("kek-clean", KEK_CLEAN),
            ("digest", DIGEST_KEY),
            ("mask", MASK_KEY),
        ] {
            std::fs::write(keys.path().join(name), hex::encode(key)).unwrap();
        }
        let tenant = TenantId::new(prefix()).unwrap();
        let platform = start(service, migrations, &database, &keys, &tenant, url).await;
        let (raw, clean) = (SealingKey::generate(), SealingKey::generate());
        peers.script(|s| {
            s.keys = Some([(SealingKey::new(KEK_RAW), raw.clone()), (SealingKey::new(KEK_CLEAN), clean.clone())]);
        });
        Self {
            platform,
            peers,
            tenant,
            run: RunId::new(format!("r-{}", prefix())).unwrap(),
            raw,
            clean,
            database,
            keys,
        }
    }

    /// Another process of the same service: its own connections, the same database.
    pub async fn replica(&self, migrations: &'static Migrator) -> Platform {
        let url = self.peers.url();
        start(
            self.platform.config.service,
            migrations,
            &self.database,
            &self.keys,
            &self.tenant,
            &move |_| url.clone(),
        )
        .await
    }

    /// Pins the plan that the analyzer answers with; its hash is returned.
    pub fn pin(&self, plan: Plan) -> String {
        let hash = blake3::hash(&serde_json::to_vec(&plan).unwrap()).to_hex().to_string();
        self.peers.script(|s| s.plan = Some(plan));
        hash
    }

    /// Takes the lease on a step of an object, as the worker does before it calls the stage.
    pub async fn take(&self, object: &ObjectName, step: &str) -> Work {
        self.take_in_round(object, step, 0).await
    }

    /// The same in a round of a run that was reopened.
    pub async fn take_in_round(&self, object: &ObjectName, step: &str, round: u32) -> Work {
        let task = TaskId {
            run: self.run.clone(),
            object: Some(object.clone()),
            step: step.to_owned(),
        };
        match Lease::take_in_round(&self.platform.db, task, round, &self.platform.instance)
            .await
            .unwrap()
        {
            Take::Taken(lease) => Work {
                tenant: self.tenant.clone(),
                lease,
                stop: CancellationToken::new(),
            },
            other => panic!("the lease cannot be taken: {other:?}"),
        }
    }

    /// Ends every lease of the run at once, as if its holder had been silent for too long.
    pub async fn expire(&self) {
        sqlx::query("update task set expires_at = clock_timestamp() - interval '1 second' where run = $1")
            .bind(self.run.as_str())
            .execute(&self.platform.db)
            .await
            .unwrap();
    }

    /// A number that the service's database answers with.
    pub async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.platform.db).await.unwrap()
    }

    pub async fn execute(&self, sql: &'static str) {
        sqlx::query(sql).execute(&self.platform.db).await.unwrap();
    }
}

async fn start(
    service: &'static str,
    migrations: &'static Migrator,
    database: &TestDatabase,
    keys: &TempDir,
    tenant: &TenantId,
    url: &dyn Fn(&str) -> String,
) -> Platform {
    let config = Config::from_lookup(service, &|name| match name {
        "SYNCLINE_NATS_URL" => Some(servers().nats_url.clone()),
        "SYNCLINE_DATABASE_URL" => Some(database.url().to_owned()),
        "SYNCLINE_TENANT" => Some(tenant.to_string()),
        "SYNCLINE_KEYS_DIR" => Some(keys.path().display().to_string()),
        other => other
            .strip_prefix("SYNCLINE_")
            .and_then(|n| n.strip_suffix("_URL"))
            .map(|peer| url(&peer.to_lowercase())),
    })
    .unwrap();
    let relay = CancellationToken::new();
    let mut platform = Platform::start(config, Some(migrations), relay.clone()).await.unwrap();
    // The relay stops before anything is written that it could send.
    relay.cancel();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    platform.shutdown = CancellationToken::new();
    platform
}
