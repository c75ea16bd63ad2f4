//! AES-256-GCM with a random nonce in front and the caller's associated data.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;
use zeroize::Zeroizing;

/// Key length in bytes.
pub const KEY_BYTES: usize = 32;

/// Something could not be sealed or opened. Says nothing about the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    #[error("sealed data does not open: wrong key, wrong name, or damaged")]
    Open,
    #[error("a wrapped key does not have 32 bytes")]
    KeyLength,
}

/// A 256-bit key that seals and opens. Wiped when dropped; prints nothing.
///
/// Nonces are 96 random bits: safe for 2^32 messages per key (NIST SP 800-38D, 8.3), and data keys are per run.
pub struct SealingKey {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    key: LessSafeKey,
    random: SystemRandom,
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey")
    }
}

impl Clone for SealingKey {
    fn clone(&self) -> Self {
        Self::new(*self.bytes)
    }
}

impl SealingKey {
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        let unbound = UnboundKey::new(&AES_256_GCM, &bytes).expect("AES-256-GCM takes 32 bytes");
        Self {
            bytes: Zeroizing::new(bytes),
            key: LessSafeKey::new(unbound),
            random: SystemRandom::new(),
        }
    }

    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = [0; KEY_BYTES];
        SystemRandom::new().fill(&mut bytes).expect("the system provides random bytes");
        Self::new(bytes)
    }

    /// Nonce, ciphertext and tag in one buffer.
    #[must_use]
    pub fn seal(&self, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).expect("the system provides random bytes");
        let mut out = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plain);
        let (_, content) = out.split_at_mut(NONCE_LEN);
        let tag = self
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), content)
            .expect("a message is far below the limit of 64 GiB");
        out.extend_from_slice(tag.as_ref());
        out
    }

    /// # Errors
    /// [`SealError::Open`] when key, associated data or content do not belong together.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, content) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Open)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Open)?;
        let mut buffer = content.to_vec();
        let length = self
            .key
            .open_in_place(nonce, Aad::from(aad), &mut buffer)
            .map_err(|_| SealError::Open)?
            .len();
        buffer.truncate(length);
        Ok(buffer)
    }

    /// The key itself, for a provider that wraps it elsewhere.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }

    /// Seals another key under this one.
    #[must_use]
    pub fn wrap(&self, inner: &Self, aad: &[u8]) -> Vec<u8> {
        self.seal(aad, inner.bytes.as_slice())
    }

    /// # Errors
    /// [`SealError`] when it was not wrapped by this key under this associated data.
    pub fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> Result<Self, SealError> {
        let bytes = Zeroizing::new(self.open(aad, wrapped)?);
        Ok(Self::new(bytes.as_slice().try_into().map_err(|_| SealError::KeyLength)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_under_its_name_only() {
        let key = SealingKey::generate();
        let sealed = key.seal(b"r-1/Account/0/0/0/0/1", b"Ada");
        assert_eq!(key.open(b"r-1/Account/0/0/0/0/1", &sealed).as_deref(), Ok(b"Ada".as_slice()));
        assert_eq!(key.open(b"r-1/Account/0/0/1/0/1", &sealed), Err(SealError::Open));
        assert_eq!(SealingKey::generate().open(b"r-1/Account/0/0/0/0/1", &sealed), Err(SealError::Open));
        assert_eq!(key.open(b"", b"short"), Err(SealError::Open));
        assert!(!sealed.windows(3).any(|w| w == b"Ada"));
        assert_ne!(sealed, key.seal(b"r-1/Account/0/0/0/0/1", b"Ada"), "nonces differ");
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let key = SealingKey::generate();
        let sealed = key.seal(b"n", b"some content");
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            if let Some(byte) = damaged.get_mut(at) {
                *byte ^= 1;
            }
            assert_eq!(key.open(b"n", &damaged), Err(SealError::Open), "byte {at}");
        }
    }

    #[test]
    fn keys_wrap_keys() {
        let (kek, inner) = (SealingKey::generate(), SealingKey::generate());
        let wrapped = kek.wrap(&inner, b"r-1/raw");
        let back = kek.unwrap(&wrapped, b"r-1/raw").expect("unwraps");
        assert_eq!(back.open(b"", &inner.seal(b"", b"x")).as_deref(), Ok(b"x".as_slice()));
        assert!(kek.unwrap(&wrapped, b"r-1/clean").is_err(), "another audience");
        assert!(kek.unwrap(&kek.seal(b"", b"short"), b"").is_err());
    }
}
