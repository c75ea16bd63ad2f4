//! OAuth 2.0: token flows, revocation, introspection, and the sessions behind every call.

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

use crate::allocation::{Allocation, HOUR_MINUTES};
use crate::auth::config::LoginConfig;
use crate::auth::grants::Code;
use crate::auth::jwt;
use crate::clock::Clock;

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
    pub login: LoginConfig,
}

struct Session {
    user: String,
    scope: String,
    issued: i64,
    expires: Option<i64>,
    is_static: bool,
    refresh: Option<String>,
}

/// What a user allowed the app to do, for as long as its refresh token lives.
#[derive(Clone)]
pub(super) struct Approval {
    pub token: String,
    pub user: String,
    pub scope: String,
    pub issued: i64,
}

/// Sessions, approvals (oldest first) and authorization codes.
pub struct Auth {
    pub config: AuthConfig,
    pub(super) org: String,
    user: String,
    sessions: Mutex<HashMap<String, Session>>,
    approvals: Mutex<Vec<Approval>>,
    codes: Mutex<HashMap<String, Code>>,
    pub(super) clock: Clock,
    /// Logins of the last hour, by user.
    logins: Mutex<HashMap<String, Allocation>>,
}

/// What programs get that no user asked for.
const PROGRAM_SCOPE: &str = "api refresh_token";

/// An OAuth error object, HTTP 400.
pub struct OauthError(pub &'static str, pub &'static str);

impl Auth {
    pub fn new(config: AuthConfig, org: String, user: String, clock: Clock) -> Self {
        let issued = clock.now_ms();
        let sessions = config
            .static_tokens
            .iter()
            .map(|t| {
                (
                    t.clone(),
                    Session {
                        user: user.clone(),
                        scope: PROGRAM_SCOPE.into(),
                        issued,
                        expires: None,
                        is_static: true,
                        refresh: None,
                    },
                )
            })
            .collect();
        let approval = Approval {
            token: config.refresh_token.clone(),
            user: user.clone(),
            scope: PROGRAM_SCOPE.into(),
            issued,
        };
        Self {
            approvals: Mutex::new(vec![approval]),
            codes: Mutex::default(),
            clock,
            logins: Mutex::default(),
            sessions: Mutex::new(sessions),
            org,
            user,
            config,
        }
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<String, Session>> {
        self.sessions.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn approvals(&self) -> std::sync::MutexGuard<'_, Vec<Approval>> {
        self.approvals.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn codes(&self) -> std::sync::MutexGuard<'_, HashMap<String, Code>> {
        self.codes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether a bearer token is a live session; being asked keeps it alive when the time-out slides.
    pub fn is_valid(&self, token: &str) -> bool {
        let now = self.clock.now_ms();
        let mut sessions = self.sessions();
        let Some(session) = sessions.get_mut(token).filter(|s| s.expires.is_none_or(|e| now < e)) else {
            return false;
        };
        if let (Some(expires), Some(secs)) = (&mut session.expires, self.config.login.session_idle_secs) {
            *expires = now + millis(secs);
        }
        true
    }

    /// Ends all issued sessions, and the static ones too when asked.
    pub fn expire_all(&self, and_static: bool) -> usize {
        let mut sessions = self.sessions();
        let before = sessions.len();
        sessions.retain(|_, s| s.is_static && !and_static);
        before - sessions.len()
    }

    pub(super) fn random(bytes: usize) -> String {
        let mut raw = vec![0u8; bytes];
        SystemRandom::new().fill(&mut raw).expect("the system's random source works");
        URL_SAFE_NO_PAD.encode(raw).replace(['-', '_'], "x")
    }

    fn open(&self, user: &str, scope: &str, issued: i64, refresh: Option<String>) -> String {
        let token = format!("{}!{}", &self.org[..15], Self::random(60));
        let secs = self.config.login.session_idle_secs.unwrap_or(self.config.token_ttl_secs);
        let session = Session {
            user: user.to_owned(),
            scope: scope.to_owned(),
            issued,
            expires: Some(issued + millis(secs)),
            is_static: false,
            refresh,
        };
        self.sessions().insert(token.clone(), session);
        token
    }

    /// Counts a login, unless the user has had the hour's already.
    pub fn count_login(&self, user: &str) -> Result<(), OauthError> {
        let mut logins = self.logins.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let of_user = logins
            .entry(user.to_owned())
            .or_insert_with(|| Allocation::new(self.config.login.logins_per_hour, HOUR_MINUTES));
        match of_user.take(self.clock.now_ms(), 1) {
            0 => Err(OauthError("rate_limit_exceeded", "login rate exceeded")),
            _ => Ok(()),
        }
    }

    /// A session for a user who has proved who they are; its token.
    pub fn open_session(&self, user: &str) -> String {
        self.open(user, PROGRAM_SCOPE, self.clock.now_ms(), None)
    }

    /// Whose live session a token is: a user id.
    pub fn user_of(&self, token: &str) -> Option<String> {
        self.is_valid(token)
            .then(|| self.sessions().get(token).map(|s| s.user.clone()))
            .flatten()
    }

    fn issue(&self, host: &str) -> Value {
        self.issue_for(&self.user, host)
    }

    /// A token answer for a user.
    pub(super) fn issue_for(&self, user: &str, host: &str) -> Value {
        self.issue_scoped(user, PROGRAM_SCOPE, host, None)
    }

    /// A token answer for what a user approved.
    pub(super) fn issue_scoped(&self, user: &str, scope: &str, host: &str, refresh: Option<String>) -> Value {
        let issued = self.clock.now_ms();
        let token = self.open(user, scope, issued, refresh);
        let id = format!("{host}/id/{}/{user}", self.org);
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.config.client_secret.as_bytes());
        let tag = hmac::sign(&key, format!("{id}{issued}").as_bytes());
        json!({"access_token": token, "signature": STANDARD.encode(tag.as_ref()), "scope": scope,
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
                self.count_login(&self.user)?;
                Ok(self.issue(host))
            }
            Some("authorization_code") => self.grant_code(form, host),
            Some("refresh_token") => self.grant_refresh(form, host),
            Some("urn:ietf:params:oauth:grant-type:jwt-bearer") => {
                let assertion = form.get("assertion").map(String::as_str).unwrap_or_default();
                let claims = jwt::verified(&self.config, assertion, host)?;
                if claims["sub"] != self.config.username.as_str() {
                    return Err(OauthError("invalid_grant", "user hasn't approved this consumer"));
                }
                self.count_login(&self.user)?;
                let mut out = self.issue(host);
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

    /// Revokes an access token, or a refresh token with its sessions.
    pub fn revoke(&self, token: &str) -> Result<(), OauthError> {
        if self.sessions().remove(token).is_some() || self.withdraw(token) {
            return Ok(());
        }
        Err(OauthError("invalid_token", "invalid token"))
    }

    /// Ends an approval and its sessions; false when there is none.
    pub(super) fn withdraw(&self, refresh_token: &str) -> bool {
        let mut approvals = self.approvals();
        let before = approvals.len();
        approvals.retain(|a| a.token != refresh_token);
        let found = approvals.len() < before;
        drop(approvals);
        if found {
            self.sessions().retain(|_, s| s.refresh.as_deref() != Some(refresh_token));
        }
        found
    }

    /// The sessions of a rotated refresh token belong to its successor.
    pub(super) fn succeed(&self, old: &str, new: &str) {
        let mut sessions = self.sessions();
        sessions
            .values_mut()
            .filter(|s| s.refresh.as_deref() == Some(old))
            .for_each(|s| s.refresh = Some(new.to_owned()));
    }

    /// Token metadata, for an authenticated client; looking does not keep a session alive. `username` says who a user id is.
    pub fn introspect(&self, form: &HashMap<String, String>, host: &str, username: impl Fn(&str) -> String) -> Result<Value, OauthError> {
        self.app(form, host)?;
        let token = form.get("token").ok_or(OauthError("invalid_request", "must specify token"))?;
        if let Some(hint) = form.get("token_type_hint")
            && !["access_token", "refresh_token"].contains(&hint.as_str())
        {
            return Err(OauthError("unsupported_token_type", "token type not supported"));
        }
        let now = self.clock.now_ms();
        let sessions = self.sessions();
        // The hint only says where to look first, so a wrong one finds the token all the same.
        let session = sessions.get(token).filter(|s| s.expires.is_none_or(|e| now < e));
        let approvals = self.approvals();
        let (kind, user, scope, issued, expires) = match (session, approvals.iter().find(|a| a.token == *token)) {
            (Some(s), _) => ("access_token", &s.user, &s.scope, s.issued, s.expires),
            (None, Some(a)) => ("refresh_token", &a.user, &a.scope, a.issued, None),
            (None, None) => return Ok(json!({"active": false})),
        };
        let mut out = json!({"active": true, "scope": scope, "client_id": self.config.client_id,
            "username": username(user), "sub": format!("{host}/id/{}/{user}", self.org),
            "token_type": kind, "iat": issued / 1000, "nbf": issued / 1000});
        if let Some(expires) = expires {
            out["exp"] = (expires / 1000).into();
        }
        Ok(out)
    }
}

fn millis(secs: u64) -> i64 {
    i64::try_from(secs.saturating_mul(1000)).unwrap_or(i64::MAX / 2)
}
