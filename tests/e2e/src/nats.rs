//! A NATS server of one's own.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream;
use futures::TryStreamExt;
use syncline_testkit::{Process, eventually, free_port, nats_options};
use tempfile::TempDir;

const READY_WAIT: Duration = Duration::from_secs(20);
/// Somebody else may take a port between finding and using it.
const ATTEMPTS_MAX: usize = 5;
const PASSWORD: &str = "end-to-end";

/// Configured as `deploy/local/nats.sh` configures every local server: durable, bounded as production. Killed with this
/// value.
pub struct PrivateNats {
    url: String,
    secrets: Option<std::path::PathBuf>,
    binary: String,
    process: Process,
    dir: TempDir,
}

impl PrivateNats {
    /// # Panics
    /// When no server can be provisioned or started.
    pub async fn start() -> Self {
        for _ in 0..ATTEMPTS_MAX {
            let dir = tempfile::tempdir().expect("the temporary directory is writable");
            let (port, monitor) = (free_port(), free_port());
            let binary = provision(dir.path(), port, monitor);
            let mut process = launch(&binary, dir.path());
            let url = format!("nats://syncline:{PASSWORD}@127.0.0.1:{port}");
            if answers(&mut process, &url).await {
                return Self {
                    url,
                    secrets: None,
                    binary,
                    process,
                    dir,
                };
            }
        }
        panic!("nats-server did not start on any of {ATTEMPTS_MAX} ports");
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills the server and empties its disk, as if its machine were replaced. It is back, without a stream, when this ends.
    ///
    /// # Panics
    /// When it does not start again.
    pub async fn lose_everything(&mut self) {
        self.process.kill().expect("it runs");
        std::fs::remove_dir_all(self.dir.path().join("jetstream")).expect("it had stored something");
        self.process = launch(&self.binary, self.dir.path());
        assert!(answers(&mut self.process, &self.url).await, "the port was taken in between");
    }

    /// With TLS, and the users and certificates that `syncline secrets` made there; nobody else is let in.
    ///
    /// # Panics
    /// When no server can be provisioned or started.
    pub async fn hardened(secrets: &Path) -> Self {
        let users = std::fs::read_to_string(secrets.join("nats/users.conf")).expect("`syncline secrets` made it");
        let tls = secrets.join("tls");
        for _ in 0..ATTEMPTS_MAX {
            let dir = tempfile::tempdir().expect("the temporary directory is writable");
            let (port, monitor) = (free_port(), free_port());
            let binary = provision(dir.path(), port, monitor);
            let file = dir.path().join("nats.conf");
            let written = std::fs::read_to_string(&file).expect("the script wrote it");
            let (settings, _) = written.split_once("authorization {").expect("it has users");
            let files = tls.display();
            let secured = format!(
                "{settings}tls {{\n  cert_file: \"{files}/nats.pem\"\n  key_file: \"{files}/nats.key\"\n  ca_file: \"{files}/ca.pem\"\n  verify: true\n}}\n{users}"
            );
            std::fs::write(&file, secured).expect("the temporary directory is writable");
            let mut process = launch(&binary, dir.path());
            let ready = eventually(READY_WAIT, || {
                let ended = process.ended().expect("a child can be asked").is_some();
                async move {
                    if ended {
                        return Ok(false);
                    }
                    let health = reqwest::get(format!("http://127.0.0.1:{monitor}/healthz")).await;
                    health.and_then(reqwest::Response::error_for_status).map_err(|e| e.to_string())?;
                    Ok::<_, String>(true)
                }
            })
            .await;
            if ready {
                return Self {
                    url: format!("tls://127.0.0.1:{port}"),
                    secrets: Some(secrets.to_owned()),
                    binary,
                    process,
                    dir,
                };
            }
            let log = std::fs::read_to_string(dir.path().join("nats.log")).unwrap_or_default();
            assert!(log.contains("address already in use"), "nats-server does not start: {log}");
        }
        panic!("nats-server did not start on any of {ATTEMPTS_MAX} ports");
    }

    /// Scheme, host and port.
    pub fn address(&self) -> &str {
        &self.url
    }

    /// Of a hardened server: where this user connects.
    ///
    /// # Panics
    /// When there is no such user.
    pub fn url_of(&self, user: &str) -> String {
        let secrets = self.secrets.as_ref().expect("a hardened server");
        // The gateway never speaks to the bus.
        let password = std::fs::read_to_string(secrets.join(format!("nats/{user}.password"))).unwrap_or_default();
        self.url_with(user, password.trim())
    }

    pub fn url_with(&self, user: &str, password: &str) -> String {
        self.url.replace("tls://", &format!("tls://{user}:{password}@"))
    }

    /// What a run has left behind in the batch streams: subjects with messages, and consumers.
    pub async fn left_by(&self, run: &str) -> Vec<String> {
        let (options, address) = nats_options(&self.url);
        let context = jetstream::new(options.connect(address).await.expect("the server runs"));
        let mut left = Vec::new();
        for name in ["RAW_0", "CLEAN_0", "TASKS"] {
            let stream = context.get_stream(name).await.expect("the stream exists");
            let mut subjects = stream.info_with_subjects(">").await.expect("the stream can be asked");
            while let Some((subject, messages)) = subjects.try_next().await.expect("the stream can be asked") {
                if subject.contains(run) {
                    left.push(format!("{messages} messages on {subject}"));
                }
            }
            let consumers: Vec<String> = stream.consumer_names().try_collect().await.expect("the stream can be asked");
            left.extend(
                consumers
                    .into_iter()
                    .filter(|c| c.contains(run))
                    .map(|c| format!("consumer {c} of {name}")),
            );
        }
        left
    }
}

fn launch(binary: &str, dir: &Path) -> Process {
    let mut command = Command::new(binary);
    command.arg("-c").arg(dir.join("nats.conf"));
    Process::start(&mut command, &dir.join("nats.log")).expect("nats-server runs")
}

/// Waits until JetStream answers; false when the server ended instead.
async fn answers(process: &mut Process, url: &str) -> bool {
    eventually(READY_WAIT, || {
        let ended = process.ended().expect("a child can be asked").is_some();
        async move {
            if ended {
                return Ok(false);
            }
            let (options, address) = nats_options(url);
            let client = options.connect(address).await.map_err(|e| e.to_string())?;
            jetstream::new(client).query_account().await.map_err(|e| e.to_string())?;
            Ok::<_, String>(true)
        }
    })
    .await
}

/// Finds or fetches the server and writes its configuration, by the project's own script; answers the binary.
fn provision(dir: &Path, port: u16, monitor: u16) -> String {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/local");
    let steps = r#"set -euo pipefail
LOCAL_SCRIPTS=$1
source "$1/process.sh"
source "$1/nats.sh"
nats_write_config "$2" "$3" "$4" "$5"
nats_binary"#;
    let output = Command::new("bash")
        .args(["-c", steps, "provision"])
        .arg(&scripts)
        .arg(dir)
        .args([port.to_string(), monitor.to_string(), PASSWORD.to_owned()])
        .output()
        .expect("bash is installed");
    assert!(
        output.status.success(),
        "nats-server cannot be provisioned: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
