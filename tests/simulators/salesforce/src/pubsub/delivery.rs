//! One open subscription: what the client has asked for, where it stands, and when it must hear something.
//!
//! Nothing is delivered that was not asked for. While something is asked for and nothing happens, an empty answer keeps
//! the stream alive; while nothing is asked for, the stream ends after a while.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

use crate::pubsub::bus::{PubSub, now_ms};
use crate::pubsub::config::REQUESTED_MAX;
use crate::pubsub::faults::Damage;
use crate::pubsub::log::{Event, replay_id};
use crate::pubsub::proto::{CommitReplayRequest, CommitReplayResponse, ConsumerEvent, Error, ErrorCode, ProducerEvent};
use crate::pubsub::refusal;
use crate::pubsub::service::Session;
use crate::pubsub::topic::Topic;

/// Bytes of one answer, so that clients with gRPC's default limit of 4 MB can read it.
const ANSWER_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Answers waiting for a client that does not read.
pub const ANSWERS_WAITING_MAX: usize = 4;

/// What a client says on an open stream.
pub struct Ask {
    pub requested: i32,
    pub commit: Option<CommitReplayRequest>,
}

/// What it is answered.
pub struct Answer {
    pub events: Vec<ConsumerEvent>,
    pub latest: Vec<u8>,
    pub pending: i32,
    pub commit: Option<CommitReplayResponse>,
}

/// Counts an open subscription while it lives.
struct Counted<'a>(&'a PubSub);

impl<'a> Counted<'a> {
    fn new(bus: &'a PubSub) -> Self {
        bus.streams.fetch_add(1, Ordering::SeqCst);
        Self(bus)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A subscription under way.
pub struct Delivery {
    pub session: Session,
    pub topic: Topic,
    pub position: u64,
    pub pending: i32,
    /// The managed subscription whose position commits move.
    pub managed: Option<String>,
}

impl Delivery {
    /// Serves the stream until the client leaves (`Ok`), leaves it idle (`Ok`), or an error ends it.
    ///
    /// # Errors
    /// The status that the stream ends with.
    pub async fn run<R, S>(mut self, mut asks: S, out: &mpsc::Sender<Result<R, Status>>) -> Result<(), Status>
    where
        R: From<Answer>,
        S: Stream<Item = Result<Ask, Status>> + Unpin,
    {
        let bus = self.session.bus();
        let _counted = Counted::new(&bus);
        let (mut bell, mut cuts) = (bus.log.bell(), bus.faults.cuts());
        let mut spoke = Instant::now();
        loop {
            bell.borrow_and_update();
            while self.pending > 0
                && let Some(answer) = self.next_answer()?
            {
                if out.send(Ok(answer.into())).await.is_err() {
                    return Ok(());
                }
                spoke = Instant::now();
            }
            let wait_ms = if self.pending > 0 {
                bus.config.keepalive_ms
            } else {
                bus.config.unrequested_ms
            };
            tokio::select! {
                () = out.closed() => return Ok(()),
                _ = cuts.changed() => return Err(bus.faults.cut_status()),
                ask = asks.next() => {
                    let Some(ask) = ask else { return Ok(()) };
                    self.session.check()?;
                    if let Some(commit) = self.take(ask?)?
                        && out.send(Ok(self.answer(Vec::new(), Some(commit)).into())).await.is_err() {
                        return Ok(());
                    }
                }
                _ = bell.changed(), if self.pending > 0 => {}
                () = tokio::time::sleep_until(spoke + Duration::from_millis(wait_ms)) => {
                    if self.pending == 0 {
                        return Ok(());
                    }
                    self.session.check()?;
                    if out.send(Ok(self.answer(Vec::new(), None).into())).await.is_err() {
                        return Ok(());
                    }
                    spoke = Instant::now();
                }
            }
        }
    }

    /// Adds to what is asked for, and commits a position if that is asked.
    fn take(&mut self, ask: Ask) -> Result<Option<CommitReplayResponse>, Status> {
        if ask.commit.is_none() || ask.requested != 0 {
            self.request(ask.requested)?;
        }
        Ok(ask.commit.map(|c| self.commit(c)))
    }

    /// Adds to what is asked for.
    ///
    /// # Errors
    /// When the number is not positive.
    pub fn request(&mut self, number: i32) -> Result<(), Status> {
        if number <= 0 {
            return Err(refusal::requested(number));
        }
        self.pending = self.pending.saturating_add(number).min(REQUESTED_MAX);
        Ok(())
    }

    fn commit(&self, request: CommitReplayRequest) -> CommitReplayResponse {
        let bus = self.session.bus();
        let found = bus.log.position(&request.replay_id, now_ms());
        let error = match found {
            Ok(position) => {
                let mut managed = bus.managed();
                if let Some(own) = managed.iter_mut().find(|m| Some(&m.id) == self.managed.as_ref()) {
                    own.position = position;
                }
                None
            }
            Err(_) => Some(Error {
                code: ErrorCode::Commit.into(),
                msg: "The Replay ID to commit is not valid.".into(),
            }),
        };
        CommitReplayResponse {
            commit_request_id: request.commit_request_id,
            replay_id: request.replay_id,
            error,
            process_time: now_ms(),
        }
    }

    /// The next events that were asked for; `None` when there are none.
    fn next_answer(&mut self) -> Result<Option<Answer>, Status> {
        let bus = self.session.bus();
        let max = usize::try_from(self.pending).unwrap_or(0);
        let wanted = bus.subjects(&self.topic);
        let batch = bus
            .log
            .read(self.position, now_ms(), max, ANSWER_BYTES_MAX, |s| wanted.contains(&s));
        if batch.events.is_empty() {
            self.position = batch.seen;
            return Ok(None);
        }
        self.session.check()?;
        let wanted = batch.events.len() as u64;
        let granted = bus.allocation.take(now_ms(), wanted);
        if granted == 0 {
            return Err(refusal::delivery_limit());
        }
        let events: Vec<Event> = batch.events.into_iter().take(usize::try_from(granted).unwrap_or(0)).collect();
        self.position = match events.last() {
            Some(last) if granted < wanted => last.number,
            _ => batch.seen,
        };
        self.pending -= i32::try_from(events.len()).unwrap_or(0);
        let latest = events.last().map_or(self.position, |e| e.number);
        let events = events.into_iter().map(|e| consumer_event(e, bus.faults.take_damage())).collect();
        let mut answer = self.answer(events, None);
        answer.latest = replay_id(latest);
        Ok(Some(answer))
    }

    /// An answer that tells how far the subscription has come.
    fn answer(&self, events: Vec<ConsumerEvent>, commit: Option<CommitReplayResponse>) -> Answer {
        Answer {
            events,
            latest: replay_id(self.position),
            pending: self.pending,
            commit,
        }
    }
}

fn consumer_event(event: Event, damage: Option<Damage>) -> ConsumerEvent {
    let mut payload = event.payload.to_vec();
    let mut schema_id = event.schema_id.to_string();
    match damage {
        Some(Damage::Truncated) => payload.truncate(payload.len() / 2),
        Some(Damage::Trailing) => payload.extend_from_slice(b"\x02\x04"),
        Some(Damage::UnknownSchema) => schema_id = "nobodyKnowsThisSchema0".into(),
        None => {}
    }
    ConsumerEvent {
        event: Some(ProducerEvent {
            id: event.id,
            schema_id,
            payload,
            headers: Vec::new(),
        }),
        replay_id: replay_id(event.number),
    }
}
