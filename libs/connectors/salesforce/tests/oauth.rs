//! The token endpoint's flows against a scripted server.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod script;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use secrecy::ExposeSecret;
use syncline_connect::retry::RetryPolicy;
use syncline_domain::ErrorCode;
use syncline_salesforce::http_client;
use syncline_salesforce::oauth::authorize::Authorization;
use syncline_salesforce::oauth::{Grant, authenticate, session};

use script::{Reply, Script, Seen};

const TOKEN: &str = r#"{"access_token":"00DA!s3cret","instance_url":"https://x.my.salesforce.com/","id":"https://login.salesforce.com/id/00D/005","token_type":"Bearer","issued_at":"1763638111000"}"#;

fn http() -> reqwest::Client {
    // A second installation in the same process is refused, which is fine: there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    http_client(&RetryPolicy::default()).unwrap()
}

fn form(seen: &Seen, name: &str) -> Option<String> {
    url::form_urlencoded::parse(&seen.body)
        .find(|(k, _)| k == name)
        .map(|(_, v)| v.into_owned())
}

#[tokio::test]
async fn client_credentials_give_a_token_that_is_never_shown() {
    let script = Script::start(vec![Reply::json(200, TOKEN)]).await;
    let grant = Grant::ClientCredentials {
        client_id: "app".into(),
        client_secret: "pa&ss".into(),
    };
    let token = authenticate(&http(), &script.url(), &grant).await.unwrap();
    assert_eq!(token.access_token.expose_secret(), "00DA!s3cret");
    assert_eq!(token.instance_url, "https://x.my.salesforce.com");
    assert_eq!(token.issued_at.timestamp_millis(), 1_763_638_111_000);
    assert!(token.refresh_token.is_none());
    assert!(!format!("{token:?}").contains("s3cret"));
    let seen = &script.seen()[0];
    assert_eq!(seen.path, "/services/oauth2/token");
    assert_eq!(form(seen, "grant_type").as_deref(), Some("client_credentials"));
    assert_eq!(form(seen, "client_secret").as_deref(), Some("pa&ss"));
}

#[tokio::test]
async fn a_rotated_refresh_token_comes_back() {
    let rotated = r#"{"access_token":"a","instance_url":"https://x","refresh_token":"next"}"#;
    let script = Script::start(vec![Reply::json(200, rotated)]).await;
    let grant = Grant::RefreshToken {
        client_id: "app".into(),
        client_secret: None,
        refresh_token: "old".into(),
    };
    let endpoint = format!("{}/services/oauth2/token", script.url());
    let token = authenticate(&http(), &endpoint, &grant).await.unwrap();
    assert_eq!(token.refresh_token.map(|t| t.expose_secret().to_owned()).as_deref(), Some("next"));
    let seen = &script.seen()[0];
    assert_eq!(seen.path, "/services/oauth2/token");
    assert_eq!(form(seen, "refresh_token").as_deref(), Some("old"));
    assert_eq!(form(seen, "client_secret"), None);
}

#[tokio::test]
async fn an_assertion_is_signed_and_short_lived() {
    let pem = include_str!("data/assertion-key.pkcs8.pem");
    let script = Script::start(vec![Reply::json(200, r#"{"access_token":"a","instance_url":"https://x"}"#)]).await;
    let grant = Grant::JwtBearer {
        client_id: "app".into(),
        username: "bot@example.com".into(),
        audience: "https://test.salesforce.com".into(),
        private_key_pem: pem.into(),
    };
    authenticate(&http(), &script.url(), &grant).await.unwrap();
    let assertion = form(&script.seen()[0], "assertion").unwrap();
    let (message, signature) = assertion.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let read = |part: &str| -> serde_json::Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    assert_eq!(read(header)["alg"], "RS256");
    let claims = read(claims);
    assert_eq!(claims["iss"], "app");
    assert_eq!(claims["sub"], "bot@example.com");
    assert_eq!(claims["aud"], "https://test.salesforce.com");
    let lifetime = claims["exp"].as_i64().unwrap() - chrono::Utc::now().timestamp();
    assert!((100..=180).contains(&lifetime), "{lifetime}");
    let der: String = pem.lines().filter(|l| !l.starts_with("-----")).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(der).unwrap();
    let key = ring::rsa::KeyPair::from_pkcs8(&der).unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key())
        .verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
        .unwrap();
}

#[tokio::test]
async fn refusals_are_told_from_trouble_on_the_way_and_nothing_is_repeated() {
    for (reply, code) in [
        (
            Reply::json(
                400,
                r#"{"error":"invalid_grant","error_description":"expired access/refresh token"}"#,
            ),
            ErrorCode::Credentials,
        ),
        (Reply::html(503, "<html></html>"), ErrorCode::Unreachable),
        (Reply::json(200, "{}"), ErrorCode::BadAnswer),
        (Reply::Hang, ErrorCode::NetworkTimeout),
    ] {
        let script = Script::start(vec![reply, Reply::json(200, TOKEN)]).await;
        let grant = Grant::ClientCredentials {
            client_id: "app".into(),
            client_secret: "x".into(),
        };
        assert_eq!(authenticate(&http(), &script.url(), &grant).await.unwrap_err().code, code);
        assert_eq!(script.seen().len(), 1);
    }
    let grant = Grant::ClientCredentials {
        client_id: "app".into(),
        client_secret: "x".into(),
    };
    let error = authenticate(&http(), &script::closed_address().await, &grant).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unreachable);
}

#[tokio::test]
async fn a_code_is_redeemed_with_its_verifier() {
    let script = Script::start(vec![Reply::json(
        200,
        r#"{"access_token":"a","instance_url":"https://x","refresh_token":"5Aep"}"#,
    )])
    .await;
    let begun = Authorization::begin(&script.url(), "app", "http://127.0.0.1:1717/cb").unwrap();
    let sent: Vec<(String, String)> = url::Url::parse(&begun.url).unwrap().query_pairs().into_owned().collect();
    let value = |name: &str| sent.iter().find(|(k, _)| k == name).unwrap().1.clone();
    let code = begun.finish(&format!("code=aPrx%3D%3D&state={}", value("state"))).unwrap().unwrap();
    let grant = Grant::AuthorizationCode {
        client_id: "app".into(),
        client_secret: None,
        code,
    };
    let token = authenticate(&http(), &script.url(), &grant).await.unwrap();
    assert_eq!(token.refresh_token.unwrap().expose_secret(), "5Aep");
    let seen = &script.seen()[0];
    assert_eq!(form(seen, "grant_type").as_deref(), Some("authorization_code"));
    assert_eq!(form(seen, "code").as_deref(), Some("aPrx=="));
    assert_eq!(form(seen, "redirect_uri").as_deref(), Some("http://127.0.0.1:1717/cb"));
    // Whoever holds the verifier can be told from whoever read the address.
    let hash = ring::digest::digest(&ring::digest::SHA256, form(seen, "code_verifier").unwrap().as_bytes());
    assert_eq!(URL_SAFE_NO_PAD.encode(hash), value("code_challenge"));
}

#[tokio::test]
async fn tokens_are_asked_about_and_ended() {
    let script = Script::start(vec![
        Reply::json(200, r#"{"active":true,"scope":"api refresh_token","client_id":"app","username":"u@x","token_type":"access_token","exp":1763638111,"new":1}"#),
        Reply::json(200, r#"{"active":false}"#),
        Reply::json(200, ""),
        Reply::json(400, r#"{"error":"invalid_token","error_description":"invalid token"}"#),
        Reply::json(400, r#"{"error":"unsupported_token_type"}"#),
    ])
    .await;
    let endpoint = format!("{}/services/oauth2/token", script.url());
    let ask = || introspect_at(&endpoint);
    let active = ask().await.unwrap();
    assert!(active.active);
    assert_eq!(active.scopes, ["api", "refresh_token"]);
    assert_eq!(active.username.as_deref(), Some("u@x"));
    assert_eq!(active.expires_at.map(|t| t.timestamp()), Some(1_763_638_111));
    assert!(!ask().await.unwrap().active);
    let end = || async { session::revoke(&http(), &endpoint, &TOKEN_TEXT.into()).await };
    end().await.unwrap();
    end().await.unwrap();
    assert_eq!(end().await.unwrap_err().code, ErrorCode::Credentials);
    let seen = script.seen();
    assert_eq!(
        (seen[0].path.as_str(), seen[2].path.as_str()),
        ("/services/oauth2/introspect", "/services/oauth2/revoke")
    );
    assert_eq!(form(&seen[0], "token_type_hint").as_deref(), Some("access_token"));
    assert_eq!(form(&seen[2], "token").as_deref(), Some(TOKEN_TEXT));
}

const TOKEN_TEXT: &str = "00D!tok";

async fn introspect_at(endpoint: &str) -> Result<session::Introspection, syncline_connect::ConnectError> {
    let secret = "s".into();
    session::introspect(
        &http(),
        endpoint,
        "app",
        Some(&secret),
        &TOKEN_TEXT.into(),
        session::TokenKind::Access,
    )
    .await
}
