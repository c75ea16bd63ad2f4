//! The target's records, read past its API: what is really there.

use std::collections::BTreeMap;
use std::sync::Arc;

use syncline_connect::retry::RetryPolicy;
use syncline_connect::{Access, AccessToken, ConnectError, Usage};
use syncline_salesforce::Salesforce;
use syncline_salesforce_simulator::org::OrgState;

use super::Bench;

/// Requests of a method whose template contains `path`, where every id reads `{id}`.
pub fn requests(state: &Arc<OrgState>, method: &str, path: &str) -> u64 {
    let report = state.faults.report();
    let counts = report["requests"].as_object().unwrap();
    let matches = |template: &str| template.starts_with(method) && template.contains(&path.replace("/750", "/{id}"));
    counts.iter().filter(|(t, _)| matches(t)).map(|(_, n)| n.as_u64().unwrap()).sum()
}

impl Bench {
    /// Records of an object by target id, with these fields; null is empty.
    pub fn records(&self, object: &str, fields: &[&str]) -> BTreeMap<String, Vec<String>> {
        let db = self.org.state.db();
        let schema = &self.org.state.schema;
        let place = schema.object(object).unwrap();
        let meta = &schema.objects[place];
        let table = &db.tables[place];
        let cell = |index: u32, field: &str| {
            let bytes = table.row(index).get(meta.field(field).unwrap()).unwrap_or_default();
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        table
            .scan(false)
            .map(|i| (cell(i, "Id"), fields.iter().map(|f| cell(i, f)).collect()))
            .collect()
    }

    /// One field of every record, sorted.
    pub fn values(&self, object: &str, field: &str) -> Vec<String> {
        let mut values: Vec<String> = self.records(object, &[field]).into_values().map(|v| v.concat()).collect();
        values.sort();
        values
    }

    /// Records written by the API since the last [`Bench::forget_requests`], and ingest jobs made.
    pub fn writes(&self) -> (u64, u64) {
        let report = self.org.state.faults.report();
        (report["writes"].as_u64().unwrap(), self.requests("POST", "/jobs/ingest"))
    }

    pub fn forget_requests(&self) {
        self.org.state.faults.reset_report();
    }

    /// Changes data past every rule.
    pub async fn corrupt(&self, method: reqwest::Method, path: &str, body: serde_json::Value) {
        let url = format!("{}/__sim/{path}", self.org.url);
        let response = reqwest::Client::new().request(method, url).json(&body).send().await.unwrap();
        assert!(response.status().is_success(), "{}", response.text().await.unwrap());
    }
}

/// Access without a connector service.
#[derive(Debug)]
struct Direct(AccessToken);

#[async_trait::async_trait]
impl Access for Direct {
    async fn token(&self) -> Result<AccessToken, ConnectError> {
        Ok(self.0.clone())
    }

    async fn refresh(&self, _: &AccessToken) -> Result<AccessToken, ConnectError> {
        Ok(self.0.clone())
    }

    async fn permit(&self, _: u32) -> Result<(), ConnectError> {
        Ok(())
    }

    fn observe(&self, _: Usage) {}
}

impl Bench {
    /// A handle on the org as the loader has one.
    pub fn target(&self) -> Salesforce {
        let token = AccessToken::new(self.org.url.clone(), "65.0".to_owned(), self.org.token.clone());
        Salesforce::new(Arc::new(Direct(token)), RetryPolicy::default()).unwrap()
    }
}
