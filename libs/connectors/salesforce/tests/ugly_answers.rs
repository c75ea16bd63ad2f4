//! Answers, outcomes and errors as no documentation promises them: understood, or a typed error that says where.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod script;

use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use futures::TryStreamExt;
use serde_json::json;
use syncline_connect::target::ResultRow;
use syncline_connect::{ConnectError, GenerationState, JobState, Operation, ResultKind, RowDigester, Source, Target};
use syncline_domain::ErrorCode;
use syncline_domain::describe::FieldType;
use syncline_salesforce::Salesforce;

use script::org::{column, connect, generation, object, org, query};
use script::raw::{Raw, cut};
use script::{Reply, Script};

const FIELDS: &[(&str, FieldType)] = &[("Id", FieldType::Id), ("Name", FieldType::String)];
const HTML: &str = "<!DOCTYPE html>\n<html><body>We are down for maintenance</body></html>";

fn names(batches: &[RecordBatch]) -> Vec<String> {
    let cells = batches.iter().flat_map(|b| b.column(1).as_string::<i32>().iter().flatten());
    cells.map(str::to_owned).collect()
}

#[tokio::test]
async fn absurd_waits_are_neither_kept_nor_passed_on_as_they_are() {
    let day = Duration::from_secs(24 * 3600);
    for (wait, asked) in [
        ("18446744073709551615", Some(day)),
        ("99999999999999999999999999", Some(day)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some(day)),
        ("-1", None),
        ("1e9", None),
        ("soon", None),
        ("", None),
    ] {
        let busy = Reply::json(503, r#"[{"errorCode":"SERVER_UNAVAILABLE","message":"busy"}]"#).header("retry-after", wait);
        let (script, salesforce) = org(vec![busy.clone(), busy.clone(), busy]).await;
        let error = salesforce.count(&query(FIELDS)).await.unwrap_err();
        assert_eq!((error.code, error.retry_after), (ErrorCode::Unreachable, asked), "{wait}");
        let tries = if asked.is_some() { 1 } else { 3 };
        assert_eq!(script.seen().len(), tries, "{wait}");
    }
}

#[tokio::test]
async fn a_redirect_takes_no_token_along() {
    let (thief, _) = org(vec![Reply::json(200, "{}")]).await;
    for status in [301, 302, 307, 308] {
        let reply = || Reply::json(status, "").header("location", &thief.url());
        let (_script, salesforce) = org(vec![reply(), reply(), reply()]).await;
        let error = salesforce.count(&query(FIELDS)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::BadAnswer);
        assert!(error.message.contains("another address"), "{error}");
    }
    assert!(thief.seen().is_empty());
}

#[tokio::test]
async fn several_records_for_one_key_are_duplicates() {
    let (script, salesforce) = org(vec![Reply::json(
        300,
        r#"["/services/data/v65.0/sobjects/Whizbang/foo","/services/data/v65.0/sobjects/Whizbang/bar"]"#,
    )])
    .await;
    let error = salesforce.count(&query(FIELDS)).await.unwrap_err();
    assert_eq!(
        (error.code, error.native.as_deref()),
        (ErrorCode::Duplicate, Some("DUPLICATE_EXTERNAL_ID"))
    );
    assert_eq!(script.seen().len(), 1);
}

#[tokio::test]
async fn errors_are_read_from_every_form_of_body() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let odd_key = format!(
        r#"[{{"new":{},"errorCode":"MALFORMED_QUERY","message":"m"}}]"#,
        "[".repeat(90) + &"]".repeat(90)
    );
    for (body, code, native) in [
        (
            r#"[{"errorCode":"MALFORMED_QUERY","message":"m","extendedErrorDetails":[{"a":1}],"new":null}]"#,
            ErrorCode::Query,
            Some("MALFORMED_QUERY"),
        ),
        (
            r#"{"errorCode":"MALFORMED_QUERY","message":"m"}"#,
            ErrorCode::Query,
            Some("MALFORMED_QUERY"),
        ),
        (
            r#"[{"statusCode":"MALFORMED_QUERY","errorCode":"MALFORMED_QUERY"}]"#,
            ErrorCode::Query,
            Some("MALFORMED_QUERY"),
        ),
        (
            r#"[{"statusCode":400,"errorCode":"MALFORMED_QUERY"}]"#,
            ErrorCode::Query,
            Some("MALFORMED_QUERY"),
        ),
        (
            r#"[{"errorCode":"MALFORMED_QUERY","message":{"text":"m"}}]"#,
            ErrorCode::Query,
            Some("MALFORMED_QUERY"),
        ),
        (&odd_key, ErrorCode::Query, Some("MALFORMED_QUERY")),
        (r#"{"error":"invalid_grant"}"#, ErrorCode::TargetRefused, None),
        ("Bad_OAuth_Token", ErrorCode::TargetRefused, None),
        ("", ErrorCode::TargetRefused, None),
        ("null", ErrorCode::TargetRefused, None),
        ("[]", ErrorCode::TargetRefused, None),
        ("[null]", ErrorCode::TargetRefused, None),
        ("\u{feff}[]", ErrorCode::TargetRefused, None),
        (&deep, ErrorCode::TargetRefused, None),
    ] {
        let shown: String = body.chars().take(80).collect();
        let (_script, salesforce) = org(vec![Reply::json(400, body).bytewise()]).await;
        let error = salesforce.count(&query(FIELDS)).await.unwrap_err();
        assert_eq!((error.code, error.native.as_deref()), (code, native), "{shown}");
        assert!(error.message.starts_with("GET query: HTTP 400"), "{error}");
    }
}

#[tokio::test]
async fn json_nested_without_end_is_an_error_with_its_place() {
    for depth in [200, 1_000_000] {
        let nested = format!("{}1{}", r#"{"a":["#.repeat(depth), "]}".repeat(depth));
        let body = format!(r#"{{"totalSize":1,"done":true,"records":[{nested}]}}"#);
        let (_script, salesforce) = org(vec![Reply::json(200, &body)]).await;
        let error = salesforce.lookup(&object("User"), &["Id"], None).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::BadAnswer);
        assert!(error.message.contains("line 1, column"), "{error}");
    }
}

#[tokio::test]
async fn keys_that_nobody_knows_are_passed_over_everywhere() {
    let new = json!({"deep": [{"er": null}], "Id": "not this"});
    let replies = [
        json!({"id": "750A", "state": "UploadComplete", "new": new}),
        json!({"id": "750A", "state": "JobComplete", "numberRecordsProcessed": 1, "new": new}),
        json!({"totalSize": 1, "done": true, "new": new, "records": []}),
        json!({"totalSize": 1, "done": true, "new": new, "records": [{"new": new, "attributes": {"new": new}, "Id": "u1", "Name": "n"}]}),
        json!([{"new": new, "attributes": new, "Id": "u1", "Name": "n"}]),
        json!({"new": new, "DailyApiRequests": {"Max": 1, "Remaining": 1, "new": new}}),
        json!({"user_id": "005A00000000001AAA", "new": new}),
        json!({"new": new, "done": true, "records": [{"id": "750B", "state": "Open", "object": "Account", "createdById": "005A00000000001AAA",
            "createdDate": "2026-01-01T00:00:00.000+0000", "new": new}]}),
    ];
    let (script, salesforce) = org(replies.iter().map(|r| Reply::json(200, &r.to_string()).bytewise()).collect()).await;
    let job = salesforce.open(&query(FIELDS)).await.unwrap();
    assert_eq!(salesforce.state(&job).await, Ok(GenerationState::Ready { records: 1 }));
    assert_eq!(salesforce.count(&query(FIELDS)).await, Ok(1));
    let rows = salesforce.lookup(&object("User"), &["Id", "Name"], None).await.unwrap();
    assert_eq!(rows, [[Some("u1".to_owned()), Some("n".to_owned())]]);
    let batch = salesforce
        .retrieve(&object("User"), &["u1".to_owned()], &[column("Name", FieldType::String)])
        .await
        .unwrap();
    assert_eq!(names(&[batch]), ["n"]);
    assert_eq!(salesforce.limits().await.unwrap().len(), 1);
    let jobs = salesforce.list_jobs("2025-01-01T00:00:00Z".parse().unwrap()).await.unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!(script.seen().len(), replies.len());
}

#[tokio::test]
async fn an_answer_that_holds_less_than_it_announces_is_no_answer() {
    let row = r#"{"Id":"u1","Name":"n"}"#;
    let lookups = [
        // More is to come, but it is not said where.
        format!(r#"{{"totalSize":2,"done":false,"records":[{row}]}}"#),
        format!(r#"{{"totalSize":2,"done":true,"records":[{row}]}}"#),
        r#"{"done":true}"#.to_owned(),
    ];
    for body in lookups {
        let (_script, salesforce) = org(vec![Reply::json(200, &body)]).await;
        let outcome = salesforce.lookup(&object("User"), &["Id"], None).await;
        assert_eq!(outcome.map_err(|e| e.code), Err(ErrorCode::BadAnswer), "{body}");
    }
    // Pages that lead back to one another.
    let again = |to: &str| {
        Reply::json(
            200,
            &format!(r#"{{"done":false,"nextRecordsUrl":"/services/data/v65.0/query/{to}","records":[]}}"#),
        )
    };
    let (script, salesforce) = org((0..40).map(|i| again(if i % 2 == 0 { "a" } else { "b" })).collect()).await;
    let outcome = salesforce.lookup(&object("User"), &["Id"], None).await;
    assert_eq!(outcome.map_err(|e| e.code), Err(ErrorCode::BadAnswer));
    assert!(script.seen().len() < 10);
    for body in [
        "[]",
        r#"[{"Id":"u1","Name":"n"}]"#,
        r#"[{"Id":"u1"},null]"#,
        r#"[{"Name":"n"},null]"#,
        r#"[{"Id":"u1","Name":"n"},null,null]"#,
    ] {
        let (_script, salesforce) = org(vec![Reply::json(200, body)]).await;
        let ids = ["u1".to_owned(), "u2".to_owned()];
        let outcome = salesforce
            .retrieve(&object("User"), &ids, &[column("Name", FieldType::String)])
            .await;
        assert_eq!(
            outcome.map(|b| b.num_rows()).map_err(|e| e.code),
            Err(ErrorCode::BadAnswer),
            "{body}"
        );
    }
    let (_script, salesforce) = org(vec![
        Reply::json(200, r#"{"user_id":"005A00000000001AAA"}"#),
        Reply::json(200, r#"{"done":false,"records":[]}"#),
    ])
    .await;
    let outcome = salesforce.list_jobs("2025-01-01T00:00:00Z".parse().unwrap()).await;
    assert_eq!(outcome.map_err(|e| e.code), Err(ErrorCode::BadAnswer));
}

async fn outcomes(org: &Salesforce, kind: ResultKind) -> Result<Vec<ResultRow>, ConnectError> {
    let columns = [column("Name", FieldType::String)];
    let rows = org.results("750A", kind, &columns, &RowDigester::new([1; 32])).await?;
    rows.try_concat().await
}

#[tokio::test]
async fn a_job_that_fails_after_a_partial_commit_accounts_for_every_row() {
    let (_script, salesforce) = org(vec![
        Reply::json(
            200,
            r#"{"id":"750A","state":"Failed","numberRecordsProcessed":3,"numberRecordsFailed":1,"errorMessage":"InvalidBatch : Records not processed"}"#,
        ),
        Reply::csv(200, "\"sf__Id\",\"sf__Created\",\"Name\"\n\"001B\",\"false\",\"b\"\n\"001A\",\"true\",\"a\"\n"),
        Reply::csv(200, "\"sf__Id\",\"sf__Error\",\"Name\"\n\"\",\"UNABLE_TO_LOCK_ROW:locked:--\",\"c\"\n"),
        Reply::csv(200, "\"Name\"\n\"e\"\n\"d\"\n"),
    ])
    .await;
    let status = salesforce.job_status("750A").await.unwrap();
    assert_eq!((status.state, status.processed, status.failed), (JobState::Failed, 3, 1));
    assert_eq!(status.error.map(|e| e.code), Some(ErrorCode::JobFailed));
    let digester = RowDigester::new([1; 32]);
    let digest = |name| digester.digest([(FieldType::String, Some(name))].into_iter());
    let mut found = Vec::new();
    for kind in [ResultKind::Successful, ResultKind::Failed, ResultKind::Unprocessed] {
        found.extend(outcomes(&salesforce, kind).await.unwrap());
    }
    // Whatever the order of the file, each row is known by its own content.
    let digests: Vec<_> = found.iter().map(|r| r.digest).collect();
    assert_eq!(digests, ["b", "a", "c", "e", "d"].map(digest));
    assert_eq!(found[0].id, "001B");
    assert_eq!(found[2].refusal.as_ref().map(|r| r.code), Some(ErrorCode::RowLocked));
}

#[tokio::test]
async fn result_files_that_are_not_whole_are_refused_with_their_place() {
    let whole = "\"sf__Id\",\"sf__Created\",\"Name\"\n\"001A\",\"true\",\"a\"\n";
    for (body, place) in [
        (&whole[..46], "row 1 of the results, byte 46"),
        (&whole[..9], "the first line of the results, byte 9"),
        (&whole.replace("\"a\"", "\"a\"b\""), "row 1 of the results, byte 47"),
        ("sf__Id,sf__Created,Name,name\n001A,true,a,b\n", "two columns `Name`"),
        ("\"sf__Id\",\"sf__Id\",\"sf__Created\",\"Name\"\n", "two columns `sf__Id`"),
        ("\"sf__Id\",\"Name\"\n", "no column `sf__Created`"),
        (HTML, "no column"),
    ] {
        let (_script, salesforce) = org(vec![Reply::csv(200, body)]).await;
        let error = outcomes(&salesforce, ResultKind::Successful).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::BadAnswer);
        assert!(error.message.contains(place), "{error} does not say {place}");
    }
    let server = Raw::start(vec![cut("content-type: text/csv\r\n", whole.as_bytes(), 40)]).await;
    let error = outcomes(&connect(server.url.clone()), ResultKind::Successful).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NetworkTimeout);
    assert!(error.message.ends_with("(in row 1 of the results, byte 40 of the body)"), "{error}");
}

#[tokio::test]
async fn answers_that_are_not_what_was_asked_for_are_typed_errors() {
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "17",
        "\"text\"",
        "{\"id\":null}",
        "{\"id\":7,\"state\":\"Open\"}",
        "{\"id\":\"../x\",\"state\":\"Open\"}",
        "{\"id\"",
    ] {
        let (script, salesforce) = org(vec![Reply::json(200, body)]).await;
        let error = salesforce.create_job(&object("Account"), &Operation::Insert).await.unwrap_err();
        assert!(matches!(error.code, ErrorCode::BadAnswer | ErrorCode::Internal), "{body}: {error}");
        assert_eq!(script.seen().len(), 1, "what may have been created is not created again");
    }
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "17",
        r#"{"totalSize":"1"}"#,
        r#"{"totalSize":-1}"#,
        r#"{"totalSize":1.5}"#,
    ] {
        let (_script, salesforce) = org(vec![Reply::json(200, body)]).await;
        let outcome = salesforce.count(&query(FIELDS)).await;
        assert_eq!(outcome.map_err(|e| e.code), Err(ErrorCode::BadAnswer), "{body}");
    }
    for state in [
        r#"{"id":"750A","state":"JobComplete","numberRecordsProcessed":"many"}"#,
        r#"{"id":"750A","state":""}"#,
        r#"{"id":"750A"}"#,
    ] {
        let (_script, salesforce) = org(vec![Reply::json(200, state)]).await;
        let outcome = salesforce.state(&generation()).await;
        assert_eq!(outcome.map_err(|e| e.code), Err(ErrorCode::BadAnswer), "{state}");
    }
}

/// Requests that a script does not answer are not silently fine.
#[tokio::test]
async fn a_script_that_is_used_up_is_an_error() {
    let script = Script::start(vec![]).await;
    assert!(connect(script.url()).count(&query(FIELDS)).await.is_err());
}
