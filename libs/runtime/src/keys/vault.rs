//! Key-encryption keys in the transit engine of a HashiCorp Vault: they never leave it.
//!
//! The API is that of the transit secrets engine (`encrypt` and `decrypt` with `associated_data`, which needs a key of an
//! AEAD type such as `aes256-gcm96`). Rotation is Vault's own; a data key is re-wrapped by decrypting and encrypting it,
//! because `rewrap` takes no associated data. What was wrapped by local keys is unwrapped by those, so that an
//! installation can move into Vault: `syncline keys rewrap` does.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use syncline_batch::{SealError, SealingKey};
use zeroize::Zeroizing;

use super::provider::{Kek, KeyProvider, LocalKeys, ProviderError};
use crate::config::ConfigError;

const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// What every ciphertext of the transit engine begins with.
const MARK: &str = "vault:";

/// Where Vault is and how it is asked.
#[derive(Clone)]
pub struct VaultConfig {
    pub address: String,
    pub token: VaultToken,
    /// Where the transit engine is mounted.
    pub mount: String,
    /// Before the names of keys: `syncline-` makes `syncline-kek-raw`.
    pub prefix: String,
}

#[derive(Clone)]
pub enum VaultToken {
    Given(SecretString),
    /// Read for every request: an agent renews it.
    File(PathBuf),
}

impl fmt::Debug for VaultConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultConfig")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl PartialEq for VaultConfig {
    fn eq(&self, other: &Self) -> bool {
        (&self.address, &self.mount, &self.prefix) == (&other.address, &other.mount, &other.prefix)
    }
}

impl Eq for VaultConfig {}

impl VaultConfig {
    /// # Errors
    /// [`ConfigError`] that names the variable.
    pub fn from_lookup(get: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, ConfigError> {
        let Some(address) = get("SYNCLINE_VAULT_ADDR") else {
            return Ok(None);
        };
        let invalid = |name: &str, reason: &str| ConfigError::Invalid {
            name: name.to_owned(),
            reason: reason.to_owned(),
        };
        let on_loopback = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"];
        if !address.starts_with("https://") && !on_loopback.iter().any(|begin| address.starts_with(begin)) {
            return Err(invalid(
                "SYNCLINE_VAULT_ADDR",
                "it must begin with https:// (http:// on loopback only)",
            ));
        }
        let token = match (get("SYNCLINE_VAULT_TOKEN_FILE"), get("SYNCLINE_VAULT_TOKEN")) {
            (Some(file), _) => VaultToken::File(file.into()),
            (None, Some(token)) => VaultToken::Given(token.trim().into()),
            (None, None) => {
                let reason = "neither it nor SYNCLINE_VAULT_TOKEN is set, but SYNCLINE_VAULT_ADDR is";
                return Err(invalid("SYNCLINE_VAULT_TOKEN_FILE", reason));
            }
        };
        Ok(Some(Self {
            address: address.trim_end_matches('/').to_owned(),
            token,
            mount: get("SYNCLINE_VAULT_MOUNT").unwrap_or_else(|| "transit".to_owned()),
            prefix: get("SYNCLINE_VAULT_KEY_PREFIX").unwrap_or_else(|| "syncline-".to_owned()),
        }))
    }
}

/// The provider.
#[derive(Debug)]
pub struct Vault {
    config: VaultConfig,
    http: reqwest::Client,
    /// For what was wrapped before.
    local: LocalKeys,
}

#[derive(Serialize)]
struct Encrypt<'a> {
    plaintext: &'a str,
    associated_data: &'a str,
}

#[derive(Serialize)]
struct Decrypt<'a> {
    ciphertext: &'a str,
    associated_data: &'a str,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: SecretString,
}

#[derive(Deserialize, Default)]
struct Errors {
    #[serde(default)]
    errors: Vec<String>,
}

impl Vault {
    #[must_use]
    pub fn new(config: VaultConfig, local: LocalKeys) -> Self {
        let http = reqwest::Client::builder()
            .timeout(ANSWER_WAIT)
            .redirect(reqwest::redirect::Policy::none());
        Self {
            config,
            http: http.build().expect("a client of these settings can be made"),
            local,
        }
    }

    fn token(&self) -> Result<SecretString, ProviderError> {
        match &self.config.token {
            VaultToken::Given(token) => Ok(token.clone()),
            VaultToken::File(file) => match std::fs::read_to_string(file) {
                Ok(token) => Ok(SecretString::from(token.trim())),
                Err(error) => Err(ProviderError::Away(format!(
                    "SYNCLINE_VAULT_TOKEN_FILE: {}: {error}",
                    file.display()
                ))),
            },
        }
    }

    async fn ask<T: for<'a> Deserialize<'a>>(&self, kek: Kek, call: &str, body: &impl Serialize) -> Result<T, ProviderError> {
        let VaultConfig {
            address, mount, prefix, ..
        } = &self.config;
        let url = format!("{address}/v1/{mount}/{call}/{prefix}{}", kek.name());
        let away = |e: reqwest::Error| ProviderError::Away(format!("Vault at {address}: {}", e.without_url()));
        let request = self
            .http
            .post(url)
            .header("X-Vault-Token", self.token()?.expose_secret())
            .json(body);
        let answer = request.send().await.map_err(away)?;
        let status = answer.status();
        if status.is_success() {
            return answer.json::<Answer<T>>().await.map(|a| a.data).map_err(away);
        }
        // Sealed, standby without forwarding, too many requests: it passes.
        if status.is_server_error() || status.as_u16() == 429 {
            return Err(ProviderError::Away(format!("Vault at {address} answers {status}")));
        }
        let errors = answer.json::<Errors>().await.unwrap_or_default().errors.join("; ");
        Err(ProviderError::Refused {
            kek,
            reason: format!("Vault answers {status}: {}", errors.chars().take(200).collect::<String>()),
        })
    }
}

/// The text of a ciphertext of Vault's; none for what local keys have wrapped.
fn ciphertext(wrapped: &[u8]) -> Option<&str> {
    std::str::from_utf8(wrapped).ok().filter(|text| text.starts_with(MARK))
}

/// `vault:v3` of `vault:v3:...`
fn version(ciphertext: &str) -> &str {
    ciphertext.rsplit_once(':').map_or(ciphertext, |(version, _)| version)
}

#[async_trait]
impl KeyProvider for Vault {
    async fn wrap(&self, kek: Kek, data_key: &SealingKey, place: &str) -> Result<Vec<u8>, ProviderError> {
        let plaintext = Zeroizing::new(STANDARD.encode(data_key.expose()));
        let body = Encrypt {
            plaintext: &plaintext,
            associated_data: &STANDARD.encode(place),
        };
        let encrypted: Encrypted = self.ask(kek, "encrypt", &body).await?;
        Ok(encrypted.ciphertext.into_bytes())
    }

    async fn unwrap(&self, kek: Kek, wrapped: &[u8], place: &str) -> Result<SealingKey, ProviderError> {
        let Some(ciphertext) = ciphertext(wrapped) else {
            return self.local.unwrap(kek, wrapped, place).await;
        };
        let body = Decrypt {
            ciphertext,
            associated_data: &STANDARD.encode(place),
        };
        let decrypted: Decrypted = self.ask(kek, "decrypt", &body).await?;
        let length = |_| ProviderError::Seal {
            kek,
            source: SealError::KeyLength,
        };
        let bytes = Zeroizing::new(STANDARD.decode(decrypted.plaintext.expose_secret()).map_err(|_| length(()))?);
        Ok(SealingKey::new(bytes.as_slice().try_into().map_err(|_| length(()))?))
    }

    async fn rewrap(&self, kek: Kek, wrapped: &[u8], place: &str) -> Result<Option<Vec<u8>>, ProviderError> {
        let data_key = self.unwrap(kek, wrapped, place).await?;
        let newest = self.wrap(kek, &data_key, place).await?;
        let is_newest = match (ciphertext(wrapped), ciphertext(&newest)) {
            (Some(old), Some(new)) => version(old) == version(new),
            _ => false,
        };
        Ok((!is_newest).then_some(newest))
    }
}
