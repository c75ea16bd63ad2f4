//! Every service of the product in this process, each on a runtime of its own, so that one can be killed.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use syncline_runtime::keys::KEY_NAMES;
use syncline_runtime::{Config, entry};
use syncline_testkit::{FaultProxy, TestDatabase, eventually};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::door::Door;
use crate::nats::PrivateNats;

const READY_WAIT: Duration = Duration::from_secs(60);
const KILL_WAIT: Duration = Duration::from_secs(10);
/// Stacks take blocks of sixteen ports below those that the kernel hands out: eight services, then the guard.
const BLOCKS: std::ops::Range<u16> = 700..1900;
const BLOCK_PORTS: u16 = 16;
const GUARD_PORT: u16 = 8;

type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;
type Start = fn(Config, CancellationToken) -> Running;

const SERVICES: [(&str, Start); 8] = [
    ("connector", |c, s| Box::pin(syncline_connector::run(c, s))),
    ("analyzer", |c, s| Box::pin(syncline_analyzer::run(c, s))),
    ("coordinator", |c, s| Box::pin(syncline_coordinator::run(c, s))),
    ("extractor", |c, s| Box::pin(syncline_extractor::run(c, s))),
    ("masker", |c, s| Box::pin(syncline_masker::run(c, s))),
    ("loader", |c, s| Box::pin(syncline_loader::run(c, s))),
    ("monitor", |c, s| Box::pin(syncline_monitor::run(c, s))),
    ("gateway", |c, s| Box::pin(syncline_gateway::run(c, s))),
];

/// Where a stack's servers are, if not where they really are.
#[derive(Default)]
pub struct Outlets {
    pub nats: Option<FaultProxy>,
    pub database: Option<FaultProxy>,
}

struct Service {
    name: &'static str,
    start: Start,
    config: Config,
    runtime: Option<Runtime>,
    ended: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Service {
    fn start(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(self.name)
            .enable_all()
            .build()
            .expect("threads can be made");
        self.ended = Some(runtime.spawn((self.start)(self.config.clone(), CancellationToken::new())));
        self.runtime = Some(runtime);
    }

    /// Until it listens.
    async fn ready(&mut self) {
        let address = self.config.listen;
        let name = self.name;
        let ended = self.ended.as_mut().expect("it was started");
        tokio::select! {
            end = ended => panic!("{name} ended at its start: {end:?}"),
            () = eventually(READY_WAIT, || async move { TcpStream::connect(address).await.map(drop) }) => {}
        }
    }

    /// Every task is dropped where it is, as if the process were killed; connections break.
    async fn kill(&mut self) {
        let runtime = self.runtime.take().expect("it runs");
        self.ended = None;
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(KILL_WAIT))
            .await
            .expect("a runtime can be shut down");
    }
}

/// A whole installation. Ends with this value.
pub struct Stack {
    services: Vec<Service>,
    pub door: Door,
    pub gateway_url: String,
    /// The administrator's.
    pub token: String,
    pub nats_outlet: Option<FaultProxy>,
    pub database_outlet: Option<FaultProxy>,
    pub nats: PrivateNats,
    database: TestDatabase,
    _keys: TempDir,
    _guard: TcpListener,
}

impl Stack {
    pub async fn start() -> Self {
        Self::launch(false).await
    }

    /// Every service reaches NATS and PostgreSQL through a proxy that can misbehave.
    pub async fn behind_proxies() -> Self {
        Self::launch(true).await
    }

    async fn launch(proxies: bool) -> Self {
        entry::install_crypto();
        log_to_test();
        let (nats, database) = tokio::join!(PrivateNats::start(), TestDatabase::create());
        let (mut nats_url, mut database_url) = (nats.url().to_owned(), database.url().to_owned());
        let (mut nats_outlet, mut database_outlet) = (None, None);
        if proxies {
            let (proxy, url) = FaultProxy::before(&nats_url, 4222).await.expect("loopback has ports");
            (nats_outlet, nats_url) = (Some(proxy), url);
            let (proxy, url) = FaultProxy::before(&database_url, 5432).await.expect("loopback has ports");
            (database_outlet, database_url) = (Some(proxy), url);
        }
        let keys = tempfile::tempdir().expect("the temporary directory is writable");
        make_keys(keys.path());
        let (guard, base_port) = port_block();
        let token = uuid::Uuid::new_v4().simple().to_string();
        let mut services: Vec<Service> = SERVICES
            .into_iter()
            .map(|(name, start)| Service {
                name,
                start,
                config: configuration(name, &nats_url, &database_url, base_port, keys.path(), &token),
                runtime: None,
                ended: None,
            })
            .collect();
        services.iter_mut().for_each(Service::start);
        for service in &mut services {
            service.ready().await;
        }
        let gateway_url = format!("http://127.0.0.1:{base_port}");
        Self {
            services,
            door: Door::new(&gateway_url, &token),
            gateway_url,
            token,
            nats_outlet,
            database_outlet,
            nats,
            database,
            _keys: keys,
            _guard: guard,
        }
    }

    /// Where the services' schemas are.
    pub fn database_url(&self) -> &str {
        self.database.url()
    }

    fn service(&mut self, name: &str) -> &mut Service {
        self.services.iter_mut().find(|s| s.name == name).expect("a service of the product")
    }

    /// Kills a service without a chance to clean up.
    pub async fn kill(&mut self, name: &str) {
        self.service(name).kill().await;
    }

    /// The bus is replaced by an empty one: services that find their streams gone are not alive any more, and whoever
    /// supervises them starts them again.
    pub async fn lose_the_bus(&mut self) {
        self.nats.lose_everything().await;
        for service in &mut self.services {
            if service.runtime.is_some() {
                service.kill().await;
            }
            service.start();
        }
        for service in &mut self.services {
            service.ready().await;
        }
    }

    /// Kills every service.
    pub async fn stop(&mut self) {
        for service in self.services.iter_mut().filter(|s| s.runtime.is_some()) {
            service.kill().await;
        }
    }

    /// A backup of the database; every service has to be stopped.
    pub async fn back_up(&self) -> TestDatabase {
        self.database.copy().await
    }

    /// Starts every service, on a database that may be another one.
    pub async fn start_on(&mut self, database: Option<TestDatabase>) {
        if let Some(database) = database {
            for service in &mut self.services {
                service.config.database_url = database.url().to_owned().into();
            }
            self.database = database;
        }
        self.services.iter_mut().for_each(Service::start);
        for service in &mut self.services {
            service.ready().await;
        }
    }

    /// Starts a killed service again, as a supervisor would.
    pub async fn restart(&mut self, name: &str) {
        let service = self.service(name);
        service.start();
        service.ready().await;
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for service in &mut self.services {
            if let Some(runtime) = service.runtime.take() {
                runtime.shutdown_background();
            }
        }
    }
}

/// The configuration of one service, as its environment would give it.
pub fn configuration(service: &'static str, nats_url: &str, database_url: &str, base_port: u16, keys: &Path, token: &str) -> Config {
    Config::from_lookup(service, &|name| {
        let value = match name {
            "SYNCLINE_NATS_URL" => nats_url.to_owned(),
            "SYNCLINE_DATABASE_URL" => database_url.to_owned(),
            "SYNCLINE_BASE_PORT" => base_port.to_string(),
            "SYNCLINE_KEYS_DIR" => keys.display().to_string(),
            "SYNCLINE_GATEWAY_TOKEN" => token.to_owned(),
            _ => return None,
        };
        Some(value)
    })
    .expect("a complete environment")
}

/// Every key of an installation, in files.
pub fn make_keys(dir: &Path) {
    for name in KEY_NAMES {
        let text = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        std::fs::write(dir.join(name), text).expect("the temporary directory is writable");
    }
}

/// A block of free ports; whoever holds its guard owns it among all stacks of the machine.
pub fn port_block() -> (TcpListener, u16) {
    let span = usize::from(BLOCKS.end - BLOCKS.start);
    let first = usize::try_from(uuid::Uuid::new_v4().as_u128() % span as u128).expect("smaller than the span");
    for step in 0..span {
        let block = BLOCKS.start + u16::try_from((first + step) % span).expect("smaller than the span");
        let base = block * BLOCK_PORTS;
        let listen = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        if let Ok(guard) = listen(base + GUARD_PORT)
            && (0..GUARD_PORT).all(|offset| listen(base + offset).is_ok())
        {
            return (guard, base);
        }
    }
    panic!("no block of free ports");
}

/// What services log is shown with a failed test; RUST_LOG asks for more.
fn log_to_test() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    // Another test of this process may have been first.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}
