//! A NATS server of one's own, for what can't be shared: streams with fixed names, restarts.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::prefix;

/// A fresh server, stopped and wiped with this value.
pub struct PrivateNats {
    dir: PathBuf,
    url: String,
}

impl PrivateNats {
    /// Starts the server; takes about a second.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start() -> Self {
        let dir = std::env::temp_dir().join(format!("syncline-nats-{}", prefix()));
        std::fs::create_dir_all(&dir).expect("the temporary folder must be writable");
        script("up", &dir);
        let text = std::fs::read_to_string(dir.join("servers.env")).expect("servers.sh up writes servers.env");
        let url = text
            .lines()
            .find_map(|line| line.strip_prefix("NATS_URL='")?.strip_suffix('\''))
            .expect("servers.sh names the server that it started")
            .to_owned();
        Self { dir, url }
    }

    /// Where to connect, with credentials.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for PrivateNats {
    fn drop(&mut self) {
        script("wipe", &self.dir);
        std::fs::remove_dir_all(&self.dir).ok();
    }
}

fn script(command: &str, dir: &Path) {
    let output = Command::new("bash")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/local/servers.sh"))
        .arg(command)
        .arg(dir)
        .env_remove("SYNCLINE_NATS_URL")
        // A database is not wanted, and named ones are not started.
        .env("SYNCLINE_DATABASE_URL", "postgres://none")
        .output()
        .expect("bash must be installed to start a server");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || std::thread::panicking(), "servers.sh {command}: {said}");
}
