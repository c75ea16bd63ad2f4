//! Assignment rules of Case and Lead: the first entry that holds names the owner.

use crate::store::db::Db;
use crate::store::formula::{Formula, Scope};
use crate::store::id::Id;
use crate::store::setup::ObjectSetup;
use crate::store::value::RowError;

/// Which rule a caller wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AutoAssign {
    /// None: what Bulk does by itself.
    #[default]
    Never,
    /// The object's active rule: what REST does by itself.
    Active,
    /// The rule with this id, active or not.
    Rule(String),
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub condition: Option<Formula>,
    /// A queue's developer name, or a username.
    pub owner: String,
}

#[derive(Debug, Clone)]
pub struct AssignmentRule {
    pub name: String,
    pub active: bool,
    pub entries: Vec<Entry>,
}

/// The owner the wanted rule gives the row, if any.
pub(super) fn owner(setup: &ObjectSetup, wanted: &AutoAssign, db: &Db, scope: &Scope<'_>) -> Result<Option<Id>, RowError> {
    let rule = match wanted {
        AutoAssign::Never => return Ok(None),
        AutoAssign::Active => setup.assignment.iter().find(|r| r.active),
        AutoAssign::Rule(id) => {
            let name = rule_name(db, id)
                .ok_or_else(|| RowError::new("INVALID_CROSS_REFERENCE_KEY", format!("invalid assignment rule id: {id}"), &[]))?;
            setup.assignment.iter().find(|r| r.name == name)
        }
    };
    let entry = rule.and_then(|r| r.entries.iter().find(|e| e.condition.as_ref().is_none_or(|c| c.holds(scope))));
    Ok(entry.and_then(|e| named(db, &e.owner)))
}

fn rule_name(db: &Db, id: &str) -> Option<String> {
    let (object, index) = db.locate_text(id.as_bytes())?;
    let meta = &db.schema.objects[object];
    if meta.name != "AssignmentRule" {
        return None;
    }
    let name = db.tables[object].row(index).get(meta.field("Name")?)?;
    Some(String::from_utf8_lossy(name).into_owned())
}

fn named(db: &Db, owner: &str) -> Option<Id> {
    for (object, field) in [("Group", "DeveloperName"), ("User", "Username")] {
        let table = db.table(object);
        let field = db.schema.objects[db.schema.object(object)?].field(field)?;
        let found = table.scan(false).find(|i| table.row(*i).get(field) == Some(owner.as_bytes()));
        if let Some(index) = found {
            return Some(table.id(index));
        }
    }
    None
}
