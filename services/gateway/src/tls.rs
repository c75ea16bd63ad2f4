//! The gateway's certificate.

use std::path::PathBuf;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tonic::transport::{Identity, ServerTlsConfig};

use crate::config::TlsFiles;

#[derive(Debug, Error)]
pub enum TlsError {
    #[error("{variable}: {} cannot be read", file.display())]
    Read {
        variable: &'static str,
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("SYNCLINE_GATEWAY_TLS_CERT: {} holds no certificate in PEM form", .0.display())]
    NoCertificate(PathBuf),
    #[error("SYNCLINE_GATEWAY_TLS_KEY: {} holds no private key in PEM form", .0.display())]
    NoKey(PathBuf),
}

/// Reads certificate and key, and sees that they are what they should be.
pub(crate) fn read(files: &TlsFiles) -> Result<ServerTlsConfig, TlsError> {
    let file = |variable, file: &PathBuf| {
        std::fs::read(file).map_err(|source| TlsError::Read {
            variable,
            file: file.clone(),
            source,
        })
    };
    let certificate = file("SYNCLINE_GATEWAY_TLS_CERT", &files.certificate)?;
    let key = file("SYNCLINE_GATEWAY_TLS_KEY", &files.key)?;
    if !matches!(CertificateDer::pem_slice_iter(&certificate).next(), Some(Ok(_))) {
        return Err(TlsError::NoCertificate(files.certificate.clone()));
    }
    if PrivateKeyDer::from_pem_slice(&key).is_err() {
        return Err(TlsError::NoKey(files.key.clone()));
    }
    Ok(ServerTlsConfig::new().identity(Identity::from_pem(certificate, key)))
}
