//! Platform events, managed subscriptions, and the event bus over TLS.
#![allow(clippy::unwrap_used)]

mod support;

use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::{Value, json};
use support::pubsub::{Client, after, error_code, fetch};
use support::send;
use syncline_salesforce_simulator::pubsub::PubSubConfig;
use syncline_salesforce_simulator::pubsub::proto::ReplayPreset::Earliest;
use syncline_salesforce_simulator::pubsub::proto::{
    CommitReplayRequest, ErrorCode, ManagedFetchRequest, ManagedFetchResponse, ProducerEvent, PublishRequest,
};
use syncline_salesforce_simulator::web::tls::TlsConfig;
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};
use tonic::{Code, Streaming};

const DEMO: &str = "/event/Demo_Event__e";

fn org_with(change: impl FnOnce(&mut PubSubConfig)) -> RunningOrg {
    let mut pubsub = PubSubConfig {
        entities: vec!["Account".into()],
        platform_events: vec![
            "Demo_Event__e: Message__c text".parse().unwrap(),
            "Other__e: N__c number".parse().unwrap(),
        ],
        ..PubSubConfig::default()
    };
    change(&mut pubsub);
    support::org(OrgConfig {
        pubsub: Some(pubsub),
        ..OrgConfig::default()
    })
}

fn account(org: &RunningOrg, name: &str) {
    let reply = send(org, "POST", "/services/data/v65.0/sobjects/Account", json!({"Name": name}));
    assert_eq!(reply.status, 201);
}

/// An event's datum, written with the schema that the org answers.
fn datum(schema: &str, org: &RunningOrg, message: &str) -> Vec<u8> {
    let schema = apache_avro::Schema::parse_str(schema).unwrap();
    let value = Avro::Record(vec![
        ("CreatedDate".into(), Avro::Long(1_763_640_000_000)),
        ("CreatedById".into(), Avro::String(org.user_id.clone())),
        ("Message__c".into(), Avro::Union(1, Box::new(Avro::String(message.into())))),
    ]);
    GenericDatumWriter::builder(&schema)
        .build()
        .unwrap()
        .write_value_to_vec(value)
        .unwrap()
}

fn event(id: &str, schema_id: &str, payload: Vec<u8>) -> ProducerEvent {
    ProducerEvent {
        id: id.into(),
        schema_id: schema_id.into(),
        payload,
        headers: Vec::new(),
    }
}

fn publication(topic: &str, events: Vec<ProducerEvent>) -> PublishRequest {
    PublishRequest {
        topic_name: topic.into(),
        events,
        ..PublishRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_events_schema_has_the_documented_form() {
    let org = org_with(|_| {});
    let mut client = Client::connect(&org).await;
    let topic = client.topic(DEMO).await.unwrap();
    assert!(topic.can_publish && topic.can_subscribe);
    let mut made: Value = serde_json::from_str(&client.schema(&topic.schema_id).await.unwrap()).unwrap();
    let mut expected: Value = serde_json::from_str(include_str!("data/cdc/Demo_Event__e.reconstructed.avsc")).unwrap();
    assert_eq!(made["uuid"], topic.schema_id.as_str());
    for schema in [&mut made, &mut expected] {
        // The org's own hash and field ids.
        schema["uuid"] = Value::Null;
        let doc = schema["fields"][2]["doc"].as_str().unwrap().to_owned();
        schema["fields"][2]["doc"] = doc.rsplit_once(':').unwrap().0.into();
    }
    assert_eq!(made, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn published_events_arrive_and_bad_ones_are_refused_one_by_one() {
    let org = org_with(|c| c.event_bytes_max = 4000);
    let mut client = Client::connect(&org).await;
    let schema_id = client.topic(DEMO).await.unwrap().schema_id;
    let schema = client.schema(&schema_id).await.unwrap();
    let good = datum(&schema, &org, "hello");
    let cut = good[..good.len() - 3].to_vec();
    let longer = [good.clone(), vec![0]].concat();
    let large = datum(&schema, &org, &"x".repeat(5000));
    let other = client.topic("/event/Other__e").await.unwrap().schema_id;
    let events = vec![
        event("one", &schema_id, good.clone()),
        event("cut", &schema_id, cut),
        event("longer", &schema_id, longer),
        event("large", &schema_id, large),
        event("other", &other, good.clone()),
        event("two", &schema_id, good.clone()),
    ];
    let request = client.request(publication(DEMO, events));
    let response = client.rpc.publish(request).await.unwrap().into_inner();
    assert_eq!(response.schema_id, schema_id);
    let outcome: Vec<(&str, bool)> = response
        .results
        .iter()
        .map(|r| (r.correlation_key.as_str(), r.error.is_none()))
        .collect();
    assert_eq!(
        outcome,
        [
            ("one", true),
            ("cut", false),
            ("longer", false),
            ("large", false),
            ("other", false),
            ("two", true)
        ]
    );
    for result in response.results.iter().filter(|r| r.error.is_some()) {
        assert_eq!(result.error.as_ref().unwrap().code(), ErrorCode::Publish);
        assert!(result.replay_id.is_empty());
    }
    let mut subscription = client.subscribe(fetch(DEMO, Earliest, 2)).await;
    let answer = subscription.answer().await.unwrap();
    let ids: Vec<String> = answer.events.iter().map(|e| e.event.clone().unwrap().id).collect();
    assert_eq!(ids, ["one", "two"]);
    assert_eq!(answer.events[0].event.clone().unwrap().payload, good);
    assert_eq!(answer.events[1].replay_id, response.results[5].replay_id);
    for (topic, code) in [
        ("/data/AccountChangeEvent", Code::PermissionDenied),
        ("/event/Nope__e", Code::NotFound),
    ] {
        let request = client.request(publication(topic, Vec::new()));
        assert_eq!(client.rpc.publish(request).await.unwrap_err().code(), code, "{topic}");
    }
    let huge = vec![event("huge", &schema_id, vec![0; 5 * 1024 * 1024])];
    let request = client.request(publication(DEMO, huge));
    assert_eq!(client.rpc.publish(request).await.unwrap_err().code(), Code::ResourceExhausted);
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_beyond_the_hours_allocation_are_refused() {
    let org = org_with(|c| c.published_max = 2);
    let mut client = Client::connect(&org).await;
    let schema_id = client.topic(DEMO).await.unwrap().schema_id;
    let good = datum(&client.schema(&schema_id).await.unwrap(), &org, "a");
    // A bad event uses nothing up.
    let payloads = [good.clone(), vec![9], good.clone(), good];
    let events = payloads.into_iter().map(|p| event("e", &schema_id, p)).collect();
    let request = client.request(publication(DEMO, events));
    let results = client.rpc.publish(request).await.unwrap().into_inner().results;
    assert_eq!(
        results.iter().map(|r| r.error.is_none()).collect::<Vec<_>>(),
        [true, false, true, false]
    );
    assert!(results[3].error.as_ref().unwrap().msg.starts_with("LIMIT_EXCEEDED"));
    let limits = support::get(&org, "/services/data/v65.0/limits").json();
    assert_eq!(limits["HourlyPublishedPlatformEvents"], json!({"Max": 2, "Remaining": 0}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_stream_answers_each_request_and_ends_without_valid_publishes() {
    let org = org_with(|c| c.publish_idle_ms = 300);
    let mut client = Client::connect(&org).await;
    let schema_id = client.topic(DEMO).await.unwrap().schema_id;
    let schema = client.schema(&schema_id).await.unwrap();
    let (requests, inbound) = mpsc::channel(4);
    let request = client.request(ReceiverStream::new(inbound));
    let first = vec![event("a", &schema_id, datum(&schema, &org, "a"))];
    requests.send(publication(DEMO, first)).await.unwrap();
    let mut answers = client.rpc.publish_stream(request).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().unwrap().results[0].error.is_none());
    // The topic need not be named again.
    let second = vec![event("b", &schema_id, datum(&schema, &org, "b")), event("c", &schema_id, vec![9])];
    requests.send(publication("", second)).await.unwrap();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!(answer.results.iter().map(|r| r.error.is_none()).collect::<Vec<_>>(), [true, false]);
    assert!(answers.message().await.unwrap().is_none(), "an idle stream ends");
    let mut subscription = client.subscribe(fetch(DEMO, Earliest, 2)).await;
    let events = client.take_plain(&mut subscription, 2).await;
    assert_eq!((&events[0]["Message__c"], &events[1]["Message__c"]), (&json!("a"), &json!("b")));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_channel_come_from_all_its_members() {
    let org = org_with(|c| c.channels = vec!["Mixed__chn=Demo_Event__e,Other__e".parse().unwrap()]);
    let mut client = Client::connect(&org).await;
    let schema_id = client.topic(DEMO).await.unwrap().schema_id;
    let schema = client.schema(&schema_id).await.unwrap();
    let request = client.request(publication(DEMO, vec![event("a", &schema_id, datum(&schema, &org, "a"))]));
    client.rpc.publish(request).await.unwrap();
    account(&org, "not of the channel");
    let mut subscription = client.subscribe(fetch("/event/Mixed__chn", Earliest, 5)).await;
    let events = client.take_plain(&mut subscription, 1).await;
    assert_eq!(events[0]["Message__c"], "a");
    assert_eq!(client.topic("/data/Mixed__chn").await.unwrap_err().code(), Code::NotFound);
}

struct Managed {
    asks: mpsc::Sender<ManagedFetchRequest>,
    answers: Streaming<ManagedFetchResponse>,
}

async fn managed(client: &mut Client, name: &str, number: i32) -> Managed {
    let (asks, inbound) = mpsc::channel(4);
    let first = ManagedFetchRequest {
        developer_name: name.into(),
        num_requested: number,
        ..ManagedFetchRequest::default()
    };
    asks.send(first).await.unwrap();
    let request = client.request(ReceiverStream::new(inbound));
    let answers = client.rpc.managed_subscribe(request).await.unwrap().into_inner();
    Managed { asks, answers }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_managed_subscription_goes_on_behind_what_was_committed() {
    let org = org_with(|c| c.managed = vec!["Sync=/data/AccountChangeEvent@EARLIEST".parse().unwrap()]);
    for name in ["a", "b", "c"] {
        account(&org, name);
    }
    let mut client = Client::connect(&org).await;
    let mut stream = managed(&mut client, "Sync", 2).await;
    let answer = stream.answers.message().await.unwrap().unwrap();
    assert_eq!((answer.events.len(), answer.pending_num_requested), (2, 0));
    let commit = |id: &str, replay_id: &[u8]| ManagedFetchRequest {
        commit_replay_id_request: Some(CommitReplayRequest {
            commit_request_id: id.into(),
            replay_id: replay_id.to_vec(),
        }),
        ..ManagedFetchRequest::default()
    };
    stream.asks.send(commit("good", &answer.events[0].replay_id)).await.unwrap();
    let told = stream.answers.message().await.unwrap().unwrap().commit_response.unwrap();
    assert!(told.commit_request_id == "good" && told.error.is_none() && told.process_time > 0);
    stream.asks.send(commit("bad", b"nonsense")).await.unwrap();
    let told = stream.answers.message().await.unwrap().unwrap().commit_response.unwrap();
    assert_eq!(
        (told.commit_request_id.as_str(), told.error.unwrap().code()),
        ("bad", ErrorCode::Commit)
    );
    drop(stream);
    // Only the first was committed: the second comes again.
    let mut stream = managed(&mut client, "Sync", 1).await;
    let answer = stream.answers.message().await.unwrap().unwrap();
    assert_eq!(client.decode(&answer.events[0]).await.body["Name"], "b");
    let mut stream = managed(&mut client, "Nope", 1).await;
    let status = stream.answers.message().await.unwrap_err();
    assert_eq!(
        (status.code(), error_code(&status).as_str()),
        (Code::NotFound, "subscription.notfound")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bus_answers_over_tls_too() {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (certificate, private) = (dir.path().join("chain.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate, key.cert.pem()).unwrap();
    std::fs::write(&private, key.signing_key.serialize_pem()).unwrap();
    let org = support::org(OrgConfig {
        tls: Some(TlsConfig {
            port: 0,
            certificate,
            key: private,
        }),
        pubsub: Some(PubSubConfig {
            entities: vec!["Account".into()],
            ..PubSubConfig::default()
        }),
        ..OrgConfig::default()
    });
    account(&org, "a");
    let facts = org.facts();
    let url = facts["pubsub_https_url"].as_str().unwrap().to_owned();
    assert_ne!(facts["pubsub_url"], url.as_str());
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(key.cert.pem()))
        .domain_name("localhost");
    let channel = Channel::from_shared(url).unwrap().tls_config(tls).unwrap().connect().await.unwrap();
    let mut client = Client::over(channel, &org);
    let mut subscription = client.subscribe(fetch("/data/AccountChangeEvent", Earliest, 1)).await;
    let events = client.take(&mut subscription, 1).await;
    assert_eq!(events[0].body["Name"], "a");
    let mut subscription = client.subscribe(after("/data/AccountChangeEvent", &events[0].replay_id, 1)).await;
    account(&org, "b");
    assert_eq!(client.take(&mut subscription, 1).await[0].body["Name"], "b");
}

#[test]
fn an_org_does_not_start_with_a_bus_that_cannot_be() {
    let start = |change: &dyn Fn(&mut PubSubConfig)| {
        let mut pubsub = PubSubConfig::default();
        change(&mut pubsub);
        let config = OrgConfig {
            pubsub: Some(pubsub),
            ..OrgConfig::default()
        };
        syncline_salesforce_simulator::Org::start(config).err().map(|e| e.to_string())
    };
    let six = ["Account", "Contact", "Lead", "Case", "Opportunity", "Campaign"]
        .map(str::to_owned)
        .to_vec();
    let text = start(&|c| c.entities = six.clone()).unwrap();
    assert_eq!(text, "the event bus: 6 objects are selected for change data capture, 5 may be");
    assert!(start(&|c| (c.entities, c.entities_max) = (six.clone(), 6)).is_none());
    assert!(start(&|c| c.entities = vec!["Nope__c".into()]).unwrap().contains("Nope__c"));
    assert!(
        start(&|c| c.channels = vec!["X__chn=Nope__e".parse().unwrap()])
            .unwrap()
            .contains("Nope__e")
    );
}
