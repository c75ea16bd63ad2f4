//! What a user of the REST API can do, patiently: while something is down, it is asked again.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::time::Instant;

const PAUSE: Duration = Duration::from_millis(150);
const ANSWER_WAIT: Duration = Duration::from_secs(5);

pub struct Gateway {
    url: String,
    token: String,
    http: reqwest::Client,
}

impl Gateway {
    pub fn new(url: &str, token: &str) -> Result<Self> {
        Ok(Self {
            url: url.to_owned(),
            token: token.to_owned(),
            http: reqwest::Client::builder().timeout(ANSWER_WAIT).build()?,
        })
    }

    /// One request.
    pub async fn once(&self, method: reqwest::Method, path: &str, body: &Value) -> Result<Value> {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("{path}: {status} {text}");
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// Submits a run until somebody says that it was; the key makes one of however many requests.
    pub async fn submit(&self, sync: &str, key: &str, wait: Duration) -> Result<String> {
        let body = json!({"sync": sync, "idempotencyKey": key});
        let answer = self.patiently(reqwest::Method::POST, "/v1/runs", &body, wait).await?;
        Ok(answer["run"]["id"].as_str().context("a run has an id")?.to_owned())
    }

    pub async fn patiently(&self, method: reqwest::Method, path: &str, body: &Value, wait: Duration) -> Result<Value> {
        let end = Instant::now() + wait;
        loop {
            match self.once(method.clone(), path, body).await {
                Ok(answer) => return Ok(answer),
                Err(error) if Instant::now() >= end => return Err(error),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// The run's final state, or its last one when that took too long.
    pub async fn end(&self, run: &str, wait: Duration) -> Result<Value> {
        let end = Instant::now() + wait;
        let mut last = Value::Null;
        while Instant::now() < end {
            if let Ok(answer) = self.once(reqwest::Method::GET, &format!("/v1/runs/{run}"), &Value::Null).await {
                last = answer["run"].clone();
                if !last["finishedAt"].is_null() {
                    break;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(last)
    }

    /// The closed books of a run.
    pub async fn report(&self, run: &str, status: &str, wait: Duration) -> Result<Value> {
        let end = Instant::now() + wait;
        loop {
            let answer = self
                .once(reqwest::Method::GET, &format!("/v1/runs/{run}/report"), &Value::Null)
                .await;
            let state = match &answer {
                Ok(answer) if answer["report"]["status"] == status && !answer["report"]["finishedAt"].is_null() => {
                    return Ok(answer["report"].clone());
                }
                Ok(answer) => answer["report"]["status"].to_string(),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= end {
                bail!("the books of {run} are not closed: {state}");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Why a run does not go on.
    pub async fn explanation(&self, run: &str) -> String {
        match self
            .once(reqwest::Method::GET, &format!("/v1/runs/{run}:explain"), &Value::Null)
            .await
        {
            Ok(answer) => answer.to_string(),
            Err(error) => error.to_string(),
        }
    }
}
