//! Verification: values of a sample are read back and compared with what was sent; no masked field may hold its record's
//! own original; records are counted.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use std::collections::HashMap;

use syncline_connect::target::Refusal;
use syncline_connect::{Column, Query, Source};
use syncline_domain::ErrorCode;
use syncline_mask::{Fingerprinter, MaskKey};
use syncline_runtime::{Outcome, StageError};
use syncline_wire::event::VerifyTotals;
use syncline_wire::event::run_event::Fact;

use crate::context::{Context, id_column};
use crate::steps::building::read_digests;
use crate::store;
use crate::store::outcomes::{Refused, SampleRow};
use crate::telling;

/// Records per object whose values are compared, where there are as many.
const SAMPLE_RECORDS: i64 = 2_000;

#[derive(Default)]
struct Found {
    compared: u64,
    different: u64,
    leaks: u64,
    wrong: Refused,
}

/// Compares the sample and reports.
pub async fn run(context: &Context) -> Result<Outcome, StageError> {
    let sample = store::outcomes::sample_get(
        &context.platform.db,
        context.run_number,
        context.link,
        context.sync(),
        SAMPLE_RECORDS,
    )
    .await?;
    let mut found = Found::default();
    for sent_update in [false, true] {
        let rows: Vec<&SampleRow> = sample.iter().filter(|r| r.sent_update == sent_update).collect();
        compare(context, &rows, sent_update, &mut found).await?;
    }
    let target_count = context.target.count(&count_query(context)).await?;
    let totals = telling::totals(context).await?;
    let balanced =
        totals.read == totals.inserted + totals.updated + totals.unchanged + totals.filtered + totals.refused + totals.parked + totals.dead;
    let mut tx = context.platform.db.begin().await?;
    context.work.lease.guard(&mut tx).await?;
    store::outcomes::mismatches_forget(&mut tx, context.run_number, context.link, "verify").await?;
    store::outcomes::refused(&mut tx, context.run_number, context.link, "verify", "mismatch", &found.wrong).await?;
    tx.commit().await?;
    let fact = VerifyTotals {
        object: context.name().to_string(),
        values_compared: found.compared,
        values_different: found.different,
        leaks: found.leaks,
        target_count,
        round: context.work.lease.round,
        ..VerifyTotals::default()
    };
    context
        .platform
        .bus
        .publish_event(&context.work.event(Fact::VerifyTotals(fact)))
        .await?;
    if found.leaks > 0 {
        tracing::error!(object = %context.name(), leaks = found.leaks, "masked fields hold their record's own original");
    }
    Ok(Outcome::Done {
        with_errors: found.different > 0 || found.leaks > 0 || !balanced,
    })
}

async fn compare(context: &Context, sample: &[&SampleRow], sent_update: bool, found: &mut Found) -> Result<(), StageError> {
    if sample.is_empty() {
        return Ok(());
    }
    let columns = if sent_update {
        context.update_columns()
    } else {
        context.insert_columns()
    };
    let read: Vec<Column> = columns.iter().filter(|c| c.name.as_str() != "Id").cloned().collect();
    let ids: Vec<String> = sample.iter().map(|r| r.target_key.clone()).collect();
    let rows = context.target.retrieve(context.target_object(), &ids, &read).await?;
    let by_id: HashMap<&str, &SampleRow> = sample.iter().map(|r| (r.target_key.as_str(), *r)).collect();
    let digests = read_digests(context, &columns, &rows)?;
    let key = MaskKey::from_bytes(
        &context
            .platform
            .keys
            .digest()
            .map_err(|e| StageError::new(ErrorCode::MaskKey, e.to_string()))?,
    )
    .map_err(|e| StageError::new(ErrorCode::MaskKey, e.to_string()))?;
    let fingerprints = Fingerprinter::new(&key);
    let id_column = rows.column_by_name("Id").and_then(|c| c.as_string_opt::<i32>());
    let id_column = id_column.ok_or_else(|| StageError::new(ErrorCode::Internal, "records were retrieved without ids"))?;
    let mut seen = 0;
    for row in 0..rows.num_rows() {
        let Some(expected) = id_column.is_valid(row).then(|| by_id.get(id_column.value(row))).flatten() else {
            continue;
        };
        seen += 1;
        found.compared += read.len() as u64;
        let leaked: Vec<String> = expected
            .fingerprints
            .iter()
            .filter(|(field, original)| {
                let column = rows.column_by_name(field).and_then(|c| c.as_string_opt::<i32>());
                let now = column
                    .filter(|c| c.is_valid(row))
                    .and_then(|c| fingerprints.fingerprint_u64(c.value(row)));
                now.is_some_and(|f| format!("{f:016x}") == **original)
            })
            .map(|(field, _)| field.clone())
            .collect();
        if !leaked.is_empty() {
            found.leaks += leaked.len() as u64;
            note(found, expected, leaked);
        } else if digests.get(row).map(<[u8; 16]>::as_slice) != Some(expected.sent.as_slice()) {
            note(found, expected, vec!["values".to_owned()]);
        }
    }
    if seen < sample.len() {
        found.different += (sample.len() - seen) as u64;
    }
    Ok(())
}

/// One entry per record: a leak names its fields and stands before any other difference.
fn note(found: &mut Found, row: &SampleRow, fields: Vec<String>) {
    found.different += 1;
    let refusal = Refusal {
        code: ErrorCode::Mismatch,
        native: String::new(),
        fields,
    };
    found.wrong.push(row.source_key.clone(), &refusal);
}

fn count_query(context: &Context) -> Query {
    let id = id_column();
    Query {
        object: context.target_object().clone(),
        fields: context.object.fields.iter().filter(|f| f.target == id.name).cloned().collect(),
        filter: None,
        created_before: None,
        order_by: None,
        batch_bytes_max: 0,
        batch_rows_max: 0,
        page_records: 0,
    }
}
