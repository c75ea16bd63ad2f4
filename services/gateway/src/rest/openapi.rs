//! The description of the REST API (OpenAPI 3.1), made from the table, the contracts and their comments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use prost_reflect::{EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::table::{Body, ENDPOINTS, Endpoint};
use crate::route::{Route, route};

/// Where it is served; anybody may read it.
pub const PATH: &str = "/openapi.json";

static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());

/// The document, as it is served.
#[must_use]
pub fn text() -> &'static str {
    &TEXT
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut schemas = Schemas::default();
    for endpoint in ENDPOINTS {
        let operation = operation(endpoint, &mut schemas);
        let verb = endpoint.verb.as_str().to_ascii_lowercase();
        paths.entry(endpoint.path).or_default().insert(verb, operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Syncline",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Runs, syncs, connections and reports. The same as the gRPC services in `proto/`; every call passes the same door. Messages are in proto3's JSON: 64-bit numbers are texts.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {
                "type": "http", "scheme": "bearer",
                "description": "An API token (`syncline token create`), or a token of the configured OIDC issuer.",
            }},
            "responses": {"Error": {
                "description": "What is wrong, with the code of Syncline's catalogue as `reason`, and its remedy.",
                "headers": {"Retry-After": {"description": "Seconds to wait, with 429.", "schema": {"type": "integer"}}},
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            }},
            "schemas": schemas.finish(),
        },
    })
}

fn operation(endpoint: &Endpoint, schemas: &mut Schemas) -> Value {
    let method = endpoint.descriptor();
    let mut operation = Map::new();
    operation.insert("operationId".into(), json!(endpoint.method));
    operation.insert("tags".into(), json!([method.parent_service().name()]));
    let comment = comment(&method.parent_file(), method.path());
    if !comment.is_empty() {
        operation.insert("description".into(), json!(comment));
    }
    if let Route::Method(_, found) = route(&format!("/{}/{}", endpoint.service, endpoint.method)) {
        operation.insert("x-syncline-role".into(), json!(found.role.as_str()));
    }
    let in_path = |name: &str| endpoint.path.contains(&format!("{{{name}}}"));
    let mut parameters = Vec::new();
    for field in method.input().fields() {
        let place = if in_path(field.name()) {
            "path"
        } else if endpoint.body == Body::None && !field.is_list() && !field.is_map() {
            "query"
        } else {
            continue;
        };
        parameters.push(json!({
            "name": field.name(), "in": place, "required": place == "path",
            "description": self::comment(&field.parent_message().parent_file(), field.path()),
            "schema": schemas.field(&field),
        }));
    }
    if endpoint.stream {
        parameters.push(json!({
            "name": "Last-Event-ID", "in": "header", "required": false,
            "description": "The id of the last event that was seen; the stream goes on behind it.",
            "schema": {"type": "string"},
        }));
    }
    operation.insert("parameters".into(), json!(parameters));
    if endpoint.body != Body::None {
        let mut content = Map::new();
        content.insert("application/json".into(), json!({"schema": schemas.message(&method.input())}));
        if endpoint.body == Body::Document {
            content.insert("application/yaml".into(), json!({"schema": {"type": "string"}}));
        }
        operation.insert("requestBody".into(), json!({"required": true, "content": content}));
    }
    let output = schemas.message(&method.output());
    let ok = if endpoint.stream {
        json!({"description": "Server-sent events, each with such a message; the last is `end` or `error`.",
            "content": {"text/event-stream": {"schema": output}}})
    } else {
        json!({"description": "Done.", "content": {"application/json": {"schema": output}}})
    };
    operation.insert(
        "responses".into(),
        json!({"200": ok, "default": {"$ref": "#/components/responses/Error"}}),
    );
    Value::Object(operation)
}

/// The comment before an element of a contract.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let file = file.file_descriptor_proto();
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    let found = locations.into_iter().find(|l| l.path == path);
    found
        .map(|l| l.leading_comments().split_whitespace().collect::<Vec<_>>().join(" "))
        .unwrap_or_default()
}

/// Every message that is named, each described once.
#[derive(Default)]
struct Schemas {
    wanted: Vec<MessageDescriptor>,
    named: BTreeSet<String>,
}

impl Schemas {
    fn message(&mut self, message: &MessageDescriptor) -> Value {
        if message.full_name() == "google.protobuf.Timestamp" {
            return json!({"type": "string", "format": "date-time"});
        }
        if self.named.insert(message.full_name().to_owned()) {
            self.wanted.push(message.clone());
        }
        json!({"$ref": format!("#/components/schemas/{}", message.name())})
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        if field.is_map() {
            return json!({"type": "object", "additionalProperties": {"type": "string"}});
        }
        let one = match field.kind() {
            Kind::Bool => json!({"type": "boolean"}),
            Kind::Double | Kind::Float => json!({"type": "number"}),
            Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Fixed32 | Kind::Sfixed32 => json!({"type": "integer"}),
            Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64 => {
                json!({"type": "string", "pattern": "^-?[0-9]+$"})
            }
            Kind::String => json!({"type": "string"}),
            Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            Kind::Enum(values) => enumeration(&values),
            Kind::Message(message) => self.message(&message),
        };
        if field.is_list() {
            json!({"type": "array", "items": one})
        } else {
            one
        }
    }

    fn finish(mut self) -> Value {
        let mut all = Map::new();
        while let Some(message) = self.wanted.pop() {
            let mut properties = Map::new();
            for field in message.fields() {
                let mut schema = self.field(&field);
                let comment = comment(&message.parent_file(), field.path());
                if !comment.is_empty()
                    && let Some(schema) = schema.as_object_mut()
                {
                    schema.insert("description".into(), json!(comment));
                }
                properties.insert(field.json_name().to_owned(), schema);
            }
            all.insert(message.name().to_owned(), json!({"type": "object", "properties": properties}));
        }
        all.insert(
            "Error".into(),
            json!({"type": "object", "required": ["error"], "properties": {"error": {
                "type": "object", "required": ["code", "status", "message"],
                "properties": {
                    "code": {"type": "integer"}, "status": {"type": "string"}, "message": {"type": "string"},
                    "details": {"type": "array", "items": {"type": "object"}},
                },
            }}}),
        );
        Value::Object(all)
    }
}

fn enumeration(values: &EnumDescriptor) -> Value {
    json!({"type": "string", "enum": values.values().map(|v| v.name().to_owned()).collect::<Vec<_>>()})
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_exactly_the_tables_paths_and_no_loose_end() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let mut listed: Vec<String> = paths
            .iter()
            .flat_map(|(path, verbs)| verbs.as_object().unwrap().keys().map(move |v| format!("{v} {path}")))
            .collect();
        let mut table: Vec<String> = ENDPOINTS
            .iter()
            .map(|e| format!("{} {}", e.verb.as_str().to_ascii_lowercase(), e.path))
            .collect();
        listed.sort();
        table.sort();
        assert_eq!(listed, table);
        let text = document.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{name} is not described");
        }
    }

    #[test]
    fn no_two_messages_share_a_name() {
        let mut schemas = Schemas::default();
        for endpoint in ENDPOINTS {
            schemas.message(&endpoint.descriptor().input());
            schemas.message(&endpoint.descriptor().output());
        }
        let short: BTreeSet<&str> = schemas.named.iter().map(|n| n.rsplit('.').next().unwrap()).collect();
        assert_eq!(short.len(), schemas.named.len());
    }
}
