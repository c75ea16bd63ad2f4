//! Control of what the REST API has no call for: merging and undeleting records.

use serde_json::{Map, Value, json};

use crate::rest::records;
use crate::store::id::Id;
use crate::store::rules::{Scratch, merge, undelete};
use crate::web::http::Call;
use crate::web::reply::ApiError;

fn id(value: &Value) -> Result<Id, ApiError> {
    let text = value.as_str().unwrap_or_default();
    Id::parse(text.as_bytes()).map_err(|e| ApiError::bad("MALFORMED_ID", format!("{text}: {e}")))
}

fn ids(body: &Value, key: &str) -> Result<Vec<Id>, ApiError> {
    let list = body[key]
        .as_array()
        .ok_or_else(|| ApiError::bad("JSON_PARSER_ERROR", format!("{key} must be a list of ids")))?;
    list.iter().map(id).collect()
}

/// `{"master": id, "losers": [id, …], "fields": {…}}`: the fields are written to the master.
pub fn merge_records(call: &Call) -> Result<Value, ApiError> {
    let body = call.json()?;
    let (master, losers) = (id(&body["master"])?, ids(&body, "losers")?);
    let fields: Map<String, Value> = body["fields"].as_object().cloned().unwrap_or_default();
    call.org.records.transaction(|| {
        let mut db = call.org.db_mut();
        let moved = merge::merge(&mut db, &call.write_context(), &master, &losers)?;
        if let (false, Some((object, index))) = (fields.is_empty(), db.locate(&master)) {
            records::write(call, &mut db, &mut Scratch::default(), object, Some(index), &fields)?;
        }
        let text = |list: &[Id]| -> Vec<String> { list.iter().map(Id::text).collect() };
        Ok(json!({"id": master.text(), "success": true, "errors": [],
            "mergedRecordIds": text(&losers), "updatedRelatedIds": text(&moved)}))
    })
}

/// `{"ids": [id, …]}`: a result per record, each for itself.
pub fn undelete_records(call: &Call) -> Result<Value, ApiError> {
    let wanted = ids(&call.json()?, "ids")?;
    let mut db = call.org.db_mut();
    let context = call.write_context();
    let results = wanted.iter().map(|id| match undelete::undelete(&mut db, &context, id) {
        Ok(()) => json!({"id": id.text(), "success": true, "errors": []}),
        Err(error) => json!({"id": id.text(), "success": false,
            "errors": [{"statusCode": error.code, "message": error.message, "fields": error.fields}]}),
    });
    Ok(results.collect::<Vec<_>>().into())
}
