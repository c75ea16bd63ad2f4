//! Describes that are asked for again by their validators: an org answers hundreds of kilobytes only when its metadata
//! has changed.
//!
//! What a user may see belongs to a describe, and the documentation does not say that a permission that is given moves
//! `Last-Modified`. So after a while the whole answer is asked for, whatever the validators say.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use syncline_domain::ObjectName;
use syncline_domain::describe::ObjectDescribe;

use crate::client::Validators;

/// An unchanged answer is believed for this long after the last whole one.
const BELIEVED: Duration = Duration::from_secs(15 * 60);
/// Describes that are kept; with more, all are asked for again.
const KEPT_MAX: usize = 512;

#[derive(Debug)]
struct Known {
    describe: ObjectDescribe,
    validators: Validators,
    read_at: Instant,
}

/// Describes of one user in one org. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct DescribeCache {
    known: Arc<Mutex<HashMap<ObjectName, Known>>>,
}

impl DescribeCache {
    /// By what to ask for the object; empty when the whole answer is wanted.
    pub(crate) fn validators(&self, object: &ObjectName) -> Validators {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(object)
            .filter(|k| k.read_at.elapsed() < BELIEVED)
            .map(|k| k.validators.clone())
            .unwrap_or_default()
    }

    pub(crate) fn get(&self, object: &ObjectName) -> Option<ObjectDescribe> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(object).map(|k| k.describe.clone())
    }

    pub(crate) fn put(&self, object: &ObjectName, describe: &ObjectDescribe, validators: Validators) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if validators.is_empty() {
            known.remove(object);
            return;
        }
        if known.len() >= KEPT_MAX {
            known.clear();
        }
        let entry = Known {
            describe: describe.clone(),
            validators,
            read_at: Instant::now(),
        };
        known.insert(object.clone(), entry);
    }

    pub(crate) fn forget(&self, object: &ObjectName) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }
}
