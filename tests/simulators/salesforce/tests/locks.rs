//! Locks that parallel transactions fight over.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use serde_json::{Value, json};
use support::{create_ingest, finished, get, ingest, org, put_csv, rows, send, v65};
use syncline_salesforce_simulator::store::locks::LockConfig;
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};

fn with(wait_ms: u64, hold_ms: u64, retries: u32) -> RunningOrg {
    org(OrgConfig {
        locks: Some(LockConfig { wait_ms, hold_ms, retries }),
        ..OrgConfig::default()
    })
}

fn account(org: &RunningOrg, name: &str) -> String {
    let reply = send(org, "POST", &v65("sobjects/Account"), json!({"Name": name, "Ext_Id__c": name}));
    reply.json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn rows_that_need_a_held_record_fail_and_name_it() {
    let org = with(1, 0, 2);
    let (held, free) = (account(&org, "held"), account(&org, "free"));
    send(&org, "POST", "/__sim/locks", json!([held]));
    let csv = "LastName,Account.Ext_Id__c\na,held\nb,free\nc,held\n";
    let (job, [good, bad, _]) = ingest(&org, json!({"object": "Contact", "operation": "insert"}), csv);
    assert_eq!(
        (&job["state"], &job["numberRecordsFailed"], &job["retries"]),
        (&json!("JobComplete"), &json!(2), &json!(2))
    );
    assert_eq!(rows(&good).len(), 1);
    let expected = format!("UNABLE_TO_LOCK_ROW:unable to obtain exclusive access to this record or 1 records: {held}: --");
    for row in rows(&bad) {
        assert_eq!(row[1], expected);
    }
    let reply = send(&org, "POST", &v65("sobjects/Contact"), json!({"LastName": "d", "AccountId": held}));
    assert_eq!((reply.status, reply.code().as_str()), (400, "UNABLE_TO_LOCK_ROW"));
    let path = v65(&format!("sobjects/Account/{held}"));
    assert_eq!(send(&org, "PATCH", &path, json!({"Name": "x"})).code(), "UNABLE_TO_LOCK_ROW");
    assert_eq!(send(&org, "DELETE", &path, Value::Null).code(), "UNABLE_TO_LOCK_ROW");
    let both = json!({"records": [{"attributes": {"type": "Account"}, "Id": held, "Name": "x"},
        {"attributes": {"type": "Account"}, "Id": free, "Name": "y"}]});
    let both = send(&org, "PATCH", &v65("composite/sobjects"), both).json();
    assert_eq!(
        (&both[0]["errors"][0]["statusCode"], &both[1]["success"]),
        (&json!("UNABLE_TO_LOCK_ROW"), &json!(true))
    );
    send(&org, "DELETE", "/__sim/locks", Value::Null);
    assert_eq!(send(&org, "PATCH", &path, json!({"Name": "x"})).status, 204);
}

#[test]
fn a_job_that_never_gets_its_locks_is_given_up() {
    let org = with(1, 0, 0);
    let held = account(&org, "held");
    send(&org, "POST", "/__sim/locks", json!([held]));
    let csv: String = (0..2000).map(|i| format!("c{i},{held}\n")).collect();
    let (job, [_, bad, rest]) = ingest(
        &org,
        json!({"object": "Contact", "operation": "insert"}),
        &format!("LastName,AccountId\n{csv}"),
    );
    assert_eq!(job["state"], "Failed");
    assert!(job["errorMessage"].as_str().unwrap().starts_with("TooManyLockFailure : "), "{job}");
    assert_eq!((rows(&bad).len(), rows(&rest).len()), (600, 1400));
    assert_eq!(org.count("Contact"), 0);
}

#[test]
fn parallel_jobs_on_one_parent_wait_for_each_other_and_lose_nothing() {
    let org = with(30_000, 1, 0);
    let parent = account(&org, "parent");
    let csv: String = (0..1000).map(|i| format!("c{i},{parent}\n")).collect();
    let csv = format!("LastName,AccountId\n{csv}");
    let jobs: Vec<String> = (0..2)
        .map(|_| {
            let id = create_ingest(&org, json!({"object": "Contact", "operation": "insert"}));
            put_csv(&org, &id, &csv);
            id
        })
        .collect();
    for id in &jobs {
        send(
            &org,
            "PATCH",
            &v65(&format!("jobs/ingest/{id}")),
            json!({"state": "UploadComplete"}),
        );
    }
    for id in &jobs {
        let job = finished(&org, &v65(&format!("jobs/ingest/{id}")));
        assert_eq!((&job["state"], &job["numberRecordsFailed"]), (&json!("JobComplete"), &json!(0)));
    }
    assert_eq!(org.count("Contact"), 2000);
    assert_eq!(get(&org, "/__sim/locks").json()["held"], json!([]));
}
