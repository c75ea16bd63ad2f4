//! Contacts of several accounts: a contact's own account shows as a direct relation, which
//! the org keeps by itself; clients add and remove the indirect ones.

use std::sync::Arc;

use crate::store::db::{Db, Life};
use crate::store::row::{Draft, Row};
use crate::store::rules::delete::bury;
use crate::store::rules::{WriteContext, commit, defaults};
use crate::store::value::RowError;

/// Positions of the object and its fields.
struct Relations {
    object: usize,
    account: usize,
    contact: usize,
    direct: usize,
}

impl Relations {
    fn of(db: &Db) -> Option<Self> {
        let object = db.schema.object("AccountContactRelation")?;
        let field = |name: &str| db.schema.objects[object].field(name);
        Some(Self {
            object,
            account: field("AccountId")?,
            contact: field("ContactId")?,
            direct: field("IsDirect")?,
        })
    }

    /// Live relations of a contact.
    fn rows(&self, db: &mut Db, contact: &[u8]) -> Vec<u32> {
        let table = &mut db.tables[self.object];
        table.ensure_index(self.contact);
        let found = table.by_key(self.contact, contact).unwrap_or_default();
        // The index ignores case, ids do not.
        found
            .into_iter()
            .filter(|i| table.row(*i).get(self.contact) == Some(contact))
            .collect()
    }
}

/// A contact has one relation to an account.
pub(super) fn before_write(db: &mut Db, object: usize, existing: Option<u32>, draft: &Draft) -> Result<(), RowError> {
    let Some(own) = Relations::of(db).filter(|r| r.object == object && existing.is_none()) else {
        return Ok(());
    };
    let (contact, account) = (draft.get(own.contact).unwrap_or_default(), draft.get(own.account));
    let taken = own
        .rows(db, contact)
        .into_iter()
        .find(|i| db.tables[object].row(*i).get(own.account) == account);
    taken.map_or(Ok(()), |other| {
        Err(RowError::new(
            "DUPLICATE_VALUE",
            format!(
                "There's already a relationship between this contact and account: {}",
                db.tables[object].id(other)
            ),
            &[],
        ))
    })
}

/// Keeps the direct relation of a contact just stored.
pub(super) fn after_write(db: &mut Db, context: &WriteContext, object: usize, index: u32, before: Option<&Row>) {
    let schema = Arc::clone(&db.schema);
    let contact = &schema.objects[object];
    let Some(link) = contact.field("AccountId").filter(|_| contact.name == "Contact") else {
        return;
    };
    let row = db.tables[object].row(index).clone();
    let shadow = contact.field("IsPersonAccount").and_then(|f| row.get(f)).is_some();
    let account = row.get(link).filter(|_| !shadow);
    let Some(own) = Relations::of(db).filter(|_| before.is_none() && account.is_some() || before.is_some_and(|b| b.get(link) != account))
    else {
        return;
    };
    let meta = &schema.objects[own.object];
    let id = row.get(0).unwrap_or_default();
    let mut draft = Draft::default();
    let mut existing = None;
    for relation in own.rows(db, id) {
        let stored = db.tables[own.object].row(relation);
        if stored.get(own.account) == account {
            existing = Some(relation);
        } else if stored.get(own.direct).is_some() {
            bury(db, context, own.object, relation, false, &mut draft);
        }
    }
    let Some(account) = account else { return };
    let given = vec![false; meta.fields.len()];
    match existing {
        Some(relation) => draft.load(db.tables[own.object].row(relation), meta.fields.len()),
        None => {
            draft.reset(meta.fields.len());
            defaults(meta, context, &mut draft, &given);
        }
    }
    draft.set(own.account, account);
    draft.set(own.contact, id);
    draft.set(own.direct, b"true");
    commit(db, context, own.object, meta, existing, &mut draft, &given);
}

/// A direct relation goes with the contact's account only.
pub(super) fn before_delete(db: &Db, object: usize, index: u32) -> Result<(), RowError> {
    let direct = Relations::of(db).is_some_and(|own| {
        let table = &db.tables[object];
        own.object == object && table.life(index) == Life::Live && table.row(index).get(own.direct).is_some()
    });
    if direct {
        return Err(RowError::new(
            "DELETE_FAILED",
            "You can't delete a direct relationship between a contact and its account.",
            &[],
        ));
    }
    Ok(())
}
