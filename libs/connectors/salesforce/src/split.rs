//! An object cut into ranges of its ids that hold about equally many records, for readings that would take too long in
//! one piece.
//!
//! Ids are numbers in base 62 behind the object's prefix and sort like them, which is how the platform's own PK chunking
//! cuts (Bulk API 1.0, "PK Chunking Header"). Ids of several pods leave wide gaps, so ranges are halved by number but
//! chosen by count. The first and the last range are open: no record is left out, whenever it came.

use serde::Deserialize;
use syncline_connect::ConnectError;
use syncline_domain::ErrorCode;
use syncline_domain::ObjectName;

use crate::client::{Client, Request};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The object's prefix.
const PREFIX: usize = 3;
/// What an id is without the suffix that guards its letters' case.
const ID: usize = 15;
/// Ranges that a reading is cut into at most.
pub const PARTS_MAX: u32 = 64;
/// Counts that are asked for per part at most; a gap costs one.
const COUNTS_PER_PART_MAX: u32 = 8;

/// A half-open range of ids; `None` is no bound.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdRange {
    pub from: Option<String>,
    pub before: Option<String>,
}

impl IdRange {
    /// The condition; `None` for everything.
    #[must_use]
    pub fn condition(&self) -> Option<String> {
        let from = self.from.as_ref().map(|id| format!("Id >= '{id}'"));
        let before = self.before.as_ref().map(|id| format!("Id < '{id}'"));
        match (from, before) {
            (Some(a), Some(b)) => Some(format!("{a} AND {b}")),
            (a, b) => a.or(b),
        }
    }
}

/// A range of numbers, and the records in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    from: u128,
    before: u128,
    records: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    total_size: u64,
    #[serde(default)]
    records: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "Id")]
    id: String,
}

/// Cuts `object` into `parts` ranges, fewer where there are too few records.
pub(crate) async fn ranges(client: &Client, object: &ObjectName, parts: u32) -> Result<Vec<IdRange>, ConnectError> {
    let end = async |order: &str| -> Result<Option<String>, ConnectError> {
        let soql = format!("SELECT Id FROM {object} ORDER BY Id {order} LIMIT 1");
        let answer: Answer = client.json(&Request::get("query").with("q", soql)).await?;
        Ok(answer.records.into_iter().next().map(|r| r.id))
    };
    let (Some(first), Some(last)) = (end("ASC").await?, end("DESC").await?) else {
        return Ok(vec![IdRange::default()]);
    };
    let (Some(prefix), Some(from), Some(last)) = (first.get(..PREFIX), number(&first), number(&last)) else {
        return Err(ConnectError::new(ErrorCode::BadAnswer, format!("{object} has ids that are none")));
    };
    let parts = parts.clamp(1, PARTS_MAX);
    let mut asked = 0;
    let mut pieces = vec![Piece {
        from,
        before: last + 1,
        records: u64::MAX,
    }];
    while pieces.len() < parts as usize && asked < parts * COUNTS_PER_PART_MAX {
        let Some(at) = widest(&pieces) else { break };
        let piece = pieces.swap_remove(at);
        let middle = piece.from + (piece.before - piece.from) / 2;
        let half = |from: u128, before: u128| IdRange {
            from: Some(id(prefix, from)),
            before: Some(id(prefix, before)),
        };
        let mut halves = Vec::new();
        for (from, before) in [(piece.from, middle), (middle, piece.before)] {
            let range = half(from, before);
            let records = count(client, object, &range, piece.records / 2).await?;
            asked += 1;
            halves.push(Piece { from, before, records });
        }
        // A half with nothing in it is no part: the other one takes its ids.
        match halves.iter().position(|h| h.records == 0) {
            Some(0) => pieces.extend(halves.get(1).map(|h| Piece { from: middle, ..*h })),
            Some(_) => pieces.extend(halves.first().copied()),
            None => pieces.append(&mut halves),
        }
    }
    pieces.sort_unstable_by_key(|p| p.from);
    // Each range reaches to the next one's beginning, over gaps; the first and the last are open.
    let starts: Vec<String> = pieces.iter().skip(1).map(|p| id(prefix, p.from)).collect();
    let from = std::iter::once(None).chain(starts.iter().cloned().map(Some));
    let before = starts.iter().cloned().map(Some).chain(std::iter::once(None));
    Ok(from.zip(before).map(|(from, before)| IdRange { from, before }).collect())
}

/// The piece with the most records that can be halved.
fn widest(pieces: &[Piece]) -> Option<usize> {
    let can = |p: &Piece| p.before - p.from > 1 && p.records > 1;
    pieces
        .iter()
        .enumerate()
        .filter(|(_, p)| can(p))
        .max_by_key(|(_, p)| p.records)
        .map(|(at, _)| at)
}

/// Records in a range. Where even counting takes too long, half of what is around it is believed.
async fn count(client: &Client, object: &ObjectName, range: &IdRange, believed: u64) -> Result<u64, ConnectError> {
    let condition = range.condition().map(|c| format!(" WHERE {c}")).unwrap_or_default();
    let soql = format!("SELECT COUNT() FROM {object}{condition}");
    match client.json::<Answer>(&Request::get("query").with("q", soql)).await {
        Ok(answer) => Ok(answer.total_size),
        Err(e) if e.code == ErrorCode::TooMuch => Ok(believed),
        Err(e) => Err(e),
    }
}

/// An id's number behind its prefix.
fn number(id: &str) -> Option<u128> {
    id.as_bytes().get(PREFIX..ID)?.iter().try_fold(0_u128, |n, c| {
        let digit = DIGITS.iter().position(|d| d == c)?;
        Some(n * 62 + digit as u128)
    })
}

/// The id, with its suffix: the platform compares ids of either length, others do not.
fn id(prefix: &str, mut number: u128) -> String {
    let mut digits = [b'0'; ID - PREFIX];
    for digit in digits.iter_mut().rev() {
        let at = usize::try_from(number % 62).unwrap_or_default();
        *digit = DIGITS.get(at).copied().unwrap_or(b'0');
        number /= 62;
    }
    let short: String = prefix.chars().chain(digits.iter().map(|d| char::from(*d))).collect();
    let suffix = suffix(&short);
    short + &suffix
}

/// Which letters are capitals, five to a character (Salesforce help, "15- and 18-character record ids").
fn suffix(short: &str) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    short
        .as_bytes()
        .chunks(5)
        .map(|five| {
            let bits = five
                .iter()
                .enumerate()
                .map(|(at, c)| usize::from(c.is_ascii_uppercase()) << at)
                .sum::<usize>();
            char::from(LETTERS.get(bits).copied().unwrap_or(b'A'))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn ids_are_numbers_and_back_with_their_suffix() {
        for whole in ["0012000001Hz7YdAAJ", "001D000000IRFmaIAH", "001000000000000AAA"] {
            let n = number(whole).unwrap();
            assert_eq!(id("001", n), whole);
            assert!(id("001", n + 1) > id("001", n));
        }
        assert_eq!(number("001short"), None);
        assert_eq!(number("001-0000000000A"), None);
    }

    #[test]
    fn conditions_name_the_bounds_that_there_are() {
        let range = |from: Option<&str>, before: Option<&str>| {
            IdRange {
                from: from.map(Into::into),
                before: before.map(Into::into),
            }
            .condition()
        };
        assert_eq!(range(None, None), None);
        assert_eq!(range(Some("a"), None).as_deref(), Some("Id >= 'a'"));
        assert_eq!(range(None, Some("b")).as_deref(), Some("Id < 'b'"));
        assert_eq!(range(Some("a"), Some("b")).as_deref(), Some("Id >= 'a' AND Id < 'b'"));
    }
}
