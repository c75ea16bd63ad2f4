//! Which API reads or writes so many records with the fewest requests and the least waiting. Pure.
//!
//! Sources of the figures: REST API Developer Guide, "Query" (2,000 records a page, 200 where two custom long texts are
//! selected) and "sObject Collections" (200 records a call); Bulk API 2.0 Developer Guide, "Requests" (the calls of a job)
//! and its introduction, which names 2,000 records as the size from which bulk pays.

use syncline_connect::Operation;
use syncline_domain::describe::FieldType;
use syncline_domain::plan::FieldPlan;

/// From here on bulk, says the guide.
pub const BULK_RECORDS_MIN: u64 = 2_000;
/// Records of one page of a query.
pub const QUERY_PAGE_RECORDS: u64 = 2_000;
/// The same where several long texts are selected.
pub const QUERY_PAGE_RECORDS_LONG: u64 = 200;
/// Long texts that make pages short.
const LONG_TEXTS_MIN: usize = 2;
/// Texts beyond this are kept apart by the platform, and count as long.
const LONG_TEXT_CHARACTERS_MIN: u32 = 256;
/// Create, poll at least once, one page of results, delete.
pub const BULK_QUERY_CALLS_MIN: u64 = 4;
/// Create, upload, close, poll at least once, three result files, delete.
pub const BULK_INGEST_CALLS_MIN: u64 = 8;
/// Records of one sObject Collections call.
pub const COLLECTION_RECORDS_MAX: usize = 200;

/// How records are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Pages of a REST query: an answer at once, nothing to poll.
    Query,
    /// A Bulk query job.
    Bulk,
}

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// sObject Collections: outcomes in the answer, and none if the answer is lost.
    Collections,
    /// A Bulk ingest job: outcomes for seven days.
    Bulk,
}

/// How to read `records` records with these fields; `None` when nobody counted them.
#[must_use]
pub fn read(records: Option<u64>, fields: &[FieldPlan]) -> Read {
    let Some(records) = records.filter(|n| *n <= BULK_RECORDS_MIN) else {
        return Read::Bulk;
    };
    if query_calls(records, fields) <= BULK_QUERY_CALLS_MIN {
        Read::Query
    } else {
        Read::Bulk
    }
}

/// Requests of a reading by pages: its pages, and one that counts them at the moment of reading.
#[must_use]
pub fn query_calls(records: u64, fields: &[FieldPlan]) -> u64 {
    let long = |f: &&FieldPlan| f.field_type == FieldType::TextArea && f.length >= LONG_TEXT_CHARACTERS_MIN;
    let page = if fields.iter().filter(long).count() >= LONG_TEXTS_MIN {
        QUERY_PAGE_RECORDS_LONG
    } else {
        QUERY_PAGE_RECORDS
    };
    1 + records.div_ceil(page).max(1)
}

/// How to write `records` records. `settles`: the caller must be able to learn after a crash what became of them. Then
/// only what may be repeated without doing something twice can go by collections, because a lost answer is lost.
#[must_use]
pub fn write(records: u64, operation: &Operation, settles: bool) -> Write {
    let repeatable = match operation {
        Operation::Insert => false,
        Operation::Update | Operation::Upsert { .. } | Operation::Delete => true,
        // There is no hard delete by REST.
        Operation::HardDelete => return Write::Bulk,
    };
    let calls = records.div_ceil(COLLECTION_RECORDS_MAX as u64);
    if calls < BULK_INGEST_CALLS_MIN && records < BULK_RECORDS_MIN && (repeatable || !settles) {
        Write::Collections
    } else {
        Write::Bulk
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use syncline_domain::FieldName;
    use syncline_domain::plan::FieldRole;

    use super::*;

    fn texts(lengths: &[u32]) -> Vec<FieldPlan> {
        let field = |length: &u32| FieldPlan {
            name: FieldName::new("Notes__c").unwrap(),
            target: FieldName::new("Notes__c").unwrap(),
            field_type: FieldType::TextArea,
            length: *length,
            precision: 0,
            scale: 0,
            nillable: true,
            unique: false,
            updateable: true,
            role: FieldRole::Value,
            mask: None,
        };
        lengths.iter().map(field).collect()
    }

    #[test]
    fn few_records_are_read_by_pages_and_many_by_a_job() {
        for (records, lengths, how) in [
            (Some(0), &[][..], Read::Query),
            (Some(2_000), &[], Read::Query),
            (Some(2_001), &[], Read::Bulk),
            (None, &[], Read::Bulk),
            (Some(2_000), &[32_000], Read::Query),
            (Some(2_000), &[255, 255, 255], Read::Query),
            // Three short pages and a count are as many calls as a job, four pages are more.
            (Some(600), &[32_000, 32_000], Read::Query),
            (Some(601), &[32_000, 32_000], Read::Bulk),
        ] {
            assert_eq!(read(records, &texts(lengths)), how, "{records:?} {lengths:?}");
        }
    }

    #[test]
    fn what_has_to_be_settled_is_written_by_a_job_unless_it_may_be_repeated() {
        let upsert = Operation::Upsert {
            key: FieldName::new("Key__c").unwrap(),
        };
        for (records, operation, settles, how) in [
            (1, Operation::Insert, true, Write::Bulk),
            (1, Operation::Insert, false, Write::Collections),
            (200, upsert.clone(), true, Write::Collections),
            (1_400, Operation::Update, true, Write::Collections),
            (1_401, Operation::Update, true, Write::Bulk),
            (1_401, upsert, false, Write::Bulk),
            (200, Operation::Delete, true, Write::Collections),
            (1, Operation::HardDelete, false, Write::Bulk),
        ] {
            assert_eq!(write(records, &operation, settles), how, "{records} {operation:?} {settles}");
        }
    }
}
