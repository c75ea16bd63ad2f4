//! What an insert job wrote whose results are gone: a job and its results are kept for days only, and anybody may delete them.
//!
//! Its rows are looked for among all records that its user created since it was made, by the digests that the journal has of
//! them. That a row is *not* there is believed only if nothing else is unexplained: a record of that time that is
//! neither in the ledger nor like a row of some open entry may be one of ours whose values the platform, or
//! somebody, has changed. Then nothing is concluded, and the object stops. Nothing is inserted on doubt.
//!
//! The window has no end, because nobody can say when the job ended; while its entry is open nothing else is written over the
//! link, and what other links wrote is explained by their entries and the ledger.

use std::collections::{HashMap, HashSet};

use arrow_array::cast::AsArray;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use syncline_connect::digest::{ROW_DIGEST_BYTES, RowDigest};
use syncline_connect::{Column, ConnectError, Source, Target};
use syncline_domain::ErrorCode;
use syncline_runtime::StageError;

use crate::context::Context;
use crate::results::Outcomes;
use crate::steps::building::read_digests;
use crate::store;
use crate::store::journal::EntryRow;

/// Times are of the target's clock, which is that of many machines, and may be whole seconds.
const MARGIN: TimeDelta = TimeDelta::minutes(2);
/// Where a sync sets these itself, they do not tell what the job made.
const AUDIT_FIELDS: [&str; 2] = ["CreatedDate", "CreatedById"];
/// Records that are held at a time.
const RECORDS_MAX: usize = 4_000;

/// A record of the window that the ledger does not have.
struct Found {
    id: String,
    /// Over the entry's columns; none where the record is deleted.
    digest: Option<RowDigest>,
    /// It is like a row of another open entry.
    elsewhere: bool,
}

/// Why it cannot be told what the job wrote.
#[derive(Debug, PartialEq, Eq)]
enum Unclear {
    /// Records that are like more rows than there are, or like rows of several entries.
    Surplus { records: usize },
    /// Rows that were not found, beside records that nothing explains.
    Unexplained { rows: usize, records: usize },
}

/// Finds what became of every row of an insert job that the target has forgotten.
///
/// # Errors
/// `SYSTEM_RESULTS_001` when that cannot be told for certain.
pub async fn outcomes(context: &Context, row: &EntryRow, job: &str) -> Result<Outcomes, StageError> {
    let since = beginning(context, row).await.map_err(|why| why.of(context, row, job))?;
    let found = found(context, row, since).await.map_err(|why| why.of(context, row, job))?;
    let assigned = assign(&row.digests, &found).map_err(|unclear| {
        let since = since.to_rfc3339_opts(SecondsFormat::Secs, true);
        Doubt::Why(match unclear {
            Unclear::Surplus { records } => format!("{records} records that its user created since {since} may be its rows, or may not"),
            Unclear::Unexplained { rows, records } => format!(
                "{rows} of its rows are not among the records that its user created since {since}, and {records} of these (deleted ones \
                 included) belong to no row that is known"
            ),
        })
        .of(context, row, job)
    })?;
    let mut out = Outcomes::default();
    for (index, (digest, id)) in digests(&row.digests).zip(assigned).enumerate() {
        match id {
            Some(id) => out.write(row, index, digest, id.to_owned(), true),
            None => out.unprocessed += 1,
        }
    }
    out.written.sort();
    tracing::warn!(
        job,
        object = %context.name(),
        written = out.written.source_keys.len(),
        not_written = out.unprocessed,
        "the results of a job are gone; its rows were found by creator and time"
    );
    Ok(out)
}

/// What keeps the answer from being known.
enum Doubt {
    Why(String),
    /// Not now; later perhaps.
    Error(StageError),
}

impl Doubt {
    fn of(self, context: &Context, row: &EntryRow, job: &str) -> StageError {
        match self {
            Self::Error(error) => error,
            Self::Why(why) => StageError::new(
                ErrorCode::ResultsGone,
                format!(
                    "job {job} of {} is no longer known to the target, and nobody can tell which of its {} rows were inserted: {why}",
                    context.name(),
                    row.source_keys.len()
                ),
            ),
        }
    }
}

impl From<ConnectError> for Doubt {
    fn from(error: ConnectError) -> Self {
        match error.can_retry() {
            true => Self::Error(error.into()),
            false => Self::Why(format!("the records of that time cannot be read ({error})")),
        }
    }
}

impl From<StageError> for Doubt {
    fn from(error: StageError) -> Self {
        Self::Error(error)
    }
}

impl From<sqlx::Error> for Doubt {
    fn from(error: sqlx::Error) -> Self {
        Self::Error(error.into())
    }
}

/// When the window begins; an error where creator and time do not lead to the job's records.
async fn beginning(context: &Context, row: &EntryRow) -> Result<DateTime<Utc>, Doubt> {
    let (Some(created), Some(creator)) = (row.job_created, &row.job_creator) else {
        return Err(Doubt::Why("its entry does not say when and as whom it was made".to_owned()));
    };
    // Another user may not see what this one wrote.
    if !context.target.works_as(creator).await? {
        return Err(Doubt::Why("the connection works as another user by now".to_owned()));
    }
    if row.columns.iter().any(|c| AUDIT_FIELDS.contains(&c.name.as_str())) {
        return Err(Doubt::Why("the sync sets creator or time of creation itself".to_owned()));
    }
    Ok(created - MARGIN)
}

/// Records of the window that the ledger does not have. What is open is asked for before the ledger, or an entry that is settled
/// in between would be in neither.
async fn found(context: &Context, row: &EntryRow, since: DateTime<Utc>) -> Result<Vec<Found>, Doubt> {
    let db = &context.platform.db;
    let records = context.target.created(context.target_object(), since, None).await?;
    let beside = store::journal::beside(db, row.entry).await?;
    let ids = store::ledger::unknown_targets(db, row.link, records.into_iter().map(|r| r.id).collect()).await?;
    let mut columns: Vec<Column> = Vec::new();
    for column in beside.iter().flat_map(|b| &b.columns).chain(&row.columns) {
        if !columns.iter().any(|c| c.name == column.name) {
            columns.push(column.clone());
        }
    }
    let others: Vec<HashSet<RowDigest>> = beside.iter().map(|b| digests(&b.digests).collect()).collect();
    let mut found = Vec::with_capacity(ids.len());
    for ids in ids.chunks(RECORDS_MAX) {
        let records = context.target.retrieve(context.target_object(), ids, &columns).await?;
        let mut read: HashMap<&str, (RowDigest, bool)> = HashMap::with_capacity(ids.len());
        let column = records.column_by_name("Id").and_then(|c| c.as_string_opt::<i32>());
        let column = column.ok_or_else(|| StageError::new(ErrorCode::Internal, "records were retrieved without ids"))?;
        for (id, digest) in column.iter().zip(read_digests(context, &row.columns, &records)?) {
            read.extend(id.map(|id| (id, (digest, false))));
        }
        for (other, theirs) in beside.iter().zip(&others) {
            for (id, digest) in column.iter().zip(read_digests(context, &other.columns, &records)?) {
                if let Some((_, elsewhere)) = id.and_then(|id| read.get_mut(id)) {
                    *elsewhere |= theirs.contains(&digest);
                }
            }
        }
        found.extend(ids.iter().map(|id| Found {
            id: id.clone(),
            digest: read.get(id.as_str()).map(|(digest, _)| *digest),
            elsewhere: read.get(id.as_str()).is_some_and(|(_, elsewhere)| *elsewhere),
        }));
    }
    Ok(found)
}

fn digests(packed: &[u8]) -> impl Iterator<Item = RowDigest> {
    packed.chunks_exact(ROW_DIGEST_BYTES).filter_map(|d| d.try_into().ok())
}

/// The record of every row, by digest; rows that are equal in all columns are interchangeable. A row without one was not written.
fn assign<'a>(rows: &[u8], found: &'a [Found]) -> Result<Vec<Option<&'a str>>, Unclear> {
    let mut count: HashMap<RowDigest, usize> = HashMap::new();
    digests(rows).for_each(|d| *count.entry(d).or_default() += 1);
    let mut records: HashMap<RowDigest, Vec<&str>> = HashMap::new();
    let (mut unexplained, mut shared) = (0, 0);
    for record in found {
        match record.digest.filter(|d| count.contains_key(d)) {
            Some(_) if record.elsewhere => shared += 1,
            Some(digest) => records.entry(digest).or_default().push(&record.id),
            None if record.elsewhere => {}
            None => unexplained += 1,
        }
    }
    let surplus = records
        .iter()
        .map(|(d, ids)| ids.len().saturating_sub(count.get(d).copied().unwrap_or(0)));
    let surplus = shared + surplus.sum::<usize>();
    if surplus > 0 {
        return Err(Unclear::Surplus { records: surplus });
    }
    let assigned: Vec<Option<&str>> = digests(rows).map(|d| records.get_mut(&d).and_then(Vec::pop)).collect();
    match assigned.iter().filter(|id| id.is_none()).count() {
        rows @ 1.. if unexplained > 0 => Err(Unclear::Unexplained {
            rows,
            records: unexplained,
        }),
        _ => Ok(assigned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(names: &str) -> Vec<u8> {
        names.bytes().flat_map(|name| [name; ROW_DIGEST_BYTES]).collect()
    }

    /// One record per letter; in upper case it is like another entry's row as well, `-` is one that is deleted.
    fn records(names: &str) -> Vec<Found> {
        let record = |(place, name): (usize, char)| Found {
            id: format!("{}{place}", name.to_ascii_lowercase()),
            digest: (name != '-').then(|| [name.to_ascii_lowercase() as u8; ROW_DIGEST_BYTES]),
            elsewhere: name.is_ascii_uppercase(),
        };
        names.chars().enumerate().map(record).collect()
    }

    #[test]
    fn rows_are_written_or_not_or_it_is_unclear() {
        let unexplained = |rows, records| Err(Unclear::Unexplained { rows, records });
        let surplus = |records| Err(Unclear::Surplus { records });
        for (sent, there, expected) in [
            ("abc", "cab", Ok("a1 b2 c0")),
            ("abc", "", Ok("- - -")),
            ("abc", "b", Ok("- b0 -")),
            // Equal rows: as many as there are records.
            ("aab", "aba", Ok("a2 a0 b1")),
            ("aaa", "a", Ok("a0 - -")),
            // Nothing hangs on a record that nothing explains, once every row has its own.
            ("ab", "axb", Ok("a0 b2")),
            ("ab", "a-b", Ok("a0 b2")),
            ("ab", "ax", unexplained(1, 1)),
            ("ab", "-", unexplained(2, 1)),
            // Another entry explains what is like its rows, unless it is like ours, too.
            ("ab", "aX", Ok("a0 -")),
            ("ab", "aB", surplus(1)),
            ("ab", "aab", surplus(1)),
        ] {
            let (sent, found) = (rows(sent), records(there));
            let assigned = assign(&sent, &found).map(|ids| ids.into_iter().map(|id| id.unwrap_or("-")).collect::<Vec<_>>().join(" "));
            assert_eq!(assigned, expected.map(str::to_owned), "{there}");
        }
    }
}
