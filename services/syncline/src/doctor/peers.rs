//! Every service behind the gateway: whether it is ready, asked as other services ask it.

use futures::future::join_all;
use syncline_runtime::config::PORTS;
use syncline_runtime::health::READINESS;
use syncline_runtime::tls::Tls;
use syncline_runtime::{Config, rpc};
use tonic::transport::ClientTlsConfig;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{Examination, Finding, within};
use crate::error::is_transport;

/// The gateway is not among them: a client looks at it.
pub async fn examine(config: &Config) -> Examination {
    let mut seen = Examination::default();
    // What is wrong with the files is said elsewhere.
    let Ok(tls) = config.tls.as_ref().map(Tls::load).transpose() else {
        seen.unseen
            .push("health of the services: the certificate to ask with cannot be used".to_owned());
        return seen;
    };
    let services = PORTS.iter().map(|(name, _)| *name).filter(|name| *name != "gateway");
    let asked = services.map(|name| health(name, config.peers.url(name), tls.as_ref().map(|tls| tls.client(name))));
    seen.findings = join_all(asked).await;
    seen
}

async fn health(service: &str, url: &str, tls: Option<ClientTlsConfig>) -> Finding {
    let check = format!("service {service}");
    let variable = format!("SYNCLINE_{}_URL", service.to_uppercase());
    let address: Option<http::Uri> = url.parse().ok();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let Some(address) = address.filter(|uri| uri.scheme_str() == Some(scheme)) else {
        return Finding::fail(
            check,
            format!("{variable} is not an address that begins with {scheme}://"),
            format!(
                "Set it to one, such as {scheme}://{service}.example:7600; services use TLS where SYNCLINE_TLS_CA is set, and only there."
            ),
        );
    };
    let shown = format!("{}:{}", address.host().unwrap_or_default(), address.port_u16().unwrap_or(0));
    let Ok(channel) = rpc::channel(url, tls) else {
        return Finding::fail(
            check,
            "the certificate to ask it with cannot be used",
            "See that SYNCLINE_TLS_CERT and SYNCLINE_TLS_KEY belong together.",
        );
    };
    let request = HealthCheckRequest {
        service: READINESS.to_owned(),
    };
    let mut client = HealthClient::new(channel);
    let log = format!("Look at the log of the {service}.");
    match within(client.check(request)).await {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => Finding::ok(check, format!("ready, at {shown}")),
        Ok(_) => Finding::fail(
            check,
            format!("{shown} runs and is not ready: NATS or PostgreSQL does not answer it"),
            log,
        ),
        Err(status) => match is_transport(&status) {
            Some(why) => Finding::fail(
                check,
                format!("{shown} cannot be reached: {why}"),
                format!("Start it (`syncline serve {service}`), or set {variable} to where it is."),
            ),
            None => Finding::fail(check, format!("{shown} does not tell: {}", status.message()), log),
        },
    }
}
