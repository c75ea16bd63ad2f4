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
    _process: Process,
    _dir: TempDir,
}

impl PrivateNats {
    /// # Panics
    /// When no server can be provisioned or started.
    pub async fn start() -> Self {
        for _ in 0..ATTEMPTS_MAX {
            let dir = tempfile::tempdir().expect("the temporary directory is writable");
            let (port, monitor) = (free_port(), free_port());
            let binary = provision(dir.path(), port, monitor);
            let mut command = Command::new(binary);
            command.arg("-c").arg(dir.path().join("nats.conf"));
            let mut process = Process::start(&mut command, &dir.path().join("nats.log")).expect("nats-server runs");
            let url = format!("nats://syncline:{PASSWORD}@127.0.0.1:{port}");
            let ready = eventually(READY_WAIT, || {
                let ended = process.ended().expect("a child can be asked").is_some();
                let url = url.clone();
                async move {
                    if ended {
                        return Ok(false);
                    }
                    let (options, address) = nats_options(&url);
                    let client = options.connect(address).await.map_err(|e| e.to_string())?;
                    jetstream::new(client).query_account().await.map_err(|e| e.to_string())?;
                    Ok::<_, String>(true)
                }
            })
            .await;
            if ready {
                return Self {
                    url,
                    _process: process,
                    _dir: dir,
                };
            }
        }
        panic!("nats-server did not start on any of {ATTEMPTS_MAX} ports");
    }

    pub fn url(&self) -> &str {
        &self.url
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
