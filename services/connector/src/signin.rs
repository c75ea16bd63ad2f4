//! From a document and its secrets to a token, through the connector lib of the system's type.

use std::time::Duration;

use secrecy::SecretString;
use syncline_connect::ConnectError;
use syncline_domain::ErrorCode;
use syncline_domain::spec::{AuthSpec, ConnectionSpec};
use syncline_salesforce::oauth::{self, Grant};

use crate::document::{CLIENT_SECRET, PRIVATE_KEY, REFRESH_TOKEN};
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
    let url = spec.url.trim_end_matches('/');
    let grant = grant(url, &spec.auth, secrets)?;
    let token = tokio::time::timeout(SIGN_IN_WAIT_MAX, oauth::authenticate(http, url, &grant))
        .await
        .map_err(|_| ConnectError::new(ErrorCode::NetworkTimeout, "signing in was not answered in time"))??;
    Ok(SignedIn {
        access_token: token.access_token,
        instance_url: token.instance_url,
        refresh_token: token.refresh_token,
        lifetime: LIFETIME_ASSUMED,
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
