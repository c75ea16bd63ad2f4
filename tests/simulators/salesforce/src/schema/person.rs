//! Person accounts, as far as they change the schema: what a person's Contact holds shows on
//! the Account under names of its own.

use serde_json::{Value, json};

use crate::schema::{Field, Object, SchemaError, build, text};

const SOURCE: &str = "person-accounts";

/// What every org has that Contact's captured describe left out, and the mark of a shadow.
const CONTACT: &[(&str, &str)] = &[
    ("HasOptedOutOfFax", "boolean"),
    ("Pronouns", "picklist values=He/Him|She/Her|They/Them|He/They|She/They|Not Listed"),
    ("GenderIdentity", "picklist values=Male|Female|Nonbinary|Not Listed"),
    ("IsPersonAccount", "boolean ro"),
];

/// Parts of the name keep their names.
const NAMES: [&str; 5] = ["LastName", "FirstName", "Salutation", "MiddleName", "Suffix"];

/// Fields of Contact that Account shows behind `Person`, in describe order.
const PREFIXED: [&str; 39] = [
    "MailingStreet",
    "MailingCity",
    "MailingState",
    "MailingPostalCode",
    "MailingCountry",
    "MailingStateCode",
    "MailingCountryCode",
    "MailingLatitude",
    "MailingLongitude",
    "MailingGeocodeAccuracy",
    "MailingAddress",
    "OtherStreet",
    "OtherCity",
    "OtherState",
    "OtherPostalCode",
    "OtherCountry",
    "OtherStateCode",
    "OtherCountryCode",
    "OtherLatitude",
    "OtherLongitude",
    "OtherGeocodeAccuracy",
    "OtherAddress",
    "MobilePhone",
    "HomePhone",
    "OtherPhone",
    "AssistantPhone",
    "Email",
    "Title",
    "Department",
    "AssistantName",
    "LeadSource",
    "Birthdate",
    "HasOptedOutOfEmail",
    "HasOptedOutOfFax",
    "DoNotCall",
    "LastCURequestDate",
    "LastCUUpdateDate",
    "EmailBouncedReason",
    "EmailBouncedDate",
];
const PREFIXED_LAST: [&str; 3] = ["IndividualId", "Pronouns", "GenderIdentity"];

/// Fields both have under one name, with one value.
const COMMON: [&str; 3] = ["Phone", "Fax", "OwnerId"];

/// Where the two halves of a person account keep what they share.
pub struct PersonSchema {
    pub account: usize,
    pub contact: usize,
    /// (Account field, Contact field) of one value, without those only persons have.
    pub common: Vec<(usize, usize)>,
    /// (Account field, Contact field) of one value that a business account has not.
    pub own: Vec<(usize, usize)>,
    pub record_type: usize,
    pub name: usize,
    pub is_person: usize,
    pub person_contact: usize,
    pub contact_account: usize,
    pub contact_is_person: usize,
}

/// The name Account has for a field of Contact.
fn shown(contact: &str) -> Option<String> {
    if NAMES.contains(&contact) {
        return Some(contact.to_owned());
    }
    if let Some(stem) = contact.strip_suffix("__c") {
        return Some(format!("{stem}__pc"));
    }
    let listed = PREFIXED.contains(&contact) || PREFIXED_LAST.contains(&contact);
    listed.then(|| format!("Person{contact}"))
}

/// Gives Account and Contact what they have in an org with person accounts.
pub(super) fn apply(objects: &mut Vec<Object>) -> Result<(), SchemaError> {
    extend(objects, "Contact", CONTACT)?;
    let account = &[
        ("PersonContactId", "reference(Contact) ro rel=PersonContact"),
        ("IsPersonAccount", "boolean ro"),
    ];
    extend(objects, "Account", account)?;
    let shadow = find(objects, "Contact")?;
    let mut copies = Vec::new();
    for field in &objects[shadow].fields {
        if let Some(name) = shown(&field.name) {
            copies.push(copy(field, name)?);
        }
    }
    let at = find(objects, "Account")?;
    arrange(&mut objects[at], copies);
    Ok(())
}

fn find(objects: &[Object], name: &str) -> Result<usize, SchemaError> {
    objects.iter().position(|o| o.name == name).ok_or_else(|| missing(name, "*"))
}

fn missing(object: &str, field: &str) -> SchemaError {
    SchemaError {
        file: SOURCE.into(),
        object: object.into(),
        field: field.into(),
        reason: "person accounts need it".into(),
    }
}

/// Adds the fields a describe of the user's own does not have already.
fn extend(objects: &mut Vec<Object>, name: &str, fields: &[(&str, &str)]) -> Result<(), SchemaError> {
    let at = find(objects, name)?;
    let mut source = String::new();
    for (field, kind) in fields.iter().filter(|(f, _)| objects[at].field(f).is_none()) {
        source.push_str(&format!("  {field} {kind}\n"));
    }
    for parsed in text::parse(SOURCE, &format!("extend {name}\n{source}"))? {
        build::apply_compact(objects, parsed, SOURCE)?;
    }
    Ok(())
}

/// The field as Account shows it. What differs follows the describe of a real org.
fn copy(field: &Field, name: String) -> Result<Field, SchemaError> {
    let mut entry = field.describe.clone();
    entry.insert("name".into(), name.clone().into());
    for key in ["compoundFieldName", "controllerName"] {
        let other = entry.get(key).and_then(Value::as_str).and_then(shown);
        if let Some(other) = other {
            entry.insert(key.into(), other.into());
        }
    }
    if let Some(relationship) = &field.relationship {
        let own = relationship.strip_suffix("__r");
        let own = own.map_or_else(|| format!("Person{relationship}"), |stem| format!("{stem}__pr"));
        entry.insert("relationshipName".into(), own.into());
    }
    if NAMES.contains(&name.as_str()) {
        entry.insert("extraTypeInfo".into(), "switchablepersonname".into());
        entry.insert("nameField".into(), (name != "Salutation").into());
        entry.insert("nillable".into(), true.into());
    }
    match name.as_str() {
        "PersonEmail" => entry.insert("idLookup".into(), false.into()),
        "PersonMobilePhone" => entry.insert("label".into(), "Mobile".into()),
        "PersonAssistantName" => entry.insert("label".into(), "Assistant".into()),
        _ => None,
    };
    build::field_from_describe(SOURCE, "Account", entry)
}

/// Puts the copies where a describe has them: parts of the name behind it, persons' standard
/// fields behind the dates, custom ones last.
fn arrange(account: &mut Object, copies: Vec<Field>) {
    let mut fields = std::mem::take(&mut account.fields);
    let has = |fields: &[Field], name: &str| fields.iter().any(|f| f.name.eq_ignore_ascii_case(name));
    let mut copies: Vec<Field> = copies.into_iter().filter(|f| !has(&fields, &f.name)).collect();
    let rank = |field: &Field| {
        let contact = field.name.strip_prefix("Person").unwrap_or(&field.name);
        let all = NAMES.iter().chain(&PREFIXED).chain(&PREFIXED_LAST);
        all.enumerate().find(|(_, n)| **n == contact).map_or(usize::MAX, |(i, _)| i)
    };
    copies.sort_by_key(rank);
    let marks: Vec<Field> = ["PersonContactId", "IsPersonAccount"]
        .iter()
        .filter_map(|name| fields.iter().position(|f| f.name == *name))
        .collect::<Vec<usize>>()
        .into_iter()
        .rev()
        .map(|at| fields.remove(at))
        .collect();
    let (names, rest): (Vec<Field>, Vec<Field>) = copies.into_iter().partition(|f| NAMES.contains(&f.name.as_str()));
    let (custom, standard): (Vec<Field>, Vec<Field>) = rest.into_iter().partition(|f| f.name.ends_with("__pc"));
    let after = |fields: &[Field], name: &str| fields.iter().position(|f| f.name == name).map_or(fields.len(), |i| i + 1);
    let at = after(&fields, "LastReferencedDate");
    fields.splice(at..at, marks.into_iter().rev().chain(standard));
    let at = after(&fields, "Name");
    fields.splice(at..at, names);
    fields.extend(custom);
    // A person's name is made of its parts; a business account's is asked for by the row rules.
    if let Some(name) = fields.iter_mut().find(|f| f.name == "Name") {
        name.nillable = true;
        name.describe.insert("nillable".into(), json!(true));
    }
    account.fields = fields;
    account.reindex();
}

impl PersonSchema {
    /// Finds the shared fields once both objects are complete.
    pub(super) fn resolve(objects: &[Object]) -> Result<Self, SchemaError> {
        let (account, contact) = (find(objects, "Account")?, find(objects, "Contact")?);
        let (business, person) = (&objects[account], &objects[contact]);
        let of = |object: &Object, name: &str| object.field(name).ok_or_else(|| missing(&object.name, name));
        let pair = |name: &str, field: usize| Some((business.field(name)?, field));
        let own = person
            .fields
            .iter()
            .enumerate()
            .filter_map(|(i, f)| pair(&shown(&f.name)?, i))
            .collect();
        Ok(Self {
            account,
            contact,
            common: COMMON.iter().filter_map(|name| pair(name, person.field(name)?)).collect(),
            own,
            record_type: of(business, "RecordTypeId")?,
            name: of(business, "Name")?,
            is_person: of(business, "IsPersonAccount")?,
            person_contact: of(business, "PersonContactId")?,
            contact_account: of(person, "AccountId")?,
            contact_is_person: of(person, "IsPersonAccount")?,
        })
    }

    /// Every pair of fields with one value.
    pub fn shared(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.common.iter().chain(&self.own).copied()
    }
}
