//! Describe global, recent items, changes by window, search, list views and tooling queries.
#![allow(clippy::unwrap_used)]

mod support;

use chrono::{Duration, Utc};
use serde_json::{Value, json};
use support::{get, org, send, soql, try_send, v65};
use syncline_salesforce_simulator::{Flavour, OrgConfig, RunningOrg};

fn created(org: &RunningOrg, object: &str, body: Value) -> String {
    let reply = send(org, "POST", &v65(&format!("sobjects/{object}")), body);
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()["id"].as_str().unwrap().to_owned()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn every_global_entry_has_the_keys_of_a_real_one_and_can_be_described() {
    let org = org(OrgConfig::default());
    let real: Value = serde_json::from_str(include_str!("../data/describe/_global.json")).unwrap();
    let account = &real["sobjects"][0];
    assert_eq!(account["name"], "Account");
    let global = get(&org, "/services/data/v55.0/sobjects").json();
    assert_eq!(keys(&global), ["encoding", "maxBatchSize", "sobjects"]);
    let list = global["sobjects"].as_array().unwrap();
    let own = list.iter().find(|e| e["name"] == "Account").unwrap();
    assert_eq!(keys(&own["urls"]), keys(&account["urls"]));
    for entry in list {
        assert_eq!(keys(entry), keys(account), "{}", entry["name"]);
        let name = entry["name"].as_str().unwrap();
        for url in entry["urls"].as_object().unwrap().values() {
            assert!(url.as_str().unwrap().starts_with(&format!("/services/data/v55.0/sobjects/{name}")));
        }
        let describe = get(&org, entry["urls"]["describe"].as_str().unwrap()).json();
        for key in keys(entry).into_iter().filter(|k| *k != "urls") {
            assert_eq!(entry[key], describe[key], "{name}.{key}");
        }
    }
}

#[test]
fn recent_items_are_those_a_client_asked_to_note() {
    let org = org(OrgConfig::default());
    let auth = format!("Bearer {}", org.token);
    let first = created(&org, "Account", json!({"Name": "first"}));
    let second = created(&org, "Account", json!({"Name": "second"}));
    let contact = created(&org, "Contact", json!({"LastName": "L", "FirstName": "F"}));
    assert_eq!(get(&org, &v65("recent")).json(), json!([]));
    for (object, id) in [("Account", &first), ("Contact", &contact), ("Account", &second)] {
        let headers = [("authorization", auth.as_str()), ("sforce-mru", "updateMru=true")];
        let path = v65(&format!("sobjects/{object}/{id}"));
        assert_eq!(try_send(&org, "GET", &path, &headers, b"").unwrap().status, 200);
    }
    let recent = get(&org, &v65("recent?limit=2")).json();
    assert_eq!(recent.as_array().unwrap().len(), 2);
    assert_eq!((&recent[0]["Name"], &recent[1]["Name"]), (&json!("second"), &json!("F L")));
    assert_eq!(recent[0]["attributes"]["url"], v65(&format!("sobjects/Account/{second}")));
    let basic = get(&org, &v65("sobjects/Account")).json();
    assert_eq!(keys(&basic), ["objectDescribe", "recentItems"]);
    let names: Vec<&str> = basic["recentItems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["Name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["second", "first"]);
    assert_eq!(get(&org, &v65("recent?limit=0")).status, 400);
}

#[test]
fn changed_and_deleted_records_are_told_by_window() {
    let org = org(OrgConfig::default());
    let kept = created(&org, "Account", json!({"Name": "kept"}));
    let gone = created(&org, "Account", json!({"Name": "gone"}));
    send(&org, "DELETE", &v65(&format!("sobjects/Account/{gone}")), Value::Null);
    let at = |minutes: i64| {
        (Utc::now() + Duration::minutes(minutes))
            .format("%Y-%m-%dT%H:%M:%S%%2B00:00")
            .to_string()
    };
    let ask = |kind: &str, start: String, end: String| get(&org, &v65(&format!("sobjects/Account/{kind}/?start={start}&end={end}")));
    let updated = ask("updated", at(-5), at(5)).json();
    assert_eq!(keys(&updated), ["ids", "latestDateCovered"]);
    assert_eq!(updated["ids"], json!([kept]));
    let covered = updated["latestDateCovered"].as_str().unwrap();
    assert!(covered.ends_with(":00.000+0000") && covered[..16] <= *Utc::now().format("%Y-%m-%dT%H:%M").to_string());
    let deleted = ask("deleted", at(-5), at(5)).json();
    assert_eq!(keys(&deleted), ["deletedRecords", "earliestDateAvailable", "latestDateCovered"]);
    let list = deleted["deletedRecords"].as_array().unwrap();
    assert_eq!((list.len(), &list[0]["id"]), (1, &json!(gone)));
    assert!(list[0]["deletedDate"].as_str().unwrap().ends_with("+0000"));
    // Before, or after: nothing.
    assert_eq!(ask("updated", at(-50), at(-40)).json()["ids"], json!([]));
    for (kind, start, end) in [
        ("updated", at(5), at(-5)),
        ("updated", at(-60 * 24 * 31), at(0)),
        ("deleted", at(-60 * 24 * 16), at(0)),
        ("updated", "yesterday".into(), at(0)),
    ] {
        let reply = ask(kind, start, end);
        assert_eq!((reply.status, reply.code()), (400, "INVALID_REPLICATION_DATE".into()));
    }
    assert_eq!(get(&org, &v65("sobjects/Account/updated")).code(), "MISSING_ARGUMENT");
}

#[test]
fn deleted_records_answer_query_all_alone() {
    let org = org(OrgConfig::default());
    let gone = created(&org, "Account", json!({"Name": "gone"}));
    send(&org, "DELETE", &v65(&format!("sobjects/Account/{gone}")), Value::Null);
    let all = get(
        &org,
        &v65("queryAll?q=SELECT+Id,IsDeleted,MasterRecordId+FROM+Account+WHERE+IsDeleted=true"),
    )
    .json();
    assert_eq!(all["totalSize"], 1);
    assert_eq!(
        (&all["records"][0]["IsDeleted"], &all["records"][0]["MasterRecordId"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(soql(&org, "SELECT Id FROM Account WHERE IsDeleted = true").json()["totalSize"], 0);
}

fn sosl(org: &RunningOrg, text: &str) -> support::Reply {
    let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    get(org, &v65(&format!("search?q={encoded}")))
}

#[test]
fn a_search_finds_words_and_answers_as_returning_says() {
    let org = org(OrgConfig::default());
    for (name, site) in [("Acme North", "oil"), ("Acme South", "gas"), ("Other", "acme street")] {
        created(&org, "Account", json!({"Name": name, "Site": site}));
    }
    let person = created(&org, "Contact", json!({"LastName": "Acme", "Email": "a@acme.example"}));
    let found = |text: &str, key: &str| -> Vec<String> {
        let answer = sosl(&org, text).json();
        assert_eq!(keys(&answer), ["searchRecords"]);
        let list = answer["searchRecords"].as_array().unwrap().clone();
        list.iter().map(|r| r[key].as_str().unwrap_or_default().to_owned()).collect()
    };
    let text = "FIND {acme} IN NAME FIELDS RETURNING Account(Name ORDER BY Name DESC), Contact(Name, Email)";
    assert_eq!(found(text, "Name"), ["Acme South", "Acme North", "Acme"]);
    assert_eq!(
        found("FIND {acme} RETURNING Account(Name WHERE Site = 'acme street')", "Name"),
        ["Other"]
    );
    assert_eq!(found("FIND {acme AND NOT (gas OR oil)} RETURNING Account(Name)", "Name"), ["Other"]);
    assert_eq!(found("FIND {a@acme.example} IN EMAIL FIELDS", "Id"), [person.as_str()]);
    assert_eq!(
        found("FIND {acme} RETURNING Account(Name ORDER BY Name LIMIT 1), Contact LIMIT 5", "Name"),
        ["Acme North", ""]
    );
    assert!(found("FIND {nothing at all}", "Id").is_empty());
    assert_eq!(sosl(&org, "FIND acme").code(), "MALFORMED_SEARCH");
    assert_eq!(sosl(&org, "FIND {acme} RETURNING Foo").code(), "INVALID_TYPE");
    assert_eq!(sosl(&org, "FIND {acme} RETURNING Account(Foo)").code(), "INVALID_FIELD");
    let body = json!({"q": "acme", "in": "NAME", "overallLimit": 2,
        "sobjects": [{"name": "Contact"}, {"name": "Account", "fields": ["Name"], "where": "Site = 'gas'"}]});
    let answer = send(&org, "POST", &v65("parameterizedSearch"), body).json();
    let list = answer["searchRecords"].as_array().unwrap();
    assert_eq!(
        (list.len(), &list[0]["Id"], &list[1]["Name"]),
        (2, &json!(person), &json!("Acme South"))
    );
    let answer = get(
        &org,
        &v65("parameterizedSearch?q=acme&sobject=Account&Account.fields=Name&Account.limit=1"),
    )
    .json();
    assert_eq!(answer["searchRecords"].as_array().unwrap().len(), 1);
}

#[test]
fn the_list_view_shows_all_records_page_by_page() {
    let org = org(OrgConfig {
        query_page_rows: 2,
        ..OrgConfig::default()
    });
    for name in ["c", "a", "d", "b"] {
        created(&org, "Account", json!({"Name": name, "AnnualRevenue": 5}));
    }
    let list = get(&org, &v65("sobjects/Account/listviews")).json();
    assert_eq!((&list["size"], &list["sobjectType"]), (&json!(1), &json!("Account")));
    let view = &list["listviews"][0];
    assert_eq!(
        (&view["label"], &view["developerName"]),
        (&json!("All Accounts"), &json!("AllAccounts"))
    );
    let results = |tail: &str| get(&org, &format!("{}{tail}", view["resultsUrl"].as_str().unwrap())).json();
    let page = results("?limit=3");
    assert_eq!(keys(&page), ["columns", "developerName", "done", "id", "label", "records", "size"]);
    let names = |page: &Value| -> Vec<String> {
        let rows = page["records"].as_array().unwrap();
        rows.iter().map(|r| r["columns"][0]["value"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        (names(&page), &page["done"]),
        (vec!["a".into(), "b".into(), "c".into()], &json!(false))
    );
    let last = results("?limit=3&offset=3");
    assert_eq!((names(&last), &last["done"]), (vec!["d".to_owned()], &json!(true)));
    let describe = get(&org, view["describeUrl"].as_str().unwrap()).json();
    assert_eq!(soql(&org, describe["query"].as_str().unwrap()).json()["totalSize"], 4);
    assert_eq!(get(&org, &v65("sobjects/Contact/listviews/00BWy0000000001AAA")).status, 404);
}

#[test]
fn objects_can_be_listed_by_query_in_both_apis() {
    let org = org(OrgConfig::default());
    let q = "SELECT+QualifiedApiName,Label,IsEverUpdatable+FROM+EntityDefinition+WHERE+IsQueryable=true+AND+QualifiedApiName='Account'";
    for path in [format!("query?q={q}"), format!("tooling/query?q={q}")] {
        let answer = get(&org, &v65(&path)).json();
        assert_eq!(
            (&answer["totalSize"], &answer["records"][0]["Label"]),
            (&json!(1), &json!("Account")),
            "{path}"
        );
    }
    let all = soql(&org, "SELECT COUNT() FROM EntityDefinition").json()["totalSize"]
        .as_u64()
        .unwrap();
    let global = get(&org, &v65("sobjects")).json()["sobjects"].as_array().unwrap().len() as u64;
    assert_eq!(all, global);
    let counts = get(&org, &v65("limits/recordCount")).json();
    assert!(!counts.to_string().contains("EntityDefinition"));
    assert_eq!(
        get(&org, &v65("tooling/query?q=SELECT+Id+FROM+SandboxProcess")).code(),
        "INVALID_TYPE"
    );
    assert_eq!(get(&org, &v65("tooling/sobjects/Account/describe")).status, 404);
    let resources = get(&org, "/services/data/v61.0/").json();
    for name in [
        "composite",
        "jobs",
        "limits",
        "query",
        "queryAll",
        "recent",
        "search",
        "parameterizedSearch",
        "sobjects",
        "tooling",
    ] {
        assert_eq!(resources[name], format!("/services/data/v61.0/{name}"));
    }
}

#[test]
fn two_sandboxes_are_two_orgs() {
    let sandbox = |org_number| {
        org(OrgConfig {
            flavour: Flavour::Sandbox,
            org_number,
            ..OrgConfig::default()
        })
    };
    let (usual, other) = (sandbox(None), sandbox(Some(7)));
    assert_ne!(usual.org_id, other.org_id);
    for org in [&usual, &other] {
        assert_eq!(
            soql(org, "SELECT Id FROM Organization").json()["records"][0]["Id"],
            json!(org.org_id)
        );
    }
}
