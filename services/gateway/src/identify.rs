//! Who a caller is: by an API token, or by an OIDC token of the configured issuer.
//!
//! Tokens are looked up in the database and remembered for some seconds, so a token that is revoked is refused at once by
//! the replica that revoked it and after [`REMEMBERED`] by the others.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sqlx::PgPool;
use syncline_domain::{ErrorCode, Role};
use syncline_wire::caller::Caller;
use syncline_wire::status::status;
use thiserror::Error;
use tonic::Status;

use crate::oidc::{self, Oidc};
use crate::store;
use crate::token::{self, BootstrapToken, TokenHash};

/// How long a token that was found is believed without asking again.
pub const REMEMBERED: Duration = Duration::from_secs(5);
/// Tokens that are remembered at once.
const REMEMBERED_MAX: usize = 1_024;
/// Longer ones are refused unread; an OIDC token with many claims has some 2 KiB.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Whom the token from the environment stands for.
pub const BOOTSTRAP: &str = "bootstrap";

/// Why a caller is not let in. The words are for the caller and hold nothing of what was shown.
#[derive(Debug, Error)]
pub enum Refusal {
    #[error("no API token: send `authorization: Bearer TOKEN` once (the CLI reads it from SYNCLINE_GATEWAY_TOKEN)")]
    Missing,
    #[error("the API token is not known here: compare it with the one you were given, and the gateway's address")]
    Unknown,
    #[error("the API token has expired: ask an administrator for a new one (`syncline token create`)")]
    Expired,
    #[error("the API token was revoked: ask an administrator for a new one (`syncline token create`)")]
    Revoked,
    #[error(transparent)]
    Oidc(#[from] oidc::Refusal),
    /// Nobody's fault: it could not be looked up.
    #[error("the API token cannot be looked up, because the gateway's database cannot be reached; try again")]
    Unavailable(#[source] sqlx::Error),
}

impl From<&Refusal> for Status {
    fn from(refusal: &Refusal) -> Self {
        let code = match refusal {
            Refusal::Unavailable(_) => ErrorCode::DatabaseUnavailable,
            Refusal::Oidc(oidc::Refusal::Unavailable) => ErrorCode::Unreachable,
            _ => ErrorCode::ApiToken,
        };
        status(code, refusal.to_string())
    }
}

struct Remembered {
    caller: Caller,
    at: Instant,
}

/// Recognises callers.
pub struct Identities {
    db: PgPool,
    bootstrap: BootstrapToken,
    oidc: Option<Oidc>,
    remembered: Mutex<HashMap<TokenHash, Remembered>>,
}

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identities")
    }
}

impl Identities {
    #[must_use]
    pub fn new(db: PgPool, bootstrap: BootstrapToken, oidc: Option<Oidc>) -> Self {
        Self {
            db,
            bootstrap,
            oidc,
            remembered: Mutex::default(),
        }
    }

    /// The caller that the headers show, as a bearer (RFC 6750, section 2.1), exactly once.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn identify(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Refusal::Missing);
        };
        let shown = bearer(value.as_bytes()).ok_or(Refusal::Missing)?;
        if shown.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Unknown);
        }
        let hash = token::hash(shown);
        if self.bootstrap.is(&hash) {
            return Ok(Caller {
                subject: BOOTSTRAP.to_owned(),
                role: Role::Admin,
            });
        }
        if let (Some(oidc), Some(jwt)) = (&self.oidc, oidc::looks_like(shown)) {
            return Ok(oidc.verify(jwt).await?);
        }
        if let Some(caller) = self.recall(&hash) {
            return Ok(caller);
        }
        let found = store::token_find(&self.db, &hash).await.map_err(Refusal::Unavailable)?;
        let found = found.ok_or(Refusal::Unknown)?;
        if found.revoked {
            return Err(Refusal::Revoked);
        }
        if found.expired {
            return Err(Refusal::Expired);
        }
        if found.use_is_old
            && let Err(error) = store::token_used(&self.db, &found.id).await
        {
            tracing::debug!(%error, "the use of a token could not be noted");
        }
        let caller = Caller {
            subject: found.subject,
            role: found.role.parse().unwrap_or(Role::Viewer),
        };
        self.remember(hash, &caller);
        Ok(caller)
    }

    fn recall(&self, hash: &TokenHash) -> Option<Caller> {
        let remembered = self.remembered.lock().expect("no holder of this lock panics");
        let found = remembered.get(hash).filter(|r| r.at.elapsed() < REMEMBERED)?;
        Some(found.caller.clone())
    }

    fn remember(&self, hash: TokenHash, caller: &Caller) {
        let mut remembered = self.remembered.lock().expect("no holder of this lock panics");
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, r| r.at.elapsed() < REMEMBERED);
        }
        if remembered.len() < REMEMBERED_MAX {
            let remember = Remembered {
                caller: caller.clone(),
                at: Instant::now(),
            };
            remembered.insert(hash, remember);
        }
    }

    /// Believes nothing any more without asking: a token was revoked.
    pub fn forget(&self) {
        self.remembered.lock().expect("no holder of this lock panics").clear();
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_is_a_scheme_and_something() {
        for (value, shown) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("abc", None),
            ("Basic abc", None),
            ("Bearer ", None),
            ("", None),
        ] {
            assert_eq!(bearer(value.as_bytes()), shown.map(str::as_bytes), "{value:?}");
        }
    }
}
