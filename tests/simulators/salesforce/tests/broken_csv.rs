//! Uploads whose quotes do not close: the job fails and says where, what came before is kept.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use serde_json::{Value, json};
use support::{get, ingest, org, v65};
use syncline_salesforce_simulator::OrgConfig;

fn message(job: &Value) -> (&str, &str) {
    (job["state"].as_str().unwrap(), job["errorMessage"].as_str().unwrap_or_default())
}

#[test]
fn a_misplaced_quote_fails_the_job_with_row_and_byte() {
    for (row, at, why) in [
        ("\"b\"x\",2\n", 3, "text behind a closing quote"),
        ("b\"x,2\n", 1, "a quote inside a cell that does not begin with one"),
        ("\"b\n\"c\",2\n", 4, "text behind a closing quote"),
        ("2,\"b\n", 2, "a quote that is not closed"),
    ] {
        let org = org(OrgConfig::default());
        let good = "Name,Phone\n\"One \"\"quoted\"\"\",\"1\n2\"\n";
        let (job, [written, refused, rest]) = ingest(&org, json!({"object": "Account", "operation": "insert"}), &format!("{good}{row}"));
        let expected = format!("InvalidBatch : Failed to parse CSV: row 2, byte {}: {why}", good.len() + at);
        assert_eq!(message(&job), ("Failed", expected.as_str()), "{row}");
        assert_eq!(org.count("Account"), 1, "the row before it is kept");
        assert!(
            written.contains("One \"\"quoted\"\"") && rest.contains(row.trim_end()),
            "{written} {rest}"
        );
        assert!(support::rows(&refused).is_empty(), "{refused}");
    }
}

#[test]
fn a_broken_quote_in_row_900_000_is_found_there() {
    let org = org(OrgConfig::default());
    // Ids that are none: the rows fail quickly, one by one.
    let mut csv = String::from("Id\n");
    csv.push_str(&"\"x\"\n".repeat(899_999));
    let byte = csv.len();
    csv.push_str("\"x\"y\n");
    csv.push_str(&"\"x\"\n".repeat(1_000));
    let job = support::create_ingest(&org, json!({"object": "Account", "operation": "delete"}));
    support::put_csv(&org, &job, &csv);
    support::send(
        &org,
        "PATCH",
        &v65(&format!("jobs/ingest/{job}")),
        json!({"state": "UploadComplete"}),
    );
    let done = support::finished(&org, &v65(&format!("jobs/ingest/{job}")));
    let expected = format!(
        "InvalidBatch : Failed to parse CSV: row 900000, byte {}: text behind a closing quote",
        byte + 3
    );
    assert_eq!(message(&done), ("Failed", expected.as_str()));
    assert_eq!(done["numberRecordsProcessed"], 899_999);
    let rest = get(&org, &v65(&format!("jobs/ingest/{job}/unprocessedrecords/"))).text();
    assert_eq!(rest.lines().count(), 1_002, "the header, the broken row and all behind it");
}
