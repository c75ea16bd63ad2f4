//! Files: the bytes of ContentVersion, Attachment and Document, in streams.
//!
//! A download hands out chunks as they come. An upload is a form of two parts: the record's values as JSON, then the
//! bytes, which come from the caller as a stream of known length and are sent as they come. Such a call is not repeated,
//! not even under a new token: the stream can be read once (the caller has the file, and begins again).

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Map, Value};
use syncline_connect::ConnectError;
use syncline_domain::ErrorCode;

use crate::client::{Client, Request};

/// Where bytes live (REST API, "Insert or Update Blob Data").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    ContentVersion,
    Attachment,
    Document,
}

impl FileKind {
    #[must_use]
    pub fn object(self) -> &'static str {
        match self {
            Self::ContentVersion => "ContentVersion",
            Self::Attachment => "Attachment",
            Self::Document => "Document",
        }
    }

    /// The field of the bytes.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::ContentVersion => "VersionData",
            Self::Attachment | Self::Document => "Body",
        }
    }

    /// 2 GB of a ContentVersion, 500 MB of others, says the guide; in the units that are meant there.
    #[must_use]
    pub fn bytes_max(self) -> u64 {
        match self {
            Self::ContentVersion => 2 << 30,
            Self::Attachment | Self::Document => 500 << 20,
        }
    }
}

/// A file to be written. Prints neither values nor bytes.
pub struct NewFile {
    pub kind: FileKind,
    /// Of the record: `Title`, `PathOnClient`, `ParentId` and the like.
    pub values: Map<String, Value>,
    /// A name for the form; the record's own name stands among the values.
    pub file_name: String,
    pub bytes: u64,
    pub content: BoxStream<'static, Result<Bytes, ConnectError>>,
}

impl std::fmt::Debug for NewFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewFile")
            .field("kind", &self.kind)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// Bytes of a file. A break in the stream is an error, never a shorter file.
pub(crate) async fn download(
    client: &Client,
    kind: FileKind,
    id: &str,
) -> Result<BoxStream<'static, Result<Bytes, ConnectError>>, ConnectError> {
    let path = format!("sobjects/{}/{}/{}", kind.object(), record_id(id)?, kind.field());
    // A file may well be a page of HTML, so what it is is not looked at.
    Ok(client.stream_any(&Request::get(path).accept_any()).await?.body)
}

/// Writes a file; its record's id.
pub(crate) async fn upload(client: &Client, file: NewFile) -> Result<String, ConnectError> {
    #[derive(Deserialize)]
    struct Created {
        id: String,
    }
    if file.bytes > file.kind.bytes_max() {
        let message = format!("a {} of {} bytes is larger than the API takes", file.kind.object(), file.bytes);
        return Err(ConnectError::new(ErrorCode::RecordTooLarge, message));
    }
    let form = Form::new(&file)?;
    let expected = file.bytes;
    let content = file.content.scan(0, move |seen: &mut u64, chunk| {
        let chunk = chunk.and_then(|chunk| {
            *seen += chunk.len() as u64;
            if *seen > expected {
                return Err(ConnectError::new(ErrorCode::Internal, "a file is longer than was said"));
            }
            Ok(chunk)
        });
        futures::future::ready(Some(chunk))
    });
    let length = form.head.len() as u64 + expected + form.tail.len() as u64;
    let once = |bytes: Bytes| stream::once(futures::future::ready(Ok(bytes)));
    let body = once(form.head).chain(content).chain(once(form.tail)).boxed();
    let request = Request::create(format!("sobjects/{}", file.kind.object()), &Value::Null);
    let answer = client.send_stream(&request, &form.content_type, length, body).await?;
    let created: Created = crate::client::parse("POST file", &answer)?;
    Ok(created.id)
}

struct Form {
    content_type: String,
    head: Bytes,
    tail: Bytes,
}

impl Form {
    fn new(file: &NewFile) -> Result<Self, ConnectError> {
        let mut random = [0; 16];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random)
            .map_err(|_| ConnectError::new(ErrorCode::Internal, "the system has no randomness"))?;
        let boundary: String = random.iter().map(|b| format!("{b:02x}")).collect();
        let entity = match file.kind {
            FileKind::ContentVersion => "entity_content",
            FileKind::Attachment => "entity_attachment",
            FileKind::Document => "entity_document",
        };
        let name: String = file
            .file_name
            .chars()
            .map(|c| if c.is_control() || matches!(c, '"' | '\\' | ';') { '_' } else { c })
            .collect();
        let values = Value::Object(file.values.clone());
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{entity}\"\r\nContent-Type: application/json\r\n\r\n{values}\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"{}\"; filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n",
            file.kind.field()
        );
        Ok(Self {
            content_type: format!("multipart/form-data; boundary=\"{boundary}\""),
            head: head.into(),
            tail: format!("\r\n--{boundary}--\r\n").into(),
        })
    }
}

/// Ids stand in paths, so nothing but letters and digits is let through.
fn record_id(id: &str) -> Result<&str, ConnectError> {
    if matches!(id.len(), 15 | 18) && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        Ok(id)
    } else {
        Err(ConnectError::new(ErrorCode::Internal, "what should be a record's id is not one"))
    }
}
