//! Reopening a run that ended with errors: for refused records, for parked ones, for dead letters.
//!
//! Guarantees:
//! - a run is reopened only once what it left on the bus is removed, or that removal would take what the new round puts there;
//! - reopened, it is the one unfinished run of its link, by the same unique index as any other;
//! - which records are chosen and that the run is reopened is decided under the lock of the run's row, so of two that ask
//!   at once the second finds a run that has not ended.
//!
//! Refused records that were chosen in a run that then was not reopened are chosen and nothing more; the next choice
//! replaces them.

use std::time::Duration;

use sqlx::{PgConnection, Postgres, Transaction};
use syncline_domain::ObjectName;
use syncline_domain::run::{Event, Life, Step};
use syncline_runtime::Platform;
use syncline_runtime::rpc::{Traced, with_trace};
use syncline_wire::stage::refusal_service_client::RefusalServiceClient;
use syncline_wire::stage::{ChooseRefusalsRequest, ListRefusalsRequest, RefusalGroup};
use thiserror::Error;

use crate::shell::{self, ApplyError};
use crate::store::{self, RunRow};

/// Right after its end a run is still being cleared away; that takes a round or two of the reconciler.
const PURGE_WAIT: Duration = Duration::from_secs(10);
const PURGE_PAUSE: Duration = Duration::from_millis(200);
/// Choosing touches every refused record of a run.
const CHOICE_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, Error)]
pub enum ReopenError {
    #[error("run `{run}` is {status}; only one that ended completed_with_errors is reopened")]
    NotEnded { run: String, status: String },
    #[error("run `{0}` has only just ended and is still being cleared away; try again in a moment")]
    NotCleared(String),
    #[error("run `{0}` between the same connections is not finished; one run at a time may write a link")]
    OtherActive(String),
    #[error("the loader does not answer: {0}")]
    Loader(Box<tonic::Status>),
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl From<sqlx::Error> for ReopenError {
    fn from(error: sqlx::Error) -> Self {
        Self::Apply(error.into())
    }
}

/// Which of the refused records, by object and by code; an empty text is any.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub object: String,
    pub code: String,
}

/// What a retry comes to.
#[derive(Debug, Default)]
pub struct Retried {
    /// All groups that stand, with how many of each are chosen.
    pub groups: Vec<RefusalGroup>,
    /// Objects that are loaded again.
    pub objects: Vec<ObjectName>,
    pub chosen: u64,
    pub parked: u64,
}

/// What would be loaded again. Changes nothing.
///
/// # Errors
/// [`ReopenError::Loader`].
pub async fn look(platform: &Platform, run: &str, filter: &Filter) -> Result<Retried, ReopenError> {
    let mut groups = standing(platform, run).await?;
    for group in groups.iter_mut().filter(|g| g.kind == REFUSED && fits(g, filter)) {
        group.chosen = group.kept;
    }
    Ok(retried(groups, filter))
}

/// Chooses the records and reopens the run; a run without any stays as it is.
///
/// # Errors
/// [`ReopenError`]; the run is as it was.
pub async fn retry(platform: &Platform, run: &str, filter: &Filter) -> Result<(RunRow, Retried), ReopenError> {
    let (mut tx, row) = lock_ended(platform, run).await?;
    let request = ChooseRefusalsRequest {
        run: run.to_owned(),
        object: filter.object.clone(),
        code: filter.code.clone(),
    };
    let chosen = loader(platform)
        .choose_refusals(with_deadline(request))
        .await
        .map_err(loader_error)?;
    let retried = retried(chosen.into_inner().groups, filter);
    if retried.objects.is_empty() {
        return Ok((row, retried));
    }
    let objects = retried.objects.iter().map(|o| (o.clone(), Step::LoadPass1)).collect();
    let row = reopen(&mut tx, row, objects).await?;
    tx.commit().await?;
    Ok((row, retried))
}

/// Reopens objects from these steps on, and with them every object that has parked records.
///
/// # Errors
/// [`ReopenError`]; the run is as it was.
pub async fn replay(platform: &Platform, run: &str, mut objects: Vec<(ObjectName, Step)>) -> Result<RunRow, ReopenError> {
    let (mut tx, row) = lock_ended(platform, run).await?;
    let parked = retried(standing(platform, run).await?, &Filter::default()).objects_with_parked();
    for object in parked {
        if !objects.iter().any(|(name, _)| *name == object) {
            objects.push((object, Step::LoadPass1));
        }
    }
    let row = reopen(&mut tx, row, objects).await?;
    tx.commit().await?;
    Ok(row)
}

const REFUSED: &str = "refused";
pub(crate) const PARKED: &str = "parked";

fn fits(group: &RefusalGroup, filter: &Filter) -> bool {
    let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
    is(&filter.object, &group.object) && is(&filter.code, &group.code)
}

/// Parked records come along when something is chosen that they may wait for; otherwise only those that were asked for.
fn retried(groups: Vec<RefusalGroup>, filter: &Filter) -> Retried {
    let chosen: u64 = groups.iter().map(|g| g.chosen).sum();
    let comes = |g: &&RefusalGroup| g.chosen > 0 || (g.kind == PARKED && g.kept > 0 && (chosen > 0 || fits(g, filter)));
    let mut objects: Vec<ObjectName> = groups
        .iter()
        .filter(comes)
        .filter_map(|g| ObjectName::new(g.object.as_str()).ok())
        .collect();
    objects.sort();
    objects.dedup();
    let parked = groups.iter().filter(comes).filter(|g| g.kind == PARKED).map(|g| g.kept).sum();
    Retried {
        groups,
        objects,
        chosen,
        parked,
    }
}

impl Retried {
    fn objects_with_parked(&self) -> Vec<ObjectName> {
        let parked = self.groups.iter().filter(|g| g.kind == PARKED && g.kept > 0);
        parked.filter_map(|g| ObjectName::new(g.object.as_str()).ok()).collect()
    }
}

/// What stands refused or parked in a run.
///
/// # Errors
/// [`ReopenError::Loader`].
pub async fn standing(platform: &Platform, run: &str) -> Result<Vec<RefusalGroup>, ReopenError> {
    let request = ListRefusalsRequest { run: run.to_owned() };
    let answer = loader(platform).list_refusals(with_deadline(request)).await.map_err(loader_error)?;
    Ok(answer.into_inner().groups)
}

fn loader(platform: &Platform) -> RefusalServiceClient<Traced> {
    RefusalServiceClient::new(with_trace(platform.peers.loader.clone()))
}

fn with_deadline<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CHOICE_WAIT);
    request
}

fn loader_error(status: tonic::Status) -> ReopenError {
    ReopenError::Loader(Box::new(status))
}

/// The run, locked, once nothing of it is left on the bus.
async fn lock_ended(platform: &Platform, run: &str) -> Result<(Transaction<'static, Postgres>, RunRow), ReopenError> {
    let deadline = tokio::time::Instant::now() + PURGE_WAIT;
    loop {
        let mut tx = platform.db.begin().await?;
        let row = store::run_lock(&mut tx, run).await?;
        let row = row.ok_or_else(|| ApplyError::Unknown(run.to_owned()))?;
        if row.state.life != Life::CompletedWithErrors {
            return Err(ReopenError::NotEnded {
                run: run.to_owned(),
                status: row.state.status().to_string(),
            });
        }
        if let Some(other) = store::run_active_on_link(&mut *tx, &row.tenant, &row.source, &row.target).await? {
            return Err(ReopenError::OtherActive(other));
        }
        if row.purged {
            return Ok((tx, row));
        }
        drop(tx);
        if tokio::time::Instant::now() > deadline {
            return Err(ReopenError::NotCleared(run.to_owned()));
        }
        tokio::time::sleep(PURGE_PAUSE).await;
    }
}

async fn reopen(tx: &mut PgConnection, row: RunRow, objects: Vec<(ObjectName, Step)>) -> Result<RunRow, ReopenError> {
    let run = row.id.clone();
    let row = match shell::apply_locked(tx, row, &Event::Reopened { objects }).await {
        // Somebody submitted a run of the same link since we looked.
        Err(ApplyError::Database(sqlx::Error::Database(error))) if error.is_unique_violation() => {
            return Err(ReopenError::OtherActive("another".to_owned()));
        }
        other => other?,
    };
    tracing::info!(%run, round = row.state.round, status = %row.state.status(), "a run was reopened");
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(object: &str, kind: &str, code: &str, kept: u64, chosen: u64) -> RefusalGroup {
        RefusalGroup {
            object: object.to_owned(),
            kind: kind.to_owned(),
            code: code.to_owned(),
            count: kept,
            kept,
            chosen,
            ..RefusalGroup::default()
        }
    }

    fn names(retried: &Retried) -> Vec<&str> {
        retried.objects.iter().map(ObjectName::as_str).collect()
    }

    #[test]
    fn parked_children_come_along_with_what_is_chosen_and_alone_only_when_asked_for() {
        let groups = |chosen| {
            vec![
                group("Account", REFUSED, "A", 3, chosen),
                group("Case", REFUSED, "B", 5, 0),
                group("Contact", PARKED, "R", 2, 0),
            ]
        };
        let with_parent = retried(
            groups(3),
            &Filter {
                object: "Account".into(),
                ..Filter::default()
            },
        );
        assert_eq!(names(&with_parent), ["Account", "Contact"]);
        assert_eq!((with_parent.chosen, with_parent.parked), (3, 2));
        let alone = retried(
            groups(0),
            &Filter {
                object: "Contact".into(),
                ..Filter::default()
            },
        );
        assert_eq!(names(&alone), ["Contact"]);
        let nothing = retried(
            groups(0),
            &Filter {
                code: "C".into(),
                ..Filter::default()
            },
        );
        assert_eq!((names(&nothing).len(), nothing.parked), (0, 0));
    }

    #[test]
    fn what_was_not_kept_cannot_be_loaded_again() {
        let found = retried(vec![group("Contact", PARKED, "R", 0, 0)], &Filter::default());
        assert!(found.objects.is_empty());
    }
}
