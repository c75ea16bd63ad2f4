//! The web-server flow with PKCE: where to send a person's browser, and what to make of its way back.
//!
//! Nobody but the browser sees the code, and a code without the verifier is worth nothing (RFC 7636). The verifier and
//! the state are drawn anew for every authorization.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretString};
use syncline_connect::ConnectError;
use syncline_domain::ErrorCode;
use url::Url;

/// What a mover needs: the data APIs, and to come back without the person.
pub const SCOPES: &str = "api refresh_token";

/// 96 bytes become the 128 characters that a verifier may have at most (RFC 7636, section 4.1).
const VERIFIER_BYTES: usize = 96;
const STATE_BYTES: usize = 24;
const AUTHORIZE_PATH: &str = "/services/oauth2/authorize";

/// One authorization under way.
#[derive(Debug)]
pub struct Authorization {
    /// Where the browser goes.
    pub url: String,
    /// Must equal a callback that is registered with the app, exactly.
    pub redirect_uri: String,
    verifier: SecretString,
    state: String,
}

/// What came back: goes into [`super::Grant::AuthorizationCode`].
#[derive(Debug, Clone)]
pub struct Code {
    pub code: SecretString,
    pub verifier: SecretString,
    pub redirect_uri: String,
}

impl Authorization {
    /// Begins an authorization at `host`, the login host or My Domain.
    ///
    /// # Errors
    /// When `host` or `redirect_uri` is no address, or the system has no randomness.
    pub fn begin(host: &str, client_id: &str, redirect_uri: &str) -> Result<Self, ConnectError> {
        let verifier = random(VERIFIER_BYTES)?;
        let state = random(STATE_BYTES)?;
        let invalid = |what| ConnectError::new(ErrorCode::RequestInvalid, format!("{what} is not an address"));
        Url::parse(redirect_uri).map_err(|_| invalid("the redirect address"))?;
        let mut url = Url::parse(&format!("{}{AUTHORIZE_PATH}", host.trim_end_matches('/'))).map_err(|_| invalid("the login host"))?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("scope", SCOPES)
            .append_pair("state", &state)
            .append_pair("code_challenge", &challenge(&verifier))
            .append_pair("code_challenge_method", "S256");
        Ok(Self {
            url: url.into(),
            redirect_uri: redirect_uri.to_owned(),
            verifier: verifier.into(),
            state,
        })
    }

    /// Reads the query with which the browser came back. `None` when it belongs to another authorization.
    ///
    /// # Errors
    /// `AUTH_CREDENTIALS_001` when the person or the org refused.
    pub fn finish(&self, query: &str) -> Result<Option<Code>, ConnectError> {
        let value = |name: &str| {
            url::form_urlencoded::parse(query.as_bytes())
                .find(|(k, _)| k == name)
                .map(|(_, v)| v.into_owned())
        };
        if value("state").as_ref() != Some(&self.state) {
            return Ok(None);
        }
        if let Some(error) = value("error") {
            return Err(super::refusal(&error, &value("error_description").unwrap_or_default(), "authorize"));
        }
        let code = value("code").filter(|c| !c.is_empty());
        let code = code.ok_or_else(|| ConnectError::new(ErrorCode::BadAnswer, "authorize: the browser came back without a code"))?;
        Ok(Some(Code {
            code: code.into(),
            verifier: self.verifier.expose_secret().into(),
            redirect_uri: self.redirect_uri.clone(),
        }))
    }
}

/// `S256`: the verifier's hash, so that whoever reads the address cannot redeem the code.
fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

fn random(bytes: usize) -> Result<String, ConnectError> {
    let mut drawn = vec![0; bytes];
    SystemRandom::new()
        .fill(&mut drawn)
        .map_err(|_| ConnectError::new(ErrorCode::Internal, "the system has no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(drawn))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parameter(url: &str, name: &str) -> Option<String> {
        Url::parse(url)
            .unwrap()
            .query_pairs()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.into_owned())
    }

    #[test]
    fn the_challenge_is_the_one_of_the_standard() {
        // RFC 7636, appendix B.
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn the_address_says_what_is_asked_and_hides_the_verifier() {
        let begun = Authorization::begin("https://login.salesforce.com/", "app id&x", "http://127.0.0.1:1717/callback").unwrap();
        assert!(
            begun.url.starts_with("https://login.salesforce.com/services/oauth2/authorize?"),
            "{}",
            begun.url
        );
        for (name, value) in [
            ("response_type", "code"),
            ("client_id", "app id&x"),
            ("redirect_uri", "http://127.0.0.1:1717/callback"),
            ("scope", "api refresh_token"),
            ("code_challenge_method", "S256"),
        ] {
            assert_eq!(parameter(&begun.url, name).as_deref(), Some(value));
        }
        let verifier = begun.verifier.expose_secret();
        assert_eq!(verifier.len(), 128);
        assert_eq!(parameter(&begun.url, "code_challenge"), Some(challenge(verifier)));
        assert!(!begun.url.contains(verifier) && !format!("{begun:?}").contains(verifier));
        let other = Authorization::begin("https://login.salesforce.com/", "app", "http://127.0.0.1:1/").unwrap();
        assert_ne!(other.verifier.expose_secret(), verifier);
    }

    #[test]
    fn a_way_back_of_another_authorization_is_not_ours() {
        let begun = Authorization::begin("https://x.my.salesforce.com", "app", "http://127.0.0.1:1/cb").unwrap();
        let state = parameter(&begun.url, "state").unwrap();
        for query in ["", "code=a", "code=a&state=", "code=a&state=x", "error=access_denied&state=y"] {
            assert!(begun.finish(query).unwrap().is_none(), "{query}");
        }
        let code = begun.finish(&format!("code=aPrx%3D%3D&state={state}")).unwrap().unwrap();
        assert_eq!(code.code.expose_secret(), "aPrx==");
        assert_eq!(code.verifier.expose_secret(), begun.verifier.expose_secret());
        let denied = format!("error=access_denied&error_description=end-user+denied+authorization&state={state}");
        let error = begun.finish(&denied).unwrap_err();
        assert_eq!(error.code, ErrorCode::Credentials);
        assert_eq!(error.message, "authorize: access_denied (end-user denied authorization)");
        assert!(begun.finish(&format!("state={state}")).is_err());
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for (host, redirect) in [("not a host", "http://127.0.0.1/"), ("https://x", "callback")] {
            let code = Authorization::begin(host, "app", redirect).err().map(|e| e.code);
            assert_eq!(code, Some(ErrorCode::RequestInvalid), "{host} {redirect}");
        }
    }
}
