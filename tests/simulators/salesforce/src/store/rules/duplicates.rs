//! Duplicate rules as configuration: rows that match another record are blocked, or let in
//! when the caller insists.

use serde_json::{Value, json};

use crate::schema::Object;
use crate::store::db::{Db, same_text};
use crate::store::row::Draft;
use crate::store::value::RowError;

/// Records one refusal lists.
const MATCHES_MAX: usize = 5;

#[derive(Debug, Clone)]
pub struct DuplicateRule {
    pub name: String,
    pub fields: Vec<usize>,
    pub blocks: bool,
    pub alert: String,
}

impl DuplicateRule {
    /// The field whose index finds the candidates.
    pub fn index_field(&self) -> usize {
        self.fields[0]
    }

    /// Refuses the row when another record matches in every field.
    pub(super) fn check(
        &self,
        db: &Db,
        object: usize,
        meta: &Object,
        existing: Option<u32>,
        draft: &Draft,
        given: &[bool],
    ) -> Result<(), RowError> {
        // An update that leaves the matched fields alone makes no new duplicate.
        if existing.is_some() && !self.fields.iter().any(|f| given[*f]) {
            return Ok(());
        }
        let Some(key) = draft.get(self.index_field()) else {
            return Ok(());
        };
        let table = &db.tables[object];
        let same = |index: u32| {
            self.fields.iter().all(|f| match (table.row(index).get(*f), draft.get(*f)) {
                (Some(a), Some(b)) => same_text(a, b),
                _ => false,
            })
        };
        let found: Vec<u32> = table
            .by_key(self.index_field(), key)
            .unwrap_or_default()
            .into_iter()
            .filter(|i| Some(*i) != existing && same(*i))
            .take(MATCHES_MAX)
            .collect();
        if found.is_empty() {
            return Ok(());
        }
        let records = found.iter().map(|i| table.id(*i).text());
        let mut error = RowError::new("DUPLICATES_DETECTED", &self.alert, &[]);
        error.detail = Some(Box::new(self.result(meta, records)));
        Err(error)
    }

    fn result(&self, meta: &Object, ids: impl Iterator<Item = String>) -> Value {
        let records: Vec<Value> = ids
            .map(|id| {
                json!({"additionalInformation": [], "fieldDiffs": [], "matchConfidence": 100.0,
                    "record": {"attributes": {"type": meta.name}, "Id": id}})
            })
            .collect();
        json!({"allowSave": !self.blocks, "duplicateRule": self.name, "duplicateRuleEntityType": meta.name,
            "errorMessage": self.alert, "matchResults": [{"entityType": meta.name, "errors": [],
                "matchEngine": "ExactMatchEngine", "size": records.len(), "matchRecords": records,
                "rule": self.name, "success": true}]})
    }
}
