//! File bytes over REST: downloads, and records sent in two parts.

use std::borrow::Cow;

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, header};
use serde_json::{Map, Value};

use crate::store::db::Db;
use crate::store::files::{self, Incoming};
use crate::store::id::Id;
use crate::store::value::RowError;
use crate::web::http::Call;
use crate::web::negotiate;
use crate::web::reply::{ApiError, raw_reply, set_header};

/// `GET /sobjects/X/{id}/{Field}` of a base64 field; `None` for other paths.
pub fn download(call: &Call, rest: &[&str]) -> Option<Result<Response, ApiError>> {
    let [name, id, field] = rest else { return None };
    let object = call.org.schema.object(name)?;
    let meta = &call.org.schema.objects[object];
    let own = files::body_field(meta).filter(|f| meta.fields[*f].name.eq_ignore_ascii_case(field))?;
    if call.method != Method::GET {
        return Some(Err(ApiError::method_not_allowed()));
    }
    Some(bytes(&call.org.db(), object, own, id))
}

fn bytes(db: &Db, object: usize, field: usize, id: &str) -> Result<Response, ApiError> {
    let id = Id::parse(id.as_bytes()).map_err(|_| ApiError::not_found())?;
    let table = &db.tables[object];
    let index = table.find_live(&id).ok_or_else(ApiError::not_found)?;
    let body = table
        .row(index)
        .get(field)
        .and_then(|cell| files::body(db, cell))
        .ok_or_else(ApiError::not_found)?;
    let mut reply = raw_reply(200, "application/octet-stream", body.clone());
    let kind = db.schema.objects[object].field("ContentType").and_then(|f| table.row(index).get(f));
    if let Some(kind) = kind.and_then(|k| std::str::from_utf8(k).ok()) {
        set_header(&mut reply, "content-type", kind);
    }
    Ok(reply)
}

/// A record without its bytes, and they.
pub type Split<'a> = (Cow<'a, Map<String, Value>>, Option<Incoming>);

/// Takes the bytes out of a JSON record.
pub fn split<'a>(db: &Db, object: usize, body: &'a Map<String, Value>) -> Result<Split<'a>, RowError> {
    let meta = &db.schema.objects[object];
    let plain = Ok((Cow::Borrowed(body), None));
    let Some(field) = files::body_field(meta) else { return plain };
    let name = meta.fields[field].name.as_str();
    let Some(key) = body.keys().find(|k| k.eq_ignore_ascii_case(name)).cloned() else {
        return plain;
    };
    let mut rest = body.clone();
    match rest.remove(&key) {
        Some(Value::String(text)) => Ok((Cow::Owned(rest), Some(files::decode(meta, field, &text)?))),
        _ => Err(RowError::new("JSON_PARSER_ERROR", format!("{name} must be base64 text"), &[name])),
    }
}

/// Whether an update may bring new bytes: versions are final, attachments are not.
pub fn check_update(db: &Db, object: usize, incoming: &Incoming) -> Result<(), RowError> {
    let field = &db.schema.objects[object].fields[incoming.field];
    if field.updateable {
        return Ok(());
    }
    let message = format!(
        "Unable to create/update fields: {}. Please check the security settings of this field and verify that it is read/write for your profile or permission set.",
        field.name
    );
    Err(RowError::new("INVALID_FIELD_FOR_INSERT_UPDATE", message, &[&field.name]))
}

/// A record sent as multipart/form-data, as the JSON call it stands for; `None` when the
/// body is no multipart one.
pub fn joined(call: &Call, rest: &[&str]) -> Result<Option<Call>, ApiError> {
    if negotiate::media_type(&call.headers) != "multipart/form-data" {
        return Ok(None);
    }
    let bad = |message: &str| ApiError::bad("INVALID_MULTIPART_REQUEST", message);
    let object = rest
        .first()
        .and_then(|name| call.org.schema.object(name))
        .ok_or_else(ApiError::not_found)?;
    let meta = &call.org.schema.objects[object];
    let field = files::body_field(meta).ok_or_else(|| bad("The object has no field for binary data"))?;
    let name = meta.fields[field].name.as_str();
    let parts = parts(call).ok_or_else(|| bad("The multipart body is malformed"))?;
    let json = parts
        .iter()
        .find(|p| p.json)
        .ok_or_else(|| bad("The part with the record's fields is missing"))?;
    let binary = parts
        .iter()
        .find(|p| !p.json && p.name.eq_ignore_ascii_case(name))
        .ok_or_else(|| bad(&format!("The binary part {name} is missing")))?;
    let mut record: Value = serde_json::from_slice(&json.data).map_err(|e| ApiError::bad("JSON_PARSER_ERROR", e.to_string()))?;
    let fields = record
        .as_object_mut()
        .ok_or_else(|| ApiError::bad("JSON_PARSER_ERROR", "The record is not a JSON object"))?;
    fields.insert(name.to_owned(), STANDARD.encode(&binary.data).into());
    if !fields.contains_key("PathOnClient") && meta.name == "ContentVersion" && !binary.file.is_empty() {
        fields.insert("PathOnClient".into(), binary.file.as_str().into());
    }
    Ok(Some(call.carrying(record.to_string())))
}

/// A collection sent as multipart/form-data, as the JSON call it stands for: each record's attributes name the part with its
/// bytes and the field they are for. `None` when the body is no multipart one.
pub fn joined_collection(call: &Call) -> Result<Option<Call>, ApiError> {
    if negotiate::media_type(&call.headers) != "multipart/form-data" {
        return Ok(None);
    }
    let bad = |message: String| ApiError::bad("INVALID_MULTIPART_REQUEST", message);
    let parts = parts(call).ok_or_else(|| bad("The multipart body is malformed".into()))?;
    let json = parts
        .iter()
        .find(|p| p.json)
        .ok_or_else(|| bad("The part with the records is missing".into()))?;
    let mut body: Value = serde_json::from_slice(&json.data).map_err(|e| ApiError::bad("JSON_PARSER_ERROR", e.to_string()))?;
    for record in body["records"].as_array_mut().into_iter().flatten() {
        let attribute = |name: &str| record["attributes"][name].as_str().map(str::to_owned);
        let Some(wanted) = attribute("binaryPartName") else { continue };
        let field =
            attribute("binaryPartNameAlias").ok_or_else(|| bad(format!("The record with the part {wanted} has no binaryPartNameAlias")))?;
        let binary = parts
            .iter()
            .find(|p| !p.json && p.name == wanted)
            .ok_or_else(|| bad(format!("The binary part {wanted} is missing")))?;
        if record["attributes"]["type"] == "ContentVersion" && record["PathOnClient"].is_null() && !binary.file.is_empty() {
            record["PathOnClient"] = binary.file.as_str().into();
        }
        record[field] = STANDARD.encode(&binary.data).into();
    }
    Ok(Some(call.carrying(body.to_string())))
}

struct Part {
    name: String,
    file: String,
    json: bool,
    data: Bytes,
}

fn parts(call: &Call) -> Option<Vec<Part>> {
    let kind = call.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let boundary = kind.split("boundary=").nth(1)?.split(';').next()?.trim().trim_matches('"');
    // A delimiter stands at the start of a line, so the first is put after one.
    let mark = format!("\r\n--{boundary}");
    let first = call.body.strip_prefix(&mark.as_bytes()[2..]).map(|_| 0);
    let found = memchr::memmem::find_iter(&call.body, mark.as_bytes());
    let ends: Vec<(usize, usize)> = first
        .map(|at| (at, at + mark.len() - 2))
        .into_iter()
        .chain(found.map(|at| (at, at + mark.len())))
        .collect();
    let whole = ends.windows(2).map(|pair| call.body.slice(pair[0].1..pair[1].0));
    let out: Option<Vec<Part>> = whole.map(|raw| part(&raw)).collect();
    let closed = ends.last().is_some_and(|(_, end)| call.body[*end..].starts_with(b"--"));
    out.filter(|list| closed && !list.is_empty())
}

fn part(raw: &Bytes) -> Option<Part> {
    let split = memchr::memmem::find(raw, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&raw[..split]).into_owned();
    let disposition = head.lines().find(|l| l.to_ascii_lowercase().starts_with("content-disposition:"))?;
    let parameter = |key: &str| {
        disposition.split(';').find_map(|p| {
            let (name, value) = p.trim().split_once('=')?;
            name.eq_ignore_ascii_case(key).then(|| value.trim().trim_matches('"').to_owned())
        })
    };
    let name = parameter("name")?;
    let typed = head.lines().find_map(|l| {
        l.to_ascii_lowercase()
            .strip_prefix("content-type:")
            .map(|t| t.trim().starts_with("application/json"))
    });
    let file = parameter("filename");
    // A JSON file is bytes like any other; the record comes without a file name.
    let json = file.is_none() && (typed == Some(true) || name.starts_with("entity_") || name == "collection");
    Some(Part {
        json,
        file: file.unwrap_or_default(),
        name,
        data: raw.slice(split + 4..),
    })
}
