//! A job that does not get on: it waits until it is let go, or has been looked at often enough.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a waiting job looks whether it was aborted.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks a held job still takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Free,
    Looks(u64),
    Forever,
}

/// Where a job may be held.
pub struct Hold {
    left: Mutex<Left>,
    changed: Condvar,
}

impl Default for Hold {
    fn default() -> Self {
        Self {
            left: Mutex::new(Left::Free),
            changed: Condvar::new(),
        }
    }
}

impl Hold {
    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds the job from now on: for so many looks, or for good.
    pub fn set(&self, looks: Option<u64>) {
        *self.left() = match looks {
            Some(0) => Left::Free,
            Some(looks) => Left::Looks(looks),
            None => Left::Forever,
        };
    }

    pub fn is_held(&self) -> bool {
        *self.left() != Left::Free
    }

    /// Somebody looks at the job's state.
    pub fn looked(&self) {
        let mut left = self.left();
        *left = match *left {
            Left::Looks(1) | Left::Free => Left::Free,
            Left::Looks(looks) => Left::Looks(looks - 1),
            Left::Forever => Left::Forever,
        };
        self.changed.notify_all();
    }

    /// Lets the job go on.
    pub fn release(&self) {
        *self.left() = Left::Free;
        self.changed.notify_all();
    }

    /// Blocks while the job is held and `is_over` is false.
    pub fn wait(&self, is_over: impl Fn() -> bool) {
        let mut left = self.left();
        while *left != Left::Free && !is_over() {
            let (guard, _) = self.changed.wait_timeout(left, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner);
            left = guard;
        }
        *left = Left::Free;
    }
}
