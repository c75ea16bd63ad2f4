//! The connection to the bus and everything that is published.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::message::PublishMessage;
use async_nats::{Client, ConnectOptions, Event, HeaderMap};
use bytes::Bytes;
use prost::Message as _;
use syncline_domain::{BatchName, ErrorCode, ObjectName, RunId, TenantId};
use syncline_wire::event::RunEvent;
use syncline_wire::event::run_event::Fact;
use syncline_wire::stage::Invitation;
use tokio::sync::watch;

use crate::error::{BusError, is_missing};
use crate::pull::{Line, Puller};
use crate::runner::ACK_WAIT;
use crate::subjects::{self, Audience, header};
use crate::{permissions, streams, trace};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a publish may wait for its acknowledgement. Fsync per message on a busy disk takes its time.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(20);
/// Publishes of one process that may be unacknowledged at once.
const PUBLISHES_IN_FLIGHT_MAX: usize = 64;
/// The oldest server that knows `filter_subjects`, metadata and per-subject discard: older ones accept the settings and
/// ignore them.
const SERVER_MIN: (u32, u32) = (2, 10);

/// A cause stands in a header, beside a payload that may itself be near the bound of a message.
const CAUSE_CHARS_MAX: usize = 500;

/// What it takes to connect.
#[derive(Clone)]
pub struct BusConfig {
    /// `nats://user:password@host:port`, or several with commas in between; never printed as it is.
    pub url: String,
    pub name: String,
    /// Whose inbox replies come to, and whose streams are looked at ([`permissions`]); none: any inbox, all streams.
    pub service: Option<&'static str>,
    /// Whether missing streams are made and older ones brought up to date, all of them, or only looked at.
    pub make_streams: bool,
    /// Replicas of each stream: 3 in production, 1 on a single server.
    pub replicas: usize,
    pub tls: Option<BusTls>,
}

/// Files in PEM: whom to trust, and who we are.
#[derive(Debug, Clone)]
pub struct BusTls {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Two connections: one publishes, one pulls, so that a full pull never delays an acknowledgement.
#[derive(Clone)]
pub struct Bus {
    publishing: Context,
    pulling: Context,
    /// Of the two connections, in this order.
    lines: [watch::Receiver<Line>; 2],
    ack_wait: Duration,
    service: Option<&'static str>,
}

impl Bus {
    /// Connects, checks the server's version and makes missing streams.
    ///
    /// # Errors
    /// [`BusError::Connect`], [`BusError::TooOld`], [`BusError::Setup`].
    pub async fn connect(config: &BusConfig) -> Result<Self, BusError> {
        let (publishing, publishing_line) = connect(config, "publish").await?;
        let (pulling, pulling_line) = connect(config, "pull").await?;
        let version = publishing.server_info().version;
        if !new_enough(&version) {
            return Err(BusError::TooOld { found: version });
        }
        let context = |client: Client| {
            ContextBuilder::new()
                .timeout(PUBLISH_TIMEOUT)
                .ack_timeout(PUBLISH_TIMEOUT)
                .max_ack_inflight(PUBLISHES_IN_FLIGHT_MAX)
                .backpressure_on_inflight(true)
                .build(client)
        };
        let bus = Self {
            publishing: context(publishing),
            pulling: context(pulling),
            lines: [publishing_line, pulling_line],
            ack_wait: ACK_WAIT,
            service: config.service,
        };
        if config.make_streams {
            for name in streams::names() {
                streams::ensure(&bus.publishing, streams::settings(&name, config.replicas)).await?;
            }
        } else {
            // Only those that it reads: it may not look at the others.
            for name in permissions::streams_of(config.service) {
                streams::verify(&bus.publishing, &streams::settings(&name, config.replicas)).await?;
            }
        }
        Ok(bus)
    }

    /// Whether both connections are up at this moment (for readiness).
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.lines.iter().all(|line| line.borrow().up)
    }

    /// A stream of this service that is gone for certain: the server's store was lost. Consumers went with it, and only a new
    /// start makes them again.
    pub async fn lost_stream(&self) -> Option<String> {
        for name in permissions::streams_of(self.service) {
            if self.publishing.get_stream(&name).await.is_err_and(|error| is_missing(&error)) {
                return Some(name);
            }
        }
        None
    }

    /// For consumers that are made from now on; tests don't wait half a minute for a redelivery.
    #[cfg(test)]
    pub(crate) fn with_ack_wait(self, ack_wait: Duration) -> Self {
        Self { ack_wait, ..self }
    }

    pub(crate) fn ack_wait(&self) -> Duration {
        self.ack_wait
    }

    pub(crate) fn puller(&self, name: String, consumer: PullConsumer) -> Puller {
        let [_, line] = &self.lines;
        Puller::new(name, consumer, line.clone())
    }

    pub(crate) fn pulling(&self) -> &Context {
        &self.pulling
    }

    /// Publishes within the current trace.
    async fn publish(&self, subject: String, mut headers: HeaderMap, payload: Bytes) -> Result<(), BusError> {
        trace::inject(&mut headers);
        self.send(subject, headers, payload).await
    }

    async fn send(&self, subject: String, headers: HeaderMap, payload: Bytes) -> Result<(), BusError> {
        let bytes = header_bytes(&headers) + payload.len();
        if bytes > streams::MESSAGE_BYTES_MAX as usize {
            return Err(BusError::TooLarge { bytes });
        }
        let message = PublishMessage::build().payload(payload).headers(headers);
        let ack = self
            .publishing
            .send_publish(subject.clone(), message)
            .await
            .map_err(|e| BusError::publish(&subject, e))?;
        ack.await.map_err(|e| BusError::publish(&subject, e))?;
        Ok(())
    }

    /// Publishes a sealed batch and waits until it is stored. `records` is how many source records it stands for, so
    /// that they can be accounted for even if it never opens.
    ///
    /// # Errors
    /// [`BusError::Full`] when the partition's room is used up: wait and publish again.
    pub async fn publish_batch(
        &self,
        audience: Audience,
        tenant: &TenantId,
        name: &BatchName,
        plan: &str,
        records: u64,
        sealed: Bytes,
    ) -> Result<(), BusError> {
        self.publish_batch_in_round(audience, tenant, name, plan, records, sealed, 0).await
    }

    /// The same in a round of a run that was reopened: the batch had that name before, and the server must not take it for a
    /// repetition.
    ///
    /// # Errors
    /// As [`Bus::publish_batch`].
    #[allow(clippy::too_many_arguments, reason = "a batch is described by exactly these")]
    pub async fn publish_batch_in_round(
        &self,
        audience: Audience,
        tenant: &TenantId,
        name: &BatchName,
        plan: &str,
        records: u64,
        sealed: Bytes,
        round: u32,
    ) -> Result<(), BusError> {
        let mut headers = HeaderMap::new();
        let text = name.to_string();
        headers.insert(header::MESSAGE_ID, message_id(audience.token(), &text, round).as_str());
        headers.insert(header::BATCH, text.as_str());
        headers.insert(header::PLAN, plan);
        headers.insert(header::RECORDS, records.to_string().as_str());
        if trace::is_sampled(name) {
            trace::inject(&mut headers);
        }
        self.send(subjects::batch(audience, tenant, name), headers, sealed).await
    }

    /// Invites a stage's workers.
    ///
    /// # Errors
    /// [`BusError`] when it was not stored; the coordinator will invite again.
    pub async fn invite(&self, stage: &str, tenant: &TenantId, run: &RunId, invitation: &Invitation) -> Result<(), BusError> {
        self.publish(
            subjects::task(stage, tenant, run),
            HeaderMap::new(),
            invitation.encode_to_vec().into(),
        )
        .await
    }

    /// Publishes a fact.
    ///
    /// # Errors
    /// [`BusError`] when it was not stored.
    pub async fn publish_event(&self, event: &RunEvent) -> Result<(), BusError> {
        let subject = subjects::event(&event.tenant, &event.run, kind(event));
        self.publish(subject, HeaderMap::new(), event.encode_to_vec().into()).await
    }

    /// Publishes to a subject that was made by [`subjects`] earlier: for the outbox relay, which stores the encoded
    /// message with the trace that it belongs to. `id` lets the server drop a repetition within its window.
    ///
    /// # Errors
    /// [`BusError`] when it was not stored.
    pub async fn publish_stored(&self, subject: String, id: &str, trace: Option<&str>, payload: Vec<u8>) -> Result<(), BusError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::MESSAGE_ID, id);
        if let Some(parent) = trace {
            trace::inject_text(&mut headers, parent);
        }
        self.send(subject, headers, payload.into()).await
    }

    /// Sets a message aside that no retry can save, in a round of its run. The payload stays sealed as it came.
    ///
    /// # Errors
    /// [`BusError`] when it was not stored; then the original must not be terminated.
    #[allow(clippy::too_many_arguments, reason = "a dead letter is described by exactly these")]
    pub async fn publish_dead(
        &self,
        stage: &str,
        tenant: &TenantId,
        name: &BatchName,
        code: ErrorCode,
        cause: &str,
        attempts: u32,
        records: u64,
        round: u32,
        sealed: Bytes,
    ) -> Result<(), BusError> {
        let mut headers = HeaderMap::new();
        let text = name.to_string();
        headers.insert(header::MESSAGE_ID, message_id(&format!("dead/{stage}"), &text, round).as_str());
        headers.insert(header::RECORDS, records.to_string().as_str());
        headers.insert(header::ROUND, round.to_string().as_str());
        headers.insert(header::BATCH, text.as_str());
        headers.insert(header::OBJECT, name.object.as_str());
        headers.insert(header::CODE, code.as_str());
        let cause: String = cause.chars().take(CAUSE_CHARS_MAX).collect();
        headers.insert(header::CAUSE, cause.replace(['\r', '\n'], " ").as_str());
        headers.insert(header::ATTEMPTS, attempts.to_string().as_str());
        self.publish(subjects::dead(stage, tenant, &name.run), headers, sealed).await
    }

    /// Removes what a run left on the bus: its batches and its consumers.
    ///
    /// # Errors
    /// [`BusError::Setup`] when a stream could not be purged.
    pub async fn purge_run(&self, tenant: &TenantId, run: &RunId) -> Result<(), BusError> {
        use futures::TryStreamExt;
        for audience in [Audience::Raw, Audience::Clean] {
            let failed = |e: Box<dyn std::error::Error + Send + Sync>| BusError::setup(format!("purging {audience} of {run}"), e);
            let stream = self.publishing.get_stream(audience.stream()).await.map_err(|e| failed(e.into()))?;
            stream
                .purge()
                .filter(subjects::run_batches(audience, tenant, run))
                .await
                .map_err(|e| failed(e.into()))?;
            let names: Vec<String> = stream.consumer_names().try_collect().await.map_err(|e| failed(e.into()))?;
            for name in names.iter().filter(|name| subjects::is_consumer_of(name, run)) {
                // Another replica may have deleted it in between.
                let _ = stream.delete_consumer(name).await;
            }
        }
        Ok(())
    }

    /// Name, messages and age of the oldest one in seconds, of every stream that can be asked.
    pub async fn stream_states(&self) -> Vec<(String, u64, f64)> {
        let mut states = Vec::new();
        for name in streams::names() {
            if let Ok(stream) = self.publishing.get_stream(&name).await {
                let state = &stream.cached_info().state;
                let age = if state.messages == 0 {
                    0.0
                } else {
                    age(state.first_timestamp.unix_timestamp())
                };
                states.push((name, state.messages, age));
            }
        }
        states
    }

    /// How many messages a stage has before it, those in work included, and for how many seconds the oldest has been there;
    /// of every stage that can be asked about.
    pub async fn queues(&self) -> Vec<(&'static str, u64, f64)> {
        let mut queues = Vec::new();
        for stage in ["analyzer", "extractor", "masker", "loader"] {
            match self.queue(stage).await {
                Ok((messages, age)) => queues.push((stage, messages, age)),
                Err(error) => tracing::debug!(stage, %error, "a queue could not be measured"),
            }
        }
        queues
    }

    async fn queue(&self, stage: &str) -> Result<(u64, f64), BusError> {
        use async_nats::jetstream::stream::LastRawMessageErrorKind;
        use futures::TryStreamExt;
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| BusError::setup(format!("measuring {stage}"), e);
        let tasks = self.publishing.get_stream("TASKS").await.map_err(|e| failed(e.into()))?;
        let filter = subjects::stage_tasks(stage);
        let counts = tasks.info_with_subjects(&filter).await.map_err(|e| failed(e.into()))?;
        let counts: Vec<(String, usize)> = counts.try_collect().await.map_err(|e| failed(e.into()))?;
        let mut messages: u64 = counts.iter().map(|(_, n)| *n as u64).sum();
        let mut oldest = match tasks.get_first_raw_message_by_subject(&filter, 1).await {
            Ok(message) => age(message.time.unix_timestamp()),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => 0.0,
            Err(error) => return Err(failed(error.into())),
        };
        let audience = match stage {
            "masker" => Some(Audience::Raw),
            "loader" => Some(Audience::Clean),
            _ => None,
        };
        if let Some(audience) = audience {
            let stream = self.publishing.get_stream(audience.stream()).await.map_err(|e| failed(e.into()))?;
            let state = &stream.cached_info().state;
            messages += state.messages;
            if state.messages > 0 {
                oldest = oldest.max(age(state.first_timestamp.unix_timestamp()));
            }
        }
        Ok((messages, oldest))
    }

    /// How many messages of an object wait in a stream, those in work included.
    ///
    /// # Errors
    /// [`BusError::Setup`] when the stream cannot be asked.
    pub async fn waiting(&self, audience: Audience, tenant: &TenantId, run: &RunId, object: &ObjectName) -> Result<u64, BusError> {
        use futures::TryStreamExt;
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| BusError::setup(format!("counting {audience}"), e);
        let stream = self.publishing.get_stream(audience.stream()).await.map_err(|e| failed(e.into()))?;
        let filter = subjects::object_batches(audience, tenant, run, object);
        let info = stream.info_with_subjects(filter).await.map_err(|e| failed(e.into()))?;
        let counts: Vec<(String, usize)> = info.try_collect().await.map_err(|e| failed(e.into()))?;
        Ok(counts.iter().map(|(_, n)| *n as u64).sum())
    }
}

/// What the server takes for a repetition within its window: the same batch in the same round.
fn message_id(kind: &str, name: &str, round: u32) -> String {
    match round {
        0 => format!("{kind}/{name}"),
        _ => format!("{kind}/{name}/round/{round}"),
    }
}

/// Seconds since then (seconds since 1970), by this machine's clock.
#[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
fn age(then: i64) -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    (now.map_or(0.0, |d| d.as_secs_f64()) - then as f64).max(0.0)
}

pub(crate) async fn connect(config: &BusConfig, role: &str) -> Result<(Client, watch::Receiver<Line>), BusError> {
    let (user, addresses) = split_url(&config.url);
    let options = match user.as_deref().map(|u| u.split_once(':').unwrap_or((u, ""))) {
        Some((user, password)) => ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned()),
        None => ConnectOptions::new(),
    };
    let (line, mut watched) = watch::channel(Line::default());
    let options = match &config.tls {
        Some(tls) => options
            .require_tls(true)
            .add_root_certificates(tls.ca.clone())
            .add_client_certificate(tls.certificate.clone(), tls.key.clone()),
        None => options,
    };
    let client = options
        .name(format!("{}-{role}", config.name))
        .custom_inbox_prefix(config.service.map_or("_INBOX".to_owned(), permissions::inbox))
        .connection_timeout(CONNECT_TIMEOUT)
        .max_reconnects(None)
        .event_callback(move |event| {
            match event {
                Event::Connected => line.send_modify(|line| {
                    line.up = true;
                    line.number += 1;
                }),
                Event::Disconnected | Event::Closed => line.send_modify(|line| line.up = false),
                // Such as a subject that this user may not use.
                Event::ServerError(error) => tracing::warn!(%error, "NATS refuses something"),
                other => tracing::debug!(event = %other, "NATS"),
            }
            std::future::ready(())
        })
        .connect(&addresses)
        .await
        .map_err(|source| BusError::Connect {
            address: addresses.join(","),
            source,
        })?;
    // The event follows the connection; whoever is given it finds it up.
    let _ = tokio::time::timeout(CONNECT_TIMEOUT, watched.wait_for(|line| line.up)).await;
    Ok((client, watched))
}

/// User and password of an address, and the addresses without them: the client ignores those that stand in one.
pub(crate) fn split_url(url: &str) -> (Option<String>, Vec<String>) {
    let mut servers: Vec<String> = Vec::new();
    for piece in url.split(',') {
        // A comma may also stand in a password: then what follows has an `@` and no scheme of its own.
        match servers.last_mut() {
            Some(last) if piece.contains('@') && !piece.contains("://") => {
                last.push(',');
                last.push_str(piece);
            }
            _ => servers.push(piece.to_owned()),
        }
    }
    let mut user = None;
    let addresses = servers
        .iter()
        .map(|server| {
            let (scheme, rest) = server.split_once("://").unwrap_or(("nats", server));
            let (found, host) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
            user = user.take().or_else(|| found.map(str::to_owned));
            format!("{scheme}://{host}")
        })
        .collect();
    (user, addresses)
}

/// What the headers take on the wire: a first line, `key: value` per line and an empty one (NATS protocol, HPUB).
fn header_bytes(headers: &HeaderMap) -> usize {
    let lines = headers.iter().flat_map(|(name, values)| {
        values
            .iter()
            .map(move |value| AsRef::<str>::as_ref(name).len() + value.as_str().len() + 4)
    });
    "NATS/1.0\r\n\r\n".len() + lines.sum::<usize>()
}

pub(crate) fn new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|p| p.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= SERVER_MIN
}

/// The last token of an event's subject.
#[must_use]
pub fn kind(event: &RunEvent) -> &'static str {
    match &event.fact {
        Some(Fact::PlanBuilt(_)) => "plan_built",
        Some(Fact::StepDone(_)) => "step_done",
        Some(Fact::StepYielded(_)) => "step_yielded",
        Some(Fact::StepFailed(_)) => "step_failed",
        Some(Fact::StatusChanged(_)) => "status_changed",
        Some(Fact::StageTotals(_)) => "stage_totals",
        Some(Fact::LoadTotals(_)) => "load_totals",
        Some(Fact::Refused(_)) => "refused",
        Some(Fact::MaskTotals(_)) => "mask_totals",
        Some(Fact::VerifyTotals(_)) => "verify_totals",
        Some(Fact::ResourceUse(_)) => "resource_use",
        Some(Fact::LetterReplayed(_)) => "letter_replayed",
        None => "empty",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_recognised() {
        for (version, ok) in [
            ("2.9.10", false),
            ("2.10.0", true),
            ("2.15.1", true),
            ("3.0.0-beta", true),
            ("1.99.9", false),
            ("", false),
        ] {
            assert_eq!(new_enough(version), ok, "{version}");
        }
    }

    #[test]
    fn credentials_are_taken_out_of_every_address() {
        for (url, user, addresses) in [
            ("nats://h:1", None, vec!["nats://h:1"]),
            ("h:1", None, vec!["nats://h:1"]),
            ("tls://u:p@h:1", Some("u:p"), vec!["tls://h:1"]),
            ("nats://u:p@a,b@h:1", Some("u:p@a,b"), vec!["nats://h:1"]),
            ("nats://u:p@h:1,nats://u:p@i:2", Some("u:p"), vec!["nats://h:1", "nats://i:2"]),
            ("nats://u:p@h:1,i:2", Some("u:p"), vec!["nats://h:1", "nats://i:2"]),
            ("nats://token@h", Some("token"), vec!["nats://h"]),
        ] {
            let (found, hosts) = split_url(url);
            assert_eq!(
                (found.as_deref(), hosts),
                (user, addresses.into_iter().map(str::to_owned).collect()),
                "{url}"
            );
        }
    }
}
