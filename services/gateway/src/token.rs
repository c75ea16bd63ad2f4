//! API tokens: made here, shown once, kept as hashes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// What every token begins with, so that people and scanners recognise one.
const PREFIX: &str = "syn_";
const SECRET_BYTES: usize = 32;

/// The hash under which a token is known. The secret has 256 random bits, so a fast hash is enough.
pub type TokenHash = [u8; 32];

#[must_use]
pub fn hash(secret: &[u8]) -> TokenHash {
    *blake3::hash(secret).as_bytes()
}

/// A new secret; `None` when the system has no randomness to give.
#[must_use]
pub fn make() -> Option<SecretString> {
    let mut bytes = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into())
}

/// The token from the environment, which makes the first ones. Only its hash is kept, and it is compared in constant time.
#[derive(Clone)]
pub struct BootstrapToken(TokenHash);

impl std::fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BootstrapToken")
    }
}

impl BootstrapToken {
    /// `None` for a token that is empty or could not be sent in a header.
    #[must_use]
    pub fn new(token: &SecretString) -> Option<Self> {
        let token = token.expose_secret();
        let sendable = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        sendable.then(|| Self(hash(token.as_bytes())))
    }

    #[must_use]
    pub fn is(&self, shown: &TokenHash) -> bool {
        self.0.ct_eq(shown).into()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_cannot_be_sent_is_none() {
        for bad in ["", " ", "a b", "tab\t", "ümlaut"] {
            assert!(BootstrapToken::new(&SecretString::from(bad)).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn only_the_very_token_is_the_one_and_nothing_of_it_is_printed() {
        let token = BootstrapToken::new(&SecretString::from("s3cret-token")).unwrap();
        assert!(token.is(&hash(b"s3cret-token")));
        for other in ["s3cret-toke", "s3cret-tokens", "S3cret-token", ""] {
            assert!(!token.is(&hash(other.as_bytes())), "{other}");
        }
        assert_eq!(format!("{token:?}"), "BootstrapToken");
    }

    #[test]
    fn made_tokens_are_recognisable_sendable_and_never_the_same() {
        let (one, other) = (make().unwrap(), make().unwrap());
        assert!(one.expose_secret().starts_with(PREFIX) && one.expose_secret().len() == 47);
        assert!(BootstrapToken::new(&one).is_some());
        assert_ne!(one.expose_secret(), other.expose_secret());
    }
}
