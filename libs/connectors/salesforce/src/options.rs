//! What a connection asks of the org beside the data: who we say we are, which automation runs, what is compressed.

/// Bodies below this are not worth a gzip header and trailer.
const COMPRESS_BYTES_MIN: u64 = 1_024;

/// Headers and habits of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The name under which the org's change events show what we wrote (`changeOrigin`, REST API, header
    /// `Sforce-Call-Options`): how a mover knows its own echoes.
    pub client: String,
    pub assignment: Assignment,
    pub duplicates: Option<DuplicateRules>,
    pub compression: Compression,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            client: "syncline".to_owned(),
            assignment: Assignment::Off,
            duplicates: None,
            compression: Compression::Remote,
        }
    }
}

/// Whether records that are written get an owner by an assignment rule. REST runs the active rule unless told not to,
/// Bulk runs none unless told which; a mover brings owners along, so it is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assignment {
    Off,
    /// The object's active rule. Bulk jobs cannot ask for that and run none.
    Active,
    /// This rule, by its id.
    Rule(String),
}

/// How duplicate rules answer (header `Sforce-Duplicate-Rule-Header`, REST only; a rule that blocks, blocks anyway).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DuplicateRules {
    pub allow_save: bool,
    pub include_details: bool,
    pub as_current_user: bool,
}

/// Whether request bodies are gzipped. Answers are, whenever the org wants to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Always,
    Never,
    /// Only on a line that is slower than compressing: not within this machine.
    Remote,
}

impl Compression {
    pub(crate) fn applies(self, instance_url: &str, bytes: u64) -> bool {
        bytes >= COMPRESS_BYTES_MIN
            && match self {
                Self::Always => true,
                Self::Never => false,
                Self::Remote => !is_loopback(instance_url),
            }
    }
}

fn is_loopback(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|u| match u.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    })
}

impl Options {
    /// Nothing that could end the header's value or begin another option survives.
    pub(crate) fn call_options(&self) -> String {
        let name: String = self
            .client
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
            .collect();
        format!("client={name}")
    }

    /// Headers of requests that write records.
    pub(crate) fn write_headers(&self) -> Vec<(&'static str, String)> {
        let assign = match &self.assignment {
            Assignment::Off => "FALSE".to_owned(),
            Assignment::Active => "TRUE".to_owned(),
            Assignment::Rule(id) => id.clone(),
        };
        let mut headers = vec![("Sforce-Auto-Assign", assign)];
        if let Some(rules) = self.duplicates {
            let value = format!(
                "allowSave={}; includeRecordDetails={}; runAsCurrentUser={}",
                rules.allow_save, rules.include_details, rules.as_current_user
            );
            headers.push(("Sforce-Duplicate-Rule-Header", value));
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_what_was_chosen() {
        let plain = Options::default();
        assert_eq!(plain.call_options(), "client=syncline");
        assert_eq!(plain.write_headers(), [("Sforce-Auto-Assign", "FALSE".to_owned())]);
        let chosen = Options {
            client: "line, defaultNamespace=x\r\n".into(),
            assignment: Assignment::Rule("01Q000000000001AAA".into()),
            duplicates: Some(DuplicateRules {
                allow_save: true,
                include_details: false,
                as_current_user: true,
            }),
            compression: Compression::Never,
        };
        assert_eq!(chosen.call_options(), "client=linedefaultNamespacex");
        assert_eq!(
            chosen.write_headers(),
            [
                ("Sforce-Auto-Assign", "01Q000000000001AAA".to_owned()),
                (
                    "Sforce-Duplicate-Rule-Header",
                    "allowSave=true; includeRecordDetails=false; runAsCurrentUser=true".to_owned()
                ),
            ]
        );
    }

    #[test]
    fn only_what_leaves_the_machine_is_compressed() {
        for (compression, url, bytes, applies) in [
            (Compression::Remote, "https://x.my.salesforce.com", 5_000, true),
            (Compression::Remote, "https://x.my.salesforce.com", 500, false),
            (Compression::Remote, "http://127.0.0.1:80", 5_000, false),
            (Compression::Remote, "http://[::1]:80", 5_000, false),
            (Compression::Remote, "http://localhost:80", 5_000, false),
            (Compression::Always, "http://127.0.0.1:80", 5_000, true),
            (Compression::Never, "https://x.my.salesforce.com", 5_000, false),
        ] {
            assert_eq!(compression.applies(url, bytes), applies, "{compression:?} {url} {bytes}");
        }
    }
}
