//! A subscriber of its own: generated client, events decoded with their own schema, bitmaps expanded.

use std::collections::HashMap;
use std::time::Duration;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use serde_json::{Map, Value, json};
use syncline_salesforce_simulator::RunningOrg;
use syncline_salesforce_simulator::pubsub::proto::pub_sub_client::PubSubClient;
use syncline_salesforce_simulator::pubsub::proto::{
    ConsumerEvent, FetchRequest, FetchResponse, ReplayPreset, SchemaRequest, TopicInfo, TopicRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

/// Longest an event may take to arrive.
const EVENT_SECS_MAX: u64 = 20;

/// A client with the credentials of an org.
pub struct Client {
    pub rpc: PubSubClient<Channel>,
    metadata: Vec<(&'static str, String)>,
    schemas: HashMap<String, apache_avro::Schema>,
}

/// An open subscription.
pub struct Subscription {
    pub asks: mpsc::Sender<FetchRequest>,
    pub answers: Streaming<FetchResponse>,
}

/// A decoded event.
#[derive(Debug, Clone)]
pub struct Change {
    pub schema_id: String,
    pub replay_id: Vec<u8>,
    pub header: Value,
    pub body: Map<String, Value>,
    /// Names by bitmap: `changedFields`, `nulledFields`, `diffFields`.
    pub fields: HashMap<String, Vec<String>>,
}

impl Change {
    pub fn kind(&self) -> &str {
        self.header["changeType"].as_str().unwrap()
    }

    pub fn ids(&self) -> Vec<&str> {
        self.header["recordIds"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_str().unwrap())
            .collect()
    }

    pub fn named(&self, bitmap: &str) -> Vec<&str> {
        self.fields[bitmap].iter().map(String::as_str).collect()
    }
}

impl Client {
    pub async fn connect(org: &RunningOrg) -> Self {
        let channel = Channel::from_shared(org.pubsub_url.clone().unwrap())
            .unwrap()
            .connect()
            .await
            .unwrap();
        Self::over(channel, org)
    }

    pub fn over(channel: Channel, org: &RunningOrg) -> Self {
        Self {
            rpc: PubSubClient::new(channel),
            metadata: vec![
                ("accesstoken", org.token.clone()),
                ("instanceurl", org.url.clone()),
                ("tenantid", org.org_id.clone()),
            ],
            schemas: HashMap::new(),
        }
    }

    /// Other credentials.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.metadata.retain(|(k, _)| *k != key || !value.is_empty());
        for (k, v) in &mut self.metadata {
            if *k == key {
                *v = value.to_owned();
            }
        }
        self
    }

    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for (key, value) in &self.metadata {
            request.metadata_mut().insert(*key, value.parse().unwrap());
        }
        request
    }

    pub async fn topic(&mut self, name: &str) -> Result<TopicInfo, Status> {
        let request = self.request(TopicRequest { topic_name: name.into() });
        Ok(self.rpc.get_topic(request).await?.into_inner())
    }

    pub async fn schema(&mut self, id: &str) -> Result<String, Status> {
        let request = self.request(SchemaRequest { schema_id: id.into() });
        Ok(self.rpc.get_schema(request).await?.into_inner().schema_json)
    }

    pub async fn subscribe(&mut self, first: FetchRequest) -> Subscription {
        let (asks, inbound) = mpsc::channel(8);
        asks.send(first).await.unwrap();
        let request = self.request(ReceiverStream::new(inbound));
        let answers = self.rpc.subscribe(request).await.unwrap().into_inner();
        Subscription { asks, answers }
    }

    /// What the first answer of a subscription ends with.
    pub async fn refusal(&mut self, first: FetchRequest) -> Status {
        let mut subscription = self.subscribe(first).await;
        subscription.answer().await.unwrap_err()
    }

    /// An event's datum under its own schema.
    async fn datum(&mut self, event: &ConsumerEvent) -> (String, Avro) {
        let inner = event.event.clone().unwrap();
        if !self.schemas.contains_key(&inner.schema_id) {
            let json = self.schema(&inner.schema_id).await.unwrap();
            let schema = apache_avro::Schema::parse_str(&json).unwrap();
            self.schemas.insert(inner.schema_id.clone(), schema);
        }
        let schema = &self.schemas[&inner.schema_id];
        let mut rest = &inner.payload[..];
        let value = GenericDatumReader::builder(schema).build().unwrap().read_value(&mut rest).unwrap();
        assert!(rest.is_empty(), "{} bytes are left", rest.len());
        (inner.schema_id, value)
    }

    pub async fn decode(&mut self, event: &ConsumerEvent) -> Change {
        let (schema_id, value) = self.datum(event).await;
        let schema = &self.schemas[&schema_id];
        let Avro::Record(mut record) = value else { panic!("no record") };
        let names: Vec<String> = record.iter().map(|(n, _)| n.clone()).collect();
        let parts: Vec<Vec<String>> = record.iter().map(|(n, _)| part_names(schema, n)).collect();
        let header = plain(record.remove(0).1);
        let fields = ["changedFields", "nulledFields", "diffFields"]
            .map(|b| (b.to_owned(), expand(&header[b], &names, &parts)))
            .into();
        Change {
            schema_id,
            replay_id: event.replay_id.clone(),
            header,
            body: record.into_iter().map(|(n, v)| (n, plain(v))).collect(),
            fields,
        }
    }

    /// The next `count` events that have no header, as plain records.
    pub async fn take_plain(&mut self, subscription: &mut Subscription, count: usize) -> Vec<Value> {
        let mut out = Vec::new();
        while out.len() < count {
            for event in subscription.answer().await.unwrap().events {
                out.push(plain(self.datum(&event).await.1));
            }
        }
        out
    }

    /// The next `count` events of a subscription that has asked for them.
    pub async fn take(&mut self, subscription: &mut Subscription, count: usize) -> Vec<Change> {
        let mut out = Vec::new();
        while out.len() < count {
            let answer = subscription.answer().await.unwrap();
            for event in &answer.events {
                out.push(self.decode(event).await);
            }
        }
        assert_eq!(out.len(), count);
        out
    }
}

impl Subscription {
    /// The next answer; the stream's end is an `OK` status.
    pub async fn answer(&mut self) -> Result<FetchResponse, Status> {
        let next = tokio::time::timeout(Duration::from_secs(EVENT_SECS_MAX), self.answers.message());
        next.await.expect("nothing arrives")?.ok_or_else(|| Status::ok("ended"))
    }

    /// Waits for a keep-alive: the subscription has then begun.
    pub async fn quiet(&mut self) {
        let answer = self.answer().await.unwrap();
        assert!(answer.events.is_empty());
    }

    pub async fn ask(&self, number: i32) {
        let ask = FetchRequest {
            num_requested: number,
            ..FetchRequest::default()
        };
        self.asks.send(ask).await.unwrap();
    }
}

pub fn fetch(topic: &str, preset: ReplayPreset, number: i32) -> FetchRequest {
    FetchRequest {
        topic_name: topic.into(),
        replay_preset: preset.into(),
        num_requested: number,
        ..FetchRequest::default()
    }
}

pub fn after(topic: &str, replay_id: &[u8], number: i32) -> FetchRequest {
    FetchRequest {
        replay_id: replay_id.to_vec(),
        ..fetch(topic, ReplayPreset::Custom, number)
    }
}

/// The `error-code` trailer without the service's prefix.
pub fn error_code(status: &Status) -> String {
    let text = |key: &str| status.metadata().get(key).map(|v| v.to_str().unwrap().to_owned());
    assert!(text("rpc-id").is_some_and(|id| status.message().contains(&id)), "{status:?}");
    let code = text("error-code").unwrap_or_default();
    code.strip_prefix("sfdc.platform.eventbus.grpc.").unwrap_or(&code).to_owned()
}

fn plain(value: Avro) -> Value {
    match value {
        Avro::Null => Value::Null,
        Avro::Boolean(b) => json!(b),
        Avro::Int(n) => json!(n),
        Avro::Long(n) => json!(n),
        Avro::Double(n) => json!(n),
        Avro::String(s) => json!(s),
        Avro::Enum(_, s) => json!(s),
        Avro::Union(_, inner) => plain(*inner),
        Avro::Array(list) => list.into_iter().map(plain).collect(),
        Avro::Record(fields) => Value::Object(fields.into_iter().map(|(n, v)| (n, plain(v))).collect()),
        other => panic!("{other:?}"),
    }
}

fn part_names(schema: &apache_avro::Schema, field: &str) -> Vec<String> {
    let json: Value = serde_json::from_str(&serde_json::to_string(schema).unwrap()).unwrap();
    let fields = json["fields"].as_array().unwrap();
    let own = fields.iter().find(|f| f["name"] == field).unwrap();
    let branches = own["type"].as_array().cloned().unwrap_or_default();
    let inline = branches.iter().find(|b| b["fields"].is_array()).cloned();
    let named = || {
        let name = branches.last()?.as_str()?.rsplit('.').next()?.to_owned();
        let all = fields.iter().flat_map(|f| f["type"].as_array().cloned().unwrap_or_default());
        all.into_iter().find(|b| b["name"] == name.as_str())
    };
    let record = inline.or_else(named);
    let parts = record
        .map(|r| r["fields"].as_array().cloned().unwrap_or_default())
        .unwrap_or_default();
    parts.iter().map(|p| p["name"].as_str().unwrap().to_owned()).collect()
}

fn expand(bitmaps: &Value, names: &[String], parts: &[Vec<String>]) -> Vec<String> {
    let mut out = Vec::new();
    for text in bitmaps.as_array().unwrap() {
        let text = text.as_str().unwrap();
        let (field, hex) = match text.split_once('-') {
            Some((field, hex)) => (Some(field.parse::<usize>().unwrap()), hex),
            None => (None, text),
        };
        let number = u128::from_str_radix(hex.strip_prefix("0x").unwrap(), 16).unwrap();
        for bit in (0..128).filter(|b| number >> b & 1 == 1) {
            out.push(match field {
                Some(field) => format!("{}.{}", names[field], parts[field][bit]),
                None => names[bit].clone(),
            });
        }
    }
    out
}
