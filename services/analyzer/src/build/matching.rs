//! Matching by name what is never created: users, queues, record types, price books.
//!
//! Users: federation identifier, then the same user name, then the user name with a sandbox's suffix. Queues and record
//! types: developer name. Price books: the standard one, others by name. Inactive users and record types of the target
//! match nothing, because the target refuses them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use syncline_domain::issue::{Issue, Severity};
use syncline_domain::plan::{FieldRole, ObjectPlan};
use syncline_domain::spec::SyncSpec;
use syncline_domain::{ErrorCode, ObjectName};

use super::fields::list;
use crate::facts::{Directory, Kind, Usage, User};

/// Who is who on the other end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matches {
    /// Source id -> target id.
    pub ids: BTreeMap<String, String>,
    /// Source ids of users and queues without a match.
    pub owners: BTreeSet<String>,
    /// Source object -> (id, developer name) of record types without a match.
    pub record_types: BTreeMap<String, BTreeMap<String, String>>,
    /// (id, name) of price books without a match.
    pub price_books: BTreeMap<String, String>,
}

impl Matches {
    #[must_use]
    pub fn new(spec: &SyncSpec, source: &Directory, target: &Directory) -> Self {
        let mut matches = Self::default();
        matches.users(&source.users, &target.users);
        matches.queues(source, target);
        matches.record_types(spec, source, target);
        matches.price_books(spec, source, target);
        matches
    }

    /// Source ids that a field of `object` may hold and nothing matches, with names where they may be told.
    #[must_use]
    pub fn unmatched(&self, kind: Kind, object: &ObjectName) -> Vec<(&str, Option<&str>)> {
        match kind {
            Kind::Owner => self.owners.iter().map(|id| (id.as_str(), None)).collect(),
            Kind::RecordType => named(self.record_types.get(object.as_str())),
            Kind::PriceBook => named(Some(&self.price_books)),
        }
    }

    fn users(&mut self, source: &[User], target: &[User]) {
        let mut active: Vec<&User> = target.iter().filter(|u| u.active).collect();
        active.sort_by(|a, b| (a.username.len(), &a.username, &a.id).cmp(&(b.username.len(), &b.username, &b.id)));
        let mut by_federation: HashMap<&str, &str> = HashMap::new();
        let mut by_name: HashMap<String, &str> = HashMap::new();
        for user in &active {
            if let Some(federation) = user.federation.as_deref().filter(|f| !f.is_empty()) {
                by_federation.entry(federation).or_insert(&user.id);
            }
            by_name.entry(user.username.to_lowercase()).or_insert(&user.id);
        }
        // Every beginning of a name that ends before a dot; the shortest name with it comes first.
        let mut by_prefix: HashMap<String, &str> = HashMap::new();
        for user in &active {
            let name = user.username.to_lowercase();
            for (at, _) in name.match_indices('.') {
                if let Some(prefix) = name.get(..at).filter(|p| p.contains('@')) {
                    by_prefix.entry(prefix.to_owned()).or_insert(&user.id);
                }
            }
        }
        for user in source {
            let name = user.username.to_lowercase();
            let federation = user.federation.as_deref().filter(|f| !f.is_empty());
            let found = federation
                .and_then(|f| by_federation.get(f))
                .or_else(|| by_name.get(&name))
                .or_else(|| by_prefix.get(&name));
            self.put(&user.id, found.copied());
        }
    }

    fn put(&mut self, id: &str, found: Option<&str>) {
        match found {
            Some(target) => {
                self.ids.insert(id.to_owned(), target.to_owned());
            }
            None => {
                self.owners.insert(id.to_owned());
            }
        }
    }

    fn queues(&mut self, source: &Directory, target: &Directory) {
        for queue in &source.queues {
            let found = target
                .queues
                .iter()
                .filter(|q| q.developer_name.eq_ignore_ascii_case(&queue.developer_name))
                .map(|q| q.id.as_str())
                .min();
            self.put(&queue.id, found);
        }
    }

    fn record_types(&mut self, spec: &SyncSpec, source: &Directory, target: &Directory) {
        for object in &spec.objects {
            let target_object = object.target.as_ref().unwrap_or(&object.name);
            for record_type in source.record_types.iter().filter(|r| r.object == object.name.as_str()) {
                let found = target
                    .record_types
                    .iter()
                    .filter(|r| {
                        r.active && r.object == target_object.as_str() && r.developer_name.eq_ignore_ascii_case(&record_type.developer_name)
                    })
                    .map(|r| r.id.as_str())
                    .min();
                match found {
                    Some(id) => {
                        self.ids.insert(record_type.id.clone(), id.to_owned());
                    }
                    None => {
                        self.record_types
                            .entry(object.name.as_str().to_owned())
                            .or_default()
                            .insert(record_type.id.clone(), record_type.developer_name.clone());
                    }
                }
            }
        }
    }

    fn price_books(&mut self, spec: &SyncSpec, source: &Directory, target: &Directory) {
        let loaded = spec.objects.iter().any(|o| o.name.as_str() == "Pricebook2");
        for book in &source.price_books {
            if loaded && !book.standard {
                continue;
            }
            let found = target
                .price_books
                .iter()
                .filter(|b| b.standard == book.standard && (book.standard || b.name == book.name))
                .map(|b| b.id.as_str())
                .min();
            match found {
                Some(id) => {
                    self.ids.insert(book.id.clone(), id.to_owned());
                }
                None => {
                    self.price_books.insert(book.id.clone(), book.name.clone());
                }
            }
        }
    }
}

fn named(of: Option<&BTreeMap<String, String>>) -> Vec<(&str, Option<&str>)> {
    of.into_iter()
        .flatten()
        .map(|(id, name)| (id.as_str(), Some(name.as_str())))
        .collect()
}

/// What is unmatched and used, as issues.
pub(super) fn report(usage: &[Usage], objects: &[ObjectPlan], issues: &mut Vec<Issue>) {
    for used in usage.iter().filter(|u| u.unmatched > 0 && u.records != Some(0)) {
        let Some(field) = objects
            .iter()
            .find(|o| o.name == used.object)
            .and_then(|o| o.field(used.field.as_str()))
        else {
            continue;
        };
        let required = matches!(&field.role, FieldRole::Reference(r) if r.required);
        let records = used.records.map_or_else(|| "records".to_owned(), |n| format!("{n} records"));
        let place = format!("{}.{}", used.object, used.field);
        let (code, severity, message) = match used.kind {
            Kind::Owner => (
                ErrorCode::OwnerMissing,
                Severity::Warning,
                format!(
                    "{} users or queues of the source have no active match in the target; {records} name one of them in {place}",
                    used.unmatched
                ),
            ),
            Kind::RecordType => (
                ErrorCode::RecordTypeMissing,
                Severity::Warning,
                format!(
                    "{records} of {} use record types that the target does not have: {}",
                    used.object,
                    list(&used.names)
                ),
            ),
            Kind::PriceBook => (
                ErrorCode::Reference,
                if required { Severity::Error } else { Severity::Warning },
                format!(
                    "{records} name price books in {place} that the target does not have: {}",
                    list(&used.names)
                ),
            ),
        };
        let mut issue = Issue::new(code, severity, message).at(&used.object, Some(&used.field));
        if let Some(records) = used.records {
            issue = issue.counted(records);
        }
        if used.kind == Kind::PriceBook {
            issue = issue.remedy("Create the price books in the target under the same names, or add Pricebook2 to the sync.");
        }
        issues.push(issue);
    }
}
