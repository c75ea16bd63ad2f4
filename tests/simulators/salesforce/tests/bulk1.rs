//! Bulk API 1.0: jobs, batches and results in XML, JSON and CSV.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Reply, get, org, rows, soql, try_send, v65};
use syncline_salesforce_simulator::web::markup::{self, Element};
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};

const XML: &str = "application/xml; charset=UTF-8";
const CSV: &str = "text/csv; charset=UTF-8";
const JSON: &str = "application/json";

fn send(org: &RunningOrg, method: &str, tail: &str, kind: &str, body: &str) -> Reply {
    let headers = [("x-sfdc-session", org.token.as_str()), ("content-type", kind)];
    try_send(org, method, &format!("/services/async/60.0/{tail}"), &headers, body.as_bytes()).unwrap()
}

fn job_xml(operation: &str, content: &str, more: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><jobInfo xmlns="http://www.force.com/2009/06/asyncapi/dataload"><operation>{operation}</operation><object>Account</object>{more}<contentType>{content}</contentType></jobInfo>"#
    )
}

fn xml(reply: &Reply) -> Element {
    assert!(reply.header("content-type").starts_with("application/xml"), "{}", reply.text());
    markup::parse(&reply.body).unwrap()
}

fn create(org: &RunningOrg, operation: &str, content: &str, more: &str) -> String {
    let reply = send(org, "POST", "job", XML, &job_xml(operation, content, more));
    assert_eq!(reply.status, 201, "{}", reply.text());
    xml(&reply).value("id").unwrap().to_owned()
}

/// Adds a batch and waits for its end.
fn batch(org: &RunningOrg, job: &str, kind: &str, body: &str) -> (String, Element) {
    let reply = send(org, "POST", &format!("job/{job}/batch"), kind, body);
    assert_eq!(reply.status, 201, "{}", reply.text());
    let id = xml(&reply).value("id").unwrap().to_owned();
    let path = format!("job/{job}/batch/{id}");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let info = xml(&send(org, "GET", &path, XML, ""));
        if ["Completed", "Failed", "NotProcessed"].contains(&info.value("state").unwrap()) {
            return (path, info);
        }
        assert!(Instant::now() < deadline, "the batch does not end");
        std::thread::yield_now();
    }
}

fn refusal(reply: &Reply) -> String {
    assert_eq!(reply.status, 400, "{}", reply.text());
    let error = xml(reply);
    assert_eq!(error.name, "error");
    error.value("exceptionCode").unwrap().to_owned()
}

#[test]
fn csv_rows_are_inserted_and_queried_back_in_every_form() {
    let org = org(OrgConfig::default());
    let job = create(&org, "insert", "CSV", "<concurrencyMode>Serial</concurrencyMode>");
    let upload = "Name,NumberOfEmployees\n\"One, Two\",5\n,7\nThree,x\nFour,\n";
    let (path, info) = batch(&org, &job, CSV, upload);
    assert_eq!(info.value("state"), Some("Completed"));
    assert_eq!(info.value("numberRecordsProcessed"), Some("4"));
    assert_eq!(info.value("numberRecordsFailed"), Some("2"));
    assert_eq!(send(&org, "GET", &format!("{path}/request"), XML, "").text(), upload);
    let results = rows(&send(&org, "GET", &format!("{path}/result"), XML, "").text());
    assert_eq!(
        results.iter().map(|r| r[1].as_str()).collect::<Vec<_>>(),
        ["true", "false", "false", "true"]
    );
    assert!(results[0][0].starts_with("001") && results[0][2] == "true" && results[0][3].is_empty());
    assert!(
        results[1][0].is_empty() && results[1][3].starts_with("REQUIRED_FIELD_MISSING:"),
        "{results:?}"
    );
    let body = r#"<jobInfo xmlns="http://www.force.com/2009/06/asyncapi/dataload"><state>Closed</state></jobInfo>"#;
    let closed = xml(&send(&org, "POST", &format!("job/{job}"), XML, body));
    for (name, value) in [
        ("state", "Closed"),
        ("concurrencyMode", "Serial"),
        ("numberBatchesTotal", "1"),
        ("numberBatchesCompleted", "1"),
        ("numberRecordsProcessed", "4"),
        ("numberRecordsFailed", "2"),
        ("apiVersion", "60.0"),
    ] {
        assert_eq!(closed.value(name), Some(value), "{name}");
    }
    assert_eq!(
        refusal(&send(&org, "POST", &format!("job/{job}/batch"), CSV, upload)),
        "InvalidJobState"
    );
    assert_eq!(refusal(&send(&org, "POST", &format!("job/{job}"), XML, body)), "InvalidJobState");

    let statement = "SELECT Id, Name, CreatedDate, Owner.Username FROM Account ORDER BY Name";
    let read = |content: &str| {
        let job = create(&org, "query", content, "");
        let (path, info) = batch(&org, &job, if content == "JSON" { JSON } else { CSV }, statement);
        assert_eq!(info.value("numberRecordsProcessed"), Some("2"));
        let list = send(&org, "GET", &format!("{path}/result"), XML, "");
        let id = match content {
            "JSON" => list.json()[0].as_str().unwrap().to_owned(),
            _ => xml(&list).value("result").unwrap().to_owned(),
        };
        assert_eq!(
            refusal(&send(&org, "GET", &format!("{path}/result/752000000000001"), XML, "")),
            "InvalidBatch"
        );
        send(&org, "GET", &format!("{path}/result/{id}"), XML, "")
    };
    let csv = rows(&read("CSV").text());
    assert_eq!((csv[0][1].as_str(), csv[1][1].as_str()), ("Four", "One, Two"));
    let answer = xml(&read("XML"));
    let record = &answer.children[1];
    assert_eq!(
        (record.value("type"), record.value("Id")),
        (Some("Account"), Some(csv[1][0].as_str()))
    );
    assert_eq!(record.child("Owner").unwrap().value("Username"), Some(csv[1][3].as_str()));
    assert_eq!(record.value("CreatedDate").map(|t| &t[..19]), Some(&csv[1][2][..19]));
}

#[test]
fn json_jobs_go_as_json_clients_drive_them() {
    let org = org(OrgConfig::default());
    let ask = |method: &str, tail: &str, body: Value| {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        send(&org, method, tail, JSON, &text)
    };
    let run = |operation: &str, external: Option<&str>, body: Value| {
        let mut job = json!({"operation": operation, "object": "Account", "concurrencyMode": 0, "contentType": "JSON"});
        if let Some(name) = external {
            job["externalIdFieldName"] = name.into();
        }
        let reply = ask("POST", "job", job);
        assert_eq!(reply.status, 201, "{}", reply.text());
        let job = reply.json()["id"].as_str().unwrap().to_owned();
        let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        let id = send(&org, "POST", &format!("job/{job}/batch"), JSON, &text).json()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let path = format!("job/{job}/batch/{id}");
        let deadline = Instant::now() + Duration::from_secs(60);
        while ask("GET", &path, Value::Null).json()["state"] != "Completed" {
            assert!(Instant::now() < deadline, "{}", ask("GET", &path, Value::Null).text());
            std::thread::yield_now();
        }
        assert_eq!(
            ask("GET", &format!("job/{job}/batch"), Value::Null).json()["batchInfo"][0]["id"],
            id.as_str()
        );
        assert_eq!(
            ask("POST", &format!("job/{job}"), json!({"state": "Closed"})).json()["state"],
            "Closed"
        );
        (path.clone(), ask("GET", &format!("{path}/result"), Value::Null).json())
    };
    let (_, made) = run(
        "insert",
        None,
        json!([{"Name": "A", "NumberOfEmployees": 3}, {"NumberOfEmployees": 4}, {"Name": "B"}]),
    );
    assert_eq!(made.as_array().map(Vec::len), Some(3), "{made}");
    assert_eq!(
        (&made[0]["success"], &made[0]["created"], &made[1]["success"]),
        (&json!(true), &json!(true), &json!(false))
    );
    assert_eq!(made[1]["errors"][0]["statusCode"], "REQUIRED_FIELD_MISSING");
    assert_eq!(made[1]["errors"][0]["fields"], json!(["Name"]));
    let id = made[0]["id"].as_str().unwrap();
    let (_, changed) = run("update", None, json!([{"Id": id, "Name": "A2", "NumberOfEmployees": null}]));
    assert_eq!((&changed[0]["success"], &changed[0]["created"]), (&json!(true), &json!(false)));
    let (_, put) = run("upsert", Some("Id"), json!([{"Id": id, "Phone": "1"}, {"Name": "C"}]));
    assert_eq!((&put[0]["created"], &put[1]["created"]), (&json!(false), &json!(true)));
    let (path, list) = run(
        "query",
        None,
        "SELECT Id, Name, NumberOfEmployees, Phone, CreatedDate FROM Account WHERE Name = 'A2'".into(),
    );
    let found = ask("GET", &format!("{path}/result/{}", list[0].as_str().unwrap()), Value::Null).json();
    assert_eq!(
        (&found[0]["Id"], &found[0]["NumberOfEmployees"], &found[0]["Phone"]),
        (&json!(id), &Value::Null, &json!("1"))
    );
    assert_eq!(found[0]["attributes"]["type"], "Account");
    assert!(found[0]["CreatedDate"].as_i64().unwrap() > 1_700_000_000_000, "{found}");
    run("delete", None, json!([{"Id": id}]));
    let (path, list) = run("queryAll", None, "SELECT IsDeleted FROM Account WHERE Name = 'A2'".into());
    let found = ask("GET", &format!("{path}/result/{}", list[0].as_str().unwrap()), Value::Null).json();
    assert_eq!(found[0]["IsDeleted"], true);
    run("hardDelete", None, json!([{"Id": made[2]["id"]}]));
    assert_eq!(soql(&org, "SELECT Name FROM Account").json()["records"][0]["Name"], "C");
    let left = get(&org, &v65("limits")).json()["DailyBulkApiBatches"]["Remaining"].clone();
    assert_eq!(left, 15_000 - 7);
}

#[test]
fn xml_rows_and_what_became_of_them() {
    let org = org(OrgConfig::default());
    let job = create(&org, "insert", "XML", "");
    let body = r#"<sObjects xmlns="http://www.force.com/2009/06/asyncapi/dataload" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><sObject><Name>A &amp; B</Name><Phone xsi:nil="true"/></sObject><sObject><Phone>1</Phone></sObject></sObjects>"#;
    let (path, info) = batch(&org, &job, XML, body);
    assert_eq!(info.value("numberRecordsFailed"), Some("1"));
    let results = xml(&send(&org, "GET", &format!("{path}/result"), XML, ""));
    assert_eq!(results.name, "results");
    assert_eq!(results.children[0].value("success"), Some("true"));
    let error = results.children[1].child("errors").unwrap();
    assert_eq!(
        (error.value("fields"), error.value("statusCode")),
        (Some("Name"), Some("REQUIRED_FIELD_MISSING"))
    );
    assert_eq!(soql(&org, "SELECT Name FROM Account").json()["records"][0]["Name"], "A & B");
    assert_eq!(
        refusal(&send(&org, "POST", &format!("job/{job}/batch"), XML, "<sObjects>")),
        "InvalidBatch"
    );
    assert_eq!(
        refusal(&send(&org, "POST", &format!("job/{job}/batch"), CSV, "Name\nx\n")),
        "InvalidBatch"
    );
}

#[test]
fn what_can_not_be_done_is_refused_in_the_requests_form() {
    let org = org(OrgConfig::default());
    let headers = [("x-sfdc-session", "wrong"), ("content-type", XML)];
    let reply = try_send(&org, "POST", "/services/async/60.0/job", &headers, b"").unwrap();
    assert_eq!(refusal(&reply), "InvalidSessionId");
    let headers = [("x-sfdc-session", org.token.as_str()), ("content-type", XML)];
    let reply = try_send(&org, "GET", "/services/async/20.5/job/x", &headers, b"").unwrap();
    assert_eq!(refusal(&reply), "InvalidVersion");
    let chunked = [headers[0], headers[1], ("sforce-enable-pkchunking", "chunkSize=1000")];
    let reply = try_send(
        &org,
        "POST",
        "/services/async/60.0/job",
        &chunked,
        job_xml("query", "CSV", "").as_bytes(),
    )
    .unwrap();
    assert_eq!(refusal(&reply), "FeatureNotEnabled");
    for (body, code) in [
        ("<jobInfo>".to_owned(), "InvalidJob"),
        (job_xml("merge", "CSV", ""), "InvalidJob"),
        (job_xml("upsert", "CSV", ""), "InvalidJob"),
        (job_xml("insert", "ZIP_CSV", ""), "FeatureNotEnabled"),
        (job_xml("insert", "CSV", "<concurrencyMode>Fast</concurrencyMode>"), "InvalidJob"),
        (job_xml("insert", "CSV", "").replace("Account", "Nope"), "InvalidJob"),
    ] {
        assert_eq!(refusal(&send(&org, "POST", "job", XML, &body)), code, "{body}");
    }
    let reply = send(&org, "GET", "job/750000000000001", JSON, "");
    assert_eq!((reply.status, &reply.json()["exceptionCode"]), (400, &json!("InvalidJob")));
}

#[test]
fn batches_fail_as_a_whole_on_their_limits_and_on_bad_statements() {
    let org = org(OrgConfig::default());
    let job = create(&org, "insert", "CSV", "");
    let many = format!("Name\n{}", "x\n".repeat(10_001));
    let (path, info) = batch(&org, &job, CSV, &many);
    assert_eq!(info.value("state"), Some("Failed"));
    assert!(info.value("stateMessage").unwrap().starts_with("InvalidBatch : "));
    assert_eq!(refusal(&send(&org, "GET", &format!("{path}/result"), XML, "")), "InvalidBatch");
    assert_eq!(batch(&org, &job, CSV, "Nope__c\n1\n").1.value("state"), Some("Failed"));
    let large = format!("Name\n{}", "y".repeat(10_000_000));
    assert_eq!(
        refusal(&send(&org, "POST", &format!("job/{job}/batch"), CSV, &large)),
        "InvalidBatch"
    );
    let query = create(&org, "query", "CSV", "");
    assert_eq!(
        batch(&org, &query, CSV, "SELECT Nope FROM Account").1.value("state"),
        Some("Failed")
    );
    assert_eq!(batch(&org, &query, CSV, "SELECT Id FROM Contact").1.value("state"), Some("Failed"));
    let (path, info) = batch(&org, &query, CSV, "SELECT Id FROM Account");
    assert_eq!(info.value("numberRecordsProcessed"), Some("0"));
    let id = xml(&send(&org, "GET", &format!("{path}/result"), XML, ""))
        .value("result")
        .unwrap()
        .to_owned();
    let none = send(&org, "GET", &format!("{path}/result/{id}"), XML, "").text();
    assert_eq!(none, "Records not found for this query");
    let info = xml(&send(&org, "GET", &format!("job/{query}"), XML, ""));
    assert_eq!(
        (info.value("numberBatchesFailed"), info.value("numberBatchesTotal")),
        (Some("2"), Some("3"))
    );
}

#[test]
fn an_aborted_job_leaves_waiting_batches_undone() {
    let config = OrgConfig {
        job_latency_ms: 3_600_000,
        ..OrgConfig::default()
    };
    let org = org(config);
    let job = create(&org, "insert", "CSV", "");
    let sent = xml(&send(&org, "POST", &format!("job/{job}/batch"), CSV, "Name\nx\n"));
    assert_eq!(sent.value("state"), Some("Queued"));
    let reply = send(
        &org,
        "POST",
        &format!("job/{job}"),
        XML,
        "<jobInfo><state>Aborted</state></jobInfo>",
    );
    assert_eq!(xml(&reply).value("state"), Some("Aborted"));
    let path = format!("job/{job}/batch/{}", sent.value("id").unwrap());
    assert_eq!(xml(&send(&org, "GET", &path, XML, "")).value("state"), Some("NotProcessed"));
    assert_eq!(org.count("Account"), 0);
}

#[test]
fn a_closed_job_has_exactly_the_batches_that_were_accepted() {
    let org = org(OrgConfig::default());
    let rows: Vec<Value> = (0..400).map(|i| json!({"Name": i.to_string()})).collect();
    let body = Value::from(rows).to_string();
    let close = r#"{"state": "Closed"}"#;
    let (mut before, mut after) = (0, 0);
    for _ in 0..15 {
        let made = json!({"operation": "insert", "object": "Account", "contentType": "JSON"});
        let job = send(&org, "POST", "job", JSON, &made.to_string()).json();
        let job = format!("job/{}", job["id"].as_str().unwrap());
        let (accepted, closed) = std::thread::scope(|scope| {
            let add = || send(&org, "POST", &format!("{job}/batch"), JSON, &body).status == 201;
            let adders: Vec<_> = (0..4).map(|_| scope.spawn(add)).collect();
            let closed = send(&org, "POST", &job, JSON, close).json();
            let accepted = adders.into_iter().map(|t| usize::from(t.join().unwrap())).sum::<usize>();
            (accepted, closed)
        });
        assert_eq!(closed["state"], "Closed");
        assert_eq!(
            closed["numberBatchesTotal"], accepted,
            "what the closing answer counts stays all there is"
        );
        let total = send(&org, "GET", &job, JSON, "").json();
        assert_eq!(total["numberBatchesTotal"], accepted);
        before += accepted;
        after += 4 - accepted;
    }
    assert_eq!(before + after, 60);
}
