//! Leases as rows: who may commit for a task.
//!
//! A lease is taken by raising the row's epoch; it expires by the database's clock. Every commit of a task's worker
//! checks epoch and expiry `for share` in its own transaction ([`Lease::guard`]), so a worker whose lease was taken can
//! commit nothing, however long it slept.

use std::time::Duration;

use sqlx::{PgConnection, PgExecutor, PgPool, Row};
use syncline_domain::run::Step;
use syncline_domain::{ObjectName, RunId};
use thiserror::Error;

/// A lease that is not renewed is free again after this long.
pub const LEASE_TTL: Duration = Duration::from_secs(10);
/// How often it is renewed.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(3);

/// A task's identity: a step of an object of a run, or a piece of work on the run itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TaskId {
    pub run: RunId,
    /// `None` for `analyze` and `settle`.
    pub object: Option<ObjectName>,
    pub step: String,
}

impl TaskId {
    /// The step, when the task is one of an object's steps.
    #[must_use]
    pub fn step(&self) -> Option<Step> {
        self.step.parse().ok()
    }

    fn object_text(&self) -> &str {
        self.object.as_ref().map_or("", ObjectName::as_str)
    }
}

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.run, self.object_text(), self.step)
    }
}

#[derive(Debug, Error)]
pub enum LeaseError {
    /// Somebody else holds the task, or held it since. Stop without a trace.
    #[error("the lease on {task} was lost")]
    Lost { task: String },
    #[error("the database could not be asked about a lease")]
    Database(#[from] sqlx::Error),
}

/// What came of an attempt to take a lease.
#[derive(Debug)]
pub enum Take {
    Taken(Lease),
    /// Somebody holds it.
    Held,
    /// The task is finished.
    Finished {
        with_errors: bool,
        round: u32,
    },
}

/// A lease that was taken. Clones are the same lease.
#[derive(Debug, Clone)]
pub struct Lease {
    pub task: TaskId,
    pub epoch: i64,
    /// How often the run had been reopened when it was taken.
    pub round: u32,
}

/// The tables that every stage has in its schema.
pub(crate) const SCHEMA: &str = "
create table if not exists task (
    run text not null,
    object text not null,
    step text not null,
    state text not null default 'open' check (state in ('open', 'done')),
    with_errors boolean not null default false,
    holder text,
    epoch bigint not null default 0,
    expires_at timestamptz,
    failures int not null default 0,
    updated_at timestamptz not null default clock_timestamp(),
    primary key (run, object, step)
);
create table if not exists outbox (
    id bigserial primary key,
    subject text not null,
    payload bytea not null,
    created_at timestamptz not null default clock_timestamp()
);
-- The trace that the message belongs to, as a `traceparent` header. Looked for first: altering waits for whoever relays.
do $$ begin
    if not exists (
        select from information_schema.columns
        where table_schema = current_schema() and table_name = 'outbox' and column_name = 'trace'
    ) then
        alter table outbox add column trace text;
    end if;
    -- The round of the run in which the task was last taken.
    if not exists (
        select from information_schema.columns
        where table_schema = current_schema() and table_name = 'task' and column_name = 'round'
    ) then
        alter table task add column round int not null default 0;
    end if;
end $$;
";

impl Lease {
    /// Takes the lease in a run that was never reopened.
    ///
    /// # Errors
    /// As [`Lease::take_in_round`].
    pub async fn take(db: &PgPool, task: TaskId, holder: &str) -> Result<Take, sqlx::Error> {
        Self::take_in_round(db, task, 0, holder).await
    }

    /// Takes the lease if nobody holds it and the task is not finished in this round of the run. A task that was finished
    /// in an earlier round begins anew; one that has come to a later round is not for whoever was invited before.
    ///
    /// # Errors
    /// [`sqlx::Error`] when the database cannot be asked.
    pub async fn take_in_round(db: &PgPool, task: TaskId, round: u32, holder: &str) -> Result<Take, sqlx::Error> {
        let stored_round = i32::try_from(round).unwrap_or(i32::MAX);
        let row = sqlx::query(
            "insert into task (run, object, step, holder, epoch, expires_at, round)
             values ($1, $2, $3, $4, 1, clock_timestamp() + make_interval(secs => $5), $6)
             on conflict (run, object, step) do update
               set holder = excluded.holder, epoch = task.epoch + 1, expires_at = excluded.expires_at, updated_at = clock_timestamp(),
                   state = 'open', round = excluded.round,
                   failures = case when task.round < excluded.round then 0 else task.failures end,
                   with_errors = task.with_errors and task.round = excluded.round
               where (task.round < excluded.round or task.round = excluded.round and task.state = 'open')
                 and (task.expires_at is null or task.expires_at < clock_timestamp())
             returning epoch",
        )
        .bind(task.run.as_str())
        .bind(task.object_text())
        .bind(&task.step)
        .bind(holder)
        .bind(LEASE_TTL.as_secs_f64())
        .bind(stored_round)
        .fetch_optional(db)
        .await?;
        if let Some(row) = row {
            let epoch = row.get(0);
            return Ok(Take::Taken(Self { epoch, task, round }));
        }
        let finished = sqlx::query("select with_errors, round from task where run = $1 and object = $2 and step = $3 and state = 'done'")
            .bind(task.run.as_str())
            .bind(task.object_text())
            .bind(&task.step)
            .fetch_optional(db)
            .await?;
        Ok(finished.map_or(Take::Held, |row| Take::Finished {
            with_errors: row.get(0),
            round: row.get::<i32, _>(1).unsigned_abs(),
        }))
    }

    /// Extends the lease.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] when it expired or was taken.
    pub async fn renew(&self, db: &PgPool) -> Result<(), LeaseError> {
        let done = sqlx::query(
            "update task set expires_at = clock_timestamp() + make_interval(secs => $5)
             where run = $1 and object = $2 and step = $3 and epoch = $4 and expires_at > clock_timestamp()",
        )
        .bind(self.task.run.as_str())
        .bind(self.task.object_text())
        .bind(&self.task.step)
        .bind(self.epoch)
        .bind(LEASE_TTL.as_secs_f64())
        .execute(db)
        .await?;
        self.one(done.rows_affected())
    }

    /// Checks the lease inside a transaction; it cannot be taken until that transaction ends.
    ///
    /// # Errors
    /// [`LeaseError::Lost`]: roll back.
    pub async fn guard(&self, tx: &mut PgConnection) -> Result<(), LeaseError> {
        let found = sqlx::query(
            "select 1 from task where run = $1 and object = $2 and step = $3 and epoch = $4 and expires_at > clock_timestamp() for share",
        )
        .bind(self.task.run.as_str())
        .bind(self.task.object_text())
        .bind(&self.task.step)
        .bind(self.epoch)
        .fetch_optional(tx)
        .await?;
        self.one(u64::from(found.is_some()))
    }

    /// Marks the task as finished, inside a transaction.
    ///
    /// # Errors
    /// [`LeaseError::Lost`]: roll back.
    pub async fn finish(&self, tx: &mut PgConnection, with_errors: bool) -> Result<(), LeaseError> {
        let done = sqlx::query(
            "update task set state = 'done', with_errors = $5, holder = null, expires_at = null, updated_at = clock_timestamp()
             where run = $1 and object = $2 and step = $3 and epoch = $4 and expires_at > clock_timestamp()",
        )
        .bind(self.task.run.as_str())
        .bind(self.task.object_text())
        .bind(&self.task.step)
        .bind(self.epoch)
        .bind(with_errors)
        .execute(tx)
        .await?;
        self.one(done.rows_affected())
    }

    /// Gives the lease back unfinished. `failed` counts a failure; otherwise failures start anew. Answers how many
    /// failures there have been in a row.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] when it is no longer ours, which is as good.
    pub async fn release(&self, executor: impl PgExecutor<'_>, failed: bool) -> Result<i32, LeaseError> {
        let row = sqlx::query(
            "update task set holder = null, expires_at = null, updated_at = clock_timestamp(),
                    failures = case when $5 then failures + 1 else 0 end
             where run = $1 and object = $2 and step = $3 and epoch = $4 and state = 'open' returning failures",
        )
        .bind(self.task.run.as_str())
        .bind(self.task.object_text())
        .bind(&self.task.step)
        .bind(self.epoch)
        .bind(failed)
        .fetch_optional(executor)
        .await?;
        row.map(|r| r.get(0)).ok_or_else(|| LeaseError::Lost {
            task: self.task.to_string(),
        })
    }

    fn one(&self, rows: u64) -> Result<(), LeaseError> {
        if rows == 1 {
            Ok(())
        } else {
            Err(LeaseError::Lost {
                task: self.task.to_string(),
            })
        }
    }
}

/// Takes leases that have run out from whoever held them, inside a transaction; answers their tasks, each to one caller. A
/// holder that wakes up later finds its lease lost like any other.
///
/// # Errors
/// [`sqlx::Error`]: roll back.
pub async fn reclaim(tx: &mut PgConnection) -> Result<Vec<TaskId>, sqlx::Error> {
    let rows = sqlx::query(
        "update task set holder = null, expires_at = null, updated_at = clock_timestamp()
         where state = 'open' and holder is not null and expires_at < clock_timestamp() returning run, object, step",
    )
    .fetch_all(tx)
    .await?;
    let task = |row: &sqlx::postgres::PgRow| {
        Some(TaskId {
            run: RunId::new(row.get::<String, _>(0)).ok()?,
            object: match row.get::<String, _>(1) {
                name if name.is_empty() => None,
                name => Some(ObjectName::new(name).ok()?),
            },
            step: row.get(2),
        })
    };
    Ok(rows.iter().filter_map(task).collect())
}

/// Opens a finished task again, inside a transaction. One that is open, and whoever works on it, are left alone.
///
/// # Errors
/// [`sqlx::Error`] when the database cannot be asked.
pub async fn reopen(tx: &mut PgConnection, run: &RunId, object: &ObjectName, step: Step) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update task set state = 'open', with_errors = false, failures = 0, updated_at = clock_timestamp()
         where run = $1 and object = $2 and step = $3 and state = 'done'",
    )
    .bind(run.as_str())
    .bind(object.as_str())
    .bind(step.as_str())
    .execute(tx)
    .await?;
    Ok(())
}

/// How many leases of a run have not expired.
///
/// # Errors
/// [`sqlx::Error`] when the database cannot be asked.
pub async fn live(db: &PgPool, run: &RunId) -> Result<u32, sqlx::Error> {
    let row = sqlx::query("select count(*) from task where run = $1 and expires_at > clock_timestamp()")
        .bind(run.as_str())
        .fetch_one(db)
        .await?;
    Ok(u32::try_from(row.get::<i64, _>(0)).unwrap_or(u32::MAX))
}

/// A step that is finished.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finished {
    pub object: String,
    pub step: String,
    pub with_errors: bool,
    /// The round of the run in which it was done last.
    pub round: u32,
}

/// Finished steps of a run.
///
/// # Errors
/// [`sqlx::Error`] when the database cannot be asked.
pub async fn finished(db: &PgPool, run: &RunId) -> Result<Vec<Finished>, sqlx::Error> {
    let rows = sqlx::query("select object, step, with_errors, round from task where run = $1 and state = 'done'")
        .bind(run.as_str())
        .fetch_all(db)
        .await?;
    let finished = |r: sqlx::postgres::PgRow| Finished {
        object: r.get(0),
        step: r.get(1),
        with_errors: r.get(2),
        round: r.get::<i32, _>(3).unsigned_abs(),
    };
    Ok(rows.into_iter().map(finished).collect())
}
