//! Publishing platform events, one request at a time or as a stream.

use std::sync::Arc;
use std::time::Duration;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use futures::StreamExt;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Status, Streaming};

use crate::pubsub::bus::{PubSub, now_ms};
use crate::pubsub::event_schema::EventSchema;
use crate::pubsub::log::{NewEvent, Subject, replay_id};
use crate::pubsub::proto::{Error, ErrorCode, ProducerEvent, PublishRequest, PublishResponse, PublishResult};
use crate::pubsub::refusal;
use crate::pubsub::service::Session;

/// Largest request, the service's hard limit.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

impl PubSub {
    /// Publishes a request's events; each has its own result.
    ///
    /// # Errors
    /// When the topic is not there or takes no events.
    pub fn publish(&self, request: PublishRequest, rpc_id: &str) -> Result<PublishResponse, Status> {
        if request.encoded_len() > REQUEST_BYTES_MAX {
            return Err(refusal::request_too_large());
        }
        let name = &request.topic_name;
        let org = format!("CORE/prod/{}", self.org_id);
        let topic = self.topic(name).ok_or_else(|| refusal::no_topic(&org, name))?;
        let at = topic.publishes.ok_or_else(|| refusal::not_publishable(name))?;
        let schema = &self.platform[at];
        let results = request.events.into_iter().map(|e| self.publish_one(at, schema, e)).collect();
        Ok(PublishResponse {
            results,
            schema_id: schema.id.clone(),
            rpc_id: rpc_id.to_owned(),
        })
    }

    fn publish_one(&self, at: usize, schema: &EventSchema, event: ProducerEvent) -> PublishResult {
        let correlation_key = event.id.clone();
        let fault = match event {
            ref e if e.schema_id != schema.id => Some(format!("The schema ID {} is not the topic's.", e.schema_id)),
            ref e if e.payload.len() > self.config.event_bytes_max => Some("The event exceeds the maximum size of 1 MB.".to_owned()),
            ref e => datum_fault(schema, &e.payload),
        };
        let over = || (self.publishes.take(now_ms(), 1) == 0).then(|| "LIMIT_EXCEEDED: The hourly publishing limit is used up.".to_owned());
        let fault = fault.or_else(over);
        if let Some(msg) = fault {
            let code = ErrorCode::Publish.into();
            return PublishResult {
                replay_id: Vec::new(),
                error: Some(Error { code, msg }),
                correlation_key,
            };
        }
        let new = NewEvent {
            subject: Subject::Platform(at),
            schema_id: Arc::from(schema.id.as_str()),
            payload: event.payload,
            id: event.id,
        };
        PublishResult {
            replay_id: replay_id(self.log.append(now_ms(), [new])),
            error: None,
            correlation_key,
        }
    }

    /// Serves a publish stream until the client ends it or leaves it without a valid publish for too long.
    ///
    /// # Errors
    /// The status that the stream ends with.
    pub async fn publish_all(
        &self,
        session: &Session,
        mut inbound: Streaming<PublishRequest>,
        out: &mpsc::Sender<Result<PublishResponse, Status>>,
    ) -> Result<(), Status> {
        let idle = Duration::from_millis(self.config.publish_idle_ms);
        let mut topic = String::new();
        let mut deadline = Instant::now() + idle;
        let mut cuts = self.faults.cuts();
        loop {
            let request = tokio::select! {
                request = inbound.next() => request,
                () = out.closed() => return Ok(()),
                _ = cuts.changed() => return Err(self.faults.cut_status()),
                () = tokio::time::sleep_until(deadline) => return Ok(()),
            };
            let Some(request) = request else { return Ok(()) };
            let mut request = request?;
            session.check()?;
            if request.topic_name.is_empty() {
                request.topic_name.clone_from(&topic);
            } else if topic.is_empty() {
                topic.clone_from(&request.topic_name);
            } else if topic != request.topic_name {
                return Err(refusal::topic_changed(&topic, &request.topic_name));
            }
            let response = self.publish(request, &uuid::Uuid::new_v4().to_string())?;
            if response.results.iter().any(|r| r.error.is_none()) {
                deadline = Instant::now() + idle;
            }
            if out.send(Ok(response)).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Why bytes are no datum of a schema. The reader takes a missing end for nulls, so what it read is written again and
/// compared.
fn datum_fault(schema: &EventSchema, payload: &[u8]) -> Option<String> {
    let mut rest = payload;
    let again = GenericDatumReader::builder(&schema.avro)
        .build()
        .and_then(|reader| reader.read_value(&mut rest))
        .and_then(|value| GenericDatumWriter::builder(&schema.avro).build()?.write_value_to_vec(value));
    match again {
        Ok(bytes) if bytes == payload => None,
        Ok(_) => Some("The event's payload does not end where its schema does.".into()),
        Err(error) => Some(format!("The event's payload is not of its schema: {error}")),
    }
}
