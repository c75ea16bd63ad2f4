//! Small differences that clients overlook: statuses of upserts, chunks of collections, two forms of one time.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{finished, get, org, rows, send, soql, v65};
use syncline_salesforce_simulator::OrgConfig;

#[test]
fn an_upsert_says_created_updated_or_which_of_several() {
    let org = org(OrgConfig::default());
    let put = |field: &str, value: &str| {
        send(
            &org,
            "PATCH",
            &v65(&format!("sobjects/Contact/{field}/{value}")),
            json!({"LastName": "L"}),
        )
    };
    let made = put("Ext_Id__c", "K1");
    assert_eq!((made.status, &made.json()["created"]), (201, &json!(true)));
    let again = put("Ext_Id__c", "K1");
    assert_eq!((again.status, &again.json()["created"]), (200, &json!(false)));
    assert_eq!(again.json()["id"], made.json()["id"]);
    let twins = ["A", "B"].map(|name| {
        let body = json!({"LastName": name, "Email": "same@example.com"});
        send(&org, "POST", &v65("sobjects/Contact"), body).json()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    });
    for reply in [
        put("Email", "same@example.com"),
        get(&org, &v65("sobjects/Contact/Email/same@example.com")),
    ] {
        assert_eq!(reply.status, 300);
        let expected: Vec<Value> = twins.iter().map(|id| v65(&format!("sobjects/Contact/{id}")).into()).collect();
        assert_eq!(reply.json(), Value::from(expected));
    }
    assert_eq!(put("Site", "x").status, 404);
}

#[test]
fn a_collection_has_at_most_ten_runs_of_one_type() {
    let org = org(OrgConfig::default());
    let record = |i: usize| match i % 2 {
        0 => json!({"attributes": {"type": "Account"}, "Name": "A"}),
        _ => json!({"attributes": {"type": "Contact"}, "LastName": "C"}),
    };
    let call = |records: Vec<Value>| send(&org, "POST", &v65("composite/sobjects"), json!({"records": records}));
    let refused = call((0..11).map(record).collect());
    assert_eq!((refused.status, refused.code().as_str()), (400, "LIMIT_EXCEEDED"));
    assert_eq!((org.count("Account"), org.count("Contact")), (0, 0));
    assert_eq!(call((0..10).map(record).collect()).status, 200);
    // Sorted by type the same number of records is two runs.
    let sorted = (0..20).map(|i| record(i / 10)).collect();
    assert!(call(sorted).json().as_array().unwrap().iter().all(|r| r["success"] == true));
    assert_eq!((org.count("Account"), org.count("Contact")), (15, 15));
}

#[test]
fn one_time_has_two_forms() {
    let org = org(OrgConfig::default());
    send(&org, "POST", &v65("sobjects/Account"), json!({"Name": "A"}));
    let rest = soql(&org, "SELECT CreatedDate FROM Account").json()["records"][0]["CreatedDate"]
        .as_str()
        .unwrap()
        .to_owned();
    let body = json!({"operation": "query", "query": "SELECT CreatedDate FROM Account"});
    let job = send(&org, "POST", &v65("jobs/query"), body).json();
    let path = v65(&format!("jobs/query/{}", job["id"].as_str().unwrap()));
    finished(&org, &path);
    let bulk = rows(&get(&org, &format!("{path}/results")).text())[0][0].clone();
    assert_eq!(rest.strip_suffix("+0000"), bulk.strip_suffix('Z'));
    assert!(rest.ends_with(".000+0000") && job["createdDate"].as_str().unwrap().ends_with("+0000"));
}
