//! Rules as configuration: what an administrator sets up decides what becomes of a row.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use serde_json::{Value, json};
use support::{get, ingest, org, rows, send, soql, try_send, v65};
use syncline_salesforce_simulator::schema::DependencyOverride;
use syncline_salesforce_simulator::store::setup::SetupDoc;
use syncline_salesforce_simulator::{Org, OrgConfig, RunningOrg};

fn with(document: Value) -> RunningOrg {
    org(OrgConfig {
        setup: serde_json::from_value::<SetupDoc>(document).unwrap(),
        ..OrgConfig::default()
    })
}

fn insert(org: &RunningOrg, object: &str, body: Value) -> support::Reply {
    send(org, "POST", &v65(&format!("sobjects/{object}")), body)
}

fn created(org: &RunningOrg, object: &str, body: Value) -> String {
    let reply = insert(org, object, body);
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()["id"].as_str().unwrap().to_owned()
}

fn set_up(org: &RunningOrg, document: Value) -> support::Reply {
    send(org, "POST", "/__sim/setup", document)
}

fn with_header(org: &RunningOrg, path: &str, header: (&str, &str), body: &Value) -> support::Reply {
    let auth = format!("Bearer {}", org.token);
    try_send(org, "POST", path, &[("authorization", &auth), header], body.to_string().as_bytes()).unwrap()
}

#[test]
fn a_validation_formula_refuses_rows_and_says_where() {
    let org = with(json!({"validation_rules": [
        "Opportunity: AND(Amount < 0, NOT(ISPICKVAL(StageName, 'Closed Lost'))) => [Amount] no negative deals",
        "Contact: ISCHANGED(LastName) && LEN(LastName) < 3 => too short"]}));
    let deal = |stage: &str| json!({"Name": "D", "StageName": stage, "CloseDate": "2026-01-01", "Amount": -1});
    let refused = insert(&org, "Opportunity", deal("Prospecting"));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "FIELD_CUSTOM_VALIDATION_EXCEPTION")
    );
    assert_eq!(refused.json()[0]["fields"], json!(["Amount"]));
    assert_eq!(insert(&org, "Opportunity", deal("Closed Lost")).status, 201);
    let id = created(&org, "Contact", json!({"LastName": "Li"}));
    let path = v65(&format!("sobjects/Contact/{id}"));
    assert_eq!(
        send(&org, "PATCH", &path, json!({"LastName": "Xu"})).json()[0]["message"],
        "too short"
    );
    assert_eq!(send(&org, "PATCH", &path, json!({"Title": "Dr"})).status, 204);
    // The older, shorter way to set rules leaves the rest of the setup alone.
    assert_eq!(send(&org, "POST", "/__sim/validation-rules", json!([])).status, 200);
    assert_eq!(insert(&org, "Opportunity", deal("Prospecting")).status, 201);
}

#[test]
fn a_setup_that_can_not_be_meant_names_the_place() {
    let org = org(OrgConfig::default());
    for (document, part) in [
        (
            json!({"validation_rules": ["Contact: Nope = 1"]}),
            "validation_rules[0]: column 1: Contact has no field Nope",
        ),
        (
            json!({"triggers": [{"object": "Contact", "name": "T", "when": "before save", "actions": []}]}),
            "triggers[0].when",
        ),
        (
            json!({"triggers": [{"object": "Contact", "name": "T", "when": "after insert", "actions": [{"set": {"Title": "x"}}]}]}),
            "triggers[0].actions[0]: this action runs in before triggers only",
        ),
        (
            json!({"triggers": [{"object": "Contact", "name": "T", "when": "before insert", "actions": [{"set": {"Birthdate": "soon"}}]}]}),
            "triggers[0].actions[0]: Birthdate",
        ),
        (
            json!({"duplicate_rules": [{"object": "Lead", "name": "R", "match": ["Mail"], "action": "block"}]}),
            "Lead has no field Mail",
        ),
        (
            json!({"assignment_rules": [{"object": "Account", "name": "R", "entries": []}]}),
            "exist for Case and Lead",
        ),
        (json!({"hidden_fields": ["Contact.LastName"]}), "everybody sees it"),
        (json!({"object_permissions": {"Nope": ["read"]}}), "there is no object Nope"),
        (json!({"validation": []}), "unknown field `validation`"),
    ] {
        let reply = set_up(&org, document);
        assert_eq!((reply.status, reply.code().as_str()), (400, "BAD_SETUP"));
        assert!(reply.text().contains(part), "{}", reply.text());
    }
    let bad = Org::start(OrgConfig {
        setup: serde_json::from_value(json!({"validation_rules": ["Contact: ((("]})).unwrap(),
        ..OrgConfig::default()
    });
    assert!(bad.err().unwrap().to_string().contains("validation_rules[0]: column 4"));
}

#[test]
fn triggers_set_copy_create_and_touch() {
    let org = with(json!({"triggers": [
        {"object": "Contact", "name": "Fill", "when": "before insert, before update", "if": "ISBLANK(Title)",
         "actions": [{"set": {"Title": "unknown", "Department": {"from": "LastName"}}}]},
        {"object": "Contact", "name": "Follow", "when": "after insert",
         "actions": [{"create": {"object": "Task", "link": "WhoId", "set": {"Subject": {"from": "LastName"}, "Priority": "High"}}},
                     {"touch": "AccountId"}]}]}));
    let account = created(&org, "Account", json!({"Name": "A"}));
    let stamp =
        |org: &RunningOrg| get(org, &v65(&format!("sobjects/Account/{account}?fields=SystemModstamp"))).json()["SystemModstamp"].clone();
    // Moved back so that the touch shows without waiting for the clock.
    let back = json!({"SystemModstamp": "2020-01-01T00:00:00.000Z"});
    assert_eq!(send(&org, "PATCH", &format!("/__sim/records/{account}"), back).status, 200);
    let before = stamp(&org);
    let contact = created(&org, "Contact", json!({"LastName": "Doe", "AccountId": account}));
    assert_ne!(stamp(&org), before);
    let row = get(&org, &v65(&format!("sobjects/Contact/{contact}"))).json();
    assert_eq!((&row["Title"], &row["Department"]), (&json!("unknown"), &json!("Doe")));
    let task = soql(&org, &format!("SELECT Subject, IsHighPriority FROM Task WHERE WhoId = '{contact}'")).json();
    assert_eq!(
        (&task["records"][0]["Subject"], &task["records"][0]["IsHighPriority"]),
        (&json!("Doe"), &json!(true))
    );
}

#[test]
fn a_trigger_that_throws_leaves_nothing_behind() {
    let org = with(json!({
        "triggers": [
            {"object": "Contact", "name": "Guard", "when": "before delete", "if": "LastName = 'Kept'",
             "actions": [{"throw": "System.NullPointerException: Attempt to de-reference a null object"}]},
            {"object": "Contact", "name": "Audit", "when": "after insert, after update",
             "actions": [{"create": {"object": "Task", "link": "WhoId"}},
                         {"create": {"object": "Lead", "set": {"LastName": {"from": "LastName"}}}}]},
            {"object": "Case", "name": "Polite", "when": "before insert", "actions": [{"add_error": {"message": "not today", "field": "Subject"}}]},
            {"object": "Account", "name": "Loop", "when": "after insert",
             "actions": [{"create": {"object": "Account", "set": {"Name": "again"}}}]}],
        "flows": [{"object": "Campaign", "name": "Sync_Campaign", "if": "ISNEW()", "message": "out of luck"}]}));
    // The lead lacks its company: the task before it must go too.
    let reply = insert(&org, "Contact", json!({"LastName": "Doe"}));
    assert_eq!(reply.code(), "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY");
    let message = reply.json()[0]["message"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with("Audit: execution of AfterInsert") && message.contains("REQUIRED_FIELD_MISSING"),
        "{message}"
    );
    assert_eq!(["Contact", "Task", "Lead"].map(|o| org.count(o)), [0, 0, 0]);
    let polite = insert(&org, "Case", json!({"Subject": "x"}));
    assert_eq!(
        (polite.code().as_str(), &polite.json()[0]["fields"]),
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", &json!(["Subject"]))
    );
    let flow = insert(&org, "Campaign", json!({"Name": "C"}));
    assert_eq!(flow.code(), "CANNOT_EXECUTE_FLOW_TRIGGER");
    assert!(flow.text().contains("Sync_Campaign") && flow.text().contains("out of luck"));
    let endless = insert(&org, "Account", json!({"Name": "A"}));
    assert!(endless.text().contains("maximum trigger depth exceeded"), "{}", endless.text());
    assert_eq!(org.count("Account"), 0);
    let mut document = get(&org, "/__sim/setup").json();
    document["triggers"].as_array_mut().unwrap().remove(1);
    assert_eq!(set_up(&org, document).status, 200);
    let kept = created(&org, "Contact", json!({"LastName": "Kept"}));
    let gone = created(&org, "Contact", json!({"LastName": "Gone"}));
    let delete = |id: &str| send(&org, "DELETE", &v65(&format!("sobjects/Contact/{id}")), Value::Null);
    assert!(delete(&kept).text().contains("Guard: execution of BeforeDelete"));
    assert_eq!(delete(&gone).status, 204);
    assert_eq!(org.count("Contact"), 1);
}

#[test]
fn duplicate_rules_block_or_ask_in_every_interface() {
    let org = with(json!({"duplicate_rules": [
        {"object": "Contact", "name": "Same_Mail", "match": ["Email", "LastName"], "action": "allow", "alert": "Use one of these records?"},
        {"object": "Lead", "name": "Same_Lead", "match": ["Email"], "action": "block"}]}));
    let body = json!({"LastName": "Doe", "Email": "d@a.example"});
    let first = created(&org, "Contact", body.clone());
    let reply = insert(&org, "Contact", json!({"LastName": "DOE", "Email": "D@a.example"}));
    assert_eq!((reply.status, reply.code().as_str()), (400, "DUPLICATES_DETECTED"));
    let result = &reply.json()[0]["duplicateResult"];
    assert_eq!(
        (&result["allowSave"], &result["duplicateRule"]),
        (&json!(true), &json!("Same_Mail"))
    );
    assert_eq!(result["matchResults"][0]["matchRecords"][0]["record"]["Id"], first.as_str());
    let allow = ("Sforce-Duplicate-Rule-Header", "allowSave=true");
    assert_eq!(with_header(&org, &v65("sobjects/Contact"), allow, &body).status, 201);
    // Other values, and updates that leave the matched fields alone, are no duplicates.
    created(&org, "Contact", json!({"LastName": "Roe", "Email": "d@a.example"}));
    let path = v65(&format!("sobjects/Contact/{first}"));
    assert_eq!(send(&org, "PATCH", &path, json!({"Title": "Dr"})).status, 204);
    assert_eq!(send(&org, "PATCH", &path, json!({"LastName": "Roe"})).code(), "DUPLICATES_DETECTED");
    let lead = json!({"LastName": "L", "Company": "C", "Email": "l@a.example"});
    created(&org, "Lead", lead.clone());
    let blocked = with_header(&org, &v65("sobjects/Lead"), allow, &lead);
    assert_eq!(blocked.json()[0]["duplicateResult"]["allowSave"], false);
    let collection = json!({"records": [{"attributes": {"type": "Contact"}, "LastName": "Doe", "Email": "d@a.example"}]});
    let strict = send(&org, "POST", &v65("composite/sobjects"), collection.clone()).json();
    assert_eq!(strict[0]["errors"][0]["statusCode"], "DUPLICATES_DETECTED");
    let lax = with_header(&org, &v65("composite/sobjects"), allow, &collection).json();
    assert_eq!(lax[0]["success"], true, "{lax}");
    let job = json!({"object": "Contact", "operation": "insert"});
    let (job, [_, failed, _]) = ingest(&org, job, "LastName,Email\nDoe,d@a.example\nNew,n@a.example\nNew,n@a.example\n");
    assert_eq!(
        (&job["numberRecordsProcessed"], &job["numberRecordsFailed"]),
        (&json!(3), &json!(2))
    );
    assert!(
        rows(&failed)
            .iter()
            .all(|r| r[1].starts_with("DUPLICATES_DETECTED:Use one of these records?:")),
        "{failed}"
    );
}

#[test]
fn record_types_allow_their_own_picklist_values() {
    let org = with(json!({
        "record_type_values": [
            {"object": "Case", "record_type": "Complaint", "field": "Status", "values": ["New", "Closed"], "default": "New"},
            {"object": "Case", "record_type": "Support", "field": "Status", "values": ["New", "Working", "Closed"]}],
        "default_record_types": {"Case": "Complaint"}}));
    let kinds = soql(&org, "SELECT Id, DeveloperName FROM RecordType WHERE SobjectType = 'Case'").json();
    let kind = |name: &str| {
        let list = kinds["records"].as_array().unwrap();
        list.iter().find(|r| r["DeveloperName"] == name).unwrap()["Id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    // Sent without a type, a row gets the default one, and that one's default value.
    let case = created(&org, "Case", json!({"Subject": "x"}));
    let path = v65(&format!("sobjects/Case/{case}"));
    let row = get(&org, &path).json();
    assert_eq!((&row["RecordTypeId"], &row["Status"]), (&json!(kind("Complaint")), &json!("New")));
    let refused = send(&org, "PATCH", &path, json!({"Status": "Working"}));
    assert_eq!(refused.code(), "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST");
    assert_eq!(refused.json()[0]["fields"], json!(["Status"]));
    let moved = json!({"Status": "Working", "RecordTypeId": kind("Support")});
    assert_eq!(send(&org, "PATCH", &path, moved).status, 204);
    // Back again: the value that stays is judged by the new type.
    let back = send(&org, "PATCH", &path, json!({"RecordTypeId": kind("Complaint")}));
    assert_eq!(back.code(), "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST");
    let infos = get(&org, &v65("sobjects/Case/describe")).json()["recordTypeInfos"].clone();
    let default = infos
        .as_array()
        .unwrap()
        .iter()
        .find(|i| i["defaultRecordTypeMapping"] == true)
        .unwrap()
        .clone();
    assert_eq!(default["developerName"], "Complaint");
}

#[test]
fn dependent_picklists_follow_their_controlling_field() {
    let rule = "Case.Reason<-Priority: High=Installation|Performance; Low=Other";
    let org = org(OrgConfig {
        dependent_picklists: vec![DependencyOverride::parse(rule).unwrap()],
        ..OrgConfig::default()
    });
    let describe = get(&org, &v65("sobjects/Case/describe")).json();
    let field = |name: &str| {
        describe["fields"]
            .as_array()
            .unwrap()
            .iter()
            .find(|f| f["name"] == name)
            .unwrap()
            .clone()
    };
    let reason = field("Reason");
    assert_eq!(
        (&reason["dependentPicklist"], &reason["controllerName"]),
        (&json!(true), &json!("Priority"))
    );
    let valid = |name: &str| {
        let list = reason["picklistValues"].as_array().unwrap();
        list.iter().find(|v| v["value"] == name).unwrap()["validFor"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let position = |name: &str| {
        field("Priority")["picklistValues"]
            .as_array()
            .unwrap()
            .iter()
            .position(|v| v["value"] == name)
            .unwrap()
    };
    // Most significant bit first.
    let expected = |bit: usize| {
        use base64::Engine;
        let mut bytes = [0u8; 3];
        bytes[bit >> 3] = 0x80 >> (bit % 8);
        base64::engine::general_purpose::STANDARD.encode(bytes)
    };
    assert_eq!(
        (valid("Installation"), valid("Other")),
        (expected(position("High")), expected(position("Low")))
    );
    created(&org, "Case", json!({"Priority": "High", "Reason": "Performance"}));
    let refused = insert(&org, "Case", json!({"Priority": "Low", "Reason": "Performance"}));
    assert_eq!(refused.code(), "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST");
    let case = created(&org, "Case", json!({"Priority": "Low", "Reason": "Other"}));
    let changed = send(&org, "PATCH", &v65(&format!("sobjects/Case/{case}")), json!({"Priority": "High"}));
    assert_eq!(changed.code(), "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST");
}

#[test]
fn assignment_rules_run_as_the_interface_says() {
    let org = with(json!({"assignment_rules": [
        {"object": "Case", "name": "Standard", "entries": [
            {"if": "Priority = 'High'", "owner": "Tier_1_Support"}, {"owner": "Returns"}]},
        {"object": "Case", "name": "Night", "active": false, "entries": [{"owner": "Lead_Triage"}]}]}));
    let owner = |subject: &str| {
        soql(&org, &format!("SELECT Owner.Name FROM Case WHERE Subject = '{subject}'")).json()["records"][0]["Owner"]["Name"].clone()
    };
    created(&org, "Case", json!({"Subject": "a", "Priority": "High"}));
    created(&org, "Case", json!({"Subject": "b", "Priority": "Low"}));
    assert_eq!((owner("a"), owner("b")), (json!("Tier 1 Support"), json!("Returns")));
    let off = with_header(
        &org,
        &v65("sobjects/Case"),
        ("Sforce-Auto-Assign", "FALSE"),
        &json!({"Subject": "c"}),
    );
    assert_eq!(off.status, 201);
    assert!(!["Tier 1 Support", "Returns", "Lead Triage"].iter().any(|q| owner("c") == *q));
    let rules = soql(
        &org,
        "SELECT Id, Active FROM AssignmentRule WHERE SobjectType = 'Case' AND Name = 'Night'",
    )
    .json();
    let rule = rules["records"][0]["Id"].as_str().unwrap().to_owned();
    assert_eq!(rules["records"][0]["Active"], false);
    let (_, files) = ingest(&org, json!({"object": "Case", "operation": "insert"}), "Subject\nd\n");
    assert!(files[1].lines().count() == 1 && owner("d") == owner("c"));
    let job = json!({"object": "Case", "operation": "insert", "assignmentRuleId": rule});
    ingest(&org, job, "Subject\ne\n");
    assert_eq!(owner("e"), "Lead Triage");
}

#[test]
fn hidden_and_read_only_fields_vanish_from_every_door() {
    let org = org(OrgConfig::default());
    let contact = created(&org, "Contact", json!({"LastName": "Doe", "Title": "Dr", "Phone": "1"}));
    let before = get(&org, &v65("sobjects/Contact/describe"));
    let reply = set_up(
        &org,
        json!({"hidden_fields": ["Contact.Title"], "read_only_fields": ["Contact.Phone"]}),
    );
    assert_eq!(reply.status, 200, "{}", reply.text());
    // A cached describe is out of date at once.
    let auth = format!("Bearer {}", org.token);
    let headers = [
        ("authorization", auth.as_str()),
        ("if-modified-since", before.header("last-modified")),
    ];
    let now = try_send(&org, "GET", &v65("sobjects/Contact/describe"), &headers, b"").unwrap();
    assert_eq!(now.status, 200);
    let fields = now.json()["fields"].as_array().unwrap().clone();
    assert!(fields.iter().all(|f| f["name"] != "Title"));
    assert_eq!(fields.iter().find(|f| f["name"] == "Phone").unwrap()["updateable"], false);
    for query in [
        "SELECT Title FROM Contact",
        "SELECT Id FROM Contact WHERE Title = 'Dr'",
        "SELECT Id FROM Contact ORDER BY Title",
    ] {
        assert_eq!(soql(&org, query).code(), "INVALID_FIELD", "{query}");
    }
    let path = v65(&format!("sobjects/Contact/{contact}"));
    assert!(get(&org, &path).json().get("Title").is_none());
    assert_eq!(get(&org, &format!("{path}?fields=Title")).code(), "INVALID_FIELD");
    assert_eq!(send(&org, "PATCH", &path, json!({"Title": "x"})).code(), "INVALID_FIELD");
    assert_eq!(
        send(&org, "PATCH", &path, json!({"Phone": "2"})).code(),
        "INVALID_FIELD_FOR_INSERT_UPDATE"
    );
    let (job, _) = ingest(&org, json!({"object": "Contact", "operation": "insert"}), "LastName,Title\nx,y\n");
    assert_eq!(job["state"], "Failed");
    assert!(
        job["errorMessage"].as_str().unwrap().contains("Field name not found : Title"),
        "{job}"
    );
    assert_eq!(set_up(&org, json!({})).status, 200);
    assert_eq!(get(&org, &path).json()["Title"], "Dr");
}

#[test]
fn object_permissions_refuse_what_they_do_not_name() {
    let org = org(OrgConfig::default());
    let lead = created(&org, "Lead", json!({"LastName": "L", "Company": "C"}));
    assert!(
        set_up(&org, json!({"object_permissions": {"Lead": []}}))
            .text()
            .contains("read can't be taken away")
    );
    assert_eq!(
        set_up(&org, json!({"object_permissions": {"Lead": ["read", "create"]}})).status,
        200
    );
    let describe = get(&org, &v65("sobjects/Lead/describe")).json();
    let flags = ["createable", "updateable", "deletable"].map(|k| describe[k].as_bool().unwrap());
    assert_eq!(flags, [true, false, false]);
    let path = v65(&format!("sobjects/Lead/{lead}"));
    for (method, body) in [("PATCH", json!({"Title": "x"})), ("DELETE", Value::Null)] {
        let refused = send(&org, method, &path, body);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (403, "INSUFFICIENT_ACCESS_OR_READONLY"),
            "{method}"
        );
    }
    created(&org, "Lead", json!({"LastName": "M", "Company": "C"}));
    let (job, _) = ingest(&org, json!({"object": "Lead", "operation": "delete"}), &format!("Id\n{lead}\n"));
    assert_eq!(job["numberRecordsFailed"], 1);
}
