//! Bulk jobs as the API shows them, common to both directions.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use syncline_connect::{ConnectError, JobState};
use syncline_domain::ErrorCode;

use crate::moment::parse_datetime;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobInfo {
    pub(crate) id: String,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) object: Option<String>,
    #[serde(default)]
    pub(crate) operation: Option<String>,
    #[serde(default)]
    pub(crate) created_by_id: Option<String>,
    #[serde(default)]
    pub(crate) created_date: Option<String>,
    #[serde(default)]
    pub(crate) number_records_processed: Option<u64>,
    #[serde(default)]
    pub(crate) number_records_failed: Option<u64>,
    #[serde(default)]
    pub(crate) error_message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobPage {
    #[serde(default)]
    pub(crate) done: Option<bool>,
    #[serde(default)]
    pub(crate) records: Vec<JobInfo>,
    #[serde(default)]
    pub(crate) next_records_url: Option<String>,
}

impl JobInfo {
    pub(crate) fn state(&self) -> Result<JobState, ConnectError> {
        Ok(match self.state.as_str() {
            "Open" => JobState::Open,
            "UploadComplete" => JobState::Uploaded,
            "InProgress" => JobState::InProgress,
            "JobComplete" => JobState::Complete,
            "Failed" => JobState::Failed,
            "Aborted" => JobState::Aborted,
            _ => {
                return Err(ConnectError::new(
                    ErrorCode::BadAnswer,
                    "a job is in a state that the API does not name",
                ));
            }
        })
    }

    pub(crate) fn created(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_millis(parse_datetime(self.created_date.as_deref()?.as_bytes())?)
    }
}

/// Ids stand in paths and conditions, so nothing but letters and digits is let through.
pub(crate) fn checked_id(id: &str) -> Result<&str, ConnectError> {
    if !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        Ok(id)
    } else {
        Err(ConnectError::new(ErrorCode::Internal, "what should be an id is not one"))
    }
}

/// Whether the API refused a change because the job is past the state for it.
pub(crate) fn is_state_conflict(error: &ConnectError) -> bool {
    error
        .native
        .as_deref()
        .is_some_and(|n| n.eq_ignore_ascii_case("InvalidJobState") || n.eq_ignore_ascii_case("InvalidJob"))
}
