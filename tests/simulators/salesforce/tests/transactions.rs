//! All-or-none calls undo everything they caused, not only the rows they name.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{get, org, send, soql, v65};
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};

fn created(org: &RunningOrg, object: &str, body: Value) -> String {
    let reply = send(org, "POST", &v65(&format!("sobjects/{object}")), body);
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()["id"].as_str().unwrap().to_owned()
}

/// An opportunity without lines and a price it can use.
fn deal(org: &RunningOrg) -> (String, String) {
    let books = soql(org, "SELECT Id FROM Pricebook2 WHERE IsStandard = true").json();
    let book = books["records"][0]["Id"].as_str().unwrap().to_owned();
    let product = created(org, "Product2", json!({"Name": "Rope", "IsActive": true}));
    let price = json!({"Pricebook2Id": book, "Product2Id": product, "UnitPrice": 10, "IsActive": true});
    let entry = created(org, "PricebookEntry", price);
    let deal = json!({"Name": "D", "StageName": "Prospecting", "CloseDate": "2026-01-01", "Amount": 7});
    (created(org, "Opportunity", deal), entry)
}

#[test]
fn a_failed_all_or_none_insert_takes_back_the_derived_amount() {
    let org = org(OrgConfig::default());
    let (deal, entry) = deal(&org);
    let line = |quantity: Value| {
        json!({"attributes": {"type": "OpportunityLineItem"}, "OpportunityId": deal,
            "PricebookEntryId": entry, "Quantity": quantity})
    };
    let before = get(&org, &v65(&format!("sobjects/Opportunity/{deal}"))).json();
    let call = |all: bool, second: Value| {
        let body = json!({"allOrNone": all, "records": [line(json!(3)), line(second)]});
        send(&org, "POST", &v65("composite/sobjects"), body).json()
    };
    let answer = call(true, json!("many"));
    assert_eq!(answer[0]["errors"][0]["statusCode"], "ALL_OR_NONE_OPERATION_ROLLED_BACK");
    assert_eq!(answer[1]["errors"][0]["statusCode"], "INVALID_TYPE_ON_FIELD_IN_RECORD");
    let after = get(&org, &v65(&format!("sobjects/Opportunity/{deal}"))).json();
    assert_eq!(before, after);
    assert_eq!(org.count("OpportunityLineItem"), 0);
    // The same call without all-or-none keeps the good line and its effect.
    call(false, json!("many"));
    let after = get(&org, &v65(&format!("sobjects/Opportunity/{deal}"))).json();
    assert_eq!((&after["Amount"], &after["HasOpportunityLineItem"]), (&json!(30.0), &json!(true)));
}

#[test]
fn a_failed_all_or_none_delete_takes_back_cascades_and_cleared_links() {
    let org = org(OrgConfig::default());
    let account = created(&org, "Account", json!({"Name": "A"}));
    let project = created(&org, "Project__c", json!({"Account__c": account}));
    let contact = created(&org, "Contact", json!({"LastName": "L", "AccountId": account}));
    let counts = || ["Account", "Contact", "Project__c"].map(|o| org.count(o));
    let before = counts();
    let other = "001000000000001AAA";
    let path = v65(&format!("composite/sobjects?ids={account},{other}&allOrNone=true"));
    let answer = send(&org, "DELETE", &path, Value::Null).json();
    assert_eq!(answer[0]["errors"][0]["statusCode"], "ALL_OR_NONE_OPERATION_ROLLED_BACK");
    assert_eq!(answer[1]["success"], false);
    assert_eq!(counts(), before);
    for (object, id, link) in [("Project__c", &project, "Account__c"), ("Contact", &contact, "AccountId")] {
        let row = get(&org, &v65(&format!("sobjects/{object}/{id}?fields={link}"))).json();
        assert_eq!(row[link], account.as_str(), "{object}");
    }
    let path = v65(&format!("composite/sobjects?ids={account}&allOrNone=true"));
    assert_eq!(send(&org, "DELETE", &path, Value::Null).json()[0]["success"], true);
    assert_ne!(counts(), before);
}
