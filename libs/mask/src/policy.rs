//! Which strategy each field gets: explicit rules, then the preset, and a problem where neither decides.
//!
//! Fails closed: a sync whose policy does not resolve must not start, and the answer lists everything that is wrong with
//! it, not only the first.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::admit::{admit, inadmissible};
use crate::classify::{Classified, find};
use crate::preset::PRESET_NAMES;
use crate::suggest::closest;
use crate::{FieldFacts, MaskError, MaskKey, MaskPlan, PiiKind, Strategy};

/// Rules as users give them: object -> field -> strategy.
pub type Rules = BTreeMap<String, BTreeMap<String, Strategy>>;

/// The fields that a sync writes, by object.
pub type ObjectFacts = BTreeMap<String, Vec<FieldFacts>>;

/// Resolves rules and presets against the fields of a sync.
#[derive(Debug)]
pub struct Policy;

/// A finding that keeps a sync from starting. Holds names, never values.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PolicyProblem {
    #[error(
        "{object}.{field} holds {}: {why}; no rule decides on it (give one; `preserve` is one)",
        kind.name()
    )]
    Undecided {
        object: String,
        field: String,
        kind: PiiKind,
        why: String,
    },

    #[error("there is no preset `{preset}`;{} known: {}", hint(suggestion), PRESET_NAMES.join(", "))]
    UnknownPreset { preset: String, suggestion: Option<String> },

    #[error("a rule names object {object}, which the sync does not write;{}", hint(suggestion))]
    UnknownObject { object: String, suggestion: Option<String> },

    #[error("a rule names {object}.{field}, which the sync does not write;{}", hint(suggestion))]
    UnknownField {
        object: String,
        field: String,
        suggestion: Option<String>,
    },

    #[error("a rule names {object}.{field}: wildcards are not supported, name each field")]
    Wildcard { object: String, field: String },

    #[error("{object}: {error}")]
    Inadmissible { object: String, error: MaskError },

    #[error("{object}.{field} is described twice")]
    DescribedTwice { object: String, field: String },
}

fn hint(suggestion: &Option<String>) -> String {
    match suggestion {
        Some(name) => format!(" did you mean `{name}`?"),
        None => String::new(),
    }
}

impl PolicyProblem {
    /// The stable code of the error catalogue.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Undecided { .. } => "mask.undecided",
            Self::UnknownPreset { .. } => "mask.preset_unknown",
            Self::UnknownObject { .. } => "mask.object_unknown",
            Self::UnknownField { .. } => "mask.field_unknown",
            Self::Wildcard { .. } => "mask.wildcard",
            Self::Inadmissible { error, .. } => error.code(),
            Self::DescribedTwice { .. } => "mask.field_described_twice",
        }
    }
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A rule of the sync.
    Rule,
    /// The preset of this name.
    Preset(&'static str),
    /// Nobody had to: the field is not classified and is left as it is.
    Unclassified,
}

/// One field's strategy, with its reasons: the evidence for auditors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub strategy: Strategy,
    pub origin: Origin,
    pub classified: Option<Classified>,
}

/// A decision for every field of the sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    objects: BTreeMap<String, BTreeMap<String, Decision>>,
}

impl Decisions {
    #[must_use]
    pub fn get(&self, object: &str, field: &str) -> Option<&Decision> {
        self.objects.get(object)?.get(field)
    }

    /// (object, field, decision), in order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Decision)> {
        self.objects.iter().flat_map(|(object, fields)| {
            fields
                .iter()
                .map(move |(field, decision)| (object.as_str(), field.as_str(), decision))
        })
    }

    /// Classified fields that travel unmasked because a rule says so: what an audit asks about.
    pub fn declared_preserves(&self) -> impl Iterator<Item = (&str, &str, &Decision)> {
        self.iter()
            .filter(|(_, _, d)| d.classified.is_some() && d.strategy == Strategy::Preserve)
    }

    /// Compiles one object's decisions.
    ///
    /// # Errors
    /// What [`MaskPlan::compile`] finds, and [`MaskError::Unplanned`] for facts that were not resolved here.
    pub fn plan(&self, object: &str, facts: &[FieldFacts], key: &MaskKey) -> Result<MaskPlan, Vec<MaskError>> {
        let unplanned: Vec<MaskError> = facts
            .iter()
            .filter(|f| self.get(object, &f.name).is_none())
            .map(|f| MaskError::Unplanned { field: f.name.clone() })
            .collect();
        if !unplanned.is_empty() {
            return Err(unplanned);
        }
        MaskPlan::compile(key, facts.iter().filter_map(|f| Some((f, &self.get(object, &f.name)?.strategy))))
    }
}

impl Policy {
    /// Decides on every field in `facts` (all fields that the sync writes). Rules go before the preset; a classified
    /// field that neither decides on is a problem; an unclassified one is preserved.
    ///
    /// With an unknown preset, fields are not reported as undecided: they would be by mistake.
    ///
    /// # Errors
    /// All problems, rules first.
    pub fn resolve(preset: Option<&str>, rules: &Rules, facts: &ObjectFacts) -> Result<Decisions, Vec<PolicyProblem>> {
        let mut problems = Vec::new();
        let known_preset = preset.and_then(|p| PRESET_NAMES.iter().copied().find(|n| *n == p));
        let unknown_preset = preset.filter(|_| known_preset.is_none());
        if let Some(name) = unknown_preset {
            problems.push(PolicyProblem::UnknownPreset {
                preset: name.to_owned(),
                suggestion: closest(name, PRESET_NAMES.iter().copied()).map(str::to_owned),
            });
        }
        check_names(rules, facts, &mut problems);

        let mut decisions = Decisions::default();
        for (object, fields) in facts {
            let decided = decisions.objects.entry(object.clone()).or_default();
            for field in fields {
                let rule = rules.get(object).and_then(|r| r.get(&field.name));
                let found = find(object, field);
                let decision = match (rule, found, known_preset) {
                    (Some(rule), found, _) => admit(rule, field).map(|()| Decision {
                        strategy: rule.clone(),
                        origin: Origin::Rule,
                        classified: found.map(|(classified, _)| classified),
                    }),
                    (None, None, _) => Ok(Decision {
                        strategy: Strategy::Preserve,
                        origin: Origin::Unclassified,
                        classified: None,
                    }),
                    (None, Some((classified, entry)), Some(name)) => first_admissible(&entry.decisions, field).map(|strategy| Decision {
                        strategy,
                        origin: Origin::Preset(name),
                        classified: Some(classified),
                    }),
                    (None, Some((classified, _)), None) => {
                        if unknown_preset.is_none() {
                            problems.push(PolicyProblem::Undecided {
                                object: object.clone(),
                                field: field.name.clone(),
                                kind: classified.kind,
                                why: classified.why,
                            });
                        }
                        continue;
                    }
                };
                match decision {
                    Err(error) => problems.push(PolicyProblem::Inadmissible {
                        object: object.clone(),
                        error,
                    }),
                    Ok(decision) => {
                        if decided.insert(field.name.clone(), decision).is_some() {
                            problems.push(PolicyProblem::DescribedTwice {
                                object: object.clone(),
                                field: field.name.clone(),
                            });
                        }
                    }
                }
            }
        }
        if problems.is_empty() { Ok(decisions) } else { Err(problems) }
    }
}

/// The preset's first strategy that the field admits; the reason against the first if there is none.
fn first_admissible(candidates: &[Strategy], field: &FieldFacts) -> Result<Strategy, MaskError> {
    let mut refused = None;
    for candidate in candidates {
        match admit(candidate, field) {
            Ok(()) => return Ok(candidate.clone()),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| inadmissible(&Strategy::Preserve, field, "the preset leaves this field to a rule".to_owned())))
}

fn check_names(rules: &Rules, facts: &ObjectFacts, problems: &mut Vec<PolicyProblem>) {
    for (object, fields) in rules {
        let known = facts.get(object);
        if object.contains('*') {
            problems.push(PolicyProblem::Wildcard {
                object: object.clone(),
                field: "*".to_owned(),
            });
            continue;
        }
        let Some(known) = known else {
            problems.push(PolicyProblem::UnknownObject {
                object: object.clone(),
                suggestion: closest(object, facts.keys().map(String::as_str)).map(str::to_owned),
            });
            continue;
        };
        for field in fields.keys() {
            if field.contains('*') {
                problems.push(PolicyProblem::Wildcard {
                    object: object.clone(),
                    field: field.clone(),
                });
            } else if !known.iter().any(|f| f.name == *field) {
                problems.push(PolicyProblem::UnknownField {
                    object: object.clone(),
                    field: field.clone(),
                    suggestion: closest(field, known.iter().map(|f| f.name.as_str())).map(str::to_owned),
                });
            }
        }
    }
}
