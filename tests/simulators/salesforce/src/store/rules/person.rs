//! Person accounts: one record that shows as an Account and as the Contact behind it, its
//! shadow. Both rows hold the shared values; each write keeps the other row in step, within
//! the same transaction and past the other object's triggers and rules.

use std::sync::Arc;

use crate::schema::{Object, PersonSchema, Schema};
use crate::store::db::Db;
use crate::store::derive;
use crate::store::id::Id;
use crate::store::row::{Draft, Row};
use crate::store::rules::{WriteContext, commit, defaults, unique};
use crate::store::value::RowError;

/// Contacts a refused conversion counts up to.
const CONTACTS_MAX: usize = 1;

/// What has to follow on the other row.
pub(super) enum Twin {
    /// A new person: its shadow is yet to be made.
    Make,
    /// The other row takes over shared values.
    Follow,
    /// An only contact becomes the shadow, or the shadow a contact like any other.
    Mark(u32, bool),
}

impl Twin {
    /// Storage the other row needs.
    pub(super) fn storage_bytes(&self, schema: &Schema) -> u64 {
        match (self, &schema.person) {
            (Self::Make, Some(person)) => schema.objects[person.contact].storage_bytes,
            _ => 0,
        }
    }
}

fn refused(message: &str) -> RowError {
    RowError::new("INVALID_PERSON_ACCOUNT_OPERATION", message, &[])
}

fn bad_names(names: &[&str]) -> RowError {
    RowError::new(
        "INVALID_FIELD_FOR_INSERT_UPDATE",
        format!("Account: bad field names on insert/update call: {}", names.join(", ")),
        names,
    )
}

fn missing(name: &str) -> RowError {
    RowError::new("REQUIRED_FIELD_MISSING", format!("Required fields are missing: [{name}]"), &[name])
}

/// Checks a row of either half and derives its cells; tells what must follow once it is stored.
pub(super) fn before_write(
    db: &mut Db,
    person: &PersonSchema,
    object: usize,
    stored: Option<&Row>,
    draft: &mut Draft,
    given: &[bool],
) -> Result<Option<Twin>, RowError> {
    if object == person.contact {
        return contact(db, person, stored, draft, given);
    }
    if object != person.account {
        return Ok(None);
    }
    let was = stored.is_some_and(|row| row.get(person.is_person).is_some());
    let is = match stored {
        Some(_) if !given[person.record_type] => was,
        _ => is_person_type(db, draft.get(person.record_type)),
    };
    if stored.is_some() && was != is {
        return convert(db, person, draft, given, is).map(Some);
    }
    let schema = Arc::clone(&db.schema);
    let meta = &schema.objects[object];
    if !is {
        business(person, meta, stored.is_none(), draft, given)?;
        return Ok(None);
    }
    if given[person.name] {
        return Err(RowError::new(
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            "Unable to create/update fields: Name. Please check the security settings of this field and verify that it is read/write for your profile or permission set.",
            &["Name"],
        ));
    }
    if meta.field("ParentId").is_some_and(|f| given[f] && draft.get(f).is_some()) {
        return Err(bad_names(&["ParentId"]));
    }
    named(person, meta, draft)?;
    if stored.is_some() {
        return Ok(Some(Twin::Follow));
    }
    draft.set(person.is_person, b"true");
    draft.set(person.person_contact, &db.tables[person.contact].next_id().long());
    Ok(Some(Twin::Make))
}

/// A person needs a last name, and is called by it.
fn named(person: &PersonSchema, meta: &Object, draft: &mut Draft) -> Result<(), RowError> {
    let text = |name: &str| {
        let cell = meta.field(name).and_then(|f| draft.get(f));
        cell.map(|c| String::from_utf8_lossy(c).into_owned())
    };
    let last = text("LastName").ok_or_else(|| missing("LastName"))?;
    let name = text("FirstName").map_or_else(|| last.clone(), |first| format!("{first} {last}"));
    draft.set(person.name, name.as_bytes());
    Ok(())
}

fn business(person: &PersonSchema, meta: &Object, insert: bool, draft: &mut Draft, given: &[bool]) -> Result<(), RowError> {
    let sent = person.own.iter().filter(|(f, _)| given[*f]);
    let sent: Vec<&str> = sent.map(|(f, _)| meta.fields[*f].name.as_str()).collect();
    if !sent.is_empty() {
        return Err(bad_names(&sent));
    }
    if draft.get(person.name).is_none() {
        return Err(missing("Name"));
    }
    if insert {
        // Defaults of persons' fields are none of a business account's.
        person.own.iter().for_each(|(f, _)| draft.clear(*f));
    }
    Ok(())
}

fn is_person_type(db: &Db, id: Option<&[u8]>) -> bool {
    let holds = || {
        let (types, index) = db.locate_text(id?)?;
        let field = db.schema.objects[types].field("IsPersonType")?;
        db.tables[types].row(index).get(field)
    };
    holds().is_some()
}

/// A business account becomes a person, or the other way round.
fn convert(db: &mut Db, person: &PersonSchema, draft: &mut Draft, given: &[bool], to_person: bool) -> Result<Twin, RowError> {
    if given.iter().enumerate().any(|(f, sent)| *sent && f != person.record_type) {
        return Err(RowError::new(
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            "Cannot specify any additional fields when marrying or separating a Person-Account",
            &[],
        ));
    }
    if !to_person {
        let contact = draft.get(person.person_contact).and_then(|id| db.locate_text(id));
        let (_, contact) = contact.ok_or_else(|| refused("the person account has no contact"))?;
        person.own.iter().for_each(|(f, _)| draft.clear(*f));
        draft.clear(person.person_contact);
        draft.clear(person.is_person);
        return Ok(Twin::Mark(contact, false));
    }
    let schema = Arc::clone(&db.schema);
    let (meta, contacts) = (&schema.objects[person.account], &schema.objects[person.contact]);
    let index = only_contact(db, person, draft.get(0).unwrap_or_default())?;
    let row = db.tables[person.contact].row(index);
    let related = meta.field("ParentId").is_some_and(|f| draft.get(f).is_some());
    if related || contacts.field("ReportsToId").is_some_and(|f| row.get(f).is_some()) {
        return Err(refused(
            "an account with a parent, or whose contact reports to another, can't become a person account",
        ));
    }
    for (to, from) in &person.own {
        draft.set(*to, row.get(*from).unwrap_or_default());
    }
    draft.set(person.is_person, b"true");
    draft.set(person.person_contact, row.get(0).unwrap_or_default());
    named(person, meta, draft)?;
    Ok(Twin::Mark(index, true))
}

fn only_contact(db: &mut Db, person: &PersonSchema, account: &[u8]) -> Result<u32, RowError> {
    let table = &mut db.tables[person.contact];
    table.ensure_index(person.contact_account);
    let linked = table.by_key(person.contact_account, account).unwrap_or_default();
    // The index ignores case, ids do not.
    let exact = linked
        .into_iter()
        .filter(|i| table.row(*i).get(person.contact_account) == Some(account));
    match exact.take(CONTACTS_MAX + 1).collect::<Vec<u32>>().as_slice() {
        [one] => Ok(*one),
        _ => Err(refused("only an account with exactly one contact can become a person account")),
    }
}

/// A contact may not belong to a person; a shadow stays with its account.
fn contact(db: &Db, person: &PersonSchema, stored: Option<&Row>, draft: &Draft, given: &[bool]) -> Result<Option<Twin>, RowError> {
    let shadow = stored.is_some_and(|row| row.get(person.contact_is_person).is_some());
    if !given[person.contact_account] {
        return Ok(shadow.then_some(Twin::Follow));
    }
    if shadow {
        return Err(bad_names(&["AccountId"]));
    }
    let account = draft.get(person.contact_account).and_then(|id| db.locate_text(id));
    let is_person = |(object, index): (usize, u32)| db.tables[object].row(index).get(person.is_person).is_some();
    if account.is_some_and(is_person) {
        return Err(refused("a person account can't have contacts of its own"));
    }
    Ok(None)
}

/// Brings the other row in step with the one just stored.
pub(super) fn after_write(db: &mut Db, context: &WriteContext, twin: Twin, object: usize, index: u32) -> Result<(), RowError> {
    let schema = Arc::clone(&db.schema);
    let Some(person) = &schema.person else { return Ok(()) };
    if object == person.contact {
        return account_follows(db, context, person, index);
    }
    let account = db.tables[person.account].row(index).clone();
    let meta = &schema.objects[person.contact];
    let mut draft = Draft::default();
    let mut given = vec![false; meta.fields.len()];
    let existing = match twin {
        Twin::Make => {
            draft.reset(meta.fields.len());
            defaults(meta, context, &mut draft, &given);
            draft.set(person.contact_account, account.get(0).unwrap_or_default());
            draft.set(person.contact_is_person, b"true");
            None
        }
        Twin::Follow => shadow(db, person, person.account, index),
        Twin::Mark(contact, _) => Some(contact),
    };
    if let Some(contact) = existing {
        draft.load(db.tables[person.contact].row(contact), meta.fields.len());
    }
    let mut changed = existing.is_none();
    if let Twin::Mark(_, marked) = twin {
        draft.set(person.contact_is_person, if marked { b"true" } else { b"" });
        changed = true;
    }
    if !matches!(twin, Twin::Mark(_, false)) {
        for (from, to) in person.shared() {
            changed |= copy(&mut draft, &mut given, to, account.get(from));
        }
    }
    if !changed {
        return Ok(());
    }
    derive::before_write(db, person.contact, meta, &mut draft, &given, existing.is_none(), context)?;
    unique::unique(db, person.contact, meta, existing, &draft, &given)?;
    commit(db, context, person.contact, meta, existing, &mut draft, &given);
    Ok(())
}

/// A shadow that was written itself hands its values to the account.
fn account_follows(db: &mut Db, context: &WriteContext, person: &PersonSchema, index: u32) -> Result<(), RowError> {
    let schema = Arc::clone(&db.schema);
    let meta = &schema.objects[person.account];
    let contact = db.tables[person.contact].row(index).clone();
    let account = contact.get(person.contact_account).and_then(|id| db.locate_text(id));
    let Some((_, at)) = account else { return Ok(()) };
    let mut draft = Draft::default();
    draft.load(db.tables[person.account].row(at), meta.fields.len());
    let mut given = vec![false; meta.fields.len()];
    let mut changed = false;
    for (to, from) in person.shared() {
        changed |= copy(&mut draft, &mut given, to, contact.get(from));
    }
    if !changed {
        return Ok(());
    }
    named(person, meta, &mut draft)?;
    unique::unique(db, person.account, meta, Some(at), &draft, &given)?;
    commit(db, context, person.account, meta, Some(at), &mut draft, &given);
    Ok(())
}

fn copy(draft: &mut Draft, given: &mut [bool], to: usize, value: Option<&[u8]>) -> bool {
    if draft.get(to) == value {
        return false;
    }
    draft.set(to, value.unwrap_or_default());
    given[to] = true;
    true
}

/// The row of a person account's contact, deleted or not.
pub(super) fn shadow(db: &Db, person: &PersonSchema, object: usize, index: u32) -> Option<u32> {
    if object != person.account {
        return None;
    }
    let row = db.tables[object].row(index);
    row.get(person.is_person)?;
    let id = Id::parse(row.get(person.person_contact)?).ok()?;
    db.tables[person.contact].find(&id)
}

/// A shadow comes and goes with its account only.
pub(super) fn untouchable(db: &Db, person: &PersonSchema, object: usize, index: u32) -> Result<(), RowError> {
    if object == person.contact && db.tables[object].row(index).get(person.contact_is_person).is_some() {
        return Err(refused("the contact of a person account can't be deleted or restored by itself"));
    }
    Ok(())
}

/// The shadows that a merge of accounts merges too: their object, the master's id, the losers'
/// rows. Persons merge with persons only, and shadows never by themselves.
pub(super) fn shadows(
    db: &Db,
    person: &PersonSchema,
    object: usize,
    master: &Id,
    losers: &[u32],
) -> Result<Option<(usize, Id, Vec<u32>)>, RowError> {
    let master = db.tables[object].find(master);
    let rows = || master.iter().chain(losers);
    rows().try_for_each(|i| untouchable(db, person, object, *i))?;
    let found: Vec<u32> = rows().filter_map(|i| shadow(db, person, object, *i)).collect();
    match found.as_slice() {
        [] => Ok(None),
        [first, rest @ ..] if rest.len() == losers.len() => Ok(Some((person.contact, db.tables[person.contact].id(*first), rest.to_vec()))),
        _ => Err(refused("person accounts can be merged with person accounts only")),
    }
}
