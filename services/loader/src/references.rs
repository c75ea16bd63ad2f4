//! From source keys to target keys: what is matched by name, then a cache of fixed size, then the ledger in bulk.

use std::collections::HashSet;

use ahash::AHashMap;
use arrow_array::cast::AsArray;
use arrow_array::{RecordBatch, StringArray};
use syncline_domain::plan::FieldPlan;
use syncline_runtime::StageError;

use crate::context::Context;
use crate::store;

/// Keys that the cache holds at most: some 100 bytes each, so about 20 MB per task.
const CACHED_MAX: usize = 200_000;

/// Resolves references of one object's rows.
#[derive(Default)]
pub struct References {
    cache: AHashMap<String, String>,
}

impl References {
    /// Makes sure that every key of these columns that can be resolved is in reach of [`References::get`].
    pub async fn load(&mut self, context: &Context, rows: &RecordBatch, fields: &[&FieldPlan]) -> Result<(), StageError> {
        for field in fields {
            let Some(column) = rows.column_by_name(field.target.as_str()).and_then(|c| c.as_string_opt::<i32>()) else {
                continue;
            };
            self.load_keys(context, field, column.iter().flatten()).await?;
        }
        Ok(())
    }

    /// As [`References::load`], for keys in hand.
    pub async fn load_keys<'a>(
        &mut self,
        context: &Context,
        field: &FieldPlan,
        keys: impl Iterator<Item = &'a str>,
    ) -> Result<(), StageError> {
        let matched = &context.plan().matched;
        let wanted: HashSet<&str> = keys
            .filter(|k| !k.is_empty() && !self.cache.contains_key(*k) && !matched.contains_key(*k))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        if self.cache.len() + wanted.len() > CACHED_MAX {
            self.cache.clear();
        }
        let wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
        let found = store::ledger::resolve(&context.platform.db, &context.links_of(field), &wanted).await?;
        self.cache.extend(found);
        Ok(())
    }

    /// The target key of a source key that was loaded.
    pub fn get<'a>(&'a self, context: &'a Context, key: &str) -> Option<&'a str> {
        context.plan().matched.get(key).or_else(|| self.cache.get(key)).map(String::as_str)
    }

    /// A column of references as target keys; null where there is none or it cannot be resolved.
    pub fn column(&self, context: &Context, column: &StringArray) -> StringArray {
        column.iter().map(|key| key.and_then(|k| self.get(context, k))).collect()
    }
}
