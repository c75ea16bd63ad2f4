//! The compiled plan for one object: strategies bound to fields and keys, applied to whole columns.
//!
//! Everything that can be wrong is found when the plan is compiled; masking a column then can't fail. Values are
//! written straight into the new column: no allocation per value, and nothing that derives `Debug` holds one.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, StringArray};

use crate::admit::{Filling, admit, filling, hash_chars, inadmissible};
use crate::fake::draw::{push_base32, push_hex};
use crate::fake::{DRAWS_MAX, Faker};
use crate::key::{MaskKey, Subkey, Use};
use crate::{FieldFacts, HashEncoding, MaskError, Strategy};

/// What became of a column's values; the four add up to its length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldCounts {
    /// Replaced by another value, or removed.
    pub masked: u64,
    /// Null or empty before, null after.
    pub null: u64,
    /// Masked into what they already were: a constant met itself, or a field left no room for a difference.
    pub unchanged: u64,
    /// Left alone, as `preserve` says.
    pub preserved: u64,
}

impl AddAssign for FieldCounts {
    fn add_assign(&mut self, other: Self) {
        self.masked += other.masked;
        self.null += other.null;
        self.unchanged += other.unchanged;
        self.preserved += other.preserved;
    }
}

/// Decisions for the fields of one object, ready to run.
#[derive(Debug)]
pub struct MaskPlan {
    columns: BTreeMap<String, ColumnMask>,
}

impl MaskPlan {
    /// Binds each field to its strategy.
    ///
    /// # Errors
    /// Every field whose strategy can't produce an admissible value, and every field named twice.
    pub fn compile<'a>(key: &MaskKey, fields: impl IntoIterator<Item = (&'a FieldFacts, &'a Strategy)>) -> Result<Self, Vec<MaskError>> {
        let mut columns = BTreeMap::new();
        let mut errors = Vec::new();
        for (facts, strategy) in fields {
            match ColumnMask::compile(key, facts, strategy) {
                Err(error) => errors.push(error),
                Ok(mask) => {
                    if columns.insert(facts.name.clone(), mask).is_some() {
                        errors.push(MaskError::PlannedTwice { field: facts.name.clone() });
                    }
                }
            }
        }
        if errors.is_empty() { Ok(Self { columns }) } else { Err(errors) }
    }

    #[must_use]
    pub fn column(&self, field: &str) -> Option<&ColumnMask> {
        self.columns.get(field)
    }

    /// Fields in the plan, in order of their names.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.columns.keys().map(String::as_str)
    }

    /// Masks one column.
    ///
    /// # Errors
    /// [`MaskError::Unplanned`] if the field has no decision: an unplanned column must not travel.
    pub fn mask_column(&self, field: &str, values: &StringArray) -> Result<(StringArray, FieldCounts), MaskError> {
        self.column(field)
            .map(|mask| mask.mask_column(values))
            .ok_or_else(|| MaskError::Unplanned { field: field.to_owned() })
    }
}

/// One field's strategy, bound to its key and bounds.
pub struct ColumnMask {
    strategy: Strategy,
    action: Action,
}

enum Action {
    Preserve,
    Null,
    Constant(String),
    Hash { key: Subkey, encoding: HashEncoding, chars: usize },
    Fake(Faker),
}

impl fmt::Debug for ColumnMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ColumnMask({})", self.strategy)
    }
}

impl ColumnMask {
    /// Binds one field to its strategy.
    ///
    /// # Errors
    /// [`MaskError::Inadmissible`] if the strategy can't produce a value that the field admits.
    pub fn compile(key: &MaskKey, facts: &FieldFacts, strategy: &Strategy) -> Result<Self, MaskError> {
        admit(strategy, facts)?;
        let fail = |reason| inadmissible(strategy, facts, reason);
        let action = match strategy {
            Strategy::Preserve => Action::Preserve,
            Strategy::Redact(redaction) => match filling(redaction, facts).map_err(fail)? {
                Filling::Null => Action::Null,
                Filling::Constant(value) => Action::Constant(value),
            },
            Strategy::Hash(options) => Action::Hash {
                key: key.subkey(Use::Hash),
                encoding: options.encoding,
                chars: hash_chars(options, facts).map_err(fail)?,
            },
            Strategy::Fake(kind) => Action::Fake(Faker::new(key, *kind, facts.max_chars.map_or(usize::MAX, |c| c as usize))),
        };
        Ok(Self {
            strategy: strategy.clone(),
            action,
        })
    }

    #[must_use]
    pub fn strategy(&self) -> &Strategy {
        &self.strategy
    }

    /// Masks a column in its wire form (Bulk CSV text). Null and empty become null, whatever the strategy but
    /// `preserve`, which returns the column as it is.
    ///
    /// # Panics
    /// If the result outgrows Arrow's 2 GiB of text per column, which takes millions of rows; batches are far smaller.
    #[must_use]
    pub fn mask_column(&self, values: &StringArray) -> (StringArray, FieldCounts) {
        match &self.action {
            Action::Preserve => {
                let null = blank_count(values);
                let counts = FieldCounts {
                    null,
                    preserved: values.len() as u64 - null,
                    ..FieldCounts::default()
                };
                (values.clone(), counts)
            }
            Action::Null => {
                let null = blank_count(values);
                let counts = FieldCounts {
                    null,
                    masked: values.len() as u64 - null,
                    ..FieldCounts::default()
                };
                (StringArray::new_null(values.len()), counts)
            }
            Action::Constant(constant) => rewrite(values, constant.len(), |value, out| {
                out.push_str(constant);
                value != constant
            }),
            Action::Hash { key, encoding, chars } => rewrite(values, *chars, |value, out| hash(key, *encoding, *chars, value, out)),
            Action::Fake(faker) => {
                let mut scratch = String::new();
                rewrite(values, 24, |value, out| faker.write(value, &mut scratch, out))
            }
        }
    }
}

/// Writes a hash; repeats on the hash itself in the odd case that a short one equals its input.
fn hash(key: &Subkey, encoding: HashEncoding, chars: usize, value: &str, out: &mut String) -> bool {
    let value = value.trim();
    let mut digest = key.prf(value.as_bytes());
    for _ in 0..DRAWS_MAX {
        out.clear();
        match encoding {
            HashEncoding::Hex => push_hex(&digest, chars, out),
            HashEncoding::Base32 => push_base32(&digest, chars, out),
        }
        if out != value {
            return true;
        }
        digest = key.prf(&digest);
    }
    false
}

/// Writes a new column; `write` fills its (empty) buffer and says whether the value changed.
fn rewrite(values: &StringArray, bytes_per_value: usize, mut write: impl FnMut(&str, &mut String) -> bool) -> (StringArray, FieldCounts) {
    let mut counts = FieldCounts::default();
    let mut builder = StringBuilder::with_capacity(values.len(), values.len().saturating_mul(bytes_per_value));
    let mut out = String::with_capacity(256);
    for value in values {
        match value {
            None | Some("") => {
                builder.append_null();
                counts.null += 1;
            }
            Some(value) => {
                out.clear();
                if write(value, &mut out) {
                    counts.masked += 1;
                } else {
                    counts.unchanged += 1;
                }
                builder.append_value(&out);
            }
        }
    }
    (builder.finish(), counts)
}

fn blank_count(values: &StringArray) -> u64 {
    values.iter().filter(|value| value.is_none_or(str::is_empty)).count() as u64
}
