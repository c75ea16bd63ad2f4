//! Writing without jobs, files, headers of writes, and what is compressed: over the wire, and against an org.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod script;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Map, Value, json};
use syncline_connect::retry::RetryPolicy;
use syncline_connect::{Operation, Source, Target};
use syncline_domain::{ErrorCode, FieldName, ObjectName};
use syncline_salesforce::collections::Record;
use syncline_salesforce::files::{FileKind, NewFile};
use syncline_salesforce::{Assignment, Compression, DescribeCache, Described, DuplicateRules, Options, Salesforce, Validators};

use script::{Reply, Script, TestAccess};

async fn org(replies: Vec<Reply>) -> (Script, Salesforce) {
    // A second installation in the same process is refused, which is fine: there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let script = Script::start(replies).await;
    let policy = RetryPolicy {
        attempts_max: 3,
        delay_min: Duration::from_millis(1),
        delay_max: Duration::from_millis(5),
        ..RetryPolicy::default()
    };
    let salesforce = Salesforce::new(Arc::new(TestAccess::new(script.url())), policy).unwrap();
    (script, salesforce)
}

fn object(name: &str) -> ObjectName {
    ObjectName::new(name).unwrap()
}

fn record(name: &str, values: Value) -> Record {
    let Value::Object(values) = values else {
        panic!("a record is an object")
    };
    Record {
        object: object(name),
        values,
    }
}

const LOST: &str = r#"[{"errorCode":"SERVER_UNAVAILABLE","message":"m"}]"#;

#[tokio::test]
async fn every_record_has_its_outcome_in_order() {
    let answer = r#"[{"id":"001A","success":true,"errors":[]},
        {"success":false,"errors":[{"statusCode":"REQUIRED_FIELD_MISSING","message":"Required fields are missing: [Name]","fields":["Name"]}]}]"#;
    let (script, org) = org(vec![Reply::json(200, answer)]).await;
    let org = org.with_options(Options {
        duplicates: Some(DuplicateRules {
            allow_save: true,
            include_details: false,
            as_current_user: false,
        }),
        ..Options::default()
    });
    let saved = org
        .insert(&[record("Account", json!({"Name": "a"})), record("Account", json!({"Name": null}))])
        .await
        .unwrap();
    assert_eq!(
        (saved[0].id.as_str(), saved[0].created, saved[0].refusal.is_none()),
        ("001A", true, true)
    );
    let refusal = saved[1].refusal.clone().unwrap();
    assert_eq!((refusal.code, refusal.fields), (ErrorCode::RequiredValue, vec!["Name".to_owned()]));
    let seen = &script.seen()[0];
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str()),
        ("POST", "/services/data/v65.0/composite/sobjects")
    );
    assert_eq!(seen.header("sforce-auto-assign"), "FALSE");
    assert!(seen.header("sforce-duplicate-rule-header").starts_with("allowSave=true"));
    assert_eq!(
        seen.json(),
        json!({"allOrNone": false, "records": [
            {"attributes": {"type": "Account"}, "Name": "a"}, {"attributes": {"type": "Account"}, "Name": null}]})
    );
}

#[tokio::test]
async fn what_sets_a_state_is_repeated_and_an_insert_is_not() {
    let ok = r#"[{"id":"001A","success":true,"errors":[],"created":false}]"#;
    let one = [record("Account", json!({"Ext__c": "x"}))];
    let (script, salesforce) = org(vec![Reply::json(503, LOST), Reply::json(200, ok)]).await;
    assert!(salesforce.insert(&one).await.is_err());
    assert_eq!(script.seen().len(), 1);
    let key = FieldName::new("Ext__c").unwrap();
    let (script, salesforce) = org(vec![Reply::json(503, LOST), Reply::json(200, ok)]).await;
    assert!(!salesforce.upsert(&key, &one).await.unwrap()[0].created);
    let seen = script.seen();
    assert_eq!(
        (seen.len(), seen[1].path.as_str()),
        (2, "/services/data/v65.0/composite/sobjects/Account/Ext__c")
    );
    let (script, salesforce) = org(vec![Reply::json(503, LOST), Reply::json(200, ok)]).await;
    salesforce.delete(&["001000000000001AAA".into()]).await.unwrap();
    assert_eq!(script.seen()[1].query("ids").as_deref(), Some("001000000000001AAA"));
    // Two objects in one upsert, an id that is none, fewer outcomes than records.
    let (_script, salesforce) = org(vec![Reply::json(200, "[]")]).await;
    let two = [one[0].clone(), record("Contact", json!({}))];
    assert_eq!(salesforce.upsert(&key, &two).await.unwrap_err().code, ErrorCode::Internal);
    assert_eq!(salesforce.delete(&["001/../x".into()]).await.unwrap_err().code, ErrorCode::Internal);
    assert_eq!(salesforce.update(&one).await.unwrap_err().code, ErrorCode::BadAnswer);
}

#[tokio::test]
async fn bodies_are_gzipped_when_asked_and_arrive_whole() {
    let job = r#"{"id":"750A","state":"Open"}"#;
    for compression in [Compression::Always, Compression::Never, Compression::Remote] {
        let (script, org) = org(vec![Reply::json(200, job), Reply::json(201, "")]).await;
        let org = org.with_options(Options {
            compression,
            assignment: Assignment::Rule("01Q000000000001AAA".into()),
            ..Options::default()
        });
        org.create_job(&object("Lead"), &Operation::HardDelete).await.unwrap();
        let row = Bytes::from("Name\n".to_owned() + &"x,".repeat(5_000));
        org.upload("750A", vec![row.clone(), row.clone()]).await.unwrap();
        let seen = script.seen();
        assert_eq!(
            (seen[0].json()["operation"].as_str(), seen[0].json()["assignmentRuleId"].as_str()),
            (Some("hardDelete"), Some("01Q000000000001AAA"))
        );
        let body = if compression == Compression::Always {
            assert_eq!(seen[1].header("content-encoding"), "gzip");
            assert_eq!(seen[1].header("content-length"), seen[1].body.len().to_string());
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(seen[1].body.as_slice())
                .read_to_end(&mut plain)
                .unwrap();
            plain
        } else {
            assert_eq!(seen[1].header("content-encoding"), "");
            seen[1].body.clone()
        };
        assert_eq!(body, [row.as_ref(), row.as_ref()].concat());
    }
}

#[tokio::test]
async fn a_describe_that_is_the_same_costs_no_body() {
    let describe = r#"{"name":"Account","fields":[{"name":"Id","type":"id"}]}"#;
    let (script, org) = org(vec![
        Reply::json(200, describe)
            .header("etag", "\"abc\"")
            .header("last-modified", "Thu, 03 Sep 2020 21:35:07 GMT"),
        Reply::json(304, ""),
        Reply::json(
            404,
            r#"[{"errorCode":"NOT_FOUND","message":"The requested resource does not exist"}]"#,
        ),
    ])
    .await;
    let Described::Changed(account, validators) = org.describe_again(&object("Account"), &Validators::default()).await.unwrap() else {
        panic!("the first describe is news");
    };
    assert_eq!(account.fields.len(), 1);
    assert!(matches!(
        org.describe_again(&object("Account"), &validators).await.unwrap(),
        Described::Unchanged
    ));
    assert!(matches!(
        org.describe_again(&object("Gone__c"), &validators).await.unwrap(),
        Described::Missing
    ));
    let seen = script.seen();
    assert_eq!((seen[0].header("if-modified-since"), seen[0].header("if-none-match")), ("", ""));
    assert_eq!(
        (seen[1].header("if-modified-since"), seen[1].header("if-none-match")),
        ("Thu, 03 Sep 2020 21:35:07 GMT", "\"abc\"")
    );
}

#[tokio::test]
async fn handles_that_share_describes_ask_only_for_what_changed() {
    let describe = |label: &str| {
        let body = format!(r#"{{"name":"Account","label":"{label}","fields":[{{"name":"Id","type":"id"}}]}}"#);
        Reply::json(200, &body).header("etag", &format!("\"{label}\""))
    };
    let missing = || {
        Reply::json(
            404,
            r#"[{"errorCode":"NOT_FOUND","message":"The requested resource does not exist"}]"#,
        )
    };
    let (script, first) = org(vec![describe("a"), Reply::json(304, ""), describe("b"), missing(), describe("c")]).await;
    let cache = DescribeCache::default();
    let first = first.with_describes(cache.clone());
    let second = Salesforce::new(Arc::new(TestAccess::new(script.url())), RetryPolicy::default())
        .unwrap()
        .with_describes(cache);
    let account = [object("Account")];
    let label = |answer: Vec<Option<syncline_domain::describe::ObjectDescribe>>| answer.into_iter().next().unwrap().map(|d| d.label);
    assert_eq!(label(first.describe(&account).await.unwrap()).as_deref(), Some("a"));
    assert_eq!(label(second.describe(&account).await.unwrap()).as_deref(), Some("a"), "unchanged");
    assert_eq!(label(second.describe(&account).await.unwrap()).as_deref(), Some("b"));
    assert_eq!(label(second.describe(&account).await.unwrap()), None);
    assert_eq!(label(second.describe(&account).await.unwrap()).as_deref(), Some("c"));
    let seen = script.seen();
    let asked_by: Vec<&str> = seen.iter().map(|r| r.header("if-none-match")).collect();
    assert_eq!(asked_by, ["", "\"a\"", "\"a\"", "\"b\"", ""], "what was gone is asked for whole");
}

fn file(bytes: u64, chunks: Vec<&'static [u8]>) -> NewFile {
    let values: Map<String, Value> = Map::from_iter([("Title".to_owned(), json!("T")), ("PathOnClient".to_owned(), json!("a.bin"))]);
    NewFile {
        kind: FileKind::ContentVersion,
        values,
        file_name: "a\"\r\n.bin".to_owned(),
        bytes,
        content: stream::iter(chunks.into_iter().map(|c| Ok(Bytes::from_static(c)))).boxed(),
    }
}

#[tokio::test]
async fn a_file_goes_up_as_two_parts_and_comes_down_as_it_is() {
    let (script, org) = org(vec![
        Reply::json(201, r#"{"id":"068000000000001AAA","success":true,"errors":[]}"#),
        Reply::html(200, "<html>a file that is a page</html>"),
    ])
    .await;
    let id = org.upload_file(file(7, vec![b"\x00\xff--", b"abc"])).await.unwrap();
    assert_eq!(id, "068000000000001AAA");
    let seen = &script.seen()[0];
    let boundary = seen
        .header("content-type")
        .split("boundary=\"")
        .nth(1)
        .unwrap()
        .trim_end_matches('"')
        .to_owned();
    let expected = [
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"entity_content\"\r\nContent-Type: application/json\r\n\r\n{{\"PathOnClient\":\"a.bin\",\"Title\":\"T\"}}\r\n").as_bytes(),
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"VersionData\"; filename=\"a___.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n").as_bytes(),
        b"\x00\xff--abc",
        format!("\r\n--{boundary}--\r\n").as_bytes(),
    ]
    .concat();
    assert_eq!(seen.body, expected);
    assert_eq!(seen.header("content-length"), expected.len().to_string());
    let content: Vec<Bytes> = org
        .download(FileKind::ContentVersion, &id)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(content.concat(), b"<html>a file that is a page</html>");
    assert_eq!(
        script.seen()[1].path,
        "/services/data/v65.0/sobjects/ContentVersion/068000000000001AAA/VersionData"
    );
}

#[tokio::test]
async fn a_file_that_is_not_what_was_said_is_an_error_and_never_sent_twice() {
    let created = || Reply::json(201, r#"{"id":"068000000000001AAA"}"#);
    for (bytes, chunks) in [(2, vec![b"abc".as_slice()]), (9, vec![b"abc".as_slice()])] {
        let (_script, org) = org(vec![created(), created()]).await;
        assert!(org.upload_file(file(bytes, chunks)).await.is_err(), "{bytes}");
    }
    let (script, salesforce) = org(vec![Reply::json(401, "[]"), created()]).await;
    let error = salesforce.upload_file(file(3, vec![b"abc"])).await.unwrap_err();
    assert_eq!((error.code, script.seen().len()), (ErrorCode::TokenExpired, 1));
    // Begun again by whoever has the file, it goes up under the new token.
    salesforce.upload_file(file(3, vec![b"abc"])).await.unwrap();
    assert_eq!(script.seen()[1].header("authorization"), "Bearer token-1");
    let (script, salesforce) = org(vec![]).await;
    let error = salesforce.upload_file(file(3 << 30, vec![])).await.unwrap_err();
    assert_eq!((error.code, script.seen().len()), (ErrorCode::RecordTooLarge, 0));
    assert_eq!(
        salesforce.download(FileKind::Attachment, "../x").await.err().map(|e| e.code),
        Some(ErrorCode::Internal)
    );
    let broken = Reply::csv(200, "0123456789").broken();
    let (_script, salesforce) = org(vec![broken]).await;
    // Half of it may have come before the break or nothing; either way it is no file.
    let content = async {
        salesforce
            .download(FileKind::Attachment, "00P000000000001AAA")
            .await?
            .try_collect::<Vec<Bytes>>()
            .await
    };
    assert!(content.await.is_err());
}
