//! The org over TLS: same data, and URLs that follow the way the client came.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use syncline_salesforce_simulator::web::tls::TlsConfig;
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};

struct Served {
    org: RunningOrg,
    trust: Arc<ClientConfig>,
    _files: tempfile::TempDir,
}

fn served() -> Served {
    let names = ["localhost", "127.0.0.1", "login.salesforce.com"];
    let made = rcgen::generate_simple_self_signed(names.map(str::to_owned)).unwrap();
    let files = tempfile::tempdir().unwrap();
    let (certificate, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_file(&certificate).unwrap())
        .unwrap();
    let mut trust = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    trust.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tls = Some(TlsConfig { port: 0, certificate, key });
    let org = support::org(OrgConfig {
        tls,
        ..OrgConfig::default()
    });
    Served {
        org,
        trust: Arc::new(trust),
        _files: files,
    }
}

/// One request over TLS under a host name; the JSON body and the agreed protocol.
fn send(served: &Served, host: &str, method: &str, path: &str, headers: &str, body: &str) -> (Value, Vec<u8>) {
    let address = served.org.tls_url.as_deref().unwrap().trim_start_matches("https://");
    let name = host.split(':').next().unwrap().to_owned();
    let client = ClientConnection::new(Arc::clone(&served.trust), ServerName::try_from(name).unwrap()).unwrap();
    let mut stream = StreamOwned::new(client, TcpStream::connect(address).unwrap());
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut raw = Vec::new();
    // The server may close without a goodbye; the length says whether the body is whole.
    let _ = stream.read_to_end(&mut raw);
    let text = String::from_utf8(raw).unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    let protocol = stream.conn.alpn_protocol().unwrap_or_default().to_vec();
    (serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {text}")), protocol)
}

#[test]
fn https_serves_the_same_org_and_names_itself_as_the_client_does() {
    let served = served();
    let grant = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}",
        served.org.client_id, served.org.client_secret
    );
    let address = served.org.tls_url.clone().unwrap().replace("https://", "");
    let (answer, protocol) = send(&served, &address, "POST", "/services/oauth2/token", "", &grant);
    assert_eq!(answer["instance_url"], format!("https://{address}"));
    assert_eq!(protocol, b"http/1.1");
    let bearer = format!("authorization: Bearer {}\r\n", answer["access_token"].as_str().unwrap());
    let (resources, _) = send(&served, &address, "GET", "/services/data/v65.0", &bearer, "");
    let identity = resources["identity"].as_str().unwrap();
    assert!(identity.starts_with(&format!("https://{address}/id/00D")), "{identity}");
    // The session is the org's, not the listener's.
    let plain = support::try_send(
        &served.org,
        "GET",
        "/services/data/v65.0/limits",
        &[("authorization", &bearer[15..bearer.len() - 2])],
        b"",
    );
    assert_eq!(plain.unwrap().status, 200);
}

#[test]
fn behind_a_connect_proxy_urls_carry_the_host_the_client_asked_for() {
    let served = served();
    let grant = format!(
        "grant_type=refresh_token&refresh_token={}&client_id={}&client_secret={}",
        served.org.refresh_token, served.org.client_id, served.org.client_secret
    );
    let (answer, _) = send(&served, "login.salesforce.com", "POST", "/services/oauth2/token", "", &grant);
    assert_eq!(answer["instance_url"], "https://login.salesforce.com");
    assert!(answer["id"].as_str().unwrap().starts_with("https://login.salesforce.com/id/"));
}

#[test]
fn a_silent_connection_holds_up_nobody() {
    let served = served();
    let address = served.org.tls_url.clone().unwrap().replace("https://", "");
    let _silent = TcpStream::connect(&address).unwrap();
    let (versions, _) = send(&served, &address, "GET", "/services/data", "", "");
    assert!(versions.as_array().unwrap().len() > 5);
}

#[test]
fn a_key_that_is_none_is_named() {
    let files = tempfile::tempdir().unwrap();
    let certificate = files.path().join("cert.pem");
    std::fs::write(&certificate, "no certificate").unwrap();
    let tls = Some(TlsConfig {
        port: 0,
        certificate: certificate.clone(),
        key: certificate,
    });
    let error = syncline_salesforce_simulator::Org::start(OrgConfig {
        tls,
        ..OrgConfig::default()
    });
    let text = error.err().unwrap().to_string();
    assert!(text.contains("cert.pem"), "{text}");
}
