//! OAuth flows that users approve, and what the token endpoints refuse.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use serde_json::{Value, json};
use support::{Reply, org, try_send, v65};
use syncline_salesforce_simulator::auth::config::LoginConfig;
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};

const CALLBACK: &str = "http://localhost:1717/OauthRedirect";
const VERIFIER: &str = "a-verifier-of-more-than-forty-three-characters-0123456789";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn encoded(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn with_login(change: impl FnOnce(&mut LoginConfig)) -> OrgConfig {
    let mut login = LoginConfig::default();
    change(&mut login);
    OrgConfig {
        login,
        ..OrgConfig::default()
    }
}

fn post(org: &RunningOrg, endpoint: &str, pairs: &[(&str, &str)]) -> Reply {
    let path = format!("/services/oauth2/{endpoint}");
    try_send(org, "POST", &path, &[FORM], encoded(pairs).as_bytes()).unwrap()
}

/// A token request with the app's credentials.
fn token(org: &RunningOrg, grant: &str, pairs: &[(&str, &str)]) -> Reply {
    let mut all = vec![
        ("grant_type", grant),
        ("client_id", &org.client_id),
        ("client_secret", &org.client_secret),
    ];
    all.extend_from_slice(pairs);
    post(org, "token", &all)
}

fn refusal(reply: &Reply) -> (String, String) {
    assert_eq!(reply.status, 400, "{}", reply.text());
    let body = reply.json();
    let text = |key: &str| body[key].as_str().unwrap().to_owned();
    (text("error"), text("error_description"))
}

fn refused(reply: &Reply, error: &str, description: &str) {
    assert_eq!(refusal(reply), (error.to_owned(), description.to_owned()));
}

fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()))
}

/// An authorization request of the app, with other or more parameters.
fn authorize(org: &RunningOrg, method: &str, cookie: &str, other: &[(&str, &str)]) -> Reply {
    let mut pairs = HashMap::from([
        ("response_type", "code"),
        ("client_id", org.client_id.as_str()),
        ("redirect_uri", CALLBACK),
        ("state", "a state&more"),
    ]);
    pairs.extend(other.iter().copied());
    pairs.retain(|_, value| !value.is_empty());
    let text = encoded(&pairs.into_iter().collect::<Vec<_>>());
    let path = "/services/oauth2/authorize";
    match method {
        "GET" => try_send(org, "GET", &format!("{path}?{text}"), &[("cookie", cookie)], b""),
        _ => try_send(org, "POST", path, &[FORM, ("cookie", cookie)], text.as_bytes()),
    }
    .unwrap()
}

/// The parameters with which the browser comes back to the app.
fn callback(reply: &Reply) -> HashMap<String, String> {
    assert_eq!(reply.status, 302, "{}", reply.text());
    let place = url::Url::parse(reply.header("location")).unwrap();
    assert!(place.as_str().starts_with(CALLBACK), "{place}");
    place.query_pairs().into_owned().collect()
}

fn signed_in(org: &RunningOrg, other: &[(&str, &str)]) -> Reply {
    let mut pairs = vec![("username", org.username.as_str()), ("password", "simulator-password")];
    pairs.extend_from_slice(other);
    authorize(org, "POST", "", &pairs)
}

fn code(org: &RunningOrg, other: &[(&str, &str)]) -> String {
    callback(&signed_in(org, other))["code"].clone()
}

fn exchanged(org: &RunningOrg, code: &str, other: &[(&str, &str)]) -> Reply {
    let mut pairs = vec![("code", code), ("redirect_uri", CALLBACK)];
    pairs.extend_from_slice(other);
    token(org, "authorization_code", &pairs)
}

fn limits(org: &RunningOrg, session: &Value) -> Reply {
    let bearer = format!("Bearer {}", session.as_str().unwrap());
    try_send(org, "GET", &v65("limits"), &[("authorization", &bearer)], b"").unwrap()
}

fn introspected(org: &RunningOrg, token: &Value, hint: &str) -> Value {
    let pairs = [
        ("client_id", org.client_id.as_str()),
        ("client_secret", &org.client_secret),
        ("token", token.as_str().unwrap()),
        ("token_type_hint", hint),
    ];
    post(org, "introspect", &pairs).json()
}

/// A token signed with the key that the app, and the org's id tokens, use.
fn assertion(claims: &Value) -> String {
    let key = RsaKeyPair::from_pkcs8(include_bytes!("keys/jwt-test-only.pk8")).unwrap();
    let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let text = format!("{}.{}", part(&json!({"alg": "RS256"})), part(claims));
    let mut tag = vec![0; key.public().modulus_len()];
    let random = ring::rand::SystemRandom::new();
    key.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut tag).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
}

#[test]
fn a_code_with_its_verifier_becomes_a_session_once() {
    let org = org(OrgConfig::default());
    let challenge = challenge();
    let asked = [("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")];
    let page = authorize(&org, "GET", "", &asked);
    assert_eq!(page.status, 200);
    assert!(page.text().contains(&format!("value=\"{challenge}\"")) && page.text().contains("value=\"a state&amp;more\""));
    let wrong = authorize(&org, "POST", "", &[("username", &org.username), ("password", "wrong")]);
    assert!(wrong.status == 200 && wrong.text().contains("check your username and password"));

    let reply = signed_in(&org, &asked);
    assert!(reply.header("location").contains("%3D%3D"));
    let back = callback(&reply);
    assert_eq!(back["state"], "a state&more");
    let code = back["code"].as_str();
    refused(&exchanged(&org, code, &[]), "invalid_grant", "code verifier required");
    for verifier in ["short", &VERIFIER.replace('a', "b")] {
        let reply = exchanged(&org, code, &[("code_verifier", verifier)]);
        refused(&reply, "invalid_grant", "invalid code verifier");
    }
    let elsewhere = token(
        &org,
        "authorization_code",
        &[("code", code), ("redirect_uri", "http://localhost/"), ("code_verifier", VERIFIER)],
    );
    refused(&elsewhere, "redirect_uri_mismatch", "redirect_uri must match configuration");

    let reply = exchanged(&org, code, &[("code_verifier", VERIFIER)]);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = reply.json();
    assert_eq!(body["scope"], "api refresh_token openid");
    assert_eq!(limits(&org, &body["access_token"]).status, 200);
    let again = exchanged(&org, code, &[("code_verifier", VERIFIER)]);
    refused(&again, "invalid_grant", "expired authorization code");
    refused(&exchanged(&org, "never", &[]), "invalid_grant", "invalid authorization code");
    let none = token(&org, "authorization_code", &[("redirect_uri", CALLBACK)]);
    refused(&none, "invalid_request", "must specify code");
}

#[test]
fn who_is_signed_in_is_sent_back_at_once_unless_asked_again() {
    let org = org(OrgConfig::default());
    let cookie = signed_in(&org, &[]).header("set-cookie").split(';').next().unwrap().to_owned();
    let status = |cookie: &str, other: &[(&str, &str)]| authorize(&org, "GET", cookie, other).status;
    assert_eq!(status(&cookie, &[]), 302);
    assert_eq!(status("sid=other", &[]), 200);
    assert_eq!(status(&cookie, &[("prompt", "login")]), 200);
    assert_eq!(status(&cookie, &[("prompt", "consent")]), 200);
    let allowed = authorize(&org, "POST", &cookie, &[("prompt", "consent"), ("approve", "1")]);
    assert!(callback(&allowed).contains_key("code"));
    let denied = callback(&authorize(&org, "POST", &cookie, &[("deny", "1")]));
    assert_eq!(denied["error"], "access_denied");
    assert_eq!(denied["error_description"], "end-user denied authorization");
    assert_eq!(denied["state"], "a state&more");
    let unseen = callback(&authorize(&org, "GET", "", &[("immediate", "true")]));
    assert_eq!(unseen["error"], "immediate_unsuccessful");

    let robot = support::org(with_login(|l| l.auto_approve = true));
    assert!(callback(&authorize(&robot, "GET", "", &[])).contains_key("code"));
}

#[test]
fn wrong_authorization_requests_are_pages_or_error_callbacks() {
    let org = org(OrgConfig::default());
    for (name, value, error) in [
        ("client_id", "stranger", "error=invalid_client_id"),
        (
            "redirect_uri",
            "http://localhost:1717/OauthRedirect/",
            "error=redirect_uri_mismatch",
        ),
        ("redirect_uri", "", "error=redirect_uri_mismatch"),
    ] {
        let page = authorize(&org, "GET", "", &[(name, value)]);
        assert_eq!(page.status, 400);
        assert!(page.text().contains(error), "{}", page.text());
    }
    for (name, value, error) in [
        ("response_type", "", "invalid_request"),
        ("response_type", "magic", "unsupported_response_type"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge", "tooshort", "invalid_request"),
        ("scope", "api cdp_everything", "invalid_scope"),
    ] {
        assert_eq!(callback(&authorize(&org, "GET", "", &[(name, value)]))["error"], error, "{name}");
    }
}

#[test]
fn scopes_decide_about_refresh_and_id_tokens() {
    let org = org(OrgConfig::default());
    let plain = exchanged(&org, &code(&org, &[("scope", "api")]), &[]).json();
    assert_eq!(plain["scope"], "api");
    assert!(plain.get("refresh_token").is_none() && plain.get("id_token").is_none());
    let lasting = exchanged(&org, &code(&org, &[("scope", "api offline_access")]), &[]).json();
    let refresh = lasting["refresh_token"].as_str().unwrap();
    let renewed = token(&org, "refresh_token", &[("refresh_token", refresh)]).json();
    assert_eq!(renewed["scope"], "api offline_access");
    assert!(renewed.get("refresh_token").is_none());
    assert_eq!(limits(&org, &renewed["access_token"]).status, 200);

    let known = exchanged(&org, &code(&org, &[("scope", "openid"), ("nonce", "n1")]), &[]).json();
    let (signed, tag) = known["id_token"].as_str().unwrap().rsplit_once('.').unwrap();
    let raw = |text: &Value| URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap();
    let keys = try_send(&org, "GET", "/id/keys", &[], b"").unwrap().json();
    let (n, e) = (raw(&keys["keys"][0]["n"]), raw(&keys["keys"][0]["e"]));
    RsaPublicKeyComponents { n, e }
        .verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &raw(&json!(tag)))
        .unwrap();
    let claims: Value = serde_json::from_slice(&raw(&json!(signed.split_once('.').unwrap().1))).unwrap();
    assert_eq!(
        (&claims["aud"], &claims["sub"], &claims["nonce"]),
        (&json!(org.client_id), &known["id"], &json!("n1"))
    );
}

#[test]
fn a_users_sixth_approval_ends_the_oldest() {
    let org = org(OrgConfig::default());
    let mut answers: Vec<Value> = (0..6).map(|_| exchanged(&org, &code(&org, &[]), &[]).json()).collect();
    answers.push(json!({"refresh_token": "5Aep861simulator.refresh"}));
    let statuses: Vec<u16> = answers
        .iter()
        .map(|a| token(&org, "refresh_token", &[("refresh_token", a["refresh_token"].as_str().unwrap())]).status)
        .collect();
    assert_eq!(statuses, [400, 200, 200, 200, 200, 200, 200]);
    assert_eq!(limits(&org, &answers[0]["access_token"]).status, 401);
}

#[test]
fn a_rotated_refresh_token_is_refused_and_its_successor_ends_all() {
    let org = org(OrgConfig {
        rotate_refresh: true,
        ..OrgConfig::default()
    });
    let first = exchanged(&org, &code(&org, &[]), &[]).json();
    let old = first["refresh_token"].as_str().unwrap();
    let second = token(&org, "refresh_token", &[("refresh_token", old)]).json();
    let reuse = token(&org, "refresh_token", &[("refresh_token", old)]);
    refused(&reuse, "invalid_grant", "expired access/refresh token");
    assert_eq!(introspected(&org, &json!(old), "refresh_token"), json!({"active": false}));
    let new = second["refresh_token"].as_str().unwrap();
    assert_ne!(old, new);
    assert_eq!(post(&org, "revoke", &[("token", new)]).status, 200);
    for answer in [&first, &second] {
        assert_eq!(limits(&org, &answer["access_token"]).status, 401);
    }
}

#[test]
fn revoking_an_access_token_leaves_its_refresh_token() {
    let org = org(OrgConfig::default());
    let body = exchanged(&org, &code(&org, &[("scope", "api refresh_token")]), &[]).json();
    for hint in ["refresh_token", "access_token"] {
        let state = introspected(&org, &body["refresh_token"], hint);
        assert_eq!((&state["active"], &state["token_type"]), (&json!(true), &json!("refresh_token")));
        assert!(state.get("exp").is_none());
        let state = introspected(&org, &body["access_token"], hint);
        assert_eq!(state["token_type"], "access_token");
        assert_eq!(state["username"], org.username.as_str());
        assert_eq!((&state["scope"], &state["sub"]), (&json!("api refresh_token"), &body["id"]));
        assert!(state["exp"].as_i64() > state["iat"].as_i64());
    }
    assert_eq!(
        introspected(&org, &body["access_token"], "magic")["error"],
        "unsupported_token_type"
    );
    let session = body["access_token"].as_str().unwrap();
    assert_eq!(post(&org, "revoke", &[("token", session)]).status, 200);
    refused(&post(&org, "revoke", &[("token", session)]), "invalid_token", "invalid token");
    let dead = limits(&org, &body["access_token"]);
    assert_eq!((dead.status, dead.header("www-authenticate")), (401, "Token"));
    let refresh = body["refresh_token"].as_str().unwrap();
    assert_eq!(token(&org, "refresh_token", &[("refresh_token", refresh)]).status, 200);
}

#[test]
fn an_app_proves_itself_by_secret_assertion_or_where_it_may_not_at_all() {
    let org = org(OrgConfig {
        public_key_pem: Some(include_str!("keys/jwt-test-only.pub.pem").into()),
        ..OrgConfig::default()
    });
    let end = chrono::Utc::now().timestamp() + 60;
    let claims = |aud: &str, sub: &str| json!({"iss": org.client_id, "sub": sub, "aud": aud, "exp": end});
    let asked = |assertion: &str, kind: &str| {
        post(
            &org,
            "token",
            &[
                ("grant_type", "authorization_code"),
                ("code", &code(&org, &[])),
                ("redirect_uri", CALLBACK),
                ("client_assertion", assertion),
                ("client_assertion_type", kind),
            ],
        )
    };
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let endpoint = format!("{}/services/oauth2/token", org.url);
    assert_eq!(asked(&assertion(&claims(&endpoint, &org.client_id)), kind).status, 200);
    for (aud, sub, kind) in [
        ("https://elsewhere.example", org.client_id.as_str(), kind),
        (&endpoint, "another", kind),
        (&endpoint, &org.client_id, "magic"),
    ] {
        let reply = asked(&assertion(&claims(aud, sub)), kind);
        refused(&reply, "invalid_client", "invalid client credentials");
    }

    let bare = |org: &RunningOrg| {
        let pairs = [
            ("grant_type", "authorization_code"),
            ("client_id", &org.client_id),
            ("code", &code(org, &[])),
            ("redirect_uri", CALLBACK),
        ];
        post(org, "token", &pairs)
    };
    refused(&bare(&org), "invalid_client", "invalid client credentials");
    let open = support::org(with_login(|l| l.public_client = true));
    assert_eq!(bare(&open).status, 200);
    let programs = post(
        &open,
        "token",
        &[("grant_type", "client_credentials"), ("client_id", &open.client_id)],
    );
    refused(&programs, "invalid_client", "invalid client credentials");
}

#[test]
fn token_answers_come_as_json_xml_or_a_form() {
    let org = org(OrgConfig::default());
    let xml = token(&org, "client_credentials", &[("format", "xml")]);
    assert!(xml.header("content-type").starts_with("application/xml"));
    assert!(xml.text().contains("<OAuth") && xml.text().contains("<token_type>Bearer</token_type>"));
    let form = token(&org, "client_credentials", &[("format", "urlencoded")]);
    let pairs: HashMap<String, String> = url::form_urlencoded::parse(&form.body).into_owned().collect();
    assert_eq!(pairs["token_type"], "Bearer");
    let refused = token(&org, "magic", &[("format", "urlencoded")]);
    assert_eq!(refused.status, 400);
    assert!(refused.text().starts_with("error=unsupported_grant_type"));
}

#[test]
fn discovery_names_endpoints_that_answer() {
    let org = org(OrgConfig::default());
    let doc = try_send(&org, "GET", "/.well-known/openid-configuration", &[], b"").unwrap().json();
    for (key, method, status) in [
        ("authorization_endpoint", "GET", 400),
        ("token_endpoint", "POST", 400),
        ("revocation_endpoint", "POST", 400),
        ("introspection_endpoint", "POST", 400),
        ("userinfo_endpoint", "GET", 403),
        ("jwks_uri", "GET", 200),
    ] {
        let path = doc[key].as_str().unwrap().strip_prefix(&org.url).unwrap();
        assert_eq!(try_send(&org, method, path, &[], b"").unwrap().status, status, "{key}");
    }
    assert_eq!(doc["code_challenge_methods_supported"], json!(["S256"]));
}

#[test]
fn use_keeps_a_session_alive_and_looking_at_it_does_not() {
    let org = org(with_login(|l| l.session_idle_secs = Some(7200)));
    let session = token(&org, "client_credentials", &[]).json()["access_token"].clone();
    let end = || introspected(&org, &session, "access_token")["exp"].as_i64().unwrap();
    let at_first = end();
    // Ends are told in whole seconds: used until one has passed.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while end() == at_first {
        assert!(std::time::Instant::now() < deadline, "the end does not move");
        assert_eq!(limits(&org, &session).status, 200);
    }
    let unused = support::org(with_login(|l| l.session_idle_secs = Some(0)));
    let session = token(&unused, "client_credentials", &[]).json()["access_token"].clone();
    assert_eq!(introspected(&unused, &session, "access_token"), json!({"active": false}));
    assert_eq!(limits(&unused, &session).code(), "INVALID_SESSION_ID");
}

#[test]
fn an_org_without_api_refuses_data_and_still_signs_in() {
    let org = org(with_login(|l| l.api_enabled = false));
    let session = token(&org, "client_credentials", &[]).json()["access_token"].clone();
    let reply = limits(&org, &session);
    assert_eq!((reply.status, reply.code().as_str()), (403, "API_DISABLED_FOR_ORG"));
}

#[test]
fn an_inactive_user_gets_neither_code_nor_session() {
    let org = org(OrgConfig::default());
    let path = format!("/__sim/records/{}", org.user_id);
    let changed = support::send(&org, "PATCH", &path, json!({"IsActive": false}));
    assert!(changed.status < 300, "{}", changed.text());
    let page = signed_in(&org, &[]);
    assert!(page.status == 200 && page.text().contains("inactive"), "{}", page.text());
    let secret = "simulator-passwordsimulatorToken";
    let reply = token(&org, "password", &[("username", &org.username), ("password", secret)]);
    refused(&reply, "invalid_grant", "inactive user");
}

#[test]
fn refusals_that_hang_on_the_administrator_can_be_scripted() {
    let org = org(OrgConfig::default());
    for (error, description) in [
        ("invalid_app_access", "user is not admin approved to access this app"),
        ("invalid_grant", "no client credentials user enabled"),
        ("invalid_grant", "token request is already being processed"),
        ("rate_limit_exceeded", "login rate exceeded"),
    ] {
        let body = json!({"error": error, "error_description": description});
        let fault = json!({"kind": "status", "path": "/oauth2/token", "status": 400, "body": body});
        assert!(support::send(&org, "POST", "/__sim/faults", fault).status < 300);
        refused(&token(&org, "client_credentials", &[]), error, description);
        assert_eq!(token(&org, "client_credentials", &[]).status, 200);
    }
}
