//! From an HTTP request to the gRPC call that it stands for.

use axum::extract::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE, TE};
use http::{HeaderName, HeaderValue, Method};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage as _, Value};
use syncline_domain::ErrorCode;
use syncline_wire::status::{invalid_field, status};

use super::Refused;
use super::table::{Body, Endpoint};
use crate::door::{ARRIVAL_WAIT_MAX, REQUEST_BYTES_MAX};

const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
const TRACE: HeaderName = HeaderName::from_static("traceparent");

/// The call, with the request's caller, address and trace.
pub async fn call(endpoint: &Endpoint, parameters: &[(&'static str, String)], request: Request) -> Result<Request, Refused> {
    let (parts, body) = request.into_parts();
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let body = gather(body).await?;
    let mut message = match (endpoint.body, media.as_str()) {
        _ if body.is_empty() => DynamicMessage::new(endpoint.descriptor().input()),
        (Body::None, _) => {
            return Err(status(
                ErrorCode::RequestInvalid,
                "this path takes no body; its parameters stand in the path and the query",
            )
            .into());
        }
        (Body::Message | Body::Document, "application/json") => read_json(endpoint, &body)?,
        (Body::Document, "application/yaml" | "text/yaml" | "application/x-yaml") => read_yaml(endpoint, &body)?,
        _ => return Err(Refused::ContentType),
    };
    for (name, value) in parameters {
        set(&mut message, name, value)?;
    }
    for (name, value) in url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
        if endpoint.body != Body::None || parameters.iter().any(|(taken, _)| *taken == name) {
            return Err(invalid_field(ErrorCode::RequestInvalid, &short(&name), "it is not a parameter of the query here").into());
        }
        set(&mut message, &name, &value)?;
    }
    if endpoint.stream
        && let Some(last) = parts.headers.get(&LAST_EVENT)
    {
        let last = last.to_str().unwrap_or_default();
        set(&mut message, "after", last)?;
    }
    let encoded = message.encode_to_vec();
    let mut framed = Vec::with_capacity(encoded.len() + 5);
    framed.push(0);
    framed.extend_from_slice(&u32::try_from(encoded.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(&encoded);

    let mut call = Request::new(axum::body::Body::from(framed));
    *call.method_mut() = Method::POST;
    *call.version_mut() = http::Version::HTTP_2;
    *call.uri_mut() = format!("/{}/{}", endpoint.service, endpoint.method)
        .parse()
        .map_err(|_| Refused::Path)?;
    let headers = call.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    for name in [AUTHORIZATION, TRACE] {
        for value in parts.headers.get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    // Among them the caller's address.
    *call.extensions_mut() = parts.extensions;
    Ok(call)
}

async fn gather(body: axum::body::Body) -> Result<bytes::Bytes, Refused> {
    match tokio::time::timeout(ARRIVAL_WAIT_MAX, Limited::new(body, REQUEST_BYTES_MAX).collect()).await {
        Ok(Ok(gathered)) => Ok(gathered.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refused::TooLarge),
        Ok(Err(_)) => Err(status(ErrorCode::RequestInvalid, "the request broke off").into()),
        Err(_) => Err(status(ErrorCode::NetworkTimeout, "the request did not arrive in time").into()),
    }
}

fn read_json(endpoint: &Endpoint, body: &[u8]) -> Result<DynamicMessage, Refused> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let message =
        DynamicMessage::deserialize(endpoint.descriptor().input(), &mut reader).and_then(|message| reader.end().map(|()| message));
    // The reader's words name fields and places; they quote no value beyond what was sent.
    message.map_err(|e| {
        status(
            ErrorCode::RequestInvalid,
            format!("the body cannot be read: {}", short(&e.to_string())),
        )
        .into()
    })
}

fn read_yaml(endpoint: &Endpoint, body: &[u8]) -> Result<DynamicMessage, Refused> {
    let text = std::str::from_utf8(body).map_err(|_| status(ErrorCode::RequestInvalid, "the document is not UTF-8"))?;
    let mut message = DynamicMessage::new(endpoint.descriptor().input());
    set(&mut message, "yaml", text)?;
    Ok(message)
}

/// Sets a field by its name, in either of proto3's spellings, from text.
fn set(message: &mut DynamicMessage, name: &str, text: &str) -> Result<(), Refused> {
    let refused = |why: &str| Refused::from(invalid_field(ErrorCode::RequestInvalid, &short(name), why));
    let descriptor = message.descriptor();
    let field = descriptor
        .get_field_by_name(name)
        .or_else(|| descriptor.get_field_by_json_name(name))
        .ok_or_else(|| refused("there is no such parameter"))?;
    let value = value(&field, text).ok_or_else(|| refused("it has not the form of its type"))?;
    message.set_field(&field, value);
    Ok(())
}

fn value(field: &FieldDescriptor, text: &str) -> Option<Value> {
    if field.is_list() || field.is_map() {
        return None;
    }
    Some(match field.kind() {
        Kind::String => Value::String(text.to_owned()),
        Kind::Uint32 => Value::U32(text.parse().ok()?),
        Kind::Uint64 => Value::U64(text.parse().ok()?),
        Kind::Bool => Value::Bool(text.parse().ok()?),
        _ => return None,
    })
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::table::find;
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    async fn made(verb: Method, uri: &str, content_type: &str, body: impl Into<axum::body::Body>) -> Result<Request, Refused> {
        let request = Request::builder()
            .method(verb.clone())
            .uri(uri)
            .header(CONTENT_TYPE, content_type)
            .body(body.into())
            .unwrap();
        let (endpoint, parameters) = find(&verb, request.uri().path())?;
        call(endpoint, &parameters, request).await
    }

    async fn code(verb: Method, uri: &str, content_type: &str, body: &str) -> u16 {
        match made(verb, uri, content_type, body.to_owned()).await {
            Ok(_) => 200,
            Err(refused) => refused.parts().0.as_u16(),
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_by_name() {
        const JSON: &str = "application/json";
        for (verb, uri, content_type, body, expected) in [
            (Method::POST, "/v1/runs", JSON, r#"{"sync": "nightly", "idempotencyKey": "k"}"#, 200),
            (
                Method::POST,
                "/v1/runs",
                JSON,
                r#"{"sync": "nightly", "idempotency_key": "k"}"#,
                200,
            ),
            (
                Method::POST,
                "/v1/runs",
                "application/json; charset=utf-8",
                r#"{"sync": "nightly"}"#,
                200,
            ),
            (Method::POST, "/v1/runs", "", "", 200),
            (Method::POST, "/v1/runs", JSON, r#"{"sink": "nightly"}"#, 400),
            (Method::POST, "/v1/runs", JSON, r#"{"sync": 7}"#, 400),
            (Method::POST, "/v1/runs", JSON, r#"{"sync": "a"} more"#, 400),
            (Method::POST, "/v1/runs", JSON, "{", 400),
            (Method::POST, "/v1/runs", JSON, "[]", 400),
            (Method::POST, "/v1/runs", "text/plain", "{}", 415),
            (Method::POST, "/v1/runs", "application/yaml", "a: b", 415),
            (Method::POST, "/v1/runs?sync=a", JSON, "{}", 400),
            (Method::GET, "/v1/runs?sync=a&page_size=5&pageToken=x", "", "", 200),
            (Method::GET, "/v1/runs?page_size=-1", "", "", 400),
            (Method::GET, "/v1/runs?page_size=many", "", "", 400),
            (Method::GET, "/v1/runs?limit=5", "", "", 400),
            (Method::GET, "/v1/runs/r-1?id=r-2", "", "", 400),
            (Method::GET, "/v1/runs", JSON, "{}", 400),
            (Method::PUT, "/v1/syncs", "application/yaml", "kind: Sync", 200),
            (Method::PUT, "/v1/syncs", JSON, r#"{"yaml": "kind: Sync"}"#, 200),
            (Method::DELETE, "/v1/runs", "", "", 405),
            (Method::GET, "/v1/nothing", "", "", 404),
        ] {
            assert_eq!(code(verb.clone(), uri, content_type, body).await, expected, "{verb} {uri} {body}");
        }
        let deep = format!("{}{}", "{\"yaml\":".repeat(10_000), "}".repeat(10_000));
        assert_eq!(code(Method::PUT, "/v1/syncs", JSON, &deep).await, 400);
        let large = vec![b'x'; REQUEST_BYTES_MAX + 1];
        let refused = made(Method::PUT, "/v1/syncs", "application/yaml", large).await.unwrap_err();
        assert_eq!(refused.parts().0.as_u16(), 413);
    }

    #[tokio::test]
    async fn only_the_token_and_the_trace_of_the_headers_go_on() {
        let request = Request::builder()
            .uri("/v1/runs/r-1:watch")
            .header(AUTHORIZATION, "Bearer x")
            .header("traceparent", "00-a-b-01")
            .header("last-event-id", "41")
            .header("syncline-role", "admin")
            .header("cookie", "a=b")
            .body(axum::body::Body::empty())
            .unwrap();
        let (endpoint, parameters) = find(&Method::GET, "/v1/runs/r-1:watch").unwrap();
        let call = call(endpoint, &parameters, request).await.unwrap();
        let mut names: Vec<&str> = call.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "content-type", "te", "traceparent"]);
        let body = call.into_body().collect().await.unwrap().to_bytes();
        let watch = syncline_wire::monitor::WatchRunRequest::decode(&body[5..]).unwrap();
        assert_eq!((watch.run.as_str(), watch.after), ("r-1", 41));
    }

    /// A call that is one whole message, or a refusal that a caller can act on: HTTP 4xx, a code of the catalogue, one line.
    fn read_or_refused(made: Result<Request, Refused>) -> Result<(), TestCaseError> {
        match made {
            Ok(call) => {
                let body = runtime().block_on(call.into_body().collect()).unwrap().to_bytes();
                let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
                prop_assert_eq!((body[0], length), (0, body.len() - 5));
            }
            Err(refused) => refused_clearly(refused)?,
        }
        Ok(())
    }

    fn refused_clearly(refused: Refused) -> Result<(), TestCaseError> {
        let (http, status, _) = refused.parts();
        prop_assert!(http.is_client_error(), "{http}");
        prop_assert!(syncline_wire::status::code_of(&status).is_some(), "{status}");
        let message = status.message();
        prop_assert!(
            !message.is_empty() && message.len() < 1_000 && !message.contains(['\n', '\r']),
            "{message}"
        );
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Whatever comes, it is read or refused, and never anything else.
        #[test]
        fn no_body_breaks_the_reader(body in proptest::collection::vec(any::<u8>(), 0..300), yaml in any::<bool>()) {
            let content_type = if yaml { "application/yaml" } else { "application/json" };
            read_or_refused(runtime().block_on(made(Method::PUT, "/v1/syncs", content_type, body)))?;
        }

        #[test]
        fn no_damage_to_a_good_body_breaks_the_reader(at in 0_usize..48, byte in any::<u8>(), cut in 0_usize..48) {
            let mut body = br#"{"sync": "nightly", "idempotency_key": "key-123"}"#.to_vec();
            if let Some(place) = body.get_mut(at) {
                *place = byte;
            }
            body.truncate(cut.max(1));
            read_or_refused(runtime().block_on(made(Method::POST, "/v1/runs", "application/json", body)))?;
        }

        #[test]
        fn no_path_breaks_the_table(path in "/v1/[ -~]{0,60}") {
            match find(&Method::GET, &path) {
                Ok((endpoint, _)) => prop_assert_eq!(&endpoint.verb, &Method::GET),
                Err(refused) => refused_clearly(refused)?,
            }
        }
    }
}
