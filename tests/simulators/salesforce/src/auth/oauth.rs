//! OAuth endpoints and the version list.

use std::collections::HashMap;

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, header};
use serde_json::{Value, json};

use crate::auth::sessions::OauthError;
use crate::auth::users::{self, Login, User};
use crate::auth::{authorize, identity, jwt};
use crate::store::id::Id;
use crate::web::http::Call;
use crate::web::reply::{ApiError, empty, json_reply, raw_reply};
use crate::web::xml;

const RELEASES: [(u32, &str); 18] = [
    (50, "Winter '21"),
    (51, "Spring '21"),
    (52, "Summer '21"),
    (53, "Winter '22"),
    (54, "Spring '22"),
    (55, "Summer '22"),
    (56, "Winter '23"),
    (57, "Spring '23"),
    (58, "Summer '23"),
    (59, "Winter '24"),
    (60, "Spring '24"),
    (61, "Summer '24"),
    (62, "Winter '25"),
    (63, "Spring '25"),
    (64, "Summer '25"),
    (65, "Winter '26"),
    (66, "Spring '26"),
    (67, "Summer '26"),
];

/// Everything outside `/services/data/vXX.0`.
pub fn handle(call: &Call) -> Response {
    let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    let host = call.caller.base.as_str();
    match (&call.method, segments.as_slice()) {
        (&Method::GET, ["services", "data"]) => {
            let list: Vec<Value> = RELEASES
                .iter()
                .map(|(v, label)| json!({"label": label, "url": format!("/services/data/v{v}.0"), "version": format!("{v}.0")}))
                .collect();
            json_reply(200, &list.into())
        }
        (&Method::POST, ["services", "oauth2", "token"]) => formatted(call, token(call, host)),
        (&Method::GET | &Method::POST, ["services", "oauth2", "authorize"]) => authorize::handle(call),
        (&Method::POST, ["services", "oauth2", "introspect"]) => answer(call.org.auth.introspect(&form(call), host, |user| {
            let db = call.org.db();
            let user = Id::parse(user.as_bytes()).ok().and_then(|id| User::by_id(&db, &id));
            user.map(|u| u.text("Username")).unwrap_or_default()
        })),
        (&Method::GET, ["id", "keys"]) => json_reply(200, &jwt::key_set()),
        (&Method::POST | &Method::GET, ["services", "oauth2", "revoke"]) => {
            let form = form(call);
            let token = form.get("token").or_else(|| call.query.get("token"));
            match call.org.auth.revoke(token.map(String::as_str).unwrap_or_default()) {
                Ok(()) => empty(200),
                Err(error) => answer(Err(error)),
            }
        }
        (_, ["services", "oauth2", "userinfo"]) => identity::user_info(call),
        (&Method::GET, [".well-known", "openid-configuration"]) => json_reply(200, &discovery(call, host)),
        _ => ApiError::not_found().reply(),
    }
}

fn discovery(call: &Call, host: &str) -> Value {
    let at = |tail: &str| format!("{host}/services/oauth2/{tail}");
    let scopes: Vec<&str> = call.org.config.login.scopes.split_whitespace().collect();
    json!({"issuer": host, "authorization_endpoint": at("authorize"), "token_endpoint": at("token"),
        "revocation_endpoint": at("revoke"), "introspection_endpoint": at("introspect"),
        "userinfo_endpoint": at("userinfo"), "jwks_uri": format!("{host}/id/keys"),
        "scopes_supported": scopes, "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"], "display_values_supported": ["page", "popup", "touch"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic", "private_key_jwt"],
        "grant_types_supported": ["authorization_code", "client_credentials", "password", "refresh_token",
            "urn:ietf:params:oauth:grant-type:jwt-bearer"]})
}

/// The token endpoint. A username-password flow is about the org's users, the others about the app.
fn token(call: &Call, host: &str) -> Result<Value, OauthError> {
    let form = form(call);
    if form.get("grant_type").map(String::as_str) != Some("password") {
        return call.org.auth.token(&form, host);
    }
    call.org.auth.client(&form)?;
    let given = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    match users::login(&call.org, given("username"), given("password")) {
        Login::User(user) => {
            call.org.auth.count_login(&user.text())?;
            Ok(call.org.auth.issue_for(&user.text(), host))
        }
        Login::WrongPassword => Err(OauthError("invalid_grant", "authentication failure - Invalid Password")),
        Login::Inactive => Err(OauthError("invalid_grant", "inactive user")),
    }
}

fn form(call: &Call) -> HashMap<String, String> {
    let mut form: HashMap<String, String> = url::form_urlencoded::parse(&call.body).into_owned().collect();
    let basic = call
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Basic "))
        .and_then(|v| STANDARD.decode(v).ok())
        .and_then(|v| String::from_utf8(v).ok());
    if let Some((id, secret)) = basic.as_deref().and_then(|b| b.split_once(':')) {
        form.entry("client_id".into()).or_insert_with(|| id.into());
        form.entry("client_secret".into()).or_insert_with(|| secret.into());
    }
    form
}

fn answer(result: Result<Value, OauthError>) -> Response {
    match result {
        Ok(body) => json_reply(200, &body),
        Err(OauthError(error, description)) => json_reply(400, &json!({"error": error, "error_description": description})),
    }
}

/// A token answer in the form the client asks for.
fn formatted(call: &Call, result: Result<Value, OauthError>) -> Response {
    let accept = call.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let asked = form(call).remove("format").or_else(|| call.query.get("format").cloned());
    let asked = asked.unwrap_or_else(|| match accept.split([',', ';']).next() {
        Some("application/xml" | "text/xml") => "xml".into(),
        Some("application/x-www-form-urlencoded") => "urlencoded".into(),
        _ => "json".into(),
    });
    let (status, body) = match result {
        Ok(body) => (200, body),
        Err(OauthError(error, description)) => (400, json!({"error": error, "error_description": description})),
    };
    match asked.as_str() {
        "xml" => raw_reply(
            status,
            "application/xml;charset=UTF-8",
            xml::from_json(body.to_string().as_bytes(), "OAuth"),
        ),
        "urlencoded" => {
            let pairs = body.as_object().into_iter().flatten();
            let text = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(pairs.filter_map(|(k, v)| Some((k, v.as_str()?))))
                .finish();
            raw_reply(status, "application/x-www-form-urlencoded;charset=UTF-8", text)
        }
        _ => json_reply(status, &body),
    }
}
