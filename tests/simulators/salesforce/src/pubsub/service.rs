//! The six calls of the Pub/Sub API.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::org::OrgState;
use crate::pubsub::bus::{PubSub, now_ms};
use crate::pubsub::delivery::{ANSWERS_WAITING_MAX, Answer, Ask, Delivery};
use crate::pubsub::proto::pub_sub_server::PubSub as Rpc;
use crate::pubsub::proto::{
    FetchRequest, FetchResponse, ManagedFetchRequest, ManagedFetchResponse, PublishRequest, PublishResponse, ReplayPreset, SchemaInfo,
    SchemaRequest, TopicInfo, TopicRequest,
};
use crate::pubsub::refusal;
use crate::pubsub::topic::Topic;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service behind the port.
#[derive(Clone)]
pub struct Service {
    org: Arc<OrgState>,
    bus: Arc<PubSub>,
}

/// An admitted caller.
#[derive(Clone)]
pub struct Session {
    org: Arc<OrgState>,
    bus: Arc<PubSub>,
    token: String,
}

impl Session {
    /// The org's bus.
    #[must_use]
    pub fn bus(&self) -> Arc<PubSub> {
        Arc::clone(&self.bus)
    }

    /// Whether the session still lives.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check(&self) -> Result<(), Status> {
        if self.org.auth.is_valid(&self.token) {
            Ok(())
        } else {
            Err(refusal::session_ended())
        }
    }
}

impl Service {
    /// The service of an org with a bus.
    #[must_use]
    pub fn new(org: Arc<OrgState>, bus: Arc<PubSub>) -> Self {
        Self { org, bus }
    }

    /// Checks the three metadata keys of every call, and scripted failures.
    fn admit(&self, rpc: &str, metadata: &MetadataMap) -> Result<Session, Status> {
        self.bus.faults.check(rpc)?;
        let text = |key: &str| metadata.get(key).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let known = text("tenantid") == self.bus.org_id && self.org.auth.is_valid(text("accesstoken"));
        let instance = url::Url::parse(text("instanceurl")).is_ok_and(|u| matches!(u.scheme(), "http" | "https"));
        if !known || !instance {
            return Err(refusal::auth());
        }
        Ok(Session {
            org: Arc::clone(&self.org),
            bus: Arc::clone(&self.bus),
            token: text("accesstoken").to_owned(),
        })
    }

    fn find_topic(&self, name: &str) -> Result<Topic, Status> {
        let org = format!("CORE/prod/{}", self.bus.org_id);
        self.bus.topic(name).ok_or_else(|| refusal::no_topic(&org, name))
    }

    async fn start(&self, session: Session, first: FetchRequest) -> Result<Delivery, Status> {
        let topic = self.find_topic(&first.topic_name)?;
        let log = &self.bus.log;
        let position = match first.replay_preset() {
            ReplayPreset::Latest => log.latest(now_ms()),
            ReplayPreset::Earliest => log.earliest(now_ms()),
            ReplayPreset::Custom if first.replay_id.is_empty() => return Err(refusal::replay_id_missing()),
            ReplayPreset::Custom => log
                .position(&first.replay_id, now_ms())
                .map_err(|_| refusal::replay_id_corrupted())?,
        };
        let mut delivery = Delivery {
            session,
            topic,
            position,
            pending: 0,
            managed: None,
        };
        delivery.request(first.num_requested)?;
        Ok(delivery)
    }

    async fn subscription(
        &self,
        session: Session,
        mut inbound: Streaming<FetchRequest>,
        out: &mpsc::Sender<Result<FetchResponse, Status>>,
    ) -> Result<(), Status> {
        let Some(first) = inbound.next().await else { return Ok(()) };
        let delivery = self.start(session, first?).await?;
        let name = delivery.topic.name.clone();
        let asks = inbound.map(move |message| {
            let message = message?;
            if !message.topic_name.is_empty() && message.topic_name != name {
                return Err(refusal::topic_changed(&name, &message.topic_name));
            }
            Ok(Ask {
                requested: message.num_requested,
                commit: None,
            })
        });
        delivery.run(asks, out).await
    }

    async fn managed_subscription(
        &self,
        session: Session,
        mut inbound: Streaming<ManagedFetchRequest>,
        out: &mpsc::Sender<Result<ManagedFetchResponse, Status>>,
    ) -> Result<(), Status> {
        let Some(first) = inbound.next().await else { return Ok(()) };
        let first = first?;
        let mut delivery = self.start_managed(session, &first)?;
        delivery.request(first.num_requested)?;
        let asks = inbound.map(|message| {
            let message = message?;
            Ok(Ask {
                requested: message.num_requested,
                commit: message.commit_replay_id_request,
            })
        });
        delivery.run(asks, out).await
    }

    fn start_managed(&self, session: Session, first: &ManagedFetchRequest) -> Result<Delivery, Status> {
        let managed = self.bus.managed();
        let by_id = |m: &&crate::pubsub::bus::Managed| m.id == first.subscription_id;
        let by_name = |m: &&crate::pubsub::bus::Managed| m.developer_name == first.developer_name;
        let found = managed.iter().find(by_id).or_else(|| managed.iter().find(by_name));
        let shown = if first.subscription_id.is_empty() {
            &first.developer_name
        } else {
            &first.subscription_id
        };
        let own = found.ok_or_else(|| refusal::no_subscription(shown))?;
        let topic = self.find_topic(&own.topic)?;
        let log = &self.bus.log;
        let position = match own.position >= log.earliest(now_ms()) {
            true => own.position,
            false if own.from_earliest => log.earliest(now_ms()),
            false => log.latest(now_ms()),
        };
        Ok(Delivery {
            session,
            topic,
            position,
            pending: 0,
            managed: Some(own.id.clone()),
        })
    }
}

fn rpc_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

impl From<Answer> for FetchResponse {
    fn from(answer: Answer) -> Self {
        Self {
            events: answer.events,
            latest_replay_id: answer.latest,
            rpc_id: rpc_id(),
            pending_num_requested: answer.pending,
        }
    }
}

impl From<Answer> for ManagedFetchResponse {
    fn from(answer: Answer) -> Self {
        Self {
            events: answer.events,
            latest_replay_id: answer.latest,
            rpc_id: rpc_id(),
            pending_num_requested: answer.pending,
            commit_response: answer.commit,
        }
    }
}

#[tonic::async_trait]
impl Rpc for Service {
    type SubscribeStream = Answers<FetchResponse>;
    type PublishStreamStream = Answers<PublishResponse>;
    type ManagedSubscribeStream = Answers<ManagedFetchResponse>;

    async fn subscribe(&self, request: Request<Streaming<FetchRequest>>) -> Result<Response<Self::SubscribeStream>, Status> {
        let session = self.admit("Subscribe", request.metadata())?;
        let (out, answers) = mpsc::channel(ANSWERS_WAITING_MAX);
        let service = self.clone();
        // It ends with the client's stream: `out` closes when the answers are dropped.
        tokio::spawn(async move {
            if let Err(status) = service.subscription(session, request.into_inner(), &out).await {
                let _ = out.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn managed_subscribe(
        &self,
        request: Request<Streaming<ManagedFetchRequest>>,
    ) -> Result<Response<Self::ManagedSubscribeStream>, Status> {
        let session = self.admit("ManagedSubscribe", request.metadata())?;
        let (out, answers) = mpsc::channel(ANSWERS_WAITING_MAX);
        let service = self.clone();
        tokio::spawn(async move {
            if let Err(status) = service.managed_subscription(session, request.into_inner(), &out).await {
                let _ = out.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn get_schema(&self, request: Request<SchemaRequest>) -> Result<Response<SchemaInfo>, Status> {
        self.admit("GetSchema", request.metadata())?;
        let id = request.into_inner().schema_id;
        let schema = self.bus.schema_by_id(&id).ok_or_else(|| refusal::no_schema(&id))?;
        Ok(Response::new(SchemaInfo {
            schema_json: schema.json.clone(),
            schema_id: id,
            rpc_id: rpc_id(),
        }))
    }

    async fn get_topic(&self, request: Request<TopicRequest>) -> Result<Response<TopicInfo>, Status> {
        self.admit("GetTopic", request.metadata())?;
        let topic = self.find_topic(&request.into_inner().topic_name)?;
        Ok(Response::new(TopicInfo {
            schema_id: self.bus.topic_schema(&topic),
            can_publish: topic.publishes.is_some(),
            can_subscribe: true,
            tenant_guid: format!("core/prod/{}", self.bus.org_id),
            rpc_id: rpc_id(),
            topic_name: topic.name,
        }))
    }

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        self.admit("Publish", request.metadata())?;
        self.bus.publish(request.into_inner(), &rpc_id()).map(Response::new)
    }

    async fn publish_stream(&self, request: Request<Streaming<PublishRequest>>) -> Result<Response<Self::PublishStreamStream>, Status> {
        let session = self.admit("PublishStream", request.metadata())?;
        let (out, answers) = mpsc::channel(ANSWERS_WAITING_MAX);
        tokio::spawn(async move {
            if let Err(status) = session.bus().publish_all(&session, request.into_inner(), &out).await {
                let _ = out.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}
