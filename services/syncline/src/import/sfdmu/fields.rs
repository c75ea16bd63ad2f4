//! Which records and which fields an object takes.

use syncline_domain::FieldName;
use syncline_domain::spec::ObjectSpec;

use super::super::note::shown;
use super::super::soql::{Item, Select};
use super::object::Reading;

/// Words of SFDMU in place of fields that mean what Syncline takes anyway: whatever both ends have and may be written.
const WHOLE: [&str; 3] = ["all", "readonly_false", "createable_true"];
/// Words of SFDMU that choose fields in ways that a sync cannot say; `type_…` besides.
const CHOICES: [&str; 12] = [
    "readonly_true",
    "custom_true",
    "custom_false",
    "standard_true",
    "standard_false",
    "updateable_true",
    "updateable_false",
    "createable_false",
    "lookup_true",
    "lookup_false",
    "person_true",
    "person_false",
];

impl Reading<'_, '_, '_> {
    /// The condition; notes about every other clause.
    pub(super) fn clauses(&mut self, select: &Select, at: usize, path: &str) -> Option<String> {
        for clause in &select.clauses {
            match *clause {
                "LIMIT" | "OFFSET" => self.say(
                    at,
                    path,
                    format!("{clause} is not carried over: every record that matches is taken."),
                    "Narrow it with `where`.",
                ),
                "ORDER" => self.say(
                    at,
                    path,
                    "ORDER BY is not carried over: Syncline loads parents first and leaves the order within an object open.",
                    "Nothing has to be done.",
                ),
                "ALL" => self.say(
                    at,
                    path,
                    "ALL ROWS is not carried over: deleted and archived records are not read.",
                    "Undelete in the source what has to move.",
                ),
                "FOR" => self.say(
                    at,
                    path,
                    "FOR VIEW, REFERENCE or UPDATE is not carried over: reading leaves no trace in the source.",
                    "Nothing has to be done.",
                ),
                "USING" | "WITH" => self.say(
                    at,
                    path,
                    format!("{clause} is not carried over: every record that matches `where` is taken."),
                    "Say the same in `where`, or leave it to the rights of the connection's user.",
                ),
                _ => {
                    if !self.left_out {
                        self.leave_out(
                            at,
                            path,
                            "it asks for groups of records, not for records.",
                            "Ask for the records themselves.",
                        );
                    }
                }
            }
        }
        select.filter.clone()
    }

    /// The fields to take; `None` for all that both ends have.
    pub(super) fn fields(&mut self, select: &Select, at: usize, path: &str) -> Option<Vec<FieldName>> {
        let mut fields: Vec<FieldName> = Vec::new();
        let mut whole = false;
        let mut choices: Vec<String> = Vec::new();
        for item in &select.items {
            match item {
                Item::Field(field) => {
                    let word = field.as_str().to_ascii_lowercase();
                    if WHOLE.contains(&word.as_str()) {
                        whole = true;
                    } else if CHOICES.contains(&word.as_str()) || is_type_choice(&word) {
                        choices.push(word);
                    } else if !fields.iter().any(|f| f.as_str().eq_ignore_ascii_case(field.as_str())) {
                        fields.push(field.clone());
                    }
                }
                Item::Towards(field, object) => {
                    self.say(
                        at,
                        path,
                        format!("`{field}${object}` is carried over as `{field}`: a reference may lead to every object of the sync."),
                        "Nothing has to be done.",
                    );
                    fields.push(field.clone());
                }
                Item::Path(parts) => self.say(
                    at,
                    path,
                    format!(
                        "`{}` is a field of another record, and only fields of {} itself are written.",
                        shown(parts),
                        self.name
                    ),
                    format!("Take the reference, {}; links are kept by it.", reference(parts)),
                ),
                Item::Other(what) => self.say(
                    at,
                    path,
                    format!("`{}` is not a field, so it is not taken.", shown(what)),
                    "Name the fields it stands for.",
                ),
            }
        }
        if choices.is_empty() {
            return (!whole).then_some(fields);
        }
        let words = choices.join(", ");
        if fields.iter().all(|f| f.as_str() == "Id") {
            let why = format!("a sync cannot choose fields by `{words}`, and its query names no other.");
            self.leave_out(at, path, &why, "Name its fields, or write `all`.");
        } else {
            let why = format!("a sync cannot choose fields by `{words}`: only the fields that the query names are taken.");
            self.say(at, path, why, "Add to `fields` what is missing.");
        }
        Some(fields)
    }

    pub(super) fn exclude(&mut self, spec: &mut ObjectSpec) {
        for (item, path, text) in self.reader.texts(self.members, self.path, "excludedFields") {
            match FieldName::new(text) {
                Err(_) => self.say(
                    item.at,
                    &path,
                    "it is no name of a field of the object, so there is nothing to exclude.",
                    "Take it out.",
                ),
                Ok(field) => {
                    let same = |f: &FieldName| f.as_str().eq_ignore_ascii_case(field.as_str());
                    // In a definition `fields` and `exclude` must not name the same.
                    let named = spec.fields.as_mut().is_some_and(|fields| {
                        let before = fields.len();
                        fields.retain(|f| !same(f));
                        fields.len() < before
                    });
                    if !named && spec.fields.is_some() {
                        self.say(
                            item.at,
                            &path,
                            "its query does not name this field, so there is nothing to exclude.",
                            "Take it out.",
                        );
                    } else if !named && !spec.exclude.iter().any(same) {
                        spec.exclude.push(field);
                    }
                }
            }
        }
    }
}

fn is_type_choice(word: &str) -> bool {
    word.strip_prefix("type_")
        .is_some_and(|kind| !kind.is_empty() && !kind.contains('_'))
}

/// The reference that a path goes through, as the platform names them.
fn reference(path: &str) -> String {
    let first = path.split('.').next().unwrap_or(path);
    match first.strip_suffix("__r") {
        Some(custom) => format!("`{}__c`", shown(custom)),
        None => format!("`{}Id`", shown(first)),
    }
}
