//! Grants that users approve: authorization codes, and the refresh tokens they lead to.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::auth::jwt;
use crate::auth::sessions::{Approval, Auth, OauthError};

/// A code's life.
const CODE_MILLIS: i64 = 15 * 60 * 1000;
/// Approvals an app keeps per user.
const APPROVALS_PER_USER: usize = 5;
const VERIFIER_CHARS: std::ops::RangeInclusive<usize> = 43..=128;
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a user approved, until the app exchanges it.
#[derive(Clone)]
pub struct Code {
    pub user: String,
    pub scope: String,
    pub redirect_uri: String,
    pub challenge: Option<String>,
    pub nonce: Option<String>,
    /// Epoch milliseconds.
    pub issued: i64,
    pub is_used: bool,
}

/// Whether scopes let an app stay: both words mean the same.
fn is_lasting(scope: &str) -> bool {
    scope.split(' ').any(|s| s == "refresh_token" || s == "offline_access")
}

impl Auth {
    /// The scopes granted for those requested; all of the app's when none are.
    pub fn scope(&self, requested: Option<&str>) -> Result<String, OauthError> {
        let granted = &self.config.login.scopes;
        let words: Vec<&str> = requested.unwrap_or_default().split_whitespace().collect();
        if words.is_empty() {
            return Ok(granted.clone());
        }
        let is_granted = |word: &&str| granted.split(' ').any(|g| g == *word) || (is_lasting(word) && is_lasting(granted));
        if !words.iter().all(is_granted) {
            return Err(OauthError("invalid_scope", "the requested scope is not allowed"));
        }
        Ok(words.join(" "))
    }

    /// A new code, as it comes in the callback.
    pub fn open_code(&self, code: Code) -> String {
        // Codes in the field end in signs that URLs must escape, which clients forget.
        let text = format!("aPrx{}==", Self::random(40));
        let mut codes = self.codes();
        let now = self.clock.now_ms();
        codes.retain(|_, c| now < c.issued + CODE_MILLIS);
        codes.insert(text.clone(), code);
        text
    }

    /// The connected app, known by its secret or an assertion; by its id alone where it needs no secret.
    pub(super) fn app(&self, form: &HashMap<String, String>, host: &str) -> Result<(), OauthError> {
        let needs_secret = !self.config.login.public_client || form.contains_key("client_secret");
        if let Some(assertion) = form.get("client_assertion") {
            const BAD: OauthError = OauthError("invalid_client", "invalid client credentials");
            let claims = jwt::verified(&self.config, assertion, host).map_err(|_| BAD)?;
            let is_own = form.get("client_id").is_none_or(|id| *id == self.config.client_id);
            let is_right_type = form.get("client_assertion_type").is_some_and(|t| t == ASSERTION_TYPE);
            if !is_right_type || !is_own || claims["sub"] != claims["iss"] {
                return Err(BAD);
            }
            return Ok(());
        }
        if needs_secret {
            return self.client(form);
        }
        match form.get("client_id") {
            Some(id) if *id == self.config.client_id => Ok(()),
            _ => Err(OauthError("invalid_client_id", "client identifier invalid")),
        }
    }

    pub(super) fn grant_code(&self, form: &HashMap<String, String>, host: &str) -> Result<Value, OauthError> {
        self.app(form, host)?;
        let sent = form.get("code").ok_or(OauthError("invalid_request", "must specify code"))?;
        let code = {
            let mut codes = self.codes();
            let code = codes
                .get_mut(sent)
                .ok_or(OauthError("invalid_grant", "invalid authorization code"))?;
            if code.is_used || self.clock.now_ms() >= code.issued + CODE_MILLIS {
                return Err(OauthError("invalid_grant", "expired authorization code"));
            }
            if form.get("redirect_uri") != Some(&code.redirect_uri) {
                return Err(OauthError("redirect_uri_mismatch", "redirect_uri must match configuration"));
            }
            check_verifier(code.challenge.as_deref(), form.get("code_verifier").map(String::as_str))?;
            self.count_login(&code.user)?;
            code.is_used = true;
            code.clone()
        };
        let refresh = is_lasting(&code.scope).then(|| self.approve(&code.user, &code.scope));
        let mut out = self.issue_scoped(&code.user, &code.scope, host, refresh.clone());
        if let Some(token) = refresh {
            out["refresh_token"] = token.into();
        }
        if let Some(token) = self.id_token(&code, host) {
            out["id_token"] = token.into();
        }
        Ok(out)
    }

    fn id_token(&self, code: &Code, host: &str) -> Option<String> {
        if !code.scope.split(' ').any(|s| s == "openid") {
            return None;
        }
        let now = self.clock.now_ms() / 1000;
        let mut claims = json!({"iss": host, "sub": format!("{host}/id/{}/{}", self.org, code.user),
            "aud": self.config.client_id, "iat": now, "exp": now + 120});
        if let Some(nonce) = &code.nonce {
            claims["nonce"] = nonce.as_str().into();
        }
        jwt::signed(&claims)
    }

    /// A new approval's refresh token. A user's sixth ends the oldest; the configured one stays for whoever relies on it.
    fn approve(&self, user: &str, scope: &str) -> String {
        let token = format!("5Aep861{}", Self::random(40));
        let mut approvals = self.approvals();
        let of_user = approvals.iter().filter(|a| a.user == user && a.token != self.config.refresh_token);
        let oldest: Vec<String> = of_user.map(|a| a.token.clone()).collect();
        approvals.push(Approval {
            token: token.clone(),
            user: user.to_owned(),
            scope: scope.to_owned(),
            issued: self.clock.now_ms(),
        });
        drop(approvals);
        let surplus = (oldest.len() + 1).saturating_sub(APPROVALS_PER_USER);
        oldest.iter().take(surplus).for_each(|old| {
            self.withdraw(old);
        });
        token
    }

    pub(super) fn grant_refresh(&self, form: &HashMap<String, String>, host: &str) -> Result<Value, OauthError> {
        self.app(form, host)?;
        let sent = form
            .get("refresh_token")
            .ok_or(OauthError("invalid_request", "must specify refresh_token"))?;
        let mut approvals = self.approvals();
        let approval = approvals
            .iter_mut()
            .find(|a| a.token == *sent)
            .ok_or(OauthError("invalid_grant", "expired access/refresh token"))?;
        self.count_login(&approval.user)?;
        if self.config.rotate_refresh {
            approval.token = format!("5Aep861{}", Self::random(40));
        }
        let approval = approval.clone();
        drop(approvals);
        let mut out = self.issue_scoped(&approval.user, &approval.scope, host, Some(approval.token.clone()));
        if self.config.rotate_refresh {
            self.succeed(sent, &approval.token);
            out["refresh_token"] = approval.token.into();
        }
        Ok(out)
    }
}

fn check_verifier(challenge: Option<&str>, verifier: Option<&str>) -> Result<(), OauthError> {
    let Some(challenge) = challenge else {
        return Ok(());
    };
    let verifier = verifier.ok_or(OauthError("invalid_grant", "code verifier required"))?;
    let matches = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())) == challenge;
    if !matches || !VERIFIER_CHARS.contains(&verifier.len()) {
        return Err(OauthError("invalid_grant", "invalid code verifier"));
    }
    Ok(())
}
