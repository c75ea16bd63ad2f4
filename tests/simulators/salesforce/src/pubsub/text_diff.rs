//! Long text that changed, told as a unified diff against the text it replaced.
//!
//! The value starts with `--- ` and `+++ <SHA-256 of the whole original>`, then comes a hunk. Who has the original
//! applies it; who has another text sees by the hash that it must read the record again.

use ring::digest::{SHA256, digest};

/// Characters beyond which a text may be told as a difference (fact sheet, 4.4).
const TEXT_CHARS_MIN: usize = 1000;

/// The diff to send instead of `after`, or `None` when the whole text is sent: short texts, and differences that would
/// not save anything. Lines are what stands between line feeds; one hunk without context spans all that differs.
#[must_use]
pub fn unified(before: &str, after: &str) -> Option<String> {
    if before.chars().count() <= TEXT_CHARS_MIN || after.chars().count() <= TEXT_CHARS_MIN {
        return None;
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (before.split('\n').collect(), after.split('\n').collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - head;
    let tail = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take(rest)
        .take_while(|(a, b)| a == b)
        .count();
    let (gone, come) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut out = format!(
        "--- \n+++ {}\n@@ -{} +{} @@",
        sha256(before),
        range(head, gone.len()),
        range(head, come.len())
    );
    for (sign, lines) in [('-', gone), ('+', come)] {
        for line in lines {
            out.push('\n');
            out.push(sign);
            out.push_str(line);
        }
    }
    (out.len() < after.len()).then_some(out)
}

/// `start,count`; an empty range names the line before it (POSIX diff, "Unified format").
fn range(skipped: usize, lines: usize) -> String {
    format!("{},{lines}", if lines == 0 { skipped } else { skipped + 1 })
}

fn sha256(text: &str) -> String {
    digest(&SHA256, text.as_bytes())
        .as_ref()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn lines(at_30: &str) -> String {
        let line = |i: usize| match i {
            30 => at_30.to_owned(),
            i => format!("line {i} of a long description"),
        };
        (0..60).map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_small_change_of_a_long_text_is_a_diff_with_the_hash_of_the_original() {
        let before = lines("old");
        let hash = sha256(&before);
        let diff = |after: &str| unified(&before, &lines(after)).unwrap();
        assert_eq!(diff("new"), format!("--- \n+++ {hash}\n@@ -31,1 +31,1 @@\n-old\n+new"));
        assert_eq!(diff("new\n"), format!("--- \n+++ {hash}\n@@ -31,1 +31,2 @@\n-old\n+new\n+"));
        let longer = format!("{before}\nlast");
        let diff = unified(&before, &longer).unwrap();
        assert_eq!(diff, format!("--- \n+++ {hash}\n@@ -60,0 +61,1 @@\n+last"));
    }

    #[test]
    fn short_texts_and_rewritten_ones_are_sent_whole() {
        assert_eq!(unified("short", "shorter"), None);
        assert_eq!(unified(&"a ".repeat(600), &"b ".repeat(600)), None);
    }
}
