//! The way to the gateway: address, name, port, TLS, health, token, clock, version. What needs an earlier step is not looked
//! at when that one failed: its finding is the one to mend.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use http_body_util::{BodyExt as _, Limited};
use secrecy::{ExposeSecret as _, SecretString};
use syncline_wire::identity::{WhoAmIRequest, WhoAmIResponse};
use tonic::{Code, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::{CHECK_MAX, Examination, Finding, certificate, tls, within};
use crate::client::Gateway;
use crate::error::{CliError, is_transport};

/// The check of the gateway's certificate.
const TLS: &str = "gateway TLS";
const ADDRESS_REMEDY: &str = "Give one such as http://127.0.0.1:7600 with --gateway or SYNCLINE_GATEWAY_URL.";
const TOKEN_REMEDY: &str = "Give a token with SYNCLINE_GATEWAY_TOKEN; an administrator makes one with `syncline token create`.";
/// Clocks may differ by so many seconds before tokens and leases are judged differently at both ends.
const CLOCK_SECONDS_MAX: i64 = 60;
/// A token that ends sooner will hardly see the end of what it starts.
const TOKEN_MINUTES_MIN: i64 = 10;
/// The description of the REST paths, which names the gateway's version, is far smaller.
const DESCRIPTION_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where the gateway is and how to speak to it.
pub struct Way<'a> {
    pub url: &'a str,
    pub ca: Option<&'a Path>,
    pub token: Option<&'a SecretString>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    encrypted: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

impl Address {
    fn parse(url: &str) -> Option<Self> {
        let uri: http::Uri = url.parse().ok()?;
        let encrypted = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        Some(Self {
            encrypted,
            host: uri.host()?.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 }),
        })
    }

    /// Without user and password, if somebody has put them there.
    fn shown(&self) -> String {
        let scheme = if self.encrypted { "https" } else { "http" };
        match self.host.contains(':') {
            true => format!("{scheme}://[{}]:{}", self.host, self.port),
            false => format!("{scheme}://{}:{}", self.host, self.port),
        }
    }
}

pub async fn examine(way: &Way<'_>) -> Examination {
    let mut seen = Examination::default();
    let Some(address) = Address::parse(way.url) else {
        seen.add(Finding::fail("gateway address", "it is not one", ADDRESS_REMEDY));
        return seen;
    };
    seen.add(Finding::ok("gateway address", address.shown()));
    let Some(found) = resolve(&address, &mut seen).await else {
        return seen;
    };
    let Some(reached) = reach(&address, &found, &mut seen).await else {
        return seen;
    };
    let names = if address.encrypted {
        match presented(way, &address, reached, &mut seen).await {
            Some(names) => names,
            None => return seen,
        }
    } else {
        seen.add(unencrypted(reached.ip()));
        Vec::new()
    };
    let gateway = match Gateway::new(way.url, way.ca, way.token) {
        Ok(gateway) => gateway,
        // Address and authority were seen to be good; what is left is the token.
        Err(error) => {
            seen.add(refused("API token", &error, way, &address));
            return seen;
        }
    };
    let health = HealthCheckRequest {
        service: syncline_runtime::health::READINESS.to_owned(),
    };
    let (mut health_service, mut tokens) = (gateway.health(), gateway.tokens());
    let (health, me, version) = tokio::join!(
        within(health_service.check(health)),
        within(tokens.who_am_i(WhoAmIRequest {})),
        version(&gateway),
    );
    if let Err(status) = &health
        && let Some(why) = is_transport(status)
    {
        let finding = untrusted_or_strange(&address, &why, &names);
        // Of a certificate there is one finding: that it is not trusted, however long it may live.
        seen.findings.retain(|f| f.check != TLS || finding.check != TLS);
        seen.add(finding);
        return seen;
    }
    let date = date(&health).or_else(|| date(&me));
    seen.add(ready(health));
    seen.add(token(way.token, me, Utc::now()));
    if let Some(date) = date {
        seen.add(clock(Utc::now(), date));
    }
    match version {
        Some(version) => seen.add(same_version(env!("CARGO_PKG_VERSION"), &version)),
        None => seen.unseen.push("the gateway's version: it does not tell it".to_owned()),
    }
    seen
}

async fn resolve(address: &Address, seen: &mut Examination) -> Option<Vec<SocketAddr>> {
    let looked = tokio::time::timeout(CHECK_MAX, tokio::net::lookup_host((address.host.as_str(), address.port))).await;
    let found: Vec<SocketAddr> = match looked {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    if found.is_empty() {
        seen.add(Finding::fail(
            "gateway name",
            format!("`{}` is not known here", address.host),
            "See that it is spelled as the name server or /etc/hosts has it, and that this machine can reach its name server.",
        ));
        return None;
    }
    if address.host.parse::<IpAddr>().is_err() {
        let all: Vec<String> = found.iter().map(|a| a.ip().to_string()).collect();
        seen.add(Finding::ok("gateway name", format!("`{}` is {}", address.host, all.join(", "))));
    }
    Some(found)
}

async fn reach(address: &Address, found: &[SocketAddr], seen: &mut Examination) -> Option<SocketAddr> {
    let check = "gateway port";
    match tokio::time::timeout(CHECK_MAX, tokio::net::TcpStream::connect(found)).await {
        Ok(Ok(stream)) => {
            seen.add(Finding::ok(check, format!("port {} is open", address.port)));
            stream.peer_addr().ok()
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            seen.add(Finding::fail(
                check,
                format!("nobody listens on port {}", address.port),
                "Start the gateway (`syncline dev` starts every service), or say where it is with --gateway or SYNCLINE_GATEWAY_URL.",
            ));
            None
        }
        Ok(Err(error)) => {
            seen.add(Finding::fail(
                check,
                format!("port {} cannot be reached: {error}", address.port),
                "See that this machine has a route to it.",
            ));
            None
        }
        Err(_) => {
            seen.add(Finding::fail(
                check,
                format!("port {} gives no answer within {} s", address.port, CHECK_MAX.as_secs()),
                "See that no firewall drops what this machine sends there.",
            ));
            None
        }
    }
}

fn unencrypted(ip: IpAddr) -> Finding {
    if ip.is_loopback() {
        Finding::ok(TLS, "none; the address is on this machine")
    } else {
        Finding::warn(
            TLS,
            "none: the token crosses the network for everybody to read",
            "Use an address with https://; the gateway gets its certificate by SYNCLINE_GATEWAY_TLS_CERT and SYNCLINE_GATEWAY_TLS_KEY.",
        )
    }
}

/// Adds what is to be said of the gateway's certificate, and answers the names in it; none when TLS is not spoken.
async fn presented(way: &Way<'_>, address: &Address, reached: SocketAddr, seen: &mut Examination) -> Option<Vec<String>> {
    if let Err(error) = Gateway::new(way.url, way.ca, None) {
        seen.add(refused(TLS, &error, way, address));
        return None;
    }
    match tls::presented(reached, &address.host).await {
        Ok(der) => {
            let Some(validity) = certificate::of_der(&der) else {
                seen.add(Finding::fail(
                    TLS,
                    "its certificate cannot be read",
                    "Put another one at SYNCLINE_GATEWAY_TLS_CERT and start the gateway again.",
                ));
                return None;
            };
            let renewal = "Put a new certificate at the gateway's SYNCLINE_GATEWAY_TLS_CERT, and start the gateway again.";
            let finding = certificate::judge(TLS, "", &validity, Utc::now(), renewal);
            let bad = finding.verdict == super::Verdict::Fail;
            seen.add(finding);
            (!bad).then_some(validity.names)
        }
        Err(why) => {
            seen.add(Finding::fail(
                TLS,
                format!("no TLS is spoken there: {why}"),
                "If the gateway serves without TLS, begin the address with http://; else see that the port is the gateway's.",
            ));
            None
        }
    }
}

/// A refusal of the way itself, its address without a password.
fn refused(check: &str, error: &CliError, way: &Way<'_>, address: &Address) -> Finding {
    let remedy = error.remedy.clone().unwrap_or_else(|| TOKEN_REMEDY.to_owned());
    Finding::fail(check, error.message.replace(way.url, &address.shown()), remedy)
}

/// The port is open and the request did not get through: of TLS it is the trust, else another protocol.
fn untrusted_or_strange(address: &Address, why: &str, names: &[String]) -> Finding {
    if !address.encrypted || !why.contains("certificate") {
        return Finding::fail(
            "gateway health",
            format!("what listens there does not speak gRPC: {why}"),
            "If it serves with TLS, begin the address with https://; else see that the port is the gateway's.",
        );
    }
    let not_ours = "See that it was issued by an authority of the system, or name its authority with --ca or SYNCLINE_GATEWAY_CA.";
    if why.contains("not valid for name") {
        let remedy = match names {
            [] => "Put a certificate at the gateway's SYNCLINE_GATEWAY_TLS_CERT that names the host.".to_owned(),
            names => format!("Use a name that the certificate has: {}.", names.join(", ")),
        };
        return Finding::fail(TLS, format!("its certificate does not name `{}`", address.host), remedy);
    }
    let reason = if why.contains("UnknownIssuer") {
        "its certificate is not trusted: its issuer is not known here".to_owned()
    } else {
        format!("its certificate is not trusted: {why}")
    };
    Finding::fail(TLS, reason, not_ours)
}

fn ready(answer: Result<Response<HealthCheckResponse>, Status>) -> Finding {
    let check = "gateway health";
    let log = "Look at the gateway's log; `syncline doctor --installation` on its machine says more.";
    match answer.map(|a| a.into_inner().status()) {
        Ok(ServingStatus::Serving) => Finding::ok(check, "ready"),
        Ok(_) => Finding::fail(check, "it runs and is not ready: a server that it needs does not answer", log),
        Err(status) if status.code() == Code::DeadlineExceeded => Finding::fail(check, said(&status), log),
        Err(status) => Finding::fail(
            check,
            format!("it does not tell: {}", said(&status)),
            "See that the port is the gateway's, and not another service's.",
        ),
    }
}

fn token(given: Option<&SecretString>, answer: Result<Response<WhoAmIResponse>, Status>, now: DateTime<Utc>) -> Finding {
    let check = "API token";
    let Some(given) = given else {
        return Finding::fail(check, "none is given", TOKEN_REMEDY);
    };
    match answer {
        Ok(me) => {
            let me = me.into_inner();
            let accepted = format!("accepted: {} ({})", me.subject, me.role);
            match minutes_left(given.expose_secret(), now) {
                Some(minutes) if minutes < TOKEN_MINUTES_MIN => Finding::warn(
                    check,
                    format!("{accepted}, for {} more min", minutes.max(0)),
                    "Get a new one from your issuer.",
                ),
                Some(minutes) => Finding::ok(check, format!("{accepted}, for {minutes} more min")),
                None => Finding::ok(check, accepted),
            }
        }
        Err(status) if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) => {
            Finding::fail(check, format!("refused: {}", said(&status)), TOKEN_REMEDY)
        }
        Err(status) => Finding::fail(
            check,
            format!("the gateway could not judge it: {}", said(&status)),
            "Look at the gateway's log; its database may be away.",
        ),
    }
}

/// How long an issuer's token lives; the gateway's own do not tell.
fn minutes_left(token: &str, now: DateTime<Utc>) -> Option<i64> {
    let [_, claims, _] = token.split('.').collect::<Vec<_>>()[..] else {
        return None;
    };
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let end = DateTime::from_timestamp(claims.get("exp")?.as_i64()?, 0)?;
    Some((end - now).num_minutes())
}

fn said(status: &Status) -> &str {
    match status.message() {
        "" => status.code().description(),
        message => message,
    }
}

/// When the answer was given, by the gateway's clock.
fn date<T>(answer: &Result<Response<T>, Status>) -> Option<DateTime<Utc>> {
    let metadata = match answer {
        Ok(response) => response.metadata(),
        Err(status) => status.metadata(),
    };
    let text = metadata.get("date")?.to_str().ok()?;
    Some(DateTime::parse_from_rfc2822(text).ok()?.to_utc())
}

fn clock(here: DateTime<Utc>, there: DateTime<Utc>) -> Finding {
    let seconds = (here - there).num_seconds();
    if seconds.abs() > CLOCK_SECONDS_MAX {
        let which = if seconds > 0 { "ahead of" } else { "behind" };
        Finding::warn(
            "clock",
            format!("this machine is {} s {which} the gateway", seconds.abs()),
            "Let both machines follow a time server (NTP).",
        )
    } else {
        Finding::ok("clock", "as the gateway's, within a minute")
    }
}

/// The gateway's version, as it stands in the description of its REST paths.
async fn version(gateway: &Gateway) -> Option<String> {
    let asking = async {
        let answer = gateway.get("/openapi.json").await?;
        let body = Limited::new(answer.into_body(), DESCRIPTION_BYTES_MAX)
            .collect()
            .await
            .ok()?
            .to_bytes();
        let description: serde_json::Value = serde_json::from_slice(&body).ok()?;
        Some(description.pointer("/info/version")?.as_str()?.to_owned())
    };
    tokio::time::timeout(CHECK_MAX, asking).await.ok().flatten()
}

fn same_version(ours: &str, theirs: &str) -> Finding {
    if ours == theirs {
        Finding::ok("version", format!("{ours}, as the gateway's"))
    } else {
        Finding::warn(
            "version",
            format!("this is {ours}, the gateway is {theirs}"),
            "Use the command line of the gateway's release.",
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn an_address_is_shown_without_a_password_and_with_its_port() {
        for (url, shown) in [
            ("http://127.0.0.1:7600", Some("http://127.0.0.1:7600")),
            ("https://me:s3cret@syncline.example/x", Some("https://syncline.example:443")),
            ("http://[::1]:7600", Some("http://[::1]:7600")),
            ("ftp://h", None),
            ("127.0.0.1:7600", None),
            ("", None),
            ("http://a b", None),
        ] {
            assert_eq!(Address::parse(url).map(|a| a.shown()).as_deref(), shown, "{url}");
        }
    }

    #[test]
    fn what_is_not_on_this_machine_wants_tls() {
        assert_eq!(unencrypted([127, 0, 0, 1].into()).verdict, Verdict::Ok);
        assert_eq!(unencrypted([10, 0, 0, 1].into()).verdict, Verdict::Warn);
    }

    #[test]
    fn clocks_and_versions_that_differ_are_worth_a_warning() {
        let now = Utc::now();
        let seconds = chrono::Duration::seconds;
        assert_eq!(clock(now, now - seconds(60)).verdict, Verdict::Ok);
        assert_eq!(clock(now, now - seconds(61)).detail, "this machine is 61 s ahead of the gateway");
        assert_eq!(clock(now, now + seconds(90)).detail, "this machine is 90 s behind the gateway");
        assert_eq!(same_version("1.0.0", "1.0.0").verdict, Verdict::Ok);
        assert_eq!(same_version("1.0.0", "1.1.0").verdict, Verdict::Warn);
    }

    #[test]
    fn an_issuers_token_tells_when_it_ends_and_another_does_not() {
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let jwt = |claims: &str| format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(minutes_left(&jwt(r#"{"exp": 1000300}"#), now), Some(5));
        for other in ["syn_abc", &jwt("{}"), "a.b.c", "a.b"] {
            assert_eq!(minutes_left(other, now), None, "{other}");
        }
        let me = || {
            Ok(Response::new(WhoAmIResponse {
                subject: "ann".into(),
                role: "viewer".into(),
            }))
        };
        let judged = |token: &str| super::token(Some(&token.into()), me(), now);
        assert_eq!(judged("syn_abc"), Finding::ok("API token", "accepted: ann (viewer)"));
        let late = judged(&jwt(r#"{"exp": 1000300}"#));
        assert_eq!(
            (late.verdict, late.detail.as_str()),
            (Verdict::Warn, "accepted: ann (viewer), for 5 more min")
        );
    }

    #[test]
    fn an_untrusted_certificate_says_what_would_help() {
        let address = Address::parse("https://h").unwrap();
        let judged = |why: &str, names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            untrusted_or_strange(&address, why, &names)
        };
        let issuer = judged("invalid peer certificate: UnknownIssuer", &[]);
        assert!(issuer.remedy.unwrap().contains("--ca"));
        let name = judged("invalid peer certificate: certificate not valid for name \"h\"", &["a.example"]);
        assert_eq!(name.remedy.as_deref(), Some("Use a name that the certificate has: a.example."));
    }
}
