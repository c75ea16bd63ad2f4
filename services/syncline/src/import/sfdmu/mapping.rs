//! Objects and fields that are called otherwise in the target.

use syncline_domain::spec::ObjectSpec;
use syncline_domain::{FieldName, ObjectName};

use super::super::json::Member;
use super::super::note::member;
use super::find;
use super::object::Reading;
use super::property::MAPPING;

impl Reading<'_, '_, '_> {
    pub(super) fn mapping(&mut self, spec: &mut ObjectSpec) {
        let used = self.reader.flag(self.members, self.path, "useFieldMapping");
        let Some((list_path, items)) = self.reader.list(self.members, self.path, "fieldMapping") else {
            if let Some(used) = used {
                self.files(used, &self.member_path("fieldMapping"));
            }
            return;
        };
        let Some(used) = used else {
            if let (Some(found), false) = (find(self.members, "fieldMapping"), items.is_empty()) {
                self.say(
                    found.at,
                    &list_path,
                    "without `useFieldMapping: true` SFDMU does not use it, and neither does the sync.",
                    "Set `useFieldMapping` and import again, if it is to be used.",
                );
            }
            return;
        };
        self.files(used, &list_path);
        for (i, item) in items.iter().enumerate() {
            let path = format!("{list_path}[{i}]");
            let Some(members) = self.reader.object(item, &path) else { continue };
            let unmatched = self.reader.unmatched(members, MAPPING, &path);
            self.notes.extend(unmatched);
            if let Some((found, object)) = self.reader.text(members, &path, "targetObject") {
                let place = member(&path, "targetObject");
                match ObjectName::new(object) {
                    Err(_) => self.say(found.at, &place, "it is no name of an object.", "Set `target` of the object."),
                    Ok(object) if spec.target.as_ref().is_some_and(|t| *t != object) => {
                        self.say(
                            found.at,
                            &place,
                            "it names another target object than before; the first one counts.",
                            "Set `target` of the object.",
                        );
                    }
                    Ok(object) => spec.target = (object != spec.name).then_some(object),
                }
            }
            let source = self.reader.text(members, &path, "sourceField");
            let target = self.reader.text(members, &path, "targetField");
            let ((found, from), (_, to)) = match (source, target) {
                (Some(source), Some(target)) => (source, target),
                (None, None) => continue,
                (Some((found, _)), None) | (None, Some((found, _))) => {
                    self.say(
                        found.at,
                        &path,
                        "one of sourceField and targetField is missing, so nothing is mapped.",
                        "Give both.",
                    );
                    continue;
                }
            };
            let (Ok(from), Ok(to)) = (FieldName::new(from), FieldName::new(to)) else {
                self.say(
                    found.at,
                    &path,
                    "only a field of the object itself can be mapped to one.",
                    "Map the reference field.",
                );
                continue;
            };
            if spec.fields.as_ref().is_some_and(|f| !f.contains(&from)) || spec.exclude.contains(&from) {
                let why = format!("`{from}` is mapped, but the query does not take it.");
                self.say(found.at, &path, why, "Name it in the query, spelt the same, and import again.");
            } else if spec.mapping.contains_key(&from) || spec.mapping.values().any(|t| *t == to) {
                let why = format!("`{from}` or `{to}` is mapped already; the first one counts.");
                self.say(found.at, &path, why, "Take one of them out.");
            } else {
                spec.mapping.insert(from, to);
            }
        }
    }

    /// SFDMU also reads a file beside export.json, which is not looked at.
    fn files(&mut self, used: &Member, list_path: &str) {
        let path = self.member_path("useFieldMapping");
        self.say(
            used.at,
            &path,
            format!("only {list_path} is carried over; a FieldMapping.csv beside the file is not read."),
            "Add its lines to `map`.",
        );
    }
}
