//! The connector against a server that answers from a script: what goes over the wire, and what is made of odd answers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod script;

use std::sync::Arc;
use std::time::Duration;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use bytes::Bytes;
use futures::TryStreamExt;
use serde_json::json;
use syncline_connect::retry::RetryPolicy;
use syncline_connect::{Generation, GenerationState, JobState, Operation, OrgKind, ResultKind, RowDigester, Sign, Source, Target};
use syncline_domain::describe::FieldType;
use syncline_domain::{ErrorCode, FieldName};
use syncline_salesforce::Salesforce;

use script::org::{column, object, query};
use script::{Reply, Script, TestAccess};

fn policy() -> RetryPolicy {
    RetryPolicy {
        attempts_max: 3,
        delay_min: Duration::from_millis(1),
        delay_max: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(10),
        ..RetryPolicy::default()
    }
}

async fn org(replies: Vec<Reply>) -> (Script, Arc<TestAccess>, Salesforce) {
    let script = Script::start(replies).await;
    let access = Arc::new(TestAccess::new(script.url()));
    let salesforce = salesforce(&access, policy());
    (script, access, salesforce)
}

fn salesforce(access: &Arc<TestAccess>, policy: RetryPolicy) -> Salesforce {
    // A second installation in the same process is refused, which is fine: there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Salesforce::new(access.clone(), policy).unwrap()
}

const COUNT: &str = r#"{"totalSize":17,"done":true,"records":[]}"#;
const EXPIRED: &str = r#"[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]"#;
const STATE: &str = r#"[{"message":"Closing already Completed Job not allowed","errorCode":"INVALIDJOBSTATE"}]"#;
const MISSING: &str = r#"[{"errorCode":"NOT_FOUND","message":"The requested resource does not exist"}]"#;
const PAGE: &str = "<html><body>We are down for maintenance</body></html>";

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_the_request_replayed() {
    let (script, access, org) = org(vec![
        Reply::json(401, EXPIRED),
        Reply::json(200, COUNT).header("sforce-limit-info", "api-usage=18/15000"),
    ])
    .await;
    assert_eq!(org.count(&query(&[("Id", FieldType::Id)])).await, Ok(17));
    let seen = script.seen();
    assert_eq!(
        seen.iter().map(|r| r.header("authorization")).collect::<Vec<_>>(),
        ["Bearer token-0", "Bearer token-1"]
    );
    assert_eq!(seen[1].path, "/services/data/v65.0/query");
    assert_eq!(seen[1].query("q").as_deref(), Some("SELECT COUNT() FROM Account"));
    assert_eq!(seen[1].header("sforce-call-options"), "client=syncline");
    assert!(seen[1].header("accept-encoding").contains("gzip"));
    assert_eq!((org.calls(), access.permits()), (2, 2));
    assert_eq!(access.observed().map(|u| (u.used, u.max)), Some((18, 15000)));
}

#[tokio::test]
async fn a_second_refusal_is_a_matter_of_credentials() {
    let (script, _, org) = org(vec![Reply::json(401, EXPIRED), Reply::json(401, EXPIRED)]).await;
    let error = org.count(&query(&[("Id", FieldType::Id)])).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Credentials);
    assert_eq!(script.seen().len(), 2);
}

#[tokio::test]
async fn even_a_job_is_created_again_when_only_the_token_was_refused() {
    let (script, _, org) = org(vec![Reply::json(401, EXPIRED), Reply::json(200, r#"{"id":"750A","state":"Open"}"#)]).await;
    let upsert = Operation::Upsert {
        key: FieldName::new("Key__c").unwrap(),
    };
    assert_eq!(
        org.create_job(&object("Account"), &upsert).await.map(|j| j.id).as_deref(),
        Ok("750A")
    );
    assert_eq!(
        script.seen()[1].json(),
        json!({"object": "Account", "operation": "upsert", "externalIdFieldName": "Key__c",
               "contentType": "CSV", "columnDelimiter": "COMMA", "lineEnding": "LF"})
    );
}

#[tokio::test]
async fn questions_are_asked_again_and_creations_are_not() {
    let trouble = || {
        [
            Reply::html(503, PAGE),
            Reply::html(200, PAGE),
            Reply::json(500, r#"[{"errorCode":"UNKNOWN_EXCEPTION","message":"ErrorId: 1"}]"#),
            Reply::json(503, r#"[{"errorCode":"SERVER_UNAVAILABLE"}]"#),
            Reply::Hang,
        ]
    };
    for reply in trouble() {
        let (script, _, org) = org(vec![reply, Reply::json(200, COUNT)]).await;
        assert_eq!(org.count(&query(&[("Id", FieldType::Id)])).await, Ok(17));
        assert_eq!(script.seen().len(), 2);
    }
    for reply in trouble() {
        let (script, _, org) = org(vec![reply, Reply::json(200, r#"{"id":"750A","state":"Open"}"#)]).await;
        let error = org.create_job(&object("Account"), &Operation::Insert).await.unwrap_err();
        assert!(error.can_retry(), "{error}");
        assert_eq!(script.seen().len(), 1);
    }
}

#[tokio::test]
async fn tries_are_bounded() {
    let (script, _, org) = org((0..9).map(|_| Reply::html(503, PAGE)).collect()).await;
    let error = org.count(&query(&[("Id", FieldType::Id)])).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::BadAnswer);
    assert_eq!(script.seen().len(), policy().attempts_max);
}

#[tokio::test]
async fn what_cannot_pass_and_what_takes_hours_is_not_asked_again() {
    for (status, body, code) in [
        (
            403,
            r#"[{"errorCode":"REQUEST_LIMIT_EXCEEDED","message":"TotalRequests Limit exceeded."}]"#,
            ErrorCode::DailyApiLimit,
        ),
        (
            400,
            r#"[{"errorCode":"MALFORMED_QUERY","message":"unexpected token"}]"#,
            ErrorCode::Query,
        ),
        (
            403,
            r#"[{"errorCode":"API_DISABLED_FOR_ORG","message":"m"}]"#,
            ErrorCode::Permission,
        ),
    ] {
        let (script, _, org) = org(vec![Reply::json(status, body), Reply::json(200, COUNT)]).await;
        assert_eq!(org.count(&query(&[("Id", FieldType::Id)])).await.unwrap_err().code, code);
        assert_eq!(script.seen().len(), 1, "{body}");
    }
}

#[tokio::test]
async fn a_wait_that_the_server_asks_for_is_kept_or_handed_on() {
    let busy = |wait: &'static str| Reply::json(503, r#"[{"errorCode":"SERVER_UNAVAILABLE"}]"#).header("retry-after", wait);
    let (script, _, salesforce) = org(vec![busy("1"), Reply::json(200, COUNT)]).await;
    let begun = std::time::Instant::now();
    assert_eq!(salesforce.count(&query(&[("Id", FieldType::Id)])).await, Ok(17));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(script.seen().len(), 2);

    let (script, _, salesforce) = org(vec![busy("3600"), Reply::json(200, COUNT)]).await;
    let error = salesforce.count(&query(&[("Id", FieldType::Id)])).await.unwrap_err();
    assert_eq!(error.retry_after, Some(Duration::from_secs(3600)));
    assert_eq!(script.seen().len(), 1);
}

#[tokio::test]
async fn a_wait_until_a_moment_is_kept_as_well() {
    let at = chrono::Utc::now() + chrono::TimeDelta::seconds(2);
    let date = at.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let busy = Reply::json(429, "").header("retry-after", &date);
    let script = Script::start(vec![busy, Reply::json(200, COUNT)]).await;
    let patient = RetryPolicy {
        delay_max: Duration::from_secs(5),
        ..policy()
    };
    let salesforce = salesforce(&Arc::new(TestAccess::new(script.url())), patient);
    let begun = std::time::Instant::now();
    assert_eq!(salesforce.count(&query(&[("Id", FieldType::Id)])).await, Ok(17));
    // A date has no fractions of a second.
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    assert_eq!(script.seen().len(), 2);
}

#[tokio::test]
async fn the_connection_s_policy_says_what_is_tried_again_and_how_often() {
    let asked = async |replies: Vec<Reply>, policy: RetryPolicy| {
        let script = Script::start(replies).await;
        let org = salesforce(&Arc::new(TestAccess::new(script.url())), policy);
        let answer = org.count(&query(&[("Id", FieldType::Id)])).await;
        (answer.map_err(|e| e.code), script.seen().len())
    };
    let odd = || vec![Reply::json(520, ""), Reply::json(200, COUNT)];
    assert_eq!(asked(odd(), policy()).await, (Err(ErrorCode::BadAnswer), 1), "not in the list");
    let more = RetryPolicy {
        statuses: [520].into(),
        ..policy()
    };
    assert_eq!(asked(odd(), more.clone()).await, (Ok(17), 2));
    let busy = || (0..9).map(|_| Reply::json(503, "")).collect::<Vec<_>>();
    assert_eq!(asked(busy(), more).await, (Err(ErrorCode::Unreachable), 1), "no longer in the list");
    for attempts_max in [1, 4] {
        let policy = RetryPolicy { attempts_max, ..policy() };
        assert_eq!(asked(busy(), policy).await, (Err(ErrorCode::Unreachable), attempts_max));
    }
}

#[tokio::test]
async fn an_org_that_goes_silent_costs_the_request_timeout_and_waiting_for_a_permit_costs_none() {
    // It accepts and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let policy = RetryPolicy {
        attempts_max: 1,
        request_timeout: Duration::from_millis(200),
        ..policy()
    };
    let org = salesforce(&Arc::new(TestAccess::new(url)), policy.clone());
    let begun = std::time::Instant::now();
    let error = org.count(&query(&[("Id", FieldType::Id)])).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NetworkTimeout);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    let script = Script::start(vec![Reply::json(200, COUNT)]).await;
    let access = Arc::new(TestAccess::new(script.url()).permits_after(Duration::from_millis(600)));
    let org = salesforce(&access, policy);
    assert_eq!(org.count(&query(&[("Id", FieldType::Id)])).await, Ok(17));
}

#[tokio::test]
async fn every_attempt_tells_whether_the_org_is_there() {
    use Sign::{Answered, Away};
    use syncline_domain::breaker::Failure::{NoAnswer, NoConnection, ServerError};

    let unknown = r#"[{"errorCode":"UNKNOWN_EXCEPTION","message":"ErrorId: 1"}]"#;
    let query = query(&[("Id", FieldType::Id)]);
    for (replies, signs) in [
        (vec![Reply::json(200, COUNT)], vec![Answered]),
        (
            vec![Reply::json(503, ""), Reply::json(200, COUNT)],
            vec![Away(ServerError), Answered],
        ),
        (
            vec![Reply::html(503, PAGE), Reply::json(200, COUNT)],
            vec![Away(ServerError), Answered],
        ),
        (
            vec![Reply::json(500, ""), Reply::json(200, COUNT)],
            vec![Away(ServerError), Answered],
        ),
        (vec![Reply::Hang, Reply::json(200, COUNT)], vec![Away(NoAnswer), Answered]),
        (
            vec![Reply::json(200, COUNT).broken(), Reply::json(200, COUNT)],
            vec![Away(NoAnswer), Answered],
        ),
        // An org that speaks of the request is there, and so is one that is busy.
        (vec![Reply::json(500, unknown), Reply::json(200, COUNT)], vec![Answered, Answered]),
        (vec![Reply::json(429, ""), Reply::json(200, COUNT)], vec![Answered, Answered]),
        (
            vec![Reply::json(400, r#"[{"errorCode":"MALFORMED_QUERY","message":"m"}]"#)],
            vec![Answered],
        ),
        (vec![Reply::json(401, EXPIRED), Reply::json(401, EXPIRED)], vec![Answered]),
        // Longer than any pause of ours: everybody keeps it.
        (
            vec![Reply::json(429, "").header("retry-after", "90")],
            vec![Sign::Wait(Duration::from_secs(90))],
        ),
    ] {
        let (_script, access, org) = org(replies).await;
        let _ = org.count(&query).await;
        assert_eq!(access.signs(), signs);
    }
    let access = Arc::new(TestAccess::new(script::closed_address().await));
    salesforce(&access, policy()).count(&query).await.unwrap_err();
    assert_eq!(access.signs(), vec![Away(NoConnection); policy().attempts_max]);
}

#[tokio::test]
async fn a_host_that_is_not_there_is_unreachable_even_for_creations() {
    let access = Arc::new(TestAccess::new(script::closed_address().await));
    let org = salesforce(&access, policy());
    let error = org.create_job(&object("Account"), &Operation::Insert).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unreachable);
    assert_eq!(
        access.permits(),
        policy().attempts_max as u64,
        "nothing was sent, so it was tried again"
    );
}

fn results(rows: &str, locator: &str, body: &str) -> Reply {
    Reply::csv(200, body)
        .header("sforce-numberofrecords", rows)
        .header("sforce-locator", locator)
}

#[tokio::test]
async fn pages_are_read_from_locator_to_locator_byte_by_byte() {
    let (script, _, org) = org(vec![
        results("2", "MTAwMDA", "\"Id\",\"Amount\"\n\"a1\",\"1.5\"\n\"a2\",\"\"\n").bytewise(),
        results("1", "null", "\"Id\",\"Amount\"\n\"a3\",\"2\"\n").bytewise(),
    ])
    .await;
    let query = query(&[("Id", FieldType::Id), ("Amount", FieldType::Number)]);
    let generation = Generation("750A".into());
    let first = org.read(&generation, &query, None).await.unwrap();
    assert_eq!(first.next.as_deref(), Some("MTAwMDA"));
    let batches: Vec<_> = first.batches.try_collect().await.unwrap();
    assert_eq!(batches.iter().map(|b| b.num_rows()).sum::<usize>(), 2);
    let last = org.read(&generation, &query, Some("MTAwMDA")).await.unwrap();
    assert_eq!(last.next, None);
    let batches: Vec<_> = last.batches.try_collect().await.unwrap();
    assert_eq!(batches[0].column(1).as_primitive::<Decimal128Type>().value(0), 200);
    let seen = script.seen();
    assert_eq!(seen[0].path, "/services/data/v65.0/jobs/query/750A/results");
    assert_eq!(
        (seen[0].query("maxRecords").as_deref(), seen[0].query("locator")),
        (Some("100"), None)
    );
    assert_eq!(seen[1].query("locator").as_deref(), Some("MTAwMDA"));
}

#[tokio::test]
async fn pages_that_are_not_what_they_say_are_errors() {
    let whole = "\"Id\"\n\"a1\"\n\"a2\"\n";
    for (reply, code) in [
        (results("3", "null", whole), ErrorCode::BadAnswer),
        (results("2", "null", "\"Id\"\n\"a1\"\n\"a"), ErrorCode::BadAnswer),
        (results("x", "null", whole), ErrorCode::BadAnswer),
        (Reply::csv(200, whole).header("sforce-locator", "null"), ErrorCode::BadAnswer),
        (Reply::csv(200, whole).header("sforce-numberofrecords", "2"), ErrorCode::BadAnswer),
        (results("2", "null", whole).broken(), ErrorCode::NetworkTimeout),
    ] {
        let (_script, _, org) = org(vec![reply]).await;
        let query = query(&[("Id", FieldType::Id)]);
        let outcome = match org.read(&Generation("750A".into()), &query, None).await {
            Ok(page) => page.batches.try_collect::<Vec<_>>().await.map(|b| b.len()),
            Err(e) => Err(e),
        };
        assert_eq!(outcome.map_err(|e| e.code), Err(code));
    }
}

#[tokio::test]
async fn a_lost_reading_says_so() {
    for reply in [
        Reply::json(404, MISSING),
        Reply::json(400, r#"[{"errorCode":"INVALID_QUERY_LOCATOR","message":"m"}]"#),
    ] {
        let (script, _, org) = org(vec![reply]).await;
        let query = query(&[("Id", FieldType::Id)]);
        let Err(error) = org.read(&Generation("750A".into()), &query, None).await else {
            panic!("a page of nothing")
        };
        assert!(error.gone, "{error}");
        assert_eq!(script.seen().len(), 1, "what is gone stays gone");
    }
}

#[tokio::test]
async fn a_query_job_is_opened_watched_and_closed() {
    let (script, _, org) = org(vec![
        Reply::json(200, r#"{"id":"750A","state":"UploadComplete","novelty":1}"#),
        Reply::json(200, r#"{"id":"750A","state":"InProgress"}"#),
        Reply::json(200, r#"{"id":"750A","state":"JobComplete","numberRecordsProcessed":42}"#),
        Reply::json(
            200,
            r#"{"id":"750A","state":"Failed","errorMessage":"InvalidBatch : Field name not found : Nmae"}"#,
        ),
        Reply::json(404, MISSING),
        Reply::json(204, ""),
        Reply::json(404, MISSING),
        Reply::json(400, STATE),
        Reply::json(200, r#"{"id":"750A","state":"Aborted"}"#),
        Reply::json(204, ""),
    ])
    .await;
    let generation = org.open(&query(&[("Id", FieldType::Id)])).await.unwrap();
    assert_eq!(generation.0, "750A");
    assert_eq!(org.state(&generation).await, Ok(GenerationState::Running));
    assert_eq!(org.state(&generation).await, Ok(GenerationState::Ready { records: 42 }));
    match org.state(&generation).await {
        Ok(GenerationState::Failed(e)) => assert_eq!(e.code, ErrorCode::FieldMissing),
        other => panic!("{other:?}"),
    }
    assert!(org.state(&generation).await.unwrap_err().gone);
    assert_eq!(org.close(&generation).await, Ok(()));
    assert_eq!(org.close(&generation).await, Ok(()), "gone already");
    assert_eq!(org.close(&generation).await, Ok(()), "aborted first");
    let seen = script.seen();
    assert_eq!(seen[0].json()["query"], "SELECT Id FROM Account");
    let methods: Vec<&str> = seen[5..].iter().map(|r| r.method.as_str()).collect();
    assert_eq!(methods, ["DELETE", "DELETE", "DELETE", "PATCH", "DELETE"]);
    assert!(org.state(&Generation("../../x".into())).await.is_err(), "no id, no path");
    assert_eq!(script.seen().len(), 10);
}

#[tokio::test]
async fn an_upload_has_its_length_and_every_byte_in_order() {
    let (script, _, org) = org(vec![Reply::json(401, EXPIRED), Reply::json(201, "")]).await;
    let chunks = vec![Bytes::from_static(b"Name\n"), Bytes::new(), Bytes::from_static("ü\n".as_bytes())];
    assert_eq!(org.upload("750A", chunks).await, Ok(()));
    for request in script.seen() {
        assert_eq!(request.path, "/services/data/v65.0/jobs/ingest/750A/batches");
        assert_eq!(request.header("content-type"), "text/csv");
        assert_eq!(request.header("content-length"), "8");
        assert_eq!(request.header("transfer-encoding"), "");
        assert_eq!(request.body, "Name\nü\n".as_bytes());
    }
}

#[tokio::test]
async fn closing_twice_and_aborting_what_is_done_are_fine() {
    let job = |state: &str| Reply::json(200, &format!(r#"{{"id":"750A","state":"{state}"}}"#));
    let (_script, _, salesforce) = org(vec![
        job("UploadComplete"),
        Reply::json(400, STATE),
        job("JobComplete"),
        Reply::json(400, STATE),
        job("Aborted"),
        Reply::json(400, STATE),
        job("JobComplete"),
        Reply::json(404, MISSING),
        Reply::json(404, MISSING),
    ])
    .await;
    assert_eq!(salesforce.close_job("750A").await, Ok(()));
    assert_eq!(salesforce.close_job("750A").await, Ok(()), "complete by now");
    assert!(salesforce.close_job("750A").await.is_err(), "aborted");
    assert_eq!(salesforce.abort_job("750A").await, Ok(()), "complete by now");
    let error = salesforce.close_job("750A").await.unwrap_err();
    assert!(error.gone && error.code == ErrorCode::ResultsGone);
    assert_eq!(salesforce.delete_job("750A").await, Ok(()), "gone already");
}

#[tokio::test]
async fn a_job_s_status_tells_its_state_and_why_it_failed() {
    let (_script, _, org) = org(vec![
        Reply::json(
            200,
            r#"{"id":"750A","state":"JobComplete","numberRecordsProcessed":10,"numberRecordsFailed":2}"#,
        ),
        Reply::json(200, r#"{"id":"750A","state":"Failed","errorMessage":"TooManyLockFailure : x"}"#),
        Reply::json(200, r#"{"id":"750A","state":"Daydreaming"}"#),
        Reply::json(200, r#"{"id":"750A","state":"Daydreaming"}"#),
        Reply::json(404, MISSING),
    ])
    .await;
    let status = org.job_status("750A").await.unwrap();
    assert_eq!(
        (status.state, status.processed, status.failed, status.error),
        (JobState::Complete, 10, 2, None)
    );
    let status = org.job_status("750A").await.unwrap();
    assert_eq!(status.error.map(|e| e.code), Some(ErrorCode::RowLocked));
    assert_eq!(org.job_status("750A").await.unwrap_err().code, ErrorCode::BadAnswer);
    assert_eq!(org.job_status("750A").await.unwrap_err().code, ErrorCode::BadAnswer);
    assert!(org.job_status("750A").await.unwrap_err().gone);
}

#[tokio::test]
async fn results_come_as_digests_and_outcomes() {
    let (script, _, org) = org(vec![
        Reply::csv(200, "\"sf__Id\",\"sf__Created\",Name\n\"001A\",\"true\",\"a\"\n").bytewise(),
        Reply::csv(200, "\"sf__Id\",\"sf__Error\",Name\n\"\",\"DUPLICATE_VALUE:dup:Key__c --\",\"b\"\n"),
        Reply::csv(200, "Name\n"),
        Reply::json(404, MISSING),
    ])
    .await;
    let columns = [column("Name", FieldType::String)];
    let digester = RowDigester::new([1; 32]);
    let fetch = async |kind| {
        let rows = org.results("750A", kind, &columns, &digester).await?;
        rows.try_concat().await
    };
    let written = fetch(ResultKind::Successful).await.unwrap();
    assert_eq!(written[0].digest, digester.digest([(FieldType::String, Some("a"))].into_iter()));
    assert!(written[0].created && written[0].id == "001A");
    let refused = fetch(ResultKind::Failed).await.unwrap();
    assert_eq!(refused[0].refusal.as_ref().map(|r| r.code), Some(ErrorCode::Duplicate));
    assert_eq!(fetch(ResultKind::Unprocessed).await, Ok(vec![]));
    let gone = fetch(ResultKind::Successful).await.unwrap_err();
    assert!(gone.gone && gone.code == ErrorCode::ResultsGone);
    assert_eq!(script.seen()[2].path, "/services/data/v65.0/jobs/ingest/750A/unprocessedrecords/");
}

#[tokio::test]
async fn only_our_own_recent_jobs_are_listed() {
    let job = |id: &str, user: &str, created: &str| json!({"id": id, "state": "Open", "object": "Account", "createdById": user, "createdDate": created});
    let (script, _, org) = org(vec![
        Reply::json(200, r#"{"user_id":"005A00000000001AAA"}"#),
        Reply::json(
            200,
            &json!({"done": false, "nextRecordsUrl": "/services/data/v65.0/jobs/ingest?queryLocator=01g-1", "records": [
                job("7501", "005A00000000001AAA", "2025-11-20T11:00:00.000+0000"),
                job("7502", "005A00000000002AAA", "2025-11-20T11:00:00.000+0000"),
                job("7503", "005A00000000001AAA", "2025-11-19T11:00:00.000+0000")]})
            .to_string(),
        ),
        Reply::json(
            200,
            &json!({"done": true, "nextRecordsUrl": null, "records": [job("7504", "005A00000000001", "2025-11-20T12:00:00.000+0000")]})
                .to_string(),
        ),
        Reply::json(200, r#"{"done":true,"records":[],"nextRecordsUrl":"https://elsewhere.example/x"}"#),
    ])
    .await;
    let since = "2025-11-20T00:00:00Z".parse().unwrap();
    let ids: Vec<String> = org.list_jobs(since).await.unwrap().into_iter().map(|j| j.id).collect();
    assert_eq!(ids, ["7501", "7504"]);
    assert_eq!(script.seen()[2].query("queryLocator").as_deref(), Some("01g-1"));
    assert_eq!(
        org.list_jobs(since).await.unwrap_err().code,
        ErrorCode::BadAnswer,
        "the token stays with the org"
    );
}

#[tokio::test]
async fn the_org_tells_who_it_is_and_what_time_it_has() {
    let record = r#"{"totalSize":1,"done":true,"records":[{"attributes":{},"Id":"00DA","Name":"UAT","IsSandbox":true,"OrganizationType":"Unlimited Edition","TrialExpirationDate":null}]}"#;
    let bare = r#"{"records":[{"Id":"00DB"}]}"#;
    let date = "Thu, 20 Nov 2025 11:28:31 GMT";
    let (_script, _, org) = org(vec![
        Reply::json(200, record).header("date", date),
        Reply::json(200, bare).header("date", date),
        Reply::json(200, r#"{"records":[]}"#).header("date", date),
    ])
    .await;
    let info = org.org().await.unwrap();
    assert_eq!((info.id.as_str(), info.name.as_str(), info.kind), ("00DA", "UAT", OrgKind::Sandbox));
    assert_eq!(info.now.to_rfc3339(), "2025-11-20T11:28:31+00:00");
    assert_eq!(
        org.org().await.map(|i| i.kind),
        Ok(OrgKind::Production),
        "what is not known is guarded"
    );
    assert_eq!(org.org().await.unwrap_err().code, ErrorCode::BadAnswer);
}

#[tokio::test]
async fn look_ups_follow_pages_and_parents() {
    let (script, _, org) = org(vec![
        Reply::json(
            200,
            r#"{"totalSize":2,"done":false,"nextRecordsUrl":"/services/data/v65.0/query/01g-1","records":[{"Id":"1","Pricebook2":{"IsStandard":true}}]}"#,
        ),
        Reply::json(200, r#"{"totalSize":2,"done":true,"records":[{"Id":"2","Pricebook2":null}]}"#),
    ])
    .await;
    let rows = org
        .lookup(&object("PricebookEntry"), &["Id", "Pricebook2.IsStandard"], Some("IsActive = true"))
        .await;
    let text = |t: &str| Some(t.to_owned());
    assert_eq!(rows, Ok(vec![vec![text("1"), text("true")], vec![text("2"), None]]));
    assert_eq!(script.seen()[1].path, "/services/data/v65.0/query/01g-1");
}

#[tokio::test]
async fn records_are_retrieved_in_chunks_without_losing_a_digit() {
    let missing = ",null".repeat(1_998);
    let first = r#"[{"attributes":{"type":"Account"},"Id":"1","Name":"a \"b\" \u00fc","Amount":123456789012345678.12,"At":"2025-11-20T11:28:31.000+0000"},{"Id":"3","Name":null,"Amount":null,"At":null}"#;
    let (script, _, org) = org(vec![Reply::json(200, &format!("{first}{missing}]")), Reply::json(200, "[null]")]).await;
    let columns = [
        column("Name", FieldType::String),
        column("Amount", FieldType::Number),
        column("At", FieldType::DateTime),
    ];
    let ids: Vec<String> = (0..2_001).map(|i| format!("{i:018}")).collect();
    let batch = org.retrieve(&object("Account"), &ids, &columns).await.unwrap();
    assert_eq!(batch.schema(), org.retrieve_schema(&columns));
    assert_eq!(batch.num_rows(), 2);
    assert_eq!(batch.column(1).as_string::<i32>().value(0), "a \"b\" ü");
    assert_eq!(
        batch.column(2).as_primitive::<Decimal128Type>().value(0),
        12_345_678_901_234_567_812
    );
    assert!(batch.column(1).is_null(1) && batch.column(3).is_null(1));
    let seen = script.seen();
    assert_eq!(seen[0].json()["ids"].as_array().map(Vec::len), Some(2_000));
    assert_eq!(seen[1].json()["ids"].as_array().map(Vec::len), Some(1));
    assert_eq!(seen[0].json()["fields"], json!(["Id", "Name", "Amount", "At"]));
    let empty = org.retrieve(&object("Account"), &[], &columns).await.unwrap();
    assert_eq!(empty.num_rows(), 0);
}

#[tokio::test]
async fn describes_answer_in_the_order_asked_and_none_for_what_is_not_seen() {
    let (_script, _, org) = org(vec![Reply::json(404, MISSING)]).await;
    assert_eq!(org.describe(&[object("Ghost__c")]).await, Ok(vec![None]));
    assert_eq!(org.describe(&[]).await, Ok(vec![]));
}

#[tokio::test]
async fn limits_are_read_whatever_else_stands_there() {
    let (_script, _, org) = org(vec![Reply::json(
        200,
        r#"{"DailyApiRequests":{"Max":15000,"Remaining":14999,"App":{"Max":0,"Remaining":0}},"Odd":"x"}"#,
    )])
    .await;
    let limits = org.limits().await.unwrap();
    assert_eq!(limits.get("DailyApiRequests").map(|l| (l.max, l.remaining)), Some((15000, 14999)));
    assert_eq!(limits.len(), 1);
}
