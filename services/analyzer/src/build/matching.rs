//! Matching by name what is never created: users, queues, record types, price books.
//!
//! What the names are, and which of two is the one, says the connector (`syncline_salesforce::names`). Here: what of it
//! belongs to the sync, and what is to be told about what has no match.

use std::collections::BTreeMap;

use syncline_domain::issue::{Issue, Severity};
use syncline_domain::plan::{FieldRole, ObjectPlan};
use syncline_domain::spec::SyncSpec;
use syncline_domain::{ErrorCode, ObjectName};
use syncline_salesforce::names::{Entry, Matched, PriceBookName, Unmatched, matched};

use super::fields::list;
use crate::facts::{Directory, Kind, NoMatch, Usage};

/// Who is who on the other end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matches {
    /// Source id -> target id.
    pub ids: BTreeMap<String, String>,
    owners: Vec<NoMatch>,
    /// By source object.
    record_types: BTreeMap<ObjectName, Vec<NoMatch>>,
    price_books: Vec<NoMatch>,
}

impl Matches {
    #[must_use]
    pub fn new(spec: &SyncSpec, source: &Directory, target: &Directory) -> Self {
        let mut matches = Self::default();
        let users = matches.take(&source.users, matched(&source.users, &target.users));
        let queues = matches.take(&source.queues, matched(&source.queues, &target.queues));
        matches.owners = users.into_iter().chain(queues).collect();
        for object in &spec.objects {
            let mut types = source.record_types.clone();
            types.retain(|t| t.names.iter().all(|n| n.object == object.name.as_str()));
            // Under the name that the object has in the target.
            let there = object.target.as_ref().unwrap_or(&object.name);
            types
                .iter_mut()
                .flat_map(|t| &mut t.names)
                .for_each(|n| n.object = there.to_string());
            let unmatched = matches.take(&types, matched(&types, &target.record_types));
            matches.record_types.insert(object.name.clone(), unmatched);
        }
        let loaded = spec.objects.iter().any(|o| o.name.as_str() == "Pricebook2");
        let mut books = source.price_books.clone();
        books.retain(|b| !loaded || b.names.contains(&PriceBookName::Standard));
        matches.price_books = matches.take(&books, matched(&books, &target.price_books));
        matches
    }

    /// Keeps what was matched; answers the rest.
    fn take<K>(&mut self, source: &[Entry<K>], matched: Matched) -> Vec<NoMatch> {
        self.ids.extend(matched.ids);
        let labels: BTreeMap<&str, &str> = source.iter().map(|e| (e.id.as_str(), e.label.as_str())).collect();
        let no_match = |(id, why): (String, Unmatched)| NoMatch {
            label: labels.get(id.as_str()).copied().unwrap_or_default().to_owned(),
            id,
            why,
        };
        matched.unmatched.into_iter().map(no_match).collect()
    }

    /// What a field of `object` may point to and nothing matches.
    #[must_use]
    pub fn unmatched(&self, kind: Kind, object: &ObjectName) -> &[NoMatch] {
        match kind {
            Kind::Owner => &self.owners,
            Kind::RecordType => self.record_types.get(object).map(Vec::as_slice).unwrap_or_default(),
            Kind::PriceBook => &self.price_books,
        }
    }
}

/// How many of the unmatched are there after all, and why they are not taken.
fn reasons(unmatched: &[NoMatch]) -> String {
    let of = |why: Unmatched| unmatched.iter().filter(|n| n.why == why).count();
    let parts: Vec<String> = [(of(Unmatched::Inactive), "inactive there"), (of(Unmatched::Ambiguous), "ambiguous")]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{n} {what}"))
        .collect();
    if parts.is_empty() {
        String::new()
    } else {
        format!(" ({})", parts.join(", "))
    }
}

/// Names of metadata, and what is wrong with those that are there.
fn labels(unmatched: &[NoMatch]) -> String {
    let label = |n: &NoMatch| match n.why {
        Unmatched::Missing => n.label.clone(),
        Unmatched::Ambiguous => format!("{} (ambiguous)", n.label),
        Unmatched::Inactive => format!("{} (inactive)", n.label),
    };
    list(&unmatched.iter().map(label).collect::<Vec<_>>())
}

/// What is unmatched and used, as issues.
pub(super) fn report(usage: &[Usage], objects: &[ObjectPlan], issues: &mut Vec<Issue>) {
    for used in usage.iter().filter(|u| !u.unmatched.is_empty() && u.records != Some(0)) {
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
                    "{} users or queues of the source have no match in the target{}; {records} name one of them in {place}",
                    used.unmatched.len(),
                    reasons(&used.unmatched)
                ),
            ),
            Kind::RecordType => (
                ErrorCode::RecordTypeMissing,
                Severity::Warning,
                format!(
                    "{records} of {} use record types that have no match in the target: {}",
                    used.object,
                    labels(&used.unmatched)
                ),
            ),
            Kind::PriceBook => (
                ErrorCode::Reference,
                if required { Severity::Error } else { Severity::Warning },
                format!(
                    "{records} name price books in {place} that have no match in the target: {}",
                    labels(&used.unmatched)
                ),
            ),
        };
        let mut issue = Issue::new(code, severity, message).at(&used.object, Some(&used.field));
        if let Some(records) = used.records {
            issue = issue.counted(records);
        }
        if used.kind == Kind::PriceBook {
            issue = issue.remedy("Give each of them one price book of the same name in the target, or add Pricebook2 to the sync.");
        }
        issues.push(issue);
    }
}
