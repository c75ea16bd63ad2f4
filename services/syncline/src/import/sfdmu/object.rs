//! One set of objects: what each becomes, and why some are left out.

use std::collections::BTreeMap;

use syncline_domain::spec::ObjectSpec;
use syncline_domain::{FieldName, ObjectName};

use super::super::draft::{Draft, ObjectDraft};
use super::super::json::{Content, Member, Value};
use super::super::note::member;
use super::super::soql::{self, Select};
use super::property::OBJECT;
use super::{Reader, existing, find};
use crate::import::Note;

const UNCOMMENT: &str = "Where it is to be written: remove the `# ` before its lines, or give it Insert or Upsert and import again.";

/// Reads a list of objects.
pub fn draft(reader: &mut Reader<'_>, objects: &[Value], path: &str) -> Draft {
    let mut draft = Draft::default();
    let mut clearing: Vec<(usize, Note, bool)> = Vec::new();
    let mut unkeyed = false;
    for (i, value) in objects.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let Some(members) = reader.object(value, &path) else { continue };
        let Some(read) = read(reader, value, members, &path) else {
            continue;
        };
        let mut object = read.draft;
        if draft.kept().any(|o| o.spec.name == object.spec.name) && !object.left_out {
            object.left_out = true;
            let why = format!(
                "{} stands twice in this set; a sync takes an object once, so this one is left out.",
                object.spec.name
            );
            object.notes.push(reader.note(
                value.at,
                &path,
                why,
                "Join both conditions above with OR, or make it a second sync.",
            ));
        }
        if !object.left_out {
            unkeyed |= read.unkeyed;
            if let Some((note, whole)) = read.clears {
                clearing.push((draft.objects.len(), note, whole));
            }
        }
        draft.objects.push(object);
    }
    let kept = draft.kept().count();
    let cleared = kept > 0 && clearing.len() == kept && clearing.iter().all(|(_, _, whole)| *whole);
    if !cleared {
        for (i, note, _) in clearing {
            if let Some(object) = draft.objects.get_mut(i) {
                object.notes.push(note);
            }
        }
    }
    existing(&mut draft, unkeyed, cleared);
    draft
}

struct Read {
    draft: ObjectDraft,
    /// Records of the target are to be found, but no key can find them.
    unkeyed: bool,
    /// `deleteOldData`: what to say where it is not carried over; whether it deletes all of the object's records.
    clears: Option<(Note, bool)>,
}

/// `None`: it cannot be said which object it is; that stands in the reader's notes or errors.
fn read(reader: &mut Reader<'_>, value: &Value, members: &[Member], path: &str) -> Option<Read> {
    let Some((query, text)) = reader.text(members, path, "query") else {
        if find(members, "query").is_none_or(|m| matches!(m.value.content, Content::Text(_))) {
            reader.error(value.at, path, "it has no query", "Give it one, or take the object out.");
        }
        return None;
    };
    let (query_at, query_path) = (query.at, member(path, "query"));
    let parsed = soql::parse(text).and_then(|select| match ObjectName::new(select.object.as_str()) {
        Ok(name) => Ok((select, name)),
        Err(_) => Err("what stands behind FROM is no name of an object".to_owned()),
    });
    let (select, name) = match parsed {
        Ok(parsed) => parsed,
        Err(why) => {
            let mut notes = reader.unmatched(members, OBJECT, path);
            let why = format!("the object is left out, because its query cannot be taken apart: {why}.");
            notes.push(reader.note(query_at, &query_path, why, "Correct it and import again."));
            reader.notes.extend(notes);
            return None;
        }
    };
    let mut reading = Reading {
        members,
        path,
        at: value.at,
        notes: reader.unmatched(members, OBJECT, path),
        reader,
        left_out: false,
        name: name.clone(),
    };
    let filter = reading.clauses(&select, query_at, &query_path);
    let mut spec = ObjectSpec {
        name,
        target: None,
        filter,
        fields: reading.fields(&select, query_at, &query_path),
        exclude: Vec::new(),
        key: None,
        mapping: BTreeMap::new(),
    };
    let finds = reading.operation();
    reading.exclude(&mut spec);
    reading.mapping(&mut spec);
    let unkeyed = reading.key(&mut spec, finds);
    let rules = reading.masking(&spec);
    let clears = reading.clears(&spec, &select);
    if !reading.left_out && spec.fields.as_ref().is_some_and(|f| f.iter().all(|f| f.as_str() == "Id")) {
        reading.leave_out(
            query_at,
            &query_path,
            "no field of its query can be carried over.",
            "Name its fields.",
        );
    }
    Some(Read {
        draft: ObjectDraft {
            left_out: reading.left_out,
            notes: reading.notes,
            spec,
            rules,
        },
        unkeyed,
        clears,
    })
}

/// Reading one object.
pub(super) struct Reading<'r, 'a, 'v> {
    pub(super) reader: &'r mut Reader<'a>,
    pub(super) members: &'v [Member],
    /// Where the object stands.
    pub(super) path: &'v str,
    at: usize,
    pub(super) notes: Vec<Note>,
    pub(super) left_out: bool,
    pub(super) name: ObjectName,
}

impl Reading<'_, '_, '_> {
    pub(super) fn say(&mut self, at: usize, path: &str, why: impl Into<String>, instead: impl Into<String>) {
        let note = self.reader.note(at, path, why, instead);
        self.notes.push(note);
    }

    pub(super) fn leave_out(&mut self, at: usize, path: &str, why: &str, instead: &str) {
        self.left_out = true;
        let why = format!("{} is left out: {why}", self.name);
        self.say(at, path, why, instead);
    }

    pub(super) fn member_path(&self, name: &str) -> String {
        member(self.path, name)
    }

    /// Whether the operation looks for records that are in the target already.
    fn operation(&mut self) -> bool {
        let path = self.member_path("operation");
        if let Some(found) = self.reader.flag(self.members, self.path, "excluded") {
            self.leave_out(found.at, &self.member_path("excluded"), "`excluded` is true.", UNCOMMENT);
        }
        if let Some(found) = self.reader.flag(self.members, self.path, "useSourceCSVFile") {
            let place = self.member_path("useSourceCSVFile");
            self.leave_out(
                found.at,
                &place,
                "its records come from a CSV file, and Syncline reads them from the source.",
                UNCOMMENT,
            );
        }
        if let Some(found) = self.reader.flag(self.members, self.path, "deleteFromSource") {
            let place = self.member_path("deleteFromSource");
            self.leave_out(
                found.at,
                &place,
                "Syncline deletes nothing in a source.",
                "Delete it there by hand.",
            );
        }
        let before = self.reader.errors.len();
        let Some((found, operation)) = self.reader.text(self.members, self.path, "operation") else {
            if self.reader.errors.len() == before {
                self.leave_out(
                    self.at,
                    self.path,
                    "without an operation SFDMU only reads it, and Syncline writes what it reads.",
                    UNCOMMENT,
                );
            }
            return false;
        };
        match operation {
            "Upsert" => return true,
            "Insert" => self.say(
                found.at,
                &path,
                "a later run of the sync updates what it once inserted, instead of inserting it again.",
                "Nothing has to be done for a target that is new.",
            ),
            "Update" => self.leave_out(
                found.at,
                &path,
                "SFDMU inserts nothing here, and Syncline inserts what the target lacks.",
                UNCOMMENT,
            ),
            "Readonly" => self.leave_out(
                found.at,
                &path,
                "it is only read. Owners, record types, queues and price books are matched by name without it; \
                 references to anything else that the sync does not write stay empty.",
                UNCOMMENT,
            ),
            "Delete" | "DeleteHierarchy" | "HardDelete" => self.leave_out(
                found.at,
                &path,
                "Syncline deletes only by `existing: replace` and `orphans: delete`.",
                "Delete in the target what has to go before the run.",
            ),
            "DeleteSource" => self.leave_out(found.at, &path, "Syncline deletes nothing in a source.", "Delete it there by hand."),
            _ => self.leave_out(
                found.at,
                &path,
                "SFDMU has no such operation.",
                "Write Insert or Upsert, as they stand here, and import again.",
            ),
        }
        false
    }

    /// Sets the key. Answers whether records have to be found and can't be.
    fn key(&mut self, spec: &mut ObjectSpec, finds: bool) -> bool {
        let path = self.member_path("externalId");
        let before = self.reader.errors.len();
        let given = self.reader.text(self.members, self.path, "externalId");
        if !finds {
            if let (Some((found, _)), false) = (given, self.left_out) {
                self.say(
                    found.at,
                    &path,
                    "only an Upsert finds records by it; parents are found by the ids that Syncline remembers.",
                    "Nothing has to be done.",
                );
            }
            return false;
        }
        let Some((found, id)) = given else {
            if self.reader.errors.len() == before {
                self.say(
                    self.at,
                    self.path,
                    "it has no externalId, and SFDMU chooses one, mostly Name, which is not unique.",
                    "Give `key` an external id that is unique in the target.",
                );
            }
            return true;
        };
        const UNIQUE: &str = "Give `key` an external id that is unique in the target, such as one made for it.";
        match FieldName::new(id) {
            Err(_) => {
                self.say(found.at, &path, "a key is one field of the object itself.", UNIQUE);
                true
            }
            Ok(field) if field.as_str().eq_ignore_ascii_case("Name") => {
                self.say(found.at, &path, "`Name` is not unique, so it cannot be the key.", UNIQUE);
                true
            }
            Ok(field) if field.as_str().eq_ignore_ascii_case("Id") => {
                self.say(found.at, &path, "ids differ between orgs, so `Id` cannot be the key.", UNIQUE);
                true
            }
            Ok(field) if spec.exclude.iter().any(|f| f.as_str().eq_ignore_ascii_case(field.as_str())) => {
                self.say(
                    found.at,
                    &path,
                    "it is excluded, so it cannot be the key.",
                    "Take it out of excludedFields and import again.",
                );
                true
            }
            Ok(field) => {
                spec.key = Some(field);
                false
            }
        }
    }

    fn clears(&mut self, spec: &ObjectSpec, select: &Select) -> Option<(Note, bool)> {
        let found = self.reader.flag(self.members, self.path, "deleteOldData")?;
        let whole = spec.filter.is_none() && select.clauses.is_empty() && find(self.members, "deleteQuery").is_none();
        let note = self.reader.note(
            found.at,
            &self.member_path("deleteOldData"),
            "`existing: replace` is for a whole sync and deletes every record of its objects, which is more than this asks for.",
            "Delete in the target what has to go before the run, or set `existing: replace`.",
        );
        Some((note, whole))
    }
}
