//! Merging and undeleting through the control API, seen through the org's own.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Reply, get, org, send, soql, v65};
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};

fn created(org: &RunningOrg, object: &str, body: Value) -> String {
    let reply = send(org, "POST", &v65(&format!("sobjects/{object}")), body);
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()["id"].as_str().unwrap().to_owned()
}

fn query_all(org: &RunningOrg, text: &str) -> Value {
    let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    get(org, &v65(&format!("queryAll?q={encoded}"))).json()
}

fn merge(org: &RunningOrg, body: Value) -> Reply {
    send(org, "POST", "/__sim/merge", body)
}

fn undelete(org: &RunningOrg, ids: &[&str]) -> Value {
    send(org, "POST", "/__sim/undelete", json!({"ids": ids})).json()
}

fn delete(org: &RunningOrg, object: &str, id: &str) {
    assert_eq!(
        send(org, "DELETE", &v65(&format!("sobjects/{object}/{id}")), Value::Null).status,
        204
    );
}

#[test]
fn a_merge_moves_links_and_names_the_master_on_the_losers() {
    let org = org(OrgConfig::default());
    let account = |name: &str| created(&org, "Account", json!({"Name": name}));
    let (master, first, second) = (account("master"), account("first"), account("second"));
    send(
        &org,
        "PATCH",
        &v65(&format!("sobjects/Account/{master}")),
        json!({"ParentId": first}),
    );
    let contact = created(&org, "Contact", json!({"LastName": "L", "AccountId": first}));
    let task = created(&org, "Task", json!({"Subject": "S", "WhatId": second}));
    let reply = merge(
        &org,
        json!({"master": master, "losers": [first, second], "fields": {"Site": "merged"}}),
    );
    assert_eq!(reply.status, 200, "{}", reply.text());
    let answer = reply.json();
    let mut moved: Vec<&str> = answer["updatedRelatedIds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i.as_str().unwrap())
        .collect();
    moved.retain(|id| *id == contact || *id == task);
    assert_eq!(moved.len(), 2);
    assert_eq!(
        soql(&org, "SELECT AccountId FROM Contact").json()["records"][0]["AccountId"],
        master.as_str()
    );
    assert_eq!(
        soql(&org, "SELECT WhatId FROM Task").json()["records"][0]["WhatId"],
        master.as_str()
    );
    let own = get(&org, &v65(&format!("sobjects/Account/{master}"))).json();
    assert_eq!((&own["Site"], &own["ParentId"]), (&json!("merged"), &Value::Null));
    let losers = query_all(
        &org,
        "SELECT Name, IsDeleted, MasterRecordId FROM Account WHERE MasterRecordId != null ORDER BY Name",
    );
    assert_eq!(losers["totalSize"], 2);
    for (i, name) in ["first", "second"].into_iter().enumerate() {
        let row = &losers["records"][i];
        assert_eq!(
            (&row["Name"], &row["IsDeleted"], &row["MasterRecordId"]),
            (&json!(name), &json!(true), &json!(master))
        );
    }
    assert_eq!((org.count("Account"), org.count("Contact")), (1, 1));
}

#[test]
fn merges_that_cannot_be_change_nothing() {
    let org = org(OrgConfig::default());
    let account = |name: &str| created(&org, "Account", json!({"Name": name}));
    let (a, b, c, d) = (account("a"), account("b"), account("c"), account("d"));
    let contact = created(&org, "Contact", json!({"LastName": "L", "AccountId": b}));
    let product = created(&org, "Product2", json!({"Name": "P"}));
    let other = created(&org, "Product2", json!({"Name": "Q"}));
    delete(&org, "Account", &d);
    for (master, losers, fields, code) in [
        (&a, vec![], json!({}), "INVALID_NUMBER_OF_RECORDS_TO_MERGE"),
        (&a, vec![&a, &b, &c], json!({}), "INVALID_NUMBER_OF_RECORDS_TO_MERGE"),
        (&a, vec![&a], json!({}), "INVALID_ID_FIELD"),
        (&a, vec![&b, &b], json!({}), "INVALID_ID_FIELD"),
        (&a, vec![&contact], json!({}), "INVALID_ID_FIELD"),
        (&a, vec![&d], json!({}), "ENTITY_IS_DELETED"),
        (&product, vec![&other], json!({}), "INVALID_TYPE_FOR_OPERATION"),
        // The links have moved when the master's fields are refused.
        (&a, vec![&b], json!({"Nope": 1}), "INVALID_FIELD"),
    ] {
        let reply = merge(&org, json!({"master": master, "losers": losers, "fields": fields}));
        assert_eq!(reply.code(), code);
    }
    assert_eq!(org.count("Account"), 3);
    assert_eq!(
        soql(&org, "SELECT AccountId FROM Contact").json()["records"][0]["AccountId"],
        b.as_str()
    );
}

#[test]
fn an_undeleted_record_brings_back_what_went_with_it() {
    let org = org(OrgConfig::default());
    let account = created(&org, "Account", json!({"Name": "A", "Ext_Id__c": "k1"}));
    let contact = created(&org, "Contact", json!({"LastName": "L", "AccountId": account}));
    delete(&org, "Account", &account);
    let gone = (org.count("Account"), org.count("Contact"));
    assert_eq!(gone, (0, 0), "an account takes its contacts along");
    let results = undelete(&org, &[&account, &account]);
    assert_eq!(
        (&results[0]["success"], &results[1]["errors"][0]["statusCode"]),
        (&json!(true), &json!("UNDELETE_FAILED"))
    );
    let row = get(&org, &v65(&format!("sobjects/Contact/{contact}"))).json();
    assert_eq!((&row["AccountId"], &row["IsDeleted"]), (&json!(account), &json!(false)));
    // The key works again.
    assert_eq!(get(&org, &v65("sobjects/Account/Ext_Id__c/k1")).json()["Id"], account.as_str());
}

#[test]
fn an_undelete_respects_keys_taken_meanwhile() {
    let org = org(OrgConfig::default());
    let account = |name: &str| created(&org, "Account", json!({"Name": name, "Ext_Id__c": "k1"}));
    let old = account("old");
    delete(&org, "Account", &old);
    let new = account("new");
    let results = undelete(&org, &[&old]);
    assert_eq!(results[0]["errors"][0]["statusCode"], "DUPLICATE_VALUE");
    assert_eq!(org.count("Account"), 1);
    delete(&org, "Account", &new);
    assert_eq!(undelete(&org, &[&old])[0]["success"], true);
    assert_eq!(
        undelete(&org, &["001000000000001AAA"])[0]["errors"][0]["statusCode"],
        "UNDELETE_FAILED"
    );
}
