//! Configuration from the environment, with defaults that serve a single machine.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use syncline_domain::TenantId;
use thiserror::Error;

use crate::failpoint::Failpoints;
use crate::keys::vault::VaultConfig;
use crate::lease::LEASE_RENEWAL;
use crate::tls::TlsFiles;

/// Every service and the port it listens on unless told otherwise.
pub const PORTS: [(&str, u16); 8] = [
    ("gateway", 7600),
    ("coordinator", 7601),
    ("connector", 7602),
    ("analyzer", 7603),
    ("extractor", 7604),
    ("masker", 7605),
    ("loader", 7606),
    ("monitor", 7607),
];

/// How long a start waits for NATS and PostgreSQL before it gives up with a clear message.
const START_WAIT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    #[error("{name} is not set; {remedy}")]
    Missing { name: &'static str, remedy: &'static str },
    #[error("{name} is not valid: {reason}")]
    Invalid { name: String, reason: String },
}

/// Where the other services are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerUrls {
    urls: Vec<(&'static str, String)>,
}

impl PeerUrls {
    /// The address of a service.
    #[must_use]
    pub fn url(&self, service: &str) -> &str {
        self.urls
            .iter()
            .find(|(name, _)| *name == service)
            .map_or("", |(_, url)| url.as_str())
    }
}

/// Where the keys are: a folder with one file per key, or the environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyConfig {
    pub dir: Option<PathBuf>,
    /// Key-encryption keys that never leave a Vault.
    pub vault: Option<VaultConfig>,
}

/// When a service brings its schema up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrating {
    AtStart,
    /// It only sees that somebody has (`syncline migrate`).
    Never,
}

/// For how long is kept what a run leaves behind, in days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The monitor's history of facts; totals and reports stay.
    pub events_days: u32,
    /// Refused and parked records, sealed, in the loader.
    pub refusals_days: u32,
    /// Dead letters, sealed, in the monitor.
    pub dead_letters_days: u32,
    /// The monitor's books of finished runs: report, errors, evidence.
    pub reports_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            events_days: 30,
            refusals_days: 90,
            dead_letters_days: 90,
            reports_days: 400,
        }
    }
}

impl Retention {
    fn from_lookup(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let days = |name: &str, default: u32| match get(name) {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(days) if days > 0 => Ok(days),
                _ => Err(ConfigError::Invalid {
                    name: name.to_owned(),
                    reason: "it is a whole number of days above zero".to_owned(),
                }),
            },
        };
        let default = Self::default();
        Ok(Self {
            events_days: days("SYNCLINE_RETENTION_EVENTS_DAYS", default.events_days)?,
            refusals_days: days("SYNCLINE_RETENTION_REFUSALS_DAYS", default.refusals_days)?,
            dead_letters_days: days("SYNCLINE_RETENTION_DEAD_LETTERS_DAYS", default.dead_letters_days)?,
            reports_days: days("SYNCLINE_RETENTION_REPORTS_DAYS", default.reports_days)?,
        })
    }
}

/// The configuration of one service. Prints no secret.
#[derive(Clone)]
pub struct Config {
    pub service: &'static str,
    pub listen: SocketAddr,
    pub nats_url: String,
    pub nats_replicas: usize,
    pub database_url: SecretString,
    pub migrating: Migrating,
    pub retention: Retention,
    pub tenant: TenantId,
    pub keys: KeyConfig,
    pub peers: PeerUrls,
    /// mTLS between services and to NATS.
    pub tls: Option<TlsFiles>,
    /// Where health is answered without TLS, for probes that speak none.
    pub health_listen: Option<SocketAddr>,
    pub otlp_endpoint: Option<String>,
    pub gateway_token: Option<SecretString>,
    /// How long a start waits for NATS and PostgreSQL.
    pub start_wait: Duration,
    /// How often a lease is renewed and the run's intent asked for.
    pub lease_renewal: Duration,
    /// Where this process fails on purpose; nowhere, outside of tests.
    pub failpoints: Failpoints,
    base_port: Option<u16>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("service", &self.service)
            .field("listen", &self.listen)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_env(service: &'static str) -> Result<Self, ConfigError> {
        Self::from_lookup(service, &|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
    }

    /// Reads from any look-up; tests give a table.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_lookup(service: &'static str, get: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let base_port = get("SYNCLINE_BASE_PORT").map(|v| parse("SYNCLINE_BASE_PORT", &v)).transpose()?;
        let tls = TlsFiles::from_lookup(get)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let urls = PORTS
            .iter()
            .map(|(name, _)| {
                let variable = format!("SYNCLINE_{}_URL", name.to_uppercase());
                (
                    *name,
                    get(&variable).unwrap_or_else(|| format!("{scheme}://127.0.0.1:{}", port(name, base_port))),
                )
            })
            .collect();
        let tenant = get("SYNCLINE_TENANT").map_or(Ok(TenantId::single()), |v| {
            TenantId::new(v).map_err(|e| ConfigError::Invalid {
                name: "SYNCLINE_TENANT".into(),
                reason: e.to_string(),
            })
        })?;
        Ok(Self {
            service,
            listen: match get("SYNCLINE_LISTEN") {
                Some(v) => parse("SYNCLINE_LISTEN", &v)?,
                None => SocketAddr::from(([127, 0, 0, 1], port(service, base_port))),
            },
            nats_url: match get("SYNCLINE_NATS_URL") {
                Some(url) => url,
                // The only service that never speaks to the bus need not know where it is.
                None if service == "gateway" => String::new(),
                None => {
                    return Err(ConfigError::Missing {
                        name: "SYNCLINE_NATS_URL",
                        remedy: "set it to nats://user:password@host:port",
                    });
                }
            },
            nats_replicas: get("SYNCLINE_NATS_REPLICAS").map_or(Ok(1), |v| parse("SYNCLINE_NATS_REPLICAS", &v))?,
            database_url: get("SYNCLINE_DATABASE_URL")
                .ok_or(ConfigError::Missing {
                    name: "SYNCLINE_DATABASE_URL",
                    remedy: "set it to postgres://user:password@host:port/database",
                })?
                .into(),
            migrating: match get("SYNCLINE_MIGRATE").as_deref() {
                None | Some("start") => Migrating::AtStart,
                Some("never") => Migrating::Never,
                Some(_) => {
                    return Err(ConfigError::Invalid {
                        name: "SYNCLINE_MIGRATE".to_owned(),
                        reason: "it is `start` (also when not set) or `never`".to_owned(),
                    });
                }
            },
            retention: Retention::from_lookup(get)?,
            tenant,
            keys: KeyConfig {
                dir: get("SYNCLINE_KEYS_DIR").map(PathBuf::from),
                vault: VaultConfig::from_lookup(get)?,
            },
            peers: PeerUrls { urls },
            tls,
            health_listen: get("SYNCLINE_HEALTH_LISTEN")
                .map(|v| parse("SYNCLINE_HEALTH_LISTEN", &v))
                .transpose()?,
            otlp_endpoint: get("OTEL_EXPORTER_OTLP_ENDPOINT"),
            // A token from a file may bring its line break.
            gateway_token: get("SYNCLINE_GATEWAY_TOKEN").map(|token| SecretString::from(token.trim())),
            start_wait: START_WAIT,
            lease_renewal: LEASE_RENEWAL,
            failpoints: get("SYNCLINE_FAILPOINT").map_or(Ok(Failpoints::default()), |v| parse("SYNCLINE_FAILPOINT", &v))?,
            base_port,
        })
    }

    /// The same environment for another service of the same process, on that service's own port.
    #[must_use]
    pub fn for_service(&self, service: &'static str) -> Self {
        let listen = if service == self.service {
            self.listen
        } else {
            SocketAddr::from(([127, 0, 0, 1], port(service, self.base_port)))
        };
        Self {
            service,
            listen,
            ..self.clone()
        }
    }
}

/// The gateway has the base port and the others follow in the order of [`PORTS`].
fn port(service: &str, base_port: Option<u16>) -> u16 {
    let index = PORTS.iter().position(|(name, _)| *name == service).unwrap_or(0);
    let default = PORTS.get(index).map_or(7600, |(_, port)| *port);
    base_port.map_or(default, |base| base.saturating_add(u16::try_from(index).unwrap_or(0)))
}

fn parse<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, ConfigError>
where
    T::Err: std::fmt::Display,
{
    value.parse().map_err(|e: T::Err| ConfigError::Invalid {
        name: name.to_owned(),
        reason: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let base = [
            ("SYNCLINE_NATS_URL", "nats://u:secret@h:1"),
            ("SYNCLINE_DATABASE_URL", "postgres://u:secret@h/db"),
        ];
        Config::from_lookup("loader", &|name| {
            base.iter()
                .chain(pairs)
                .rev()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        })
    }

    #[test]
    fn defaults_serve_one_machine_and_a_base_port_moves_them_all() {
        let config = with(&[]).expect("valid");
        assert_eq!(config.listen.port(), 7606);
        assert_eq!(config.peers.url("connector"), "http://127.0.0.1:7602");
        let moved = with(&[("SYNCLINE_BASE_PORT", "9000")]).expect("valid");
        assert_eq!(moved.listen.port(), 9006);
        assert_eq!(moved.peers.url("gateway"), "http://127.0.0.1:9000");
        assert_eq!(moved.for_service("monitor").listen.port(), 9007);
    }

    #[test]
    fn mistakes_name_the_variable_and_secrets_are_not_printed() {
        let missing = Config::from_lookup("loader", &|_| None).expect_err("nothing is set");
        assert!(missing.to_string().contains("SYNCLINE_NATS_URL"));
        let bad = with(&[("SYNCLINE_LISTEN", "here")]).expect_err("not an address");
        assert!(bad.to_string().contains("SYNCLINE_LISTEN"));
        assert!(with(&[("SYNCLINE_TENANT", "a.b")]).is_err());
        let bad = with(&[("SYNCLINE_MIGRATE", "sometimes")]).expect_err("not a moment");
        assert!(bad.to_string().contains("SYNCLINE_MIGRATE"));
        for days in ["0", "-1", "many", "1.5"] {
            let bad = with(&[("SYNCLINE_RETENTION_REPORTS_DAYS", days)]).expect_err("not a number of days");
            assert!(bad.to_string().contains("SYNCLINE_RETENTION_REPORTS_DAYS"));
        }
        let bad = with(&[("SYNCLINE_FAILPOINT", "loader.nowhere=kill")]).expect_err("not a failpoint");
        assert!(bad.to_string().contains("SYNCLINE_FAILPOINT"));
        let token = with(&[("SYNCLINE_GATEWAY_TOKEN", "abc\n")])
            .expect("valid")
            .gateway_token
            .expect("given");
        assert_eq!(token.expose_secret(), "abc");
        let kept = with(&[("SYNCLINE_RETENTION_EVENTS_DAYS", "7")]).expect("valid").retention;
        assert_eq!((kept.events_days, kept.refusals_days), (7, 90));
        assert!(!format!("{:?}", with(&[]).expect("valid")).contains("secret"));
    }
}
