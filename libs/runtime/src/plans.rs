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
        let kek = self.platform.keys.kek_raw().map_err(key_error)?;
        let (raw, _) = self.wrapped(run).await?;
        kek.unwrap(&raw, format!("{run}/raw").as_bytes())
            .map_err(|e| StageError::new(ErrorCode::MaskKey, format!("the run's raw key: {e}")))
    }

    /// The data key under which maskers seal and loaders open.
    ///
    /// # Errors
    /// As [`Plans::raw_key`].
    pub async fn clean_key(&self, run: &RunId) -> Result<SealingKey, StageError> {
        let kek = self.platform.keys.kek_clean().map_err(key_error)?;
        let (_, clean) = self.wrapped(run).await?;
        kek.unwrap(&clean, format!("{run}/clean").as_bytes())
            .map_err(|e| StageError::new(ErrorCode::MaskKey, format!("the run's clean key: {e}")))
    }

    async fn wrapped(&self, run: &RunId) -> Result<(Vec<u8>, Vec<u8>), StageError> {
        let mut client = AccessServiceClient::new(with_trace(self.platform.peers.connector.clone()));
        let answer = client
            .get_run_keys(GetRunKeysRequest { run: run.to_string() })
            .await
            .map_err(|s| peer_error("connector", &s))?
            .into_inner();
        Ok((answer.raw_wrapped, answer.clean_wrapped))
    }
}

fn key_error(error: crate::keys::KeyError) -> StageError {
    StageError::new(ErrorCode::MaskKey, error.to_string())
}

/// A peer's refusal as a stage's error.
#[must_use]
pub fn peer_error(peer: &str, status: &tonic::Status) -> StageError {
    StageError::new(
        code_of(status).unwrap_or(ErrorCode::Unreachable),
        format!("{peer}: {}", status.message()),
    )
}
