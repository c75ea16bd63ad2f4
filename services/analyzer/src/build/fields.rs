//! Which fields of an object travel, and under which names.
//!
//! Named fields (`fields`, `map`, `exclude`, `key`) must be there, or the plan is fatal; without `fields` it is whatever
//! the source shows and the target lets be written.

use std::collections::BTreeSet;

use syncline_domain::describe::{FieldDescribe, ObjectDescribe};
use syncline_domain::issue::{Issue, Severity};
use syncline_domain::spec::ObjectSpec;
use syncline_domain::{ErrorCode, FieldName};
use syncline_mapping::ObjectMapping;
use syncline_mask::suggest::closest;

use super::fit::{Fit, fit, missing_values};

/// Kept by the system itself. They travel only where they are named and the target's user may write them.
const SYSTEM_FIELDS: [&str; 7] = [
    "CreatedDate",
    "CreatedById",
    "LastModifiedDate",
    "LastModifiedById",
    "SystemModstamp",
    "IsDeleted",
    "Id",
];
/// Of two fields that say the same, the target admits only one: (object, kept, dropped). Fact: Object Reference,
/// OpportunityLineItem, "UnitPrice" and "PricebookEntryId".
const EXCLUSIVE: [(&str, &str, &str); 2] = [
    ("OpportunityLineItem", "UnitPrice", "TotalPrice"),
    ("OpportunityLineItem", "PricebookEntryId", "Product2Id"),
];
/// Names that a message lists before it only counts.
pub(super) const NAMES_SHOWN: usize = 10;

/// A field on both ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<'f> {
    pub source: &'f FieldDescribe,
    pub target: &'f FieldDescribe,
}

/// What travels of an object.
pub(super) struct Selection<'f> {
    pub spec: &'f ObjectSpec,
    pub mapping: ObjectMapping,
    pub source: &'f ObjectDescribe,
    pub target: &'f ObjectDescribe,
    pub pairs: Vec<Pair<'f>>,
    pub key: Option<FieldName>,
}

pub(super) fn select<'f>(
    spec: &'f ObjectSpec,
    mapping: ObjectMapping,
    source: &'f ObjectDescribe,
    target: &'f ObjectDescribe,
    issues: &mut Vec<Issue>,
) -> Selection<'f> {
    let mut selector = Selector {
        spec,
        mapping: &mapping,
        source,
        target,
        issues,
    };
    selector.check_names();
    let mut pairs = match &spec.fields {
        Some(fields) => selector.named(fields),
        None => selector.all(),
    };
    selector.drop_exclusive(&mut pairs);
    pairs.retain(|pair| selector.fits(*pair));
    let key = selector.key(&pairs);
    Selection {
        spec,
        mapping,
        source,
        target,
        pairs,
        key,
    }
}

struct Selector<'f, 'i> {
    spec: &'f ObjectSpec,
    mapping: &'i ObjectMapping,
    source: &'f ObjectDescribe,
    target: &'f ObjectDescribe,
    issues: &'i mut Vec<Issue>,
}

impl<'f> Selector<'f, '_> {
    fn issue(&mut self, code: ErrorCode, severity: Severity, field: &FieldName, message: String) {
        self.issues
            .push(Issue::new(code, severity, message).at(&self.spec.name, Some(field)));
    }

    /// Every name that the sync mentions must be on the side where it is meant.
    fn check_names(&mut self) {
        let spec = self.spec;
        let mut checked = BTreeSet::new();
        let named = spec.fields.iter().flatten().map(|f| (f, "fields"));
        let named = named.chain(spec.exclude.iter().map(|f| (f, "exclude")));
        let named = named.chain(spec.mapping.keys().map(|f| (f, "map")));
        for (field, place) in named.chain(spec.key.iter().map(|f| (f, "key"))) {
            if self.source.field(field.as_str()).is_none() && checked.insert(field) {
                self.missing(self.source, "source", field, field, place);
            }
        }
        for (field, target) in &spec.mapping {
            if self.target.field(target.as_str()).is_none() {
                self.missing(self.target, "target", target, field, "map");
            }
            if spec.fields.as_ref().is_some_and(|f| !f.contains(field)) || spec.exclude.contains(field) {
                let message = format!("`map` of {} names `{field}`, which the sync does not take", spec.name);
                self.issue(ErrorCode::SyncInvalid, Severity::Fatal, field, message);
            }
        }
        for field in spec.fields.iter().flatten().chain(&spec.key) {
            let target = self.mapping.target_field(field);
            if !self.mapping.renames(field) && self.target.field(target.as_str()).is_none() && self.source.field(field.as_str()).is_some() {
                self.missing(self.target, "target", target, field, "fields");
            }
        }
        if let Some(key) = spec.key.as_ref().filter(|k| spec.exclude.contains(k)) {
            let message = format!("`{key}` is the key of {} and cannot be in `exclude`", spec.name);
            self.issue(ErrorCode::SyncInvalid, Severity::Fatal, key, message);
        }
    }

    fn missing(&mut self, describe: &ObjectDescribe, side: &str, name: &FieldName, field: &FieldName, place: &str) {
        let known = describe.fields.iter().map(|f| f.name.as_str());
        let hint = closest(name.as_str(), known).map_or(String::new(), |n| format!("; did you mean `{n}`?"));
        let message = format!(
            "`{place}` names `{name}`, which {} of the {side} does not have{hint}",
            describe.name
        );
        self.issue(ErrorCode::FieldMissing, Severity::Fatal, field, message);
    }

    fn is_named(&self, field: &FieldName) -> bool {
        self.spec.fields.iter().flatten().any(|f| f == field) || self.mapping.renames(field) || self.spec.key.as_ref() == Some(field)
    }

    /// Exactly the fields that the sync lists, and its key.
    fn named(&mut self, fields: &'f [FieldName]) -> Vec<Pair<'f>> {
        let mut pairs: Vec<Pair<'f>> = Vec::new();
        for name in fields.iter().chain(&self.spec.key) {
            let Some(source) = self.source.field(name.as_str()) else { continue };
            let Some(target) = self.target.field(self.mapping.target_field(name).as_str()) else {
                continue;
            };
            if name.as_str() == "Id" || pairs.iter().any(|p| p.source.name == *name) {
                continue;
            }
            if let Some(other) = pairs.iter().find(|p| p.target.name == target.name) {
                let message = format!("`{}` and `{name}` would both be written to `{}`", other.source.name, target.name);
                self.issue(ErrorCode::SyncInvalid, Severity::Fatal, name, message);
                continue;
            }
            if self.writable(source, target) {
                pairs.push(Pair { source, target });
            }
        }
        pairs
    }

    /// For fields that the sync names: not writable is an error, not a reason to leave them out.
    fn writable(&mut self, source: &FieldDescribe, target: &FieldDescribe) -> bool {
        let reason = if !source.field_type.is_movable() || !target.field_type.is_movable() {
            "its type does not travel"
        } else if target.calculated || target.auto_number {
            "the target computes it"
        } else if !target.createable {
            "the target's user may not write it"
        } else {
            return true;
        };
        let message = format!("the sync names `{}` of {}, but {reason}", source.name, self.spec.name);
        self.issue(ErrorCode::FieldMissing, Severity::Fatal, &source.name, message);
        false
    }

    /// Whatever both ends have and the target lets be written.
    fn all(&mut self) -> Vec<Pair<'f>> {
        let mut pairs = Vec::new();
        let (mut absent, mut read_only) = (Vec::new(), 0_u64);
        for source in &self.source.fields {
            let named = self.is_named(&source.name);
            let system = SYSTEM_FIELDS.contains(&source.name.as_str());
            let computed = source.calculated || source.auto_number;
            if source.name.as_str() == "Id" || self.spec.exclude.contains(&source.name) {
                continue;
            }
            if !named && (system || computed || !source.field_type.is_movable()) {
                continue;
            }
            let name = self.mapping.target_field(&source.name);
            if !named && self.mapping.mapped_to(name).is_some() {
                let message = format!(
                    "`{}` of {} is left out: another field is mapped to its name in the target",
                    source.name, self.spec.name
                );
                self.issue(ErrorCode::FieldMissing, Severity::Warning, &source.name, message);
                continue;
            }
            match self.target.field(name.as_str()) {
                // Named ones were reported when names were checked.
                None if named => {}
                None => {
                    if source.createable {
                        absent.push(source.name.as_str());
                    }
                }
                Some(target) if named => {
                    if self.writable(source, target) {
                        pairs.push(Pair { source, target });
                    }
                }
                Some(target) if !target.createable || target.calculated || target.auto_number || !target.field_type.is_movable() => {
                    read_only += 1;
                }
                Some(target) => pairs.push(Pair { source, target }),
            }
        }
        self.report_left_out(&absent, read_only);
        pairs
    }

    fn report_left_out(&mut self, absent: &[&str], read_only: u64) {
        let object = &self.spec.name;
        if !absent.is_empty() {
            let message = format!(
                "{} fields of {object} are left out because the target does not have them: {}",
                absent.len(),
                list(absent)
            );
            self.issues
                .push(Issue::new(ErrorCode::FieldMissing, Severity::Warning, message).at(object, None));
        }
        if read_only > 0 {
            let message = format!("{read_only} fields of {object} are left out because the target does not let them be written");
            self.issues.push(
                Issue::new(ErrorCode::FieldMissing, Severity::Info, message)
                    .at(object, None)
                    .remedy("Nothing to do; name a field under `fields` to insist on it."),
            );
        }
    }

    fn drop_exclusive(&mut self, pairs: &mut Vec<Pair<'f>>) {
        for (object, kept, dropped) in EXCLUSIVE {
            let has = |name: &str| pairs.iter().any(|p| p.target.name.as_str() == name);
            if self.target.name.as_str() == object && has(kept) && has(dropped) {
                pairs.retain(|p| p.target.name.as_str() != dropped);
                let message = format!("`{dropped}` of {object} is left out: the target admits only one of it and `{kept}`");
                self.issues
                    .push(Issue::new(ErrorCode::FieldType, Severity::Info, message).at(&self.spec.name, None));
            }
        }
    }

    /// Reports what does not fit; `false`: the field stays behind.
    fn fits(&mut self, pair: Pair<'f>) -> bool {
        let (object, field) = (&self.spec.name, &pair.source.name);
        let verdict = fit(pair.source, pair.target);
        match &verdict {
            Fit::Fits => {}
            Fit::Narrower(what) => {
                let message = format!("`{field}` of {object}: {what}; values that do not fit will be refused");
                self.issue(ErrorCode::FieldType, Severity::Warning, field, message);
            }
            Fit::Never(what) => {
                let message = format!("`{field}` of {object} is left out: {what}");
                self.issue(ErrorCode::FieldType, Severity::Error, field, message);
                return false;
            }
        }
        let missing = missing_values(pair.source, pair.target);
        if !missing.is_empty() {
            let message = format!(
                "{} values of `{field}` of {object} are not in the target's restricted picklist: {}",
                missing.len(),
                list(&missing)
            );
            self.issue(ErrorCode::PicklistValue, Severity::Warning, field, message);
        }
        true
    }

    /// The key must find at most one record of the target.
    fn key(&mut self, pairs: &[Pair<'f>]) -> Option<FieldName> {
        let key = self.spec.key.as_ref()?;
        let pair = pairs.iter().find(|p| p.source.name == *key)?;
        if pair.target.external_id && pair.target.unique {
            return Some(key.clone());
        }
        let message = format!(
            "`key` of {} is `{key}`, but `{}` of the target is not an external id with unique values",
            self.spec.name, pair.target.name
        );
        self.issues.push(
            Issue::new(ErrorCode::FieldType, Severity::Fatal, message)
                .at(&self.spec.name, Some(key))
                .remedy("Name a field that is both an external id and unique in the target, or leave `key` out."),
        );
        None
    }
}

/// The first names of a list, and how many more there are.
pub(super) fn list<S: AsRef<str>>(names: &[S]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES_SHOWN).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
