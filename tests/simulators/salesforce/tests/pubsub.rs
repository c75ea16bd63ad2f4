//! Change data capture over the wire: what a commit becomes, and how it is delivered.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::pubsub::{Client, after, error_code, fetch};
use support::{get, ingest, send, try_send, v65};
use syncline_salesforce_simulator::pubsub::PubSubConfig;
use syncline_salesforce_simulator::pubsub::proto::ReplayPreset::{Earliest, Latest};
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};
use tonic::Code;

const ACCOUNTS: &str = "/data/AccountChangeEvent";

fn org_with(change: impl FnOnce(&mut PubSubConfig)) -> RunningOrg {
    let mut pubsub = PubSubConfig {
        entities: ["Account", "Contact", "Project__c"].map(str::to_owned).to_vec(),
        ..PubSubConfig::default()
    };
    change(&mut pubsub);
    support::org(OrgConfig {
        pubsub: Some(pubsub),
        ..OrgConfig::default()
    })
}

fn org() -> RunningOrg {
    org_with(|_| {})
}

/// Sends a record write and returns the record's id.
fn create(org: &RunningOrg, object: &str, body: Value) -> String {
    let reply = send(org, "POST", &v65(&format!("sobjects/{object}")), body);
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()["id"].as_str().unwrap().to_owned()
}

fn account(org: &RunningOrg, name: &str) -> String {
    create(org, "Account", json!({"Name": name}))
}

fn update(org: &RunningOrg, object: &str, id: &str, body: Value) {
    let reply = send(org, "PATCH", &v65(&format!("sobjects/{object}/{id}")), body);
    assert_eq!(reply.status, 204, "{}", reply.text());
}

fn control(org: &RunningOrg, path: &str, body: Value) -> Value {
    let reply = send(org, "POST", &format!("/__sim/pubsub/{path}"), body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_records_life_is_told_with_values_bitmaps_and_origin() {
    let org = org();
    let auth = format!("Bearer {}", org.token);
    let headers = [
        ("authorization", auth.as_str()),
        ("content-type", "application/json"),
        ("sforce-call-options", "client=demo"),
    ];
    let body = json!({"Name": "Acme", "Industry": "Energy", "BillingCity": "Reno", "BillingState": "NV", "NumberOfEmployees": 12,
        "AnnualRevenue": 1e6, "SLA_Expiration__c": "2026-01-02", "Tags__c": "VIP;EU"});
    let reply = try_send(&org, "POST", &v65("sobjects/Account"), &headers, body.to_string().as_bytes()).unwrap();
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    update(
        &org,
        "Account",
        &id,
        json!({"Phone": "(555) 555-0101", "Industry": null, "BillingCity": "Sparks", "BillingState": null}),
    );
    update(&org, "Account", &id, json!({"BillingCity": null}));
    send(&org, "DELETE", &v65(&format!("sobjects/Account/{id}")), Value::Null);

    let mut client = Client::connect(&org).await;
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Earliest, 4)).await;
    let events = client.take(&mut subscription, 4).await;
    assert_eq!(
        events.iter().map(|e| e.kind()).collect::<Vec<_>>(),
        ["CREATE", "UPDATE", "UPDATE", "DELETE"]
    );
    assert!(events.iter().all(|e| e.ids() == [id.as_str()]));

    let created = &events[0];
    assert_eq!(created.header["changeOrigin"], "com/salesforce/api/rest/65.0;client=demo");
    assert_eq!(events[1].header["changeOrigin"], "com/salesforce/api/rest/65.0");
    assert_eq!(
        (&created.header["entityName"], &created.header["sequenceNumber"]),
        (&json!("Account"), &json!(1))
    );
    assert_eq!(created.header["commitUser"], org.user_id.as_str());
    assert!(created.named("changedFields").is_empty());
    let expected = json!({"Name": "Acme", "Industry": "Energy", "NumberOfEmployees": 12, "AnnualRevenue": 1e6, "Phone": null,
        "SLA_Expiration__c": 1_767_312_000_000_i64, "Tags__c": "VIP;EU", "OwnerId": org.user_id});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&created.body[name], value, "{name}");
    }
    assert_eq!(
        (&created.body["BillingAddress"]["City"], &created.body["ShippingAddress"]),
        (&json!("Reno"), &Value::Null)
    );
    assert!(!created.body.contains_key("BillingCity") && !created.body.contains_key("SystemModstamp"));

    let updated = &events[1];
    assert_eq!(
        updated.named("changedFields"),
        [
            "Phone",
            "Industry",
            "LastModifiedDate",
            "BillingAddress.City",
            "BillingAddress.State"
        ]
    );
    assert_eq!(updated.named("nulledFields"), ["Industry", "BillingAddress.State"]);
    assert_eq!(updated.body["BillingAddress"]["City"], "Sparks");
    assert_eq!(
        (&updated.body["Phone"], &updated.body["Name"]),
        (&json!("(555) 555-0101"), &Value::Null)
    );

    // The last part that was there is gone: the compound as a whole is nulled.
    assert_eq!(events[2].named("changedFields"), ["BillingAddress", "LastModifiedDate"]);
    assert_eq!(
        (events[2].named("nulledFields"), &events[2].body["BillingAddress"]),
        (vec!["BillingAddress"], &Value::Null)
    );
    assert!(events[3].body.values().all(Value::is_null) && events[3].named("changedFields").is_empty());

    let keys: std::collections::HashSet<&str> = events.iter().map(|e| e.header["transactionKey"].as_str().unwrap()).collect();
    let numbers: Vec<i64> = events.iter().map(|e| e.header["commitNumber"].as_i64().unwrap()).collect();
    assert!(keys.len() == 4 && numbers.is_sorted());
    assert!(events.iter().all(|e| e.replay_id.len() == 10 && e.replay_id.ends_with(&[0, 0])));
    assert!(events.windows(2).all(|w| w[0].replay_id < w[1].replay_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_events_are_sent_than_were_asked_for() {
    let org = org();
    for i in 0..120 {
        account(&org, &format!("Account {i}"));
    }
    let mut client = Client::connect(&org).await;
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Earliest, 3)).await;
    let mut seen = Vec::new();
    let answer = subscription.answer().await.unwrap();
    assert_eq!((answer.events.len(), answer.pending_num_requested), (3, 0));
    assert_eq!(answer.latest_replay_id, answer.events[2].replay_id);
    seen.extend(answer.events);
    subscription.ask(4).await;
    let answer = subscription.answer().await.unwrap();
    assert_eq!((answer.events.len(), answer.pending_num_requested), (4, 0));
    seen.extend(answer.events);
    // More than a hundred counts as a hundred.
    subscription.ask(5000).await;
    let answer = subscription.answer().await.unwrap();
    assert_eq!((answer.events.len(), answer.pending_num_requested), (100, 0));
    seen.extend(answer.events);
    // What is asked for beyond what there is stays pending, and adds up.
    subscription.ask(20).await;
    let answer = subscription.answer().await.unwrap();
    assert_eq!((answer.events.len(), answer.pending_num_requested), (13, 7));
    seen.extend(answer.events);
    subscription.ask(2).await;
    account(&org, "late");
    let answer = subscription.answer().await.unwrap();
    assert_eq!(answer.events.len(), 1);
    assert!([6, 8].contains(&answer.pending_num_requested));
    let mut names = Vec::new();
    for event in &seen {
        names.push(client.decode(event).await.body["Name"].as_str().unwrap().to_owned());
    }
    let expected: Vec<String> = (0..120).map(|i| format!("Account {i}")).collect();
    assert_eq!(names, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_stream_is_resumed_behind_the_last_replay_id() {
    let org = org_with(|c| c.keepalive_ms = 30);
    for name in ["a", "b", "c"] {
        account(&org, name);
    }
    let mut client = Client::connect(&org).await;
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Earliest, 2)).await;
    let first = client.take(&mut subscription, 2).await;
    control(
        &org,
        "cut",
        json!({"status": "UNAVAILABLE", "error_code": "service.unavailable", "message": "reset"}),
    );
    let status = subscription.answer().await.unwrap_err();
    assert_eq!(
        (status.code(), error_code(&status).as_str()),
        (Code::Unavailable, "service.unavailable")
    );
    account(&org, "d");
    let mut subscription = client.subscribe(after(ACCOUNTS, &first[1].replay_id, 2)).await;
    let rest = client.take(&mut subscription, 2).await;
    assert_eq!((&rest[0].body["Name"], &rest[1].body["Name"]), (&json!("c"), &json!("d")));
    // LATEST starts behind all of it.
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Latest, 1)).await;
    subscription.quiet().await;
    account(&org, "e");
    assert_eq!(client.take(&mut subscription, 1).await[0].body["Name"], "e");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_ends_its_streams_without_a_status_of_the_service() {
    let org = org();
    let mut client = Client::connect(&org).await;
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Latest, 1)).await;
    control(&org, "reset", json!({}));
    let status = subscription.answer().await.unwrap_err();
    assert!(status.metadata().get("error-code").is_none(), "{status:?}");
    // The next call connects again.
    account(&org, "a");
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Earliest, 1)).await;
    assert_eq!(client.take(&mut subscription, 1).await[0].body["Name"], "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_come_back_or_go_for_good_are_told() {
    let org = org();
    let id = create(&org, "Account", json!({"Name": "a", "Phone": "1"}));
    send(&org, "DELETE", &v65(&format!("sobjects/Account/{id}")), Value::Null);
    let object = org.state.schema.object("Account").unwrap();
    {
        let mut db = org.state.db_mut();
        let table = &mut db.tables[object];
        let row = table.row(0).clone();
        table.revive(0, row);
    }
    ingest(
        &org,
        json!({"object": "Account", "operation": "hardDelete"}),
        &format!("Id\n{id}\n"),
    );
    let mut client = Client::connect(&org).await;
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Earliest, 4)).await;
    let events = client.take(&mut subscription, 4).await;
    assert_eq!(
        events.iter().map(|e| e.kind()).collect::<Vec<_>>(),
        ["CREATE", "DELETE", "UNDELETE", "DELETE"]
    );
    // All values again, and an origin of the org's own.
    assert_eq!((&events[2].body["Name"], &events[2].body["Phone"]), (&json!("a"), &json!("1")));
    assert_eq!(
        (&events[2].header["changeOrigin"], events[2].named("changedFields")),
        (&json!(""), vec![])
    );
    assert_eq!(events[3].header["changeOrigin"], "com/salesforce/api/bulkapi/65.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_stream_is_kept_alive_and_an_idle_one_ended() {
    let org = org_with(|c| {
        c.keepalive_ms = 30;
        c.unrequested_ms = 30;
    });
    account(&org, "a");
    let mut client = Client::connect(&org).await;
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Earliest, 2)).await;
    client.take(&mut subscription, 1).await;
    let alive = subscription.answer().await.unwrap();
    assert_eq!((alive.events.len(), alive.pending_num_requested), (0, 1));
    // What a keep-alive names is a place to resume from.
    let again = subscription.answer().await.unwrap();
    assert_eq!(again.latest_replay_id, alive.latest_replay_id);
    account(&org, "b");
    let next = loop {
        let next = subscription.answer().await.unwrap();
        if next.pending_num_requested == 0 {
            break next;
        }
    };
    assert_eq!(next.events.len(), 1);
    let end = subscription.answer().await.unwrap_err();
    assert_eq!(end.code(), Code::Ok);
    let mut resumed = client.subscribe(after(ACCOUNTS, &alive.latest_replay_id, 1)).await;
    assert_eq!(client.take(&mut resumed, 1).await[0].body["Name"], "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_without_a_session_are_refused_with_trailers() {
    let org = org();
    for (key, value) in [
        ("accesstoken", "00D!nonsense"),
        ("accesstoken", ""),
        ("tenantid", "00D000000000001AAA"),
        ("tenantid", ""),
        ("instanceurl", "nowhere"),
        ("instanceurl", ""),
    ] {
        let mut client = Client::connect(&org).await.with(key, value);
        let status = client.topic(ACCOUNTS).await.unwrap_err();
        assert_eq!(
            (status.code(), error_code(&status).as_str()),
            (Code::Unauthenticated, "service.auth.error"),
            "{key}={value}"
        );
    }
    // A session that ends while a stream is open ends the stream.
    let mut client = Client::connect(&org).await;
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Latest, 1)).await;
    assert_eq!(send(&org, "POST", "/__sim/expire-tokens?static=true", Value::Null).status, 200);
    subscription.ask(1).await;
    let status = subscription.answer().await.unwrap_err();
    assert_eq!(
        (status.code(), error_code(&status).as_str()),
        (Code::Unauthenticated, "service.auth.refresh.invalid")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_subscriptions_are_refused_with_their_codes() {
    let org = org_with(|c| c.keepalive_ms = 30);
    account(&org, "a");
    let mut client = Client::connect(&org).await;
    for topic in [
        "/data/LeadChangeEvent",
        "/data/NopeChangeEvent",
        "/event/Nope__e",
        "/data/Nope__chn",
        "nonsense",
        "",
    ] {
        let status = client.refusal(fetch(topic, Latest, 1)).await;
        assert_eq!(
            (status.code(), error_code(&status).as_str()),
            (Code::NotFound, "topic.notfound"),
            "{topic}"
        );
        assert_eq!(client.topic(topic).await.unwrap_err().code(), Code::NotFound);
    }
    assert_eq!(error_code(&client.schema("nope").await.unwrap_err()), "schema.notfound");
    let corrupted = "subscription.fetch.replayid.corrupted";
    for (first, code) in [
        (after(ACCOUNTS, b"\0\0\0", 1), corrupted),
        (after(ACCOUNTS, &[0xff; 10], 1), corrupted),
        (after(ACCOUNTS, &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0], 1), corrupted),
        (after(ACCOUNTS, b"", 1), "subscription.fetch.replayid.validation.failed"),
        (fetch(ACCOUNTS, Earliest, 0), "subscription.fetch.requested.events.invalid"),
        (fetch(ACCOUNTS, Earliest, -5), "subscription.fetch.requested.events.invalid"),
    ] {
        let status = client.refusal(first).await;
        assert_eq!((status.code(), error_code(&status).as_str()), (Code::InvalidArgument, code));
    }
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Latest, 1)).await;
    let other = fetch("/data/ContactChangeEvent", Latest, 1);
    subscription.asks.send(other).await.unwrap();
    assert_eq!(subscription.answer().await.unwrap_err().code(), Code::InvalidArgument);
    // Naming the same topic again, or another replay, is fine: the latter is ignored.
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Latest, 1)).await;
    subscription.asks.send(after(ACCOUNTS, b"nonsense", 1)).await.unwrap();
    subscription.quiet().await;
    account(&org, "b");
    assert_eq!(client.take(&mut subscription, 1).await[0].body["Name"], "b");
    control(
        &org,
        "faults",
        json!({"rpc": "GetTopic", "status": "INTERNAL", "error_code": "service.unavailable",
        "message": "The service is unavailable. Try again later."}),
    );
    let status = client.topic(ACCOUNTS).await.unwrap_err();
    assert_eq!(
        (status.code(), error_code(&status).as_str()),
        (Code::Internal, "service.unavailable")
    );
    assert!(client.topic(ACCOUNTS).await.unwrap().can_subscribe);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_beyond_retention_are_gone_and_their_ids_refused() {
    let org = org();
    for name in ["a", "b", "c"] {
        account(&org, name);
    }
    let mut client = Client::connect(&org).await;
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Earliest, 3)).await;
    let events = client.take(&mut subscription, 3).await;
    assert_eq!(control(&org, "forget", json!({}))["forgotten"], 3);
    let status = client.refusal(after(ACCOUNTS, &events[2].replay_id, 1)).await;
    assert_eq!(error_code(&status), "subscription.fetch.replayid.corrupted");
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Earliest, 1)).await;
    account(&org, "d");
    assert_eq!(client.take(&mut subscription, 1).await[0].body["Name"], "d");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_changes_in_mid_stream_has_a_new_id_and_the_old_one_still_answers() {
    let org = org();
    let mut client = Client::connect(&org).await;
    let before = client.topic(ACCOUNTS).await.unwrap().schema_id;
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Earliest, 10)).await;
    let id = account(&org, "old");
    let changed = control(
        &org,
        "schema",
        json!({"object": "Account", "add": "Grade__c", "value": "A", "after": "Name"}),
    );
    account(&org, "new");
    update(&org, "Account", &id, json!({"Phone": "1"}));
    control(&org, "schema", json!({"object": "Account", "drop": "BillingAddress"}));
    create(&org, "Account", json!({"Name": "last", "ShippingCity": "Reno"}));
    let events = client.take(&mut subscription, 4).await;
    assert_eq!(events[0].schema_id, before);
    assert_eq!(events[1].schema_id, changed["schemaId"].as_str().unwrap());
    assert!(events[0].body.get("Grade__c").is_none());
    assert_eq!((&events[1].body["Grade__c"], &events[1].body["Name"]), (&json!("A"), &json!("new")));
    // One field further on, the same change has another bit.
    assert_eq!(events[2].named("changedFields"), ["Phone", "LastModifiedDate"]);
    assert!(!events[3].body.contains_key("BillingAddress"));
    assert_eq!(events[3].body["ShippingAddress"]["City"], "Reno");
    let ids: std::collections::HashSet<&str> = events.iter().map(|e| e.schema_id.as_str()).collect();
    assert_eq!(ids.len(), 3);
    for id in ids {
        assert!(client.schema(id).await.is_ok());
    }
    let bad = send(&org, "POST", "/__sim/pubsub/schema", json!({"object": "Account", "add": "Name"}));
    assert_eq!(bad.status, 400, "a name twice is no schema");
    assert!(client.topic(ACCOUNTS).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_overflows_and_wildcards_come_on_request() {
    let org = org();
    let id = account(&org, "a");
    for event in [
        json!({"object": "Account", "type": "GAP_UPDATE", "ids": [id]}),
        json!({"object": "Account", "type": "GAP_OVERFLOW"}),
        json!({"object": "Account", "type": "UPDATE", "ids": ["001*"], "fields": ["Phone", "Rating"]}),
    ] {
        control(&org, "events", event);
    }
    let mut client = Client::connect(&org).await;
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Earliest, 4)).await;
    let events = client.take(&mut subscription, 4).await;
    assert_eq!((events[1].kind(), events[1].ids()), ("GAP_UPDATE", vec![id.as_str()]));
    assert!(events[2].kind() == "GAP_OVERFLOW" && events[2].ids().is_empty());
    assert_eq!(
        (events[3].ids(), events[3].named("changedFields")),
        (vec!["001*"], vec!["Phone", "Rating"])
    );
    assert!(events[1..].iter().all(|e| e.body.values().all(Value::is_null)));
    for bad in [
        json!({"object": "Account", "type": "NOPE"}),
        json!({"object": "Nope", "type": "GAP_UPDATE"}),
        json!({"object": "Account", "type": "UPDATE", "fields": ["Nope"]}),
        json!({"object": "Account", "type": "UPDATE", "surprise": 1}),
    ] {
        assert_eq!(send(&org, "POST", "/__sim/pubsub/events", bad).status, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_with_too_many_changes_overflows() {
    let org = org_with(|c| c.changes_max = 40);
    let csv: String = (0..30).map(|i| format!("A{i},Energy\n")).collect();
    let job = json!({"object": "Account", "operation": "insert"});
    ingest(&org, job, &format!("Name,Industry\n{csv}"));
    let mut client = Client::connect(&org).await;
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Earliest, 100)).await;
    let answer = subscription.answer().await.unwrap();
    let mut events = Vec::new();
    for event in &answer.events {
        events.push(client.decode(event).await);
    }
    let (last, told) = events.split_last().unwrap();
    assert_eq!(
        (last.kind(), last.ids().len(), &last.header["entityName"]),
        ("GAP_OVERFLOW", 0, &json!("Account"))
    );
    assert!(!told.is_empty() && told.len() < 30 && told.iter().all(|e| e.kind() == "CREATE"));
    let sequence: Vec<i64> = events.iter().map(|e| e.header["sequenceNumber"].as_i64().unwrap()).collect();
    assert_eq!(sequence, (1..=events.len() as i64).collect::<Vec<_>>());
    assert!(events.iter().all(|e| e.header["transactionKey"] == last.header["transactionKey"]));
    assert_eq!(last.header["changeOrigin"], "com/salesforce/api/bulkapi/65.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_becomes_a_gap() {
    let org = org_with(|c| c.event_bytes_max = 2000);
    let id = create(&org, "Account", json!({"Name": "a", "Description": "x".repeat(3000)}));
    let mut client = Client::connect(&org).await;
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Earliest, 1)).await;
    let events = client.take(&mut subscription, 1).await;
    assert_eq!((events[0].kind(), events[0].ids()), ("GAP_CREATE", vec![id.as_str()]));
    assert!(events[0].body.values().all(Value::is_null));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_change_of_several_records_is_one_event() {
    let org = org();
    let ids: Vec<String> = ["a", "b", "c"].iter().map(|n| account(&org, n)).collect();
    let record = |id: &str, rating: &str| json!({"attributes": {"type": "Account"}, "id": id, "Rating": rating});
    let records = json!([record(&ids[0], "Hot"), record(&ids[1], "Cold"), record(&ids[2], "Hot")]);
    let reply = send(
        &org,
        "PATCH",
        &v65("composite/sobjects"),
        json!({"allOrNone": true, "records": records}),
    );
    assert_eq!(reply.status, 200);
    let reply = send(
        &org,
        "DELETE",
        &v65(&format!("composite/sobjects?ids={}", ids.join(","))),
        Value::Null,
    );
    assert_eq!(reply.status, 200);
    let mut client = Client::connect(&org).await;
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Earliest, 6)).await;
    let events = client.take(&mut subscription, 6).await;
    let told = |at: usize| {
        (
            events[at].kind(),
            events[at].ids(),
            events[at].header["sequenceNumber"].as_i64().unwrap(),
        )
    };
    assert_eq!(told(3), ("UPDATE", vec![ids[0].as_str(), &ids[2]], 1));
    assert_eq!(told(4), ("UPDATE", vec![ids[1].as_str()], 2));
    assert_eq!(told(5), ("DELETE", ids.iter().map(String::as_str).collect(), 1));
    assert_eq!(
        (&events[3].body["Rating"], &events[4].body["Rating"]),
        (&json!("Hot"), &json!("Cold"))
    );
    assert_eq!(events[3].header["transactionKey"], events[4].header["transactionKey"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rolled_back_is_never_told() {
    let org = org();
    let record = |body: Value| {
        let mut record = json!({"attributes": {"type": "Account"}});
        record.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        record
    };
    let records = json!([record(json!({"Name": "good"})), record(json!({"Phone": "no name"}))]);
    let reply = send(
        &org,
        "POST",
        &v65("composite/sobjects"),
        json!({"allOrNone": true, "records": records}),
    );
    assert_eq!(reply.json()[0]["success"], false);
    let reply = send(&org, "POST", &v65("sobjects/Account"), json!({"Phone": "no name"}));
    assert_eq!(reply.status, 400);
    account(&org, "told");
    let mut client = Client::connect(&org).await;
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Earliest, 5)).await;
    assert_eq!(client.take(&mut subscription, 1).await[0].body["Name"], "told");
    assert_eq!(get(&org, "/__sim/pubsub").json()["retained"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cascade_is_told_in_the_transaction_of_its_cause() {
    let org = org();
    let parent = account(&org, "a");
    let child = create(&org, "Contact", json!({"LastName": "Doe", "FirstName": "Jo", "AccountId": parent}));
    send(&org, "DELETE", &v65(&format!("sobjects/Account/{parent}")), Value::Null);
    let mut client = Client::connect(&org).await;
    let mut subscription = client.subscribe(fetch("/data/ChangeEvents", Earliest, 4)).await;
    let events = client.take(&mut subscription, 4).await;
    let name = &events[1].body["Name"];
    assert_eq!(
        (&name["LastName"], &name["FirstName"], &name["Salutation"]),
        (&json!("Doe"), &json!("Jo"), &Value::Null)
    );
    assert_eq!((&events[2].header["entityName"], events[2].kind()), (&json!("Account"), "DELETE"));
    assert_eq!(
        (&events[3].header["entityName"], events[3].ids()),
        (&json!("Contact"), vec![child.as_str()])
    );
    assert_eq!(events[2].header["transactionKey"], events[3].header["transactionKey"]);
    assert_eq!(
        (&events[2].header["sequenceNumber"], &events[3].header["sequenceNumber"]),
        (&json!(1), &json!(2))
    );
    assert_ne!(events[2].schema_id, events[3].schema_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_change_of_a_long_text_is_told_as_a_difference() {
    let org = org();
    let text = |last: &str| {
        let lines: Vec<String> = (0..50).map(|i| format!("line {i} of a description that is long")).collect();
        format!("{}\n{last}", lines.join("\n"))
    };
    let id = create(&org, "Account", json!({"Name": "a", "Description": text("old")}));
    update(&org, "Account", &id, json!({"Description": text("new")}));
    update(&org, "Account", &id, json!({"Description": "short now"}));
    let mut client = Client::connect(&org).await;
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Earliest, 3)).await;
    let events = client.take(&mut subscription, 3).await;
    assert_eq!(events[1].named("diffFields"), ["Description"]);
    assert_eq!(events[1].named("changedFields"), ["Description", "LastModifiedDate"]);
    let hash = ring::digest::digest(&ring::digest::SHA256, text("old").as_bytes());
    let hash: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let expected = format!("--- \n+++ {hash}\n@@ -51,1 +51,1 @@\n-old\n+new");
    assert_eq!(events[1].body["Description"], expected);
    assert_eq!(
        (events[2].named("diffFields"), &events[2].body["Description"]),
        (vec![], &json!("short now"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_beyond_the_days_allocation_end_the_stream() {
    let org = org_with(|c| c.delivered_max = 3);
    for name in ["a", "b", "c", "d"] {
        account(&org, name);
    }
    let mut client = Client::connect(&org).await;
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Earliest, 10)).await;
    let events = client.take(&mut subscription, 3).await;
    let status = subscription.answer().await.unwrap_err();
    assert_eq!(
        (status.code(), error_code(&status).as_str()),
        (Code::ResourceExhausted, "subscription.limit.exceeded")
    );
    let limits = get(&org, &v65("limits")).json();
    assert_eq!(limits["DailyDeliveredPlatformEvents"], json!({"Max": 3, "Remaining": 0}));
    // Events stay: with a larger allocation the stream goes on where it was.
    control(&org, "allocation", json!({"max": 4}));
    let mut subscription = client.subscribe(after(ACCOUNTS, &events[2].replay_id, 10)).await;
    assert_eq!(client.take(&mut subscription, 1).await[0].body["Name"], "d");
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_named_after_objects_and_channels() {
    let org = org_with(|c| c.channels = vec!["Sales__chn=Lead,Contact".parse().unwrap()]);
    let mut client = Client::connect(&org).await;
    let topic = client.topic("/data/Project__ChangeEvent").await.unwrap();
    assert!(topic.can_subscribe && !topic.can_publish && topic.schema_id.len() == 22);
    let schema: Value = serde_json::from_str(&client.schema(&topic.schema_id).await.unwrap()).unwrap();
    assert_eq!(
        (&schema["name"], &schema["namespace"]),
        (&json!("Project__ChangeEvent"), &json!("com.sforce.eventbus"))
    );
    assert_eq!(schema["fields"][0]["name"], "ChangeEventHeader");
    create(&org, "Lead", json!({"LastName": "Doe", "Company": "Acme"}));
    account(&org, "a");
    create(&org, "Contact", json!({"LastName": "Roe"}));
    let entities = |events: &[support::pubsub::Change]| -> Vec<String> {
        events.iter().map(|e| e.header["entityName"].as_str().unwrap().to_owned()).collect()
    };
    let mut channel = client.subscribe(fetch("/data/Sales__chn", Earliest, 2)).await;
    assert_eq!(entities(&client.take(&mut channel, 2).await), ["Lead", "Contact"]);
    // The channel's Lead is not selected for the default channel.
    let mut all = client.subscribe(fetch("/data/ChangeEvents", Earliest, 2)).await;
    assert_eq!(entities(&client.take(&mut all, 2).await), ["Account", "Contact"]);
    control(&org, "entities", json!(["Lead"]));
    assert_eq!(client.topic(ACCOUNTS).await.unwrap_err().code(), Code::NotFound);
    assert!(client.topic("/data/LeadChangeEvent").await.is_ok());
    let six = ["Account", "Contact", "Lead", "Case", "Opportunity", "Campaign"];
    assert_eq!(send(&org, "POST", "/__sim/pubsub/entities", json!(six)).status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_reaches_the_next_events_only() {
    let org = org();
    for name in ["a", "b", "c"] {
        account(&org, name);
    }
    control(&org, "damage", json!({"kind": "truncated"}));
    control(&org, "damage", json!({"kind": "unknown_schema"}));
    let mut client = Client::connect(&org).await;
    let mut subscription = client.subscribe(fetch(ACCOUNTS, Earliest, 3)).await;
    let answer = subscription.answer().await.unwrap();
    let event = |at: usize| answer.events[at].event.clone().unwrap();
    assert!(event(0).payload.len() * 2 <= event(2).payload.len() + 2);
    assert_eq!(client.schema(&event(1).schema_id).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.decode(&answer.events[2]).await.body["Name"], "c");
}
