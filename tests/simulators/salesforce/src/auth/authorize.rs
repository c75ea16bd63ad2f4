//! The page to which an app sends the user's browser for an approval.

use std::collections::HashMap;

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header;
use ring::digest::SHA256_OUTPUT_LEN;

use crate::auth::grants::Code;
use crate::auth::sessions::OauthError;
use crate::auth::users::{self, Login};
use crate::web::http::Call;
use crate::web::reply::{empty, raw_reply, set_header};

/// Parameters that survive the form.
const CARRIED: [&str; 9] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "code_challenge",
    "code_challenge_method",
    "scope",
    "state",
    "nonce",
    "prompt",
];

/// `GET` shows the form or sends the browser back at once, `POST` carries the filled form: `username` and `password`, or
/// `approve` of a user who is signed in, or `deny`.
pub fn handle(call: &Call) -> Response {
    let mut asked = call.query.clone();
    asked.extend(url::form_urlencoded::parse(&call.body).into_owned());
    let text = |name: &str| asked.get(name).map(String::as_str);
    let login = &call.org.config.login;
    // Nobody is redirected to where the app has no callback.
    if text("client_id") != Some(call.org.config.client_id.as_str()) {
        return error_page(&OauthError("invalid_client_id", "client identifier invalid"));
    }
    let Some(redirect) = text("redirect_uri").filter(|uri| login.callbacks.iter().any(|c| c == uri)) else {
        return error_page(&OauthError("redirect_uri_mismatch", "redirect_uri must match configuration"));
    };
    let failed = |OauthError(error, description): OauthError| {
        let pairs = [("error", error), ("error_description", description)];
        back(redirect, &pairs, text("state"))
    };
    let scope = match check(call, &asked) {
        Ok(scope) => scope,
        Err(error) => return failed(error),
    };
    if text("deny").is_some() {
        return failed(OauthError("access_denied", "end-user denied authorization"));
    }
    let (user, cookie) = match approver(call, &asked) {
        Approver::User(user) => (user, None),
        Approver::SignedIn(user) => {
            let cookie = format!("sid={}; Path=/; HttpOnly", call.org.auth.open_session(&user));
            (user, Some(cookie))
        }
        Approver::Nobody if text("immediate") == Some("true") => {
            return failed(OauthError("immediate_unsuccessful", "user is not signed in or has not approved"));
        }
        Approver::Nobody => return form(&asked, ""),
        Approver::Refused(message) => return form(&asked, message),
    };
    let code = call.org.auth.open_code(Code {
        user,
        scope,
        redirect_uri: redirect.to_owned(),
        challenge: text("code_challenge").map(str::to_owned),
        nonce: text("nonce").map(str::to_owned),
        issued: call.org.clock.now_ms(),
        is_used: false,
    });
    let mut reply = back(redirect, &[("code", &code)], text("state"));
    if let Some(cookie) = cookie {
        set_header(&mut reply, "set-cookie", &cookie);
    }
    reply
}

/// The scopes to approve, once the request is one the app may make.
fn check(call: &Call, asked: &HashMap<String, String>) -> Result<String, OauthError> {
    let text = |name: &str| asked.get(name).map(String::as_str);
    match text("response_type") {
        Some("code") => {}
        None => return Err(OauthError("invalid_request", "must specify response_type")),
        Some(_) => return Err(OauthError("unsupported_response_type", "response type not supported")),
    }
    if text("code_challenge_method").is_some_and(|m| m != "S256") {
        return Err(OauthError("invalid_request", "code challenge method not supported"));
    }
    if let Some(challenge) = text("code_challenge") {
        let digest = URL_SAFE_NO_PAD.decode(challenge).unwrap_or_default();
        if digest.len() != SHA256_OUTPUT_LEN {
            return Err(OauthError("invalid_request", "invalid code challenge"));
        }
    }
    call.org.auth.scope(text("scope"))
}

enum Approver {
    /// Known by an earlier login, or approving by configuration.
    User(String),
    /// Has just given the password.
    SignedIn(String),
    Nobody,
    Refused(&'static str),
}

fn approver(call: &Call, asked: &HashMap<String, String>) -> Approver {
    let text = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
    if !text("password").is_empty() {
        // People sign in without the token that programs append.
        let secret = format!("{}{}", text("password"), call.org.config.login.security_token);
        return match users::login(&call.org, text("username"), &secret) {
            Login::User(user) if call.org.auth.count_login(&user.text()).is_err() => Approver::Refused("Login rate exceeded."),
            Login::User(user) => Approver::SignedIn(user.text()),
            Login::WrongPassword => Approver::Refused("Please check your username and password."),
            Login::Inactive => Approver::Refused("Your account is inactive."),
        };
    }
    if call.org.config.login.auto_approve {
        return Approver::User(call.org.user_id.text());
    }
    let cookies = call.headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    let session = cookies
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().strip_prefix("sid="))
        .and_then(|token| call.org.auth.user_of(token));
    let prompts = |word: &str| text("prompt").split(' ').any(|p| p == word);
    let asks_again = prompts("login") || ((prompts("consent") || prompts("select_account")) && !asked.contains_key("approve"));
    match session {
        Some(user) if !asks_again => Approver::User(user),
        _ => Approver::Nobody,
    }
}

/// Back to the app's callback, which may have parameters of its own.
fn back(redirect: &str, pairs: &[(&str, &str)], state: Option<&str>) -> Response {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    if let Some(state) = state {
        query.append_pair("state", state);
    }
    let joint = if redirect.contains('?') { '&' } else { '?' };
    let mut reply = empty(302);
    set_header(&mut reply, "location", &format!("{redirect}{joint}{}", query.finish()));
    reply
}

fn error_page(OauthError(error, description): &OauthError) -> Response {
    let description: String = url::form_urlencoded::byte_serialize(description.as_bytes()).collect();
    let page = format!("<html><body>error={error}&amp;error_description={description}</body></html>");
    raw_reply(400, "text/html; charset=UTF-8", page)
}

fn form(asked: &HashMap<String, String>, message: &str) -> Response {
    let mut page =
        String::from("<html><head><title>Login</title></head><body><form method=\"post\" action=\"/services/oauth2/authorize\">");
    for name in CARRIED {
        if let Some(value) = asked.get(name) {
            page.push_str(&format!(
                "<input type=\"hidden\" name=\"{name}\" value=\"{}\">",
                quick_xml::escape::escape(value.as_str())
            ));
        }
    }
    page.push_str(&format!(
        "<p id=\"error\">{message}</p>\
         <input name=\"username\"><input name=\"password\" type=\"password\"><button>Log In</button>\
         <button name=\"approve\" value=\"1\">Allow</button><button name=\"deny\" value=\"1\">Deny</button></form></body></html>"
    ));
    raw_reply(200, "text/html; charset=UTF-8", page)
}
