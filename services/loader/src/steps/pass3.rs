//! Pass 3: every reference is read back and compared with what was written. Before that, parked records whose parents came
//! after pass 1 are loaded ([`kept`]).

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch, StringArray};
use futures::StreamExt;
use syncline_connect::source::id_field;
use syncline_connect::target::Refusal;
use syncline_connect::{GenerationState, Query, Source};
use syncline_domain::ErrorCode;
use syncline_domain::describe::FieldType;
use syncline_domain::plan::{FieldPlan, FieldRole};
use syncline_runtime::{Outcome, StageError};
use syncline_wire::event::VerifyTotals;
use syncline_wire::event::run_event::Fact;

use crate::context::{Context, POLL_MAX, POLL_MIN};
use crate::steps::kept::{self, Looked};
use crate::steps::pass2;
use crate::store;
use crate::store::outcomes::Refused;

const PAGE_RECORDS: u32 = 50_000;
/// As many rows as a job may have: the rows of a job are neighbours in the target in another order than in the source, so
/// fewer would lie scattered over the ledger's keys.
const BATCH_ROWS_MAX: usize = 25_000;
const BATCH_WIRE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Mismatches that are listed by record; the rest is counted.
const LISTED_MAX: usize = 1_000;

/// Reads the target's references and compares each record with the digests that were kept.
pub async fn run(context: &Context) -> Result<Outcome, StageError> {
    match kept::load(context).await? {
        Looked::Stopped => return Ok(Outcome::Stopped),
        // What came late has its deferred references still before it.
        Looked::Loaded(1..) => match pass2::run(context).await? {
            Outcome::Done { .. } => {}
            other => return Ok(other),
        },
        Looked::Loaded(0) => {}
    }
    let mut reading = ReadBack {
        context,
        records: 0,
        verified: 0,
        wrong: Refused::default(),
        wrong_count: 0,
    };
    if let Some(outcome) = reading.read().await? {
        return Ok(outcome);
    }
    let seen = store::ledger::seen_count(&context.platform.db, context.link, context.sync(), context.run_number).await?;
    let missing = seen.saturating_sub(reading.records).max(0);
    if missing > 0 {
        tracing::error!(object = %context.name(), missing, "records that were written are not in the target");
    }
    let mut tx = context.platform.db.begin().await?;
    context.work.lease.guard(&mut tx).await?;
    store::outcomes::mismatches_forget(&mut tx, context.run_number, context.link, "load_pass_3").await?;
    store::outcomes::refused(&mut tx, context.run_number, context.link, "load_pass_3", "mismatch", &reading.wrong).await?;
    tx.commit().await?;
    let wrong = reading.wrong_count + missing;
    let totals = VerifyTotals {
        object: context.name().to_string(),
        references_verified: u64::try_from(reading.verified).unwrap_or(0),
        references_wrong: u64::try_from(wrong).unwrap_or(0),
        round: context.work.lease.round,
        ..VerifyTotals::default()
    };
    context
        .platform
        .bus
        .publish_event(&context.work.event(Fact::VerifyTotals(totals)))
        .await?;
    Ok(Outcome::Done { with_errors: wrong > 0 })
}

struct ReadBack<'a> {
    context: &'a Context,
    /// Records of this run that were found.
    records: i64,
    /// References that are as written.
    verified: i64,
    wrong: Refused,
    wrong_count: i64,
}

impl ReadBack<'_> {
    async fn read(&mut self) -> Result<Option<Outcome>, StageError> {
        let context = self.context;
        let query = query(context);
        let generation = context.target.open(&query).await?;
        let mut pause = POLL_MIN;
        loop {
            match context.target.state(&generation).await? {
                GenerationState::Ready { .. } => break,
                GenerationState::Failed(error) => return Err(error.into()),
                GenerationState::Running if context.work.stop.is_cancelled() => return Ok(Some(Outcome::Stopped)),
                GenerationState::Running => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(POLL_MAX);
        }
        let mut cursor: Option<String> = None;
        loop {
            let mut page = context.target.read(&generation, &query, cursor.as_deref()).await?;
            while let Some(rows) = page.batches.next().await {
                if context.work.stop.is_cancelled() {
                    return Ok(Some(Outcome::Stopped));
                }
                self.compare(&rows?).await?;
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        if let Err(error) = context.target.close(&generation).await {
            tracing::debug!(%error, "a finished query job could not be deleted");
        }
        Ok(None)
    }

    async fn compare(&mut self, rows: &RecordBatch) -> Result<(), StageError> {
        let context = self.context;
        let text = |name: &str| {
            let column = rows.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
            column.ok_or_else(|| StageError::new(ErrorCode::Internal, format!("column {name} was not read back")))
        };
        let ids = text("Id")?;
        let columns = |fields: Vec<&FieldPlan>| fields.into_iter().map(|f| text(f.target.as_str())).collect::<Result<Vec<_>, _>>();
        let direct = columns(context.direct_references())?;
        let deferred = columns(context.object.deferred_fields().collect())?;
        let keys: Vec<String> = ids.iter().flatten().map(str::to_owned).collect();
        let expected: HashMap<_, _> =
            store::ledger::expected(&context.platform.db, context.link, context.sync(), context.run_number, &keys).await?;
        let hash = |columns: &[&StringArray], row: usize| {
            context
                .hash_keys
                .references(columns.iter().map(|c| c.is_valid(row).then(|| c.value(row))))
        };
        for row in 0..rows.num_rows() {
            let Some(expected) = ids.is_valid(row).then(|| expected.get(ids.value(row))).flatten() else {
                continue;
            };
            self.records += 1;
            let direct_right = expected.refs == hash(&direct, row);
            let deferred_right = expected.deferred_refs == hash(&deferred, row);
            let count = |columns: &[&StringArray]| i64::try_from(columns.iter().filter(|c| c.is_valid(row)).count()).unwrap_or(0);
            if direct_right {
                self.verified += count(&direct);
            }
            if deferred_right {
                self.verified += count(&deferred);
            }
            if !(direct_right && deferred_right) {
                self.wrong_count += 1;
                if self.wrong.source_keys.len() < LISTED_MAX {
                    let refusal = Refusal {
                        code: ErrorCode::Mismatch,
                        native: String::new(),
                        fields: vec!["references".to_owned()],
                    };
                    self.wrong.push(expected.source_key.clone(), &refusal);
                }
            }
        }
        Ok(())
    }
}

/// `Id` and every reference of the target's object, under the target's names.
fn query(context: &Context) -> Query {
    let as_target = |field: &FieldPlan| FieldPlan {
        name: field.target.clone(),
        ..field.clone()
    };
    let id = FieldPlan {
        name: id_field(),
        target: id_field(),
        field_type: FieldType::Id,
        length: 18,
        precision: 0,
        scale: 0,
        nillable: false,
        unique: true,
        updateable: false,
        role: FieldRole::SourceKey,
        mask: None,
    };
    Query {
        object: context.target_object().clone(),
        fields: std::iter::once(id)
            .chain(context.object.reference_fields().map(as_target))
            .collect(),
        filter: None,
        created_before: None,
        order_by: None,
        batch_bytes_max: BATCH_WIRE_BYTES_MAX,
        batch_rows_max: BATCH_ROWS_MAX,
        page_records: PAGE_RECORDS,
    }
}
