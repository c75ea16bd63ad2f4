//! The real binary as a whole installation on real servers, driven by the real binary.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use syncline_testkit::{Process, TestDatabase, eventually, free_port, servers};
use tempfile::TempDir;

const CONNECTIONS: &str = "\
apiVersion: syncline.dev/v1
kind: Connection
metadata: {name: production}
spec:
  type: salesforce
  url: http://127.0.0.1:1
  auth: {flow: client_credentials, client_id: id, client_secret: {file: secret}}
---
apiVersion: syncline.dev/v1
kind: Connection
metadata: {name: uat}
spec:
  type: salesforce
  url: http://127.0.0.1:1
  auth: {flow: client_credentials, client_id: id, client_secret: {file: secret}}
";
const SYNC: &str = "\
apiVersion: syncline.dev/v1
kind: Sync
metadata: {name: refresh}
spec:
  source: production
  target: uat
  objects: [{name: Account}]
  masking: {preset: hipaa}
";
const SOON: Duration = Duration::from_secs(60);

/// Eight free ports in a row, so far as can be known.
fn base_port() -> u16 {
    (0..200)
        .map(|_| free_port().saturating_sub(8))
        .find(|base| (*base..*base + 8).all(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()))
        .expect("loopback has eight free ports in a row")
}

struct Installation {
    dir: TempDir,
    _database: TestDatabase,
    environment: Vec<(&'static str, String)>,
    base: u16,
}

impl Installation {
    async fn new() -> Self {
        let database = TestDatabase::create().await;
        let base = base_port();
        let environment = vec![
            ("SYNCLINE_NATS_URL", servers().nats_url.clone()),
            ("SYNCLINE_DATABASE_URL", database.url().to_owned()),
            ("SYNCLINE_BASE_PORT", base.to_string()),
            ("SYNCLINE_TENANT", format!("cli-{base}")),
        ];
        Self {
            dir: tempfile::tempdir().unwrap(),
            _database: database,
            environment,
            base,
        }
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
        command
            .args(arguments.split_whitespace())
            .env_clear()
            .envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)))
            .envs(self.environment.iter().map(|(name, value)| (*name, value)))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Asks the gateway with a token; the exit code must be as expected.
    fn ask(&self, token: &str, arguments: &str, code: i32) -> Output {
        let output = self
            .command(arguments)
            .env("SYNCLINE_GATEWAY_URL", format!("http://127.0.0.1:{}", self.base))
            .env("SYNCLINE_GATEWAY_TOKEN", token)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments}: {}", text(&output.stderr));
        output
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn ended_well(process: &mut Process, log: &Path) {
    process.terminate().unwrap();
    let status = eventually(SOON, || {
        let ended = process.ended();
        async move { ended.map_err(|e| e.to_string())?.ok_or_else(|| "it still runs".to_owned()) }
    })
    .await;
    assert_eq!(status.code(), Some(0), "{}", std::fs::read_to_string(log).unwrap());
}

#[tokio::test]
async fn an_installation_starts_makes_tokens_keeps_its_log_and_stops() {
    let here = Installation::new().await;
    let log = here.path("dev.log");
    let mut dev = Process::start(&mut here.command("dev --ready-file dev.ready"), &log).unwrap();
    let ready = here.path("dev.ready");
    eventually(SOON, || async {
        match (ready.exists(), std::fs::read_to_string(&log)) {
            (true, _) => Ok(()),
            (false, log) => Err(log),
        }
    })
    .await;
    let admin = std::fs::read_to_string(here.path(".local/keys/gateway-token")).unwrap();
    let admin = admin.trim();

    assert_eq!(text(&here.ask(admin, "whoami", 0).stdout), "bootstrap (admin)\n");
    let made = here.ask(admin, "token create ci --role operator --days 3", 0);
    let secret = text(&made.stdout).trim().to_owned();
    assert!(
        secret.starts_with("syn_") && text(&made.stderr).contains("only time"),
        "{}",
        text(&made.stderr)
    );
    assert_eq!(json(&here.ask(&secret, "whoami -o json", 0))["role"], "operator");
    let refused = here.ask(&secret, "token list", 7);
    assert!(text(&refused.stderr).contains("AUTH_ROLE_001"), "{}", text(&refused.stderr));
    let list = here.ask(admin, "token list", 0);
    assert!(
        text(&list.stdout).contains("ci") && !text(&list.stdout).contains(&secret),
        "{}",
        text(&list.stdout)
    );
    let id = json(&here.ask(admin, "token list -o json", 0))["tokens"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    here.ask(admin, &format!("token revoke {id}"), 0);
    let refused = here.ask(&secret, "whoami", 7);
    assert!(text(&refused.stderr).contains("revoked"), "{}", text(&refused.stderr));

    // Definitions, without an org behind them.
    std::fs::write(here.path("secret"), "s3cret").unwrap();
    std::fs::write(here.path("org.yaml"), CONNECTIONS).unwrap();
    std::fs::write(here.path("sync.yaml"), SYNC).unwrap();
    let applied = here.ask(admin, "apply -f org.yaml sync.yaml", 0);
    assert!(text(&applied.stdout).contains("refresh"), "{}", text(&applied.stdout));
    let again = json(&here.ask(admin, "apply -f org.yaml sync.yaml -o json", 0));
    assert!(!again.to_string().contains("true"), "nothing changed: {again}");
    here.ask(
        admin,
        "connection add more --url http://127.0.0.1:1 --client-id id --client-secret-file secret",
        0,
    );
    let list = here.ask(admin, "connection list", 0);
    assert!(
        text(&list.stdout).contains("production") && !text(&list.stdout).contains("s3cret"),
        "{}",
        text(&list.stdout)
    );
    here.ask(admin, "connection test more", 1);
    here.ask(admin, "connection delete more", 0);
    here.ask(admin, "connection delete more", 6);
    here.ask(admin, "check refresh", 1);
    std::fs::write(here.path("bad.yaml"), SYNC.replace("target:", "tarket:")).unwrap();
    let refused = here.ask(admin, "apply -f org.yaml bad.yaml", 2);
    assert!(text(&refused.stderr).contains("bad.yaml:"), "{}", text(&refused.stderr));

    // Nothing is there yet, and everybody says so.
    for arguments in ["runs", "connection list", "dead-letters"] {
        here.ask(admin, arguments, 0);
    }
    here.ask(admin, "report r-nothing", 6);
    here.ask(admin, "check nothing", 6);

    let list = here.ask(admin, "audit list --subject ci", 0);
    assert!(text(&list.stdout).contains("PERMISSION_DENIED"), "{}", text(&list.stdout));
    assert!(text(&here.ask(admin, "audit verify", 0).stdout).contains("hold together"));
    let export = here.ask(admin, "audit export", 0).stdout;
    std::fs::write(here.path("audit.jsonl"), &export).unwrap();
    here.ask(admin, "audit verify audit.jsonl", 0);
    std::fs::write(here.path("forged.jsonl"), text(&export).replacen("PERMISSION_DENIED", "OK", 1)).unwrap();
    let forged = here.ask(admin, "audit verify forged.jsonl", 1);
    assert!(text(&forged.stderr).contains("tampered"), "{}", text(&forged.stderr));

    let health = format!("health http://127.0.0.1:{}", here.base + 1);
    here.ask(admin, &health, 0);
    here.ask(admin, &format!("{health} --service liveness -o json"), 0);
    ended_well(&mut dev, &log).await;
    assert!(!ready.exists(), "it says that it serves");
    here.ask(admin, &health, 8);
}

#[tokio::test]
async fn a_single_service_runs_once_its_schema_was_migrated() {
    let mut here = Installation::new().await;
    here.environment.push(("SYNCLINE_MIGRATE", "never".to_owned()));
    let refused = here.command("serve coordinator").output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("syncline migrate"), "{}", text(&refused.stderr));
    for _ in 0..2 {
        let migrated = here.command("migrate -o json").output().unwrap();
        assert_eq!(migrated.status.code(), Some(0), "{}", text(&migrated.stderr));
        assert_eq!(json(&migrated)["schemas"].as_object().unwrap().len(), 8);
    }
    let log = here.path("coordinator.log");
    let mut coordinator = Process::start(&mut here.command("serve coordinator"), &log).unwrap();
    eventually(SOON, || async {
        let health = here.command(&format!("health http://127.0.0.1:{}", here.base + 1)).output();
        match health.unwrap().status.code() {
            Some(0) => Ok(()),
            other => Err((other, std::fs::read_to_string(&log))),
        }
    })
    .await;
    ended_well(&mut coordinator, &log).await;
    let unknown = here.command("serve nobody").output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}
