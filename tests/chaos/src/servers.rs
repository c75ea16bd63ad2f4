//! NATS and PostgreSQL of one's own, that can be killed and come back on their ports.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use syncline_testkit::send_signal;

/// Started by `deploy/local/servers.sh`: NATS syncs every write, PostgreSQL every commit. Wiped with this value.
pub struct Servers {
    dir: PathBuf,
    pub nats_url: String,
    pub database_url: String,
}

impl Servers {
    pub fn start(dir: &Path) -> Result<Self> {
        let mut servers = Self {
            dir: dir.to_owned(),
            nats_url: String::new(),
            database_url: String::new(),
        };
        servers.up()?;
        let text = std::fs::read_to_string(dir.join("servers.env")).context("servers.sh up writes servers.env")?;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}='")));
            line.map(|value| value.trim_end_matches('\'').to_owned())
                .with_context(|| format!("servers.env names no {name}"))
        };
        servers.nats_url = value("NATS_URL")?;
        servers.database_url = value("DATABASE_URL")?;
        Ok(servers)
    }

    /// Starts what does not run, where it ran before.
    pub fn up(&self) -> Result<()> {
        self.script("up")
    }

    /// `kill -9`.
    pub fn kill_nats(&self) -> Result<()> {
        self.signal("nats/nats.pid", "KILL")
    }

    /// PostgreSQL's immediate shutdown: no checkpoint, recovery at the next start.
    pub fn kill_postgres(&self) -> Result<()> {
        self.signal("postgres.pid", "QUIT")
    }

    /// Where the servers keep what they store, for the scan for readable values.
    pub fn stores(&self) -> Vec<PathBuf> {
        let places = [self.dir.join("nats"), self.dir.join("postgres")];
        places.iter().filter_map(|place| place.canonicalize().ok()).collect()
    }

    fn signal(&self, file: &str, signal: &str) -> Result<()> {
        let text = std::fs::read_to_string(self.dir.join(file)).with_context(|| format!("reading {file}"))?;
        let pid = text.split_whitespace().next().and_then(|pid| pid.parse().ok());
        send_signal(pid.context("the file holds a process id")?, signal)?;
        Ok(())
    }

    fn script(&self, command: &str) -> Result<()> {
        let output = Command::new("bash")
            .arg(crate::repository().join("deploy/local/servers.sh"))
            .arg(command)
            .arg(&self.dir)
            .env_remove("SYNCLINE_NATS_URL")
            .env_remove("SYNCLINE_DATABASE_URL")
            .output()
            .context("bash starts")?;
        ensure!(
            output.status.success(),
            "servers.sh {command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let _ = self.script("wipe");
    }
}
