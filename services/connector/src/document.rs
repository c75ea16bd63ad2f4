//! Connection documents: reading, and the checks that need more than the document's own grammar.

use syncline_domain::spec::{AuthSpec, ConnectionDocument, ConnectionSpec, Document, SystemKind, read_document};
use url::{Host, Url};

use crate::error::Error;

/// Winter '26, the version that the connector was written against.
pub const API_VERSION_DEFAULT: &str = "65.0";

/// The secrets that a connection can have; names of the request's `secrets` map and of the document's references.
pub const CLIENT_SECRET: &str = "client_secret";
pub const PRIVATE_KEY: &str = "private_key";
pub const REFRESH_TOKEN: &str = "refresh_token";
/// With the flow `web_server`, beside the document's secrets: what a browser came back with, and how it was sent.
pub const AUTHORIZATION_CODE: &str = "authorization_code";
pub const CODE_VERIFIER: &str = "code_verifier";
pub const REDIRECT_URI: &str = "redirect_uri";

/// Reads one document of kind Connection.
///
/// # Errors
/// [`Error::Document`] with line and column, [`Error::Invalid`] for another kind or a bad address.
pub fn read(yaml: &str) -> Result<ConnectionDocument, Error> {
    match read_document(yaml)? {
        Document::Connection(document) => {
            check_url(&document.spec.url)?;
            Ok(document)
        }
        Document::Sync(_) => Err(Error::Invalid(
            "this is a Sync; expected one document of `kind: Connection`".to_owned(),
        )),
    }
}

/// The address is where secrets are sent: no user part that could disguise the host, nothing behind the path.
fn check_url(url: &str) -> Result<(), Error> {
    let parsed = Url::parse(url).map_err(|e| Error::Invalid(format!("`url` is not an address: {e}")))?;
    if is_trustworthy(&parsed) && parsed.query().is_none() && parsed.fragment().is_none() {
        return Ok(());
    }
    Err(Error::Invalid(
        "`url` must be https://HOST, or http:// on a loopback address, without user, query or fragment".to_owned(),
    ))
}

/// Whether a token or secret may be sent there: encrypted, or not leaving this machine.
#[must_use]
pub fn is_trustworthy(url: &Url) -> bool {
    let named = url.host().is_some() && url.username().is_empty() && url.password().is_none();
    let loopback = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(domain)) => domain == "localhost",
        None => false,
    };
    named && (url.scheme() == "https" || (url.scheme() == "http" && loopback))
}

/// The secrets that the document refers to.
#[must_use]
pub fn secret_names(auth: &AuthSpec) -> Vec<&'static str> {
    match auth {
        AuthSpec::ClientCredentials { .. } => vec![CLIENT_SECRET],
        AuthSpec::JwtBearer { .. } => vec![PRIVATE_KEY],
        AuthSpec::WebServer { client_secret: None, .. } => Vec::new(),
        AuthSpec::WebServer {
            client_secret: Some(_), ..
        } => vec![CLIENT_SECRET],
        AuthSpec::RefreshToken { client_secret: None, .. } => vec![REFRESH_TOKEN],
        AuthSpec::RefreshToken {
            client_secret: Some(_), ..
        } => vec![CLIENT_SECRET, REFRESH_TOKEN],
    }
}

/// Whether a consent that a person gave for one document holds for the other.
#[must_use]
pub fn same_consent(one: &ConnectionSpec, other: &ConnectionSpec) -> bool {
    match (&one.auth, &other.auth) {
        (AuthSpec::WebServer { client_id: a, .. }, AuthSpec::WebServer { client_id: b, .. }) => {
            a == b && one.url.trim_end_matches('/') == other.url.trim_end_matches('/')
        }
        _ => false,
    }
}

#[must_use]
pub fn type_name(kind: SystemKind) -> &'static str {
    match kind {
        SystemKind::Salesforce => "salesforce",
    }
}

#[must_use]
pub fn api_version(spec: &ConnectionSpec) -> &str {
    spec.api_version.as_deref().unwrap_or(API_VERSION_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(url: &str) -> String {
        format!(
            "apiVersion: syncline.dev/v1\nkind: Connection\nmetadata: {{name: production}}\nspec:\n  type: salesforce\n  url: {url}\n  auth: {{flow: client_credentials, client_id: app, client_secret: {{env: X}}}}\n"
        )
    }

    #[test]
    fn addresses_that_disguise_their_host_are_refused() {
        for good in [
            "https://login.salesforce.com",
            "http://127.0.0.1:8080",
            "http://localhost:1/",
            "http://[::1]:80",
        ] {
            assert!(read(&yaml(good)).is_ok(), "{good}");
        }
        for bad in [
            "http://localhost:pw@evil.example",
            "https://user@evil.example",
            "http://127.0.0.1.evil.example",
            "https://host?x=1",
            "https://",
            "ftp://127.0.0.1",
        ] {
            assert!(read(&yaml(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_sync_is_not_a_connection() {
        let sync =
            "apiVersion: syncline.dev/v1\nkind: Sync\nmetadata: {name: a}\nspec:\n  source: b\n  target: c\n  objects: [{name: Account}]\n";
        assert!(matches!(read(sync), Err(Error::Invalid(_))));
    }
}
