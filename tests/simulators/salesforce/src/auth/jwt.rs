//! JSON web tokens: assertions that clients sign, and the id tokens the org signs.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::Utc;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair, PublicKeyComponents};
use ring::signature::{self, KeyPair as _};
use serde_json::{Value, json};

use crate::auth::sessions::{AuthConfig, OauthError};

/// How far ahead an assertion may end.
const ASSERTION_SECS_MAX: i64 = 180;
/// How far clocks may differ: clients in the field sign assertions that end when they are made.
const ASSERTION_SKEW_SECS: i64 = 180;
/// Signs id tokens; published with the sources, so it proves nothing to anybody outside a test.
const SIGNING_KEY: &[u8] = include_bytes!("../../tests/keys/jwt-test-only.pk8");
const SIGNING_KEY_ID: &str = "simulator";

/// An assertion's claims, once its signature, app, audience and end are found right.
pub(super) fn verified(config: &AuthConfig, assertion: &str, host: &str) -> Result<Value, OauthError> {
    const BAD: OauthError = OauthError("invalid_grant", "invalid assertion");
    let mut parts = assertion.rsplitn(2, '.');
    let (Some(signature_text), Some(signed)) = (parts.next(), parts.next()) else {
        return Err(BAD);
    };
    let decode = |text: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok() };
    let (header, claims) = signed.split_once('.').ok_or(BAD)?;
    let header = decode(header).ok_or(BAD)?;
    let claims = decode(claims).ok_or(BAD)?;
    if header["alg"] != "RS256" {
        return Err(BAD);
    }
    if claims["iss"] != config.client_id.as_str() {
        return Err(OauthError("invalid_client_id", "client identifier invalid"));
    }
    let key = config.public_key_pem.as_deref().and_then(rsa_key).ok_or(BAD)?;
    let bytes = URL_SAFE_NO_PAD.decode(signature_text).map_err(|_| BAD)?;
    signature::UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, key)
        .verify(signed.as_bytes(), &bytes)
        .map_err(|_| BAD)?;
    let audiences = ["https://login.salesforce.com", "https://test.salesforce.com", host];
    let is_audience = |text: &str| {
        let text = text.trim_end_matches('/');
        audiences.contains(&text.strip_suffix("/services/oauth2/token").unwrap_or(text))
    };
    if !claims["aud"].as_str().is_some_and(is_audience) {
        return Err(OauthError("invalid_grant", "audience is invalid"));
    }
    // Seconds, which clients write as a number or as text.
    let expires = claims["exp"].as_i64().or_else(|| claims["exp"].as_str()?.parse().ok());
    let left = expires.unwrap_or(0).saturating_sub(Utc::now().timestamp());
    if !(-ASSERTION_SKEW_SECS..=ASSERTION_SECS_MAX + ASSERTION_SKEW_SECS).contains(&left) {
        return Err(OauthError("invalid_grant", "expired authorization code"));
    }
    Ok(claims)
}

/// Claims signed by the org; none when the system has no randomness to sign with.
pub(super) fn signed(claims: &Value) -> Option<String> {
    let key = KeyPair::from_pkcs8(SIGNING_KEY).ok()?;
    let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let header = json!({"alg": "RS256", "kid": SIGNING_KEY_ID, "typ": "JWT"});
    let text = format!("{}.{}", part(&header), part(claims));
    let mut tag = vec![0; key.public().modulus_len()];
    key.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut tag)
        .ok()?;
    Some(format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag)))
}

/// The key set at `/id/keys`.
pub(super) fn key_set() -> Value {
    let keys: Vec<Value> = KeyPair::from_pkcs8(SIGNING_KEY)
        .map(|key| {
            let parts: PublicKeyComponents<Vec<u8>> = PublicKeyComponents::from(key.public_key());
            json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": SIGNING_KEY_ID,
                "n": URL_SAFE_NO_PAD.encode(parts.n), "e": URL_SAFE_NO_PAD.encode(parts.e)})
        })
        .into_iter()
        .collect();
    json!({"keys": keys})
}

/// The RSAPublicKey DER inside a PEM certificate or public key.
fn rsa_key(pem: &str) -> Option<Vec<u8>> {
    const RSA_ENCRYPTION: [u8; 13] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let body: String = pem.lines().filter(|l| !l.starts_with("-----")).map(str::trim).collect();
    let der = STANDARD.decode(body).ok()?;
    // Subject public key info: the algorithm, then a BIT STRING that wraps the key.
    let at = memchr::memmem::find(&der, &RSA_ENCRYPTION)? + RSA_ENCRYPTION.len();
    let rest = der.get(at..)?;
    let (length, header) = match rest {
        [0x03, 0x82, high, low, 0x00, ..] => (usize::from(*high) << 8 | usize::from(*low), 5),
        [0x03, 0x81, length, 0x00, ..] => (usize::from(*length), 4),
        _ => return None,
    };
    rest.get(header..header + length - 1).map(<[u8]>::to_vec)
}
