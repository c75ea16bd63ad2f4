//! Subscriptions against an org: cuts, sessions that end, positions that are lost, events that are damaged.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value as Json, json};
use syncline_connect::retry::RetryPolicy;
use syncline_connect::{Access, AccessToken, ConnectError, Usage};
use syncline_domain::ErrorCode;
use syncline_salesforce::change_event::{ChangeEvent, ChangeType, Value, text_diff};
use syncline_salesforce::pubsub::{PubSub, Start, Subscription};
use syncline_salesforce_simulator::pubsub::PubSubConfig;
use syncline_salesforce_simulator::{Org, OrgConfig, RunningOrg};

const ACCOUNTS: &str = "/data/AccountChangeEvent";
/// How long an event may take before a test gives up.
const DEADLINE: Duration = Duration::from_secs(20);

/// The org's fixed token, and another one that is no session until it is renewed.
#[derive(Debug)]
struct OrgAccess {
    good: AccessToken,
    stale: AccessToken,
    renewals: AtomicUsize,
    /// Whether a renewal helps.
    mends: bool,
}

#[async_trait]
impl Access for OrgAccess {
    async fn token(&self) -> Result<AccessToken, ConnectError> {
        let is_stale = self.renewals.load(Ordering::SeqCst) == 0 || !self.mends;
        Ok(if is_stale { self.stale.clone() } else { self.good.clone() })
    }

    async fn refresh(&self, _: &AccessToken) -> Result<AccessToken, ConnectError> {
        self.renewals.fetch_add(1, Ordering::SeqCst);
        self.token().await
    }

    async fn permit(&self, _: u32) -> Result<(), ConnectError> {
        Ok(())
    }

    fn observe(&self, _: Usage) {}
}

fn org_with(change: impl FnOnce(&mut PubSubConfig)) -> RunningOrg {
    let mut pubsub = PubSubConfig {
        entities: vec!["Account".into()],
        ..PubSubConfig::default()
    };
    change(&mut pubsub);
    Org::start(OrgConfig {
        pubsub: Some(pubsub),
        ..OrgConfig::default()
    })
    .unwrap()
}

fn access(org: &RunningOrg, first: &str, mends: bool) -> Arc<OrgAccess> {
    let token = |text: &str| AccessToken::new(org.url.clone(), "65.0".into(), text.to_owned());
    Arc::new(OrgAccess {
        good: token(&org.token),
        stale: token(first),
        renewals: AtomicUsize::new(0),
        mends,
    })
}

fn pubsub(org: &RunningOrg, access: Arc<OrgAccess>) -> PubSub {
    let policy = RetryPolicy {
        attempts_max: 4,
        delay_min: Duration::from_millis(1),
        delay_max: Duration::from_millis(5),
        ..RetryPolicy::default()
    };
    PubSub::new(org.pubsub_url.as_ref().unwrap(), &org.org_id, access, policy).unwrap()
}

fn subscribe(org: &RunningOrg, start: Start, batch: i32) -> Subscription {
    pubsub(org, access(org, &org.token, true)).subscribe(ACCOUNTS, start, batch)
}

async fn send(org: &RunningOrg, method: &str, path: &str, body: Json) -> Json {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let request = reqwest::Client::new().request(method.parse().unwrap(), format!("{}{path}", org.url));
    let response = request.bearer_auth(&org.token).json(&body).send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    assert!(status.is_success(), "{text}");
    serde_json::from_str(&text).unwrap_or_default()
}

async fn create(org: &RunningOrg, name: &str) -> String {
    let made = send(org, "POST", "/services/data/v65.0/sobjects/Account", json!({"Name": name})).await;
    made["id"].as_str().unwrap().to_owned()
}

async fn update(org: &RunningOrg, id: &str, body: Json) {
    send(org, "PATCH", &format!("/services/data/v65.0/sobjects/Account/{id}"), body).await;
}

/// Deliveries until there are `count` events.
async fn take(subscription: &mut Subscription, count: usize) -> Vec<ChangeEvent> {
    let mut out = Vec::new();
    while out.len() < count {
        let delivery = tokio::time::timeout(DEADLINE, subscription.next())
            .await
            .expect("nothing arrives")
            .unwrap();
        out.extend(delivery.events);
    }
    out
}

async fn failure(subscription: &mut Subscription) -> ConnectError {
    loop {
        let next = tokio::time::timeout(DEADLINE, subscription.next()).await.expect("nothing arrives");
        if let Err(error) = next {
            return error;
        }
    }
}

fn names(events: &[ChangeEvent]) -> Vec<String> {
    let name = |e: &ChangeEvent| match e.field("Name") {
        Some(Value::Text(name)) => name.clone(),
        _ => String::new(),
    };
    events.iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_in_order_in_batches_and_resume_behind_a_position() {
    let org = org_with(|_| {});
    for i in 0..7 {
        create(&org, &format!("a{i}")).await;
    }
    let mut subscription = subscribe(&org, Start::Earliest, 3);
    let first = subscription.next().await.unwrap();
    assert_eq!(names(&first.events), ["a0", "a1", "a2"]);
    assert_eq!(names(&take(&mut subscription, 4).await), ["a3", "a4", "a5", "a6"]);
    let mut again = subscribe(&org, Start::After(first.position), 100);
    assert_eq!(names(&take(&mut again, 4).await), ["a3", "a4", "a5", "a6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_stream_goes_on_without_loss_or_repetition() {
    let org = org_with(|_| {});
    let mut subscription = subscribe(&org, Start::Earliest, 2);
    let mut seen = Vec::new();
    for i in 0..6 {
        create(&org, &format!("a{i}")).await;
        seen.extend(names(&take(&mut subscription, 1).await));
        // By turns the service ends the stream, or the connection breaks.
        let cut = json!({"status": "UNAVAILABLE", "error_code": "service.unavailable"});
        send(
            &org,
            "POST",
            if i % 2 == 0 { "/__sim/pubsub/cut" } else { "/__sim/pubsub/reset" },
            cut,
        )
        .await;
    }
    assert_eq!(seen, ["a0", "a1", "a2", "a3", "a4", "a5"]);
    // When every attempt fails, the caller is told.
    let fault = json!({"rpc": "Subscribe", "status": "INTERNAL", "error_code": "service.unavailable", "times": 10});
    send(&org, "POST", "/__sim/pubsub/faults", fault).await;
    let error = failure(&mut subscription).await;
    assert_eq!(error.code, ErrorCode::Unreachable);
    assert_eq!(error.native.as_deref(), Some("sfdc.platform.eventbus.grpc.service.unavailable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_left_idle_or_silent_is_opened_again() {
    let org = org_with(|c| {
        c.unrequested_ms = 20;
        c.keepalive_ms = 60_000;
    });
    create(&org, "a").await;
    let mut subscription = subscribe(&org, Start::Earliest, 1);
    assert_eq!(names(&take(&mut subscription, 1).await), ["a"]);
    // All that was asked for has come; the org ends the stream while the caller is busy.
    tokio::time::timeout(DEADLINE, subscribers_gone(&org))
        .await
        .expect("the stream stays open");
    create(&org, "b").await;
    assert_eq!(names(&take(&mut subscription, 1).await), ["b"]);
    // A stream on which nothing is heard at all is given up after its longest silence.
    let quiet = pubsub(&org, access(&org, &org.token, true)).silence_max(Duration::from_millis(20));
    let mut quiet = quiet.subscribe(ACCOUNTS, Start::Latest, 1);
    assert_eq!(failure(&mut quiet).await.code, ErrorCode::NetworkTimeout);
}

/// Until no stream is open.
async fn subscribers_gone(org: &RunningOrg) {
    loop {
        let state = send(org, "GET", "/__sim/pubsub", Json::Null).await;
        if state["streams"] == 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keep_alive_moves_the_position() {
    let org = org_with(|c| c.keepalive_ms = 20);
    create(&org, "a").await;
    let mut subscription = subscribe(&org, Start::Latest, 5);
    let delivery = subscription.next().await.unwrap();
    assert!(delivery.events.is_empty());
    assert_eq!(subscription.position(), &Start::After(delivery.position.clone()));
    create(&org, "b").await;
    let mut again = subscribe(&org, Start::After(delivery.position), 5);
    assert_eq!(names(&take(&mut again, 1).await), ["b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_is_renewed_once() {
    let org = org_with(|_| {});
    create(&org, "a").await;
    let held = access(&org, "ended", true);
    let mut subscription = pubsub(&org, Arc::clone(&held)).subscribe(ACCOUNTS, Start::Earliest, 1);
    assert_eq!(names(&take(&mut subscription, 1).await), ["a"]);
    assert_eq!(held.renewals.load(Ordering::SeqCst), 1);
    let held = access(&org, "ended", false);
    let mut subscription = pubsub(&org, Arc::clone(&held)).subscribe(ACCOUNTS, Start::Earliest, 1);
    let error = failure(&mut subscription).await;
    assert_eq!((error.code, held.renewals.load(Ordering::SeqCst)), (ErrorCode::Credentials, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_that_are_the_callers_are_told_with_their_code() {
    let org = org_with(|c| c.delivered_max = 1);
    create(&org, "a").await;
    create(&org, "b").await;
    let mut subscription = subscribe(&org, Start::Earliest, 5);
    let position = subscription.next().await.unwrap().position;
    assert_eq!(failure(&mut subscription).await.code, ErrorCode::DailyApiLimit);
    send(&org, "POST", "/__sim/pubsub/forget", json!({})).await;
    let error = failure(&mut subscribe(&org, Start::After(position), 1)).await;
    assert!(error.gone, "{error:?}");
    let mut elsewhere = pubsub(&org, access(&org, &org.token, true)).subscribe("/data/LeadChangeEvent", Start::Latest, 1);
    assert_eq!(failure(&mut elsewhere).await.code, ErrorCode::ObjectMissing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_changes_in_mid_stream_is_learnt_and_damage_names_its_place() {
    let org = org_with(|_| {});
    let mut subscription = subscribe(&org, Start::Earliest, 10);
    create(&org, "a").await;
    let form = json!({"object": "Account", "add": "Grade__c", "value": "A", "after": "Name"});
    send(&org, "POST", "/__sim/pubsub/schema", form).await;
    create(&org, "b").await;
    let events = take(&mut subscription, 2).await;
    assert_eq!(events[0].field("Grade__c"), None);
    assert!(events[1].field("Grade__c") == Some(&Value::Text("A".into())));
    send(&org, "POST", "/__sim/pubsub/damage", json!({"kind": "truncated"})).await;
    create(&org, "c").await;
    let error = failure(&mut subscription).await;
    assert_eq!(error.code, ErrorCode::BadAnswer);
    assert!(error.message.contains(", field ") && error.message.contains(", byte "), "{error}");
    // The position stayed before the damaged event; undamaged, it is delivered.
    assert_eq!(names(&take(&mut subscription, 1).await), ["c"]);
    send(&org, "POST", "/__sim/pubsub/damage", json!({"kind": "unknown_schema"})).await;
    create(&org, "d").await;
    assert_eq!(failure(&mut subscription).await.code, ErrorCode::ObjectMissing);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_by_name_and_differences_are_applied() {
    let org = org_with(|_| {});
    let text = |last: &str| {
        let lines: Vec<String> = (0..60).map(|i| format!("line {i} of a description that is long")).collect();
        format!("{}\n{last}\n", lines.join("\n"))
    };
    let id = create(&org, "a").await;
    update(&org, &id, json!({"Description": text("old"), "BillingCity": "Reno"})).await;
    update(&org, &id, json!({"Description": text("new"), "BillingCity": null})).await;
    let events = take(&mut subscribe(&org, Start::Earliest, 10), 3).await;
    let changed = |at: usize| events[at].changed.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(changed(1), ["Description", "LastModifiedDate", "BillingAddress.City"]);
    assert_eq!(events[2].change, ChangeType::Update);
    assert_eq!(
        events[2].diffed.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["Description"]
    );
    assert_eq!(
        events[2].nulled.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["BillingAddress"]
    );
    let (Some(Value::Text(old)), Some(Value::Text(diff))) = (events[1].field("Description"), events[2].field("Description")) else {
        panic!("no texts");
    };
    assert!(text_diff::is_diff(diff));
    assert_eq!(text_diff::apply(old, diff).unwrap(), text("new"));
}
