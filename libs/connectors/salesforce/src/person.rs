//! Person accounts: an Account and a Contact in one, of which the platform shows both.
//!
//! Read: the shadow contacts are left out of Contact, they come into being with their accounts. A row of Account has the
//! fields of both kinds, and the platform refuses what is not of its own: a person's name as a whole is put together by
//! the org, a business has no birthday, not even an empty one. So cells of the other kind are read as null, and written
//! as cells that leave the target alone. What kind a row is tells its last name: a person has one, a business has not.
//! Fact sheet: an org where `Account` has `IsPersonAccount` has person accounts; it is irreversible.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::ArrowError;
use arrow_select::nullif::nullif;
use syncline_connect::{Column, Query};
use syncline_domain::ObjectName;
use syncline_domain::describe::ObjectDescribe;

/// On Account and on Contact, where the org has person accounts.
const FLAG: &str = "IsPersonAccount";
/// What a person must have and a business cannot. On Account only where the org has person accounts.
const LAST_NAME: &str = "LastName";
/// Parts of a person's name, on Account as on Contact.
const NAME_PARTS: &[&str] = &["Salutation", "FirstName", "MiddleName", LAST_NAME, "Suffix"];

/// Whether an org, by its describe of Account or Contact, has person accounts.
#[must_use]
pub fn has_person_accounts(describe: &ObjectDescribe) -> bool {
    matches!(describe.name.as_str(), "Account" | "Contact") && describe.field(FLAG).is_some()
}

/// The condition that leaves out records which exist only as the other half of one.
#[must_use]
pub fn shadows_excluded(describe: &ObjectDescribe) -> Option<&'static str> {
    (describe.name.as_str() == "Contact" && has_person_accounts(describe)).then_some("IsPersonAccount = false")
}

/// What kind of account a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Business,
    Person,
}

/// The kind that alone may carry a field of Account, if there is only one.
fn only_of(field: &str) -> Option<Kind> {
    let of_a_person =
        NAME_PARTS.contains(&field) || field.ends_with("__pc") || (field.starts_with("Person") && field != "PersonActionCadenceId");
    if of_a_person {
        Some(Kind::Person)
    } else {
        matches!(field, "Name" | "ParentId").then_some(Kind::Business)
    }
}

/// Columns of an object whose rows are of both kinds.
#[derive(Debug, Clone)]
pub(crate) struct BothKinds {
    last_name: usize,
    /// Per column.
    only_of: Vec<Option<Kind>>,
}

impl BothKinds {
    /// For columns of `object`; none where rows are all of one kind.
    pub(crate) fn of<'a>(object: &ObjectName, columns: impl Iterator<Item = &'a str> + Clone) -> Option<Self> {
        let last_name = columns.clone().position(|c| c == LAST_NAME)?;
        (object.as_str() == "Account").then(|| Self {
            last_name,
            only_of: columns.map(only_of).collect(),
        })
    }

    /// For a reading. What becomes of accounts under other names is not an account's any more, and travels as it is.
    pub(crate) fn of_query(query: &Query) -> Option<Self> {
        let stays = query.fields.iter().all(|f| f.name.as_str() != LAST_NAME || f.name == f.target);
        stays.then(|| Self::of(&query.object, query.fields.iter().map(|f| f.name.as_str())))?
    }

    /// For an upload or a look at what was written.
    pub(crate) fn of_columns(object: &ObjectName, columns: &[Column]) -> Option<Self> {
        Self::of(object, columns.iter().map(|c| c.name.as_str()))
    }

    /// Rows that are persons.
    pub(crate) fn persons(&self, batch: &RecordBatch) -> BooleanArray {
        let names = batch.columns().get(self.last_name).and_then(|c| c.as_string_opt::<i32>());
        let named = |row| names.is_some_and(|n| n.is_valid(row) && !n.value(row).is_empty());
        (0..batch.num_rows()).map(|row| Some(named(row))).collect()
    }

    /// Whether a row of that kind may carry a column.
    pub(crate) fn carries(&self, is_person: bool, column: usize) -> bool {
        let kind = if is_person { Kind::Person } else { Kind::Business };
        self.only_of.get(column).copied().flatten().is_none_or(|only| only == kind)
    }

    /// The rows without what is of the other kind.
    pub(crate) fn apart(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let persons = self.persons(batch);
        let others: BooleanArray = persons.iter().map(|p| p.map(|p| !p)).collect();
        let columns = batch.columns().iter().zip(&self.only_of).map(|(column, only)| match only {
            None => Ok(ArrayRef::clone(column)),
            Some(Kind::Business) => nullif(column, &persons),
            Some(Kind::Person) => nullif(column, &others),
        });
        RecordBatch::try_new(batch.schema(), columns.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use arrow_array::StringArray;
    use serde_json::json;

    use super::*;
    use crate::describe::read_describe;

    fn describe(name: &str, fields: &[&str]) -> ObjectDescribe {
        let fields: Vec<_> = fields.iter().map(|f| json!({"name": f, "type": "string"})).collect();
        read_describe(json!({"name": name, "fields": fields}).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn shadows_are_left_out_where_there_are_any() {
        for (object, fields, condition) in [
            ("Contact", &["Id", "IsPersonAccount"][..], Some("IsPersonAccount = false")),
            ("Contact", &["Id"], None),
            ("Account", &["Id", "IsPersonAccount"], None),
            ("Thing__c", &["Id", "IsPersonAccount"], None),
        ] {
            assert_eq!(shadows_excluded(&describe(object, fields)), condition, "{object} {fields:?}");
        }
        assert!(has_person_accounts(&describe("Account", &["IsPersonAccount"])));
        assert!(!has_person_accounts(&describe("Account", &["Name"])));
    }

    #[test]
    fn each_kind_of_account_keeps_its_own_cells() {
        let text = |cells: [Option<&str>; 2]| -> ArrayRef { Arc::new(StringArray::from(cells.to_vec())) };
        let both = [Some("person"), Some("business")];
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("Name", text(both), true),
            ("Phone", text(both), true),
            ("LastName", text([Some("Byron"), None]), true),
            ("PersonDoNotCall", Arc::new(BooleanArray::from(vec![true, false])) as ArrayRef, true),
            ("Hobby__pc", text(both), true),
            ("Rank__c", text(both), true),
        ])
        .unwrap();
        let names = ["Name", "Phone", "LastName", "PersonDoNotCall", "Hobby__pc", "Rank__c"];
        let account = ObjectName::new("Account").unwrap();
        let apart = BothKinds::of(&account, names.into_iter()).unwrap().apart(&batch).unwrap();
        let nulls: Vec<[bool; 2]> = apart.columns().iter().map(|c| [c.is_null(0), c.is_null(1)]).collect();
        assert_eq!(
            nulls,
            [
                [true, false],
                [false, false],
                [false, true],
                [false, true],
                [false, true],
                [false, false]
            ]
        );
        let contact = ObjectName::new("Contact").unwrap();
        assert!(BothKinds::of(&contact, names.into_iter()).is_none());
        assert!(
            BothKinds::of(&account, ["Name", "Phone"].into_iter()).is_none(),
            "an org without persons"
        );
    }
}
