//! The name of a batch: what makes a delivery recognisable however often it comes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{ObjectName, RunId};

/// `(run, object, partition, generation, seq)` and the part, when one batch outgrew a message and was split.
///
/// Its text form `run/object/partition/generation/seq/part/parts` is the associated data of the seal, the primary
/// key of checkpoints and claims, and the base of message ids: two batches with one name are the same batch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BatchName {
    pub run: RunId,
    pub object: ObjectName,
    pub partition: u32,
    pub generation: u32,
    pub seq: u32,
    /// Counted from 0; always 0 unless `parts` is above 1.
    pub part: u16,
    /// How many parts the batch has; 1 for nearly all.
    pub parts: u16,
}

impl BatchName {
    /// The name of a whole batch.
    #[must_use]
    pub fn whole(run: RunId, object: ObjectName, partition: u32, generation: u32, seq: u32) -> Self {
        Self {
            run,
            object,
            partition,
            generation,
            seq,
            part: 0,
            parts: 1,
        }
    }

    /// The same batch as part `part` of `parts`.
    #[must_use]
    pub fn with_part(&self, part: u16, parts: u16) -> Self {
        Self {
            part,
            parts,
            ..self.clone()
        }
    }
}

impl fmt::Display for BatchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            run,
            object,
            partition,
            generation,
            seq,
            part,
            parts,
        } = self;
        write!(f, "{run}/{object}/{partition}/{generation}/{seq}/{part}/{parts}")
    }
}

/// A text that is not a batch name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a batch name; expected run/object/partition/generation/seq/part/parts")]
pub struct BatchNameError;

impl FromStr for BatchName {
    type Err = BatchNameError;

    fn from_str(text: &str) -> Result<Self, BatchNameError> {
        let mut tokens = text.split('/');
        let mut next = || tokens.next().ok_or(BatchNameError);
        let name = Self {
            run: RunId::new(next()?).map_err(|_| BatchNameError)?,
            object: ObjectName::new(next()?).map_err(|_| BatchNameError)?,
            partition: number(next()?)?,
            generation: number(next()?)?,
            seq: number(next()?)?,
            part: number(next()?)?,
            parts: number(next()?)?,
        };
        if tokens.next().is_some() || name.part >= name.parts {
            return Err(BatchNameError);
        }
        Ok(name)
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, BatchNameError> {
    text.parse().map_err(|_| BatchNameError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_reads_back() {
        let run = RunId::new("r-1").expect("valid");
        let object = ObjectName::new("Project__c").expect("valid");
        let name = BatchName::whole(run, object, 3, 1, 42).with_part(1, 2);
        assert_eq!(name.to_string(), "r-1/Project__c/3/1/42/1/2");
        assert_eq!(name.to_string().parse(), Ok(name));
    }

    #[test]
    fn damaged_names_are_refused() {
        for bad in [
            "",
            "r-1/Account/0/0/0/0",
            "r-1/Account/0/0/0/1/1",
            "r-1/Account/0/0/x/0/1",
            "r-1/Account/0/0/0/0/1/9",
        ] {
            assert!(bad.parse::<BatchName>().is_err(), "{bad}");
        }
    }
}
