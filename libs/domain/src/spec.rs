//! What users write: syncs and connections as YAML documents.
//!
//! Reading is strict: an unknown field, a missing one or a bad name is an error with line and column. Secrets never
//! stand in a document, only references to where they are.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::retry::{RetryPolicy, RetrySpec};
use crate::{ConnectionName, FieldName, ObjectName, SyncName};

/// The only `apiVersion` there is.
pub const API_VERSION: &str = "syncline.dev/v1";

/// A document could not be read. Lines and columns count from 1 within the file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {message}")]
pub struct SpecError {
    pub line: u64,
    pub column: u64,
    pub message: String,
}

/// One document of a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Document {
    Sync(SyncDocument),
    Connection(ConnectionDocument),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SyncDocument {
    pub api_version: ApiVersion,
    pub kind: SyncKind,
    pub metadata: SyncMetadata,
    #[serde(with = "serde_spec")]
    pub spec: SyncSpec,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ConnectionDocument {
    pub api_version: ApiVersion,
    pub kind: ConnectionKind,
    pub metadata: ConnectionMetadata,
    pub spec: ConnectionSpec,
}

/// Serde's plain derive; a module only so that the document's `camelCase` does not reach into the spec.
mod serde_spec {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::SyncSpec;

    pub fn serialize<S: Serializer>(spec: &SyncSpec, s: S) -> Result<S::Ok, S::Error> {
        spec.serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<SyncSpec, D::Error> {
        SyncSpec::deserialize(d)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiVersion {
    #[serde(rename = "syncline.dev/v1")]
    V1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncKind {
    Sync,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnectionKind {
    Connection,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncMetadata {
    pub name: SyncName,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionMetadata {
    pub name: ConnectionName,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A sync: from where to where, which objects, masked how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncSpec {
    pub source: ConnectionName,
    pub target: ConnectionName,
    /// What happens to records that are in the target already.
    #[serde(default)]
    pub existing: Existing,
    /// What happens to target records of this sync whose source record is gone.
    #[serde(default)]
    pub orphans: Orphans,
    /// Wait for approval after the plan is made.
    #[serde(default)]
    pub review: bool,
    /// The id of a production org that this sync may write to; without it no production org is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_production_target: Option<String>,
    /// Records and jobs that the target connection's user made before this moment do not stop a run, although the database does not
    /// know them (`SYSTEM_UNKNOWN_001`): somebody has looked at them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed_until: Option<DateTime<Utc>>,
    pub objects: Vec<ObjectSpec>,
    #[serde(default)]
    pub masking: MaskingSpec,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// Known records are updated where they differ, new ones inserted.
    #[default]
    Update,
    /// The target's records of the sync's objects are deleted first.
    Replace,
    /// Records that this link did not write stop the run before anything moves.
    Refuse,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Orphans {
    #[default]
    Keep,
    /// Deleted, after a complete reading, and only among keys that this sync wrote.
    Delete,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectSpec {
    pub name: ObjectName,
    /// The target's object where it is called otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<ObjectName>,
    /// A condition in the source's query language, without the word WHERE.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Only these fields; all that both ends have when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<FieldName>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<FieldName>,
    /// A unique external id by which records that are in the target already are found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<FieldName>,
    /// Source field -> target field, where they are called otherwise.
    #[serde(default, rename = "map", skip_serializing_if = "BTreeMap::is_empty")]
    pub mapping: BTreeMap<FieldName, FieldName>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskingSpec {
    /// A named set of decisions, such as `hipaa`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Object -> field -> strategy in its textual form; goes before the preset.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, BTreeMap<String, String>>,
}

/// An endpoint with references to its credentials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionSpec {
    #[serde(rename = "type")]
    pub kind: SystemKind,
    /// Where tokens are had: the login host or My Domain, `https://…` (`http://` only on loopback).
    pub url: String,
    pub auth: AuthSpec,
    /// Salesforce API version, such as `65.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// API requests per second that Syncline allows itself on this connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// How requests are tried again; what is left out is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySpec>,
}

impl ConnectionSpec {
    /// The policy that holds for this connection.
    #[must_use]
    pub fn retry_policy(&self) -> RetryPolicy {
        self.retry.as_ref().map_or_else(RetryPolicy::default, RetrySpec::policy)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SystemKind {
    Salesforce,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "flow", rename_all = "snake_case", deny_unknown_fields)]
pub enum AuthSpec {
    ClientCredentials {
        client_id: String,
        client_secret: SecretRef,
    },
    JwtBearer {
        client_id: String,
        username: String,
        private_key: SecretRef,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audience: Option<String>,
    },
    RefreshToken {
        client_id: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_secret: Option<SecretRef>,
        refresh_token: SecretRef,
    },
    /// A person signs in with a browser (`syncline connection add`); the refresh token that comes of it stands nowhere.
    WebServer {
        client_id: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_secret: Option<SecretRef>,
    },
}

/// Where a secret is; never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretRef {
    /// An environment variable of the process that applies the document.
    Env(String),
    /// A file that the process that applies the document can read.
    File(String),
}

/// By hand, because what stands here by mistake is a secret, and derived code would repeat it in the error.
impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Reference(BTreeMap<String, String>),
            Other(serde::de::IgnoredAny),
        }
        if let Given::Reference(mut given) = Given::deserialize(deserializer)?
            && given.len() == 1
        {
            if let Some(variable) = given.remove("env") {
                return Ok(Self::Env(variable));
            }
            if let Some(path) = given.remove("file") {
                return Ok(Self::File(path));
            }
        }
        Err(serde::de::Error::custom(
            "expected a reference to a secret, `{env: NAME}` or `{file: PATH}`; the secret itself must not stand here",
        ))
    }
}

/// Reads every document of a file.
///
/// # Errors
/// The first [`SpecError`], with line and column in the whole file.
pub fn read_documents(text: &str) -> Result<Vec<Document>, SpecError> {
    let mut documents = Vec::new();
    for (first_line, part) in split_documents(text) {
        if is_blank(part) {
            continue;
        }
        documents.push(read_document(part).map_err(|e| SpecError {
            line: e.line + first_line,
            ..e
        })?);
    }
    if documents.is_empty() {
        return Err(SpecError {
            line: 1,
            column: 1,
            message: "the file holds no document; expected apiVersion, kind, metadata and spec".to_owned(),
        });
    }
    Ok(documents)
}

/// Reads one document.
///
/// # Errors
/// [`SpecError`] with line and column.
pub fn read_document(text: &str) -> Result<Document, SpecError> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        kind: Option<String>,
    }
    let head: Head = from_yaml(text)?;
    match head.kind.as_deref() {
        Some("Sync") => {
            let document: SyncDocument = from_yaml(text)?;
            check_sync(&document.spec).map_err(|message| place(text, message))?;
            Ok(Document::Sync(document))
        }
        Some("Connection") => {
            let document: ConnectionDocument = from_yaml(text)?;
            check_connection(&document.spec).map_err(|message| place(text, message))?;
            Ok(Document::Connection(document))
        }
        Some(other) => Err(place(
            text,
            (
                "kind".to_owned(),
                format!("unknown kind `{other}`; expected `Sync` or `Connection`"),
            ),
        )),
        None => Err(SpecError {
            line: 1,
            column: 1,
            message: "`kind` is missing; expected `kind: Sync` or `kind: Connection`".to_owned(),
        }),
    }
}

fn from_yaml<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, SpecError> {
    serde_saphyr::from_str(text).map_err(|e| {
        let (line, column) = e.location().map_or((1, 1), |l| (l.line().max(1), l.column().max(1)));
        let message = e.without_snippet().to_string();
        let message = message.split(" at line ").next().unwrap_or("not valid").trim().to_owned();
        SpecError { line, column, message }
    })
}

/// Files may hold several documents, divided by lines of `---`. Yields the number of lines before each; a part may be
/// blank.
#[must_use]
pub fn split_documents(text: &str) -> Vec<(u64, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut start_line, mut offset, mut line_no) = (0, 0, 0, 0);
    for line in text.split_inclusive('\n') {
        line_no += 1;
        if line.trim_end() == "---" {
            parts.push((start_line, text.get(start..offset).unwrap_or("")));
            start = offset + line.len();
            start_line = line_no;
        }
        offset += line.len();
    }
    parts.push((start_line, text.get(start..).unwrap_or("")));
    parts
}

/// Nothing but blank lines and comments.
#[must_use]
pub fn is_blank(part: &str) -> bool {
    part.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#'))
}

/// A complaint about a value, and a text of the document that shows where it stands.
type Complaint = (String, String);

fn place(text: &str, (near, message): Complaint) -> SpecError {
    let at = text
        .lines()
        .enumerate()
        .find_map(|(i, l)| l.find(near.as_str()).map(|c| (i + 1, c + 1)));
    let (line, column) = at.unwrap_or((1, 1));
    SpecError {
        line: line as u64,
        column: column as u64,
        message,
    }
}

fn check_sync(spec: &SyncSpec) -> Result<(), Complaint> {
    if spec.source == spec.target {
        return Err((
            "target:".into(),
            format!("source and target are both `{}`; a sync needs two connections", spec.source),
        ));
    }
    if spec.objects.is_empty() {
        return Err(("objects:".into(), "`objects` is empty; list at least one object".into()));
    }
    let mut seen = std::collections::BTreeSet::new();
    for object in &spec.objects {
        if !seen.insert(&object.name) {
            return Err((format!("name: {}", object.name), format!("object `{}` stands twice", object.name)));
        }
        if object.filter.as_deref().is_some_and(|w| w.trim().is_empty()) {
            return Err((
                "where:".into(),
                format!("`where` of `{}` is empty; leave it out to take every record", object.name),
            ));
        }
        if let Some(both) = object.fields.iter().flatten().find(|f| object.exclude.contains(f)) {
            return Err((
                both.to_string(),
                format!("field `{both}` of `{}` is both in `fields` and in `exclude`", object.name),
            ));
        }
    }
    Ok(())
}

fn check_connection(spec: &ConnectionSpec) -> Result<(), Complaint> {
    let url = spec.url.as_str();
    let loopback = ["http://127.0.0.1", "http://localhost", "http://[::1]"].iter().any(|p| {
        url.strip_prefix(p)
            .is_some_and(|rest| (rest.is_empty() || rest.starts_with([':', '/'])) && !rest.contains('@'))
    });
    if !(url.starts_with("https://") || loopback) {
        return Err((
            "url:".into(),
            "`url` must start with https:// (http:// is for loopback addresses only)".into(),
        ));
    }
    if let Some(version) = &spec.api_version {
        let whole = version.strip_suffix(".0").and_then(|v| v.parse::<u32>().ok());
        if !whole.is_some_and(|v| (50..=99).contains(&v)) {
            return Err((
                "api_version".into(),
                format!("`api_version` is `{version}`; expected a version such as \"65.0\", 50.0 or newer"),
            ));
        }
    }
    if spec.requests_per_second == Some(0) {
        return Err(("requests_per_second".into(), "`requests_per_second` must be at least 1".into()));
    }
    if let Some(retry) = &spec.retry {
        retry
            .check()
            .map_err(|(key, why)| (format!("{key}:"), format!("`retry.{key}` {why}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SYNC: &str = "\
apiVersion: syncline.dev/v1
kind: Sync
metadata:
  name: prod-to-uat
spec:
  source: production
  target: uat
  objects:
    - name: Account
    - name: Contact
      where: AccountId != null
  masking:
    preset: hipaa
    rules:
      Contact:
        Email: fake(email)
";

    fn err(text: &str) -> SpecError {
        read_documents(text).expect_err("should be refused")
    }

    #[test]
    fn a_sync_reads() {
        let documents = read_documents(SYNC).expect("valid");
        let [Document::Sync(sync)] = documents.as_slice() else {
            panic!("one sync")
        };
        assert_eq!(sync.metadata.name.as_str(), "prod-to-uat");
        assert_eq!(sync.spec.existing, Existing::Update);
        assert_eq!(sync.spec.objects.len(), 2);
    }

    #[test]
    fn a_connection_reads_and_holds_no_secret() {
        let text = "apiVersion: syncline.dev/v1\nkind: Connection\nmetadata: {name: production}\nspec:\n  type: salesforce\n  url: http://127.0.0.1:8080\n  auth:\n    flow: client_credentials\n    client_id: app\n    client_secret: {env: PROD_SECRET}\n";
        let documents = read_documents(text).expect("valid");
        assert!(matches!(documents.as_slice(), [Document::Connection(_)]));
        for plain in [
            "hunter2",
            "1234567",
            "{hunter2: x}",
            "{env: hunter2, file: hunter2}",
            "[hunter2]",
            "{env: [hunter2]}",
        ] {
            let e = read_documents(&text.replace("{env: PROD_SECRET}", plain)).expect_err("a plain secret is not accepted");
            assert!(e.message.contains("reference to a secret"), "{e}");
            assert!(!e.message.contains("hunter2") && !e.message.contains("1234567"), "{e}");
        }
    }

    #[test]
    fn errors_name_line_and_column() {
        let unknown = err(&SYNC.replace("  target: uat\n", "  target: uat\n  targets: uat\n"));
        assert_eq!(unknown.line, 8, "{unknown}");
        assert!(unknown.message.contains("targets"), "{unknown}");

        let bad_name = err(&SYNC.replace("name: Contact", "name: Contact WHERE 1"));
        assert_eq!(bad_name.line, 10, "{bad_name}");

        let malformed = err(&SYNC.replace("  objects:\n", "  objects: [\n"));
        assert!(malformed.line >= 8, "{malformed}");

        let kind = err(&SYNC.replace("kind: Sync", "kind: Sink"));
        assert_eq!((kind.line, kind.column), (2, 1), "{kind}");

        let second = err(&format!(
            "{SYNC}---\n{}",
            SYNC.replace("existing", "x").replace("kind: Sync", "kind: Sink")
        ));
        assert_eq!(second.line, 19, "{second}");
    }

    #[test]
    fn contradictions_are_refused() {
        for (from, to, says) in [
            ("target: uat", "target: production", "two connections"),
            ("- name: Contact", "- name: Account", "stands twice"),
            ("where: AccountId != null", "where: \"\"", "is empty"),
        ] {
            let e = err(&SYNC.replace(from, to));
            assert!(e.message.contains(says), "{e}");
            assert!(e.line > 1, "{e}");
        }
    }

    #[test]
    fn http_is_for_loopback_only() {
        for url in [
            "http://127.0.0.1.evil.example",
            "http://localhost:x@evil.example",
            "http://127.0.0.1:80@evil.example/",
        ] {
            let text = format!(
                "apiVersion: syncline.dev/v1\nkind: Connection\nmetadata: {{name: production}}\nspec:\n  type: salesforce\n  url: {url}\n  auth: {{flow: client_credentials, client_id: app, client_secret: {{env: X}}}}\n"
            );
            assert_eq!(err(&text).line, 6, "{url}");
        }
    }

    fn with_retry(retry: &str) -> String {
        format!(
            "apiVersion: syncline.dev/v1\nkind: Connection\nmetadata: {{name: production}}\nspec:\n  type: salesforce\n  url: https://factor.example\n  auth: {{flow: client_credentials, client_id: app, client_secret: {{env: X}}}}\n  retry:\n{retry}"
        )
    }

    #[test]
    fn a_retry_policy_is_read_and_what_is_left_out_is_the_default() {
        let text = with_retry(
            "    attempts: 8\n    initial_delay: 250ms\n    factor: 1.5\n    max_delay: 2m\n    jitter: false\n    statuses: [503, 520, 503]\n    connect_timeout: 5s\n    request_timeout: 10m\n",
        );
        let read = |text: &str| match read_document(text) {
            Ok(Document::Connection(document)) => document,
            other => panic!("{other:?}"),
        };
        let document = read(&text);
        let policy = document.spec.retry_policy();
        assert_eq!((policy.attempts_max, policy.factor, policy.jitter), (8, 1.5, false));
        assert_eq!(policy.statuses.iter().copied().collect::<Vec<_>>(), [503, 520]);
        let ms = [policy.delay_min, policy.delay_max, policy.connect_timeout, policy.request_timeout].map(|d| d.as_millis());
        assert_eq!(ms, [250, 120_000, 5_000, 600_000]);
        // As it is stored.
        assert_eq!(read(&serde_json::to_string(&document).expect("JSON")), document);
        let one = read(&with_retry("    request_timeout: 5m\n")).spec.retry_policy();
        let expected = RetryPolicy {
            request_timeout: std::time::Duration::from_secs(300),
            ..RetryPolicy::default()
        };
        assert_eq!(one, expected);
    }

    #[test]
    fn a_retry_policy_that_makes_no_sense_is_refused_where_it_stands() {
        for (line, says) in [
            ("attempts: 0", "1 to 20"),
            ("attempts: 21", "1 to 20"),
            ("factor: 0.5", "1 to 10"),
            ("factor: .nan", "finite"),
            ("initial_delay: 0s", "1ms to 1h"),
            ("initial_delay: 2m", "none may be longer than 1m"),
            ("max_delay: 500ms", "the first delay is 1s"),
            ("max_delay: 2h", "1ms to 1h"),
            ("connect_timeout: 0s", "100ms to 5m"),
            ("request_timeout: 0ms", "100ms to 30m"),
            ("request_timeout: 30", "500ms, 30s, 5m or 1h"),
            ("request_timeout: soon", "500ms, 30s, 5m or 1h"),
            ("statuses: [200]", "400 to 599"),
            ("statuses: [600]", "400 to 599"),
            ("statuses: [401]", "new token"),
            ("retries: 3", "retries"),
        ] {
            let e = err(&with_retry(&format!("    {line}\n")));
            assert!(e.message.contains(says), "{line}: {e}");
            assert_eq!(e.line, 9, "{line}: {e}");
            assert!(e.column >= 5, "{line}: {e}");
        }
    }

    /// Read, or refused with a place in the text and one line that says why.
    fn read_or_refused(text: &str) -> Result<(), TestCaseError> {
        if let Err(e) = read_documents(text) {
            let lines = text.lines().count() as u64 + 1;
            prop_assert!((1..=lines).contains(&e.line) && e.column >= 1, "{e} of {lines} lines");
            prop_assert!(!e.message.is_empty() && !e.message.contains('\n'), "{:?}", e.message);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_text_breaks_the_reader(text in "[ -~\n\t\u{80}-\u{ff}]{0,200}") {
            read_or_refused(&text)?;
        }

        /// What looks like YAML reaches further than noise does: anchors, tags, nesting, block texts.
        #[test]
        fn no_yaml_breaks_the_reader(parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "apiVersion: syncline.dev/v1\n", "kind: Sync\n", "kind: Connection\n", "metadata: ", "spec:\n", "  ", "- ", "name: ", "x\n",
                "&a ", "*a\n", "!!str ", "|\n", "{", "}", "[", "]", ",", "\n---\n", "'", "\"", "? ", ": ", "<<: *a\n", "~\n", "1e999\n", "\u{feff}",
            ]), 0..60))
        {
            read_or_refused(&parts.concat())?;
        }

        #[test]
        fn no_damage_to_a_good_document_breaks_the_reader(at in 0_usize..400, with in "[ -~\n]{0,3}", cut in 0_usize..6) {
            let mut text = SYNC.to_owned();
            let at = at.min(text.len());
            let end = (at + cut).min(text.len());
            text.replace_range(at..end, &with);
            read_or_refused(&text)?;
        }
    }

    #[test]
    fn a_document_that_grows_when_it_is_read_is_refused() {
        let mut text =
            String::from("apiVersion: syncline.dev/v1\nkind: Sync\nmetadata: {name: a}\nspec:\n  a: &a [x, x, x, x, x, x, x, x]\n");
        for (of, is) in "abcdefghij".chars().zip("bcdefghijk".chars()) {
            text.push_str(&format!("  {is}: &{is} [{}]\n", vec![format!("*{of}"); 8].join(", ")));
        }
        let e = err(&text);
        assert!(e.line >= 1, "{e}");
        let deep = format!("apiVersion: {}", "[".repeat(100_000));
        assert!(err(&deep).line >= 1);
    }
}
