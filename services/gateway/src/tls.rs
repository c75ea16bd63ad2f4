//! The gateway's certificate.

use syncline_runtime::tls::{TlsError, certificate, private_key};
use tonic::transport::{Identity, ServerTlsConfig};

use crate::config::TlsFiles;

/// Reads certificate and key, and sees that they are what they should be today.
pub(crate) fn read(files: &TlsFiles) -> Result<ServerTlsConfig, TlsError> {
    let certificate = certificate("SYNCLINE_GATEWAY_TLS_CERT", &files.certificate)?;
    let key = private_key("SYNCLINE_GATEWAY_TLS_KEY", &files.key)?;
    Ok(ServerTlsConfig::new().identity(Identity::from_pem(certificate, key)))
}
