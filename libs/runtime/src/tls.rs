//! mTLS between services and to NATS: one authority, one certificate per service.
//!
//! Guarantees: with `SYNCLINE_TLS_CA`, `_CERT` and `_KEY` set, a service is spoken to over TLS only, by holders of a
//! certificate of that authority, and speaks only to holders of the name that it wants ([`identity_name`]); what each may
//! call stands in [`crate::callers`]. A certificate that is not valid today keeps a service from starting.

use std::path::{Path, PathBuf};

use syncline_bus::BusTls;
use thiserror::Error;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::ConfigError;

/// Files in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority that everybody's certificate is from.
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Error)]
pub enum TlsError {
    #[error("{variable}: {} cannot be read", file.display())]
    Read {
        variable: &'static str,
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{variable}: {} holds no certificate in PEM form", file.display())]
    NoCertificate { variable: &'static str, file: PathBuf },
    #[error("{variable}: {} holds no private key in PEM form", file.display())]
    NoKey { variable: &'static str, file: PathBuf },
    #[error("{variable}: the certificate in {} is not valid now: it holds from {from} to {to}; put a new one there", file.display())]
    Validity {
        variable: &'static str,
        file: PathBuf,
        from: String,
        to: String,
    },
}

impl TlsFiles {
    /// # Errors
    /// [`ConfigError`] that names the variable that is missing beside the others.
    pub fn from_lookup(get: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, ConfigError> {
        let names = ["SYNCLINE_TLS_CA", "SYNCLINE_TLS_CERT", "SYNCLINE_TLS_KEY"];
        let values = names.map(get);
        if values.iter().all(Option::is_none) {
            return Ok(None);
        }
        match values {
            [Some(ca), Some(certificate), Some(key)] => Ok(Some(Self {
                ca: ca.into(),
                certificate: certificate.into(),
                key: key.into(),
            })),
            values => {
                let missing = names.iter().zip(&values).find(|(_, value)| value.is_none());
                Err(ConfigError::Invalid {
                    name: missing.map_or("", |(name, _)| name).to_owned(),
                    reason: format!("it is not set; {} belong together", names.join(", ")),
                })
            }
        }
    }

    /// For the connections to NATS.
    #[must_use]
    pub fn bus(&self) -> BusTls {
        BusTls {
            ca: self.ca.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
        }
    }
}

/// The name in a service's certificate; independent of where it runs.
#[must_use]
pub fn identity_name(service: &str) -> String {
    format!("{service}.syncline")
}

/// What a service shows to others, and whom it trusts.
pub struct Tls {
    ca: Certificate,
    identity: Identity,
}

impl Tls {
    /// # Errors
    /// [`TlsError`] that names variable and file.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let ca = certificate("SYNCLINE_TLS_CA", &files.ca)?;
        let certificate = certificate("SYNCLINE_TLS_CERT", &files.certificate)?;
        let key = private_key("SYNCLINE_TLS_KEY", &files.key)?;
        Ok(Self {
            ca: Certificate::from_pem(ca),
            identity: Identity::from_pem(certificate, key),
        })
    }

    /// Serves holders of a certificate of the authority.
    #[must_use]
    pub fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.identity.clone())
            .client_ca_root(self.ca.clone())
    }

    /// Speaks to the holder of this service's certificate.
    #[must_use]
    pub fn client(&self, service: &str) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificate(self.ca.clone())
            .identity(self.identity.clone())
            .domain_name(identity_name(service))
    }
}

fn read(variable: &'static str, file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|source| TlsError::Read {
        variable,
        file: file.to_owned(),
        source,
    })
}

/// A private key's file, seen to hold one.
///
/// # Errors
/// [`TlsError::Read`], [`TlsError::NoKey`].
pub fn private_key(variable: &'static str, file: &Path) -> Result<Vec<u8>, TlsError> {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject as _;
    let text = read(variable, file)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| TlsError::NoKey {
        variable,
        file: file.to_owned(),
    })?;
    Ok(text)
}

/// A certificate's file, seen to hold one that is valid today; of a chain, every link.
///
/// # Errors
/// [`TlsError::Read`], [`TlsError::NoCertificate`], [`TlsError::Validity`].
pub fn certificate(variable: &'static str, file: &Path) -> Result<Vec<u8>, TlsError> {
    let text = read(variable, file)?;
    let none = || TlsError::NoCertificate {
        variable,
        file: file.to_owned(),
    };
    let mut found = false;
    for pem in Pem::iter_from_buffer(&text) {
        let pem = pem.map_err(|_| none())?;
        if pem.label != "CERTIFICATE" {
            continue;
        }
        let certificate = pem.parse_x509().map_err(|_| none())?;
        let validity = certificate.validity();
        if !validity.is_valid() {
            return Err(TlsError::Validity {
                variable,
                file: file.to_owned(),
                from: validity.not_before.to_string(),
                to: validity.not_after.to_string(),
            });
        }
        found = true;
    }
    if found { Ok(text) } else { Err(none()) }
}

/// The service that a certificate names, if it names one.
#[must_use]
pub fn service_of(certificate: &[u8]) -> Option<&'static str> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    crate::config::PORTS.iter().map(|(service, _)| *service).find(|service| {
        let wanted = identity_name(service);
        let is_it = |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(found) if *found == wanted);
        names.value.general_names.iter().any(is_it)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn made(names: &[&str], year: i32) -> (String, Vec<u8>) {
        let mut params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        (certificate.pem(), certificate.der().to_vec())
    }

    #[test]
    fn a_certificate_names_a_service_or_nobody() {
        for (names, service) in [
            (&["masker.syncline", "localhost"][..], Some("masker")),
            (&["masker.syncline.example"], None),
            (&["administrator.syncline"], None),
            (&["localhost"], None),
        ] {
            assert_eq!(service_of(&made(names, 3000).1), service, "{names:?}");
        }
        assert_eq!(service_of(b"nonsense"), None);
    }

    #[test]
    fn what_is_not_valid_today_is_refused_with_its_dates() {
        let dir = std::env::temp_dir().join(format!("syncline-tls-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&dir).unwrap();
        let file = dir.join("cert.pem");
        std::fs::write(&file, made(&["a"], 3000).0).unwrap();
        certificate("SYNCLINE_TLS_CERT", &file).unwrap();
        std::fs::write(&file, made(&["a"], 2020).0).unwrap();
        let expired = certificate("SYNCLINE_TLS_CERT", &file).unwrap_err().to_string();
        assert!(expired.contains("not valid now") && expired.contains("2020"), "{expired}");
        std::fs::write(&file, "nothing").unwrap();
        let nothing = certificate("SYNCLINE_TLS_CERT", &file).unwrap_err().to_string();
        assert!(nothing.contains("no certificate"), "{nothing}");
        assert!(private_key("SYNCLINE_TLS_KEY", &file).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn half_a_setting_names_the_other_half() {
        let with = |set: &'static [&'static str]| TlsFiles::from_lookup(&move |name| set.contains(&name).then(|| "f".to_owned()));
        assert_eq!(with(&[]).unwrap(), None);
        assert!(
            with(&["SYNCLINE_TLS_CA", "SYNCLINE_TLS_CERT", "SYNCLINE_TLS_KEY"])
                .unwrap()
                .is_some()
        );
        let error = with(&["SYNCLINE_TLS_CA", "SYNCLINE_TLS_KEY"]).unwrap_err().to_string();
        assert!(error.starts_with("SYNCLINE_TLS_CERT is not valid"), "{error}");
    }
}
