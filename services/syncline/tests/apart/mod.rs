//! Every service as a process of its own, as a platform team runs them: secrets made by `syncline secrets`, schemas and
//! streams by `syncline migrate`, mTLS between all of them and to NATS, one user of NATS per service.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use syncline_e2e::{Door, PrivateNats, SimulatedOrg, port_block};
use syncline_testkit::{Process, TestDatabase, eventually};
use tempfile::TempDir;

pub const SERVICES: [&str; 8] = [
    "connector",
    "analyzer",
    "coordinator",
    "extractor",
    "masker",
    "loader",
    "monitor",
    "gateway",
];
pub const SOON: Duration = Duration::from_secs(60);

/// What services need before they start: servers and secrets.
pub struct Ground {
    pub nats: PrivateNats,
    pub database: TestDatabase,
    pub secrets: TempDir,
    pub base_port: u16,
    _guard: std::net::TcpListener,
}

impl Ground {
    pub async fn lay() -> Self {
        syncline_runtime::entry::install_crypto();
        let secrets = tempfile::tempdir().unwrap();
        let made = binary().arg("secrets").arg(secrets.path()).output().unwrap();
        assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
        let (nats, database) = tokio::join!(PrivateNats::hardened(secrets.path()), TestDatabase::create());
        let (guard, base_port) = port_block();
        let ground = Self {
            nats,
            database,
            secrets,
            base_port,
            _guard: guard,
        };
        let migrated = ground.command("migrate", &["migrate"]).output().unwrap();
        assert_eq!(migrated.status.code(), Some(0), "{}", String::from_utf8_lossy(&migrated.stderr));
        ground
    }

    pub fn tls(&self, file: &str) -> PathBuf {
        self.secrets.path().join("tls").join(file)
    }

    /// The binary with the environment of one user: its address of NATS, its certificate.
    pub fn command(&self, user: &str, arguments: &[&str]) -> Command {
        let mut command = binary();
        command
            .args(arguments)
            .env("SYNCLINE_NATS_URL", self.nats.url_of(user))
            .env("SYNCLINE_DATABASE_URL", self.database.url())
            .env("SYNCLINE_BASE_PORT", self.base_port.to_string())
            .env("SYNCLINE_MIGRATE", "never")
            .env("SYNCLINE_KEYS_DIR", self.secrets.path().join("keys"))
            .env("SYNCLINE_TLS_CA", self.tls("ca.pem"))
            .env("SYNCLINE_TLS_CERT", self.tls(&format!("{user}.pem")))
            .env("SYNCLINE_TLS_KEY", self.tls(&format!("{user}.key")));
        if user == "gateway" {
            command.env("SYNCLINE_GATEWAY_TOKEN", self.token());
        }
        command
    }

    pub fn token(&self) -> String {
        let text = std::fs::read_to_string(self.secrets.path().join("gateway-token")).unwrap();
        text.trim().to_owned()
    }

    pub fn port(&self, service: &str) -> u16 {
        let at = syncline_runtime::config::PORTS.iter().position(|(name, _)| *name == service);
        self.base_port + u16::try_from(at.unwrap()).unwrap()
    }
}

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
    command
        .env_clear()
        .envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)))
        .stdin(Stdio::null());
    command
}

/// The installation, running.
pub struct Apart {
    pub ground: Ground,
    #[allow(dead_code, reason = "each test file uses a part of it")]
    pub door: Door,
    services: Vec<(&'static str, Process, PathBuf)>,
    _logs: TempDir,
}

impl Apart {
    /// `environment` goes to every service.
    pub async fn start(environment: &[(&str, &str)]) -> Self {
        let ground = Ground::lay().await;
        let logs = tempfile::tempdir().unwrap();
        let mut services = Vec::new();
        for name in SERVICES {
            let log = logs.path().join(name);
            let mut command = ground.command(name, &["serve", name]);
            command.envs(environment.iter().copied());
            services.push((name, Process::start(&mut command, &log).unwrap(), log));
        }
        for (name, process, log) in &mut services {
            let port = ground.port(name);
            eventually(SOON, || {
                let ended = process.ended().unwrap();
                let log = log.clone();
                async move {
                    assert_eq!(ended, None, "it ended at its start: {}", std::fs::read_to_string(log).unwrap());
                    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.map(drop)
                }
            })
            .await;
        }
        let door = Door::new(&format!("http://127.0.0.1:{}", ground.base_port), &ground.token());
        Self {
            ground,
            door,
            services,
            _logs: logs,
        }
    }

    /// Stores a connection as soon as the installation answers.
    #[allow(dead_code, reason = "each test file uses a part of it")]
    pub async fn connect(&self, name: &str, org: &SimulatedOrg) {
        eventually(SOON, || async {
            let stored = self.door.connect(name, org, org.client_secret()).await;
            stored.map_err(|e| format!("{e}; {}", self.complaints()))
        })
        .await;
    }

    /// What services have warned of so far.
    #[allow(dead_code, reason = "each test file uses a part of it")]
    pub fn complaints(&self) -> String {
        let mut found = String::new();
        for (name, _, log) in &self.services {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            for line in text
                .lines()
                .filter(|l| l.contains("WARN") || l.contains("ERROR") || !l.contains("INFO"))
            {
                found.push_str(&format!("{name}: {line}\n"));
            }
        }
        found
    }

    /// Asks every service to leave; each must leave well.
    pub async fn stop(self) -> Ground {
        for (name, mut process, log) in self.services {
            process.terminate().unwrap();
            let ended = ended(&mut process).await;
            assert_eq!(ended, Some(0), "{name}: {}", std::fs::read_to_string(&log).unwrap());
        }
        self.ground
    }
}

/// The exit code, soon.
pub async fn ended(process: &mut Process) -> Option<i32> {
    let status = eventually(SOON, || {
        let ended = process.ended();
        async move { ended.map_err(|e| e.to_string())?.ok_or("it still runs".to_owned()) }
    })
    .await;
    status.code()
}

/// Runs a command to its end, which must come soon.
#[allow(dead_code, reason = "each test file uses a part of it")]
pub async fn outcome(mut command: Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let waited = tokio::task::spawn_blocking(move || child.wait_with_output());
    tokio::time::timeout(SOON, waited).await.expect("it ends").unwrap().unwrap()
}

#[allow(dead_code, reason = "each test file uses a part of it")]
pub fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
