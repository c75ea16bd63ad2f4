//! The connector over answers that real orgs gave, served back byte for byte: right values and typed errors.
//!
//! Every recording that is an answer to something the connector asks is here; `tests/conformance/recordings` holds them
//! and says where they are from.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod script;

use std::path::PathBuf;

use futures::TryStreamExt;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use syncline_connect::{GenerationState, JobState, Operation, OrgKind, ResultKind, RowDigester, Source, Target};
use syncline_domain::ErrorCode;
use syncline_domain::describe::FieldType;
use syncline_salesforce::oauth::{Grant, authenticate};
use syncline_salesforce::{Salesforce, http_client};

use script::org::{column, generation, object, org, policy, query, read};
use script::{Reply, Script};

/// A recorded request and its answer, whose bytes are kept.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exchange {
    uri: String,
    status: u16,
    response_body: Box<RawValue>,
}

fn recording(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../tests/conformance/recordings");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn restforce(name: &str) -> String {
    recording(&format!("restforce/{name}_response.json"))
}

fn exchanges() -> Vec<Exchange> {
    let lines = recording("http-interactions.cumulusci.jsonl");
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn soql(exchange: &Exchange) -> Option<String> {
    let url = url::Url::parse(&exchange.uri).unwrap();
    let is_query = url.path().contains("/query");
    url.query_pairs().find(|(k, _)| is_query && k == "q").map(|(_, v)| v.into_owned())
}

/// Object and fields of a query of plain fields.
fn plain(soql: &str) -> Option<(String, Vec<String>)> {
    let lower = soql.to_ascii_lowercase();
    let from = lower.find(" from ")?;
    let fields: Vec<String> = soql.get("select ".len()..from)?.split(',').map(|f| f.trim().to_owned()).collect();
    let is_name = |f: &String| f.bytes().all(|b| b.is_ascii_alphanumeric());
    let object = soql.get(from + 6..)?.split_whitespace().next()?.to_owned();
    fields.iter().all(is_name).then_some((object, fields))
}

/// What a field of the recorded record must become.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[tokio::test]
async fn every_recorded_query_gives_its_records() {
    let mut queries = 0;
    for exchange in exchanges() {
        let Some((name, fields)) = soql(&exchange).and_then(|q| plain(&q)) else {
            continue;
        };
        queries += 1;
        let body = exchange.response_body.get();
        let (_script, salesforce) = org(vec![Reply::json(exchange.status, body)]).await;
        let paths: Vec<&str> = fields.iter().map(String::as_str).collect();
        let rows = salesforce.lookup(&object(&name), &paths, None).await.unwrap();
        let recorded: Value = serde_json::from_str(body).unwrap();
        let expected: Vec<Vec<Option<String>>> = recorded["records"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| fields.iter().map(|f| text(&record[f])).collect())
            .collect();
        assert_eq!(rows, expected, "{}", exchange.uri);
    }
    assert_eq!(queries, 29, "recorded queries of plain fields");
}

#[tokio::test]
async fn recorded_counts_are_counted() {
    let mut counts = Vec::new();
    for exchange in exchanges() {
        let composite: Value = serde_json::from_str(exchange.response_body.get()).unwrap();
        for part in composite["compositeResponse"].as_array().into_iter().flatten() {
            let body = &part["body"];
            if body.get("totalSize").is_none() || body["records"] != json!([]) {
                continue;
            }
            let (_script, salesforce) = org(vec![Reply::json(200, &body.to_string())]).await;
            counts.push(salesforce.count(&query(&[("Id", FieldType::Id)])).await.unwrap());
        }
    }
    assert_eq!(counts, [0, 0, 0, 17, 17, 0]);
}

#[tokio::test]
async fn a_recorded_object_that_does_not_exist_is_named_with_its_place() {
    let all = exchanges();
    let answers: Vec<Value> = all.iter().map(|e| serde_json::from_str(e.response_body.get()).unwrap()).collect();
    let parts = answers.iter().flat_map(|a| a["compositeResponse"].as_array().into_iter().flatten());
    let mut seen = Vec::new();
    for part in parts.filter(|p| p["httpStatusCode"].as_u64() >= Some(400)) {
        let status = u16::try_from(part["httpStatusCode"].as_u64().unwrap()).unwrap();
        let reply = Reply::json(status, &part["body"].to_string());
        let (_script, salesforce) = org(vec![reply]).await;
        let error = salesforce.count(&query(&[("Id", FieldType::Id)])).await.unwrap_err();
        seen.push((error.code, error.native.unwrap(), error.message));
    }
    assert_eq!(
        seen,
        [
            (
                ErrorCode::ObjectMissing,
                "NOT_FOUND".to_owned(),
                "GET query: HTTP 404 NOT_FOUND".to_owned()
            ),
            (
                ErrorCode::ObjectMissing,
                "INVALID_TYPE".to_owned(),
                "GET query: HTTP 400 INVALID_TYPE `XYZZY` at row 1, column 21".to_owned()
            ),
        ]
    );
}

#[tokio::test]
async fn recorded_describes_are_read() {
    let mut names = Vec::new();
    for exchange in exchanges() {
        let answer: Value = serde_json::from_str(exchange.response_body.get()).unwrap();
        for part in answer["compositeResponse"].as_array().into_iter().flatten() {
            if part["body"].get("fields").is_none() {
                continue;
            }
            let (_script, salesforce) = org(vec![Reply::json(200, &part["body"].to_string())]).await;
            let name = part["body"]["name"].as_str().unwrap();
            let described = salesforce.describe(&[object(name)]).await.unwrap().remove(0).unwrap();
            let fields = part["body"]["fields"].as_array().unwrap().len();
            assert_eq!((described.name.as_str(), described.fields.len()), (name, fields));
            names.push(name.to_owned());
        }
    }
    assert_eq!(
        names,
        [
            "Account",
            "Opportunity",
            "Account",
            "Contact",
            "PermissionSet",
            "Opportunity",
            "Campaign"
        ]
    );
}

#[tokio::test]
async fn the_recorded_org_is_a_scratch_org() {
    let record = recording("Organization.record.json");
    let body = format!(r#"{{"totalSize":1,"done":true,"records":[{record}]}}"#);
    let (_script, salesforce) = org(vec![Reply::json(200, &body).header("date", "Thu, 17 Mar 2022 16:21:26 GMT")]).await;
    let info = salesforce.org().await.unwrap();
    assert_eq!(
        (info.id.as_str(), info.name.as_str(), info.kind),
        ("00D0xORGID00000000", "CumulusCI - Dev Workspace", OrgKind::Scratch)
    );
}

#[tokio::test]
async fn recorded_limits_are_read_with_whatever_they_nest() {
    let (_script, salesforce) = org(vec![Reply::json(200, &recording("limits.v65.json"))]).await;
    let limits = salesforce.limits().await.unwrap();
    let recorded: Value = serde_json::from_str(&recording("limits.v65.json")).unwrap();
    assert_eq!(limits.len(), recorded.as_object().unwrap().len());
    let daily = limits["DailyApiRequests"];
    assert_eq!((daily.max, daily.remaining), (115_000, 114_962));
}

#[tokio::test]
async fn recorded_pages_are_followed_to_their_end() {
    let (script, salesforce) = org(vec![
        Reply::json(200, &restforce("query_paginated_first_page")),
        Reply::json(200, &restforce("query_paginated_last_page")),
    ])
    .await;
    let rows = salesforce.lookup(&object("Whizbang"), &["Text_Label"], None).await.unwrap();
    let page = |text: &str| vec![Some(text.to_owned())];
    assert_eq!(rows, [page("First Page"), page("Last Page")]);
    assert_eq!(
        script.seen()[1].path,
        "/services/data/v26.0/query/01gD",
        "the page is asked for where the org said"
    );
    let (_script, salesforce) = org(vec![Reply::json(200, &restforce("query_empty"))]).await;
    assert_eq!(salesforce.lookup(&object("Whizbang"), &["Id"], None).await, Ok(vec![]));
}

#[tokio::test]
async fn a_recorded_job_goes_from_its_creation_to_its_results() {
    let csv = |name: &str| serde_json::from_str::<String>(&restforce(name)).unwrap();
    let (script, salesforce) = org(vec![
        Reply::json(200, &restforce("bulk2_create_job_success")),
        Reply::json(201, ""),
        Reply::json(200, &restforce("bulk2_close_job_success")),
        Reply::json(200, &restforce("bulk2_check_status_success")),
        Reply::csv(200, &csv("bulk2_success_results_success")),
        Reply::csv(200, &csv("bulk2_failed_results_success")),
    ])
    .await;
    let job = salesforce.create_job(&object("Account"), &Operation::Insert).await.unwrap().id;
    assert_eq!(job, "0123456789ABC");
    salesforce.upload(&job, vec!["Name\nFoo Bar\nBizz Buzz\n".into()]).await.unwrap();
    salesforce.close_job(&job).await.unwrap();
    assert_eq!(salesforce.job_status(&job).await.unwrap().state, JobState::Complete);
    let digester = RowDigester::new([3; 32]);
    let rows = async |kind| {
        let rows = salesforce
            .results(&job, kind, &[column("Name", FieldType::String)], &digester)
            .await?;
        rows.try_concat().await
    };
    let digest = |name| digester.digest([(FieldType::String, Some(name))].into_iter());
    let written = rows(ResultKind::Successful).await.unwrap();
    let told: Vec<_> = written.iter().map(|r| (r.digest, r.id.as_str(), r.created)).collect();
    assert_eq!(
        told,
        [
            (digest("Foo Bar"), "0012f000007uKgsAAE", true),
            (digest("Bizz Buzz"), "0012f000007uKgtAAE", true)
        ]
    );
    let refused = rows(ResultKind::Failed).await.unwrap();
    let told: Vec<_> = refused
        .iter()
        .map(|r| (r.digest, r.refusal.as_ref().map(|f| (f.code, f.native.as_str()))))
        .collect();
    let refusal = Some((ErrorCode::TargetRefused, "UNRECOGNISED"));
    assert_eq!(told, [(digest("Foo Bar"), refusal), (digest("Bizz Buzz"), refusal)]);
    assert_eq!(script.seen().len(), 6);
}

#[tokio::test]
async fn the_same_recordings_serve_a_query_job() {
    let (_script, salesforce) = org(vec![
        Reply::json(200, &restforce("bulk2_create_job_success")),
        Reply::json(200, &restforce("bulk2_check_status_success")),
    ])
    .await;
    let job = salesforce.open(&query(&[("Id", FieldType::Id)])).await.unwrap();
    assert_eq!(salesforce.state(&job).await, Ok(GenerationState::Ready { records: 0 }));
}

/// Each as the answer to a question, with the status that the fact sheet gives it.
#[tokio::test]
async fn recorded_errors_have_their_entry_in_the_catalogue() {
    for (name, status, code, native) in [
        ("search_error", 400, ErrorCode::TargetRefused, "MALFORMED_SEARCH"),
        ("write_error", 400, ErrorCode::FieldMissing, "INVALID_FIELD"),
        ("delete_error", 404, ErrorCode::ObjectMissing, "NOT_FOUND"),
        ("composite_sobjects_error", 400, ErrorCode::FieldMissing, "INVALID_FIELD"),
        (
            "composite_sobjects_destroy_bad_request",
            400,
            ErrorCode::RequiredValue,
            "REQUIRED_FIELD_MISSING",
        ),
        ("upsert_multiple_error", 300, ErrorCode::Duplicate, "DUPLICATE_EXTERNAL_ID"),
    ] {
        let (_script, salesforce) = org(vec![Reply::json(status, &restforce(name))]).await;
        let error = salesforce.count(&query(&[("Id", FieldType::Id)])).await.unwrap_err();
        assert_eq!((error.code, error.native.as_deref()), (code, Some(native)), "{name}");
    }
    let (_script, salesforce) = org(vec![Reply::json(400, &restforce("write_error"))]).await;
    let error = salesforce.count(&query(&[("Id", FieldType::Id)])).await.unwrap_err();
    assert!(error.message.contains("`foo`"), "{error}");
}

#[tokio::test]
async fn the_recorded_expired_session_is_renewed() {
    let expired = || Reply::json(401, &restforce("expired_session"));
    let whole = script::org::page(1, "null", "\"Id\"\n\"a1\"\n");
    let (script, salesforce) = org(vec![expired(), whole]).await;
    let (_, batches) = read(&salesforce, &query(&[("Id", FieldType::Id)]), None).await.unwrap();
    assert_eq!(batches[0].num_rows(), 1);
    assert_ne!(script.seen()[0].header("authorization"), script.seen()[1].header("authorization"));
    let (_script, salesforce) = org(vec![expired(), expired()]).await;
    assert_eq!(salesforce.state(&generation()).await.unwrap_err().code, ErrorCode::Credentials);
}

#[tokio::test]
async fn recorded_refusals_of_the_token_endpoint_are_matters_of_credentials() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for (name, told) in [
        ("auth_error", "token endpoint: invalid_grant (authentication failure)"),
        ("refresh_error", "token endpoint: invalid_grant (expired access/refresh token)"),
    ] {
        let script = Script::start(vec![Reply::json(400, &restforce(name))]).await;
        let grant = Grant::RefreshToken {
            client_id: "id".into(),
            client_secret: None,
            refresh_token: SecretString::from("t"),
        };
        let error = authenticate(&http_client(&policy()).unwrap(), &script.url(), &grant)
            .await
            .unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::Credentials, told));
    }
}

/// The recorded network failure.
#[tokio::test]
async fn a_recorded_failure_without_a_body_is_asked_again() {
    let failed = exchanges().into_iter().find(|e| e.status == 500).unwrap();
    let reply = || Reply::json(failed.status, &serde_json::from_str::<String>(failed.response_body.get()).unwrap());
    let (script, salesforce): (Script, Salesforce) =
        org(vec![reply(), Reply::json(200, r#"{"totalSize":1,"done":true,"records":[]}"#)]).await;
    assert_eq!(salesforce.count(&query(&[("Id", FieldType::Id)])).await, Ok(1));
    assert_eq!(script.seen().len(), 2);
}
