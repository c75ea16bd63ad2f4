//! Plans and data keys of runs, fetched once per process and run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use syncline_batch::SealingKey;
use syncline_domain::plan::Plan;
use syncline_domain::{ErrorCode, RunId};
use syncline_wire::access::GetRunKeysRequest;
use syncline_wire::access::access_service_client::AccessServiceClient;
use syncline_wire::analysis::GetPlanRequest;
use syncline_wire::analysis::plan_service_client::PlanServiceClient;
use syncline_wire::status::code_of;

use crate::keys::provider::{Kek, ProviderError};
use crate::platform::Platform;
use crate::rpc::{MESSAGE_BYTES_MAX, with_trace};
use crate::worker::StageError;

/// Runs whose plans are kept in memory.
const RUNS_MAX: usize = 16;

/// A plan and its hash, which every batch carries.
pub struct PinnedPlan {
    pub plan: Plan,
    pub hash: String,
}

/// The plans that this process works on.
#[derive(Clone)]
pub struct Plans {
    platform: Platform,
    cache: Arc<Mutex<HashMap<RunId, Arc<PinnedPlan>>>>,
}

impl Plans {
    #[must_use]
    pub fn new(platform: &Platform) -> Self {
        Self {
            platform: platform.clone(),
            cache: Arc::default(),
        }
    }

    /// The plan of a run, from the analyzer.
    ///
    /// # Errors
    /// [`StageError`] when the analyzer does not answer or has none.
    pub async fn get(&self, run: &RunId) -> Result<Arc<PinnedPlan>, StageError> {
        if let Some(plan) = self.cache.lock().expect("no holder of this lock panics").get(run) {
            return Ok(Arc::clone(plan));
        }
        let mut client =
            PlanServiceClient::new(with_trace(self.platform.peers.analyzer.clone())).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let answer = client
            .get_plan(GetPlanRequest { run: run.to_string() })
            .await
            .map_err(|s| peer_error("analyzer", &s))?
            .into_inner();
        let plan = serde_json::from_slice(&answer.plan_json)
            .map_err(|e| StageError::new(ErrorCode::Internal, format!("the plan does not parse: {e}")))?;
        let plan = Arc::new(PinnedPlan { plan, hash: answer.hash });
        let mut cache = self.cache.lock().expect("no holder of this lock panics");
        if cache.len() >= RUNS_MAX {
            cache.clear();
        }
        cache.insert(run.clone(), Arc::clone(&plan));
        Ok(plan)
    }

    /// The data key under which extractors seal and maskers open.
    ///
    /// # Errors
    /// [`StageError`] when the connector does not answer or this service lacks the audience's key.
    pub async fn raw_key(&self, run: &RunId) -> Result<SealingKey, StageError> {
        let (raw, _) = self.wrapped(Kek::Raw, run).await?;
        self.unwrap(Kek::Raw, &raw, &format!("{run}/raw")).await
    }

    /// The data key under which maskers seal and loaders open.
    ///
    /// # Errors
    /// As [`Plans::raw_key`].
    pub async fn clean_key(&self, run: &RunId) -> Result<SealingKey, StageError> {
        let (_, clean) = self.wrapped(Kek::Clean, run).await?;
        self.unwrap(Kek::Clean, &clean, &format!("{run}/clean")).await
    }

    async fn unwrap(&self, kek: Kek, wrapped: &[u8], place: &str) -> Result<SealingKey, StageError> {
        let opened = self.platform.keys.provider().unwrap(kek, wrapped, place).await;
        opened.map_err(|e| key_error(place, &e))
    }

    /// Both keys, for a service that was given the one that it will open.
    async fn wrapped(&self, kek: Kek, run: &RunId) -> Result<(Vec<u8>, Vec<u8>), StageError> {
        self.platform.keys.provider().given(kek).map_err(|e| key_error(run.as_str(), &e))?;
        let mut client = AccessServiceClient::new(with_trace(self.platform.peers.connector.clone()));
        let answer = client
            .get_run_keys(GetRunKeysRequest { run: run.to_string() })
            .await
            .map_err(|s| peer_error("connector", &s))?
            .into_inner();
        Ok((answer.raw_wrapped, answer.clean_wrapped))
    }
}

/// A peer's refusal as a stage's error.
#[must_use]
pub fn peer_error(peer: &str, status: &tonic::Status) -> StageError {
    StageError::new(
        code_of(status).unwrap_or(ErrorCode::Unreachable),
        format!("{peer}: {}", status.message()),
    )
}

fn key_error(of: &str, error: &ProviderError) -> StageError {
    StageError::new(error.code(), format!("the data key of {of}: {error}"))
}
