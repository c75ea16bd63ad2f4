//! Pages of lists. A token says where the last page ended, for one list and one filter; callers give it back as it came.
//!
//! Guarantees: a token that was cut, changed, or answered for another list or filter is refused by name, never looked up.
//! It is no secret and no permission: whoever may list may also make one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use syncline_domain::ErrorCode;
use tonic::Status;

use crate::status::invalid_field;

/// Raised when the inside of a token changes; older ones are refused then.
const VERSION: u8 = 1;
const CHECK_BYTES: usize = 8;
/// Longer than any key of a list.
const TOKEN_BYTES_MAX: usize = 1_024;

/// One list, with everything that narrows it: a token of one is none of another.
#[derive(Debug, Clone, Copy)]
pub struct List<'a> {
    pub name: &'a str,
    pub filter: &'a str,
    /// Entries of a page when the caller names no number.
    pub size_default: u32,
    /// Larger wishes are cut down to this many (AIP-158).
    pub size_max: u32,
}

/// What a caller asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// Key of the last entry seen; empty on the first page.
    pub after: String,
    pub size: u32,
}

impl Page {
    /// How many rows to read: one more than is shown tells whether there is another page.
    #[must_use]
    pub fn rows(&self) -> i64 {
        i64::from(self.size) + 1
    }
}

impl List<'_> {
    /// # Errors
    /// A status that names `page_token` when it is not one that this list answered.
    #[allow(clippy::result_large_err, reason = "a status is what the caller answers with")]
    pub fn page(&self, size: u32, token: &str) -> Result<Page, Status> {
        let size = if size == 0 { self.size_default } else { size.min(self.size_max) };
        let after = if token.is_empty() {
            String::new()
        } else {
            self.open(token).ok_or_else(|| {
                let why = "it is not one that this list answered with the same filter; leave it out to start again";
                invalid_field(ErrorCode::RequestInvalid, "page_token", why)
            })?
        };
        Ok(Page { after, size })
    }

    /// Cuts `rows` to the page, and makes the next page's token: empty on the last page.
    pub fn next<T>(&self, page: &Page, rows: &mut Vec<T>, key: impl FnOnce(&T) -> String) -> String {
        let size = page.size as usize;
        if rows.len() <= size {
            return String::new();
        }
        rows.truncate(size);
        rows.last().map(|last| self.seal(&key(last))).unwrap_or_default()
    }

    fn seal(&self, key: &str) -> String {
        let inside = [&[VERSION][..], &self.check(key), key.as_bytes()].concat();
        URL_SAFE_NO_PAD.encode(inside)
    }

    fn open(&self, token: &str) -> Option<String> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let inside = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (&version, rest) = inside.split_first()?;
        let (check, key) = rest.split_first_chunk::<CHECK_BYTES>()?;
        let key = std::str::from_utf8(key).ok()?;
        (version == VERSION && *check == self.check(key)).then(|| key.to_owned())
    }

    fn check(&self, key: &str) -> [u8; CHECK_BYTES] {
        let mut hasher = blake3::Hasher::new();
        for part in [self.name, self.filter, key] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut check = [0; CHECK_BYTES];
        hasher.finalize_xof().fill(&mut check);
        check
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    const RUNS: List<'_> = List {
        name: "runs",
        filter: "nightly",
        size_default: 2,
        size_max: 3,
    };

    #[test]
    fn a_walk_sees_every_entry_once_and_ends_without_an_empty_page() {
        for count in 0..9_u32 {
            let all: Vec<u32> = (0..count).collect();
            let (mut token, mut seen, mut pages) = (String::new(), Vec::new(), 0);
            loop {
                let page = RUNS.page(0, &token).unwrap();
                let from = page.after.parse::<u32>().map_or(0, |n| n + 1);
                let mut rows: Vec<u32> = all.iter().copied().skip(from as usize).take(page.rows() as usize).collect();
                token = RUNS.next(&page, &mut rows, u32::to_string);
                seen.extend(rows);
                pages += 1;
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!((seen, pages), (all, count.div_ceil(2).max(1)));
        }
    }

    #[test]
    fn a_wish_for_more_than_the_most_gets_the_most() {
        for (asked, given) in [(0, 2), (1, 1), (3, 3), (4, 3), (u32::MAX, 3)] {
            assert_eq!(RUNS.page(asked, "").unwrap().size, given);
        }
    }

    #[test]
    fn what_is_not_this_lists_token_is_refused_by_name() {
        let page = RUNS.page(1, "").unwrap();
        let token = RUNS.next(&page, &mut vec!["a\0b", "c"], |k| (*k).to_owned());
        assert_eq!(RUNS.page(1, &token).unwrap().after, "a\0b");
        let other_filter = List { filter: "", ..RUNS };
        let other_list = List { name: "syncs", ..RUNS };
        let refused = |list: List<'_>, token: &str| {
            let status = list.page(1, token).unwrap_err();
            let details = status.get_error_details();
            let violations = details.bad_request().unwrap().field_violations.clone();
            assert_eq!(
                (status.code(), violations[0].field.as_str()),
                (tonic::Code::InvalidArgument, "page_token")
            );
        };
        refused(other_filter, &token);
        refused(other_list, &token);
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            refused(RUNS, std::str::from_utf8(&changed).unwrap());
            refused(RUNS, token.get(..at).filter(|t| !t.is_empty()).unwrap_or("x"));
        }
        refused(RUNS, "'; drop table run");
        refused(RUNS, "\0");
        refused(RUNS, &"A".repeat(TOKEN_BYTES_MAX + 1));
    }
}
