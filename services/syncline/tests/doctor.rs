//! `syncline doctor`: every broken set-up is exactly the finding that names it, a healthy one gives only `ok`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod apart;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use apart::{Apart, outcome};
use async_nats::jetstream;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use syncline_domain::ErrorCode;
use syncline_e2e::{PrivateNats, port_block};
use syncline_testkit::{Process, TestDatabase, eventually, nats_options};
use syncline_wire::identity::token_service_server::{TokenService, TokenServiceServer};
use syncline_wire::identity::{
    CreateTokenRequest, CreateTokenResponse, ListTokensRequest, ListTokensResponse, RevokeTokenRequest, RevokeTokenResponse, WhoAmIRequest,
    WhoAmIResponse,
};
use syncline_wire::status::status;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;

const TOKEN: &str = "t0ken";

/// A gateway that says what it is told to say.
#[derive(Clone, Default)]
struct Script {
    unready: bool,
    /// The moment of its answers, where it is not this one.
    date: Option<&'static str>,
    tls: Option<Identity>,
}

#[tonic::async_trait]
impl TokenService for Script {
    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        match request.metadata().get("authorization") {
            Some(bearer) if *bearer == *format!("Bearer {TOKEN}") => {}
            _ => return Err(status(ErrorCode::Credentials, "this API token is not known")),
        }
        Ok(Response::new(WhoAmIResponse {
            subject: "ann".into(),
            role: "operator".into(),
        }))
    }
    async fn create_token(&self, _: Request<CreateTokenRequest>) -> Result<Response<CreateTokenResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }
    async fn list_tokens(&self, _: Request<ListTokensRequest>) -> Result<Response<ListTokensResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }
    async fn revoke_token(&self, _: Request<RevokeTokenRequest>) -> Result<Response<RevokeTokenResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }
}

/// Health that carries a date of its own.
struct Dated<H>(H, Option<&'static str>);

#[tonic::async_trait]
impl<H: tonic_health::pb::health_server::Health> tonic_health::pb::health_server::Health for Dated<H> {
    async fn check(
        &self,
        request: Request<tonic_health::pb::HealthCheckRequest>,
    ) -> Result<Response<tonic_health::pb::HealthCheckResponse>, Status> {
        let mut answer = self.0.check(request).await?;
        if let Some(date) = self.1 {
            answer.metadata_mut().insert("date", date.parse().unwrap());
        }
        Ok(answer)
    }
    type WatchStream = H::WatchStream;
    async fn watch(&self, request: Request<tonic_health::pb::HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.0.watch(request).await
    }
}

impl Script {
    async fn start(self) -> SocketAddr {
        syncline_runtime::entry::install_crypto();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reporter = tonic_health::server::HealthReporter::new();
        let state = if self.unready {
            ServingStatus::NotServing
        } else {
            ServingStatus::Serving
        };
        reporter.set_service_status("readiness", state).await;
        let health = tonic_health::server::HealthService::from_health_reporter(reporter);
        let health = tonic_health::pb::health_server::HealthServer::new(Dated(health, self.date));
        let mut server = Server::builder();
        if let Some(identity) = self.tls.clone() {
            server = server.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
        }
        let serving = server
            .add_service(health)
            .add_service(TokenServiceServer::new(self))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        address
    }
}

/// What the doctor said.
struct Seen {
    code: Option<i32>,
    json: Value,
    text: String,
}

impl Seen {
    /// Check and verdict of everything that is not well.
    fn bad(&self) -> Vec<(&str, &str)> {
        self.findings()
            .filter(|f| f["verdict"] != "ok")
            .map(|f| (f["check"].as_str().unwrap(), f["verdict"].as_str().unwrap()))
            .collect()
    }

    fn findings(&self) -> impl Iterator<Item = &Value> {
        self.json["findings"].as_array().unwrap().iter()
    }

    fn of(&self, check: &str) -> &Value {
        self.findings()
            .find(|f| f["check"] == check)
            .unwrap_or_else(|| panic!("no `{check}` in {}", self.text))
    }

    /// Exactly this is not well, it says `detail`, and `remedy` would mend it.
    #[track_caller]
    fn is_only(&self, check: &str, verdict: &str, detail: &str, remedy: &str) {
        assert_eq!(self.bad(), [(check, verdict)], "{}", self.text);
        let finding = self.of(check);
        assert!(finding["detail"].as_str().unwrap().contains(detail), "{finding}");
        assert!(finding["remedy"].as_str().unwrap().contains(remedy), "{finding}");
        assert_eq!(self.code, Some(if verdict == "fail" { 1 } else { 0 }), "{}", self.text);
    }
}

async fn see(command: Command) -> Seen {
    let output = outcome(command).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "", "everything is a finding");
    let json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    Seen {
        code: output.status.code(),
        json,
        text,
    }
}

fn doctor() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
    command
        .args(["doctor", "-o", "json"])
        .env_clear()
        .envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)))
        .stdin(Stdio::null());
    command
}

async fn ask(url: &str, token: Option<&str>) -> Seen {
    let mut command = doctor();
    command
        .env("SYNCLINE_GATEWAY_URL", url)
        .envs(token.map(|t| ("SYNCLINE_GATEWAY_TOKEN", t)));
    see(command).await
}

#[tokio::test]
async fn a_way_that_is_whole_gives_only_ok_and_shows_no_password() {
    let gateway = Script::default().start().await;
    let seen = ask(&format!("http://me:s3cret@{gateway}"), Some(TOKEN)).await;
    assert_eq!((seen.bad(), seen.code), (Vec::new(), Some(0)), "{}", seen.text);
    let checks: Vec<&str> = seen.findings().map(|f| f["check"].as_str().unwrap()).collect();
    assert_eq!(
        checks,
        [
            "gateway address",
            "gateway port",
            "gateway TLS",
            "gateway health",
            "API token",
            "clock"
        ]
    );
    assert_eq!(seen.of("API token")["detail"], "accepted: ann (operator)");
    assert!(!seen.text.contains("s3cret") && !seen.text.contains(TOKEN), "{}", seen.text);
    assert!(
        seen.json["not_checked"][0].as_str().unwrap().contains("version"),
        "the script does not tell it: {}",
        seen.text
    );
}

#[tokio::test]
async fn every_broken_way_is_the_finding_that_names_it() {
    let good = format!("http://{}", Script::default().start().await);
    let no_token = ask(&good, None).await;
    no_token.is_only("API token", "fail", "none is given", "SYNCLINE_GATEWAY_TOKEN");
    let wrong = ask(&good, Some("wr0ng")).await;
    wrong.is_only("API token", "fail", "not known", "syncline token create");
    assert!(!wrong.text.contains("wr0ng"), "{}", wrong.text);
    let torn = ask(&good, Some("a\nb")).await;
    torn.is_only("API token", "fail", "characters that no token has", "SYNCLINE_GATEWAY_TOKEN");
    let unready = Script {
        unready: true,
        ..Script::default()
    };
    let unready = ask(&format!("http://{}", unready.start().await), Some(TOKEN)).await;
    unready.is_only("gateway health", "fail", "not ready", "gateway's log");
    let slow_clock = Script {
        date: Some("Thu, 01 Jan 2015 00:00:00 GMT"),
        ..Script::default()
    };
    let slow_clock = ask(&format!("http://{}", slow_clock.start().await), Some(TOKEN)).await;
    slow_clock.is_only("clock", "warn", "ahead of the gateway", "NTP");
    let nobody = format!("http://127.0.0.1:{}", syncline_testkit::free_port());
    ask(&nobody, Some(TOKEN))
        .await
        .is_only("gateway port", "fail", "nobody listens", "syncline dev");
    ask("http://syncline.invalid:7600", Some(TOKEN)).await.is_only(
        "gateway name",
        "fail",
        "`syncline.invalid` is not known",
        "name server",
    );
    for nonsense in ["ftp://me:s3cret@127.0.0.1", "127.0.0.1:7600", "http://a b"] {
        let seen = ask(nonsense, Some(TOKEN)).await;
        seen.is_only("gateway address", "fail", "it is not one", "http://127.0.0.1:7600");
        assert!(!seen.text.contains("s3cret"), "{}", seen.text);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stranger = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // Whoever was looked at may be gone already.
            let _ = stream.write_all(b"SSH-2.0-something\r\n").await;
        }
    });
    ask(&stranger, Some(TOKEN))
        .await
        .is_only("gateway health", "fail", "does not speak gRPC", "https://");
    ask(&stranger.replace("http:", "https:"), Some(TOKEN))
        .await
        .is_only("gateway TLS", "fail", "no TLS is spoken there", "http://");
}

/// A port that takes connections and never says a word must not hold anybody up.
#[tokio::test]
async fn silence_is_waited_for_five_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    for scheme in ["http", "https"] {
        let began = std::time::Instant::now();
        let seen = ask(&format!("{scheme}://{address}"), Some(TOKEN)).await;
        assert!(began.elapsed() < Duration::from_secs(20), "{scheme}: {:?}", began.elapsed());
        assert_eq!(seen.code, Some(1), "{}", seen.text);
        assert!(seen.text.contains("no answer within 5 s"), "{scheme}: {}", seen.text);
    }
}

/// An authority in a file, and a gateway with a certificate of it for `localhost` that lives so many days.
async fn secured(dir: &Path, days: i64) -> SocketAddr {
    let mut params = CertificateParams::default();
    let name = format!("authority of {}", dir.display());
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let now = std::time::SystemTime::now();
    let day = Duration::from_secs(86_400);
    params.not_before = (now - 10 * day).into();
    let away = day * u32::try_from(days.abs()).unwrap();
    params.not_after = if days < 0 { now - away } else { now + away }.into();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &ca).unwrap();
    let script = Script {
        tls: Some(Identity::from_pem(certificate.pem(), key.serialize_pem())),
        ..Script::default()
    };
    script.start().await
}

#[tokio::test]
async fn a_certificate_is_trusted_names_the_host_and_lives_on_or_is_the_finding() {
    let dir = tempfile::tempdir().unwrap();
    let port = secured(dir.path(), 90).await.port();
    let ours = dir.path().join("ca.pem");
    let others = tempfile::tempdir().unwrap();
    secured(others.path(), 90).await;
    let look = async |url: String, ca: Option<&Path>| {
        let mut command = doctor();
        command
            .env("SYNCLINE_GATEWAY_URL", url)
            .env("SYNCLINE_GATEWAY_TOKEN", TOKEN)
            // The system's own authorities.
            .env("SSL_CERT_FILE", others.path().join("ca.pem"))
            .envs(ca.map(|ca| ("SYNCLINE_GATEWAY_CA", ca)));
        see(command).await
    };
    let good = look(format!("https://localhost:{port}"), Some(&ours)).await;
    assert_eq!((good.bad(), good.code), (Vec::new(), Some(0)), "{}", good.text);
    assert!(
        good.of("gateway TLS")["detail"]
            .as_str()
            .unwrap()
            .starts_with("valid for 89 more days"),
        "{}",
        good.text
    );
    assert!(good.of("gateway name")["detail"].as_str().unwrap().contains("127.0.0.1"));

    let unknown = look(format!("https://localhost:{port}"), None).await;
    unknown.is_only("gateway TLS", "fail", "issuer is not known", "--ca");
    let unnamed = look(format!("https://127.0.0.1:{port}"), Some(&ours)).await;
    unnamed.is_only("gateway TLS", "fail", "does not name `127.0.0.1`", "has: localhost.");
    let missing = look(format!("https://localhost:{port}"), Some(Path::new("/nowhere.pem"))).await;
    missing.is_only("gateway TLS", "fail", "/nowhere.pem", "--ca");
    let plain = look(format!("http://localhost:{port}"), None).await;
    plain.is_only("gateway health", "fail", "does not speak gRPC", "https://");

    let short = secured(dir.path(), 7).await.port();
    look(format!("https://localhost:{short}"), Some(&ours)).await.is_only(
        "gateway TLS",
        "warn",
        "valid for 6 more days",
        "SYNCLINE_GATEWAY_TLS_CERT",
    );
    let expired = secured(dir.path(), -1).await.port();
    look(format!("https://localhost:{expired}"), Some(&ours)).await.is_only(
        "gateway TLS",
        "fail",
        "it ran out on",
        "SYNCLINE_GATEWAY_TLS_CERT",
    );
}

/// `syncline dev` on servers of its own.
struct Installation {
    dir: TempDir,
    nats: PrivateNats,
    database: TestDatabase,
    base_port: u16,
    _guard: std::net::TcpListener,
}

impl Installation {
    async fn lay() -> Self {
        let (nats, database) = tokio::join!(PrivateNats::start(), TestDatabase::create());
        let (guard, base_port) = port_block();
        Self {
            dir: tempfile::tempdir().unwrap(),
            nats,
            database,
            base_port,
            _guard: guard,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
        command
            .args(arguments)
            .env_clear()
            .envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)))
            .env("SYNCLINE_NATS_URL", self.nats.url())
            .env("SYNCLINE_DATABASE_URL", self.database.url())
            .env("SYNCLINE_BASE_PORT", self.base_port.to_string())
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    fn doctor(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        let keys = self.dir.path().join(".local/keys");
        command
            .env("SYNCLINE_GATEWAY_URL", format!("http://127.0.0.1:{}", self.base_port))
            .env(
                "SYNCLINE_GATEWAY_TOKEN",
                std::fs::read_to_string(keys.join("gateway-token")).unwrap().trim(),
            )
            .env("SYNCLINE_KEYS_DIR", keys);
        command
    }

    async fn see(&self, settings: &[(&str, &str)]) -> Seen {
        let mut command = self.doctor(&["doctor", "--installation", "-o", "json"]);
        command.envs(settings.iter().copied());
        see(command).await
    }

    async fn sql(&self, statement: &'static str) {
        let mut connection = PgConnection::connect(self.database.url()).await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

/// What is not well beside that services and gateway do not run.
fn beside_services(seen: &Seen) -> Vec<(&str, &str)> {
    let of_services = |check: &str| check.starts_with("service ") || check == "gateway port";
    seen.bad().into_iter().filter(|(check, _)| !of_services(check)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_gives_only_ok_until_something_breaks_and_then_names_it() {
    let here = Installation::lay().await;
    let log = here.dir.path().join("dev.log");
    let mut dev = Process::start(&mut here.command(&["dev", "--ready-file", "dev.ready"]), &log).unwrap();
    let ready = here.dir.path().join("dev.ready");
    eventually(apart::SOON, || async {
        match ready.exists() {
            true => Ok(()),
            false => Err(std::fs::read_to_string(&log)),
        }
    })
    .await;
    let seen = here.see(&[]).await;
    assert_eq!((seen.bad(), seen.code), (Vec::new(), Some(0)), "{}", seen.text);
    let count = |start: &str| seen.findings().filter(|f| f["check"].as_str().unwrap().starts_with(start)).count();
    assert_eq!(
        (count("schema "), count("stream "), count("key "), count("service ")),
        (8, 5, 5, 7),
        "{}",
        seen.text
    );
    assert_eq!(seen.of("version")["verdict"], "ok");
    let unseen: Vec<&str> = seen.json["not_checked"]
        .as_array()
        .unwrap()
        .iter()
        .map(|u| u.as_str().unwrap())
        .collect();
    assert!(unseen.len() == 1 && unseen[0].contains("sync_interval"), "{unseen:?}");
    for secret in [here.nats.url(), here.database.url()] {
        let (_, password) = secret
            .split_once("://")
            .unwrap()
            .1
            .split_once('@')
            .unwrap()
            .0
            .split_once(':')
            .unwrap();
        assert!(!seen.text.contains(&format!(":{password}@")), "{}", seen.text);
    }
    let shown = outcome(here.doctor(&["doctor", "--installation"])).await;
    let shown = String::from_utf8(shown.stdout).unwrap();
    for line in shown.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(shown.ends_with(", 0 warn, 0 fail\n"), "{shown}");

    dev.terminate().unwrap();
    assert_eq!(apart::ended(&mut dev).await, Some(0));
    let stopped = here.see(&[]).await;
    assert_eq!(stopped.bad().len(), 8, "{}", stopped.text);
    assert!(
        stopped.of("service masker")["remedy"]
            .as_str()
            .unwrap()
            .contains("syncline serve masker")
    );
    assert_eq!(beside_services(&stopped), [], "{}", stopped.text);

    let keys = here.dir.path().join(".local/keys");
    let kept = std::fs::read(keys.join("mask")).unwrap();
    std::fs::remove_file(keys.join("mask")).unwrap();
    let seen = here.see(&[]).await;
    assert_eq!(beside_services(&seen), [("key mask", "fail")]);
    assert!(seen.of("key mask")["remedy"].as_str().unwrap().contains("SYNCLINE_KEY_MASK"));
    std::fs::write(keys.join("mask"), kept).unwrap();
    let mode = |mode| std::fs::set_permissions(keys.join("mask"), std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o640);
    let seen = here.see(&[]).await;
    assert_eq!(beside_services(&seen), [("key mask", "warn")]);
    mode(0o600);

    // Streams: of another release, missing, fewer replicas than wanted.
    let (options, address) = nats_options(here.nats.url());
    let streams = jetstream::new(options.connect(address).await.unwrap());
    let mut config = streams.get_stream("EVENTS").await.unwrap().cached_info().config.clone();
    config.max_age = Duration::from_secs(3600);
    streams.update_stream(config).await.unwrap();
    streams.delete_stream("DEAD").await.unwrap();
    let seen = here.see(&[]).await;
    assert_eq!(
        beside_services(&seen),
        [("stream EVENTS", "fail"), ("stream DEAD", "fail")],
        "{}",
        seen.text
    );
    assert_eq!(seen.of("stream EVENTS")["detail"], "not as this release needs it: max_age");
    assert_eq!(seen.of("stream DEAD")["detail"], "missing");
    assert!(seen.of("stream DEAD")["remedy"].as_str().unwrap().contains("syncline migrate"));
    let migrated = outcome(here.command(&["migrate"])).await;
    assert_eq!(migrated.status.code(), Some(0));
    let seen = here.see(&[("SYNCLINE_NATS_REPLICAS", "3")]).await;
    assert_eq!(beside_services(&seen).len(), 5, "{}", seen.text);
    assert_eq!(seen.of("stream TASKS")["detail"], "it has not the 3 replicas that it should have");
    assert!(
        seen.of("stream TASKS")["remedy"]
            .as_str()
            .unwrap()
            .contains("SYNCLINE_NATS_REPLICAS")
    );

    // Schemas.
    here.sql(
        "update loader._sqlx_migrations set success = false where version = (select max(version) from loader._sqlx_migrations);
         delete from masker._sqlx_migrations where version = (select max(version) from masker._sqlx_migrations);
         insert into monitor._sqlx_migrations (version, description, success, checksum, execution_time)
             values (99999999, 'later', true, '', 0);
         update gateway._sqlx_migrations set checksum = '' where version = (select min(version) from gateway._sqlx_migrations);
         drop schema analyzer cascade",
    )
    .await;
    let seen = here.see(&[]).await;
    let schemas = ["analyzer", "loader", "masker", "gateway"].map(|name| format!("schema {name}"));
    let mut bad = beside_services(&seen);
    bad.sort_unstable();
    let mut wanted: Vec<(&str, &str)> = schemas.iter().map(|s| (s.as_str(), "fail")).collect();
    wanted.sort_unstable();
    assert_eq!(bad, wanted, "{}", seen.text);
    for (schema, detail) in [
        ("schema analyzer", "missing"),
        ("schema loader", "stopped half-way"),
        ("schema masker", "1 migration is missing"),
        ("schema gateway", "not the one of this release"),
        ("schema monitor", "of a later release"),
    ] {
        assert!(seen.of(schema)["detail"].as_str().unwrap().contains(detail), "{}", seen.text);
    }

    // Servers that are away or do not let us in.
    let nowhere = format!("127.0.0.1:{}", syncline_testkit::free_port());
    let nats = format!("nats://me:s3cret@{nowhere}");
    let database = format!("postgres://me:s3cret@{nowhere}/db");
    let seen = here
        .see(&[("SYNCLINE_NATS_URL", &nats), ("SYNCLINE_DATABASE_URL", &database)])
        .await;
    assert_eq!(beside_services(&seen), [("NATS", "fail"), ("PostgreSQL", "fail")], "{}", seen.text);
    assert!(seen.of("NATS")["remedy"].as_str().unwrap().contains("SYNCLINE_NATS_URL"));
    assert!(seen.of("PostgreSQL")["remedy"].as_str().unwrap().contains("SYNCLINE_DATABASE_URL"));
    assert!(!seen.text.contains("s3cret"), "{}", seen.text);
    let stranger = here.nats.url().replacen("syncline:", "syncline:s3cret", 1);
    let seen = here.see(&[("SYNCLINE_NATS_URL", &stranger)]).await;
    assert!(
        seen.of("NATS")["remedy"].as_str().unwrap().contains("user and password"),
        "{}",
        seen.text
    );
    assert!(!seen.text.contains("s3cret"), "{}", seen.text);

    // Settings.
    let seen = here.see(&[("SYNCLINE_MASKER_URL", "masker:7605")]).await;
    assert!(
        seen.of("service masker")["detail"]
            .as_str()
            .unwrap()
            .contains("SYNCLINE_MASKER_URL is not an address"),
        "{}",
        seen.text
    );
    let seen = here
        .see(&[
            ("SYNCLINE_BASE_PORT", "many"),
            ("SYNCLINE_MIGRATE", "no"),
            ("SYNCLINE_GATEWAY_PLAINTEXT", "no"),
        ])
        .await;
    let settings: Vec<&Value> = seen.findings().filter(|f| f["check"] == "environment").collect();
    assert_eq!(settings.len(), 3, "{}", seen.text);
    assert!(seen.text.contains("the environment comes first"), "{}", seen.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hardened_installation_gives_only_ok_to_whom_it_lets_in() {
    let apart = Apart::start(&[]).await;
    let ground = &apart.ground;
    let look = async |user: &str, settings: &[(&str, &Path)]| {
        let mut command = ground.command(user, &["doctor", "--installation", "-o", "json"]);
        command
            .env("SYNCLINE_GATEWAY_URL", format!("http://127.0.0.1:{}", ground.base_port))
            .env("SYNCLINE_GATEWAY_TOKEN", ground.token())
            .envs(settings.iter().copied());
        see(command).await
    };
    for (user, streams, unseen) in [("migrate", 5, 1), ("loader", 2, 4)] {
        // Services listen a moment before they are ready.
        let seen = eventually(apart::SOON, || async {
            let seen = look(user, &[]).await;
            if seen.bad().is_empty() { Ok(seen) } else { Err(seen.text) }
        })
        .await;
        assert_eq!(seen.code, Some(0));
        let found = seen
            .findings()
            .filter(|f| f["check"].as_str().unwrap().starts_with("stream "))
            .count();
        assert_eq!(
            (found, seen.json["not_checked"].as_array().unwrap().len()),
            (streams, unseen),
            "{}",
            seen.text
        );
        let whose = seen.of("TLS certificate")["detail"].as_str().unwrap();
        assert!(whose.starts_with(&format!("of `{user}`, valid for ")), "{whose}");
    }

    // Somebody else's certificate, and one that ran out.
    let elsewhere = tempfile::tempdir().unwrap();
    let made = outcome({
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
        command.env_clear().arg("secrets").arg(elsewhere.path());
        command
    })
    .await;
    assert_eq!(made.status.code(), Some(0));
    let tls = |name: &str| elsewhere.path().join("tls").join(name);
    let seen = look(
        "migrate",
        &[
            ("SYNCLINE_TLS_CERT", &tls("migrate.pem")),
            ("SYNCLINE_TLS_KEY", &tls("migrate.key")),
        ],
    )
    .await;
    let bad: Vec<&str> = seen.bad().into_iter().map(|(check, _)| check).collect();
    assert!(bad.contains(&"NATS") && bad.contains(&"service loader"), "{}", seen.text);
    assert!(!bad.iter().any(|check| check.starts_with("TLS")), "the files are whole: {bad:?}");
    let seen = look("migrate", &[("SYNCLINE_TLS_KEY", &tls("migrate.key"))]).await;
    let bad: Vec<&str> = seen.bad().into_iter().map(|(check, _)| check).collect();
    assert!(bad.contains(&"TLS key"), "{}", seen.text);

    let old = elsewhere.path().join("old.pem");
    let mut params = CertificateParams::new(vec!["migrate.syncline".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2024, 2, 29);
    std::fs::write(&old, params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()).unwrap();
    let seen = look("migrate", &[("SYNCLINE_TLS_CERT", &old)]).await;
    let certificate = seen.of("TLS certificate");
    assert_eq!(certificate["verdict"], "fail");
    assert!(certificate["detail"].as_str().unwrap().contains("2024"), "{certificate}");
    assert!(
        certificate["remedy"].as_str().unwrap().contains("--renew-certificates"),
        "{certificate}"
    );
    assert_eq!(
        seen.json["not_checked"].to_string().matches("to ask with cannot be used").count(),
        2,
        "{}",
        seen.text
    );
    apart.stop().await;
}
