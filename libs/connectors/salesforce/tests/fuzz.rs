//! Whatever comes in, the connector's readers and its query builder give a value or an error. Properties run for a bounded
//! number of cases with every test run; a failing case is printed.
#![allow(clippy::unwrap_used)]

mod script;

use std::collections::VecDeque;

use arrow_array::RecordBatch;
use proptest::prelude::*;
use syncline_connect::{Query, ResultKind, RowDigester, Source};
use syncline_domain::ErrorCode;
use syncline_domain::describe::FieldType;
use syncline_salesforce::csv_read::PageDecoder;
use syncline_salesforce::results::ResultDecoder;
use syncline_salesforce::soql;
use syncline_salesforce_simulator::{Org, OrgConfig};

use script::org::{column, object, query};

/// Any page at all: rows or an error, and the same whatever the chunks.
fn decode(body: &[u8], rows: u64, first: bool, chunk: usize) -> Result<Vec<RecordBatch>, (ErrorCode, String)> {
    let fields = [
        ("Id", FieldType::Id),
        ("N", FieldType::Number),
        ("I", FieldType::Int),
        ("L", FieldType::Long),
        ("D", FieldType::Date),
        ("T", FieldType::DateTime),
        ("C", FieldType::Time),
        ("B", FieldType::Boolean),
    ];
    let mut decoder = PageDecoder::new(&query(&fields), first, rows);
    let mut out = VecDeque::new();
    let mut outcome = body.chunks(chunk).try_for_each(|c| decoder.push(c, &mut out));
    outcome = outcome.and_then(|()| decoder.finish(&mut out));
    outcome.map(|()| out.into()).map_err(|e| (e.code, e.message))
}

fn typed_cell() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "-?[0-9]{0,40}(\\.[0-9]{0,40})?([eE][+-]?[0-9]{1,12})?",
        "[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?(Z|[+-][0-9]{4}|[+-][0-9]{2}:[0-9]{2})?)?",
        "[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{3})?Z?",
        "-?[0-9]{5,9}-[0-9]{2}-[0-9]{2}",
        Just("true".to_owned()),
    ]
}

proptest! {
    #[test]
    fn any_bytes_as_a_page_give_rows_or_an_error_and_never_a_panic(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            "(\"Id\",\"N\",\"I\",\"L\",\"D\",\"T\",\"C\",\"B\"\r?\n)?(\"[a1\r\n]?\",?|\"\"|,|\r?\n|#N/A){0,60}".prop_map(String::into_bytes),
        ],
        rows in 0_u64..4,
        first in any::<bool>(),
        chunk in 1_usize..30,
    ) {
        prop_assert_eq!(decode(&body, rows, first, chunk), decode(&body, rows, first, usize::MAX));
    }

    #[test]
    fn any_cell_is_a_value_a_null_or_an_error_that_names_row_and_column(cells in prop::collection::vec(typed_cell(), 8)) {
        let quoted: Vec<String> = cells.iter().map(|c| format!("\"{}\"", c.replace('"', "\"\""))).collect();
        let body = format!("Id,N,I,L,D,T,C,B\n{}\n", quoted.join(","));
        match decode(body.as_bytes(), 1, true, 7) {
            Ok(batches) => prop_assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1),
            Err((code, message)) => {
                prop_assert_eq!(code, ErrorCode::DataFormat);
                prop_assert!(message.starts_with("row 1 of the page, column "), "{}", message);
            }
        }
    }

    #[test]
    fn any_bytes_as_results_give_rows_or_an_error_and_never_a_panic(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            "(\"sf__Id\",\"sf__Error\",Name\n)?(\"[A-Z:-]{0,9}\",?|,|\n){0,40}".prop_map(String::into_bytes),
        ],
        chunk in 1_usize..30,
    ) {
        let read = |chunk: usize| {
            let mut decoder = ResultDecoder::new(ResultKind::Failed, &[column("Name", FieldType::String)], &RowDigester::new([1; 32]));
            decoder.read(body.chunks(chunk)).map_err(|e| (e.code, e.message))
        };
        prop_assert_eq!(read(chunk), read(usize::MAX));
    }
}

/// Conditions as people and attackers write them.
fn condition() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("Name != null"),
        Just("Industry = 'Banking'"),
        Just("Name LIKE '%a_'"),
        Just("NumberOfEmployees > 10"),
        Just("CreatedDate = TODAY"),
        Just("Id IN (SELECT AccountId FROM Contact)"),
        Just("Name = ')\\' OR ('"),
        Just(" OR "),
        Just(" AND "),
        Just("NOT "),
        Just("("),
        Just(")"),
        Just("'"),
        Just("\\"),
        Just("\\'"),
        Just("--"),
        Just("/*"),
        Just(" LIMIT 1"),
        Just(" GROUP BY Name"),
        Just(" ALL ROWS"),
        Just("\n"),
    ];
    prop_oneof![
        4 => prop::collection::vec(part, 1..8).prop_map(|parts| parts.concat()),
        1 => "[ -~]{0,40}",
        1 => any::<String>(),
    ]
}

fn with_filter(filter: &str) -> Query {
    Query {
        filter: Some(filter.to_owned()),
        created_before: Some("1970-01-01T00:00:00Z".parse().unwrap()),
        ..query(&[("Id", FieldType::Id), ("Name", FieldType::String)])
    }
}

/// Whether the parentheses that open before `at` are closed at `at`, by somebody else's count: strings are cut out first.
fn depth_at(soql: &str, at: usize) -> i32 {
    let mut depth = 0;
    let mut rest = soql.get(..at).unwrap_or_default();
    while let Some(next) = rest.find(['(', ')', '\'']) {
        let (_, tail) = rest.split_at(next);
        let mut tail = tail.chars();
        match tail.next() {
            Some('(') => depth += 1,
            Some(')') => depth -= 1,
            _ => {
                while let Some(c) = tail.next() {
                    match c {
                        '\\' => drop(tail.next()),
                        '\'' => break,
                        _ => {}
                    }
                }
            }
        }
        rest = tail.as_str();
    }
    depth
}

proptest! {
    #[test]
    fn a_condition_stays_where_it_was_put_or_is_refused(filter in condition()) {
        let trimmed = filter.trim();
        match soql::select(&with_filter(&filter)) {
            Ok(text) if trimmed.is_empty() => {
                prop_assert_eq!(text, "SELECT Id, Name FROM Account WHERE CreatedDate < 1970-01-01T00:00:00Z");
            }
            Ok(text) => {
                let head = "SELECT Id, Name FROM Account WHERE (";
                let tail = ") AND CreatedDate < 1970-01-01T00:00:00Z";
                prop_assert_eq!(&text, &format!("{head}{trimmed}{tail}"));
                prop_assert_eq!(depth_at(&text, head.len() + trimmed.len()), 1);
                // It never closes more than it opened on the way.
                for (at, _) in trimmed.char_indices() {
                    prop_assert!(depth_at(&text, head.len() + at) >= 1);
                }
                prop_assert_eq!(depth_at(&text, text.len()), 0);
            }
            Err(e) => prop_assert_eq!(e.code, ErrorCode::Query),
        }
    }

    #[test]
    fn names_of_fields_are_names_or_refused(path in prop_oneof!["[A-Za-z_.]{0,12}", "[ -~]{0,12}", any::<String>()]) {
        if let Ok(text) = soql::lookup(&object("Account"), &[&path], None) {
            prop_assert_eq!(&text, &format!("SELECT {path} FROM Account"));
            prop_assert!(path.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.'));
        }
    }
}

/// An org of records all newer than the bound: whatever the condition says, none may be counted.
#[test]
fn no_condition_undoes_the_one_beside_it() {
    let org = Org::start(OrgConfig {
        scale: Some(300),
        ..OrgConfig::default()
    })
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let salesforce = script::org::connect_as(org.url.clone(), &org.token);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(600));
    let counted = std::cell::Cell::new(0);
    let outcome = runner.run(&condition(), |filter| {
        match runtime.block_on(salesforce.count(&with_filter(&filter))) {
            Ok(found) => {
                counted.set(counted.get() + 1);
                prop_assert_eq!(found, 0, "{}", filter);
            }
            Err(e) => prop_assert!(!e.can_retry(), "{}: {}", filter, e),
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(counted.get() > 5, "some conditions must have been good ones");
}
