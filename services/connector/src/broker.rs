//! Access tokens: cached, shared by all replicas, renewed by one at a time.
//!
//! Guarantees: however many ask at once, one token request is under way per connection: callers of one process queue at
//! a mutex, replicas at the row lock of `credential`. Whoever gets the lock looks again before it signs in, so a token
//! that somebody else just had is used instead. Where the org rotates refresh tokens, the new one is committed before
//! the access token that came with it is given to anybody. A renewal goes on when its caller goes away: an answer that
//! holds a rotated token must not be dropped.
//!
//! A refused sign-in is not repeated for a while, so that workers in a loop do not lock the user out.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use syncline_connect::access::fingerprint;
use syncline_connect::{AccessToken, ConnectError};
use syncline_domain::breaker::Failure;
use syncline_domain::spec::{AuthSpec, ConnectionDocument, ConnectionSpec};
use syncline_domain::{ConnectionName, ErrorCode, TenantId};
use syncline_runtime::keys::provider::KeyProvider;
use syncline_runtime::{failpoint, metrics};
use tokio_util::task::TaskTracker;
use url::Url;
use zeroize::Zeroizing;

use crate::breakers::Breakers;
use crate::document::{api_version, is_trustworthy};
use crate::error::Error;
use crate::secrets::{Secrets, Vault};
use crate::signin::{SIGN_IN_WAIT_MAX, SignedIn, sign_in};
use crate::store;
use crate::store::CredentialRow;

/// A token is renewed this long before its end.
const RENEW_AHEAD: Duration = Duration::from_secs(60);
/// How long this process goes by its memory before it looks at the row again: another replica may have renewed the
/// token, or the connection may have been applied anew or deleted.
const MEMORY_TRUST: Duration = Duration::from_secs(5);
/// A refused sign-in is answered from memory for this long ...
const REFUSAL_TRUST: Duration = Duration::from_secs(30);
/// ... and one that failed for other reasons for this long, so that waiting callers don't each wait for it again.
const FAILURE_TRUST: Duration = Duration::from_secs(1);
/// A replica that holds the row lock longer has hung, and loses it.
const LOCK_HOLD_MAX: Duration = Duration::from_secs(SIGN_IN_WAIT_MAX.as_secs() * 2);
/// Storing a rotated refresh token is tried this often: if it fails for good, the org's new token is lost.
const ROTATION_ATTEMPTS_MAX: u32 = 20;
const ROTATION_PAUSE: Duration = Duration::from_millis(500);

/// Which token will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// Any that is believed to be valid.
    Valid,
    /// Not the one with this fingerprint, which the system refused.
    Not(String),
    /// One of a sign-in that happens now, to see whether the credentials are good.
    SignIn,
}

/// A token in this process.
struct Cached {
    token: AccessToken,
    usable_until: Instant,
    read_at: Instant,
}

struct Failed {
    version: i64,
    at: Instant,
    error: Error,
}

#[derive(Default)]
struct Slot {
    cached: Option<Cached>,
    failed: Option<Failed>,
}

/// Gives out tokens for the connections of a tenant.
pub struct Broker {
    db: PgPool,
    tenant: TenantId,
    provider: Arc<dyn KeyProvider>,
    http: reqwest::Client,
    breakers: Breakers,
    slots: Mutex<HashMap<ConnectionName, Arc<tokio::sync::Mutex<Slot>>>>,
    /// Renewals under way; waited for when stopping.
    renewals: TaskTracker,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Broker")
    }
}

/// What is sealed in the column `token`.
#[derive(Serialize, Deserialize)]
struct SealedToken {
    access_token: String,
    instance_url: String,
}

/// A token and how long it may be used.
struct Found {
    token: AccessToken,
    left: Duration,
}

impl Broker {
    #[must_use]
    pub fn new(db: PgPool, tenant: TenantId, provider: Arc<dyn KeyProvider>, http: reqwest::Client, breakers: Breakers) -> Self {
        Self {
            db,
            tenant,
            provider,
            http,
            breakers,
            slots: Mutex::default(),
            renewals: TaskTracker::new(),
        }
    }

    /// A token.
    ///
    /// # Errors
    /// [`Error::UnknownConnection`], [`Error::System`] when signing in failed, and those of the database.
    pub async fn token(self: &Arc<Self>, name: &ConnectionName, want: Want) -> Result<AccessToken, Error> {
        let mut slot = self.slot(name).lock_owned().await;
        if want == Want::Valid
            && let Some(token) = slot.remembered(Instant::now())
        {
            return Ok(token);
        }
        if self.renewals.is_closed() {
            return Err(Error::Stopping);
        }
        let broker = Arc::clone(self);
        let name = name.clone();
        // A task of its own, because the caller may go away while the org's answer is on its way. It holds the mutex.
        let renewal = self.renewals.spawn(async move {
            let found = broker.find_or_renew(&name, &want, &mut slot).await;
            match found {
                Ok(found) => {
                    let now = Instant::now();
                    slot.failed = None;
                    slot.cached = Some(Cached {
                        token: found.token.clone(),
                        usable_until: now + found.left.saturating_sub(RENEW_AHEAD),
                        read_at: now,
                    });
                    Ok(found.token)
                }
                Err(error) => {
                    slot.cached = None;
                    if matches!(error, Error::UnknownConnection(_)) {
                        broker.forget(&name);
                    }
                    Err(error)
                }
            }
        });
        renewal.await.map_err(|_| Error::Stopping)?
    }

    /// Drops what this process remembers of a connection; other replicas look within seconds.
    pub fn forget(&self, name: &ConnectionName) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Waits for renewals under way; new ones are refused.
    pub async fn stop(&self) {
        self.renewals.close();
        self.renewals.wait().await;
    }

    /// Whether no renewal is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.renewals.is_empty()
    }

    /// Opens what is stored of a connection's secrets.
    ///
    /// # Errors
    /// [`Error::Seal`], [`Error::Keys`].
    pub async fn open_secrets(&self, name: &ConnectionName, row: &CredentialRow) -> Result<Secrets, Error> {
        let vault = Vault::unlock(self.provider.as_ref(), &self.tenant, name, &row.data_key).await?;
        Secrets::open(&vault, &row.secrets)
    }

    /// Seals secrets under a new data key: the wrapped key and the sealed secrets.
    ///
    /// # Errors
    /// [`Error::Keys`].
    pub async fn seal_secrets(&self, name: &ConnectionName, secrets: &Secrets) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let (vault, wrapped) = Vault::create(self.provider.as_ref(), &self.tenant, name).await?;
        Ok((wrapped, secrets.seal(&vault)))
    }

    fn slot(&self, name: &ConnectionName) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(name.clone()).or_default())
    }

    async fn find_or_renew(&self, name: &ConnectionName, want: &Want, slot: &mut Slot) -> Result<Found, Error> {
        let unknown = || Error::UnknownConnection(name.to_string());
        // Without the lock first: mostly another replica or an earlier caller has a good token.
        let row = store::credential_get(&self.db, &self.tenant, name).await?.ok_or_else(unknown)?;
        if let Some(found) = self.stored_token(name, &row, want).await? {
            return Ok(found);
        }
        if *want != Want::SignIn
            && let Some(error) = slot.remembered_failure(row.version, Instant::now())
        {
            return Err(error);
        }
        if *want != Want::SignIn {
            self.breakers.ask_for_sign_in(name).await?;
        }

        let mut tx = self.db.begin().await?;
        let row = store::credential_lock(&mut tx, &self.tenant, name, LOCK_HOLD_MAX)
            .await?
            .ok_or_else(unknown)?;
        if let Some(found) = self.stored_token(name, &row, want).await? {
            return Ok(found);
        }
        let document = stored_document(name, &row.document)?;
        let vault = Vault::unlock(self.provider.as_ref(), &self.tenant, name, &row.data_key).await?;
        let secrets = Secrets::open(&vault, &row.secrets)?;
        match self.sign_in(name, &document, &secrets).await {
            Ok(signed_in) => {
                failpoint::pass(&failpoint::CONNECTOR_SIGNED_IN).await?;
                let found = self.commit(tx, name, row.version, &vault, secrets, &document, signed_in).await?;
                failpoint::pass(&failpoint::CONNECTOR_TOKEN_STORED).await?;
                store::health_connected(&self.db, &self.tenant, name, row.version).await?;
                Ok(found)
            }
            Err(error) => {
                tx.rollback().await.ok();
                // Ahead of its end a token that is still good serves on; the next caller tries again.
                if *want == Want::Valid
                    && let Some(found) = self.open_token(name, &row).await?
                {
                    tracing::warn!(connection = %name, code = %error.code(), "renewing ahead of expiry failed; the old token still serves");
                    return Ok(found);
                }
                if is_away(&error) {
                    self.breakers.failed(name, Failure::SignIn).await?;
                }
                if !error.code().entry().can_retry {
                    self.record_failure(name, row.version, &document, &error).await?;
                }
                slot.failed = Some(Failed {
                    version: row.version,
                    at: Instant::now(),
                    error: error.clone(),
                });
                Err(error)
            }
        }
    }

    async fn sign_in(&self, name: &ConnectionName, document: &ConnectionDocument, secrets: &Secrets) -> Result<SignedIn, Error> {
        let signed_in = sign_in(&self.http, &document.spec, secrets).await;
        let outcome = if signed_in.is_ok() { "ok" } else { "failed" };
        metrics::count(metrics::TOKEN_REFRESHES, 1, &[("outcome", outcome)]);
        let signed_in = signed_in.map_err(|source| Error::System {
            name: name.clone(),
            source,
        })?;
        match Url::parse(&signed_in.instance_url) {
            Ok(url) if is_trustworthy(&url) => Ok(signed_in),
            // Rotated or not, what such a system sends is not trusted.
            _ => Err(Error::InstanceUrl { name: name.clone() }),
        }
    }

    /// Stores token and rotated secret in the transaction that holds the lock. What was rotated is stored in any case.
    #[allow(clippy::too_many_arguments)] // the pieces of one renewal, used here alone
    async fn commit(
        &self,
        mut tx: sqlx::Transaction<'static, sqlx::Postgres>,
        name: &ConnectionName,
        version: i64,
        vault: &Vault,
        secrets: Secrets,
        document: &ConnectionDocument,
        signed_in: SignedIn,
    ) -> Result<Found, Error> {
        let instance_url = signed_in.instance_url.trim_end_matches('/').to_owned();
        let sealed = seal_token(vault, &signed_in.access_token, &instance_url);
        let rotated = signed_in.refresh_token.map(|new| secrets.rotated(new).seal(vault));
        let lifetime = signed_in.lifetime;
        let stored = match store::credential_renew(&mut *tx, &self.tenant, name, version, &sealed, lifetime, rotated.as_deref()).await {
            Ok(stored) => tx.commit().await.map(|()| stored),
            Err(error) => Err(error),
        };
        let stored = match (stored, &rotated) {
            (Err(error), Some(rotated)) => {
                tracing::warn!(connection = %name, %error, "a rotated refresh token could not be stored; trying on");
                self.store_rotated(name, version, &sealed, lifetime, rotated).await?
            }
            (stored, _) => stored?,
        };
        if !stored {
            return Err(Error::Changed { name: name.clone() });
        }
        tracing::info!(connection = %name, rotated = rotated.is_some(), "token renewed");
        Ok(Found {
            token: access_token(&document.spec, instance_url, signed_in.access_token.expose_secret().to_owned()),
            left: lifetime,
        })
    }

    /// The database failed after the org rotated. Nobody else can have renewed meanwhile: the old refresh token is dead.
    async fn store_rotated(
        &self,
        name: &ConnectionName,
        version: i64,
        sealed: &[u8],
        lifetime: Duration,
        rotated: &[u8],
    ) -> Result<bool, sqlx::Error> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match store::credential_renew(&self.db, &self.tenant, name, version, sealed, lifetime, Some(rotated)).await {
                Err(_) if attempt < ROTATION_ATTEMPTS_MAX => tokio::time::sleep(ROTATION_PAUSE).await,
                result => return result,
            }
        }
    }

    async fn record_failure(&self, name: &ConnectionName, version: i64, document: &ConnectionDocument, error: &Error) -> Result<(), Error> {
        let health = health_of(error, &document.spec.auth);
        store::health_failed(&self.db, &self.tenant, name, version, health, error.code(), &error.message()).await?;
        Ok(())
    }

    /// The stored token, if it meets the want.
    async fn stored_token(&self, name: &ConnectionName, row: &CredentialRow, want: &Want) -> Result<Option<Found>, Error> {
        if *want == Want::SignIn {
            return Ok(None);
        }
        let found = self.open_token(name, row).await?.filter(|found| found.left > RENEW_AHEAD);
        Ok(match want {
            Want::Not(stale) => found.filter(|found| fingerprint(found.token.expose()) != *stale),
            _ => found,
        })
    }

    /// The stored token, unless it has expired.
    async fn open_token(&self, name: &ConnectionName, row: &CredentialRow) -> Result<Option<Found>, Error> {
        let (Some(sealed), Some(left)) = (&row.token, row.token_left) else {
            return Ok(None);
        };
        let Some(left) = Duration::try_from_secs_f64(left).ok().filter(|left| !left.is_zero()) else {
            return Ok(None);
        };
        let vault = Vault::unlock(self.provider.as_ref(), &self.tenant, name, &row.data_key).await?;
        let plain = Zeroizing::new(vault.open("token", sealed)?);
        // A form of an older release: as if there were none.
        let Ok(token) = serde_json::from_slice::<SealedToken>(&plain) else {
            return Ok(None);
        };
        let document = stored_document(name, &row.document)?;
        Ok(Some(Found {
            token: access_token(&document.spec, token.instance_url, token.access_token),
            left,
        }))
    }
}

impl Slot {
    fn remembered(&self, now: Instant) -> Option<AccessToken> {
        let cached = self.cached.as_ref()?;
        let trusted = now.duration_since(cached.read_at) < MEMORY_TRUST && now < cached.usable_until;
        trusted.then(|| cached.token.clone())
    }

    fn remembered_failure(&self, version: i64, now: Instant) -> Option<Error> {
        let failed = self.failed.as_ref()?;
        let trust = if failed.error.code().entry().can_retry {
            FAILURE_TRUST
        } else {
            REFUSAL_TRUST
        };
        (failed.version == version && now.duration_since(failed.at) < trust).then(|| failed.error.clone())
    }
}

/// Whether a failed sign-in speaks for the system being away.
fn is_away(error: &Error) -> bool {
    matches!(error, Error::System { source, .. } if matches!(source.code, ErrorCode::Unreachable | ErrorCode::NetworkTimeout))
}

/// A token with what the document says of its use.
fn access_token(spec: &ConnectionSpec, instance_url: String, token: String) -> AccessToken {
    AccessToken::new(instance_url, api_version(spec).to_owned(), token).with_retry(spec.retry_policy())
}

fn seal_token(vault: &Vault, access_token: &SecretString, instance_url: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Plain<'a> {
        access_token: &'a str,
        instance_url: &'a str,
    }
    let access_token = access_token.expose_secret();
    let room = 64 + access_token.len() * 6 + instance_url.len() * 6;
    let mut plain = Zeroizing::new(Vec::with_capacity(room));
    let content = Plain {
        access_token,
        instance_url,
    };
    serde_json::to_writer(&mut *plain, &content).expect("text becomes JSON");
    vault.seal("token", &plain)
}

/// The document as it was stored.
///
/// # Errors
/// [`Error::StoredDocument`].
pub fn stored_document(name: &ConnectionName, text: &str) -> Result<ConnectionDocument, Error> {
    serde_json::from_str(text).map_err(|_| Error::StoredDocument(name.clone()))
}

/// `Expired`: somebody has to consent again. `Error`: something else has to be mended.
#[must_use]
pub fn health_of(error: &Error, auth: &AuthSpec) -> &'static str {
    match error {
        Error::System {
            source: ConnectError { code, native, .. },
            ..
        } => {
            let grant_is_dead =
                matches!(auth, AuthSpec::RefreshToken { .. } | AuthSpec::WebServer { .. }) && native.as_deref() == Some("invalid_grant");
            if *code == ErrorCode::TokenExpired || grant_is_dead {
                "Expired"
            } else {
                "Error"
            }
        }
        _ => "Error",
    }
}
