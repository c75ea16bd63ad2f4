//! Masking rules from `mockFields`. A value that was to be masked gets a rule in any case.

use std::collections::BTreeSet;

use syncline_domain::FieldName;
use syncline_domain::spec::ObjectSpec;
use syncline_mask::Strategy;

use super::super::draft::RuleDraft;
use super::super::note::member;
use super::object::Reading;
use super::property::MOCK;
use super::{find, mock};

impl Reading<'_, '_, '_> {
    pub(super) fn masking(&mut self, spec: &ObjectSpec) -> Vec<RuleDraft> {
        let on = self.reader.flag(self.members, self.path, "updateWithMockData");
        let mut rules: Vec<RuleDraft> = Vec::new();
        let listed = self.reader.list(self.members, self.path, "mockFields");
        let (path, items) = listed.unwrap_or_else(|| (self.member_path("mockFields"), &[][..]));
        match (on, find(self.members, "mockFields"), items.is_empty()) {
            (Some(on), _, true) => {
                let place = self.member_path("updateWithMockData");
                self.say(
                    on.at,
                    &place,
                    "there are no mockFields, so SFDMU masks nothing.",
                    "Write rules under `masking`.",
                );
            }
            (None, Some(mocks), false) => {
                let (at, place) = match find(self.members, "updateWithMockData") {
                    Some(off) => (off.at, self.member_path("updateWithMockData")),
                    None => (mocks.at, path.clone()),
                };
                self.say(
                    at,
                    &place,
                    "without `updateWithMockData: true` SFDMU masks nothing; the rules are written all the same.",
                    "Take them out only where originals may travel.",
                );
            }
            _ => {}
        }
        let mut named = BTreeSet::new();
        for (i, item) in items.iter().enumerate() {
            let path = format!("{path}[{i}]");
            let Some(members) = self.reader.object(item, &path) else { continue };
            let mut notes = self.reader.unmatched(members, MOCK, &path);
            let before = self.reader.errors.len();
            let name = self.reader.text(members, &path, "name");
            let pattern = self.reader.text(members, &path, "pattern");
            let Some((found, name)) = name else {
                if self.reader.errors.len() == before {
                    self.reader.error(item.at, &path, "it has no name", "Name a field.");
                }
                continue;
            };
            let place = member(&path, "name");
            let field = if name == "all" {
                let why = "`all` stands for every field, and a rule is for one field: the check refuses the sync until this is replaced.";
                notes.push(
                    self.reader
                        .note(found.at, &place, why, "Write a rule for each field in place of `*`."),
                );
                "*".to_owned()
            } else if let Ok(field) = FieldName::new(name) {
                field.to_string()
            } else {
                notes.push(self.reader.note(
                    found.at,
                    &place,
                    "it is no name of a field of the object, so nothing is masked by it.",
                    "Name the field.",
                ));
                self.notes.extend(notes);
                continue;
            };
            let refused = if spec.exclude.iter().any(|f| f.as_str() == field) {
                Some("the field is excluded, so there is nothing to mask.")
            } else if named.insert(field.to_ascii_lowercase()) {
                None
            } else {
                Some("the field has a rule already; the first one counts.")
            };
            if let Some(why) = refused {
                notes.push(self.reader.note(found.at, &place, why, "Take it out."));
                self.notes.extend(notes);
                continue;
            }
            let strategy = pattern.and_then(|(_, pattern)| mock::strategy(pattern));
            if strategy.is_none() {
                let at = pattern.map_or(item.at, |(found, _)| found.at);
                notes.push(self.reader.note(
                    at,
                    &member(&path, "pattern"),
                    "no strategy gives values of this kind; the field is redacted until you decide.",
                    "Choose fake(kind), hash, redact(text) or, if originals may travel, preserve.",
                ));
            }
            rules.push(RuleDraft {
                field,
                strategy: strategy.unwrap_or_else(Strategy::redact).to_string(),
                notes,
            });
        }
        rules
    }
}
