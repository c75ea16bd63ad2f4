//! Key-encryption keys: whoever holds them wraps data keys and unwraps them again, and nobody else ever sees them.
//!
//! Guarantees: what is wrapped opens under the same key-encryption key and for the same place only; rotation re-wraps data
//! keys and never touches what they seal; a provider that is away is told from a key that does not fit.

use std::collections::HashMap;
use std::fmt;

use async_trait::async_trait;
use syncline_batch::{SealError, SealingKey};
use syncline_domain::ErrorCode;
use thiserror::Error;

use super::KeyError;

/// One per audience, so that the loader cannot open what only the masker may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kek {
    /// Data keys of what was extracted: extractor and masker.
    Raw,
    /// Data keys of what was masked: masker and loader.
    Clean,
    /// Data keys of connections' secrets: connector.
    Credentials,
}

impl Kek {
    pub const ALL: [Self; 3] = [Self::Raw, Self::Clean, Self::Credentials];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "kek-raw",
            Self::Clean => "kek-clean",
            Self::Credentials => "credentials",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProviderError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the key `{}` does not fit what it should open: {source}", kek.name())]
    Seal {
        kek: Kek,
        #[source]
        source: SealError,
    },
    #[error("the key provider cannot be reached: {0}")]
    Away(String),
    #[error("the key provider refuses `{}`: {reason}", kek.name())]
    Refused { kek: Kek, reason: String },
}

impl ProviderError {
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Away(_) => ErrorCode::Unreachable,
            Self::Key(_) | Self::Seal { .. } | Self::Refused { .. } => ErrorCode::MaskKey,
        }
    }
}

/// Wraps and unwraps data keys. `place` says what a data key is for and binds it to that.
#[async_trait]
pub trait KeyProvider: fmt::Debug + Send + Sync {
    async fn wrap(&self, kek: Kek, data_key: &SealingKey, place: &str) -> Result<Vec<u8>, ProviderError>;

    async fn unwrap(&self, kek: Kek, wrapped: &[u8], place: &str) -> Result<SealingKey, ProviderError>;

    /// The same data key under the newest version of the key; none when it is already.
    async fn rewrap(&self, kek: Kek, wrapped: &[u8], place: &str) -> Result<Option<Vec<u8>>, ProviderError>;

    /// Whether the key was given at all, as far as can be said without asking anybody.
    fn given(&self, _kek: Kek) -> Result<(), ProviderError> {
        Ok(())
    }

    /// Whether the key is there and can be used.
    async fn check(&self, kek: Kek) -> Result<(), ProviderError> {
        let (probe, place) = (SealingKey::generate(), "check");
        let wrapped = self.wrap(kek, &probe, place).await?;
        self.unwrap(kek, &wrapped, place).await.map(|_| ())
    }
}

/// Keys from files or the environment: the one that wraps, and one before it that still unwraps.
#[derive(Clone, Default)]
pub struct LocalKeys {
    keys: HashMap<Kek, Versions>,
}

#[derive(Clone)]
struct Versions {
    current: Result<SealingKey, KeyError>,
    previous: Option<SealingKey>,
}

impl fmt::Debug for LocalKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

impl LocalKeys {
    /// With this key; `previous` unwraps what was wrapped before it.
    #[must_use]
    pub fn with(mut self, kek: Kek, current: SealingKey, previous: Option<SealingKey>) -> Self {
        let current = Ok(current);
        self.keys.insert(kek, Versions { current, previous });
        self
    }

    pub(super) fn without(mut self, kek: Kek, why: KeyError) -> Self {
        let versions = Versions {
            current: Err(why),
            previous: None,
        };
        self.keys.insert(kek, versions);
        self
    }

    fn versions(&self, kek: Kek) -> Result<(&SealingKey, Option<&SealingKey>), ProviderError> {
        let versions = self.keys.get(&kek).ok_or_else(|| KeyError::missing(kek.name()))?;
        let current = versions.current.as_ref().map_err(|e| ProviderError::Key(e.clone()))?;
        Ok((current, versions.previous.as_ref()))
    }
}

#[async_trait]
impl KeyProvider for LocalKeys {
    fn given(&self, kek: Kek) -> Result<(), ProviderError> {
        self.versions(kek).map(|_| ())
    }

    async fn wrap(&self, kek: Kek, data_key: &SealingKey, place: &str) -> Result<Vec<u8>, ProviderError> {
        let (current, _) = self.versions(kek)?;
        Ok(current.wrap(data_key, place.as_bytes()))
    }

    async fn unwrap(&self, kek: Kek, wrapped: &[u8], place: &str) -> Result<SealingKey, ProviderError> {
        let (current, previous) = self.versions(kek)?;
        let opened = current.unwrap(wrapped, place.as_bytes());
        let opened = match (opened, previous) {
            (Err(_), Some(previous)) => previous.unwrap(wrapped, place.as_bytes()),
            (opened, _) => opened,
        };
        opened.map_err(|source| ProviderError::Seal { kek, source })
    }

    async fn rewrap(&self, kek: Kek, wrapped: &[u8], place: &str) -> Result<Option<Vec<u8>>, ProviderError> {
        let (current, _) = self.versions(kek)?;
        if current.unwrap(wrapped, place.as_bytes()).is_ok() {
            return Ok(None);
        }
        let data_key = self.unwrap(kek, wrapped, place).await?;
        self.wrap(kek, &data_key, place).await.map(Some)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_rotation_rewraps_data_keys_and_leaves_what_they_seal() {
        let [old, new, data_key] = [1, 2, 3].map(|n| SealingKey::new([n; 32]));
        let sealed = data_key.seal(b"row", b"sealed once");
        let before = LocalKeys::default().with(Kek::Raw, old.clone(), None);
        let wrapped = before.wrap(Kek::Raw, &data_key, "r-1/raw").await.unwrap();
        assert_eq!(before.rewrap(Kek::Raw, &wrapped, "r-1/raw").await.unwrap(), None);

        let during = LocalKeys::default().with(Kek::Raw, new.clone(), Some(old));
        assert!(
            during.unwrap(Kek::Raw, &wrapped, "r-1/raw").await.is_ok(),
            "nothing stops while keys change"
        );
        let rewrapped = during.rewrap(Kek::Raw, &wrapped, "r-1/raw").await.unwrap().unwrap();
        assert_eq!(
            during.rewrap(Kek::Raw, &rewrapped, "r-1/raw").await.unwrap(),
            None,
            "once is enough"
        );

        let after = LocalKeys::default().with(Kek::Raw, new, None);
        let same = after.unwrap(Kek::Raw, &rewrapped, "r-1/raw").await.unwrap();
        assert_eq!(same.open(b"row", &sealed).unwrap(), b"sealed once");
        let forgotten = after.unwrap(Kek::Raw, &wrapped, "r-1/raw").await.unwrap_err();
        assert!(matches!(forgotten, ProviderError::Seal { kek: Kek::Raw, .. }), "{forgotten}");
        assert!(after.unwrap(Kek::Raw, &rewrapped, "r-2/raw").await.is_err(), "another run's place");
        let missing = after.check(Kek::Clean).await.unwrap_err().to_string();
        assert!(missing.contains("SYNCLINE_KEY_KEK_CLEAN"), "{missing}");
    }
}
