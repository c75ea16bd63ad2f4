//! Plans in PostgreSQL.

use sqlx::{PgExecutor, Row};
use syncline_domain::RunId;
use syncline_domain::plan::Plan;

use crate::error::Error;

/// A plan as its bytes, which are what its hash is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPlan {
    pub json: Vec<u8>,
    /// BLAKE3 of `json`, in hex.
    pub hash: String,
    /// The sync asks for a person's approval.
    pub review: bool,
}

impl StoredPlan {
    /// # Errors
    /// [`Error::Stored`] when the plan has no JSON form, which only a defect can cause.
    pub fn new(plan: &Plan, review: bool) -> Result<Self, Error> {
        let json = serde_json::to_vec(plan).map_err(Error::Stored)?;
        let hash = blake3::hash(&json).to_hex().to_string();
        Ok(Self { json, hash, review })
    }

    /// # Errors
    /// [`Error::Stored`].
    pub fn plan(&self) -> Result<Plan, Error> {
        serde_json::from_slice(&self.json).map_err(Error::Stored)
    }
}

/// The plan of a run.
///
/// # Errors
/// [`sqlx::Error`].
pub async fn plan_get(executor: impl PgExecutor<'_>, run: &RunId) -> Result<Option<StoredPlan>, sqlx::Error> {
    let row = sqlx::query("select plan_json, hash, review from plan where run = $1")
        .bind(run.as_str())
        .fetch_optional(executor)
        .await?;
    Ok(row.map(|r| StoredPlan {
        json: r.get(0),
        hash: r.get(1),
        review: r.get(2),
    }))
}

/// Whether a run has a plan.
///
/// # Errors
/// [`sqlx::Error`].
pub async fn plan_exists(executor: impl PgExecutor<'_>, run: &RunId) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("select exists (select 1 from plan where run = $1)")
        .bind(run.as_str())
        .fetch_one(executor)
        .await?;
    Ok(row.get(0))
}

/// Stores a plan unless there is one: the first stays, and with it T0. Answers whether this one was stored.
///
/// # Errors
/// [`sqlx::Error`].
pub async fn plan_put(executor: impl PgExecutor<'_>, run: &RunId, plan: &StoredPlan) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("insert into plan (run, plan_json, hash, review) values ($1, $2, $3, $4) on conflict (run) do nothing")
        .bind(run.as_str())
        .bind(&plan.json)
        .bind(&plan.hash)
        .bind(plan.review)
        .execute(executor)
        .await?;
    Ok(done.rows_affected() == 1)
}
