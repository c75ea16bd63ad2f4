//! What becomes of references: carried over between objects of the sync, matched by name, or left out.

use std::collections::BTreeMap;

use syncline_domain::describe::FieldType;
use syncline_domain::issue::{Issue, Severity};
use syncline_domain::plan::Reference;
use syncline_domain::{ErrorCode, ObjectName};

use super::fields::{Pair, Selection, list};
use crate::facts::Kind;

/// Objects of the sync: source name -> target name.
pub(super) type InSync<'f> = BTreeMap<&'f ObjectName, &'f ObjectName>;

/// The roles of an object's references by field name; fields without a role stay behind and are reported.
pub(super) fn roles(selection: &mut Selection<'_>, in_sync: &InSync<'_>, issues: &mut Vec<Issue>) -> BTreeMap<String, Reference> {
    let mut roles = BTreeMap::new();
    let mut dropped = Vec::new();
    let mut partial = Vec::new();
    selection.pairs.retain(|pair| {
        if pair.source.field_type != FieldType::Reference {
            return true;
        }
        let to = parents(*pair, in_sync);
        let matched = pair.source.reference_to.iter().any(|o| Kind::of(o.as_str()).is_some());
        if to.is_empty() && !matched {
            dropped.push(format!("{} ({})", pair.source.name, join(&pair.source.reference_to)));
            return false;
        }
        let outside: Vec<ObjectName> = pair
            .source
            .reference_to
            .iter()
            .filter(|o| !to.contains(o) && Kind::of(o.as_str()).is_none())
            .cloned()
            .collect();
        if !outside.is_empty() {
            partial.push(format!("{} ({})", pair.source.name, join(&outside)));
        }
        roles.insert(
            pair.source.name.as_str().to_owned(),
            Reference {
                to,
                required: required(*pair),
                deferred: false,
            },
        );
        true
    });
    let object = &selection.spec.name;
    let remedy = "Nothing to do, or add the object to the sync.";
    if !dropped.is_empty() {
        let message = format!(
            "{} references of {object} are left out because what they point to is not in the sync: {}",
            dropped.len(),
            list(&dropped)
        );
        issues.push(
            Issue::new(ErrorCode::Reference, Severity::Info, message)
                .at(object, None)
                .remedy(remedy),
        );
    }
    if !partial.is_empty() {
        let message = format!(
            "references of {object} to objects that are not in the sync become null: {}",
            list(&partial)
        );
        issues.push(
            Issue::new(ErrorCode::Reference, Severity::Info, message)
                .at(object, None)
                .remedy(remedy),
        );
    }
    roles
}

/// Objects of the sync that the field may point to on both ends.
fn parents(pair: Pair<'_>, in_sync: &InSync<'_>) -> Vec<ObjectName> {
    pair.source
        .reference_to
        .iter()
        .filter(|object| in_sync.get(object).is_some_and(|target| pair.target.reference_to.contains(target)))
        .cloned()
        .collect()
}

/// A child that cannot be without its parent: required, or the detail of a master.
fn required(pair: Pair<'_>) -> bool {
    pair.target.required() || (pair.target.cascade_delete && !pair.target.nillable)
}

fn join(objects: &[ObjectName]) -> String {
    objects.iter().map(ObjectName::as_str).collect::<Vec<_>>().join(", ")
}
