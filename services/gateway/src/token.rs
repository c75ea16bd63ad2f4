//! The API token. Only its hash is kept, and it is compared in constant time: neither memory nor timing gives it away.

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// The hash of the token that callers must show.
#[derive(Clone)]
pub struct ApiToken {
    hash: [u8; 32],
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken")
    }
}

/// Why a caller is not let in. The words are for the caller and hold nothing of what was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no API token: send `authorization: Bearer TOKEN` (the CLI reads it from SYNCLINE_GATEWAY_TOKEN)")]
    Missing,
    #[error("the API token is not the gateway's: compare it with the gateway's SYNCLINE_GATEWAY_TOKEN")]
    Wrong,
}

impl ApiToken {
    /// `None` for a token that is empty or could not be sent in a header.
    #[must_use]
    pub fn new(token: &SecretString) -> Option<Self> {
        let token = token.expose_secret();
        let sendable = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        sendable.then(|| Self {
            hash: *blake3::hash(token.as_bytes()).as_bytes(),
        })
    }

    /// Whether the headers show the token, exactly once, as a bearer (RFC 6750, section 2.1).
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Refusal::Missing);
        };
        let shown = bearer(value.as_bytes()).ok_or(Refusal::Missing)?;
        let shown = blake3::hash(shown);
        if bool::from(self.hash.ct_eq(shown.as_bytes())) {
            Ok(())
        } else {
            Err(Refusal::Wrong)
        }
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token.trim_ascii())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_the_very_token_is_admitted() {
        let token = ApiToken::new(&SecretString::from("s3cret-token")).unwrap();
        for (shown, verdict) in [
            (&["Bearer s3cret-token"][..], Ok(())),
            (&["bearer s3cret-token"], Ok(())),
            (&[], Err(Refusal::Missing)),
            (&["s3cret-token"], Err(Refusal::Missing)),
            (&["Basic s3cret-token"], Err(Refusal::Missing)),
            (&["Bearer s3cret-token", "Bearer s3cret-token"], Err(Refusal::Missing)),
            (&["Bearer s3cret-toke"], Err(Refusal::Wrong)),
            (&["Bearer s3cret-tokens"], Err(Refusal::Wrong)),
            (&["Bearer S3cret-token"], Err(Refusal::Wrong)),
            (&["Bearer "], Err(Refusal::Wrong)),
        ] {
            assert_eq!(token.admit(&headers(shown)), verdict, "{shown:?}");
        }
    }

    #[test]
    fn a_token_that_cannot_be_sent_is_none() {
        for bad in ["", " ", "a b", "tab\t", "ümlaut"] {
            assert!(ApiToken::new(&SecretString::from(bad)).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn nothing_of_the_token_is_printed() {
        let token = ApiToken::new(&SecretString::from("s3cret-token")).unwrap();
        assert_eq!(format!("{token:?}"), "ApiToken");
    }
}
