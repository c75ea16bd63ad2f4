//! The plan as a pure function of a definition and what both ends say of themselves.
//!
//! Guarantees: no IO, no clock; the same input gives the same plan to the last byte; everything that is wrong is listed,
//! not only the first; a plan with a fatal issue is still as complete as it can be, for people to look at.
//!
//! Start with [`build`].

mod cost;
mod fields;
mod fit;
mod masking;
mod matching;
mod objects;
pub mod order;
mod protect;
mod references;

use std::cmp::Reverse;

use syncline_domain::issue::Issue;
use syncline_domain::plan::{Endpoint, Plan};
use syncline_domain::run::{ObjectOutline, Outline};
use syncline_domain::spec::{Existing, Orphans, SyncSpec};
use syncline_domain::{RunId, SyncName};

use crate::facts::Facts;
pub use matching::Matches;
pub(crate) use objects::{deletable, filter, has_created_date};

/// What a plan is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    pub run: RunId,
    pub sync: SyncName,
    pub sync_version: u32,
    pub spec: SyncSpec,
}

/// Builds the plan; what is wrong stands in its issues, the gravest first.
#[must_use]
pub fn build(request: &Request, facts: &Facts) -> Plan {
    let spec = &request.spec;
    let mut issues: Vec<Issue> = Vec::new();
    protect::check(spec, facts, &mut issues);
    let matches = Matches::new(spec, &facts.source.directory, &facts.target.directory);
    let mut objects = objects::plan(spec, facts, &mut issues);
    masking::decide(spec, facts, &mut objects, &mut issues);
    matching::report(&facts.usage, &objects, &mut issues);
    let cost = cost::project(&objects, spec.existing);
    cost::check(cost, facts, &mut issues);
    issues.sort_by_key(|i| Reverse(i.severity));
    Plan {
        run: request.run.clone(),
        sync: request.sync.clone(),
        sync_version: request.sync_version,
        source: Endpoint {
            connection: spec.source.clone(),
            identity: facts.source.org.id.clone(),
            label: facts.source.org.name.clone(),
        },
        target: Endpoint {
            connection: spec.target.clone(),
            identity: facts.target.org.id.clone(),
            label: facts.target.org.name.clone(),
        },
        t0: facts.source.org.now,
        existing: spec.existing,
        orphans: spec.orphans,
        objects,
        matched: matches.ids,
        default_owner: facts.target.user.clone(),
        reviewed_until: spec.reviewed_until,
        issues,
        cost,
    }
}

/// What the state machine needs to know of a plan.
#[must_use]
pub fn outline(plan: &Plan, review: bool) -> Outline {
    Outline {
        objects: plan
            .objects
            .iter()
            .map(|o| ObjectOutline {
                name: o.name.clone(),
                parents: o.parents.clone(),
                deferred_parents: o.deferred_parents.clone(),
                has_deferred: o.has_deferred(),
                clear: plan.existing == Existing::Replace,
                orphans: plan.orphans == Orphans::Delete,
            })
            .collect(),
        review,
    }
}
