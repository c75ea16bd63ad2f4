//! Reading an object's batches: one consumer per stage, run and object, in groups, acknowledged after the handler.

use std::future::Future;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::message::Acker;
use bytes::Bytes;
use syncline_domain::{BatchName, ObjectName, RunId, TenantId};
use tracing::Span;

use crate::bus::Bus;
use crate::error::BusError;
use crate::keep_alive::KeepAlive;
use crate::pull::Puller;
use crate::runner::Handled;
use crate::streams::MESSAGES_PER_PARTITION_MAX;
use crate::subjects::{self, Audience, header};
use crate::trace;

/// Batches that one consumer may have handed out and not seen acknowledged; those that are to come again later count among them.
const UNACKED_MAX: i64 = 256;
/// Even if all of a partition's are, the next one is handed out.
const _: () = assert!(UNACKED_MAX > MESSAGES_PER_PARTITION_MAX);
/// Consumers of runs that nobody cleaned up go by themselves.
const INACTIVE_MAX: Duration = Duration::from_secs(24 * 3600);

/// A batch as delivered. The payload is sealed.
pub struct Delivery {
    /// `None` when the header is missing or damaged: such a message is poison.
    pub name: Option<BatchName>,
    /// Hash of the plan under which it was made.
    pub plan: String,
    /// How many source records it stands for.
    pub records: u64,
    pub sealed: Bytes,
    /// Of a batch that is traced; a disabled one of the others.
    pub span: Span,
    /// Delivered before (as far as the server remembers).
    pub redelivered: bool,
}

/// How large a group may become and how long it is waited for.
#[derive(Debug, Clone, Copy)]
pub struct GroupLimits {
    pub messages_max: usize,
    /// How long to wait for a first message.
    pub wait: Duration,
}

/// What a call of [`BatchConsumer::run_once`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunOnce {
    Idle,
    Handled(usize),
}

/// The consumer of one stage for one object of one run.
pub struct BatchConsumer {
    puller: Puller,
    ack_wait: Duration,
}

impl Bus {
    /// Opens (or makes) a stage's consumer of an object's batches.
    ///
    /// # Errors
    /// [`BusError::Setup`].
    pub async fn batches(
        &self,
        stage: &str,
        audience: Audience,
        tenant: &TenantId,
        run: &RunId,
        object: &ObjectName,
    ) -> Result<BatchConsumer, BusError> {
        let name = subjects::batch_consumer(stage, run, object);
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| BusError::setup(format!("consumer {name}"), e);
        let stream = self.pulling().get_stream(audience.stream()).await.map_err(|e| failed(e.into()))?;
        let config = pull::Config {
            durable_name: Some(name.clone()),
            filter_subject: subjects::object_batches(audience, tenant, run, object),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.ack_wait(),
            max_ack_pending: UNACKED_MAX,
            max_deliver: -1,
            inactive_threshold: INACTIVE_MAX,
            ..pull::Config::default()
        };
        let consumer = stream.get_or_create_consumer(&name, config).await.map_err(|e| failed(e.into()))?;
        Ok(BatchConsumer {
            puller: self.puller(name, consumer),
            ack_wait: self.ack_wait(),
        })
    }

    /// Deletes a stage's consumer of an object, when the object is done.
    ///
    /// # Errors
    /// [`BusError::Setup`] when the stream cannot be reached; a consumer that is gone already is fine.
    pub async fn forget_batches(&self, stage: &str, audience: Audience, run: &RunId, object: &ObjectName) -> Result<(), BusError> {
        let name = subjects::batch_consumer(stage, run, object);
        let stream = self
            .pulling()
            .get_stream(audience.stream())
            .await
            .map_err(|e| BusError::setup(format!("consumer {name}"), e))?;
        let _ = stream.delete_consumer(&name).await;
        Ok(())
    }
}

impl BatchConsumer {
    /// Pulls a group, hands it to `handle`, keeps it alive meanwhile and acknowledges what came of each message.
    ///
    /// The handler's answers are in the order of the group. One that answers too few leaves the rest to be redelivered.
    ///
    /// # Errors
    /// [`BusError::Pull`] when the server cannot be asked; whatever the handler did is safe to be done again.
    pub async fn run_once<F, Fut>(&self, limits: GroupLimits, handle: F) -> Result<RunOnce, BusError>
    where
        F: FnOnce(Vec<Delivery>) -> Fut,
        Fut: Future<Output = Vec<Handled>>,
    {
        let messages = self.puller.pull(limits.messages_max, limits.wait).await?;
        if messages.is_empty() {
            return Ok(RunOnce::Idle);
        }
        let count = messages.len();
        let (group, ackers): (Vec<Delivery>, Vec<Acker>) = messages.into_iter().map(delivery).unzip();
        // Held until the acknowledgement, which is when a batch is done.
        let _spans: Vec<Span> = group.iter().map(|d| d.span.clone()).collect();
        let outcomes = KeepAlive::new(self.ack_wait).during(&ackers, handle(group)).await;
        for (acker, outcome) in ackers.iter().zip(outcomes) {
            outcome.acknowledge(acker).await;
        }
        Ok(RunOnce::Handled(count))
    }
}

fn delivery(message: async_nats::jetstream::Message) -> (Delivery, Acker) {
    let redelivered = message.info().is_ok_and(|i| i.delivered > 1);
    let (message, acker) = message.split();
    let get = |key: &str| message.headers.as_ref().and_then(|h| h.get(key)).map(|v| v.as_str().to_owned());
    let span = if trace::is_carried(message.headers.as_ref()) {
        let span = tracing::info_span!("batch", batch = get(header::BATCH));
        trace::adopt(&span, message.headers.as_ref());
        span.follows_from(Span::current());
        span
    } else {
        Span::none()
    };
    let delivery = Delivery {
        span,
        name: get(header::BATCH).and_then(|t| t.parse().ok()),
        plan: get(header::PLAN).unwrap_or_default(),
        records: get(header::RECORDS).and_then(|t| t.parse().ok()).unwrap_or(0),
        sealed: message.payload,
        redelivered,
    };
    (delivery, acker)
}
