//! 'Did you mean': the nearest known name to one that was mistyped.

/// Two names are near when a third of the letters, at least one and at most this many, would have to change.
const DISTANCE_MAX: usize = 4;

/// The known name nearest to `given`, if one is near enough to be meant. Case does not count.
pub fn closest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = given.to_lowercase().chars().collect();
    let limit = (wanted.len() / 3).clamp(1, DISTANCE_MAX);
    known
        .into_iter()
        .map(|name| {
            let name_chars: Vec<char> = name.to_lowercase().chars().collect();
            (distance(&wanted, &name_chars), name)
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours cost one each.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, to) in b.iter().enumerate() {
            let mut cost = (last[j] + usize::from(from != to)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_a_stranger_does_not() {
        let known = ["fake", "hash", "redact", "preserve"];
        for (given, meant) in [
            ("fkae", Some("fake")),
            ("Hsah", Some("hash")),
            ("redcat", Some("redact")),
            ("perserve", Some("preserve")),
            ("tokenize", None),
            ("", None),
        ] {
            assert_eq!(closest(given, known), meant, "{given}");
        }
    }
}
