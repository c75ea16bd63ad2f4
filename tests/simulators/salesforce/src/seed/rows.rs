//! Loading records from CSV files named after their object (`Contact.csv`, `Group_Queue.csv`).
//!
//! Production takes everything with its ids. A sandbox takes the setup objects only, under
//! ids and usernames of its own.

use std::collections::HashMap;
use std::path::Path;

use crate::schema::FieldType;
use crate::seed::{Flavour, ORG_BORN};
use crate::store::db::Db;
use crate::store::id::Id;
use crate::store::row::Draft;

/// A row file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    #[error("{0}: {1}")]
    Read(String, #[source] std::io::Error),
    #[error("{file}: {source}")]
    Csv { file: String, source: csv::Error },
    #[error("{file} row {row}, field {field}: {reason}")]
    Cell {
        file: String,
        row: usize,
        field: String,
        reason: String,
    },
}

/// Objects a sandbox inherits, parents first.
const SETUP: [&str; 6] = ["Profile", "UserRole", "User", "RecordType", "Group", "Pricebook2"];

/// Loads a directory.
pub fn load(db: &mut Db, dir: &Path, flavour: Flavour) -> Result<(), RowsError> {
    let shown = dir.display().to_string();
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .map_err(|e| RowsError::Read(shown.clone(), e))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "csv"))
        .collect();
    let rank = |path: &Path| {
        let name = object_name(path);
        (SETUP.iter().position(|s| *s == name).unwrap_or(SETUP.len()), name)
    };
    files.sort_by_key(|p| rank(p));
    let mut renamed: HashMap<Id, Id> = HashMap::new();
    for path in files {
        let name = object_name(&path);
        let Some(object) = db.schema.object(&name) else {
            tracing::info!(object = name, "no such object in this org, file skipped");
            continue;
        };
        if flavour == Flavour::Sandbox && !SETUP.contains(&name.as_str()) {
            continue;
        }
        file(db, object, &path, flavour, &mut renamed)?;
    }
    Ok(())
}

fn object_name(path: &Path) -> String {
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    stem.strip_suffix("_Queue").map(str::to_owned).unwrap_or(stem)
}

fn file(db: &mut Db, object: usize, path: &Path, flavour: Flavour, renamed: &mut HashMap<Id, Id>) -> Result<(), RowsError> {
    let file = path.file_name().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let csv_error = |source| RowsError::Csv {
        file: file.clone(),
        source,
    };
    let mut reader = csv::Reader::from_path(path).map_err(csv_error)?;
    let schema = std::sync::Arc::clone(&db.schema);
    let meta = &schema.objects[object];
    let names = reader.byte_headers().map_err(csv_error)?.clone();
    let columns: Vec<Option<usize>> = names.iter().map(|n| meta.field(&String::from_utf8_lossy(n))).collect();
    let mut draft = Draft::default();
    let mut text = Vec::new();
    for (number, record) in reader.byte_records().enumerate() {
        let record = record.map_err(csv_error)?;
        draft.reset(meta.fields.len());
        for name in ["CreatedDate", "LastModifiedDate", "SystemModstamp"] {
            if let Some(field) = meta.field(name) {
                draft.set(field, ORG_BORN);
            }
        }
        if let Some(field) = meta.field("OwnerId").or_else(|| meta.field("CreatedById"))
            && let Some(user) = (!db.table("User").is_empty()).then(|| db.table("User").id(0))
        {
            draft.set(field, &user.long());
        }
        let mut deleted = false;
        for (raw, column) in record.iter().zip(&columns) {
            let Some(field) = *column else { continue };
            let spec = &meta.fields[field];
            if raw.is_empty() || (spec.name == "CurrencyIsoCode" && raw == b"-") {
                continue;
            }
            let bad = |reason: String| RowsError::Cell {
                file: file.clone(),
                row: number + 1,
                field: spec.name.clone(),
                reason,
            };
            // Values of files are trusted as data, not as API input: picklists stay open.
            if spec.kind == FieldType::Picklist || spec.kind == FieldType::MultiPicklist {
                draft.set(field, raw);
                continue;
            }
            crate::store::value::normalise(spec, raw, &mut text).map_err(|e| bad(e.message))?;
            deleted |= spec.name == "IsDeleted" && text == b"true";
            if let Some(id) = Id::parse(&text).ok().filter(|_| spec.kind == FieldType::Reference)
                && let Some(now) = renamed.get(&id)
            {
                text.clear();
                text.extend_from_slice(&now.long());
            }
            draft.set(field, &text);
        }
        let old = draft.get(0).and_then(|t| Id::parse(t).ok());
        let id = match (flavour, old) {
            (Flavour::Production, Some(id)) => id,
            _ => db.tables[object].next_id(),
        };
        if let Some(old) = old {
            renamed.insert(old, id);
        }
        if db.tables[object].find(&id).is_some() {
            return Err(RowsError::Cell {
                file,
                row: number + 1,
                field: "Id".into(),
                reason: format!("{id} occurs twice"),
            });
        }
        if flavour == Flavour::Sandbox && meta.name == "User" {
            for (name, suffix) in [("Username", flavour.suffix()), ("Email", ".invalid")] {
                if let Some(field) = meta.field(name) {
                    let mut value = draft.get(field).unwrap_or_default().to_vec();
                    value.extend_from_slice(suffix.as_bytes());
                    draft.set(field, &value);
                }
            }
        }
        derived_names(meta, &mut draft);
        draft.set(0, &id.long());
        let index = db.tables[object].push(id, draft.finish());
        if deleted {
            db.tables[object].bury(index, crate::store::db::Life::Deleted);
        }
    }
    Ok(())
}

fn derived_names(meta: &crate::schema::Object, draft: &mut Draft) {
    if !["Contact", "Lead", "User"].contains(&meta.name.as_str()) {
        return;
    }
    let text = |draft: &Draft, name: &str| {
        let value = meta.field(name).and_then(|f| draft.get(f));
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    };
    let name = format!("{} {}", text(draft, "FirstName"), text(draft, "LastName"));
    if let Some(field) = meta.field("Name") {
        draft.set(field, name.trim().as_bytes());
    }
}
