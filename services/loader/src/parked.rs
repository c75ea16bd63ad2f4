//! Why parked records wait: what became of their parents, as far as the loader's tables and the plan tell.
//!
//! The loader does not see the source, so of a parent that never came it can only say what is ruled out.

use syncline_domain::ObjectName;
use syncline_domain::plan::FieldRole;
use syncline_runtime::StageError;

use crate::context::Context;
use crate::store;
use crate::store::outcomes::Group;

const REFUSED: &str = "their parents were refused";
const PARKED: &str = "their parents are parked themselves";
const DEAD: &str = "records of the parents' object were given up";
const FILTERED: &str = "their parents were not read: the sync filters them, or they are newer than the run, deleted or not visible";
const UNREAD: &str = "their parents were not read: they are newer than the run, deleted or not visible";
const UNPLANNED: &str = "the sync does not have the object of their parents";

/// Why the records of these parked groups wait, with how many do where there are several reasons; of others, nothing.
pub async fn reasons(context: &Context, groups: &[Group]) -> Result<String, StageError> {
    let mut reasons = Vec::new();
    for group in groups.iter().filter(|g| g.kind == "parked" && g.count > 0) {
        let reason = match group.parents.as_deref() {
            Some("refused") => REFUSED,
            Some(_) => PARKED,
            None => of_absence(context, &group.fields).await?,
        };
        reasons.push((group.count, reason));
    }
    Ok(match reasons.as_slice() {
        [(_, reason)] => (*reason).to_owned(),
        several => several
            .iter()
            .map(|(count, reason)| format!("{count}: {reason}"))
            .collect::<Vec<_>>()
            .join("; "),
    })
}

async fn of_absence(context: &Context, field: &str) -> Result<&'static str, StageError> {
    let parents = parents(context, field);
    if parents.is_empty() {
        return Ok(UNPLANNED);
    }
    for parent in &parents {
        let reading = store::batches::complete_reading(&context.platform.db, context.work.run(), parent).await?;
        if reading.is_some_and(|r| r.dead > 0) {
            return Ok(DEAD);
        }
    }
    let is_filtered = |name: &ObjectName| context.plan().object(name.as_str()).is_some_and(|o| o.filter.is_some());
    Ok(if parents.iter().any(is_filtered) { FILTERED } else { UNREAD })
}

/// The planned objects that a field, by its name in the target, may point to.
fn parents(context: &Context, field: &str) -> Vec<ObjectName> {
    let field = context.object.fields.iter().find(|f| f.target.as_str() == field);
    match field.map(|f| &f.role) {
        Some(FieldRole::Reference(reference)) => reference.to.iter().filter(|o| context.links.contains_key(*o)).cloned().collect(),
        _ => Vec::new(),
    }
}
