//! The circuit breakers of connections: whether anything may be sent, decided once for everybody.
//!
//! The state is a column of `quota`, which every lease of a block reads anyhow. Whoever sends reports failures that speak for
//! the system being away, and the answers that end them; what follows is [`syncline_domain::breaker`]'s. Times are the
//! database's. A person's test of a connection is not held back: its answer closes the breaker.

use std::time::Duration;

use chrono::Utc;
use sqlx::{PgConnection, PgPool};
use syncline_domain::breaker::{Breaker, Failure, Permit};
use syncline_domain::{ConnectionName, TenantId};
use syncline_runtime::metrics;

use crate::error::Error;
use crate::store;

/// How often it is measured which connections are held back.
const MEASURED_EVERY: Duration = Duration::from_secs(10);

/// Keeps the breakers of a tenant.
#[derive(Debug, Clone)]
pub struct Breakers {
    db: PgPool,
    tenant: TenantId,
}

impl Breakers {
    #[must_use]
    pub fn new(db: PgPool, tenant: TenantId) -> Self {
        Self { db, tenant }
    }

    /// Whether something may be sent; true: it is the probe, whose outcome has to be reported.
    ///
    /// # Errors
    /// [`Error::HeldBack`] while the breaker is open, [`Error::UnknownConnection`].
    pub async fn ask(&self, name: &ConnectionName) -> Result<bool, Error> {
        // Mostly it is closed, and nobody has to wait for the row.
        if store::breaker_get(&self.db, &self.tenant, name).await?.is_none() {
            return Ok(false);
        }
        match self.change(name, Breaker::ask).await? {
            (_, Permit::Granted) => Ok(false),
            (_, Permit::Probe) => Ok(true),
            (breaker, Permit::Refused { wait_ms }) => Err(held_back(name, &breaker, wait_ms)),
        }
    }

    /// Whether a sign-in may be tried. One that is due is not claimed as the probe: it may yet be another's.
    ///
    /// # Errors
    /// As [`Breakers::ask`].
    pub async fn ask_for_sign_in(&self, name: &ConnectionName) -> Result<(), Error> {
        let Some(row) = store::breaker_get(&self.db, &self.tenant, name).await? else {
            return Ok(());
        };
        let breaker = read(&row.breaker);
        match (breaker, breaker.ask(row.now())) {
            // Who has the probe may need a token for it.
            (Breaker::HalfOpen { .. }, _) | (_, (_, Permit::Granted | Permit::Probe)) => Ok(()),
            (_, (_, Permit::Refused { wait_ms })) => Err(held_back(name, &breaker, wait_ms)),
        }
    }

    /// # Errors
    /// [`Error::UnknownConnection`], and those of the database, as all that report.
    pub async fn failed(&self, name: &ConnectionName, failure: Failure) -> Result<(), Error> {
        self.change(name, |breaker, now_ms| (breaker.failed(failure, now_ms), ())).await?;
        Ok(())
    }

    /// A request was answered after others failed, or as the probe.
    ///
    /// # Errors
    /// As [`Breakers::failed`].
    pub async fn answered(&self, name: &ConnectionName) -> Result<(), Error> {
        self.change(name, |breaker, _| (breaker.answered(), ())).await?;
        Ok(())
    }

    /// Requests were answered some time ago.
    ///
    /// # Errors
    /// As [`Breakers::failed`].
    pub async fn used(&self, name: &ConnectionName) -> Result<(), Error> {
        self.change(name, |breaker, _| (breaker.used(), ())).await?;
        Ok(())
    }

    /// # Errors
    /// As [`Breakers::failed`].
    pub async fn asked_to_wait(&self, name: &ConnectionName, wait_ms: u64) -> Result<(), Error> {
        self.change(name, |breaker, now_ms| (breaker.asked_to_wait(wait_ms, now_ms), ()))
            .await?;
        Ok(())
    }

    /// Those of `names` that are not closed.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list(&self, names: &[String]) -> Result<Vec<(String, Breaker)>, Error> {
        let rows = store::breaker_list(&self.db, &self.tenant, Some(names)).await?;
        Ok(rows
            .into_iter()
            .filter_map(|(name, text)| Some((name, standing(&text?)?)))
            .collect())
    }

    /// Measures until the service ends.
    pub async fn measure(self) {
        loop {
            // Each replica sees all of them, so it does not matter which one changed the state.
            match store::breaker_list(&self.db, &self.tenant, None).await {
                Ok(rows) => {
                    for (name, text) in rows {
                        let is_open = text.is_some_and(|text| standing(&text).is_some());
                        metrics::set(
                            metrics::BREAKER_OPEN,
                            f64::from(u8::from(is_open)),
                            &[("connection", name.as_str())],
                        );
                    }
                }
                Err(error) => tracing::debug!(%error, "circuit breakers could not be measured; trying again"),
            }
            tokio::time::sleep(MEASURED_EVERY).await;
        }
    }

    async fn change<T>(&self, name: &ConnectionName, next: impl FnOnce(Breaker, u64) -> (Breaker, T)) -> Result<(Breaker, T), Error> {
        let mut tx = self.db.begin().await?;
        let row = store::breaker_lock(&mut tx, &self.tenant, name).await?;
        let row = row.ok_or_else(|| Error::UnknownConnection(name.to_string()))?;
        let before = row.breaker.as_deref().map_or_else(Breaker::default, read);
        let (after, answer) = next(before, row.now());
        if after != before {
            put(&mut tx, &self.tenant, name, &after).await?;
            tx.commit().await?;
            tell(name, &before, &after);
        }
        Ok((after, answer))
    }
}

async fn put(tx: &mut PgConnection, tenant: &TenantId, name: &ConnectionName, breaker: &Breaker) -> Result<(), Error> {
    let text = (*breaker != Breaker::default()).then(|| serde_json::to_string(breaker).expect("a breaker becomes JSON"));
    store::breaker_put(tx, tenant, name, text.as_deref()).await?;
    Ok(())
}

/// One of another release that cannot be read is closed: it opens again if it has to.
fn read(text: &str) -> Breaker {
    serde_json::from_str(text).unwrap_or_default()
}

/// One that is not closed. What a system asked for passes without anybody's asking, so here it is looked at by this clock.
fn standing(text: &str) -> Option<Breaker> {
    let now_ms = u64::try_from(Utc::now().timestamp_millis()).unwrap_or(0);
    match read(text) {
        Breaker::Held { until_ms, .. } if until_ms <= now_ms => None,
        breaker => (!breaker.is_closed()).then_some(breaker),
    }
}

/// What people and the coordinator are shown; nothing, when it is closed.
#[must_use]
pub fn shown(name: &str, text: Option<&str>) -> Option<syncline_wire::connection::Breaker> {
    syncline_wire::breaker::to_proto(name, &standing(text?)?)
}

fn tell(name: &ConnectionName, before: &Breaker, after: &Breaker) {
    match (before.is_closed(), after.words()) {
        (true, Some(words)) => tracing::warn!(connection = %name, "held back: {words}"),
        (false, None) => tracing::info!(connection = %name, "no longer held back"),
        _ => {}
    }
}

fn held_back(name: &ConnectionName, breaker: &Breaker, wait_ms: u64) -> Error {
    Error::HeldBack {
        name: name.clone(),
        words: breaker.words().unwrap_or_default(),
        wait: Duration::from_millis(wait_ms),
    }
}
