//! What two orgs share by name: record types, users, queues, price books. Pure: rows in, matches out.
//!
//! Ids mean nothing in another org (fact: record ids are never portable). A name that stands twice is reported and
//! matched with neither: a guess would give records to somebody. Nothing is ever created.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A row that others refer to by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<K> {
    pub id: String,
    /// Names in the order in which they are tried, the surest first.
    pub names: Vec<K>,
    pub active: bool,
}

/// Why an id of the source has no counterpart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmatched {
    /// Nothing of that name.
    Missing,
    /// Several of that name, in the source or in the target.
    Ambiguous,
    /// There is one, and it must not be given records.
    Inactive,
}

/// Source ids and what they are in the target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matched {
    pub ids: HashMap<String, String>,
    pub unmatched: BTreeMap<String, Unmatched>,
}

/// Matches entries by their names. Letter case is the platform's business: names are compared as they are given, so
/// callers fold what SOQL would fold (see [`fold`]).
#[must_use]
pub fn matched<K: Eq + Hash>(source: &[Entry<K>], target: &[Entry<K>]) -> Matched {
    let mut there: HashMap<&K, Vec<&Entry<K>>> = HashMap::new();
    for entry in target {
        for name in &entry.names {
            there.entry(name).or_default().push(entry);
        }
    }
    let mut here: HashMap<&K, usize> = HashMap::new();
    for name in source.iter().flat_map(|e| &e.names) {
        *here.entry(name).or_default() += 1;
    }
    let mut result = Matched::default();
    for entry in source {
        match counterpart(entry, &here, &there) {
            Ok(id) => {
                result.ids.insert(entry.id.clone(), id);
            }
            Err(why) => {
                result.unmatched.insert(entry.id.clone(), why);
            }
        }
    }
    result
}

fn counterpart<K: Eq + Hash>(
    entry: &Entry<K>,
    here: &HashMap<&K, usize>,
    there: &HashMap<&K, Vec<&Entry<K>>>,
) -> Result<String, Unmatched> {
    let mut why = Unmatched::Missing;
    for name in &entry.names {
        let found = there.get(name).map(Vec::as_slice).unwrap_or_default();
        match found {
            [] => {}
            [one] if here.get(name) == Some(&1) => {
                if one.active {
                    return Ok(one.id.clone());
                }
                why = Unmatched::Inactive;
            }
            // Another name may still tell them apart.
            _ => why = Unmatched::Ambiguous,
        }
    }
    Err(why)
}

/// As SOQL compares texts: without regard to letter case.
#[must_use]
pub fn fold(text: &str) -> String {
    text.to_lowercase()
}

type Row = Vec<Option<String>>;

/// Fields of the look-up that [`record_types`] reads.
pub const RECORD_TYPE_FIELDS: &[&str] = &["Id", "SobjectType", "NamespacePrefix", "DeveloperName", "IsActive"];
/// Fields of the look-up that [`users`] reads.
pub const USER_FIELDS: &[&str] = &["Id", "FederationIdentifier", "Username", "Email", "IsActive"];
/// Fields of the look-up that [`queues`] reads, with [`QUEUE_FILTER`].
pub const QUEUE_FIELDS: &[&str] = &["Id", "DeveloperName"];
pub const QUEUE_FILTER: &str = "Type = 'Queue'";
/// Fields of the look-up that [`price_books`] reads.
pub const PRICE_BOOK_FIELDS: &[&str] = &["Id", "Name", "IsStandard", "IsActive"];

/// A developer name alone is not unique: person accounts have one on both sides.
#[must_use]
pub fn record_types(rows: &[Row]) -> Vec<Entry<(String, String, String)>> {
    entries(rows, |row| {
        let name = (text(row, 1)?, text(row, 2).unwrap_or_default(), text(row, 3)?);
        Some((vec![name], flag(row, 4)))
    })
}

/// Which of a user's names says who they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UserName {
    Federation(String),
    Username(String),
    /// A username without what a sandbox appends.
    Before(String),
    Email(String),
}

/// By federation id, then username, then the username of the production org that a sandbox was made from, then e-mail.
/// `suffix` is what this org's usernames end in beyond production's, such as `.uat`; e-mails of a sandbox end in
/// `.invalid`.
#[must_use]
pub fn users(rows: &[Row], suffix: Option<&str>) -> Vec<Entry<UserName>> {
    entries(rows, |row| {
        let username = fold(&text(row, 2)?);
        let plain = suffix.and_then(|s| username.strip_suffix(&fold(s))).unwrap_or(&username).to_owned();
        let email = text(row, 3)
            .map(|e| fold(&e))
            .map(|e| e.strip_suffix(".invalid").unwrap_or(&e).to_owned());
        let mut names = Vec::new();
        names.extend(text(row, 1).filter(|f| !f.is_empty()).map(UserName::Federation));
        names.push(UserName::Username(username));
        names.push(UserName::Before(plain));
        names.extend(email.filter(|e| !e.is_empty()).map(UserName::Email));
        Some((names, flag(row, 4)))
    })
}

#[must_use]
pub fn queues(rows: &[Row]) -> Vec<Entry<String>> {
    entries(rows, |row| Some((vec![fold(&text(row, 1)?)], true)))
}

/// There is one standard price book in every org, whatever it is called.
#[must_use]
pub fn price_books(rows: &[Row]) -> Vec<Entry<Option<String>>> {
    entries(rows, |row| {
        let name = if flag(row, 2) { None } else { Some(fold(&text(row, 1)?)) };
        // An inactive price book still holds prices.
        Some((vec![name], true))
    })
}

fn entries<K>(rows: &[Row], read: impl Fn(&Row) -> Option<(Vec<K>, bool)>) -> Vec<Entry<K>> {
    rows.iter()
        .filter_map(|row| {
            let id = text(row, 0)?;
            let (names, active) = read(row)?;
            Some(Entry { id, names, active })
        })
        .collect()
}

fn text(row: &Row, at: usize) -> Option<String> {
    row.get(at)?.clone()
}

fn flag(row: &Row, at: usize) -> bool {
    text(row, at).as_deref() == Some("true")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn row(cells: &[&str]) -> Row {
        cells.iter().map(|c| (!c.is_empty()).then(|| (*c).to_owned())).collect()
    }

    #[test]
    fn record_types_are_matched_by_object_and_name() {
        let source = record_types(&[
            row(&["012A1", "Account", "", "PersonAccount", "true"]),
            row(&["012A2", "Contact", "", "PersonAccount", "true"]),
            row(&["012A3", "Account", "", "Old", "true"]),
            row(&["012A4", "Account", "pkg", "Big", "true"]),
        ]);
        let target = record_types(&[
            row(&["012B1", "Account", "", "PersonAccount", "true"]),
            row(&["012B2", "Contact", "", "PersonAccount", "true"]),
            row(&["012B3", "Account", "", "Old", "false"]),
            row(&["012B4", "Account", "", "Big", "true"]),
        ]);
        let result = matched(&source, &target);
        assert_eq!((result.ids["012A1"].as_str(), result.ids["012A2"].as_str()), ("012B1", "012B2"));
        assert_eq!(result.unmatched["012A3"], Unmatched::Inactive);
        assert_eq!(result.unmatched["012A4"], Unmatched::Missing);
    }

    #[test]
    fn users_are_known_by_the_surest_name_that_tells_them_apart() {
        let source = users(
            &[
                row(&["005A1", "F1", "ann@x.com", "ann@x.com", "true"]),
                row(&["005A2", "", "Bob@x.com", "team@x.com", "true"]),
                row(&["005A3", "", "cyd@old.com", "cyd@x.com", "true"]),
                row(&["005A4", "", "dan@old.com", "team@x.com", "true"]),
                row(&["005A5", "", "eve@x.com", "eve@x.com", "true"]),
                row(&["005A6", "", "fay@x.com", "fay@x.com", "true"]),
            ],
            None,
        );
        let target = users(
            &[
                row(&["005B1", "F1", "other@x.com.uat", "o@x.com", "true"]),
                row(&["005B2", "", "bob@x.com.UAT", "bob@x.com.invalid", "true"]),
                row(&["005B3", "", "cyd2@x.com.uat", "cyd@x.com.invalid", "true"]),
                row(&["005B4", "", "team@x.com.uat", "team@x.com.invalid", "true"]),
                row(&["005B5", "", "eve@x.com.uat", "eve@x.com.invalid", "false"]),
            ],
            Some(".uat"),
        );
        let result = matched(&source, &target);
        for (from, to) in [("005A1", "005B1"), ("005A2", "005B2"), ("005A3", "005B3")] {
            assert_eq!(result.ids[from], to);
        }
        // Two people share the address.
        assert_eq!(result.unmatched["005A4"], Unmatched::Ambiguous);
        assert_eq!(result.unmatched["005A5"], Unmatched::Inactive);
        assert_eq!(result.unmatched["005A6"], Unmatched::Missing);
    }

    #[test]
    fn queues_and_price_books_that_stand_twice_match_with_neither() {
        let source = queues(&[row(&["00GA1", "Support"]), row(&["00GA2", "Sales"])]);
        let target = queues(&[row(&["00GB1", "support"]), row(&["00GB2", "Sales"]), row(&["00GB3", "SALES"])]);
        let result = matched(&source, &target);
        assert_eq!(result.ids["00GA1"], "00GB1");
        assert_eq!(result.unmatched["00GA2"], Unmatched::Ambiguous);

        let source = price_books(&[
            row(&["01sA1", "Standard Price Book", "true", "true"]),
            row(&["01sA2", "EU", "false", "true"]),
        ]);
        let target = price_books(&[row(&["01sB1", "Standard", "true", "true"]), row(&["01sB2", "eu", "false", "false"])]);
        let result = matched(&source, &target);
        assert_eq!((result.ids["01sA1"].as_str(), result.ids["01sA2"].as_str()), ("01sB1", "01sB2"));
    }
}
