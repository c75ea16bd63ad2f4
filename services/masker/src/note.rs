//! The note that travels inside a clean batch: what the loader needs to know and cannot see in the rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Source key -> field -> keyed fingerprint.
pub type Sample = BTreeMap<String, BTreeMap<String, String>>;

/// The extractor's note, by its JSON form.
#[derive(Debug, Default, Deserialize)]
pub struct RawNote {
    /// Source keys of records that fit no message.
    #[serde(default)]
    pub too_large: Vec<String>,
}

/// Read by the loader under the same names; the contract is this JSON form.
#[derive(Debug, Default, Serialize)]
pub struct Note {
    /// Source records that the batch stands for.
    pub read: u64,
    /// Records that were given up with a dead letter.
    pub dead: u64,
    /// Source keys of records that fit no message: to be booked as refused.
    pub too_large: Vec<String>,
    /// Fingerprints of the originals of masked values, for a sample of the records. After loading, the target's value must
    /// have another fingerprint. Every part of a batch carries those of its own rows.
    pub sample: Sample,
}
