//! Masking decisions for every planned field, or the reasons why there can't be one.

use syncline_domain::describe::{FieldDescribe, FieldType};
use syncline_domain::issue::{Issue, Severity};
use syncline_domain::plan::{MaskDecision, ObjectPlan};
use syncline_domain::spec::SyncSpec;
use syncline_domain::{ErrorCode, FieldName, ObjectName};
use syncline_mask::{
    Decision, Decisions, FieldFacts, FieldType as MaskType, ObjectFacts, Origin, Picklist, Policy, PolicyProblem, Rules, Strategy,
};

use crate::facts::Facts;

pub(super) fn decide(spec: &SyncSpec, facts: &Facts, objects: &mut [ObjectPlan], issues: &mut Vec<Issue>) {
    let mut fields: ObjectFacts = objects
        .iter()
        .map(|object| (object.name.as_str().to_owned(), object_facts(object, facts)))
        .collect();
    let mut rules = read_rules(spec, &mut fields, issues);
    let preset = spec.masking.preset.as_deref();
    let decisions = match Policy::resolve(preset, &rules, &fields) {
        Ok(decisions) => decisions,
        Err(problems) => {
            for problem in &problems {
                issues.push(issue(problem));
                set_aside(problem, &mut rules, &mut fields);
            }
            // What is left of the policy is still worth showing; it does not make the plan less fatal.
            Policy::resolve(preset, &rules, &fields).unwrap_or_default()
        }
    };
    for object in objects {
        for field in &mut object.fields {
            field.mask = decisions.get(object.name.as_str(), field.name.as_str()).and_then(mask_decision);
        }
        check_key(object, &decisions, issues);
    }
}

/// Rules in their typed form. One that can't be read is fatal, and its field is left to nobody else.
fn read_rules(spec: &SyncSpec, fields: &mut ObjectFacts, issues: &mut Vec<Issue>) -> Rules {
    let mut rules = Rules::new();
    for (object, of_object) in &spec.masking.rules {
        let typed = rules.entry(object.clone()).or_default();
        for (field, text) in of_object {
            match text.parse::<Strategy>() {
                Ok(strategy) => {
                    typed.insert(field.clone(), strategy);
                }
                Err(error) => {
                    let message = format!("`masking.rules` of {object}.{field}: {error}");
                    issues.push(placed(
                        Issue::new(ErrorCode::MaskUnknown, Severity::Fatal, message),
                        object,
                        Some(field),
                    ));
                    if let Some(known) = fields.get_mut(object) {
                        known.retain(|f| f.name != *field);
                    }
                }
            }
        }
    }
    rules
}

fn placed(issue: Issue, object: &str, field: Option<&str>) -> Issue {
    match ObjectName::new(object) {
        Ok(object) => issue.at(&object, field.and_then(|f| FieldName::new(f).ok()).as_ref()),
        Err(_) => issue,
    }
}

fn issue(problem: &PolicyProblem) -> Issue {
    let (code, severity, object, field) = match problem {
        PolicyProblem::Undecided { object, field, .. } => (ErrorCode::MaskUndecided, Severity::Fatal, Some(object), Some(field.as_str())),
        PolicyProblem::UnknownPreset { .. } => (ErrorCode::MaskUnknown, Severity::Fatal, None, None),
        PolicyProblem::UnknownObject { object, .. } => (ErrorCode::MaskUnknown, Severity::Fatal, Some(object), None),
        PolicyProblem::UnknownField { object, field, .. } | PolicyProblem::Wildcard { object, field } => {
            (ErrorCode::MaskUnknown, Severity::Fatal, Some(object), Some(field.as_str()))
        }
        PolicyProblem::Inadmissible { object, error } => (ErrorCode::MaskStrategy, Severity::Fatal, Some(object), field_of(error)),
        PolicyProblem::DescribedTwice { object, field } => (ErrorCode::Internal, Severity::Fatal, Some(object), Some(field.as_str())),
        // The enum may grow; what is not known here must not pass.
        _ => (ErrorCode::MaskStrategy, Severity::Fatal, None, None),
    };
    let issue = Issue::new(code, severity, problem.to_string());
    match object {
        Some(object) => placed(issue, object, field),
        None => issue,
    }
}

fn field_of(error: &syncline_mask::MaskError) -> Option<&str> {
    match error {
        syncline_mask::MaskError::Inadmissible { field, .. } => Some(field),
        _ => None,
    }
}

/// Takes what a problem is about out of the policy.
fn set_aside(problem: &PolicyProblem, rules: &mut Rules, fields: &mut ObjectFacts) {
    let mut drop_field = |object: &str, field: &str| {
        if let Some(known) = fields.get_mut(object) {
            known.retain(|f| f.name != field);
        }
    };
    match problem {
        PolicyProblem::Undecided { object, field, .. } => drop_field(object, field),
        PolicyProblem::UnknownObject { object, .. } => {
            rules.remove(object);
        }
        PolicyProblem::UnknownField { object, field, .. } | PolicyProblem::Wildcard { object, field } => {
            if field == "*" && object.contains('*') {
                rules.remove(object);
            } else if let Some(of_object) = rules.get_mut(object) {
                of_object.remove(field);
            }
        }
        PolicyProblem::Inadmissible { object, error } => {
            if let Some(field) = field_of(error) {
                drop_field(object, field);
                if let Some(of_object) = rules.get_mut(object) {
                    of_object.remove(field);
                }
            }
        }
        _ => {}
    }
}

/// `None` for a field that nobody classified and no rule names.
fn mask_decision(decision: &Decision) -> Option<MaskDecision> {
    let why = match (&decision.origin, &decision.classified) {
        (Origin::Unclassified, _) => return None,
        (Origin::Rule, _) => "rule".to_owned(),
        (Origin::Preset(preset), Some(classified)) => match classified.hipaa_identifier {
            Some(identifier) => format!("{preset}:{}", identifier.number()),
            None => format!("{preset}:{}", classified.kind.name()),
        },
        (Origin::Preset(preset), None) => (*preset).to_owned(),
    };
    Some(MaskDecision {
        strategy: decision.strategy.to_string(),
        why,
    })
}

/// A key that is masked finds nothing.
fn check_key(object: &ObjectPlan, decisions: &Decisions, issues: &mut Vec<Issue>) {
    let Some(key) = &object.key else { return };
    let Some(decision) = decisions.get(object.name.as_str(), key.as_str()) else {
        return;
    };
    if decision.strategy != Strategy::Preserve {
        let message = format!(
            "`{key}` is the key of {} and would be masked ({}), so that no record could be found by it",
            object.name, decision.strategy
        );
        issues.push(
            Issue::new(ErrorCode::MaskStrategy, Severity::Fatal, message)
                .at(&object.name, Some(key))
                .remedy("Give the key the rule `preserve`, or choose another key."),
        );
    }
}

/// What the target's fields admit, under the source's names and labels, by which personal data is recognised.
fn object_facts(object: &ObjectPlan, facts: &Facts) -> Vec<FieldFacts> {
    let source = facts.source.describes.get(&object.name);
    let target = facts.target.describes.get(&object.target);
    let (Some(source), Some(target)) = (source, target) else {
        return Vec::new();
    };
    object
        .fields
        .iter()
        .filter(|f| f.field_type != FieldType::Id)
        .filter_map(|f| Some(field_facts(source.field(f.name.as_str())?, target.field(f.target.as_str())?)))
        .collect()
}

fn field_facts(source: &FieldDescribe, target: &FieldDescribe) -> FieldFacts {
    let is_list = matches!(target.field_type, FieldType::Picklist | FieldType::MultiPicklist);
    FieldFacts {
        name: source.name.as_str().to_owned(),
        label: source.label.clone(),
        sf_type: mask_type(source.field_type, target.field_type),
        max_chars: (target.length > 0).then_some(target.length),
        nillable: target.nillable,
        unique: target.unique,
        required: target.required(),
        picklist: is_list.then(|| Picklist {
            restricted: target.restricted_picklist,
            values: target.picklist_values.clone(),
        }),
    }
}

/// The target's type, unless the source's says more about what the text is: an e-mail that becomes plain text is still
/// an e-mail.
fn mask_type(source: FieldType, target: FieldType) -> MaskType {
    let telling = matches!(
        source,
        FieldType::Email | FieldType::Phone | FieldType::Url | FieldType::EncryptedString
    );
    let plain = matches!(target, FieldType::String | FieldType::TextArea | FieldType::ComboBox);
    from_domain(if telling && plain { source } else { target })
}

fn from_domain(field_type: FieldType) -> MaskType {
    match field_type {
        FieldType::Id => MaskType::Id,
        FieldType::Reference => MaskType::Reference,
        FieldType::String => MaskType::String,
        FieldType::TextArea => MaskType::Textarea,
        FieldType::Email => MaskType::Email,
        FieldType::Phone => MaskType::Phone,
        FieldType::Url => MaskType::Url,
        FieldType::EncryptedString => MaskType::Encryptedstring,
        FieldType::Picklist => MaskType::Picklist,
        FieldType::MultiPicklist => MaskType::Multipicklist,
        FieldType::ComboBox => MaskType::Combobox,
        FieldType::Boolean => MaskType::Boolean,
        FieldType::Int => MaskType::Int,
        FieldType::Long => MaskType::Long,
        FieldType::Number => MaskType::Double,
        FieldType::Date => MaskType::Date,
        FieldType::DateTime => MaskType::Datetime,
        FieldType::Time => MaskType::Time,
        FieldType::Base64 | FieldType::Other => MaskType::Other,
    }
}
