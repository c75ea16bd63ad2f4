//! Something that is not carried over, or wrong: where, why, and what to do instead.

use std::fmt;

/// Characters of somebody else's text that a message repeats.
const SHOWN_CHARS_MAX: usize = 60;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// From 1.
    pub line: u64,
    /// In characters, from 1.
    pub column: u64,
    /// Such as `objects[0].mockFields[1].pattern`.
    pub path: String,
    pub why: String,
    /// What to do; may be empty.
    pub instead: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.line, self.column, self.path, self.why)?;
        if !self.instead.is_empty() {
            write!(f, " {}", self.instead)?;
        }
        Ok(())
    }
}

/// Somebody else's name, fit for one line of a message or comment.
pub fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN_CHARS_MAX)
        .map(|c| {
            if c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ' {
                c
            } else {
                '?'
            }
        })
        .collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// The path of a member; names that are none are quoted.
pub fn member(path: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$');
    match (plain, path.is_empty()) {
        (true, true) => name.to_owned(),
        (true, false) => format!("{path}.{name}"),
        (false, _) => format!("{path}[\"{}\"]", shown(name).replace('"', "'")),
    }
}
