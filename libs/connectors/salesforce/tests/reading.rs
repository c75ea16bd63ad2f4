//! Readings of an org: by jobs, by queries, in parts, with faults in between.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod simulated;

use std::time::Instant;

use arrow_array::RecordBatch;
use futures::TryStreamExt;
use serde_json::json;
use syncline_connect::{ConnectError, GenerationState, Hints, OrgKind, Query, Source};
use syncline_domain::ErrorCode;
use syncline_domain::describe::FieldType;
use syncline_salesforce_simulator::{Org, OrgConfig};

use simulated::{DEADLINE, connect, fault, ids, object, plan, production, read, read_all, ready, rows, rows_of, sandbox, sorted_rows};

#[tokio::test]
async fn an_org_tells_who_it_is_what_it_has_and_what_is_left() {
    let (prod, uat) = (production(), sandbox(&[]));
    let ((source, access), (target, _)) = (connect(&prod), connect(&uat));
    let info = source.org().await.unwrap();
    assert_eq!((info.id, info.kind), (prod.org_id.clone(), OrgKind::Production));
    assert_eq!(target.org().await.unwrap().kind, OrgKind::Sandbox);
    let mut query = plan(&source, "Contact").await;
    assert_eq!(source.count(&query).await, Ok(prod.count("Contact") as u64));
    query.created_before = Some("2000-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(source.count(&query).await, Ok(0));
    let described = source
        .describe(&[object("Ghost__c"), object("Opportunity"), object("User")])
        .await
        .unwrap();
    assert!(described[0].is_none());
    let opportunity = described[1].as_ref().unwrap();
    assert_eq!(opportunity.field("Amount").map(|f| f.field_type), Some(FieldType::Number));
    assert!(opportunity.field("Name").unwrap().required());
    let again = source.describe(&[object("Opportunity")]).await.unwrap();
    assert_eq!(again[0].as_ref().map(|o| &o.hash), Some(&opportunity.hash));
    let users = source
        .lookup(&object("User"), &["Id", "Username", "Profile.Name"], Some("IsActive = true"))
        .await
        .unwrap();
    assert!(
        users
            .iter()
            .any(|u| u[0].as_deref() == Some(&prod.user_id) && u[1].as_deref() == Some(&prod.username))
    );
    assert!(users.iter().any(|u| u[2].is_some()));
    assert!(source.limits().await.unwrap().contains_key("DailyApiRequests"));
    assert!(!access.used.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_reading_survives_expired_tokens_maintenance_and_cut_pages() {
    let prod = production();
    let (source, _) = connect(&prod);
    let query = plan(&source, "Contact").await;
    let generation = source.open(&query).await.unwrap();
    assert_eq!(ready(&source, &generation).await, prod.count("Contact") as u64);
    let (calm, broken) = read(&source, &generation, &query).await;
    assert_eq!(
        (rows(&calm), ids(&calm).len(), broken),
        (prod.count("Contact"), prod.count("Contact"), 0)
    );
    assert!(calm.len() > 1, "more than one batch, or cuts are not seen");

    prod.state.auth.expire_all(false);
    // The rules are used up in this order; the request after the first meets the expired token.
    for (skip, kind) in [(0, "html503"), (1, "truncate"), (0, "cut"), (0, "cut_after"), (1, "truncate")] {
        fault(&prod, json!({"method": "GET", "path": "/results", "skip": skip, "kind": kind}));
    }
    let (stormy, _) = read(&source, &generation, &query).await;
    assert_eq!(stormy, calm, "the same cursors give the same batches");
    assert_eq!(prod.state.faults.take("GET", "/results"), None, "every fault was met");

    source.close(&generation).await.unwrap();
    source.close(&generation).await.unwrap();
    let Err(lost) = source.read(&generation, &query, None).await else {
        panic!("a closed reading can be read")
    };
    assert!(lost.gone, "{lost}");
}

#[tokio::test]
async fn whose_the_token_is_can_be_asked_with_one_that_was_revoked() {
    let prod = production();
    let (first, _) = connect(&prod);
    let user = first.user().await.unwrap().to_owned();
    let (source, _) = connect(&prod);
    source.limits().await.unwrap();
    prod.state.auth.expire_all(false);
    assert_eq!(source.user().await, Ok(user.as_str()));
}

#[tokio::test]
async fn a_filter_is_applied_and_a_wrong_one_is_the_operator_s() {
    let prod = production();
    let (source, _) = connect(&prod);
    let mut query = plan(&source, "Contact").await;
    query.filter = Some("DoNotCall = true OR DoNotCall = false".into());
    query.created_before = Some(source.org().await.unwrap().now + chrono::Duration::days(1));
    let generation = source.open(&query).await.unwrap();
    assert_eq!(ready(&source, &generation).await, prod.count("Contact") as u64);
    query.filter = Some("Nmae = 'x'".into());
    let begun = Instant::now();
    let code = match source.open(&query).await {
        Err(e) => e.code,
        Ok(generation) => loop {
            assert!(begun.elapsed() < DEADLINE, "the query job does not end");
            match source.state(&generation).await.unwrap() {
                GenerationState::Failed(e) => break e.code,
                GenerationState::Ready { .. } => panic!("a field that is not there was found"),
                GenerationState::Running => {}
            }
        },
    };
    assert_eq!(code, ErrorCode::FieldMissing);
    assert_eq!(source.count(&query).await.unwrap_err().code, ErrorCode::FieldMissing);
}

#[tokio::test]
async fn few_records_are_read_without_a_job_and_give_the_same_values() {
    let org = production();
    let (source, _) = connect(&org);
    let query = plan(&source, "Account").await;
    let records = source.count(&query).await.unwrap();
    let hints = Hints {
        records: Some(records),
        parts: 1,
    };
    let before = source.calls();
    let small = source.open_with(&query, &hints).await.unwrap();
    let by_query = read_all(&source, &small, &query).await;
    source.close(&small).await.unwrap();
    assert!(source.calls() - before <= 2 + records.div_ceil(200), "{}", source.calls() - before);
    assert_eq!(rows_of(&by_query), records);
    let job = source.open(&query).await.unwrap();
    let by_job = read_all(&source, &job, &query).await;
    assert_eq!(sorted_rows(&by_query), sorted_rows(&by_job));
}

#[tokio::test]
async fn a_reading_in_parts_has_every_record_once() {
    let org = production();
    let (source, _) = connect(&org);
    let query = plan(&source, "Contact").await;
    let whole = source.open(&query).await.unwrap();
    let whole = read_all(&source, &whole, &query).await;
    for parts in [2, 5, 64] {
        let generation = source.open_with(&query, &Hints { records: None, parts }).await.unwrap();
        assert_eq!(source.parts(&generation), parts);
        let read = read_all(&source, &generation, &query).await;
        assert_eq!(sorted_rows(&read), sorted_rows(&whole), "{parts} parts");
        source.close(&generation).await.unwrap();
    }
    // What cannot be cut is read in one piece.
    let ordered = Query {
        order_by: Some("Name".into()),
        ..query
    };
    let generation = source.open_with(&ordered, &Hints { records: None, parts: 4 }).await.unwrap();
    assert_eq!(source.parts(&generation), 1);
}

#[tokio::test]
async fn pages_beside_each_other_give_what_pages_in_a_row_give() {
    let org = Org::start(OrgConfig {
        scale: Some(3_000),
        bulk_page_rows: 100,
        ..OrgConfig::default()
    })
    .unwrap();
    let (source, _) = connect(&org);
    let query = plan(&source, "Contact").await;
    for hints in [Hints::default(), Hints { records: None, parts: 3 }] {
        let generation = source.open_with(&query, &hints).await.unwrap();
        let in_a_row = read_all(&source, &generation, &query).await;
        for at_once in [1, 4] {
            let batches: Vec<RecordBatch> = source
                .read_all(&generation, &query, at_once)
                .await
                .unwrap()
                .try_collect()
                .await
                .unwrap();
            let rows = |batches: &[RecordBatch]| arrow_select::concat::concat_batches(&batches[0].schema(), batches).unwrap();
            assert!(rows_of(&batches) > 300, "several pages");
            assert_eq!(rows(&batches), rows(&in_a_row), "{hints:?}, {at_once} at once");
        }
    }
    // A page that breaks off however often it is asked for ends the reading with an error, wherever it stands.
    let generation = source.open(&query).await.unwrap();
    read_all(&source, &generation, &query).await;
    fault(
        &org,
        json!({"kind": "truncate", "method": "GET", "path": "/results", "skip": 1, "times": 100}),
    );
    let broken: Result<Vec<RecordBatch>, ConnectError> = source.read_all(&generation, &query, 4).await.unwrap().try_collect().await;
    let error = broken.map(|batches| rows_of(&batches)).unwrap_err();
    assert_eq!(error.code, ErrorCode::NetworkTimeout);
}
