//! Looking at streams without taking anything from them.

use async_nats::jetstream::{self, stream::LastRawMessageErrorKind};
use bytes::Bytes;
use syncline_batch::{Body, open};
use syncline_bus::{Audience, subjects};
use syncline_domain::{BatchName, ObjectName};
use syncline_testkit::servers;

use crate::bench::Bench;

/// A message as it lies in a stream.
#[derive(Debug, Clone)]
pub struct Stored {
    pub sequence: u64,
    pub batch: Option<BatchName>,
    pub records: Option<u64>,
    pub plan: String,
    pub code: String,
    pub cause: String,
    pub payload: Bytes,
}

impl Bench {
    pub async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(servers().nats().await)
    }

    /// The run's batches of an object, in order.
    pub async fn batches(&self, audience: Audience, object: &ObjectName) -> Vec<Stored> {
        let subject = subjects::object_batches(audience, &self.tenant, &self.run, object);
        self.stored(&audience.stream(), &subject).await
    }

    /// What is in them: data and end markers.
    pub async fn opened(&self, audience: Audience, object: &ObjectName) -> Vec<(BatchName, Body)> {
        let key = if audience == Audience::Raw { &self.raw } else { &self.clean };
        let stored = self.batches(audience, object).await;
        let open = |s: Stored| {
            let name = s.batch.expect("batches carry their names");
            let body = open(key, &name, &s.payload).expect("batches open under the run's key");
            (name, body)
        };
        stored.into_iter().map(open).collect()
    }

    /// Dead letters that a stage set aside.
    pub async fn dead(&self, stage: &str) -> Vec<Stored> {
        self.stored("DEAD", &subjects::dead(stage, &self.tenant, &self.run)).await
    }

    async fn stored(&self, stream: &str, subject: &str) -> Vec<Stored> {
        let stream = self.jetstream().await.get_stream(stream).await.unwrap();
        let (mut found, mut next) = (Vec::new(), 1);
        loop {
            let message = match stream.get_first_raw_message_by_subject(subject, next).await {
                Ok(message) => message,
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return found,
                Err(error) => panic!("{subject}: {error}"),
            };
            next = message.sequence + 1;
            let get = |key: &str| message.headers.get(key).map(|v| v.as_str().to_owned()).unwrap_or_default();
            found.push(Stored {
                sequence: message.sequence,
                batch: get(subjects::header::BATCH).parse().ok(),
                records: get(subjects::header::RECORDS).parse().ok(),
                plan: get(subjects::header::PLAN),
                code: get(subjects::header::CODE),
                cause: get(subjects::header::CAUSE),
                payload: message.payload,
            });
        }
    }

    /// Takes everything of the run off RAW and CLEAN: makes room, and tidies up.
    pub async fn purge(&self) {
        self.platform.bus.purge_run(&self.tenant, &self.run).await.unwrap();
    }
}
