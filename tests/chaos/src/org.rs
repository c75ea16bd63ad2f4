//! A simulated org as a process, with a proxy before it, seen over plain HTTP.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use syncline_testkit::{FaultProxy, Process};

use crate::installation::Programs;

const READY_WAIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

pub struct Org {
    /// Past the proxy: faults of the network do not hinder whoever looks.
    pub url: String,
    pub token: String,
    pub id: String,
    pub client_id: String,
    pub client_secret: String,
    pub proxy: FaultProxy,
    /// What Syncline is told.
    pub proxied_url: String,
    http: reqwest::Client,
    _process: Process,
}

impl Org {
    pub async fn start(programs: &Programs, home: &Path, name: &str, arguments: &[String]) -> Result<Self> {
        let ready = home.join(format!("{name}.ready"));
        let _ = std::fs::remove_file(&ready);
        let mut command = Command::new(programs.simulator());
        command.args(arguments).args(["--port", "0", "--ready-file"]).arg(&ready);
        let mut process = Process::start(&mut command, &home.join("log").join(format!("{name}.log")))?;
        let end = tokio::time::Instant::now() + READY_WAIT;
        let facts: Value = loop {
            if let Ok(text) = std::fs::read_to_string(&ready) {
                break serde_json::from_str(&text)?;
            }
            if let Some(status) = process.ended()? {
                bail!("the org {name} ended at its start: {status}");
            }
            ensure!(tokio::time::Instant::now() < end, "the org {name} is not ready");
            tokio::time::sleep(PAUSE).await;
        };
        let fact = |name: &str| {
            facts[name]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("the org says no {name}"))
        };
        let url = fact("url")?;
        let (proxy, proxied) = FaultProxy::before(&url, 80).await?;
        Ok(Self {
            token: fact("token")?,
            id: fact("org_id")?,
            client_id: fact("client_id")?,
            client_secret: fact("client_secret")?,
            proxied_url: proxied.trim_end_matches('/').to_owned(),
            url,
            proxy,
            http: reqwest::Client::new(),
            _process: process,
        })
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> Result<Value> {
        let method: reqwest::Method = method.parse()?;
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{path}: {status} {text}");
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Controls the simulator.
    pub async fn sim(&self, method: &str, path: &str, body: Value) -> Result<Value> {
        self.send(method, &format!("/__sim/{path}"), body).await
    }

    /// Scripts what happens to requests to come.
    pub async fn fault(&self, fault: Value) -> Result<()> {
        self.sim("POST", "faults", fault).await?;
        Ok(())
    }

    /// How often what was scripted would still happen.
    pub async fn faults_left(&self) -> Result<u64> {
        let left = self.sim("GET", "faults", Value::Null).await?;
        left["left"].as_u64().context("a number of faults")
    }

    /// Nothing that was scripted happens any more.
    pub async fn heal(&self) -> Result<()> {
        self.proxy.forward();
        self.sim("DELETE", "faults", Value::Null).await?;
        Ok(())
    }

    /// Records written since the org's start.
    pub async fn writes(&self) -> Result<u64> {
        let report = self.sim("GET", "requests", Value::Null).await?;
        report["writes"].as_u64().context("a number of writes")
    }

    /// The ids of an object's records, in their 15-character form.
    pub async fn ids(&self, object: &str) -> Result<Vec<String>> {
        let mut path = format!("/services/data/v65.0/query?q=SELECT+Id+FROM+{object}");
        let mut ids = Vec::new();
        loop {
            let page = self.send("GET", &path, Value::Null).await?;
            for record in page["records"].as_array().context("records")? {
                ids.push(record["Id"].as_str().context("an id")?.chars().take(15).collect());
            }
            match page["nextRecordsUrl"].as_str() {
                Some(next) => path = next.to_owned(),
                None => return Ok(ids),
            }
        }
    }

    /// Ingest jobs by state, of those that have not ended.
    pub async fn open_jobs(&self) -> Result<Vec<String>> {
        let list = self.send("GET", "/services/data/v65.0/jobs/ingest", Value::Null).await?;
        let records = list["records"].as_array().cloned().unwrap_or_default();
        let states = records.iter().filter_map(|job| job["state"].as_str());
        Ok(states
            .filter(|state| ["Open", "UploadComplete", "InProgress"].contains(state))
            .map(str::to_owned)
            .collect())
    }

    /// Ends every session but the one that looks.
    pub async fn revoke_tokens(&self) -> Result<()> {
        self.sim("POST", "expire-tokens", json!({})).await?;
        Ok(())
    }
}
