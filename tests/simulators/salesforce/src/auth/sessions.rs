//! OAuth 2.0: token flows, revocation, introspection, and the sessions behind every call.

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::Utc;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{hmac, signature};
use serde_json::{Value, json};

/// What the org was told about its connected app.
#[derive(Clone)]
pub struct AuthConfig {
    pub client_id: String,
    pub client_secret: String,
    pub static_tokens: Vec<String>,
    pub refresh_token: String,
    /// PEM of a certificate or public key for the JWT bearer flow.
    pub public_key_pem: Option<String>,
    pub token_ttl_secs: u64,
    pub rotate_refresh: bool,
    pub username: String,
}

struct Session {
    user: String,
    issued: i64,
    expires: Option<i64>,
    is_static: bool,
    refresh: Option<String>,
}

/// Sessions and refresh tokens.
pub struct Auth {
    pub config: AuthConfig,
    org: String,
    user: String,
    sessions: Mutex<HashMap<String, Session>>,
    refresh_tokens: Mutex<Vec<String>>,
}

/// An OAuth error object, HTTP 400.
pub struct OauthError(pub &'static str, pub &'static str);

/// Longest a JWT assertion may live.
const ASSERTION_SECS_MAX: i64 = 300;
/// How far a client's clock may be behind: clients in the field sign assertions that end when they are made.
const ASSERTION_SKEW_SECS: i64 = 180;

impl Auth {
    pub fn new(config: AuthConfig, org: String, user: String) -> Self {
        let issued = Utc::now().timestamp_millis();
        let sessions = config
            .static_tokens
            .iter()
            .map(|t| {
                (
                    t.clone(),
                    Session {
                        user: user.clone(),
                        issued,
                        expires: None,
                        is_static: true,
                        refresh: None,
                    },
                )
            })
            .collect();
        Self {
            refresh_tokens: Mutex::new(vec![config.refresh_token.clone()]),
            sessions: Mutex::new(sessions),
            org,
            user,
            config,
        }
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<String, Session>> {
        self.sessions.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn refresh(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.refresh_tokens.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether a bearer token is a live session.
    pub fn is_valid(&self, token: &str) -> bool {
        let now = Utc::now().timestamp_millis();
        self.sessions().get(token).is_some_and(|s| s.expires.is_none_or(|e| now < e))
    }

    /// Ends all issued sessions, and the static ones too when asked.
    pub fn expire_all(&self, and_static: bool) -> usize {
        let mut sessions = self.sessions();
        let before = sessions.len();
        sessions.retain(|_, s| s.is_static && !and_static);
        before - sessions.len()
    }

    fn random(bytes: usize) -> String {
        let mut raw = vec![0u8; bytes];
        SystemRandom::new().fill(&mut raw).expect("the system's random source works");
        URL_SAFE_NO_PAD.encode(raw).replace(['-', '_'], "x")
    }

    fn open(&self, user: &str, issued: i64, refresh: Option<String>) -> String {
        let token = format!("{}!{}", &self.org[..15], Self::random(60));
        let expires = issued + (self.config.token_ttl_secs as i64) * 1000;
        let session = Session {
            user: user.to_owned(),
            issued,
            expires: Some(expires),
            is_static: false,
            refresh,
        };
        self.sessions().insert(token.clone(), session);
        token
    }

    /// A session for a user who has proved who they are; its token.
    pub fn open_session(&self, user: &str) -> String {
        self.open(user, Utc::now().timestamp_millis(), None)
    }

    /// Whose live session a token is: a user id.
    pub fn user_of(&self, token: &str) -> Option<String> {
        self.is_valid(token)
            .then(|| self.sessions().get(token).map(|s| s.user.clone()))
            .flatten()
    }

    fn issue(&self, host: &str, refresh: Option<String>) -> Value {
        self.issue_for(&self.user, host, refresh)
    }

    /// A token answer for a user.
    pub(super) fn issue_for(&self, user: &str, host: &str, refresh: Option<String>) -> Value {
        let issued = Utc::now().timestamp_millis();
        let token = self.open(user, issued, refresh);
        let id = format!("{host}/id/{}/{user}", self.org);
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.config.client_secret.as_bytes());
        let tag = hmac::sign(&key, format!("{id}{issued}").as_bytes());
        json!({"access_token": token, "signature": STANDARD.encode(tag.as_ref()), "scope": "api refresh_token",
            "instance_url": host, "id": id, "token_type": "Bearer", "issued_at": issued.to_string()})
    }

    /// Whether the client is the connected app, with its secret.
    pub(super) fn client(&self, form: &HashMap<String, String>) -> Result<(), OauthError> {
        if form.get("client_id").map(String::as_str) != Some(self.config.client_id.as_str()) {
            return Err(OauthError("invalid_client_id", "client identifier invalid"));
        }
        if form.get("client_secret").map(String::as_str) != Some(self.config.client_secret.as_str()) {
            return Err(OauthError("invalid_client", "invalid client credentials"));
        }
        Ok(())
    }

    /// The token endpoint.
    pub fn token(&self, form: &HashMap<String, String>, host: &str) -> Result<Value, OauthError> {
        match form.get("grant_type").map(String::as_str) {
            Some("client_credentials") => {
                self.client(form)?;
                Ok(self.issue(host, None))
            }
            Some("refresh_token") => self.grant_refresh(form, host),
            Some("urn:ietf:params:oauth:grant-type:jwt-bearer") => {
                let assertion = form.get("assertion").map(String::as_str).unwrap_or_default();
                self.check_assertion(assertion, host)?;
                let mut out = self.issue(host, None);
                if let Some(map) = out.as_object_mut() {
                    map.remove("signature");
                    map.remove("issued_at");
                }
                Ok(out)
            }
            Some(_) => Err(OauthError("unsupported_grant_type", "grant type not supported")),
            None => Err(OauthError("invalid_request", "must specify grant_type")),
        }
    }

    fn grant_refresh(&self, form: &HashMap<String, String>, host: &str) -> Result<Value, OauthError> {
        self.client(form)?;
        let sent = form.get("refresh_token").cloned().unwrap_or_default();
        if !self.refresh().contains(&sent) {
            return Err(OauthError("invalid_grant", "expired access/refresh token"));
        }
        if !self.config.rotate_refresh {
            return Ok(self.issue(host, Some(sent)));
        }
        let next = format!("5Aep861{}", Self::random(40));
        let mut tokens = self.refresh();
        tokens.retain(|t| *t != sent);
        tokens.push(next.clone());
        drop(tokens);
        let mut out = self.issue(host, Some(next.clone()));
        out["refresh_token"] = next.into();
        Ok(out)
    }

    fn check_assertion(&self, assertion: &str, host: &str) -> Result<(), OauthError> {
        const BAD: OauthError = OauthError("invalid_grant", "invalid assertion");
        let mut parts = assertion.rsplitn(2, '.');
        let (Some(signature_text), Some(signed)) = (parts.next(), parts.next()) else {
            return Err(BAD);
        };
        let decode = |text: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok() };
        let (header, claims) = signed.split_once('.').ok_or(BAD)?;
        let header = decode(header).ok_or(BAD)?;
        let claims = decode(claims).ok_or(BAD)?;
        if header["alg"] != "RS256" {
            return Err(BAD);
        }
        if claims["iss"] != self.config.client_id.as_str() {
            return Err(OauthError("invalid_client_id", "client identifier invalid"));
        }
        let key = self.config.public_key_pem.as_deref().and_then(rsa_key).ok_or(BAD)?;
        let bytes = URL_SAFE_NO_PAD.decode(signature_text).map_err(|_| BAD)?;
        signature::UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, key)
            .verify(signed.as_bytes(), &bytes)
            .map_err(|_| BAD)?;
        let audiences = ["https://login.salesforce.com", "https://test.salesforce.com", host];
        if !claims["aud"].as_str().is_some_and(|a| audiences.contains(&a.trim_end_matches('/'))) {
            return Err(OauthError("invalid_grant", "audience is invalid"));
        }
        // Seconds, which clients write as a number or as text.
        let expires = claims["exp"].as_i64().or_else(|| claims["exp"].as_str()?.parse().ok());
        let left = expires.unwrap_or(0).saturating_sub(Utc::now().timestamp());
        if !(-ASSERTION_SKEW_SECS..=ASSERTION_SECS_MAX).contains(&left) {
            return Err(OauthError("invalid_grant", "expired authorization code"));
        }
        if claims["sub"] != self.config.username.as_str() {
            return Err(OauthError("invalid_grant", "user hasn't approved this consumer"));
        }
        Ok(())
    }

    /// Revokes an access token, or a refresh token with its sessions.
    pub fn revoke(&self, token: &str) -> Result<(), OauthError> {
        if self.sessions().remove(token).is_some() {
            return Ok(());
        }
        let mut tokens = self.refresh();
        let before = tokens.len();
        tokens.retain(|t| t != token);
        if tokens.len() == before {
            return Err(OauthError("invalid_token", "invalid token"));
        }
        drop(tokens);
        self.sessions().retain(|_, s| s.refresh.as_deref() != Some(token));
        Ok(())
    }

    /// Token metadata, for an authenticated client.
    pub fn introspect(&self, form: &HashMap<String, String>, host: &str) -> Result<Value, OauthError> {
        self.client(form)?;
        let token = form.get("token").map(String::as_str).unwrap_or_default();
        if !self.is_valid(token) {
            return Ok(json!({"active": false}));
        }
        let sessions = self.sessions();
        let issued = sessions.get(token).map_or(0, |s| s.issued / 1000);
        let expires = sessions.get(token).and_then(|s| s.expires).map(|e| e / 1000);
        Ok(
            json!({"active": true, "scope": "api refresh_token", "client_id": self.config.client_id,
            "username": self.config.username, "sub": format!("{host}/id/{}/{}", self.org, self.user),
            "token_type": "access_token", "iat": issued, "nbf": issued, "exp": expires}),
        )
    }
}

/// The RSAPublicKey DER inside a PEM certificate or public key.
fn rsa_key(pem: &str) -> Option<Vec<u8>> {
    const RSA_ENCRYPTION: [u8; 13] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let body: String = pem.lines().filter(|l| !l.starts_with("-----")).map(str::trim).collect();
    let der = STANDARD.decode(body).ok()?;
    // Subject public key info: the algorithm, then a BIT STRING that wraps the key.
    let at = memchr::memmem::find(&der, &RSA_ENCRYPTION)? + RSA_ENCRYPTION.len();
    let rest = der.get(at..)?;
    let (length, header) = match rest {
        [0x03, 0x82, high, low, 0x00, ..] => (usize::from(*high) << 8 | usize::from(*low), 5),
        [0x03, 0x81, length, 0x00, ..] => (usize::from(*length), 4),
        _ => return None,
    };
    rest.get(header..header + length - 1).map(<[u8]>::to_vec)
}
