//! The keys of an installation: each service loads those it may have, and asks for one by what it is for.

pub mod provider;
pub mod vault;

use std::path::Path;
use std::sync::Arc;

use syncline_batch::SealingKey;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::config::KeyConfig;
use provider::{Kek, KeyProvider, LocalKeys};
use vault::Vault;

/// Names of all keys; the files and variables are called after them.
pub const KEY_NAMES: [&str; 5] = ["kek-raw", "kek-clean", "credentials", "digest", "mask"];

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    #[error("the key `{name}` is missing; put 64 hex characters into the file `{name}` of SYNCLINE_KEYS_DIR or into {variable}")]
    Missing { name: &'static str, variable: String },
    #[error("the key `{name}` is not 64 hex characters")]
    Form { name: &'static str },
}

impl KeyError {
    fn missing(name: &'static str) -> Self {
        Self::Missing {
            name,
            variable: variable(name),
        }
    }
}

type Found = Result<Zeroizing<[u8; 32]>, KeyError>;

/// The keys that were found. A key that a service does not ask for need not be there.
#[derive(Clone)]
pub struct Keys {
    digest: Found,
    mask: Found,
    provider: Arc<dyn KeyProvider>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl Keys {
    /// Looks for every key.
    #[must_use]
    pub fn load(config: &KeyConfig) -> Self {
        Self::find(config, &|variable| std::env::var(variable).ok())
    }

    fn find(config: &KeyConfig, env: &dyn Fn(&str) -> Option<String>) -> Self {
        let dir = config.dir.as_deref();
        let mut local = LocalKeys::default();
        for kek in Kek::ALL {
            let versions = load(dir, kek.name(), env).and_then(|key| Ok((key, load_previous(dir, kek, env)?)));
            local = match versions {
                Ok((key, previous)) => local.with(kek, SealingKey::new(*key), previous.map(|key| SealingKey::new(*key))),
                Err(error) => local.without(kek, error),
            };
        }
        Self {
            digest: load(dir, "digest", env),
            mask: load(dir, "mask", env),
            provider: match &config.vault {
                Some(vault) => Arc::new(Vault::new(vault.clone(), local)),
                None => Arc::new(local),
            },
        }
    }

    /// Whoever holds the key-encryption keys.
    #[must_use]
    pub fn provider(&self) -> Arc<dyn KeyProvider> {
        Arc::clone(&self.provider)
    }

    /// Keys every digest and hash that is stored.
    ///
    /// # Errors
    /// [`KeyError`] when the key is missing or malformed; the same holds for the other.
    pub fn digest(&self) -> Result<[u8; 32], KeyError> {
        self.digest.as_ref().map(|k| **k).map_err(Clone::clone)
    }

    /// The project's masking key.
    #[allow(clippy::missing_errors_doc)]
    pub fn mask(&self) -> Result<[u8; 32], KeyError> {
        self.mask.as_ref().map(|k| **k).map_err(Clone::clone)
    }
}

/// The key that was in the place of this one before a rotation, until everything is wrapped anew. There need not be one, but
/// one that is malformed would leave what it should open closed.
fn load_previous(dir: Option<&Path>, kek: Kek, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<Zeroizing<[u8; 32]>>, KeyError> {
    let name = match kek {
        Kek::Raw => "kek-raw-previous",
        Kek::Clean => "kek-clean-previous",
        Kek::Credentials => "credentials-previous",
    };
    match load(dir, name, env) {
        Ok(key) => Ok(Some(key)),
        Err(KeyError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn variable(name: &str) -> String {
    format!("SYNCLINE_KEY_{}", name.to_uppercase().replace('-', "_"))
}

fn load(dir: Option<&Path>, name: &'static str, env: &dyn Fn(&str) -> Option<String>) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    // Set to nothing is not set, as with every other variable.
    let from_env = env(&variable(name)).filter(|text| !text.is_empty());
    let from_file = || dir.and_then(|d| std::fs::read_to_string(d.join(name)).ok());
    let text = Zeroizing::new(from_env.or_else(from_file).ok_or_else(|| KeyError::missing(name))?);
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), bytes.as_mut_slice()).map_err(|_| KeyError::Form { name })?;
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn a_key_comes_from_the_environment_or_else_from_its_file() {
        let dir = std::env::temp_dir().join(format!("syncline-keys-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("digest"), format!("{}\n", "ff".repeat(32))).unwrap();
        let set = |variable: &str| (variable == "SYNCLINE_KEY_DIGEST").then(|| KEY.to_owned());
        let empty = |_: &str| Some(String::new());
        let unset = |_: &str| None;
        assert_eq!(load(Some(&dir), "digest", &set).unwrap()[31], 0x1f);
        assert_eq!(load(Some(&dir), "digest", &unset).unwrap()[31], 0xff);
        assert_eq!(load(Some(&dir), "digest", &empty).unwrap()[31], 0xff);
        assert_eq!(load(None, "digest", &set).unwrap()[0], 0);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_missing_key_says_where_to_put_it_and_a_malformed_one_is_not_repeated() {
        let missing = load(None, "kek-raw", &|_| None).unwrap_err();
        assert!(missing.to_string().contains("SYNCLINE_KEY_KEK_RAW"), "{missing}");
        let short = KEY.get(2..).unwrap();
        for bad in [short, "zz", &format!("{KEY}00"), &KEY.replace('0', "g")] {
            let error = load(None, "mask", &|_| Some(bad.to_owned())).unwrap_err();
            assert_eq!(error, KeyError::Form { name: "mask" });
            assert!(!format!("{error} {error:?}").contains(bad));
        }
    }

    #[tokio::test]
    async fn a_key_that_nobody_asks_for_may_be_missing_and_none_is_printed() {
        let set = |variable: &str| {
            ["SYNCLINE_KEY_MASK", "SYNCLINE_KEY_KEK_RAW"]
                .contains(&variable)
                .then(|| KEY.to_owned())
        };
        let keys = Keys::find(&KeyConfig::default(), &set);
        assert!(keys.mask().is_ok());
        assert!(matches!(keys.digest(), Err(KeyError::Missing { name: "digest", .. })));
        let provider = keys.provider();
        provider.check(Kek::Raw).await.unwrap();
        let missing = provider.check(Kek::Credentials).await.unwrap_err().to_string();
        assert!(missing.contains("SYNCLINE_KEY_CREDENTIALS"), "{missing}");
        assert!(!format!("{keys:?}").contains("0001"), "{keys:?}");
    }

    #[tokio::test]
    async fn the_key_before_a_rotation_stands_beside_the_new_one() {
        let old = |variable: &str| (variable == "SYNCLINE_KEY_CREDENTIALS").then(|| KEY.to_owned());
        let new = |variable: &str| match variable {
            "SYNCLINE_KEY_CREDENTIALS" => Some("ff".repeat(32)),
            "SYNCLINE_KEY_CREDENTIALS_PREVIOUS" => Some(KEY.to_owned()),
            _ => None,
        };
        let data_key = SealingKey::generate();
        let before = Keys::find(&KeyConfig::default(), &old).provider();
        let wrapped = before.wrap(Kek::Credentials, &data_key, "a/b").await.unwrap();
        let after = Keys::find(&KeyConfig::default(), &new).provider();
        assert_eq!(
            after.unwrap(Kek::Credentials, &wrapped, "a/b").await.unwrap().expose(),
            data_key.expose()
        );
        assert!(after.rewrap(Kek::Credentials, &wrapped, "a/b").await.unwrap().is_some());
    }

    #[test]
    fn a_malformed_key_before_a_rotation_is_named_before_it_is_needed() {
        let env = |variable: &str| match variable {
            "SYNCLINE_KEY_KEK_RAW" | "SYNCLINE_KEY_KEK_CLEAN" => Some(KEY.to_owned()),
            "SYNCLINE_KEY_KEK_RAW_PREVIOUS" => KEY.get(2..).map(str::to_owned),
            _ => None,
        };
        let provider = Keys::find(&KeyConfig::default(), &env).provider();
        provider.given(Kek::Clean).unwrap();
        let error = provider.given(Kek::Raw).unwrap_err().to_string();
        assert!(error.contains("`kek-raw-previous` is not 64 hex characters"), "{error}");
    }
}
