//! Setup and data don't mix: a collection call, or a transaction of several calls, that wrote one refuses the other.

use std::cell::Cell;

use serde_json::{Map, Value};

use crate::schema::{Object, Schema};
use crate::store::value::RowError;

/// Fields that make the update of a user a change of setup ("sObjects That Can't Be Used
/// Together in DML Operations", Apex Developer Guide).
const USER_SETUP: [&str; 6] = [
    "UserRoleId",
    "IsActive",
    "ForecastEnabled",
    "IsPortalEnabled",
    "Username",
    "ProfileId",
];

/// What the transaction that runs on this thread wrote.
#[derive(Clone, Copy)]
enum Wrote {
    /// There is no transaction of several calls.
    Outside,
    Nothing,
    /// This object first.
    Object(usize),
}

thread_local! {
    static WROTE: Cell<Wrote> = const { Cell::new(Wrote::Outside) };
}

struct Restore(Wrote);

impl Drop for Restore {
    fn drop(&mut self) {
        WROTE.set(self.0);
    }
}

/// Runs the calls of one transaction, as which `SharedDb` keeps them on one thread.
pub(super) fn transaction<T>(body: impl FnOnce() -> T) -> T {
    let _outside = Restore(WROTE.replace(Wrote::Nothing));
    body()
}

/// Refuses a write to `object` in a transaction that wrote the other sort.
pub(super) fn check(schema: &Schema, object: usize) -> Result<(), RowError> {
    match WROTE.get() {
        Wrote::Object(first) => Mixture {
            first: Some(&schema.objects[first]),
        }
        .check(&schema.objects[object]),
        Wrote::Outside | Wrote::Nothing => Ok(()),
    }
}

/// Takes note of a write for the transaction around it.
pub(super) fn wrote(object: usize) {
    if matches!(WROTE.get(), Wrote::Nothing) {
        WROTE.set(Wrote::Object(object));
    }
}

/// What a call wrote first.
#[derive(Default)]
pub(super) struct Mixture<'a> {
    first: Option<&'a Object>,
}

impl<'a> Mixture<'a> {
    /// Refuses a record of the other sort.
    pub(super) fn check(&self, object: &Object) -> Result<(), RowError> {
        match self.first {
            Some(first) if first.setup != object.setup => Err(RowError::new(
                "MIXED_DML_OPERATION",
                format!(
                    "DML operation on setup object is not permitted after you have updated a non-setup object (or vice versa): {}, original object: {}",
                    object.name, first.name
                ),
                &[],
            )),
            _ => Ok(()),
        }
    }

    /// Takes note of a record that was written.
    pub(super) fn wrote(&mut self, object: &'a Object) {
        self.first.get_or_insert(object);
    }
}

/// Whether an update changes nothing the setup depends on.
pub(super) fn is_harmless(object: &Object, update: bool, record: &Map<String, Value>) -> bool {
    let listed = |name: &String| USER_SETUP.iter().any(|f| f.eq_ignore_ascii_case(name));
    update && object.name == "User" && !record.keys().any(listed)
}
