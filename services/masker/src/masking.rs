//! Masking one batch under a plan, and taking the fingerprints of a sample of its originals.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow_schema::{DataType, SchemaRef};
use syncline_connect::schema::{batch_schema, data_type};
use syncline_domain::ErrorCode;
use syncline_domain::describe::FieldType;
use syncline_domain::plan::{FieldPlan, ObjectPlan};
use syncline_mapping::ColumnNames;
use syncline_mask::{ColumnMask, FieldFacts, Fingerprinter, MaskKey, Strategy};
use syncline_runtime::StageError;

use crate::note::{Note, Sample};

/// The source key of every object.
const KEY: &str = "Id";
/// Records per object whose originals are fingerprinted, at least, so that verification can look for leaks.
const SAMPLE_RECORDS: u64 = 2_000;

/// What became of one column.
#[derive(Debug, Clone, Default)]
pub struct FieldCount {
    pub field: String,
    pub strategy: String,
    pub masked: i64,
    pub empty: i64,
    pub unchanged: i64,
}

/// How one column is treated.
enum Treatment {
    Keep,
    Text(Box<ColumnMask>),
    /// Redaction of a column that holds no text.
    Null,
}

/// Masks the batches of one object.
pub struct Masking {
    treatments: Vec<(FieldPlan, Treatment)>,
    names: ColumnNames,
    /// The target's name of the source key.
    key: String,
    empty: SchemaRef,
    fingerprints: Fingerprinter,
    sample_key: [u8; 32],
    /// Of 2^32 source keys, how many are sampled.
    sample_below: u64,
}

/// A masked batch.
pub struct Masked {
    pub rows: RecordBatch,
    pub note: Note,
    pub counts: Vec<FieldCount>,
}

impl Masking {
    /// Prepares the treatment of every planned field; fails if one decision cannot be carried out.
    pub fn new(object: &ObjectPlan, mask_key: &[u8; 32], digest_key: &[u8; 32]) -> Result<Self, StageError> {
        let refused = |e: &dyn std::fmt::Display| StageError::new(ErrorCode::MaskStrategy, e.to_string());
        let key = MaskKey::from_bytes(mask_key).map_err(|e| refused(&e))?;
        let mut treatments = Vec::with_capacity(object.fields.len());
        for field in &object.fields {
            treatments.push((field.clone(), treatment(field, &key)?));
        }
        let names = ColumnNames::new(&object.fields);
        let fingerprint_key = MaskKey::from_bytes(digest_key).map_err(|e| refused(&e))?;
        let sample_below = if object.records <= SAMPLE_RECORDS {
            1 << 32
        } else {
            (SAMPLE_RECORDS << 32) / object.records
        };
        Ok(Self {
            treatments,
            key: object.field(KEY).map_or_else(|| KEY.to_owned(), |f| f.target.to_string()),
            empty: names
                .schema(&batch_schema(&object.fields))
                .map_err(|e| StageError::new(ErrorCode::Internal, e.to_string()))?,
            names,
            fingerprints: Fingerprinter::new(&fingerprint_key),
            sample_key: blake3::derive_key("syncline 2026 verification sample", digest_key),
            sample_below,
        })
    }

    /// Masks a batch. The rows' order stays; the columns take the target's names.
    pub fn mask(&self, rows: &RecordBatch) -> Result<Masked, StageError> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(rows.num_columns());
        let mut counts = Vec::new();
        let mut fields = Vec::with_capacity(rows.num_columns());
        for (field, treatment) in &self.treatments {
            let (index, described) = rows
                .schema_ref()
                .column_with_name(field.name.as_str())
                .ok_or_else(|| changed(field))?;
            let column = rows.column(index);
            fields.push(described.clone());
            columns.push(match treatment {
                Treatment::Keep => Arc::clone(column),
                Treatment::Null => {
                    let empty = i64::try_from(column.null_count()).unwrap_or(0);
                    let masked = i64::try_from(column.len()).unwrap_or(0) - empty;
                    counts.push(FieldCount {
                        masked,
                        empty,
                        ..count(field)
                    });
                    new_null_array(column.data_type(), column.len())
                }
                Treatment::Text(mask) => {
                    let text = column.as_any().downcast_ref::<StringArray>().ok_or_else(|| changed(field))?;
                    let (masked, found) = mask.mask_column(text);
                    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
                    counts.push(FieldCount {
                        masked: number(found.masked),
                        empty: number(found.null),
                        unchanged: number(found.unchanged),
                        ..count(field)
                    });
                    Arc::new(masked)
                }
            });
        }
        // A column that is not in the plan was never asked for; a batch that has one is not passed on.
        if rows.num_columns() != self.treatments.len() {
            return Err(StageError::new(
                ErrorCode::DescribeChanged,
                "a batch has a column that the plan does not have",
            ));
        }
        let schema = arrow_schema::Schema::new_with_metadata(fields, rows.schema_ref().metadata().clone());
        let masked = RecordBatch::try_new(Arc::new(schema), columns).map_err(|e| StageError::new(ErrorCode::Internal, e.to_string()))?;
        let rows_out = self
            .names
            .rename(&masked)
            .map_err(|e| StageError::new(ErrorCode::Internal, e.to_string()))?;
        Ok(Masked {
            note: Note {
                read: rows.num_rows() as u64,
                dead: 0,
                too_large: Vec::new(),
                sample: self.sample(rows),
            },
            rows: rows_out,
            counts,
        })
    }

    /// The clean form of no rows at all.
    pub fn empty(&self) -> RecordBatch {
        RecordBatch::new_empty(Arc::clone(&self.empty))
    }

    /// The part of a note's sample that is about these masked rows.
    pub fn sample_of(&self, rows: &RecordBatch, sample: &Sample) -> Sample {
        let Some(keys) = text_column(rows, &self.key) else {
            return Sample::new();
        };
        let own = keys
            .iter()
            .flatten()
            .filter_map(|key| Some((key.to_owned(), sample.get(key)?.clone())));
        own.collect()
    }

    /// Fingerprints of the originals of sampled records, under the target's field names.
    fn sample(&self, rows: &RecordBatch) -> Sample {
        let mut sample = Sample::new();
        let Some(keys) = text_column(rows, KEY) else { return sample };
        let masked: Vec<_> = self
            .treatments
            .iter()
            .filter(|(_, t)| matches!(t, Treatment::Text(_)))
            .filter_map(|(f, _)| Some((f.target.to_string(), text_column(rows, f.name.as_str())?)))
            .collect();
        for (row, key) in keys.iter().enumerate() {
            let Some(key) = key else { continue };
            if !self.is_sampled(key) {
                continue;
            }
            let values = masked
                .iter()
                .filter(|(_, column)| column.is_valid(row))
                .filter_map(|(field, column)| {
                    self.fingerprints
                        .fingerprint_u64(column.value(row))
                        .map(|f| (field.clone(), format!("{f:016x}")))
                });
            sample.insert(key.to_owned(), values.collect());
        }
        sample
    }

    fn is_sampled(&self, key: &str) -> bool {
        let hash = blake3::keyed_hash(&self.sample_key, key.as_bytes());
        let number = hash.as_bytes().first_chunk::<4>().map_or(0, |b| u64::from(u32::from_le_bytes(*b)));
        number < self.sample_below
    }
}

fn text_column<'a>(rows: &'a RecordBatch, name: &str) -> Option<&'a StringArray> {
    rows.column_by_name(name)?.as_any().downcast_ref::<StringArray>()
}

fn count(field: &FieldPlan) -> FieldCount {
    let strategy = field.mask.as_ref().map(|m| m.strategy.clone()).unwrap_or_default();
    FieldCount {
        field: field.target.to_string(),
        strategy,
        ..FieldCount::default()
    }
}

fn changed(field: &FieldPlan) -> StageError {
    StageError::new(ErrorCode::DescribeChanged, format!("column {} is not as planned", field.name))
}

fn treatment(field: &FieldPlan, key: &MaskKey) -> Result<Treatment, StageError> {
    let Some(decision) = &field.mask else { return Ok(Treatment::Keep) };
    let refused = |why: String| StageError::new(ErrorCode::MaskStrategy, format!("{}: {why}", field.name));
    let strategy: Strategy = decision
        .strategy
        .parse()
        .map_err(|e: syncline_mask::MaskError| refused(e.to_string()))?;
    let is_text = data_type(field.field_type, field.scale) == DataType::Utf8;
    match strategy {
        Strategy::Preserve => Ok(Treatment::Keep),
        Strategy::Redact(_) if !is_text && field.nillable => Ok(Treatment::Null),
        _ if !is_text => Err(refused(format!("`{}` needs a text field", decision.strategy))),
        strategy => {
            let mask = ColumnMask::compile(key, &facts(field), &strategy).map_err(|e| refused(e.to_string()))?;
            Ok(Treatment::Text(Box::new(mask)))
        }
    }
}

/// What masking must know of the target's field.
fn facts(field: &FieldPlan) -> FieldFacts {
    use syncline_mask::FieldType as MaskType;
    let kind = match field.field_type {
        FieldType::Id => MaskType::from_describe("id"),
        FieldType::Reference => MaskType::from_describe("reference"),
        FieldType::TextArea => MaskType::from_describe("textarea"),
        FieldType::Email => MaskType::from_describe("email"),
        FieldType::Phone => MaskType::from_describe("phone"),
        FieldType::Url => MaskType::from_describe("url"),
        FieldType::EncryptedString => MaskType::from_describe("encryptedstring"),
        FieldType::Picklist => MaskType::from_describe("picklist"),
        FieldType::MultiPicklist => MaskType::from_describe("multipicklist"),
        FieldType::ComboBox => MaskType::from_describe("combobox"),
        _ => MaskType::from_describe("string"),
    };
    let mut facts = FieldFacts::new(field.target.as_str(), kind, (field.length > 0).then_some(field.length));
    facts.nillable = field.nillable;
    facts.unique = field.unique;
    facts
}
