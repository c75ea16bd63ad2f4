//! What keeps a run from writing where it must not.

use syncline_connect::OrgKind;
use syncline_domain::ErrorCode;
use syncline_domain::issue::{Issue, Severity};
use syncline_domain::spec::{Existing, SyncSpec};

use crate::facts::Facts;

/// Length of the form of an org id that every API accepts; the other form has three characters more.
const SHORT_ID: usize = 15;

pub(super) fn check(spec: &SyncSpec, facts: &Facts, issues: &mut Vec<Issue>) {
    let (source, target) = (&facts.source.org, &facts.target.org);
    if same_id(&source.id, &target.id) {
        issues.push(
            Issue::new(
                ErrorCode::SyncInvalid,
                Severity::Fatal,
                format!(
                    "`{}` and `{}` are connections to the same org, {}",
                    spec.source, spec.target, target.id
                ),
            )
            .remedy("Let source and target be connections to different orgs."),
        );
    }
    if target.kind == OrgKind::Production && !spec.allow_production_target.as_deref().is_some_and(|id| same_id(id, &target.id)) {
        issues.push(Issue::new(
            ErrorCode::ProductionTarget,
            Severity::Fatal,
            format!("`{}` reports itself as a production org ({})", spec.target, target.id),
        ));
    }
    if spec.existing == Existing::Refuse {
        // The analyzer does not know which of these this link wrote (that stands in the loader's ledger), so an
        // earlier run of the same sync counts as existing records too.
        for object in &spec.objects {
            let name = object.target.as_ref().unwrap_or(&object.name);
            let count = facts.target_counts.get(name).copied().unwrap_or(0);
            if count > 0 {
                issues.push(
                    Issue::new(
                        ErrorCode::TargetNotEmpty,
                        Severity::Fatal,
                        format!("the target holds {count} records of {name}, and the sync says `existing: refuse`"),
                    )
                    .at(&object.name, None)
                    .counted(count),
                );
            }
        }
    }
}

/// Ids of 15 and 18 characters name the same thing; the last three only protect the case of the others.
fn same_id(a: &str, b: &str) -> bool {
    match (a.get(..SHORT_ID), b.get(..SHORT_ID)) {
        (Some(x), Some(y)) if [a.len(), b.len()].iter().all(|l| matches!(l, 15 | 18)) => x == y,
        _ => a == b,
    }
}
