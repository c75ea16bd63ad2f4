//! Reading a run's books at one moment.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgExecutor, PgPool, Result};

use super::Key;

#[derive(Debug, Clone, FromRow)]
pub struct RunRow {
    pub sync: String,
    pub sync_version: i64,
    pub status: String,
    pub terminal: bool,
    pub failure_code: String,
    pub failure_message: String,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub projected_records: i64,
    pub cursor: i64,
    pub closed: bool,
}

#[derive(Debug, Clone, FromRow)]
pub struct StepRow {
    pub object: String,
    pub step: String,
    pub done: bool,
    pub yielded_at: Option<DateTime<Utc>>,
    pub reason: String,
    pub failed_at: Option<DateTime<Utc>>,
    pub code: String,
    pub message: String,
}

#[derive(Debug, Clone, FromRow)]
pub struct StageRow {
    pub stage: String,
    pub object: String,
    pub records: i64,
    pub api_calls: i64,
    pub expected: i64,
    pub at: DateTime<Utc>,
}

#[derive(Debug, Clone, FromRow)]
pub struct LoadRow {
    pub object: String,
    pub read: i64,
    pub inserted: i64,
    pub updated: i64,
    pub unchanged: i64,
    pub filtered: i64,
    pub refused: i64,
    pub parked: i64,
    pub dead: i64,
    pub deleted: i64,
    pub references_resolved: i64,
    pub references_deferred: i64,
    pub references_nulled: i64,
    pub jobs: i64,
    pub api_calls: i64,
    pub round: i64,
    pub at: DateTime<Utc>,
}

#[derive(Debug, Clone, FromRow)]
pub struct RefusedRow {
    pub object: String,
    pub code: String,
    pub native: String,
    pub fields: String,
    pub kind: String,
    pub count: i64,
    pub round: i64,
    pub resolved: i64,
    pub reason: String,
    pub sample_ids: Vec<String>,
}

#[derive(Debug, Clone, FromRow)]
pub struct MaskRow {
    pub object: String,
    pub field: String,
    pub strategy: String,
    pub masked: i64,
    pub nulls: i64,
    pub unchanged: i64,
}

#[derive(Debug, Clone, FromRow)]
pub struct VerifyRow {
    pub object: String,
    pub references_verified: i64,
    pub references_wrong: i64,
    pub values_compared: i64,
    pub values_different: i64,
    pub leaks: i64,
    pub target_count: i64,
    pub api_calls: i64,
    pub at: DateTime<Utc>,
}

/// Everything that is known of one run.
#[derive(Debug, Clone)]
pub struct Books {
    pub run: RunRow,
    /// In load order.
    pub outline: Vec<String>,
    pub steps: Vec<StepRow>,
    pub stages: Vec<StageRow>,
    pub loads: Vec<LoadRow>,
    pub refused: Vec<RefusedRow>,
    pub masks: Vec<MaskRow>,
    pub verifies: Vec<VerifyRow>,
    /// Summed over processes.
    pub cpu_seconds: f64,
    pub peak_memory_bytes: i64,
}

/// Where the run stands; `None` when nothing was ever heard of it.
pub async fn run_row(db: impl PgExecutor<'_>, key: Key<'_>) -> Result<Option<RunRow>> {
    sqlx::query_as(
        "select sync, sync_version, status, terminal, failure_code, failure_message, started_at, finished_at,
            projected_records, cursor, closed from run where tenant = $1 and run = $2",
    )
    .bind(key.tenant)
    .bind(key.run)
    .fetch_optional(db)
    .await
}

/// The books of one moment: all tables under one snapshot.
pub async fn books_read(db: &PgPool, key: Key<'_>) -> Result<Option<Books>> {
    let mut tx = db.begin_with("begin isolation level repeatable read read only").await?;
    let books = books_of(&mut tx, key).await?;
    tx.commit().await?;
    Ok(books)
}

async fn books_of(db: &mut PgConnection, key: Key<'_>) -> Result<Option<Books>> {
    let Some(run) = run_row(&mut *db, key).await? else {
        return Ok(None);
    };
    macro_rules! rows {
        ($sql:literal) => {
            sqlx::query_as($sql)
                .bind(key.tenant)
                .bind(key.run)
                .fetch_all(&mut *db)
                .await?
        };
    }
    let outline: Vec<(String,)> = rows!("select object from outline where tenant = $1 and run = $2 order by place, object");
    let (cpu_seconds, peak_memory_bytes) = sqlx::query_as(
        "select coalesce(sum(cpu_seconds), 0), coalesce(sum(peak_memory_bytes), 0)::bigint
         from resource_use where tenant = $1 and run = $2",
    )
    .bind(key.tenant)
    .bind(key.run)
    .fetch_one(&mut *db)
    .await?;
    Ok(Some(Books {
        run,
        outline: outline.into_iter().map(|(object,)| object).collect(),
        steps: rows!(
            "select object, step, done, yielded_at, reason, failed_at, code, message
             from step where tenant = $1 and run = $2 order by object, step"
        ),
        stages: rows!(
            "select stage, object, records, api_calls, expected, at
             from stage_totals where tenant = $1 and run = $2 order by stage, object"
        ),
        loads: rows!(
            "select object, read, inserted, updated, unchanged, filtered, refused, parked, dead, deleted,
                references_resolved, references_deferred, references_nulled, jobs, api_calls, round, at
             from load_totals where tenant = $1 and run = $2 order by object"
        ),
        refused: rows!(
            "select object, code, native, fields, kind, count, round, resolved, reason, sample_ids
             from refused where tenant = $1 and run = $2 and count + resolved > 0 order by count desc, object, code, native, fields, kind"
        ),
        masks: rows!(
            "select object, field, strategy, masked, nulls, unchanged
             from mask_totals where tenant = $1 and run = $2 order by object, field"
        ),
        verifies: rows!(
            "select object, references_verified, references_wrong, values_compared, values_different, leaks, target_count, api_calls, at
             from verify_totals where tenant = $1 and run = $2 order by object"
        ),
        cpu_seconds,
        peak_memory_bytes,
    }))
}

impl Books {
    pub(crate) fn stage_records(&self, stage: &str, object: &str) -> u64 {
        self.stages
            .iter()
            .find(|s| s.stage == stage && s.object == object)
            .map_or(0, |s| super::counted(s.records))
    }

    pub(crate) fn expected(&self, object: &str) -> u64 {
        self.stages
            .iter()
            .filter(|s| s.object == object)
            .map(|s| super::counted(s.expected))
            .max()
            .unwrap_or(0)
    }

    /// When work on an object was last heard of.
    pub(crate) fn object_latest(&self, object: &str) -> Option<DateTime<Utc>> {
        self.totals_at().filter(|(of, _)| *of == object).map(|(_, at)| at).max()
    }

    /// When work on anything was last heard of.
    pub(crate) fn latest(&self) -> Option<DateTime<Utc>> {
        self.totals_at().map(|(_, at)| at).max()
    }

    fn totals_at(&self) -> impl Iterator<Item = (&str, DateTime<Utc>)> {
        let stages = self.stages.iter().map(|s| (s.object.as_str(), s.at));
        let loads = self.loads.iter().map(|l| (l.object.as_str(), l.at));
        let verifies = self.verifies.iter().map(|v| (v.object.as_str(), v.at));
        stages.chain(loads).chain(verifies)
    }
}
