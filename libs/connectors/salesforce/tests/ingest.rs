//! Whole ingest jobs against an org: what was written, changed, refused, and what a lost answer leaves.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod simulated;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{BooleanArray, RecordBatch};
use serde_json::json;
use syncline_connect::digest::RowDigest;
use syncline_connect::{JobState, Nulls, Operation, ResultKind, RowDigester, Source, Target};
use syncline_domain::describe::FieldType;
use syncline_domain::{ErrorCode, FieldName};

use simulated::{batch, column, columns, connect, fault, object, outcomes, plan, production, read, ready, run, sandbox, texts, without_id};

#[tokio::test]
async fn what_was_written_is_recognised_by_digest_and_reads_back_the_same() {
    let prod = production();
    let uat = sandbox(&["Contact: HasOptedOutOfEmail = true => no calls: value"]);
    let ((source, _), (target, _)) = (connect(&prod), connect(&uat));
    let query = plan(&source, "Contact").await;
    let generation = source.open(&query).await.unwrap();
    ready(&source, &generation).await;
    let (batches, _) = read(&source, &generation, &query).await;
    let batches: Vec<RecordBatch> = batches.iter().map(without_id).collect();
    let columns = columns(&query);
    let digester = RowDigester::new([9; 32]);
    fault(&uat, json!({"method": "PATCH", "path": "/jobs/ingest", "kind": "cut_after"}));
    fault(&uat, json!({"method": "GET", "path": "/jobs/ingest", "kind": "html503"}));
    let job = run(&target, "Contact", &Operation::Insert, &columns, &batches, Nulls::Omit, &digester).await;
    assert_eq!(job.state, JobState::Complete);

    uat.state.auth.expire_all(false);
    let written = outcomes(&target, &job.id, ResultKind::Successful, &columns, &digester).await;
    let refused = outcomes(&target, &job.id, ResultKind::Failed, &columns, &digester).await;
    let unprocessed = outcomes(&target, &job.id, ResultKind::Unprocessed, &columns, &digester).await;
    assert_eq!(written.len() + refused.len(), job.digests.len());
    let found = (written.len(), refused.len(), unprocessed.len());
    assert!(found.0 > 0 && found.1 > 0 && found.2 == 0, "{found:?} {:?}", refused.first());
    assert_eq!(written.len(), uat.count("Contact"));
    for row in &refused {
        let refusal = row.refusal.as_ref().unwrap();
        assert_eq!(
            (refusal.code, refusal.native.as_str()),
            (ErrorCode::ValidationRule, "FIELD_CUSTOM_VALIDATION_EXCEPTION")
        );
    }
    // Every digest that was sent comes back exactly as often.
    let mut balance: HashMap<RowDigest, i64> = HashMap::new();
    for digest in &job.digests {
        *balance.entry(*digest).or_default() += 1;
    }
    for row in written.iter().chain(&refused) {
        *balance.entry(row.digest).or_default() -= 1;
    }
    assert!(
        balance.values().all(|n| *n == 0),
        "{} rows are not recognised",
        balance.values().filter(|n| **n != 0).count()
    );

    let by_id: HashMap<&str, RowDigest> = written.iter().map(|r| (r.id.as_str(), r.digest)).collect();
    let wanted: Vec<String> = by_id.keys().map(|id| (*id).to_owned()).collect();
    let back = target.retrieve(&object("Contact"), &wanted, &columns).await.unwrap();
    assert_eq!(back.num_rows(), wanted.len());
    let (mut text, mut digests) = (Vec::new(), Vec::new());
    target.encode(
        &object("Contact"),
        &columns,
        &without_id(&back),
        Nulls::Omit,
        &digester,
        &mut text,
        &mut digests,
    );
    for (id, digest) in back.column(0).as_string::<i32>().iter().zip(digests) {
        assert_eq!(by_id.get(id.unwrap()), Some(&digest), "{id:?} reads back as something else");
    }
}

#[tokio::test]
async fn records_are_upserted_updated_cleared_and_deleted() {
    let uat = sandbox(&[]);
    let (target, _) = connect(&uat);
    let digester = RowDigester::new([9; 32]);
    let upsert = Operation::Upsert {
        key: FieldName::new("Ext_Id__c").unwrap(),
    };
    let fields = [
        column("Ext_Id__c", FieldType::String),
        column("LastName", FieldType::String),
        column("Notes__c", FieldType::TextArea),
        column("DoNotCall", FieldType::Boolean),
    ];
    let awkward = "line one\nline \"two\", ü 😀";
    let rows = batch(
        &fields,
        vec![
            texts(&[Some("k1"), Some("k2")]),
            texts(&[Some("One"), Some("Two, Jr.")]),
            texts(&[Some(awkward), None]),
            Arc::new(BooleanArray::from(vec![true, false])),
        ],
    );
    for created in [true, false] {
        let job = run(
            &target,
            "Contact",
            &upsert,
            &fields,
            std::slice::from_ref(&rows),
            Nulls::Omit,
            &digester,
        )
        .await;
        let written = outcomes(&target, &job.id, ResultKind::Successful, &fields, &digester).await;
        assert_eq!(written.iter().map(|r| r.created).collect::<Vec<_>>(), [created, created]);
        assert_eq!(
            written.iter().map(|r| r.digest).collect::<HashSet<_>>(),
            job.digests.iter().copied().collect::<HashSet<_>>()
        );
    }
    assert_eq!(uat.count("Contact"), 2);
    let found = target
        .lookup(&object("Contact"), &["Id", "Notes__c"], Some("Ext_Id__c = 'k1'"))
        .await
        .unwrap();
    assert_eq!(found[0][1].as_deref(), Some(awkward));
    let id = found[0][0].clone().unwrap();

    let update = [column("Id", FieldType::Id), column("Notes__c", FieldType::TextArea)];
    let nothing = batch(&update, vec![texts(&[Some(&id)]), texts(&[None])]);
    for (nulls, left) in [(Nulls::Omit, Some(awkward.to_owned())), (Nulls::Clear, None)] {
        let job = run(
            &target,
            "Contact",
            &Operation::Update,
            &update,
            std::slice::from_ref(&nothing),
            nulls,
            &digester,
        )
        .await;
        let written = outcomes(&target, &job.id, ResultKind::Successful, &update, &digester).await;
        assert_eq!(written.iter().map(|r| r.digest).collect::<Vec<_>>(), job.digests);
        let found = target
            .lookup(&object("Contact"), &["Notes__c"], Some("Ext_Id__c = 'k1'"))
            .await
            .unwrap();
        assert_eq!(found[0][0], left);
    }

    let delete = [column("Id", FieldType::Id)];
    let gone = batch(&delete, vec![texts(&[Some(&id)])]);
    let job = run(&target, "Contact", &Operation::Delete, &delete, &[gone], Nulls::Omit, &digester).await;
    assert_eq!(
        outcomes(&target, &job.id, ResultKind::Successful, &delete, &digester).await.len(),
        1
    );
    assert_eq!(uat.count("Contact"), 1);
    target.delete_job(&job.id).await.unwrap();
    let error = target.job_status(&job.id).await.unwrap_err();
    assert!(error.gone && error.code == ErrorCode::ResultsGone, "{error}");
}

#[tokio::test]
async fn a_creation_that_was_not_answered_is_left_for_the_sweep() {
    let uat = sandbox(&[]);
    let (target, _) = connect(&uat);
    let since = target.org().await.unwrap().now;
    fault(&uat, json!({"method": "POST", "path": "/jobs/ingest", "kind": "cut_after"}));
    let error = target.create_job(&object("Contact"), &Operation::Insert).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NetworkTimeout);
    let left = target.list_jobs(since).await.unwrap();
    assert_eq!(
        left.iter().map(|j| (j.object.as_str(), j.state)).collect::<Vec<_>>(),
        [("Contact", JobState::Open)]
    );
    target.abort_job(&left[0].id).await.unwrap();
    target.abort_job(&left[0].id).await.unwrap();
    assert_eq!(target.job_status(&left[0].id).await.unwrap().state, JobState::Aborted);
    assert!(target.list_jobs(since + chrono::Duration::days(1)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_job_with_a_column_that_is_not_there_fails_as_a_whole() {
    let uat = sandbox(&[]);
    let (target, _) = connect(&uat);
    let digester = RowDigester::new([9; 32]);
    let fields = [column("LastName", FieldType::String), column("Nmae__c", FieldType::String)];
    let rows = batch(&fields, vec![texts(&[Some("One")]), texts(&[Some("x")])]);
    let job = run(&target, "Contact", &Operation::Insert, &fields, &[rows], Nulls::Omit, &digester).await;
    assert_eq!(job.state, JobState::Failed);
    let status = target.job_status(&job.id).await.unwrap();
    assert_eq!(status.error.map(|e| e.code), Some(ErrorCode::FieldMissing));
    let unprocessed = outcomes(&target, &job.id, ResultKind::Unprocessed, &fields, &digester).await;
    assert_eq!(unprocessed.iter().map(|r| r.digest).collect::<Vec<_>>(), job.digests);
}

#[tokio::test]
async fn what_a_user_created_since_a_job_was_made_is_found_with_what_was_deleted_of_it() {
    let uat = sandbox(&[]);
    let (target, _) = connect(&uat);
    let digester = RowDigester::new([9; 32]);
    let fields = [column("LastName", FieldType::String)];
    let rows = batch(&fields, vec![texts(&["One", "Two", "Three", "Four", "Five"].map(Some))]);
    let made = target.create_job(&object("Contact"), &Operation::Insert).await.unwrap();
    let (created, user) = (made.created.unwrap(), made.creator.unwrap());
    assert!(target.works_as(&user).await.unwrap());
    assert!(target.works_as(&user[..15]).await.unwrap(), "an id has two forms");
    assert!(!target.works_as("005000000000777AAA").await.unwrap());
    assert!(target.created(&object("Contact"), created, None).await.unwrap().is_empty());

    let job = run(&target, "Contact", &Operation::Insert, &fields, &[rows], Nulls::Omit, &digester).await;
    let written = outcomes(&target, &job.id, ResultKind::Successful, &fields, &digester).await;
    let mut ids: Vec<String> = written.into_iter().map(|r| r.id).collect();
    ids.sort();
    target.delete(&ids[..1]).await.unwrap();
    edit(&uat, &ids[1], json!({"CreatedById": "005000000000777AAA"})).await;
    edit(&uat, &ids[2], json!({"CreatedDate": "2020-01-01T00:00:00.000Z"})).await;
    edit(&uat, &ids[4], json!({"CreatedDate": "2099-01-01T00:00:00.000Z"})).await;
    let found = async |until| {
        let records = target.created(&object("Contact"), created, until).await.unwrap();
        let mut found: Vec<(String, bool)> = records.into_iter().map(|r| (r.id, r.deleted)).collect();
        found.sort();
        found
    };
    let all = [(ids[0].clone(), true), (ids[3].clone(), false), (ids[4].clone(), false)];
    assert_eq!(found(None).await, all);
    assert_eq!(found(Some(created + chrono::Duration::hours(1))).await, all[..2]);
}

/// Changes a record past every rule.
async fn edit(org: &syncline_salesforce_simulator::RunningOrg, id: &str, cells: serde_json::Value) {
    let url = format!("{}/__sim/records/{id}", org.url);
    let answer = reqwest::Client::new().patch(url).json(&cells).send().await.unwrap();
    assert!(answer.status().is_success());
}
