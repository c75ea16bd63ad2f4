//! Bulk API 2.0, both directions, and every row rule through it.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{create_ingest, finished, get, ingest, org, put_csv, rows, send, soql, try_send, v65};
use syncline_salesforce_simulator::schema::PicklistOverride;
use syncline_salesforce_simulator::store::rules::ValidationRule;
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};

fn query_job(org: &RunningOrg, query: &str) -> String {
    let reply = send(org, "POST", &v65("jobs/query"), json!({"operation": "query", "query": query}));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    v65(&format!("jobs/query/{id}"))
}

#[test]
fn pages_are_stable_carry_a_header_each_and_end_with_the_literal_null() {
    let org = org(OrgConfig {
        scale: Some(4000),
        ..OrgConfig::default()
    });
    let path = query_job(&org, "SELECT Id, LastName, IsDeleted, CreatedDate, Account.Name FROM Contact");
    let job = finished(&org, &path);
    assert_eq!(job["numberRecordsProcessed"], org.count("Contact"));
    // A change after the snapshot must not show.
    let first = soql(&org, "SELECT Id FROM Contact LIMIT 1").json()["records"][0]["Id"]
        .as_str()
        .unwrap()
        .to_owned();
    send(
        &org,
        "PATCH",
        &v65(&format!("sobjects/Contact/{first}")),
        json!({"LastName": "Changed"}),
    );
    let mut ids = std::collections::BTreeSet::new();
    let mut locator = String::new();
    let mut pages = 0;
    loop {
        let tail = if locator.is_empty() {
            String::new()
        } else {
            format!("&locator={locator}")
        };
        let url = format!("{path}/results?maxRecords=300{tail}");
        let page = get(&org, &url);
        assert_eq!(page.text(), get(&org, &url).text());
        assert!(
            page.text()
                .starts_with("\"Id\",\"LastName\",\"IsDeleted\",\"CreatedDate\",\"Account.Name\"\n")
        );
        let list = rows(&page.text());
        assert_eq!(page.header("sforce-numberofrecords"), list.len().to_string());
        for row in list {
            assert!(row[3].ends_with(".000Z") && row[2] == "false" && row[1] != "Changed");
            assert!(ids.insert(row[0].clone()));
        }
        pages += 1;
        locator = page.header("sforce-locator").to_owned();
        if locator == "null" {
            break;
        }
    }
    assert_eq!((ids.len(), pages), (org.count("Contact"), 4));
    assert_eq!(get(&org, &format!("{path}/results?locator=zzz")).status, 400);
    assert_eq!(get(&org, &path.replace("v65", "v64")).status, 200);
    assert_eq!(get(&org, &format!("{}/results", path.replace("v65", "v64"))).status, 409);
    assert_eq!(send(&org, "DELETE", &path, Value::Null).status, 204);
    assert_eq!(
        get(&org, &path).json(),
        json!([{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}])
    );
}

#[test]
fn an_empty_result_is_a_header_and_gzip_is_honoured() {
    let org = org(OrgConfig {
        scale: Some(2000),
        ..OrgConfig::default()
    });
    let path = query_job(&org, "SELECT Id FROM Contact WHERE LastName = 'nobody at all'");
    finished(&org, &path);
    let page = get(&org, &format!("{path}/results"));
    assert_eq!(
        (
            page.text().as_str(),
            page.header("sforce-numberofrecords"),
            page.header("sforce-locator")
        ),
        ("\"Id\"\n", "0", "null")
    );
    let path = query_job(&org, "SELECT Id, Name, Description FROM Contact");
    let plain = get(&org, &format!("{path}/results"));
    let auth = format!("Bearer {}", org.token);
    let packed = try_send(
        &org,
        "GET",
        &format!("{path}/results"),
        &[("authorization", &auth), ("accept-encoding", "gzip")],
        b"",
    )
    .unwrap();
    assert_eq!(packed.header("content-encoding"), "gzip");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed.body[..]), &mut text).unwrap();
    assert_eq!(text, plain.text());
}

#[test]
fn result_pages_list_every_page_and_unsupported_soql_fails_the_job() {
    let org = org(OrgConfig {
        scale: Some(4000),
        bulk_page_rows: 100,
        ..OrgConfig::default()
    });
    let path = query_job(&org, "SELECT Id FROM Contact");
    let mut next = format!("{path}/resultPages");
    let mut total = 0;
    loop {
        let answer = get(&org, &next).json();
        for page in answer["resultPages"].as_array().unwrap() {
            total += rows(&get(&org, page["resultUrl"].as_str().unwrap()).text()).len();
        }
        if answer["done"] == true {
            break;
        }
        next = answer["nextRecordsUrl"].as_str().unwrap().to_owned();
    }
    assert_eq!(total, org.count("Contact"));
    for query in [
        "SELECT COUNT(Id) FROM Contact",
        "SELECT MailingAddress FROM Contact",
        "SELECT Id FROM Contact LIMIT 1 OFFSET 1",
    ] {
        let job = finished(&org, &query_job(&org, query));
        assert_eq!(job["state"], "Failed", "{query}");
        assert!(job["errorMessage"].as_str().unwrap().starts_with("FeatureNotEnabled : "));
    }
    let bad = send(
        &org,
        "POST",
        &v65("jobs/query"),
        json!({"operation": "query", "query": "SELECT Nope FROM Contact"}),
    );
    assert_eq!((bad.status, bad.code().as_str()), (400, "INVALID_FIELD"));
}

#[test]
fn an_insert_reports_each_row_once_shuffled_and_echoes_its_input() {
    let org = org(OrgConfig::default());
    let mut csv = String::from("Ext_Id__c,Name,Description\n");
    for i in 0..1000 {
        csv.push_str(&format!(
            "E-{i},{},\"a \"\"q\"\", b\n=line {i}\"\n",
            if i % 10 == 0 { String::new() } else { format!("N{i}") }
        ));
    }
    let (job, [good, bad, rest]) = ingest(&org, json!({"object": "Account", "operation": "insert"}), &csv);
    assert_eq!(
        (&job["state"], &job["numberRecordsProcessed"], &job["numberRecordsFailed"]),
        (&json!("JobComplete"), &json!(1000), &json!(100))
    );
    assert!(good.starts_with("\"sf__Id\",\"sf__Created\",Ext_Id__c,Name,Description\n"));
    let good = rows(&good);
    assert_eq!(good.len(), 900);
    let order: Vec<&str> = good.iter().map(|r| r[2].as_str()).collect();
    let mut sorted = order.clone();
    sorted.sort_by_key(|e| e[2..].parse::<u32>().unwrap());
    assert_ne!(order, sorted);
    for row in &good {
        assert_eq!((row[1].as_str(), row[0].len()), ("true", 18));
        assert_eq!(row[4], format!("a \"q\", b\n=line {}", &row[2][2..]));
    }
    assert!(
        rows(&bad)
            .iter()
            .all(|r| r[0].is_empty() && r[1] == "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --")
    );
    assert_eq!(rest.trim_end(), "Ext_Id__c,Name,Description");
    assert_eq!(org.count("Account"), 900);
}

#[test]
fn empty_cells_are_ignored_on_update_and_na_sets_null() {
    let org = org(OrgConfig::default());
    ingest(
        &org,
        json!({"object": "Account", "operation": "insert"}),
        "Ext_Id__c,Name,Fax,Site\nA,One,111,x\nB,Two,222,y\n",
    );
    let csv = "Ext_Id__c,Fax,Site\nA,,#N/A\nB,#N/A,\nC,1,1\n";
    let (_, [good, bad, _]) = ingest(
        &org,
        json!({"object": "Account", "operation": "upsert", "externalIdFieldName": "Ext_Id__c"}),
        csv,
    );
    assert!(rows(&good).iter().all(|r| r[1] == "false"));
    assert!(rows(&bad)[0][1].starts_with("REQUIRED_FIELD_MISSING"));
    let left = soql(&org, "SELECT Fax, Site FROM Account ORDER BY Ext_Id__c").json();
    assert_eq!(
        (&left["records"][0]["Fax"], &left["records"][0]["Site"]),
        (&json!("111"), &Value::Null)
    );
    assert_eq!(
        (&left["records"][1]["Fax"], &left["records"][1]["Site"]),
        (&Value::Null, &json!("y"))
    );
}

#[test]
fn upserts_delete_and_hard_delete_act_on_their_keys() {
    let org = org(OrgConfig::default());
    let job = || json!({"object": "Account", "operation": "upsert", "externalIdFieldName": "Ext_Id__c"});
    let (_, [good, bad, _]) = ingest(&org, job(), "Ext_Id__c,Name\nA,1\nB,2\nB,3\n,4\n");
    assert_eq!(rows(&good).len(), 1);
    let errors: Vec<String> = rows(&bad).iter().map(|r| r[1].split(':').next().unwrap().to_owned()).collect();
    assert_eq!(errors.iter().filter(|e| *e == "DUPLICATE_VALUE").count(), 2);
    assert_eq!(errors.iter().filter(|e| *e == "MISSING_ARGUMENT").count(), 1);
    let id = rows(&good)[0][0].clone();
    let (job, [good, ..]) = ingest(&org, json!({"object": "Account", "operation": "delete"}), &format!("Id\n{id}\n"));
    assert_eq!((job["state"].as_str(), rows(&good)[0][1].as_str()), (Some("JobComplete"), "false"));
    assert_eq!(org.count("Account"), 0);
    ingest(
        &org,
        json!({"object": "Account", "operation": "hardDelete"}),
        &format!("Id\n{id}\n"),
    );
    assert_eq!(get(&org, &v65("queryAll?q=SELECT+Id+FROM+Account")).json()["totalSize"], 0);
    let (job, _) = ingest(
        &org,
        json!({"object": "Account", "operation": "delete"}),
        &format!("Id,Name\n{id},x\n"),
    );
    assert_eq!(job["errorMessage"], "InvalidBatch : The 'delete' batch must contain only ids");
}

#[test]
fn whole_job_problems_fail_it_and_keep_the_rows_apart() {
    let org = org(OrgConfig::default());
    let insert = || json!({"object": "Account", "operation": "insert"});
    for (body, csv, message) in [
        (insert(), "Name,Nope\nA,b\n", "InvalidBatch : Field name not found : Nope"),
        (
            insert(),
            "Name\r\nA\r\n",
            "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF",
        ),
        (
            json!({"object": "Account", "operation": "insert", "lineEnding": "CRLF"}),
            "Name\nA\n",
            "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is CRLF",
        ),
        (
            json!({"object": "Account", "operation": "update"}),
            "Name\nA\n",
            "InvalidBatch : Field name not found : Id",
        ),
    ] {
        let (job, [good, _, rest]) = ingest(&org, body, csv);
        assert_eq!(
            (job["state"].as_str(), job["errorMessage"].as_str()),
            (Some("Failed"), Some(message))
        );
        assert_eq!((rows(&good).len(), rows(&rest).len()), (0, 1));
    }
    assert_eq!(org.count("Account"), 0);
    let (job, [good, _, rest]) = ingest(&org, insert(), "Name,Fax\nA,1\nB,2\nC\nD,4\n");
    assert_eq!(job["state"], "Failed");
    assert_eq!((rows(&good).len(), rest.as_str()), (2, "Name,Fax\nC\nD,4\n"));
    assert_eq!(org.count("Account"), 2);
    let bad = send(&org, "POST", &v65("jobs/ingest"), json!({"object": "Nope", "operation": "insert"}));
    assert_eq!(bad.status, 400);
    let bad = send(
        &org,
        "POST",
        &v65("jobs/ingest"),
        json!({"object": "Account", "operation": "upsert", "externalIdFieldName": "Site"}),
    );
    assert_eq!(bad.status, 400);
}

#[test]
fn a_job_takes_one_upload_and_can_be_aborted_before_it_runs() {
    let org = org(OrgConfig::default());
    let id = create_ingest(&org, json!({"object": "Account", "operation": "insert"}));
    let path = v65(&format!("jobs/ingest/{id}"));
    assert_eq!(
        get(&org, &path).json()["contentUrl"],
        format!("services/data/v65.0/jobs/ingest/{id}/batches")
    );
    assert_eq!(put_csv(&org, &id, "Name\nA\n").status, 201);
    assert_eq!(put_csv(&org, &id, "Name\nB\n").status, 400);
    assert_eq!(send(&org, "DELETE", &path, Value::Null).status, 400);
    assert_eq!(get(&org, &format!("{path}/successfulResults/")).status, 400);
    assert_eq!(send(&org, "PATCH", &path, json!({"state": "Aborted"})).json()["state"], "Aborted");
    assert_eq!(send(&org, "PATCH", &path, json!({"state": "UploadComplete"})).status, 400);
    assert_eq!(org.count("Account"), 0);
    let listed = get(&org, &v65("jobs/ingest")).json();
    assert_eq!(listed["records"].as_array().unwrap().len(), 1);
    assert_eq!(send(&org, "DELETE", &path, Value::Null).status, 204);
    assert_eq!(get(&org, &path).status, 404);
}

#[test]
fn every_row_rule_refuses_with_its_code() {
    let org = org(OrgConfig {
        scale: Some(300),
        picklists: vec![PicklistOverride {
            object: "Account".into(),
            field: "Industry".into(),
            values: vec!["Banking".into()],
            restricted: true,
        }],
        validation_rules: vec![ValidationRule::parse("Opportunity: Amount < 0 => Amount must not be negative").unwrap()],
        ..OrgConfig::default()
    });
    let first = |query: &str| soql(&org, query).json()["records"][0]["Id"].as_str().unwrap().to_owned();
    let account = first("SELECT Id FROM Account LIMIT 1");
    let contact = first("SELECT Id FROM Contact LIMIT 1");
    let lead = first("SELECT Id FROM Lead LIMIT 1");
    let case_kind = first("SELECT Id FROM RecordType WHERE SobjectType = 'Case' LIMIT 1");
    let inactive = first("SELECT Id FROM User WHERE IsActive = false LIMIT 1");
    let queue = first("SELECT Id FROM Group LIMIT 1");
    let custom = first("SELECT Id FROM Pricebook2 WHERE IsStandard = false LIMIT 1");
    let product = send(&org, "POST", &v65("sobjects/Product2"), json!({"Name": "P"})).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let taken = soql(&org, "SELECT Ext_Id__c FROM Account LIMIT 1").json()["records"][0]["Ext_Id__c"]
        .as_str()
        .unwrap()
        .to_owned();
    let missing = "001Wy000009ZZZZIAA";
    let missing = syncline_salesforce_simulator::store::id::Id::parse(&missing.as_bytes()[..15])
        .unwrap()
        .text();
    let mut flipped = account.clone();
    flipped.replace_range(16..18, "55");
    let cases: Vec<(&str, String, &str)> = vec![
        ("Contact", "FirstName\nx\n".into(), "REQUIRED_FIELD_MISSING"),
        ("Contact", format!("LastName\n{}\n", "x".repeat(81)), "STRING_TOO_LONG"),
        ("Contact", "LastName,Email\nx,nope\n".into(), "INVALID_EMAIL_ADDRESS"),
        (
            "Contact",
            "LastName,Birthdate\nx,31.12.1999\n".into(),
            "INVALID_TYPE_ON_FIELD_IN_RECORD",
        ),
        (
            "Contact",
            format!("LastName,AccountId\nx,{missing}\n"),
            "INVALID_CROSS_REFERENCE_KEY",
        ),
        (
            "Contact",
            format!("LastName,AccountId\nx,{contact}\n"),
            "INVALID_CROSS_REFERENCE_KEY",
        ),
        ("Contact", format!("LastName,AccountId\nx,{flipped}\n"), "MALFORMED_ID"),
        (
            "Contact",
            "LastName,CreatedDate\nx,2020-01-01T00:00:00Z\n".into(),
            "INVALID_FIELD_FOR_INSERT_UPDATE",
        ),
        ("Contact", format!("LastName,OwnerId\nx,{inactive}\n"), "INACTIVE_OWNER_OR_USER"),
        ("Contact", format!("LastName,OwnerId\nx,{queue}\n"), "INVALID_CROSS_REFERENCE_KEY"),
        (
            "Account",
            "Name,Industry\nx,Retail\n".into(),
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        ),
        (
            "Account",
            format!("Name,RecordTypeId\nx,{case_kind}\n"),
            "INVALID_CROSS_REFERENCE_KEY",
        ),
        (
            "Account",
            format!("Name,Ext_Id__c\nx,{}\n", taken.to_lowercase()),
            "DUPLICATE_VALUE",
        ),
        (
            "Account",
            "Name,NumberOfEmployees\nx,999999999\n".into(),
            "NUMBER_OUTSIDE_VALID_RANGE",
        ),
        (
            "Opportunity",
            "Name,StageName,CloseDate,Amount\nx,Prospecting,2025-01-01,-5\n".into(),
            "FIELD_CUSTOM_VALIDATION_EXCEPTION",
        ),
        (
            "PricebookEntry",
            format!("Pricebook2Id,Product2Id,UnitPrice\n{custom},{product},5\n"),
            "STANDARD_PRICE_NOT_DEFINED",
        ),
        (
            "Task",
            format!("Subject,WhoId,WhatId\nx,{lead},{account}\n"),
            "FIELD_INTEGRITY_EXCEPTION",
        ),
        ("Milestone__c", "Name\nx\n".into(), "REQUIRED_FIELD_MISSING"),
        ("Contact", format!("Id,LastName\n{contact},x\n"), "INVALID_FIELD_FOR_INSERT_UPDATE"),
    ];
    for (object, csv, code) in cases {
        let (_, [_, bad, _]) = ingest(&org, json!({"object": object, "operation": "insert"}), &csv);
        let list = rows(&bad);
        assert_eq!(list.len(), 1, "{object}: {csv}");
        assert!(list[0][1].starts_with(&format!("{code}:")), "{object} {csv}: {}", list[0][1]);
        assert!(list[0][1].ends_with(" --"));
    }
    let own_parent = format!("Id,ParentId\n{account},{account}\n");
    let (_, [_, bad, _]) = ingest(&org, json!({"object": "Account", "operation": "update"}), &own_parent);
    assert!(rows(&bad)[0][1].starts_with("CIRCULAR_DEPENDENCY:"));
    let (_, [good, ..]) = ingest(
        &org,
        json!({"object": "Contact", "operation": "insert"}),
        &format!("LastName,AccountId\nx,{}\n", &account[..15]),
    );
    assert_eq!(rows(&good).len(), 1);
    send(&org, "POST", "/__sim/storage", json!({"mb": 0}));
    let (_, [_, bad, _]) = ingest(&org, json!({"object": "Contact", "operation": "insert"}), "LastName\nx\n");
    assert!(rows(&bad)[0][1].starts_with("STORAGE_LIMIT_EXCEEDED:"));
}

#[test]
fn the_server_derives_what_clients_may_not_write() {
    let org = org(OrgConfig::default());
    let make = |object: &str, body: Value| {
        let reply = send(&org, "POST", &v65(&format!("sobjects/{object}")), body);
        assert_eq!(reply.status, 201, "{}", reply.text());
        reply.json()["id"].as_str().unwrap().to_owned()
    };
    let read = |object: &str, id: &str| get(&org, &v65(&format!("sobjects/{object}/{id}"))).json();
    let books = soql(&org, "SELECT Id FROM Pricebook2 ORDER BY IsStandard DESC").json();
    let book = |i: usize| books["records"][i]["Id"].clone();
    let product = make("Product2", json!({"Name": "Pump", "ProductCode": "P-1"}));
    make(
        "PricebookEntry",
        json!({"Pricebook2Id": book(0), "Product2Id": product, "UnitPrice": 10, "IsActive": true}),
    );
    let entry = make(
        "PricebookEntry",
        json!({"Pricebook2Id": book(1), "Product2Id": product, "UnitPrice": 9, "IsActive": true}),
    );
    assert_eq!(read("PricebookEntry", &entry)["Name"], "Pump");
    let account = make("Account", json!({"Name": "A"}));
    let contact = make(
        "Contact",
        json!({"FirstName": "Ann", "LastName": "Lee", "AccountId": account, "Email": "a@b.example"}),
    );
    assert_eq!(read("Contact", &contact)["Name"], "Ann Lee");
    let deal = make(
        "Opportunity",
        json!({"Name": "D", "StageName": "Closed Won", "CloseDate": "2025-05-05", "Pricebook2Id": book(1)}),
    );
    let line = make(
        "OpportunityLineItem",
        json!({"OpportunityId": deal, "PricebookEntryId": entry, "Quantity": 3, "UnitPrice": 8.5}),
    );
    assert_eq!(read("OpportunityLineItem", &line)["TotalPrice"], 25.5);
    let deal = read("Opportunity", &deal);
    assert_eq!(
        (
            &deal["IsWon"],
            &deal["HasOpportunityLineItem"],
            &deal["Amount"],
            &deal["FiscalQuarter"]
        ),
        (&json!(true), &json!(true), &json!(25.5), &json!(2))
    );
    let case = make("Case", json!({"Subject": "S", "ContactId": contact, "Status": "Closed"}));
    let case = read("Case", &case);
    assert_eq!(
        (&case["CaseNumber"], &case["ContactEmail"], &case["IsClosed"]),
        (&json!("00001001"), &json!("a@b.example"), &json!(true))
    );
    let task = make("Task", json!({"Subject": "T", "WhoId": contact, "Status": "Completed"}));
    let task = read("Task", &task);
    assert_eq!(
        (&task["AccountId"], &task["IsClosed"], &task["Priority"]),
        (&json!(account), &json!(true), &json!("Normal"))
    );
    let wrong = send(
        &org,
        "POST",
        &v65("sobjects/OpportunityLineItem"),
        json!({"OpportunityId": deal["Id"], "Quantity": 1}),
    );
    assert_eq!(wrong.code(), "REQUIRED_FIELD_MISSING");
}

#[test]
fn polymorphic_relationship_columns_need_their_type() {
    let org = org(OrgConfig {
        scale: Some(300),
        ..OrgConfig::default()
    });
    let insert = || json!({"object": "Task", "operation": "insert"});
    let (job, [good, ..]) = ingest(&org, insert(), "Subject,Contact:Who.Ext_Id__c\nx,CON-0000001\n");
    assert_eq!((job["state"].as_str(), rows(&good).len()), (Some("JobComplete"), 1));
    let (job, _) = ingest(&org, insert(), "Subject,Who.Ext_Id__c\nx,CON-0000001\n");
    assert_eq!(job["errorMessage"], "InvalidBatch : Field name not found : Who.Ext_Id__c");
    let (job, _) = ingest(
        &org,
        json!({"object": "Contact", "operation": "insert"}),
        "LastName,Account:Account.Ext_Id__c\nx,ACC-0000001\n",
    );
    assert_eq!(job["state"], "Failed");
}

#[test]
fn scripted_row_and_job_faults_leave_the_documented_traces() {
    let org = org(OrgConfig::default());
    let lock =
        json!({"object": "Account", "code": "UNABLE_TO_LOCK_ROW", "message": "unable to obtain exclusive access", "skip": 1, "times": 2});
    assert_eq!(send(&org, "POST", "/__sim/row-faults", lock).status, 200);
    assert_eq!(
        send(&org, "POST", "/__sim/row-faults", json!({"object": "Account", "code": "X"})).status,
        400
    );
    let insert = || json!({"object": "Account", "operation": "insert"});
    let (_, [good, bad, _]) = ingest(&org, insert(), "Name\nA\nB\nC\nD\n");
    assert_eq!((rows(&good).len(), rows(&bad).len()), (2, 2));
    assert_eq!(rows(&bad)[0][1], "UNABLE_TO_LOCK_ROW:unable to obtain exclusive access: --");
    send(
        &org,
        "POST",
        "/__sim/job-faults",
        json!({"object": "Account", "after_rows": 400, "message": "TooManyLockFailure : Too many lock failure"}),
    );
    let csv: String = std::iter::once("Name\n".to_owned())
        .chain((0..1000).map(|i| format!("N{i}\n")))
        .collect();
    let (job, [good, _, rest]) = ingest(&org, insert(), &csv);
    assert_eq!(
        (job["state"].as_str(), job["errorMessage"].as_str()),
        (Some("Failed"), Some("TooManyLockFailure : Too many lock failure"))
    );
    assert_eq!((rows(&good).len(), rows(&rest).len()), (400, 600));
    assert_eq!(rows(&rest)[0][0], "N400");
    assert_eq!(org.count("Account"), 402);
}

#[test]
fn deleting_a_parent_cascades_or_clears_as_the_describe_says() {
    let org = org(OrgConfig::default());
    let make = |object: &str, body: Value| {
        send(&org, "POST", &v65(&format!("sobjects/{object}")), body).json()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let account = make("Account", json!({"Name": "A"}));
    let child = make("Account", json!({"Name": "B", "ParentId": account}));
    let project = make("Project__c", json!({"Name": "P", "Account__c": account}));
    make("Milestone__c", json!({"Name": "M", "Project__c": project}));
    make("Contact", json!({"LastName": "C", "AccountId": account}));
    ingest(
        &org,
        json!({"object": "Account", "operation": "delete"}),
        &format!("Id\n{account}\n"),
    );
    assert_eq!((org.count("Account"), org.count("Contact"), org.count("Project__c")), (1, 0, 1));
    assert_eq!(
        get(&org, &v65(&format!("sobjects/Account/{child}"))).json()["ParentId"],
        Value::Null
    );
    assert_eq!(
        get(&org, &v65(&format!("sobjects/Project__c/{project}"))).json()["Account__c"],
        Value::Null
    );
    assert_eq!(
        send(&org, "DELETE", &v65(&format!("sobjects/Project__c/{project}")), Value::Null).status,
        204
    );
    assert_eq!(org.count("Milestone__c"), 0);
}
