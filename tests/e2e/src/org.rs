//! A simulated org, seen over plain HTTP.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use syncline_salesforce_simulator::{Flavour, Org, OrgConfig, RunningOrg};

/// A running org and a client that is nobody's connector.
pub struct SimulatedOrg {
    running: RunningOrg,
    http: reqwest::Client,
}

impl SimulatedOrg {
    pub fn start(config: OrgConfig) -> Self {
        syncline_runtime::entry::install_crypto();
        Self {
            running: Org::start(config).expect("the org starts"),
            http: reqwest::Client::new(),
        }
    }

    /// A production org with at least `scale` records.
    pub fn production(scale: u64) -> OrgConfig {
        OrgConfig {
            scale: Some(scale),
            ..OrgConfig::default()
        }
    }

    /// An empty sandbox.
    pub fn sandbox() -> OrgConfig {
        OrgConfig {
            flavour: Flavour::Sandbox,
            ..OrgConfig::default()
        }
    }

    pub fn url(&self) -> &str {
        &self.running.url
    }

    pub fn id(&self) -> &str {
        &self.running.org_id
    }

    pub fn username(&self) -> &str {
        &self.running.username
    }

    pub fn client_id(&self) -> &str {
        &self.running.client_id
    }

    pub fn client_secret(&self) -> &str {
        &self.running.client_secret
    }

    /// One request; `body` is left out when null.
    async fn send(&self, method: &str, path: &str, body: Value) -> Value {
        let method: reqwest::Method = method.parse().expect("a method");
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.running.url))
            .bearer_auth(&self.running.token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("the org answers");
        let status = answer.status();
        let text = answer.text().await.expect("the org answers whole");
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Controls the simulator.
    pub async fn sim(&self, method: &str, path: &str, body: Value) -> Value {
        self.send(method, &format!("/__sim/{path}"), body).await
    }

    /// The org's own REST API.
    pub async fn rest(&self, method: &str, path: &str, body: Value) -> Value {
        self.send(method, &format!("/services/data/v65.0/{path}"), body).await
    }

    /// Scripts a fault.
    pub async fn fault(&self, fault: Value) {
        self.sim("POST", "faults", fault).await;
    }

    pub async fn latency(&self, ms: u64) {
        self.sim("POST", "latency", json!({"ms": ms})).await;
    }

    /// Records written since the last [`SimulatedOrg::forget_requests`].
    pub async fn writes(&self) -> u64 {
        self.sim("GET", "requests", Value::Null).await["writes"].as_u64().expect("a number")
    }

    /// Requests of a method whose path template contains `part`.
    pub async fn requests(&self, method: &str, part: &str) -> u64 {
        let log = self.sim("GET", "requests", Value::Null).await;
        let requests = log["requests"].as_object().expect("requests by template");
        requests
            .iter()
            .filter(|(template, _)| template.starts_with(&format!("{method} ")) && template.contains(part))
            .map(|(_, count)| count.as_u64().expect("a number"))
            .sum()
    }

    pub async fn forget_requests(&self) {
        self.sim("DELETE", "requests", Value::Null).await;
    }

    /// Live records by object.
    pub async fn counts(&self, objects: &[&str]) -> BTreeMap<String, u64> {
        let counts = self.sim("GET", "counts", Value::Null).await;
        objects
            .iter()
            .map(|object| ((*object).to_owned(), counts[*object].as_u64().expect("a known object")))
            .collect()
    }

    pub async fn count(&self, object: &str) -> u64 {
        self.counts(&[object]).await.into_values().sum()
    }

    /// Every record that a SOQL query gives.
    pub async fn query(&self, soql: &str) -> Vec<Value> {
        let encoded: String = url::form_urlencoded::byte_serialize(soql.as_bytes()).collect();
        let mut path = format!("/services/data/v65.0/query?q={encoded}");
        let mut records = Vec::new();
        loop {
            let mut page = self.send("GET", &path, Value::Null).await;
            if let Value::Array(rows) = page["records"].take() {
                records.extend(rows);
            }
            match page["nextRecordsUrl"].as_str() {
                Some(next) => path = next.to_owned(),
                None => return records,
            }
        }
    }

    /// Ingest jobs that are not finished.
    pub async fn open_jobs(&self) -> Vec<String> {
        let jobs = self.rest("GET", "jobs/ingest", Value::Null).await;
        let records = jobs["records"].as_array().expect("a list of jobs");
        records
            .iter()
            .filter(|job| !["JobComplete", "Failed", "Aborted"].contains(&job["state"].as_str().unwrap_or_default()))
            .map(|job| format!("{} of {} is {}", job["id"], job["object"], job["state"]))
            .collect()
    }
}
