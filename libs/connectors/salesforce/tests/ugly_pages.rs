//! Pages of a reading as no documentation promises them: the right records, or an error that says where.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod script;

use std::collections::VecDeque;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use syncline_connect::Source;
use syncline_domain::ErrorCode;
use syncline_domain::describe::FieldType;
use syncline_salesforce::Salesforce;
use syncline_salesforce::csv_read::PageDecoder;

use script::Reply;
use script::org::{connect, org, page, query, read, read_all};
use script::raw::{Raw, answer, cut, gzip};

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
