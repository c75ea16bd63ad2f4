//! Pass 1: clean batches to records, with every reference that can be resolved at once.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use syncline_batch::seal_data;
use syncline_bus::{Audience, Delivery, GroupLimits, Handled, RunOnce};
use syncline_connect::target::Refusal;
use syncline_domain::ErrorCode;
use syncline_domain::run::Step;
use syncline_runtime::{Outcome, StageError, failpoint};

use crate::claims::{Arrival, Opened, arrive};
use crate::context::Context;
use crate::journal::{self, Passing, Settled};
use crate::references::References;
use crate::steps::kept::{self, Looked, sealed_name};
use crate::steps::prepare::{Prepared, prepare};
use crate::steps::replaying;
use crate::store;
use crate::store::counts::ObjectCount;
use crate::store::outcomes::Refused;
use crate::sweep;
use crate::telling;

/// Batches that make one target job: at some 2 MB of wire form each, well below a job's 100 MB.
const GROUP_MAX: usize = 5;
const IDLE_WAIT: Duration = Duration::from_millis(250);
/// Without a batch for this long the lease is given back.
const IDLE_MAX: Duration = Duration::from_secs(5);
const TOTALS_EVERY: Duration = Duration::from_millis(400);
/// Jobs that may leave the same rows unprocessed before these are booked as refused.
const JOBS_MAX: usize = 4;
/// Pause before rows are loaded again, times the jobs that were made: locks need a moment to go.
const AGAIN_PAUSE: Duration = Duration::from_millis(500);
/// Looks at the entries that hold a group's keys before the task gives up: each look settles them.
const HOLDERS_MAX: usize = 3;

/// Loads until every batch of a complete reading has its outcomes.
pub async fn run(context: &Context) -> Result<Outcome, StageError> {
    journal::settle_left_behind(context).await?;
    sweep::once_per_run(context).await;
    if let Some(outcome) = replaying::run(context).await? {
        return Ok(outcome);
    }
    let bus = &context.platform.bus;
    let consumer = bus
        .batches("loader", Audience::Clean, &context.work.tenant, context.work.run(), context.name())
        .await?;
    let mut loading = Pass1 {
        context,
        references: References::default(),
        intended: false,
        fresh: is_fresh(context).await?,
    };
    let mut last_work = Instant::now();
    let mut told = Instant::now();
    loop {
        if context.work.stop.is_cancelled() {
            return Ok(Outcome::Stopped);
        }
        let mut failure = None;
        let limits = GroupLimits {
            messages_max: GROUP_MAX,
            wait: IDLE_WAIT,
        };
        let ran = consumer.run_once(limits, |group| loading.handle(group, &mut failure)).await?;
        if let Some(error) = failure {
            return Err(error);
        }
        // Asked after every group, so that the end is not found only by waiting in vain.
        if is_complete(context).await? {
            bus.forget_batches("loader", Audience::Clean, context.work.run(), context.name())
                .await?;
            failpoint::pass(&failpoint::LOADER_CONSUMER_FORGOTTEN).await?;
            if kept::load(context).await? == Looked::Stopped {
                return Ok(Outcome::Stopped);
            }
            let with_errors = store::outcomes::any(&context.platform.db, context.run_number, context.link).await?;
            return Ok(Outcome::Done {
                with_errors: with_errors || !balanced(context).await?,
            });
        }
        match ran {
            RunOnce::Handled(_) => last_work = Instant::now(),
            RunOnce::Idle if last_work.elapsed() > IDLE_MAX => {
                return Ok(Outcome::Yielded {
                    reason: "no clean batches yet".to_owned(),
                });
            }
            RunOnce::Idle => {}
        }
        if told.elapsed() > TOTALS_EVERY {
            telling::tell(context).await?;
            told = Instant::now();
        }
    }
}

async fn is_complete(context: &Context) -> Result<bool, StageError> {
    Ok(
        store::batches::complete_reading(&context.platform.db, context.work.run(), context.name())
            .await?
            .is_some(),
    )
}

/// The run says so when a record is neither written nor explained.
async fn balanced(context: &Context) -> Result<bool, StageError> {
    let t = telling::totals(context).await?;
    Ok(t.dead == 0 && t.read == t.inserted + t.updated + t.unchanged + t.filtered + t.refused + t.parked + t.dead)
}

/// Nothing was ever written or refused over this link.
async fn is_fresh(context: &Context) -> Result<bool, StageError> {
    let used: bool =
        sqlx::query_scalar("select exists (select 1 from ledger where link = $1) or exists (select 1 from refusal where link = $1)")
            .bind(context.link)
            .fetch_one(&context.platform.db)
            .await?;
    Ok(!used)
}

pub(super) struct Pass1<'a> {
    context: &'a Context,
    references: References,
    /// The batches in hand have a journal entry: what fails from here on is not theirs alone.
    intended: bool,
    /// The link was empty when this task began and no row was refused since, so batches that come for the first time need no look-up.
    fresh: bool,
}

impl<'a> Pass1<'a> {
    /// For records that are kept: nothing is fresh.
    pub(super) fn of_kept(context: &'a Context) -> Self {
        Self {
            context,
            references: References::default(),
            intended: false,
            fresh: false,
        }
    }

    /// Loads a group. Batches that were delivered before are loaded alone, so that none is blamed for another.
    pub(super) async fn handle(&mut self, group: Vec<Delivery>, failure: &mut Option<StageError>) -> Vec<Handled> {
        let mut handled = vec![
            Handled::Retry {
                after: Duration::from_secs(1)
            };
            group.len()
        ];
        let mut first = Vec::new();
        let mut again = Vec::new();
        for (place, delivery) in group.into_iter().enumerate() {
            match arrive(self.context, delivery).await {
                Ok(Arrival::Settled(outcome)) => set(&mut handled, place, outcome),
                Ok(Arrival::Rows(opened)) if opened.again => again.push((place, opened)),
                Ok(Arrival::Rows(opened)) => first.push((place, opened)),
                Err(error) => {
                    *failure = Some(error);
                    return handled;
                }
            }
        }
        let groups = std::iter::once(first).chain(again.into_iter().map(|one| vec![one]));
        for group in groups.filter(|g| !g.is_empty()) {
            let batches: Vec<&Opened> = group.iter().map(|(_, o)| o.as_ref()).collect();
            match self.load(&batches).await {
                Ok(()) => group.iter().for_each(|(place, _)| set(&mut handled, *place, Handled::Done)),
                // A batch itself is at fault, so far as can be seen, and has sent nothing: each comes again, alone.
                Err(error) if error.code() == ErrorCode::Internal && !self.intended => {
                    tracing::warn!(object = %self.context.name(), %error, batches = group.len(), "batches could not be prepared; they are tried again one by one");
                }
                Err(error) => {
                    *failure = Some(error);
                    return handled;
                }
            }
        }
        handled
    }

    /// Loads until every row of the group has an outcome, then closes the claims.
    pub(super) async fn load(&mut self, group: &[&Opened]) -> Result<(), StageError> {
        let context = self.context;
        let fresh = self.fresh && group.iter().all(|o| !o.again && o.name.generation == 0);
        self.intended = false;
        let mut prepared = AssertUnwindSafe(prepare(context, &mut self.references, group, fresh))
            .catch_unwind()
            .await
            // The message of a panic may hold anything; the panic itself has been printed where it happened.
            .unwrap_or_else(|_| Err(StageError::new(ErrorCode::Internal, "preparing batches panicked")))?;
        let references = prepared.references;
        self.fresh &= prepared.parked.source_keys.is_empty();
        let (mut jobs, mut holders) = (0, 0);
        loop {
            let Some(entries) = self.intend(group, &prepared).await? else {
                // Somebody else's entry holds a key: learn what became of it, then look again.
                self.fresh = false;
                holders += 1;
                if holders > HOLDERS_MAX {
                    return Err(StageError::new(
                        ErrorCode::Internal,
                        format!("keys of {} are reserved by an entry that cannot be settled", context.name()),
                    ));
                }
                self.settle_holders(&prepared).await?;
                prepared = prepare(context, &mut self.references, group, false).await?;
                continue;
            };
            self.intended = true;
            jobs += 1;
            let passing = if jobs < JOBS_MAX { Passing::LoadAgain } else { Passing::Refuse };
            let mut unprocessed = 0;
            for (entry, job) in entries
                .into_iter()
                .zip([prepared.insert.take(), prepared.update.take()].into_iter().flatten())
            {
                let settled: Settled = journal::carry_out(context, entry, job, passing).await?;
                unprocessed += settled.unprocessed;
                self.fresh &= settled.refused == 0;
            }
            if unprocessed == 0 {
                break;
            }
            if context.work.stop.is_cancelled() {
                return Err(StageError::new(
                    ErrorCode::JobFailed,
                    "stopped with rows unprocessed; they are loaded when the run goes on",
                ));
            }
            tokio::time::sleep(AGAIN_PAUSE * u32::try_from(jobs).unwrap_or(1)).await;
            prepared = prepare(context, &mut self.references, group, false).await?;
            if jobs >= JOBS_MAX {
                self.refuse_rest(&prepared).await?;
                break;
            }
            tracing::warn!(object = %context.name(), unprocessed, "rows were left unprocessed and are loaded again");
        }
        self.keep_refused(group).await?;
        self.close(group, &prepared, references).await
    }

    /// Commits claims and journal entries (inserts first, then updates).
    async fn intend(&self, group: &[&Opened], prepared: &Prepared) -> Result<Option<Vec<i64>>, StageError> {
        let context = self.context;
        let mut tx = context.platform.db.begin().await?;
        context.work.lease.guard(&mut tx).await?;
        let mut entries = Vec::new();
        for job in [&prepared.insert, &prepared.update].into_iter().flatten() {
            let Some(entry) = journal::intend(context, &mut tx, Step::LoadPass1, job).await? else {
                return Ok(None);
            };
            entries.push(entry);
        }
        for opened in group {
            store::batches::claim_entries(&mut tx, &opened.name, &entries).await?;
        }
        store::outcomes::defer(&mut tx, context.run_number, context.link, &prepared.deferred).await?;
        store::outcomes::refused(
            &mut tx,
            context.run_number,
            context.link,
            Step::LoadPass1.as_str(),
            "parked",
            &prepared.parked,
        )
        .await?;
        tx.commit().await?;
        Ok(Some(entries))
    }

    async fn settle_holders(&self, prepared: &Prepared) -> Result<(), StageError> {
        let Some(job) = &prepared.insert else { return Ok(()) };
        for entry in store::journal::holding(&self.context.platform.db, self.context.link, &job.source_keys).await? {
            journal::settle(self.context, entry, Passing::LoadAgain).await?;
        }
        Ok(())
    }

    /// Rows that job after job left unprocessed are refused, not forgotten.
    async fn refuse_rest(&self, prepared: &Prepared) -> Result<(), StageError> {
        let context = self.context;
        let refusal = Refusal {
            code: ErrorCode::JobFailed,
            native: String::new(),
            fields: Vec::new(),
        };
        let mut refused = Refused::default();
        for job in [&prepared.insert, &prepared.update].into_iter().flatten() {
            job.source_keys.iter().for_each(|key| refused.push(key.clone(), &refusal));
        }
        let mut tx = context.platform.db.begin().await?;
        context.work.lease.guard(&mut tx).await?;
        store::outcomes::refused(
            &mut tx,
            context.run_number,
            context.link,
            Step::LoadPass1.as_str(),
            "refused",
            &refused,
        )
        .await?;
        store::outcomes::deferred_drop(&mut tx, context.run_number, context.link, &refused.source_keys).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Seals refused and parked records, so that they can be loaded once the cause is mended.
    async fn keep_refused(&self, group: &[&Opened]) -> Result<(), StageError> {
        use arrow_array::cast::AsArray;
        let context = self.context;
        for opened in group {
            let Some(column) = opened.rows.column_by_name("Id").and_then(|c| c.as_string_opt::<i32>()) else {
                continue;
            };
            let keys: Vec<String> = column.iter().flatten().map(str::to_owned).collect();
            let wanted = store::outcomes::refused_unsealed(&context.platform.db, context.run_number, context.link, &keys).await?;
            if wanted.is_empty() {
                continue;
            }
            let rows: HashMap<&str, usize> = column.iter().enumerate().filter_map(|(row, key)| Some((key?, row))).collect();
            let mut sealed = Vec::with_capacity(wanted.len());
            for key in &wanted {
                let row = rows.get(key.as_str()).copied();
                let row = row.ok_or_else(|| StageError::new(ErrorCode::Internal, "a refused record is not in its batch"))?;
                let one = opened.rows.slice(row, 1);
                let bytes = seal_data(&context.clean, &sealed_name(&opened.name), &one, &[])
                    .map_err(|e| StageError::new(ErrorCode::Internal, e.to_string()))?;
                sealed.push(bytes);
            }
            let mut tx = context.platform.db.begin().await?;
            context.work.lease.guard(&mut tx).await?;
            store::outcomes::refused_keep(&mut tx, context.run_number, context.link, &wanted, &sealed).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Every row has an outcome: book it and close the claims.
    async fn close(&self, group: &[&Opened], prepared: &Prepared, references: ObjectCount) -> Result<(), StageError> {
        let context = self.context;
        let mut tx = context.platform.db.begin().await?;
        context.work.lease.guard(&mut tx).await?;
        let unchanged = store::ledger::content_seen(&mut tx, context.link, context.sync(), context.run_number, &prepared.same).await?;
        let step = Step::LoadPass1.as_str();
        for keys in [&prepared.same, &prepared.overtaken] {
            store::kept::resolve(&mut tx, context.run_number, context.link, step, keys).await?;
        }
        let count = ObjectCount {
            unchanged: i64::try_from(unchanged).unwrap_or(0) + i64::try_from(prepared.overtaken.len()).unwrap_or(0),
            ..references
        };
        store::counts::add(&mut tx, context.work.run(), context.name(), &count).await?;
        let mut too_large = Refused::default();
        let refusal = Refusal {
            code: ErrorCode::RecordTooLarge,
            native: String::new(),
            fields: Vec::new(),
        };
        group
            .iter()
            .flat_map(|o| &o.note.too_large)
            .for_each(|key| too_large.push(key.clone(), &refusal));
        store::outcomes::refused(&mut tx, context.run_number, context.link, step, "refused", &too_large).await?;
        for opened in group {
            store::outcomes::sample_insert(&mut tx, context.run_number, context.link, &opened.note.sample).await?;
            store::batches::claim_done(&mut tx, &opened.name, i64::try_from(opened.note.dead).unwrap_or(0)).await?;
        }
        tx.commit().await?;
        failpoint::pass(&failpoint::LOADER_CLAIMS_CLOSED).await?;
        Ok(())
    }
}

fn set(handled: &mut [Handled], place: usize, outcome: Handled) {
    if let Some(slot) = handled.get_mut(place) {
        *slot = outcome;
    }
}
