//! Files: bytes kept beside the rows, and the records that come with them.
//!
//! A base64 cell holds where its bytes are, as `/sobjects/{Object}/{id}/{Field}#{n}`: the
//! path clients fetch them from, and their number among the bodies. Bodies are never
//! changed or dropped, so a journal that restores the row restores its file as well.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use md5::{Digest, Md5};

use crate::schema::Object;
use crate::store::db::Db;
use crate::store::id::Id;
use crate::store::row::Draft;
use crate::store::rules::WriteContext;
use crate::store::value::RowError;

/// All bodies ever stored.
#[derive(Default)]
pub struct Bodies(Vec<Bytes>);

/// A body on its way into a record.
pub struct Incoming {
    pub field: usize,
    pub bytes: Bytes,
}

/// Objects whose bytes count as file storage, and the field that says how many.
const SIZED: [(&str, &str); 3] = [
    ("ContentVersion", "ContentSize"),
    ("Attachment", "BodyLength"),
    ("Document", "BodyLength"),
];
/// Objects that come with rules of this module.
const RULED: [&str; 3] = ["ContentVersion", "ContentDocument", "ContentDocumentLink"];

/// File type by extension; others are `UNKNOWN`.
const TYPES: [(&str, &str); 14] = [
    ("csv", "CSV"),
    ("docx", "WORD_X"),
    ("gif", "GIF"),
    ("html", "HTML"),
    ("jpeg", "JPG"),
    ("jpg", "JPG"),
    ("json", "JSON"),
    ("pdf", "PDF"),
    ("png", "PNG"),
    ("pptx", "POWER_POINT_X"),
    ("snote", "SNOTE"),
    ("txt", "TEXT"),
    ("xlsx", "EXCEL_X"),
    ("zip", "ZIP"),
];

/// The field that holds bytes.
pub fn body_field(meta: &Object) -> Option<usize> {
    meta.fields
        .iter()
        .position(|f| f.describe.get("type").is_some_and(|t| t == "base64"))
}

/// Whether writes to an object go through [`stored`].
pub fn concerns(meta: &Object) -> bool {
    RULED.contains(&meta.name.as_str()) || body_field(meta).is_some()
}

/// Decodes a base64 cell.
pub fn decode(meta: &Object, field: usize, text: &str) -> Result<Incoming, RowError> {
    let bytes = STANDARD.decode(text.trim()).map_err(|e| {
        let name = &meta.fields[field].name;
        RowError::new("JSON_PARSER_ERROR", format!("{name}: value is not base64: {e}"), &[name])
    })?;
    Ok(Incoming {
        field,
        bytes: bytes.into(),
    })
}

/// The bytes behind a base64 cell.
pub fn body<'a>(db: &'a Db, cell: &[u8]) -> Option<&'a Bytes> {
    let number = std::str::from_utf8(cell).ok()?.rsplit_once('#')?.1.parse::<usize>().ok()?;
    db.files.0.get(number)
}

/// The path of a base64 cell, without the number of its body.
pub fn path(cell: &[u8]) -> &[u8] {
    let end = cell.iter().rposition(|c| *c == b'#').unwrap_or(cell.len());
    &cell[..end]
}

/// Bytes of all live files.
pub fn bytes_used(db: &Db) -> u64 {
    let size = |(object, field): &(&str, &str)| -> u64 {
        let Some(object) = db.schema.object(object) else { return 0 };
        let Some(field) = db.schema.objects[object].field(field) else {
            return 0;
        };
        let table = &db.tables[object];
        let one = |index| std::str::from_utf8(table.row(index).get(field)?).ok()?.parse::<u64>().ok();
        table.scan(false).filter_map(one).sum()
    };
    SIZED.iter().map(size).sum()
}

fn cell(db: &Db, object: usize, index: u32, name: &str) -> Option<String> {
    let field = db.schema.objects[object].field(name)?;
    let value = db.tables[object].row(index).get(field)?;
    Some(String::from_utf8_lossy(value).into_owned())
}

fn set(db: &mut Db, object: usize, index: u32, cells: &[(&str, &str)]) {
    let schema = std::sync::Arc::clone(&db.schema);
    let meta = &schema.objects[object];
    let mut draft = Draft::default();
    draft.load(db.tables[object].row(index), meta.fields.len());
    for (name, value) in cells {
        if let Some(field) = meta.field(name) {
            draft.set(field, value.as_bytes());
        }
    }
    db.tables[object].replace(index, draft.finish());
}

/// Adds a record the server makes by itself.
fn add(db: &mut Db, context: &WriteContext, name: &str, cells: &[(&str, &str)]) -> Option<Id> {
    let schema = std::sync::Arc::clone(&db.schema);
    let object = schema.object(name)?;
    let meta = &schema.objects[object];
    let mut draft = Draft::default();
    draft.reset(meta.fields.len());
    let id = db.tables[object].next_id();
    draft.set(0, &id.long());
    for name in ["CreatedDate", "LastModifiedDate", "SystemModstamp", "ContentModifiedDate"] {
        if let Some(field) = meta.field(name) {
            draft.set(field, &context.now);
        }
    }
    for name in ["CreatedById", "LastModifiedById", "OwnerId"] {
        if let Some(field) = meta.field(name) {
            draft.set(field, &context.user);
        }
    }
    for (name, value) in cells {
        if let Some(field) = meta.field(name) {
            draft.set(field, value.as_bytes());
        }
    }
    db.tables[object].push(id, draft.finish());
    Some(id)
}

/// Completes a written record: its bytes, what derives from them, and the records that
/// come with it. On an error the caller rolls the write back.
pub fn stored(
    db: &mut Db,
    context: &WriteContext,
    object: usize,
    index: u32,
    insert: bool,
    incoming: Option<Incoming>,
) -> Result<(), RowError> {
    let schema = std::sync::Arc::clone(&db.schema);
    let meta = &schema.objects[object];
    if let Some(incoming) = incoming {
        keep(db, context, object, index, incoming)?;
    }
    match (meta.name.as_str(), insert) {
        ("ContentVersion", true) => version(db, context, object, index),
        ("ContentVersion", false) => {
            retitle(db, object, index);
            Ok(())
        }
        ("ContentDocument", true) => Err(RowError::new(
            "INVALID_TYPE_FOR_OPERATION",
            "entity type cannot be inserted: Content Document",
            &[],
        )),
        ("ContentDocumentLink", true) => link_once(db, object, index),
        ("Attachment", true) if cell(db, object, index, "Body").is_none() => Err(missing("Body")),
        _ => Ok(()),
    }
}

fn missing(field: &str) -> RowError {
    RowError::new(
        "REQUIRED_FIELD_MISSING",
        format!("Required fields are missing: [{field}]"),
        &[field],
    )
}

fn keep(db: &mut Db, context: &WriteContext, object: usize, index: u32, incoming: Incoming) -> Result<(), RowError> {
    let size = incoming.bytes.len() as u64;
    if bytes_used(db) + size > context.storage_bytes_max {
        return Err(RowError::new("STORAGE_LIMIT_EXCEEDED", "file storage limit exceeded", &[]));
    }
    let schema = std::sync::Arc::clone(&db.schema);
    let meta = &schema.objects[object];
    let at = format!(
        "/sobjects/{}/{}/{}#{}",
        meta.name,
        db.tables[object].id(index),
        meta.fields[incoming.field].name,
        db.files.0.len()
    );
    let checksum: String = Md5::digest(&incoming.bytes).iter().map(|b| format!("{b:02x}")).collect();
    db.files.0.push(incoming.bytes);
    let size = size.to_string();
    let name = meta.fields[incoming.field].name.as_str();
    // Objects lack some of these; such cells are skipped.
    set(
        db,
        object,
        index,
        &[(name, &at), ("BodyLength", &size), ("ContentSize", &size), ("Checksum", &checksum)],
    );
    Ok(())
}

/// A new version: of a document that exists, or of one that begins with it.
fn version(db: &mut Db, context: &WriteContext, object: usize, index: u32) -> Result<(), RowError> {
    let text = |db: &Db, name: &str| cell(db, object, index, name).unwrap_or_default();
    if text(db, "VersionData").is_empty() {
        return Err(missing("VersionData"));
    }
    let path = text(db, "PathOnClient");
    let file = path.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
    let (stem, extension) = file.rsplit_once('.').unwrap_or((&file, ""));
    let kind = TYPES
        .iter()
        .find(|(e, _)| e.eq_ignore_ascii_case(extension))
        .map_or("UNKNOWN", |(_, t)| *t);
    let given = text(db, "Title");
    let title = if given.is_empty() { stem.to_owned() } else { given };
    let id = db.tables[object].id(index).text();
    let parent = text(db, "ContentDocumentId");
    let mut number = 1;
    let size = text(db, "ContentSize");
    let shared = [
        ("Title", title.as_str()),
        ("FileType", kind),
        ("FileExtension", extension),
        ("ContentSize", size.as_str()),
        ("LatestPublishedVersionId", id.as_str()),
        ("PublishStatus", "P"),
    ];
    let document = if parent.is_empty() {
        let document = add(db, context, "ContentDocument", &shared).map(|d| d.text()).unwrap_or_default();
        let location = text(db, "FirstPublishLocationId");
        let owner: String = context.user.iter().map(|c| char::from(*c)).collect();
        link(db, context, &document, &owner, "I");
        if !location.is_empty() && location != owner {
            link(db, context, &document, &location, "V");
        }
        document
    } else {
        number = 1 + outdate(db, object, index, &parent);
        if let Some((document, at)) = db.locate_text(parent.as_bytes()) {
            set(db, document, at, &shared);
            let now = String::from_utf8_lossy(&context.now).into_owned();
            set(
                db,
                document,
                at,
                &[("ContentModifiedDate", &now), ("SystemModstamp", &now), ("LastModifiedDate", &now)],
            );
        }
        parent
    };
    set(
        db,
        object,
        index,
        &[
            ("ContentDocumentId", &document),
            ("Title", &title),
            ("FileType", kind),
            ("FileExtension", extension),
            ("VersionNumber", &number.to_string()),
            ("IsLatest", "true"),
            ("PublishStatus", "P"),
        ],
    );
    Ok(())
}

fn link(db: &mut Db, context: &WriteContext, document: &str, entity: &str, share: &str) {
    let cells = [
        ("ContentDocumentId", document),
        ("LinkedEntityId", entity),
        ("ShareType", share),
        ("Visibility", "AllUsers"),
    ];
    add(db, context, "ContentDocumentLink", &cells);
}

/// Takes `IsLatest` from the earlier versions of a document; how many there are.
fn outdate(db: &mut Db, object: usize, index: u32, document: &str) -> usize {
    let earlier: Vec<u32> = db.tables[object]
        .scan(false)
        .filter(|i| *i != index && cell(db, object, *i, "ContentDocumentId").as_deref() == Some(document))
        .collect();
    for at in &earlier {
        set(db, object, *at, &[("IsLatest", "")]);
    }
    earlier.len()
}

/// A document is called what its latest version is called.
fn retitle(db: &mut Db, object: usize, index: u32) {
    if cell(db, object, index, "IsLatest").is_none() {
        return;
    }
    let title = cell(db, object, index, "Title").unwrap_or_default();
    let document = cell(db, object, index, "ContentDocumentId").unwrap_or_default();
    if let Some((object, at)) = db.locate_text(document.as_bytes()) {
        set(db, object, at, &[("Title", &title)]);
    }
}

/// A document is linked to a record once.
fn link_once(db: &Db, object: usize, index: u32) -> Result<(), RowError> {
    let key = |i: u32| (cell(db, object, i, "ContentDocumentId"), cell(db, object, i, "LinkedEntityId"));
    let own = key(index);
    match db.tables[object].scan(false).find(|i| *i != index && key(*i) == own) {
        Some(other) => {
            let id = db.tables[object].id(other);
            let message = format!("duplicate value found: LinkedEntityId duplicates value on record with id: {id}");
            Err(RowError::new("DUPLICATE_VALUE", message, &["LinkedEntityId"]))
        }
        None => Ok(()),
    }
}
