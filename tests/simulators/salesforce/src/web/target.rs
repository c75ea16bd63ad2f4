//! What a URL below `/services/data` names: API version, path and parameters.

use std::collections::HashMap;

/// Versions this org serves; older ones are retired, later ones not released.
pub const VERSIONS: std::ops::RangeInclusive<u32> = 50..=67;
/// Versions before this one are retired: `410`.
const RETIRED_BELOW: u32 = 31;

/// A parsed URL.
pub struct Target {
    /// `v65.0`, as sent.
    pub version: String,
    /// Path segments behind the version, decoded, without empty ones.
    pub segments: Vec<String>,
    pub query: HashMap<String, String>,
}

impl Target {
    /// Reads the URL of a subrequest: `/services/data/v65.0/…` or `v65.0/…`, with raw blanks
    /// or encoded. `None` when it names nothing of the data API or an unknown version.
    pub fn parse(url: &str) -> Option<Self> {
        let url = url.split('#').next().unwrap_or_default();
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let mut segments: Vec<String> = path.split('/').filter(|s| !s.is_empty()).map(decode).collect();
        if segments.starts_with(&["services".into(), "data".into()]) {
            segments.drain(..2);
        }
        let version = (!segments.is_empty()).then(|| segments.remove(0))?;
        (standing(&version) == Standing::Served).then(|| Self {
            version,
            segments,
            query: parameters(query),
        })
    }
}

/// What a version text stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Served,
    Retired,
    Unknown,
}

/// Judges a version segment.
pub fn standing(text: &str) -> Standing {
    let number = text
        .strip_prefix('v')
        .and_then(|t| t.strip_suffix(".0"))
        .and_then(|t| t.parse::<u32>().ok());
    match number {
        Some(n) if VERSIONS.contains(&n) => Standing::Served,
        Some(n) if (1..RETIRED_BELOW).contains(&n) => Standing::Retired,
        _ => Standing::Unknown,
    }
}

/// Decodes a path segment, where `+` is itself.
pub fn decode(segment: &str) -> String {
    url::form_urlencoded::parse(format!("k={}", segment.replace('+', "%2B").replace('&', "%26")).as_bytes())
        .next()
        .map(|(_, v)| v.into_owned())
        .unwrap_or_default()
}

/// Decodes a query string.
pub fn parameters(query: &str) -> HashMap<String, String> {
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn subrequest_urls_are_read_in_all_their_forms() {
        for (url, segments, q) in [
            ("/services/data/v65.0/sobjects/Account", vec!["sobjects", "Account"], None),
            (
                "v50.0/sobjects/Account/Ext__c/a%2Fb+c&d",
                vec!["sobjects", "Account", "Ext__c", "a/b+c&d"],
                None,
            ),
            (
                "/services/data/v67.0/query/?q=select Id from A",
                vec!["query"],
                Some("select Id from A"),
            ),
            ("/services/data/v65.0/query?q=SELECT+Id", vec!["query"], Some("SELECT Id")),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!(target.segments, segments, "{url}");
            assert_eq!(target.query.get("q").map(String::as_str), q, "{url}");
        }
        for url in [
            "",
            "/",
            "/services/data",
            "/services/data/v49.0/query",
            "/services/data/v68.0/",
            "/x/y",
            "v65/query",
        ] {
            assert!(Target::parse(url).is_none(), "{url}");
        }
        assert_eq!(standing("v30.0"), Standing::Retired);
        assert_eq!(standing("v49.0"), Standing::Unknown);
        assert_eq!(standing("v0.0"), Standing::Unknown);
    }
}
