//! Composite, batch, graph and tree over the wire.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{get, org, send, soql, v65};
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};

const HALTED: &str = "The transaction was rolled back since another operation in the same transaction failed.";

fn part(method: &str, tail: &str, id: &str, body: Value) -> Value {
    let mut out = json!({"method": method, "url": v65(tail), "referenceId": id});
    if !body.is_null() {
        out["body"] = body;
    }
    out
}

fn composite(org: &RunningOrg, all: bool, parts: Vec<Value>) -> Vec<Value> {
    let body = json!({"allOrNone": all, "compositeRequest": parts});
    let reply = send(org, "POST", &v65("composite"), body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["compositeResponse"].as_array().unwrap().clone()
}

fn statuses(answers: &[Value]) -> Vec<u64> {
    answers.iter().map(|a| a["httpStatusCode"].as_u64().unwrap()).collect()
}

fn family(last: Value) -> Vec<Value> {
    vec![
        part("POST", "sobjects/Account", "a", json!({"Name": "Acme", "NumberOfEmployees": 5})),
        part("GET", "sobjects/Account/@{a.id}?fields=Name,NumberOfEmployees", "row", Value::Null),
        part("GET", "query?q=SELECT Id FROM Account WHERE Name = '@{row.Name}'", "q", Value::Null),
        part(
            "POST",
            "sobjects/Contact",
            "c",
            json!({"LastName": "of @{row.Name}", "AccountId": "@{q.records[0].Id}"}),
        ),
        last,
    ]
}

#[test]
fn later_requests_use_the_answers_of_earlier_ones() {
    let org = org(OrgConfig::default());
    let used = |org: &RunningOrg| get(org, &v65("limits")).json()["DailyApiRequests"]["Remaining"].as_u64().unwrap();
    let before = used(&org);
    let last = part(
        "PATCH",
        "sobjects/Account/@{a.id}",
        "u",
        json!({"NumberOfEmployees": "@{row.NumberOfEmployees}", "Site": "@{c.id}"}),
    );
    let answers = composite(&org, false, family(last));
    assert_eq!(statuses(&answers), [201, 200, 200, 201, 204]);
    // The composite call and the second look at the limits.
    assert_eq!(before - used(&org), 2);
    let id = answers[0]["body"]["id"].as_str().unwrap();
    assert_eq!(
        answers[0]["httpHeaders"],
        json!({"Location": v65(&format!("sobjects/Account/{id}"))})
    );
    assert_eq!(answers[4]["body"], Value::Null);
    let refs: Vec<&str> = answers.iter().map(|a| a["referenceId"].as_str().unwrap()).collect();
    assert_eq!(refs, ["a", "row", "q", "c", "u"]);
    let row = soql(&org, "SELECT LastName, Account.Name FROM Contact").json()["records"][0].clone();
    assert_eq!((&row["LastName"], &row["Account"]["Name"]), (&json!("of Acme"), &json!("Acme")));
}

#[test]
fn without_all_or_none_good_requests_stay_and_dependants_halt() {
    let org = org(OrgConfig::default());
    let answers = composite(
        &org,
        false,
        vec![
            part("POST", "sobjects/Account", "a", json!({"Name": "kept"})),
            part("POST", "sobjects/Account", "bad", json!({"Name": null})),
            part("POST", "sobjects/Contact", "c", json!({"LastName": "x", "AccountId": "@{bad.id}"})),
            part("GET", "sobjects/Foo", "foo", Value::Null),
            part("GET", "query?q=SELECT Id FROM Foo", "soql", Value::Null),
        ],
    );
    assert_eq!(statuses(&answers), [201, 400, 400, 404, 400]);
    let codes: Vec<&str> = answers[1..].iter().map(|a| a["body"][0]["errorCode"].as_str().unwrap()).collect();
    assert_eq!(codes, ["REQUIRED_FIELD_MISSING", "PROCESSING_HALTED", "NOT_FOUND", "INVALID_TYPE"]);
    assert_eq!((org.count("Account"), org.count("Contact")), (1, 0));
}

#[test]
fn all_or_none_undoes_rows_and_their_effects() {
    let org = org(OrgConfig::default());
    let broken = part("POST", "sobjects/Contact", "bad", json!({"LastName": "x", "Email": "no mail"}));
    let answers = composite(&org, true, family(broken));
    assert_eq!(statuses(&answers), [400; 5]);
    for answer in &answers[..4] {
        assert_eq!(answer["body"][0], json!({"errorCode": "PROCESSING_HALTED", "message": HALTED}));
    }
    assert_eq!(answers[4]["body"][0]["errorCode"], "INVALID_EMAIL_ADDRESS");
    assert_eq!((org.count("Account"), org.count("Contact")), (0, 0));
    let fine = part("POST", "sobjects/Contact", "good", json!({"LastName": "x"}));
    assert_eq!(statuses(&composite(&org, true, family(fine))), [201, 200, 200, 201, 201]);
    assert_eq!((org.count("Account"), org.count("Contact")), (1, 2));
}

#[test]
fn a_collection_that_undid_itself_undoes_the_composite_around_it() {
    let org = org(OrgConfig::default());
    let parts = |all: bool| {
        let records = json!([{"attributes": {"type": "Contact"}, "LastName": "x"}, {"attributes": {"type": "Contact"}}]);
        vec![
            part("POST", "sobjects/Account", "a", json!({"Name": "A"})),
            part("POST", "composite/sobjects", "many", json!({"allOrNone": all, "records": records})),
        ]
    };
    assert_eq!(statuses(&composite(&org, true, parts(true)))[0], 400);
    assert_eq!((org.count("Account"), org.count("Contact")), (0, 0));
    // One that may succeed in part has not failed.
    assert_eq!(statuses(&composite(&org, true, parts(false))), [201, 200]);
    assert_eq!((org.count("Account"), org.count("Contact")), (1, 1));
}

#[test]
fn subrequest_headers_count_for_their_part_alone() {
    let org = org(OrgConfig::default());
    let mut fresh = part("GET", "sobjects/Account/describe", "fresh", Value::Null);
    fresh["httpHeaders"] = json!({"If-Modified-Since": "Sat, 01 Jan 2050 00:00:00 GMT"});
    let mut barred = part("GET", "limits", "barred", Value::Null);
    barred["httpHeaders"] = json!({"Authorization": "Bearer other"});
    let full = part("GET", "sobjects/Account/describe", "full", Value::Null);
    let answers = composite(&org, false, vec![fresh, barred, full]);
    assert_eq!(statuses(&answers), [304, 400, 200]);
    assert_eq!(answers[0]["body"], Value::Null);
    let headers = answers[0]["httpHeaders"].as_object().unwrap();
    assert_eq!(headers.keys().collect::<Vec<_>>(), ["ETag", "Last-Modified"]);
    assert_eq!(answers[2]["body"]["name"], "Account");
}

#[test]
fn composite_calls_beyond_their_limits_are_refused_whole() {
    let org = org(OrgConfig::default());
    let read = |i: usize| part("GET", "limits", &format!("r{i}"), Value::Null);
    let query = |i: usize| part("GET", "query?q=SELECT Id FROM Account", &format!("r{i}"), Value::Null);
    let refused = |parts: Vec<Value>| {
        let reply = send(&org, "POST", &v65("composite"), json!({"compositeRequest": parts}));
        (reply.status, reply.code())
    };
    assert_eq!(composite(&org, false, (0..25).map(read).collect()).len(), 25);
    assert_eq!(refused((0..26).map(read).collect()), (400, "LIMIT_EXCEEDED".into()));
    assert_eq!(composite(&org, false, (0..5).map(query).collect()).len(), 5);
    assert_eq!(refused((0..6).map(query).collect()), (400, "LIMIT_EXCEEDED".into()));
    assert_eq!(refused(vec![read(1), read(1)]), (400, "INVALID_INPUT".into()));
    assert_eq!(
        refused(vec![part("GET", "limits", "a-b", Value::Null)]),
        (400, "INVALID_INPUT".into())
    );
    assert_eq!(refused(vec![]), (400, "JSON_PARSER_ERROR".into()));
    let nested = part("POST", "composite", "n", json!({"compositeRequest": [read(1)]}));
    assert_eq!(statuses(&composite(&org, false, vec![nested])), [400]);
    assert_eq!(get(&org, &v65("composite/batch")).status, 405);
}

#[test]
fn a_batch_runs_each_part_for_itself_and_halts_when_asked() {
    let org = org(OrgConfig::default());
    let parts = json!([
        {"method": "POST", "url": "v65.0/sobjects/Account", "richInput": {"Name": "A"}},
        {"method": "GET", "url": "v65.0/sobjects/Account/001000000000001AAA"},
        {"method": "GET", "url": "/services/data/v60.0/query?q=SELECT Name FROM Account"},
    ]);
    let run = |halt: bool| {
        send(
            &org,
            "POST",
            &v65("composite/batch"),
            json!({"haltOnError": halt, "batchRequests": parts}),
        )
        .json()
    };
    let answer = run(false);
    assert_eq!(answer["hasErrors"], true);
    let codes = |answer: &Value| -> Vec<u64> {
        let list = answer["results"].as_array().unwrap();
        list.iter().map(|r| r["statusCode"].as_u64().unwrap()).collect()
    };
    assert_eq!(codes(&answer), [201, 404, 200]);
    assert_eq!(answer["results"][2]["result"]["records"][0]["Name"], "A");
    let answer = run(true);
    assert_eq!(codes(&answer), [201, 404, 412]);
    assert_eq!(answer["results"][2]["result"][0]["errorCode"], "BATCH_PROCESSING_HALTED");
    assert_eq!(org.count("Account"), 2);
}

fn graph(id: &str, good: bool) -> Value {
    let mail = if good { "a@b.example" } else { "no mail" };
    json!({"graphId": id, "compositeRequest": [
        part("POST", "sobjects/Account", "a", json!({"Name": id})),
        part("POST", "sobjects/Contact", "c", json!({"LastName": id, "AccountId": "@{a.id}", "Email": mail})),
    ]})
}

fn graphs(org: &RunningOrg, list: Vec<Value>) -> support::Reply {
    send(org, "POST", &v65("composite/graph"), json!({"graphs": list}))
}

#[test]
fn each_graph_is_one_transaction() {
    let org = org(OrgConfig::default());
    let answer = graphs(&org, vec![graph("g1", true), graph("g2", false), graph("g3", true)]).json();
    let good: Vec<bool> = (0..3).map(|i| answer["graphs"][i]["isSuccessful"].as_bool().unwrap()).collect();
    assert_eq!(good, [true, false, true]);
    let failed = &answer["graphs"][1]["graphResponse"]["compositeResponse"];
    assert_eq!(failed[0]["body"][0]["errorCode"], "PROCESSING_HALTED");
    assert_eq!(failed[1]["body"][0]["errorCode"], "INVALID_EMAIL_ADDRESS");
    assert_eq!((org.count("Account"), org.count("Contact")), (2, 2));
}

#[test]
fn graphs_after_too_many_failures_do_not_run() {
    let org = org(OrgConfig::default());
    let mut list: Vec<Value> = (0..15).map(|i| graph(&format!("bad{i}"), false)).collect();
    list.push(graph("late", true));
    let answer = graphs(&org, list).json();
    let late = &answer["graphs"][15];
    assert_eq!(late["isSuccessful"], false);
    assert_eq!(
        late["graphResponse"]["compositeResponse"][0]["body"][0]["errorCode"],
        "PROCESSING_HALTED"
    );
    assert_eq!(org.count("Account"), 0);
    let mut list: Vec<Value> = (0..14).map(|i| graph(&format!("bad{i}"), false)).collect();
    list.push(graph("late", true));
    assert_eq!(graphs(&org, list).json()["graphs"][14]["isSuccessful"], true);
}

#[test]
fn graphs_beyond_their_limits_are_refused_whole() {
    let org = org(OrgConfig::default());
    let refused = |list: Vec<Value>| {
        let reply = graphs(&org, list);
        (reply.status, reply.code())
    };
    let limit = (400, "LIMIT_EXCEEDED".to_owned());
    assert_eq!(refused((0..76).map(|i| graph(&format!("g{i}"), true)).collect()), limit);
    let nodes = |n: usize| {
        json!({"graphId": "g", "compositeRequest": (0..n).map(|i|
        part("POST", "sobjects/Account", &format!("a{i}"), json!({"Name": "A"}))).collect::<Vec<_>>()})
    };
    assert_eq!(refused(vec![nodes(501)]), limit);
    assert_eq!(org.count("Account"), 0);
    let chain = |n: usize| {
        json!({"graphId": "g", "compositeRequest": (0..n).map(|i| {
        let parent = if i == 0 { Value::Null } else { json!(format!("@{{a{}.id}}", i - 1)) };
        part("POST", "sobjects/Account", &format!("a{i}"), json!({"Name": "A", "ParentId": parent}))
    }).collect::<Vec<_>>()})
    };
    assert_eq!(refused(vec![chain(16)]), limit);
    assert_eq!(graphs(&org, vec![chain(15)]).json()["graphs"][0]["isSuccessful"], true);
    let query = json!({"graphId": "g", "compositeRequest": [part("GET", "query?q=SELECT Id FROM Account", "q", Value::Null)]});
    assert_eq!(refused(vec![query]), (400, "INVALID_INPUT".into()));
    assert_eq!(refused(vec![graph("g", true), graph("g", true)]), (400, "INVALID_INPUT".into()));
}

#[test]
fn a_tree_creates_nested_records_or_nothing() {
    let org = org(OrgConfig::default());
    let tree = |mail: &str| {
        json!({"records": [
            {"attributes": {"type": "Account", "referenceId": "r1"}, "Name": "A", "Contacts": {"records": [
                {"attributes": {"type": "Contact", "referenceId": "r2"}, "LastName": "L", "Email": mail,
                 "Cases": {"records": [{"attributes": {"type": "Case", "referenceId": "r3"}, "Subject": "S"}]}},
                {"attributes": {"type": "Contact", "referenceId": "r4"}, "LastName": "M"}]}},
            {"attributes": {"type": "Account", "referenceId": "r5"}, "Name": "B"}]})
    };
    let path = v65("composite/tree/Account");
    let reply = send(&org, "POST", &path, tree("no mail"));
    assert_eq!(reply.status, 400);
    let answer = reply.json();
    assert_eq!(
        (&answer["hasErrors"], answer["results"].as_array().unwrap().len()),
        (&json!(true), 1)
    );
    let error = &answer["results"][0];
    assert_eq!(
        (&error["referenceId"], &error["errors"][0]["statusCode"]),
        (&json!("r2"), &json!("INVALID_EMAIL_ADDRESS"))
    );
    assert_eq!(error["errors"][0]["fields"], json!(["Email"]));
    assert_eq!((org.count("Account"), org.count("Contact"), org.count("Case")), (0, 0, 0));
    let reply = send(&org, "POST", &path, tree("a@b.example"));
    assert_eq!(reply.status, 201);
    let answer = reply.json();
    assert_eq!(answer["hasErrors"], false);
    let refs: Vec<&str> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["referenceId"].as_str().unwrap())
        .collect();
    assert_eq!(refs, ["r1", "r2", "r3", "r4", "r5"]);
    let case = soql(&org, "SELECT Contact.LastName, Contact.Account.Name FROM Case").json()["records"][0].clone();
    assert_eq!(case["Contact"]["Account"]["Name"], "A");
    assert_eq!(case["Contact"]["LastName"], "L");
}

#[test]
fn malformed_trees_are_refused_before_anything_is_written() {
    let org = org(OrgConfig::default());
    let account = |id: &str| json!({"attributes": {"type": "Account", "referenceId": id}, "Name": id});
    let refused = |records: Vec<Value>| {
        let reply = send(&org, "POST", &v65("composite/tree/Account"), json!({"records": records}));
        (reply.status, reply.code())
    };
    let invalid = (400, "INVALID_INPUT".to_owned());
    assert_eq!(refused(vec![account("a"), account("a")]), invalid);
    assert_eq!(refused(vec![account("")]), invalid);
    assert_eq!(
        refused(vec![json!({"attributes": {"type": "Contact", "referenceId": "c"}})]),
        invalid
    );
    assert_eq!(
        refused((0..201).map(|i| account(&format!("a{i}"))).collect()),
        (400, "LIMIT_EXCEEDED".into())
    );
    let mut strange = account("a");
    strange["Wheels"] = json!({"records": [account("b")]});
    assert_eq!(refused(vec![strange]), (400, "INVALID_FIELD".into()));
    let mut deep = account("l6");
    for level in (1..6).rev() {
        let mut above = account(&format!("l{level}"));
        above["ChildAccounts"] = json!({"records": [deep]});
        deep = above;
    }
    assert_eq!(refused(vec![deep]), (400, "LIMIT_EXCEEDED".into()));
    assert_eq!(org.count("Account"), 0);
}

#[test]
fn setup_and_data_do_not_mix_in_one_transaction() {
    let org = org(OrgConfig::default());
    let parts = || {
        vec![
            part("POST", "sobjects/Account", "a", json!({"Name": "A"})),
            part("POST", "sobjects/Group", "g", json!({"Name": "G", "Type": "Regular"})),
        ]
    };
    let groups = org.count("Group");
    let answers = composite(&org, true, parts());
    assert_eq!(statuses(&answers), [400, 400]);
    assert_eq!(answers[0]["body"][0]["message"], HALTED);
    let refusal = &answers[1]["body"][0];
    assert_eq!(refusal["errorCode"], "MIXED_DML_OPERATION");
    assert!(refusal["message"].as_str().unwrap().ends_with("Group, original object: Account"));
    let graph = json!({"graphs": [{"graphId": "1", "compositeRequest": parts()}]});
    let graph = send(&org, "POST", &v65("composite/graph"), graph).json();
    assert_eq!(graph["graphs"][0]["isSuccessful"], false);
    assert_eq!(
        graph["graphs"][0]["graphResponse"]["compositeResponse"][1]["body"][0]["errorCode"],
        "MIXED_DML_OPERATION"
    );
    assert_eq!((org.count("Account"), org.count("Group")), (0, groups));
    // Each for itself, they are transactions of their own.
    let answers = composite(&org, false, parts());
    assert_eq!(statuses(&answers), [201, 201]);
    // So are deletions, and a user's harmless fields mix with anything.
    let (account, group) = (
        answers[0]["body"]["id"].as_str().unwrap(),
        answers[1]["body"]["id"].as_str().unwrap(),
    );
    let user = format!("sobjects/User/{}", org.user_id);
    let answers = composite(
        &org,
        true,
        vec![
            part("PATCH", &user, "u", json!({"Phone": "1"})),
            part("DELETE", &format!("sobjects/Account/{account}"), "d", Value::Null),
            part("DELETE", &format!("sobjects/Group/{group}"), "e", Value::Null),
        ],
    );
    assert_eq!(statuses(&answers), [400, 400, 400]);
    assert_eq!(answers[2]["body"][0]["errorCode"], "MIXED_DML_OPERATION");
    let answers = composite(
        &org,
        true,
        vec![
            part("PATCH", &user, "u", json!({"Phone": "1"})),
            part("DELETE", &format!("sobjects/Account/{account}"), "d", Value::Null),
            part("PATCH", &user, "v", json!({"Phone": "2"})),
        ],
    );
    assert_eq!(statuses(&answers), [204, 204, 204]);
    // A collection inside is part of the transaction.
    let records = json!({"records": [{"attributes": {"type": "Group"}, "Name": "H", "Type": "Regular"}]});
    let answers = composite(
        &org,
        true,
        vec![
            part("POST", "sobjects/Account", "a", json!({"Name": "A"})),
            part("POST", "composite/sobjects", "c", records),
        ],
    );
    assert_eq!(answers[1]["body"][0]["errors"][0]["statusCode"], "MIXED_DML_OPERATION");
}
