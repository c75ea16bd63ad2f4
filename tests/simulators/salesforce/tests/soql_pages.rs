//! Pages of a query: how large they are, and who may go on with a locator, and until when.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{get, org, send, soql, try_send, v65};
use syncline_salesforce_simulator::OrgConfig;

#[test]
fn a_locator_ends_with_its_time_and_says_so() {
    let org = org(OrgConfig {
        scale: Some(4000),
        query_page_rows: 50,
        ..OrgConfig::default()
    });
    let open = || {
        let page = soql(&org, "SELECT Id FROM Contact").json();
        assert_eq!(page["records"].as_array().unwrap().len(), 50);
        page["nextRecordsUrl"].as_str().unwrap().to_owned()
    };
    let refused = |path: &str, part: &str| {
        let reply = get(&org, path);
        assert_eq!((reply.status, reply.code().as_str()), (400, "INVALID_QUERY_LOCATOR"));
        assert!(reply.text().contains(part), "{}", reply.text());
    };
    let next = open();
    // The same page may be read again, and an offset of one's own is fine.
    assert_eq!(get(&org, &next).json(), get(&org, &next).json());
    let (locator, _) = next.rsplit_once('-').unwrap();
    assert_eq!(get(&org, &format!("{locator}-7")).json()["records"].as_array().unwrap().len(), 50);
    refused(&format!("{locator}-999999999"), "invalid query locator");
    refused(&format!("{locator}-x"), "invalid query locator");
    refused(&v65("query/nonsense"), "invalid query locator");
    assert_eq!(send(&org, "POST", "/__sim/expire-locators", Value::Null).json()["expired"], 1);
    refused(&next, "QUERY_LOCATOR_EXPIRED");
    let next = open();
    send(&org, "POST", "/__sim/query-pages", json!({"locator_secs": 0}));
    refused(&next, "QUERY_LOCATOR_EXPIRED");
    send(&org, "POST", "/__sim/query-pages", json!({"locator_secs": 600, "rows": 7}));
    assert_eq!(soql(&org, "SELECT Id FROM Contact").json()["records"].as_array().unwrap().len(), 7);
    refused(&v65("query/01gWy0000000000AAA-2000"), "QUERY_LOCATOR_NOT_FOUND");
}

#[test]
fn another_user_may_not_go_on_with_a_locator() {
    let org = org(OrgConfig {
        scale: Some(4000),
        query_page_rows: 50,
        ..OrgConfig::default()
    });
    let next = soql(&org, "SELECT Id FROM Contact").json()["nextRecordsUrl"]
        .as_str()
        .unwrap()
        .to_owned();
    let user = soql(&org, "SELECT Username FROM User WHERE IsActive = true ORDER BY Id DESC LIMIT 1").json();
    let user = user["records"][0]["Username"].as_str().unwrap().to_owned();
    assert_ne!(user, org.username);
    let login = &org.state.config.login;
    let secret = format!("{}{}", login.password, login.security_token);
    let pairs = [
        ("grant_type", "password"),
        ("client_id", org.client_id.as_str()),
        ("client_secret", org.client_secret.as_str()),
        ("username", user.as_str()),
        ("password", secret.as_str()),
    ];
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let session = try_send(&org, "POST", "/services/oauth2/token", &[kind], form.as_bytes()).unwrap();
    let auth = format!("Bearer {}", session.json()["access_token"].as_str().unwrap());
    let refused = try_send(&org, "GET", &next, &[("authorization", auth.as_str())], b"").unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (400, "INVALID_QUERY_LOCATOR"));
    assert!(refused.text().contains("UNAUTHORIZED_USER_FOR_CURSOR"));
    assert_eq!(get(&org, &next).status, 200);
}

#[test]
fn wide_rows_and_the_batch_size_header_shape_pages() {
    let org = org(OrgConfig {
        scale: Some(4000),
        ..OrgConfig::default()
    });
    let auth = format!("Bearer {}", org.token);
    let path = v65("query?q=SELECT+Id+FROM+Contact");
    let page = |size: &str| {
        let headers = [("authorization", auth.as_str()), ("sforce-query-options", size)];
        let reply = try_send(&org, "GET", &path, &headers, b"").unwrap().json();
        reply["records"].as_array().unwrap().len()
    };
    assert!(org.count("Contact") > 400);
    assert_eq!(page("batchSize=250"), 250);
    assert_eq!(page("batchSize=1"), 200);
}
