//! The keys of an installation: each service loads those it may have, and asks for one by what it is for.

use std::path::Path;

use syncline_batch::SealingKey;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::config::KeyConfig;

/// Names of all keys; the files and variables are called after them.
pub const KEY_NAMES: [&str; 5] = ["kek-raw", "kek-clean", "credentials", "digest", "mask"];

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    #[error("the key `{name}` is missing; put 64 hex characters into the file `{name}` of SYNCLINE_KEYS_DIR or into {variable}")]
    Missing { name: &'static str, variable: String },
    #[error("the key `{name}` is not 64 hex characters")]
    Form { name: &'static str },
}

/// The keys that were found. A key that a service does not ask for need not be there.
#[derive(Clone, Default)]
pub struct Keys {
    found: Vec<(&'static str, Result<Zeroizing<[u8; 32]>, KeyError>)>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.found.iter().map(|(name, _)| name)).finish()
    }
}

impl Keys {
    /// Looks for every key.
    #[must_use]
    pub fn load(config: &KeyConfig) -> Self {
        let found = KEY_NAMES
            .into_iter()
            .map(|name| (name, load(config.dir.as_deref(), name)))
            .collect();
        Self { found }
    }

    fn get(&self, wanted: &'static str) -> Result<&Zeroizing<[u8; 32]>, KeyError> {
        match self.found.iter().find(|(name, _)| *name == wanted) {
            Some((_, Ok(key))) => Ok(key),
            Some((_, Err(error))) => Err(error.clone()),
            None => Err(KeyError::Missing {
                name: wanted,
                variable: variable(wanted),
            }),
        }
    }

    /// Seals credentials (connector).
    ///
    /// # Errors
    /// [`KeyError`] when the key is missing or malformed; the same holds for the others.
    pub fn credentials(&self) -> Result<SealingKey, KeyError> {
        self.get("credentials").map(|k| SealingKey::new(**k))
    }

    /// Wraps data keys for extractor and masker.
    #[allow(clippy::missing_errors_doc)]
    pub fn kek_raw(&self) -> Result<SealingKey, KeyError> {
        self.get("kek-raw").map(|k| SealingKey::new(**k))
    }

    /// Wraps data keys for masker and loader.
    #[allow(clippy::missing_errors_doc)]
    pub fn kek_clean(&self) -> Result<SealingKey, KeyError> {
        self.get("kek-clean").map(|k| SealingKey::new(**k))
    }

    /// Keys every digest and hash that is stored.
    #[allow(clippy::missing_errors_doc)]
    pub fn digest(&self) -> Result<[u8; 32], KeyError> {
        self.get("digest").map(|k| **k)
    }

    /// The project's masking key.
    #[allow(clippy::missing_errors_doc)]
    pub fn mask(&self) -> Result<[u8; 32], KeyError> {
        self.get("mask").map(|k| **k)
    }
}

fn variable(name: &str) -> String {
    format!("SYNCLINE_KEY_{}", name.to_uppercase().replace('-', "_"))
}

fn load(dir: Option<&Path>, name: &'static str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let from_env = std::env::var(variable(name)).ok();
    let from_file = || dir.and_then(|d| std::fs::read_to_string(d.join(name)).ok());
    let text = Zeroizing::new(from_env.or_else(from_file).ok_or_else(|| KeyError::Missing {
        name,
        variable: variable(name),
    })?);
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), bytes.as_mut_slice()).map_err(|_| KeyError::Form { name })?;
    Ok(bytes)
}
