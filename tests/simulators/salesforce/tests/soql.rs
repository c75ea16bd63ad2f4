//! SOQL over the wire: what is refused and how, objects without records, and queries that real
//! clients were recorded to send.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{finished, get, org, send, soql, v65};
use syncline_salesforce_simulator::{OrgConfig, RunningOrg, data_dir};

fn generated() -> RunningOrg {
    org(OrgConfig {
        scale: Some(600),
        ..OrgConfig::default()
    })
}

#[test]
fn what_the_reference_forbids_is_refused_with_code_and_reason() {
    let org = generated();
    let joins = "Id IN (SELECT AccountId FROM Contact)";
    let text = "x".repeat(4001);
    let children = |n: usize| {
        let list: Vec<String> = (0..n).map(|_| "(SELECT Id FROM Contacts)".to_owned()).collect();
        format!("SELECT Id, {} FROM Account", list.join(", "))
    };
    let deep = {
        let mut inner = "SELECT Id FROM ChildAccounts".to_owned();
        for _ in 0..5 {
            inner = format!("SELECT Id, ({inner}) FROM ChildAccounts");
        }
        format!("SELECT Id, ({inner}) FROM Account")
    };
    let malformed = "MALFORMED_QUERY";
    let operator = "INVALID_QUERY_FILTER_OPERATOR";
    let cases: Vec<(String, &str, &str)> = vec![
        // Paths and children.
        (
            "SELECT Parent.Parent.Parent.Parent.Parent.Parent.Name FROM Account".into(),
            malformed,
            "at most 5 levels",
        ),
        (deep, malformed, "at most 5 levels deep"),
        (children(2), malformed, "duplicate relationship"),
        (children(21), malformed, "at most 20"),
        (
            "SELECT Id, (SELECT COUNT() FROM Contacts) FROM Account".into(),
            malformed,
            "Aggregate",
        ),
        (
            "SELECT Id, (SELECT Id FROM Nope) FROM Account".into(),
            "INVALID_TYPE",
            "relationship 'Nope'",
        ),
        (
            "SELECT What.Industry FROM Task".into(),
            "INVALID_FIELD",
            "No such column 'Industry' on entity 'Name'",
        ),
        ("SELECT What.Owner.Name FROM Task".into(), "INVALID_FIELD", "relationship 'Owner'"),
        // Aliases and duplicates.
        (
            "SELECT Name n FROM Account".into(),
            malformed,
            "only aggregate expressions use field aliasing",
        ),
        (
            "SELECT Id, FIELDS(STANDARD) FROM Account".into(),
            "INVALID_FIELD",
            "duplicate field selected: Id",
        ),
        (
            "SELECT COUNT(Id) x, MAX(Name) x FROM Account".into(),
            malformed,
            "duplicate alias: x",
        ),
        // FIELDS.
        (
            "SELECT FIELDS(ALL) FROM Account LIMIT 201".into(),
            malformed,
            "LIMIT of at most 200",
        ),
        ("SELECT FIELDS(CUSTOM) FROM User LIMIT 10".into(), malformed, "no custom fields"),
        (
            "SELECT FIELDS(SOME) FROM User LIMIT 10".into(),
            malformed,
            "ALL, STANDARD or CUSTOM",
        ),
        // Aggregates.
        ("SELECT COUNT(), Id FROM Account".into(), malformed, "only element"),
        ("SELECT COUNT() FROM Account GROUP BY Name".into(), malformed, "COUNT(fieldname)"),
        ("SELECT COUNT() FROM Account ORDER BY Name".into(), malformed, "ORDER BY"),
        ("SELECT MAX(Name) FROM Account LIMIT 1".into(), malformed, "LIMIT is not allowed"),
        (
            "SELECT SUM(Name) FROM Account".into(),
            malformed,
            "field Name does not support aggregate operator SUM",
        ),
        (
            "SELECT COUNT(IsDeleted) FROM Account".into(),
            malformed,
            "does not support aggregate operator COUNT",
        ),
        (
            "SELECT COUNT(Description) FROM Account".into(),
            malformed,
            "does not support aggregate operator COUNT",
        ),
        (
            "SELECT CreatedDate, COUNT(Id) FROM Account GROUP BY CreatedDate".into(),
            malformed,
            "'CreatedDate' can not be grouped",
        ),
        (
            "SELECT Name, COUNT(Id) FROM Account GROUP BY Industry".into(),
            malformed,
            "Field must be grouped or aggregated: Name",
        ),
        (
            "SELECT Industry FROM Account GROUP BY Industry HAVING Name = 'x'".into(),
            malformed,
            "grouped or aggregated: Name",
        ),
        (
            "SELECT Industry FROM Account GROUP BY Industry ORDER BY Name".into(),
            malformed,
            "grouped or aggregated: Name",
        ),
        (
            "SELECT GROUPING(Name) FROM Account GROUP BY Industry".into(),
            malformed,
            "grouped or aggregated: Name",
        ),
        (
            "SELECT COUNT(Id) FROM Account GROUP BY CUBE(Name, Type, Industry, Site)".into(),
            malformed,
            "at most 3",
        ),
        (
            "SELECT Id FROM Account WHERE COUNT(Id) > 1".into(),
            malformed,
            "Aggregate functions",
        ),
        (
            "SELECT CALENDAR_YEAR(CreatedDate) FROM Account".into(),
            malformed,
            "grouped or aggregated: CreatedDate",
        ),
        // Functions.
        (
            "SELECT Id FROM Account WHERE CALENDAR_YEAR(Name) = 1".into(),
            malformed,
            "can not be used in CALENDAR_YEAR",
        ),
        (
            "SELECT Id FROM Account WHERE DAY_ONLY(SLA_Expiration__c) = TODAY".into(),
            malformed,
            "can not be used in DAY_ONLY",
        ),
        (
            "SELECT Id FROM Account WHERE convertTimezone(CreatedDate) = TODAY".into(),
            malformed,
            "inside a date function",
        ),
        ("SELECT Id FROM Account WHERE FORMAT(Name) = 'x'".into(), malformed, "SELECT list"),
        (
            "SELECT Id FROM Account ORDER BY convertCurrency(AnnualRevenue)".into(),
            malformed,
            "SELECT list",
        ),
        ("SELECT toLabel(Name) FROM Account".into(), malformed, "does not support toLabel"),
        (
            "SELECT convertCurrency(Name) FROM Account".into(),
            malformed,
            "does not support convertCurrency",
        ),
        (
            "SELECT Id FROM Account WHERE DISTANCE(Name, GEOLOCATION(1,2), 'km') < 1".into(),
            malformed,
            "not a location",
        ),
        (
            "SELECT Id FROM Account WHERE DISTANCE(BillingAddress, GEOLOCATION(91,2), 'km') < 1".into(),
            malformed,
            "invalid coordinate: 91",
        ),
        (
            "SELECT Id FROM Account WHERE DISTANCE(BillingAddress, GEOLOCATION(1,2), 'km') = 1".into(),
            operator,
            "< and >",
        ),
        // TYPEOF.
        (
            "SELECT TYPEOF Owner WHEN User THEN Id END FROM Account".into(),
            malformed,
            "polymorphic",
        ),
        (
            "SELECT TYPEOF What WHEN Contact THEN Id END FROM Task".into(),
            "INVALID_TYPE",
            "'Contact'",
        ),
        (
            "SELECT TYPEOF What WHEN Account THEN Nope END FROM Task".into(),
            "INVALID_FIELD",
            "No such column 'Nope'",
        ),
        (
            "SELECT What.Name, TYPEOF What WHEN Account THEN Id END FROM Task".into(),
            malformed,
            "in TYPEOF and in the field list",
        ),
        (
            "SELECT TYPEOF What WHEN Account THEN Id END, COUNT(Id) FROM Task GROUP BY WhatId".into(),
            malformed,
            "TYPEOF is not allowed",
        ),
        // Semi-joins.
        (
            format!("SELECT Id FROM Account WHERE {joins} OR Name = 'x'"),
            malformed,
            "top level",
        ),
        (format!("SELECT Id FROM Account WHERE NOT ({joins})"), malformed, "top level"),
        (
            format!("SELECT Id FROM Account WHERE {joins} AND {joins} AND {joins}"),
            malformed,
            "Maximum 2",
        ),
        (
            "SELECT Id FROM Contact WHERE Account.ParentId IN (SELECT Id FROM Account)".into(),
            malformed,
            "relationship path",
        ),
        (
            "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact ORDER BY Name)".into(),
            malformed,
            "ORDER BY",
        ),
        (
            "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact LIMIT 1)".into(),
            malformed,
            "LIMIT",
        ),
        (
            "SELECT Id FROM Account WHERE Id IN (SELECT Name FROM Contact)".into(),
            malformed,
            "id or a reference",
        ),
        (
            "SELECT Id FROM Account WHERE Id IN (SELECT Id FROM Contact)".into(),
            malformed,
            "same object type",
        ),
        (
            "SELECT Id FROM Account WHERE Id IN (SELECT ParentId FROM Account)".into(),
            malformed,
            "same object type",
        ),
        (
            "SELECT Id FROM Account WHERE Id IN (SELECT WhatId FROM Task)".into(),
            malformed,
            "'Task' is not supported",
        ),
        (
            "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact WHERE Id IN (SELECT ContactId FROM Case))".into(),
            malformed,
            "Nesting",
        ),
        (
            "SELECT Id FROM Account WHERE Name IN (SELECT AccountId FROM Contact)".into(),
            malformed,
            "id or a reference",
        ),
        // Literals and operators.
        (format!("SELECT Id FROM Account WHERE Name = '{text}'"), malformed, "4000"),
        (
            "SELECT Id FROM Account WHERE SLA_Expiration__c = 1699-12-31".into(),
            "INVALID_FIELD",
            "type date",
        ),
        (
            "SELECT Id FROM Account WHERE CreatedDate = 4001-01-01T00:00:00Z".into(),
            "INVALID_FIELD",
            "type dateTime",
        ),
        (
            "SELECT Id FROM Account WHERE CreatedDate = 2024-01-01".into(),
            "INVALID_FIELD",
            "type dateTime",
        ),
        (
            "SELECT Id FROM Account WHERE CreatedDate = LAST_N_DAYS".into(),
            "INVALID_FIELD",
            "type dateTime",
        ),
        (
            "SELECT Id FROM Account WHERE Tags__c LIKE 'E%'".into(),
            operator,
            "invalid operator",
        ),
        ("SELECT Id FROM Account WHERE Name INCLUDES ('x')".into(), operator, "multipicklist"),
        ("SELECT Id FROM Account WHERE IsDeleted > false".into(), operator, "boolean"),
        ("SELECT Id FROM Account WHERE Id LIKE '001%'".into(), operator, "invalid operator"),
        ("SELECT Id FROM Account WHERE Name > null".into(), operator, "null"),
        (
            "SELECT Id FROM Account WHERE AnnualRevenue > XXX5".into(),
            "INVALID_FIELD",
            "type double",
        ),
        (
            "SELECT Id FROM Account WHERE BillingAddress = 'x'".into(),
            "INVALID_FIELD",
            "can not be filtered",
        ),
        // Clauses.
        ("SELECT Id FROM Account USING SCOPE nowhere".into(), malformed, "'nowhere'"),
        (
            "SELECT Id FROM PricebookEntry USING SCOPE mine".into(),
            malformed,
            "not supported by sObject type",
        ),
        (
            "SELECT Id FROM Account WITH DATA CATEGORY Geography__c AT usa__c".into(),
            malformed,
            "data category",
        ),
        ("SELECT Id FROM Account ORDER BY Name FOR UPDATE".into(), malformed, "FOR UPDATE"),
        (
            "SELECT Id FROM FieldDefinition".into(),
            "EXTERNAL_OBJECT_UNSUPPORTED_EXCEPTION",
            "reified column",
        ),
        ("SELECT RecordId FROM UserRecordAccess".into(), malformed, "UserId"),
    ];
    for (query, code, part) in cases {
        let reply = soql(&org, &query);
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{query}: {}", reply.text());
        let message = reply.json()[0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(part), "{query}: {message}");
    }
}

#[test]
fn a_recorded_refusal_reads_as_recorded() {
    // Recorded from an org: the quoted text, the caret under the object, row and column.
    let org = generated();
    let reply = soql(&org, "select count() from XYZZY").json();
    assert_eq!(reply[0]["errorCode"], "INVALID_TYPE");
    let message = reply[0]["message"].as_str().unwrap();
    let start = "\nselect count() from XYZZY\n                    ^\nERROR at Row:1:Column:21\nsObject type 'XYZZY' is not supported.";
    assert!(message.starts_with(start), "{message}");
    let reply = soql(&org, "SELECT Id,\n Name,\n  Nope FROM Account").json();
    assert!(
        reply[0]["message"].as_str().unwrap().contains("ERROR at Row:3:Column:3\n"),
        "{reply}"
    );
}

#[test]
fn bulk_refuses_what_only_rest_can_do() {
    let org = generated();
    for (query, part) in [
        ("SELECT Industry FROM Account GROUP BY Industry", "GROUP BY"),
        ("SELECT COUNT() FROM Account", "Aggregate"),
        ("SELECT MAX(Name) FROM Account", "Aggregate"),
        ("SELECT Id FROM Account OFFSET 5", "OFFSET"),
        ("SELECT TYPEOF What WHEN Account THEN Id END FROM Task", "TYPEOF"),
        ("SELECT Id, (SELECT Id FROM Contacts) FROM Account", "Nested"),
        ("SELECT BillingAddress FROM Account", "compound"),
    ] {
        let job = send(&org, "POST", &v65("jobs/query"), json!({"operation": "query", "query": query}));
        let id = job.json()["id"].as_str().unwrap().to_owned();
        let job = finished(&org, &v65(&format!("jobs/query/{id}")));
        assert_eq!(job["state"], "Failed", "{query}");
        let message = job["errorMessage"].as_str().unwrap();
        assert!(message.starts_with("FeatureNotEnabled") && message.contains(part), "{message}");
    }
    let query = "SELECT Id, What.Name, Owner.Name FROM Task WHERE CALENDAR_YEAR(CreatedDate) > 2000";
    let job = send(&org, "POST", &v65("jobs/query"), json!({"operation": "query", "query": query}));
    let id = job.json()["id"].as_str().unwrap().to_owned();
    let path = v65(&format!("jobs/query/{id}"));
    assert_eq!(finished(&org, &path)["numberRecordsProcessed"], org.count("Task"));
    let csv = get(&org, &format!("{path}/results")).text();
    assert!(csv.starts_with("\"Id\",\"What.Name\",\"Owner.Name\"\n"), "{}", &csv[..60]);
}

#[test]
fn objects_without_records_follow_from_the_schema() {
    let org = generated();
    // What SFDMU asks when it connects.
    let query = "SELECT QualifiedApiName, Label, DeveloperName, IsEverUpdatable, IsEverCreatable, IsEverDeletable, KeyPrefix \
                 FROM EntityDefinition WHERE IsRetrieveable = true AND IsQueryable = true AND IsIdEnabled = true \
                 AND IsDeprecatedAndHidden = false AND (NOT KeyPrefix LIKE 'a%')";
    let answer = soql(&org, query).json();
    let records = answer["records"].as_array().unwrap();
    let global = get(&org, &v65("sobjects")).json();
    let wanted = global["sobjects"].as_array().unwrap().iter().filter(|o| {
        let prefix = o["keyPrefix"].as_str().unwrap();
        !prefix.to_lowercase().starts_with('a') && o["queryable"] == true
    });
    assert_eq!(records.len(), wanted.count());
    let account = records.iter().find(|r| r["QualifiedApiName"] == "Account").unwrap();
    assert_eq!((&account["KeyPrefix"], &account["IsEverCreatable"]), (&json!("001"), &json!(true)));
    let url = account["attributes"]["url"].as_str().unwrap();
    assert!(url.ends_with("/sobjects/EntityDefinition/Account"), "{url}");
    let custom = soql(
        &org,
        "SELECT QualifiedApiName FROM EntityDefinition WHERE QualifiedApiName LIKE '%\\_\\_c' ORDER BY QualifiedApiName",
    );
    let names: Vec<Value> = custom.json()["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["QualifiedApiName"].clone())
        .collect();
    assert!(names.contains(&json!("Project__c")), "{names:?}");
    let fields = "SELECT QualifiedApiName, DataType, EntityDefinition.KeyPrefix FROM FieldDefinition WHERE EntityDefinition.QualifiedApiName = 'Contact'";
    let fields = soql(&org, fields).json();
    let describe = get(&org, &v65("sobjects/Contact/describe")).json();
    assert_eq!(fields["totalSize"], describe["fields"].as_array().unwrap().len());
    assert_eq!(fields["records"][0]["EntityDefinition"]["KeyPrefix"], "003");
    let contact = soql(&org, "SELECT Id FROM Contact LIMIT 1").json()["records"][0]["Id"]
        .as_str()
        .unwrap()
        .to_owned();
    let access = format!(
        "SELECT RecordId, HasEditAccess, MaxAccessLevel FROM UserRecordAccess WHERE UserId = '{}' AND RecordId IN ('{contact}', '003000000000001')",
        org.user_id
    );
    let access = soql(&org, &access).json();
    assert_eq!(access["totalSize"], 1, "{access}");
    assert_eq!(
        (&access["records"][0]["RecordId"], &access["records"][0]["HasEditAccess"]),
        (&json!(contact), &json!(true))
    );
}

#[test]
fn queries_recorded_from_clients_are_answered_in_the_recorded_shape() {
    let org = org(OrgConfig {
        rows: Some(data_dir().join("rows/synthetic-b2b")),
        ..OrgConfig::default()
    });
    let answer = |query: &str| {
        let reply = soql(&org, query);
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        reply.json()
    };
    let count = answer("select count(Id) from Account");
    assert_eq!(count["records"][0]["attributes"], json!({"type": "AggregateResult"}));
    assert_eq!(count["records"][0]["expr0"], org.count("Account"));
    let types = answer("SELECT Id, DeveloperName FROM RecordType WHERE SObjectType='Account'");
    assert!(types["totalSize"].as_u64().unwrap() > 0);
    for query in [
        "SELECT Id, Name, Description, Phone, AccountNumber FROM Account WHERE Name != 'Sample Account for Entitlements'",
        "SELECT FirstName,LastName FROM User LIMIT 1",
        "select Name from Account where AccountNumber='420'",
        "SELECT Id,Name FROM Account",
    ] {
        assert_eq!(answer(query)["done"], true);
    }
    let event = answer(
        "SELECT Id, TYPEOF Who WHEN Contact THEN LastName, Email WHEN Lead THEN LastName, Company ELSE Id END, \
         TYPEOF What WHEN Account THEN Name, Description, Phone, AccountNumber ELSE Id END, Subject, DurationInMinutes, ActivityDateTime FROM Event",
    );
    assert!(
        event["records"]
            .as_array()
            .unwrap()
            .iter()
            .any(|e| e["What"]["attributes"]["type"] == "Account")
    );
    let nested = answer("select FirstName,(select CaseNumber from Cases) from Contact");
    let kinds: Vec<bool> = nested["records"].as_array().unwrap().iter().map(|r| r["Cases"].is_null()).collect();
    assert!(kinds.contains(&true) && kinds.contains(&false));
}

#[test]
fn the_request_s_version_bounds_nested_children() {
    let org = generated();
    let query = "SELECT+Id,+(SELECT+Id,+(SELECT+Id+FROM+Cases)+FROM+Contacts)+FROM+Account";
    assert_eq!(get(&org, &format!("/services/data/v58.0/query?q={query}")).status, 200);
    let old = get(&org, &format!("/services/data/v57.0/query?q={query}"));
    assert_eq!((old.status, old.code().as_str()), (400, "MALFORMED_QUERY"));
}

#[test]
fn values_are_shown_as_asked() {
    let org = generated();
    let one = |query: &str| {
        let reply = soql(&org, query);
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        reply.json()["records"][0].clone()
    };
    let row = one(
        "SELECT AnnualRevenue, FORMAT(AnnualRevenue) shown, FORMAT(CreatedDate) born, toLabel(Industry), Owner.Name FROM Account WHERE AnnualRevenue > 1000 LIMIT 1",
    );
    assert!(row["shown"].as_str().unwrap().contains(','), "{row}");
    assert!(row["born"].as_str().unwrap().ends_with('M'), "{row}");
    assert!(row["AnnualRevenue"].is_number() && row.get("Industry").is_some());
    let shape = one("SELECT FORMAT(MAX(CreatedDate)) last, Industry kind FROM Account GROUP BY Industry");
    assert!(shape["last"].is_string() && shape.get("kind").is_some());
    let all = one("SELECT FIELDS(ALL) FROM Account LIMIT 1");
    let describe = get(&org, &v65("sobjects/Account/describe")).json();
    assert_eq!(all.as_object().unwrap().len(), describe["fields"].as_array().unwrap().len() + 1);
    let custom = one("SELECT FIELDS(CUSTOM) FROM Account LIMIT 1");
    assert!(custom.as_object().unwrap().keys().all(|k| k == "attributes" || k.ends_with("__c")));
    let mine = soql(&org, "SELECT COUNT() FROM Account USING SCOPE mine").json()["totalSize"].clone();
    let same = soql(&org, &format!("SELECT COUNT() FROM Account WHERE OwnerId = '{}'", org.user_id)).json()["totalSize"].clone();
    assert_eq!(mine, same);
    let plan = get(&org, &v65("query?explain=SELECT+Id+FROM+Account+WHERE+Ext_Id__c='x'")).json();
    assert_eq!(
        (&plan["plans"][0]["leadingOperationType"], &plan["plans"][0]["fields"][0]),
        (&json!("Index"), &json!("Ext_Id__c"))
    );
}
