//! Long texts that an event tells as a difference.
//!
//! The value is `--- `, `+++ <SHA-256 of the whole original>`, then unified hunks. It is applied only to the very text
//! it was made from; with any other, the record must be read again. No error quotes the text.

use ring::digest::{SHA256, digest};

/// Why a difference was not applied. In every case the record is to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DiffError {
    #[error("not a difference")]
    Form,
    #[error("made from another text than the stored one")]
    OtherOriginal,
    #[error("line {0} of the difference is no part of a hunk")]
    Line(usize),
    #[error("line {0} of the difference does not fit the text")]
    Mismatch(usize),
}

/// Whether a value has the form of a difference.
#[must_use]
pub fn is_diff(value: &str) -> bool {
    value.starts_with("--- \n+++ ")
}

/// The new text.
///
/// # Errors
/// When `diff` is none, or `original` is not the text it was made from.
pub fn apply(original: &str, diff: &str) -> Result<String, DiffError> {
    let rest = diff.strip_prefix("--- \n+++ ").ok_or(DiffError::Form)?;
    let (hash, hunks) = rest.split_once('\n').unwrap_or((rest, ""));
    if !hash.trim().eq_ignore_ascii_case(&sha256(original)) {
        return Err(DiffError::OtherOriginal);
    }
    let mut patch = Patch {
        old: original.split('\n').collect(),
        taken: 0,
        new: Vec::new(),
        last: ' ',
        old_unended: false,
        new_unended: false,
    };
    let lines = hunks.split('\n').collect::<Vec<_>>();
    // A trailing line feed of the difference itself is not a line.
    let lines = match lines.split_last() {
        Some((&"", head)) => head,
        _ => &lines[..],
    };
    for (at, line) in lines.iter().enumerate() {
        patch.line(line, at + 3)?;
    }
    Ok(patch.finish())
}

fn sha256(text: &str) -> String {
    digest(&SHA256, text.as_bytes())
        .as_ref()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

struct Patch<'a> {
    old: Vec<&'a str>,
    /// Lines of the original that have been dealt with.
    taken: usize,
    new: Vec<&'a str>,
    last: char,
    /// `\ No newline at end of file` stood behind a line of the original, or of the new text.
    old_unended: bool,
    new_unended: bool,
}

impl<'a> Patch<'a> {
    fn line(&mut self, line: &'a str, number: usize) -> Result<(), DiffError> {
        if line.starts_with("@@") {
            return self.hunk(line, number);
        }
        let mut chars = line.chars();
        let sign = chars.next().unwrap_or(' ');
        let text = chars.as_str();
        match sign {
            ' ' | '-' => {
                if self.old.get(self.taken) != Some(&text) {
                    return Err(DiffError::Mismatch(number));
                }
                self.taken += 1;
                if sign == ' ' {
                    self.new.push(text);
                }
            }
            '+' => self.new.push(text),
            '\\' => {
                self.old_unended |= self.last != '+';
                self.new_unended |= self.last != '-';
            }
            _ => return Err(DiffError::Line(number)),
        }
        self.last = sign;
        Ok(())
    }

    /// `@@ -start[,count] +start[,count] @@`: keeps what lies before the hunk.
    fn hunk(&mut self, line: &str, number: usize) -> Result<(), DiffError> {
        let range = line.split_whitespace().nth(1).and_then(|r| r.strip_prefix('-'));
        let (start, count) = range
            .map(|r| r.split_once(',').unwrap_or((r, "1")))
            .ok_or(DiffError::Line(number))?;
        let read = |text: &str| text.parse::<usize>().map_err(|_| DiffError::Line(number));
        let (start, count) = (read(start)?, read(count)?);
        // An empty range names the line before it.
        let skipped = if count == 0 { start } else { start.saturating_sub(1) };
        if skipped < self.taken || skipped > self.old.len() {
            return Err(DiffError::Mismatch(number));
        }
        self.new.extend_from_slice(&self.old[self.taken..skipped]);
        self.taken = skipped;
        Ok(())
    }

    fn finish(mut self) -> String {
        self.new.extend_from_slice(&self.old[self.taken..]);
        // Where only one of the two texts ends without a line feed, the empty piece behind it comes or goes.
        match (self.old_unended, self.new_unended) {
            (true, false) => self.new.push(""),
            (false, true) if self.new.last() == Some(&"") => {
                self.new.pop();
            }
            _ => {}
        }
        self.new.join("\n")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn diff(original: &str, hunks: &str) -> String {
        format!("--- \n+++ {}\n{hunks}", sha256(original))
    }

    #[test]
    fn hunks_are_applied_to_the_text_they_were_made_from() {
        for (original, hunks, expected) in [
            ("a\nb\nc", "@@ -2,1 +2,1 @@\n-b\n+B", "a\nB\nc"),
            ("a\nb\nc", "@@ -2 +2 @@\n-b\n+B\n", "a\nB\nc"),
            (
                "a\nb\nc\nd\ne",
                "@@ -1,2 +1,1 @@\n-a\n b\n@@ -4,2 +3,3 @@\n d\n+x\n e",
                "b\nc\nd\nx\ne",
            ),
            ("a\nb", "@@ -2,0 +3,1 @@\n+c", "a\nb\nc"),
            ("a\nb", "@@ -0,0 +1,1 @@\n+z", "z\na\nb"),
            ("a\nb\n", "@@ -2,1 +2,1 @@\n-b\n+B", "a\nB\n"),
            ("a\nb", "@@ -2 +2 @@\n-b\n\\ No newline at end of file\n+b", "a\nb\n"),
            ("a\nb\n", "@@ -2 +2 @@\n-b\n+b\n\\ No newline at end of file", "a\nb"),
        ] {
            assert_eq!(apply(original, &diff(original, hunks)).as_deref(), Ok(expected), "{hunks}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_line() {
        assert_eq!(apply("a", "whole text"), Err(DiffError::Form));
        assert_eq!(apply("b", &diff("a", "@@ -1,1 +1,1 @@\n-a\n+b")), Err(DiffError::OtherOriginal));
        for (hunks, error) in [
            ("@@ -1,1 +1,1 @@\n-x\n+b", DiffError::Mismatch(4)),
            ("@@ -9,1 +1,1 @@\n-a\n+b", DiffError::Mismatch(3)),
            ("@@ nonsense", DiffError::Line(3)),
            ("@@ -1,1 +1,1 @@\n?", DiffError::Line(4)),
            ("@@ -1,1 +1,1 @@\n-a\n@@ -1,1 +1,1 @@\n-a", DiffError::Mismatch(5)),
        ] {
            assert_eq!(apply("a", &diff("a", hunks)), Err(error), "{hunks}");
        }
    }
}
