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

type Found = Result<Zeroizing<[u8; 32]>, KeyError>;

/// The keys that were found. A key that a service does not ask for need not be there.
#[derive(Clone, Default)]
pub struct Keys {
    found: Vec<(&'static str, Found)>,
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
            .map(|name| (name, load(config.dir.as_deref(), name, &|variable| std::env::var(variable).ok())))
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

fn load(dir: Option<&Path>, name: &'static str, env: &dyn Fn(&str) -> Option<String>) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    // Set to nothing is not set, as with every other variable.
    let from_env = env(&variable(name)).filter(|text| !text.is_empty());
    let from_file = || dir.and_then(|d| std::fs::read_to_string(d.join(name)).ok());
    let text = Zeroizing::new(from_env.or_else(from_file).ok_or_else(|| KeyError::Missing {
        name,
        variable: variable(name),
    })?);
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

    #[test]
    fn a_key_that_nobody_asks_for_may_be_missing_and_none_is_printed() {
        let keys = Keys {
            found: vec![
                ("mask", load(None, "mask", &|_| Some(KEY.to_owned()))),
                ("digest", load(None, "digest", &|_| None)),
            ],
        };
        assert!(keys.mask().is_ok());
        assert!(matches!(keys.digest(), Err(KeyError::Missing { name: "digest", .. })));
        assert!(matches!(keys.credentials(), Err(KeyError::Missing { name: "credentials", .. })));
        assert_eq!(format!("{keys:?}"), r#"["mask", "digest"]"#);
    }
}
