//! Whom a session belongs to, and when codes, sessions and logins end.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Reply, org, send, soql, try_send};
use syncline_salesforce_simulator::auth::config::LoginConfig;
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};

const CALLBACK: &str = "http://localhost:1717/OauthRedirect";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn with_login(change: impl FnOnce(&mut LoginConfig)) -> OrgConfig {
    let mut login = LoginConfig::default();
    change(&mut login);
    OrgConfig {
        login,
        ..OrgConfig::default()
    }
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// A token request with the app's credentials.
fn token(org: &RunningOrg, grant: &str, pairs: &[(&str, &str)]) -> Reply {
    let mut all = vec![
        ("grant_type", grant),
        ("client_id", &org.client_id),
        ("client_secret", &org.client_secret),
    ];
    all.extend_from_slice(pairs);
    try_send(org, "POST", "/services/oauth2/token", &[FORM], encoded(&all).as_bytes()).unwrap()
}

fn password(org: &RunningOrg, username: &str) -> Reply {
    let login = &org.state.config.login;
    let secret = format!("{}{}", login.password, login.security_token);
    token(org, "password", &[("username", username), ("password", &secret)])
}

/// The code an automatic approval gives.
fn code(org: &RunningOrg) -> String {
    let pairs = [
        ("response_type", "code"),
        ("client_id", org.client_id.as_str()),
        ("redirect_uri", CALLBACK),
    ];
    let path = format!("/services/oauth2/authorize?{}", encoded(&pairs));
    let reply = try_send(org, "GET", &path, &[], b"").unwrap();
    let url = url::Url::parse(reply.header("location")).unwrap();
    url.query_pairs().find(|(k, _)| k == "code").unwrap().1.into_owned()
}

fn bearer(org: &RunningOrg, path: &str, token: &str) -> Reply {
    let auth = format!("Bearer {token}");
    try_send(org, "GET", path, &[("authorization", &auth)], b"").unwrap()
}

fn forward(org: &RunningOrg, secs: u32) {
    let reply = send(org, "POST", "/__sim/clock", json!({"forward_secs": secs}));
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn another_user(org: &RunningOrg) -> Value {
    let found = soql(
        org,
        "SELECT Id, Username, Email FROM User WHERE IsActive = true ORDER BY Id DESC LIMIT 1",
    )
    .json();
    let user = found["records"][0].clone();
    assert_ne!(user["Id"], org.user_id.as_str());
    user
}

#[test]
fn user_info_and_identity_tell_the_sessions_own_user() {
    let org = org(OrgConfig::default());
    let user = another_user(&org);
    let (id, name) = (user["Id"].as_str().unwrap(), user["Username"].as_str().unwrap());
    let session = password(&org, name).json();
    let own = session["access_token"].as_str().unwrap();
    let info = bearer(&org, "/services/oauth2/userinfo", own).json();
    assert_eq!(
        (&info["user_id"], &info["preferred_username"], &info["email"]),
        (&json!(id), &json!(name), &user["Email"])
    );
    let url = session["id"].as_str().unwrap();
    assert_eq!(info["sub"], url);
    let path = url.strip_prefix(&org.url).unwrap();
    let identity = bearer(&org, path, own).json();
    assert_eq!(
        (&identity["user_id"], &identity["username"], &identity["id"]),
        (&json!(id), &json!(name), &json!(url))
    );
    assert!(identity["urls"]["rest"].as_str().unwrap().contains("/v{version}/"));
    // Others' identities, other orgs' and none at all.
    let text = |path: &str, token: &str| {
        let reply = bearer(&org, path, token);
        (reply.status, reply.text())
    };
    assert_eq!(text(path, &org.token), (403, "No_Access".into()));
    assert_eq!(text(path, "wrong"), (403, "Bad_OAuth_Token".into()));
    assert_eq!(text("/services/oauth2/userinfo", "wrong"), (403, "Bad_OAuth_Token".into()));
    assert_eq!(text(&format!("/id/{}/005000000000000", org.org_id), own), (404, "Bad_Id".into()));
    assert_eq!(text(&format!("/id/00D000000000001/{id}"), own), (403, "Wrong_Org".into()));
    let first = bearer(&org, "/services/oauth2/userinfo", &org.token).json();
    assert_eq!(first["user_id"], org.user_id.as_str());
}

#[test]
fn a_code_ends_after_fifteen_minutes() {
    let org = org(with_login(|login| login.auto_approve = true));
    let exchange = |code: &str| token(&org, "authorization_code", &[("code", code), ("redirect_uri", CALLBACK)]);
    let (early, late) = (code(&org), code(&org));
    forward(&org, 15 * 60 - 5);
    assert_eq!(exchange(&early).status, 200);
    forward(&org, 5);
    let refused = exchange(&late);
    assert_eq!(
        (refused.status, refused.json()),
        (
            400,
            json!({"error": "invalid_grant", "error_description": "expired authorization code"})
        )
    );
    assert_eq!(exchange(&code(&org)).status, 200, "a new one is good");
}

#[test]
fn sessions_and_locators_end_when_the_clock_moves_on() {
    let org = org(OrgConfig {
        scale: Some(300),
        query_page_rows: 5,
        ..OrgConfig::default()
    });
    let session = token(&org, "client_credentials", &[]).json();
    let session = session["access_token"].as_str().unwrap();
    let next = soql(&org, "SELECT Id FROM Contact").json()["nextRecordsUrl"]
        .as_str()
        .unwrap()
        .to_owned();
    let before = soql(&org, "SELECT Id FROM Contact WHERE CreatedDate = TODAY").json()["totalSize"].clone();
    forward(&org, 7190);
    assert_eq!(bearer(&org, &next, session).status, 200);
    forward(&org, 10);
    assert_eq!(bearer(&org, &next, session).code(), "INVALID_SESSION_ID");
    forward(&org, 172_800 - 7200 - 5);
    assert_eq!(bearer(&org, &next, &org.token).status, 200);
    forward(&org, 5);
    let gone = bearer(&org, &next, &org.token);
    assert_eq!(gone.code(), "INVALID_QUERY_LOCATOR");
    assert!(gone.text().contains("QUERY_LOCATOR_EXPIRED"));
    // Queries and stamps go by the same clock.
    let path = support::v65("sobjects/Contact");
    assert_eq!(send(&org, "POST", &path, json!({"LastName": "Later"})).status, 201);
    let today = soql(&org, "SELECT LastName FROM Contact WHERE CreatedDate = TODAY").json();
    assert_eq!(
        (&today["totalSize"], &today["records"][0]["LastName"]),
        (&json!(1), &json!("Later"))
    );
    assert!(before.is_u64());
    assert_eq!(send(&org, "POST", "/__sim/clock", json!({"forward_secs": -1})).status, 400);
}

#[test]
fn a_user_logs_in_so_often_in_an_hour_and_others_still_may() {
    let org = org(with_login(|login| {
        login.logins_per_hour = 3;
        login.auto_approve = true;
    }));
    let other = another_user(&org);
    let refused = |reply: &Reply| {
        assert_eq!(
            (reply.status, &reply.json()["error"]),
            (400, &json!("rate_limit_exceeded")),
            "{}",
            reply.text()
        );
    };
    let held = code(&org);
    for _ in 0..2 {
        assert_eq!(token(&org, "client_credentials", &[]).status, 200);
    }
    assert_eq!(token(&org, "refresh_token", &[("refresh_token", &org.refresh_token)]).status, 200);
    refused(&token(&org, "client_credentials", &[]));
    refused(&token(&org, "refresh_token", &[("refresh_token", &org.refresh_token)]));
    refused(&password(&org, &org.username));
    let exchange = || token(&org, "authorization_code", &[("code", &held), ("redirect_uri", CALLBACK)]);
    refused(&exchange());
    assert_eq!(password(&org, other["Username"].as_str().unwrap()).status, 200);
    let login = &org.state.config.login;
    let envelope = format!(
        "<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:u=\"urn:partner.soap.sforce.com\"><e:Body><u:login>\
         <u:username>{}</u:username><u:password>{}{}</u:password></u:login></e:Body></e:Envelope>",
        org.username, login.password, login.security_token
    );
    let soap = || {
        let headers = [("content-type", "text/xml"), ("soapaction", "login")];
        try_send(&org, "POST", "/services/Soap/u/60.0", &headers, envelope.as_bytes()).unwrap()
    };
    let fault = soap();
    assert_eq!(fault.status, 500);
    assert!(fault.text().contains("LOGIN_RATE_EXCEEDED"), "{}", fault.text());
    // A wrong password is no login.
    assert_eq!(
        token(&org, "password", &[("username", &org.username), ("password", "no")]).json()["error"],
        "invalid_grant"
    );
    // The refused code was not used up, but an hour later it is too old.
    forward(&org, 3600);
    assert_eq!(exchange().json()["error_description"], "expired authorization code");
    assert_eq!(soap().status, 200);
    assert_eq!(token(&org, "client_credentials", &[]).status, 200);
}

#[test]
fn of_many_who_rotate_one_refresh_token_at_once_one_succeeds() {
    let org = org(OrgConfig {
        rotate_refresh: true,
        ..OrgConfig::default()
    });
    let mut current = org.refresh_token.clone();
    for _ in 0..10 {
        let replies: Vec<Reply> = std::thread::scope(|scope| {
            let ask = || token(&org, "refresh_token", &[("refresh_token", &current)]);
            let all: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let (good, bad): (Vec<&Reply>, Vec<&Reply>) = replies.iter().partition(|r| r.status == 200);
        assert_eq!(good.len(), 1);
        assert!(bad.iter().all(|r| r.json()["error_description"] == "expired access/refresh token"));
        current = good[0].json()["refresh_token"].as_str().unwrap().to_owned();
    }
}
