//! From a document and its secrets to a token, through the connector lib of the system's type.
//!
//! With the flow `web_server` a person consents in a browser. Whoever sent them there brings the code that came back; it is
//! redeemed here, so that the refresh token is in nobody else's hands.

use std::collections::HashMap;
use std::time::Duration;

use secrecy::SecretString;
use syncline_connect::ConnectError;
use syncline_domain::ErrorCode;
use syncline_domain::spec::{AuthSpec, ConnectionSpec};
use syncline_salesforce::oauth::authorize::Code;
use syncline_salesforce::oauth::{self, Grant, Token};

use crate::document::{AUTHORIZATION_CODE, CLIENT_SECRET, CODE_VERIFIER, PRIVATE_KEY, REDIRECT_URI, REFRESH_TOKEN};
use crate::error::Error;
use crate::secrets::Secrets;

/// A sign-in that takes longer is given up; while it lasts, everybody who needs the token waits.
pub const SIGN_IN_WAIT_MAX: Duration = Duration::from_secs(30);
/// The org does not say how long a token lasts. This is the shortest idle timeout that an org can be
/// set to (1.10), so a token that is renewed before it has never expired by itself.
pub const LIFETIME_ASSUMED: Duration = Duration::from_secs(15 * 60);

/// What a system gave for the credentials.
pub struct SignedIn {
    pub access_token: SecretString,
    pub instance_url: String,
    /// Replaces the refresh token that was used: the org rotates them, and the old one is dead.
    pub refresh_token: Option<SecretString>,
    pub lifetime: Duration,
}

/// Signs in once.
///
/// # Errors
/// The connector lib's, or [`ErrorCode::NetworkTimeout`].
pub async fn sign_in(http: &reqwest::Client, spec: &ConnectionSpec, secrets: &Secrets) -> Result<SignedIn, ConnectError> {
    let grant = grant(spec.url.trim_end_matches('/'), &spec.auth, secrets)?;
    let token = ask(http, spec, &grant).await?;
    Ok(SignedIn {
        access_token: token.access_token,
        instance_url: token.instance_url,
        refresh_token: token.refresh_token,
        lifetime: LIFETIME_ASSUMED,
    })
}

async fn ask(http: &reqwest::Client, spec: &ConnectionSpec, grant: &Grant) -> Result<Token, ConnectError> {
    let url = spec.url.trim_end_matches('/');
    tokio::time::timeout(SIGN_IN_WAIT_MAX, oauth::authenticate(http, url, grant))
        .await
        .map_err(|_| ConnectError::new(ErrorCode::NetworkTimeout, "signing in was not answered in time"))?
}

/// Takes what a browser came back with out of a request's secrets; `None` when nobody signed in.
///
/// # Errors
/// [`Error::Invalid`] when it is not whole, or the document's flow has no browser.
pub fn take_code(auth: &AuthSpec, secrets: &mut HashMap<String, String>) -> Result<Option<Code>, Error> {
    let mut take = |name: &str| secrets.remove(name).filter(|value| !value.is_empty());
    match (take(AUTHORIZATION_CODE), take(CODE_VERIFIER), take(REDIRECT_URI)) {
        (None, None, None) => Ok(None),
        (Some(code), Some(verifier), Some(redirect_uri)) if matches!(auth, AuthSpec::WebServer { .. }) => Ok(Some(Code {
            code: code.into(),
            verifier: verifier.into(),
            redirect_uri,
        })),
        _ => Err(Error::Invalid(format!(
            "`{AUTHORIZATION_CODE}`, `{CODE_VERIFIER}` and `{REDIRECT_URI}` come together, and with the flow `web_server` only"
        ))),
    }
}

/// Redeems a code, once, for the refresh token that all later sign-ins need.
///
/// # Errors
/// As [`sign_in`]; `AUTH_CREDENTIALS_001` also when the org gives no refresh token.
pub async fn redeem(http: &reqwest::Client, spec: &ConnectionSpec, secrets: &Secrets, code: Code) -> Result<SecretString, ConnectError> {
    let AuthSpec::WebServer { client_id, .. } = &spec.auth else {
        return Err(ConnectError::new(ErrorCode::Internal, "a code of a flow without a browser"));
    };
    let grant = Grant::AuthorizationCode {
        client_id: client_id.clone(),
        client_secret: secrets.get(CLIENT_SECRET).cloned(),
        code,
    };
    let token = ask(http, spec, &grant).await?;
    token.refresh_token.ok_or_else(|| {
        ConnectError::new(
            ErrorCode::Credentials,
            "the org gave no refresh token: allow the app the scope `refresh_token`, then sign in again",
        )
    })
}

fn grant(url: &str, auth: &AuthSpec, secrets: &Secrets) -> Result<Grant, ConnectError> {
    let secret = |name: &str| {
        let missing = || {
            ConnectError::new(
                ErrorCode::Credentials,
                format!("the secret `{name}` is not stored; apply the connection again"),
            )
        };
        secrets.get(name).cloned().ok_or_else(missing)
    };
    Ok(match auth {
        AuthSpec::ClientCredentials { client_id, .. } => Grant::ClientCredentials {
            client_id: client_id.clone(),
            client_secret: secret(CLIENT_SECRET)?,
        },
        AuthSpec::JwtBearer {
            client_id,
            username,
            audience,
            ..
        } => Grant::JwtBearer {
            client_id: client_id.clone(),
            username: username.clone(),
            audience: audience.clone().unwrap_or_else(|| audience_of(url)),
            private_key_pem: secret(PRIVATE_KEY)?,
        },
        AuthSpec::RefreshToken {
            client_id, client_secret, ..
        } => Grant::RefreshToken {
            client_id: client_id.clone(),
            client_secret: client_secret.as_ref().map(|_| secret(CLIENT_SECRET)).transpose()?,
            refresh_token: secret(REFRESH_TOKEN)?,
        },
        AuthSpec::WebServer { client_id, client_secret } => Grant::RefreshToken {
            client_id: client_id.clone(),
            client_secret: client_secret.as_ref().map(|_| secret(CLIENT_SECRET)).transpose()?,
            refresh_token: secret(REFRESH_TOKEN)?,
        },
    })
}

/// Whom an assertion is addressed to when the document does not say: the login host of the kind of org that the address
/// belongs to, and any other host itself.
fn audience_of(url: &str) -> String {
    let host = url::Url::parse(url)
        .ok()
        .and_then(|u| u.host_str().map(str::to_owned))
        .unwrap_or_default();
    if host == "test.salesforce.com" || host.ends_with(".sandbox.my.salesforce.com") || host.ends_with(".scratch.my.salesforce.com") {
        "https://test.salesforce.com".to_owned()
    } else if host.ends_with(".salesforce.com") {
        "https://login.salesforce.com".to_owned()
    } else {
        url.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assertions_are_addressed_to_the_login_host_of_the_org() {
        for (url, audience) in [
            ("https://login.salesforce.com", "https://login.salesforce.com"),
            ("https://acme.my.salesforce.com", "https://login.salesforce.com"),
            ("https://acme--uat.sandbox.my.salesforce.com", "https://test.salesforce.com"),
            ("https://test.salesforce.com", "https://test.salesforce.com"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ] {
            assert_eq!(audience_of(url), audience, "{url}");
        }
    }
}
