//! The circuit breaker of a connection between proto and domain.

use chrono::DateTime;
use prost_types::Timestamp;
use syncline_domain::breaker::{Breaker, Failure, Outage};

use crate::connection::Breaker as Wire;
use crate::time;

/// Nothing, for one that is closed.
#[must_use]
pub fn to_proto(connection: &str, breaker: &Breaker) -> Option<Wire> {
    let (outage, until_ms) = match breaker {
        Breaker::Closed { .. } => return None,
        Breaker::Open { outage, until_ms } | Breaker::HalfOpen { outage, until_ms } => (Some(outage), *until_ms),
        Breaker::Held { until_ms, .. } => (None, *until_ms),
    };
    Some(Wire {
        connection: connection.to_owned(),
        state: breaker.state().to_owned(),
        since: breaker.since_ms().and_then(moment),
        failures: outage.map_or(0, |o| o.failures),
        failure: outage.map_or("", |o| o.last.as_str()).to_owned(),
        until: moment(until_ms),
    })
}

/// Nothing, for one that makes no sense here. How many probes failed is not told.
#[must_use]
pub fn from_proto(breaker: &Wire) -> Option<Breaker> {
    let since_ms = millis(breaker.since.as_ref())?;
    let until_ms = millis(breaker.until.as_ref())?;
    if breaker.state == "held" {
        return Some(Breaker::Held { since_ms, until_ms });
    }
    let outage = Outage {
        since_ms,
        failures: breaker.failures,
        last: breaker.failure.parse::<Failure>().ok()?,
        probes: 0,
    };
    match breaker.state.as_str() {
        "open" => Some(Breaker::Open { outage, until_ms }),
        "half_open" => Some(Breaker::HalfOpen { outage, until_ms }),
        _ => None,
    }
}

fn moment(ms: u64) -> Option<Timestamp> {
    DateTime::from_timestamp_millis(ms.cast_signed()).map(time::to_proto)
}

fn millis(at: Option<&Timestamp>) -> Option<u64> {
    u64::try_from(time::from_proto(at?)?.timestamp_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breaker_survives_the_crossing() {
        let outage = Outage {
            since_ms: 1_700_000_000_123,
            failures: 7,
            last: Failure::ServerError,
            probes: 0,
        };
        let until_ms = 1_700_000_060_456;
        for breaker in [
            Breaker::Open { outage, until_ms },
            Breaker::HalfOpen { outage, until_ms },
            Breaker::Held {
                since_ms: outage.since_ms,
                until_ms,
            },
        ] {
            let wire = to_proto("uat", &breaker).expect("it is not closed");
            assert_eq!((wire.connection.as_str(), from_proto(&wire)), ("uat", Some(breaker)));
        }
        assert_eq!(to_proto("uat", &Breaker::default()), None);
        assert_eq!(from_proto(&Wire::default()), None);
    }
}
