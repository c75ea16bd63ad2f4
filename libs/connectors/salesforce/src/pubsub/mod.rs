//! Change events as they happen: a subscription of the Pub/Sub API that survives cuts.
//!
//! [`Subscription::next`] gives events, or a position without events when nothing happened; whoever stores the position
//! together with what the events did can start again behind it ([`Start::After`]). More events are asked for only when
//! the caller comes back, so a slow caller is never sent more than a batch. A broken stream is opened again behind the
//! last position, after growing pauses; a session that ended is renewed. Delivery is at least once: compare
//! transaction key and sequence number.
//!
//! Some ends are the caller's: a position that is too old ([`ConnectError::gone`]: read everything again, then start at
//! [`Start::Earliest`]), a topic that is not there, the day's deliveries used up, an event that cannot be decoded.

mod refusal;

use std::sync::Arc;
use std::time::Duration;

use backon::BackoffBuilder;
use syncline_connect::retry::RetryPolicy;
use syncline_connect::{Access, AccessToken, ConnectError};
use syncline_domain::ErrorCode;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Streaming};

use crate::change_event::{ChangeEvent, Decoder};
use crate::client::delays;
use proto::pub_sub_client::PubSubClient;
use proto::{FetchRequest, FetchResponse, ReplayPreset, SchemaRequest};
use refusal::{Act, Refusal};

#[allow(clippy::all, clippy::pedantic, missing_docs, reason = "generated")]
mod proto {
    tonic::include_proto!("eventbus.v1");
}

/// Events that may be outstanding (Pub/Sub API, "Pull Subscription and Flow Control").
pub const BATCH_EVENTS_MAX: i32 = 100;
/// The service answers at the latest every 270 s, with or without events; a longer silence is a dead stream.
const SILENCE_MAX: Duration = Duration::from_secs(300);
/// Bytes of the largest answer.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Requests for more that wait to be sent.
const ASKS_WAITING_MAX: usize = 2;

/// Where a subscription begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// With what happens from now on. Until its first delivery such a subscription has no position to resume from.
    Latest,
    /// With the oldest event that is retained, 72 hours at most.
    Earliest,
    /// Behind a position that was delivered earlier.
    After(Vec<u8>),
}

/// What one call of [`Subscription::next`] brought.
#[derive(Debug)]
pub struct Delivery {
    /// Events in the order in which they were committed; none when nothing happened for a while.
    pub events: Vec<ChangeEvent>,
    /// Behind the last of them, and behind all events of other topics meanwhile.
    pub position: Vec<u8>,
}

/// The Pub/Sub endpoint of one org.
#[derive(Debug, Clone)]
pub struct PubSub {
    channel: Channel,
    access: Arc<dyn Access>,
    /// The org's id, 18 characters.
    tenant: String,
    policy: RetryPolicy,
    silence_max: Duration,
}

impl PubSub {
    /// A handle on an endpoint such as `https://api.pubsub.salesforce.com:7443`. It connects when it is first used.
    ///
    /// # Errors
    /// When the endpoint is no address.
    pub fn new(endpoint: &str, tenant: &str, access: Arc<dyn Access>, policy: RetryPolicy) -> Result<Self, ConnectError> {
        let invalid = |_| ConnectError::new(ErrorCode::Unreachable, "the Pub/Sub endpoint is no address");
        let mut address = Endpoint::from_shared(endpoint.to_owned())
            .map_err(invalid)?
            .connect_timeout(policy.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_while_idle(true);
        if endpoint.starts_with("https:") {
            address = address.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(invalid)?;
        }
        Ok(Self {
            channel: address.connect_lazy(),
            access,
            tenant: tenant.to_owned(),
            policy,
            silence_max: SILENCE_MAX,
        })
    }

    /// Another longest silence.
    #[must_use]
    pub fn silence_max(mut self, silence_max: Duration) -> Self {
        self.silence_max = silence_max;
        self
    }

    /// A subscription that asks for `batch` events at a time; it is opened by its first [`Subscription::next`].
    #[must_use]
    pub fn subscribe(&self, topic: &str, start: Start, batch: i32) -> Subscription {
        Subscription {
            pubsub: self.clone(),
            topic: topic.to_owned(),
            start,
            batch: batch.clamp(1, BATCH_EVENTS_MAX),
            decoder: Decoder::new(),
            open: None,
        }
    }

    fn client(&self) -> PubSubClient<Channel> {
        PubSubClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    fn request<T>(&self, message: T, token: &AccessToken) -> Result<Request<T>, Refusal> {
        let mut request = Request::new(message);
        for (key, value) in [
            ("accesstoken", token.expose()),
            ("instanceurl", token.instance_url.as_str()),
            ("tenantid", self.tenant.as_str()),
        ] {
            let value = MetadataValue::try_from(value).map_err(|_| Refusal::unusable(key))?;
            request.metadata_mut().insert(key, value);
        }
        Ok(request)
    }
}

/// An open stream.
struct Open {
    asks: mpsc::Sender<FetchRequest>,
    answers: Streaming<FetchResponse>,
    token: AccessToken,
    /// Events asked for that have not come yet.
    pending: i32,
}

/// One topic, read from a position on.
pub struct Subscription {
    pubsub: PubSub,
    topic: String,
    start: Start,
    batch: i32,
    decoder: Decoder,
    open: Option<Open>,
}

impl Subscription {
    /// Where the subscription would start now.
    #[must_use]
    pub fn position(&self) -> &Start {
        &self.start
    }

    /// Waits for the next events or sign of life.
    ///
    /// # Errors
    /// When the position is lost ([`ConnectError::gone`]), the topic is not there, a new session is refused as well, an
    /// event cannot be decoded (the position stays before its answer), or nothing answers in all attempts.
    pub async fn next(&mut self) -> Result<Delivery, ConnectError> {
        let longest = self.pubsub.policy.delay_max;
        let mut pauses = delays(&self.pubsub.policy).build().map(|pause| pause.min(longest));
        let mut renewed = false;
        loop {
            let refusal = match self.attempt().await {
                Ok(delivery) => return Ok(delivery),
                Err(refusal) => refusal,
            };
            let stale = self.open.take().map(|open| open.token);
            match refusal.act {
                Act::Renew if !renewed => {
                    renewed = true;
                    let stale = match stale.or(refusal.token.map(|t| *t)) {
                        Some(token) => token,
                        None => self.pubsub.access.token().await?,
                    };
                    self.pubsub.access.refresh(&stale).await?;
                }
                Act::Again => {
                    let Some(pause) = pauses.next() else { return Err(*refusal.error) };
                    let error = &refusal.error;
                    tracing::warn!(code = %error.code, message = %error.message, delay_ms = pause.as_millis(), "subscription is opened again");
                    tokio::time::sleep(pause).await;
                }
                Act::Renew | Act::GiveUp => return Err(*refusal.error),
            }
        }
    }

    async fn attempt(&mut self) -> Result<Delivery, Refusal> {
        if self.open.is_none() {
            self.open = Some(self.open_stream().await?);
        }
        let answer = self.answer().await?;
        let events = self.decode(&answer).await?;
        if !answer.latest_replay_id.is_empty() {
            self.start = Start::After(answer.latest_replay_id.clone());
        }
        Ok(Delivery {
            events,
            position: answer.latest_replay_id,
        })
    }

    async fn open_stream(&self) -> Result<Open, Refusal> {
        let token = self.pubsub.access.token().await.map_err(Refusal::last)?;
        let (preset, replay_id) = match &self.start {
            Start::Latest => (ReplayPreset::Latest, Vec::new()),
            Start::Earliest => (ReplayPreset::Earliest, Vec::new()),
            Start::After(position) => (ReplayPreset::Custom, position.clone()),
        };
        let first = FetchRequest {
            topic_name: self.topic.clone(),
            replay_preset: preset.into(),
            replay_id,
            num_requested: self.batch,
            ..FetchRequest::default()
        };
        let (asks, outbound) = mpsc::channel(ASKS_WAITING_MAX);
        // There is room: the channel is new.
        let _ = asks.send(first).await;
        let request = self.pubsub.request(ReceiverStream::new(outbound), &token)?;
        let opening = self.pubsub.client();
        let opened = tokio::time::timeout(self.pubsub.policy.request_timeout, subscribe(opening, request));
        let answers = opened
            .await
            .map_err(|_| Refusal::silent("Subscribe"))?
            .map_err(|status| Refusal::of("Subscribe", &status, Some(&token)))?;
        Ok(Open {
            asks,
            answers,
            token,
            pending: self.batch,
        })
    }

    /// The next answer of the open stream; more is asked for when all that was asked for has come.
    async fn answer(&mut self) -> Result<FetchResponse, Refusal> {
        let Some(open) = &mut self.open else { return Err(Refusal::ended()) };
        if open.pending <= 0 {
            let ask = FetchRequest {
                num_requested: self.batch,
                ..FetchRequest::default()
            };
            open.asks.send(ask).await.map_err(|_| Refusal::ended())?;
            open.pending = self.batch;
        }
        let answer = tokio::time::timeout(self.pubsub.silence_max, open.answers.message())
            .await
            .map_err(|_| Refusal::silent("Subscribe"))?
            .map_err(|status| Refusal::of("Subscribe", &status, None))?
            .ok_or_else(Refusal::ended)?;
        open.pending = answer.pending_num_requested;
        Ok(answer)
    }

    async fn decode(&mut self, answer: &FetchResponse) -> Result<Vec<ChangeEvent>, Refusal> {
        let mut out = Vec::with_capacity(answer.events.len());
        for event in answer.events.iter().filter_map(|e| e.event.as_ref()) {
            if !self.decoder.knows(&event.schema_id) {
                self.learn(&event.schema_id).await?;
            }
            let decoded = self.decoder.decode(&event.schema_id, &event.payload);
            out.push(decoded.map_err(|e| Refusal::last(e.into()))?);
        }
        Ok(out)
    }

    async fn learn(&mut self, id: &str) -> Result<(), Refusal> {
        let token = self.pubsub.access.token().await.map_err(Refusal::last)?;
        let request = self.pubsub.request(SchemaRequest { schema_id: id.to_owned() }, &token)?;
        let mut client = self.pubsub.client();
        let answered = tokio::time::timeout(self.pubsub.policy.request_timeout, client.get_schema(request));
        let info = answered
            .await
            .map_err(|_| Refusal::silent("GetSchema"))?
            .map_err(|status| Refusal::of("GetSchema", &status, Some(&token)))?
            .into_inner();
        self.decoder.learn(id, &info.schema_json).map_err(|e| Refusal::last(e.into()))
    }
}

async fn subscribe(
    mut client: PubSubClient<Channel>,
    request: Request<ReceiverStream<FetchRequest>>,
) -> Result<Streaming<FetchResponse>, tonic::Status> {
    Ok(client.subscribe(request).await?.into_inner())
}
