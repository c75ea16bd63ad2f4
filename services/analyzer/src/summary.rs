//! Plans and issues in the words of the API.

use syncline_domain::issue::{Issue, Severity};
use syncline_domain::plan::{ObjectPlan, Plan};
use syncline_domain::{FieldName, ObjectName};
use syncline_wire::analysis;

/// A plan for people.
#[must_use]
pub fn plan(plan: &Plan) -> analysis::PlanSummary {
    analysis::PlanSummary {
        source: plan.source.connection.to_string(),
        source_org: plan.source.label.clone(),
        target: plan.target.connection.to_string(),
        target_org: plan.target.label.clone(),
        objects: plan.objects.iter().map(object).collect(),
        records: plan.cost.records,
        source_calls: plan.cost.source_calls,
        target_calls: plan.cost.target_calls,
        jobs: plan.cost.jobs,
    }
}

fn object(object: &ObjectPlan) -> analysis::PlanObject {
    analysis::PlanObject {
        name: object.name.to_string(),
        records: object.records,
        // The source's key is read, never written.
        fields: u32::try_from(object.fields.len().saturating_sub(1)).unwrap_or(u32::MAX),
        parents: object.parents.iter().map(ToString::to_string).collect(),
        deferred_fields: object.deferred_fields().map(|f| f.name.to_string()).collect(),
        masked: object
            .fields
            .iter()
            .filter_map(|f| {
                let mask = f.mask.as_ref()?;
                Some(analysis::MaskedField {
                    field: f.name.to_string(),
                    strategy: mask.strategy.clone(),
                    why: mask.why.clone(),
                })
            })
            .collect(),
    }
}

#[must_use]
pub fn issue(issue: &Issue) -> analysis::Issue {
    analysis::Issue {
        code: issue.code.to_string(),
        severity: severity(issue.severity).to_owned(),
        object: issue.object.as_ref().map(ObjectName::to_string).unwrap_or_default(),
        field: issue.field.as_ref().map(FieldName::to_string).unwrap_or_default(),
        count: issue.count.unwrap_or(0),
        message: issue.message.clone(),
        remedy: issue.remedy.clone(),
    }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
        Severity::Fatal => "fatal",
    }
}

/// The answer to a check.
#[must_use]
pub fn check(of: &Plan) -> analysis::CheckSyncResponse {
    let count = |severity: Severity| u32::try_from(of.issues.iter().filter(|i| i.severity == severity).count()).unwrap_or(u32::MAX);
    analysis::CheckSyncResponse {
        issues: of.issues.iter().map(issue).collect(),
        fatal_count: count(Severity::Fatal),
        error_count: count(Severity::Error),
        warning_count: count(Severity::Warning),
        can_proceed: of.can_proceed(),
        plan: Some(plan(of)),
    }
}
