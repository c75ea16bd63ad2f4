//! Definitions from files: read completely and checked before anything is sent.

use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use syncline_domain::ErrorCode;
use syncline_domain::spec::{self, AuthSpec, ConnectionDocument, Document, SecretRef, SyncDocument};

use crate::error::CliError;

/// A definition file larger than this is a mistake.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Something wrong at a place of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    pub code: ErrorCode,
    /// `file:line:column`
    pub place: String,
    pub message: String,
}

/// One document as it stands in its file.
pub struct Loaded<D> {
    pub file: String,
    /// Lines of the file before the document.
    pub lines_before: u64,
    pub yaml: String,
    pub document: D,
}

/// Everything that was read, connections apart from syncs.
#[derive(Default)]
pub struct Definitions {
    pub connections: Vec<Loaded<ConnectionDocument>>,
    pub syncs: Vec<Loaded<SyncDocument>>,
}

/// What a connection's references stand for. No `Debug`: these are secrets.
pub struct Secrets(pub HashMap<String, String>);

/// Reads every document of every file.
///
/// # Errors
/// All that is wrong, document by document; a file that cannot be read is an error by itself.
pub fn read(files: &[PathBuf]) -> Result<Definitions, CliError> {
    let mut definitions = Definitions::default();
    let mut complaints = Vec::new();
    for file in files {
        let (name, text) = read_named(file)?;
        read_file(&name, &text, &mut definitions, &mut complaints);
    }
    complaints.extend(duplicates(&definitions));
    refuse(complaints)?;
    Ok(definitions)
}

/// A file's name for messages, and its text; `-` is stdin.
///
/// # Errors
/// A file that cannot be read, or is too large to be a definition.
pub fn read_named(file: &Path) -> Result<(String, String), CliError> {
    let name = if is_stdin(file) {
        "<stdin>".to_owned()
    } else {
        file.display().to_string()
    };
    let text = read_text(file)
        .map_err(|e| CliError::coded(ErrorCode::SyncInvalid, format!("{name}: {e}")).remedy("Name a file that can be read."))?;
    Ok((name, text))
}

/// One error from all complaints, or none.
///
/// # Errors
/// When there is a complaint.
pub fn refuse(complaints: Vec<Complaint>) -> Result<(), CliError> {
    let Some(first) = complaints.first() else { return Ok(()) };
    let code = first.code;
    let lines: Vec<String> = complaints.iter().map(|c| format!("{}: {}", c.place, c.message)).collect();
    let mut error = CliError::coded(code, lines.join("\n"));
    // Unknown connections are "not found" on the wire; in a definition they are a mistake of its author.
    error.exit = crate::exit::Exit::Invalid;
    let mut remedies: Vec<&str> = complaints.iter().map(|c| c.code.entry().remedy).collect();
    remedies.dedup();
    Err(error.remedy(format!("{} Nothing was applied.", remedies.join(" "))))
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn read_text(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = if is_stdin(file) {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?
    } else {
        std::fs::File::open(file)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?
    };
    if read as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

fn read_file(file: &str, text: &str, into: &mut Definitions, complaints: &mut Vec<Complaint>) {
    let complain = |line: u64, column: u64, message: String| Complaint {
        code: ErrorCode::SyncInvalid,
        place: format!("{file}:{line}:{column}"),
        message,
    };
    let mut found = false;
    for (lines_before, part) in spec::split_documents(text) {
        if spec::is_blank(part) {
            continue;
        }
        found = true;
        let loaded = |document| (file.to_owned(), lines_before, part.to_owned(), document);
        match spec::read_document(part).map(loaded) {
            Ok((file, lines_before, yaml, Document::Connection(document))) => into.connections.push(Loaded {
                file,
                lines_before,
                yaml,
                document,
            }),
            Ok((file, lines_before, yaml, Document::Sync(document))) => into.syncs.push(Loaded {
                file,
                lines_before,
                yaml,
                document,
            }),
            Err(e) => complaints.push(complain(e.line + lines_before, e.column, e.message)),
        }
    }
    if !found {
        let message = "the file holds no document; expected apiVersion, kind, metadata and spec";
        complaints.push(complain(1, 1, message.to_owned()));
    }
}

fn duplicates(definitions: &Definitions) -> Vec<Complaint> {
    let mut seen = HashSet::new();
    let mut complaints = Vec::new();
    for c in &definitions.connections {
        let name = c.document.metadata.name.as_str();
        if !seen.insert(("connection", name)) {
            complaints.push(c.complain(ErrorCode::SyncInvalid, name, format!("connection `{name}` stands twice")));
        }
    }
    for s in &definitions.syncs {
        let name = s.document.metadata.name.as_str();
        if !seen.insert(("sync", name)) {
            complaints.push(s.complain(ErrorCode::SyncInvalid, name, format!("sync `{name}` stands twice")));
        }
    }
    complaints
}

impl<D> Loaded<D> {
    /// A complaint at the place where `near` first stands in the document.
    pub fn complain(&self, code: ErrorCode, near: &str, message: String) -> Complaint {
        let (line, column) = self
            .yaml
            .lines()
            .zip(1..)
            .find_map(|(text, line)| Some((line, text.find(near)? as u64 + 1)))
            .unwrap_or((1, 1));
        Complaint {
            code,
            place: format!("{}:{}:{column}", self.file, line + self.lines_before),
            message,
        }
    }
}

impl Definitions {
    /// Connections that a sync names and that are neither here nor in `stored`.
    pub fn unknown_connections(&self, stored: &[String]) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        for s in &self.syncs {
            for (role, name) in [("source", &s.document.spec.source), ("target", &s.document.spec.target)] {
                let known = stored.iter().any(|n| n == name.as_str()) || self.connections.iter().any(|c| c.document.metadata.name == *name);
                if !known {
                    let message = format!("the {role} `{name}` is not a connection that exists");
                    complaints.push(s.complain(ErrorCode::UnknownConnection, &format!("{role}: {name}"), message));
                }
            }
        }
        complaints
    }
}

impl Loaded<ConnectionDocument> {
    /// What the document's references stand for, read from this process's environment and files.
    ///
    /// # Errors
    /// A complaint for every reference that leads nowhere.
    pub fn secrets(&self) -> Result<Secrets, Vec<Complaint>> {
        let mut found = HashMap::new();
        let mut complaints = Vec::new();
        for (name, reference) in references(&self.document.spec.auth) {
            let (near, value) = match reference {
                SecretRef::Env(variable) => (variable, from_env(variable)),
                SecretRef::File(file) => (file, from_file(file)),
            };
            match value {
                Ok(value) => {
                    found.insert(name.to_owned(), value);
                }
                Err(why) => complaints.push(self.complain(ErrorCode::SyncInvalid, near, format!("`{name}`: {why}"))),
            }
        }
        if complaints.is_empty() {
            Ok(Secrets(found))
        } else {
            Err(complaints)
        }
    }
}

/// The secrets a document refers to, by the names under which they travel.
fn references(auth: &AuthSpec) -> Vec<(&'static str, &SecretRef)> {
    match auth {
        AuthSpec::ClientCredentials { client_secret, .. } => vec![("client_secret", client_secret)],
        AuthSpec::JwtBearer { private_key, .. } => vec![("private_key", private_key)],
        AuthSpec::RefreshToken {
            client_secret,
            refresh_token,
            ..
        } => client_secret
            .iter()
            .map(|secret| ("client_secret", secret))
            .chain([("refresh_token", refresh_token)])
            .collect(),
        AuthSpec::WebServer { client_secret, .. } => client_secret.iter().map(|secret| ("client_secret", secret)).collect(),
    }
}

fn from_env(variable: &str) -> Result<String, String> {
    match std::env::var(variable) {
        Ok(value) if !value.trim().is_empty() => Ok(value),
        Ok(_) => Err(format!("the environment variable {variable} is empty")),
        Err(_) => Err(format!("the environment variable {variable} is not set")),
    }
}

/// Editors end files with a line break, which is no part of a secret.
fn from_file(file: &str) -> Result<String, String> {
    let text = read_text(Path::new(file)).map_err(|e| format!("the file {file} cannot be read: {e}"))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.trim().is_empty() {
        return Err(format!("the file {file} is empty"));
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::exit::Exit;

    const CONNECTION: &str = "\
apiVersion: syncline.dev/v1
kind: Connection
metadata: {name: production}
spec:
  type: salesforce
  url: http://127.0.0.1:8080
  auth:
    flow: client_credentials
    client_id: app
    client_secret: {env: SYNCLINE_TEST_SECRET_THAT_IS_NOT_SET}
";
    const SYNC: &str = "\
# nightly
apiVersion: syncline.dev/v1
kind: Sync
metadata: {name: refresh}
spec:
  source: production
  target: sandbox
  objects: [{name: Account}]
";

    fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn documents_keep_their_text_and_come_apart_by_kind() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, "all.yaml", &format!("{SYNC}---\n\n---\n{CONNECTION}"));
        let definitions = read(&[path]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(definitions.syncs.len(), 1);
        assert_eq!(definitions.connections[0].yaml, CONNECTION);
        assert_eq!(definitions.syncs[0].yaml, SYNC, "comments stay");
    }

    #[test]
    fn every_mistake_of_every_file_is_named_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let bad = SYNC.replace("kind: Sync", "kind: Sink");
        let a = file(&dir, "a.yaml", &format!("{SYNC}---\n{bad}"));
        let b = file(&dir, "b.yaml", &SYNC.replace("  target:", "  tarhet:"));
        let c = file(&dir, "c.yaml", "# nothing\n");
        let error = read(&[a.clone(), b.clone(), c.clone()]).err().unwrap();
        assert_eq!((error.exit, error.code), (Exit::Invalid, Some(ErrorCode::SyncInvalid)));
        for place in [
            format!("{}:12:1: ", a.display()),
            format!("{}:7:", b.display()),
            format!("{}:1:1: ", c.display()),
        ] {
            assert!(error.message.contains(&place), "{place} in {}", error.message);
        }
        assert!(error.remedy.unwrap().contains("Nothing was applied"));
    }

    #[test]
    fn the_same_name_twice_is_a_mistake() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, "a.yaml", &format!("{SYNC}---\n{SYNC}"));
        let error = read(&[path]).err().unwrap();
        assert!(error.message.contains(":13:"), "{}", error.message);
        assert!(error.message.contains("`refresh` stands twice"), "{}", error.message);
    }

    #[test]
    fn a_file_that_is_not_there_or_not_text_is_a_mistake() {
        let dir = tempfile::tempdir().unwrap();
        let binary = dir.path().join("binary");
        std::fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
        for path in [dir.path().join("none.yaml"), dir.path().to_owned(), binary] {
            let error = read(std::slice::from_ref(&path)).err().unwrap();
            assert_eq!(error.exit, Exit::Invalid, "{}", path.display());
        }
    }

    #[test]
    fn a_connection_that_nobody_has_is_named_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, "a.yaml", &format!("{CONNECTION}---\n{SYNC}"));
        let definitions = read(&[path]).unwrap_or_else(|e| panic!("{e}"));
        assert!(definitions.unknown_connections(&["sandbox".to_owned()]).is_empty());
        let complaints = definitions.unknown_connections(&[]);
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].place.ends_with("a.yaml:18:3"), "{}", complaints[0].place);
        let error = refuse(complaints).unwrap_err();
        assert_eq!((error.exit, error.code), (Exit::Invalid, Some(ErrorCode::UnknownConnection)));
    }

    #[test]
    fn secrets_come_from_files_without_their_line_break_and_missing_ones_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, "a.yaml", CONNECTION);
        let definitions = read(&[path]).unwrap_or_else(|e| panic!("{e}"));
        let complaints = definitions.connections[0].secrets().err().unwrap();
        assert!(complaints[0].place.ends_with("a.yaml:10:26"), "{}", complaints[0].place);
        assert!(complaints[0].message.contains("is not set"), "{}", complaints[0].message);

        let secret = file(&dir, "secret", "hush hush\r\n");
        let with_file = CONNECTION.replace("env: SYNCLINE_TEST_SECRET_THAT_IS_NOT_SET", &format!("file: {}", secret.display()));
        let path = file(&dir, "b.yaml", &with_file);
        let definitions = read(&[path]).unwrap_or_else(|e| panic!("{e}"));
        let secrets = definitions.connections[0].secrets().map_err(|c| c[0].message.clone()).unwrap();
        assert_eq!(secrets.0["client_secret"], "hush hush");
        std::fs::write(&secret, "\n").unwrap();
        assert!(definitions.connections[0].secrets().is_err(), "an empty secret is none");
    }
}
