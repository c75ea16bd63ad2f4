//! What the org knows of a token, and the end of one.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use syncline_connect::ConnectError;
use syncline_domain::ErrorCode;

use super::{endpoint, post};

const INTROSPECT_PATH: &str = "/services/oauth2/introspect";
const REVOKE_PATH: &str = "/services/oauth2/revoke";

/// Which kind of token is asked about; a hint that the org may ignore (RFC 7662).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    Access,
    Refresh,
}

impl TokenKind {
    fn word(self) -> &'static str {
        match self {
            Self::Access => "access_token",
            Self::Refresh => "refresh_token",
        }
    }
}

/// The org's view of a token. Of one that is unknown, expired or revoked it says no more than that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspection {
    pub active: bool,
    pub scopes: Vec<String>,
    pub username: Option<String>,
    pub client_id: Option<String>,
    pub expires_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct Answer {
    active: bool,
    #[serde(default)]
    scope: String,
    username: Option<String>,
    client_id: Option<String>,
    exp: Option<i64>,
}

/// Asks about a token. The token endpoint's answers name no lifetime; this is the only place that does.
///
/// # Errors
/// As [`super::authenticate`].
pub async fn introspect(
    http: &reqwest::Client,
    host: &str,
    client_id: &str,
    client_secret: Option<&SecretString>,
    token: &SecretString,
    kind: TokenKind,
) -> Result<Introspection, ConnectError> {
    let mut form = vec![
        ("token", token.expose_secret().to_owned()),
        ("token_type_hint", kind.word().to_owned()),
        ("client_id", client_id.to_owned()),
    ];
    if let Some(secret) = client_secret {
        form.push(("client_secret", secret.expose_secret().to_owned()));
    }
    let body = post(http, &endpoint(host, INTROSPECT_PATH), &form, "introspect").await?;
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| {
        ConnectError::new(
            ErrorCode::BadAnswer,
            "introspect: the answer does not say whether the token is active",
        )
    })?;
    Ok(Introspection {
        active: answer.active,
        scopes: answer.scope.split_ascii_whitespace().map(str::to_owned).collect(),
        username: answer.username,
        client_id: answer.client_id,
        expires_at: answer.exp.and_then(|s| DateTime::from_timestamp(s, 0)),
    })
}

/// Ends a token; with a refresh token its access tokens end as well. One that is unknown has ended.
///
/// # Errors
/// As [`super::authenticate`].
pub async fn revoke(http: &reqwest::Client, host: &str, token: &SecretString) -> Result<(), ConnectError> {
    let form = [("token", token.expose_secret().to_owned())];
    match post(http, &endpoint(host, REVOKE_PATH), &form, "revoke").await {
        Err(e) if e.native.as_deref() == Some("invalid_token") => Ok(()),
        other => other.map(drop),
    }
}
