//! The way to the gateway: one lazy channel, the token on every request, a deadline on every answer.

use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use syncline_wire::analysis::analysis_service_client::AnalysisServiceClient;
use syncline_wire::connection::connection_service_client::ConnectionServiceClient;
use syncline_wire::identity::audit_service_client::AuditServiceClient;
use syncline_wire::identity::token_service_client::TokenServiceClient;
use syncline_wire::monitor::monitor_service_client::MonitorServiceClient;
use syncline_wire::run::run_service_client::RunServiceClient;
use syncline_wire::sync::sync_service_client::SyncServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};
use tonic_health::pb::health_client::HealthClient;
use tower::ServiceExt as _;

use crate::error::{CliError, is_transport};
use crate::exit::Exit;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(20);
/// An ordinary answer.
pub const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// An answer for which an org has to be asked a lot.
pub const ANALYSIS_WAIT: Duration = Duration::from_secs(300);

/// Puts the token on every request.
#[derive(Clone)]
pub struct Auth(Option<MetadataValue<Ascii>>);

impl Interceptor for Auth {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(bearer) = &self.0 {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        Ok(request)
    }
}

type Authorised = InterceptedService<Channel, Auth>;

/// The gateway. No `Debug`: it holds the token.
#[derive(Clone)]
pub struct Gateway {
    url: String,
    channel: Authorised,
    /// The same channel, without the token.
    plain: Channel,
}

impl Gateway {
    /// Prepares the way; nothing is sent yet.
    ///
    /// # Errors
    /// When the address or the token cannot be used at all.
    pub fn new(url: &str, ca: Option<&Path>, token: Option<&SecretString>) -> Result<Self, CliError> {
        let invalid = |why: &str| {
            CliError::new(Exit::Invalid, format!("`{url}` is not an address of a gateway: {why}"))
                .remedy("Give one such as http://127.0.0.1:7600 with --gateway or SYNCLINE_GATEWAY_URL.")
        };
        let encrypted = url.starts_with("https://");
        if !encrypted && !url.starts_with("http://") {
            return Err(invalid("it starts neither with https:// nor with http://"));
        }
        let mut endpoint = Endpoint::from_shared(url.to_owned()).map_err(|e| invalid(&e.to_string()))?;
        if encrypted {
            endpoint = endpoint.tls_config(tls(ca)?).map_err(|e| invalid(&root_cause(&e)))?;
        }
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_while_idle(true)
            .connect_lazy();
        let bearer = token
            .map(|token| {
                let mut bearer: MetadataValue<Ascii> = format!("Bearer {}", token.expose_secret())
                    .parse()
                    .map_err(|_| CliError::new(Exit::Invalid, "the token holds characters that no token has"))?;
                bearer.set_sensitive(true);
                Ok::<_, CliError>(bearer)
            })
            .transpose()?;
        Ok(Self {
            url: url.to_owned(),
            channel: InterceptedService::new(channel.clone(), Auth(bearer)),
            plain: channel,
        })
    }

    pub fn health(&self) -> HealthClient<Authorised> {
        HealthClient::new(self.channel.clone())
    }

    /// What stands under a path that is no method of gRPC; none when the gateway cannot be asked.
    pub async fn get(&self, path: &str) -> Option<http::Response<tonic::body::Body>> {
        let request = http::Request::get(path).body(tonic::body::Body::empty()).ok()?;
        let answer = self.plain.clone().oneshot(request).await.ok()?;
        answer.status().is_success().then_some(answer)
    }

    pub fn tokens(&self) -> TokenServiceClient<Authorised> {
        TokenServiceClient::new(self.channel.clone())
    }

    pub fn audit(&self) -> AuditServiceClient<Authorised> {
        AuditServiceClient::new(self.channel.clone())
    }

    pub fn syncs(&self) -> SyncServiceClient<Authorised> {
        SyncServiceClient::new(self.channel.clone())
    }

    pub fn runs(&self) -> RunServiceClient<Authorised> {
        RunServiceClient::new(self.channel.clone())
    }

    pub fn connections(&self) -> ConnectionServiceClient<Authorised> {
        ConnectionServiceClient::new(self.channel.clone())
    }

    pub fn analysis(&self) -> AnalysisServiceClient<Authorised> {
        AnalysisServiceClient::new(self.channel.clone())
    }

    pub fn monitor(&self) -> MonitorServiceClient<Authorised> {
        MonitorServiceClient::new(self.channel.clone())
    }

    /// What a failed request means to the person who asked.
    pub fn error(&self, status: Status) -> CliError {
        match is_transport(&status) {
            Some(why) if status.code() != tonic::Code::DeadlineExceeded => CliError::unreachable(&self.url, &why),
            _ => status.into(),
        }
    }
}

/// Trusts the given authority, or else those that the system trusts.
fn tls(ca: Option<&Path>) -> Result<ClientTlsConfig, CliError> {
    let Some(file) = ca else {
        return Ok(ClientTlsConfig::new().with_native_roots());
    };
    let unusable = |why: &str| {
        CliError::new(
            Exit::Invalid,
            format!("{} cannot be used as a certificate authority: {why}", file.display()),
        )
        .remedy("Give a file in PEM form with --ca or SYNCLINE_GATEWAY_CA.")
    };
    let pem = std::fs::read(file).map_err(|e| unusable(&e.to_string()))?;
    if !pem.windows(27).any(|w| w == b"-----BEGIN CERTIFICATE-----") {
        return Err(unusable("it holds no certificate in PEM form"));
    }
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// A request that is given up after the ordinary wait.
pub fn ask<T>(message: T) -> Request<T> {
    ask_within(message, ANSWER_WAIT)
}

/// A request that is given up after `wait`.
pub fn ask_within<T>(message: T, wait: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(wait);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_cannot_be_one_is_refused() {
        for url in ["", "127.0.0.1:7600", "ftp://example.com", "http://a b"] {
            let error = Gateway::new(url, None, None).err();
            assert_eq!(error.map(|e| e.exit), Some(Exit::Invalid), "{url}");
        }
        let nowhere = Path::new("/nowhere/ca.pem");
        let error = Gateway::new("https://127.0.0.1:7600", Some(nowhere), None).err();
        assert!(error.is_some_and(|e| e.message.contains("/nowhere/ca.pem")));
        assert!(Gateway::new("http://127.0.0.1:7600", None, Some(&"a\nb".into())).is_err());
    }

    #[tokio::test]
    async fn a_gateway_that_is_not_there_is_unreachable() {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .map(|a| a.port());
        let url = format!("http://127.0.0.1:{}", port.expect("loopback has a free port"));
        let gateway = Gateway::new(&url, None, None).expect("valid");
        let status = gateway.runs().list_runs(ask(Default::default())).await.expect_err("nobody listens");
        let error = gateway.error(status);
        assert_eq!(error.exit, Exit::Unreachable, "{error:?}");
        assert!(error.message.contains(&url), "{error:?}");
    }
}
