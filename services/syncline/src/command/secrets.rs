//! `syncline secrets DIR`: what an installation has to keep to itself, made once and never overwritten: keys, the gateway's
//! first token, users of NATS with the permissions of each service, certificates for mTLS.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;
use serde_json::json;
use syncline_bus::permissions;
use syncline_runtime::config::PORTS;
use zeroize::Zeroizing;

use crate::certificates::{self, CertificateError, Pair};
use crate::cli::Secrets;
use crate::dev_keys;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;

/// Certificates beside those of the services.
const OTHERS: [&str; 2] = ["nats", permissions::ADMINISTRATOR];
const LOOPBACK: [&str; 2] = ["localhost", "127.0.0.1"];

/// # Errors
/// When a file cannot be read or made, or a host is none.
pub fn run(arguments: &Secrets, output: Output) -> Result<Exit, CliError> {
    let dir = &arguments.dir;
    let mut made = dev_keys::make_missing(&dir.join("keys"))?;
    made.extend(token(dir)?);
    made.extend(nats(&dir.join("nats"))?);
    made.extend(tls(&dir.join("tls"), arguments)?);
    let mut text = String::new();
    for file in &made {
        text.push_str(&format!("made {}\n", file.display()));
    }
    if made.is_empty() {
        text.push_str("everything is there already\n");
    }
    let files: Vec<_> = made.iter().map(|file| file.display().to_string()).collect();
    output.result(&text, &json!({"made": files}))?;
    Ok(Exit::Ok)
}

fn token(dir: &Path) -> Result<Option<PathBuf>, CliError> {
    let file = dev_keys::token_file(dir);
    let is_new = !file.exists();
    dev_keys::token(&file)?;
    Ok(is_new.then_some(file))
}

/// Passwords stay; the file of users follows the permissions of this release.
fn nats(dir: &Path) -> Result<Vec<PathBuf>, CliError> {
    make_dir(dir)?;
    let mut made = Vec::new();
    let mut failed = None;
    let users = permissions::authorization(&mut |user| {
        let file = dir.join(format!("{user}.password"));
        let is_new = !file.exists();
        match dev_keys::token(&file) {
            Ok(password) => {
                made.extend(is_new.then_some(file));
                password.expose_secret().to_owned()
            }
            Err(error) => {
                failed = Some(error);
                String::new()
            }
        }
    });
    let users = Zeroizing::new(users);
    if let Some(error) = failed {
        return Err(error);
    }
    let file = dir.join("users.conf");
    if std::fs::read_to_string(&file).ok().as_deref() != Some(users.as_str()) {
        replace(&file, &users)?;
        made.push(file);
    }
    Ok(made)
}

/// One authority, and a certificate for each service, for NATS, and for migrations.
fn tls(dir: &Path, arguments: &Secrets) -> Result<Vec<PathBuf>, CliError> {
    make_dir(dir)?;
    let mut made = Vec::new();
    let (ca, ca_key) = (dir.join("ca.pem"), dir.join("ca.key"));
    let authority = match (read(&ca)?, read(&ca_key)?) {
        (Some(certificate), Some(key)) => Pair {
            certificate: certificate.to_string(),
            key,
        },
        (None, None) => {
            let authority = certificates::authority().map_err(|e| invalid(&e))?;
            create(&ca_key, &authority.key)?;
            create(&ca, &authority.certificate)?;
            made.extend([ca_key, ca]);
            authority
        }
        (certificate, _) => {
            let missing = if certificate.is_some() { ca_key } else { ca };
            return Err(
                CliError::new(Exit::Invalid, format!("{} is missing beside the other half", missing.display()))
                    .remedy("Bring it back from where it is kept, or remove the other half and every certificate of that authority."),
            );
        }
    };
    let hosts = hosts(dir, &arguments.hosts)?;
    for name in PORTS.iter().map(|(service, _)| *service).chain(OTHERS) {
        let (file, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
        if file.exists() && key.exists() && !arguments.renew {
            continue;
        }
        let issued = certificates::issue(&authority, name, &hosts, arguments.days).map_err(|e| invalid(&e))?;
        replace(&key, &issued.key)?;
        replace(&file, &issued.certificate)?;
        made.extend([key, file]);
    }
    Ok(made)
}

/// Loopback, those of earlier calls, and those of this one, which are remembered.
fn hosts(dir: &Path, more: &[String]) -> Result<Vec<String>, CliError> {
    let file = dir.join("hosts");
    let known = read(&file)?.unwrap_or_default();
    let mut hosts: Vec<String> = known.lines().map(str::to_owned).collect();
    for host in LOOPBACK.iter().map(|host| (*host).to_owned()).chain(more.iter().cloned()) {
        if !hosts.contains(&host) {
            certificates::check_host(&host).map_err(|e| invalid(&e))?;
            hosts.push(host);
        }
    }
    let text = hosts.join("\n") + "\n";
    if text != *known {
        replace(&file, &text)?;
    }
    Ok(hosts)
}

fn make_dir(dir: &Path) -> Result<(), CliError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| failed(dir, &e))
}

fn read(file: &Path) -> Result<Option<Zeroizing<String>>, CliError> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(file, &error)),
    }
}

fn create(file: &Path, text: &str) -> Result<(), CliError> {
    let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut open = open.map_err(|e| failed(file, &e))?;
    open.write_all(text.as_bytes())
        .and_then(|()| open.sync_all())
        .map_err(|e| failed(file, &e))
}

/// Whole or not at all: somebody may be reading the old one.
fn replace(file: &Path, text: &str) -> Result<(), CliError> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(&new, &error)),
        _ => {}
    }
    create(&new, text)?;
    std::fs::rename(&new, file).map_err(|e| failed(file, &e))
}

fn failed(path: &Path, error: &std::io::Error) -> CliError {
    CliError::new(Exit::Unexpected, format!("{}: {error}", path.display())).remedy("Name a directory that can be written.")
}

fn invalid(error: &CertificateError) -> CliError {
    let cause = std::error::Error::source(error).map(|s| format!(": {s}")).unwrap_or_default();
    CliError::new(Exit::Invalid, format!("{error}{cause}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use syncline_runtime::tls::{self, Tls, TlsFiles};

    use super::*;

    fn secrets(dir: &Path, hosts: &[&str], renew: bool) -> Result<Exit, CliError> {
        let arguments = Secrets {
            dir: dir.to_owned(),
            hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
            days: 30,
            renew,
        };
        let output = Output {
            format: crate::output::Format::Json,
        };
        run(&arguments, output)
    }

    fn contents(dir: &Path) -> std::collections::BTreeMap<PathBuf, String> {
        let mut found = std::collections::BTreeMap::new();
        for sub in ["keys", "nats", "tls"] {
            for entry in std::fs::read_dir(dir.join(sub)).unwrap() {
                let path = entry.unwrap().path();
                found.insert(path.clone(), std::fs::read_to_string(&path).unwrap());
            }
        }
        found
    }

    #[test]
    fn everything_is_made_once_for_its_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("secrets");
        assert_eq!(secrets(&dir, &[], false).unwrap(), Exit::Ok);
        let first = contents(&dir);
        for path in first.keys() {
            assert_eq!(
                std::fs::metadata(path).unwrap().permissions().mode() & 0o077,
                0,
                "{}",
                path.display()
            );
        }
        secrets(&dir, &[], false).unwrap();
        assert_eq!(contents(&dir), first, "nothing is made twice");
        // Certificates are renewed by the same authority for the hosts of every call so far; passwords and keys stay.
        secrets(&dir, &["nats.example"], true).unwrap();
        for (path, text) in contents(&dir) {
            let is_certificate = path.starts_with(dir.join("tls")) && !path.ends_with("ca.pem") && !path.ends_with("ca.key");
            assert_eq!(first[&path] != text, is_certificate, "{}", path.display());
        }
    }

    #[test]
    fn what_was_made_is_what_services_read() {
        let root = tempfile::tempdir().unwrap();
        secrets(root.path(), &["10.0.0.7", "syncline-masker"], false).unwrap();
        let file = |name: &str| root.path().join("tls").join(name);
        for (service, _) in PORTS {
            let files = TlsFiles {
                ca: file("ca.pem"),
                certificate: file(&format!("{service}.pem")),
                key: file(&format!("{service}.key")),
            };
            assert!(Tls::load(&files).is_ok(), "{service}");
            let pem = std::fs::read(&files.certificate).unwrap();
            let der = pem_der(&pem);
            assert_eq!(tls::service_of(&der), Some(service));
        }
    }

    fn pem_der(pem: &[u8]) -> Vec<u8> {
        use rustls_pki_types::CertificateDer;
        use rustls_pki_types::pem::PemObject as _;
        CertificateDer::from_pem_slice(pem).unwrap().to_vec()
    }

    #[test]
    fn half_an_authority_and_hosts_that_are_none_are_refused() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(secrets(root.path(), &["no host"], false).unwrap_err().exit, Exit::Invalid);
        std::fs::remove_file(root.path().join("tls/ca.key")).unwrap();
        let error = secrets(root.path(), &[], false).unwrap_err();
        assert!(error.message.contains("ca.key"), "{}", error.message);
    }
}
