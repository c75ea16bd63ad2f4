//! `/composite/tree/{X}`: nested records, all created or none.

use std::collections::HashSet;

use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::rest::mixed;
use crate::rest::records::write;
use crate::schema::Schema;
use crate::store::rules::Scratch;
use crate::store::value::RowError;
use crate::web::http::Call;
use crate::web::reply::{ApiError, json_reply};

// "sObject Tree", REST API Developer Guide.
const RECORDS_MAX: usize = 200;
const TYPES_MAX: usize = 5;
const DEPTH_MAX: usize = 5;

/// One record of the request: which object, which parent, and its own fields.
struct Node {
    object: usize,
    reference: String,
    /// Position of the parent among the nodes, and the field that names it.
    parent: Option<(usize, String)>,
    depth: usize,
    fields: Map<String, Value>,
}

pub fn handle(call: &Call, name: &str) -> Result<Response, ApiError> {
    let root = call.org.schema.object(name).ok_or_else(ApiError::not_found)?;
    let body = call.json()?;
    let records = body["records"]
        .as_array()
        .filter(|l| !l.is_empty())
        .ok_or_else(|| ApiError::bad("JSON_PARSER_ERROR", "records is missing or not an array of records"))?;
    let mut nodes = Vec::new();
    for record in records {
        gather(call, root, record, None, 1, &mut nodes)?;
    }
    check(&nodes)?;
    let run = || save(call, &nodes);
    Ok(match call.org.records.transaction(|| mixed::transaction(run)) {
        Ok(results) => json_reply(201, &json!({"hasErrors": false, "results": results})),
        Err(results) => json_reply(400, &json!({"hasErrors": true, "results": results})),
    })
}

/// Name of the child object's field behind a relationship of `parent`.
fn relationship(schema: &Schema, parent: usize, name: &str, version: &str) -> Option<(usize, String)> {
    let describe = schema.describe(parent, version);
    let list = describe.get("childRelationships")?.as_array()?;
    let entry = list
        .iter()
        .find(|c| c["relationshipName"].as_str().is_some_and(|r| r.eq_ignore_ascii_case(name)))?;
    Some((schema.object(entry["childSObject"].as_str()?)?, entry["field"].as_str()?.to_owned()))
}

fn gather(
    call: &Call,
    object: usize,
    record: &Value,
    parent: Option<(usize, String)>,
    depth: usize,
    nodes: &mut Vec<Node>,
) -> Result<(), ApiError> {
    let schema = &call.org.schema;
    let bad = |message: String| ApiError::bad("INVALID_INPUT", message);
    let limit = |what: &str| ApiError::bad("LIMIT_EXCEEDED", format!("The number of {what} in the request exceeds the limit"));
    let map = record
        .as_object()
        .ok_or_else(|| ApiError::bad("JSON_PARSER_ERROR", "a record is not an object"))?;
    let name = &schema.objects[object].name;
    let attributes = map.get("attributes").unwrap_or(&Value::Null);
    if attributes["type"].as_str().is_none_or(|t| !t.eq_ignore_ascii_case(name)) {
        return Err(bad(format!("Include the type {name} in the record's attributes")));
    }
    let reference = attributes["referenceId"].as_str().unwrap_or_default();
    if !reference.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(bad(
            "Include a reference ID that starts with a letter or number for each record".into()
        ));
    }
    if depth > DEPTH_MAX {
        return Err(limit("levels"));
    }
    if nodes.len() == RECORDS_MAX {
        return Err(limit("records"));
    }
    let at = nodes.len();
    let is_children = |value: &Value| value.get("records").is_some_and(Value::is_array);
    let own = map.iter().filter(|(_, value)| !is_children(value));
    nodes.push(Node {
        object,
        reference: reference.to_owned(),
        parent,
        depth,
        fields: own.map(|(k, v)| (k.clone(), v.clone())).collect(),
    });
    for (key, value) in map.iter().filter(|(_, value)| is_children(value)) {
        let (child, field) = relationship(schema, object, key, &call.version).ok_or_else(|| {
            let message = format!("No such relationship '{key}' on sobject of type {name}");
            ApiError::bad("INVALID_FIELD", message)
        })?;
        for record in value["records"].as_array().into_iter().flatten() {
            gather(call, child, record, Some((at, field.clone())), depth + 1, nodes)?;
        }
    }
    Ok(())
}

fn check(nodes: &[Node]) -> Result<(), ApiError> {
    let types: HashSet<usize> = nodes.iter().map(|n| n.object).collect();
    if types.len() > TYPES_MAX {
        return Err(ApiError::bad(
            "LIMIT_EXCEEDED",
            format!("The number of object types in the request exceeds the limit of {TYPES_MAX}"),
        ));
    }
    let mut seen = HashSet::new();
    match nodes.iter().find(|n| !seen.insert(n.reference.as_str())) {
        Some(twice) => Err(ApiError::bad(
            "INVALID_INPUT",
            format!("Duplicate ReferenceId provided in the request: {}", twice.reference),
        )),
        None => Ok(()),
    }
}

/// Creates level by level; a level with failures is the last one, and only they are told.
fn save(call: &Call, nodes: &[Node]) -> Result<Vec<Value>, Vec<Value>> {
    let mut db = call.org.db_mut();
    let mut scratch = Scratch::default();
    let mut ids: Vec<String> = vec![String::new(); nodes.len()];
    for depth in 1..=DEPTH_MAX {
        let mut failures = Vec::new();
        for (at, node) in nodes.iter().enumerate().filter(|(_, n)| n.depth == depth) {
            let mut fields = node.fields.clone();
            if let Some((parent, field)) = &node.parent {
                fields.insert(field.clone(), ids[*parent].as_str().into());
            }
            match write(call, &mut db, &mut scratch, node.object, None, &fields) {
                Ok(index) => ids[at] = db.tables[node.object].id(index).text(),
                Err(error) => failures.push(failure(node, &error)),
            }
        }
        if !failures.is_empty() {
            return Err(failures);
        }
    }
    let results = nodes.iter().zip(&ids);
    Ok(results.map(|(node, id)| json!({"referenceId": node.reference, "id": id})).collect())
}

fn failure(node: &Node, error: &RowError) -> Value {
    let detail = json!({"statusCode": error.code, "message": error.message, "fields": error.fields});
    json!({"referenceId": node.reference, "errors": [detail]})
}
