//! One quota per connection, leased in blocks.
//!
//! The row is the truth for all replicas: it holds the moment at which every granted call has had its turn, and a lease
//! moves it on (the generic cell rate algorithm, ITU-T I.371, with reservations). In front of it, each process has a
//! limiter of the same rate, where callers wait without having reserved anything: one that goes away costs no quota.
//!
//! The daily allocation is the org's own figure. When little is left, stages are refused so that people can still work;
//! the connector's own calls (tests, describes) may use the rest.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use sqlx::PgPool;
use syncline_domain::{ConnectionName, TenantId};
use syncline_runtime::metrics;

use crate::breakers::Breakers;
use crate::error::Error;
use crate::store;

/// Calls per second of a connection whose document does not say.
pub const CALLS_PER_SECOND_DEFAULT: NonZeroU32 = NonZeroU32::new(50).expect("not zero");
/// The burst is this many seconds' worth of calls; also the largest block.
const BURST_SECONDS: u32 = 2;
/// A caller waits here at most this long; what is left to wait is answered as `wait_ms`.
const LOCAL_WAIT_MAX: Duration = Duration::from_secs(2);
/// A report older than this is not believed: the window rolls on, and only a call can tell how far.
const REPORT_TRUST: Duration = Duration::from_secs(5 * 60);
/// A fiftieth of the daily allocation is kept for people, but no more than this many calls.
const RESERVE_MAX: u64 = 1_000;
const RESERVE_SHARE: u64 = 50;

/// A block of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    pub granted: u32,
    pub wait: Duration,
    /// Its outcome decides whether others may send.
    pub probe: bool,
}

/// Hands out blocks.
#[derive(Debug)]
pub struct Quotas {
    db: PgPool,
    tenant: TenantId,
    breakers: Breakers,
    limiters: Mutex<HashMap<ConnectionName, (NonZeroU32, Arc<DefaultDirectRateLimiter>)>>,
}

impl Quotas {
    #[must_use]
    pub fn new(db: PgPool, tenant: TenantId, breakers: Breakers) -> Self {
        Self {
            db,
            tenant,
            breakers,
            limiters: Mutex::default(),
        }
    }

    /// A block for a stage; a single call where it is a probe. `served`: calls of its last block were answered, none failed.
    ///
    /// # Errors
    /// [`Error::DailyReserve`] when the org has few requests left, [`Error::HeldBack`], [`Error::UnknownConnection`].
    pub async fn lease(&self, name: &ConnectionName, per_second: NonZeroU32, asked: u32, served: bool) -> Result<Block, Error> {
        let unknown = || Error::UnknownConnection(name.to_string());
        let usage = store::usage_get(&self.db, &self.tenant, name, REPORT_TRUST)
            .await?
            .ok_or_else(unknown)?;
        if usage.recent
            && let (Some(used), Some(max)) = (usage.calls_used, usage.calls_max)
        {
            check_reserve(name, used.try_into().unwrap_or(0), max.try_into().unwrap_or(0))?;
        }
        if !usage.troubled {
            return self.take(name, per_second, asked).await;
        }
        if served {
            self.breakers.used(name).await?;
        }
        let probe = self.breakers.ask(name).await?;
        let block = self.take(name, per_second, if probe { 1 } else { asked }).await?;
        Ok(Block { probe, ..block })
    }

    /// A block for the connector itself, from the reserve if need be.
    ///
    /// # Errors
    /// [`Error::UnknownConnection`].
    pub async fn take(&self, name: &ConnectionName, per_second: NonZeroU32, asked: u32) -> Result<Block, Error> {
        let burst = burst(per_second);
        let granted = NonZeroU32::new(asked).unwrap_or(NonZeroU32::MIN).min(burst);
        let limiter = self.limiter(name, per_second);
        let turn = limiter.until_n_ready(granted);
        // Running out of patience is no failure: the row knows how long there is left to wait.
        tokio::time::timeout(LOCAL_WAIT_MAX, turn).await.ok();

        let calls = |n: u32| Duration::from_secs_f64(f64::from(n) / f64::from(per_second.get()));
        let mut tx = self.db.begin().await?;
        let Some(row) = store::quota_reserve(&mut tx, &self.tenant, name, calls(granted.get())).await? else {
            self.forget(name);
            return Err(Error::UnknownConnection(name.to_string()));
        };
        tx.commit().await?;
        let ahead = Duration::try_from_secs_f64(row.ahead).unwrap_or_default();
        Ok(Block {
            granted: granted.get(),
            wait: ahead.saturating_sub(calls(burst.get())),
            probe: false,
        })
    }

    /// Notes what the system said.
    ///
    /// # Errors
    /// [`Error::UnknownConnection`].
    pub async fn report(&self, name: &ConnectionName, used: u64, max: u64) -> Result<(), Error> {
        let stored = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let mut tx = self.db.begin().await?;
        let known = store::usage_record(&mut tx, &self.tenant, name, stored(used), stored(max)).await?;
        tx.commit().await?;
        #[allow(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::set(
            metrics::QUOTA_LEFT,
            max.saturating_sub(used) as f64,
            &[("connection", name.as_str())],
        );
        if known {
            Ok(())
        } else {
            Err(Error::UnknownConnection(name.to_string()))
        }
    }

    /// Drops the limiter of a connection that is gone.
    pub fn forget(&self, name: &ConnectionName) {
        self.limiters.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn limiter(&self, name: &ConnectionName, per_second: NonZeroU32) -> Arc<DefaultDirectRateLimiter> {
        let make = || {
            let quota = Quota::per_second(per_second).allow_burst(burst(per_second));
            (per_second, Arc::new(RateLimiter::direct(quota)))
        };
        let mut limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = limiters.entry(name.clone()).or_insert_with(make);
        if entry.0 != per_second {
            *entry = make();
        }
        Arc::clone(&entry.1)
    }
}

fn burst(per_second: NonZeroU32) -> NonZeroU32 {
    per_second.saturating_mul(NonZeroU32::new(BURST_SECONDS).expect("not zero"))
}

fn check_reserve(name: &ConnectionName, used: u64, max: u64) -> Result<(), Error> {
    let reserve = (max / RESERVE_SHARE).min(RESERVE_MAX);
    let left = max.saturating_sub(used);
    // An org without a daily limit reports none.
    if max == 0 || left > reserve {
        return Ok(());
    }
    Err(Error::DailyReserve {
        name: name.clone(),
        left,
        max,
        reserve,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_refused_when_little_is_left() {
        let name = ConnectionName::new("production").unwrap();
        for (used, max, passes) in [
            (0, 15_000, true),
            (14_699, 15_000, true),
            (14_700, 15_000, false),
            (20_000, 15_000, false),
            (98_999, 100_000, true),
            (99_000, 100_000, false),
            (5, 0, true),
        ] {
            assert_eq!(check_reserve(&name, used, max).is_ok(), passes, "{used} of {max}");
        }
    }
}
