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
    /// What it is called in messages; empty for people.
    pub label: String,
    /// Names in the order in which they are tried, the surest first.
    pub names: Vec<K>,
    pub active: bool,
}

/// Why an id of the source has no counterpart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Matches entries by their names; of a name that several have, by the one that is active.
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
        let mut active = found.iter().filter(|e| e.active);
        match (active.next(), active.next()) {
            _ if found.is_empty() => {}
            (None, _) => why = Unmatched::Inactive,
            (Some(one), None) if here.get(name) == Some(&1) => return Ok(one.id.clone()),
            // Another name may still tell them apart.
            (Some(_), _) => why = Unmatched::Ambiguous,
        }
    }
    Err(why)
}

/// As SOQL compares texts: without regard to letter case.
fn fold(text: &str) -> String {
    text.to_lowercase()
}

type Row = Vec<Option<String>>;

/// Fields of the look-up that [`record_types`] reads.
pub const RECORD_TYPE_FIELDS: &[&str] = &["Id", "SobjectType", "NamespacePrefix", "DeveloperName", "IsActive"];
/// Fields of the look-up that [`users`] and [`successors`] read.
pub const USER_FIELDS: &[&str] = &["Id", "FederationIdentifier", "Username", "IsActive"];
/// Fields of the look-up that [`queues`] reads, with [`QUEUE_FILTER`].
pub const QUEUE_FIELDS: &[&str] = &["Id", "DeveloperName"];
pub const QUEUE_FILTER: &str = "Type = 'Queue'";
/// Fields of the look-up that [`price_books`] reads.
pub const PRICE_BOOK_FIELDS: &[&str] = &["Id", "Name", "IsStandard"];

/// A record type's name. A developer name alone is not unique: person accounts have one on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RecordTypeName {
    /// As the org spells it.
    pub object: String,
    namespace: String,
    developer_name: String,
}

#[must_use]
pub fn record_types(rows: &[Row]) -> Vec<Entry<RecordTypeName>> {
    entries(rows, |row| {
        let developer_name = text(row, 3)?;
        let name = RecordTypeName {
            object: text(row, 1)?,
            namespace: fold(&text(row, 2).unwrap_or_default()),
            developer_name: fold(&developer_name),
        };
        Some((developer_name, vec![name], flag(row, 4)))
    })
}

/// Which of a user's names says who they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UserName {
    Federation(String),
    Username(String),
    /// A username without what a sandbox appends to production's.
    Before(String),
}

/// Users of the source: by federation id, then username, then the username to which a sandbox of theirs appended.
#[must_use]
pub fn users(rows: &[Row]) -> Vec<Entry<UserName>> {
    user_entries(rows, |username| vec![UserName::Before(username.to_owned())])
}

/// Users of the target. A sandbox appends to usernames, `ann@x.com` becomes `ann@x.com.uat`, and nobody says what; so
/// every beginning of theirs that still is a username may be the original.
#[must_use]
pub fn successors(rows: &[Row]) -> Vec<Entry<UserName>> {
    user_entries(rows, |username| {
        let beginnings = username.match_indices('.').filter_map(|(at, _)| username.get(..at));
        beginnings
            .filter(|b| b.contains('@'))
            .map(|b| UserName::Before(b.to_owned()))
            .collect()
    })
}

fn user_entries(rows: &[Row], before: impl Fn(&str) -> Vec<UserName>) -> Vec<Entry<UserName>> {
    entries(rows, |row| {
        let username = fold(&text(row, 2)?);
        let before = before(&username);
        let federation = text(row, 1).filter(|f| !f.is_empty()).map(UserName::Federation);
        let names = federation.into_iter().chain([UserName::Username(username)]).chain(before);
        Some((String::new(), names.collect(), flag(row, 3)))
    })
}

#[must_use]
pub fn queues(rows: &[Row]) -> Vec<Entry<String>> {
    entries(rows, |row| {
        let name = text(row, 1)?;
        Some((name.clone(), vec![fold(&name)], true))
    })
}

/// Which price book it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PriceBookName {
    /// There is one in every org, whatever it is called.
    Standard,
    Named(String),
}

/// An inactive price book still holds prices.
#[must_use]
pub fn price_books(rows: &[Row]) -> Vec<Entry<PriceBookName>> {
    entries(rows, |row| {
        let name = text(row, 1).unwrap_or_default();
        let key = if flag(row, 2) {
            PriceBookName::Standard
        } else {
            PriceBookName::Named(fold(&name))
        };
        Some((name, vec![key], true))
    })
}

fn entries<K>(rows: &[Row], read: impl Fn(&Row) -> Option<(String, Vec<K>, bool)>) -> Vec<Entry<K>> {
    rows.iter()
        .filter_map(|row| {
            let id = text(row, 0)?;
            let (label, names, active) = read(row)?;
            Some(Entry { id, label, names, active })
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
        let source = users(&[
            row(&["005A1", "F1", "ann@x.com", "true"]),
            row(&["005A2", "", "Bob@x.com", "true"]),
            row(&["005A3", "", "cyd@x.com", "true"]),
            row(&["005A4", "", "dan@x.com", "true"]),
            row(&["005A5", "", "eve@x.com", "true"]),
            row(&["005A6", "", "fay@x.com", "true"]),
            row(&["005A7", "", "gus@x.com", "true"]),
        ]);
        let target = successors(&[
            row(&["005B1", "F1", "other@x.com.uat", "true"]),
            row(&["005B2", "", "bob@x.com.UAT", "true"]),
            row(&["005B3", "", "cyd@x.com", "true"]),
            row(&["005X3", "", "cyd@x.com.uat", "true"]),
            row(&["005B4", "", "dan@x.com.uat", "true"]),
            row(&["005X4", "", "dan@x.com.second", "true"]),
            row(&["005B5", "", "eve@x.com.uat", "false"]),
            row(&["005B6", "", "fay@x.org", "true"]),
            row(&["005B7", "", "gus@x.com.uat", "true"]),
            row(&["005X7", "", "gus@x.com.old", "false"]),
        ]);
        let result = matched(&source, &target);
        for (from, to) in [("005A1", "005B1"), ("005A2", "005B2"), ("005A3", "005B3"), ("005A7", "005B7")] {
            assert_eq!(result.ids.get(from).map(String::as_str), Some(to), "{from}");
        }
        // Either may be the one.
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

        let source = price_books(&[row(&["01sA1", "Standard Price Book", "true"]), row(&["01sA2", "EU", "false"])]);
        let target = price_books(&[row(&["01sB1", "Standard", "true"]), row(&["01sB2", "eu", "false"])]);
        let result = matched(&source, &target);
        assert_eq!((result.ids["01sA1"].as_str(), result.ids["01sA2"].as_str()), ("01sB1", "01sB2"));
    }
}
