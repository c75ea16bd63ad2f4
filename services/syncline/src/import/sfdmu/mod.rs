//! SFDMU's `export.json` as a sync definition.
//!
//! Facts about SFDMU (version 5.8): its file is plain JSON; `objects`, if it has any, is the first of its object sets,
//! which are run one after the other; an object without an operation is only read; names of objects come from queries.
//!
//! Start with [`import`]; `object` has an object's decisions, `property` what becomes of everything else.

mod fields;
mod mapping;
mod masking;
mod mock;
mod object;
mod property;
#[cfg(test)]
mod tests;

use syncline_domain::SyncName;
use syncline_domain::spec::Existing;

use self::property::{Fate, OBJECT_SET, Property, ROOT};
use super::draft::Draft;
use super::json::{self, Content, Member, Value};
use super::note::{member, shown};
use super::{Imported, Names, Note, Refused};

/// Reads the text of an export.json. `file` is its name, for the first comment.
///
/// # Errors
/// What is wrong with the file, or why nothing of it is usable.
pub fn import(file: &str, text: &str, names: &Names) -> Result<Imported, Box<Refused>> {
    // Editors put it there; it is no part of the text. (SFDMU itself refuses a file with it.)
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader::new(text);
    let root = match json::parse(text) {
        Ok(root) => root,
        Err(malformed) => {
            let note = reader.note(malformed.at, "", malformed.why, malformed.remedy);
            return Err(Box::new(Refused {
                errors: vec![note],
                notes: Vec::new(),
            }));
        }
    };
    let drafts = drafts(&mut reader, &root);
    let mut notes = reader.notes.clone();
    for object in drafts.iter().flat_map(|d| &d.objects) {
        notes.extend(object.notes.iter().cloned());
        notes.extend(object.rules.iter().flat_map(|r| r.notes.iter().cloned()));
    }
    notes.sort_by_key(|n| (n.line, n.column));
    if !drafts.iter().any(|d| d.kept().next().is_some()) && reader.errors.is_empty() {
        let (why, remedy) = if notes.is_empty() {
            ("it lists no object", "Name the export.json of an SFDMU configuration.")
        } else {
            (
                "no object of it can be moved by Syncline",
                "Each is named, with what to do about it.",
            )
        };
        reader.error(root.at, "", why, remedy);
    }
    if !reader.errors.is_empty() {
        let mut errors = reader.errors;
        errors.sort_by_key(|e| (e.line, e.column));
        return Err(Box::new(Refused { errors, notes }));
    }
    write(file, drafts, &reader.notes, notes, names).map_err(|error| {
        Box::new(Refused {
            errors: vec![error],
            notes: Vec::new(),
        })
    })
}

/// Every set of objects as a draft; sets that hold nothing at all are none.
fn drafts(reader: &mut Reader<'_>, root: &Value) -> Vec<Draft> {
    let Some(members) = reader.object(root, "") else {
        return Vec::new();
    };
    reader.walk(members, ROOT, "");
    let mut drafts = Vec::new();
    let objects = reader.list(members, "", "objects");
    if let Some((path, objects)) = objects {
        drafts.push(object::draft(reader, objects, &path));
    }
    if let Some((path, sets)) = reader.list(members, "", "objectSets") {
        for (i, set) in sets.iter().enumerate() {
            let path = format!("{path}[{i}]");
            match &set.content {
                // SFDMU takes a bare list as well.
                Content::Array(objects) => drafts.push(object::draft(reader, objects, &path)),
                _ => {
                    let Some(members) = reader.object(set, &path) else { continue };
                    reader.walk(members, OBJECT_SET, &path);
                    if let Some((path, objects)) = reader.list(members, &path, "objects") {
                        drafts.push(object::draft(reader, objects, &path));
                    }
                }
            }
        }
    }
    if find(members, "objects").is_none() && find(members, "objectSets").is_none() {
        reader.error(
            root.at,
            "",
            "it has neither `objects` nor `objectSets`",
            "Name the export.json of an SFDMU configuration.",
        );
    }
    drafts.retain(|d| !d.objects.is_empty());
    drafts
}

fn write(file: &str, mut drafts: Vec<Draft>, general: &[Note], notes: Vec<Note>, names: &Names) -> Result<Imported, Note> {
    // What no document holds is said in the first.
    let mut orphaned: Vec<Note> = general.to_vec();
    for draft in drafts.iter().filter(|d| d.kept().next().is_none()) {
        for object in &draft.objects {
            orphaned.extend(object.notes.iter().cloned());
        }
    }
    drafts.retain(|d| d.kept().next().is_some());
    if let Some(first) = drafts.first_mut() {
        first.notes = orphaned;
    }
    let mut yaml = format!("# Made from {} by `syncline import sfdmu`.\n", shown(file));
    yaml.push_str(match notes.len() {
        0 => "# Everything was carried over.\n",
        _ => "# What was not carried over stands at its place, with the place in that file (line:column).\n",
    });
    if drafts.len() > 1 {
        yaml.push_str("# One sync per set of objects: run them in this order.\n");
    }
    let mut objects = 0;
    for (i, draft) in drafts.iter().enumerate() {
        let name = match i {
            0 => names.sync.to_string(),
            _ => format!("{}-{}", names.sync, i + 1),
        };
        if SyncName::new(name.as_str()).is_err() {
            return Err(Note {
                line: 1,
                column: 1,
                path: "objectSets".to_owned(),
                why: format!("the sync of this set would be called `{name}`, which is too long."),
                instead: "Give a shorter --name.".to_owned(),
            });
        }
        if i > 0 {
            yaml.push_str("---\n");
        }
        yaml.push_str(&draft.yaml(names, &name));
        objects += draft.kept().count();
    }
    Ok(Imported {
        yaml,
        notes,
        syncs: drafts.len(),
        objects,
    })
}

/// The last member of this name that is not null: what JavaScript sees.
fn find<'v>(members: &'v [Member], name: &str) -> Option<&'v Member> {
    members
        .iter()
        .rev()
        .find(|m| m.name == name)
        .filter(|m| m.value.content != Content::Null)
}

/// Gathers notes and errors while values are read.
struct Reader<'a> {
    text: &'a str,
    /// What concerns no single object.
    notes: Vec<Note>,
    errors: Vec<Note>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            notes: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn note(&self, at: usize, path: &str, why: impl Into<String>, instead: impl Into<String>) -> Note {
        let (line, column) = json::place(self.text, at);
        let path = if path.is_empty() { "the file" } else { path };
        Note {
            line,
            column,
            path: path.to_owned(),
            why: why.into(),
            instead: instead.into(),
        }
    }

    fn error(&mut self, at: usize, path: &str, why: impl Into<String>, remedy: impl Into<String>) {
        let mut why = why.into();
        why.push('.');
        let error = self.note(at, path, why, remedy);
        self.errors.push(error);
    }

    fn wrong_type(&mut self, value: &Value, path: &str, wanted: &str) {
        let why = format!("this is {}, expected {wanted}", value.content.kind());
        self.error(value.at, path, why, "Correct it, or take it out.");
    }

    fn object<'v>(&mut self, value: &'v Value, path: &str) -> Option<&'v [Member]> {
        match &value.content {
            Content::Object(members) => Some(members),
            _ => {
                self.wrong_type(value, path, "an object");
                None
            }
        }
    }

    /// A member that is a list, with its path.
    fn list<'v>(&mut self, members: &'v [Member], path: &str, name: &str) -> Option<(String, &'v [Value])> {
        let found = find(members, name)?;
        let path = member(path, name);
        match &found.value.content {
            Content::Array(items) => Some((path, items)),
            _ => {
                self.wrong_type(&found.value, &path, "a list");
                None
            }
        }
    }

    /// A member that is text, and not blank.
    fn text<'v>(&mut self, members: &'v [Member], path: &str, name: &str) -> Option<(&'v Member, &'v str)> {
        let found = find(members, name)?;
        match &found.value.content {
            Content::Text(text) if text.trim().is_empty() => None,
            Content::Text(text) => Some((found, text.trim())),
            _ => {
                self.wrong_type(&found.value, &member(path, name), "text");
                None
            }
        }
    }

    /// A member that is true or false; false where it is not given.
    fn flag<'v>(&mut self, members: &'v [Member], path: &str, name: &str) -> Option<&'v Member> {
        let found = find(members, name)?;
        match found.value.content {
            Content::Bool(true) => Some(found),
            Content::Bool(false) => None,
            _ => {
                self.wrong_type(&found.value, &member(path, name), "true or false");
                None
            }
        }
    }

    /// A list of texts, each with its place.
    fn texts<'v>(&mut self, members: &'v [Member], path: &str, name: &str) -> Vec<(&'v Value, String, &'v str)> {
        let Some((path, items)) = self.list(members, path, name) else {
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let path = format!("{path}[{i}]");
            match &item.content {
                Content::Text(text) => texts.push((item, path, text.trim())),
                _ => self.wrong_type(item, &path, "text"),
            }
        }
        texts
    }

    /// Notes about members that nothing corresponds to, and about those nobody knows.
    fn unmatched(&self, members: &[Member], table: &[Property], path: &str) -> Vec<Note> {
        let mut notes = Vec::new();
        for (i, found) in members.iter().enumerate() {
            let place = member(path, &found.name);
            if members.iter().skip(i + 1).any(|later| later.name == found.name) {
                notes.push(self.note(found.at, &place, "it stands twice, and the last one counts.", "Take this one out."));
                continue;
            }
            match table.iter().find(|p| p.name == found.name).map(|p| &p.fate) {
                Some(Fate::Read) => {}
                Some(Fate::Listed { unless, why, instead }) => {
                    if !unless.holds(&found.value) {
                        notes.push(self.note(found.at, &place, *why, *instead));
                    }
                }
                None => {
                    let near = table
                        .iter()
                        .find(|p| p.name.eq_ignore_ascii_case(&found.name))
                        .map_or(String::new(), |p| format!(" (is it `{}`?)", p.name));
                    let why = format!("SFDMU has no such property{near}, so it does nothing there.");
                    notes.push(self.note(found.at, &place, why, "Take it out, or correct its name and import again."));
                }
            }
        }
        notes
    }

    fn walk(&mut self, members: &[Member], table: &[Property], path: &str) {
        let notes = self.unmatched(members, table, path);
        self.notes.extend(notes);
    }
}

/// What happens to records that are there already: the strictest that all objects ask for.
fn existing(draft: &mut Draft, unkeyed: bool, cleared: bool) {
    (draft.existing, draft.existing_because) = if cleared {
        (
            Existing::Replace,
            "deleteOldData of every object: the target's records of these objects are deleted first",
        )
    } else if unkeyed {
        (
            Existing::Refuse,
            "records of some object below cannot be found by a key: `update` would insert those again that the target \
             has already, so the run is to stop if it has any",
        )
    } else {
        (Existing::Update, "")
    };
}
