//! Reading an object's batches: one consumer per stage, run and object, in groups, acknowledged after the handler.

use std::future::Future;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::message::{AckKind, Acker};
use bytes::Bytes;
use futures::StreamExt;
use syncline_domain::{BatchName, ObjectName, RunId, TenantId};

use crate::bus::Bus;
use crate::error::BusError;
use crate::runner::{ACK_WAIT, Handled};
use crate::subjects::{self, Audience, header};

/// Batches that one consumer may have handed out and not seen acknowledged.
const UNACKED_MAX: i64 = 256;
/// One pull never asks for more: beyond some 64 MiB the server takes the client for slow and cuts it off (measured).
const PULL_BYTES_MAX: usize = 16 * 1024 * 1024;
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
    name: String,
    consumer: PullConsumer,
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
            ack_wait: ACK_WAIT,
            max_ack_pending: UNACKED_MAX,
            max_deliver: -1,
            inactive_threshold: INACTIVE_MAX,
            ..pull::Config::default()
        };
        let consumer = stream.get_or_create_consumer(&name, config).await.map_err(|e| failed(e.into()))?;
        Ok(BatchConsumer { name, consumer })
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
        let (group, ackers) = self.pull(limits).await?;
        if group.is_empty() {
            return Ok(RunOnce::Idle);
        }
        let count = group.len();
        let outcomes = keep_alive(&ackers, handle(group)).await;
        for (acker, outcome) in ackers.iter().zip(outcomes) {
            outcome.acknowledge(acker).await;
        }
        Ok(RunOnce::Handled(count))
    }

    async fn pull(&self, limits: GroupLimits) -> Result<(Vec<Delivery>, Vec<Acker>), BusError> {
        let failed = |reason: String| BusError::Pull {
            consumer: self.name.clone(),
            reason,
        };
        let mut group = Vec::new();
        let mut ackers = Vec::new();
        let mut now = self
            .consumer
            .fetch()
            .max_messages(limits.messages_max)
            .max_bytes(PULL_BYTES_MAX)
            .messages()
            .await
            .map_err(|e| failed(e.to_string()))?;
        while let Some(message) = now.next().await {
            let message = message.map_err(|e| failed(e.to_string()))?;
            push(message, &mut group, &mut ackers);
        }
        if group.is_empty() && !limits.wait.is_zero() {
            let mut one = self
                .consumer
                .batch()
                .max_messages(1)
                .expires(limits.wait)
                .messages()
                .await
                .map_err(|e| failed(e.to_string()))?;
            while let Some(message) = one.next().await {
                let message = message.map_err(|e| failed(e.to_string()))?;
                push(message, &mut group, &mut ackers);
            }
        }
        Ok((group, ackers))
    }
}

fn push(message: async_nats::jetstream::Message, group: &mut Vec<Delivery>, ackers: &mut Vec<Acker>) {
    let redelivered = message.info().is_ok_and(|i| i.delivered > 1);
    let (message, acker) = message.split();
    let get = |key: &str| message.headers.as_ref().and_then(|h| h.get(key)).map(|v| v.as_str().to_owned());
    group.push(Delivery {
        name: get(header::BATCH).and_then(|t| t.parse().ok()),
        plan: get(header::PLAN).unwrap_or_default(),
        records: get(header::RECORDS).and_then(|t| t.parse().ok()).unwrap_or(0),
        sealed: message.payload,
        redelivered,
    });
    ackers.push(acker);
}

/// Says 'in progress' every third of the ack wait while the work goes on.
async fn keep_alive<T>(ackers: &[Acker], work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    let mut beat = tokio::time::interval(ACK_WAIT / 3);
    beat.tick().await;
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = beat.tick() => {
                for acker in ackers {
                    // A lost beat only means an early redelivery, which the handlers recognise.
                    let _ = acker.ack_with(AckKind::Progress).await;
                }
            }
        }
    }
}
