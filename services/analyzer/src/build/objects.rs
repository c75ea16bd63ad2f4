//! The objects of a plan: found on both ends, their fields chosen, in load order.

use std::collections::BTreeMap;

use syncline_domain::describe::{FieldType, ObjectDescribe};
use syncline_domain::issue::{Issue, Severity};
use syncline_domain::plan::{FieldPlan, FieldRole, ObjectPlan, Reference};
use syncline_domain::spec::{ObjectSpec, SyncSpec};
use syncline_domain::{ErrorCode, FieldName, ObjectName};
use syncline_mapping::ObjectMapping;
use syncline_mask::suggest::closest;
use syncline_salesforce::person::{has_person_accounts, shadows_excluded};

use super::fields::{Selection, select};
use super::order::{Link, RequiredCycle, arrange};
use super::references::{InSync, roles};
use crate::facts::{Count, Facts};

/// Fact: a price in a price book is refused before the product has its standard price (Object Reference,
/// PricebookEntry). So standard prices are read first.
const PRICES_FIRST: &str = "Pricebook2.IsStandard DESC, Id";
/// The standard price book is there in every org and is matched, never created.
const WITHOUT_STANDARD: &str = "IsStandard = false";

pub(super) fn plan(spec: &SyncSpec, facts: &Facts, issues: &mut Vec<Issue>) -> Vec<ObjectPlan> {
    let mut selections: Vec<Selection<'_>> = spec
        .objects
        .iter()
        .filter_map(|object| selection(object, spec, facts, issues))
        .collect();
    let in_sync: InSync<'_> = spec
        .objects
        .iter()
        .map(|o| (&o.name, o.target.as_ref().unwrap_or(&o.name)))
        .collect();
    let mut references: Vec<BTreeMap<String, Reference>> = selections.iter_mut().map(|s| roles(s, &in_sync, issues)).collect();
    for selection in &selections {
        check_required(selection, issues);
        check_persons(selection, issues);
    }
    let order = defer(&selections, &mut references, issues);
    order
        .into_iter()
        .filter_map(|index| {
            let selection = selections.get(index)?;
            Some(object_plan(selection, references.get(index)?, facts, issues))
        })
        .collect()
}

fn selection<'f>(object: &'f ObjectSpec, spec: &SyncSpec, facts: &'f Facts, issues: &mut Vec<Issue>) -> Option<Selection<'f>> {
    let mapping = match ObjectMapping::new(object) {
        Ok(mapping) => mapping,
        Err(error) => {
            let message = format!("`map` of {}: {error}", object.name);
            issues.push(Issue::new(ErrorCode::SyncInvalid, Severity::Fatal, message).at(&object.name, None));
            return None;
        }
    };
    let source = found(
        &facts.source.describes,
        &object.name,
        object,
        "source",
        spec.source.as_str(),
        issues,
    );
    let target = found(
        &facts.target.describes,
        mapping.target(),
        object,
        "target",
        spec.target.as_str(),
        issues,
    );
    let (source, target) = (source?, target?);
    if !source.queryable {
        let message = format!("{} of the source cannot be queried by the connection's user", source.name);
        issues.push(Issue::new(ErrorCode::Permission, Severity::Fatal, message).at(&object.name, None));
    }
    if !target.createable {
        let message = format!("{} of the target cannot be created by the connection's user", target.name);
        issues.push(Issue::new(ErrorCode::Permission, Severity::Fatal, message).at(&object.name, None));
    }
    Some(select(object, mapping, source, target, issues))
}

fn found<'f>(
    describes: &'f BTreeMap<ObjectName, ObjectDescribe>,
    name: &ObjectName,
    object: &ObjectSpec,
    side: &str,
    connection: &str,
    issues: &mut Vec<Issue>,
) -> Option<&'f ObjectDescribe> {
    let describe = describes.get(name);
    if describe.is_none() {
        let hint = closest(name.as_str(), describes.keys().map(ObjectName::as_str))
            .filter(|near| *near != name.as_str())
            .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        let message = format!("the {side} `{connection}` has no object {name} that its user can see{hint}");
        issues.push(Issue::new(ErrorCode::ObjectMissing, Severity::Fatal, message).at(&object.name, None));
    }
    describe
}

/// Fields that the target insists on and nobody writes.
fn check_required(selection: &Selection<'_>, issues: &mut Vec<Issue>) {
    for field in &selection.target.fields {
        if !field.required() || selection.pairs.iter().any(|p| p.target.name == field.name) {
            continue;
        }
        let target = &selection.target.name;
        let message = if field.field_type == FieldType::Reference {
            let to: Vec<&str> = field.reference_to.iter().map(ObjectName::as_str).collect();
            format!(
                "the target requires `{}` of {target}, which points to {}, and the sync does not write it",
                field.name,
                to.join(" or ")
            )
        } else {
            format!("the target requires `{}` of {target}, and the sync does not write it", field.name)
        };
        issues.push(Issue::new(ErrorCode::FieldRequired, Severity::Fatal, message).at(&selection.spec.name, Some(&field.name)));
    }
}

/// Decides which references wait for pass 2; answers the load order.
fn defer(selections: &[Selection<'_>], references: &mut [BTreeMap<String, Reference>], issues: &mut Vec<Issue>) -> Vec<usize> {
    let index_of = |name: &ObjectName| selections.iter().position(|s| s.spec.name == *name);
    let mut fields: Vec<Vec<String>> = Vec::with_capacity(selections.len());
    let mut links: Vec<Vec<Link>> = Vec::with_capacity(selections.len());
    for (selection, references) in selections.iter().zip(references.iter()) {
        // In the order of names, so that of two equal choices always the same is made.
        fields.push(references.keys().cloned().collect());
        links.push(
            references
                .iter()
                .map(|(field, reference)| {
                    let updateable = selection
                        .pairs
                        .iter()
                        .any(|p| p.source.name.as_str() == field && p.target.updateable);
                    Link {
                        to: reference.to.iter().filter_map(index_of).collect(),
                        deferrable: !reference.required && updateable,
                    }
                })
                .collect(),
        );
    }
    match arrange(&links) {
        Ok(arranged) => {
            for (object, link) in arranged.deferred {
                let field = fields.get(object).and_then(|f| f.get(link));
                if let (Some(references), Some(field)) = (references.get_mut(object), field)
                    && let Some(reference) = references.get_mut(field)
                {
                    reference.deferred = true;
                }
            }
            arranged.order
        }
        Err(RequiredCycle(cycle)) => {
            let names: Vec<&str> = cycle
                .iter()
                .chain(cycle.first())
                .filter_map(|o| selections.get(*o))
                .map(|s| s.spec.name.as_str())
                .collect();
            let message = format!(
                "none of these objects can be created first, because each has a reference to the next that cannot be added later: {}",
                names.join(" -> ")
            );
            let mut issue = Issue::new(ErrorCode::RequiredCycle, Severity::Fatal, message)
                .remedy("Make one of the references optional and updateable in the target, or exclude it.");
            if let Some(first) = cycle.first().and_then(|o| selections.get(*o)) {
                issue = issue.at(&first.spec.name, None);
            }
            issues.push(issue);
            (0..selections.len()).collect()
        }
    }
}

fn object_plan(selection: &Selection<'_>, references: &BTreeMap<String, Reference>, facts: &Facts, issues: &mut Vec<Issue>) -> ObjectPlan {
    let name = &selection.spec.name;
    let mut fields = vec![source_key()];
    fields.extend(selection.pairs.iter().map(|pair| {
        FieldPlan {
            name: pair.source.name.clone(),
            target: pair.target.name.clone(),
            // Values are read as what they are at the source.
            field_type: pair.source.field_type,
            length: pair.target.length,
            precision: pair.target.precision,
            // No digit of the source is cut off on the way; the target decides what it keeps.
            scale: pair.source.scale.max(pair.target.scale),
            nillable: pair.target.nillable,
            unique: pair.target.unique,
            updateable: pair.target.updateable,
            role: references
                .get(pair.source.name.as_str())
                .map_or(FieldRole::Value, |r| FieldRole::Reference(r.clone())),
            mask: None,
        }
    }));
    let records = match facts.source_counts.get(name) {
        Some(Count::Records(records)) => *records,
        Some(Count::Refused(words)) => {
            let message = format!("`where` of {name} was not understood by the source: {words}");
            issues.push(Issue::new(ErrorCode::Query, Severity::Fatal, message).at(name, None));
            0
        }
        None => 0,
    };
    ObjectPlan {
        name: name.clone(),
        target: selection.mapping.target().clone(),
        fields,
        filter: filter(selection.spec, selection.source, Some(selection.target)),
        order_by: order_by(selection.source),
        has_created_date: has_created_date(selection.source),
        records,
        parents: parents(references, name, false),
        deferred_parents: parents(references, name, true),
        key: selection.key.clone(),
        deletable: deletable(selection.target).map(str::to_owned),
        source_describe_hash: selection.source.hash.clone(),
        target_describe_hash: selection.target.hash.clone(),
    }
}

/// Objects that references of one kind point to, each once, in the order of names.
fn parents(references: &BTreeMap<String, Reference>, own: &ObjectName, deferred: bool) -> Vec<ObjectName> {
    let mut parents: Vec<ObjectName> = references
        .values()
        .filter(|r| r.deferred == deferred)
        .flat_map(|r| r.to.iter().cloned())
        .filter(|o| deferred || o != own)
        .collect();
    parents.sort();
    parents.dedup();
    parents
}

fn source_key() -> FieldPlan {
    let id = FieldName::new("Id").expect("a literal that is a valid name");
    FieldPlan {
        name: id.clone(),
        target: id,
        field_type: FieldType::Id,
        length: 18,
        precision: 0,
        scale: 0,
        nillable: false,
        unique: true,
        updateable: false,
        role: FieldRole::SourceKey,
        mask: None,
    }
}

/// Records that are not there by themselves: neither the standard price book nor the contacts behind persons.
#[must_use]
pub(crate) fn deletable(describe: &ObjectDescribe) -> Option<&'static str> {
    let standard = (describe.name.as_str() == "Pricebook2").then_some(WITHOUT_STANDARD);
    standard.or_else(|| shadows_excluded(describe))
}

/// The sync's condition, and what the platforms impose.
#[must_use]
pub(crate) fn filter(spec: &ObjectSpec, source: &ObjectDescribe, target: Option<&ObjectDescribe>) -> Option<String> {
    // A person's contact comes into being with the account, where the target has persons, too.
    let persons_only_here = has_person_accounts(source) && !target.is_some_and(has_person_accounts);
    let imposed = deletable(source).filter(|_| !persons_only_here);
    match (spec.filter.clone(), imposed) {
        (Some(own), Some(imposed)) => Some(format!("({own}) AND {imposed}")),
        (own, imposed) => own.or_else(|| imposed.map(str::to_owned)),
    }
}

/// Persons without a place in the target travel as what it has: an account and a contact.
fn check_persons(selection: &Selection<'_>, issues: &mut Vec<Issue>) {
    if selection.source.name.as_str() == "Account" && has_person_accounts(selection.source) && !has_person_accounts(selection.target) {
        let message = "the source has person accounts and the target has none: persons become business accounts with a contact";
        issues.push(
            Issue::new(ErrorCode::RecordTypeMissing, Severity::Warning, message.to_owned())
                .at(&selection.spec.name, None)
                .remedy("Enable person accounts in the target, leave persons out (`where: IsPersonAccount = false`), or accept it."),
        );
    }
}

fn order_by(source: &ObjectDescribe) -> Option<String> {
    (source.name.as_str() == "PricebookEntry" && source.field("Pricebook2Id").is_some()).then(|| PRICES_FIRST.to_owned())
}

/// Can T0 be applied to a reading of this object?
#[must_use]
pub(crate) fn has_created_date(source: &ObjectDescribe) -> bool {
    source.field("CreatedDate").is_some_and(|f| f.filterable)
}
