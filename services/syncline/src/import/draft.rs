//! A sync on its way to YAML: what the definition holds, and the comments that stand beside it.

use std::fmt::Write as _;

use syncline_domain::FieldName;
use syncline_domain::spec::{API_VERSION, Existing, ObjectSpec};

use super::{Names, Note};

/// Columns of a line; longer lists and comments go on in the next.
const WIDTH: usize = 110;

/// One document.
#[derive(Debug, Default)]
pub struct Draft {
    /// What concerns the whole.
    pub notes: Vec<Note>,
    pub existing: Existing,
    /// Why `existing` is what it is, where that is not the default.
    pub existing_because: &'static str,
    pub objects: Vec<ObjectDraft>,
}

/// One object. One that is left out is written as a comment.
#[derive(Debug)]
pub struct ObjectDraft {
    pub spec: ObjectSpec,
    pub left_out: bool,
    pub notes: Vec<Note>,
    pub rules: Vec<RuleDraft>,
}

/// One masking rule.
#[derive(Debug)]
pub struct RuleDraft {
    /// A field, or `*` for what no rule can say: a check refuses it.
    pub field: String,
    pub strategy: String,
    pub notes: Vec<Note>,
}

impl Draft {
    pub fn kept(&self) -> impl Iterator<Item = &ObjectDraft> {
        self.objects.iter().filter(|o| !o.left_out)
    }

    /// The document.
    pub fn yaml(&self, names: &Names, sync: &str) -> String {
        let mut page = Page::default();
        page.line(0, false, &format!("apiVersion: {API_VERSION}"));
        page.line(0, false, "kind: Sync");
        page.line(0, false, "metadata:");
        page.line(1, false, &format!("name: {}", scalar(sync)));
        page.notes(0, &self.notes);
        page.line(0, false, "spec:");
        page.line(1, false, &format!("source: {}", scalar(names.source.as_str())));
        page.line(1, false, &format!("target: {}", scalar(names.target.as_str())));
        if !self.existing_because.is_empty() {
            page.comment(1, self.existing_because);
        }
        page.line(1, false, &format!("existing: {}", existing(self.existing)));
        page.line(1, false, "objects:");
        for object in &self.objects {
            page.notes(2, &object.notes);
            page.object(object);
        }
        page.masking(&self.objects);
        page.text
    }
}

fn existing(existing: Existing) -> &'static str {
    match existing {
        Existing::Update => "update",
        Existing::Replace => "replace",
        Existing::Refuse => "refuse",
    }
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, indent: usize, commented: bool, text: &str) {
        let mark = if commented { "# " } else { "" };
        let _ = writeln!(self.text, "{:1$}{mark}{text}", "", indent * 2);
    }

    fn notes(&mut self, indent: usize, notes: &[Note]) {
        for note in notes {
            self.comment(indent, &note.to_string());
        }
    }

    /// Wrapped at words; what goes on is set in.
    fn comment(&mut self, indent: usize, text: &str) {
        let width = WIDTH.saturating_sub(indent * 2 + 2);
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.trim().is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                self.line(indent, true, &line);
                line = "  ".to_owned();
            } else if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.line(indent, true, &line);
    }

    fn object(&mut self, object: &ObjectDraft) {
        let (spec, out) = (&object.spec, object.left_out);
        // Where a list item's members stand, behind its dash; in a comment nothing else can show it.
        let member = |page: &mut Self, text: &str| page.line(2, out, &format!("  {text}"));
        self.line(2, out, &format!("- name: {}", scalar(spec.name.as_str())));
        if let Some(target) = &spec.target {
            member(self, &format!("target: {}", scalar(target.as_str())));
        }
        if let Some(filter) = &spec.filter {
            member(self, &format!("where: {}", quoted(filter)));
        }
        for (name, fields) in [("fields", spec.fields.as_deref()), ("exclude", Some(spec.exclude.as_slice()))] {
            let Some(fields) = fields.filter(|f| name == "fields" || !f.is_empty()) else {
                continue;
            };
            for line in flow(name, fields) {
                member(self, &line);
            }
        }
        if let Some(key) = &spec.key {
            member(self, &format!("key: {}", scalar(key.as_str())));
        }
        if !spec.mapping.is_empty() {
            member(self, "map:");
            for (from, to) in &spec.mapping {
                member(self, &format!("  {}: {}", scalar(from.as_str()), scalar(to.as_str())));
            }
        }
    }

    fn masking(&mut self, objects: &[ObjectDraft]) {
        let ruled = |out: bool| objects.iter().filter(move |o| o.left_out == out && !o.rules.is_empty());
        let any = ruled(false).next().is_some();
        self.line(1, !any, "masking:");
        self.comment(
            2,
            "preset: hipaa    (decides on personal data that no rule names; what nobody decides on stops the check)",
        );
        if any {
            self.line(2, false, "rules:");
        } else if ruled(true).next().is_some() {
            self.comment(2, "rules:");
        }
        for object in ruled(false).chain(ruled(true)) {
            let out = object.left_out;
            if out {
                self.comment(3, &format!("of {}, which is left out above", object.spec.name));
            }
            self.line(3, out, &format!("{}:", scalar(object.spec.name.as_str())));
            for rule in &object.rules {
                self.notes(4, &rule.notes);
                let text = format!("{}: {}", scalar(&rule.field), scalar(&rule.strategy));
                if out {
                    self.line(3, true, &format!("  {text}"));
                } else {
                    self.line(4, false, &text);
                }
            }
        }
    }
}

/// `name: [A, B, ...]` in lines that are not too long.
fn flow(name: &str, fields: &[FieldName]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = format!("{name}: [");
    for (i, field) in fields.iter().enumerate() {
        let item = format!("{}{}", scalar(field.as_str()), if i + 1 == fields.len() { "]" } else { "," });
        if line.len() + item.len() + 7 > WIDTH {
            lines.push(std::mem::replace(&mut line, "    ".to_owned()));
        } else if i > 0 {
            line.push(' ');
        }
        line.push_str(&item);
    }
    if fields.is_empty() {
        line.push(']');
    }
    lines.push(line);
    lines
}

/// Plain where YAML takes it for text, else in quotes.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '(' | ')'));
    let word = text.to_ascii_lowercase();
    let means_something = matches!(
        word.as_str(),
        "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "nan" | "inf"
    );
    if plain && !means_something { text.to_owned() } else { quoted(text) }
}

/// In double quotes, all in one line of printable characters.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            c if c.is_alphanumeric() => quoted.push(c),
            c => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
        }
    }
    quoted.push('"');
    quoted
}
