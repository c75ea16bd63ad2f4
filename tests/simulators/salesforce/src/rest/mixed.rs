//! Setup and data don't mix: a collection call that wrote one refuses the other.

use serde_json::{Map, Value};

use crate::schema::Object;
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
