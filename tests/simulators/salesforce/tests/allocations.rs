//! What an org refuses once it is used up: calls that run for long at once, Bulk batches, query jobs.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{get, ingest, org, rows, send, try_send, v65};
use syncline_salesforce_simulator::limits::LimitConfig;
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};

const DAY_SECS: u32 = 86_400;

fn with(limits: LimitConfig) -> RunningOrg {
    org(OrgConfig {
        limits,
        ..OrgConfig::default()
    })
}

/// A request whose body is still on its way.
fn begun(org: &RunningOrg) -> TcpStream {
    let address = org.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n",
        v65("sobjects/Account"),
        org.token
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn long_calls(org: &RunningOrg, wanted: u64) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let count = get(org, "/__sim/limits").json()["long_calls"].as_u64();
        if count == Some(wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "{count:?} calls run");
        std::thread::yield_now();
    }
}

#[test]
fn a_call_beside_too_many_long_ones_is_refused_in_every_api() {
    let org = with(LimitConfig {
        long_calls: 2,
        long_call_ms: 0,
        ..LimitConfig::default()
    });
    let mut slow = [begun(&org), begun(&org)];
    long_calls(&org, 2);
    let refused = get(&org, &v65("limits"));
    assert_eq!(
        (refused.status, refused.json()),
        (
            403,
            json!([{"message": "ConcurrentPerOrgLongTxn Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}])
        )
    );
    let headers = [("x-sfdc-session", org.token.as_str()), ("content-type", "application/json")];
    let classic = try_send(&org, "GET", "/services/async/60.0/job/750000000000001", &headers, b"").unwrap();
    assert!(
        classic.status >= 400 && classic.text().contains("Limit exceeded"),
        "{}",
        classic.text()
    );
    // Whoever is in, gets through; then there is room again.
    for stream in &mut slow {
        stream.write_all(b"{\"Name\":\"A\"}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
    long_calls(&org, 0);
    assert_eq!(get(&org, &v65("limits")).status, 200);
    // What is quick does not count, however much of it there is.
    send(&org, "POST", "/__sim/limits", json!({"long_call_ms": 3_600_000}));
    let _slow = [begun(&org), begun(&org), begun(&org)];
    assert_eq!(get(&org, &v65("limits")).status, 200);
}

#[test]
fn bulk_batches_end_in_both_apis_and_come_back_a_day_later() {
    let org = with(LimitConfig {
        bulk_batches: 3,
        ..LimitConfig::default()
    });
    let left = || get(&org, &v65("limits")).json()["DailyBulkApiBatches"].clone();
    assert_eq!(left(), json!({"Max": 3, "Remaining": 3}));
    let mut csv = String::from("Name\n");
    (0..20_001).for_each(|i| csv.push_str(&format!("N{i}\n")));
    // Three batches of at most 10,000 rows.
    let (job, _) = ingest(&org, json!({"object": "Account", "operation": "insert"}), &csv);
    assert_eq!(
        (&job["state"], &job["numberRecordsProcessed"]),
        (&json!("JobComplete"), &json!(20_001))
    );
    assert_eq!(left()["Remaining"], 0);
    let (job, [good, bad, rest]) = ingest(&org, json!({"object": "Account", "operation": "insert"}), "Name\nA\n\n");
    assert_eq!(
        (&job["state"], job["errorMessage"].as_str()),
        (&json!("Failed"), Some("ExceededQuota : ApiBatchItems Limit exceeded."))
    );
    assert_eq!((rows(&good).len(), rows(&bad).len(), rows(&rest).len()), (0, 0, 1));
    let classic = |tail: &str, body: &str| {
        let headers = [("x-sfdc-session", org.token.as_str()), ("content-type", "application/json")];
        try_send(&org, "POST", &format!("/services/async/60.0/{tail}"), &headers, body.as_bytes()).unwrap()
    };
    let job = classic("job", r#"{"operation": "insert", "object": "Account", "contentType": "JSON"}"#).json();
    let batch = format!("job/{}/batch", job["id"].as_str().unwrap());
    let refused = classic(&batch, r#"[{"Name": "A"}]"#);
    assert_eq!((refused.status, &refused.json()["exceptionCode"]), (400, &json!("ExceededQuota")));
    send(&org, "POST", "/__sim/clock", json!({"forward_secs": DAY_SECS}));
    assert_eq!(left()["Remaining"], 3);
    assert_eq!(classic(&batch, r#"[{"Name": "A"}]"#).status, 201);
    assert_eq!(left()["Remaining"], 2);
    send(&org, "POST", "/__sim/limits", json!({"bulk_batches": 2}));
    assert_eq!(left(), json!({"Max": 2, "Remaining": 1}));
}

#[test]
fn a_job_too_large_for_what_is_left_keeps_what_it_wrote() {
    let org = with(LimitConfig {
        bulk_batches: 1,
        ..LimitConfig::default()
    });
    let mut csv = String::from("Name\n");
    (0..10_500).for_each(|i| csv.push_str(&format!("N{i}\n")));
    let (job, [.., rest]) = ingest(&org, json!({"object": "Account", "operation": "insert"}), &csv);
    assert_eq!((&job["state"], org.count("Account")), (&json!("Failed"), 10_000));
    assert_eq!(rows(&rest).len(), 500);
}

#[test]
fn query_jobs_and_requests_come_back_a_day_later() {
    let org = org(OrgConfig {
        limits: LimitConfig {
            query_jobs: 1,
            ..LimitConfig::default()
        },
        daily_requests_max: 4,
        ..OrgConfig::default()
    });
    let query = || {
        send(
            &org,
            "POST",
            &v65("jobs/query"),
            json!({"operation": "query", "query": "SELECT Id FROM Account"}),
        )
    };
    assert_eq!(query().status, 200);
    let refused = query();
    assert_eq!((refused.status, refused.code().as_str()), (400, "LIMIT_EXCEEDED"));
    assert_eq!(
        get(&org, &v65("limits")).json()["DailyBulkV2QueryJobs"],
        json!({"Max": 1, "Remaining": 0})
    );
    assert_eq!(get(&org, &v65("limits")).status, 200);
    assert_eq!(query().code(), "REQUEST_LIMIT_EXCEEDED");
    send(&org, "POST", "/__sim/clock", json!({"forward_secs": DAY_SECS}));
    assert_eq!(query().status, 200);
    assert_eq!(send(&org, "DELETE", "/__sim/limits", Value::Null).status, 404);
}
