//! Headers, sizes, encodings and forms of the REST surface.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;

use serde_json::{Value, json};
use support::{Reply, get, org, send, try_send, v65};
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};

fn ask(org: &RunningOrg, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let auth = format!("Bearer {}", org.token);
    let mut all = vec![("authorization", auth.as_str())];
    all.extend_from_slice(headers);
    try_send(org, method, path, &all, body).unwrap()
}

fn account(org: &RunningOrg) -> String {
    let reply = send(org, "POST", &v65("sobjects/Account"), json!({"Name": "A"}));
    v65(&format!("sobjects/Account/{}", reply.json()["id"].as_str().unwrap()))
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_gzipped_body_is_read_and_a_broken_one_refused() {
    let org = org(OrgConfig::default());
    let gzip = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let body = packed("{\"Name\":\"zipped\"}");
    let path = v65("sobjects/Account");
    assert_eq!(ask(&org, "POST", &path, &gzip, &body).status, 201);
    let reply = ask(&org, "POST", &path, &gzip, &body[..10]);
    assert_eq!((reply.status, reply.code()), (400, "JSON_PARSER_ERROR".into()));
    // A small upload that unpacks beyond the limit is caught while it unpacks.
    let bomb = packed(&" ".repeat(51 * 1024 * 1024));
    let reply = ask(&org, "POST", &path, &gzip, &bomb);
    assert_eq!((reply.status, reply.code()), (400, "EXCEEDED_MAX_SIZE_REQUEST".into()));
    let brotli = [("content-type", "application/json"), ("content-encoding", "br")];
    assert_eq!(ask(&org, "POST", &path, &brotli, b"x").status, 415);
    assert_eq!(org.count("Account"), 1);
}

#[test]
fn wrong_media_types_verbs_and_versions_have_their_status() {
    let org = org(OrgConfig::default());
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let reply = ask(&org, "POST", &v65("sobjects/Account"), &form, b"Name=A");
    assert_eq!((reply.status, reply.code()), (415, "UNSUPPORTED_MEDIA_TYPE".into()));
    for (method, tail) in [
        ("DELETE", "sobjects"),
        ("PUT", "sobjects/Account"),
        ("POST", "sobjects/Account/describe"),
        ("PUT", "sobjects/Account/Ext_Id__c/1"),
    ] {
        let reply = send(&org, method, &v65(tail), Value::Null);
        assert_eq!((reply.status, reply.code()), (405, "METHOD_NOT_ALLOWED".into()), "{method} {tail}");
    }
    for (version, status) in [
        ("v20.0", 410),
        ("v49.0", 404),
        ("v50.0", 200),
        ("v67.0", 200),
        ("v68.0", 404),
        ("65.0", 404),
    ] {
        assert_eq!(get(&org, &format!("/services/data/{version}/limits")).status, status, "{version}");
    }
}

#[test]
fn heads_beyond_16_kib_are_refused() {
    let org = org(OrgConfig::default());
    let long = "x".repeat(16_400);
    assert_eq!(get(&org, &v65(&format!("query?q={long}"))).status, 414);
    assert_eq!(ask(&org, "GET", &v65("limits"), &[("x-note", &long)], b"").status, 431);
    assert_eq!(ask(&org, "GET", &v65("limits"), &[("x-note", &long[..15_000])], b"").status, 200);
}

#[test]
fn rows_answer_304_and_412_by_date() {
    let org = org(OrgConfig::default());
    let path = account(&org);
    let reply = get(&org, &path);
    let modified = reply.header("last-modified").to_owned();
    let (early, late) = ("Thu, 01 Jan 2015 00:00:00 GMT", "Sat, 01 Jan 2050 00:00:00 GMT");
    assert_eq!(ask(&org, "GET", &path, &[("if-modified-since", &modified)], b"").status, 304);
    assert_eq!(ask(&org, "GET", &path, &[("if-modified-since", early)], b"").status, 200);
    assert_eq!(ask(&org, "GET", &path, &[("if-unmodified-since", early)], b"").status, 412);
    let patch = |date| {
        let headers = [("if-unmodified-since", date), ("content-type", "application/json")];
        ask(&org, "PATCH", &path, &headers, b"{\"Site\":\"S\"}").status
    };
    assert_eq!(patch(early), 412);
    assert_eq!(get(&org, &path).json()["Site"], Value::Null);
    assert_eq!(patch(late), 204);
    assert_eq!(ask(&org, "DELETE", &path, &[("if-unmodified-since", early)], b"").status, 412);
    assert_eq!(org.count("Account"), 1);
}

#[test]
fn account_rows_carry_tags_and_other_rows_none() {
    let org = org(OrgConfig::default());
    let path = account(&org);
    let tag = get(&org, &path).header("etag").to_owned();
    assert!(!tag.is_empty());
    assert_eq!(ask(&org, "GET", &path, &[("if-none-match", &tag)], b"").status, 304);
    let patch = |tag: &str| {
        let headers = [("if-match", tag), ("content-type", "application/json")];
        ask(&org, "PATCH", &path, &headers, b"{\"Site\":\"S\"}").status
    };
    assert_eq!(patch(&tag), 204);
    assert_eq!(patch(&tag), 412, "the row has moved on");
    assert_eq!(ask(&org, "GET", &path, &[("if-none-match", &tag)], b"").status, 200);
    let contact = send(&org, "POST", &v65("sobjects/Contact"), json!({"LastName": "L"})).json();
    let reply = get(&org, &v65(&format!("sobjects/Contact/{}", contact["id"].as_str().unwrap())));
    assert_eq!(reply.header("etag"), "");
}

#[test]
fn describes_are_revalidated_by_date_and_by_tag() {
    let org = org(OrgConfig::default());
    for tail in ["sobjects", "sobjects/Account", "sobjects/Account/describe"] {
        let reply = get(&org, &v65(tail));
        let (date, tag) = (reply.header("last-modified").to_owned(), reply.header("etag").to_owned());
        for header in [("if-modified-since", date.as_str()), ("if-none-match", tag.as_str())] {
            let again = ask(&org, "GET", &v65(tail), &[header], b"");
            assert_eq!((again.status, again.body.len()), (304, 0), "{tail} {}", header.0);
            assert_eq!((again.header("etag"), again.header("last-modified")), (tag.as_str(), date.as_str()));
        }
        let other = ask(&org, "GET", &v65(tail), &[("if-none-match", "\"00000000\"")], b"");
        assert_eq!(other.status, 200);
    }
}

#[test]
fn answers_come_indented_or_as_xml_when_asked() {
    let org = org(OrgConfig::default());
    let path = account(&org);
    let plain = get(&org, &path);
    let pretty = ask(&org, "GET", &path, &[("x-prettyprint", "1")], b"");
    assert!(pretty.text().contains("\n  \"attributes\" : {\n    \"type\" : \"Account\""));
    assert_eq!(pretty.json(), plain.json());
    let query = v65("query?q=SELECT+Name+FROM+Account");
    let xml = ask(&org, "GET", &query, &[("accept", "application/xml")], b"");
    assert_eq!(xml.header("content-type"), "application/xml;charset=UTF-8");
    assert!(
        xml.text().contains("<QueryResult><done>true</done><records type=\"Account\""),
        "{}",
        xml.text()
    );
    let xml = ask(&org, "GET", &v65("sobjects/Nope.xml"), &[], b"");
    assert_eq!(xml.status, 404);
    assert!(
        xml.text().contains("<Errors><Error><errorCode>NOT_FOUND</errorCode>"),
        "{}",
        xml.text()
    );
    let json = ask(&org, "GET", &v65("limits.json"), &[("accept", "application/xml")], b"");
    assert!(json.json()["DailyApiRequests"]["Max"].is_number());
    // What accepts JSON first, or anything, gets JSON.
    let json = ask(&org, "GET", &query, &[("accept", "*/*, application/xml;q=0.5")], b"");
    assert_eq!(json.json()["totalSize"], 1);
}

#[test]
fn the_wanted_batch_size_is_read_in_any_spelling() {
    let org = org(OrgConfig::default());
    let records: Vec<Value> = (0..200)
        .map(|i| json!({"attributes": {"type": "Account"}, "Name": i.to_string()}))
        .collect();
    for _ in 0..2 {
        send(&org, "POST", &v65("composite/sobjects"), json!({"records": records}));
    }
    let rows = |options: &str| {
        let reply = ask(
            &org,
            "GET",
            &v65("query?q=SELECT+Id+FROM+Account"),
            &[("sforce-query-options", options)],
            b"",
        );
        reply.json()["records"].as_array().unwrap().len()
    };
    assert_eq!(rows("batchSize=250"), 250);
    assert_eq!(rows("batchsize = 250"), 250);
    assert_eq!(rows("batchSize=1"), 200, "the least");
    assert_eq!(rows("batchSize=many"), 400);
}
