//! Tokens from Salesforce's token endpoint, for the service that keeps credentials.
//!
//! Every flow that suits a program is here: client credentials, JWT bearer, refresh token, and the web-server flow with
//! PKCE that yields one ([`authorize`]). The username-password flow is not offered: orgs block it, and it would hold a
//! person's password. [`session`] asks about tokens and ends them.
//!
//! One call is one request: nothing is repeated here, because a rotated refresh token is invalid the moment it was used
//! and the caller must commit the new one before anything else. Secrets are never printed.

pub mod authorize;
pub mod session;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use ring::signature::RSA_PKCS1_SHA256;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use syncline_connect::ConnectError;
use syncline_domain::ErrorCode;

/// The answer names no lifetime. Sessions last two hours by default and slide with use (Session Settings), so a token is
/// good for at least this long unless the org was set to less; then a 401 tells.
pub const TOKEN_LIFETIME_ASSUMED: Duration = Duration::from_secs(110 * 60);

/// An assertion may be valid for three minutes at most (OAuth 2.0 JWT bearer flow).
const ASSERTION_LIFETIME_SECONDS: i64 = 170;
const TOKEN_PATH: &str = "/services/oauth2/token";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How the connection proves who it is.
#[derive(Debug, Clone)]
pub enum Grant {
    /// Only at the org's own My Domain host.
    ClientCredentials { client_id: String, client_secret: SecretString },
    JwtBearer {
        client_id: String,
        username: String,
        /// `https://login.salesforce.com`, `https://test.salesforce.com` or a site's address.
        audience: String,
        /// RSA, 2048 bits or more, as PKCS#8 or PKCS#1 PEM.
        private_key_pem: SecretString,
    },
    RefreshToken {
        client_id: String,
        client_secret: Option<SecretString>,
        refresh_token: SecretString,
    },
    /// Once: a code is dead after its first use, whatever came of it.
    AuthorizationCode {
        client_id: String,
        client_secret: Option<SecretString>,
        code: authorize::Code,
    },
}

/// What the token endpoint gave.
#[derive(Debug, Clone)]
pub struct Token {
    pub access_token: SecretString,
    /// Where all data calls go, without a trailing slash.
    pub instance_url: String,
    /// The identity address, where the flow gives one.
    pub id_url: Option<String>,
    /// The server's time of issue, or ours where the flow gives none.
    pub issued_at: DateTime<Utc>,
    /// With a code: the token to come back with. Otherwise the org rotates refresh tokens: the old one is invalid from now on.
    pub refresh_token: Option<SecretString>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretText,
    instance_url: String,
    id: Option<String>,
    issued_at: Option<String>,
    refresh_token: Option<SecretText>,
}

/// Deserialised straight into a secret.
#[derive(Deserialize)]
#[serde(from = "String")]
struct SecretText(SecretString);

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

#[derive(Deserialize)]
struct OauthError {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// Asks the token endpoint of `url` (a host, or the endpoint's full address) for a token.
///
/// # Errors
/// `AUTH_CREDENTIALS_001` when the grant was refused; a code that can be retried when the endpoint was busy, did not
/// answer or answered with something else.
pub async fn authenticate(http: &reqwest::Client, url: &str, grant: &Grant) -> Result<Token, ConnectError> {
    let form = form(grant, Utc::now())?;
    let body = post(http, &endpoint(url, TOKEN_PATH), &form, "token endpoint").await?;
    let answer: TokenAnswer =
        serde_json::from_slice(&body).map_err(|_| ConnectError::new(ErrorCode::BadAnswer, "token endpoint: the answer holds no token"))?;
    let issued_at = answer
        .issued_at
        .and_then(|ms| DateTime::from_timestamp_millis(ms.parse().ok()?))
        .unwrap_or_else(Utc::now);
    Ok(Token {
        access_token: answer.access_token.0,
        instance_url: answer.instance_url.trim_end_matches('/').to_owned(),
        id_url: answer.id,
        issued_at,
        refresh_token: answer.refresh_token.map(|t| t.0),
    })
}

/// The address of an endpoint; `url` is a host, or the address of the token endpoint.
fn endpoint(url: &str, path: &str) -> String {
    let url = url.trim_end_matches('/');
    format!("{}{path}", url.strip_suffix(TOKEN_PATH).unwrap_or(url))
}

/// One request; `what` names the endpoint in errors.
async fn post(http: &reqwest::Client, url: &str, form: &[(&'static str, String)], what: &str) -> Result<Bytes, ConnectError> {
    let response = http
        .post(url)
        .timeout(REQUEST_TIMEOUT)
        .header(http::header::ACCEPT, "application/json")
        .form(form)
        .send()
        .await
        .map_err(|e| {
            if e.is_connect() {
                ConnectError::new(ErrorCode::Unreachable, format!("{what}: no connection"))
            } else {
                ConnectError::new(ErrorCode::NetworkTimeout, format!("{what}: no answer"))
            }
        })?;
    let status = response.status();
    let body = response
        .bytes()
        .await
        .map_err(|_| ConnectError::new(ErrorCode::NetworkTimeout, format!("{what}: the answer broke off")))?;
    if status.is_success() {
        Ok(body)
    } else {
        Err(refused(status.as_u16(), &body, what))
    }
}

fn form(grant: &Grant, now: DateTime<Utc>) -> Result<Vec<(&'static str, String)>, ConnectError> {
    Ok(match grant {
        Grant::ClientCredentials { client_id, client_secret } => vec![
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", client_id.clone()),
            ("client_secret", client_secret.expose_secret().to_owned()),
        ],
        Grant::JwtBearer {
            client_id,
            username,
            audience,
            private_key_pem,
        } => vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned()),
            ("assertion", assertion(client_id, username, audience, private_key_pem, now)?),
        ],
        Grant::RefreshToken {
            client_id,
            client_secret,
            refresh_token,
        } => {
            let mut form = vec![
                ("grant_type", "refresh_token".to_owned()),
                ("client_id", client_id.clone()),
                ("refresh_token", refresh_token.expose_secret().to_owned()),
            ];
            if let Some(secret) = client_secret {
                form.push(("client_secret", secret.expose_secret().to_owned()));
            }
            form
        }
        Grant::AuthorizationCode {
            client_id,
            client_secret,
            code,
        } => {
            let mut form = vec![
                ("grant_type", "authorization_code".to_owned()),
                ("client_id", client_id.clone()),
                ("redirect_uri", code.redirect_uri.clone()),
                ("code", code.code.expose_secret().to_owned()),
                ("code_verifier", code.verifier.expose_secret().to_owned()),
            ];
            if let Some(secret) = client_secret {
                form.push(("client_secret", secret.expose_secret().to_owned()));
            }
            form
        }
    })
}

/// A signed statement of who we are (RFC 7523, RS256).
fn assertion(client_id: &str, username: &str, audience: &str, pem: &SecretString, now: DateTime<Utc>) -> Result<String, ConnectError> {
    let key = private_key(pem.expose_secret())?;
    let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "RS256" }).to_string());
    let claims = json!({
        "iss": client_id,
        "sub": username,
        "aud": audience,
        "exp": now.timestamp() + ASSERTION_LIFETIME_SECONDS,
    });
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
        .map_err(|_| ConnectError::new(ErrorCode::Internal, "the assertion could not be signed"))?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn private_key(pem: &str) -> Result<KeyPair, ConnectError> {
    let unusable = |why| ConnectError::new(ErrorCode::Credentials, format!("the private key cannot be used: {why}"));
    let (_, rest) = pem.split_once("-----BEGIN ").ok_or_else(|| unusable("it is not PEM"))?;
    let (label, rest) = rest.split_once("-----").ok_or_else(|| unusable("it is not PEM"))?;
    let (body, _) = rest.split_once("-----END").ok_or_else(|| unusable("it is cut short"))?;
    let body: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|_| unusable("it is not PEM"))?;
    match label {
        "PRIVATE KEY" => KeyPair::from_pkcs8(&der),
        "RSA PRIVATE KEY" => KeyPair::from_der(&der),
        _ => return Err(unusable("it is neither PKCS#8 nor PKCS#1, or it is encrypted")),
    }
    .map_err(|_| unusable("it is not an RSA key of 2048 bits or more"))
}

/// Errors here are an object, unlike those of the data API. Descriptions name no secret, but only known ones are told.
fn refused(status: u16, body: &[u8], what: &str) -> ConnectError {
    let Ok(e) = serde_json::from_slice::<OauthError>(body) else {
        let code = match status {
            429 => ErrorCode::RateLimited,
            s if s >= 500 => ErrorCode::Unreachable,
            _ => ErrorCode::BadAnswer,
        };
        return ConnectError::new(code, format!("{what}: HTTP {status} without an error code"));
    };
    refusal(&e.error, &e.error_description, what)
}

/// What an OAuth error means (the table of the OAuth error codes), whether it came in a body or in a redirect.
fn refusal(error: &str, description: &str, what: &str) -> ConnectError {
    let description = description.to_ascii_lowercase();
    let code = match error {
        "rate_limit_exceeded" => ErrorCode::RateLimited,
        "unknown_error" | "server_error" | "temporarily_unavailable" => ErrorCode::Unreachable,
        // Two refreshes at once: the other one wins, a later one finds its token.
        "invalid_grant" if description.contains("already being processed") => ErrorCode::RateLimited,
        _ => ErrorCode::Credentials,
    };
    let known = KNOWN_DESCRIPTIONS.iter().find(|d| description.contains(**d));
    let error: String = error.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(60).collect();
    let message = match known {
        Some(description) => format!("{what}: {error} ({description})"),
        None => format!("{what}: {error}"),
    };
    ConnectError::new(code, message).native(error)
}

/// What tells an administrator what to mend (OAuth 2.0 error codes).
const KNOWN_DESCRIPTIONS: &[&str] = &[
    "expired access/refresh token",
    "authentication failure",
    "user hasn't approved this consumer",
    "audience is invalid",
    "invalid assertion",
    "user is locked",
    "inactive user",
    "ip restricted",
    "no client credentials user enabled",
    "request not supported on this domain",
    "token request is already being processed",
    "client identifier invalid",
    "invalid client credentials",
    "user is not admin approved to access this app",
    "end-user denied authorization",
    "expired authorization code",
    "invalid authorization code",
    "invalid code verifier",
    "redirect_uri must match configuration",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_tell_credentials_from_passing_trouble() {
        for (status, body, code) in [
            (
                400,
                r#"{"error":"invalid_grant","error_description":"expired access/refresh token"}"#,
                ErrorCode::Credentials,
            ),
            (
                400,
                r#"{"error":"invalid_client","error_description":"invalid client credentials"}"#,
                ErrorCode::Credentials,
            ),
            (400, r#"{"error":"inactive_org"}"#, ErrorCode::Credentials),
            (
                400,
                r#"{"error":"invalid_grant","error_description":"token request is already being processed"}"#,
                ErrorCode::RateLimited,
            ),
            (400, r#"{"error":"rate_limit_exceeded"}"#, ErrorCode::RateLimited),
            (
                400,
                r#"{"error":"unknown_error","error_description":"retry your request"}"#,
                ErrorCode::Unreachable,
            ),
            (503, "<html></html>", ErrorCode::Unreachable),
            (404, "", ErrorCode::BadAnswer),
        ] {
            assert_eq!(refused(status, body.as_bytes(), "token endpoint").code, code, "{body}");
        }
        let error = refused(
            400,
            br#"{"error":"invalid_grant","error_description":"authentication failure for hunter2"}"#,
            "token endpoint",
        );
        assert_eq!(error.message, "token endpoint: invalid_grant (authentication failure)");
    }

    #[test]
    fn a_key_that_cannot_sign_is_a_matter_of_credentials() {
        for pem in [
            "",
            "-----BEGIN PRIVATE KEY-----\nAAAA",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\n???\n-----END PRIVATE KEY-----",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----",
        ] {
            assert_eq!(private_key(pem).err().map(|e| e.code), Some(ErrorCode::Credentials), "{pem}");
        }
    }

    #[test]
    fn grants_print_no_secrets() {
        let grant = Grant::RefreshToken {
            client_id: "id".into(),
            client_secret: Some("s3cret".into()),
            refresh_token: "t0ken".into(),
        };
        let shown = format!("{grant:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
    }
}
