//! The connector against answers that no documentation promises: the right records, or an error that says where.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod script;

use std::collections::VecDeque;
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
use syncline_salesforce::csv_read::PageDecoder;

use script::org::{column, connect, generation, object, org, page, query, read, read_all};
use script::raw::{Raw, answer, cut, gzip};
use script::{Reply, Script};

const FIELDS: &[(&str, FieldType)] = &[("Id", FieldType::Id), ("Name", FieldType::String)];
const HTML: &str = "<!DOCTYPE html>\n<html><body>We are down for maintenance</body></html>";
const EXPIRED: &str = r#"[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]"#;
const THREE: &str = "\"Id\",\"Name\"\n\"a1\",\"x\"\n\"a2\",\"y\"\n\"a3\",\"z\"\n";

fn names(batches: &[RecordBatch]) -> Vec<String> {
    let cells = batches.iter().flat_map(|b| b.column(1).as_string::<i32>().iter().flatten());
    cells.map(str::to_owned).collect()
}

/// The headers of a page.
fn csv_headers(rows: usize, locator: &str) -> String {
    format!("content-type: text/csv\r\nsforce-numberofrecords: {rows}\r\nsforce-locator: {locator}\r\n")
}

/// Names read, or code and text of the error.
async fn read_names(org: &Salesforce) -> Result<Vec<String>, (ErrorCode, String)> {
    let read = read_all(org, &query(FIELDS)).await;
    read.map(|b| names(&b)).map_err(|e| (e.code, e.message))
}

#[tokio::test]
async fn maintenance_pages_pass_or_are_named() {
    for status in [200, 500, 502, 503] {
        let (script, salesforce) = org(vec![Reply::html(status, HTML), page(3, "null", THREE)]).await;
        assert_eq!(read_names(&salesforce).await.unwrap(), ["x", "y", "z"], "{status}");
        assert_eq!(script.seen().len(), 2);
    }
    // Markup under a false name.
    let (_script, salesforce) = org((0..9).map(|_| page(3, "null", HTML)).collect()).await;
    let (code, message) = read_names(&salesforce).await.unwrap_err();
    assert_eq!(code, ErrorCode::BadAnswer);
    assert!(message.contains("header"), "{message}");
    let (_script, salesforce) = org((0..9).map(|_| Reply::json(200, HTML)).collect()).await;
    let error = salesforce.count(&query(FIELDS)).await.unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (ErrorCode::BadAnswer, "GET query: a page instead of data")
    );
}

#[tokio::test]
async fn a_csv_is_read_whatever_its_content_type_says() {
    for content_type in ["application/octet-stream", "application/json", "text/plain", "gibberish"] {
        let reply = Reply::typed(200, content_type, THREE)
            .header("sforce-numberofrecords", "3")
            .header("sforce-locator", "null");
        let (_script, salesforce) = org(vec![reply]).await;
        assert_eq!(read_names(&salesforce).await.unwrap(), ["x", "y", "z"], "{content_type}");
    }
    // An error that pretends to be a page of CSV.
    let (_script, salesforce) = org((0..9).map(|_| page(3, "null", EXPIRED)).collect()).await;
    let (code, message) = read_names(&salesforce).await.unwrap_err();
    assert_eq!(code, ErrorCode::BadAnswer);
    assert!(message.starts_with("the first line of the page, byte 2"), "{message}");
    // JSON that is called text.
    let (_script, salesforce) = org(vec![Reply::typed(200, "text/plain", r#"{"totalSize":4,"done":true,"records":[]}"#)]).await;
    assert_eq!(salesforce.count(&query(FIELDS)).await, Ok(4));
}

#[tokio::test]
async fn a_csv_cut_anywhere_is_read_again_or_refused() {
    for cut in 0..THREE.len() {
        let (_script, salesforce) = org(vec![page(3, "null", &THREE[..cut]), page(3, "null", THREE)]).await;
        assert_eq!(read_names(&salesforce).await.unwrap(), ["x", "y", "z"], "cut at {cut}");
        let (_script, salesforce) = org(vec![page(3, "null", &THREE[..cut])]).await;
        let error = read(&salesforce, &query(FIELDS), None).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::BadAnswer, "cut at {cut}");
        assert!(error.message.contains("page"), "{error}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_named_by_row_and_byte() {
    let server = Raw::start(vec![cut(&csv_headers(3, "null"), THREE.as_bytes(), 26)]).await;
    let error = read(&connect(server.url.clone()), &query(FIELDS), None).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NetworkTimeout);
    assert!(
        error.message.ends_with("(in row 2 of the page of 3, byte 26 of the body)"),
        "{error}"
    );
}

#[tokio::test]
async fn pages_of_one_row_are_all_read() {
    let count = 60;
    let replies = (0..count).map(|i| {
        let locator = if i + 1 == count { "null".to_owned() } else { format!("L{i}") };
        page(1, &locator, &format!("\"Id\",\"Name\"\n\"a{i}\",\"n{i}\"\n"))
    });
    let (script, salesforce) = org(replies.collect()).await;
    let expected: Vec<String> = (0..count).map(|i| format!("n{i}")).collect();
    assert_eq!(read_names(&salesforce).await.unwrap(), expected);
    assert_eq!(script.seen().len(), count, "one call a page");
}

#[tokio::test]
async fn a_page_that_points_to_itself_does_not_go_on_for_ever() {
    let (script, salesforce) = org((0..20).map(|_| page(3, "L1", THREE)).collect()).await;
    let (code, message) = read_names(&salesforce).await.unwrap_err();
    assert_eq!(code, ErrorCode::BadAnswer);
    assert!(message.contains("locator"), "{message}");
    assert!(script.seen().len() < 10);
}

#[tokio::test]
async fn a_locator_that_expires_in_mid_reading_is_a_reading_lost() {
    for (status, body) in [
        (400, r#"[{"errorCode":"INVALID_QUERY_LOCATOR","message":"invalid query locator"}]"#),
        (
            404,
            r#"[{"errorCode":"NOT_FOUND","message":"The requested resource does not exist"}]"#,
        ),
    ] {
        let (script, salesforce) = org(vec![page(3, "L1", THREE), Reply::json(status, body)]).await;
        let (next, batches) = read(&salesforce, &query(FIELDS), None).await.unwrap();
        assert_eq!(names(&batches), ["x", "y", "z"]);
        let error = read(&salesforce, &query(FIELDS), next.as_deref()).await.unwrap_err();
        assert!(error.gone && error.code == ErrorCode::JobFailed, "{error}");
        assert_eq!(script.seen().len(), 2, "asking again does not bring it back");
    }
}

#[tokio::test]
async fn the_last_locator_is_null_in_letters_and_nothing_else() {
    for (locator, next) in [("null", None), ("nullX", Some("nullX")), ("", None), ("NULL", Some("NULL"))] {
        let (_script, salesforce) = org(vec![page(3, locator, THREE)]).await;
        let (found, _) = read(&salesforce, &query(FIELDS), None).await.unwrap();
        assert_eq!(found.as_deref(), next, "{locator}");
    }
}

#[tokio::test]
async fn a_token_that_expires_between_pages_or_in_one_costs_no_row() {
    let second = "\"Id\",\"Name\"\n\"a4\",\"w\"\n";
    let (script, salesforce) = org(vec![page(3, "L1", THREE), Reply::json(401, EXPIRED), page(1, "null", second)]).await;
    assert_eq!(read_names(&salesforce).await.unwrap(), ["x", "y", "z", "w"]);
    let seen = script.seen();
    assert_eq!(seen[1].query_text, seen[2].query_text, "the same page is asked for again");
    assert_ne!(seen[1].header("authorization"), seen[2].header("authorization"));

    // The connection ends in the middle of a page, and the same page is then refused.
    let refused = format!(
        "HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{EXPIRED}",
        EXPIRED.len()
    );
    let server = Raw::start(vec![
        cut(&csv_headers(3, "L1"), THREE.as_bytes(), 26),
        refused.into_bytes(),
        answer(&csv_headers(3, "L1"), THREE.as_bytes()),
        answer(&csv_headers(1, "null"), second.as_bytes()),
    ])
    .await;
    assert_eq!(read_names(&connect(server.url.clone())).await.unwrap(), ["x", "y", "z", "w"]);

    // The refusal itself stands in the middle of the page.
    let spliced = format!("\"Id\",\"Name\"\n\"a1\",\"x\"\n{EXPIRED}");
    let (_script, salesforce) = org(vec![page(3, "null", &spliced)]).await;
    let error = read(&salesforce, &query(FIELDS), None).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::BadAnswer);
    assert!(error.message.starts_with("row 2 of the page, byte 23"), "{error}");
}

#[tokio::test]
async fn gzip_is_read_whole_or_not_at_all() {
    let packed = gzip(THREE.as_bytes());
    let headers = "content-type: text/csv\r\ncontent-encoding: gzip\r\nsforce-numberofrecords: 3\r\nsforce-locator: null\r\n";
    for cut in [0, 5, packed.len() / 2, packed.len() - 1, packed.len()] {
        let half = answer(&format!("{headers}content-length: {cut}\r\n"), &packed[..cut]);
        let whole = answer(&format!("{headers}content-length: {}\r\n", packed.len()), &packed);
        let server = Raw::start(vec![half, whole]).await;
        assert_eq!(
            read_names(&connect(server.url.clone())).await.unwrap(),
            ["x", "y", "z"],
            "cut at {cut}"
        );
    }
    // Plain text that claims to be packed.
    let server = Raw::start(vec![answer(
        &format!("{headers}content-length: {}\r\n", THREE.len()),
        THREE.as_bytes(),
    )])
    .await;
    let error = read(&connect(server.url.clone()), &query(FIELDS), None).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NetworkTimeout);
    assert!(error.message.contains("the first line of the page"), "{error}");
}

#[tokio::test]
async fn chunked_bodies_are_read_and_broken_chunks_noticed() {
    let headers = "content-type: text/csv\r\ntransfer-encoding: chunked\r\nsforce-numberofrecords: 3\r\nsforce-locator: null\r\n";
    let bytewise: Vec<u8> = THREE.bytes().flat_map(|b| [b'1', b'\r', b'\n', b, b'\r', b'\n']).collect();
    let ended = [&bytewise[..], b"0\r\n\r\n"].concat();
    let extended = [&b"27;name=value\r\n"[..], THREE.as_bytes(), b"\r\n0\r\nX-Trailer: 1\r\n\r\n"].concat();
    assert_eq!(THREE.len(), 0x27);
    for body in [ended.clone(), extended] {
        let server = Raw::start(vec![answer(headers, &body)]).await;
        assert_eq!(read_names(&connect(server.url.clone())).await.unwrap(), ["x", "y", "z"]);
    }
    for body in [&bytewise[..], b"zz\r\nx\r\n0\r\n\r\n", b"ffffffffffffffffff\r\nx", b"5\r\nab"] {
        let server = Raw::start(vec![answer(headers, body)]).await;
        let error = read(&connect(server.url.clone()), &query(FIELDS), None).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::NetworkTimeout, "{error}");
    }
    // A body that only ends with its connection tells nothing of its length; the rows do.
    let headers = csv_headers(3, "null");
    let server = Raw::start(vec![answer(&headers, &THREE.as_bytes()[..22]), answer(&headers, THREE.as_bytes())]).await;
    assert_eq!(read_names(&connect(server.url.clone())).await.unwrap(), ["x", "y", "z"]);
}

#[tokio::test]
async fn what_is_not_http_is_an_error() {
    for bytes in [
        &b""[..],
        b"\x00\xff\x00",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 99 No\r\n\r\n",
    ] {
        let server = Raw::start(vec![bytes.to_vec(); 3]).await;
        let error = connect(server.url.clone()).count(&query(FIELDS)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::NetworkTimeout, "{bytes:?}");
    }
}

#[tokio::test]
async fn headers_repeated_or_missing_on_later_pages_cost_no_row() {
    for second in [
        "\"Name\",\"Id\"\n\"w\",\"a4\"\n",
        "\"a4\",\"w\"\n",
        "\"ID\",\"NAME\"\n\"a4\",\"w\"\n",
        "\r\n\"a4\",\"w\"\r\n",
    ] {
        let (_script, salesforce) = org(vec![page(3, "L1", THREE), page(1, "null", second)]).await;
        assert_eq!(read_names(&salesforce).await.unwrap(), ["x", "y", "z", "w"], "{second}");
    }
    // Where the first line cannot be told from a row, the count of rows decides.
    let (_script, salesforce) = org(vec![page(2, "null", "\"Id\",\"Name\"\n\"a4\",\"w\"\n")]).await;
    let error = read(&salesforce, &query(FIELDS), Some("L1")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::BadAnswer);
}

#[tokio::test]
async fn first_headers_that_are_not_the_ones_asked_for_are_refused() {
    for (header, why) in [
        ("\"Id\",\"Id\"", "twice"),
        ("\"Id\",\"Name\",\"Name\"", "twice"),
        ("\"Id\"", "1 columns instead of 2"),
        ("\"Id\",\"Name\",\"Extra\"", "3 columns instead of 2"),
        ("\"Id\",\"Nmae\"", "not the one that was asked for"),
        ("\"a1\",\"x\"", "not the one that was asked for"),
    ] {
        let (_script, salesforce) = org(vec![page(0, "null", &format!("{header}\n"))]).await;
        let error = read(&salesforce, &query(FIELDS), None).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::BadAnswer);
        assert!(error.message.contains(why), "{error}");
    }
}

#[test]
fn a_broken_quote_in_row_900_000_is_named_by_row_and_byte() {
    for (broken, at) in [("\"a\",\"x\"y\"\n", 7), ("\"a\",\"x\n", 8)] {
        let mut decoder = PageDecoder::new(&query(FIELDS), true, 1_000_000);
        let mut out = VecDeque::new();
        let header = "\"Id\",\"Name\"\n";
        let good = "\"a1\",\"x\"\n".repeat(1_000);
        let mut bytes = header.len();
        decoder.push(header.as_bytes(), &mut out).unwrap();
        for _ in 0..899 {
            decoder.push(good.as_bytes(), &mut out).unwrap();
            bytes += good.len();
            out.clear();
        }
        let rest = &good[..999 * 9];
        decoder.push(rest.as_bytes(), &mut out).unwrap();
        bytes += rest.len();
        let error = decoder.push(format!("{broken}{good}").as_bytes(), &mut out).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadAnswer);
        let place = format!("row 900000 of the page, byte {} of the body: ", bytes + at);
        assert!(error.message.starts_with(&place), "{error} is not at {place}");
    }
}

#[tokio::test]
async fn a_record_of_400_000_characters_comes_through() {
    // Two, three and four bytes a character, quotes and line ends among them.
    let text: String = "\u{e4}\u{20ac}\u{1f600}\"\n\r,a".chars().cycle().take(400_000).collect();
    let body = format!("\"Id\",\"Name\"\n\"a1\",\"{}\"\n", text.replace('"', "\"\""));
    let packed = gzip(body.as_bytes());
    let headers = format!(
        "content-type: text/csv\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\nsforce-numberofrecords: 1\r\nsforce-locator: null\r\n",
        packed.len()
    );
    let server = Raw::start(vec![answer(&headers, &packed)]).await;
    let read = read_names(&connect(server.url.clone())).await.unwrap();
    assert!(read == [text], "the text has changed");
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
