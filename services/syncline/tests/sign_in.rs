//! A person signs in with a browser: the real binary, the product behind it, and an org with a login form.
#![allow(clippy::unwrap_used)]

use std::process::Stdio;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use syncline_e2e::{SimulatedOrg, Stack};
use syncline_salesforce_simulator::OrgConfig;
use syncline_salesforce_simulator::auth::config::LoginConfig;
use syncline_testkit::free_port;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStderr, Command};

const DEADLINE: Duration = Duration::from_secs(60);

/// `syncline connection add` under way.
struct Adding {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// Where the person is sent.
    authorize: Url,
}

/// What it said, and how it ended.
struct Ended {
    exit: Option<i32>,
    text: String,
}

fn add(stack: &Stack, org: &SimulatedOrg, port: u16, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
    command
        .args(["connection", "add", "uat", "--flow", "web_server", "--no-browser"])
        .args([
            "--url",
            org.url(),
            "--client-id",
            org.client_id(),
            "--client-secret-env",
            "APP_SECRET",
        ])
        .args(["--port", &port.to_string()])
        .args(more)
        .env("SYNCLINE_GATEWAY_URL", &stack.gateway_url)
        .env("SYNCLINE_GATEWAY_TOKEN", &stack.token)
        .env("APP_SECRET", org.client_secret())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

impl Adding {
    async fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let read = async {
            let mut said = String::new();
            loop {
                let mut line = String::new();
                assert!(stderr.read_line(&mut line).await.unwrap() > 0, "no address was printed: {said}");
                match Url::parse(line.trim()) {
                    Ok(url) if url.path().ends_with("/oauth2/authorize") => return url,
                    _ => said.push_str(&line),
                }
            }
        };
        let authorize = tokio::time::timeout(DEADLINE, read).await.unwrap();
        Self { child, stderr, authorize }
    }

    /// The org's form, sent with these fields; where the browser is sent back to.
    async fn answer(&self, fields: &[(&str, &str)]) -> Url {
        let browser = Client::builder().redirect(Policy::none()).build().unwrap();
        let form = browser.get(self.authorize.clone()).send().await.unwrap();
        assert_eq!(form.status(), StatusCode::OK);
        let mut sent: Vec<(String, String)> = self.authorize.query_pairs().into_owned().collect();
        sent.extend(fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let mut post = self.authorize.clone();
        post.set_query(None);
        let back = browser.post(post).form(&sent).send().await.unwrap();
        assert_eq!(back.status(), StatusCode::FOUND, "{}", back.text().await.unwrap());
        Url::parse(back.headers()["location"].to_str().unwrap()).unwrap()
    }

    async fn end(mut self) -> Ended {
        let whole = async {
            let mut text = String::new();
            let mut stdout = self.child.stdout.take().unwrap();
            stdout.read_to_string(&mut text).await.unwrap();
            self.stderr.read_to_string(&mut text).await.unwrap();
            Ended {
                exit: self.child.wait().await.unwrap().code(),
                text,
            }
        };
        tokio::time::timeout(DEADLINE, whole).await.unwrap()
    }
}

async fn page(url: Url) -> (StatusCode, String) {
    let answer = Client::new().get(url).send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

fn org(port: u16) -> SimulatedOrg {
    SimulatedOrg::start(OrgConfig {
        login: LoginConfig {
            callbacks: vec![format!("http://localhost:{port}/OauthRedirect")],
            ..LoginConfig::default()
        },
        ..SimulatedOrg::sandbox()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_refuses_or_does_not_come() {
    let (stack, port) = (Stack::start().await, free_port());
    let org = org(port);

    // Whoever refuses leaves nothing behind.
    let adding = Adding::start(add(&stack, &org, port, &[])).await;
    let back = adding.answer(&[("deny", "1")]).await;
    let (status, text) = page(back).await;
    assert!(status.is_success() && text.contains("not granted"), "{text}");
    let ended = adding.end().await;
    assert_ne!(ended.exit, Some(0));
    assert!(
        ended.text.contains("AUTH_CREDENTIALS_001") && ended.text.contains("end-user denied authorization"),
        "{}",
        ended.text
    );
    assert!(stack.door.test_connection("uat").await.is_err(), "nothing is stored");

    let adding = Adding::start(add(&stack, &org, port, &["--wait", "1"])).await;
    let ended = adding.end().await;
    assert!(
        ended.exit == Some(1) && ended.text.contains("nobody signed in within 1 s"),
        "{}",
        ended.text
    );

    let adding = Adding::start(add(&stack, &org, port, &[])).await;
    let login = LoginConfig::default();
    let back = adding
        .answer(&[("username", org.username()), ("password", &login.password), ("approve", "1")])
        .await;
    // A page that somebody else sends the browser to is neither believed nor the end.
    let mut forged = back.clone();
    forged.query_pairs_mut().clear().append_pair("code", "x").append_pair("state", "y");
    assert_eq!(page(forged).await.0, StatusCode::BAD_REQUEST);
    let code = back.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let (status, text) = page(back).await;
    assert!(status.is_success() && text.contains("You can close this window"), "{text}");
    assert!(!text.contains(&code));
    let ended = adding.end().await;
    assert!(ended.exit == Some(0) && ended.text.contains("created"), "{}", ended.text);
    assert!(
        !ended.text.contains(&code) && !ended.text.contains(org.client_secret()),
        "{}",
        ended.text
    );
    let connection = stack.door.test_connection("uat").await.unwrap();
    assert_eq!((connection.health.as_str(), connection.org_id.as_str()), ("Connected", org.id()));

    // What a browser has to come back to must be ours.
    let taken = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let output = add(&stack, &org, port, &[]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("port {port}")) && said.contains("--port"), "{said}");
    drop(taken);
}
