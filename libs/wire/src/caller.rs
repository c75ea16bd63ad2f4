//! Who called the gateway, as its peers are told. The gateway takes these keys off whatever comes from outside, so a
//! peer can believe them; a call that carries none comes from within the installation.

use syncline_domain::Role;
use tonic::metadata::{MetadataMap, MetadataValue};

pub const SUBJECT_KEY: &str = "syncline-subject";
pub const ROLE_KEY: &str = "syncline-role";
/// Set by a peer on its answer: the connections that the operation touches, separated by commas. For the audit log.
pub const CONNECTIONS_KEY: &str = "syncline-connections";

/// A caller that the gateway has recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub subject: String,
    pub role: Role,
}

impl Caller {
    /// Who the gateway says it is; `None` for a call from within.
    #[must_use]
    pub fn of(metadata: &MetadataMap) -> Option<Self> {
        let get = |key: &str| metadata.get(key)?.to_str().ok();
        Some(Self {
            subject: get(SUBJECT_KEY)?.to_owned(),
            // A role that this release does not know may look and nothing else.
            role: get(ROLE_KEY).and_then(|r| r.parse().ok()).unwrap_or(Role::Viewer),
        })
    }

    /// Whether this caller may change what belongs to `owner`.
    #[must_use]
    pub fn may_change(&self, owner: &str) -> bool {
        self.role == Role::Admin || (self.role == Role::Operator && self.subject == owner)
    }
}

/// Tells the gateway which connections an answer is about.
pub fn note_connections<'a>(metadata: &mut MetadataMap, connections: impl IntoIterator<Item = &'a str>) {
    let list = connections.into_iter().collect::<Vec<_>>().join(",");
    if let Ok(value) = MetadataValue::try_from(list) {
        metadata.insert(CONNECTIONS_KEY, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_and_administrators_may_change_and_nobody_else() {
        let caller = |role| Caller {
            subject: "ann".into(),
            role,
        };
        for (role, own, others) in [
            (Role::Viewer, false, false),
            (Role::Operator, true, false),
            (Role::Admin, true, true),
        ] {
            assert_eq!(caller(role).may_change("ann"), own, "{role}");
            assert_eq!(caller(role).may_change("bob"), others, "{role}");
        }
    }

    #[test]
    fn a_call_without_a_subject_comes_from_within() {
        let mut metadata = MetadataMap::new();
        assert_eq!(Caller::of(&metadata), None);
        metadata.insert(SUBJECT_KEY, MetadataValue::from_static("ann"));
        assert_eq!(Caller::of(&metadata).map(|c| c.role), Some(Role::Viewer));
        metadata.insert(ROLE_KEY, MetadataValue::from_static("admin"));
        assert_eq!(Caller::of(&metadata).map(|c| c.role), Some(Role::Admin));
    }
}
