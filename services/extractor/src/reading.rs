//! Reading an object: open a generation, read its pages from the checkpoint, publish what was not published.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use futures::StreamExt;
use syncline_connect::{ConnectError, Generation, GenerationState, Hints, Query, Source};
use syncline_domain::plan::{ObjectPlan, Plan};
use syncline_domain::{ErrorCode, RunId};
use syncline_runtime::access::ServiceAccess;
use syncline_runtime::plans::Plans;
use syncline_runtime::worker::{Stage, Work};
use syncline_runtime::{Outcome, Platform, StageError, failpoint};
use syncline_salesforce::Salesforce;
use syncline_wire::event::StageTotals;
use syncline_wire::event::run_event::Fact;

use crate::publishing::{Published, Publishing, Sealed};
use crate::store::{self, GenerationRow};

/// Wire bytes per batch: compressed and sealed they come to a third of it, well below a message's bound.
const BATCH_WIRE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Rows per batch, so that a job of narrow rows holds no more in the loader's memory than one of wide rows.
const BATCH_ROWS_MAX: usize = 5_000;
/// Records per page that are asked for; a page is what a crash makes read again.
const PAGE_RECORDS: u32 = 50_000;
/// Readings of one object that may be lost before that is an error.
pub const GENERATIONS_MAX: i32 = 8;
/// A reading that took too long is cut into so many times more parts.
const PARTS_FACTOR: u32 = 4;
/// More parts than this are not worth their requests.
const PARTS_MAX: u32 = 64;
const POLL_MIN: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_secs(10);
/// A job that is still running after this long gives the lease back; it is looked at again later.
const JOB_WAIT: Duration = Duration::from_secs(30);
const ROOM_WAIT: Duration = Duration::from_secs(4);
const TOTALS_EVERY: Duration = Duration::from_millis(400);

/// How much is read at once and how long is waited.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub batch_wire_bytes_max: usize,
    pub page_records: u32,
    pub job_wait: Duration,
    /// How long to wait for room before the lease is given back.
    pub room_wait: Duration,
    /// Objects of few records are read by pages of a query instead of a job.
    pub small_readings: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_wire_bytes_max: BATCH_WIRE_BYTES_MAX,
            page_records: PAGE_RECORDS,
            job_wait: JOB_WAIT,
            room_wait: ROOM_WAIT,
            small_readings: true,
        }
    }
}

/// State of a generation whose end marker is published.
const DONE: &str = "done";
/// States of one that cannot be read on: the source lost it, or gave it up because it took too long in so few parts.
const LOST: &str = "lost";
const TOO_MUCH: &str = "too_much";

/// The stage.
pub struct Reading {
    platform: Platform,
    plans: Plans,
    digest_key: [u8; 32],
    limits: Limits,
}

/// Why a generation cannot be read on.
enum Broken {
    /// The source no longer has it, or its content differs from what was recorded: open another one.
    Lost(String),
    /// It took too long: open one in more parts.
    TooMuch(String),
    Failed(StageError),
}

impl<E: Into<StageError>> From<E> for Broken {
    fn from(error: E) -> Self {
        match error.into() {
            StageError::Connect(error) if error.gone => Self::Lost(error.to_string()),
            error => Self::Failed(error),
        }
    }
}

impl Reading {
    /// # Errors
    /// When the key of digests is missing.
    pub fn new(platform: &Platform, limits: Limits) -> anyhow::Result<Self> {
        Ok(Self {
            limits,
            platform: platform.clone(),
            plans: Plans::new(platform),
            digest_key: platform.keys.digest()?,
        })
    }

    fn query(&self, plan: &Plan, object: &ObjectPlan) -> Query {
        Query {
            object: object.name.clone(),
            fields: object.fields.clone(),
            filter: object.filter.clone(),
            created_before: object.has_created_date.then_some(plan.t0),
            order_by: object.order_by.clone(),
            batch_bytes_max: self.limits.batch_wire_bytes_max,
            batch_rows_max: BATCH_ROWS_MAX,
            page_records: self.limits.page_records,
        }
    }

    async fn source(&self, plan: &Plan) -> Result<Salesforce, ConnectError> {
        let access = ServiceAccess::new(plan.source.connection.clone(), self.platform.peers.connector.clone());
        let policy = access.retry_policy().await?;
        Salesforce::new(Arc::new(access), policy)
    }

    /// The generation to read: the newest one, or a new one where there is none or it was lost.
    async fn generation(&self, work: &Work, source: &Salesforce, query: &Query, records: u64) -> Result<GenerationRow, StageError> {
        let (run, object) = (work.run(), work.object()?);
        let newest = store::generation_newest(&self.platform.db, run, object).await?;
        let parts = |row: &GenerationRow| source.parts(&Generation(row.handle.clone()));
        let (number, parts) = match newest {
            None => (0, 1),
            Some(row) if row.state == LOST => (row.generation + 1, parts(&row)),
            Some(row) if row.state == TOO_MUCH => (row.generation + 1, (parts(&row) * PARTS_FACTOR).min(PARTS_MAX)),
            Some(row) => return Ok(row),
        };
        let hints = Hints {
            records: self.limits.small_readings.then_some(records),
            parts,
        };
        let opened = source.open_with(query, &hints).await?;
        failpoint::pass(&failpoint::EXTRACTOR_GENERATION_OPENED).await?;
        let mut tx = self.platform.db.begin().await?;
        work.lease.guard(&mut tx).await?;
        store::generation_insert(&mut tx, run, object, number, &opened.0).await?;
        tx.commit().await?;
        Ok(GenerationRow {
            generation: number,
            handle: opened.0,
            state: "open".to_owned(),
            cursor: None,
            api_calls: 0,
        })
    }

    /// Waits until the generation can be read; `None` when that takes too long or the run stops.
    async fn ready(&self, work: &Work, source: &Salesforce, handle: &Generation) -> Result<Option<u64>, Broken> {
        let started = Instant::now();
        let mut pause = POLL_MIN;
        loop {
            match source.state(handle).await? {
                GenerationState::Ready { records } => return Ok(Some(records)),
                GenerationState::Failed(error) if error.code == ErrorCode::TooMuch => return Err(Broken::TooMuch(error.to_string())),
                // It stays failed however often it is asked; another job may fare better.
                GenerationState::Failed(error) if error.can_retry() => return Err(Broken::Lost(error.to_string())),
                GenerationState::Failed(error) => return Err(error.into()),
                GenerationState::Running if started.elapsed() > self.limits.job_wait || work.stop.is_cancelled() => return Ok(None),
                GenerationState::Running => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    /// Marks the newest generation as one that is not read on; the next invitation opens another.
    async fn begin_again(&self, work: &Work, state: &str, why: &str) -> Result<Outcome, StageError> {
        let name = work.object()?;
        tracing::warn!(object = %name, %why, state, "a reading cannot go on; another generation is opened");
        if let Some(newest) = store::generation_newest(&self.platform.db, work.run(), name).await? {
            let mut tx = self.platform.db.begin().await?;
            work.lease.guard(&mut tx).await?;
            store::generation_state(&mut tx, work.run(), name, newest.generation, state).await?;
            tx.commit().await?;
            if newest.generation + 1 >= GENERATIONS_MAX {
                let message = format!("{GENERATIONS_MAX} readings of {name} could not be finished, the last one because: {why}");
                return Err(StageError::new(ErrorCode::Internal, message));
            }
        }
        Ok(Outcome::Yielded {
            reason: "the reading was lost and begins again".to_owned(),
        })
    }

    async fn read(&self, work: &Work, plan: &Plan, hash: &str, object: &ObjectPlan) -> Result<Outcome, Broken> {
        let source = self.source(plan).await?;
        let query = self.query(plan, object);
        let generation = self.generation(work, &source, &query, object.records).await?;
        let handle = Generation(generation.handle.clone());
        if generation.state == DONE {
            // Only the report is missing. The query job may be gone by now, and that is no loss.
            close(&source, &handle).await;
            return Ok(Outcome::Done { with_errors: false });
        }
        let Some(expected) = self.ready(work, &source, &handle).await? else {
            return Ok(if work.stop.is_cancelled() {
                Outcome::Stopped
            } else {
                Outcome::Yielded {
                    reason: "the source is still running the query".into(),
                }
            });
        };
        let publishing = Publishing {
            platform: &self.platform,
            work,
            key: self.plans.raw_key(work.run()).await?,
            digest_key: self.digest_key,
            plan_hash: hash.to_owned(),
            generation: generation.generation,
            room_wait: self.limits.room_wait,
        };
        let mut pages = Pages {
            reading: self,
            publishing,
            source: &source,
            query,
            handle,
            expected,
            generation,
            told: Instant::now(),
        };
        let outcome = pages.read().await?;
        if matches!(outcome, Outcome::Done { .. }) {
            close(&source, &pages.handle).await;
        }
        Ok(outcome)
    }
}

#[async_trait]
impl Stage for Reading {
    async fn work(&self, work: &Work) -> Result<Outcome, StageError> {
        let pinned = self.plans.get(work.run()).await?;
        let name = work.object()?;
        let object = pinned.plan.object(name.as_str());
        let object = object.ok_or_else(|| StageError::new(ErrorCode::Internal, format!("{name} is not in the plan")))?;
        match self.read(work, &pinned.plan, &pinned.hash, object).await {
            Ok(outcome) => Ok(outcome),
            Err(Broken::Failed(error)) => Err(error),
            Err(Broken::Lost(why)) => self.begin_again(work, LOST, &why).await,
            Err(Broken::TooMuch(why)) => self.begin_again(work, TOO_MUCH, &why).await,
        }
    }
}

/// Reads the pages of one generation from its checkpoint.
struct Pages<'a> {
    reading: &'a Reading,
    publishing: Publishing<'a>,
    source: &'a Salesforce,
    query: Query,
    handle: Generation,
    expected: u64,
    generation: GenerationRow,
    told: Instant,
}

/// How one page ended.
enum PageEnd {
    Next(Option<String>),
    Out(Outcome),
}

impl Pages<'_> {
    fn run(&self) -> &RunId {
        self.publishing.work.run()
    }

    async fn read(&mut self) -> Result<Outcome, Broken> {
        loop {
            let cursor = self.generation.cursor.clone();
            match self.page(cursor.as_deref()).await? {
                PageEnd::Out(outcome) => return Ok(outcome),
                PageEnd::Next(Some(next)) => self.advance(Some(next)).await?,
                PageEnd::Next(None) => break,
            }
        }
        match self.end().await? {
            PageEnd::Out(outcome) => Ok(outcome),
            PageEnd::Next(_) => Ok(Outcome::Done { with_errors: false }),
        }
    }

    /// Reads a page, records and publishes what is new, and checks what is not.
    async fn page(&mut self, cursor: Option<&str>) -> Result<PageEnd, Broken> {
        let object = self.publishing.work.object()?.clone();
        let recorded = store::batch_page(&self.reading.platform.db, self.run(), &object, self.generation.generation, cursor).await?;
        let (before, _, _) = store::batch_totals(&self.reading.platform.db, self.run(), &object, self.generation.generation).await?;
        // Sequence numbers go on where the pages before this one ended.
        let first = i32::try_from(before).unwrap_or(i32::MAX) - i32::try_from(recorded.len()).unwrap_or(0);
        let mut page = self.source.read(&self.handle, &self.query, cursor).await?;
        let mut place = 0;
        while let Some(rows) = page.batches.next().await {
            let mut pieces = VecDeque::from([rows?]);
            while let Some(piece) = pieces.pop_front() {
                if piece.num_rows() == 0 {
                    continue;
                }
                if self.publishing.work.stop.is_cancelled() {
                    return Ok(PageEnd::Out(Outcome::Stopped));
                }
                let seq = first + place;
                let known = recorded.get(&place);
                let Some(sealed) = self.publishing.seal(seq, &piece)? else {
                    split(piece, &mut pieces);
                    continue;
                };
                match known {
                    Some(k) if k.seq != seq || k.digest != sealed.digest => {
                        return Err(Broken::Lost(format!("batch {seq} has another content than was recorded")));
                    }
                    Some(k) if k.published => {
                        place += 1;
                        continue;
                    }
                    Some(_) => {}
                    None => self.publishing.record(seq, cursor, place, &sealed).await?,
                }
                if let Some(out) = self.publish(seq, sealed).await? {
                    return Ok(PageEnd::Out(out));
                }
                place += 1;
            }
        }
        failpoint::pass(&failpoint::EXTRACTOR_PAGE_READ).await?;
        Ok(PageEnd::Next(page.next))
    }

    async fn publish(&mut self, seq: i32, sealed: Sealed) -> Result<Option<Outcome>, StageError> {
        let published = self.publishing.publish(seq, sealed.rows, sealed.bytes).await?;
        if self.told.elapsed() > TOTALS_EVERY || !matches!(published, Published::Yes) {
            self.tell().await?;
        }
        Ok(match published {
            Published::Yes => None,
            Published::NoRoom => Some(Outcome::Yielded {
                reason: "no room on the bus".to_owned(),
            }),
            Published::Stopped => Some(Outcome::Stopped),
        })
    }

    async fn advance(&mut self, cursor: Option<String>) -> Result<(), StageError> {
        let object = self.publishing.work.object()?;
        let mut tx = self.reading.platform.db.begin().await?;
        self.publishing.work.lease.guard(&mut tx).await?;
        let expected = i64::try_from(self.expected).unwrap_or(i64::MAX);
        store::generation_advance(
            &mut tx,
            self.run(),
            object,
            self.generation.generation,
            cursor.as_deref(),
            expected,
            self.calls(),
        )
        .await?;
        tx.commit().await?;
        self.generation.cursor = cursor;
        Ok(())
    }

    /// Publishes the end marker and closes the generation.
    async fn end(&mut self) -> Result<PageEnd, Broken> {
        let object = self.publishing.work.object()?.clone();
        let (batches, records, _) = store::batch_totals(&self.reading.platform.db, self.run(), &object, self.generation.generation).await?;
        let records = u64::try_from(records).unwrap_or(0);
        if records != self.expected {
            return Err(Broken::Lost(format!(
                "{records} records were read where the source announced {}",
                self.expected
            )));
        }
        let seq = i32::try_from(batches).unwrap_or(i32::MAX);
        let marker = self.publishing.seal_end(seq, records)?;
        // Its place is below every row's, so that it is not counted among the batches.
        self.publishing.record(seq, None, -1, &marker).await?;
        if let Some(out) = self.publish(seq, marker).await? {
            return Ok(PageEnd::Out(out));
        }
        failpoint::pass(&failpoint::EXTRACTOR_END_PUBLISHED).await?;
        let mut tx = self.reading.platform.db.begin().await?;
        self.publishing.work.lease.guard(&mut tx).await?;
        store::generation_state(&mut tx, self.run(), &object, self.generation.generation, DONE).await?;
        tx.commit().await?;
        self.tell().await?;
        Ok(PageEnd::Next(None))
    }

    fn calls(&self) -> i64 {
        self.generation.api_calls + i64::try_from(self.source.calls()).unwrap_or(0)
    }

    async fn tell(&mut self) -> Result<(), StageError> {
        let object = self.publishing.work.object()?.clone();
        let (batches, records, bytes) =
            store::batch_totals(&self.reading.platform.db, self.run(), &object, self.generation.generation).await?;
        let number = |n: i64| u64::try_from(n).unwrap_or(0);
        let totals = StageTotals {
            stage: "extractor".to_owned(),
            object: object.to_string(),
            batches: number(batches),
            records: number(records),
            bytes: number(bytes),
            api_calls: number(self.calls()),
            expected: self.expected,
        };
        if let Err(error) = self
            .reading
            .platform
            .bus
            .publish_event(&self.publishing.work.event(Fact::StageTotals(totals)))
            .await
        {
            tracing::warn!(%error, "totals could not be told; the next ones will be");
        }
        self.told = Instant::now();
        Ok(())
    }
}

/// Lets the source forget a reading. Left behind it expires by itself after some days.
async fn close(source: &Salesforce, handle: &Generation) {
    if let Err(error) = source.close(handle).await {
        tracing::warn!(%error, "a finished query job could not be deleted");
    }
}

/// Halves a batch whose sealed form does not fit a message. The halves are read the same way again.
fn split(rows: RecordBatch, pieces: &mut VecDeque<RecordBatch>) {
    let half = rows.num_rows() / 2;
    pieces.push_front(rows.slice(half, rows.num_rows() - half));
    pieces.push_front(rows.slice(0, half));
}
