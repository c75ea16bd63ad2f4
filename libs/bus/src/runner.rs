//! Runners: they pull, hand over, and are the only ones to acknowledge.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::message::{AckKind, Acker};
use bytes::Bytes;
use prost::Message as _;
use syncline_wire::event::RunEvent;
use syncline_wire::stage::Invitation;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::bus::Bus;
use crate::error::BusError;
use crate::keep_alive::KeepAlive;
use crate::pull::Puller;
use crate::subjects::{self, header};
use crate::trace;

/// A message that is neither acknowledged nor kept alive for this long is delivered again. As long as a lease: whoever
/// follows a dead worker finds what that one had pulled.
pub const ACK_WAIT: Duration = Duration::from_secs(10);
/// How long an acknowledgement is waited for to be confirmed.
const ACK_CONFIRM_WAIT: Duration = Duration::from_secs(2);
/// How long one pull waits for a message before it is renewed.
const PULL_WAIT: Duration = Duration::from_secs(5);
/// Pause after the server could not be asked.
const PULL_PAUSE: Duration = Duration::from_millis(500);
/// Events that one pull may bring.
const EVENTS_PER_PULL: usize = 64;

/// What a handler says of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handled {
    /// Its effect is committed (or it had none): acknowledge.
    Done,
    /// Deliver it again after a while.
    Retry { after: Duration },
    /// It was set aside as a dead letter: never deliver it again.
    Dead,
}

impl Handled {
    pub(crate) async fn acknowledge(self, acker: &Acker) {
        // A lost acknowledgement leads to a redelivery, which every handler recognises.
        let _ = match self {
            // Confirmed, so that a consumer that is deleted next leaves nothing behind; a server that is away does not
            // hold the work up for long.
            Self::Done => match tokio::time::timeout(ACK_CONFIRM_WAIT, acker.double_ack()).await {
                Ok(confirmed) => confirmed,
                Err(_) => Ok(()),
            },
            Self::Retry { after } => acker.ack_with(AckKind::Nak(Some(after))).await,
            Self::Dead => acker.ack_with(AckKind::Term).await,
        };
    }
}

/// A dead letter as it lies on the bus.
pub struct DeadLetter {
    pub subject: String,
    pub batch: String,
    pub object: String,
    pub code: String,
    pub cause: String,
    pub attempts: u32,
    /// How many source records the batch stands for; 0 when it is not known.
    pub records: u64,
    /// The round of the run in which it was given up.
    pub round: u32,
    /// Sealed as it came.
    pub payload: Bytes,
    /// Position in the stream: unique per letter.
    pub sequence: u64,
}

/// Runs a durable consumer until shutdown. One that somebody deleted is made again: what it had not handed out is still in the
/// stream, and what it had is recognised when it comes twice.
pub struct Runner {
    bus: Bus,
    stream: &'static str,
    filter: String,
    puller: Puller,
    ack_wait: Duration,
}

impl Bus {
    /// Events, from the oldest that this durable name has not acknowledged.
    ///
    /// # Errors
    /// [`BusError::Setup`] when the consumer cannot be made; afterwards it runs until shutdown.
    pub async fn run_events<F, Fut>(&self, durable: &str, shutdown: CancellationToken, handle: F) -> Result<(), BusError>
    where
        F: Fn(RunEvent) -> Fut + Send + Sync,
        Fut: Future<Output = Handled> + Send,
    {
        let runner = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            runner = self.durable("EVENTS", format!("events-{durable}"), "event.>") => runner?,
        };
        runner
            .run(EVENTS_PER_PULL, shutdown, |message| {
                let event = RunEvent::decode(message.payload.clone());
                let run = event.as_ref().map(|e| e.run.as_str()).unwrap_or_default();
                let span = tracing::info_span!("event", run, subject = %message.subject);
                trace::adopt(&span, message.headers.as_ref());
                let handled = event.map(&handle);
                async move {
                    match handled {
                        Ok(handled) => handled.await,
                        Err(_) => {
                            tracing::error!("an event that does not decode was dropped");
                            Handled::Done
                        }
                    }
                }
                .instrument(span)
            })
            .await
    }

    /// Dead letters.
    ///
    /// # Errors
    /// [`BusError::Setup`] when the consumer cannot be made; afterwards it runs until shutdown.
    pub async fn run_dead<F, Fut>(&self, durable: &str, shutdown: CancellationToken, handle: F) -> Result<(), BusError>
    where
        F: Fn(DeadLetter) -> Fut + Send + Sync,
        Fut: Future<Output = Handled> + Send,
    {
        let runner = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            runner = self.durable("DEAD", format!("dead-{durable}"), "dead.>") => runner?,
        };
        runner
            .run(1, shutdown, |message| {
                let get = |key: &str| {
                    message
                        .headers
                        .as_ref()
                        .and_then(|h| h.get(key))
                        .map(|v| v.as_str().to_owned())
                        .unwrap_or_default()
                };
                handle(DeadLetter {
                    subject: message.subject.to_string(),
                    batch: get(header::BATCH),
                    object: get(header::OBJECT),
                    code: get(header::CODE),
                    cause: get(header::CAUSE),
                    attempts: get(header::ATTEMPTS).parse().unwrap_or(0),
                    records: get(header::RECORDS).parse().unwrap_or(0),
                    round: get(header::ROUND).parse().unwrap_or(0),
                    payload: message.payload.clone(),
                    sequence: message.info().map(|i| i.stream_sequence).unwrap_or(0),
                })
            })
            .await
    }

    /// Invitations of a stage. A slot is taken before one is pulled, so a busy worker leaves them to others; the
    /// handler leases the task, keeps the slot for as long as it works, and returns at once.
    ///
    /// # Errors
    /// [`BusError::Setup`] when the consumer cannot be made; afterwards it runs until shutdown.
    pub async fn run_tasks<F, Fut>(
        &self,
        stage: &str,
        slots: Arc<Semaphore>,
        shutdown: CancellationToken,
        handle: F,
    ) -> Result<(), BusError>
    where
        F: Fn(Invitation, OwnedSemaphorePermit) -> Fut + Send + Sync,
        Fut: Future<Output = Handled> + Send,
    {
        let filter = subjects::stage_tasks(stage);
        let mut runner = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            runner = self.durable("TASKS", format!("tasks-{stage}"), &filter) => runner?,
        };
        loop {
            let slot = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                slot = Arc::clone(&slots).acquire_owned() => slot.expect("the semaphore is never closed"),
            };
            let pulled = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                pulled = runner.pull(1) => pulled,
            };
            let Some(message) = pulled.into_iter().next() else { continue };
            let (message, acker) = message.split();
            let invitation = Invitation::decode(message.payload);
            let run = invitation.as_ref().map(|i| i.run.as_str()).unwrap_or_default();
            let span = tracing::info_span!("task", run, subject = %message.subject);
            trace::adopt(&span, message.headers.as_ref());
            let handled = match invitation {
                Ok(invitation) => handle(invitation, slot).instrument(span).await,
                Err(_) => {
                    tracing::error!("an invitation that does not decode was dropped");
                    Handled::Done
                }
            };
            handled.acknowledge(&acker).await;
        }
    }

    async fn durable(&self, stream: &'static str, name: String, filter: &str) -> Result<Runner, BusError> {
        Ok(Runner {
            puller: self.durable_puller(stream, name, filter).await?,
            bus: self.clone(),
            stream,
            filter: filter.to_owned(),
            ack_wait: self.ack_wait(),
        })
    }

    async fn durable_puller(&self, stream: &str, name: String, filter: &str) -> Result<Puller, BusError> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| BusError::setup(format!("consumer {name}"), e);
        let config = pull::Config {
            durable_name: Some(name.clone()),
            filter_subject: filter.to_owned(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.ack_wait(),
            max_deliver: -1,
            ..pull::Config::default()
        };
        let stream = self.pulling().get_stream(stream).await.map_err(|e| failed(e.into()))?;
        let consumer = stream.get_or_create_consumer(&name, config).await.map_err(|e| failed(e.into()))?;
        Ok(self.puller(name, consumer))
    }
}

impl Runner {
    async fn run<F, Fut>(mut self, per_pull: usize, shutdown: CancellationToken, handle: F) -> Result<(), BusError>
    where
        F: Fn(&Message) -> Fut,
        Fut: Future<Output = Handled>,
    {
        loop {
            let messages = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                messages = self.pull(per_pull) => messages,
            };
            let acker = |message: &Message| Acker::new(message.context.clone(), message.reply.clone());
            let ackers: Vec<Acker> = messages.iter().map(acker).collect();
            let mut keep_alive = KeepAlive::new(self.ack_wait);
            for (at, message) in messages.iter().enumerate() {
                // Those behind it wait for their turn and must not be delivered to somebody else meanwhile.
                let Some(waiting @ [acker, ..]) = ackers.get(at..) else { break };
                let handled = keep_alive.during(waiting, handle(message)).await;
                handled.acknowledge(acker).await;
            }
        }
    }

    /// Some messages, or none after a while. A server that is away only makes it wait.
    async fn pull(&mut self, count: usize) -> Vec<Message> {
        match self.puller.pull(count, PULL_WAIT).await {
            Ok(messages) => messages,
            Err(error) => {
                tracing::warn!(consumer = %self.puller.name(), %error, "pull failed; trying again");
                tokio::time::sleep(PULL_PAUSE).await;
                self.find_again().await;
                Vec::new()
            }
        }
    }

    /// Makes the consumer again if it is gone. A server that cannot be asked is asked after the next pull.
    async fn find_again(&mut self) {
        let found = self.bus.durable_puller(self.stream, self.puller.name().to_owned(), &self.filter);
        match tokio::time::timeout(PULL_WAIT, found).await {
            Ok(Ok(puller)) => self.puller = puller,
            Ok(Err(error)) => tracing::debug!(%error, "a consumer could not be looked for"),
            Err(_) => {}
        }
    }
}
