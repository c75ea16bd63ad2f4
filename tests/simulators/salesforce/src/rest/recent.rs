//! The records a user used last: what `Sforce-Mru: updateMru=true` notes.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use axum::response::Response;
use serde_json::{Value, json};

use crate::store::db::Db;
use crate::store::id::Id;
use crate::web::http::{Call, ok};
use crate::web::reply::ApiError;

/// Records kept; `/recent` gives up to this many.
const RECENT_MAX: usize = 200;

/// Most recent first.
#[derive(Default)]
pub struct Recent(Mutex<VecDeque<Id>>);

impl Recent {
    fn list(&self) -> Vec<Id> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// Notes a record when the call asks for it.
    pub fn note(&self, call: &Call, id: Id) {
        let wanted = call.headers.get("sforce-mru").and_then(|v| v.to_str().ok());
        if !wanted.is_some_and(|v| v.replace(' ', "").eq_ignore_ascii_case("updateMru=true")) {
            return;
        }
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|other| *other != id);
        list.push_front(id);
        list.truncate(RECENT_MAX);
    }
}

fn item(call: &Call, db: &Db, id: Id) -> Option<(usize, Value)> {
    let (object, index) = db.locate(&id)?;
    db.tables[object].find_live(&id)?;
    let meta = &db.schema.objects[object];
    let name_field = meta
        .fields
        .iter()
        .position(|f| f.describe.get("nameField") == Some(&Value::Bool(true)));
    let mut out = json!({"attributes": {"type": meta.name, "url": call.path(&format!("sobjects/{}/{id}", meta.name))}, "Id": id.text()});
    if let Some(field) = name_field {
        let value = db.tables[object].row(index).get(field).map(String::from_utf8_lossy);
        out[&meta.fields[field].name] = json!(value);
    }
    Some((object, out))
}

/// Recent records of one object, or of all.
pub fn items(call: &Call, object: Option<usize>) -> Vec<Value> {
    let db = call.org.db();
    let found = call.org.recent.list().into_iter().filter_map(|id| item(call, &db, id));
    found
        .filter(|(o, _)| object.is_none_or(|wanted| wanted == *o))
        .map(|(_, item)| item)
        .collect()
}

/// `/recent[?limit=n]`
pub fn handle(call: &Call) -> Result<Response, ApiError> {
    let limit = match call.query.get("limit") {
        None => RECENT_MAX,
        Some(text) => text
            .parse()
            .ok()
            .filter(|n| (1..=RECENT_MAX).contains(n))
            .ok_or_else(|| ApiError::bad("INVALID_QUERY_VALUE", format!("limit must be between 1 and {RECENT_MAX}")))?,
    };
    let mut list = items(call, None);
    list.truncate(limit);
    ok(list.into())
}
