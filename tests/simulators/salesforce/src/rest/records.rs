//! Single records, describes, and turning JSON bodies into column values.

use axum::response::Response;
use http::Method;
use serde_json::{Map, Value, json};

use crate::rest::conditional;
use crate::rest::files;
use crate::rest::mixed;
use crate::rest::query::{Tree, record};
use crate::soql::plan::{Bound, Leaf};
use crate::store;
use crate::store::db::{Db, Life};
use crate::store::files::Incoming;
use crate::store::id::Id;
use crate::store::rules::{self, Column, Input, Scratch, WriteContext};
use crate::store::setup::PermissionDoc;
use crate::store::value::RowError;
use crate::web::http::{Call, ok, saved};
use crate::web::reply::{ApiError, empty, json_reply, raw_reply, set_header};

/// Records below `/sobjects`.
pub fn handle(call: &Call, rest: &[&str]) -> Result<Response, ApiError> {
    let schema = &call.org.schema;
    let object = |name: &str| schema.object(name).ok_or_else(ApiError::not_found);
    match (&call.method, rest) {
        (&Method::POST, [name]) => insert(call, object(name)?),
        (&Method::POST, [name, id]) if id.eq_ignore_ascii_case("Id") => insert(call, object(name)?),
        (&Method::GET, [name, id]) => read(call, object(name)?, id),
        (&Method::PATCH, [name, id]) => update(call, object(name)?, id),
        (&Method::DELETE, [name, id]) => delete(call, object(name)?, id),
        (method, [name, field, value]) => by_key(call, method, object(name)?, field, value),
        (_, [] | [_] | [_, _]) => Err(ApiError::method_not_allowed()),
        _ => Err(ApiError::not_found()),
    }
}

/// The object's describe document as this org answers it.
pub fn describe(call: &Call, index: usize) -> Value {
    let schema = &call.org.schema;
    let mut out = schema.describe(index, &call.version);
    let name = &schema.objects[index].name;
    let setup = call.org.setup();
    let setup = setup.object(index);
    let default = setup.and_then(|s| s.default_record_type.as_deref());
    let mut infos = Vec::new();
    if schema.objects[index].field("RecordTypeId").is_some() {
        let db = call.org.db();
        let table = db.table("RecordType");
        let meta = &schema.objects[schema.object("RecordType").expect("built in")];
        let entry = |id: String, developer: &str, label: &str, active: bool, master: bool, default: bool| {
            let layout = call.path(&format!("sobjects/{name}/describe/layouts/{id}"));
            json!({"active": active, "available": active, "defaultRecordTypeMapping": default,
                "developerName": developer, "master": master, "name": label, "recordTypeId": id, "urls": {"layout": layout}})
        };
        for i in table.scan(false) {
            let text = |f: &str| {
                let value = meta.field(f).and_then(|f| table.row(i).get(f));
                String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
            };
            // Persons' record types of Contact are listed with those of Account.
            let of_person = || name == "Account" && text("SobjectType") == "Contact" && text("IsPersonType") == "true";
            if text("SobjectType") == *name || of_person() {
                let active = text("IsActive") == "true";
                infos.push(entry(
                    table.id(i).text(),
                    &text("DeveloperName"),
                    &text("Name"),
                    active,
                    false,
                    default.map_or(infos.is_empty(), |d| d == text("DeveloperName")),
                ));
            }
        }
        infos.push(entry("012000000000000AAA".into(), "Master", "Master", true, true, infos.is_empty()));
    }
    out.insert("recordTypeInfos".into(), infos.into());
    for (key, wanted) in [
        ("createable", PermissionDoc::Create),
        ("updateable", PermissionDoc::Edit),
        ("deletable", PermissionDoc::Delete),
    ] {
        if setup.is_some_and(|s| !s.permits(wanted)) {
            out.insert(key.into(), false.into());
        }
    }
    Value::Object(out)
}

/// A JSON scalar as the text a CSV cell would carry; `None` is null.
fn scalar(value: &Value) -> Result<Option<String>, RowError> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(b) => Ok(Some(b.to_string())),
        Value::Number(n) => Ok(Some(n.to_string())),
        Value::String(s) => Ok(Some(s.clone())),
        Value::Array(_) | Value::Object(_) => Err(RowError::new(
            "JSON_PARSER_ERROR",
            "Cannot deserialize instance of a scalar from a structure",
            &[],
        )),
    }
}

/// Columns and values of a JSON body; ids and attributes are left out.
pub fn body_cells(call: &Call, object: usize, body: &Map<String, Value>) -> Result<Vec<(Column, Option<String>)>, RowError> {
    let schema = &call.org.schema;
    let meta = &schema.objects[object];
    let mut out = Vec::with_capacity(body.len());
    for (name, value) in body {
        if name == "attributes" || name.eq_ignore_ascii_case("id") {
            continue;
        }
        let unknown = |shown: &str| {
            let message = format!("No such column '{shown}' on sobject of type {}", meta.name);
            RowError::new("INVALID_FIELD", message, &[])
        };
        if let Value::Object(parent) = value {
            let (key, wanted) = parent.iter().find(|(k, _)| *k != "attributes").ok_or_else(|| unknown(name))?;
            let path = match parent.get("attributes").and_then(|a| a["type"].as_str()) {
                Some(kind) => format!("{kind}:{name}.{key}"),
                None => format!("{name}.{key}"),
            };
            let column = Column::resolve(schema, object, &path)
                .or_else(|| Column::resolve(schema, object, &format!("{name}.{key}")))
                .ok_or_else(|| unknown(&path))?;
            out.push((column, scalar(wanted)?));
            continue;
        }
        let column = Column::resolve(schema, object, name).ok_or_else(|| unknown(name))?;
        out.push((column, scalar(value)?));
    }
    Ok(out)
}

/// Writes one JSON record.
pub fn write(
    call: &Call,
    db: &mut Db,
    scratch: &mut Scratch,
    object: usize,
    existing: Option<u32>,
    body: &Map<String, Value>,
) -> Result<u32, RowError> {
    let is_harmless = mixed::is_harmless(&call.org.schema.objects[object], existing.is_some(), body);
    if !is_harmless {
        mixed::check(&call.org.schema, object)?;
    }
    let (body, file) = files::split(db, object, body)?;
    let cells = body_cells(call, object, &body)?;
    let inputs: Vec<(Column, Input<'_>)> = cells
        .iter()
        .map(|(column, text)| (column.clone(), text.as_ref().map_or(Input::Null, |t| Input::Text(t.as_bytes()))))
        .collect();
    let context = call.write_context();
    let index = if store::files::concerns(&db.schema.objects[object]) {
        let savepoint = db.begin();
        match write_file(db, &context, object, existing, &inputs, file, scratch) {
            Ok(index) => {
                db.commit(savepoint);
                index
            }
            Err(error) => {
                db.roll_back(savepoint);
                return Err(error);
            }
        }
    } else {
        rules::write(db, &context, object, existing, &inputs, scratch)?
    };
    if !is_harmless {
        mixed::wrote(object);
    }
    call.org.faults.wrote(1);
    Ok(index)
}

/// Writes a record that has a file, or that comes with files.
fn write_file(
    db: &mut Db,
    context: &WriteContext,
    object: usize,
    existing: Option<u32>,
    inputs: &[(Column, Input<'_>)],
    file: Option<Incoming>,
    scratch: &mut Scratch,
) -> Result<u32, RowError> {
    if let (Some(_), Some(incoming)) = (existing, &file) {
        files::check_update(db, object, incoming)?;
    }
    let index = rules::write(db, context, object, existing, inputs, scratch)?;
    store::files::stored(db, context, object, index, existing.is_none(), file)?;
    Ok(index)
}

fn body_object(call: &Call) -> Result<Map<String, Value>, ApiError> {
    match call.json()? {
        Value::Object(map) => Ok(map),
        _ => Err(ApiError::bad("JSON_PARSER_ERROR", "The HTTP entity body must be a JSON object")),
    }
}

fn insert(call: &Call, object: usize) -> Result<Response, ApiError> {
    let body = body_object(call)?;
    let mut db = call.org.db_mut();
    let index = write(call, &mut db, &mut Scratch::default(), object, None, &body)?;
    call.org.recent.note(call, db.tables[object].id(index));
    let id = db.tables[object].id(index).text();
    let mut reply = json_reply(201, &saved(&id, None));
    let name = &call.org.schema.objects[object].name;
    set_header(&mut reply, "location", &call.path(&format!("sobjects/{name}/{id}")));
    Ok(reply)
}

fn find(db: &Db, object: usize, text: &str) -> Result<u32, ApiError> {
    let id = Id::parse(text.as_bytes()).map_err(|_| ApiError::not_found())?;
    let table = &db.tables[object];
    let index = table
        .find(&id)
        .ok_or_else(|| ApiError::new(404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible: "))?;
    if table.life(index) != Life::Live {
        return Err(ApiError::new(404, "ENTITY_IS_DELETED", "entity is deleted"));
    }
    Ok(index)
}

/// A root-level bound column.
pub fn plain_column(db: &Db, object: usize, field: usize) -> Bound {
    let spec = &db.schema.objects[object].fields[field];
    Bound {
        name: spec.name.clone(),
        hops: Vec::new(),
        leaf: Leaf::Field { object, field },
        kind: spec.kind,
    }
}

/// The columns of a `fields` list, or all of them.
pub fn columns(db: &Db, object: usize, fields: Option<&[String]>) -> Result<Vec<Bound>, ApiError> {
    let meta = &db.schema.objects[object];
    let Some(fields) = fields else {
        return Ok((0..meta.fields.len())
            .filter(|f| !meta.fields[*f].is_hidden())
            .map(|f| plain_column(db, object, f))
            .collect());
    };
    fields
        .iter()
        .map(|name| {
            let field = meta
                .visible(name.trim())
                .ok_or_else(|| ApiError::bad("INVALID_FIELD", format!("No such column '{name}' on sobject of type {}", meta.name)))?;
            Ok(plain_column(db, object, field))
        })
        .collect()
}

fn read(call: &Call, object: usize, text: &str) -> Result<Response, ApiError> {
    let db = call.org.db();
    let index = find(&db, object, text)?;
    show(call, &db, object, index)
}

fn show(call: &Call, db: &Db, object: usize, index: u32) -> Result<Response, ApiError> {
    let fields: Option<Vec<String>> = call.query.get("fields").map(|f| f.split(',').map(str::to_owned).collect());
    let columns = columns(db, object, fields.as_deref())?;
    if let Some(unchanged) = conditional::row(call, db, object, index)? {
        return Ok(unchanged);
    }
    let tree = Tree::new(db, &columns);
    let mut out = Vec::new();
    record(
        &mut out,
        db,
        &call.version,
        object,
        db.tables[object].row(index),
        &tree,
        &mut |_| {},
    );
    call.org.recent.note(call, db.tables[object].id(index));
    let reply = raw_reply(200, "application/json;charset=UTF-8", out);
    Ok(conditional::mark(reply, db, object, index))
}

fn update(call: &Call, object: usize, text: &str) -> Result<Response, ApiError> {
    let body = body_object(call)?;
    let mut db = call.org.db_mut();
    let index = find(&db, object, text)?;
    conditional::row(call, &db, object, index)?;
    write(call, &mut db, &mut Scratch::default(), object, Some(index), &body)?;
    Ok(empty(204))
}

fn delete(call: &Call, object: usize, text: &str) -> Result<Response, ApiError> {
    let mut db = call.org.db_mut();
    let index = find(&db, object, text)?;
    conditional::row(call, &db, object, index)?;
    remove(call, &mut db, object, index)
}

fn remove(call: &Call, db: &mut Db, object: usize, index: u32) -> Result<Response, ApiError> {
    mixed::check(&call.org.schema, object)?;
    let id = db.tables[object].id(index);
    let context = call.org.write_context();
    rules::delete(db, &context, object, id.text().as_bytes(), false, &mut Scratch::default().draft)?;
    rules::sweep(db, &context, object, &[id].into());
    mixed::wrote(object);
    call.org.faults.wrote(1);
    Ok(empty(204))
}

/// Live rows whose key field has a value.
pub fn rows_by_key(db: &Db, object: usize, field: usize, value: &str) -> Vec<u32> {
    let table = &db.tables[object];
    if field == 0 {
        let id = Id::parse(value.as_bytes()).ok();
        return id.and_then(|id| table.find_live(&id)).into_iter().collect();
    }
    table.by_key(field, value.as_bytes()).unwrap_or_else(|| {
        table
            .scan(false)
            .filter(|i| {
                table
                    .row(*i)
                    .get(field)
                    .is_some_and(|v| crate::store::db::same_text(v, value.as_bytes()))
            })
            .collect()
    })
}

fn by_key(call: &Call, method: &Method, object: usize, field: &str, value: &str) -> Result<Response, ApiError> {
    let meta = &call.org.schema.objects[object];
    let no_key = || {
        let message = format!("Provided external ID field does not exist or is not accessible: {field}");
        ApiError::new(404, "NOT_FOUND", message)
    };
    let key = meta
        .visible(field)
        .filter(|f| *f == 0 || meta.fields[*f].is_key())
        .ok_or_else(no_key)?;
    let mut db = call.org.db_mut();
    let found = rows_by_key(&db, object, key, value);
    let name = &meta.name;
    if found.len() > 1 {
        let urls: Vec<String> = found
            .iter()
            .map(|i| call.path(&format!("sobjects/{name}/{}", db.tables[object].id(*i))))
            .collect();
        return Ok(json_reply(300, &json!(urls)));
    }
    let one = found.first().copied();
    match *method {
        Method::GET => match one {
            Some(index) => show(call, &db, object, index),
            None => Err(ApiError::not_found()),
        },
        Method::DELETE => {
            let index = one.ok_or_else(ApiError::not_found)?;
            remove(call, &mut db, object, index)
        }
        Method::PATCH => {
            let mut body = body_object(call)?;
            let field_name = meta.fields[key].name.as_str();
            if key == 0 && one.is_none() {
                return Err(ApiError::not_found());
            }
            if one.is_none() {
                body.insert(field_name.into(), value.into());
            }
            let index = write(call, &mut db, &mut Scratch::default(), object, one, &body)?;
            let id = db.tables[object].id(index).text();
            Ok(json_reply(if one.is_none() { 201 } else { 200 }, &saved(&id, Some(one.is_none()))))
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// A list answer of ready JSON values.
pub fn list(values: Vec<Value>) -> Result<Response, ApiError> {
    ok(values.into())
}
