//! The keys of an installation: there, whole, and for their owner alone.

use std::os::unix::fs::PermissionsExt as _;

use syncline_runtime::Keys;
use syncline_runtime::config::{Config, KeyConfig};
use syncline_runtime::keys::KeyError;
use syncline_runtime::keys::provider::{Kek, ProviderError};

use super::{Examination, Finding};

/// `alone`: the environment is that of one service, which needs not all of them.
pub fn examine(config: &KeyConfig, alone: bool) -> Examination {
    let keys = Keys::load(config);
    let provider = keys.provider();
    let given = |kek: Kek| match provider.given(kek) {
        Err(ProviderError::Key(error)) => Some(error),
        _ => None,
    };
    let mut seen = Examination::default();
    let mut states = Vec::new();
    match &config.vault {
        Some(vault) => seen.add(Finding::ok("key-encryption keys", format!("in Vault at {}", vault.address))),
        None => states.extend(Kek::ALL.map(|kek| (kek.name(), given(kek)))),
    }
    states.extend([("digest", keys.digest().err()), ("mask", keys.mask().err())]);
    for (name, error) in states {
        seen.add(match error {
            None => owned(config, name),
            Some(error) => missing(name, &error, alone),
        });
    }
    seen
}

/// Whether this is the environment of a single service, by whom its certificate or its user of NATS names.
pub fn is_alone(config: &Config) -> bool {
    let user = syncline_bus::inspection::user(&config.nats_url);
    user.is_some_and(|user| user != syncline_bus::permissions::ADMINISTRATOR)
}

fn missing(name: &str, error: &KeyError, alone: bool) -> Finding {
    let check = format!("key {name}");
    match error {
        KeyError::Missing { variable, .. } => {
            let detail = "missing";
            let remedy =
                format!("Bring it back from its backup: 64 hex characters in the file `{name}` of SYNCLINE_KEYS_DIR or in {variable}.");
            if alone {
                Finding::warn(check, detail, format!("Nothing to do if this service does not need it. {remedy}"))
            } else {
                let fresh = "A new installation gets its keys from `syncline secrets DIR`.";
                Finding::fail(check, detail, format!("{remedy} {fresh}"))
            }
        }
        KeyError::Form { .. } => Finding::fail(
            check,
            "it is not 64 hex characters",
            "Bring the right one back from its backup; what was sealed with it opens with no other.",
        ),
    }
}

fn owned(config: &KeyConfig, name: &str) -> Finding {
    let check = format!("key {name}");
    let variable = format!("SYNCLINE_KEY_{}", name.to_uppercase().replace('-', "_"));
    if std::env::var(&variable).is_ok_and(|v| !v.is_empty()) {
        return Finding::ok(check, format!("in {variable}"));
    }
    let Some(file) = config.dir.as_ref().map(|dir| dir.join(name)) else {
        return Finding::ok(check, "there");
    };
    match std::fs::metadata(&file) {
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => Finding::warn(
            check,
            format!(
                "its file has mode {:03o}: others may read it",
                metadata.permissions().mode() & 0o777
            ),
            format!("chmod 600 {}", file.display()),
        ),
        _ => Finding::ok(check, "there, for its owner alone"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::Permissions;

    use syncline_runtime::keys::KEY_NAMES;

    use super::super::Verdict;
    use super::*;

    #[test]
    fn every_key_is_looked_at_and_none_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let config = KeyConfig {
            dir: Some(dir.path().to_owned()),
            vault: None,
        };
        let secret = "ab".repeat(32);
        for name in KEY_NAMES {
            std::fs::write(dir.path().join(name), &secret).unwrap();
            std::fs::set_permissions(dir.path().join(name), Permissions::from_mode(0o600)).unwrap();
        }
        let checks: Vec<String> = examine(&config, false).findings.into_iter().map(|f| f.check).collect();
        assert_eq!(checks, KEY_NAMES.map(|name| format!("key {name}")));
        assert_eq!(examine(&config, false).count(Verdict::Ok), KEY_NAMES.len());

        std::fs::set_permissions(dir.path().join("mask"), Permissions::from_mode(0o644)).unwrap();
        std::fs::write(dir.path().join("digest"), "abc").unwrap();
        std::fs::remove_file(dir.path().join("kek-raw")).unwrap();
        let found = examine(&config, false).findings;
        assert!(!format!("{found:?}").contains(&secret));
        assert_eq!((found[0].verdict, found[0].detail.as_str()), (Verdict::Fail, "missing"));
        assert_eq!(found[3].detail, "it is not 64 hex characters");
        assert_eq!(
            found[4],
            Finding::warn(
                "key mask",
                "its file has mode 644: others may read it",
                format!("chmod 600 {}", dir.path().join("mask").display())
            )
        );
        assert_eq!(
            examine(&config, true).findings[0].verdict,
            Verdict::Warn,
            "one service needs not all"
        );
    }
}
