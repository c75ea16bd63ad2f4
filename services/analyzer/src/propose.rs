//! A first sync from two connections: which objects, why each of them, and what becomes of personal data. Pure, but for the
//! describes that [`closure`] asks for, round by round.
//!
//! Guarantees: every object is asked for or needed by one that is (a reference that must have a value); the text reads as a
//! definition; what was left out, or needs somebody's decision, stands in its comments.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use syncline_connect::ConnectError;
use syncline_domain::describe::{FieldType, ObjectDescribe};
use syncline_domain::issue::Severity;
use syncline_domain::plan::Plan;
use syncline_domain::{ConnectionName, ObjectName, SyncName};

use crate::facts::Kind;
use crate::gather::End;
use crate::org::Org;

/// What is proposed when nobody names objects: those of them that both orgs have.
const USUAL: [&str; 8] = ["Account", "Contact", "Lead", "Opportunity", "Case", "Campaign", "Task", "Event"];
/// A sync of more objects is written by hand.
const OBJECTS_MAX: usize = 60;

/// What somebody wants.
pub struct Wish {
    pub name: SyncName,
    pub source: ConnectionName,
    pub target: ConnectionName,
    /// Empty: the usual ones.
    pub objects: Vec<ObjectName>,
    /// None: nothing is masked unless a rule says so.
    pub preset: Option<String>,
}

/// An object of the proposal, and what it is there for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    pub name: ObjectName,
    pub why: String,
}

/// The objects, and what was left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Closure {
    pub objects: Vec<Chosen>,
    pub left_out: Vec<String>,
    /// References that stay empty, because they lead to no object of the sync.
    pub left_empty: Vec<String>,
}

/// Asks both ends for describes until every reference that must have a value leads to an object of the sync, or to what is
/// matched by name.
///
/// # Errors
/// With the end that cannot be asked.
pub async fn closure(objects: &[ObjectName], source: &dyn Org, target: &dyn Org) -> Result<Closure, (End, ConnectError)> {
    let usual = objects.is_empty();
    let mut wanted: Vec<(ObjectName, String)> = if usual {
        let names = USUAL.iter().filter_map(|name| ObjectName::new(*name).ok());
        names.map(|name| (name, "one of the usual objects".to_owned())).collect()
    } else {
        objects.iter().map(|name| (name.clone(), "asked for".to_owned())).collect()
    };
    let mut closure = Closure::default();
    let mut optional: Vec<(String, Vec<ObjectName>)> = Vec::new();
    let mut seen: BTreeSet<ObjectName> = BTreeSet::new();
    while !wanted.is_empty() {
        wanted.retain(|(name, _)| seen.insert(name.clone()));
        let names: Vec<ObjectName> = wanted.iter().map(|(name, _)| name.clone()).collect();
        let (here, there) = futures::try_join!(async { source.describe(&names).await.map_err(|e| (End::Source, e)) }, async {
            target.describe(&names).await.map_err(|e| (End::Target, e))
        })?;
        let mut next = Vec::new();
        for (((name, why), here), there) in wanted.drain(..).zip(here).zip(there) {
            match missing(here.as_ref(), there.as_ref()) {
                Some(reason) => closure.left_out.push(format!("{name}: {reason} ({why})")),
                None if closure.objects.len() >= OBJECTS_MAX => {
                    closure
                        .left_out
                        .push(format!("{name}: a proposal has at most {OBJECTS_MAX} objects ({why})"));
                }
                None => {
                    next.extend(here.iter().flat_map(needed));
                    optional.extend(here.iter().flat_map(may_point));
                    closure.objects.push(Chosen { name, why });
                }
            }
        }
        wanted = next;
    }
    let is_there = |to: &ObjectName| closure.objects.iter().any(|c| c.name == *to);
    for (field, to) in optional {
        if !to.iter().any(is_there) {
            let to = to.iter().map(ObjectName::as_str).collect::<Vec<_>>().join(", ");
            closure.left_empty.push(format!("{field} ({to})"));
        }
    }
    Ok(closure)
}

fn missing(source: Option<&ObjectDescribe>, target: Option<&ObjectDescribe>) -> Option<&'static str> {
    match (source, target) {
        (None, None) => Some("neither org has it, or lets this user see it"),
        (None, _) => Some("the source does not have it, or does not let this user see it"),
        (_, None) => Some("the target does not have it, or does not let this user see it"),
        (Some(source), _) if !source.queryable => Some("the source does not let this user read it"),
        (_, Some(target)) if !target.createable => Some("the target does not let this user create it"),
        _ => None,
    }
}

/// Objects to which a reference must point that has no default, unless they are matched by name.
fn needed(describe: &ObjectDescribe) -> Vec<(ObjectName, String)> {
    let references = describe
        .fields
        .iter()
        .filter(|f| f.field_type == FieldType::Reference && f.required());
    references
        .filter_map(|field| {
            // A reference to one of many says nothing of which.
            let [to] = field.reference_to.as_slice() else { return None };
            let is_other = *to != describe.name && Kind::of(to.as_str()).is_none();
            is_other.then(|| (to.clone(), format!("{}.{} must point to one", describe.name, field.name)))
        })
        .collect()
}

/// References that may be empty, to objects that are loaded rather than matched by name.
fn may_point(describe: &ObjectDescribe) -> Vec<(String, Vec<ObjectName>)> {
    let references = describe
        .fields
        .iter()
        .filter(|f| f.field_type == FieldType::Reference && f.createable && !f.required());
    references
        .filter_map(|field| {
            let to: Vec<ObjectName> = field
                .reference_to
                .iter()
                .filter(|o| Kind::of(o.as_str()).is_none())
                .cloned()
                .collect();
            (!to.is_empty()).then(|| (format!("{}.{}", describe.name, field.name), to))
        })
        .collect()
}

/// The definition without comments: what the plan is built from.
#[must_use]
pub fn definition(wish: &Wish, closure: &Closure) -> String {
    let mut text = head(wish);
    for chosen in &closure.objects {
        let _ = writeln!(text, "    - name: {}", chosen.name);
    }
    text.push_str(&masking(wish));
    text
}

fn head(wish: &Wish) -> String {
    format!(
        "apiVersion: syncline.dev/v1\nkind: Sync\nmetadata:\n  name: {}\nspec:\n  source: {}\n  target: {}\n  objects:\n",
        wish.name, wish.source, wish.target
    )
}

fn masking(wish: &Wish) -> String {
    match &wish.preset {
        Some(preset) => format!("  masking:\n    preset: {preset}\n"),
        None => String::new(),
    }
}

/// The definition with its reasons, for people.
#[must_use]
pub fn text(wish: &Wish, closure: &Closure, plan: &Plan) -> String {
    let mut text = format!(
        "# A first sync from `{}` ({}) to `{}` ({}). Look it through, then:\n#\n#   syncline apply --file THIS_FILE\n#   syncline check {}\n\n",
        wish.source, plan.source.label, wish.target, plan.target.label, wish.name
    );
    text.push_str(&head(wish));
    for chosen in &closure.objects {
        let records = plan.objects.iter().find(|o| o.name == chosen.name).map(|o| o.records);
        let records = records.map(|n| format!("; {n} records")).unwrap_or_default();
        let _ = writeln!(text, "    # {}{records}\n    - name: {}", line(&chosen.why), chosen.name);
    }
    if !closure.left_out.is_empty() {
        text.push_str("    # Left out:\n");
        for left_out in &closure.left_out {
            let _ = writeln!(text, "    #   {}", line(left_out));
        }
    }
    if !closure.left_empty.is_empty() {
        text.push_str("    # Stay empty, unless an object that they lead to is added:\n");
        for reference in &closure.left_empty {
            let _ = writeln!(text, "    #   {}", line(reference));
        }
    }
    text.push_str(&masking(wish));
    let masked = plan.objects.iter().flat_map(|object| {
        let masks = object.fields.iter().filter_map(|field| Some((field, field.mask.as_ref()?)));
        masks.map(move |(field, mask)| format!("{}.{}: {}  ({})", object.name, field.name, mask.strategy, mask.why))
    });
    let masked: Vec<String> = masked.collect();
    if !masked.is_empty() {
        text.push_str("    # What it does; a rule under `rules:` goes before it:\n");
        for mask in masked {
            let _ = writeln!(text, "    #   {}", line(&mask));
        }
    }
    let grave: Vec<_> = plan
        .issues
        .iter()
        .filter(|i| matches!(i.severity, Severity::Fatal | Severity::Error))
        .collect();
    if !grave.is_empty() {
        text.push_str("\n# Before a run can begin, somebody has to decide or mend:\n");
        for issue in grave {
            let place = [
                issue.object.as_ref().map(ToString::to_string),
                issue.field.as_ref().map(ToString::to_string),
            ];
            let place = place.into_iter().flatten().collect::<Vec<_>>().join(".");
            let _ = writeln!(text, "#   {} {place}: {} {}", issue.code, line(&issue.message), line(&issue.remedy));
        }
    }
    text
}

/// A comment is one line, whatever a label holds.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
