//! The certificate that a server shows, whether it is trusted or not. Nothing is sent over that connection.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use super::{CHECK_MAX, told};

/// Takes every certificate: it is looked at, and the connection is closed. Trust is judged by the requests that follow.
#[derive(Debug)]
struct Looking(CryptoProvider);

impl ServerCertVerifier for Looking {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The server's certificate in DER form, or why there is none.
pub async fn presented(address: SocketAddr, host: &str) -> Result<Vec<u8>, String> {
    let host = host.to_owned();
    let looking = tokio::task::spawn_blocking(move || handshake(address, host));
    match tokio::time::timeout(CHECK_MAX, looking).await {
        Ok(Ok(seen)) => seen,
        Ok(Err(_)) => Err("the look at it broke off".to_owned()),
        Err(_) => Err(format!("no answer within {} s", CHECK_MAX.as_secs())),
    }
}

fn handshake(address: SocketAddr, host: String) -> Result<Vec<u8>, String> {
    let provider = rustls::crypto::ring::default_provider();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
        .with_safe_default_protocol_versions()
        .map_err(|e| told(&e))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Looking(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(host).map_err(|e| told(&e))?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(|e| told(&e))?;
    let mut stream = TcpStream::connect_timeout(&address, CHECK_MAX).map_err(|e| told(&e))?;
    stream.set_read_timeout(Some(CHECK_MAX)).map_err(|e| told(&e))?;
    stream.set_write_timeout(Some(CHECK_MAX)).map_err(|e| told(&e))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(|e| told(&e))?;
    }
    let shown = connection.peer_certificates().and_then(|chain| chain.first());
    shown.map(|c| c.to_vec()).ok_or_else(|| "it shows no certificate".to_owned())
}
