//! State and country picklists: codes beside texts, which say the same.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Reply, get, ingest, org, rows, send, soql, v65};
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};

fn with_places() -> OrgConfig {
    OrgConfig {
        state_country: true,
        ..OrgConfig::default()
    }
}

fn contact(org: &RunningOrg, mut body: Value) -> Reply {
    body["LastName"] = "L".into();
    send(org, "POST", &v65("sobjects/Contact"), body)
}

fn place(org: &RunningOrg, id: &str) -> [Value; 4] {
    let row = get(org, &v65(&format!("sobjects/Contact/{id}"))).json();
    ["MailingState", "MailingStateCode", "MailingCountry", "MailingCountryCode"].map(|name| row[name].clone())
}

fn refused(reply: &Reply, field: &str, begins: &str) {
    let error = reply.json()[0].clone();
    assert_eq!(
        (reply.status, &error["errorCode"]),
        (400, &json!("FIELD_INTEGRITY_EXCEPTION")),
        "{error}"
    );
    assert_eq!(error["fields"], json!([field]));
    assert!(error["message"].as_str().unwrap().starts_with(begins), "{error}");
}

#[test]
fn texts_and_codes_follow_each_other() {
    let org = org(with_places());
    let texas = [json!("Texas"), json!("TX"), json!("United States"), json!("US")];
    for body in [
        json!({"MailingState": "texas", "MailingCountry": "United States"}),
        json!({"MailingStateCode": "TX", "MailingCountryCode": "US"}),
        json!({"MailingState": "Texas", "MailingCountryCode": "US"}),
        json!({"MailingState": "Texas", "MailingStateCode": "TX", "MailingCountry": "United States", "MailingCountryCode": "US"}),
    ] {
        let id = contact(&org, body).json()["id"].as_str().unwrap().to_owned();
        assert_eq!(place(&org, &id), texas);
    }
    let id = contact(&org, json!({"MailingStateCode": "TX", "MailingCountryCode": "US"})).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = v65(&format!("sobjects/Contact/{id}"));
    let change = |body: Value| send(&org, "PATCH", &path, body);
    assert_eq!(change(json!({"MailingState": "Ohio"})).status, 204);
    assert_eq!(place(&org, &id)[..2], [json!("Ohio"), json!("OH")]);
    assert_eq!(change(json!({"Phone": "1"})).status, 204);
    let address = get(&org, &path).json()["MailingAddress"].clone();
    assert_eq!(
        (&address["stateCode"], &address["countryCode"], &address["state"]),
        (&json!("OH"), &json!("US"), &json!("Ohio"))
    );
    assert_eq!(change(json!({"MailingStateCode": null, "MailingCountryCode": "DE"})).status, 204);
    assert_eq!(place(&org, &id), [Value::Null, Value::Null, json!("Germany"), json!("DE")]);
    assert_eq!(change(json!({"MailingCountry": null})).status, 204);
    assert_eq!(place(&org, &id), [Value::Null, Value::Null, Value::Null, Value::Null]);
    assert_eq!(
        soql(&org, "SELECT Id FROM Contact WHERE MailingStateCode = 'TX'").json()["totalSize"],
        4
    );
}

#[test]
fn places_that_are_none_or_do_not_agree_are_refused() {
    let org = org(with_places());
    let country = "There's a problem with this country";
    let state = "There's a problem with this state";
    for (body, field, message) in [
        (json!({"MailingCountry": "USA"}), "MailingCountry", country),
        (json!({"MailingCountryCode": "XX"}), "MailingCountryCode", country),
        (
            json!({"MailingCountry": "Germany", "MailingCountryCode": "US"}),
            "MailingCountry",
            country,
        ),
        (json!({"MailingCountryCode": "US", "MailingState": "TX"}), "MailingState", state),
        (
            json!({"MailingCountryCode": "CA", "MailingStateCode": "TX"}),
            "MailingStateCode",
            state,
        ),
        (
            json!({"MailingState": "Texas"}),
            "MailingState",
            "A country/territory must be specified before specifying a state value",
        ),
    ] {
        refused(&contact(&org, body), field, message);
    }
    let id = contact(&org, json!({"MailingStateCode": "TX", "MailingCountryCode": "US"})).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = v65(&format!("sobjects/Contact/{id}"));
    let moved = send(&org, "PATCH", &path, json!({"MailingCountryCode": "CA"}));
    refused(
        &moved,
        "MailingStateCode",
        "The existing country/territory doesn't recognize the state value",
    );
    let removed = send(&org, "PATCH", &path, json!({"MailingCountryCode": null}));
    refused(&removed, "MailingState", "A country/territory must be specified");
    let (_, [_, bad, _]) = ingest(
        &org,
        json!({"object": "Contact", "operation": "insert"}),
        "LastName,MailingCountry\nx,Nowhere\n",
    );
    assert!(rows(&bad)[0][1].starts_with("FIELD_INTEGRITY_EXCEPTION:There's a problem with this country"));
    assert_eq!(org.count("Contact"), 1);
}

#[test]
fn describes_show_the_codes_and_only_where_the_feature_is_on() {
    let fields = |org: &RunningOrg, object: &str| -> Vec<Value> {
        let describe = get(org, &v65(&format!("sobjects/{object}/describe"))).json();
        describe["fields"].as_array().unwrap().clone()
    };
    let named = |fields: &[Value], name: &str| fields.iter().find(|f| f["name"] == name).cloned();
    let on = org(OrgConfig {
        person_accounts: true,
        ..with_places()
    });
    for (object, stem) in [
        ("Account", "Billing"),
        ("Account", "PersonMailing"),
        ("Contact", "Other"),
        ("Lead", ""),
    ] {
        let all = fields(&on, object);
        let code = named(&all, &format!("{stem}StateCode")).unwrap_or_else(|| panic!("{object}.{stem}StateCode"));
        assert_eq!(
            (&code["type"], &code["restrictedPicklist"], &code["dependentPicklist"]),
            (&json!("picklist"), &json!(true), &json!(true))
        );
        assert_eq!(code["controllerName"], format!("{stem}CountryCode"));
        assert_eq!(code["compoundFieldName"], format!("{stem}Address"));
        // Texas goes with the United States alone.
        let countries = named(&all, &format!("{stem}CountryCode")).unwrap();
        let countries = countries["picklistValues"].as_array().unwrap().clone();
        let position = countries.iter().position(|v| v["value"] == "US").unwrap();
        let texas = code["picklistValues"]
            .as_array()
            .unwrap()
            .iter()
            .find(|v| v["value"] == "TX")
            .unwrap();
        let bits = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, texas["validFor"].as_str().unwrap()).unwrap();
        let set: Vec<usize> = (0..bits.len() * 8).filter(|i| bits[i >> 3] & (0x80 >> (i % 8)) != 0).collect();
        assert_eq!(set, [position]);
        assert_eq!(named(&all, &format!("{stem}Country")).unwrap()["type"], "string");
    }
    let off = org(OrgConfig::default());
    assert!(named(&fields(&off, "Account"), "BillingStateCode").is_none());
    let account = send(
        &off,
        "POST",
        &v65("sobjects/Account"),
        json!({"Name": "A", "BillingCountry": "Anywhere"}),
    );
    let id = account.json()["id"].as_str().unwrap().to_owned();
    let address = get(&off, &v65(&format!("sobjects/Account/{id}"))).json()["BillingAddress"].clone();
    assert!(address.get("countryCode").is_none() && address["country"] == "Anywhere" && address.get("postalCode").is_some());
}

#[test]
fn records_that_are_there_get_their_codes_and_persons_share_theirs() {
    let org = org(OrgConfig {
        scale: Some(600),
        person_accounts: true,
        ..with_places()
    });
    let found = soql(
        &org,
        "SELECT BillingCountry, BillingState, BillingStateCode FROM Account WHERE BillingCountryCode = 'US'",
    )
    .json();
    let list = found["records"].as_array().unwrap();
    assert!(!list.is_empty());
    for row in list {
        assert_eq!(row["BillingCountry"], "United States");
        assert_ne!(row["BillingState"], row["BillingStateCode"]);
        assert_eq!(row["BillingStateCode"].as_str().map(str::len), Some(2));
    }
    let kind = soql(
        &org,
        "SELECT Id FROM RecordType WHERE SobjectType = 'Account' AND IsPersonType = true",
    )
    .json();
    let body = json!({"LastName": "P", "RecordTypeId": kind["records"][0]["Id"], "PersonMailingCountryCode": "CA", "PersonMailingState": "Quebec"});
    let reply = send(&org, "POST", &v65("sobjects/Account"), body);
    assert_eq!(reply.status, 201, "{}", reply.text());
    let query = format!(
        "SELECT MailingStateCode, MailingCountry FROM Contact WHERE AccountId = '{}'",
        reply.json()["id"].as_str().unwrap()
    );
    let shadow = soql(&org, &query).json()["records"][0].clone();
    assert_eq!(
        (&shadow["MailingStateCode"], &shadow["MailingCountry"]),
        (&json!("QC"), &json!("Canada"))
    );
}
