//! The settings of services, read as the services read them, and the certificates that they name.

use chrono::Utc;
use syncline_bus::permissions;
use syncline_gateway::config::GatewayConfig;
use syncline_runtime::config::{ConfigError, PORTS};
use syncline_runtime::tls::{self, Tls, TlsError, TlsFiles, identity_name};
use syncline_runtime::{Config, rpc};

use super::{Examination, Finding, certificate, told};

const CHECK: &str = "environment";
const RENEWAL: &str = "`syncline secrets DIR --renew-certificates` makes new ones of the same authority; then start the services again.";

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads the settings of every service. Without an answer nothing else of the installation can be looked at.
pub fn examine(get: Lookup<'_>) -> (Examination, Option<Config>) {
    let mut seen = Examination::default();
    let mut wrong: Vec<ConfigError> = Vec::new();
    for (service, _) in PORTS {
        mistakes(get, &|get| Config::from_lookup(service, get).err(), &mut wrong);
    }
    mistakes(get, &|get| GatewayConfig::from_lookup(get).err(), &mut wrong);
    if wrong.is_empty() {
        seen.add(Finding::ok(CHECK, format!("valid for all {} services", PORTS.len())));
    }
    for error in wrong {
        seen.add(invalid(&error));
    }
    // Its settings name both servers.
    (seen, Config::from_lookup("coordinator", get).ok())
}

/// Reading stops at the first mistake; so it is done again as if that one had been mended, until there is none.
fn mistakes(get: Lookup<'_>, read: &dyn Fn(Lookup<'_>) -> Option<ConfigError>, wrong: &mut Vec<ConfigError>) {
    let mut mended: Vec<String> = Vec::new();
    loop {
        let pretended = |name: &str| match (get(name), mended.iter().any(|m| m == name)) {
            (found, false) => found,
            (Some(_), true) => None,
            (None, true) => Some("set".to_owned()),
        };
        let Some(error) = read(&pretended) else { return };
        let name = match &error {
            ConfigError::Missing { name, .. } => (*name).to_owned(),
            ConfigError::Invalid { name, .. } => name.clone(),
        };
        if mended.contains(&name) {
            return;
        }
        mended.push(name);
        if !wrong.contains(&error) {
            wrong.push(error);
        }
    }
}

fn invalid(error: &ConfigError) -> Finding {
    match error {
        ConfigError::Missing { name, remedy } => Finding::fail(CHECK, format!("{name} is not set"), sentence(remedy)),
        ConfigError::Invalid { name, reason } => Finding::fail(
            CHECK,
            format!("{name}: {reason}"),
            format!("Set {name} anew in the environment of the services."),
        ),
    }
}

/// Starts with a capital and ends with a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

/// The certificates of services among each other and of the gateway, as they lie in files.
pub fn certificates(config: &Config, get: &dyn Fn(&str) -> Option<String>) -> Examination {
    let mut seen = Examination::default();
    match &config.tls {
        None => seen.add(Finding::ok("TLS", "none between services")),
        Some(files) => between_services(files, &mut seen),
    }
    if let Ok(GatewayConfig { tls: Some(files), .. }) = GatewayConfig::from_lookup(get) {
        let renewal = "Put a new certificate there, and start the gateway again.";
        let read = tls::certificate("SYNCLINE_GATEWAY_TLS_CERT", &files.certificate);
        seen.add(judged("TLS gateway", read, renewal, |_| Ok(String::new())));
        if let Err(error) = tls::private_key("SYNCLINE_GATEWAY_TLS_KEY", &files.key) {
            seen.add(Finding::fail("TLS gateway", told(&error), "Put the key of the certificate there."));
        }
    }
    seen
}

fn between_services(files: &TlsFiles, seen: &mut Examination) {
    let ca = tls::certificate("SYNCLINE_TLS_CA", &files.ca);
    let replaced = "`syncline secrets DIR` makes an authority and certificates of it; put its ca.pem there.";
    seen.add(judged("TLS authority", ca, replaced, |_| Ok(String::new())));
    let own = tls::certificate("SYNCLINE_TLS_CERT", &files.certificate);
    seen.add(judged("TLS certificate", own, RENEWAL, whose));
    let check = "TLS key";
    let key = match tls::private_key("SYNCLINE_TLS_KEY", &files.key) {
        Err(error) => Finding::fail(check, told(&error), "Put the key of the certificate there."),
        // What cannot be read of the other two was said above.
        Ok(_) => match Tls::load(files).map(|tls| rpc::channel("https://127.0.0.1:1", Some(tls.client("gateway")))) {
            Ok(Err(_)) => Finding::fail(
                check,
                "it is not the key of the certificate",
                "Set SYNCLINE_TLS_KEY to the file that was made with SYNCLINE_TLS_CERT.",
            ),
            _ => Finding::ok(check, "there"),
        },
    };
    seen.add(key);
}

/// The service that a certificate names: others let nobody else in.
fn whose(validity: &certificate::Validity) -> Result<String, Finding> {
    let known = PORTS.iter().map(|(service, _)| *service).chain([permissions::ADMINISTRATOR]);
    match known.into_iter().find(|service| validity.names.contains(&identity_name(service))) {
        Some(service) => Ok(format!("of `{service}`, ")),
        None => Err(Finding::fail(
            "TLS certificate",
            "it names no service, and services let nobody in who is none",
            "Use one that `syncline secrets` made, or one whose DNS names have SERVICE.syncline among them.",
        )),
    }
}

fn judged(
    check: &str,
    read: Result<Vec<u8>, TlsError>,
    renewal: &str,
    whose: impl Fn(&certificate::Validity) -> Result<String, Finding>,
) -> Finding {
    let text = match read {
        Ok(text) => text,
        Err(error @ TlsError::Validity { .. }) => {
            let detail = told(&error);
            return Finding::fail(check, detail.trim_end_matches("; put a new one there"), renewal);
        }
        Err(error) => {
            return Finding::fail(
                check,
                told(&error),
                "See that the file is there, that the services may read it, and that it is PEM.",
            );
        }
    };
    match certificate::of_pem(&text) {
        Some(validity) => match whose(&validity) {
            Ok(whose) => certificate::judge(check, &whose, &validity, Utc::now(), renewal),
            Err(finding) => finding,
        },
        None => Finding::fail(check, "it cannot be read", renewal),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Verdict;
    use super::*;

    const SERVERS: [(&str, &str); 2] = [
        ("SYNCLINE_NATS_URL", "nats://u:s3cret@h:1"),
        ("SYNCLINE_DATABASE_URL", "postgres://u:s3cret@h/db"),
    ];

    fn with(pairs: &[(&str, &str)]) -> (Examination, Option<Config>) {
        let all: Vec<(String, String)> = SERVERS
            .iter()
            .chain(pairs)
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        examine(&|name| all.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.clone()))
    }

    #[test]
    fn every_mistake_is_one_finding_that_names_the_variable() {
        let (seen, config) = with(&[]);
        assert_eq!(seen.findings, [Finding::ok("environment", "valid for all 8 services")]);
        assert!(config.is_some());
        for (name, value) in [
            ("SYNCLINE_BASE_PORT", "many"),
            ("SYNCLINE_MIGRATE", "sometimes"),
            ("SYNCLINE_TENANT", "a.b"),
            ("SYNCLINE_NATS_REPLICAS", "three"),
            ("SYNCLINE_GATEWAY_PLAINTEXT", "yes"),
            ("SYNCLINE_OIDC_AUDIENCE", "a"),
        ] {
            let (seen, _) = with(&[(name, value)]);
            let [finding] = &seen.findings[..] else {
                panic!("{name}: {seen:?}")
            };
            assert_eq!(finding.verdict, Verdict::Fail);
            let all = format!("{finding:?}");
            let named = name.replace("AUDIENCE", "ISSUER");
            assert!(all.contains(&named), "{all}");
            assert!(!all.contains("s3cret"));
        }
        let (seen, _) = with(&[
            ("SYNCLINE_MIGRATE", "x"),
            ("SYNCLINE_TLS_CA", "f"),
            ("SYNCLINE_TLS_KEY", "f"),
            ("SYNCLINE_LISTEN", "here"),
        ]);
        assert_eq!(seen.count(Verdict::Fail), 3, "one does not hide another: {seen:?}");
        let (seen, config) = examine(&|_| None);
        assert_eq!(seen.count(Verdict::Fail), 2, "both servers, each once: {seen:?}");
        assert!(config.is_none());
        assert_eq!(
            seen.findings[0],
            Finding::fail(
                "environment",
                "SYNCLINE_DATABASE_URL is not set",
                "Set it to postgres://user:password@host:port/database."
            )
        );
    }

    #[tokio::test]
    async fn certificates_are_judged_as_they_lie_in_their_files() {
        use crate::certificates::{authority, issue};
        syncline_runtime::entry::install_crypto();
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        let ca = authority().unwrap();
        std::fs::write(file("ca.pem"), &ca.certificate).unwrap();
        let put = |service: &str, days: u64| {
            let issued = issue(&ca, service, &[], days).unwrap();
            std::fs::write(file("own.pem"), &issued.certificate).unwrap();
            std::fs::write(file("own.key"), issued.key.as_str()).unwrap();
        };
        let files = TlsFiles {
            ca: file("ca.pem"),
            certificate: file("own.pem"),
            key: file("own.key"),
        };
        let look = || {
            let mut seen = Examination::default();
            between_services(&files, &mut seen);
            seen.findings
        };
        put("masker", 365);
        let verdicts = |found: &[Finding]| found.iter().map(|f| f.verdict).collect::<Vec<_>>();
        let found = look();
        assert_eq!(verdicts(&found), [Verdict::Ok; 3], "{found:?}");
        assert!(found[1].detail.starts_with("of `masker`, valid for 364 more days"), "{found:?}");

        let others_key = std::fs::read(file("own.key")).unwrap();
        put("masker", 7);
        let found = look();
        assert_eq!(verdicts(&found), [Verdict::Ok, Verdict::Warn, Verdict::Ok], "{found:?}");
        assert_eq!(found[1].remedy.as_deref(), Some(RENEWAL));

        std::fs::write(file("own.key"), others_key).unwrap();
        assert_eq!(look()[2].detail, "it is not the key of the certificate");
        std::fs::remove_file(file("own.key")).unwrap();
        assert!(look()[2].detail.contains("SYNCLINE_TLS_KEY"));
        put("stranger", 365);
        assert!(look()[1].detail.contains("names no service"));
        std::fs::write(file("ca.pem"), "nothing").unwrap();
        assert!(look()[0].detail.starts_with("SYNCLINE_TLS_CA: "));
    }
}
