//! Forms of answers that recordings of real orgs showed to be other than one would guess.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use serde_json::{Value, json};
use support::{org, send, v65};
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};

fn call(org: &RunningOrg, method: &str, path: &str, body: &Value) -> support::Reply {
    send(org, method, &v65(path), body.clone())
}

#[test]
fn a_record_that_is_none_is_answered_by_a_bare_object() {
    let org = org(OrgConfig::default());
    let body = json!({"allOrNone": false, "records": [{"attributes": {"type": "Account"}, "Name": "One"}, null]});
    let reply = call(&org, "POST", "composite/sobjects", &body);
    assert_eq!((reply.status, reply.json()["errorCode"].as_str()), (400, Some("INVALID_FIELD")));
    assert_eq!(org.count("Account"), 0, "nothing was looked at");
}

#[test]
fn a_column_that_does_not_exist_is_no_field_of_the_record() {
    let org = org(OrgConfig::default());
    let reply = call(&org, "POST", "sobjects/Account", &json!({"Name": "One", "foo": 1}));
    assert_eq!(reply.code(), "INVALID_FIELD");
    assert_eq!(reply.json()[0].get("fields"), None);
    let reply = call(&org, "POST", "sobjects/Account", &json!({}));
    assert_eq!(reply.json()[0]["fields"], json!(["Name"]));
}

#[test]
fn limits_list_what_the_org_does_not_use() {
    let org = org(OrgConfig::default());
    let limits = call(&org, "GET", "limits", &Value::Null).json();
    assert!(limits.as_object().unwrap().len() > 60);
    assert_eq!(limits["PermissionSets"]["CreateCustom"]["Max"], 1000);
    assert!(
        limits
            .as_object()
            .unwrap()
            .values()
            .all(|l| l["Max"].is_u64() && l["Remaining"].is_u64())
    );
    let used = limits["DailyApiRequests"]["Max"].as_u64().unwrap() - limits["DailyApiRequests"]["Remaining"].as_u64().unwrap();
    assert_eq!(used, 1, "counted ones stay counted");
}

#[test]
fn the_org_s_own_record_has_its_address_as_a_whole_and_in_parts() {
    let org = org(OrgConfig::default());
    let id = call(&org, "GET", "query?q=SELECT+Id+FROM+Organization", &Value::Null).json()["records"][0]["Id"].clone();
    let record = call(
        &org,
        "GET",
        &format!("sobjects/Organization/{}", id.as_str().unwrap()),
        &Value::Null,
    )
    .json();
    assert_eq!((&record["Country"], &record["Address"]["country"]), (&json!("US"), &json!("US")));
    assert_eq!(record["FiscalYearStartMonth"], 1);
    let fields = call(&org, "GET", "sobjects/Organization/describe", &Value::Null).json()["fields"].clone();
    let country = fields.as_array().unwrap().iter().find(|f| f["name"] == "Country").unwrap();
    assert_eq!(country["compoundFieldName"], "Address");
}

#[test]
fn an_event_s_start_has_two_names() {
    let org = org(OrgConfig::default());
    let start = |body: Value| {
        let id = call(&org, "POST", "sobjects/Event", &body).json()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let event = call(&org, "GET", &format!("sobjects/Event/{id}"), &Value::Null).json();
        (event["StartDateTime"].clone(), event["ActivityDateTime"].clone())
    };
    let moment = json!("2026-01-31T09:00:00.000+0000");
    for name in ["StartDateTime", "ActivityDateTime"] {
        assert_eq!(
            start(json!({"DurationInMinutes": 30, name: moment})),
            (moment.clone(), moment.clone())
        );
    }
}

#[test]
fn a_list_view_shows_accounts_as_their_own_views_do() {
    let org = org(OrgConfig::default());
    let account = json!({"Name": "One", "BillingState": "NC", "Type": "Prospect"});
    call(&org, "POST", "sobjects/Account", &account);
    let view = call(&org, "GET", "sobjects/Account/listviews", &Value::Null).json()["listviews"][0]["id"].clone();
    let path = format!("sobjects/Account/listviews/{}/results", view.as_str().unwrap());
    let results = call(&org, "GET", &path, &Value::Null).json();
    let columns = results["columns"].as_array().unwrap();
    let paths: Vec<&str> = columns.iter().map(|c| c["fieldNameOrPath"].as_str().unwrap()).collect();
    assert_eq!(paths[..6], ["Name", "Site", "BillingState", "Phone", "Type", "Owner.Alias"]);
    assert_eq!(columns[4]["selectListItem"], "toLabel(Type)");
    assert_eq!((&columns[6]["hidden"], &columns[6]["ascendingLabel"]), (&json!(true), &Value::Null));
    let cells = &results["records"][0]["columns"];
    assert_eq!((&cells[0]["value"], &cells[1]["value"]), (&json!("One"), &Value::Null));
    assert!(cells[5]["value"].is_string(), "the owner's alias");
    assert!(cells[7]["value"].as_str().unwrap().contains(" GMT 20"), "{cells}");
}
