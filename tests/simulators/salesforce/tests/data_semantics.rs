//! Currencies, restricted deletes, storage by object, late commits and other data rules.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use serde_json::{Value, json};
use support::{get, org, send, soql, v65};
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};

fn created(org: &RunningOrg, object: &str, body: Value) -> String {
    let reply = send(org, "POST", &v65(&format!("sobjects/{object}")), body);
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_currency_changed_alone_converts_and_with_values_does_not() {
    let org = org(OrgConfig {
        multi_currency: true,
        ..OrgConfig::default()
    });
    assert_eq!(
        soql(&org, "SELECT Id FROM CurrencyType WHERE IsActive = true").json()["totalSize"],
        4
    );
    let account = created(
        &org,
        "Account",
        json!({"Name": "A", "AnnualRevenue": 1000, "CurrencyIsoCode": "USD"}),
    );
    let path = v65(&format!("sobjects/Account/{account}"));
    assert_eq!(send(&org, "PATCH", &path, json!({"CurrencyIsoCode": "EUR"})).status, 204);
    assert_eq!(get(&org, &path).json()["AnnualRevenue"], 920.0);
    let both = json!({"CurrencyIsoCode": "GBP", "AnnualRevenue": 5});
    assert_eq!(send(&org, "PATCH", &path, both).status, 204);
    assert_eq!(get(&org, &path).json()["AnnualRevenue"], 5.0);
    for code in ["XXX", "JPY"] {
        if code == "JPY" {
            let yen = soql(&org, "SELECT Id FROM CurrencyType WHERE IsoCode = 'JPY'").json();
            let id = yen["records"][0]["Id"].as_str().unwrap().to_owned();
            send(&org, "PATCH", &format!("/__sim/records/{id}"), json!({"IsActive": null}));
        }
        let refused = send(&org, "PATCH", &path, json!({"CurrencyIsoCode": code}));
        assert_eq!(refused.code(), "INVALID_CURRENCY_ISO", "{code}");
    }
    // An opportunity follows the rate of its close date, here that of 2022.
    let deal = json!({"Name": "D", "StageName": "Prospecting", "CloseDate": "2022-06-01", "Amount": 1000, "CurrencyIsoCode": "USD"});
    let path = v65(&format!("sobjects/Opportunity/{}", created(&org, "Opportunity", deal)));
    send(&org, "PATCH", &path, json!({"CurrencyIsoCode": "EUR"}));
    assert_eq!(get(&org, &path).json()["Amount"], 867.91);
    // Objects that have amounts and no currency of their own elsewhere have one here.
    assert_eq!(soql(&org, "SELECT CurrencyIsoCode FROM Campaign").status, 200);
}

#[test]
fn records_others_hold_on_to_stay() {
    let org = org(OrgConfig::default());
    let account = created(&org, "Account", json!({"Name": "Acme"}));
    let case = created(&org, "Case", json!({"AccountId": account}));
    let path = v65(&format!("sobjects/Account/{account}"));
    let refused = send(&org, "DELETE", &path, Value::Null);
    assert_eq!((refused.status, refused.code().as_str()), (400, "DELETE_FAILED"));
    let message = refused.json()[0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("Acme") && message.contains(&case), "{message}");
    send(&org, "DELETE", &v65(&format!("sobjects/Case/{case}")), Value::Null);
    assert_eq!(send(&org, "DELETE", &path, Value::Null).status, 204);
}

#[test]
fn storage_counts_by_object_and_ends() {
    let org = org(OrgConfig {
        storage_mb: 0,
        ..OrgConfig::default()
    });
    let full = send(&org, "POST", &v65("sobjects/Account"), json!({"Name": "A"}));
    assert_eq!(full.code(), "STORAGE_LIMIT_EXCEEDED");
    created(&org, "Product2", json!({"Name": "P"}));
    send(&org, "POST", "/__sim/storage", json!({"mb": 1}));
    (0..128).for_each(|i| drop(created(&org, "Campaign", json!({"Name": i.to_string()}))));
    assert_eq!(
        send(&org, "POST", &v65("sobjects/Campaign"), json!({"Name": "x"})).code(),
        "STORAGE_LIMIT_EXCEEDED"
    );
}

#[test]
fn a_late_commit_shows_an_earlier_stamp() {
    let org = org(OrgConfig::default());
    let stamp = |id: &str| {
        get(&org, &v65(&format!("sobjects/Account/{id}"))).json()["SystemModstamp"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = created(&org, "Account", json!({"Name": "A"}));
    send(&org, "POST", "/__sim/late-commits", json!({"secs": 3600, "times": 1}));
    let late = created(&org, "Account", json!({"Name": "B"}));
    let next = created(&org, "Account", json!({"Name": "C"}));
    assert!(stamp(&late) < stamp(&first) && stamp(&first) <= stamp(&next));
}

#[test]
fn converted_leads_and_circles_are_refused() {
    let org = org(OrgConfig::default());
    let lead = created(&org, "Lead", json!({"LastName": "L", "Company": "C"}));
    send(&org, "PATCH", &format!("/__sim/records/{lead}"), json!({"IsConverted": true}));
    let reply = send(&org, "PATCH", &v65(&format!("sobjects/Lead/{lead}")), json!({"Title": "x"}));
    assert_eq!(reply.code(), "CANNOT_UPDATE_CONVERTED_LEAD");
    let upper = created(&org, "Campaign", json!({"Name": "u"}));
    let lower = created(&org, "Campaign", json!({"Name": "l", "ParentId": upper}));
    for parent in [&upper, &lower] {
        let reply = send(
            &org,
            "PATCH",
            &v65(&format!("sobjects/Campaign/{upper}")),
            json!({"ParentId": parent}),
        );
        assert_eq!(reply.code(), "CIRCULAR_DEPENDENCY");
    }
}

#[test]
fn an_opportunitys_amount_follows_its_lines() {
    let org = org(OrgConfig::default());
    let book = soql(&org, "SELECT Id FROM Pricebook2 WHERE IsStandard = true").json()["records"][0]["Id"].clone();
    let product = created(&org, "Product2", json!({"Name": "P", "IsActive": true}));
    let entry = json!({"Pricebook2Id": book, "Product2Id": product, "UnitPrice": 10, "IsActive": true});
    let entry = created(&org, "PricebookEntry", entry);
    let deal = json!({"Name": "D", "StageName": "Prospecting", "CloseDate": "2026-01-01"});
    let deal = created(&org, "Opportunity", deal);
    let amount = || get(&org, &v65(&format!("sobjects/Opportunity/{deal}"))).json()["Amount"].clone();
    let line = |quantity: u32| json!({"OpportunityId": deal, "PricebookEntryId": entry, "Quantity": quantity});
    let (first, second) = (
        created(&org, "OpportunityLineItem", line(2)),
        created(&org, "OpportunityLineItem", line(3)),
    );
    assert_eq!(amount(), 50.0);
    let path = v65(&format!("sobjects/OpportunityLineItem/{first}"));
    assert_eq!(send(&org, "PATCH", &path, json!({"Quantity": 7})).status, 204);
    assert_eq!(amount(), 100.0);
    send(&org, "DELETE", &path, Value::Null);
    assert_eq!(amount(), 30.0);
    // A price entry in use stays; with the opportunity its lines go.
    let path = v65(&format!("sobjects/PricebookEntry/{entry}"));
    assert_eq!(send(&org, "DELETE", &path, Value::Null).code(), "DELETE_FAILED");
    send(&org, "DELETE", &v65(&format!("sobjects/Opportunity/{deal}")), Value::Null);
    assert_eq!(get(&org, &v65(&format!("sobjects/OpportunityLineItem/{second}"))).status, 404);
    assert_eq!(send(&org, "DELETE", &path, Value::Null).status, 204);
}

#[test]
fn setup_and_data_do_not_mix_in_one_collection_call() {
    let org = org(OrgConfig::default());
    let account = json!({"attributes": {"type": "Account"}, "Name": "A"});
    let group = json!({"attributes": {"type": "Group"}, "Name": "G", "Type": "Regular"});
    let call = |method: &str, records: Value, all: bool| {
        let body = json!({"allOrNone": all, "records": records});
        send(&org, method, &v65("composite/sobjects"), body).json()
    };
    let (groups, code) = (org.count("Group"), |result: &Value| result["errors"][0]["statusCode"].clone());
    let results = call("POST", json!([account, group, account]), false);
    assert_eq!((&results[0]["success"], &results[2]["success"]), (&json!(true), &json!(true)));
    assert_eq!(code(&results[1]), "MIXED_DML_OPERATION");
    let message = results[1]["errors"][0]["message"].as_str().unwrap();
    assert!(message.ends_with("(or vice versa): Group, original object: Account"), "{message}");
    let results = call("POST", json!([group, account]), true);
    assert_eq!(
        (code(&results[0]), code(&results[1])),
        (json!("ALL_OR_NONE_OPERATION_ROLLED_BACK"), json!("MIXED_DML_OPERATION"))
    );
    assert_eq!((org.count("Account"), org.count("Group")), (2, groups));
    // What fails itself mixes with nothing; neither does a user's telephone, whose profile does.
    let results = call("POST", json!([{"attributes": {"type": "Group"}}, account]), false);
    assert_eq!(
        (code(&results[0]), &results[1]["success"]),
        (json!("REQUIRED_FIELD_MISSING"), &json!(true))
    );
    let id = results[1]["id"].clone();
    let update = json!({"attributes": {"type": "Account"}, "id": id, "Phone": "1"});
    let user = |field: &str, value: &str| json!({"attributes": {"type": "User"}, "id": org.user_id, field: value});
    let results = call(
        "PATCH",
        json!([update, user("Phone", "1"), user("Username", "n@example.com")]),
        false,
    );
    assert_eq!(
        (&results[1]["success"], code(&results[2])),
        (&json!(true), json!("MIXED_DML_OPERATION"))
    );
    let group = soql(&org, "SELECT Id FROM Group").json()["records"][0]["Id"].clone();
    let path = format!("composite/sobjects?ids={},{}", id.as_str().unwrap(), group.as_str().unwrap());
    let results = send(&org, "DELETE", &v65(&path), Value::Null).json();
    assert_eq!(
        (&results[0]["success"], code(&results[1])),
        (&json!(true), json!("MIXED_DML_OPERATION"))
    );
}

#[test]
fn a_contacts_account_is_its_direct_relation() {
    let org = org(OrgConfig {
        contact_relations: true,
        ..OrgConfig::default()
    });
    let relations = || {
        let found = soql(
            &org,
            "SELECT Id, AccountId, IsDirect, IsActive FROM AccountContactRelation ORDER BY IsDirect",
        )
        .json();
        found["records"].as_array().unwrap().clone()
    };
    let (acme, globex) = (
        created(&org, "Account", json!({"Name": "Acme"})),
        created(&org, "Account", json!({"Name": "Globex"})),
    );
    created(&org, "Contact", json!({"LastName": "Private"}));
    let contact = created(&org, "Contact", json!({"LastName": "C", "AccountId": acme}));
    let first = relations();
    assert_eq!(first.len(), 1);
    assert_eq!(
        (&first[0]["AccountId"], &first[0]["IsDirect"], &first[0]["IsActive"]),
        (&json!(acme), &json!(true), &json!(true))
    );
    let pair = |account: &str| json!({"AccountId": account, "ContactId": contact});
    let path = v65("sobjects/AccountContactRelation");
    assert_eq!(send(&org, "POST", &path, pair(&acme)).code(), "DUPLICATE_VALUE");
    let indirect = created(&org, "AccountContactRelation", pair(&globex));
    let direct = first[0]["Id"].as_str().unwrap();
    assert_eq!(
        send(&org, "DELETE", &format!("{path}/{direct}"), Value::Null).code(),
        "DELETE_FAILED"
    );
    // The contact moves to the account it already knows.
    let contact = v65(&format!("sobjects/Contact/{contact}"));
    assert_eq!(send(&org, "PATCH", &contact, json!({"AccountId": globex})).status, 204);
    let moved = relations();
    assert_eq!(moved.len(), 1);
    assert_eq!((&moved[0]["Id"], &moved[0]["IsDirect"]), (&json!(indirect), &json!(true)));
    assert_eq!(send(&org, "DELETE", &contact, Value::Null).status, 204);
    assert!(relations().is_empty());
}
