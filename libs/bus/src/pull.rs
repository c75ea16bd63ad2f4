//! Pulling, with an end to every wait.
//!
//! A pull is a question whose answers come one by one. If the connection breaks in between, the subscription comes
//! back and the question does not: without a bound of our own that wait would never end. So a pull ends with its own
//! time, and at once when the connection was made anew; what has arrived by then is kept.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::Batch;
use futures::StreamExt;
use tokio::sync::watch;

use crate::error::BusError;

/// One pull never asks for more: beyond some 64 MiB the server takes the client for slow and cuts it off (measured).
const PULL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a pull that does not wait for messages may take to bring those that are there.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// What the server's own 'time is up' may take to arrive.
const ANSWER_GRACE: Duration = Duration::from_secs(1);

/// A consumer and the connection through which it is asked.
pub(crate) struct Puller {
    name: String,
    consumer: PullConsumer,
    line: watch::Receiver<Line>,
}

/// What is known of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub up: bool,
    /// Counts the connections made.
    pub number: u64,
}

impl Puller {
    pub(crate) fn new(name: String, consumer: PullConsumer, line: watch::Receiver<Line>) -> Self {
        Self { name, consumer, line }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// At most `count` messages: those that are there, or else the first one that comes within `wait`.
    pub(crate) async fn pull(&self, count: usize, wait: Duration) -> Result<Vec<Message>, BusError> {
        let mut line = self.line.clone();
        // A question asked while the connection is down would be asked later, for messages that nobody then awaits.
        if tokio::time::timeout(wait.max(ANSWER_GRACE), line.wait_for(|line| line.up))
            .await
            .is_err()
        {
            return Err(self.failed("not connected"));
        }
        let number = line.borrow().number;
        let mut out = Vec::new();
        if count > 1 || wait.is_zero() {
            let asked = self.consumer.fetch().max_messages(count).max_bytes(PULL_BYTES_MAX).messages();
            let collecting = async {
                collect(asked.await.map_err(|e| self.failed(e))?, &mut out)
                    .await
                    .map_err(|e| self.failed(e))
            };
            tokio::select! {
                ended = collecting => if out.is_empty() { ended? },
                // Neither is an error: the next pull asks again.
                () = tokio::time::sleep(ANSWER_MAX) => return Ok(out),
                () = renewed(&mut line, number) => return Ok(out),
            }
        }
        if out.is_empty() && !wait.is_zero() {
            let asked = self.consumer.batch().max_messages(1).expires(wait).messages();
            let collecting = async {
                collect(asked.await.map_err(|e| self.failed(e))?, &mut out)
                    .await
                    .map_err(|e| self.failed(e))
            };
            tokio::select! {
                ended = collecting => if out.is_empty() { ended? },
                () = tokio::time::sleep(wait + ANSWER_GRACE) => {}
                () = renewed(&mut line, number) => {}
            }
        }
        Ok(out)
    }

    fn failed(&self, reason: impl ToString) -> BusError {
        BusError::Pull {
            consumer: self.name.clone(),
            reason: reason.to_string(),
        }
    }
}

/// Until the server says that there is no more, or ends the pull early, as it does at the bound of bytes.
async fn collect(mut answers: Batch, out: &mut Vec<Message>) -> Result<(), async_nats::Error> {
    while let Some(message) = answers.next().await {
        out.push(message?);
    }
    Ok(())
}

/// Ends when the connection is another one than `number`; never if its end cannot be learnt any more.
async fn renewed(line: &mut watch::Receiver<Line>, number: u64) {
    if line.wait_for(|line| line.number != number).await.is_err() {
        std::future::pending::<()>().await;
    }
}
