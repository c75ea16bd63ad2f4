//! A connection's secrets: sealed at rest, wiped in memory, never printed.
//!
//! Each connection has a data key of its own, wrapped by the key-encryption key `credentials`. Associated data binds what
//! is sealed to tenant, connection and purpose, so that rows cannot be exchanged for one another.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use syncline_batch::{SealError, SealingKey};
use syncline_domain::spec::AuthSpec;
use syncline_domain::{ConnectionName, TenantId};
use syncline_runtime::keys::provider::{Kek, KeyProvider, ProviderError};
use zeroize::Zeroizing;

use crate::document::{REFRESH_TOKEN, secret_names};
use crate::error::Error;

/// What the references of a document stand for.
pub struct Secrets {
    values: BTreeMap<String, SecretString>,
    /// Hash of the values as they were applied. A rotated refresh token replaces the value and not this: applying the
    /// original again is then no change, and does not bring back a token that is dead.
    applied: String,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

#[derive(Serialize)]
struct Plain<'a> {
    values: BTreeMap<&'a str, &'a str>,
    applied: &'a str,
}

#[derive(Deserialize)]
struct PlainOwned {
    values: BTreeMap<String, String>,
    applied: String,
}

impl Secrets {
    /// Takes what the document refers to, and nothing else.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names what is missing or what nobody asked for.
    pub fn for_document(auth: &AuthSpec, given: HashMap<String, String>) -> Result<Self, Error> {
        let names = secret_names(auth);
        let given: BTreeMap<String, SecretString> = given.into_iter().map(|(name, value)| (name, SecretString::from(value))).collect();
        let missing: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| given.get(*name).is_none_or(|value| value.expose_secret().trim().is_empty()))
            .collect();
        if !missing.is_empty() {
            return Err(Error::Invalid(format!(
                "the document refers to {}, which the request does not bring or brings empty",
                quoted(&missing)
            )));
        }
        let surplus: Vec<&str> = given.keys().map(String::as_str).filter(|name| !names.contains(name)).collect();
        if !surplus.is_empty() {
            return Err(Error::Invalid(format!(
                "the request brings {}, to which the document does not refer",
                quoted(&surplus)
            )));
        }
        let applied = hash(&given);
        Ok(Self { values: given, applied })
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&SecretString> {
        self.values.get(name)
    }

    /// Whether both were made from the same values, whatever became of them since.
    #[must_use]
    pub fn same_as_applied(&self, other: &Self) -> bool {
        self.applied == other.applied
    }

    /// With the refresh token that replaces the old one.
    #[must_use]
    pub fn rotated(mut self, refresh_token: SecretString) -> Self {
        self.values.insert(REFRESH_TOKEN.to_owned(), refresh_token);
        self
    }

    #[must_use]
    pub fn seal(&self, vault: &Vault) -> Vec<u8> {
        let plain = Plain {
            values: self.values.iter().map(|(k, v)| (k.as_str(), v.expose_secret())).collect(),
            applied: &self.applied,
        };
        // Room for every character escaped, so that the buffer does not move and leave copies behind.
        let room = 256 + self.values.values().map(|v| v.expose_secret().len() * 6 + 64).sum::<usize>();
        let mut buffer = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *buffer, &plain).expect("maps of text become JSON");
        vault.seal("secrets", &buffer)
    }

    /// # Errors
    /// [`Error::Seal`].
    pub fn open(vault: &Vault, sealed: &[u8]) -> Result<Self, Error> {
        let plain = Zeroizing::new(vault.open("secrets", sealed)?);
        let PlainOwned { values, applied } = serde_json::from_slice(&plain).map_err(|_| vault.error(SealError::Open))?;
        let values = values.into_iter().map(|(k, v)| (k, SecretString::from(v))).collect();
        Ok(Self { values, applied })
    }
}

fn hash(values: &BTreeMap<String, SecretString>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, value) in values {
        for part in [name.as_str(), value.expose_secret()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

fn quoted(names: &[&str]) -> String {
    let quoted: Vec<String> = names
        .iter()
        .map(|n| format!("`{}`", n.chars().take(64).collect::<String>()))
        .collect();
    quoted.join(", ")
}

/// Seals and opens what belongs to one connection.
pub struct Vault {
    name: ConnectionName,
    /// `tenant/connection`, the beginning of all associated data.
    place: String,
    data_key: SealingKey,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Vault {
    /// With a new data key, and that key wrapped.
    ///
    /// # Errors
    /// [`Error::Keys`].
    pub async fn create(provider: &dyn KeyProvider, tenant: &TenantId, name: &ConnectionName) -> Result<(Self, Vec<u8>), Error> {
        let place = format!("{tenant}/{name}");
        let data_key = SealingKey::generate();
        let wrapped = provider.wrap(Kek::Credentials, &data_key, &place).await?;
        let vault = Self {
            name: name.clone(),
            place,
            data_key,
        };
        Ok((vault, wrapped))
    }

    /// # Errors
    /// [`Error::Seal`] when the key was wrapped by another key or for another connection; [`Error::Keys`].
    pub async fn unlock(provider: &dyn KeyProvider, tenant: &TenantId, name: &ConnectionName, wrapped: &[u8]) -> Result<Self, Error> {
        let place = format!("{tenant}/{name}");
        let data_key = match provider.unwrap(Kek::Credentials, wrapped, &place).await {
            Ok(data_key) => data_key,
            Err(ProviderError::Seal { source, .. }) => {
                return Err(Error::Seal {
                    name: name.clone(),
                    source,
                });
            }
            Err(other) => return Err(other.into()),
        };
        Ok(Self {
            name: name.clone(),
            place,
            data_key,
        })
    }

    #[must_use]
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Vec<u8> {
        self.data_key.seal(format!("{}/{purpose}", self.place).as_bytes(), plain)
    }

    /// # Errors
    /// [`Error::Seal`].
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        self.data_key
            .open(format!("{}/{purpose}", self.place).as_bytes(), sealed)
            .map_err(|source| self.error(source))
    }

    fn error(&self, source: SealError) -> Error {
        Error::Seal {
            name: self.name.clone(),
            source,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use syncline_domain::spec::SecretRef;
    use syncline_runtime::keys::provider::LocalKeys;

    use super::*;

    fn auth() -> AuthSpec {
        AuthSpec::RefreshToken {
            client_id: "app".to_owned(),
            client_secret: Some(SecretRef::Env("A".to_owned())),
            refresh_token: SecretRef::Env("B".to_owned()),
        }
    }

    fn given(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn full() -> Secrets {
        Secrets::for_document(&auth(), given(&[("client_secret", "hush"), ("refresh_token", "5Aep\"\n\u{1}")])).unwrap()
    }

    #[test]
    fn missing_empty_and_surplus_secrets_are_named_and_never_quoted() {
        for (pairs, says) in [
            (&[("client_secret", "hush")][..], "`refresh_token`"),
            (&[("client_secret", " "), ("refresh_token", "hush")], "`client_secret`"),
            (&[], "`client_secret`, `refresh_token`"),
            (
                &[("client_secret", "hush"), ("refresh_token", "hush"), ("private_key", "hush")],
                "`private_key`",
            ),
        ] {
            let error = Secrets::for_document(&auth(), given(pairs)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }

    fn keys() -> LocalKeys {
        LocalKeys::default().with(Kek::Credentials, SealingKey::generate(), None)
    }

    #[tokio::test]
    async fn sealed_secrets_open_in_their_own_place_only() {
        let kek = keys();
        let (tenant, name) = (TenantId::single(), ConnectionName::new("production").unwrap());
        let (vault, wrapped) = Vault::create(&kek, &tenant, &name).await.unwrap();
        let sealed = full().seal(&vault);
        let unlocked = Vault::unlock(&kek, &tenant, &name, &wrapped).await.unwrap();
        let opened = Secrets::open(&unlocked, &sealed).unwrap();
        assert_eq!(opened.get("refresh_token").unwrap().expose_secret(), "5Aep\"\n\u{1}");
        assert!(unlocked.open("token", &sealed).is_err(), "another purpose");
        let other = ConnectionName::new("uat").unwrap();
        assert!(Vault::unlock(&kek, &tenant, &other, &wrapped).await.is_err(), "another connection");
        assert!(Vault::unlock(&keys(), &tenant, &name, &wrapped).await.is_err(), "another key");
    }

    #[test]
    fn applying_the_original_after_a_rotation_is_no_change() {
        let rotated = full().rotated(SecretString::from("new"));
        assert!(rotated.same_as_applied(&full()));
        let other = Secrets::for_document(&auth(), given(&[("client_secret", "hush"), ("refresh_token", "x")])).unwrap();
        assert!(!rotated.same_as_applied(&other));
    }

    #[test]
    fn debug_shows_names_and_no_values() {
        assert_eq!(format!("{:?}", full()), r#"{"client_secret", "refresh_token"}"#);
    }
}
