//! The keys of a developer's installation: made once, readable by their owner alone, never overwritten.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::SecretString;
use syncline_runtime::keys::KEY_NAMES;
use zeroize::Zeroizing;

use crate::error::CliError;
use crate::exit::Exit;

/// Makes the keys that are not there and returns their files.
///
/// # Errors
/// When the directory or a file cannot be made.
pub fn make_missing(dir: &Path) -> Result<Vec<PathBuf>, CliError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| failed(dir, &e))?;
    let mut made = Vec::new();
    for name in KEY_NAMES {
        let file = dir.join(name);
        if make(&file)? {
            made.push(file);
        }
    }
    Ok(made)
}

/// Where the API token of `syncline dev` stands.
#[must_use]
pub fn token_file(dir: &Path) -> PathBuf {
    dir.join("gateway-token")
}

/// The API token; made on first use.
///
/// # Errors
/// When the file cannot be made or read.
pub fn token(file: &Path) -> Result<SecretString, CliError> {
    make(file)?;
    let text = Zeroizing::new(std::fs::read_to_string(file).map_err(|e| failed(file, &e))?);
    Ok(SecretString::from(text.trim()))
}

/// 32 random bytes as hexadecimal digits; false when the file is there already.
fn make(file: &Path) -> Result<bool, CliError> {
    let mut open = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(open) => open,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(failed(file, &error)),
    };
    let mut bytes = Zeroizing::new([0_u8; 32]);
    SystemRandom::new()
        .fill(bytes.as_mut_slice())
        .map_err(|_| CliError::new(Exit::Unexpected, "the system gives no randomness"))?;
    let text = Zeroizing::new(hex::encode(bytes.as_slice()) + "\n");
    open.write_all(text.as_bytes()).map_err(|e| failed(file, &e))?;
    Ok(true)
}

fn failed(path: &Path, error: &std::io::Error) -> CliError {
    CliError::new(Exit::Unexpected, format!("{}: {error}", path.display())).remedy("Name a directory that can be written with --keys-dir.")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use secrecy::ExposeSecret as _;
    use syncline_runtime::Keys;
    use syncline_runtime::config::KeyConfig;
    use syncline_runtime::keys::provider::Kek;

    use super::*;

    #[tokio::test]
    async fn keys_are_made_once_for_their_owner_alone_and_can_be_loaded() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/keys");
        assert_eq!(make_missing(&dir).unwrap_or_else(|e| panic!("{e}")).len(), KEY_NAMES.len());
        let first = std::fs::read_to_string(dir.join("mask")).unwrap();
        assert!(
            make_missing(&dir).unwrap_or_else(|e| panic!("{e}")).is_empty(),
            "nothing is made twice"
        );
        assert_eq!(std::fs::read_to_string(dir.join("mask")).unwrap(), first);
        for entry in std::fs::read_dir(&dir).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        let keys = Keys::load(&KeyConfig {
            dir: Some(dir),
            vault: None,
        });
        assert!(keys.mask().is_ok() && keys.digest().is_ok());
        for kek in Kek::ALL {
            keys.provider().check(kek).await.unwrap();
        }
    }

    #[test]
    fn the_token_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let file = token_file(dir.path());
        let first = token(&file).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(first.expose_secret().len(), 64);
        let again = token(&file).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(first.expose_secret(), again.expose_secret());
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = make_missing(&file.join("keys")).err().unwrap();
        assert!(error.message.contains("file"), "{error}");
    }
}
