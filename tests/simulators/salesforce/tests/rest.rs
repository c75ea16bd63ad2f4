//! Sessions, describe, queries and records over the wire.
#![allow(clippy::unwrap_used)]

mod support;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use support::{get, org, send, soql, try_send, v65};
use syncline_salesforce_simulator::{Flavour, OrgConfig, RunningOrg, data_dir};

fn token(org: &RunningOrg, form: &str) -> support::Reply {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    try_send(org, "POST", "/services/oauth2/token", &headers, form.as_bytes()).unwrap()
}

fn credentials(org: &RunningOrg, grant: &str) -> String {
    format!("grant_type={grant}&client_id={}&client_secret={}", org.client_id, org.client_secret)
}

fn limits_with(org: &RunningOrg, token: &str) -> u16 {
    let auth = format!("Bearer {token}");
    try_send(org, "GET", &v65("limits"), &[("authorization", &auth)], b"")
        .unwrap()
        .status
}

#[test]
fn client_credentials_give_a_session_that_can_be_introspected_and_revoked() {
    let org = org(OrgConfig::default());
    let reply = token(&org, &credentials(&org, "client_credentials"));
    assert_eq!(reply.status, 200);
    let body = reply.json();
    let session = body["access_token"].as_str().unwrap().to_owned();
    assert!(session.starts_with(&format!("{}!", &org.org_id[..15])));
    assert!(body["issued_at"].is_string() && body.get("expires_in").is_none());
    assert_eq!(limits_with(&org, &session), 200);
    let form = format!("token={session}&client_id={}&client_secret={}", org.client_id, org.client_secret);
    let state = try_send(&org, "POST", "/services/oauth2/introspect", &[], form.as_bytes())
        .unwrap()
        .json();
    assert_eq!(state["active"], true);
    assert_eq!(
        try_send(&org, "POST", "/services/oauth2/revoke", &[], format!("token={session}").as_bytes())
            .unwrap()
            .status,
        200
    );
    assert_eq!(limits_with(&org, &session), 401);
    let state = try_send(&org, "POST", "/services/oauth2/introspect", &[], form.as_bytes())
        .unwrap()
        .json();
    assert_eq!(state, json!({"active": false}));
}

#[test]
fn oauth_errors_are_objects_with_the_documented_codes() {
    let org = org(OrgConfig::default());
    for (form, error) in [
        (
            "grant_type=client_credentials&client_id=x&client_secret=y".to_owned(),
            "invalid_client_id",
        ),
        (
            format!("grant_type=client_credentials&client_id={}&client_secret=y", org.client_id),
            "invalid_client",
        ),
        (
            format!("{}&refresh_token=nope", credentials(&org, "refresh_token")),
            "invalid_grant",
        ),
        (credentials(&org, "magic"), "unsupported_grant_type"),
        ("x=y".to_owned(), "invalid_request"),
    ] {
        let reply = token(&org, &form);
        assert_eq!(reply.status, 400, "{form}");
        assert_eq!(reply.json()["error"], error, "{form}");
    }
}

#[test]
fn a_rotated_refresh_token_works_once() {
    let org = org(OrgConfig {
        rotate_refresh: true,
        ..OrgConfig::default()
    });
    let form = format!("{}&refresh_token={}", credentials(&org, "refresh_token"), org.refresh_token);
    let first = token(&org, &form);
    assert_eq!(first.status, 200);
    let next = first.json()["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(token(&org, &form).json()["error"], "invalid_grant");
    let form = format!("{}&refresh_token={next}", credentials(&org, "refresh_token"));
    assert_eq!(token(&org, &form).status, 200);
}

fn assertion(claims: &Value) -> String {
    let key = RsaKeyPair::from_pkcs8(include_bytes!("keys/jwt-test-only.pk8")).unwrap();
    let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "RS256"})), part(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &ring::rand::SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn jwt_assertions_are_verified_against_key_and_certificate() {
    let grant = "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=";
    for pem in [
        include_str!("keys/jwt-test-only.pub.pem"),
        include_str!("keys/jwt-test-only.crt.pem"),
    ] {
        let org = org(OrgConfig {
            public_key_pem: Some(pem.into()),
            ..OrgConfig::default()
        });
        let soon = chrono::Utc::now().timestamp() + 120;
        let claims = |aud: &str, sub: &str, exp: i64| json!({"iss": org.client_id, "sub": sub, "aud": aud, "exp": exp});
        let good = assertion(&claims("https://login.salesforce.com", &org.username, soon));
        let reply = token(&org, &format!("{grant}{good}"));
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(reply.json().get("refresh_token").is_none());
        for (bad, text) in [
            (
                assertion(&claims("https://elsewhere.example", &org.username, soon)),
                "audience is invalid",
            ),
            (
                assertion(&claims("https://login.salesforce.com", "stranger@x.example", soon)),
                "user hasn't approved this consumer",
            ),
            (
                assertion(&claims("https://login.salesforce.com", &org.username, soon - 500)),
                "expired authorization code",
            ),
            (format!("{}AAAA", &good[..good.len() - 4]), "invalid assertion"),
            ("nonsense".to_owned(), "invalid assertion"),
        ] {
            assert_eq!(token(&org, &format!("{grant}{bad}")).json()["error_description"], text);
        }
    }
}

#[test]
fn a_session_ends_by_time_and_by_order_with_the_exact_body() {
    let expired = org(OrgConfig {
        token_ttl_secs: 0,
        ..OrgConfig::default()
    });
    let session = token(&expired, &credentials(&expired, "client_credentials")).json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(limits_with(&expired, &session), 401);

    let org = org(OrgConfig::default());
    let session = token(&org, &credentials(&org, "client_credentials")).json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(limits_with(&org, &session), 200);
    assert_eq!(send(&org, "POST", "/__sim/expire-tokens", Value::Null).json()["expired"], 1);
    let auth = format!("Bearer {session}");
    let reply = try_send(&org, "GET", &v65("limits"), &[("authorization", &auth)], b"").unwrap();
    assert_eq!(reply.status, 401);
    assert_eq!(
        reply.json(),
        json!([{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}])
    );
    assert_eq!(limits_with(&org, &org.token), 200);
}

#[test]
fn the_daily_limit_counts_down_and_then_refuses() {
    let org = org(OrgConfig {
        daily_requests_max: 3,
        ..OrgConfig::default()
    });
    for used in 1..=3 {
        let reply = get(&org, &v65("limits"));
        assert_eq!(reply.header("sforce-limit-info"), format!("api-usage={used}/3"));
        assert_eq!(reply.json()["DailyApiRequests"]["Remaining"], 3 - used);
    }
    let reply = get(&org, &v65("limits"));
    assert_eq!((reply.status, reply.code().as_str()), (403, "REQUEST_LIMIT_EXCEEDED"));
    send(&org, "POST", "/__sim/limits", json!({"max": 10}));
    assert_eq!(get(&org, &v65("limits")).status, 200);
}

#[test]
fn describes_answer_304_and_echo_the_version() {
    let org = org(OrgConfig::default());
    let reply = get(&org, "/services/data/v61.0/sobjects/Contact/describe");
    assert_eq!(reply.json()["urls"]["describe"], "/services/data/v61.0/sobjects/Contact/describe");
    assert_eq!(get(&org, "/services/data/v49.0/sobjects").status, 404);
    let auth = format!("Bearer {}", org.token);
    let since = reply.header("last-modified").to_owned();
    let headers = [("authorization", auth.as_str()), ("if-modified-since", since.as_str())];
    let again = try_send(&org, "GET", &v65("sobjects/Contact/describe"), &headers, b"").unwrap();
    assert_eq!((again.status, again.body.len()), (304, 0));
    let types = get(&org, &v65("sobjects/Account/describe")).json()["recordTypeInfos"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(types, 3);
}

#[test]
fn production_and_sandbox_share_names_but_no_ids() {
    let production = org(OrgConfig::default());
    let sandbox = org(OrgConfig {
        flavour: Flavour::Sandbox,
        ..OrgConfig::default()
    });
    let query = "SELECT Id, DeveloperName, SobjectType FROM RecordType ORDER BY SobjectType, DeveloperName";
    let (a, b) = (soql(&production, query).json(), soql(&sandbox, query).json());
    for (a, b) in a["records"].as_array().unwrap().iter().zip(b["records"].as_array().unwrap()) {
        assert_eq!(a["DeveloperName"], b["DeveloperName"]);
        assert_ne!(a["Id"], b["Id"]);
    }
    let org_row = soql(
        &sandbox,
        "SELECT IsSandbox, OrganizationType, TrialExpirationDate FROM Organization",
    )
    .json();
    assert_eq!(org_row["records"][0]["IsSandbox"], true);
    assert_eq!(sandbox.username, format!("{}.uat", production.username));
    assert_eq!(sandbox.count("Account"), 0);
    assert_eq!(sandbox.count("Pricebook2"), 2);
}

#[test]
fn shipped_rows_load_and_a_sandbox_inherits_only_their_setup() {
    let dir = data_dir().join("rows/synthetic-b2b");
    let production = org(OrgConfig {
        rows: Some(dir.clone()),
        ..OrgConfig::default()
    });
    assert_eq!(production.count("RecordType"), 9);
    let total = soql(&production, "SELECT COUNT() FROM Contact").json()["totalSize"]
        .as_u64()
        .unwrap();
    assert_eq!(total, 900);
    let loops = soql(
        &production,
        "SELECT Id, ReportsTo.ReportsToId FROM Contact WHERE ReportsTo.ReportsToId != null",
    )
    .json();
    let looped = loops["records"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|r| r["ReportsTo"]["ReportsToId"] == r["Id"])
        .count();
    assert!(looped > 0);
    let sandbox = org(OrgConfig {
        rows: Some(dir),
        flavour: Flavour::Sandbox,
        ..OrgConfig::default()
    });
    assert_eq!(sandbox.count("Contact"), 0);
    assert_eq!(sandbox.count("User"), production.count("User"));
    let created = send(&production, "POST", &v65("sobjects/Contact"), json!({"LastName": "New"})).json();
    let id = created["id"].as_str().unwrap();
    assert_eq!(
        get(&production, &v65(&format!("sobjects/Contact/{id}?fields=LastName"))).json()["LastName"],
        "New"
    );
}

#[test]
fn queries_answer_the_documented_shapes() {
    let org = org(OrgConfig {
        scale: Some(3000),
        ..OrgConfig::default()
    });
    let count = |query: &str| soql(&org, query).json()["totalSize"].as_u64().unwrap();
    assert_eq!(count("SELECT COUNT() FROM Contact") as usize, org.count("Contact"));
    assert_eq!(
        soql(&org, "SELECT COUNT(Id) CNT FROM Contact").json()["records"][0]["CNT"],
        org.count("Contact")
    );
    let all = count("SELECT Id FROM Contact");
    let some = count("SELECT Id FROM Contact WHERE Email = null");
    assert!(some > 0);
    assert_eq!(all, some + count("SELECT Id FROM Contact WHERE Email != null"));
    assert_eq!(all, some + count("SELECT Id FROM Contact WHERE NOT Email = null"));
    assert_eq!(count("SELECT Id FROM Contact WHERE CreatedDate > 2100-01-01T00:00:00Z"), 0);
    assert_eq!(count("SELECT Id FROM Contact WHERE CreatedDate < TODAY"), all);
    let with = count("SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Opportunity)");
    let without = count("SELECT Id FROM Account WHERE Id NOT IN (SELECT AccountId FROM Opportunity)");
    assert_eq!(with + without, count("SELECT Id FROM Account"));
    let tags = count("SELECT Id FROM Account WHERE Tags__c INCLUDES ('EU')");
    assert!(tags > 0 && tags + count("SELECT Id FROM Account WHERE Tags__c EXCLUDES ('EU')") == count("SELECT Id FROM Account"));
    assert_eq!(
        count("SELECT Id FROM PricebookEntry WHERE Pricebook2.IsStandard = true") * 2,
        count("SELECT Id FROM PricebookEntry")
    );
    assert_eq!(count("SELECT Id FROM Task WHERE Who.Type = 'Lead' AND WhatId != null"), 0);
    let one = soql(
        &org,
        "SELECT Id, name, Account.Owner.Name FROM Contact WHERE Ext_Id__c = 'con-0000003'",
    )
    .json();
    assert_eq!(one["totalSize"], 1);
    assert!(one["records"][0]["Account"]["Owner"]["Name"].is_string());
    let stamp = soql(&org, "SELECT CreatedDate FROM Contact LIMIT 1").json();
    assert!(stamp["records"][0]["CreatedDate"].as_str().unwrap().ends_with("+0000"));
    let groups = soql(&org, "SELECT StageName, COUNT(Id) FROM Opportunity GROUP BY StageName").json();
    let sum: u64 = groups["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["expr0"].as_u64().unwrap())
        .sum();
    assert_eq!(sum as usize, org.count("Opportunity"));
}

#[test]
fn refused_queries_name_code_and_place() {
    let org = org(OrgConfig::default());
    for (query, code, part) in [
        (
            "SELECT Id FROM Nope",
            "INVALID_TYPE",
            "ERROR at Row:1:Column:16\nsObject type 'Nope' is not supported",
        ),
        (
            "SELECT Nope FROM Account",
            "INVALID_FIELD",
            "Column:8\nNo such column 'Nope' on entity 'Account'",
        ),
        ("SELECT Id FROM Account WHERE Nope = 1", "INVALID_FIELD", "Column:30"),
        (
            "SELECT Boss.Name FROM Account",
            "INVALID_FIELD",
            "Didn't understand relationship 'Boss'",
        ),
        ("SELECT Id FROM Account WHERE Name = 5", "INVALID_FIELD", "must be of type string"),
        (
            "SELECT Id FROM Account WHERE AnnualRevenue = '5'",
            "INVALID_FIELD",
            "should not be enclosed in quotes",
        ),
        (
            "SELECT Id FROM Account WHERE CreatedDate > '2020-01-01'",
            "INVALID_FIELD",
            "must be of type dateTime",
        ),
        (
            "SELECT Id FROM Account WHERE Description = 'x'",
            "INVALID_FIELD",
            "can not be filtered",
        ),
        (
            "SELECT Id FROM Account WHERE Id = 'zzz'",
            "INVALID_QUERY_FILTER_OPERATOR",
            "invalid ID field",
        ),
        ("SELECT Id, id FROM Account", "INVALID_FIELD", "duplicate field selected"),
        ("SELECT Id FROM Account LIMIT 1 OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE", "2000"),
        ("SELECT FIELDS(ALL) FROM Account", "MALFORMED_QUERY", "LIMIT"),
        ("SELECT Name, COUNT(Id) FROM Account", "MALFORMED_QUERY", "grouped"),
        ("DELETE FROM Account", "MALFORMED_QUERY", "unexpected token: 'DELETE'"),
    ] {
        let reply = soql(&org, query);
        assert_eq!(reply.status, 400, "{query}");
        assert_eq!(reply.code(), code, "{query}");
        let message = reply.json()[0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(part), "{query}: {message}");
    }
}

#[test]
fn query_pages_continue_by_locator_and_miss_nothing() {
    let org = org(OrgConfig {
        scale: Some(4000),
        query_page_rows: 300,
        ..OrgConfig::default()
    });
    let mut page = soql(&org, "SELECT Id FROM Contact ORDER BY Id").json();
    let mut seen = std::collections::BTreeSet::new();
    loop {
        for record in page["records"].as_array().unwrap() {
            assert!(seen.insert(record["Id"].as_str().unwrap().to_owned()));
        }
        if page["done"] == true {
            break;
        }
        page = get(&org, page["nextRecordsUrl"].as_str().unwrap()).json();
    }
    assert_eq!(seen.len(), org.count("Contact"));
    assert_eq!(get(&org, &v65("query/01gWy0000000000AAA-2000")).code(), "INVALID_QUERY_LOCATOR");
}

#[test]
fn records_live_through_create_read_update_delete() {
    let org = org(OrgConfig::default());
    let reply = send(
        &org,
        "POST",
        &v65("sobjects/Account"),
        json!({"Name": "Acme", "Ext_Id__c": "A-1", "AnnualRevenue": 1000}),
    );
    assert_eq!(reply.status, 201);
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    let path = v65(&format!("sobjects/Account/{id}"));
    let child = send(
        &org,
        "POST",
        &v65("sobjects/Contact"),
        json!({"LastName": "Doe", "Account": {"Ext_Id__c": "A-1"}}),
    );
    assert_eq!(child.status, 201, "{}", child.text());
    assert_eq!(
        send(&org, "PATCH", &path, json!({"Name": "Acme 2", "AnnualRevenue": null})).status,
        204
    );
    let record = get(&org, &path).json();
    assert_eq!((&record["Name"], &record["AnnualRevenue"]), (&json!("Acme 2"), &Value::Null));
    assert_eq!(get(&org, &v65(&format!("sobjects/Account/{}", &id[..15]))).status, 200);
    let upserted = send(&org, "PATCH", &v65("sobjects/Account/Ext_Id__c/A-2"), json!({"Name": "Beta"}));
    assert_eq!((upserted.status, &upserted.json()["created"]), (201, &json!(true)));
    let upserted = send(&org, "PATCH", &v65("sobjects/Account/Ext_Id__c/a-2"), json!({"Name": "Beta 2"}));
    assert_eq!((upserted.status, &upserted.json()["created"]), (200, &json!(false)));
    let refused = send(&org, "POST", &v65("sobjects/Account"), json!({"Nam": "x"}));
    assert_eq!((refused.status, refused.code().as_str()), (400, "INVALID_FIELD"));
    let refused = send(&org, "POST", &v65("sobjects/Contact"), json!({"FirstName": "x"}));
    assert_eq!(refused.json()[0]["fields"], json!(["LastName"]));
    assert_eq!(send(&org, "DELETE", &path, Value::Null).status, 204);
    assert_eq!(get(&org, &path).code(), "ENTITY_IS_DELETED");
    let query = "queryAll?q=SELECT+Id+FROM+Account+WHERE+IsDeleted+=+true";
    assert_eq!(get(&org, &v65(query)).json()["totalSize"], 1);
}

#[test]
fn collections_keep_order_and_roll_back_as_one_when_asked() {
    let org = org(OrgConfig::default());
    let records = |all: bool| {
        json!({"allOrNone": all, "records": [
            {"attributes": {"type": "Account"}, "Name": "A"},
            {"attributes": {"type": "Account"}, "Fax": "1"},
            {"attributes": {"type": "Contact"}, "LastName": "C"}]})
    };
    let strict = send(&org, "POST", &v65("composite/sobjects"), records(true)).json();
    assert_eq!(strict[0]["errors"][0]["statusCode"], "ALL_OR_NONE_OPERATION_ROLLED_BACK");
    assert_eq!(strict[1]["errors"][0]["statusCode"], "REQUIRED_FIELD_MISSING");
    assert_eq!(org.count("Account") + org.count("Contact"), 0);
    let lax = send(&org, "POST", &v65("composite/sobjects"), records(false)).json();
    assert_eq!(
        (&lax[0]["success"], &lax[1]["success"], &lax[2]["success"]),
        (&json!(true), &json!(false), &json!(true))
    );
    let id = lax[0]["id"].as_str().unwrap();
    let upsert = json!({"records": [{"Id": id, "Name": "A2"}, {"Id": null, "Name": "New"}]});
    let upserted = send(&org, "PATCH", &v65("composite/sobjects/Account/Id"), upsert).json();
    assert_eq!(
        (&upserted[0]["created"], &upserted[1]["created"]),
        (&json!(false), &json!(true)),
        "{upserted}"
    );
    let got = send(
        &org,
        "POST",
        &v65("composite/sobjects/Account"),
        json!({"ids": ["001000000000000AAA", id], "fields": ["Name"]}),
    )
    .json();
    assert_eq!((&got[0], &got[1]["Name"]), (&Value::Null, &json!("A2")));
    let gone = send(
        &org,
        "DELETE",
        &v65(&format!("composite/sobjects?ids={id},001000000000000AAA")),
        Value::Null,
    )
    .json();
    assert_eq!((&gone[0]["success"], &gone[1]["success"]), (&json!(true), &json!(false)));
    assert_eq!(
        send(&org, "DELETE", &v65("composite/sobjects?ids="), Value::Null).code(),
        "REQUIRED_FIELD_MISSING"
    );
    let many: Vec<Value> = (0..201).map(|_| json!({"attributes": {"type": "Account"}, "Name": "x"})).collect();
    assert_eq!(send(&org, "POST", &v65("composite/sobjects"), json!({"records": many})).status, 400);
}

#[test]
fn scripted_faults_answer_hold_or_cut() {
    let org = org(OrgConfig::default());
    let fault = |body: Value| send(&org, "POST", "/__sim/faults", body);
    fault(json!({"kind": "html503", "path": "/limits"}));
    let reply = get(&org, &v65("limits"));
    assert_eq!((reply.status, reply.header("content-type")), (503, "text/html; charset=UTF-8"));
    fault(json!({"kind": "status", "status": 429, "body": [], "retry_after_secs": 7, "times": 1}));
    assert_eq!(get(&org, &v65("limits")).header("retry-after"), "7");
    let auth = format!("Bearer {}", org.token);
    let post = |name: &str| {
        let body = json!({"Name": name}).to_string();
        try_send(&org, "POST", &v65("sobjects/Account"), &[("authorization", &auth)], body.as_bytes())
    };
    fault(json!({"kind": "cut", "method": "POST"}));
    assert!(post("never stored").is_none());
    assert_eq!(org.count("Account"), 0);
    fault(json!({"kind": "cut_after", "method": "POST", "path": "sobjects"}));
    assert!(post("stored, answer lost").is_none());
    assert_eq!(org.count("Account"), 1);
    fault(json!({"kind": "truncate", "path": "sobjects"}));
    assert!(post("half an answer").is_none());
    assert_eq!(get(&org, &v65("limits")).status, 200);
    let log = get(&org, "/__sim/requests").json();
    assert_eq!(log["requests"]["POST /services/data/v65.0/sobjects/Account"], 3);
    assert_eq!(log["writes"], 2);
}

#[test]
fn corruption_edits_pass_every_rule() {
    let org = org(OrgConfig {
        scale: Some(500),
        ..OrgConfig::default()
    });
    let pair = soql(&org, "SELECT Id, AccountId FROM Contact LIMIT 2").json();
    let cell = |i: usize, name: &str| pair["records"][i][name].as_str().unwrap().to_owned();
    let path = format!("/__sim/records/{}/swap/AccountId/{}", cell(0, "Id"), cell(1, "Id"));
    assert_eq!(send(&org, "POST", &path, Value::Null).status, 200);
    let after = soql(&org, "SELECT Id, AccountId FROM Contact LIMIT 2").json();
    assert_eq!(after["records"][0]["AccountId"], cell(1, "AccountId").as_str());
    let before = org.count("Contact");
    send(
        &org,
        "PATCH",
        &format!("/__sim/records/{}", cell(0, "Id")),
        json!({"Email": "not an email"}),
    );
    let mail = soql(&org, &format!("SELECT Email FROM Contact WHERE Id = '{}'", cell(0, "Id"))).json();
    assert_eq!(mail["records"][0]["Email"], "not an email");
    send(&org, "DELETE", &format!("/__sim/records/{}", cell(1, "Id")), Value::Null);
    assert_eq!(org.count("Contact"), before - 1);
}

#[test]
fn an_assertion_may_end_as_text_and_as_it_is_made() {
    let org = org(OrgConfig {
        public_key_pem: Some(include_str!("keys/jwt-test-only.pub.pem").into()),
        ..OrgConfig::default()
    });
    let now = chrono::Utc::now().timestamp();
    let reply = |exp: Value, sub: &str| {
        let claims = json!({"iss": org.client_id, "sub": sub, "aud": "https://login.salesforce.com", "exp": exp});
        let assertion = assertion(&claims);
        token(
            &org,
            &format!("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion={assertion}"),
        )
    };
    for exp in [json!((now + 120).to_string()), json!(now)] {
        assert_eq!(reply(exp.clone(), &org.username).status, 200, "{exp}");
    }
    for exp in [json!("soon"), json!(now - 600), json!(now + 600), Value::Null] {
        assert_eq!(
            reply(exp.clone(), &org.username).json()["error_description"],
            "expired authorization code",
            "{exp}"
        );
    }
}

#[test]
fn a_password_logs_its_own_user_in() {
    let org = org(OrgConfig::default());
    let login = |password: &str, secret: &str| {
        let form = [
            ("grant_type", "password"),
            ("client_id", &org.client_id),
            ("client_secret", secret),
            ("username", &org.username),
            ("password", password),
        ];
        token(
            &org,
            &url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish(),
        )
    };
    let facts = org.facts();
    let password = format!(
        "{}{}",
        facts["password"].as_str().unwrap(),
        facts["security_token"].as_str().unwrap()
    );
    let body = login(&password, &org.client_secret).json();
    assert!(body["id"].as_str().unwrap().ends_with(&org.user_id), "{body}");
    let wrong = login("wrong", &org.client_secret);
    assert_eq!(wrong.status, 400);
    assert_eq!(
        wrong.json(),
        json!({"error": "invalid_grant", "error_description": "authentication failure - Invalid Password"})
    );
    assert_eq!(login(&password, "wrong").json()["error"], "invalid_client");
}
