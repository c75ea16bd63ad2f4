//! What an org is asked without a job: records in hand, keys, names, tokens.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod simulated;

use serde_json::json;
use syncline_connect::{Access, Source};
use syncline_domain::ErrorCode;
use syncline_domain::describe::FieldType;
use syncline_salesforce::collections::Record;
use syncline_salesforce::oauth::session;
use syncline_salesforce::{Salesforce, composite_key, names};

use simulated::{connect, object, production, sandbox};

#[tokio::test]
async fn records_are_written_and_deleted_without_a_job() {
    let org = sandbox(&["Account: NumberOfEmployees < 0 => no"]);
    let (target, _) = connect(&org);
    let record = |values: serde_json::Value| Record {
        object: object("Account"),
        values: values.as_object().unwrap().clone(),
    };
    let many: Vec<Record> = (0..250)
        .map(|n| record(json!({"Name": format!("A{n}"), "NumberOfEmployees": if n == 7 { -1 } else { n }})))
        .collect();
    let before = target.calls();
    let saved = target.insert(&many).await.unwrap();
    assert_eq!(target.calls() - before, 2, "200 records a call");
    let refused: Vec<usize> = (0..250).filter(|n| saved[*n].refusal.is_some()).collect();
    assert_eq!(refused, [7]);
    assert_eq!(saved[7].refusal.as_ref().unwrap().code, ErrorCode::ValidationRule);
    assert_eq!(org.count("Account"), 249);
    let ids: Vec<String> = saved.iter().filter(|s| s.created).map(|s| s.id.clone()).collect();
    let changed: Vec<Record> = ids
        .iter()
        .map(|id| record(json!({"Id": id, "Site": "x", "NumberOfEmployees": null})))
        .collect();
    assert!(
        target
            .update(&changed)
            .await
            .unwrap()
            .iter()
            .all(|s| s.refusal.is_none() && !s.created)
    );
    let site = target
        .lookup(&object("Account"), &["Site", "NumberOfEmployees"], None)
        .await
        .unwrap();
    assert!(site.iter().all(|row| *row == [Some("x".to_owned()), None]), "a null clears");
    assert!(target.delete(&ids).await.unwrap().iter().all(|s| s.refusal.is_none()));
    assert_eq!(org.count("Account"), 0);
}

#[tokio::test]
async fn keys_of_several_fields_find_one_record_several_or_none() {
    let org = sandbox(&[]);
    let (target, _) = connect(&org);
    let names = [
        ("O'Brien", "Berlin"),
        ("o'brien", "Paris"),
        ("Twin", "Rome"),
        ("Twin", "Rome"),
        ("Alone", ""),
    ];
    let records: Vec<Record> = names
        .iter()
        .map(|(name, city)| Record {
            object: object("Account"),
            values: json!({"Name": name, "BillingCity": city}).as_object().unwrap().clone(),
        })
        .collect();
    let saved = target.insert(&records).await.unwrap();
    let describe = target.describe(&[object("Account")]).await.unwrap().remove(0).unwrap();
    let fields = ["Name", "BillingCity"].map(|f| describe.field(f).unwrap().clone());
    let key = |name: &str, city: &str| -> composite_key::Key { vec![Some(name.to_owned()), (!city.is_empty()).then(|| city.to_owned())] };
    let keys = [
        key("O'BRIEN", "berlin "),
        key("Twin", "Rome"),
        key("Alone", ""),
        key("Nobody", "Rome"),
    ];
    let found = composite_key::find(&target, &object("Account"), &fields, &keys).await.unwrap();
    assert_eq!(found.ids.get(&keys[0]), Some(&saved[0].id));
    assert_eq!(found.ids.get(&keys[2]), Some(&saved[4].id));
    assert_eq!(found.ids.len(), 2);
    assert_eq!(found.ambiguous.get(&keys[1]), Some(&2));
    let notes = describe
        .fields
        .iter()
        .find(|f| f.field_type == FieldType::TextArea && !f.filterable);
    if let Some(notes) = notes {
        let code = composite_key::find(&target, &object("Account"), std::slice::from_ref(notes), &[vec![None]]).await;
        assert_eq!(code.map_err(|e| e.code), Err(ErrorCode::SyncInvalid));
    }
}

#[tokio::test]
async fn names_are_matched_between_a_production_org_and_its_sandbox() {
    let (from, to) = (production(), sandbox(&[]));
    let ((source, _), (target, _)) = (connect(&from), connect(&to));
    let ask = async |org: &Salesforce, name: &str, fields: &[&str], filter: Option<&str>| {
        org.lookup(&object(name), fields, filter).await.unwrap()
    };
    let (a, b) = (
        ask(&source, "RecordType", names::RECORD_TYPE_FIELDS, None).await,
        ask(&target, "RecordType", names::RECORD_TYPE_FIELDS, None).await,
    );
    let matched = names::matched(&names::record_types(&a), &names::record_types(&b));
    assert!(
        !matched.ids.is_empty() && matched.ids.iter().all(|(from, to)| from != to),
        "{matched:?}"
    );
    let (a, b) = (
        ask(&source, "Pricebook2", names::PRICE_BOOK_FIELDS, Some("IsStandard = true")).await,
        ask(&target, "Pricebook2", names::PRICE_BOOK_FIELDS, Some("IsStandard = true")).await,
    );
    assert_eq!(names::matched(&names::price_books(&a), &names::price_books(&b)).ids.len(), 1);
    let (a, b) = (
        ask(&source, "User", names::USER_FIELDS, None).await,
        ask(&target, "User", names::USER_FIELDS, None).await,
    );
    let matched = names::matched(&names::users(&a), &names::successors(&b));
    assert!(
        matched.ids.len() * 2 > a.len(),
        "most users are known by the name before the suffix: {:?}",
        matched.unmatched
    );
}

#[tokio::test]
async fn the_org_knows_a_token_until_it_is_ended() {
    let org = production();
    let (_, access) = connect(&org);
    let token: secrecy::SecretString = access.token().await.unwrap().expose().to_owned().into();
    let secret = org.client_secret.clone().into();
    let ask = async || {
        session::introspect(
            &access.http,
            &org.url,
            &org.client_id,
            Some(&secret),
            &token,
            session::TokenKind::Access,
        )
        .await
        .unwrap()
    };
    let known = ask().await;
    assert!(known.active && known.scopes.iter().any(|s| s == "api"), "{known:?}");
    session::revoke(&access.http, &org.url, &token).await.unwrap();
    assert!(!ask().await.active);
}
