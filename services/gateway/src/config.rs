//! What the gateway is told by its environment, beside what every service is told.

use std::num::NonZeroU32;
use std::path::PathBuf;

use syncline_runtime::config::ConfigError;

/// Requests per second that one caller may send, and twice as many at once.
const REQUESTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(50).expect("not zero");

/// Certificate chain and key as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// An issuer of OIDC tokens, and how its tokens are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcConfig {
    pub issuer: String,
    pub audience: String,
    /// The claim that holds roles: a text or a list of texts.
    pub roles_claim: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayConfig {
    pub tls: Option<TlsFiles>,
    /// Serve without TLS beyond loopback, because something in front ends TLS.
    pub plaintext: bool,
    pub oidc: Option<OidcConfig>,
    pub requests_per_second: NonZeroU32,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            tls: None,
            plaintext: false,
            oidc: None,
            requests_per_second: REQUESTS_PER_SECOND,
        }
    }
}

impl GatewayConfig {
    /// # Errors
    /// [`ConfigError`] that names the variable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(&|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
    }

    /// # Errors
    /// As [`GatewayConfig::from_env`].
    pub fn from_lookup(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let invalid = |name: &str, reason: &str| ConfigError::Invalid {
            name: name.to_owned(),
            reason: reason.to_owned(),
        };
        let tls = match (get("SYNCLINE_GATEWAY_TLS_CERT"), get("SYNCLINE_GATEWAY_TLS_KEY")) {
            (Some(certificate), Some(key)) => Some(TlsFiles {
                certificate: certificate.into(),
                key: key.into(),
            }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(invalid(
                    "SYNCLINE_GATEWAY_TLS_KEY",
                    "it is not set, but SYNCLINE_GATEWAY_TLS_CERT is",
                ));
            }
            (None, Some(_)) => {
                return Err(invalid(
                    "SYNCLINE_GATEWAY_TLS_CERT",
                    "it is not set, but SYNCLINE_GATEWAY_TLS_KEY is",
                ));
            }
        };
        let plaintext = match get("SYNCLINE_GATEWAY_PLAINTEXT").as_deref() {
            None => false,
            Some("allow") => true,
            Some(_) => return Err(invalid("SYNCLINE_GATEWAY_PLAINTEXT", "it is `allow` or not set")),
        };
        let oidc = match (get("SYNCLINE_OIDC_ISSUER"), get("SYNCLINE_OIDC_AUDIENCE")) {
            (None, None) => None,
            (Some(_), None) => return Err(invalid("SYNCLINE_OIDC_AUDIENCE", "it is not set, but SYNCLINE_OIDC_ISSUER is")),
            (None, Some(_)) => return Err(invalid("SYNCLINE_OIDC_ISSUER", "it is not set, but SYNCLINE_OIDC_AUDIENCE is")),
            (Some(issuer), Some(audience)) => {
                let url = url::Url::parse(&issuer).map_err(|_| invalid("SYNCLINE_OIDC_ISSUER", "it is not a URL"))?;
                let on_loopback = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
                if url.scheme() != "https" && !on_loopback {
                    return Err(invalid(
                        "SYNCLINE_OIDC_ISSUER",
                        "it must begin with https:// (http:// on loopback only)",
                    ));
                }
                Some(OidcConfig {
                    issuer,
                    audience,
                    roles_claim: get("SYNCLINE_OIDC_ROLES_CLAIM").unwrap_or_else(|| "roles".to_owned()),
                })
            }
        };
        let requests_per_second = match get("SYNCLINE_GATEWAY_REQUESTS_PER_SECOND") {
            None => REQUESTS_PER_SECOND,
            Some(text) => text
                .parse()
                .map_err(|_| invalid("SYNCLINE_GATEWAY_REQUESTS_PER_SECOND", "it is not a whole number above zero"))?,
        };
        Ok(Self {
            tls,
            plaintext,
            oidc,
            requests_per_second,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<GatewayConfig, ConfigError> {
        GatewayConfig::from_lookup(&|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn half_a_setting_names_the_other_half() {
        assert_eq!(with(&[]).unwrap(), GatewayConfig::default());
        for (pairs, named) in [
            (&[("SYNCLINE_GATEWAY_TLS_CERT", "c")][..], "SYNCLINE_GATEWAY_TLS_KEY"),
            (&[("SYNCLINE_GATEWAY_TLS_KEY", "k")], "SYNCLINE_GATEWAY_TLS_CERT"),
            (&[("SYNCLINE_GATEWAY_PLAINTEXT", "yes")], "SYNCLINE_GATEWAY_PLAINTEXT"),
            (&[("SYNCLINE_OIDC_ISSUER", "https://i")], "SYNCLINE_OIDC_AUDIENCE"),
            (&[("SYNCLINE_OIDC_AUDIENCE", "a")], "SYNCLINE_OIDC_ISSUER"),
            (
                &[("SYNCLINE_OIDC_ISSUER", "http://idp.example"), ("SYNCLINE_OIDC_AUDIENCE", "a")],
                "https://",
            ),
            (
                &[("SYNCLINE_OIDC_ISSUER", "::"), ("SYNCLINE_OIDC_AUDIENCE", "a")],
                "SYNCLINE_OIDC_ISSUER",
            ),
            (
                &[("SYNCLINE_GATEWAY_REQUESTS_PER_SECOND", "0")],
                "SYNCLINE_GATEWAY_REQUESTS_PER_SECOND",
            ),
        ] {
            let error = with(pairs).unwrap_err().to_string();
            assert!(error.contains(named), "{pairs:?}: {error}");
        }
        let full = with(&[
            ("SYNCLINE_OIDC_ISSUER", "http://127.0.0.1:9"),
            ("SYNCLINE_OIDC_AUDIENCE", "a"),
            ("SYNCLINE_GATEWAY_REQUESTS_PER_SECOND", "7"),
        ])
        .unwrap();
        assert_eq!(
            (full.oidc.unwrap().roles_claim.as_str(), full.requests_per_second.get()),
            ("roles", 7)
        );
    }
}
