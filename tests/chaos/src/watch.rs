//! What the stages' tables show while a trial goes on, for the seconds of the matrix: when leases ran out, when work was
//! taken up again, when the next batch was done. Nothing is judged by it.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const EVERY: Duration = Duration::from_millis(60);
const RECONNECT: Duration = Duration::from_millis(200);

/// Seconds since 1970, by the database's clock, which is this machine's.
pub type Moment = f64;

/// (stage, object, step)
type Task = (String, String, String);

#[derive(Clone, PartialEq)]
struct Lease {
    epoch: i64,
    done: bool,
    expires: Option<Moment>,
}

#[derive(Clone)]
struct Sample {
    at: Moment,
    leases: BTreeMap<Task, Lease>,
    /// Batches done, by stage and object.
    batches: BTreeMap<(String, String), i64>,
}

/// Looks on until it is told to end.
pub struct Watch {
    task: JoinHandle<Vec<Sample>>,
    end: watch::Sender<bool>,
}

/// What was seen.
pub struct Seen(Vec<Sample>);

pub fn now() -> Moment {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |d| d.as_secs_f64())
}

impl Watch {
    pub fn start(database_url: &str, run: &str) -> Self {
        let (end, ended) = watch::channel(false);
        let (url, run) = (database_url.to_owned(), run.to_owned());
        Self {
            task: tokio::spawn(look(url, run, ended)),
            end,
        }
    }

    pub async fn end(self) -> Seen {
        self.end.send_replace(true);
        Seen(self.task.await.unwrap_or_default())
    }
}

async fn look(url: String, run: String, ended: watch::Receiver<bool>) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut connection: Option<PgConnection> = None;
    while !*ended.borrow() {
        let Some(open) = &mut connection else {
            connection = PgConnection::connect(&url).await.ok();
            if connection.is_none() {
                tokio::time::sleep(RECONNECT).await;
            }
            continue;
        };
        match sample(open, &run).await {
            Ok(sample) => samples.push(sample),
            Err(_) => connection = None,
        }
        tokio::time::sleep(EVERY).await;
    }
    samples
}

async fn sample(db: &mut PgConnection, run: &str) -> Result<Sample, sqlx::Error> {
    let leases = sqlx::query(
        "select s, object, step, epoch, state = 'done', extract(epoch from expires_at)::float8 from (
           select 'analyzer' as s, * from analyzer.task union all select 'extractor', * from extractor.task
           union all select 'masker', * from masker.task union all select 'loader', * from loader.task) t
         where run = $1",
    )
    .bind(run)
    .fetch_all(&mut *db)
    .await?;
    let batches = sqlx::query(
        "select 'extractor', object, count(*) from extractor.batch where run = $1 and published group by object
         union all select 'masker', object, count(*) from masker.batch where run = $1 and done group by object
         union all select 'loader', object, sum(n)::bigint from (
           select object, count(*) as n from loader.claim where run = $1 and state = 'done' group by object
           union all select object, count(*) from loader.journal where run = $1 and state = 'settled' group by object) l group by object",
    )
    .bind(run)
    .fetch_all(&mut *db)
    .await?;
    Ok(Sample {
        at: now(),
        leases: leases
            .iter()
            .map(|r| {
                let lease = Lease {
                    epoch: r.get(3),
                    done: r.get(4),
                    expires: r.get(5),
                };
                ((r.get(0), r.get(1), r.get(2)), lease)
            })
            .collect(),
        batches: batches.iter().map(|r| ((r.get(0), r.get(1)), r.get(2))).collect(),
    })
}

impl Seen {
    /// Seconds from a moment to the first batch that a stage (or any, when none is named) did after it.
    pub fn first_batch_after(&self, stage: Option<&str>, moment: Moment) -> Option<f64> {
        let total = |sample: &Sample| -> i64 {
            let of_stage = sample.batches.iter().filter(|((s, _), _)| stage.is_none_or(|wanted| wanted == s));
            of_stage.map(|(_, n)| n).sum()
        };
        let before = self.0.iter().rev().find(|s| s.at <= moment).map_or(0, total);
        let after = self.0.iter().find(|s| s.at > moment && total(s) > before)?;
        Some(after.at - moment)
    }

    /// Of every lease that a stage held at a moment and let run out: seconds from its end until somebody else did work on that
    /// task (a batch, or the rest of it).
    pub fn taken_over(&self, stage: &str, moment: Moment) -> Vec<f64> {
        let Some(at_fault) = self.0.iter().rev().find(|s| s.at <= moment) else {
            return Vec::new();
        };
        let held = at_fault
            .leases
            .iter()
            .filter(|((s, _, _), lease)| s == stage && !lease.done && lease.expires.is_some());
        held.filter_map(|(task, lease)| self.followed(task, lease.epoch, moment)).collect()
    }

    fn followed(&self, task: &Task, epoch: i64, moment: Moment) -> Option<f64> {
        let mut of_task = self
            .0
            .iter()
            .filter(|s| s.at > moment - 1.0)
            .filter_map(|s| Some((s, s.leases.get(task)?)));
        // Its last word on when it ends, before somebody else raised the epoch.
        let expired = of_task
            .clone()
            .take_while(|(_, l)| l.epoch == epoch && !l.done)
            .filter_map(|(_, l)| l.expires)
            .last()?;
        let (taken, _) = of_task.find(|(_, l)| l.epoch > epoch)?;
        if taken.at < expired {
            return None; // it was given back, not lost
        }
        let place = (task.0.clone(), task.1.clone());
        let before = taken.batches.get(&place).copied().unwrap_or(0);
        let worked = self.0.iter().find(|s| {
            let more = s.batches.get(&place).copied().unwrap_or(0) > before;
            s.at >= taken.at && (more || s.leases.get(task).is_some_and(|l| l.done))
        })?;
        Some(worked.at - expired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Moment, epoch: i64, expires: Option<Moment>, batches: i64) -> Sample {
        let task = ("masker".to_owned(), "Account".to_owned(), "transform".to_owned());
        let lease = Lease {
            epoch,
            done: false,
            expires,
        };
        Sample {
            at,
            leases: [(task, lease)].into(),
            batches: [(("masker".to_owned(), "Account".to_owned()), batches)].into(),
        }
    }

    #[test]
    fn seconds_count_from_the_end_of_the_lease_to_the_next_batch_of_its_follower() {
        let seen = Seen(vec![
            sample(1.0, 1, Some(10.0), 2),
            sample(2.0, 1, Some(12.0), 3),
            sample(11.0, 1, Some(12.0), 3),
            sample(13.0, 2, Some(23.0), 3),
            sample(14.5, 2, Some(24.0), 4),
        ]);
        assert_eq!(seen.taken_over("masker", 2.5), [2.5]);
        assert!(seen.taken_over("loader", 2.5).is_empty());
        assert_eq!(seen.first_batch_after(Some("masker"), 2.5), Some(12.0));
        assert_eq!(seen.first_batch_after(Some("loader"), 2.5), None);
    }

    #[test]
    fn a_lease_that_was_given_back_is_not_one_that_ran_out() {
        let seen = Seen(vec![
            sample(1.0, 1, Some(10.0), 2),
            sample(3.0, 2, Some(13.0), 2),
            sample(4.0, 2, Some(13.0), 3),
        ]);
        assert!(seen.taken_over("masker", 1.5).is_empty());
    }
}
