//! Timestamps between proto and chrono.

use chrono::{DateTime, Utc};
use prost_types::Timestamp;

#[must_use]
pub fn to_proto(at: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: at.timestamp(),
        nanos: i32::try_from(at.timestamp_subsec_nanos()).unwrap_or(0),
    }
}

/// `None` for a time that does not exist.
#[must_use]
pub fn from_proto(at: &Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?)
}
