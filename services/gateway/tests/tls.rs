//! The gateway's own TLS, with certificates made here.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "each test file uses a part of it")]
mod bench;

use std::path::PathBuf;

use bench::{Bench, GOOD, TOKEN, database};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use secrecy::SecretString;
use syncline_gateway::config::{GatewayConfig, TlsFiles};
use syncline_gateway::{Error, Gateway};
use syncline_testkit::TestDatabase;
use syncline_wire::identity;
use tempfile::TempDir;
use tonic::Request;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

/// A directory with `cert.pem` and `key.pem` for this machine.
fn certificate() -> (TempDir, TlsFiles, String) {
    let dir = tempfile::tempdir().unwrap();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        certificate: dir.path().join("cert.pem"),
        key: dir.path().join("key.pem"),
    };
    std::fs::write(&files.certificate, cert.pem()).unwrap();
    std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
    (dir, files, cert.pem())
}

async fn who(bench: &Bench, ca: Option<&str>) -> Result<String, String> {
    let scheme = if ca.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://localhost:{}", bench.address.port())).unwrap();
    if let Some(ca) = ca {
        endpoint = endpoint
            .tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)))
            .unwrap();
    }
    let channel = endpoint.connect().await.map_err(|e| format!("{e:?}"))?;
    let mut tokens = identity::token_service_client::TokenServiceClient::new(channel);
    let mut request = Request::new(identity::WhoAmIRequest {});
    request.metadata_mut().insert("authorization", GOOD.parse().unwrap());
    let answer = tokens.who_am_i(request).await.map_err(|s| s.to_string())?;
    Ok(answer.into_inner().subject)
}

#[tokio::test]
async fn callers_who_trust_the_certificate_are_served_and_others_do_not_get_through() {
    syncline_runtime::entry::install_crypto();
    let (_dir, tls, ca) = certificate();
    let bench = Bench::with(GatewayConfig {
        tls: Some(tls),
        ..GatewayConfig::default()
    })
    .await;
    assert_eq!(who(&bench, Some(&ca)).await.unwrap(), "bootstrap");
    let (_other, _, stranger) = certificate();
    who(&bench, Some(&stranger)).await.unwrap_err();
    who(&bench, None).await.unwrap_err();
    // Nobody's failed handshake keeps others out.
    assert_eq!(who(&bench, Some(&ca)).await.unwrap(), "bootstrap");
}

#[tokio::test]
async fn files_that_are_no_certificate_or_no_key_are_named() {
    syncline_runtime::entry::install_crypto();
    let (dir, tls, _) = certificate();
    let nonsense = dir.path().join("nonsense.pem");
    std::fs::write(&nonsense, "nothing").unwrap();
    let database = TestDatabase::create().await;
    let db = self::database(database.url()).await;
    let missing = PathBuf::from("/nowhere/cert.pem");
    for (certificate, key, named) in [
        (missing.clone(), tls.key.clone(), "SYNCLINE_GATEWAY_TLS_CERT"),
        (nonsense.clone(), tls.key.clone(), "SYNCLINE_GATEWAY_TLS_CERT"),
        (tls.certificate.clone(), missing, "SYNCLINE_GATEWAY_TLS_KEY"),
        (tls.certificate.clone(), nonsense, "SYNCLINE_GATEWAY_TLS_KEY"),
        (tls.certificate.clone(), tls.certificate.clone(), "SYNCLINE_GATEWAY_TLS_KEY"),
    ] {
        let config = GatewayConfig {
            tls: Some(TlsFiles { certificate, key }),
            ..GatewayConfig::default()
        };
        let nobody = |_| Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let error = Gateway::new(&config, Some(&SecretString::from(TOKEN)), db.clone(), nobody).unwrap_err();
        assert!(matches!(error, Error::Tls(_)) && error.to_string().contains(named), "{error}");
    }
}
