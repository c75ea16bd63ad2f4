//! From source keys to target keys: what is matched by name, then a cache of fixed size, then the ledger in bulk.

use std::collections::HashSet;

use ahash::AHashMap;
use arrow_array::cast::AsArray;
use arrow_array::{RecordBatch, StringArray};
use syncline_domain::plan::{FieldPlan, FieldRole};
use syncline_runtime::StageError;

use crate::context::Context;
use crate::store;

/// Keys that the cache holds at most: some 100 bytes each, so about 5 MB per task. More than one batch can ask for.
const CACHED_MAX: usize = 50_000;

/// Resolves references of one object's rows.
#[derive(Default)]
pub struct References {
    cache: Cache,
}

/// Source keys and their target keys, up to a fixed number.
struct Cache {
    keys: AHashMap<String, String>,
    room: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            keys: AHashMap::new(),
            room: CACHED_MAX,
        }
    }
}

impl Cache {
    /// Which keys have to be looked up so that all of `columns` are at hand together, per column. When they do not fit
    /// beside what is cached, everything is forgotten and all of them are asked for.
    fn missing(&mut self, columns: &[HashSet<&str>]) -> Vec<Vec<String>> {
        let missing = |keys: &AHashMap<String, String>| -> Vec<Vec<String>> {
            let of = |column: &HashSet<&str>| column.iter().filter(|k| !keys.contains_key(**k)).map(|k| (*k).to_owned()).collect();
            columns.iter().map(of).collect()
        };
        let first = missing(&self.keys);
        if self.keys.len() + first.iter().map(Vec::len).sum::<usize>() <= self.room {
            return first;
        }
        self.keys.clear();
        missing(&self.keys)
    }
}

/// The owner of records that belong to nobody whom the target has. Owners are the references that the target neither
/// leaves null nor requires: it defaults them.
fn default_owner<'a>(context: &'a Context, field: &FieldPlan) -> Option<&'a str> {
    let defaulted = matches!(&field.role, FieldRole::Reference(r) if !r.required && r.to.is_empty()) && !field.nillable;
    context.plan().default_owner.as_deref().filter(|_| defaulted)
}

impl References {
    /// Makes sure that every key of these columns that can be resolved is in reach of [`References::get`].
    pub async fn load(&mut self, context: &Context, rows: &RecordBatch, fields: &[&FieldPlan]) -> Result<(), StageError> {
        let column = |field: &&FieldPlan| rows.column_by_name(field.target.as_str()).and_then(|c| c.as_string_opt::<i32>());
        let columns: Vec<_> = fields
            .iter()
            .map(|field| wanted(context, column(field).into_iter().flatten().flatten()))
            .collect();
        self.look_up(context, fields, &columns).await
    }

    /// As [`References::load`], for keys in hand.
    pub async fn load_keys<'a>(
        &mut self,
        context: &Context,
        field: &FieldPlan,
        keys: impl Iterator<Item = &'a str>,
    ) -> Result<(), StageError> {
        self.look_up(context, &[field], &[wanted(context, keys)]).await
    }

    async fn look_up(&mut self, context: &Context, fields: &[&FieldPlan], columns: &[HashSet<&str>]) -> Result<(), StageError> {
        for (field, mut keys) in fields.iter().zip(self.cache.missing(columns)) {
            self.cache.keys.extend(context.recent.take(context.work.run(), &mut keys));
            if !keys.is_empty() {
                let found = store::ledger::resolve(&context.platform.db, &context.links_of(field), &keys).await?;
                self.cache.keys.extend(found);
            }
        }
        Ok(())
    }

    /// The target key of a source key that was loaded.
    pub fn get<'a>(&'a self, context: &'a Context, key: &str) -> Option<&'a str> {
        context
            .plan()
            .matched
            .get(key)
            .or_else(|| self.cache.keys.get(key))
            .map(String::as_str)
    }

    /// What is written for a source key: its target key, else the default owner where the target would fill in an owner
    /// by itself, else null.
    pub fn written<'a>(&'a self, context: &'a Context, field: &FieldPlan, key: &str) -> Option<&'a str> {
        self.get(context, key).or_else(|| default_owner(context, field))
    }

    /// A column of references as they are written.
    pub fn column(&self, context: &Context, field: &FieldPlan, column: &StringArray) -> StringArray {
        column.iter().map(|key| key.and_then(|k| self.written(context, field, k))).collect()
    }
}

/// Keys that have to come from the ledger.
fn wanted<'a>(context: &Context, keys: impl Iterator<Item = &'a str>) -> HashSet<&'a str> {
    let matched = &context.plan().matched;
    keys.filter(|k| !k.is_empty() && !matched.contains_key(*k)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_cache_never_loses_a_key_of_the_batch_in_hand() {
        let mut cache = Cache {
            room: 4,
            ..Cache::default()
        };
        for key in ["a", "b", "c"] {
            cache.keys.insert(key.to_owned(), key.to_uppercase());
        }
        let columns = [HashSet::from(["a", "d"]), HashSet::from(["e"])];
        let mut missing = cache.missing(&columns);
        missing.iter_mut().for_each(|m| m.sort());
        assert_eq!(
            missing,
            [vec!["a".to_owned(), "d".to_owned()], vec!["e".to_owned()]],
            "what was cached is asked for again"
        );
        assert!(cache.keys.is_empty());
        let mut cache = Cache::default();
        cache.keys.insert("a".to_owned(), "A".to_owned());
        assert_eq!(cache.missing(&[HashSet::from(["a", "d"])]), [vec!["d".to_owned()]]);
    }
}
