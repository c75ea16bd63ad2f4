//! What befalls Bulk API 2.0 jobs: standing still, vanishing, expiring; and their states and lists.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{create_ingest, finished, get, ingest, org, put_csv, rows, send, try_send, v65};
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};

const WEEK_SECS: u32 = 7 * 86_400;

fn insert() -> Value {
    json!({"object": "Account", "operation": "insert"})
}

fn sim(org: &RunningOrg, tail: &str, body: Value) -> Value {
    let reply = send(org, "POST", &format!("/__sim/{tail}"), body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

fn query_job(org: &RunningOrg, query: &str) -> String {
    let reply = send(org, "POST", &v65("jobs/query"), json!({"operation": "query", "query": query}));
    assert_eq!(reply.status, 200, "{}", reply.text());
    v65(&format!("jobs/query/{}", reply.json()["id"].as_str().unwrap()))
}

/// An ingest job that runs, by its path.
fn running(org: &RunningOrg, csv: &str) -> String {
    let id = create_ingest(org, insert());
    assert_eq!(put_csv(org, &id, csv).status, 201);
    let path = v65(&format!("jobs/ingest/{id}"));
    assert_eq!(send(org, "PATCH", &path, json!({"state": "UploadComplete"})).status, 200);
    path
}

fn until(org: &RunningOrg, path: &str, state: &str) -> Value {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let job = get(org, path).json();
        if job["state"] == state {
            return job;
        }
        assert!(std::time::Instant::now() < deadline, "the job is {}", job["state"]);
        std::thread::yield_now();
    }
}

fn names(count: usize) -> String {
    let mut csv = String::from("Name\n");
    (0..count).for_each(|i| csv.push_str(&format!("N{i}\n")));
    csv
}

/// All ids of a query job in the order they come, and the sizes of its pages.
fn read_all(org: &RunningOrg, path: &str) -> (Vec<String>, Vec<usize>) {
    let (mut ids, mut pages, mut tail) = (Vec::new(), Vec::new(), String::new());
    loop {
        let page = get(org, &format!("{path}/results{tail}"));
        assert_eq!(page.status, 200, "{}", page.text());
        let list = rows(&page.text());
        pages.push(list.len());
        ids.extend(list.into_iter().map(|row| row[0].clone()));
        match page.header("sforce-locator") {
            "null" => return (ids, pages),
            locator => tail = format!("?locator={locator}"),
        }
    }
}

#[test]
fn a_stuck_job_stands_still_until_it_is_aborted_and_holds_up_no_other() {
    let org = org(OrgConfig {
        ingest_workers: 1,
        ..OrgConfig::default()
    });
    sim(&org, "job-faults", json!({"object": "Account", "kind": "stuck", "after_rows": 200}));
    let path = running(&org, &names(500));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while get(&org, &path).json()["numberRecordsProcessed"] != 200 {
        assert!(std::time::Instant::now() < deadline, "{}", get(&org, &path).text());
        std::thread::yield_now();
    }
    assert_eq!(get(&org, &format!("{path}/successfulResults")).status, 400);
    assert_eq!(send(&org, "DELETE", &path, Value::Null).status, 400);
    let (other, _) = ingest(&org, json!({"object": "Contact", "operation": "insert"}), "LastName\nx\n");
    assert_eq!(other["state"], "JobComplete");
    assert_eq!(get(&org, &path).json()["state"], "InProgress");
    assert_eq!(send(&org, "PATCH", &path, json!({"state": "Aborted"})).json()["state"], "Aborted");
    until(&org, &path, "Aborted");
    // What it committed stays, the rest was never looked at.
    assert_eq!(org.count("Account"), 200);
    assert_eq!(rows(&get(&org, &format!("{path}/successfulResults")).text()).len(), 200);
    assert_eq!(rows(&get(&org, &format!("{path}/unprocessedrecords")).text()).len(), 300);
    let (next, _) = ingest(&org, insert(), "Name\nx\n");
    assert_eq!(next["state"], "JobComplete");
}

#[test]
fn a_stuck_job_goes_on_when_looked_at_often_enough_or_let_go() {
    let org = org(OrgConfig::default());
    for direction in ["ingest", "query"] {
        let looks = json!({"object": "Account", "direction": direction, "kind": "stuck", "looks": 1000});
        sim(&org, "job-faults", looks);
        let path = match direction {
            "ingest" => running(&org, &names(3)),
            _ => query_job(&org, "SELECT Id FROM Account"),
        };
        until(&org, &path, "InProgress");
        assert_eq!(finished(&org, &path)["state"], "JobComplete");
    }
    sim(
        &org,
        "job-faults",
        json!({"object": "Account", "direction": "query", "kind": "stuck"}),
    );
    let path = query_job(&org, "SELECT Id FROM Account");
    for _ in 0..50 {
        assert_eq!(get(&org, &path).json()["state"], "InProgress");
    }
    assert_eq!(get(&org, &format!("{path}/results")).status, 400);
    assert_eq!(send(&org, "DELETE", "/__sim/faults", Value::Null).status, 200);
    assert_eq!(get(&org, &path).json()["state"], "JobComplete");
    sim(
        &org,
        "job-faults",
        json!({"object": "Account", "direction": "query", "kind": "fail", "message": "Timeout : too slow"}),
    );
    let job = finished(&org, &query_job(&org, "SELECT Id FROM Account"));
    assert_eq!(
        (&job["state"], &job["errorMessage"]),
        (&json!("Failed"), &json!("Timeout : too slow"))
    );
    for bad in [
        json!({"object": "Account", "kind": "tired"}),
        json!({"object": "Account", "polls": 3}),
    ] {
        assert_eq!(send(&org, "POST", "/__sim/job-faults", bad).status, 400);
    }
}

#[test]
fn a_query_job_vanishes_between_pages_and_another_pages_otherwise() {
    let org = org(OrgConfig {
        scale: Some(2000),
        ..OrgConfig::default()
    });
    sim(&org, "jobs/pages", json!({"rows": 60, "ragged": true, "shuffled": true}));
    sim(
        &org,
        "job-faults",
        json!({"object": "Contact", "direction": "query", "kind": "vanish", "reads": 2}),
    );
    let path = query_job(&org, "SELECT Id FROM Contact");
    let first = get(&org, &format!("{path}/results"));
    let second = get(&org, &format!("{path}/results?locator={}", first.header("sforce-locator")));
    assert_eq!((first.status, second.status), (200, 200));
    let third = get(&org, &format!("{path}/results?locator={}", second.header("sforce-locator")));
    assert_eq!((third.status, third.code().as_str()), (404, "NOT_FOUND"));
    assert_eq!(get(&org, &path).status, 404);
    let again = query_job(&org, "SELECT Id FROM Contact");
    let (ids, pages) = read_all(&org, &again);
    assert_eq!(
        read_all(&org, &again),
        (ids.clone(), pages.clone()),
        "one job is read alike each time"
    );
    let early: Vec<String> = rows(&first.text()).into_iter().map(|r| r[0].clone()).collect();
    assert_ne!(&ids[..early.len()], early.as_slice());
    let (others, other_pages) = read_all(&org, &query_job(&org, "SELECT Id FROM Contact"));
    assert!(others != ids && other_pages != pages);
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    assert_eq!(sorted(ids), sorted(others));
    // An order the statement asks for is kept.
    let (ordered, _) = read_all(&org, &query_job(&org, "SELECT Id FROM Contact ORDER BY Id"));
    assert_eq!(sorted(ordered.clone()), ordered);
    // The page list cuts as the pages themselves do.
    let path = query_job(&org, "SELECT Id FROM Contact");
    let (mut next, mut listed) = (format!("{path}/resultPages"), Vec::new());
    while !next.is_empty() {
        let answer = get(&org, &next).json();
        for page in answer["resultPages"].as_array().unwrap() {
            listed.push(rows(&get(&org, page["resultUrl"].as_str().unwrap()).text()).len());
        }
        next = answer["nextRecordsUrl"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(listed, read_all(&org, &path).1);
}

#[test]
fn an_ingest_job_vanishes_while_its_results_are_read() {
    let org = org(OrgConfig::default());
    sim(&org, "job-faults", json!({"object": "Account", "kind": "vanish", "reads": 1}));
    let path = running(&org, "Name\nA\n\n");
    finished(&org, &path);
    assert_eq!(get(&org, &format!("{path}/successfulResults")).status, 200);
    assert_eq!(get(&org, &format!("{path}/failedResults")).status, 404);
    assert_eq!(get(&org, &path).status, 404);
    assert_eq!(org.count("Account"), 1);
}

#[test]
fn later_pages_may_come_without_a_header() {
    let org = org(OrgConfig {
        scale: Some(300),
        ..OrgConfig::default()
    });
    let path = query_job(&org, "SELECT Id FROM Contact");
    let page = get(&org, &format!("{path}/results?maxRecords=5"));
    let next = format!("{path}/results?maxRecords=5&locator={}", page.header("sforce-locator"));
    let with = get(&org, &next).text();
    sim(&org, "jobs/pages", json!({"header_once": true}));
    assert_eq!(get(&org, &format!("{path}/results?maxRecords=5")).text(), page.text());
    assert_eq!(format!("\"Id\"\n{}", get(&org, &next).text()), with);
    assert_eq!(send(&org, "POST", "/__sim/jobs/pages", json!({"row": 1})).status, 400);
}

#[test]
fn results_and_locators_expire_and_jobs_are_kept_for_a_week() {
    let org = org(OrgConfig {
        scale: Some(300),
        ..OrgConfig::default()
    });
    let query = query_job(&org, "SELECT Id FROM Contact");
    let locator = get(&org, &format!("{query}/results?maxRecords=5"))
        .header("sforce-locator")
        .to_owned();
    let load = running(&org, "Name\nA\n\n");
    finished(&org, &load);
    sim(&org, "jobs/expire-locators", Value::Null);
    let stale = get(&org, &format!("{query}/results?locator={locator}"));
    assert_eq!((stale.status, stale.code().as_str()), (400, "INVALID_QUERY_LOCATOR"));
    let fresh = get(&org, &format!("{query}/results?maxRecords=5"));
    assert_ne!(fresh.header("sforce-locator"), locator);
    let next = get(&org, &format!("{query}/results?locator={}", fresh.header("sforce-locator")));
    assert_eq!(rows(&next.text()).len() + 5, org.count("Contact"));
    let only = |path: &str| json!([path.rsplit('/').next().unwrap()]);
    assert_eq!(sim(&org, "jobs/expire-results", only(&query))["jobs"], 1);
    for tail in ["results", "resultPages"] {
        assert_eq!(get(&org, &format!("{query}/{tail}")).status, 404, "{tail}");
    }
    assert_eq!(get(&org, &query).json()["state"], "JobComplete");
    assert_eq!(get(&org, &format!("{load}/successfulResults")).status, 200);
    sim(&org, "jobs/expire-results", only(&load));
    for tail in ["successfulResults", "failedResults", "unprocessedrecords"] {
        let gone = get(&org, &format!("{load}/{tail}"));
        assert_eq!((gone.status, gone.code().as_str()), (404, "NOT_FOUND"), "{tail}");
    }
    assert_eq!(get(&org, &load).json()["state"], "JobComplete");
    let open = create_ingest(&org, insert());
    let open = v65(&format!("jobs/ingest/{open}"));
    sim(&org, "clock", json!({"forward_secs": WEEK_SECS - 60}));
    assert_eq!((get(&org, &query).status, get(&org, &load).status), (200, 200));
    // Nobody uploaded for a day.
    let job = get(&org, &open).json();
    assert_eq!(job["state"], "Failed");
    assert!(job["errorMessage"].as_str().unwrap().starts_with("Timeout : "), "{job}");
    sim(&org, "clock", json!({"forward_secs": 60}));
    for path in [&query, &load] {
        assert_eq!(get(&org, path).json()[0]["errorCode"], "NOT_FOUND");
    }
    let listed = get(&org, &v65("jobs/query")).json();
    assert_eq!(listed["records"], json!([]));
    let left = query_job(&org, "SELECT Id FROM Contact");
    assert_eq!(sim(&org, "jobs/forget", only(&left))["jobs"], 1);
    assert_eq!(get(&org, &left).status, 404);
}

#[test]
fn states_change_only_forwards() {
    let org = org(OrgConfig::default());
    let set = |path: &str, state: &str| {
        let reply = send(&org, "PATCH", path, json!({"state": state}));
        (reply.status, if reply.status == 400 { reply.code() } else { String::new() })
    };
    let no = (400, "INVALIDJOBSTATE".to_owned());
    let yes = (200, String::new());
    let done = running(&org, "Name\nA\n\n");
    finished(&org, &done);
    for state in ["UploadComplete", "Aborted", "Open", "JobComplete", ""] {
        assert_eq!(set(&done, state), no, "{state}");
    }
    let id = done.rsplit('/').next().unwrap();
    assert_eq!(put_csv(&org, id, "Name\nB\n").code(), "INVALIDJOBSTATE");
    assert_eq!(send(&org, "DELETE", &done, Value::Null).status, 204);
    let open = v65(&format!("jobs/ingest/{}", create_ingest(&org, insert())));
    assert_eq!(set(&open, "InProgress"), no);
    assert_eq!(set(&open, "Aborted"), yes);
    assert_eq!(set(&open, "Aborted"), no);
    assert_eq!(set(&open, "UploadComplete"), no);
    let query = query_job(&org, "SELECT Id FROM Account");
    assert_eq!(set(&query, "Aborted"), no, "it is complete");
    sim(
        &org,
        "job-faults",
        json!({"object": "Account", "direction": "query", "kind": "stuck"}),
    );
    let query = query_job(&org, "SELECT Id FROM Account");
    assert_eq!(set(&query, "UploadComplete"), no);
    assert_eq!(send(&org, "DELETE", &query, Value::Null).code(), "INVALIDJOBSTATE");
    assert_eq!(set(&query, "Aborted"), yes);
    assert_eq!(set(&query, "Aborted"), no);
    assert_eq!(get(&org, &format!("{query}/results")).code(), "INVALIDJOBSTATE");
    assert_eq!(send(&org, "DELETE", &query, Value::Null).status, 204);
}

#[test]
fn of_many_who_complete_an_upload_at_once_one_starts_the_job() {
    let org = org(OrgConfig::default());
    for round in 0..20 {
        let id = create_ingest(&org, insert());
        assert_eq!(put_csv(&org, &id, "Name\nA\n").status, 201);
        let path = v65(&format!("jobs/ingest/{id}"));
        let started: usize = std::thread::scope(|scope| {
            let patch = || send(&org, "PATCH", &path, json!({"state": "UploadComplete"})).status == 200;
            let all: Vec<_> = (0..4).map(|_| scope.spawn(patch)).collect();
            all.into_iter().map(|t| usize::from(t.join().unwrap())).sum()
        });
        assert_eq!(started, 1);
        finished(&org, &path);
        assert_eq!(org.count("Account"), round + 1);
    }
}

#[test]
fn lists_hold_the_jobs_of_both_apis_by_filter_and_page() {
    let org = org(OrgConfig::default());
    let classic = |operation: &str| {
        let body = format!(
            "<jobInfo xmlns=\"http://www.force.com/2009/06/asyncapi/dataload\"><operation>{operation}</operation>\
             <object>Account</object><concurrencyMode>Serial</concurrencyMode><contentType>CSV</contentType></jobInfo>"
        );
        let headers = [("x-sfdc-session", org.token.as_str()), ("content-type", "application/xml")];
        assert_eq!(
            try_send(&org, "POST", "/services/async/65.0/job", &headers, body.as_bytes())
                .unwrap()
                .status,
            201
        );
    };
    for query in ["SELECT Id FROM Account", "SELECT Id FROM Account LIMIT 5", "SELECT Id FROM Contact"] {
        query_job(&org, query);
    }
    (0..2).for_each(|_| drop(create_ingest(&org, insert())));
    classic("query");
    classic("insert");
    let list = |tail: &str| get(&org, &v65(&format!("jobs/{tail}"))).json();
    let count = |tail: &str| list(tail)["records"].as_array().unwrap().len();
    for (tail, expected) in [
        ("query", 4),
        ("query?jobType=V2Query", 3),
        ("query?jobType=Classic", 1),
        ("query?concurrencyMode=serial", 1),
        ("query?isPkChunkingEnabled=true", 2),
        ("query?isPkChunkingEnabled=false&jobType=V2Query", 1),
        ("ingest", 3),
        ("ingest?jobType=V2Ingest", 2),
        ("ingest?jobType=Classic", 1),
    ] {
        assert_eq!(count(tail), expected, "{tail}");
    }
    assert_eq!(
        (&list("query")["done"], &list("query")["nextRecordsUrl"]),
        (&json!(true), &Value::Null)
    );
    sim(&org, "jobs/pages", json!({"list_rows": 2}));
    let (mut next, mut seen) = (v65("jobs/query?jobType=V2Query"), Vec::new());
    loop {
        let page = get(&org, &next).json();
        seen.push(page["records"].as_array().unwrap().len());
        if page["done"] == true {
            break;
        }
        next = page["nextRecordsUrl"].as_str().unwrap().to_owned();
    }
    assert_eq!(seen, [2, 1]);
    assert_eq!(get(&org, &v65("jobs/query?queryLocator=x")).code(), "INVALID_QUERY_LOCATOR");
}
