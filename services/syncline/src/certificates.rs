//! An authority of an installation's own, and certificates of it: for mTLS between services and to NATS.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    SanType,
};
use syncline_runtime::tls::identity_name;
use thiserror::Error;
use zeroize::Zeroizing;

/// The authority outlives many certificates.
const AUTHORITY_DAYS: u64 = 3_650;
/// Clocks of an installation may differ by this much.
const BACKDATED: Duration = Duration::from_secs(3_600);

#[derive(Debug, Error)]
pub enum CertificateError {
    #[error("the certificate authority's files cannot be read")]
    Authority(#[source] rcgen::Error),
    #[error("`{0}` is neither a host's name nor an address")]
    Host(String),
    #[error("a certificate cannot be made")]
    Make(#[source] rcgen::Error),
}

/// PEM texts.
pub struct Pair {
    pub certificate: String,
    pub key: Zeroizing<String>,
}

/// A new authority.
///
/// # Errors
/// [`CertificateError::Make`].
pub fn authority() -> Result<Pair, CertificateError> {
    let mut params = params(&[], AUTHORITY_DAYS)?;
    params.distinguished_name.push(DnType::CommonName, "Syncline installation");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = key()?;
    let certificate = params.self_signed(&key).map_err(CertificateError::Make)?;
    Ok(pair(certificate.pem(), &key))
}

/// A certificate of `authority` that names a service, for serving and for calling, on these hosts as well.
///
/// # Errors
/// [`CertificateError`].
pub fn issue(authority: &Pair, service: &str, hosts: &[String], days: u64) -> Result<Pair, CertificateError> {
    let issuer_key = KeyPair::from_pem(&authority.key).map_err(CertificateError::Authority)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, issuer_key).map_err(CertificateError::Authority)?;
    let mut names = vec![identity_name(service)];
    names.extend(hosts.iter().cloned());
    let mut params = params(&names, days)?;
    params.distinguished_name.push(DnType::CommonName, identity_name(service));
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = key()?;
    let certificate = params.signed_by(&key, &issuer).map_err(CertificateError::Make)?;
    Ok(pair(certificate.pem(), &key))
}

fn key() -> Result<KeyPair, CertificateError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CertificateError::Make)
}

fn pair(certificate: String, key: &KeyPair) -> Pair {
    Pair {
        certificate,
        key: Zeroizing::new(key.serialize_pem()),
    }
}

fn params(names: &[String], days: u64) -> Result<CertificateParams, CertificateError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + Duration::from_secs(days * 86_400)).into();
    for name in names {
        params.subject_alt_names.push(host(name)?);
    }
    Ok(params)
}

fn host(name: &str) -> Result<SanType, CertificateError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '*');
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) if name.is_empty() || !name.chars().all(is_plain) => Err(CertificateError::Host(name.to_owned())),
        Err(_) => Ok(SanType::DnsName(
            name.try_into().map_err(|_| CertificateError::Host(name.to_owned()))?,
        )),
    }
}

/// # Errors
/// [`CertificateError::Host`] for what is neither a host's name nor an address.
pub fn check_host(name: &str) -> Result<(), CertificateError> {
    host(name).map(|_| ())
}
