//! Person accounts: one record that is an Account and the Contact behind it.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use serde_json::{Value, json};
use support::pubsub::{Client, fetch};
use support::{Reply, get, ingest, rows, send, soql, v65};
use syncline_salesforce_simulator::pubsub::PubSubConfig;
use syncline_salesforce_simulator::pubsub::proto::ReplayPreset::Earliest;
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};

const REFUSED: &str = "INVALID_PERSON_ACCOUNT_OPERATION";
const BAD_FIELD: &str = "INVALID_FIELD_FOR_INSERT_UPDATE";

fn org() -> RunningOrg {
    support::org(OrgConfig {
        person_accounts: true,
        ..OrgConfig::default()
    })
}

fn post(org: &RunningOrg, object: &str, body: Value) -> Reply {
    send(org, "POST", &v65(&format!("sobjects/{object}")), body)
}

fn patch(org: &RunningOrg, object: &str, id: &str, body: Value) -> Reply {
    send(org, "PATCH", &v65(&format!("sobjects/{object}/{id}")), body)
}

fn created(org: &RunningOrg, object: &str, body: Value) -> String {
    let reply = post(org, object, body);
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()["id"].as_str().unwrap().to_owned()
}

fn read(org: &RunningOrg, object: &str, id: &str) -> Value {
    get(org, &v65(&format!("sobjects/{object}/{id}"))).json()
}

fn record_type(org: &RunningOrg, developer: &str) -> String {
    let found = soql(
        org,
        &format!("SELECT Id FROM RecordType WHERE SobjectType = 'Account' AND DeveloperName = '{developer}'"),
    );
    found.json()["records"][0]["Id"].as_str().unwrap().to_owned()
}

fn ada(org: &RunningOrg) -> Value {
    json!({"RecordTypeId": record_type(org, "PersonAccount"), "FirstName": "Ada", "LastName": "Byron", "Salutation": "Ms.",
        "PersonEmail": "ada@example.com", "PersonBirthdate": "1815-12-10", "PersonMailingCity": "London", "Phone": "555-0100", "MRN__pc": "M-1"})
}

/// A person's account and contact ids.
fn person(org: &RunningOrg) -> (String, String) {
    let id = created(org, "Account", ada(org));
    let contact = read(org, "Account", &id)["PersonContactId"].as_str().unwrap().to_owned();
    (id, contact)
}

fn first(reply: &Reply) -> (u16, String, String) {
    let message = reply.json()[0]["message"].as_str().unwrap_or_default().to_owned();
    (reply.status, reply.code(), message)
}

#[test]
fn without_the_feature_its_fields_are_unknown() {
    let org = support::org(OrgConfig::default());
    for query in [
        "SELECT IsPersonAccount FROM Account",
        "SELECT IsPersonAccount FROM Contact",
        "SELECT LastName FROM Account",
    ] {
        assert_eq!(soql(&org, query).code(), "INVALID_FIELD", "{query}");
    }
    let types = soql(&org, "SELECT Id FROM RecordType WHERE IsPersonType = true");
    assert_eq!(types.json()["totalSize"], 0);
}

#[test]
fn account_shows_the_fields_a_real_org_shows() {
    let org = org();
    let describe = get(&org, &v65("sobjects/Account/describe")).json();
    let fields = describe["fields"].as_array().unwrap();
    let names: Vec<&str> = fields.iter().map(|f| f["name"].as_str().unwrap()).collect();
    let at = |name: &str| names.iter().position(|n| *n == name).unwrap();
    assert_eq!(names[at("Name")..at("Name") + 4], ["Name", "LastName", "FirstName", "Salutation"]);
    // As the describe of an org with person accounts lists them.
    let standard = "PersonContactId IsPersonAccount PersonMailingStreet PersonMailingCity PersonMailingState PersonMailingPostalCode \
        PersonMailingCountry PersonMailingLatitude PersonMailingLongitude PersonMailingGeocodeAccuracy PersonMailingAddress \
        PersonOtherStreet PersonOtherCity PersonOtherState PersonOtherPostalCode PersonOtherCountry PersonOtherLatitude \
        PersonOtherLongitude PersonOtherGeocodeAccuracy PersonOtherAddress PersonMobilePhone PersonHomePhone PersonOtherPhone \
        PersonAssistantPhone PersonEmail PersonTitle PersonDepartment PersonAssistantName PersonLeadSource PersonBirthdate \
        PersonHasOptedOutOfEmail PersonHasOptedOutOfFax PersonDoNotCall PersonLastCURequestDate PersonLastCUUpdateDate \
        PersonEmailBouncedReason PersonEmailBouncedDate PersonIndividualId PersonPronouns PersonGenderIdentity";
    let standard: Vec<&str> = standard.split_whitespace().collect();
    let start = at("LastReferencedDate") + 1;
    assert_eq!(names[start..start + standard.len()], standard);
    let field = |name: &str| &fields[at(name)];
    assert_eq!(field("Name")["nillable"], true);
    assert_eq!(field("LastName")["extraTypeInfo"], "switchablepersonname");
    assert_eq!(
        (&field("PersonMailingCity")["compoundFieldName"], &field("PersonEmail")["idLookup"]),
        (&json!("PersonMailingAddress"), &json!(false))
    );
    assert_eq!(field("PersonContactId")["relationshipName"], "PersonContact");
    assert_eq!(
        (&field("MRN__pc")["custom"], &field("IsPersonAccount")["createable"]),
        (&json!(true), &json!(false))
    );
    // Two record types share a name; only the id, or RecordType itself, tells them apart.
    let infos = describe["recordTypeInfos"].as_array().unwrap();
    let persons = infos.iter().filter(|i| i["developerName"] == "PersonAccount");
    assert_eq!(persons.count(), 2);
    let types = soql(
        &org,
        "SELECT SobjectType FROM RecordType WHERE IsPersonType = true ORDER BY SobjectType",
    )
    .json();
    let of: Vec<&Value> = types["records"].as_array().unwrap().iter().map(|r| &r["SobjectType"]).collect();
    assert_eq!(of, ["Account", "Contact"]);
}

#[test]
fn a_person_is_named_by_parts_and_casts_a_shadow() {
    let org = org();
    let (id, contact) = person(&org);
    let account = read(&org, "Account", &id);
    assert_eq!(
        (
            &account["Name"],
            &account["IsPersonAccount"],
            &account["PersonMailingAddress"]["city"]
        ),
        (&json!("Ada Byron"), &json!(true), &json!("London"))
    );
    let shadow = read(&org, "Contact", &contact);
    for (name, value) in [
        ("AccountId", json!(id)),
        ("IsPersonAccount", json!(true)),
        ("Name", json!("Ada Byron")),
        ("Salutation", json!("Ms.")),
        ("Email", json!("ada@example.com")),
        ("Birthdate", json!("1815-12-10")),
        ("MailingCity", json!("London")),
        ("Phone", json!("555-0100")),
        ("MRN__c", json!("M-1")),
        ("OwnerId", account["OwnerId"].clone()),
    ] {
        assert_eq!(shadow[name], value, "{name}");
    }
    let joined = soql(
        &org,
        "SELECT PersonContact.Email, (SELECT Id FROM Contacts) FROM Account WHERE IsPersonAccount = true",
    )
    .json();
    assert_eq!(joined["records"][0]["PersonContact"]["Email"], "ada@example.com");
    assert_eq!(joined["records"][0]["Contacts"]["records"][0]["Id"], contact.as_str());
}

#[test]
fn each_kind_refuses_the_fields_of_the_other() {
    let org = org();
    let mut body = ada(&org);
    body["Name"] = "Ada".into();
    let (status, code, message) = first(&post(&org, "Account", body));
    assert_eq!((status, code.as_str()), (400, BAD_FIELD));
    assert!(message.starts_with("Unable to create/update fields: Name."), "{message}");
    let mut body = ada(&org);
    body["LastName"] = Value::Null;
    assert_eq!(first(&post(&org, "Account", body)).1, "REQUIRED_FIELD_MISSING");
    let business = post(
        &org,
        "Account",
        json!({"Name": "Acme", "PersonEmail": "a@example.com", "MRN__pc": "x"}),
    );
    let (_, code, message) = first(&business);
    assert_eq!(code, BAD_FIELD);
    assert_eq!(message, "Account: bad field names on insert/update call: PersonEmail, MRN__pc");
    assert_eq!(first(&post(&org, "Account", json!({"Phone": "1"}))).1, "REQUIRED_FIELD_MISSING");
    assert_eq!((org.count("Account"), org.count("Contact")), (0, 0));
    let acme = created(&org, "Account", json!({"Name": "Acme"}));
    assert_eq!(
        first(&patch(&org, "Account", &acme, json!({"Name": null}))).1,
        "REQUIRED_FIELD_MISSING"
    );
    assert_eq!(first(&patch(&org, "Account", &acme, json!({"LastName": "x"}))).1, BAD_FIELD);
    let (ada, _) = person(&org);
    for body in [json!({"Name": "x"}), json!({"ParentId": acme}), json!({"IsPersonAccount": false})] {
        assert_eq!(first(&patch(&org, "Account", &ada, body.clone())).1, BAD_FIELD, "{body}");
    }
    assert_eq!(
        first(&patch(&org, "Account", &ada, json!({"LastName": null}))).1,
        "REQUIRED_FIELD_MISSING"
    );
}

#[test]
fn either_half_follows_a_write_of_the_other() {
    let org = org();
    let (id, contact) = person(&org);
    let change = json!({"LastName": "Lovelace", "PersonEmail": null, "MRN__pc": "M-2"});
    assert_eq!(patch(&org, "Account", &id, change).status, 204);
    let shadow = read(&org, "Contact", &contact);
    assert_eq!(
        (&shadow["Name"], &shadow["Email"], &shadow["MRN__c"]),
        (&json!("Ada Lovelace"), &Value::Null, &json!("M-2"))
    );
    assert_eq!(
        patch(&org, "Contact", &contact, json!({"FirstName": null, "Title": "Countess"})).status,
        204
    );
    let account = read(&org, "Account", &id);
    assert_eq!(
        (&account["Name"], &account["PersonTitle"]),
        (&json!("Lovelace"), &json!("Countess"))
    );
    // A unique key of contacts holds for persons too, and nothing of the refused write stays.
    created(&org, "Contact", json!({"LastName": "Other", "Ext_Id__c": "taken"}));
    let refused = patch(&org, "Account", &id, json!({"Ext_Id__pc": "taken", "PersonTitle": "none"}));
    assert_eq!(refused.code(), "DUPLICATE_VALUE");
    assert_eq!(read(&org, "Account", &id)["PersonTitle"], "Countess");
}

#[test]
fn the_shadow_lives_and_dies_with_its_account() {
    let org = org();
    let (id, contact) = person(&org);
    let path = v65(&format!("sobjects/Contact/{contact}"));
    assert_eq!(first(&send(&org, "DELETE", &path, Value::Null)).1, REFUSED);
    assert_eq!(
        post(&org, "Contact", json!({"LastName": "x", "IsPersonAccount": true})).code(),
        BAD_FIELD
    );
    assert_eq!(first(&post(&org, "Contact", json!({"LastName": "x", "AccountId": id}))).1, REFUSED);
    let plain = created(&org, "Contact", json!({"LastName": "x"}));
    assert_eq!(patch(&org, "Contact", &plain, json!({"AccountId": id})).code(), REFUSED);
    assert_eq!(patch(&org, "Contact", &contact, json!({"AccountId": null})).code(), BAD_FIELD);
    assert_eq!(
        send(&org, "DELETE", &v65(&format!("sobjects/Account/{id}")), Value::Null).status,
        204
    );
    assert_eq!(get(&org, &path).status, 404);
    let undelete = |id: &str| send(&org, "POST", "/__sim/undelete", json!({"ids": [id]})).json()[0].clone();
    assert_eq!(undelete(&contact)["errors"][0]["statusCode"], REFUSED);
    assert_eq!(undelete(&id)["success"], true);
    assert_eq!(read(&org, "Account", &id)["PersonContactId"], contact.as_str());
    assert_eq!(read(&org, "Contact", &contact)["AccountId"], id.as_str());
}

#[test]
fn a_refused_transaction_leaves_neither_half() {
    let org = org();
    let record = |mut body: Value| {
        body["attributes"] = json!({"type": "Account"});
        body
    };
    let body = json!({"allOrNone": true, "records": [record(ada(&org)), record(json!({"Phone": "1"}))]});
    let reply = send(&org, "POST", &v65("composite/sobjects"), body).json();
    assert_eq!(reply[0]["errors"][0]["statusCode"], "ALL_OR_NONE_OPERATION_ROLLED_BACK");
    assert_eq!((org.count("Account"), org.count("Contact")), (0, 0));
    // Only what fits with its shadow fits.
    send(&org, "POST", "/__sim/storage", json!({"mb": 1}));
    for i in 0..255 {
        created(&org, "Account", json!({"Name": i.to_string()}));
    }
    person(&org);
    for i in 256..510 {
        created(&org, "Account", json!({"Name": i.to_string()}));
    }
    assert_eq!(post(&org, "Account", ada(&org)).code(), "STORAGE_LIMIT_EXCEEDED");
    assert_eq!(org.count("Contact"), 1);
    created(&org, "Account", json!({"Name": "the last 2 KB"}));
}

#[test]
fn accounts_marry_and_separate_by_record_type_alone() {
    let org = org();
    let (to_person, to_business) = (
        json!({"RecordTypeId": record_type(&org, "PersonAccount")}),
        json!({"RecordTypeId": record_type(&org, "Business_Account")}),
    );
    let acme = created(&org, "Account", json!({"Name": "Acme", "Phone": "1"}));
    assert_eq!(patch(&org, "Account", &acme, to_person.clone()).code(), REFUSED);
    let contact = created(
        &org,
        "Contact",
        json!({"LastName": "Hopper", "FirstName": "Grace", "Email": "g@example.com", "AccountId": acme}),
    );
    let mut more = to_person.clone();
    more["Phone"] = "2".into();
    let (_, code, message) = first(&patch(&org, "Account", &acme, more));
    assert_eq!(code, BAD_FIELD);
    assert_eq!(
        message,
        "Cannot specify any additional fields when marrying or separating a Person-Account"
    );
    assert_eq!(patch(&org, "Account", &acme, to_person).status, 204);
    let married = read(&org, "Account", &acme);
    assert_eq!(
        (&married["Name"], &married["PersonEmail"], &married["PersonContactId"]),
        (&json!("Grace Hopper"), &json!("g@example.com"), &json!(contact))
    );
    let shadow = read(&org, "Contact", &contact);
    assert_eq!((&shadow["IsPersonAccount"], &shadow["Phone"]), (&json!(true), &json!("1")));
    assert_eq!(patch(&org, "Account", &acme, to_business).status, 204);
    let parted = read(&org, "Account", &acme);
    assert_eq!(
        (
            &parted["Name"],
            &parted["LastName"],
            &parted["PersonContactId"],
            &parted["IsPersonAccount"]
        ),
        (&json!("Grace Hopper"), &Value::Null, &Value::Null, &json!(false))
    );
    let contact = read(&org, "Contact", &contact);
    assert_eq!(
        (&contact["IsPersonAccount"], &contact["Email"]),
        (&json!(false), &json!("g@example.com"))
    );
}

#[test]
fn persons_merge_with_persons_and_so_do_their_shadows() {
    let org = org();
    let ((master, kept), (loser, gone)) = (person(&org), person(&org));
    let case = created(&org, "Case", json!({"ContactId": gone, "AccountId": loser}));
    let acme = created(&org, "Account", json!({"Name": "Acme"}));
    let merge = |master: &str, loser: &str| send(&org, "POST", "/__sim/merge", json!({"master": master, "losers": [loser]}));
    for (master, loser) in [(&master, &acme), (&acme, &loser), (&kept, &gone)] {
        assert_eq!(merge(master, loser).code(), REFUSED, "{master} {loser}");
    }
    assert_eq!(merge(&master, &loser).status, 200);
    let moved = read(&org, "Case", &case);
    assert_eq!((&moved["AccountId"], &moved["ContactId"]), (&json!(master), &json!(kept)));
    assert_eq!((org.count("Account"), org.count("Contact")), (2, 1));
    assert_eq!(read(&org, "Account", &master)["PersonContactId"], kept.as_str());
}

#[test]
fn bulk_jobs_mix_both_kinds_by_empty_cells() {
    let org = org();
    let (person, business) = (record_type(&org, "PersonAccount"), record_type(&org, "Business_Account"));
    let csv = format!(
        "RecordTypeId,Name,LastName,PersonEmail,Ext_Id__c\n{person},,Turing,t@example.com,a\n{business},Acme,,,b\n{person},Both,Both,,c\n{business},,Only,,d\n"
    );
    let job = json!({"object": "Account", "operation": "insert", "contentType": "CSV", "lineEnding": "LF"});
    let (_, [good, bad, _]) = ingest(&org, job, &csv);
    assert_eq!((rows(&good).len(), rows(&bad).len()), (2, 2));
    assert_eq!((org.count("Account"), org.count("Contact")), (2, 1));
    let turing = soql(&org, "SELECT Id, Name FROM Account WHERE Ext_Id__c = 'a'").json()["records"][0].clone();
    assert_eq!(turing["Name"], "Turing");
    let job = json!({"object": "Account", "operation": "delete", "contentType": "CSV", "lineEnding": "LF"});
    let (_, [good, ..]) = ingest(&org, job, &format!("Id\n{}\n", turing["Id"].as_str().unwrap()));
    assert_eq!(rows(&good).len(), 1);
    assert_eq!((org.count("Account"), org.count("Contact")), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn change_events_tell_both_halves_in_one_transaction() {
    let org = support::org(OrgConfig {
        person_accounts: true,
        pubsub: Some(PubSubConfig {
            entities: ["Account", "Contact"].map(str::to_owned).to_vec(),
            ..PubSubConfig::default()
        }),
        ..OrgConfig::default()
    });
    let (id, contact) = person(&org);
    assert_eq!(patch(&org, "Account", &id, json!({"PersonTitle": "Countess"})).status, 204);
    send(&org, "DELETE", &v65(&format!("sobjects/Account/{id}")), Value::Null);
    let mut client = Client::connect(&org).await;
    let mut subscription = client.subscribe(fetch("/data/ChangeEvents", Earliest, 6)).await;
    let events = client.take(&mut subscription, 6).await;
    let told: Vec<(&str, &str)> = events
        .iter()
        .map(|e| (e.kind(), e.header["entityName"].as_str().unwrap()))
        .collect();
    let both = |kind| [(kind, "Account"), (kind, "Contact")];
    assert_eq!(told, [both("CREATE"), both("UPDATE"), both("DELETE")].concat());
    assert_eq!((events[0].ids(), events[1].ids()), (vec![id.as_str()], vec![contact.as_str()]));
    assert_eq!(events[0].header["transactionKey"], events[1].header["transactionKey"]);
    let name = &events[0].body["Name"];
    assert_eq!((&name["FirstName"], &name["LastName"]), (&json!("Ada"), &json!("Byron")));
    assert_eq!(events[0].body["PersonMailingAddress"]["City"], "London");
    assert!(!events[0].body.contains_key("LastName"));
    assert_eq!(events[1].body["AccountId"], id.as_str());
}
