//! What a request is about, read from its one message by its descriptor. Nothing else of a message is looked at.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MapKey, Value};
use syncline_domain::ErrorCode;
use syncline_domain::spec::{Document, read_document};
use syncline_wire::status::{invalid_field, status};
use tonic::Status;

use crate::route::{Method, Service};

/// Flag and length before a message (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX_BYTES: usize = 5;
const RESOURCE_CHARS_MAX: usize = 200;

/// Every contract.
pub(crate) static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(syncline_wire::DESCRIPTORS).expect("the build made the descriptors"));

/// What a request names: `noun/name`, or nothing.
///
/// # Errors
/// A status for a body that is not exactly one message of the method's type.
pub fn resource(service: &Service, method: &Method, body: &[u8]) -> Result<String, Status> {
    let invalid = |why: String| status(ErrorCode::RequestInvalid, format!("{}/{}: {why}", service.name, method.name));
    let descriptor = POOL
        .get_service_by_name(service.name)
        .and_then(|s| s.methods().find(|m| m.name() == method.name))
        .ok_or_else(|| status(ErrorCode::MethodUnknown, "the method has no descriptor"))?;
    let input = descriptor.input();
    let Some((prefix, message)) = body.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(invalid("the body is not a gRPC message".to_owned()));
    };
    let [flag, length @ ..] = prefix;
    if *flag != 0 {
        return Err(Status::unimplemented("messages are accepted without compression only"));
    }
    if u32::from_be_bytes(*length) as usize != message.len() {
        return Err(invalid("the body is not exactly one gRPC message".to_owned()));
    }
    let name = input.full_name().to_owned();
    let message = DynamicMessage::decode(input, message).map_err(|_| invalid(format!("the body is not a message of type {name}")))?;
    if let Some(field) = unstorable(&message) {
        let why = "it holds a NUL character, which cannot be stored";
        return Err(invalid_field(ErrorCode::RequestInvalid, &field, why));
    }
    let text = |field: &str| match message.get_field_by_name(field).as_deref() {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        _ => None,
    };
    let named = |noun: &str, name: String| {
        // What a caller writes here ends in the log for people: no line breaks, no endless names.
        let name: String = name.chars().filter(|c| !c.is_control()).take(RESOURCE_CHARS_MAX).collect();
        format!("{noun}/{name}")
    };
    if let Some(yaml) = text("yaml") {
        // What cannot be read is refused by the peer, with line and column.
        return Ok(match read_document(&yaml) {
            Ok(Document::Sync(sync)) => named("sync", sync.metadata.name.to_string()),
            Ok(Document::Connection(connection)) => named("connection", connection.metadata.name.to_string()),
            Err(_) => String::new(),
        });
    }
    for (field, noun) in [
        ("name", service.noun),
        ("id", service.noun),
        ("run", "run"),
        ("sync", "sync"),
        ("connection", "connection"),
        ("subject", "token"),
    ] {
        if let Some(name) = text(field) {
            return Ok(named(noun, name));
        }
    }
    Ok(String::new())
}

/// The first field with a NUL character, which PostgreSQL does not take.
fn unstorable(message: &DynamicMessage) -> Option<String> {
    fn holds(value: &Value) -> bool {
        match value {
            Value::String(text) => text.contains('\0'),
            Value::List(values) => values.iter().any(holds),
            Value::Map(values) => values
                .iter()
                .any(|(key, value)| matches!(key, MapKey::String(k) if k.contains('\0')) || holds(value)),
            Value::Message(message) => unstorable(message).is_some(),
            _ => false,
        }
    }
    message
        .fields()
        .find(|(_, value)| holds(value))
        .map(|(field, _)| field.name().to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prost::Message as _;
    use syncline_wire::{connection, run, sync};
    use tonic::Code;

    use super::*;
    use crate::route::{Route, route};

    fn frame(message: &[u8]) -> Vec<u8> {
        let mut body = vec![0];
        body.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend_from_slice(message);
        body
    }

    fn of(path: &str, body: &[u8]) -> Result<String, Code> {
        let Route::Method(service, method) = route(path) else {
            panic!("{path} is not in the table")
        };
        resource(service, method, body).map_err(|s| s.code())
    }

    #[test]
    fn a_request_names_what_it_is_about() {
        let submit = run::SubmitRunRequest {
            sync: "nightly".into(),
            ..Default::default()
        };
        assert_eq!(
            of("/syncline.run.v1.RunService/SubmitRun", &frame(&submit.encode_to_vec())),
            Ok("sync/nightly".into())
        );
        let cancel = run::CancelRunRequest { id: "r-1\n".into() };
        assert_eq!(
            of("/syncline.run.v1.RunService/CancelRun", &frame(&cancel.encode_to_vec())),
            Ok("run/r-1".into())
        );
        let delete = connection::DeleteConnectionRequest { name: "prod".into() };
        let path = "/syncline.connection.v1.ConnectionService/DeleteConnection";
        assert_eq!(of(path, &frame(&delete.encode_to_vec())), Ok("connection/prod".into()));
        let apply = sync::ApplySyncRequest {
            yaml: "not: a: document".into(),
        };
        assert_eq!(
            of("/syncline.sync.v1.SyncService/ApplySync", &frame(&apply.encode_to_vec())),
            Ok(String::new())
        );
        assert_eq!(of("/syncline.run.v1.RunService/ListRuns", &frame(&[])), Ok(String::new()));
    }

    #[test]
    fn a_character_that_cannot_be_stored_is_refused_with_its_field() {
        let secrets = std::collections::HashMap::from([("refresh_token".to_owned(), "a\0b".to_owned())]);
        let apply = connection::ApplyConnectionRequest {
            yaml: "kind: Connection".into(),
            secrets,
        };
        for (path, body, field) in [
            (
                "/syncline.run.v1.RunService/GetRun",
                run::GetRunRequest { id: "\0".into() }.encode_to_vec(),
                "id",
            ),
            (
                "/syncline.connection.v1.ConnectionService/ApplyConnection",
                apply.encode_to_vec(),
                "secrets",
            ),
        ] {
            let Route::Method(service, method) = route(path) else {
                panic!("{path} is not in the table")
            };
            let status = resource(service, method, &frame(&body)).unwrap_err();
            assert!(status.message().contains(field), "{status}");
        }
    }

    #[test]
    fn what_is_not_one_message_of_the_type_is_refused() {
        let path = "/syncline.run.v1.RunService/GetRun";
        let good = frame(&run::GetRunRequest { id: "r-1".into() }.encode_to_vec());
        let twice = [good.clone(), good.clone()].concat();
        let mut compressed = good.clone();
        compressed[0] = 1;
        for (body, code) in [
            (&b""[..], Code::InvalidArgument),
            (b"\0\0\0", Code::InvalidArgument),
            (&good[..good.len() - 1], Code::InvalidArgument),
            (&twice, Code::InvalidArgument),
            (&frame(b"\x0a\xff"), Code::InvalidArgument),
            (&frame(b"\x0a\x02\xff\xfe"), Code::InvalidArgument),
            (&compressed, Code::Unimplemented),
        ] {
            assert_eq!(of(path, body), Err(code), "{body:?}");
        }
    }
}
