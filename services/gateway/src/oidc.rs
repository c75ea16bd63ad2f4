//! Tokens of an OpenID Connect issuer: a JSON Web Token (RFC 7519) that is signed by one of the issuer's published keys.
//!
//! Guarantees: nothing of a token is believed before its signature holds under a key that the issuer publishes for the
//! very algorithm; `none` and shared-secret algorithms do not exist here; issuer, audience and times are checked; keys
//! are fetched again when an unknown one is named, at most once in [`REFETCH_MIN`].

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use syncline_domain::Role;
use syncline_wire::caller::Caller;
use thiserror::Error;

use crate::config::OidcConfig;

/// Clocks of issuer and gateway may differ by this much.
const LEEWAY_SECONDS: u64 = 60;
const REFETCH_MIN: Duration = Duration::from_secs(10);
/// Keys are asked for anew after this long, so that withdrawn ones end.
const KEYS_AGE_MAX: Duration = Duration::from_secs(600);
const FETCH_WAIT_MAX: Duration = Duration::from_secs(5);
const FETCH_BYTES_MAX: usize = 256 * 1024;
const KEYS_MAX: usize = 64;

/// Why a token of the issuer's form is not accepted. Holds nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("the token is not a JSON Web Token that can be read")]
    Form,
    #[error("the token's algorithm is not accepted: RS256, ES256 and EdDSA are")]
    Algorithm,
    #[error("the token names no key, or one that the issuer does not publish")]
    Key,
    #[error("the token's signature does not hold")]
    Signature,
    #[error("the token is of another issuer than SYNCLINE_OIDC_ISSUER")]
    Issuer,
    #[error("the token is for another audience than SYNCLINE_OIDC_AUDIENCE")]
    Audience,
    #[error("the token has expired: sign in again")]
    Expired,
    #[error("the token is not valid yet: compare the clocks of the issuer and the gateway")]
    Early,
    #[error("the token names no role: give the person viewer, operator or admin in the claim SYNCLINE_OIDC_ROLES_CLAIM names")]
    NoRole,
    #[error("the issuer's keys cannot be fetched; try again")]
    Unavailable,
}

/// The three parts of a token, if it has that form.
#[must_use]
pub fn looks_like(shown: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(shown).ok()?;
    (text.bytes().filter(|b| *b == b'.').count() == 2).then_some(text)
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood (RFC 7515, section 4.1.11); none is.
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    nbf: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn holds(&self, wanted: &str) -> bool {
        match self {
            Self::One(one) => one == wanted,
            Self::Many(many) => many.iter().any(|a| a == wanted),
        }
    }
}

/// A published key (RFC 7517), as far as it is used.
#[derive(Debug, Clone, Deserialize)]
struct Jwk {
    kid: Option<String>,
    kty: String,
    crv: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Jwks {
    // Keys of kinds that are not known here stand beside the others.
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Default)]
struct Known {
    keys: Vec<Jwk>,
    fetched: Option<Instant>,
}

/// An issuer whose tokens are accepted.
pub struct Oidc {
    config: OidcConfig,
    http: reqwest::Client,
    known: Mutex<Known>,
    /// One fetch at a time; the others wait for it and look again.
    fetching: tokio::sync::Mutex<()>,
}

impl Oidc {
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(config: OidcConfig) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(FETCH_WAIT_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            config,
            http,
            known: Mutex::default(),
            fetching: tokio::sync::Mutex::new(()),
        })
    }

    /// The caller whom a token stands for.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn verify(&self, token: &str) -> Result<Caller, Refusal> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(Refusal::Form)?;
        let header: Header = part(header)?;
        if !matches!(header.alg.as_str(), "RS256" | "ES256" | "EdDSA") || header.crit.is_some() {
            return Err(Refusal::Algorithm);
        }
        let kid = header.kid.as_deref().ok_or(Refusal::Key)?;
        let key = self.key(kid).await?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refusal::Form)?;
        verify_signature(&key, &header.alg, signed.as_bytes(), &signature)?;
        let claims: Claims = part(payload)?;
        let everything: serde_json::Value = part(payload)?;
        if claims.iss != self.config.issuer {
            return Err(Refusal::Issuer);
        }
        if !claims.aud.holds(&self.config.audience) {
            return Err(Refusal::Audience);
        }
        #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
        let (now, leeway) = (now as f64, LEEWAY_SECONDS as f64);
        if claims.exp + leeway <= now {
            return Err(Refusal::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf - leeway > now) {
            return Err(Refusal::Early);
        }
        let role = highest_role(everything.get(&self.config.roles_claim)).ok_or(Refusal::NoRole)?;
        let subject = claims.sub;
        // It goes into headers and logs.
        if subject.is_empty() || subject.len() > 255 || !subject.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Refusal::Form);
        }
        Ok(Caller { subject, role })
    }

    async fn key(&self, kid: &str) -> Result<Jwk, Refusal> {
        if let Some(key) = self.find(kid, KEYS_AGE_MAX) {
            return Ok(key);
        }
        let _one = self.fetching.lock().await;
        if let Some(key) = self.find(kid, KEYS_AGE_MAX) {
            return Ok(key);
        }
        let recently = {
            let known = self.known.lock().expect("no holder of this lock panics");
            known.fetched.is_some_and(|at| at.elapsed() < REFETCH_MIN)
        };
        if recently {
            return Err(Refusal::Key);
        }
        match self.fetch().await {
            Ok(keys) => {
                let mut known = self.known.lock().expect("no holder of this lock panics");
                *known = Known {
                    keys,
                    fetched: Some(Instant::now()),
                };
            }
            Err(why) => {
                tracing::warn!(issuer = %self.config.issuer, %why, "the issuer's keys could not be fetched");
                return Err(Refusal::Unavailable);
            }
        }
        self.find(kid, KEYS_AGE_MAX).ok_or(Refusal::Key)
    }

    fn find(&self, kid: &str, age_max: Duration) -> Option<Jwk> {
        let known = self.known.lock().expect("no holder of this lock panics");
        known.fetched.filter(|at| at.elapsed() < age_max)?;
        let mut named = known.keys.iter().filter(|k| k.kid.as_deref() == Some(kid));
        // A name that two keys bear names none.
        match (named.next(), named.next()) {
            (Some(key), None) => Some(key.clone()),
            _ => None,
        }
    }

    async fn fetch(&self) -> Result<Vec<Jwk>, String> {
        let place = format!("{}/.well-known/openid-configuration", self.config.issuer.trim_end_matches('/'));
        let discovery: Discovery = self.get(&place).await?;
        if discovery.issuer != self.config.issuer {
            return Err("its discovery document names another issuer".to_owned());
        }
        let keys: Jwks = self.get(&discovery.jwks_uri).await?;
        let keys = keys.keys.into_iter().filter_map(|k| serde_json::from_value::<Jwk>(k).ok());
        Ok(keys
            .filter(|k| k.usage.as_deref().is_none_or(|u| u == "sig"))
            .take(KEYS_MAX)
            .collect())
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, url: &str) -> Result<T, String> {
        let answer = self.http.get(url).send().await.and_then(reqwest::Response::error_for_status);
        let mut answer = answer.map_err(|e| e.without_url().to_string())?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| e.without_url().to_string())? {
            if body.len() + chunk.len() > FETCH_BYTES_MAX {
                return Err(format!("it answers more than {FETCH_BYTES_MAX} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|_| "its answer has another form".to_owned())
    }
}

fn part<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Form)?;
    serde_json::from_slice(&bytes).map_err(|_| Refusal::Form)
}

/// The key's kind must be the algorithm's: a key is never used for another one.
fn verify_signature(key: &Jwk, algorithm: &str, signed: &[u8], signature: &[u8]) -> Result<(), Refusal> {
    let bytes = |text: &Option<String>| {
        URL_SAFE_NO_PAD
            .decode(text.as_deref().unwrap_or_default())
            .map_err(|_| Refusal::Key)
    };
    let verified = match (algorithm, key.kty.as_str(), key.crv.as_deref()) {
        ("RS256", "RSA", _) => RsaPublicKeyComponents {
            n: bytes(&key.n)?,
            e: bytes(&key.e)?,
        }
        .verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature),
        ("ES256", "EC", Some("P-256")) => {
            let point = [&[4][..], &bytes(&key.x)?, &bytes(&key.y)?].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature)
        }
        ("EdDSA", "OKP", Some("Ed25519")) => UnparsedPublicKey::new(&ED25519, bytes(&key.x)?).verify(signed, signature),
        _ => return Err(Refusal::Algorithm),
    };
    verified.map_err(|_| Refusal::Signature)
}

/// The highest role among the claim's texts; `syncline:` may stand before each.
fn highest_role(claim: Option<&serde_json::Value>) -> Option<Role> {
    let texts: Vec<&str> = match claim? {
        serde_json::Value::String(text) => text.split_whitespace().collect(),
        serde_json::Value::Array(list) => list.iter().filter_map(serde_json::Value::as_str).collect(),
        _ => return None,
    };
    texts
        .into_iter()
        .filter_map(|t| t.strip_prefix("syncline:").unwrap_or(t).parse().ok())
        .max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_highest_role_counts_and_others_words_do_not() {
        for (claim, role) in [
            (json!("operator"), Some(Role::Operator)),
            (json!("viewer admin"), Some(Role::Admin)),
            (json!(["staff", "syncline:viewer"]), Some(Role::Viewer)),
            (json!(["viewer", "operator"]), Some(Role::Operator)),
            (json!(["Admin", "other:admin"]), None),
            (json!([]), None),
            (json!({"admin": true}), None),
            (json!(7), None),
        ] {
            assert_eq!(highest_role(Some(&claim)), role, "{claim}");
        }
        assert_eq!(highest_role(None), None);
    }

    #[test]
    fn only_three_parts_look_like_a_token() {
        for (shown, looks) in [("a.b.c", true), ("a.b", false), ("a.b.c.d", false), ("syn_abc", false), ("", false)] {
            assert_eq!(looks_like(shown.as_bytes()).is_some(), looks, "{shown}");
        }
    }

    /// Key and signature were made once with `openssl`, whose private half is gone.
    #[test]
    fn an_rsa_signature_holds_for_what_was_signed_and_for_its_own_key_and_algorithm() {
        const SIGNED: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSJ9.eyJzdWIiOiJhbm4ifQ";
        const N: &str = "ybBlTfUDZ2O7Ji7_k6rsBP6kkqap1kKv7K1i1bq1ESGVHtG8odgdlFSuBR_BlxmxoFJiFqtDKRTOI0ittt_opRJvvL9Q7wskYmziM4lryozCkLMLQDt1AO78-ht7KNrc_hPSMrJC8xEswtKwzW0LOmQjWBKNPjBn5QqI0PHGQ-xNA8KLyXZyWVfIqROTZQh4JS0xyR6zhpBwyyz9s8KyL75SOKA_m5nU5ezdsFI7U3A6jHdHTHMkKcZFqe0opnQp2CsU-c46bJhKN76Z1AmpuKDe-kLXYZGQRfJI9nXZpQ825eejknH4WnGwsY_KBqyi2LLj4aIfsHeavFzrOuqtEQ";
        const SIGNATURE: &str = "V_jIomY2xRPDmK4ZA99vaNm3stQwfsH82rCHn4m3rI_nYOjVINBS0Uh75mKa3Gs9Yg42BvMjFYnlFaoI8mj8lYpzwYBTOl2iJ9ib-mn37bbKBPoVBaUrlFeD6saBj7s54CocFszdQZuJ4b-emmClDTbmS6LomOERJ0mVOYGfKPa274LkZUNl4vAjtm_0zJEfAxt85LL3or27DAmQSA6Ziqhb5yC200-F5DM96ZR4hBPau4TJm4GvYEQgwjTZkl4uyt0dzcb98AcqzM-kDLKcuIcz4XTRQhNmFGq9pOBKv450df87J5MD8KFdaC4Wfs7l9stojViMqvkxb2OrmHatTg";
        let key: Jwk = serde_json::from_value(json!({"kid": "rsa", "kty": "RSA", "n": N, "e": "AQAB"})).expect("a key");
        let signature = URL_SAFE_NO_PAD.decode(SIGNATURE).expect("base64");
        let verify = |key: &Jwk, algorithm: &str, signed: &str| verify_signature(key, algorithm, signed.as_bytes(), &signature);
        assert!(verify(&key, "RS256", SIGNED).is_ok());
        assert_eq!(verify(&key, "RS256", &SIGNED.replace("hbm4", "hbm5")), Err(Refusal::Signature));
        assert_eq!(verify(&key, "RS256", ""), Err(Refusal::Signature));
        for algorithm in ["ES256", "EdDSA", "HS256", "none"] {
            assert_eq!(verify(&key, algorithm, SIGNED), Err(Refusal::Algorithm), "{algorithm}");
        }
        let halved = Jwk { n: None, ..key };
        assert_eq!(verify(&halved, "RS256", SIGNED), Err(Refusal::Signature));
    }
}
